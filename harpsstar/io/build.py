"""What all readers share: the arrays of a spectrum, checked, and facts about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.constants import EINSTEIN_SHIFT
from harpsstar.errors import ReadError
from harpsstar.io.observation import Observation
from harpsstar.spectra.frame import C_KM_S, Pixels, pixels_of
from harpsstar.spectra.noise import plateaus

__all__ = ["Reading", "barycentric_factor", "measured_snr", "note_clipped",
           "note_dark", "reading"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Where the signal to noise of an exposure is measured, air Å.
_WINDOW = (5025.0, 5393.0)
#: Recorded pixels with one value that are no coincidence, even where counts are small and whole.
_PLATEAU = 16


@dataclass(frozen=True, repr=False)
class Reading:
    """A spectrum as its reader leaves it: the contract of :func:`harpsstar.read`, in bare arrays.

    Attributes
    ----------
    wave : ndarray (n_orders, n_pixels) or (n_pixels,)
        Air wavelength in the barycentric frame, Å.
    flux : ndarray, same shape
        Electrons per Å without the blaze, for orders, or relative flux, for one dimension.
    sigma : ndarray, same shape
        Standard deviation of ``flux``.
    mask : ndarray of bool, same shape
        True for a bad pixel.
    header : Header
        The whole primary header.
    observation : Observation
        What it says.
    """

    wave: Array
    flux: Array
    sigma: Array
    mask: Mask
    header: Any
    observation: Observation

    @property
    def unit(self) -> str:
        """Of ``flux``, as astropy reads it."""
        orders = self.observation.product.startswith(("e2ds", "S2D"))
        return "electron / Angstrom" if orders else ""

    def __repr__(self) -> str:
        """One line, without the arrays."""
        seen = self.observation
        shape = " × ".join(map(str, self.flux.shape))
        known = (seen.product, seen.instrument, seen.target, shape, f"SNR {seen.snr:.0f}")
        return f"<Reading of {seen.file or 'an open file'}: {', '.join(filter(None, known))}>"

    def pixels(self) -> Pixels:
        """What can be analysed, see :func:`harpsstar.spectra.frame.pixels_of`.

        Raises
        ------
        CoverageError
            Too little of it.
        """
        return pixels_of(self.wave, self.flux, self.sigma, self.mask, self.observation.file)


def barycentric_factor(berv: float) -> float:
    """Observatory to barycentric wavelength, as the DRS does it for its s1d.

    The constant is the mean effect of the Earth's gravitational and transverse Doppler shift.

    Parameters
    ----------
    berv : float
        Barycentric Earth radial velocity [km/s].
    """
    return (1.0 + EINSTEIN_SHIFT) * (1.0 + berv / C_KM_S)


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


def reading(
    wave: Array,
    flux: Array,
    sigma: Array,
    mask: Mask,
    header: Any,
    observation: Observation,
) -> Reading:
    """Make a :class:`Reading`; what is not finite or has no error is masked too.

    Raises
    ------
    ReadError
        No usable pixel at all.
    """
    mask = mask | ~np.isfinite(wave) | ~np.isfinite(flux) | ~np.isfinite(sigma) | (sigma <= 0)
    if mask.all():
        saturated = [note for note in observation.notes if "saturated" in note]
        raise ReadError(
            "no usable pixel: every value is zero, not finite or marked bad"
            + (f" ({saturated[0]})" if saturated else ""),
            expected="an exposure with signal",
            hint="give a co-add as a merged spectrum: its counts exceed those of a detector"
            if saturated else "leave this file out",
            path=observation.file or None,
        )
    return Reading(wave, flux, sigma, mask, header, observation)
