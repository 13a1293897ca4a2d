"""Whether several epochs of one star, combined, have the error that they claim.

Mock stars are drawn from the priors of the fit, each with turbulence of its own about the
relations, and observed several times. Every exposure goes through ``predict``; its rows are
combined as ``archive summary`` combines them. The physics of these spectra is right, so that its
error is left out of the claim: what remains is the noise, which averages out, and what the spectra
do not tell apart, which does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import kstest

from harpsstar.errors import ConfigError
from harpsstar.evaluate.posterior import observe
from harpsstar.infer import quality
from harpsstar.infer.epochs import weighted_mean
from harpsstar.infer.fit.options import Options, Uniform
from harpsstar.infer.fit.space import Space
from harpsstar.infer.predict import Measurement, Predictor, predictor
from harpsstar.infer.prepare import prepare
from harpsstar.infer.uncertainty import Uncertainty
from harpsstar.labels import LABELS, NAMES
from harpsstar.plotting import SERIES, new_figure, save, style

FloatArray = npt.NDArray[np.float64]

#: Fewer epochs that are not flagged say nothing of a scatter.
_LEAST_EPOCHS = 2
#: Velocities of a star about its own, km/s: half of what the Earth's motion can do.
_MOTION = 15.0


@dataclass(frozen=True)
class LabelEpochs:
    """One label: share of stars whose error lies within one and two claimed sigmas.

    ``claimed`` is the median claimed error, ``rms`` that of the errors in units of the claims.
    """

    coverage_1: float
    coverage_2: float
    rms: float
    claimed: float


@dataclass(frozen=True)
class EpochQuality:
    """Result of :func:`epoch_quality`.

    Attributes
    ----------
    model : str
    n, epochs, seed : int
        Stars used, exposures of each, seed.
    n_left_out : int
        Stars drawn beyond that, of which fewer than two exposures were ``ok``.
    snr, teff_range : tuple of float
        From and to.
    coverage_1, coverage_2 : float
        Of all labels together.
    labels : dict of str to LabelEpochs
    chi2_red : float
        Of the epochs of all stars about their means; 1 where the claimed noise is right.
    p_value : float
        Kolmogorov-Smirnov test that the chi-squared of each star has its distribution.
    probabilities : tuple of float
        Of a larger chi-squared than that of each star: uniform if so.
    pulls : tuple of tuple of float
        Error over claim of each star and label.
    """

    model: str
    n: int
    epochs: int
    seed: int
    n_left_out: int
    snr: tuple[float, float]
    teff_range: tuple[float, float]
    coverage_1: float
    coverage_2: float
    labels: dict[str, LabelEpochs]
    chi2_red: float
    p_value: float
    probabilities: tuple[float, ...]
    pulls: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class _Star:
    """Error and claimed error (4,) of the mean, chi-squared of the scatter, degrees of freedom."""

    error: FloatArray
    claim: FloatArray
    chi2: float
    freedom: int


def epoch_quality(
    *,
    n: int = 200,
    epochs: int = 8,
    seed: int = 0,
    snr: tuple[float, float] = (40.0, 200.0),
    teff_range: tuple[float, float] = (4000.0, 9000.0),
    model: str | Path = "default",
    progress: Callable[[int, int], None] | None = None,
) -> EpochQuality:
    """Observe `n` mock stars several times, combine the epochs and compare with the truth.

    Parameters
    ----------
    n, epochs : int
        Stars, and exposures of each. Stars with fewer than two exposures that are ``ok`` are
        replaced by others.
    seed : int
        Each star is a function of it and of the star's number.
    snr : tuple of float
        Per pixel; drawn for every exposure, uniform in its logarithm.
    teff_range : tuple of float
        K; the other labels have the whole grid.
    model : str or Path
        See :func:`harpsstar.predict`.
    progress : callable, optional
        Called with (stars done, stars in all).

    Raises
    ------
    ConfigError
        Numbers out of range.
    """
    if n < 2 or epochs < _LEAST_EPOCHS or not 0 < snr[0] <= snr[1]:
        raise ConfigError(
            f"{n} stars with {epochs} epochs, signal-to-noise ratio {snr[0]:g} to {snr[1]:g}",
            expected="at least 2 stars with 2 epochs, and an increasing positive range",
        )
    ready = predictor(model)
    space = Space(Options(priors={"teff": Uniform(*teff_range)}), ready.emulator, [0.0])
    stars: list[_Star] = []
    number = 0
    while len(stars) < n:
        generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + number)
        number += 1
        star = _combined(ready, space, epochs, snr, generator)
        if star is not None:
            stars.append(star)
            if progress is not None:
                progress(len(stars), n)
    facts = (ready.model.name, n, epochs, seed, number - n, snr, teff_range)
    return EpochQuality(*facts, **_statistics(stars))  # type: ignore[arg-type]


def _combined(
    ready: Predictor, space: Space, epochs: int, snr: tuple[float, float],
    generator: torch.Generator,
) -> _Star | None:  # fmt: skip
    """Draw a star and combine its epochs; None where too few are ``ok``."""
    truth = space.draw(1, generator)
    found = list(_measured(ready, space, truth, epochs, snr, generator))
    good = [item for item in found if not item.flags & quality.SERIOUS]
    if len(good) < _LEAST_EPOCHS:
        return None
    values = np.stack([item.estimate.labels[0].double().numpy() for item in good])
    errors = [Uncertainty.of(item.estimate, physics=False) for item in good]
    noise, total = (np.stack([getattr(e, name) for e in errors]) for name in ("noise", "total"))
    mean = weighted_mean(values, noise, total)
    true = np.array([float(truth[0, space.names.index(name)]) for name in NAMES])
    freedom = (len(good) - 1) * len(NAMES)
    claim = np.sqrt(np.diag(mean.covariance))
    return _Star(mean.values - true, claim, mean.chi2_red * freedom, freedom)


def _measured(
    ready: Predictor, space: Space, truth: torch.Tensor, epochs: int, snr: tuple[float, float],
    generator: torch.Generator,
) -> Iterator[Measurement]:  # fmt: skip
    """Observe a star (1, P) in several nights, and measure each exposure."""
    prepared = []
    for _ in range(epochs):
        share, motion = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        moved = truth.clone()
        moved[0, space.names.index("rv")] += _MOTION * (2 * motion - 1)
        level = snr[0] * (snr[1] / snr[0]) ** share
        spectrum = observe(ready.emulator, space, moved, level, generator)
        prepared.append(prepare(spectrum, ready.bank))
    for result in ready.infer(prepared):
        if isinstance(result, Exception):
            raise result
        yield result


def _statistics(stars: list[_Star]) -> dict[str, object]:
    error, claim = (np.stack([getattr(s, name) for s in stars]) for name in ("error", "claim"))
    pull = error / claim
    within = [np.abs(pull) < sigmas for sigmas in (1, 2)]
    labels = {
        name: LabelEpochs(
            float(within[0][:, i].mean()), float(within[1][:, i].mean()),
            float(np.sqrt(np.mean(pull[:, i] ** 2))), float(np.median(claim[:, i])),
        )
        for i, name in enumerate(NAMES)
    }  # fmt: skip
    tails = np.array([chi2_distribution.sf(s.chi2, s.freedom) for s in stars])
    return {
        "coverage_1": float(within[0].mean()),
        "coverage_2": float(within[1].mean()),
        "labels": labels,
        "chi2_red": sum(s.chi2 for s in stars) / sum(s.freedom for s in stars),
        "p_value": float(kstest(tails, "uniform").pvalue),
        "probabilities": tuple(tails.tolist()),
        "pulls": tuple(map(tuple, pull.tolist())),
    }


def draw(result: EpochQuality, path: str | Path) -> None:
    """Draw the distributions of chi-squared and of the errors in units of their claims.

    Raises
    ------
    OutputError
        The picture cannot be written.
    """
    figure = new_figure(10, 4.5)
    left, right = figure.subplots(1, 2)
    style(left, right)
    tails = np.sort(result.probabilities)
    share = (np.arange(len(tails)) + 0.5) / len(tails)
    left.plot(tails, share, color=SERIES[0])
    left.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    left.set_xlabel("probability of a larger chi-squared")
    left.set_ylabel("share of stars")
    left.set_title(f"scatter of the epochs: p = {result.p_value:.2g}")
    pulls = np.sort(np.abs(np.array(result.pulls)), axis=0)
    for i, label in enumerate(LABELS):
        right.plot(pulls[:, i], share, color=SERIES[i], label=label.symbol)
    sigmas = np.linspace(0.0, 4.0, 200)
    right.plot(sigmas, chi2_distribution.cdf(sigmas**2, 1), color="0.6", linewidth=0.8)
    right.set_xlim(0, 4)
    right.set_xlabel("error of the mean in units of the claim")
    right.legend(fontsize="small")
    figure.suptitle(f"{result.n} stars with {result.epochs} epochs, model {result.model}")
    save(figure, path)
