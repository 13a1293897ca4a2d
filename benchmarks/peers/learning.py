"""What the networks of the peers have in common: a cycle of the learning rate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def one_cycle(network: nn.Module, rate: float, steps: int, loss: Callable[[], Tensor]) -> None:
    """Train with Adam, the learning rate rising to `rate` and falling once (Smith 2018)."""
    optimiser = torch.optim.Adam(network.parameters())
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    for _ in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        cycle.step()
