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
            help="FITS or text files, folders (searched to every depth) or quoted patterns.",
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
            help="Table to write: .ecsv, .fits, .vot, .xml, .parquet or .csv. Without,"
            " a summary is shown.",
        ),
        Writes(TABLE),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            help="Hold a parameter: logg=4.44. May be given more than once.", show_default=False
        ),
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            help="What is known beforehand: teff=5772±50 (or 5772+-50), a Gaussian;"
            " teff=5000..6000, a range.",
            show_default=False,
        ),
    ] = None,
    tie: Annotated[
        list[str] | None,
        typer.Option(
            help="Let vmic, vmac or alpha follow its relation exactly.", show_default=False
        ),
    ] = None,
    sampler: Annotated[Sampler, typer.Option(help="How the posterior is found.")] = Sampler.LAPLACE,
    together: Annotated[
        bool, typer.Option("--together", help="All files show one star: fit them at once.")
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(help="Folder for draws from the posterior (NetCDF).", show_default=False),
        Writes(),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for pictures.", show_default=False), Writes()
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every random number.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or file of the model that gives the start.",
            show_default="the packaged default",
        ),
        Reads(),
    ] = None,
    blaze_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where blaze files are, if not beside the spectra.",
            show_default="beside each spectrum",
        ),
        Reads(),
    ] = None,
    resolution: ask.Resolution = None,
    medium: ask.Medium = "",
    frame: ask.Frame = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what failed.")] = False,
    overwrite: ask.Overwrite = None,
) -> None:
    """Fit Teff, logg, [M/H], vsini, velocity and turbulence to the pixels of spectra.

    Slower than predict, and everything that is not known is marginalised; any parameter can be
    held or given a prior.
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
