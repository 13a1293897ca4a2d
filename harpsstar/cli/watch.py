"""``harpsstar watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli import _archive as ask
from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import TABLE


def watch(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders to watch for new files.", show_default=False),
        Reads(),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", show_default=False,
                     help="Table to keep up to date: .ecsv, .fits, .vot, .parquet or .csv."),
        Writes(TABLE, folder_if="by_night", journal=True),
    ],
    every: Annotated[float, typer.Option(
        min=0.1, help="Seconds between two searches of the folders."
    )] = 10.0,
    model: ask.Model = None,
    blaze_dir: ask.BlazeDir = None,
    resolution: ask.Resolution = None,
    medium: ask.Medium = "",
    frame: ask.Frame = "",
    since: ask.Since = "",
    target: ask.Target = None,
    min_snr: ask.MinSnr = 0.0,
    keep_all: ask.KeepAll = False,
    jobs: ask.Jobs = 1,
    scheduler: ask.Scheduler = None,
    batch: ask.Batch = 16,
    time_limit: ask.TimeLimit = 60.0,
    by_night: ask.ByNight = False,
    report: ask.Report = None,
    quiet: ask.Quiet = False,
    verbose: ask.Verbose = False,
    log_file: ask.LogFile = None,
    json: ask.Json = False,
) -> None:
    """Predict the labels of spectra as they appear in folders, until stopped.

    A file is processed when it is complete, and the table is updated when files have been
    processed. Ctrl-C or a terminating signal stops the command; the same command continues later.
    """
    from harpsstar.archive.watch import watch_files

    wanted = ask.select(since, target, min_snr, keep_all)
    options = ask.plan(report, model=model, blaze_dir=blaze_dir, jobs=jobs, scheduler=scheduler,
                       batch=batch, seconds=time_limit, by_night=by_night,
                       given=ask.given(resolution, medium, frame))  # fmt: skip
    with ask.told(quiet=quiet, verbose=verbose, json=json, log_file=log_file) as on_event:
        watch_files(folders, output, every=every, selection=wanted, options=options,
                    on_event=on_event)
