"""``harpsstar predict``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def predict(
    files: Annotated[
        list[str],
        typer.Argument(help="FITS files, folders (searched to every depth) or quoted patterns.",
                       show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default=False,
                     help="Table to write: .ecsv, .fits, .vot, .xml, .parquet or .csv. Without,"
                          " a summary is shown."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name (see harpsstar models list) or file of the model.",
                     show_default="the packaged default"),
    ] = None,
    blaze_dir: Annotated[
        Path | None,
        typer.Option(help="Where blaze files are, if not beside the spectra.",
                     show_default="beside each spectrum"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what failed.")] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace an existing output (whole, when all is done).")
    ] = True,
) -> None:
    """Predict Teff, logg, [M/H] and vsini of spectra, with uncertainties.

    Every input gets one row in the table, good or bad, with a status and a reason.
    """
    from harpsstar.archive.batch import predict_files
    from harpsstar.cli._show import Progress, show_outcome
    from harpsstar.cli.exit import code_of

    command = shlex.join(["harpsstar", *sys.argv[1:]])
    with Progress(quiet=quiet) as progress:
        outcome = predict_files(files, output, model=model, blaze_dir=blaze_dir, command=command,
                                overwrite=overwrite, on_row=progress.row)
    show_outcome(outcome, quiet=quiet)
    raise typer.Exit(code_of(outcome))
