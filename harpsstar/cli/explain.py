"""``harpsstar explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli import _archive as ask
from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import ECSV, PICTURE


def explain(
    file: Annotated[
        Path, typer.Argument(help="A FITS or text file.", show_default=False), Reads()
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default=False,
                     help="Table of lines to write: .ecsv."),
        Writes(ECSV),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Plot to write: .png, .pdf or .svg.", show_default=False),
        Writes(PICTURE),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of lines shown for each label.")] = 10,
    model: ask.Model = None,
    blaze_dir: ask.BlazeDir = None,
    resolution: ask.Resolution = None,
    medium: ask.Medium = "",
    frame: ask.Frame = "",
) -> None:
    """Show which spectral lines determine Teff, logg, [M/H] and vsini of a spectrum.

    The share of a line is its part of the information about the label. The pull is the shift of the
    label by this line, in units of the label's error from noise.
    """
    from harpsstar.cli._explain import show_explanation
    from harpsstar.infer.explain import explain_and_write

    given = ask.given(resolution, medium, frame)
    show_explanation(explain_and_write(file, output=output, picture=picture, n=top, model=model,
                                       blaze_dir=blaze_dir, given=given), top)
