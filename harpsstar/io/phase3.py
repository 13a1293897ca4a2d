"""Reader of ESO phase 3 spectra (``ADP…fits``), which the ESO archive hands out.

The layout is that of the ESO Science Data Products Standard (issue 8, 2022): a binary table of one
row with arrays WAVE, FLUX and ERR and more, whose meaning is in TUCDn and TUTYPn; SPECSYS,
SPEC_RES and SNR in a header. It serves every spectrograph, with or without a description of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.io import fits

from harpsstar.errors import ReadError
from harpsstar.io.axis import in_angstrom
from harpsstar.io.build import Array, Mask, Reading
from harpsstar.io.cards import ReadableCards
from harpsstar.io.given import Given
from harpsstar.io.plain import Said, facts_of, plain_reading

__all__ = ["is_phase3", "read_phase3"]

#: Flux, error and quality that belong together, the best first: electrons, so that the pipeline's
#: noise is that of photons; then flux-calibrated values; then reduced ones without response.
_TRIPLES = (
    ("FLUX_EL", "ERR_EL", "QUAL_EL"),
    ("FLUX", "ERR", "QUAL"),
    ("FLUX_REDUCED", "ERR_REDUCED", "QUAL"),
)
#: What a header of the old DRS has, whose wavelengths are in air whatever TUCD1 says.
_OLD_DRS = " DRS CAL TH DEG LL"


def is_phase3(primary: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    """Whether headers are those of a one-dimensional spectrum of ESO phase 3."""
    category = str(primary.get("PRODCATG", "")).strip().upper()
    one_row = str(table.get("NAXIS2", "")).strip() == "1"
    is_table = str(table.get("XTENSION", "")).strip() == "BINTABLE"
    return category == "SCIENCE.SPECTRUM" and is_table and one_row


def read_phase3(hdus: fits.HDUList, path: str, given: Given) -> Reading:
    """Read a phase 3 spectrum of the old or the new generation.

    Medium by a column WAVE_AIR, by TUCD (``em.wl;obs.atmos`` is air) or by the pipeline; frame by
    SPECSYS, where wavelengths of the observatory are moved by the header's barycentric velocity;
    errors from the columns, else from the signal to noise of the orders, else from the scatter.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    path : str
        Its path, for messages.
    given : Given
        What the user says.

    Raises
    ------
    ReadError
        No table with WAVE and FLUX, or no usable pixel.
    """
    hdu = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
    names = [] if hdu is None else [name.upper() for name in hdu.columns.names]
    if hdu is None or "WAVE" not in names or not any(flux in names for flux, _, _ in _TRIPLES):
        found = f"columns {', '.join(names)}" if names else "no table"
        raise ReadError(found, expected="columns WAVE and FLUX of an ESO phase 3 spectrum",
                        path=path)  # fmt: skip
    primary = hdus[0].header
    header = ReadableCards(primary, hdu.header)
    said = facts_of(header, "ADP", path)
    wave, medium, note = _wavelengths(hdu, names, header)
    flux, sigma, mask = _best(hdu, names)
    said = replace(said, medium=medium or said.medium, blaze="pipeline",
                   notes=(*said.notes, *([note] if note else [])))  # fmt: skip
    return _with_velocity(plain_reading(wave, flux, sigma, mask, primary, said, given), said)


def _wavelengths(hdu: Any, names: list[str], header: Mapping[str, Any]) -> tuple[Array, str, str]:
    """Wavelengths [Å], their medium where anything says it, and a note."""
    name = "WAVE_AIR" if "WAVE_AIR" in names else "WAVE"
    index = names.index(name)
    wave, note = in_angstrom(_array(hdu, name), str(hdu.columns[index].unit or ""))
    ucd = str(hdu.header.get(f"TUCD{index + 1}", "")).lower()
    if name == "WAVE_AIR" or "obs.atmos" in ucd:
        return wave, "air", note
    if any(key.endswith(_OLD_DRS) for key in header):
        return wave, "air", note or "wavelengths in air, as the old DRS of HARPS writes them"
    new = str(header.get("ESO PRO CATG", "")).startswith(("S1D", "S2D"))
    return wave, "vacuum" if new else "", note


def _best(hdu: Any, names: list[str]) -> tuple[Array, Array | None, Mask]:
    """The flux with the most pixels that have an error; without any, the first flux."""
    best: tuple[Array, Array | None, Mask] | None = None
    most = -1
    for flux_name, error_name, quality_name in _TRIPLES:
        if flux_name not in names:
            continue
        flux = _array(hdu, flux_name)
        sigma = _array(hdu, error_name) if error_name in names else None
        # UVES fills what its detectors do not cover with zeros.
        mask = ~np.isfinite(flux) | (flux == 0)
        if quality_name in names:
            mask |= np.nan_to_num(_array(hdu, quality_name), nan=1.0) != 0
        known = 0 if sigma is None else int((~mask & np.isfinite(sigma) & (sigma > 0)).sum())
        if known > most:
            best, most = (flux, sigma, mask), known
    assert best is not None  # the caller has looked for one
    return best


def _array(hdu: Any, name: str) -> Array:
    return np.asarray(hdu.data[name], dtype=float).ravel()


def _with_velocity(read: Reading, said: Said) -> Reading:
    """Add the velocity that a pipeline of ours has measured, in km/s."""
    if said.cards is None:
        return read
    rv = said.cards.number("rv")
    error = said.cards.number("rv_err") if np.isfinite(rv) else float("nan")
    return replace(read, observation=replace(read.observation, rv_header=rv, rv_header_err=error))
