"""``harpsstar predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli import _archive as ask
from harpsstar.cli._files import Reads, Writes


def predict(
    files: Annotated[
        list[str],
        typer.Argument(help="FITS or text files, folders (searched with all subfolders) or"
                       " quoted patterns.", show_default=False),
        Reads(),
    ],
    output: ask.Output = None,
    model: ask.Model = None,
    blaze_dir: ask.BlazeDir = None,
    resolution: ask.Resolution = None,
    medium: ask.Medium = "",
    frame: ask.Frame = "",
    since: ask.Since = "",
    target: ask.Target = None,
    min_snr: ask.MinSnr = 0.0,
    keep_all: ask.KeepAll = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be done with each file.")
    ] = False,
    jobs: ask.Jobs = None,
    scheduler: ask.Scheduler = None,
    batch: ask.Batch = 16,
    time_limit: ask.TimeLimit = 60.0,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Process files again that already have a row.")
    ] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Keep rows of earlier inputs in the table.")
    ] = False,
    by_night: ask.ByNight = False,
    overwrite: ask.Overwrite = None,
    report: ask.Report = None,
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for plots: each spectrum with its best-fitting model.",
                     show_default=False),
        Writes(),
    ] = None,
    quiet: ask.Quiet = False,
    verbose: ask.Verbose = False,
    log_file: ask.LogFile = None,
    json: ask.Json = False,
) -> None:
    """Predict Teff, logg, [M/H] and vsini of spectra, with uncertainties.

    Every input gets one row in the table, with a status and, if it failed, the reason. In a
    folder, the science spectra of fibre A are the inputs. After an interruption, the same command
    continues where it stopped.
    """
    from harpsstar.archive.batch import plan_files, predict_files
    from harpsstar.cli._show import show_plan

    wanted = ask.select(since, target, min_snr, keep_all)
    given, (output, printed) = ask.given(resolution, medium, frame), ask.destination(output)
    options = ask.plan(report, model=model, blaze_dir=blaze_dir, jobs=jobs, scheduler=scheduler,
                       batch=batch, seconds=time_limit, refresh=refresh, append=append,
                       by_night=by_night, overwrite=overwrite, plots=plots, given=given)
    with ask.told(quiet=quiet, verbose=verbose, json=json, log_file=log_file) as on_event:
        if dry_run:
            show_plan(plan_files(files, output, selection=wanted, options=options))
            return
        outcome = predict_files(files, output, selection=wanted, options=options,
                                on_event=on_event)
    ask.finish(outcome, quiet=quiet, json=json, ecsv=printed)
