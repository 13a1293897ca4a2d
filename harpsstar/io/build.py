"""Arrays with a meaning become specutils containers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum, SpectrumCollection

from harpsstar.errors import ReadError
from harpsstar.io.observation import Observation
from harpsstar.spectra.noise import plateaus

__all__ = ["SPEED_OF_LIGHT", "barycentric_factor", "collection", "measured_snr",
           "note_clipped", "note_dark", "spectrum"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SPEED_OF_LIGHT = 299792.458
#: Where the signal to noise of an exposure is measured, air Å.
_WINDOW = (5025.0, 5393.0)
#: Recorded pixels with one value that are no coincidence, even where counts are small and whole.
_PLATEAU = 16


def barycentric_factor(berv: float) -> float:
    """Observatory to barycentric wavelength, as the DRS does it for its s1d.

    The constant is the mean effect of the Earth's gravitational and transverse Doppler shift.

    Parameters
    ----------
    berv : float
        Barycentric Earth radial velocity [km/s].
    """
    return (1.0 + 1.55e-8) * (1.0 + berv / SPEED_OF_LIGHT)


def measured_snr(wave: Array, flux: Array, sigma: Array, mask: Mask) -> float:
    """Median of flux over error between 5025 and 5393 Å, nan without usable pixels there."""
    inside = ~mask & (wave > _WINDOW[0]) & (wave < _WINDOW[1]) & (sigma > 0)
    return float(np.median(flux[inside] / sigma[inside])) if inside.any() else float("nan")


def note_dark(mask: Mask, wave: Array, notes: list[str]) -> None:
    """Note how many of the orders that matter, (n_orders, n_pixels), have no usable pixel."""
    centre = wave[:, wave.shape[1] // 2]
    needed = (centre > _WINDOW[0]) & (centre < _WINDOW[1])
    dark = int((needed & mask.all(axis=1)).sum())
    if dark:
        notes.append(
            f"{dark} of the {int(needed.sum())} orders at {_WINDOW[0]:.0f}-{_WINDOW[1]:.0f} Å "
            "hold no signal"
        )


def note_clipped(recorded: Array, mask: Mask, notes: list[str]) -> Mask:
    """Find pixels clipped to one value in flux as it was recorded, (n_orders, n_pixels), and note.

    After division by the blaze they could not be told from others.
    """
    clipped = plateaus(recorded, ~mask, _PLATEAU)
    if clipped.any():
        notes.append(f"{int(clipped.sum())} pixels clipped to one value left out")
    return clipped


def collection(
    wave: Array,
    flux: Array,
    sigma: Array,
    mask: Mask,
    header: Any,
    observation: Observation,
) -> SpectrumCollection:
    """Orders as a collection: electrons per Å over barycentric air Å, all (n_orders, n_pixels).

    Raises
    ------
    ReadError
        No usable pixel at all.
    """
    mask = _complete(wave, flux, sigma, mask, observation)
    unit = u.electron / u.AA
    return SpectrumCollection(
        flux=u.Quantity(flux, unit, copy=False),
        spectral_axis=u.Quantity(wave, u.AA, copy=False),
        uncertainty=StdDevUncertainty(sigma, unit=unit, copy=False),
        mask=mask,
        meta={"header": header, "observation": observation},
    )


def spectrum(
    wave: Array,
    flux: Array,
    sigma: Array,
    mask: Mask,
    header: Any,
    observation: Observation,
) -> Spectrum:
    """One-dimensional spectrum in relative flux over barycentric air Å, all (n_pixels,).

    Raises
    ------
    ReadError
        No usable pixel at all.
    """
    mask = _complete(wave, flux, sigma, mask, observation)
    return Spectrum(
        flux=u.Quantity(flux, u.dimensionless_unscaled, copy=False),
        spectral_axis=u.Quantity(wave, u.AA, copy=False),
        uncertainty=StdDevUncertainty(sigma, unit=u.dimensionless_unscaled, copy=False),
        mask=mask,
        meta={"header": header, "observation": observation},
    )


def _complete(
    wave: Array, flux: Array, sigma: Array, mask: Mask, observation: Observation
) -> Mask:
    mask = mask | ~np.isfinite(wave) | ~np.isfinite(flux) | ~np.isfinite(sigma) | (sigma <= 0)
    if mask.all():
        raise ReadError(
            "no usable pixel: every value is zero, not finite or marked bad",
            expected="an exposure with signal",
            hint="leave this file out",
            path=observation.file or None,
        )
    return mask
