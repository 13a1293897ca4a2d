"""What ``harpsstar fit`` tells: progress and complaints on standard error, results on output."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from harpsstar.cli._table import show_table
from harpsstar.cli.exit import code_of
from harpsstar.formatting import with_error
from harpsstar.labels import LABELS, NUISANCES

if TYPE_CHECKING:
    from harpsstar.errors import HarpsstarError
    from harpsstar.evaluate.posterior import FitQuality
    from harpsstar.infer.fit.batch import Outcome
    from harpsstar.io.results import Row

_STYLE = {"ok": "green", "flagged": "yellow", "failed": "red"}


def inputs_of(files: Iterable[str]) -> list[tuple[Path, HarpsstarError | None]]:
    """Spectra behind what the user named, and why there is none behind a name.

    What a folder holds beside spectra is left out, as for ``predict``.
    """
    from harpsstar.io.facts import read_facts
    from harpsstar.io.paths import find

    return [(found.path, found.problem) for found in find(files)
            if found.named or found.problem or not read_facts(found.path).skip]  # fmt: skip


class Progress:
    """A bar on a terminal, a line for each row elsewhere; failures are always told.

    Parameters
    ----------
    quiet : bool
        Say nothing but failures.
    """

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True, highlight=False)
        self._quiet, self._console = quiet, console
        self._bar = Bar(TextColumn("fitting"), BarColumn(), MofNCompleteColumn(),
                        TimeRemainingColumn(), console=console, transient=True,
                        disable=quiet or not console.is_terminal)  # fmt: skip
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:  # fmt: skip
        self._bar.stop()

    def row(self, row: Row, number: int, total: int) -> None:
        """Tell that row ``number`` of ``total`` is there."""
        self._bar.update(self._task, completed=number, total=total)
        if row.status == "failed" or not (self._quiet or self._console.is_terminal):
            line = Text(f"[{number}/{total}] {row.file}: {row.status}")
            line.append(f": {row.message}" if row.message else "")
            self._console.print(line, soft_wrap=True)


def end(outcome: Outcome, *, quiet: bool) -> None:
    """Show what became of the files, and end with the exit code that says so."""
    if outcome.output is None and outcome.rows:
        show_table(_table(outcome.table))
    failed = outcome.count("failed")
    if not quiet or failed or outcome.interrupted:
        counts = ", ".join(f"{outcome.count(status)} {status}" for status in _STYLE)
        where = f"; written to {outcome.output}" if outcome.output else ""
        where += f"; {outcome.kept} is unchanged" if outcome.kept else ""
        print(f"harpsstar: {len(outcome.rows)} of {outcome.total} inputs: {counts}{where}",
              file=sys.stderr)  # fmt: skip
    raise typer.Exit(code_of(outcome))


def _table(results: Any) -> Table:
    labels = [x for x in (*LABELS, *NUISANCES) if x.name in results.colnames]
    caption = "labels: ± total error (error from noise); other parameters: ± error from noise"
    heads = (escape(label.heading) for label in labels)
    table = Table("file", *heads, "chi2_red", "status", "remark", caption=caption)
    for row in results:
        remark = "; ".join(text for text in (row["flag_text"], row["message"]) if text)
        cells = [_cell(row, label.name) for label in labels]
        status = Text(str(row["status"]), style=_STYLE[str(row["status"])])
        table.add_row(Text(str(row["file"]), overflow="fold"), *cells,
                      f"{float(row['chi2_red']):.2f}", status,
                      Text(remark, overflow="fold"))  # fmt: skip
    return table


def _cell(row: Any, name: str) -> str:
    value, error = _number(row, name), _number(row, f"{name}_err")
    text = with_error(name, value, error)
    if not math.isfinite(value):
        return text
    if not error > 0:
        return f"{text} (fixed)"
    noise = f"{name}_err_noise"
    if noise not in row.colnames:
        return text
    return f"{text} ({with_error(name, value, _number(row, noise)).partition('± ')[2]})"


def _number(row: Any, name: str) -> float:
    return float(getattr(row[name], "value", row[name]))


def show_quality(result: FitQuality) -> None:
    """Show a row for each parameter."""
    settings = result.settings
    low, high = settings.teff_range
    columns = ["parameter", "MAE", "bound", "MAE/bound", "1σ [%]", "2σ [%]"]
    calibrated = settings.sampler != "laplace"
    columns += ["p (ranks)", "Laplace within 10 % [%]"] if calibrated else []
    table = Table(
        *(escape(name) for name in columns),
        title=f"{settings.sampler}, SNR {settings.snr:g}, {result.n} spectra, "
        f"{low:.0f}–{high:.0f} K",
        caption=f"{result.n_flagged} flagged, {result.n_unconverged} not converged; "
        f"{result.median_seconds:.2f} s each ({result.median_cpu:.2f} s of CPU time; medians); "
        f"Laplace's efficiency {result.median_efficiency:.3f} (median), "
        f"{result.lowest_efficiency:.2f} at least",
    )  # fmt: skip
    for name, it in result.parameters.items():
        cells = [name, f"{it.mae:.3g}", f"{it.bound:.3g}",
                 with_error("ratio", it.ratio, it.ratio_error),
                 f"{100 * it.coverage_1:.1f}", f"{100 * it.coverage_2:.1f}"]  # fmt: skip
        cells += [f"{it.uniform:.3f}", f"{100 * it.agreement:.0f}"] if calibrated else []
        table.add_row(*cells)
    show_table(table)
