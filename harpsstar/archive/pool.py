"""Where the work is done: here, in processes of this machine, or on a Dask cluster.

All three give futures of :mod:`concurrent.futures`, so that the engine is the same for all.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, Protocol

from harpsstar._dask import connect, ignore_interrupts, leave
from harpsstar._threads import one_thread_each
from harpsstar.errors import HarpsstarError

#: What workers import: once, in the process that they are forked from.
_PRELOAD = ["harpsstar.archive.worker", "harpsstar.infer.predict"]
#: Windows knows one way to end a process.
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
#: Seconds for the scheduler of a cluster to answer.
_TIMEOUT = 20.0


class Pool(Protocol):
    """Some workers."""

    @property
    def capacity(self) -> int:
        """How many calls it makes sense to have submitted at a time."""

    @property
    def can_abandon(self) -> bool:
        """Whether a call that takes too long can be given up, and its worker with it."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a function called by a worker."""

    def abandon(self, future: Future[Any]) -> None:
        """Give up a call."""

    def close(self) -> None:
        """Stop all workers, in the middle of their work if need be."""


class Inline:
    """This process itself: no protection against a file that hangs or kills."""

    capacity = 1
    can_abandon = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call the function."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001  as any executor
            future.set_exception(error)
        return future

    def abandon(self, future: Future[Any]) -> None:
        """Do nothing: a call is over when it has been submitted."""

    def close(self) -> None:
        """Do nothing."""


class Processes:
    """Worker processes of this machine, each an executor of its own.

    So the death of one breaks no other, and it is known which call was its last.

    Parameters
    ----------
    jobs : int
        How many.
    """

    can_abandon = True

    def __init__(self, jobs: int) -> None:
        self.capacity = jobs
        if "forkserver" in multiprocessing.get_all_start_methods():
            self._context: Any = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(_PRELOAD)
            _start_forkserver()
        else:
            self._context = multiprocessing.get_context("spawn")
        self._lanes: list[_Lane] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a function called by a worker that has nothing to do."""
        lane = next((lane for lane in self._lanes if lane.idle), None)
        if lane is None:
            lane = _Lane(self._context)
            self._lanes.append(lane)
        return lane.submit(function, *arguments)

    def abandon(self, future: Future[Any]) -> None:
        """Kill the worker of a call."""
        for lane in self._lanes:
            if lane.last is future:
                lane.kill()

    def close(self) -> None:
        """Stop every worker, in the middle of its work if need be: the journal has the rest."""
        for lane in self._lanes:
            lane.kill()
        self._lanes.clear()


class _Lane:
    """One worker process, replaced when it dies."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._executor: ProcessPoolExecutor | None = None
        self._pid: Future[int] | None = None
        self.last: Future[Any] | None = None

    @property
    def idle(self) -> bool:
        return self.last is None or self.last.done()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self._executor is not None:
            with suppress(BrokenProcessPool):
                self.last = self._executor.submit(function, *arguments)
                return self.last
            self._executor.shutdown(wait=False)
        self._executor = ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_begin
        )
        self._pid = None
        with one_thread_each():
            self._pid = self._executor.submit(os.getpid)
        self.last = self._executor.submit(function, *arguments)
        return self.last

    def kill(self) -> None:
        if self._executor is None:
            return
        if self._pid is None:
            _kill_forkserver()  # Ctrl-C, while the worker was asked for
        elif self.last is not None and not self.last.done():
            with suppress(Exception):
                os.kill(self._pid.result(timeout=10.0), _KILL)
            # The executor prints a traceback if it is told to stop before it has seen the death.
            wait([self.last], timeout=1.0)
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._pid = None


def _start_forkserver() -> None:
    """Begin the imports of the process that workers are forked from: they take seconds."""
    # Ctrl-C is for the main process. (The tracker, which comes first, unblocks what is blocked.)
    multiprocessing.resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with one_thread_each():
            multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _kill_forkserver() -> None:
    """Kill it before it forks a worker that nobody waits for; the next worker starts another."""
    server = getattr(multiprocessing.forkserver, "_forkserver", None)
    if pid := getattr(server, "_forkserver_pid", None):
        with suppress(OSError):
            os.kill(pid, _KILL)


def _begin() -> None:
    """Prepare a worker: Ctrl-C is for the main process, and without that there is no work."""
    ignore_interrupts()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)


class Cluster:
    """Workers of a Dask cluster, which must see the same files under the same names.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    ConfigError
        Dask is not installed, or no scheduler answers.
    """

    #: A call may wait for hours until the cluster has a worker again.
    can_abandon = False

    def __init__(self, address: str) -> None:
        self._address = address
        self._client = connect(address, _TIMEOUT)
        self._executor = self._client.get_executor(pure=False)

    @property
    def capacity(self) -> int:
        """Two calls for each thread, so that none waits for the next; the number may change."""
        return max(2, 2 * sum(self._client.nthreads().values()))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a function called by a worker of the cluster.

        Raises
        ------
        HarpsstarError
            The scheduler is gone.
        """
        try:
            future: Future[Any] = self._executor.submit(function, *arguments)
        except Exception as error:
            raise HarpsstarError(
                f"the Dask scheduler at {self._address} no longer answers ({error})",
                hint="start one; the same command goes on",
            ) from error
        return future

    def abandon(self, future: Future[Any]) -> None:
        """Forget a call."""
        future.cancel()

    def close(self) -> None:
        """Cancel what is under way and take leave of the cluster."""
        leave(self._client, self._executor)


def is_death(error: BaseException) -> bool:
    """Tell whether an exception means that a worker died, not that its function raised."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"BrokenExecutor", "KilledWorker", "CancelledError"})


def make_pool(jobs: int, scheduler: str | None = None) -> Pool:
    """Return workers: of a cluster when there is an address, else ``jobs`` processes.

    ``jobs`` 0 works in this process.

    Raises
    ------
    ConfigError
        See :class:`Cluster`.
    """
    if scheduler:
        return Cluster(scheduler)
    return Processes(jobs) if jobs else Inline()


