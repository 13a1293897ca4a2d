"""The posterior of the labels: the Gaussian of least squares, where stars can exist.

Least squares knows no limits. The prior is flat within the grid and Gaussian for the nuisances
within their ranges, so the posterior is the Gaussian cut there; near the limits and for slow
rotation it is far from Gaussian. It is taken from draws, the same for every spectrum, so that
results repeat and depend on nothing else in the batch.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from harpsstar.constants import ONE_SIGMA
from harpsstar.infer import parameters as space
from harpsstar.infer import weighted
from harpsstar.infer.refine import Refined
from harpsstar.model.emulator import Emulator

_DRAWS = 1024
#: Draws inside the grid, in effect, without which the star is outside.
_FEWEST = 20.0
#: Their weights together; each is next to 1 inside and next to 0 outside.
_LEAST = 1e-3
#: Width of a limit in units of the error.
_SOFT = 0.02
#: km/s; the density of a slow rotation in its coordinate is bounded there.
_SLOWEST = 0.05
_LOGG = space.PARAMETER_NAMES.index("logg")


def posterior_inside(emulator: Emulator, best: Refined) -> tuple[Tensor, Tensor]:
    """Median (B, 4) and covariance (B, 4, 4) of the labels, given that they lie in the grid.

    The square roots of the covariance's diagonal are the half-widths, about the median, that hold
    68.27 % of the posterior. Where next to no draw falls inside, the star is outside and the
    nearest point of the grid stands in, with the errors of the Gaussian.
    """
    n = space.N_LABELS
    draws = _draws(best)
    physical = space.from_working(draws)
    weight = _weights(emulator, best, draws, physical)
    total = weight.sum(1)
    known = total.square() / weight.square().sum(1).clamp_min(1e-30) >= _FEWEST
    # many draws that are all far outside are as good as none
    known &= total > _LEAST
    weight = torch.where(known[:, None], weight, torch.ones(()))
    labels = physical[..., :n]
    if not bool(known.all()):
        stand_in = draws + (space.to_working(best.parameters) - best.peak)[:, None]
        labels = torch.where(known[:, None, None], labels, _mirrored(stand_in)[..., :n])
    centre = torch.where(
        known[:, None], weighted.quantile(labels, weight, 0.5), best.parameters[:, :n]
    )
    covariance = weighted.covariance(labels, weight)
    # Half-widths over standard deviations, relative to the same of the Gaussian without limits:
    # where nothing is cut, the finite number of draws drops out.
    scale = _shape(labels, centre, covariance, weight)
    free, even = draws[..., :n], torch.ones_like(weight)
    gaussian = best.covariance[:, :n, :n].float()
    scale = scale / _shape(free, best.peak[:, :n], gaussian, even)
    covariance = covariance * scale[:, :, None] * scale[:, None, :]
    return centre, covariance


def _draws(best: Refined) -> Tensor:
    """Working coordinates (B, draws, P) from the Gaussian without limits."""
    scale = best.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = best.covariance / scale[:, :, None] / scale[:, None, :]
    factor = torch.linalg.cholesky(correlation).float()
    return best.peak[:, None] + (_normal() @ factor.mT) * scale[:, None].float()


def _weights(emulator: Emulator, best: Refined, draws: Tensor, physical: Tensor) -> Tensor:
    """Prior density of each draw relative to a flat one in working coordinates, (B, draws).

    The limits are softened by a small part of the error, or the rounding of a draw at a limit would
    show in the result.
    """
    sigma = best.covariance.diagonal(dim1=-2, dim2=-1).sqrt().float()[:, None]
    low, high = (x.expand(draws.shape).clone() for x in _limits())
    low[..., _LOGG] = emulator.grid.lowest_logg(physical[..., 0].flatten()).reshape(draws.shape[:2])
    depth = torch.minimum(draws - low, high - draws) / (_SOFT * sigma)
    inside = torch.sigmoid(depth.clamp(-30.0, 30.0)).prod(-1)
    vsini = physical[..., space.PARAMETER_NAMES.index("vsini")]
    return inside * space.stretch(vsini.clamp_min(_SLOWEST))


def _mirrored(draws: Tensor) -> Tensor:
    """Parameters of working coordinates, a negative rotation being as good as a positive one."""
    draws = draws.clone()
    vsini = space.PARAMETER_NAMES.index("vsini")
    draws[..., vsini] = draws[..., vsini].abs()
    return space.from_working(draws)


def _limits() -> tuple[Tensor, Tensor]:
    """Ends of the ranges (P,) in working coordinates."""
    low, high = (
        torch.tensor([getattr(label, end) for label in space.PARAMETERS]) for end in ("low", "high")
    )
    return space.to_working(low), space.to_working(high)


def _shape(values: Tensor, centre: Tensor, covariance: Tensor, weight: Tensor) -> Tensor:
    """Half-width that holds 68.27 % of the draws over the standard deviation, (B, n)."""
    width = weighted.quantile((values - centre[:, None]).abs(), weight, ONE_SIGMA)
    return width / covariance.diagonal(dim1=-2, dim2=-1).sqrt().clamp_min(1e-12)


@cache
def _normal() -> Tensor:
    """(draws, P) standard normal draws: low discrepancy, symmetric, unit covariance."""
    engine = torch.quasirandom.SobolEngine(space.N_PARAMETERS, scramble=True, seed=0)
    uniform = engine.draw(_DRAWS, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    half = torch.special.ndtri(uniform)
    draws = torch.cat([half, -half])
    factor = torch.linalg.cholesky(draws.T @ draws / len(draws))
    return torch.linalg.solve_triangular(factor, draws.T, upper=False).T.float().contiguous()
