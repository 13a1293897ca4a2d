"""``harpsstar inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli import _archive as ask


def inspect(
    file: Annotated[
        Path | None, typer.Argument(help="A FITS or text file.", show_default=False)
    ] = None,
    blaze_dir: Annotated[
        Path | None,
        typer.Option(help="Where its blaze file is, if not beside it.",
                     show_default="beside the file"),
    ] = None,
    resolution: ask.Resolution = None,
    medium: ask.Medium = "",
    frame: ask.Frame = "",
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture of the spectrum to draw: .png, .pdf or .svg.",
                     show_default=False),
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

        description = describe(file, blaze_dir=blaze_dir, plot=plot,
                               given=ask.given(resolution, medium, frame))  # fmt: skip
        show_description(description)
        raise typer.Exit(ExitCode.NOTHING_DONE if description.problem else ExitCode.OK)
