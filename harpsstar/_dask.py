"""Workers: the one place that goes to a Dask cluster, and what every worker process begins with."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from harpsstar.errors import ConfigError

__all__ = ["check_workers", "connect", "ignore_interrupts", "leave"]


def connect(address: str, timeout: float) -> Any:
    """Return a client of a Dask cluster.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://host:8786``.
    timeout : float
        Seconds for it to answer.

    Raises
    ------
    ConfigError
        dask.distributed is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"--scheduler needs dask.distributed, which is not installed ({error})",
            hint='run pip install "harpsstar[archive]"',
        ) from None
    try:
        return Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({error})",
            expected="an address such as tcp://host:8786",
        ) from error


def check_workers(client: Any, address: str, version: Callable[[], str], timeout: float) -> None:
    """Refuse a cluster without workers, or with some whose version is another than that here.

    Parameters
    ----------
    client : distributed.Client
    address : str
        Of the scheduler, for messages.
    version : callable
        Importable by its name; called here and on every worker. What it raises there is raised.
    timeout : float
        Seconds to wait for a first worker.

    Raises
    ------
    ConfigError
        No worker, or one of another version.
    """
    try:
        client.wait_for_workers(1, timeout=timeout)
        found = set(client.run(version).values())
    except TimeoutError:
        raise ConfigError(
            f"the Dask scheduler at {address} has no worker", expected="at least one",
            hint=f"start some: dask worker {address} --nworkers auto --nthreads 1",
        ) from None  # fmt: skip
    if found != {version()}:
        raise ConfigError(
            f"workers have {', '.join(sorted(found))}",
            expected=f"{version()} on all",
            hint="install the same versions on all machines",
        )


def leave(client: Any, executor: Any) -> None:
    """Cancel what is under way and take leave of the cluster, whatever state it is in."""
    with suppress(Exception):
        executor.shutdown(wait=False)
    with suppress(Exception):
        client.close(timeout=5)


def ignore_interrupts() -> None:
    """In a worker: Ctrl-C reaches it too, but is for the main process, which stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
