"""``harpsstar archive``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli import _archive as ask
from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import SUMMARY, TABLE

app = typer.Typer(no_args_is_help=True, help="Combine and export tables of many spectra.")

_Table = Annotated[
    Path,
    typer.Argument(help="Table of results, or folder of tables by night.", show_default=False),
    Reads(),
]


@app.command()
def summary(
    table: _Table,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default=False,
                     help="Table to write, with one row per star: .ecsv, .fits or .vot."),
        Writes(SUMMARY),
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Include flagged spectra.")] = False,
) -> None:
    """Combine all spectra of every star: weighted means, scatter compared with noise, outliers."""
    from harpsstar.archive.export import read_results
    from harpsstar.archive.summary import summarise, write_summary
    from harpsstar.cli._show import show_stars

    stars = summarise(read_results(table), flagged=flagged)
    if output is None:
        show_stars(stars)
    else:
        write_summary(stars, output)


@app.command()
def export(
    table: Annotated[
        Path,
        typer.Argument(help="Output of harpsstar predict or watch, finished or not.",
                       show_default=False),
        Reads(),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", show_default=False,
                     help="Table to write; the extension sets the format."),
        Writes(TABLE, folder_if="by_night"),
    ],
    by_night: ask.ByNight = False,
) -> None:
    """Write the rows of a finished or unfinished run to another table."""
    from harpsstar.archive.export import export_journal

    number = export_journal(table, output, by_night=by_night)
    typer.echo(f"harpsstar: wrote {number} rows to {output}", err=True)
