"""A second set of lines in what the best model leaves over.

The model of one star takes what it can of a second one; the lines at another velocity are left in
the residuals, where they are found by correlation with the same templates as the velocity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.spectra.noise import level_and_scatter
from harpsstar.spectra.velocity import Bank, template_pulls

#: Reach of a search for a second star, km/s to both sides.
REACH = 250.0
#: No nearer to the star's own lines than this and the wider of the two rotations, km/s: what is
#: wrong with the shape of its lines is no companion.
BLEND = 12.0
#: A second set of lines stands out from the curve's own scatter by this many sigmas.
SIGNIFICANT = 8.0


@dataclass(frozen=True)
class Companion:
    """The most significant second set of lines.

    Attributes
    ----------
    velocity : float
        Relative to the star, km/s.
    share : float
        Of the light, for a companion like the template that fits it best.
    significance : float
        Height of its peak in units of the scatter of the curve, which holds the noise and the
        lines that the models lack.
    """

    velocity: float
    share: float
    significance: float


def find_companion(
    flux: npt.ArrayLike, ivar: npt.ArrayLike, model: npt.ArrayLike, vsini: float, bank: Bank
) -> Companion:
    """Search the residuals of a spectrum for the lines of a second star.

    Parameters
    ----------
    flux, ivar, model : array (8, 4096)
        In the canonical frame, divided by the continuum; ``ivar`` is 0 where a pixel does not
        count.
    vsini : float
        Of the star, km/s.
    bank : Bank
        Templates, see :func:`harpsstar.model.templates.bank_of`.

    Returns
    -------
    Companion
        Nothing is significant where no pixel counts.
    """
    flux, ivar, model = (np.asarray(x, dtype=np.float64) for x in (flux, ivar, model))
    used = ivar > 0
    best = Companion(float("nan"), 0.0, 0.0)
    if not used.any():
        return best
    velocities, pull, scale, _ = template_pulls(
        np.log(canonical_wavelengths()[used]), (model - flux)[used], ivar[used], bank, 0.0, REACH
    )
    rotations = bank.labels[:, 3]
    for rotation in np.unique(rotations):
        away = np.flatnonzero(np.abs(velocities) > BLEND + max(vsini, rotation))
        rows = np.flatnonzero(rotations == rotation)
        curves = pull[np.ix_(rows, away)]
        level, scatter = level_and_scatter(curves)
        height = (curves - level) / scatter
        row, place = np.unravel_index(int(np.argmax(height)), height.shape)
        if height[row, place] > best.significance:
            best = Companion(
                float(velocities[away[place]]), float(scale[rows[row], away[place]]),
                float(height[row, place]),
            )  # fmt: skip
    return best
