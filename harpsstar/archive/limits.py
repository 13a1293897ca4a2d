"""Fences around the reading of a file that nobody has checked: time and memory."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harpsstar.errors import ReadError

try:
    import resource
except ImportError:  # Windows has neither such limits nor an alarm.
    resource = None  # type: ignore[assignment]

_STATUS = "/proc/self/statm"


class LimitError(ReadError):
    """A file wanted more than it may have; another day it may need less."""


class _Late(BaseException):
    """No Exception, so that no handler of damaged content takes it for one."""


@contextmanager
def fenced(path: str, seconds: float, memory: int) -> Iterator[None]:
    """Let the block take so much time and so much more memory, and no more.

    Parameters
    ----------
    path : str
        For messages.
    seconds : float
        Wall-clock time; 0 for no limit.
    memory : int
        Bytes of address space beyond what the process has; 0 for no limit.

    Only the main thread of a process is fenced: another one cannot be interrupted, and shares its
    memory with the others. What the system has no limit for is not limited.

    Raises
    ------
    LimitError
        The block wanted more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        with _time(seconds), _space(memory):
            yield
    except _Late:
        raise LimitError(
            f"reading took more than {seconds:g} s", expected="a spectrum of one exposure",
            hint="look at the file, or at the disk it is on", path=path,
        ) from None
    except MemoryError:
        raise LimitError(
            f"reading needs more than {memory >> 20} MB of memory",
            expected="a spectrum of one exposure", hint="look at the file's header", path=path,
        ) from None


@contextmanager
def _time(seconds: float) -> Iterator[None]:
    if not (seconds and hasattr(signal, "setitimer")):
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _space(memory: int) -> Iterator[None]:
    used = _address_space()
    if not (memory and used):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + memory
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        with open(_STATUS, encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0
