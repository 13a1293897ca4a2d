"""Spectra in the containers of specutils, and harpsstar's readers among specutils' own.

Importing this module registers the readers, so that ``SpectrumCollection.read`` and
``Spectrum.read`` find them from a file's header.
"""

from __future__ import annotations

import os
from typing import Any

from astropy import units as u
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum, SpectrumCollection
from specutils.io.registers import data_loader

from harpsstar.io.build import Reading
from harpsstar.io.files import MAX_CARDS, Source, scan_header
from harpsstar.io.headers import is_product
from harpsstar.io.products import read_arrays

__all__ = ["container", "read"]

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
    return container(read_arrays(path, blaze_dir=blaze_dir))


def container(reading: Reading) -> SpectrumCollection | Spectrum:
    """Put bare arrays into the container that fits.

    Parameters
    ----------
    reading : Reading
        Orders, in electrons per Å, or one dimension, in relative flux.
    """
    make: Any = SpectrumCollection if reading.flux.ndim == 2 else Spectrum
    unit = u.Unit(reading.unit)
    return make(  # type: ignore[no-any-return]
        flux=u.Quantity(reading.flux, unit, copy=False),
        spectral_axis=u.Quantity(reading.wave, u.AA, copy=False),
        uncertainty=StdDevUncertainty(reading.sigma, unit=unit, copy=False),
        mask=reading.mask,
        meta={"header": reading.header, "observation": reading.observation},
    )


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
    for label, products, kind in kinds:

        def loader(
            file_obj: Source, *, blaze_dir: BlazeDir = None, **kwargs: Any
        ) -> SpectrumCollection | Spectrum:
            return read(file_obj, blaze_dir=blaze_dir)

        data_loader(
            label,
            identifier=_identifier(*products),
            dtype=kind,
            extensions=["fits", "fits.gz"],
            priority=20,
            force=True,
        )(loader)


_register()
