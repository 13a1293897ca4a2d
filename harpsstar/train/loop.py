"""The loop: batches, optimiser, schedule, checkpoints; the same for every network."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from harpsstar.errors import TrainingError
from harpsstar.train import checkpoint
from harpsstar.train.log import Log
from harpsstar.train.recipes import OptimiserOptions
from harpsstar.train.world import World

#: Arguments of an objective: a loss, (), is what it returns for them.
Batch: TypeAlias = tuple[Tensor, ...]
#: Called with (stage, done, total, remark).
Progress: TypeAlias = Callable[[str, int, int, str], None]

_LARGEST_GRADIENT = 10.0
_WARM_UP = 0.15  # share of a one-cycle schedule
_SAVE_EVERY = 30.0  # seconds: less than this is lost when a training is killed
_LOOK_EVERY = 16  # steps: looking at a loss makes an accelerator wait


@dataclass(frozen=True)
class Task:
    """What is minimised, and over what.

    Attributes
    ----------
    objective : nn.Module
        Called with a batch, gives its mean loss; holds the network.
    batches : callable
        Gives this process's batches of an epoch, the same whenever that epoch is asked for.
    validation : callable
        Gives the batches by which the best weights are chosen.
    steps, samples : int
        Batches of this process and spectra of all processes in an epoch.
    seed : int
        Of what is random in the network (dropout).
    """

    objective: nn.Module
    batches: Callable[[int], Iterator[Batch]]
    validation: Callable[[], Iterator[Batch]]
    steps: int
    samples: int
    seed: int


class Fit:
    """One training, from its checkpoint if there is one.

    Parameters
    ----------
    task : Task
    options : OptimiserOptions
    folder : Path
        Of ``checkpoint.safetensors`` and the log.
    world : World
        The objective is on its device already.
    stage : str
        Name of this training, for progress.
    """

    def __init__(
        self,
        task: Task,
        options: OptimiserOptions,
        folder: Path,
        world: World | None = None,
        stage: str = "training",
    ) -> None:
        self.task, self.options, self.stage = task, options, stage
        self.world = World() if world is None else world
        self.state = checkpoint.State()
        self._folder, self._path = folder, folder / "checkpoint.safetensors"
        self._parameters = [p for p in task.objective.parameters() if p.requires_grad]
        self._optimiser = _optimiser(self._parameters, options, self.world.device)
        self._schedule = _schedule(self._optimiser, options, task.steps)
        self._best = task.objective.state_dict()
        self._unsaved: tuple[Any, ...] | None = None
        self._saved_at = time.monotonic()
        if self._path.exists():
            self._restore()

    def _restore(self) -> None:
        self.state, network, self._best, optimiser, schedule = checkpoint.read(self._path)
        try:
            self.task.objective.load_state_dict(network)
            self._optimiser.load_state_dict(optimiser)
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                "does not fit this network", path=self._path, hint="choose another --work folder"
            ) from error
        self._schedule.load_state_dict(schedule)

    def run(self, progress: Progress | None = None) -> float:
        """Train to the last epoch; the objective then has the best weights.

        Whatever ends it early, the last finished epoch and the best weights are in the checkpoint.

        Returns
        -------
        float
            Validation loss of the weights kept.

        Raises
        ------
        TrainingError
            When a loss is not finite.
        """
        shared = self.world.shared(self.task.objective)
        log = Log(self._folder, self.state.epoch) if self.world.first else None
        try:
            while self.state.epoch < self.options.epochs:
                self._one(shared, log, progress)
        finally:
            self._save()
            if log is not None:
                log.close()
        return self.take_best()

    def take_best(self) -> float:
        """Give the objective the weights of the lowest validation loss, and return that loss."""
        self.task.objective.load_state_dict(self._best)
        self.task.objective.eval()
        return self.state.best

    def _one(self, shared: nn.Module, log: Log | None, progress: Progress | None) -> None:
        """Train and validate one epoch, and keep what came of it."""
        start, epoch = time.monotonic(), self.state.epoch
        rate = self._optimiser.param_groups[0]["lr"]
        loss = self._epoch(shared, epoch)
        score = self._validate()
        seconds = time.monotonic() - start
        if score < self.state.best:
            self._best = {k: v.clone() for k, v in self.task.objective.state_dict().items()}
        self.state = checkpoint.State(
            epoch + 1, self.state.samples + self.task.samples, self.state.seconds + seconds,
            min(score, self.state.best),
        )  # fmt: skip
        self._remember()
        if log is not None:
            log(epoch=epoch, samples=self.state.samples, seconds=round(self.state.seconds, 1),
                learning_rate=rate, loss=loss, validation=score)  # fmt: skip
        if time.monotonic() - self._saved_at > _SAVE_EVERY:
            self._save()
        if progress is not None:
            speed = self.task.samples / seconds
            remark = f"validation {score:.3f}, {speed:.3g} spectra/s"
            progress(self.stage, epoch + 1, self.options.epochs, remark)

    def _epoch(self, shared: nn.Module, epoch: int) -> float:
        """Mean loss of an epoch; the weights move."""
        torch.manual_seed(self.task.seed + epoch * self.world.size + self.world.rank)
        shared.train()
        total = torch.zeros((), device=self.world.device)
        first_bad = torch.full((), -1, device=self.world.device)
        for step, batch in enumerate(self.task.batches(epoch)):
            with self._precision():
                loss = shared(*batch)
            self._optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._parameters, _LARGEST_GRADIENT)
            self._optimiser.step()
            self._schedule.step()
            total += loss.detach()
            bad = ~loss.detach().isfinite() & (first_bad < 0)
            first_bad = torch.where(bad, step, first_bad)
            if step % _LOOK_EVERY == _LOOK_EVERY - 1 or step == self.task.steps - 1:
                self._check_finite(first_bad, epoch)
        return float(total) / self.task.steps

    def _check_finite(self, first_bad: Tensor, epoch: int) -> None:
        step = int(self.world.largest(first_bad))
        if step >= 0:
            raise TrainingError(
                f"{self.stage}: the loss is not finite at epoch {epoch}, step {step} "
                f"(step {epoch * self.task.steps + step} in all)",
                hint="lower optimiser.learning_rate; the best weights so far are in the checkpoint",
            )

    @torch.no_grad()
    def _validate(self) -> float:
        self.task.objective.eval()
        total, n = 0.0, 0
        for batch in self.task.validation():
            with self._precision():
                loss = self.task.objective(*batch)
            total, n = total + float(loss) * len(batch[0]), n + len(batch[0])
        return total / n if n else math.nan

    def _precision(self) -> torch.autocast:
        mixed = self.options.precision == "bfloat16"
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16, enabled=mixed)

    def _remember(self) -> None:
        """Keep this state until it is written: the next epoch changes it and may be interrupted."""
        if self.world.first:
            parts = (self.task.objective, self._optimiser, self._schedule)
            self._unsaved = copy.deepcopy(tuple(part.state_dict() for part in parts))

    def _save(self) -> None:
        if self._unsaved is None:
            return
        network, optimiser, schedule = self._unsaved
        checkpoint.write(self._path, self.state, network, self._best, optimiser, schedule)
        self._unsaved, self._saved_at = None, time.monotonic()


def _optimiser(
    parameters: list[nn.Parameter], options: OptimiserOptions, device: torch.device
) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if options.algorithm == "adamw" else torch.optim.Adam
    return kind(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay,
        fused=device.type == "cuda" or None,
    )  # fmt: skip


def _schedule(
    optimiser: torch.optim.Optimizer, options: OptimiserOptions, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle, or a constant rate that drops for the last epochs; one step for each batch."""
    if options.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, options.learning_rate, total_steps=options.epochs * steps + 1,
            pct_start=_WARM_UP,
        )  # fmt: skip
    drop = (options.epochs - options.last_epochs) * steps
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: options.gamma if step >= drop else 1.0
    )
