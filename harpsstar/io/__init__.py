"""Readers of HARPS-N, HARPS and ESPRESSO spectra, and tables of results.

Importing this package registers the readers with specutils, so that ``SpectrumCollection.read``
and ``Spectrum.read`` find them from a file's header.
"""

from __future__ import annotations

import os
from typing import Any

from specutils import Spectrum, SpectrumCollection
from specutils.io.registers import data_loader

from harpsstar.errors import UnknownInstrumentError
from harpsstar.instruments import from_header
from harpsstar.io.e2ds import read_e2ds
from harpsstar.io.files import MAX_CARDS, Source, check_sizes, open_fits, scan_header, source_name
from harpsstar.io.headers import classify, is_product
from harpsstar.io.observation import Observation
from harpsstar.io.s1d import read_s1d, read_s1d_table
from harpsstar.io.s2d import read_s2d

__all__ = ["Observation", "identify", "read"]

BlazeDir = str | os.PathLike[str] | None


def read(path: Source, *, blaze_dir: BlazeDir = None) -> SpectrumCollection | Spectrum:
    """Read a spectrum of whatever kind the file's header says.

    Parameters
    ----------
    path : path, binary file object or HDUList
        A FITS file, plain or gzipped.
    blaze_dir : path, optional
        Folder with blaze files, searched before the spectrum's own folder.

    Returns
    -------
    SpectrumCollection or Spectrum
        Orders (n_orders, n_pixels) as flux density without blaze in electrons per Å, or a 1-D
        spectrum in relative flux. Wavelengths are air Å in the barycentric frame, uncertainties
        standard deviations, and a true mask means a bad pixel. ``meta["header"]`` is the whole
        primary header and ``meta["observation"]`` an :class:`Observation`.

    Raises
    ------
    ReadError
        Truncated, empty, not FITS, without wavelengths or without any signal.
    WrongProductError
        A product without a stellar spectrum (ccf, blaze, wave, calibration, raw).
    UnknownInstrumentError
        A spectrograph that harpsstar has no description of.
    """
    name = source_name(path)
    with open_fits(path) as hdus:
        product = classify(hdus[0].header, name)
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
        header = hdus[0].header
        product = classify(header, name)
        try:
            return product, from_header(header, name).name
        except UnknownInstrumentError:
            if product == "s1d" and "INSTRUME" not in header:
                return product, ""
            raise


def _identifier(*products: str) -> Any:
    """Make a specutils identifier that looks at the primary header and at nothing else."""

    def matches(origin: str, path: Any, source: Any, *args: Any, **kwargs: Any) -> bool:
        if origin != "read" or not hasattr(source, "read"):
            return False
        position = source.tell()
        try:
            source.seek(0)
            beginning = source.read(MAX_CARDS * 80)
        finally:
            source.seek(position)
        if not beginning.startswith(b"SIMPLE  ="):
            return False
        return is_product(scan_header(beginning)[0], *products)

    return matches


def _register() -> None:
    """Offer :func:`read` to specutils, before its generic FITS readers (priority 5 to 10)."""
    kinds = (
        ("harpsstar e2ds", ("e2ds",), SpectrumCollection),
        ("harpsstar S2D", ("S2D", "S2D_BLAZE"), SpectrumCollection),
        ("harpsstar s1d", ("s1d",), Spectrum),
        ("harpsstar S1D", ("S1D",), Spectrum),
    )
    for label, products, container in kinds:

        def loader(
            file_obj: Source, *, blaze_dir: BlazeDir = None, **kwargs: Any
        ) -> SpectrumCollection | Spectrum:
            return read(file_obj, blaze_dir=blaze_dir)

        data_loader(
            label,
            identifier=_identifier(*products),
            dtype=container,
            extensions=["fits", "fits.gz"],
            priority=20,
            force=True,
        )(loader)


_register()
