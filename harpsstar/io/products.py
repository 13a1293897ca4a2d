"""From a file of whatever kind to bare arrays, or to what kind it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from astropy.io import fits

from harpsstar.errors import UnknownInstrumentError
from harpsstar.instruments import from_header
from harpsstar.io.build import Reading
from harpsstar.io.cards import ReadableCards
from harpsstar.io.e2ds import read_e2ds
from harpsstar.io.files import (
    Source,
    check_sizes,
    is_fits,
    load_bytes,
    open_content,
    source_name,
)
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.images import read_image
from harpsstar.io.kinds import kind_of
from harpsstar.io.phase3 import read_phase3
from harpsstar.io.plain import resolution_of
from harpsstar.io.s1d import read_s1d_table
from harpsstar.io.s2d import read_s2d
from harpsstar.io.tables import read_table, table_hdu
from harpsstar.io.text import read_text

__all__ = ["identify", "read_arrays"]


def read_arrays(
    path: Source,
    *,
    blaze_dir: str | os.PathLike[str] | None = None,
    given: Given = NOTHING,
) -> Reading:
    """Read what :func:`harpsstar.read` reads, as bare arrays and without specutils.

    Parameters
    ----------
    path : path, binary file object or HDUList
        A FITS or text file, plain or gzipped.
    blaze_dir : path, optional
        Folder with blaze files, searched before the spectrum's own folder.
    given : Given, optional
        What the user says that the file does not.

    Raises
    ------
    ReadError, WrongProductError, UnknownInstrumentError
        As :func:`harpsstar.read`.
    """
    name = source_name(path)
    data = load_bytes(path)
    if not is_fits(data):
        return read_text(data, name, given)
    with _opened(data, name) as (hdus, product):
        if product == "e2ds":
            return _completed(read_e2ds(hdus, name, blaze_dir), given)
        if product.startswith("S2D"):
            return _completed(read_s2d(hdus, name, blaze_dir, product=product), given)
        if product.startswith("S1D"):
            return _completed(read_s1d_table(hdus, name, product=product), given)
        if product == "ADP":
            return read_phase3(hdus, name, given)
        if product == "table":
            return read_table(hdus, name, given)
        return read_image(hdus, name, given, product=product)


def identify(path: Source) -> tuple[str, str]:
    """Tell product and instrument of a file from its header, without reading its spectrum.

    Returns
    -------
    product, instrument : str
        As in :class:`Observation`; the instrument is empty where the file names none.

    Raises
    ------
    ReadError
        As :func:`read`.
    """
    name = source_name(path)
    data = load_bytes(path)
    if not is_fits(data):
        return read_text(data, name, NOTHING).observation.product, ""
    with _opened(data, name) as (hdus, product):
        header = ReadableCards(hdus[0].header)
        try:
            return product, from_header(header, name).name
        except UnknownInstrumentError:
            if product.startswith(("e2ds", "S2D", "S1D")):
                raise
            return product, str(header.get("INSTRUME", "")).strip()


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[tuple[fits.HDUList, str]]:
    with open_content(data, name) as hdus:
        product = kind_of(ReadableCards(hdus[0].header), _extension(hdus), name)
        check_sizes(hdus, name)
        yield hdus, product


def _extension(hdus: fits.HDUList) -> Any:
    """Header of the extension that can hold a spectrum: the first, or the first table of one."""
    if len(hdus) < 2:
        return None
    found = table_hdu(hdus)
    return ReadableCards(hdus[1].header if found is None else found.header)


def _completed(read: Reading, given: Given) -> Reading:
    """What a user says about a product whose pipeline says everything but the resolving power."""
    seen = read.observation
    notes = list(seen.notes)
    resolution, assumed = resolution_of(seen.resolution, seen.instrument, given, notes)
    for option, value, own in (("medium", given.medium, "air"), ("frame", given.frame, seen.frame)):
        if value and value != own and seen.frame != "topocentric":
            notes.append(f"--{option} {value} not used: the product states another value")
    seen = replace(seen, resolution=resolution, resolution_assumed=assumed, notes=tuple(notes))
    return replace(read, observation=seen)
