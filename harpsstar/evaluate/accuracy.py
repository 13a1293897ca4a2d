"""Accuracy on fresh synthetic spectra: errors, coverage, and how far from the bound.

Stars are drawn as the model's own recipe draws them, with a seed that no training uses, and pass
through the whole of inference from a poor first guess.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.config import from_mapping
from harpsstar.errors import ConfigError
from harpsstar.evaluate.bound import (
    KNOWN,
    Nuisances,
    cramer_rao,
    information,
    mean_absolute_error,
)
from harpsstar.infer.calibrate import Trial, trials
from harpsstar.infer.estimate import Estimator
from harpsstar.labels import NAMES, TEFF
from harpsstar.nn.zoo import Model
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.synth.emulator import Emulator
from harpsstar.train.loop import simulator_for
from harpsstar.train.recipes import Recipe
from harpsstar.train.simulate import Priors, Simulator, Stars

#: Degree of the polynomial of each order's continuum in :mod:`harpsstar.spectra.continuum`.
CONTINUUM_DEGREE = 4
#: Stars whose bound is computed by default: it costs more than measuring them.
N_BOUND = 300

_BOOTSTRAPS = 1000
# torch's generator keeps 32 bits; training uses seeds within some thousands of the recipe's own.
_SEED_RANGE = 2**32
_AWAY = 2**31
_LARGEST_SEED = 2**30


@dataclass(frozen=True)
class LabelAccuracy:
    """How well one label is measured, in its own unit.

    Attributes
    ----------
    mae, mae_low, mae_high : float
        Mean absolute error and its bootstrap 95 % interval.
    median_error : float
        Median absolute error.
    bias : float
        Mean error.
    coverage_1, coverage_2 : float
        Share of stars within one and two claimed sigmas; 0.683 and 0.954 are right.
    bound_known, bound_free : float
        Bayesian Cramér-Rao bound on the mean absolute error of the bound's stars, nuisances known
        and with the priors of the training. vsini can be better than it: see
        :func:`harpsstar.evaluate.bound.prior_precision`.
    ratio_known, ratio_free : float
        Mean absolute error of the same stars over the bound.
    """

    mae: float
    mae_low: float
    mae_high: float
    median_error: float
    bias: float
    coverage_1: float
    coverage_2: float
    bound_known: float
    bound_free: float
    ratio_known: float
    ratio_free: float


@dataclass(frozen=True)
class Accuracy:
    """Result of :func:`accuracy`.

    Attributes
    ----------
    model, grid : str
        First digits of the SHA-256 of weights and grid.
    snr : float
        Per pixel.
    n, n_bound : int
        Stars measured, and the first of them, for which the bound was computed.
    seed : int
        As it was given.
    noise : str
        ``"training"`` (blaze, read noise and masks as the recipe draws them) or ``"white"``.
    teff_range : tuple of float
        K.
    labels : dict of str to LabelAccuracy
    """

    model: str
    grid: str
    snr: float
    n: int
    n_bound: int
    seed: int
    noise: str
    teff_range: tuple[float, float]
    labels: dict[str, LabelAccuracy]


def accuracy(
    model: Model,
    *,
    snr: float,
    n: int = 3000,
    seed: int = 0,
    batch: int = 64,
    teff_range: tuple[float, float] | None = None,
    white: bool = False,
    n_bound: int = N_BOUND,
    emulator: Emulator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Accuracy:
    """Measure `n` fresh spectra and compare errors with claims and with the bound.

    Parameters
    ----------
    model : Model
        Its card names the recipe whose priors are drawn from.
    snr : float
        Per pixel, where the blaze is 1 (as in training).
    n : int
        Spectra.
    seed : int
        0 to 2^30; whatever it is, no training of the model's recipe has seen these spectra.
    batch : int
        Spectra at a time.
    teff_range : tuple of float, optional
        Only stars of these temperatures, K.
    white : bool
        Noise that is the same in every pixel and no masks, instead of those of the training.
    n_bound : int
        Compute the bound for the first so many stars.
    emulator : Emulator, optional
        The packaged grid by default.
    progress : callable, optional
        Called with (spectra done, spectra in all).

    Raises
    ------
    ConfigError
        Numbers out of range, or a model without a recipe.
    """
    low, high = teff_range or (TEFF.low, TEFF.high)
    _check(snr, n, n_bound, seed, low, high)
    emulator = Emulator.load() if emulator is None else emulator
    recipe = _recipe(model, white)
    simulator = simulator_for(recipe, emulator, fresh_seed(recipe, seed))
    estimator = Estimator(model, emulator, canonical_wavelengths())
    n_bound = min(n_bound, n)
    errors, sigmas, known, free = [], [], [], []
    unknown = training_nuisances(recipe.priors)
    done = 0
    for trial in trials(estimator, simulator, snr, n, batch, _drawer(simulator, low, high)):
        errors.append(trial.error)
        sigmas.append(trial.sigma)
        wanted = max(0, min(len(trial.stars), n_bound - done))
        if wanted:
            known.append(_bounds(simulator, trial, wanted, KNOWN))
            free.append(_bounds(simulator, trial, wanted, unknown))
        done += len(trial.stars)
        if progress is not None:
            progress(done, n)
    values = _summarise(
        torch.cat(errors).double(), torch.cat(sigmas).double(),
        torch.cat(known), torch.cat(free),
    )  # fmt: skip
    return Accuracy(
        model.sha256[:8], emulator.metadata.get("sha256", "")[:8], snr, n, n_bound, seed,
        "white" if white else "training", (low, high), values,
    )  # fmt: skip


def fresh_seed(recipe: Recipe, seed: int) -> int:
    """Seed of a simulator that shares no stream with the training of a recipe.

    Training counts up and down from the recipe's seed; this is at least 2^30 away from it.
    """
    return (recipe.seed + _AWAY + seed) % _SEED_RANGE


def training_nuisances(priors: Priors) -> Nuisances:
    """What inference does not know: what training drew, with the scatter it drew it with.

    vmic and vmac of the training are cut at the grid's limits, which a Gaussian does not know.
    """
    return Nuisances(
        vmic=priors.vmic_scatter or None,
        vmac=priors.vmac_scatter or None,
        rv=priors.rv_error or None,
        continuum=CONTINUUM_DEGREE,
    )


def _check(snr: float, n: int, n_bound: int, seed: int, low: float, high: float) -> None:
    if not snr > 0:
        raise ConfigError(f"a signal-to-noise ratio of {snr}", expected="a positive number")
    if n < 2 or n_bound < 1:
        raise ConfigError(
            f"{n} spectra, the bound of {n_bound}", expected="at least 2, and the bound of 1"
        )
    if not 0 <= seed < _LARGEST_SEED:
        raise ConfigError(f"seed {seed}", expected=f"0 to {_LARGEST_SEED - 1}")
    if not TEFF.low <= low < high <= TEFF.high:
        raise ConfigError(
            f"temperatures from {low:g} to {high:g} K",
            expected=f"an increasing pair within {TEFF.low:g} to {TEFF.high:g} K",
        )


def _recipe(model: Model, white: bool) -> Recipe:
    if "recipe" not in model.card:
        raise ConfigError(
            f"the card of the model {model.name!r} has no recipe",
            expected="a model made by `harpsstar train`",
        )
    recipe = from_mapping(Recipe, model.card["recipe"])
    if not white:
        return recipe
    priors = dataclasses.replace(recipe.priors, blaze_share=0.0, masked_share=0.0)
    return dataclasses.replace(recipe, priors=priors)


def _drawer(simulator: Simulator, low: float, high: float) -> Callable[[int], Stars]:
    """Draw stars of some temperatures, without touching how the others are distributed."""

    def draw(n: int) -> Stars:
        kept: list[Stars] = []
        while sum(map(len, kept)) < n:
            stars = simulator.draw(4 * n)
            teff = stars.labels[:, 0]
            kept.append(stars[(teff >= low) & (teff <= high)])
        columns = zip(*((s.labels, s.vmic, s.vmac) for s in kept), strict=True)
        return Stars(*(torch.cat(column) for column in columns))[:n]

    whole = low <= TEFF.low and high >= TEFF.high
    return simulator.draw if whole else draw


def _bounds(simulator: Simulator, trial: Trial, n: int, free: Nuisances) -> Tensor:
    """Bound on the mean absolute error of the first `n` stars of a trial, (n, 4)."""
    fisher = information(
        simulator.emulator,
        canonical_wavelengths(),
        trial.stars.labels[:n],
        ivar=trial.exposure.ivar[:n],
        vmic=trial.stars.vmic[:n],
        vmac=trial.stars.vmac[:n],
        resolution=simulator.resolution,
        free=free,
    )
    return mean_absolute_error(cramer_rao(fisher))


def _summarise(
    error: Tensor, sigma: Tensor, known: Tensor, free: Tensor
) -> dict[str, LabelAccuracy]:
    """Statistics of errors and sigmas (n, 4) and bounds (n_bound, 4)."""
    size = error.abs()
    low, high = _bootstrap(size)
    pull = size / sigma
    same = size[: len(known)].mean(0)
    columns = {
        "mae": size.mean(0),
        "mae_low": low,
        "mae_high": high,
        "median_error": size.median(0).values,
        "bias": error.mean(0),
        "coverage_1": (pull < 1).double().mean(0),
        "coverage_2": (pull < 2).double().mean(0),
        "bound_known": known.mean(0),
        "bound_free": free.mean(0),
        "ratio_known": same / known.mean(0),
        "ratio_free": same / free.mean(0),
    }
    return {
        name: LabelAccuracy(**{key: float(column[i]) for key, column in columns.items()})
        for i, name in enumerate(NAMES)
    }


def _bootstrap(values: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of the central 95 % of resampled means of (n, k) values, each (k,)."""
    generator = torch.Generator().manual_seed(0)
    means = torch.stack([
        values[torch.randint(len(values), (len(values),), generator=generator)].mean(0)
        for _ in range(_BOOTSTRAPS)
    ])  # fmt: skip
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975]).to(means), dim=0)
    return low, high
