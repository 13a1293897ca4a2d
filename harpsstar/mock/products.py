"""The spectra that the pipelines write: e2ds, s1d, S2D, S2D_BLAZE and S1D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.io import fits
from scipy.interpolate import CubicSpline
from specutils.utils.wcs_utils import air_to_vac

from harpsstar.errors import ConfigError
from harpsstar.mock import headers
from harpsstar.mock.effects import Array
from harpsstar.mock.exposure import Exposure
from harpsstar.spectra.frame import C_KM_S

__all__ = ["FORMATS", "NEW_FORMATS", "writer"]

#: Products that can be written: old-DRS ``e2ds`` and ``s1d``, new-DRS ``S2D``, ``S2D_BLAZE`` and
#: ``S1D`` table.
FORMATS = ("e2ds", "s1d", "s2d", "s2d_blaze", "s1d_table")
#: Those of the new DRS, whose blaze files are laid out differently.
NEW_FORMATS = ("s2d", "s2d_blaze", "s1d_table")


def writer(format: str) -> Callable[[Exposure], fits.HDUList]:
    """Find what writes a format.

    Raises
    ------
    ConfigError
        Unknown format.
    """
    writers = {
        "e2ds": _e2ds,
        "s1d": _s1d,
        "s2d": lambda exposure: _s2d(exposure, "S2D_A"),
        "s2d_blaze": lambda exposure: _s2d(exposure, "S2D_BLAZE_A"),
        "s1d_table": _s1d_table,
    }
    if format not in writers:
        raise ConfigError(f"unknown format {format!r}", expected=f"one of {', '.join(FORMATS)}")
    return writers[format]


def _e2ds(exposure: Exposure) -> fits.HDUList:
    header = headers.observed(exposure, headers.OLD)
    headers.put_wave(header, exposure.instrument)
    return fits.HDUList([fits.PrimaryHDU(exposure.electrons.astype(np.float32), header)])


def _s2d(exposure: Exposure, category: str) -> fits.HDUList:
    header = headers.observed(exposure, headers.NEW, product=category)
    blaze = exposure.blaze if category == "S2D_A" else 1.0
    vacuum = _vacuum(exposure.wave)
    images: dict[str, npt.NDArray[Any]] = {
        "SCIDATA": (exposure.electrons / blaze).astype(np.float32),
        "ERRDATA": (np.sqrt(exposure.variance) / blaze).astype(np.float32),
        "QUALDATA": np.where(exposure.covered, 0, 1).astype(np.int32),
        "WAVEDATA_VAC_BARY": vacuum,
        "WAVEDATA_AIR_BARY": exposure.wave,
        "DLLDATA_VAC_BARY": exposure.width * vacuum / exposure.wave,
        "DLLDATA_AIR_BARY": exposure.width,
    }
    extensions = [fits.ImageHDU(image, name=name) for name, image in images.items()]
    return fits.HDUList([fits.PrimaryHDU(header=header), *extensions])


def _s1d(exposure: Exposure) -> fits.HDUList:
    covered = exposure.wave[exposure.covered]
    start = np.ceil(covered.min() * 100) / 100 if covered.size else exposure.wave.min()
    stop = covered.max() if covered.size else start + 10.0
    wave = start + 0.01 * np.arange(int((stop - start) / 0.01))
    flux, _ = _merge(exposure, wave)
    header = headers.observed(exposure, headers.OLD)
    for name, value, comment in (
        ("CRPIX1", 1.0, "Reference pixel"),
        ("CRVAL1", float(start), "Coordinate at reference pixel"),
        ("CDELT1", 0.01, "Coordinate increment par pixel"),
        ("CTYPE1", "Angstrom", "Units of coordinate"),
        ("BUNIT", "Relative Flux", "Units of data values"),
    ):
        header[name] = (value, comment)
    return fits.HDUList([fits.PrimaryHDU(flux.astype(np.float32), header)])


def _s1d_table(exposure: Exposure) -> fits.HDUList:
    covered = exposure.wave[exposure.covered]
    low, high = (covered.min(), covered.max()) if covered.size else (5000.0, 5010.0)
    step = 0.82 / C_KM_S
    wave = low * np.exp(step * np.arange(int(np.log(high / low) / step)))
    flux, variance = _merge(exposure, wave)
    columns = {
        "wavelength": (_vacuum(wave), "angstrom"),
        "wavelength_air": (wave, "angstrom"),
        "flux": (flux, "e-"),
        "error": (np.sqrt(variance), "e-"),
    }
    table = [
        fits.Column(name=name, format="D", unit=unit, array=values)
        for name, (values, unit) in columns.items()
    ]
    table.append(fits.Column(name="quality", format="J", array=(variance <= 0).astype(np.int32)))
    header = headers.observed(exposure, headers.NEW, product="S1D_A")
    return fits.HDUList([fits.PrimaryHDU(header=header), fits.BinTableHDU.from_columns(table)])


def _merge(exposure: Exposure, wave: Array) -> tuple[Array, Array]:
    """Orders interpolated and averaged with their blaze as weight; 0 in gaps.

    By splines: straight lines between pixels would broaden the lines. Per Å, on one scale for all
    orders: steps of a pixel's growth from order to order would be left where orders end.
    """
    total, squared, weight = (np.zeros(wave.size) for _ in range(3))
    response = exposure.blaze * exposure.width / exposure.width.mean()
    density = exposure.electrons / response
    noise = exposure.variance / response**2
    for row in np.flatnonzero(exposure.covered.sum(axis=1) > 1):
        at, covered = exposure.wave[row], exposure.covered[row]
        whole = np.interp(wave, at, covered, left=0.0, right=0.0) > 0.999
        share = np.where(whole, np.interp(wave, at, exposure.blaze[row]), 0.0)
        inside = np.clip(wave, at[0], at[-1])
        total += share * CubicSpline(at[covered], density[row][covered])(inside)
        squared += share**2 * np.interp(wave, at, noise[row])
        weight += share
    lit = weight > 0
    safe = np.where(lit, weight, 1.0)
    return np.where(lit, total / safe, 0.0), np.where(lit, squared / safe**2, 0.0)


def _vacuum(wave: Array) -> Array:
    return np.asarray(air_to_vac(wave * u.AA, method="Morton2000").to_value(u.AA), dtype=float)
