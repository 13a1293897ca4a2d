"""What a worker process does: read some files, and measure them together.

Everything here is called in other processes, on this machine or on a cluster, so arguments and
results are small and can be pickled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harpsstar.archive.limits import LimitError, fenced
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.paths import Stamp, digest_of, stamp_of
from harpsstar.io.results import Row

if TYPE_CHECKING:
    from harpsstar.infer.predict import Predictor
    from harpsstar.infer.prepare import Prepared
    from harpsstar.spectra.velocity import Bank

#: Fields of :class:`Done`: what a worker spends its time on.
STEPS = ("reading", "preparing", "inferring")
#: A worker of a cluster may have several threads, and one predictor is large.
_lock = threading.Lock()


@dataclass(frozen=True)
class Settings:
    """What a worker needs to know beside the files.

    Attributes
    ----------
    model, blaze_dir : str or None
        See :func:`harpsstar.infer.predict.predict_rows`.
    seconds : float
        Time that reading one file may take.
    memory : int
        Bytes that reading one file may take; limited only in processes of our own.
    threads : int
        Of torch; 0 leaves it as it is.
    given : Given
        What the user says of files that do not say it.
    """

    model: str | None = None
    blaze_dir: str | None = None
    seconds: float = 60.0
    memory: int = 2 * 2**30
    threads: int = 1
    given: Given = NOTHING


@dataclass(frozen=True)
class Input:
    """One file: its name in the journal, as the user named it, and the digest it had, if any."""

    key: str
    name: str
    digest: str = ""


@dataclass(frozen=True)
class Done:
    """What came of one input.

    Attributes
    ----------
    key : str
        As in :class:`Input`.
    row : Row or None
        None when the content is what it was.
    stamp : Stamp or None
        From before the file was read, so that a later change is noticed.
    digest : str
        SHA-256 of the file; empty when it could not be read.
    reading, preparing, inferring : float
        Seconds of this worker; the last is shared equally by what was inferred together.
    final : bool
        Whether the row holds as long as the file does not change.
    """

    key: str
    row: Row | None
    stamp: Stamp | None = None
    digest: str = ""
    reading: float = 0.0
    preparing: float = 0.0
    inferring: float = 0.0
    final: bool = True


@dataclass(frozen=True)
class ModelFacts:
    """What the workers will use: as written into rows, and the model's card."""

    version: str
    card: dict[str, Any]


def describe_model(settings: Settings) -> ModelFacts:
    """Load the model.

    Raises
    ------
    ModelError
        It cannot be used.
    """
    model = load_predictor(settings).model
    return ModelFacts(f"{model.name} {model.sha256[:8]}", model.identity)


def work(settings: Settings, inputs: Sequence[Input]) -> list[Done]:
    """Make a row of every input, in order; whatever is wrong with one costs no other."""
    predictor = load_predictor(settings)
    read = [_read(settings, predictor.bank, item) for item in inputs]
    start = time.perf_counter()
    whole = [item for item in read if item.prepared is not None]
    rows = iter(predictor.rows_of([item.prepared for item in whole if item.prepared]))
    share = (time.perf_counter() - start) / max(1, len(whole))
    return [
        item.done if item.prepared is None else _inferred(item.done, next(rows), share)
        for item in read
    ]


def _inferred(done: Done, row: Row, seconds: float) -> Done:
    from harpsstar.infer.prepare import is_unexpected

    # Where memory lacks, or after a bug, the next run tries again.
    return replace(done, row=row, inferring=seconds, final=not is_unexpected(row))


@dataclass(frozen=True)
class _Read:
    """One input that was read: ready for inference, or done with."""

    done: Done
    prepared: Prepared | None = None


def _read(settings: Settings, bank: Bank, item: Input) -> _Read:
    from harpsstar.infer.prepare import failed_row, is_unexpected, prepare, quietly
    from harpsstar.io.products import read_arrays

    clock = time.perf_counter
    begin = clock()
    # Before the content, so that a change in the meantime is noticed by the next run.
    done = Done(item.key, None, stamp_of(item.name))
    try:
        with quietly(), fenced(item.name, settings.seconds, settings.memory):
            done = replace(done, digest=digest_of(item.name))
            if done.digest and done.digest == item.digest:
                return _Read(done)
            spectrum = read_arrays(item.name, blaze_dir=settings.blaze_dir,
                                   given=settings.given)  # fmt: skip
            done = replace(done, reading=clock() - begin)
            prepared = prepare(spectrum, bank, file=item.name)
            return _Read(replace(done, preparing=clock() - begin - done.reading), prepared)
    except Exception as error:  # noqa: BLE001  another file's row must not be lost
        row = failed_row(item.name, error)
        # A fault of the file stays; one of disk or memory, or of this program, may not.
        passing = isinstance(error, LimitError) or isinstance(error.__cause__, OSError)
        final = bool(done.digest) and not passing and not is_unexpected(row)
        return _Read(replace(done, row=row, reading=clock() - begin, final=final))


def load_predictor(settings: Settings) -> Predictor:
    """Return the predictor of this process, which is made once.

    Raises
    ------
    ModelError
        The model or the grid cannot be used.
    """
    with _lock:
        import torch

        from harpsstar.infer.predict import predictor

        if settings.threads and torch.get_num_threads() != settings.threads:
            torch.set_num_threads(settings.threads)
        return predictor(settings.model or "default")
