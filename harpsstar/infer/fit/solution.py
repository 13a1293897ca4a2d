"""What the engine found of one star: the posterior, and the errors of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.infer.fit.data import Data
from harpsstar.infer.fit.known import Weighed, physics_left
from harpsstar.infer.fit.laplace import Draws, prior_of_all, summary
from harpsstar.infer.fit.likelihood import Posterior
from harpsstar.infer.fit.noise import Noise
from harpsstar.infer.fit.optimise import Optimum
from harpsstar.infer.fit.sampler import Chains
from harpsstar.infer.fit.space import Space
from harpsstar.infer.uncertainty import Uncertainty, noise_in
from harpsstar.labels import NAMES
from harpsstar.spectra.frame import C_KM_S

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """What the engine found of one star: see the attributes' own classes.

    ``efficiency`` is the effective share of draws from Laplace's approximation under the true
    posterior; ``n_starts`` counts the starting points; ``physics`` (4, 4) is the covariance of the
    labels from the error of the physics, before any prior; ``contradictions`` says which fixed
    values and priors the spectrum contradicts.
    """

    posterior: Posterior
    data: tuple[Data, ...]
    optimum: Optimum
    noises: tuple[Noise, ...]
    laplace: Draws
    efficiency: float
    chains: Chains | None
    n_starts: int
    physics: FloatArray
    weighed: Weighed
    contradictions: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Free parameters, as :class:`harpsstar.infer.fit.space.Space` names them."""
        return self.posterior.space.names

    @cached_property
    def draws(self) -> Draws:
        """Draws of the free parameters, natural; from the sampler if there was one."""
        if self.chains is None:
            return self.laplace
        natural = torch.from_numpy(self.chains.natural).flatten(0, 1)
        n = len(natural)
        return Draws(natural, torch.full((n,), 1.0 / n, dtype=torch.float64))

    @cached_property
    def everything(self) -> dict[str, Tensor]:
        """Draws of every parameter, fixed and tied ones too: name to (n,); rv in km/s."""
        space = self.posterior.space
        columns = space.columns(self.draws.natural)
        return {name: columns[name] for name in columns} | self._velocities(self.draws.natural)

    def _velocities(self, natural: Tensor) -> dict[str, Tensor]:
        space = self.posterior.space
        offset = space.rv(natural)
        rv = space.rv0 + offset * (1 + space.rv0 / C_KM_S)
        if space.n_spectra == 1:
            return {"rv": rv[:, 0]}
        return {f"rv_{i + 1}": rv[:, i] for i in range(space.n_spectra)}

    @cached_property
    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Median (4,) and covariance (4, 4) of the labels: noise and nuisances, no physics."""
        return label_moments(self.posterior.space, self.draws)

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """Errors of the labels: noise, and everything."""
        _, posterior = self.moments
        options = self.posterior.space.options
        physics = physics_left(self.physics, posterior, self.weighed, options)
        return Uncertainty.made_of(self._noise(posterior), posterior, physics)

    def _noise(self, posterior: FloatArray) -> FloatArray:
        """Part of the covariance of the labels (4, 4) that differs from exposure to exposure."""
        information = self.optimum.likelihood.information
        prior = prior_of_all(self.posterior.space, self.optimum).information
        gaussian = torch.linalg.inv(information + prior)
        noise = gaussian @ information @ gaussian
        free = [name for name in NAMES if name in self.names]
        here = [self.names.index(name) for name in free]
        there = np.ix_([NAMES.index(name) for name in free], [NAMES.index(name) for name in free])
        found = np.zeros_like(posterior)
        found[there] = noise_in(
            torch.from_numpy(posterior[there]), gaussian[here][:, here], noise[here][:, here]
        ).numpy()
        return found

    @property
    def converged(self) -> bool:
        """Whether the optimiser, and the sampler if there was one, have converged."""
        return self.optimum.converged and (self.chains is None or self.chains.converged)

    @cached_property
    def best(self) -> Tensor:
        """Natural point (P,) of the best model: the most probable one."""
        return self.posterior.space.natural(self.optimum.square)

    @cached_property
    def models(self) -> list[tuple[Tensor, Tensor]]:
        """Spectrum and continuum (O, N) of each observed spectrum at the best point."""
        found = []
        for part, f in zip(
            self.posterior.parts, self.posterior.spectra(self.best[None]), strict=True
        ):
            found.append((f[0], part.continuum(f)[0]))
        return found


def label_moments(space: Space, draws: Draws) -> tuple[FloatArray, FloatArray]:
    """Median (4,) and covariance (4, 4) of the labels; what is fixed has no error."""
    known = space.columns(draws.natural)
    columns = torch.stack([known[name] for name in NAMES], 1)
    median, covariance = summary(Draws(columns, draws.weight))
    # Not even that of rounding.
    free = np.array([name in space.names for name in NAMES])
    return median.numpy(), covariance.numpy() * free * free[:, None]
