"""Nodes of the grid computed by other processes, of this machine or of a Dask cluster.

A task holds everything that it needs, the deck and the line list, and returns its spectrum: the
machines of a cluster share no file system, and a task that is done twice, because its worker died,
gives the same result. Whoever asked for it writes it to disk.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED as FIRST
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harpsstar._version import __version__
from harpsstar.errors import ConfigError
from harpsstar.grid import synthesis
from harpsstar.grid.atlas9 import Deck
from harpsstar.model.linelist import LineArray

__all__ = ["Workers", "deck_flux", "workers"]

T = TypeVar("T")

#: Tasks that are submitted at a time, for each that can be worked on.
_AHEAD = 3
_TIMEOUT = 30.0  # s, for the scheduler to answer and for a first worker
_RETRIES = 3  # of a task whose worker dies
# PySME's library keeps its state in the process; Dask's workers may have several threads.
_ONE_AT_A_TIME = threading.Lock()


def deck_flux(
    lines: LineArray,
    deck: Deck,
    content: bytes,
    alpha: float,
    wanted: Sequence[tuple[float, npt.NDArray[np.intp] | None]],
) -> list[npt.NDArray[np.float32]]:
    """Synthesise nodes of one atmosphere and alpha, on whatever machine.

    Parameters
    ----------
    lines : ndarray of :data:`harpsstar.model.linelist.DTYPE`
    deck : Deck
        Its labels; its file need not exist here.
    content : bytes
        Of that file.
    alpha : float
        dex.
    wanted : sequence of (float, ndarray or None)
        Microturbulence, km/s, and the pixels to be computed, all where it is None.

    Returns
    -------
    list of ndarray
        As :func:`harpsstar.grid.synthesis.synthesize_each`.
    """
    wave = synthesis.wavelengths()
    each = [(vmic, wave if pixels is None else wave[pixels]) for vmic, pixels in wanted]
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory(prefix="harpsstar-node-") as folder:
        path = Path(folder) / deck.path.name
        path.write_bytes(content)
        return synthesis.synthesize_each(replace(deck, path=path), lines, each, alpha=alpha)


@dataclass(frozen=True)
class Workers:
    """Something that computes tasks.

    Attributes
    ----------
    executor : concurrent.futures.Executor
    capacity : callable
        How many tasks can be worked on at a time; of a cluster it changes.
    share : callable
        Makes of an object what can be given to many tasks without being sent with each.
    """

    executor: Executor
    capacity: Callable[[], int]
    share: Callable[[Any], Any]

    def run(
        self, work: Callable[..., Any], tasks: Iterable[tuple[T, tuple[Any, ...]]]
    ) -> Iterator[tuple[T, Any]]:
        """Compute tasks, a few ahead of what can be worked on.

        Parameters
        ----------
        work : callable
            Importable by its name.
        tasks : iterable of (name, arguments)
            Read as workers become free, so that arguments need not exist all at once.

        Yields
        ------
        name, result
            In the order in which they are finished.
        """
        queue = iter(tasks)
        flying: dict[Future[Any], T] = {}
        try:
            while True:
                room = max(0, _AHEAD * max(1, self.capacity()) - len(flying))
                for name, arguments in itertools.islice(queue, room):
                    flying[self.executor.submit(work, *arguments)] = name
                if not flying:
                    return
                for future in wait(flying, return_when=FIRST).done:
                    yield flying.pop(future), future.result()
        finally:
            for future in flying:
                future.cancel()


@contextmanager
def workers(jobs: int, scheduler: str | None = None) -> Iterator[Workers]:
    """Start processes on this machine, or go to a Dask cluster.

    Parameters
    ----------
    jobs : int
        Processes; a cluster has its own.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://host:8786``. Its workers need harpsstar with
        the extra ``synth``, in the same version, and are best started with one thread each.

    Raises
    ------
    ConfigError
        dask.distributed is not installed, no scheduler or no worker answers, or a worker has
        another version.
    InputsMissingError
        A worker cannot import PySME.
    """
    if scheduler is None:
        # spawn: a fork after PySME's library has been loaded shares its state between workers
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts)
        try:
            yield Workers(pool, lambda: jobs, lambda thing: thing)
        finally:
            pool.shutdown(cancel_futures=True)
        return
    client = _connect(scheduler)
    executor = client.get_executor(pure=False, retries=_RETRIES)
    try:
        # One process works on one task at a time, whatever its number of threads. What is shared is
        # the result of a task: should its worker die, another one can make it again.
        yield Workers(
            executor, lambda: len(client.nthreads()),
            lambda thing: client.submit(_same, thing, pure=False, retries=_RETRIES),
        )  # fmt: skip
    finally:
        with suppress(Exception):
            executor.shutdown(wait=False)
        client.close()


def _connect(address: str) -> Any:
    """Return a client of a cluster that can synthesise."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"dask.distributed is not installed ({error})",
            hint='run pip install "harpsstar[archive]"',
        ) from None
    try:
        client = Client(address, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({error})",
            expected="an address such as tcp://host:8786",
        ) from error
    try:
        client.wait_for_workers(1, timeout=_TIMEOUT)
        found = set(client.run(_version).values())
    except TimeoutError:
        client.close()
        raise ConfigError(
            f"the Dask scheduler at {address} has no worker", expected="at least one",
            hint=f"start some: dask worker {address} --nworkers auto --nthreads 1",
        ) from None  # fmt: skip
    except BaseException:
        client.close()
        raise
    if found != {_own_version()}:
        client.close()
        raise ConfigError(
            f"workers have {', '.join(sorted(found))}",
            expected=f"{_own_version()} on all",
            hint="install the same versions on all machines",
        )
    return client


def _version() -> str:
    """Versions on a worker; fails where PySME cannot be imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return _own_version()


def _own_version() -> str:
    return f"harpsstar {__version__} and PySME {synthesis.load_pysme().pysme.__version__}"


def _same(thing: T) -> T:
    return thing


def _ignore_interrupts() -> None:
    """In a worker: Ctrl-C reaches it too, but its node is worth finishing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
