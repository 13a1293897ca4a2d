"""Spectra in the containers of specutils, and harpsstar's readers among specutils' own.

Importing this module registers the readers, so that ``SpectrumCollection.read`` and
``Spectrum.read`` find them from a file's header.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from astropy import units as u
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum, SpectrumCollection, SpectrumList
from specutils.io.registers import data_loader

from harpsstar.errors import WrongProductError
from harpsstar.io.blaze import check_blaze_dir
from harpsstar.io.build import Reading
from harpsstar.io.files import MAX_CARDS, Source, is_fits, scan_headers, source_name
from harpsstar.io.given import Given
from harpsstar.io.kinds import kind_of
from harpsstar.io.products import read_arrays

__all__ = ["container", "read"]

BlazeDir = str | os.PathLike[str] | None


def read(
    path: Source,
    *,
    blaze_dir: BlazeDir = None,
    resolution: float | None = None,
    medium: str = "",
    frame: str = "",
) -> SpectrumCollection | Spectrum:
    """Read a spectrum of whatever kind the file's header says.

    Parameters
    ----------
    path : path, binary file object or HDUList
        A FITS or text file, plain or gzipped.
    blaze_dir : path, optional
        Folder with blaze files, searched before the spectrum's own folder.
    resolution : float, optional
        Resolving power λ/Δλ, in place of what header and instrument say.
    medium : {"air", "vacuum"}, optional
        Of the wavelengths, where the file does not say it.
    frame : {"barycentric", "topocentric", "rest"}, optional
        Of the wavelengths, where the file does not say it.

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
        Truncated, empty, neither FITS nor text, without wavelengths or without any signal.
    WrongProductError
        A product without a stellar spectrum (ccf, blaze, wave, calibration, raw).
    UnknownInstrumentError
        Orders of a spectrograph that harpsstar has no description of.
    ConfigError
        An impossible resolving power, medium or frame; a blaze folder that does not exist.
    """
    check_blaze_dir(blaze_dir)
    given = Given(resolution, medium, frame)
    return container(read_arrays(path, blaze_dir=blaze_dir, given=given))


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


def _identifier(*beginnings: str) -> Any:
    """Make a specutils identifier that looks at headers and at nothing else."""

    def matches(origin: str, path: Any, source: Any, *args: Any, **kwargs: Any) -> bool:
        if origin != "read":
            return False
        if not hasattr(source, "read"):
            if not isinstance(path, str | os.PathLike) or not os.path.isfile(path):
                return False
            # As for specutils.identify_spectrum_format, which opens nothing.
            with open(path, "rb") as file:
                return bool(matches(origin, path, file))
        position = source.tell()
        try:
            source.seek(0)
            beginning = source.read(2 * MAX_CARDS * 80)
        finally:
            source.seek(position)
        if not is_fits(beginning):
            return False
        product = kind_of(*scan_headers(beginning))
        return product.startswith(beginnings)

    return matches


#: What the products of orders begin with.
_ORDERS = ("e2ds", "S2D")


def _load(file_obj: Source, *, blaze_dir: BlazeDir = None, **kwargs: Any) -> Any:
    known = {name: kwargs[name] for name in ("resolution", "medium", "frame") if name in kwargs}
    return read(file_obj, blaze_dir=blaze_dir, **known)


def _load_list(file_obj: Source, **kwargs: Any) -> SpectrumList:
    """Every order as a spectrum of its own."""
    orders = _load(file_obj, **kwargs)
    return SpectrumList([
        Spectrum(flux=orders.flux[i], spectral_axis=orders.spectral_axis[i],
                 uncertainty=StdDevUncertainty(orders.uncertainty.array[i], unit=orders.flux.unit),
                 mask=orders.mask[i], meta={**orders.meta, "order": i})
        for i in range(len(orders.flux)) if (np.diff(orders.spectral_axis[i].value) > 0).all()
    ])  # fmt: skip


def _load_one(file_obj: Source, **kwargs: Any) -> Spectrum:
    """Say which class to use for a product of orders, which is none for one spectrum."""
    name = source_name(file_obj)
    raise WrongProductError(
        "a product of échelle orders, not one spectrum",
        expected="SpectrumCollection.read (or SpectrumList.read, a spectrum for each order)",
        hint="harpsstar.read chooses the class by itself", path=name or None,
    )  # fmt: skip


def _register() -> None:
    """Offer :func:`read` to specutils, before its generic FITS readers (priority 5 to 10)."""
    ways: tuple[tuple[str, tuple[str, ...], Any, Any], ...] = (
        ("harpsstar orders", _ORDERS, SpectrumCollection, _load),
        ("harpsstar orders", _ORDERS, SpectrumList, _load_list),
        ("harpsstar orders", _ORDERS, Spectrum, _load_one),
        ("harpsstar s1d", ("s1d",), Spectrum, _load),
        ("harpsstar S1D", ("S1D",), Spectrum, _load),
        ("harpsstar ESO phase 3", ("ADP",), Spectrum, _load),
    )
    for label, beginnings, kind, loader in ways:

        def load(file_obj: Source, _loader: Any = loader, **kwargs: Any) -> Any:
            return _loader(file_obj, **kwargs)

        data_loader(
            label,
            identifier=_identifier(*beginnings),
            dtype=kind,
            extensions=["fits", "fits.gz"],
            priority=20,
            force=True,
            autogenerate_spectrumlist=beginnings != _ORDERS,
        )(load)


_register()
