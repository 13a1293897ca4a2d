"""From a file of whatever kind to bare arrays, or to what kind it is."""

from __future__ import annotations

import os

from harpsstar.errors import UnknownInstrumentError
from harpsstar.instruments import from_header
from harpsstar.io.build import Reading
from harpsstar.io.e2ds import read_e2ds
from harpsstar.io.files import Header, Source, check_sizes, open_fits, source_name
from harpsstar.io.headers import classify
from harpsstar.io.s1d import read_s1d, read_s1d_table
from harpsstar.io.s2d import read_s2d

__all__ = ["identify", "read_arrays"]


def read_arrays(path: Source, *, blaze_dir: str | os.PathLike[str] | None = None) -> Reading:
    """Read what :func:`harpsstar.read` reads, as bare arrays and without specutils.

    Parameters
    ----------
    path : path, binary file object or HDUList
        A FITS file, plain or gzipped.
    blaze_dir : path, optional
        Folder with blaze files, searched before the spectrum's own folder.

    Raises
    ------
    ReadError, WrongProductError, UnknownInstrumentError
        As :func:`harpsstar.read`.
    """
    name = source_name(path)
    with open_fits(path) as hdus:
        product = classify(Header(hdus[0].header), name)
        check_sizes(hdus, name)
        if product == "e2ds":
            return read_e2ds(hdus, name, blaze_dir)
        if product in ("S2D", "S2D_BLAZE"):
            return read_s2d(hdus, name, blaze_dir, product=product)
        if product == "S1D":
            return read_s1d_table(hdus, name)
        return read_s1d(hdus, name)


def identify(path: Source) -> tuple[str, str]:
    """Tell product and instrument of a file from its header, without reading its spectrum.

    Returns
    -------
    product, instrument : str
        As in :class:`Observation`.

    Raises
    ------
    ReadError
        As :func:`read`.
    """
    name = source_name(path)
    with open_fits(path) as hdus:
        header = Header(hdus[0].header)
        product = classify(header, name)
        try:
            return product, from_header(header, name).name
        except UnknownInstrumentError:
            if product == "s1d" and "INSTRUME" not in header:
                return product, ""
            raise
