"""Inputs go to workers in small batches and come back as rows; no worker's death loses any."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from harpsstar.archive.pool import Pool, is_death
from harpsstar.archive.worker import Done, Input, ModelFacts, Settings, describe_model, work
from harpsstar.errors import HarpsstarError
from harpsstar.io.results import Row

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: A file whose worker has died so many times is not tried again.
_DEATHS = 2
#: Seconds that a worker may take for its start and for measuring one batch.
_PATIENCE = 120.0
#: Seconds between two looks at whether someone is late.
_LOOK = 5.0


@dataclass
class _Task:
    """Inputs that go to one worker together, and how often a worker died over them."""

    inputs: list[Input]
    deaths: int = 0
    deadline: float = 0.0


def process(
    inputs: Iterable[Input], pool: Pool, settings: Settings, batch: int
) -> Iterator[list[Done]]:
    """Have every input made into a row.

    Parameters
    ----------
    inputs : iterable of Input
        Taken as they are needed.
    pool : Pool
    settings : Settings
    batch : int
        Inputs that one worker reads and measures together.

    Yields
    ------
    list of Done
        As they are finished, in any order; all inputs once.

    Raises
    ------
    HarpsstarError
        No input is to blame: the model cannot be used, or the cluster is gone.
    """
    for group, result in _called(work, inputs, pool, settings, batch):
        yield result if isinstance(result, list) else [_given_up(item, result) for item in group]


def model_of(pool: Pool, settings: Settings) -> ModelFacts:
    """Return what the workers will use.

    Raises
    ------
    ModelError
        It cannot be used.
    HarpsstarError
        A worker died over it.
    """
    future = pool.submit(describe_model, settings)
    error = _error_of(future)
    if error is not None and is_death(error):
        raise HarpsstarError("a worker process died while it loaded the model",
                             expected="about 0.7 GB of memory per process", hint="use fewer --jobs")
    facts: ModelFacts = future.result()
    return facts


def call_each(
    function: Callable[[Settings, Sequence[Input]], list[T]],
    inputs: Iterable[Input],
    pool: Pool,
    settings: Settings,
) -> Iterator[tuple[Input, T]]:
    """Call a function for every input alone; those over which a worker dies twice are left out."""
    for group, result in _called(function, inputs, pool, settings, 1):
        if isinstance(result, list):
            yield group[0], result[0]


def _called(
    function: Callable[[Settings, Sequence[Input]], list[T]],
    inputs: Iterable[Input],
    pool: Pool,
    settings: Settings,
    batch: int,
) -> Iterator[tuple[list[Input], list[T] | str]]:
    """Yield groups of inputs with what a function made of them, or with why there is nothing."""
    waiting = _batches(inputs, batch)
    again: deque[_Task] = deque()
    under_way: dict[Future[list[T]], _Task] = {}
    while True:
        while len(under_way) < pool.capacity:
            task = again.popleft() if again else next(waiting, None)
            if task is None:
                break
            task.deadline = time.monotonic() + _PATIENCE + settings.seconds * len(task.inputs)
            under_way[pool.submit(function, settings, task.inputs)] = task
        if not under_way:
            return
        finished, _ = wait(under_way, timeout=_LOOK, return_when=FIRST_COMPLETED)
        for future in finished:
            task = under_way.pop(future)
            error = _error_of(future)
            if error is None:
                yield task.inputs, future.result()
            elif is_death(error):
                yield from _after_death(task, again, "the worker process died")
            else:
                raise error
        if not pool.can_abandon:
            continue
        for future in [future for future, task in under_way.items() if _late(task)]:
            task = under_way.pop(future)
            pool.abandon(future)
            yield from _after_death(task, again, "no answer in time")


def _batches(inputs: Iterable[Input], batch: int) -> Iterator[_Task]:
    task = _Task([])
    for item in inputs:
        task.inputs.append(item)
        if len(task.inputs) == batch:
            yield task
            task = _Task([])
    if task.inputs:
        yield task


def _late(task: _Task) -> bool:
    return time.monotonic() > task.deadline


def _error_of(future: Future[Any]) -> BaseException | None:
    # A cancelled future raises what another would return.
    try:
        return future.exception()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return error


def _after_death(
    task: _Task, again: deque[_Task], what: str
) -> Iterator[tuple[list[Input], str]]:
    """Try the inputs one by one; one that has been alone with death twice is the culprit."""
    deaths = task.deaths + 1
    _log.warning("%s over %s", what, ", ".join(item.name for item in task.inputs))
    if len(task.inputs) == 1 and deaths >= _DEATHS:
        yield task.inputs, f"{what} {deaths} times on this file"
    else:
        again.extend(_Task([item], deaths) for item in task.inputs)


def _given_up(item: Input, why: str) -> Done:
    error = HarpsstarError(why, expected="a spectrum of one exposure",
                           hint="check the file; the same command tries it again")
    return Done(item.key, Row.failed(item.name, error), final=False)
