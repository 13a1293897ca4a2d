"""The most probable parameters: Levenberg-Marquardt with exact derivatives, inside the grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.infer.fit.likelihood import Expansion, Posterior
from harpsstar.infer.fit.space import Space

#: Largest step of one iteration in natural units; what is not named has no limit.
_LARGEST = {"teff": 400.0, "logg": 0.6, "m_h": 0.4, "vmic": 0.8, "alpha": 0.2}
_LARGEST_RV, _LARGEST_SQUARE = 2.0, 100.0
#: Change of the logarithm of the density, and of a parameter in sigmas, below which it is over.
_GAIN, _STEP = 1e-3, 0.02
_MAX_ITERATIONS, _MAX_TRIALS = 25, 8


@dataclass(frozen=True)
class Optimum:
    """Where the search ended.

    Attributes
    ----------
    square : Tensor (P,)
        In the square coordinates of :class:`~harpsstar.infer.fit.space.Space`.
    likelihood, prior : Expansion
        About it.
    converged : bool
        Whether the last step was small; otherwise the iterations or the trials ran out.
    at_edge : tuple of str
        Parameters that the limits of grid or prior hold, but for vsini and vmac at zero.
    iterations : int
    """

    square: Tensor
    likelihood: Expansion
    prior: Expansion
    converged: bool
    at_edge: tuple[str, ...]
    iterations: int

    @property
    def value(self) -> float:
        """Logarithm of the posterior density."""
        return self.likelihood.value + self.prior.value


def maximise(posterior: Posterior, natural: Tensor) -> Optimum:
    """Climb from a natural point (P,).

    Each iteration solves the Gauss-Newton equations of the parameters that are not held by a
    limit; a step that does not improve is shortened by damping (Levenberg-Marquardt).
    """
    space = posterior.space
    square = space.square(space.inside(natural[None])[0])
    limit = _largest(space)
    damping, converged = 1e-6, False
    likelihood, prior = posterior.expand(square)
    iterations = 0
    held = torch.zeros(len(space), dtype=torch.bool)
    while iterations < _MAX_ITERATIONS and not converged:
        iterations += 1
        whole = likelihood + prior
        held = _held(space, square, whole.gradient)
        for _ in range(_MAX_TRIALS):
            step = _step(whole, held, damping).clamp(-limit, limit)
            trial = _project(space, square + step)
            value = float(posterior.log_prob(space.natural(trial)[None])[0])
            if value >= whole.value - 1e-6:
                break
            damping = max(10 * damping, 1e-3)
        else:
            # No step in an uphill direction improves: rounding decides, if the gain is tiny.
            gain = 0.5 * float(whole.gradient @ _step(whole, held, 1e-6))
            converged = gain < 10 * _GAIN
            break
        moved = _in_sigmas(whole, held, trial - square)
        square, damping = trial, max(damping / 10, 1e-6)
        likelihood, prior = posterior.expand(square)
        if moved < _STEP or abs(value - whole.value) < _GAIN:
            held = _held(space, square, (likelihood + prior).gradient)
            converged = True
    return Optimum(square, likelihood, prior, converged, _edges(space, square, held), iterations)


def _largest(space: Space) -> Tensor:
    sizes = [_LARGEST_SQUARE if sq else _LARGEST.get(name, _LARGEST_RV)
             for name, sq in zip(space.names, space.squared.tolist(), strict=True)]  # fmt: skip
    return torch.tensor(sizes, dtype=torch.float64)


def _project(space: Space, square: Tensor) -> Tensor:
    return space.square(space.inside(space.natural(square)[None])[0])


def _held(space: Space, square: Tensor, gradient: Tensor) -> Tensor:
    """Parameters at a limit that the gradient pushes against, bool (P,)."""
    natural = space.natural(square)
    low, high = space.lowest(natural), space.high
    slack = 1e-9 * (high - low)
    return ((natural <= low + slack) & (gradient < 0)) | (
        (natural >= high - slack) & (gradient > 0)
    )


def _step(whole: Expansion, held: Tensor, damping: float) -> Tensor:
    free = ~held
    step = torch.zeros_like(whole.gradient)
    matrix = whole.information[free][:, free]
    scale = matrix.diagonal().clamp_min(1e-30).sqrt()
    scaled = matrix / scale / scale[:, None]
    scaled = scaled + damping * torch.eye(len(scaled), dtype=scaled.dtype)
    step[free] = torch.linalg.solve(scaled, whole.gradient[free] / scale) / scale
    return step


def _in_sigmas(whole: Expansion, held: Tensor, step: Tensor) -> float:
    """Length of a step in the metric of the information: at most one sigma of any direction."""
    free = step[~held]
    return float((free @ whole.information[~held][:, ~held] @ free).clamp_min(0).sqrt())


def _edges(space: Space, square: Tensor, held: Tensor) -> tuple[str, ...]:
    natural = space.natural(square)
    zero = space.squared & (natural <= 1e-6)
    return tuple(name for name, is_held, is_zero in
                 zip(space.names, held.tolist(), zero.tolist(), strict=True)
                 if is_held and not is_zero)  # fmt: skip
