"""Reader of new-DRS ``S1D`` tables and their variants (sky, tellurics, flux calibration)."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from harpsstar.errors import ReadError
from harpsstar.instruments import from_header
from harpsstar.io.axis import unit_factor
from harpsstar.io.build import Array, Reading, measured_snr, reading
from harpsstar.io.cards import ReadableCards
from harpsstar.io.headers import Cards
from harpsstar.io.plain import MIN_PIXELS, gaps
from harpsstar.io.s2d import air, new_observation

__all__ = ["read_s1d_table"]

#: Columns by what they hold; a flux-calibrated table calls them otherwise.
_NAMES = {
    "wavelength": ("wavelength",),
    "wavelength_air": ("wavelength_air",),
    "flux": ("flux", "flux_cal"),
    "error": ("error", "error_cal"),
    "quality": ("quality",),
}


def read_s1d_table(hdus: fits.HDUList, path: str, *, product: str = "S1D") -> Reading:
    """Read an ``S1D`` table of the new DRS: wavelength, flux, error and quality.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    path : str
        Its path, for messages.
    product : str
        ``"S1D"`` or a variant.

    Raises
    ------
    ReadError
        No table, a column is missing, or no usable pixel.
    UnknownInstrumentError
        An instrument without a description.
    """
    header = ReadableCards(hdus[0].header)
    instrument = from_header(header, path)
    cards = Cards.of(header, instrument, "new", path)
    columns = _columns(hdus, path)
    notes: list[str] = []
    wave = columns.get("wavelength_air")
    wave = air(columns["wavelength"]) if wave is None else wave
    flux, sigma = columns["flux"], columns["error"]
    mask = ~np.isfinite(flux) | gaps(flux)
    if "quality" in columns:
        mask |= columns["quality"] != 0
    else:
        notes.append("no quality column: bad pixels are not known")
    if not np.all(np.diff(wave) > 0):
        raise ReadError("wavelengths that do not increase", expected="an S1D table", path=path)
    snr = measured_snr(wave, flux, sigma, mask)
    observation = new_observation(cards, product, "pipeline", snr, notes)
    return reading(wave, flux, sigma, mask, hdus[0].header, observation)


def _columns(hdus: fits.HDUList, path: str) -> dict[str, Array]:
    table = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
    names = [] if table is None else [name.lower() for name in table.columns.names]
    found = {
        what: names.index(spelling)
        for what, spellings in _NAMES.items()
        for spelling in spellings[::-1] if spelling in names
    }  # fmt: skip
    missing = {"flux", "error"} - set(found)
    if not {"wavelength", "wavelength_air"} & set(found):
        missing.add("wavelength")
    if table is None or missing:
        raise ReadError(
            f"no column {', '.join(sorted(missing))} in the first table"
            if names else "no table in the file",
            expected="columns wavelength, wavelength_air, flux, error, quality",
            path=path,
        )  # fmt: skip
    columns = {}
    for what, index in found.items():
        column = table.columns[index]
        values = np.asarray(table.data[column.name], dtype=float).ravel()
        unit = unit_factor(column.unit or "") if what.startswith("wavelength") else None
        columns[what] = values if unit is None else values * unit
    sizes = {values.size for values in columns.values()}
    if len(sizes) > 1 or min(sizes) < MIN_PIXELS:
        raise ReadError(
            f"columns of {', '.join(map(str, sorted(sizes)))} values",
            expected=f"columns of the same length, at least {MIN_PIXELS}",
            path=path,
        )
    return columns
