"""What ``harpsstar synth lines`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harpsstar.cli._table import console, show_table
from harpsstar.formatting import UNKNOWN, plain, with_error

if TYPE_CHECKING:
    from harpsstar.evaluate.lines import Check, Summary


def show_line_summary(summary: Summary) -> None:
    """Show how many lines there are, by source and by species."""
    for title, counts in (("source", summary.by_source), ("species", summary.by_species)):
        table = Table(title, "lines", "with solar correction")
        for name, (number, moved) in counts.items():
            table.add_row(Text(name), str(number), str(moved))
        show_table(table)
    digest = (
        f"SHA-256 {summary.digest}" if summary.digest
        else "the other lines are not installed: `harpsstar synth inputs` downloads them"
    )  # fmt: skip
    console().print(
        Text(f"{summary.n} lines, {summary.n_calibrated} with a solar correction; {digest}")
    )


def show_check(result: Check, rows: int) -> None:
    """Show the star, how well it fits, and the stretches that fit worst."""
    from harpsstar.model.opacity import name_of

    star = ", ".join(f"{name} {value:.4g}" for name, value in result.star.items())
    shown = result.stretches[:rows]
    table = Table(
        escape("wavelength [Å]"), escape("interval [Å]"), escape("residual [%]"),
        escape("obs. - model [mÅ]"), "line", escape("excitation [eV]"), "log gf",
        "solar correction", "source", "other lines",
        title=escape(f"{result.file}: {star}"),
        caption=f"the {len(shown)} largest of {len(result.stretches)} misfits beyond "
        f"{result.threshold:g} × {result.scatter:.2%} of the continuum; line names from "
        f"{result.list_name}; median |observed - model| {result.median:.2%}; positive mÅ: the "
        "star absorbs more than the model",
    )  # fmt: skip
    for stretch in shown:
        cells = [UNKNOWN] * 6
        if len(stretch.lines):
            best, *rivals = stretch.lines
            moved = best["delta_log_gf"]
            cells = [
                name_of(best), f"{best['excitation']:.2f}", f"{best['log_gf']:.2f}",
                plain(moved, "+.2f"), str(best["source"]),
                ", ".join(map(name_of, rivals)),
            ]  # fmt: skip
        width = with_error("width", stretch.width, stretch.width_err, sign=True)
        table.add_row(
            f"{stretch.wavelength:.3f}", f"{stretch.low:.2f}–{stretch.high:.2f}",
            f"{100 * stretch.residual:+.1f}", width, *map(Text, cells),
        )  # fmt: skip
    show_table(table)
