"""Which line absorbs where, roughly: to name what is seen in a spectrum, not to compute with.

The lines are those that were calibrated on the Sun, which are packaged, or the whole list where its
sources are at hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harpsstar.model import linelist
from harpsstar.model.linelist import LineArray
from harpsstar.spectra.frame import C_KM_S

Array = npt.NDArray[np.float64]

#: A line as it is used: calibrated; ``delta_log_gf`` is nan where the Sun says nothing.
LINE_DTYPE = np.dtype(
    [
        ("species", "U8"),
        ("wavelength", "f8"),
        ("excitation", "f8"),
        ("log_gf", "f8"),
        ("delta_log_gf", "f8"),
        ("source", "U16"),
    ]
)
#: Thermal motion and saturation, km/s, standard deviation: what any line of iron has.
_OWN_WIDTH = 1.5
#: Damping of the profile that ranks lines, in units of its width.
_DAMPING = 0.01
#: Where lines form, in units of teff; energies in eV.
_LAYER, _IONISATION, _DISSOCIATION = 0.9, 7.6, 6.5


def line_width(star: Mapping[str, float], resolution: float) -> float:
    """Standard deviation of a weak line, km/s: its own, instrument, rotation, macroturbulence."""
    instrument = C_KM_S / resolution / 2.355
    parts = (_OWN_WIDTH, instrument, 0.5 * star["vsini"], 0.5 * star["vmac"], star["vmic"] / 1.41)
    return float(np.sqrt(sum(part**2 for part in parts)))


def profile(place: npt.ArrayLike) -> Array:
    """Opacity of a line over that at its centre, `place` standard deviations away: core and wings.

    The damping, 0.01 in units of a width that holds the instrument, is about that of Mg b in the
    Sun.
    """
    x2 = np.square(np.asarray(place, dtype=float))
    return np.asarray(np.exp(-0.5 * x2) + _DAMPING / (1 + x2))


def strength(lines: LineArray, teff: float, logg: float) -> Array:
    """How strong lines are in a star, roughly: to rank them, not to compute with.

    log gf + A(X) - chi 5040/T at T = 0.9 teff, the abundances solar, times the share of atoms in
    the line's state of ionisation: Saha's equation for a metal of 7.6 eV, with electron pressures
    of 1.1, 8 and 52 dyn/cm² in dwarfs of 4500, 5772 and 7000 K (Gray 2005, Ch. 9). Molecules have
    the effective abundances of ``linelist.toml`` in a star of 4000 K, and 6.5 dex less per unit of
    5040/T: the dissociation energy of C2 and TiO, and that of MgH and CH with the ionisation of
    their metal or the share that CO takes.

    Parameters
    ----------
    lines : ndarray of :data:`LINE_DTYPE`
    teff, logg : float
        K, log10 of cm/s².

    Returns
    -------
    ndarray
        (n,) dex.
    """
    molecules = linelist.configuration()["solar_abundance_of_molecules"]
    species = [str(name) for name in lines["species"]]
    molecular = np.array([name in molecules for name in species], dtype=bool)
    abundance = np.array([
        molecules.get(name, linelist.SOLAR.get(name.split()[0], -9.0)) for name in species
    ])  # fmt: skip
    theta = 5040.0 / (_LAYER * teff)
    pressure = 0.9 + (teff - 5772.0) / 1500.0 + 0.4 * (logg - 4.44)
    ionised = 2.5 * np.log10(_LAYER * teff) - _IONISATION * theta - pressure
    neutral = np.array([name.endswith(" 1") for name in species], dtype=bool)
    share = np.where(
        molecular,
        -_DISSOCIATION * (5040.0 / (_LAYER * 4000.0) - theta),
        -np.log10(1 + 10 ** np.where(neutral, ionised, -ionised)),
    )
    return np.asarray(lines["log_gf"] + abundance - lines["excitation"] * theta + share)


def calibrated_lines(lines: npt.NDArray[np.void], deltas: npt.NDArray[np.void]) -> LineArray:
    """Lines with their calibration, sorted by wavelength.

    Parameters
    ----------
    lines : ndarray
        Uncalibrated, with at least the fields of :data:`LINE_DTYPE` but ``delta_log_gf``.
    deltas : ndarray of :data:`harpsstar.model.linelist.DELTA_DTYPE`

    Returns
    -------
    ndarray of :data:`LINE_DTYPE`
    """
    row = linelist.rows_of(lines, deltas)
    out = np.empty(len(lines), dtype=LINE_DTYPE)
    for name in ("species", "excitation", "source", "wavelength", "log_gf"):
        out[name] = lines[name]
    there = row >= 0
    out["delta_log_gf"] = np.nan
    out["delta_log_gf"][there] = deltas["delta_log_gf"][row[there]]
    out["log_gf"][there] += deltas["delta_log_gf"][row[there]]
    out["wavelength"][there] += deltas["delta_wavelength"][row[there]]
    return out[np.argsort(out["wavelength"], kind="stable")]


def name_of(line: np.void) -> str:
    """Name a line as spectroscopists do: ``Fe I 5123.72``, ``MgH 5134.20``."""
    element, _, state = str(line["species"]).partition(" ")
    numeral = "" if element not in linelist.ELEMENTS else f" {'I' * int(state)}"
    return f"{element}{numeral} {line['wavelength']:.2f}"
