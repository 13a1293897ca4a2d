"""Flags: what may be wrong with a result, what raises each, and what to do about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.constants import C_KM_S
from harpsstar.labels import LABELS
from harpsstar.spectra.companion import SIGNIFICANT
from harpsstar.spectra.noise import ivar_from_flux


class Flag(enum.IntFlag):
    """Bits of the column ``flags``. Meanings and remedies are in :data:`MEANING`."""

    POOR_FIT = 1
    GRID_EDGE = 2
    LOW_SNR = 4
    BAD_VELOCITY = 8
    DOUBLE_LINED = 16
    MISSING_ORDER = 32
    BLAZE_ESTIMATED = 64
    VSINI_UPPER_LIMIT = 128
    SATURATED = 256
    EMISSION = 512
    LARGE_ERROR = 1024
    CLIPPED = 2048
    HELD_BY_LIMIT = 4096
    CONTRADICTED = 8192
    UNLIKE_SPECTRA = 16384
    WRONG_ERRORS = 32768
    RESOLUTION_ASSUMED = 65536


#: Flag to (what raises it, what to do).
MEANING: dict[Flag, tuple[str, str]] = {
    Flag.POOR_FIT: (
        "the best emulator spectrum misses the observed one by more than 4 % of the continuum "
        "(median, beyond the noise): an M dwarf, a very cool giant, emission, a composite "
        "spectrum, a wrong blaze",
        "do not use the labels; look at the spectrum",
    ),
    Flag.GRID_EDGE: (
        "a label lies within 1 % of its range, or within one sigma, of where the grid ends "
        "(vsini at zero excepted)",
        "the star may lie outside the grid: treat the label as a limit",
    ),
    Flag.LOW_SNR: (
        "signal-to-noise ratio below 5 per pixel, where the network was not trained",
        "combine exposures",
    ),
    Flag.BAD_VELOCITY: (
        "no significant correlation peak with any template",
        "look at the spectrum; a hot star or noise alone gives this",
    ),
    Flag.DOUBLE_LINED: (
        "a second correlation peak of at least 45 % of the first's height, or lines of a second "
        "star in the residuals, 8 times stronger than expected by chance and 4 % of the light",
        "a double-lined binary, a companion or moonlight: do not use the labels",
    ),
    Flag.MISSING_ORDER: (
        "at least one of the eight orders has less than a quarter of its pixels",
        "nothing, if it is the detector gap of HARPS: the errors account for it",
    ),
    Flag.BLAZE_ESTIMATED: (
        "no blaze file was found, so the blaze was estimated from the spectrum",
        "put the blaze file beside the spectrum or use --blaze-dir",
    ),
    Flag.VSINI_UPPER_LIMIT: (
        "vsini is not resolved: below c/R = 2.6 km/s or less than two sigma from zero",
        "read vsini + 2 vsini_err as an upper limit",
    ),
    Flag.SATURATED: (
        "pixels above the linear range of the detector were masked",
        "nothing, unless many pixels are masked",
    ),
    Flag.EMISSION: (
        "more than 0.3 % of the pixels lie in features, six pixels wide or more, that stand at "
        "least 6 % and 3 sigma above the continuum",
        "emission lines or a wrong continuum: do not use the labels",
    ),
    Flag.LARGE_ERROR: (
        "the error of a label from noise alone exceeds an eighth of its range "
        "(vsini excepted)",
        "treat the labels as rough estimates; combine exposures",
    ),
    Flag.CLIPPED: (
        "more than 5 % of the pixels lie in runs of identical values",
        "the spectrum was clipped: use it as the pipeline delivers it",
    ),
    Flag.HELD_BY_LIMIT: (
        "a parameter of a fit lies at a limit of the grid or of a prior (vsini and vmac at zero "
        "excepted)",
        "see the message for its name; widen the prior, or treat the fit as a limit",
    ),
    Flag.CONTRADICTED: (
        "a value that was fixed, or a prior, differs from the value of the spectrum by more than "
        "3 sigma of the total error",
        "see the message for its name; check the value and the star",
    ),
    Flag.UNLIKE_SPECTRA: (
        "spectra fitted together differ by more than 5 sigma of noise and of 23 K, 0.033, "
        "0.03 dex, 0.5 km/s",
        "fit them separately: they may be of several stars",
    ),
    Flag.WRONG_ERRORS: (
        "the flux scatters from pixel to pixel five times as much as its errors say, or the "
        "signal-to-noise ratio is above 20,000",
        "check the unit of the errors, and whether they are standard deviations",
    ),
    Flag.RESOLUTION_ASSUMED: (
        "the resolving power is not known, and 115,000 was assumed: vsini takes up the "
        "difference, and the other labels change with it",
        "give it with --resolution (resolution= in Python)",
    ),
}

#: Flags that make a row ``flagged``; the others inform and leave it ``ok``.
SERIOUS = (
    Flag.POOR_FIT | Flag.GRID_EDGE | Flag.LOW_SNR | Flag.BAD_VELOCITY | Flag.DOUBLE_LINED
    | Flag.EMISSION | Flag.LARGE_ERROR | Flag.CLIPPED | Flag.HELD_BY_LIMIT | Flag.CONTRADICTED
    | Flag.UNLIKE_SPECTRA | Flag.WRONG_ERRORS
)  # fmt: skip

_EMISSION_HEIGHT, _EMISSION_SIGMA, _EMISSION_WIDTH = 0.06, 3.0, 6
MAX_MISFIT = 0.04
MIN_SNR = 5.0
#: A spectrum without noise, whose errors are a 1e-4 of its flux, has 10,000.
MAX_SNR = 20_000.0
#: Real spectra, at any signal-to-noise ratio and misfit, have 0.4 (interpolated) to 1.0.
MAX_NOISE_RATIO = 5.0
MIN_SIGNIFICANCE = 25.0
MAX_PEAK_RATIO = 0.45
MIN_COMPANION_SIGNIFICANCE, MIN_COMPANION_SHARE = SIGNIFICANT, 0.04
MAX_CLIPPED = 0.05
MAX_EMISSION = 0.003
MAX_ERROR_SHARE = 0.125
MIN_ORDER_SHARE = 0.25
EDGE_SHARE = 0.01


@dataclass(frozen=True)
class Evidence:
    """What the flags of one spectrum are decided on.

    ``order_share`` is (8,), the share of usable pixels of each order; ``labels`` and ``sigma``
    (4,) in physical units; ``lowest_logg`` the grid's limit at this teff; ``resolution`` the
    resolving power; ``companion`` significance and share of a second set of lines; ``emission``
    and ``clipped`` shares of pixels; ``noise_ratio`` scatter from pixel to pixel over the errors;
    ``resolution_assumed`` whether the resolving power is a guess; ``held``, ``contradicted`` and
    ``unlike`` what a fit found.
    """

    labels: npt.NDArray[np.float64]
    sigma: npt.NDArray[np.float64]
    lowest_logg: float
    resolution: float
    misfit: float
    snr: float
    significance: float
    peak_ratio: float
    order_share: npt.NDArray[np.float64]
    blaze: str
    saturated: bool
    emission: float = 0.0
    companion: tuple[float, float] = (0.0, 0.0)
    clipped: float = 0.0
    noise_ratio: float = 1.0
    held: bool = False
    contradicted: bool = False
    unlike: bool = False
    resolution_assumed: bool = False


def near_edge(evidence: Evidence) -> bool:
    """Whether a label is as near to the end of the grid as ``GRID_EDGE`` says."""
    for value, sigma, label in zip(evidence.labels, evidence.sigma, LABELS, strict=True):
        low = evidence.lowest_logg if label.name == "logg" else label.low
        margin = max(EDGE_SHARE * (label.high - label.low), float(sigma))
        lowest = -np.inf if label.name == "vsini" else low + margin
        if not lowest <= value <= label.high - margin:
            return True
    return False


def _is_uncertain(evidence: Evidence) -> bool:
    shares = [
        float(sigma) / (label.high - label.low)
        for sigma, label in zip(evidence.sigma, LABELS, strict=True) if label.name != "vsini"
    ]
    return not max(shares) <= MAX_ERROR_SHARE


def emission_share(flux: npt.NDArray[Any], ivar: npt.NDArray[Any]) -> float:
    """Share of pixels in broad features above the continuum, see :data:`MEANING`.

    Parameters
    ----------
    flux, ivar : ndarray (orders, pixels)
        Normalised; ``ivar`` is 0 where nothing was measured (not where an outlier was found).
    """
    used = ivar > 0
    noise = 1.0 / np.sqrt(np.where(used, ivar, 1.0))
    high = used & (flux > 1.0 + np.maximum(_EMISSION_HEIGHT, _EMISSION_SIGMA * noise))
    windows = np.lib.stride_tricks.sliding_window_view(high, _EMISSION_WIDTH, axis=1)
    return float(windows.all(axis=-1).sum() * _EMISSION_WIDTH / max(int(used.sum()), 1))


def noise_ratio(residual: npt.NDArray[Any], ivar: npt.NDArray[Any]) -> float:
    """Scatter of a spectrum from pixel to pixel in units of its errors; 1 where nothing is known.

    Lines that the model misses are smooth over a few pixels and hardly enter.

    Parameters
    ----------
    residual, ivar : ndarray (orders, pixels)
        Flux minus model, and inverse variance; 0 where a pixel does not count.
    """
    used = ivar > 0
    measured = ivar_from_flux(residual.astype(float), used)
    known = measured > 0
    return float(np.sqrt(np.median(ivar[known] / measured[known]))) if known.any() else 1.0


def assess(evidence: Evidence) -> Flag:
    """Raise the flags that the evidence asks for; what is nan is never good enough."""
    vsini, vsini_err = float(evidence.labels[3]), float(evidence.sigma[3])
    unresolved = vsini < C_KM_S / evidence.resolution or vsini < 2 * vsini_err
    significance, share = evidence.companion
    second = significance >= MIN_COMPANION_SIGNIFICANCE and share >= MIN_COMPANION_SHARE
    raised = {
        Flag.POOR_FIT: not evidence.misfit <= MAX_MISFIT,
        Flag.GRID_EDGE: near_edge(evidence),
        Flag.LOW_SNR: not evidence.snr >= MIN_SNR,
        Flag.BAD_VELOCITY: not evidence.significance >= MIN_SIGNIFICANCE,
        Flag.DOUBLE_LINED: second or not evidence.peak_ratio <= MAX_PEAK_RATIO,
        Flag.MISSING_ORDER: bool((evidence.order_share < MIN_ORDER_SHARE).any()),
        Flag.BLAZE_ESTIMATED: evidence.blaze == "estimated",
        Flag.VSINI_UPPER_LIMIT: unresolved,
        Flag.SATURATED: evidence.saturated,
        Flag.EMISSION: not evidence.emission <= MAX_EMISSION,
        Flag.LARGE_ERROR: _is_uncertain(evidence),
        Flag.CLIPPED: not evidence.clipped <= MAX_CLIPPED,
        Flag.WRONG_ERRORS: not (
            evidence.noise_ratio <= MAX_NOISE_RATIO and not evidence.snr > MAX_SNR
        ),
        Flag.HELD_BY_LIMIT: evidence.held,
        Flag.CONTRADICTED: evidence.contradicted,
        Flag.UNLIKE_SPECTRA: evidence.unlike,
        Flag.RESOLUTION_ASSUMED: evidence.resolution_assumed,
    }
    total = Flag(0)
    for flag, is_raised in raised.items():
        if is_raised:
            total |= flag
    return total


def text(flags: Flag) -> str:
    """Names of the flags that are set, separated by commas; empty when none is.

    >>> text(Flag.LOW_SNR | Flag.POOR_FIT)
    'POOR_FIT,LOW_SNR'
    """
    return ",".join(str(flag.name) for flag in Flag if flag in flags)
