"""Arrays of one's own as a spectrum that harpsstar takes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from astropy import units as u
from scipy.interpolate import make_interp_spline
from specutils import Spectrum, SpectrumCollection

from harpsstar.errors import ConfigError
from harpsstar.io.build import measured_snr, reading
from harpsstar.io.containers import container
from harpsstar.io.observation import Observation
from harpsstar.io.s2d import air
from harpsstar.spectra.noise import ivar_from_flux
from harpsstar.spectra.quantities import FloatArray, flags, numbers, unit_of

__all__ = ["from_arrays"]


def from_arrays(
    wave: npt.ArrayLike | u.Quantity,
    flux: npt.ArrayLike | u.Quantity,
    sigma: npt.ArrayLike | u.Quantity | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    medium: Literal["air", "vacuum"] = "air",
    resolution: float = 115000.0,
    target: str = "",
) -> Spectrum | SpectrumCollection:
    """Make a spectrum of arrays with a wavelength axis.

    Every array may be a list, a numpy or masked array, a Quantity, a Masked Quantity, or a Column
    or MaskedColumn of a table. What is masked or NaN in any of them is not used.

    Parameters
    ----------
    wave : array (n,) or (orders, n)
        Barycentric wavelengths, Å where no unit is given; increasing or decreasing.
    flux : array, same shape
        Per wavelength (not per pixel), free of the blaze; the continuum may be in it. Only its
        shape counts, not its level.
    sigma : array, same shape, optional
        Standard deviations, in the unit of the flux where no unit is given; by default what the
        scatter from pixel to pixel shows.
    mask : array of bool, same shape, optional
        True where a pixel must not be used.
    medium : {"air", "vacuum"}
        Of the wavelengths.
    resolution : float
        Resolving power λ/Δλ.
    target : str
        What the row calls it.

    Returns
    -------
    Spectrum or SpectrumCollection
        One-dimensional or by order, air wavelengths, for :func:`harpsstar.predict` and
        :func:`harpsstar.fit`.

    Raises
    ------
    ConfigError
        Shapes that differ, a unit that is no length, errors whose unit is not that of the flux,
        wavelengths without order, an unknown medium, a resolving power that is not positive.
    ReadError
        No usable pixel.

    Examples
    --------
    >>> import numpy as np, harpsstar as hs
    >>> wave = np.linspace(5020, 5400, 30000)
    >>> hs.from_arrays(wave, np.ones(30000), np.full(30000, 0.01)).flux.shape
    (30000,)
    """
    values, unknown = numbers(wave, u.AA, "wavelengths")
    level, masked = numbers(flux, name="flux")
    _check(values, level, sigma, mask)
    if medium not in ("air", "vacuum"):
        raise ConfigError(f"medium {medium!r}", expected="'air' or 'vacuum'")
    if not resolution > 0:
        raise ConfigError(f"a resolving power of {resolution}", expected="a positive number")
    bad = unknown | masked | ~np.isfinite(values) | ~np.isfinite(level)
    if mask is not None:
        bad |= flags(mask)
    values = _complete(values)
    values = air(values) if medium == "vacuum" else values
    if sigma is None:
        rows = np.atleast_2d(level)
        with np.errstate(divide="ignore"):
            ivar = ivar_from_flux(rows, ~np.atleast_2d(bad))
            error = (1 / np.sqrt(ivar)).reshape(level.shape)
    else:
        flux_unit = unit_of(flux)
        error, missing = numbers(sigma, u.one if flux_unit is None else flux_unit, "sigma")
        bad |= missing
    seen = Observation(
        file="", target=target, instrument="", product="arrays", bjd=np.nan, berv=np.nan,
        snr=measured_snr(values, level, error, bad), snr_orders=(),
        rv_header=np.nan, rv_header_err=np.nan, blaze="none", resolution=resolution,
    )  # fmt: skip
    return container(reading(values, level, error, bad, {}, seen))


def _complete(wave: FloatArray) -> FloatArray:
    """Fill unknown wavelengths in from those beside them: the containers want all of them.

    Raises
    ------
    ConfigError
        Known wavelengths that neither rise nor fall.
    """
    rows = np.atleast_2d(wave)
    out = np.array(rows)
    x = np.arange(rows.shape[1], dtype=float)
    for row, values in enumerate(rows):
        known = np.isfinite(values)
        steps = np.diff(values[known])
        if known.sum() < 2 or not (np.all(steps > 0) or np.all(steps < 0)):
            raise ConfigError("wavelengths that neither increase nor decrease",
                              expected="sorted wavelengths",
                              hint="sort them with numpy.argsort, and leave out repeated ones")
        if not known.all():
            out[row, ~known] = make_interp_spline(x[known], values[known], k=1)(x[~known])
    return out.reshape(wave.shape)


def _check(wave: Any, flux: Any, sigma: Any, mask: Any) -> None:
    if flux.ndim not in (1, 2):
        raise ConfigError(f"flux of shape {flux.shape}", expected="(pixels,) or (orders, pixels)")
    for name, values in (("wave", wave), ("sigma", sigma), ("mask", mask)):
        if values is not None and np.shape(values) != flux.shape:
            raise ConfigError(
                f"{name} of shape {np.shape(values)}", expected=f"the shape {flux.shape} of flux"
            )
