"""What inference solves for: the labels, then the nuisances, in one order, with their priors.

The order is that of :data:`harpsstar.labels.LABELS` followed by
:data:`harpsstar.labels.NUISANCES`; nothing else may assume another one.

Least squares works in coordinates in which the spectrum is nearly linear. These are the parameters
themselves, but for v sin i: a slow rotation broadens lines in proportion to its square, a fast one
in proportion to itself, so its coordinate is u = √(v² + a²) − a.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harpsstar.labels import LABELS, NUISANCES, Label
from harpsstar.model.emulator import Emulator
from harpsstar.model.relations import SCATTER, relation

#: Everything that is solved for, in order.
PARAMETERS: tuple[Label, ...] = LABELS + NUISANCES
#: Their names.
PARAMETER_NAMES: tuple[str, ...] = tuple(label.name for label in PARAMETERS)
N_LABELS, N_PARAMETERS = len(LABELS), len(PARAMETERS)
#: Prior standard deviation of what is left of a measured velocity, km/s: no constraint in practice.
RV_SCATTER = 5.0
#: Where the coordinate of v sin i turns from quadratic to linear, km/s.
_TURN = 3.0
_VSINI = PARAMETER_NAMES.index("vsini")
_VMAC = PARAMETER_NAMES.index("vmac")
#: km/s; the spectrum is even in vmac, so that its derivative is taken no nearer to zero.
_SLOWEST = 0.7
#: Half the interval of the relations' derivatives: K, dex, dex, km/s.
_STEPS = (10.0, 0.01, 0.01, 0.1)

# name: (relation of labels (B, 4) to the expected value (B,), standard deviation about it)
_PRIORS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "vmic": (lambda labels: relation("vmic", *labels[:, :3].T), SCATTER["vmic"]),
    "vmac": (lambda labels: relation("vmac", *labels[:, :3].T), SCATTER["vmac"]),
    "alpha": (lambda labels: relation("alpha", *labels[:, :3].T), SCATTER["alpha"]),
    "rv": (lambda labels: torch.zeros_like(labels[:, 0]), RV_SCATTER),
}


def expected(labels: Tensor) -> Tensor:
    """Nuisances before the spectrum is seen, (B, number of nuisances), of labels (B, 4)."""
    return torch.stack([_PRIORS[label.name][0](labels) for label in NUISANCES], dim=1)


def expected_slopes(labels: Tensor) -> Tensor:
    """Derivatives (B, number of nuisances, 4) of :func:`expected` by the labels."""
    columns = []
    for i, step in enumerate(_STEPS):
        shift = torch.zeros(N_LABELS)
        shift[i] = step
        columns.append((expected(labels + shift) - expected(labels - shift)) / (2 * step))
    return torch.stack(columns, dim=-1)


def scatter() -> Tensor:
    """Prior standard deviations of the nuisances about :func:`expected`, float64."""
    values = [_PRIORS[label.name][1] for label in NUISANCES]
    return torch.tensor(values, dtype=torch.float64)


def of_emulator(nuisances: Tensor) -> dict[str, Tensor]:
    """Nuisances (B, n) as the keyword arguments of the emulator."""
    return {label.name: nuisances[:, i] for i, label in enumerate(NUISANCES)}


def inside(emulator: Emulator, parameters: Tensor) -> Tensor:
    """Move parameters (B, P) into the grid and the ranges of the nuisances."""
    labels = emulator.grid.nearest(parameters[:, :N_LABELS])
    low, high = nuisance_limits()
    nuisances = parameters[:, N_LABELS:].clamp(low, high)
    return torch.cat([labels, nuisances], dim=1)


def nuisance_limits() -> tuple[Tensor, Tensor]:
    """Ends of the ranges of the nuisances."""
    return (
        torch.tensor([label.low for label in NUISANCES]),
        torch.tensor([label.high for label in NUISANCES]),
    )


def to_working(parameters: Tensor) -> Tensor:
    """Coordinates (B, P) of parameters (B, P) in which the spectrum is nearly linear."""
    working = parameters.clone()
    speed = parameters[..., _VSINI]
    working[..., _VSINI] = (speed.square() + _TURN**2).sqrt() - _TURN
    return working


def from_working(working: Tensor) -> Tensor:
    """Undo :func:`to_working`; coordinates below those of no rotation become no rotation."""
    parameters = working.clone()
    u = working[..., _VSINI].clamp_min(0.0)
    parameters[..., _VSINI] = (u * (u + 2 * _TURN)).sqrt()
    return parameters


def square_slopes(parameters: Tensor) -> dict[str, Tensor]:
    """Derivatives of vsini² and vmac² by the coordinates of vsini and vmac, each (B,), km/s."""
    speed, turbulence = parameters[:, _VSINI], parameters[:, _VMAC]
    return {
        "vsini": 2 * (speed.square() + _TURN**2).sqrt(),
        "vmac": 2 * turbulence.clamp_min(_SLOWEST),
    }


def stretch(vsini: Tensor) -> Tensor:
    """d(v sin i)/du, the change of v sin i (km/s, positive) with its coordinate."""
    return (vsini.square() + _TURN**2).sqrt() / vsini
