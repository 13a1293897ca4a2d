"""``harpsstar inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import PICTURE


def inspect(
    file: Annotated[
        Path | None, typer.Argument(help="A FITS file.", show_default=False), Reads()
    ] = None,
    blaze_dir: Annotated[
        Path | None,
        typer.Option(help="Where its blaze file is, if not beside it.",
                     show_default="beside the file"),
        Reads(),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture of the spectrum to draw: .png, .pdf or .svg.",
                     show_default=False),
        Writes(PICTURE),
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Describe the environment, for a bug report.")
    ] = False,
) -> None:
    """Say what a file is, whether it can be used and what will be done to it."""
    from harpsstar.cli._show import show_description, show_system
    from harpsstar.cli.exit import ExitCode

    if file is None and not system:
        raise typer.BadParameter("a FILE is needed, or --system")
    if system:
        show_system()
    if file is not None:
        from harpsstar.archive.describe import describe

        description = describe(file, blaze_dir=blaze_dir, plot=plot)
        show_description(description)
        raise typer.Exit(ExitCode.NOTHING_DONE if description.problem else ExitCode.OK)
