"""``harpsstar inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli import _archive as ask
from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import PICTURE


def inspect(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="FITS or text files, folders (searched with all subfolders) or"
                       " quoted patterns.", show_default=False),
        Reads(),
    ] = None,
    blaze_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with the blaze files, if they are not beside the spectra.",
                     show_default="beside each spectrum"),
        Reads(),
    ] = None,
    resolution: ask.Resolution = None,
    medium: ask.Medium = "",
    frame: ask.Frame = "",
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot of a single spectrum to write: .png, .pdf or .svg.",
                     show_default=False),
        Writes(PICTURE),
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Print versions and settings, for a bug report.")
    ] = False,
) -> None:
    """Show what files contain, whether they can be used and how they will be processed."""
    from harpsstar.cli._show import show_descriptions, show_system

    if not files and not system:
        raise typer.BadParameter("give at least one FILE, or --system")
    if system:
        show_system()
    if files:
        from harpsstar.io.describe import describe_all

        found = describe_all(files, blaze_dir=blaze_dir, plot=plot,
                             given=ask.given(resolution, medium, frame))  # fmt: skip
        raise typer.Exit(show_descriptions(found))
