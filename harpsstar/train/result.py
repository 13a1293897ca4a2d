"""What a training hands over to be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from harpsstar.nn.zoo import Network


@dataclass(frozen=True)
class Trained:
    """A trained network with its calibration, see :class:`harpsstar.nn.zoo.Model`.

    Attributes
    ----------
    training, metrics, extra : dict
        For the card: effort, what was measured on held-out spectra, and what only some have.
    """

    network: Network
    scale: Tensor
    log_snr: Tensor
    training: dict[str, Any]
    metrics: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
