"""Arrays of one's own as a spectrum that harpsstar takes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from astropy import units as u
from specutils import Spectrum, SpectrumCollection

from harpsstar.errors import ConfigError
from harpsstar.io.build import measured_snr, reading
from harpsstar.io.containers import container
from harpsstar.io.observation import Observation
from harpsstar.io.s2d import air
from harpsstar.spectra.noise import ivar_from_flux

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

    Parameters
    ----------
    wave : array or Quantity (n,) or (orders, n)
        Barycentric wavelengths, Å where no unit is given.
    flux : array or Quantity, same shape
        Per wavelength (not per pixel), free of the blaze; the continuum may be in it. Only its
        shape counts, not its level.
    sigma : array or Quantity, same shape, optional
        Standard deviations; by default what the scatter from pixel to pixel shows.
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
        Shapes that differ, a unit that is no length, an unknown medium, a resolving power that is
        not positive.
    ReadError
        No usable pixel.

    Examples
    --------
    >>> import numpy as np, harpsstar as hs
    >>> wave = np.linspace(5020, 5400, 30000)
    >>> hs.from_arrays(wave, np.ones(30000), np.full(30000, 0.01)).flux.shape
    (30000,)
    """
    values = _angstrom(wave)
    level = np.asarray(getattr(flux, "value", flux), dtype=float)
    unit = getattr(flux, "unit", None)
    _check(values, level, sigma, mask)
    if medium not in ("air", "vacuum"):
        raise ConfigError(f"medium {medium!r}", expected="'air' or 'vacuum'")
    if not resolution > 0:
        raise ConfigError(f"a resolving power of {resolution}", expected="a positive number")
    values = air(values) if medium == "vacuum" else values
    bad = np.zeros(level.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if sigma is None:
        rows = np.atleast_2d(level)
        with np.errstate(divide="ignore"):
            ivar = ivar_from_flux(rows, np.isfinite(rows) & ~np.atleast_2d(bad))
            error = (1 / np.sqrt(ivar)).reshape(level.shape)
    else:
        known = u.Quantity(sigma, unit).to_value(unit) if unit is not None else sigma
        error = np.asarray(known, dtype=float)
    seen = Observation(
        file="", target=target, instrument="", product="arrays", bjd=np.nan, berv=np.nan,
        snr=measured_snr(values, level, error, bad | ~np.isfinite(level)), snr_orders=(),
        rv_header=np.nan, rv_header_err=np.nan, blaze="none", resolution=resolution,
    )  # fmt: skip
    return container(reading(values, level, error, bad, {}, seen))


def _angstrom(wave: npt.ArrayLike | u.Quantity) -> npt.NDArray[np.float64]:
    try:
        return np.array(u.Quantity(wave, getattr(wave, "unit", u.AA)).to_value(u.AA), dtype=float)
    except u.UnitConversionError as error:
        raise ConfigError(f"wavelengths: {error}", expected="a unit of length") from error


def _check(wave: Any, flux: Any, sigma: Any, mask: Any) -> None:
    if flux.ndim not in (1, 2):
        raise ConfigError(f"flux of shape {flux.shape}", expected="(pixels,) or (orders, pixels)")
    for name, values in (("wave", wave), ("sigma", sigma), ("mask", mask)):
        if values is not None and np.shape(values) != flux.shape:
            raise ConfigError(
                f"{name} of shape {np.shape(values)}", expected=f"the shape {flux.shape} of flux"
            )
