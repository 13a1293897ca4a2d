"""Reader of new-DRS ``S2D`` and ``S2D_BLAZE`` files (HARPS-N, HARPS, ESPRESSO)."""

from __future__ import annotations

import os

import numpy as np
from astropy import units as u
from astropy.io import fits

from harpsstar.errors import ReadError
from harpsstar.instruments import from_header
from harpsstar.io.blaze import FLOOR
from harpsstar.io.build import (
    Array,
    Mask,
    Reading,
    measured_snr,
    note_clipped,
    note_dark,
    reading,
)
from harpsstar.io.cards import ReadableCards
from harpsstar.io.e2ds import remove_blaze
from harpsstar.io.headers import Cards, canonical_snr
from harpsstar.io.observation import Observation

__all__ = ["air", "new_observation", "read_s2d"]

_MAX_CALIBRATIONS = 100


def read_s2d(
    hdus: fits.HDUList,
    path: str,
    blaze_dir: str | os.PathLike[str] | None = None,
    *,
    product: str = "S2D",
) -> Reading:
    """Read an ``S2D`` file: barycentric air wavelengths, errors and quality of the pipeline.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    path : str
        Its path, for the blaze file and for messages.
    blaze_dir : path, optional
        Folder with blaze files, searched before the file's own.
    product : str
        ``"S2D_BLAZE"`` and its variants have their blaze; the pipeline has removed that of others.

    Raises
    ------
    ReadError
        An extension is missing or has another shape, or no pixel is usable.
    UnknownInstrumentError
        An instrument without a description.
    """
    header = ReadableCards(hdus[0].header)
    instrument = from_header(header, path)
    cards = Cards.of(header, instrument, "new", path)
    electrons = _extension(hdus, "SCIDATA", path)
    error = _extension(hdus, "ERRDATA", path, electrons.shape)
    wave = _wavelengths(hdus, path, electrons.shape)
    width = _widths(hdus, path, wave)
    notes: list[str] = []
    mask = _bad_pixels(hdus, path, electrons, wave, width, notes)
    clipped = note_clipped(electrons, mask, notes)
    mask |= clipped
    width = np.where(np.isfinite(width) & (width > 0), width, 1.0)

    origin, blaze = "pipeline", np.ones(electrons.shape)
    if product.startswith("S2D_BLAZE"):
        name = _blaze_name(cards)
        blaze, origin = remove_blaze(name, electrons / width, mask, wave, path, blaze_dir, notes)
        mask = mask | (blaze <= FLOOR * blaze.max(axis=1, keepdims=True))
    scale = np.where(mask, 1.0, blaze) * width
    flux, sigma = electrons / scale, error / scale
    observation = new_observation(
        cards, product, origin, measured_snr(wave, flux, sigma, mask), notes,
        clipped=float(clipped.mean()),
    )  # fmt: skip
    return reading(wave, flux, sigma, mask, hdus[0].header, observation)


def new_observation(
    cards: Cards, product: str, blaze: str, snr: float, notes: list[str], clipped: float = 0.0
) -> Observation:
    """What a header of the new DRS says; ``snr`` is used where the header has none."""
    instrument = from_header(cards.header, cards.path)
    snr_orders = cards.snr(instrument.n_orders)
    from_cards = canonical_snr(snr_orders, instrument)
    return Observation(
        file=cards.path,
        target=cards.text("target"),
        instrument=instrument.name,
        product=product,
        bjd=cards.number("bjd"),
        berv=cards.number("berv"),
        snr=from_cards if np.isfinite(from_cards) else snr,
        snr_orders=snr_orders,
        rv_header=cards.number("rv"),
        rv_header_err=cards.number("rv_err"),
        blaze=blaze,
        resolution=instrument.resolution,
        clipped=clipped,
        notes=tuple(notes),
    )


def air(wave: Array) -> Array:
    """Air wavelengths of vacuum ones [Å] (Morton 2000); values that are no wavelength are kept.

    Not specutils' default method, Greisen (2006): that differs by 0.08 Å, or 4.6 km/s, at 5200 Å.
    """
    from specutils.utils.wcs_utils import vac_to_air

    good = np.isfinite(wave) & (wave > 2000)
    out = np.array(wave, dtype=float)
    out[good] = vac_to_air(wave[good] * u.AA, method="Morton2000").to_value(u.AA)
    return out


def _extension(
    hdus: fits.HDUList, name: str, path: str, shape: tuple[int, ...] | None = None
) -> Array:
    if name not in hdus:
        raise ReadError(
            f"no extension {name}; there are {', '.join(hdu.name for hdu in hdus[1:]) or 'none'}",
            expected="SCIDATA, ERRDATA, QUALDATA and WAVEDATA_*_BARY",
            hint="fetch the product again",
            path=path,
        )
    data = hdus[name].data
    if data is None or data.ndim != 2 or (shape is not None and data.shape != shape):
        found = "nothing" if data is None else f"an array of shape {data.shape}"
        raise ReadError(
            f"{found} in extension {name}",
            expected="orders by pixels" if shape is None else f"the shape {shape} of SCIDATA",
            path=path,
        )
    return np.asarray(data, dtype=float)


def _wavelengths(hdus: fits.HDUList, path: str, shape: tuple[int, ...]) -> Array:
    if "WAVEDATA_AIR_BARY" in hdus or "WAVEDATA_VAC_BARY" not in hdus:
        return _extension(hdus, "WAVEDATA_AIR_BARY", path, shape)
    return air(_extension(hdus, "WAVEDATA_VAC_BARY", path, shape))


def _widths(hdus: fits.HDUList, path: str, wave: Array) -> Array:
    for name in ("DLLDATA_AIR_BARY", "DLLDATA_VAC_BARY"):
        if name in hdus:
            return _extension(hdus, name, path, wave.shape)
    return np.gradient(wave, axis=1)


def _bad_pixels(
    hdus: fits.HDUList, path: str, electrons: Array, wave: Array, width: Array, notes: list[str]
) -> Mask:
    bad = ~np.isfinite(electrons) | (electrons == 0) | ~(width > 0) | ~(wave > 2000)
    if "QUALDATA" in hdus:
        bad |= _extension(hdus, "QUALDATA", path, electrons.shape) != 0
    else:
        notes.append("no QUALDATA extension: bad pixels are not known")
    falling = ~(np.diff(wave, axis=1) > 0).all(axis=1)
    bad[falling] = True
    note_dark(bad, wave, notes)
    return bad


def _blaze_name(cards: Cards) -> str:
    for index in range(1, _MAX_CALIBRATIONS):
        category = cards.text("calibration", index=index)
        if category.startswith("BLAZE") and category.endswith("_A"):
            return cards.text("calibration_file", index=index)
    return ""
