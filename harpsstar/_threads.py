"""One thread: where a result must be the same to the bit, and where processes share the cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

#: How many threads the libraries under numpy and torch use, read when they are loaded.
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: the last bit of a sum depends on how threads share it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Start processes whose linear algebra does not compete: there is one of them for every core.

    What the user has set stays.
    """
    new = [name for name in _VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(new, "1"))
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
