"""The labels: what is measured, its unit, its range in the grid and how it is scaled.

Ranges are those of Table 1 of Hüttel & Clemmensen (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Label:
    """One stellar label or nuisance parameter.

    Attributes
    ----------
    name : str
        The name used everywhere: argument, column, configuration key.
    symbol : str
        For axes of pictures (mathtext).
    unit : str
        astropy unit string; empty for a dimensionless quantity or a dex.
    low, high : float
        Range, in ``unit``.
    ucd : str
        IVOA UCD1+ of a table column with this label.
    description : str
        One line, for table columns and documentation.
    """

    name: str
    symbol: str
    unit: str
    low: float
    high: float
    ucd: str
    description: str

    @property
    def heading(self) -> str:
        """Name with unit, for the head of a column: ``teff [K]``."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def axis(self) -> str:
        """Symbol with unit, for an axis of a figure."""
        return f"{self.symbol} [{self.unit}]" if self.unit else self.symbol


TEFF = Label("teff", r"$T_\mathrm{eff}$", "K", 3500.0, 9750.0,
             "phys.temperature.effective", "Effective temperature")
LOGG = Label("logg", r"$\log g$", "", 0.0, 5.0,
             "phys.gravity", "Surface gravity, log10 of cm/s2")
M_H = Label("m_h", r"$[\mathrm{M/H}]$", "", -2.5, 0.5,
            "phys.abund.Z", "Metallicity relative to the Sun (Asplund et al. 2009), dex")
VSINI = Label("vsini", r"$v\,\sin i$", "km/s", 0.0, 30.0,
              "phys.veloc.rotat", "Projected rotation velocity")
VMIC = Label("vmic", r"$v_\mathrm{mic}$", "km/s", 0.5, 2.0,
             "phys.veloc.microTurb", "Microturbulence")
VMAC = Label("vmac", r"$v_\mathrm{mac}$", "km/s", 0.0, 10.0,
             "phys.veloc", "Radial-tangential macroturbulence")
ALPHA = Label("alpha", r"$[\alpha/\mathrm{Fe}]$", "", 0.0, 0.4,
              "phys.abund", "O, Ne, Mg, Si, S, Ca and Ti relative to iron, dex")
RV = Label("rv", r"$v_\mathrm{r}$", "km/s", -300.0, 300.0,
           "spect.dopplerVeloc;em.opt", "Barycentric radial velocity")

#: The four labels every model returns, in this order everywhere.
LABELS: tuple[Label, ...] = (TEFF, LOGG, M_H, VSINI)
#: What is not asked for but shapes the spectrum.
NUISANCES: tuple[Label, ...] = (VMIC, VMAC, ALPHA, RV)
#: Names of :data:`LABELS`.
NAMES: tuple[str, ...] = tuple(label.name for label in LABELS)

CENTRE: npt.NDArray[np.float64] = np.array([0.5 * (label.low + label.high) for label in LABELS])
HALF_RANGE: npt.NDArray[np.float64] = np.array([0.5 * (label.high - label.low) for label in LABELS])
