"""Accuracy on fresh synthetic spectra: errors, coverage, and how far from the bound.

Stars are drawn as the model's own recipe draws them, with a seed that no training uses, and pass
through the whole of inference from a poor first guess. Two situations are told apart. ``free``:
the nuisances are drawn from their priors and solved for, as in every real measurement. ``fixed``:
they lie on their relations, and with continuum and velocity are known to the measurement, which is
the situation of Hüttel & Clemmensen (2021). The bound is that of the same situation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

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
from harpsstar.infer.calibrate import trials
from harpsstar.infer.estimate import Estimator
from harpsstar.labels import LABELS, NAMES, TEFF
from harpsstar.mock.simulate import Priors, Simulator, Stars
from harpsstar.model.emulator import Emulator
from harpsstar.nn.zoo import Model
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.recipes import Recipe
from harpsstar.train.samples import simulator_for

#: Degree of the polynomial of each order's continuum in :mod:`harpsstar.spectra.continuum`.
CONTINUUM_DEGREE = 4
#: Stars whose bound is computed by default: it costs more than measuring them.
N_BOUND = 300

#: Whether the nuisances are on their relations and known, or drawn and solved for.
Situation: TypeAlias = Literal["fixed", "free"]

_BOOTSTRAPS = 1000
_DRAWS = 256
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
    bound : float
        Bayesian Cramér-Rao bound on the mean absolute error of the bound's stars.
    bound_inside : float
        What the best estimator reaches in the linear model with that information if it knows the
        ends of the grid, which the Cramér-Rao bound does not; never larger.
    ratio, ratio_inside : float
        Mean absolute error of the same stars over the two. A ratio below 1 to ``bound`` comes from
        the ends of the grid: the prior is more than the Gaussian of the same variance says.
    """

    mae: float
    mae_low: float
    mae_high: float
    median_error: float
    bias: float
    coverage_1: float
    coverage_2: float
    bound: float
    bound_inside: float
    ratio: float
    ratio_inside: float


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
    nuisances : str
        ``"fixed"`` or ``"free"``.
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
    nuisances: str
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
    nuisances: Situation = "free",
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
    nuisances : {"free", "fixed"}
        The situation, see above. The calibration of the errors is that of ``free``.
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
    recipe = recipe_of(model, white=white, nuisances=nuisances)
    emulator, simulator = fresh_stars(recipe, seed, emulator)
    fixed = nuisances == "fixed"
    estimator = Estimator(model, emulator, canonical_wavelengths(), known=fixed)
    unknown = KNOWN if fixed else training_nuisances(recipe.priors)
    n_bound = min(n_bound, n)
    errors, sigmas, bounds = [], [], []
    done = 0
    for trial in trials(estimator, simulator, snr, n, batch, drawer(simulator, low, high)):
        errors.append(trial.error)
        sigmas.append(trial.sigma)
        wanted = max(0, min(len(trial.stars), n_bound - done))
        if wanted:
            ivar = trial.exposure.ivar[:wanted]
            bounds.append(least_errors(simulator, trial.stars[:wanted], ivar, unknown))
        done += len(trial.stars)
        if progress is not None:
            progress(done, n)
    values = _summarise(
        torch.cat(errors).double(), torch.cat(sigmas).double(), torch.cat(bounds)
    )
    return Accuracy(
        model.sha256[:8], emulator.metadata.get("sha256", "")[:8], snr, n, n_bound, seed,
        "white" if white else "training", nuisances, (low, high), values,
    )  # fmt: skip


def fresh_stars(
    recipe: Recipe, seed: int, emulator: Emulator | None = None
) -> tuple[Emulator, Simulator]:
    """Emulator, the packaged one by default, and a simulator of stars that no training has seen."""
    emulator = Emulator.load() if emulator is None else emulator
    return emulator, simulator_for(recipe, emulator, fresh_seed(recipe, seed))


def fresh_seed(recipe: Recipe, seed: int) -> int:
    """Seed of a simulator that shares no stream with the training of a recipe.

    Training counts up and down from the recipe's seed; this is at least 2^30 away from it.
    """
    return (recipe.seed + _AWAY + seed) % _SEED_RANGE


def training_nuisances(priors: Priors) -> Nuisances:
    """What inference does not know: what training drew, with the scatter it drew it with.

    Nuisances are cut at the ends of their ranges, which a Gaussian does not know.
    """
    return Nuisances(
        vmic=priors.vmic_scatter or None,
        vmac=priors.vmac_scatter or None,
        alpha=priors.alpha_scatter or None,
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


def recipe_of(model: Model, *, white: bool = False, nuisances: Situation = "free") -> Recipe:
    """The recipe of a model's card, with the noise and the nuisances that are asked for.

    Raises
    ------
    ConfigError
        The card has none.
    """
    if "recipe" not in model.card:
        raise ConfigError(
            f"the card of the model {model.name!r} has no recipe",
            expected="a model made by `harpsstar train`",
        )
    recipe = from_mapping(Recipe, model.card["recipe"])
    priors = recipe.priors
    if white:
        priors = dataclasses.replace(priors, blaze_share=0.0, masked_share=0.0)
    if nuisances == "fixed":
        priors = dataclasses.replace(
            priors, vmic_scatter=0.0, vmac_scatter=0.0, alpha_scatter=0.0, rv_error=0.0
        )
    return dataclasses.replace(recipe, priors=priors)


def drawer(simulator: Simulator, low: float, high: float) -> Callable[[int], Stars]:
    """Draw stars of some temperatures, without touching how the others are distributed."""

    def draw(n: int) -> Stars:
        return simulator.draw_where(n, lambda at: (at[:, 0] >= low) & (at[:, 0] <= high))

    whole = low <= TEFF.low and high >= TEFF.high
    return simulator.draw if whole else draw


def least_errors(simulator: Simulator, stars: Stars, ivar: Tensor, free: Nuisances) -> Tensor:
    """Bounds on the mean absolute error of each star, (n, 2, 4).

    The first of the two is that of a Gaussian, the second of one that is cut at the ends of the
    grid, where that is smaller.

    Parameters
    ----------
    simulator : Simulator
    stars : Stars
        `n` of them.
    ivar : Tensor
        (n, 8, 4096)
    free : Nuisances
        What is not known.
    """
    labels, vmic, vmac, alpha = stars.columns
    fisher = information(
        simulator.emulator,
        canonical_wavelengths(),
        labels,
        ivar=ivar,
        vmic=vmic,
        vmac=vmac,
        alpha=alpha,
        resolution=simulator.resolution,
        free=free,
        related=True,
    )
    gaussian = mean_absolute_error(cramer_rao(fisher))
    inside = expected_error_inside(simulator.emulator, labels, cramer_rao(fisher, prior=False))
    return torch.stack([gaussian, torch.minimum(inside, gaussian)], dim=1)


def expected_error_inside(emulator: Emulator, labels: Tensor, covariance: Tensor) -> Tensor:
    """Mean absolute error (B, 4) of the best estimator, given a flat prior within the grid.

    In the linear model an unlimited measurement scatters about the truth with the covariance
    (B, 4, 4). Its posterior is that Gaussian, cut at the ends of the grid; the best estimate is
    the median of what is left, here in one dimension at a time: what the ends of correlated labels
    would tell beyond that is left out, so that a ratio may still be a little below 1.
    """
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(_DRAWS, 1, 1, dtype=torch.float64, generator=generator)
    normal = torch.cat([normal, -normal])
    sigma = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    low = torch.tensor([label.low for label in LABELS], dtype=torch.float64).repeat(len(labels), 1)
    high = torch.tensor([label.high for label in LABELS], dtype=torch.float64)
    low[:, 1] = emulator.grid.lowest_logg(labels[:, 0]).double()
    truth = labels.double()
    measured = truth + sigma * normal
    below, above = (torch.special.ndtr((end - measured) / sigma) for end in (low, high))
    middle = (0.5 * (below + above)).clamp(1e-12, 1 - 1e-12)
    median = measured + sigma * torch.special.ndtri(middle)
    return (median.clamp(min=low, max=high.expand_as(low)) - truth).abs().mean(0)


def _summarise(error: Tensor, sigma: Tensor, bounds: Tensor) -> dict[str, LabelAccuracy]:
    """Statistics of errors and sigmas (n, 4) and bounds (n_bound, 2, 4)."""
    size = error.abs()
    low, high = _bootstrap(size)
    pull = size / sigma
    same = size[: len(bounds)].mean(0)
    gaussian, inside = bounds.mean(0)
    columns = {
        "mae": size.mean(0),
        "mae_low": low,
        "mae_high": high,
        "median_error": size.median(0).values,
        "bias": error.mean(0),
        "coverage_1": (pull < 1).double().mean(0),
        "coverage_2": (pull < 2).double().mean(0),
        "bound": gaussian,
        "bound_inside": inside,
        "ratio": same / gaussian,
        "ratio_inside": same / inside,
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
