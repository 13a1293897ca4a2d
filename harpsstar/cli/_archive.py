"""Options that the commands for many files share, and how a run is told."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.errors import UnwritableError
from harpsstar.outputs.kinds import LOG, PAGE, TABLE

if TYPE_CHECKING:
    from harpsstar.archive.batch import Event, Options, Outcome
    from harpsstar.archive.discover import Selection
    from harpsstar.io.given import Given

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", show_default=False,
                 help="Table to write: .ecsv, .fits, .vot, .xml, .parquet or .csv; - prints it"
                      " as ECSV. Without this option, a summary is shown."),
    Writes(TABLE, folder_if="by_night", journal=True, or_stdout=True),
]
Model = Annotated[
    str | None,
    typer.Option(help="Name of a packaged model (see harpsstar models list) or a model file.",
                 show_default="the packaged default"),
    Reads(),
]
BlazeDir = Annotated[
    Path | None,
    typer.Option(help="Folder with the blaze files, if they are not beside the spectra.",
                 show_default="beside each spectrum"),
    Reads(),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print one line per row.")]
LogFile = Annotated[
    Path | None,
    typer.Option(help="Log file; the events of the run are appended to it.", show_default=False),
    Writes(LOG),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print events to standard output, one JSON object per line.")
]
Since = Annotated[
    str, typer.Option(help="Use only nights from this date on, YYYY-MM-DD.", show_default=False)
]
Target = Annotated[
    list[str] | None,
    typer.Option(help="Use only spectra of this star. Can be repeated.", show_default=False),
]
MinSnr = Annotated[
    float, typer.Option(help="Use only spectra whose header gives at least this SNR.")
]
KeepAll = Annotated[
    bool,
    typer.Option("--keep-all", help="Use every product of an exposure, not only the best one."),
]
Resolution = Annotated[
    float | None,
    typer.Option(help="Resolving power of the spectra.", show_default="what the file says"),
]
Medium = Annotated[
    str,
    typer.Option(help="Medium of the wavelengths, if the file does not state it: air or vacuum.",
                 show_default="found from the lines"),
]
Frame = Annotated[
    str,
    typer.Option(help="Frame of the wavelengths, if the file does not state it: barycentric,"
                 " topocentric or rest.", show_default="unknown"),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=0, show_default="one per processor, at most 4",
                 help="Number of worker processes, 0.7 GB each. 0 runs in this process; a file"
                      " that hangs or crashes then stops the run."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Address of a Dask scheduler whose workers process the files.", show_default=False
    ),
]
Batch = Annotated[int, typer.Option(min=1, help="Number of files per batch of a worker.")]
TimeLimit = Annotated[float, typer.Option(
    min=0.0, help="Time limit for reading a file, in seconds."
)]
ByNight = Annotated[
    bool, typer.Option("--by-night", help="Write a folder with one Parquet file per night.")
]
Report = Annotated[
    Path | None,
    typer.Option(help="Report of the run to write, as an .html page.", show_default=False),
    Writes(PAGE),
]


Overwrite = Annotated[
    bool | None,
    typer.Option("--overwrite/--no-overwrite",
                 show_default="only a table that harpsstar wrote is replaced",
                 help="Replace an existing output of any kind, but never an input; or replace"
                      " nothing."),
]


def destination(output: Path | None) -> tuple[Path | None, bool]:
    """Return the table to write, and whether "-" asks for it on standard output instead."""
    printed = output == Path("-")
    return (None, True) if printed else (output, False)


def plan(report: Path | None, **options: Any) -> Options:
    """Return the options of a run, with the command as the user typed it."""
    from harpsstar.archive.batch import Options

    return Options(command=shlex.join(["harpsstar", *sys.argv[1:]]), report=report, **options)


def given(resolution: float | None, medium: str, frame: str) -> Given:
    """Return what a user says of files.

    Raises
    ------
    ConfigError
        An impossible resolving power, medium or frame.
    """
    from harpsstar.io.given import Given

    return Given(resolution, medium.strip().lower(), frame.strip().lower())


def select(since: str, target: list[str] | None, min_snr: float, keep_all: bool) -> Selection:
    """Return which files a user wants."""
    from harpsstar.archive.discover import Selection

    return Selection(since, tuple(target or ()), min_snr, keep_all)


@contextmanager
def told(
    *, quiet: bool = False, verbose: bool = False, json: bool = False, log_file: Path | None = None
) -> Iterator[Any]:
    """Tell of a run's events on standard error, in a log and as JSON, as the user asked.

    A terminating signal ends the run as Ctrl-C does.
    """
    from harpsstar.cli._progress import Rows

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    log = _log_to(log_file, verbose=verbose)
    try:
        with Rows(quiet=quiet, verbose=verbose) as progress:

            def on_event(event: Event) -> None:
                progress.event(event)
                if json:
                    print(as_json(event), flush=True)
                if log_file is not None:
                    log.info("%s", as_json(event))

            yield on_event
    finally:
        signal.signal(signal.SIGTERM, before)
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()


def _log_to(path: Path | None, *, verbose: bool) -> logging.Logger:
    """Return the log of the archive: to a file and, when verbose, to standard error."""
    log = logging.getLogger("harpsstar.archive")
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handlers: list[logging.Handler] = []
    if path is not None:
        try:
            handlers.append(logging.FileHandler(path, encoding="utf-8"))
        except OSError as error:
            raise UnwritableError(f"cannot be written ({error.strerror})", path=path) from error
        log.setLevel(logging.INFO)
    errors = logging.StreamHandler()
    errors.setLevel(logging.WARNING)
    handlers.append(errors)
    for handler in handlers:
        handler.setFormatter(form)
        log.addHandler(handler)
    log.propagate = False
    if path is not None:
        # By its first line a log is known again as one that may be added to.
        log.info("%s", json.dumps({"event": "start", "command": sys.argv[1:]}))
    return log


def as_json(event: Event) -> str:
    """Return an event as one line of JSON; numbers that are not known are null."""
    from harpsstar.cli._evaluate import _plain

    facts: dict[str, Any] = {"event": event.kind, **event.facts}
    if event.row is not None:
        facts["row"] = asdict(event.row) | {
            name: getattr(event.row, name).tolist() for name in ("covariance", "covariance_noise")
        }
    return json.dumps(_plain(facts))


def finish(outcome: Outcome, *, quiet: bool, json: bool, ecsv: bool = False) -> None:
    """Show what a run came to, its table as ECSV if so asked, and leave with its code."""
    from harpsstar.cli._show import print_ecsv, show_outcome
    from harpsstar.cli.exit import code_of

    if ecsv:
        print_ecsv(outcome.rows)
    show_outcome(outcome, quiet=quiet, table=not json and not ecsv)
    raise typer.Exit(code_of(outcome))
