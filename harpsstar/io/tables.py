"""Reader of FITS tables that hold a spectrum, whatever wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.io import fits

from harpsstar.errors import ReadError
from harpsstar.io.axis import in_angstrom
from harpsstar.io.build import Array, Mask, Reading
from harpsstar.io.cards import ReadableCards
from harpsstar.io.columns import (
    Column,
    columns_of_header,
    has_wavelength,
    is_barycentric,
    roles_of,
)
from harpsstar.io.given import Given
from harpsstar.io.plain import Said, facts_of, plain_reading

__all__ = ["Arrays", "arrays_of", "read_table", "table_hdu"]


@dataclass(frozen=True)
class Arrays:
    """What the columns of a spectrum hold.

    ``wave`` in Å; ``sigma`` None where there are no errors; ``mask`` true for bad pixels;
    ``medium`` and ``frame`` where the columns say it.
    """

    wave: Array
    flux: Array
    sigma: Array | None
    mask: Mask
    medium: str
    notes: tuple[str, ...]
    frame: str = ""


def table_hdu(hdus: fits.HDUList) -> Any:
    """The first table with wavelengths and fluxes; None if there is none."""
    for hdu in hdus:
        if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and has_wavelength(
            columns_of_header(hdu.header)
        ):
            return hdu
    return None


def read_table(hdus: fits.HDUList, path: str, given: Given, *, product: str = "table") -> Reading:
    """Read the first table that has wavelengths and fluxes.

    Columns are found by their name, their UCD or their unit. A table of one row holds arrays; one
    of several rows with arrays in them holds an order in each.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    path : str
        Its path, for messages.
    given : Given
        What the user says.
    product : str
        What the result calls itself.

    Raises
    ------
    ReadError
        No such table, columns of different lengths, or no usable pixel.
    """
    hdu = table_hdu(hdus)
    if hdu is None:
        raise ReadError("no table with wavelengths and fluxes", path=path,
                        expected="columns such as wavelength, flux and error")  # fmt: skip
    header = ReadableCards(hdus[0].header, hdu.header)
    columns = columns_of_header(hdu.header)
    arrays = arrays_of({i: hdu.data.field(i) for i in roles_of(columns).values()}, columns, path)
    return _reading(arrays, hdus[0].header, facts_of(header, product, path), given)


def _reading(arrays: Arrays, header: Any, said: Said, given: Given) -> Reading:
    said = replace(said, medium=arrays.medium or said.medium, frame=arrays.frame or said.frame,
                   notes=(*said.notes, *arrays.notes))  # fmt: skip
    return plain_reading(arrays.wave, arrays.flux, arrays.sigma, arrays.mask, header, said, given)


def arrays_of(values: Mapping[int, Any], columns: list[Column], path: str) -> Arrays:
    """Arrays of a spectrum from its columns; ``values`` holds those that have a role."""
    roles = roles_of(columns)
    got = {role: _numbers(values[index], columns[index], path) for role, index in roles.items()}
    notes: list[str] = []
    if "wave" in got:
        column = columns[roles["wave"]]
        wave, note = in_angstrom(got["wave"], column.unit or _unit_in(column.name))
        notes += [note] if note else []
    else:
        column = columns[roles["logwave"]]
        wave, note = _powers(got["logwave"])
        notes.append(note)
    sizes = {role: array.shape for role, array in got.items()}
    if len(set(sizes.values())) > 1:
        text = ", ".join(f"{role} {' × '.join(map(str, size))}" for role, size in sizes.items())
        raise ReadError(f"columns of different lengths ({text})", expected="one length", path=path)
    flux = got["flux"]
    mask = ~np.isfinite(flux) | ~np.isfinite(wave)
    if "quality" in got:
        mask |= _bad(got["quality"], columns[roles["quality"]].name)
    frame = "barycentric" if is_barycentric(column) else ""
    return Arrays(wave, flux, _sigma(got), mask, _medium(column), tuple(notes), frame)


def _numbers(values: Any, column: Column, path: str) -> Array:
    """Column as (n,) or (rows, n): one row of arrays is one spectrum."""
    array: Any = np.ma.filled(np.ma.asarray(values).astype(float), np.nan) if (
        getattr(values, "dtype", np.dtype(object)).kind in "biuf"
    ) else None
    if array is None:
        raise ReadError(f"column {column.name!r} contains no numbers", path=path,
                        expected="a number in each row")  # fmt: skip
    if array.ndim > 1 and array.shape[0] == 1:
        array = array.reshape(-1)
    return np.asarray(array, dtype=float)


def _powers(values: Array) -> tuple[Array, str]:
    with np.errstate(over="ignore"):
        if np.nanmedian(values) > 6.0:
            return np.exp(values), "ln of wavelength in Å"
        return 10.0**values, "log10 of wavelength in Å"


def _unit_in(name: str) -> str:
    """Unit that the name of a column ends with: ``wave[nm]``, ``lambda_nm``."""
    text = name.strip().rstrip(")]").replace("(", "_").replace("[", "_")
    unit = text.rpartition("_")[2].strip().lower()
    return unit if unit in ("nm", "aa", "angstrom", "angstroms", "um", "micron", "m") else ""


def _medium(column: Column) -> str:
    words = column.name.lower()
    if "air" in words or "awav" in words or "obs.atmos" in column.ucd.lower():
        return "air"
    return "vacuum" if "vac" in words else ""


def _sigma(got: Mapping[str, Array]) -> Array | None:
    with np.errstate(divide="ignore", invalid="ignore"):
        if "error" in got:
            return got["error"]
        if "ivar" in got:
            return np.where(got["ivar"] > 0, 1.0 / np.sqrt(got["ivar"]), np.nan)
        if "variance" in got:
            return np.where(got["variance"] > 0, np.sqrt(got["variance"]), np.nan)
    return None


def _bad(values: Array, name: str) -> Mask:
    """Bad pixels of a quality column; a mask of ones is one of good pixels."""
    bad = np.nan_to_num(values, nan=1.0) != 0
    if bad.mean() > 0.5 and "mask" in name.lower():
        return np.asarray(~bad)
    return np.asarray(bad)
