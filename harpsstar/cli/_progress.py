"""Progress of work that takes minutes to hours and resumes: on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from harpsstar.cli._show import sentence
from harpsstar.cli.exit import ExitCode

if TYPE_CHECKING:
    from harpsstar.archive.batch import Event


class Stages:
    """A bar for each stage on a terminal; elsewhere a line for each now and then.

    As a context manager it also turns Ctrl-C into the advice to run the same command again.

    Parameters
    ----------
    every : float
        Seconds between two lines of one stage.
    clock : callable
        Seconds.
    quiet : bool
        Show nothing.
    """

    def __init__(
        self,
        *,
        every: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        quiet: bool = False,
    ) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._every, self._clock, self._quiet = every, clock, quiet
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(), _Count(),
                        _Rate(), TimeRemainingColumn(), TextColumn("{task.fields[remark]}"),
                        console=self._console, disable=quiet or not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._bar.stop()
        if isinstance(error, KeyboardInterrupt):
            typer.echo("harpsstar: interrupted; run the same command again to continue", err=True)
            raise typer.Exit(ExitCode.INTERRUPTED) from error

    def stage(self, name: str) -> Callable[[int, int], None]:
        """Return a callable that takes (done, total) of one stage."""
        return lambda done, total: self(name, done, total)

    def __call__(self, stage: str, done: int, total: int, remark: str = "") -> None:
        """Tell that ``done`` of ``total`` are there."""
        if self._quiet:
            return
        if not self._console.is_terminal:
            self._line(stage, done, total, remark)
            return
        if stage not in self._tasks:
            # What an earlier run has done says nothing about the speed of this one.
            self._tasks[stage] = self._bar.add_task(
                stage, total=total, completed=done, first=done, remark=""
            )
        task = self._tasks[stage]
        if self._bar.tasks[self._bar.task_ids.index(task)].finished and done < total:
            # Work has come after a pause, whose time is not that of the work.
            self._bar.reset(task, total=total, completed=done, first=done)
        self._bar.update(task, completed=done, total=total, remark=remark)
        if done >= total:
            self._bar.stop_task(task)

    def _line(self, stage: str, done: int, total: int, remark: str) -> None:
        now = self._clock()
        before = self._told.get(stage)
        if before is not None and done < total and now - before[0] < self._every:
            return
        self._told[stage] = (now, done)
        parts = [f"{stage} {done}/{total}"]
        if before is not None and done > before[1] and now > before[0]:
            rate = (done - before[1]) / (now - before[0])
            parts.append(_rate(rate))
            if done < total:
                parts.append(f"{_duration((total - done) / rate)} left")
        typer.echo(", ".join(parts + [remark] * bool(remark)), err=True)


class Rows(Stages):
    """The rows of a run: how many, how fast, and a line for each that failed.

    Parameters
    ----------
    quiet : bool
        Show only what failed.
    verbose : bool
        A line for every row.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._verbose = verbose
        self._starting: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            # Workers and model take seconds, in which a terminal should not look dead.
            self._starting = self._bar.add_task("starting", total=None, remark="")
        return super().__enter__()

    def event(self, event: Event) -> None:
        """Show an event of a run."""
        if self._starting is not None:
            self._bar.remove_task(self._starting)
            self._starting = None
        facts = event.facts
        if event.kind == "waiting":
            self._console.print(Text("waiting for files"))
        elif event.kind == "looking":
            self("headers", facts["done"], facts["total"])
        elif event.kind == "found":
            self("predicting", facts["resumed"], facts["inputs"])
        elif event.row is not None:
            self("predicting", facts["number"], facts["total"])
            if self._verbose or event.row.status == "failed":
                place = f"[{facts['number']}/{facts['total']}] {event.row.file}: "
                self._console.print(Text(place + sentence(event.row)), soft_wrap=True)


class _Count(MofNCompleteColumn):
    """How many of how many, where that is known."""

    def render(self, task: Task) -> Text:
        """Return what the column shows of a task."""
        return Text("") if task.total is None else super().render(task)


class _Rate(ProgressColumn):
    """Items per second, or seconds per item, since the stage began: they come in batches."""

    def render(self, task: Task) -> Text:
        """Return what the column shows of a task."""
        done = task.completed - task.fields.get("first", 0)
        return Text(_rate(done / task.elapsed) if done and task.elapsed else "")


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def work_folder(output: Path, work: Path | None) -> Path:
    """Return the folder of unfinished work: ``work``, or ``work-<name>`` beside the output."""
    return output.with_name(f"work-{output.stem}") if work is None else work
