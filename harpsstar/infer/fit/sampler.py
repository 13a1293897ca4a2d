"""Draws from the true posterior with emcee.

The ensemble sampler of Foreman-Mackey et al. (2013, PASP 125, 306; Goodman & Weare 2010) needs no
gradient and takes hard limits as they are; all walkers are evaluated at once. Most steps propose
from Laplace's approximation, somewhat widened (independence Metropolis, Tierney 1994), so that
chains forget where they were within a few steps; the others are differential evolution (ter Braak
2006), which needs no approximation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar._optional import load
from harpsstar.infer.fit.laplace import Draws, Laplace
from harpsstar.infer.fit.likelihood import Posterior
from harpsstar.infer.fit.optimise import Optimum

FloatArray = npt.NDArray[np.float64]

#: Sampling is over when every parameter has this many effective draws and chains agree this well.
ENOUGH_ESS, ENOUGH_RHAT = 600.0, 1.01
#: Factor on the width of the proposals: too narrow a proposal never reaches the tails.
_STRETCH = 1.1
_WALKERS, _WARM_UP, _BLOCK, _MAX_BLOCKS = 20, 20, 60, 25
_INDEPENDENT = 0.85
#: Proposals made for each one that is wanted, so that enough lie within the limits.
_SPARE = 8


@dataclass(frozen=True)
class Chains:
    """Natural draws (n_chains, n_draws, P), and whether they have converged.

    Attributes
    ----------
    natural, log_prob : ndarray (n_chains, n_draws, P) and (n_chains, n_draws)
    rhat, ess : ndarray (P,)
        Rank-normalised split R-hat and bulk effective sample size (Vehtari et al. 2021).
    acceptance : float
        Share of accepted steps.
    evaluations : int
        Of the posterior.
    """

    natural: FloatArray
    log_prob: FloatArray
    rhat: FloatArray
    ess: FloatArray
    acceptance: float
    evaluations: int

    @property
    def converged(self) -> bool:
        """Whether every parameter has enough effective draws, and all chains agree."""
        return bool((self.rhat <= ENOUGH_RHAT).all() and (self.ess >= ENOUGH_ESS).all())


def load_arviz() -> Any:
    """Import ArviZ, without its notice about itself.

    Raises
    ------
    InputsMissingError
        It is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return load("arviz", "fit")


def sample(posterior: Posterior, optimum: Optimum, draws: Draws, seed: int) -> Chains:
    """Sample a posterior until it has converged, or for at most 1500 steps.

    Parameters
    ----------
    posterior : Posterior
    optimum : Optimum
        Its maximum.
    draws : Draws
        From Laplace's approximation: where the walkers start.
    seed : int

    Raises
    ------
    InputsMissingError
        emcee or ArviZ is not installed.
    """
    emcee, arviz = load("emcee", "fit"), load_arviz()
    generator = torch.Generator().manual_seed(seed)
    proposal = Laplace(posterior.space, optimum, _STRETCH)
    walkers = max(_WALKERS, 2 * len(posterior.space) + 2)

    def log_prob(points: FloatArray) -> FloatArray:
        return posterior.log_prob(torch.from_numpy(points)).numpy()

    def propose(points: FloatArray, random: Any) -> tuple[FloatArray, FloatArray]:
        new, log_new = _inside(posterior, proposal, len(points), generator)
        log_old = proposal.log_density(torch.from_numpy(points))
        return new.numpy(), (log_old - log_new).numpy()

    moves = [(emcee.moves.MHMove(propose), _INDEPENDENT),
             (emcee.moves.DEMove(), 1 - _INDEPENDENT)]  # fmt: skip
    engine = emcee.EnsembleSampler(
        walkers, len(posterior.space), log_prob, vectorize=True, moves=moves
    )
    engine.random_state = np.random.RandomState(seed).get_state()
    state = engine.run_mcmc(_start(posterior, draws, walkers, generator), _WARM_UP,
                            skip_initial_state_check=True)  # fmt: skip
    engine.reset()
    for _ in range(_MAX_BLOCKS):
        state = engine.run_mcmc(state, _BLOCK, skip_initial_state_check=True)
        chains = _chains(engine, arviz)
        if chains.converged:
            break
    return chains


def _inside(
    posterior: Posterior, proposal: Laplace, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Proposals within the limits, as far as there are enough; their norm drops out of a ratio."""
    new, log_new = proposal.propose(_SPARE * n, generator)
    order = (~posterior.space.allowed(new)).int().argsort(stable=True)[:n]
    return new[order], log_new[order]


def _start(
    posterior: Posterior, draws: Draws, walkers: int, generator: torch.Generator
) -> FloatArray:
    points = draws.resampled(walkers, generator)
    if len(draws.natural) < walkers:
        # The star lies at a limit: start about it, inside.
        spread = 1e-3 * (posterior.space.high - posterior.space.low)
        noise = torch.rand(points.shape, generator=generator, dtype=torch.float64) - 0.5
        points = posterior.space.inside(points + spread * noise)
    return points.numpy()


def _chains(engine: Any, arviz: Any) -> Chains:
    natural = np.swapaxes(engine.get_chain(), 0, 1)
    log_prob = engine.get_log_prob().T
    columns = np.moveaxis(natural, -1, 0)
    rhat = np.array([float(arviz.rhat(column)) for column in columns])
    ess = np.array([float(arviz.ess(column)) for column in columns])
    n_chains, n_draws = log_prob.shape
    return Chains(natural, log_prob, rhat, ess, float(engine.acceptance_fraction.mean()),
                  n_chains * (n_draws + _WARM_UP))  # fmt: skip
