"""What the tables and figures of the paper print, and the files they write."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harpsstar.cli._evaluate import show_json
from harpsstar.cli._table import show_table
from harpsstar.constants import ONE_SIGMA, TWO_SIGMA
from harpsstar.errors import OutputError
from harpsstar.formatting import UNKNOWN, plain, with_error
from harpsstar.labels import LABELS

if TYPE_CHECKING:
    from harpsstar.paper.attention import LineShare
    from harpsstar.paper.figures import Bin, Order
    from harpsstar.paper.sun import Table4Row
    from harpsstar.paper.tables import Table2Row, Table3Row

_UNITS = [escape(label.heading) for label in LABELS]


def deliver(
    result: Any,
    output: Sequence[Path] | None,
    as_json: bool,
    show: Callable[[Any], None],
    picture: Callable[[Any], Any],
    table: Callable[[Any], Any],
    summary: Callable[[Any], Any] = lambda result: result,
) -> None:
    """Write the files that were asked for, then print what the result comes to.

    Raises
    ------
    OutputError
        An extension that is not known, or a file that cannot be written.
    """
    from harpsstar.paper import export, figures
    from harpsstar.plotting import save

    paths = list(output or ())
    for path in paths:
        if path.suffix not in (".ecsv", *figures.PICTURES):
            raise OutputError(
                f"the extension {path.suffix!r} is not known", path=path,
                expected=f"one of .ecsv, {', '.join(figures.PICTURES)}",
            )  # fmt: skip
    for path in paths:
        if path.suffix == ".ecsv":
            export.write(table(result), path)
        else:
            save(picture(result), path)
    (show_json if as_json else show)(summary(result))


def show_table2(rows: list[Table2Row]) -> None:
    """Show a row for each row of the paper, and for each model beyond it."""
    table = Table(
        "SNR", "Σ", "paper", "model", *_UNITS, "spectra seen", "hours",
        title="Table 2: mean absolute error (95 %) | paper | × bound",
        caption=_caption(rows),
    )  # fmt: skip
    for row in rows:
        cells = []
        for cell in row.labels.values():
            parts = [plain(cell.paper)]
            if math.isfinite(cell.mae):
                interval = f"({plain(cell.low)}–{plain(cell.high)})"
                parts = [f"{plain(cell.mae)} {interval}", *parts, f"× {cell.ratio:.2f}"]
            cells.append(" | ".join(parts))
        seen = f"{row.samples:,}" if row.samples else UNKNOWN
        if row.denoiser_samples:
            seen += f" + {row.denoiser_samples:,}"
        table.add_row(
            f"{row.snr:g}", *(text or UNKNOWN for text in (row.covariance, row.paper, row.model)),
            *cells, seen, plain(row.hours),
        )  # fmt: skip
    show_table(table)


def _caption(rows: list[Table2Row]) -> str:
    done = [row for row in rows if row.n]
    if not done:
        return "no model was given: use --model, or train one with harpsstar train"
    return (
        f"{done[0].n} test spectra; the bound is that of the first {done[0].n_bound}; "
        "spectra seen by the network + by its auto-encoder"
    )


def show_table3(rows: list[Table3Row]) -> None:
    """Show two rows for each model: within one and two sigmas."""
    names = [label.name for label in LABELS] + ["all", "joint"]
    table = Table(
        "model", "within", *names, "paper", "Gaussian",
        title="Table 3: share of spectra within the predicted errors [%]",
        caption="all: every label of every spectrum, as the paper counts; joint: within the "
        "ellipsoid of the same probability; in brackets: without calibration",
    )  # fmt: skip
    for row in rows:
        for i, (which, gauss) in enumerate((("one", ONE_SIGMA), ("two", TWO_SIGMA))):
            cells = [row.labels[name] for name in names]
            shares = [f"{100 * getattr(c, which):.1f} ({100 * c.before[i]:.1f})" for c in cells]
            table.add_row(
                row.model if i == 0 else "", f"{i + 1} σ", *shares, plain(100 * row.paper[i]),
                f"{100 * gauss:.1f}",
            )  # fmt: skip
    show_table(table)


def show_table4(rows: list[Table4Row]) -> None:
    """Show a row for each model and spectrum."""
    table = Table(
        "file", "model", "trained on", *_UNITS, title="Table 4: the Sun (pull) | paper",
        caption="true values: 5772 K, 4.438, 0.0, 1.71 km/s",
    )  # fmt: skip
    for row in rows:
        cells = []
        for name, cell in row.labels.items():
            ours = f"{with_error(name, cell.value, cell.sigma)} ({cell.pull:+.1f})"
            paper = with_error(name, cell.paper, cell.paper_sigma)
            cells.append(f"{ours} | {paper}" if math.isfinite(cell.paper) else ours)
        table.add_row(Text(row.file, overflow="fold"), row.model, row.preset, *cells)
    show_table(table)


def show_bins(bins: list[Bin]) -> None:
    """Show a row for each bin of each label."""
    table = Table("label", "from", "to", "spectra", "median error", "68 % of errors", "median σ")
    for one in bins:
        table.add_row(
            one.label, f"{one.low:g}", f"{one.high:g}", str(one.n), plain(one.bias),
            plain(one.scatter), plain(one.sigma),
        )  # fmt: skip
    show_table(table)


def show_shares(shares: list[LineShare]) -> None:
    """Show a row for each attention block."""
    table = Table(
        "block", "attention [%]", "pixels [%]", "ratio",
        title="attention within 1 Å of Mg b 5167, 5173 and 5184 Å",
    )  # fmt: skip
    for one in shares:
        table.add_row(
            str(one.block), f"{100 * one.attention:.2f}", f"{100 * one.pixels:.2f}",
            f"{one.ratio:.2f}",
        )  # fmt: skip
    show_table(table)


def show_orders(rows: list[Order]) -> None:
    """Show a row for each order."""
    table = Table("order", "from [Å]", "to [Å]", "lowest flux", "mean flux")
    for row in rows:
        table.add_row(
            str(row.order), f"{row.low:.1f}", f"{row.high:.1f}", f"{row.lowest:.3f}",
            f"{row.mean:.3f}",
        )  # fmt: skip
    show_table(table)
