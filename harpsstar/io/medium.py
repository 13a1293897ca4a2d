"""Whether wavelengths are those of air or of vacuum, guessed from where strong lines lie.

At 5200 Å the two differ by 1.45 Å, or 83.4 km/s. The likelier velocity decides: that of stars near
the Sun scatters by 35 km/s, and air is five times as common as vacuum among files that do not say.
Labels hardly depend on the guess, since the difference is nearly a pure shift; the velocity does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harpsstar.spectra.frame import C_KM_S
from harpsstar.spectra.noise import MAD_TO_SIGMA

__all__ = ["line_velocity", "looks_like_vacuum"]

Array = npt.NDArray[np.float64]

#: Strong lines of stars of 4000 to 9000 K, air Å: Mg I b, Cr I, Fe I (Nave et al. 1994; NIST).
_LINES = np.array([
    5041.756, 5049.820, 5051.635, 5079.740, 5083.339, 5107.447, 5107.641, 5110.413, 5133.689,
    5139.462, 5162.273, 5167.321, 5171.596, 5172.684, 5183.604, 5191.455, 5192.344, 5204.506,
    5206.038, 5208.419, 5226.862, 5227.190, 5232.940, 5266.555, 5269.537, 5270.356, 5281.790,
    5283.621, 5302.300, 5324.179, 5328.039, 5328.531, 5339.929, 5341.024, 5371.490,
])  # fmt: skip
#: What vacuum wavelengths look like when they are taken for air (Morton 2000 at 5200 Å).
VACUUM_SHIFT = 83.4
#: Velocity in air above which vacuum is the likelier: (v² - (v - 83.4)²) / (2 · 35²) = ln 5.
_TURN = 65.0
_RANGE, _STEP = 350.0, 1.0
#: Depth of the dip of all lines, in units of the scatter elsewhere, that is no chance.
_SIGNIFICANT = 6.0
#: Pixels from which the continuum is taken, of a spectrum brought to 0.1 Å.
_SAMPLING, _WINDOW = 0.1, 61


def line_velocity(wave: Array, flux: Array) -> float:
    """Velocity [km/s] at which strong lines lie if ``wave`` (n,) is in air; nan if none is seen.

    Parameters
    ----------
    wave : ndarray (n,)
        Rising, Å.
    flux : ndarray (n,)
        Finite; the continuum may be in it.
    """
    from scipy.ndimage import percentile_filter

    inside = (wave > 5030.0) & (wave < 5390.0)
    if inside.sum() < 500:
        return float("nan")
    grid = np.arange(wave[inside][0], wave[inside][-1], _SAMPLING)
    level = np.interp(grid, wave[inside], flux[inside])
    continuum = percentile_filter(level, 90, size=_WINDOW, mode="nearest")
    normal = np.where(continuum > 0, level / np.where(continuum > 0, continuum, 1.0), 1.0)
    normal = np.clip(normal, 0.0, 1.5)
    velocity = np.arange(-_RANGE, _RANGE + _STEP, _STEP)
    at = _LINES * (1.0 + velocity[:, None] / C_KM_S)
    values = np.interp(at, grid, normal, left=np.nan, right=np.nan)
    if np.isnan(values).all(axis=1).any():
        return float("nan")
    mean = np.nanmean(values, axis=1)
    lowest = int(np.argmin(mean))
    far = np.abs(velocity - velocity[lowest]) > 60.0
    scatter = MAD_TO_SIGMA * np.median(np.abs(mean[far] - np.median(mean[far])))
    deep = np.median(mean[far]) - mean[lowest] > _SIGNIFICANT * scatter
    return float(velocity[lowest]) if deep else float("nan")


def looks_like_vacuum(wave: Array, flux: Array) -> tuple[bool, str]:
    """Guess the medium; the second value is a note that says why."""
    velocity = line_velocity(wave, flux)
    if not np.isfinite(velocity):
        return False, "medium not stated, and no lines to find it from: air assumed"
    vacuum = velocity > _TURN
    taken, other = ("vacuum", "air") if vacuum else ("air", "vacuum")
    speeds = (velocity - VACUUM_SHIFT, velocity) if vacuum else (velocity, velocity - VACUUM_SHIFT)
    return vacuum, (
        f"medium not stated: {taken} assumed, in which the lines lie at {speeds[0]:+.0f} km/s "
        f"({other}: {speeds[1]:+.0f} km/s)"
    )
