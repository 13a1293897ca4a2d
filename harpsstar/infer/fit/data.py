"""The observed pixels of a spectrum, as a likelihood needs them: no resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.errors import CoverageError
from harpsstar.model.mismatch import load_mismatch
from harpsstar.spectra.continuum import LEAST_SHARE, legendre
from harpsstar.spectra.frame import C_KM_S, Pixels, canonical_wavelengths

FloatArray = npt.NDArray[np.float64]

#: Degree of the polynomial of each order's continuum, and of one whose blaze was only estimated.
DEGREE, DEGREE_ESTIMATED = 4, 8
#: Rows that a one-dimensional spectrum is cut into: about as long as an order.
_N_SEGMENTS = 8
_PRIOR_SIGMA = 1.0
#: Degree of the polynomials that relate variance to flux along a row, and how well they must.
_VARIANCE_DEGREE, _VARIANCE_KNOWN = 5, 0.03


@dataclass(frozen=True)
class Data:
    """One spectrum: O rows (orders, or segments of a merged spectrum) of N pixels.

    Attributes
    ----------
    wave : ndarray (O, N)
        Air wavelength, Å, barycentric frame, as observed.
    flux, ivar : Tensor (O, N), float32
        Flux with its continuum, in units of the median of each row, and its inverse variance;
        0 where it is not usable.
    photon : Tensor (O, N), float32
        Derivative of the noise's variance with respect to the flux, see :func:`photon_slope`.
    pattern : Tensor (O, N), float32
        Pattern of the error of the physics: :mod:`harpsstar.model.mismatch`, at these pixels.
    rv0 : float
        Velocity (km/s) about which ``rv`` is fitted.
    level : Tensor (O,)
        The median of each row, in the units of the :class:`~harpsstar.spectra.frame.Pixels`.
    resolution : float
        Resolving power.
    degree : int
        Of the polynomial of each row's continuum.
    """

    wave: FloatArray
    flux: Tensor
    ivar: Tensor
    photon: Tensor
    pattern: Tensor
    rv0: float
    level: Tensor
    resolution: float
    degree: int = DEGREE

    @property
    def rest(self) -> FloatArray:
        """Wavelengths (O, N) in the rest frame of a star with velocity ``rv0``."""
        return self.wave / (1.0 + self.rv0 / C_KM_S)

    @property
    def used(self) -> Tensor:
        """Which pixels count, (O, N)."""
        return self.ivar > 0


def make_data(pixels: Pixels, rv0: float, resolution: float, degree: int = DEGREE) -> Data:
    """Choose and scale the pixels of a spectrum.

    Orders count whose centre lies in the canonical range in the rest frame and that have a quarter
    of their pixels; of a merged spectrum what lies in that range, in eight pieces with a continuum
    each.

    Parameters
    ----------
    pixels : Pixels
        From :func:`harpsstar.spectra.frame.pixels_from`.
    rv0 : float
        Velocity of the star, km/s, to a few km/s.
    resolution : float
        Resolving power.
    degree : int
        Of the polynomial of each row's continuum.

    Raises
    ------
    CoverageError
        No order has enough usable pixels.
    """
    wave, flux, ivar = _rows(pixels, rv0)
    share = (ivar > 0).mean(axis=1)
    positive = np.array([_median(f, w) > 0 for f, w in zip(flux, ivar, strict=True)], dtype=bool)
    kept = (share >= LEAST_SHARE) & positive
    if not kept.any():
        raise CoverageError(
            "no order has enough usable pixels",
            expected=f"one with at least {LEAST_SHARE:.0%} of its pixels",
            hint="check the mask of the spectrum: saturation, cosmic rays, quality",
            path=pixels.name or None,
        )
    wave, flux, ivar = wave[kept], flux[kept], ivar[kept]
    level = np.array([_median(f, w) for f, w in zip(flux, ivar, strict=True)])[:, None]
    flux, ivar = flux / level, ivar * level**2
    pattern = pattern_at(wave / (1.0 + rv0 / C_KM_S))
    return Data(
        wave,
        torch.from_numpy(flux).float(),
        torch.from_numpy(ivar).float(),
        torch.from_numpy(photon_slope(flux, ivar)).float(),
        torch.from_numpy(pattern).float(),
        rv0,
        torch.from_numpy(level[:, 0]),
        resolution,
        degree,
    )


def photon_slope(flux: FloatArray, ivar: FloatArray) -> FloatArray:
    """Find by how much the variance of a pixel follows its own flux.

    Photon noise is estimated from the counted photons: a pixel that noise made fainter gets more
    weight, and a weighted mean is one photon too low in every pixel, which deepens lines. The
    likelihood therefore wants the variance that the *model* predicts. Within a row the variance of
    photon and read noise is p(x) flux + q(x), with smooth p and q whatever blaze and gain are; both
    are fitted as polynomials, and where they do not describe the variances the slope is zero.

    Parameters
    ----------
    flux, ivar : ndarray (O, N)

    Returns
    -------
    ndarray (O, N)
        p(x), 0 or more.
    """
    slope = np.zeros(flux.shape)
    basis = legendre(flux.shape[1], _VARIANCE_DEGREE).numpy().T
    for row, used in enumerate(ivar > 0):
        variance = 1.0 / ivar[row, used]
        terms = basis[used] / variance[:, None]
        design = np.hstack([terms * np.maximum(flux[row, used], 0.0)[:, None], terms])
        solution = np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0]
        if np.sqrt(np.mean((design @ solution - 1.0) ** 2)) < _VARIANCE_KNOWN:
            slope[row] = np.maximum(basis @ solution[: _VARIANCE_DEGREE + 1], 0.0)
    return slope


def _median(flux: FloatArray, ivar: FloatArray) -> float:
    return float(np.median(flux[ivar > 0])) if (ivar > 0).any() else 0.0


def _rows(pixels: Pixels, rv0: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    canonical = canonical_wavelengths()
    low, high = canonical.min(), canonical.max()
    rest = pixels.wave / (1.0 + rv0 / C_KM_S)
    if len(rest) == 1:
        inside = np.flatnonzero((rest[0] >= low) & (rest[0] <= high))
        return _segments(*(x[0, inside] for x in (pixels.wave, pixels.flux, pixels.ivar)))
    centre = rest[:, rest.shape[1] // 2]
    rows = np.flatnonzero((centre > low) & (centre < high))
    return pixels.wave[rows], pixels.flux[rows], pixels.ivar[rows]


def _segments(
    wave: FloatArray, flux: FloatArray, ivar: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cut one row into pieces; the last is filled up with pixels that do not count."""
    length = -(-wave.size // _N_SEGMENTS)
    missing = _N_SEGMENTS * length - wave.size
    parts = (np.pad(wave, (0, missing), mode="edge"), np.pad(flux, (0, missing)),
             np.pad(ivar, (0, missing)))  # fmt: skip
    cut = [part.reshape(_N_SEGMENTS, length) for part in parts]
    return cut[0], cut[1], cut[2]


def pattern_at(rest: FloatArray) -> FloatArray:
    """Pattern of the error of the physics at rest wavelengths (Å, any shape).

    It is 1, its median, where it is not known.
    """
    canonical = canonical_wavelengths()
    values = load_mismatch().double().numpy()
    centres = canonical[:, canonical.shape[1] // 2]
    # Half way between centres, where rows overlap, one row takes over from the next.
    ends = np.concatenate([[0.0], 0.5 * (centres[1:] + centres[:-1]), [np.inf]])
    kept = [(row >= a) & (row < b) for row, a, b in zip(canonical, ends, ends[1:], strict=False)]
    wave = np.concatenate([row[k] for row, k in zip(canonical, kept, strict=True)])
    value = np.concatenate([row[k] for row, k in zip(values, kept, strict=True)])
    return np.interp(rest, wave, value, left=1.0, right=1.0)


def continuum_prior(degree: int) -> tuple[Tensor, Tensor]:
    """Mean and precision (degree + 1,) of the coefficients of a row's continuum, float64.

    Gaussian, in units of the row's level: 1 ± 1 for the constant, 0 ± 1 for every other term.
    """
    mean = torch.zeros(degree + 1, dtype=torch.float64)
    mean[0] = 1.0
    return mean, torch.full((degree + 1,), _PRIOR_SIGMA**-2, dtype=torch.float64)
