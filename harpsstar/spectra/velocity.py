"""Radial velocity by cross-correlation with a bank of templates.

Two steps. A coarse one compares the whole bank with the spectrum over the full velocity range by
FFT on a logarithmic wavelength grid; the compared quantity is χ² with weights, so that masked
pixels, gaps and missing orders need no care. A fine one takes the best template to the observed
pixels and solves for the velocity by Gauss–Newton, without resampling what was observed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, rfft

from harpsstar.constants import MAD_TO_SIGMA
from harpsstar.errors import CoverageError
from harpsstar.spectra.continuum import rough_continuum
from harpsstar.spectra.frame import C_KM_S, FloatArray, Pixels, keys_weights

#: Emulator pixels in one pixel of the coarse grid: 2.4 km/s.
DECIMATION = 4
_ITERATIONS = 8
_CLIPPED = 2  # iterations after which the clipped pixels are final
_CONVERGED = 3e-3  # km/s
_LARGEST_STEP = 3.0  # km/s
_GROUP = 1e-3  # 300 km/s, in log wavelength: pixels whose residuals belong together
_CLIP = 5.0  # scatters beyond which a pixel does not count in the fine step


@dataclass(frozen=True)
class Velocity:
    """What the cross-correlation found.

    Attributes
    ----------
    rv, rv_err : float
        Velocity and its standard error, km/s: the larger of the noise's, times the square root of
        the reduced χ² where that exceeds 1, and the one that the residuals show from line to line.
    labels : tuple of float
        teff, logg, m_h, vsini of the best template.
    vmic : float
        Microturbulence of the best template, km/s.
    contrast : float
        Scale of the template's lines that fits best: near 1 for a star like the template, near 0
        where there is nothing to correlate with.
    correlation : float
        Weighted correlation coefficient at the peak, 0 to 1.
    peak_ratio : float
        Second-highest peak of the correlation over the highest; near 1 for a double-lined binary
        or where noise decides.
    significance : float
        Δχ² to the best rival velocity of any template, more than 20 + 2 vsini km/s away, in units
        of max(1, reduced χ²). Above 25 the peak is beyond doubt.
    chi2_red : float
        Reduced χ² of spectrum against template, after clipping.
    n_pixels : int
        Pixels that took part.
    velocities, curve : ndarray
        The correlation coefficient of the best template over velocity (km/s), for plots.
    """

    rv: float
    rv_err: float
    labels: tuple[float, float, float, float]
    vmic: float
    contrast: float
    correlation: float
    peak_ratio: float
    significance: float
    chi2_red: float
    n_pixels: int
    velocities: FloatArray = field(repr=False)
    curve: FloatArray = field(repr=False)


@dataclass(frozen=True)
class Bank:
    """Templates on the emulator's grid, divided by their rough continuum; t is 1 − flux.

    Plain arrays, so that a process without emulator can measure velocities with it. ``coarse`` and
    ``shares`` are t and t² on the coarse grid as principal components: their Fourier transforms
    (2, r, n / decimation / 2 + 1), and each template's share of them (2, k, r).
    """

    log_wave0: float
    log_step: float
    labels: FloatArray  # (k, 4)
    vmic: FloatArray  # (k,)
    templates: npt.NDArray[np.float32]  # (k, n)
    coarse: npt.NDArray[np.complex64]
    shares: npt.NDArray[np.float32]

    @property
    def n_coarse(self) -> int:
        """Pixels of the coarse grid."""
        return self.templates.shape[1] // DECIMATION


def measure_velocity(
    pixels: Pixels, bank: Bank, *, guess: float | None = None, width: float = 300.0
) -> Velocity:
    """Find the radial velocity, and a first idea of the star.

    χ²(v) = Σ w (y − a − b t_v)² with y = 1 − flux/continuum, t_v the template at velocity v, a
    (misplaced continuum) and b (line strength) solved for analytically; b must be positive. See
    Zucker (2003, MNRAS 342, 1291) for cross-correlation as maximum likelihood.

    Parameters
    ----------
    pixels : Pixels
        From :func:`harpsstar.spectra.frame.pixels_from`; orders or one dimension.
    bank : Bank
        Templates.
    guess : float, optional
        Centre of the search, km/s; 0 by default.
    width : float
        Half the searched range, km/s.

    Returns
    -------
    Velocity

    Raises
    ------
    CoverageError
        If no usable pixel lies where the templates are valid over the whole search.
    """
    centre = 0.0 if guess is None else float(guess)
    wave, depth, weight = _depths(pixels, bank, abs(centre) + width)
    velocities, pull, _, power = template_pulls(wave, depth, weight, bank, centre, width)
    gain = np.maximum(pull, 0.0) ** 2
    best, peak = np.unravel_index(int(np.argmax(gain)), gain.shape)
    start = _parabola(velocities, gain[best], int(peak))
    fine = _gauss_newton(wave, depth, weight, bank, int(best), start)
    curve = np.sqrt(gain[best] / power)
    away = np.abs(velocities - start) > 20.0 + 2.0 * bank.labels[best, 3]
    rival = float(gain[:, away].max()) if away.any() else 0.0
    return Velocity(
        rv=fine.rv,
        rv_err=fine.rv_err,
        labels=tuple(float(x) for x in bank.labels[best]),  # type: ignore[arg-type]
        vmic=float(bank.vmic[best]),
        contrast=fine.contrast,
        correlation=float(curve[peak]),
        peak_ratio=_second_peak(curve, away) / max(float(curve[peak]), 1e-12),
        significance=(float(gain[best, peak]) - rival) / max(1.0, fine.chi2_red),
        chi2_red=fine.chi2_red,
        n_pixels=fine.n_pixels,
        velocities=velocities,
        curve=curve,
    )


def _depths(pixels: Pixels, bank: Bank, fastest: float) -> tuple[FloatArray, ...]:
    """Wavelength (logarithm), line depth and weight of all usable pixels, one-dimensional.

    Only pixels at which a template is valid at every searched velocity are used, so that all
    velocities are judged by the same pixels.
    """
    continuum = rough_continuum(pixels)
    usable = (pixels.ivar > 0) & np.isfinite(pixels.flux)
    margin = np.log1p(fastest / C_KM_S) + 4 * DECIMATION * bank.log_step
    end = bank.log_wave0 + bank.log_step * (bank.templates.shape[1] - 1)
    log_wave = np.log(pixels.wave)
    usable &= (log_wave > bank.log_wave0 + margin) & (log_wave < end - margin)
    if np.count_nonzero(usable) < 100:
        raise CoverageError(
            f"{np.count_nonzero(usable)} usable pixels for a search over ±{fastest:.0f} km/s",
            expected=f"at least 100 between {np.exp(bank.log_wave0 + margin):.0f} and "
            f"{np.exp(end - margin):.0f} Å",
            hint="search a smaller range of velocity, or look at the spectrum's mask",
            path=pixels.name or None,
        )
    depth = 1.0 - pixels.flux[usable] / continuum[usable]
    weight = pixels.ivar[usable] * continuum[usable] ** 2
    # Emission above the envelope that the noise does not explain is a cosmic-ray hit.
    hit = (-depth > 0.3) & (-depth * np.sqrt(weight) > 6.0)
    return log_wave[usable], depth, np.where(hit, 0.0, weight)


def template_pulls(
    log_wave: FloatArray,
    depth: FloatArray,
    weight: FloatArray,
    bank: Bank,
    centre: float,
    width: float,
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """How strongly each template of a bank is in a spectrum, at each velocity.

    Parameters
    ----------
    log_wave, depth, weight : ndarray (n,)
        Logarithm of the wavelengths, line depths and their inverse variances, in any order.
    bank : Bank
    centre, width : float
        Middle and half of the searched range, km/s.

    Returns
    -------
    velocities : ndarray (v,)
        km/s.
    pull, scale : ndarray (k, v)
        Scale of the template that fits best, in units of its error and in itself. Where ``pull``
        is positive its square is the χ² that the template removes.
    power : float
        Σ w (y − ȳ)², the χ² there is to remove.
    """
    n = bank.n_coarse
    index = ((log_wave - bank.log_wave0) / (bank.log_step * DECIMATION)).astype(int)
    total = weight.sum()
    # Relative to the mean, so that the free offset drops out of the sums early and float32 holds.
    depth = depth - (weight @ depth) / total
    data = np.stack([np.bincount(index, weight, n), np.bincount(index, weight * depth, n)]) / total
    f_weight, f_depth = rfft(data.astype(np.float32), axis=-1).conj()
    low, high = (
        round(np.log1p((centre + sign * width) / C_KM_S) / (bank.log_step * DECIMATION))
        for sign in (-1, 1)
    )
    lags = np.arange(low, high + 1)
    # Data at wavelength index i see the template at i − lag.
    take = -lags % n
    t, t2 = bank.coarse
    spectra = np.concatenate([f_depth * t, f_weight * t, f_weight * t2])
    curves = irfft(spectra, n, axis=-1)[:, take].reshape(3, -1, len(take))
    shares = bank.shares[[0, 0, 1]]
    cross, mean, square = (shares @ curves).astype(np.float64)
    variance = np.maximum(square - mean**2, 1e-8)
    velocities = C_KM_S * np.expm1(lags * DECIMATION * bank.log_step)
    pull = np.sqrt(total / variance) * cross
    return velocities, pull, cross / variance, float(weight @ depth**2)


def _parabola(x: FloatArray, y: FloatArray, i: int) -> float:
    """Abscissa of the maximum of the parabola through the points i − 1, i, i + 1."""
    if i == 0 or i == len(x) - 1:
        return float(x[i])
    left, middle, right = y[i - 1 : i + 2]
    curvature = left - 2.0 * middle + right
    offset = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float(x[i] + offset * 0.5 * (x[i + 1] - x[i - 1]))


def _second_peak(curve: FloatArray, away: npt.NDArray[np.bool_]) -> float:
    inner = curve[1:-1]
    maxima = (inner >= curve[:-2]) & (inner >= curve[2:]) & away[1:-1]
    return float(inner[maxima].max()) if maxima.any() else 0.0


@dataclass(frozen=True)
class _Fine:
    rv: float
    rv_err: float
    contrast: float
    chi2_red: float
    n_pixels: int


def _gauss_newton(
    log_wave: FloatArray,
    depth: FloatArray,
    weight: FloatArray,
    bank: Bank,
    which: int,
    start: float,
) -> _Fine:
    """Velocity, offset and line strength on the observed pixels, outliers clipped both ways."""
    template = bank.templates[which].astype(np.float64)
    rv, kept = start, weight
    for iteration in range(_ITERATIONS):
        value, slope = _template_at(log_wave, template, bank, rv)
        design = np.stack([np.ones_like(value), value, slope])
        weighted = design * kept
        normal = weighted @ design.T
        solution = np.linalg.lstsq(normal, weighted @ depth, rcond=None)[0]
        residual = depth - solution @ design
        if iteration < _CLIPPED:
            kept = _clipped(residual, weight)
        strength = solution[1] if solution[1] > 0 else np.inf
        step = float(np.clip(solution[2] / strength, -_LARGEST_STEP, _LARGEST_STEP))
        rv += step
        if iteration >= _CLIPPED and abs(step) < _CONVERGED:
            break
    n_pixels = int(np.count_nonzero(kept))
    chi2_red = float(kept @ residual**2 / max(n_pixels - 3, 1))
    covariance = np.linalg.pinv(normal)
    noise = covariance[2, 2] * max(1.0, chi2_red)
    # Mismatched lines pull the velocity in correlated groups of pixels, which χ² does not see.
    pulls = covariance[2] @ weighted * residual
    groups = np.bincount(((log_wave - bank.log_wave0) / _GROUP).astype(int), pulls)
    error = np.sqrt(max(noise, float(groups @ groups))) / max(abs(solution[1]), 1e-6)
    return _Fine(rv, float(error), float(solution[1]), chi2_red, n_pixels)


def _clipped(residual: FloatArray, weight: FloatArray) -> FloatArray:
    score = np.abs(residual) * np.sqrt(weight)
    used = score[weight > 0]
    scatter = max(1.0, MAD_TO_SIGMA * float(np.median(used))) if used.size else 1.0
    return np.where(score < _CLIP * scatter, weight, 0.0)


def _template_at(
    log_wave: FloatArray, template: FloatArray, bank: Bank, rv: float
) -> tuple[FloatArray, FloatArray]:
    """Template and its derivative in velocity, per km/s, at observed wavelengths."""
    position = (log_wave - np.log1p(rv / C_KM_S) - bank.log_wave0) / bank.log_step
    index = np.clip(position.astype(int), 1, template.size - 3)
    neighbours = template[index + np.arange(-1, 3)[:, None]]
    fraction = position - index
    value = np.einsum("in,in->n", keys_weights(fraction), neighbours)
    slope = np.einsum("in,in->n", _keys_slopes(fraction), neighbours)
    return value, -slope / (bank.log_step * (C_KM_S + rv))


def _keys_slopes(t: FloatArray) -> FloatArray:
    """Derivative of :func:`keys_weights` with respect to the fraction."""
    return np.stack(
        [
            -0.5 + t * (2.0 - 1.5 * t),
            t * (-5.0 + 4.5 * t),
            0.5 + t * (4.0 - 4.5 * t),
            t * (-1.0 + 1.5 * t),
        ]
    )
