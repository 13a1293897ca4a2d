"""The canonical frame: eight HARPS-N orders in the stellar rest frame, each pixel with a weight.

Every spectrum, whatever the instrument and product, is brought to the wavelengths of rows 36–43
of HARPS-N before a network sees it. What is missing is a weight of zero, never a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harpsstar.constants import C_KM_S
from harpsstar.errors import ConfigError, CoverageError, WrongProductError
from harpsstar.instruments import get_instrument
from harpsstar.spectra.gaps import split_at_gaps, spoilt_edges
from harpsstar.spectra.noise import ivar_from_flux
from harpsstar.spectra.quantities import flags, numbers

if TYPE_CHECKING:
    from specutils import Spectrum, SpectrumCollection

FloatArray = npt.NDArray[np.float64]

#: Rows of a HARPS-N product that make the canonical frame.
ROWS: tuple[int, ...] = (36, 37, 38, 39, 40, 41, 42, 43)
#: Pixels of a row.
N_PIXELS = 4096
#: Share of the canonical range that must have usable pixels.
LEAST_COVERAGE = 0.2
#: Air wavelengths that are kept of an observed spectrum, Å: the range of the emulator.
RANGE = (5010.0, 5410.0)

_COVERAGE_BIN = 0.5  # Å
#: One pixel in twenty of a star's spectrum bends by more than this share of the level, over twice
#: this many Å; a curve may have jumps where orders meet.
_BEND, _LEAST_BEND = 0.25, 1e-4
_NEGLIGIBLE = 1e-6  # share of a pixel in an interpolated value below which its state is ignored


@dataclass(frozen=True)
class Pixels:
    """An observed spectrum as bare arrays, only its part near the canonical range.

    Attributes
    ----------
    wave : ndarray (n, m), float64
        Air wavelength in the barycentric frame, Å, increasing along a row.
    flux : ndarray (n, m), float64
        Flux density per Å in units of its median; 0 where it is unusable.
    ivar : ndarray (n, m), float64
        Inverse variance of ``flux``; 0 marks an unusable pixel.
    name : str
        For messages: the file or target.
    """

    wave: FloatArray
    flux: FloatArray
    ivar: FloatArray
    name: str = ""


@dataclass(frozen=True)
class Canonical:
    """A spectrum in the canonical frame.

    Attributes
    ----------
    flux : ndarray (8, 4096), float32
        Flux density per Å, continuum still in it; 0 where ``ivar`` is 0.
    ivar : ndarray (8, 4096), float32
        Inverse variance per canonical pixel.
    rv : float
        The velocity that was removed, km/s.
    """

    flux: npt.NDArray[np.float32]
    ivar: npt.NDArray[np.float32]
    rv: float


@cache
def canonical_wavelengths() -> FloatArray:
    """Rest wavelengths of the canonical frame.

    Returns
    -------
    ndarray (8, 4096), float64, read-only
        Air wavelength in Å, increasing along a row, rows in order of wavelength.
    """
    wave = get_instrument("HARPS-N").wavelengths[list(ROWS)]
    wave.flags.writeable = False
    return wave


def pixels_from(spectrum: SpectrumCollection | Spectrum) -> Pixels:
    """Bare arrays of a spectrum, trimmed to the wavelengths that harpsstar can use.

    Non-finite and masked pixels and those without a positive variance get weight zero. A spectrum
    without uncertainties gets the noise that its own pixel-to-pixel scatter shows.

    Parameters
    ----------
    spectrum : SpectrumCollection or Spectrum
        Orders (n, m) or one dimension (m,); air wavelengths in the barycentric frame. Its
        uncertainty may be a standard deviation, a variance or an inverse variance, in any unit
        that can be converted to that of the flux.

    Returns
    -------
    Pixels

    Raises
    ------
    ConfigError
        An uncertainty of unknown kind or unit, an axis that is no wavelength, or one axis for
        several spectra.
    CoverageError
        If less than 20 % of the canonical range has usable pixels.
    WrongProductError
        A smooth curve without lines or noise.
    """
    wave, unknown = numbers(spectrum.spectral_axis, "Angstrom", "the spectral axis")
    flux, masked = numbers(spectrum.flux, name="flux")
    if wave.shape != flux.shape:
        raise ConfigError(f"flux of shape {flux.shape} on one wavelength axis of {wave.size}",
                          expected="one spectrum, or a SpectrumCollection of orders",
                          hint="give each spectrum by itself")  # fmt: skip
    mask = unknown | masked
    if spectrum.mask is not None:
        mask |= flags(spectrum.mask)
    return pixels_of(wave, flux, _sigma(spectrum), mask, _name_of(spectrum))


def pixels_of(
    wave: npt.ArrayLike,
    flux: npt.ArrayLike,
    sigma: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    name: str = "",
) -> Pixels:
    """:func:`pixels_from` of arrays, all of one shape, (n, m) or (m,).

    Parameters
    ----------
    wave : array
        Air wavelengths in the barycentric frame, Å.
    flux : array
        Per wavelength, without the blaze.
    sigma : array, optional
        Standard deviations.
    mask : array of bool, optional
        True for a bad pixel.
    name : str
        For messages.

    Raises
    ------
    CoverageError
        If less than 20 % of the canonical range has usable pixels.
    WrongProductError
        A smooth curve without lines or noise: no spectrum of a star.
    """
    wave = np.atleast_2d(np.asarray(wave, dtype=np.float64))
    flux = np.atleast_2d(np.asarray(flux, dtype=np.float64))
    usable = np.isfinite(flux) & np.isfinite(wave)
    if mask is not None:
        usable &= ~np.atleast_2d(np.asarray(mask, dtype=bool))
    if sigma is None:
        ivar = ivar_from_flux(flux, usable)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            ivar = 1.0 / np.atleast_2d(np.asarray(sigma, dtype=np.float64)) ** 2
    usable &= np.isfinite(ivar) & (ivar > 0)
    wave, flux, ivar = _trim(wave, np.where(usable, flux, 0.0), np.where(usable, ivar, 0.0))
    if len(wave) == 1:
        wave, flux, ivar = _without_gaps(wave[0], flux[0], ivar[0])
    _check_coverage(wave, ivar, name)
    check_lines(wave, flux, ivar, name)
    scale = float(np.median(np.abs(flux[ivar > 0]))) or 1.0
    return Pixels(wave, flux / scale, ivar * scale**2, name)


def meta_of(spectrum: SpectrumCollection | Spectrum) -> dict[str, Any]:
    """Metadata of a spectrum; of a collection made of spectra, those of the first."""
    meta: Any = spectrum.meta or {}
    return dict(meta) if isinstance(meta, Mapping) else dict(next(iter(meta), None) or {})


def _name_of(spectrum: SpectrumCollection | Spectrum) -> str:
    observation = meta_of(spectrum).get("observation")
    return str(getattr(observation, "file", "") or getattr(observation, "target", ""))


def _sigma(spectrum: SpectrumCollection | Spectrum) -> FloatArray | None:
    """Standard deviations in the unit of the flux, NaN where masked; None where there are none."""
    if spectrum.uncertainty is None:
        return None
    from astropy.nddata import StdDevUncertainty

    known: Any = spectrum.uncertainty
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            known = known.represent_as(StdDevUncertainty)
    except TypeError as error:
        raise ConfigError(f"uncertainty of type {type(known).__name__}",
                          expected="StdDevUncertainty, VarianceUncertainty or InverseVariance",
                          ) from error  # fmt: skip
    array, masked = numbers(known.array, name="uncertainty")
    if known.unit is not None:
        array, _ = numbers(array * known.unit, spectrum.flux.unit, "uncertainty")
    return np.where(masked, np.nan, array)


def _trim(
    wave: FloatArray, flux: FloatArray, ivar: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Keep what lies near the canonical range: of orders the rows, of one dimension the pixels."""
    with np.errstate(invalid="ignore"):
        inside = (wave > RANGE[0]) & (wave < RANGE[1])
    if wave.shape[0] == 1:
        _, first = np.unique(wave[0, inside[0]], return_index=True)
        columns = np.flatnonzero(inside[0])[first]
        return wave[:, columns], flux[:, columns], ivar[:, columns]
    steps = np.diff(wave, axis=1)
    falling = np.all(steps < 0, axis=1)
    # A row whose wavelengths are not a monotonic scale cannot be interpolated.
    rows = np.flatnonzero(inside.any(axis=1) & (falling | np.all(steps > 0, axis=1)))
    rows = rows[np.argsort(wave[rows, wave.shape[1] // 2])]

    def cut(values: FloatArray) -> FloatArray:
        return np.where(falling[rows, None], values[rows, ::-1], values[rows])

    return cut(wave), cut(flux), cut(ivar)


def _without_gaps(
    wave: FloatArray, flux: FloatArray, ivar: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """One row (1, m) of a merged spectrum (n,), no pixel of which stands for a gap or its edge."""
    ivar = np.where(spoilt_edges(wave, flux, ivar > 0), 0.0, ivar)
    wave, flux, ivar = split_at_gaps(wave, np.where(ivar > 0, flux, 0.0), ivar)
    return wave[None], flux[None], ivar[None]


def _check_coverage(wave: FloatArray, ivar: FloatArray, name: str) -> None:
    canonical = canonical_wavelengths()
    low, high = canonical.min(), canonical.max()
    good = wave[ivar > 0]
    good = good[(good >= low) & (good <= high)]
    bins = np.unique(((good - low) / _COVERAGE_BIN).astype(int)).size
    if bins * _COVERAGE_BIN >= LEAST_COVERAGE * (high - low):
        return
    found = (
        f"usable pixels cover {bins * _COVERAGE_BIN:.1f} Å between {good.min():.1f} and "
        f"{good.max():.1f} Å"
        if good.size
        else "no usable pixel in the analysed range"
    )
    raise CoverageError(
        found,
        expected=f"at least {LEAST_COVERAGE:.0%} of {low:.0f}–{high:.0f} Å (air, barycentric)",
        hint="give a product that covers these wavelengths, or look at its mask and quality",
        path=name or None,
    )


def check_lines(wave: FloatArray, flux: FloatArray, ivar: FloatArray, name: str = "") -> None:
    """Refuse what bends nowhere: even an A star without noise has lines that do.

    Parameters
    ----------
    wave, flux, ivar : ndarray (rows, n)
        Å, flux and its inverse variance, zero for a bad pixel.
    name : str
        File for messages.

    Raises
    ------
    WrongProductError
        A smooth curve without lines or noise.
    """
    canonical = canonical_wavelengths()
    inside = (ivar > 0) & (wave >= canonical.min()) & (wave <= canonical.max())
    bends = []
    for x, y, good in zip(wave, flux, inside, strict=True):
        lag = max(1, round(_BEND / float(np.median(np.abs(np.diff(x)))))) if x.size > 1 else 1
        if x.size > 2 * lag:
            left, middle, right = y[: -2 * lag], y[lag:-lag], y[2 * lag :]
            known = good[: -2 * lag] & good[lag:-lag] & good[2 * lag :]
            bends.append(np.abs(left - 2 * middle + right)[known])
    values = np.concatenate([np.zeros(0), *bends])
    if not values.size:
        return
    if np.quantile(values, 0.95) > _LEAST_BEND * float(np.median(np.abs(flux[inside]))):
        return
    raise WrongProductError(
        "a smooth curve without lines or noise",
        expected="a star's spectrum",
        hint="leave this file out: it may be a continuum, a blaze or a lamp spectrum",
        path=name or None,
    )


def to_canonical(pixels: Pixels, rv: float) -> Canonical:
    """Bring a spectrum to the canonical wavelengths in the rest frame of the star.

    A canonical row is taken from the order whose centre is nearest, if that order reaches the
    row's centre; so a missing order is a row without weight. Flux is interpolated by cubic
    convolution (Keys 1981, IEEE Trans. ASSP 29, 1153, a = −1/2), by a parabola where one of its
    outer pixels is unusable; otherwise a pixel with an unusable one in its stencil has no weight.
    The weight is interpolated linearly and follows the pixel width, so
    that sampling more finely does not invent information; where rows that come from the same
    source overlap (a one-dimensional spectrum), they share the weight.

    Parameters
    ----------
    pixels : Pixels
    rv : float
        Barycentric radial velocity to remove, km/s; λ_obs = λ_rest (1 + rv/c).

    Returns
    -------
    Canonical
    """
    observed = canonical_wavelengths() * (1.0 + rv / C_KM_S)
    centres = pixels.wave[:, pixels.wave.shape[1] // 2]
    flux = np.zeros(observed.shape)
    ivar = np.zeros(observed.shape)
    sources = np.full(len(observed), -1)
    for row, wave in enumerate(observed):
        centre = wave[N_PIXELS // 2]
        source = int(np.argmin(np.abs(centres - centre)))
        if pixels.wave[source, 0] <= centre <= pixels.wave[source, -1]:
            sources[row] = source
            flux[row], ivar[row] = _resample(
                wave, pixels.wave[source], pixels.flux[source], pixels.ivar[source]
            )
    ivar /= _shares(observed, sources)
    return Canonical(flux.astype(np.float32), ivar.astype(np.float32), float(rv))


def _resample(
    out: FloatArray, wave: FloatArray, flux: FloatArray, ivar: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Interpolate one row; all arguments one-dimensional, wavelengths increasing."""
    usable = (ivar > 0) & np.isfinite(flux)
    # Pixels next to each other differ in width by 1e-5, so the inverse is linear in between.
    position = np.interp(out, wave, np.arange(wave.size), left=-10.0, right=-10.0)
    left = np.floor(position).astype(int)
    fraction = position - left
    new_flux, good = np.zeros(out.shape), np.zeros(out.shape, dtype=bool)
    for reach, weights in _stencils(fraction):
        index = left + reach[:, None]
        known = (index >= 0) & (index < wave.size)
        index = np.clip(index, 0, wave.size - 1)
        whole = np.all((known & usable[index]) | (np.abs(weights) < _NEGLIGIBLE), axis=0)
        value = np.sum(weights * np.where(usable, flux, 0.0)[index], axis=0)
        new_flux = np.where(whole & ~good, value, new_flux)
        good |= whole
    index = np.clip(left + np.arange(2)[:, None], 0, wave.size - 1)
    # A neighbour of negligible share may be unusable: then the other one's weight counts.
    near, far = ivar[index[0]], ivar[index[1]]
    new_ivar = np.where(near > 0, near, far) * (1 - fraction) + np.where(far > 0, far, near) * (
        fraction
    )
    width = np.gradient(wave)[index[0]]
    new_ivar *= np.minimum(1.0, np.gradient(out) / width)
    return np.where(good, new_flux, 0.0), np.where(good, new_ivar, 0.0)


def _stencils(fraction: FloatArray) -> list[tuple[npt.NDArray[np.int_], FloatArray]]:
    """Neighbours and their weights, the best first.

    Where an outer neighbour is lost, the parabola through the other three is as good to second
    order as the cubic, and half of the pixels that a lost one would take with it are saved.
    """
    t = fraction
    after = np.stack([0.5 * (t - 1) * (t - 2), t * (2 - t), 0.5 * t * (t - 1)])
    before = np.stack([0.5 * t * (t - 1), (1 - t) * (1 + t), 0.5 * t * (t + 1)])
    return [
        (np.arange(-1, 3), keys_weights(t)),
        (np.arange(-1, 2), before),
        (np.arange(0, 3), after),
    ]


def keys_weights(fraction: FloatArray) -> FloatArray:
    """Weights of the four neighbours in cubic convolution (Keys 1981, a = −1/2).

    Parameters
    ----------
    fraction : ndarray (...)
        Position between the second and the third neighbour, 0 to 1.

    Returns
    -------
    ndarray (4, ...)
    """
    t = fraction
    return np.stack(
        [
            t * (-0.5 + t * (1.0 - 0.5 * t)),
            1.0 + t * t * (-2.5 + 1.5 * t),
            t * (0.5 + t * (2.0 - 1.5 * t)),
            t * t * (-0.5 + 0.5 * t),
        ]
    )


def _shares(wave: FloatArray, sources: npt.NDArray[np.int_]) -> FloatArray:
    """How many rows take the same pixel of the same source, shape of ``wave``."""
    shares = np.ones(wave.shape)
    for row, source in enumerate(sources):
        for other in np.flatnonzero((sources == source) & (sources >= 0)):
            if other != row:
                shares[row] += (wave[row] >= wave[other, 0]) & (wave[row] <= wave[other, -1])
    return shares
