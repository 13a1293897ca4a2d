"""Laplace's approximation, where it is good: a Gaussian likelihood in square coordinates.

The likelihood is expanded about the most probable point. The other parameters are Gaussian given
vsini and vmac; these two, whose posterior often ends at zero, are put on a grid. So there is a
normalised density that can be drawn from exactly, and the exact prior (flat in vsini, cut at the
limits of the grid) enters by weights. How good the approximation is, a few evaluations of the true
posterior tell (:func:`check`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.infer import weighted
from harpsstar.infer.fit.likelihood import Expansion, Posterior
from harpsstar.infer.fit.optimise import Optimum
from harpsstar.infer.fit.space import Space

#: Points of the grid along vsini and vmac.
_N_GRID = 96
#: Reach of that grid in sigmas of the square.
_REACH = 7.0
#: Inverse variance of a flat distribution over a range of 1: it keeps a badly known one proper.
_FLAT = 12.0
#: Draws within the limits without which a star counts as outside.
_FEWEST = 20


@dataclass(frozen=True)
class Draws:
    """Weighted points: natural (n, P) and weight (n,) of sum 1."""

    natural: Tensor
    weight: Tensor

    @property
    def efficiency(self) -> float:
        """Effective share of the draws (Kish): 1 where all weigh the same."""
        return float(1.0 / (self.weight.square().sum() * len(self.weight)))

    def resampled(self, n: int, generator: torch.Generator) -> Tensor:
        """Unweighted points (n, P), by systematic resampling."""
        return self.natural[self.systematic(n, torch.rand((), generator=generator))]

    def systematic(self, n: int, offset: Tensor | float = 0.5) -> Tensor:
        """Indices (n,) of unweighted points: systematic resampling, the first step at `offset`."""
        ladder = (offset + torch.arange(n)).double() / n
        return torch.searchsorted(self.weight.cumsum(0), ladder).clamp_max(len(self.weight) - 1)


class Laplace:
    """The approximation about an optimum: draws and densities.

    Parameters
    ----------
    space : Space
    optimum : Optimum
    stretch : float
        Factor on every width; above 1 for a proposal that must not be too narrow.
    """

    def __init__(self, space: Space, optimum: Optimum, stretch: float = 1.0) -> None:
        self._space = space
        self._centre = optimum.square
        self._likelihood = optimum.likelihood
        self._rest = ~space.squared
        prior = _prior_of_rest(space, optimum)
        self._information = (optimum.likelihood.information + prior.information) / stretch**2
        self._gradient = (optimum.likelihood.gradient + prior.gradient) / stretch**2
        # Beyond a limit there is nothing: there the density begins at the limit.
        self._gradient[self._rest & _named(space, optimum.at_edge)] = 0.0
        self._axes = self._grid_axes(optimum, stretch)
        self._prepare()

    def _grid_axes(self, optimum: Optimum, stretch: float) -> list[Tensor]:
        """Cell edges of vsini and vmac, km/s, those of them that are free."""
        whole = (optimum.likelihood + optimum.prior).information / stretch**2
        sigma = torch.linalg.pinv(whole, hermitian=True).diagonal().clamp_min(0).sqrt()
        axes = []
        for i in self._space.squared.nonzero()[:, 0].tolist():
            reach = _REACH * float(sigma[i])
            ends = torch.stack([self._centre[i] - reach, self._centre[i] + reach])
            ends = ends.clamp_min(0).sqrt().clamp(self._space.low[i], self._space.high[i])
            low, high = float(ends[0]), float(ends[1])
            if not high > low:
                low, high = float(self._space.low[i]), float(self._space.high[i])
            axes.append(torch.linspace(low, high, _N_GRID + 1, dtype=torch.float64))
        return axes

    def _prepare(self) -> None:
        rest = self._rest
        self._inner = self._information[rest][:, rest]
        self._cross = self._information[rest][:, ~rest]
        self._outer = self._information[~rest][:, ~rest]
        self._factor = torch.linalg.cholesky(self._inner)
        centres = [0.5 * (axis[1:] + axis[:-1]) for axis in self._axes]
        mesh = torch.cartesian_prod(*centres) if centres else torch.zeros(1, 0).double()
        self._mesh = mesh.reshape(-1, len(centres))
        self._log_cell = torch.log_softmax(self._log_marginal(self._mesh), 0)
        area = math.prod(float(axis[1] - axis[0]) for axis in self._axes)
        self._log_area = math.log(area)

    def _mean(self, speeds: Tensor) -> tuple[Tensor, Tensor]:
        """Offset of the squares (n, k), and conditional mean of the rest about the centre."""
        offset = speeds.square() - self._centre[~self._rest]
        right = self._gradient[self._rest] - offset @ self._cross.T
        return offset, torch.cholesky_solve(right.T, self._factor).T

    def _log_marginal(self, speeds: Tensor) -> Tensor:
        """Logarithm of the density of vsini and vmac (n, k), the rest integrated out."""
        offset, mean = self._mean(speeds)
        value = offset @ self._gradient[~self._rest]
        value = value - 0.5 * torch.einsum("ni,ij,nj->n", offset, self._outer, offset)
        value = value + 0.5 * torch.einsum("ni,ij,nj->n", mean, self._inner, mean)
        return value + self._log_squares_prior(speeds)

    def _log_squares_prior(self, speeds: Tensor) -> Tensor:
        """Prior of vsini and vmac with the other parameters at the optimum."""
        point = self._space.natural(self._centre).repeat(len(speeds), 1)
        point[:, ~self._rest] = speeds
        return self._space.log_density(point)

    def propose(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw natural points (n, P) and the logarithm of their density (n,)."""
        cell = torch.multinomial(self._log_cell.exp(), n, replacement=True, generator=generator)
        speeds = self._mesh[cell]
        for column, axis in enumerate(self._axes):
            width = float(axis[1] - axis[0])
            shift = torch.rand(n, generator=generator, dtype=torch.float64) - 0.5
            speeds[:, column] += width * shift
        _, mean = self._mean(speeds)
        noise = torch.randn(n, len(self._inner), generator=generator, dtype=torch.float64)
        scattered = torch.linalg.solve_triangular(self._factor.T, noise.T, upper=True).T
        point = torch.zeros(n, len(self._space), dtype=torch.float64)
        point[:, self._rest] = self._centre[self._rest] + mean + scattered
        point[:, ~self._rest] = speeds
        return point, self._log_cell[cell] - self._log_area + self._log_normal(noise)

    def log_density(self, natural: Tensor) -> Tensor:
        """Logarithm of the density that :meth:`propose` draws from, at points (n, P)."""
        speeds = natural[:, ~self._rest]
        cell = torch.zeros(len(natural), dtype=torch.long)
        inside = torch.ones(len(natural), dtype=torch.bool)
        for column, axis in enumerate(self._axes):
            place = torch.searchsorted(axis, speeds[:, column].contiguous(), right=True) - 1
            inside &= (place >= 0) & (place < _N_GRID)
            cell = cell * _N_GRID + place.clamp(0, _N_GRID - 1)
        _, mean = self._mean(speeds)
        offset = natural[:, self._rest] - self._centre[self._rest] - mean
        value = self._log_cell[cell] - self._log_area + self._log_normal(offset @ self._factor)
        return torch.where(inside, value, -math.inf)

    def _log_normal(self, whitened: Tensor) -> Tensor:
        volume = self._factor.diagonal().log().sum() - 0.5 * len(self._inner) * math.log(
            2 * math.pi
        )
        return volume - 0.5 * whitened.square().sum(1)

    def target(self, natural: Tensor) -> Tensor:
        """Approximate posterior, not normalised: Gaussian likelihood times exact prior, (n,)."""
        offset = self._space.square(natural) - self._centre
        matrix = self._likelihood.information
        value = offset @ self._likelihood.gradient
        value = value - 0.5 * torch.einsum("ni,ij,nj->n", offset, matrix, offset)
        return value + self._space.log_prior(natural)

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Draw from the approximate posterior, as weighted points.

        Where hardly any point lies within the limits, the star is outside, and the point at the
        limit stands for all.
        """
        natural, log_density = self.propose(n, generator)
        log_weight = self.target(natural) - log_density
        if int(torch.isfinite(log_weight).sum()) < _FEWEST:
            best = self._space.inside(self._space.natural(self._centre)[None])
            return Draws(best, torch.ones(1, dtype=torch.float64))
        return Draws(natural, torch.softmax(log_weight, 0))


def check(posterior: Posterior, laplace: Laplace, draws: Draws, n: int, seed: int) -> Draws:
    """Weigh draws by the true posterior: the approximation corrected, and its effective share.

    Parameters
    ----------
    posterior : Posterior
    laplace : Laplace
    draws : Draws
        From ``laplace``.
    n : int
        Evaluations of the true posterior.
    seed : int
        Of the choice of draws.
    """
    points = draws.resampled(n, torch.Generator().manual_seed(seed))
    log_weight = posterior.log_prob(points) - laplace.target(points)
    return Draws(points, torch.softmax(log_weight, 0))


def _named(space: Space, names: tuple[str, ...]) -> Tensor:
    return torch.tensor([name in names for name in space.names], dtype=torch.bool)


def _prior_of_rest(space: Space, optimum: Optimum) -> Expansion:
    """Gaussian prior of all but vsini and vmac, with the width of its range for a flat one."""
    rest = (~space.squared).double()
    flat = _FLAT / (space.high - space.low).square()
    information = optimum.prior.information * rest * rest[:, None] + torch.diag(flat * rest)
    return Expansion(0.0, optimum.prior.gradient * rest, information)


def prior_of_all(space: Space, optimum: Optimum) -> Expansion:
    """Gaussian prior of all parameters in square coordinates, flat ones with their range's width.

    The range of a square is that of the parameter times its value; at zero, a square has no prior.
    """
    natural = space.natural(optimum.square)
    span = (space.high - space.low) * torch.where(space.squared, 2 * natural, 1.0)
    flat = torch.where(span > 0, _FLAT / span.square().clamp_min(1e-30), 0.0)
    return Expansion(
        0.0, optimum.prior.gradient, optimum.prior.information + torch.diag(flat)
    )  # fmt: skip


def summary(draws: Draws) -> tuple[Tensor, Tensor]:
    """Median (P,) and covariance (P, P) of weighted draws; the latter about the mean."""
    return quantile(draws, 0.5), weighted.covariance(draws.natural, draws.weight)


def quantile(draws: Draws, share: float) -> Tensor:
    """Quantile (P,) of each parameter of weighted draws."""
    return weighted.quantile(draws.natural, draws.weight, share)
