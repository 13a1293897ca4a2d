"""What an exposure suffers besides noise: atmosphere, other light, cosmics, gaps, drift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.errors import ConfigError
from harpsstar.mock.tellurics import AIRMASS, WATER

__all__ = ["Array", "Contaminant", "Effects", "Model"]

Array = npt.NDArray[np.float64]
#: Normalised flux (nan outside its range) at rest-frame air wavelengths [Å] of any shape.
Model = Callable[[Array], Any]


@dataclass(frozen=True)
class Contaminant:
    """Other light in the fibre.

    Its continuum has the same slope as the star's: over the 400 Å of the model that is close.

    Attributes
    ----------
    model : callable
        Like the star's.
    rv : float
        Barycentric velocity [km/s].
    ratio : float
        Its continuum in units of the star's.
    """

    model: Model
    rv: float
    ratio: float


@dataclass(frozen=True)
class Effects:
    """What happens to the light; the defaults are a perfect night.

    Attributes
    ----------
    airmass : float
        Of the telluric lines; written to the header.
    water : float
        Precipitable water [mm] of the telluric lines (see :mod:`harpsstar.mock.tellurics`);
        without it there are none.
    cosmics : float
        Hits per order, on average, that the extraction has left in the spectrum.
    gaps : tuple of (float, float)
        Air wavelengths at the observatory [Å] where there is no detector.
    contaminants : tuple of Contaminant
        A companion, the Moon.
    drift : float
        Of the spectrograph since its calibration [m/s]: lines appear at this velocity too far to
        the red. The header tells it (``DRIFT RV USED``), its wavelengths do not contain it.
    header_rv_error : float
        Error of the star's velocity in the header [km/s].

    Raises
    ------
    ConfigError
        An impossible value.
    """

    airmass: float = 1.0
    water: float = 0.0
    cosmics: float = 0.0
    gaps: tuple[tuple[float, float], ...] = ()
    contaminants: tuple[Contaminant, ...] = ()
    drift: float = 0.0
    header_rv_error: float = 0.0

    def __post_init__(self) -> None:
        for name, value, (low, high) in (
            ("airmass", self.airmass, AIRMASS),
            ("water", self.water, WATER),
            ("cosmics", self.cosmics, (0.0, 1000.0)),
            ("drift", self.drift, (-1000.0, 1000.0)),
            ("header_rv_error", self.header_rv_error, (-1000.0, 1000.0)),
            *(("ratio", other.ratio, (0.0, 100.0)) for other in self.contaminants),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{name} {value:g}", expected=f"{low:g} to {high:g}")
        for low, high in self.gaps:
            if not low < high:
                raise ConfigError(f"gap {low:g}-{high:g} Å", expected="the lower end first")
