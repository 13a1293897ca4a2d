"""Absorption by the Earth's atmosphere: a synthetic template of water lines.

Between 5010 and 5410 Å the atmosphere has weak lines of water only: those about the band (5 0 1)
at 19,781 cm⁻¹ (5054 Å) and the wing of (4 2 1) at 18,393 cm⁻¹ (5435 Å), band origins as in Carleer
et al. (1999, J. Chem. Phys. 111, 2444). Oxygen's bands lie redward; what they and ozone absorb
here is either too faint to be seen in one exposure or smooth.

The lines of the template are *drawn*, once and for all: as many as a band shows, spread about its
origin as at 280 K, with strengths over 2.5 dex. They have the number, depth and width of telluric
lines, not their places: use it to see what such lines do to a measurement, not to remove them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harpsstar.constants import C_KM_S
from harpsstar.errors import ConfigError

__all__ = ["AIRMASS", "WATER", "transmission"]

Array = npt.NDArray[np.float64]

#: Ranges of the airmass and of the precipitable water [mm] that are accepted.
AIRMASS = (1.0, 5.0)
WATER = (0.0, 50.0)


class _Band(NamedTuple):
    """Origin [cm⁻¹], and optical depth of its strongest line at the zenith per mm of water."""

    origin: float
    depth: float


_BANDS = (_Band(19781.0, 0.0025), _Band(18393.0, 0.006))
_LINES = 220
_SPREAD = 80.0  # cm⁻¹, of the lines about the band's origin
_DEX = 2.5  # range of the strengths
_FWHM = 2.0  # km/s: Doppler and pressure broadening of water in the lower atmosphere
_SEED = 19781
# The template reaches as far as the grid and is fine enough for R = 200,000.
_LOW, _HIGH, _STEP = 5000.0, 5420.0, 0.004


def transmission(
    wave: npt.ArrayLike, *, airmass: float = 1.0, water: float = 2.0, resolution: float = 115000.0
) -> Array:
    """Share of the light that passes the atmosphere.

    T = exp(−airmass · water · τ), with τ of the zenith and 1 mm of precipitable water. Lines are
    broadened as Gaussians before the exponential, which for lines as weak as these is the same as
    after it.

    Parameters
    ----------
    wave : array_like
        Air wavelength at the observatory [Å], any shape.
    airmass : float
        1 to 5.
    water : float
        Precipitable water [mm], 0 to 50; a good night has 1 to 5.
    resolution : float
        Resolving power.

    Returns
    -------
    ndarray, shape of `wave`
        0 to 1; 1 outside 5000–5420 Å.

    Raises
    ------
    ConfigError
        Airmass or water outside its range.
    """
    for name, value, (low, high) in (("airmass", airmass, AIRMASS), ("water", water, WATER)):
        if not low <= value <= high:
            raise ConfigError(f"{name} {value:g}", expected=f"{low:g} to {high:g}")
    grid, depth = _zenith(float(resolution))
    tau = np.interp(np.asarray(wave, dtype=float), grid, depth, left=0.0, right=0.0)
    passed: Array = np.exp(-airmass * water * tau)
    return passed


@lru_cache(maxsize=4)
def _zenith(resolution: float) -> tuple[Array, Array]:
    """Air wavelengths [Å] and optical depth of 1 mm of water at the zenith, both (n,)."""
    from harpsstar.model.linelist import air_from_vacuum

    rng = np.random.default_rng(_SEED)
    grid = np.arange(_LOW, _HIGH, _STEP)
    depth = np.zeros(grid.size)
    for band in _BANDS:
        offset = rng.normal(0.0, _SPREAD, _LINES)
        strength = 10.0 ** rng.uniform(-_DEX, 0.0, _LINES) * np.exp(-0.5 * (offset / _SPREAD) ** 2)
        centres = air_from_vacuum(1e8 / (band.origin + offset))
        for centre, line in zip(centres, band.depth * strength / strength.max(), strict=True):
            _add(depth, grid, float(centre), float(line), resolution)
    return grid, depth


def _add(depth: Array, grid: Array, centre: float, strength: float, resolution: float) -> None:
    """Add a line of this strength (its depth before the spectrograph's broadening)."""
    own, seen = _FWHM, float(np.hypot(_FWHM, C_KM_S / resolution))
    sigma = centre * seen / C_KM_S / 2.3548
    near = slice(*np.searchsorted(grid, (centre - 6 * sigma, centre + 6 * sigma)))
    # The equivalent width stays; the depth falls as the width grows.
    depth[near] += strength * own / seen * np.exp(-0.5 * ((grid[near] - centre) / sigma) ** 2)
