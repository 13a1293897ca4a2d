"""``harpsstar inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    file: Annotated[Path, typer.Argument(help="A FITS file.", show_default=False)],
    blaze_dir: Annotated[
        Path | None,
        typer.Option(help="Where its blaze file is, if not beside it.",
                     show_default="beside the file"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture of the spectrum to draw: .png, .pdf or .svg.",
                     show_default=False),
    ] = None,
) -> None:
    """Say what a file is, whether it can be used and what will be done to it."""
    from harpsstar.archive.describe import describe
    from harpsstar.cli._show import show_description
    from harpsstar.cli.exit import ExitCode

    description = describe(file, blaze_dir=blaze_dir, plot=plot)
    show_description(description)
    raise typer.Exit(ExitCode.NOTHING_DONE if description.problem else ExitCode.OK)
