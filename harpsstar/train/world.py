"""Where a training runs: one process or several, on processors or accelerators.

``torchrun`` tells each process its place through the environment (RANK, WORLD_SIZE, LOCAL_RANK).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from harpsstar.errors import ConfigError

#: What a user may ask for.
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class World:
    """This process among all that train one network.

    Attributes
    ----------
    device : torch.device
        Where this process computes.
    rank, size : int
        Number of this process, and how many there are.
    """

    device: torch.device = torch.device("cpu")
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def shared(self, objective: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over all processes."""
        if self.size == 1:
            return objective
        index = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(objective, device_ids=index)

    def largest(self, value: Tensor) -> Tensor:
        """Largest value of all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return value

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()

    def describe(self) -> str:
        """Name of the device, for a model's card."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type}, {torch.get_num_threads()} threads"


@contextmanager
def enter(device: str = "auto", threads: int | None = None) -> Iterator[World]:
    """Take this process's place.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``"auto"`` takes an accelerator where there is one.
    threads : int, optional
        Of the processor; all cores by default.

    Raises
    ------
    ConfigError
        When the device is unknown or not there.
    """
    if device not in DEVICES:
        raise ConfigError(f"device {device!r}", expected=f"one of {', '.join(DEVICES)}")
    torch.set_num_threads(threads or torch.get_num_threads())
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ConfigError("no CUDA device was found", expected="device cpu or auto")
    kind = "cuda" if there and device != "cpu" else "cpu"
    rank, size = (int(os.environ.get(name, d)) for name, d in (("RANK", "0"), ("WORLD_SIZE", "1")))
    place = torch.device("cpu")
    if kind == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
        torch.backends.cudnn.benchmark = True
    if size > 1:
        distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield World(place, rank, size)
    finally:
        if size > 1:
            distributed.destroy_process_group()
