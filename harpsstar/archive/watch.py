"""Files are done as they appear: for the observing night itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from harpsstar.archive.batch import (
    Event,
    OnEvent,
    Options,
    Outcome,
    Run,
    check_output,
    find_others,
    is_kept,
    nobody,
)
from harpsstar.archive.discover import Candidate, Selection, Survey, survey
from harpsstar.archive.engine import model_of
from harpsstar.archive.journal import Journal, journal_of
from harpsstar.archive.pool import make_pool
from harpsstar.errors import ReadError
from harpsstar.io.blaze import check_blaze_dir
from harpsstar.io.files import load_bytes
from harpsstar.io.paths import Found, Stamp, policy_of, stamp_of
from harpsstar.outputs import under

#: Seconds after which a file that does not grow is done even if it is not whole: its row then
#: says so.
PATIENCE = 600.0


def watch_files(
    folders: Iterable[str | Path],
    output: str | Path,
    *,
    every: float = 10.0,
    selection: Selection | None = None,
    options: Options | None = None,
    on_event: OnEvent | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Predict the labels of every spectrum that is or will be in some folders, until interrupted.

    Parameters
    ----------
    folders : iterable of str or Path
        Searched to every depth, again and again, so that network file systems serve as well. They
        need not exist yet.
    output : str or Path
        The table. Its rows are never taken away: it may be moved on with its journal.
    every : float
        Seconds between two searches. A file is taken when it has not changed between two of them
        and holds all the bytes that its headers announce.
    selection, options, on_event
        As in :func:`harpsstar.archive.batch.predict_files`.
    pause : callable
        Waits for so many seconds.

    Returns
    -------
    Outcome
        Of the last search that found something, interrupted.

    Raises
    ------
    HarpsstarError
        As :func:`harpsstar.archive.batch.predict_files`.
    """
    options = replace(options or Options(), append=True, refresh=False)
    tell = on_event or nobody
    check_blaze_dir(options.blaze_dir)
    folders = list(folders)
    with under(policy_of(folders, overwrite=options.overwrite)):
        path = check_output(Path(output), options)
        with closing(make_pool(options.workers(0), options.scheduler)) as pool:
            model = model_of(pool, options.settings)
            with Journal(journal_of(path)) as journal:
                run = Run(journal, pool, model, path, options, tell)
                return _watch(
                    run, _arrivals(folders, run, selection or Selection(), every, pause)
                )


def _watch(run: Run, arrivals: Iterator[Survey]) -> Outcome:
    outcome = Outcome((), 0, None, True, {})
    try:
        run.tell(Event("waiting", {}))
        for seen in arrivals:
            outcome = run(seen)
            if outcome.interrupted:
                return outcome
    except KeyboardInterrupt:
        run.tell(Event("interrupted", {"counts": dict(outcome.counts or {})}))
    return replace(outcome, interrupted=True)


def _arrivals(
    folders: Iterable[str | Path],
    run: Run,
    selection: Selection,
    every: float,
    pause: Callable[[float], None],
) -> Iterator[Survey]:
    """Yield what is new and whole, whenever there is something; never ends."""
    journal, watched = run.journal, _Watched(run.journal)
    while True:
        found = [item for item in _listing(folders, run.output) if watched.is_settled(item)]
        # Twins are looked for among all files, old and new.
        seen = survey(found, selection, journal)
        new = tuple(item for item in seen.chosen if not _is_done(item, journal))
        if new:
            yield Survey(new, seen.left_out)
        pause(every)


def _listing(folders: Iterable[str | Path], output: Path | None) -> list[Found]:
    """List the files in folders; that a folder is empty, or not there yet, is no news."""
    return [item for item in find_others(folders, output) if item.problem is None]


def _is_done(item: Candidate, journal: Journal) -> bool:
    known = journal.known(item.key)
    # What killed its worker is left until the next start.
    return known is not None and (is_kept(item, known) or not known.final)


class _Watched:
    """Which files have stopped growing, and are whole."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen: dict[str, tuple[Stamp | None, float]] = {}
        self._whole: dict[str, Stamp] = {}

    def is_settled(self, item: Found) -> bool:
        stamp = stamp_of(item.path)
        if stamp is None:
            return False
        if self._whole.get(item.key) == stamp:
            return True
        known = self._journal.known(item.key)
        if known is not None and known.stamp == stamp:
            # An earlier run has waited for it.
            self._whole[item.key] = stamp
            return True
        before, since = self._seen.get(item.key, (None, 0.0))
        if before != stamp:
            self._seen[item.key] = stamp, time.monotonic()
            return False
        if _is_whole(item.path) or time.monotonic() - since > PATIENCE:
            del self._seen[item.key]
            self._whole[item.key] = stamp
            return True
        return False


def _is_whole(path: Path) -> bool:
    """Tell whether a file holds the bytes that its headers announce, or is no FITS file at all."""
    try:
        load_bytes(path)
    except ReadError as error:
        return not any(word in error.found for word in ("truncated", "empty", "gzip"))
    except Exception:  # noqa: BLE001  the reader meets it again, and gives the reason in a row
        return True
    return True
