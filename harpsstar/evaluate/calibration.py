"""Calibration of the claimed errors: coverage, PIT, ENCE and sharpness, by SNR and temperature.

The probability integral transform (PIT) of a right claim is uniform (Gneiting, Balabdaoui &
Raftery 2007, J. R. Stat. Soc. B 69, 243). The expected normalised calibration error (ENCE; Levi
et al. 2022, Sensors 22, 5540) compares, in groups of equal claim, the claimed with the actual root
mean square error. Sharpness is the median claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from harpsstar.evaluate.accuracy import drawer, fresh_stars, recipe_of
from harpsstar.infer.calibrate import trials
from harpsstar.infer.estimate import Estimator
from harpsstar.labels import LABELS, NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.nn.zoo import Model
from harpsstar.plotting import SERIES, new_figure, save, style
from harpsstar.spectra.frame import canonical_wavelengths

#: Ends of the bins of temperature, K.
TEFF_BINS: tuple[tuple[float, float], ...] = ((3500.0, 5000.0), (5000.0, 6500.0), (6500.0, 9750.0))
#: Bars of the PIT histogram.
PIT_BARS = 10
#: Groups of equal claim in ENCE.
_GROUPS = 5

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelCalibration:
    """How honest the claimed errors of one label are.

    Attributes
    ----------
    coverage_1, coverage_2 : float
        Share of errors within one and two claimed sigmas: 0.683 and 0.954 when right.
    ence : float
        Relative difference of claimed and actual rms error, mean over groups of equal claim.
    sharpness : float
        Median claimed error, in the unit of the label.
    pit : tuple of float
        Share of spectra in each of ten bars; 0.1 each when right.
    """

    coverage_1: float
    coverage_2: float
    ence: float
    sharpness: float
    pit: tuple[float, ...]


@dataclass(frozen=True)
class Bin:
    """One SNR and range of temperature: `n` spectra."""

    snr: float
    teff_range: tuple[float, float]
    n: int
    labels: dict[str, LabelCalibration]


@dataclass(frozen=True)
class Spread:
    """How far coverages are from what is right; ``counting`` is the rms that chance alone has."""

    rms: float
    counting: float
    worst: float


@dataclass(frozen=True)
class Calibration:
    """Result of :func:`calibration`: `n` spectra in each bin."""

    model: str
    grid: str
    n: int
    seed: int
    bins: tuple[Bin, ...]

    def spread(self, sigmas: int) -> Spread:
        """How far the coverages of one or two sigmas lie from what is right, over all cases."""
        right = math.erf(sigmas / math.sqrt(2))
        off = np.array([
            getattr(label, f"coverage_{sigmas}") - right
            for one in self.bins for label in one.labels.values()
        ])  # fmt: skip
        counting = math.sqrt(right * (1 - right) / self.n)
        return Spread(float(np.sqrt(np.mean(off**2))), counting, float(np.abs(off).max()))


def calibration(
    model: Model,
    *,
    snr: tuple[float, ...] = (20.0, 50.0, 100.0, 200.0),
    n: int = 1000,
    seed: int = 0,
    batch: int = 64,
    emulator: Emulator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Compare claimed with actual errors of fresh spectra, nuisances drawn from their priors.

    Parameters
    ----------
    model, seed, batch, emulator
        As of :func:`~harpsstar.evaluate.accuracy.accuracy`.
    snr : tuple of float
        Per pixel.
    n : int
        Spectra in each bin of SNR and temperature.
    progress : callable, optional
        Called with (bins done, bins in all).

    Raises
    ------
    ConfigError
        A model without a recipe.
    """
    emulator, simulator = fresh_stars(recipe_of(model), seed, emulator)
    estimator = Estimator(model, emulator, canonical_wavelengths())
    places = [(value, limits) for value in snr for limits in TEFF_BINS]
    bins = []
    for done, (value, limits) in enumerate(places):
        parts = [
            (trial.error.double().numpy(), trial.sigma.double().numpy())
            for trial in trials(
                estimator, simulator, value, n, batch, drawer(simulator, *limits)
            )
        ]
        error, sigma = (np.concatenate(column) for column in zip(*parts, strict=True))
        bins.append(Bin(value, limits, n, compare(error, sigma)))
        if progress is not None:
            progress(done + 1, len(places))
    return Calibration(
        model.sha256[:8], emulator.metadata.get("sha256", "")[:8], n, seed, tuple(bins)
    )


def compare(error: FloatArray, sigma: FloatArray) -> dict[str, LabelCalibration]:
    """Statistics of errors and claims, both (n, 4), by name of the label."""
    return {name: _label(error[:, i], sigma[:, i]) for i, name in enumerate(NAMES)}


def _label(error: FloatArray, sigma: FloatArray) -> LabelCalibration:
    pull = error / sigma
    bars = np.histogram(norm.cdf(pull), bins=PIT_BARS, range=(0.0, 1.0))[0] / len(pull)
    return LabelCalibration(
        coverage_1=float(np.mean(np.abs(pull) < 1)),
        coverage_2=float(np.mean(np.abs(pull) < 2)),
        ence=ence(error, sigma),
        sharpness=float(np.median(sigma)),
        pit=tuple(bars.tolist()),
    )


def ence(error: FloatArray, sigma: FloatArray) -> float:
    """Expected normalised calibration error of errors and claims (n,): 0 is perfect."""
    groups = np.array_split(np.argsort(sigma), min(_GROUPS, len(sigma)))
    claimed = np.array([np.sqrt(np.mean(sigma[g] ** 2)) for g in groups])
    actual = np.array([np.sqrt(np.mean(error[g] ** 2)) for g in groups])
    return float(np.mean(np.abs(claimed - actual) / claimed))


def draw(result: Calibration, path: str | Path) -> None:
    """Draw coverage over SNR and the PIT histograms to a picture (format by the name's ending)."""
    figure = new_figure(13, 6.5)
    axes = figure.subplots(2, len(LABELS), squeeze=False)
    style(*axes.flat)
    for column, label in enumerate(LABELS):
        _draw_coverage(axes[0, column], result, label.name)
        axes[0, column].set_title(label.symbol)
        _draw_pit(axes[1, column], result, label.name)
    axes[0, 0].set_ylabel("share within 1σ and 2σ")
    axes[1, 0].set_ylabel("share of spectra")
    axes[0, -1].legend(fontsize="small", title="Teff [K]")
    figure.suptitle(
        f"model {result.model or '–'}, grid {result.grid}, {result.n} spectra in each bin"
    )
    save(figure, path)


def _draw_coverage(axis, result: Calibration, name: str) -> None:  # type: ignore[no-untyped-def]
    for i, limits in enumerate(TEFF_BINS):
        chosen = [b for b in result.bins if b.teff_range == limits]
        snr = [b.snr for b in chosen]
        text = f"{limits[0]:.0f}–{limits[1]:.0f}"
        for wanted, key in ((norm.cdf(1) - norm.cdf(-1), 1), (norm.cdf(2) - norm.cdf(-2), 2)):
            values = [getattr(b.labels[name], f"coverage_{key}") for b in chosen]
            error = [np.sqrt(wanted * (1 - wanted) / b.n) for b in chosen]
            axis.errorbar(snr, values, error, color=SERIES[i], marker="os"[key - 1], capsize=2,
                          label=text if key == 1 else None)  # fmt: skip
            axis.axhline(wanted, color="0.6", linewidth=0.8)
    axis.set_xscale("log")
    values = sorted({b.snr for b in result.bins})
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
    axis.set_xlabel("signal-to-noise ratio per pixel")
    axis.set_ylim(0.55, 1.0)


def _draw_pit(axis, result: Calibration, name: str) -> None:  # type: ignore[no-untyped-def]
    edges = np.linspace(0, 1, PIT_BARS + 1)
    for i, limits in enumerate(TEFF_BINS):
        bars = [b.labels[name].pit for b in result.bins if b.teff_range == limits]
        axis.stairs(np.mean(bars, axis=0), edges, color=SERIES[i])
    axis.axhline(1 / PIT_BARS, color="0.6", linewidth=0.8)
    axis.set_ylim(0, 2 / PIT_BARS)
    axis.set_xlabel("PIT")
