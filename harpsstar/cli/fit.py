"""``harpsstar fit``."""

from __future__ import annotations

import enum
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli import _archive as ask
from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import TABLE


class Sampler(enum.StrEnum):
    """How the posterior is found."""

    LAPLACE = "laplace"
    EMCEE = "emcee"


def fit(
    files: Annotated[
        list[str],
        typer.Argument(
            help="FITS or text files, folders (searched with all subfolders) or quoted patterns.",
            show_default=False,
        ),
        Reads(),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            show_default=False,
            help="Table to write: .ecsv, .fits, .vot, .xml, .parquet or .csv. Without"
            " this option, a summary is shown.",
        ),
        Writes(TABLE),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            help="Fix a parameter, as in logg=4.44. Can be repeated.", show_default=False
        ),
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            help="Prior of a parameter: Gaussian, as in teff=5772±50 (or 5772+-50), or a"
            " range, as in teff=5000..6000. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    tie: Annotated[
        list[str] | None,
        typer.Option(
            help="Set vmic, vmac or alpha to its relation, without scatter. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    sampler: Annotated[Sampler, typer.Option(help="Method for the posterior.")] = Sampler.LAPLACE,
    together: Annotated[
        bool, typer.Option("--together", help="Fit all files together, as spectra of one star.")
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(help="Folder for samples of the posterior (NetCDF).", show_default=False),
        Writes(),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            help="Folder for plots: corner plot and best-fitting model.", show_default=False
        ),
        Writes(),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or file of the model that gives the starting point.",
            show_default="the packaged default",
        ),
        Reads(),
    ] = None,
    blaze_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the blaze files, if they are not beside the spectra.",
            show_default="beside each spectrum",
        ),
        Reads(),
    ] = None,
    resolution: ask.Resolution = None,
    medium: ask.Medium = "",
    frame: ask.Frame = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
    overwrite: ask.Overwrite = None,
) -> None:
    """Fit Teff, logg, [M/H], vsini, velocity and turbulence to the pixels of spectra.

    This is slower than predict. Parameters that are not known are marginalised over; any parameter
    can be fixed or given a prior.
    """
    from harpsstar.cli._fit import Progress, end, inputs_of
    from harpsstar.infer.fit.batch import Job, fit_files
    from harpsstar.infer.fit.options import parse

    options = parse(fix or (), prior or (), tie or (), sampler=sampler.value, seed=seed)
    given = ask.given(resolution, medium, frame)
    job = Job(options, output, model, blaze_dir, together, samples, plots, overwrite, given)
    job.check()
    with Progress(quiet=quiet) as progress:
        outcome = fit_files(inputs_of(files), job, command=shlex.join(["harpsstar", *sys.argv[1:]]),
                            on_row=progress.row)  # fmt: skip
    end(outcome, quiet=quiet)
