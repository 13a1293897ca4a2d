"""Readers of one-dimensional spectra: old-DRS ``s1d`` images and new-DRS ``S1D`` tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from scipy.ndimage import binary_dilation, percentile_filter

from harpsstar.constants import MAD_TO_SIGMA
from harpsstar.errors import ReadError
from harpsstar.instruments import Instrument, from_header
from harpsstar.io.build import Array, Mask, Reading, measured_snr, reading
from harpsstar.io.files import Header
from harpsstar.io.headers import Cards, canonical_snr, number
from harpsstar.io.observation import Observation
from harpsstar.io.s2d import air, new_observation

__all__ = ["read_s1d", "read_s1d_table", "scatter_noise"]

#: Resolving power taken for a spectrum whose header names no instrument.
ASSUMED_RESOLUTION = 115000.0
#: A shorter spectrum is none.
_MIN_PIXELS = 100
#: Pixels next to a gap that interpolation has touched.
_GAP_EDGE = 5
#: m·λ of the échelle orders [Å], the same within 0.3 % for all the spectrographs.
_ORDER_CONSTANT = 612000.0


def read_s1d(hdus: fits.HDUList, path: str) -> Reading:
    """Read a one-dimensional image with a linear or logarithmic wavelength axis.

    The s1d of the old DRS is barycentric, in air, resampled to 0.01 Å, and has no errors. Where
    the header has the signal to noise of the orders the errors are theirs, otherwise they come
    from the scatter between pixels. They are errors of one extracted pixel: the smaller scatter
    of interpolated pixels is correlated and carries no more information.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    path : str
        Its path, for messages.

    Raises
    ------
    ReadError
        No image, an axis that is no wavelength, or no usable pixel.
    UnknownInstrumentError
        The header names an instrument without a description.
    """
    header = Header(hdus[0].header)
    flux = _flux(hdus[0].data, path)
    wave = _axis(header, flux.size, path)
    notes: list[str] = []
    mask = ~np.isfinite(flux) | _gaps(flux)
    instrument = from_header(header, path) if "INSTRUME" in header else None
    if "DOPCOR01" in header:
        notes.append(f"wavelengths were already Doppler-corrected ({header['DOPCOR01']})")
    if instrument is None:
        notes.append(
            "no INSTRUME card: air wavelengths at rest or barycentric and a resolving power of "
            f"{ASSUMED_RESOLUTION:.0f} assumed"
        )
    cards = Cards({}, {}, path)
    if instrument is not None:
        cards = Cards.of(header, instrument, "old", path)
    snr_orders = () if instrument is None else cards.snr(instrument.n_orders)
    if instrument is not None and snr_orders:
        sigma = _header_noise(wave, flux, mask, snr_orders, cards, instrument)
        notes.append("errors from the signal to noise of the orders in the header")
    else:
        sigma = scatter_noise(flux, mask)
        notes.append("errors estimated from the scatter between pixels")
    snr = canonical_snr(snr_orders, instrument) if instrument is not None else np.nan
    observation = Observation(
        file=path,
        target=cards.text("target") or str(header.get("OBJECT", "")),
        instrument="" if instrument is None else instrument.name,
        product="s1d",
        bjd=cards.number("bjd"),
        berv=cards.number("berv"),
        snr=snr if np.isfinite(snr) else measured_snr(wave, flux, sigma, mask),
        snr_orders=snr_orders,
        rv_header=np.nan,
        rv_header_err=np.nan,
        blaze="pipeline",
        resolution=ASSUMED_RESOLUTION if instrument is None else instrument.resolution,
        notes=tuple(notes),
        frame="rest" if "DOPCOR01" in header
        else "unknown" if instrument is None else "barycentric",
    )
    return reading(wave, flux, sigma, mask, hdus[0].header, observation)


def read_s1d_table(hdus: fits.HDUList, path: str) -> Reading:
    """Read an ``S1D`` table of the new DRS: wavelength, flux, error and quality.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    path : str
        Its path, for messages.

    Raises
    ------
    ReadError
        No table, a column is missing, or no usable pixel.
    UnknownInstrumentError
        An instrument without a description.
    """
    header = Header(hdus[0].header)
    instrument = from_header(header, path)
    cards = Cards.of(header, instrument, "new", path)
    columns = _columns(hdus, path)
    notes: list[str] = []
    wave = columns.get("wavelength_air")
    wave = air(columns["wavelength"]) if wave is None else wave
    flux, sigma = columns["flux"], columns["error"]
    mask = ~np.isfinite(flux) | _gaps(flux)
    if "quality" in columns:
        mask |= columns["quality"] != 0
    else:
        notes.append("no quality column: bad pixels are not known")
    if not np.all(np.diff(wave) > 0):
        raise ReadError("wavelengths that do not rise", expected="an S1D table", path=path)
    snr = measured_snr(wave, flux, sigma, mask)
    observation = new_observation(cards, "S1D", "pipeline", snr, notes)
    return reading(wave, flux, sigma, mask, hdus[0].header, observation)


def scatter_noise(flux: Array, mask: Mask, block: int = 512) -> Array:
    """Error of one pixel from fourth differences, which smooth lines hardly enter.

    Like DER_SNR (Stoehr et al. 2008, ADASS XVII) one order higher, in blocks, with photon-like
    scaling inside each. Interpolation onto a finer grid smooths the noise; the factor 2.4 makes
    the result that of one extracted pixel. It was measured on HARPS s1d of signal to noise 30 to
    320, where the header's own value is known, and is pessimistic for uncorrelated noise.

    Parameters
    ----------
    flux : ndarray (n,)
        Flux, finite where not masked.
    mask : ndarray of bool (n,)
        True for bad pixels.

    Returns
    -------
    ndarray (n,)
        Standard deviations; nan where the spectrum is too short or has no signal.
    """
    n_blocks = max(1, flux.size // block)
    y = np.where(mask, np.nan, flux)
    difference = np.full(flux.size, np.nan)
    if flux.size > 4:
        difference[2:-2] = y[4:] - 4 * y[3:-1] + 6 * y[2:-2] - 4 * y[1:-3] + y[:-4]
    sigma = np.full(flux.size, np.nan)
    for part in np.array_split(np.arange(flux.size), n_blocks):
        values = difference[part]
        values = values[np.isfinite(values)]
        if values.size < 20:
            continue
        noise = 2.4 * MAD_TO_SIGMA * np.median(np.abs(values)) / np.sqrt(70.0)
        level = np.nanmedian(y[part])
        # Between pure read noise (constant) and pure photon noise; never below a tenth.
        share = np.clip(y[part] / level, 0.1, None) if level > 0 else 1.0
        sigma[part] = noise * np.sqrt(share)
    return sigma


def _header_noise(
    wave: Array,
    flux: Array,
    mask: Mask,
    snr_orders: tuple[float, ...],
    cards: Cards,
    instrument: Instrument,
) -> Array:
    """Photon and read noise that give the header's signal to noise at the continuum."""
    rows = np.arange(min(len(snr_orders), instrument.n_orders))
    centres = _ORDER_CONSTANT / instrument.order_m[rows]
    values = np.asarray(snr_orders)[rows]
    good = np.isfinite(values) & (values > 0)
    if not good.any():
        return scatter_noise(flux, mask)
    snr = np.interp(wave, centres[good], values[good])
    read = instrument.extraction_pixels * cards.number("read_noise", instrument.read_noise) ** 2
    # snr² = E² / (E + read) solved for the continuum's electrons E.
    electrons = 0.5 * (snr**2 + np.sqrt(snr**4 + 4 * snr**2 * read))
    continuum = _continuum_level(flux, mask)
    gain = electrons / np.where(continuum > 0, continuum, np.nan)
    sigma: Array = np.sqrt(np.maximum(np.where(mask, 0.0, flux) * gain, 0.0) + read) / gain
    return sigma


def _continuum_level(flux: Array, mask: Mask, block: int = 64) -> Array:
    """Level that few pixels of some 1600 exceed, smooth, shape (n,)."""
    block = min(block, flux.size)
    n_blocks = flux.size // block
    y = np.where(mask, -np.inf, flux)[: n_blocks * block].reshape(n_blocks, block)
    count = np.isfinite(y).sum(axis=1)
    index = block - 1 - np.rint(0.1 * count).astype(int)
    high = np.take_along_axis(np.sort(y, axis=1), index[:, None], axis=1)[:, 0]
    known = np.isfinite(high)
    if not known.any():
        return np.full(flux.size, np.nan)
    blocks = np.arange(n_blocks)
    level = np.interp(blocks, blocks[known], high[known])
    level = percentile_filter(level, 80, size=min(25, n_blocks), mode="nearest")
    return np.interp(np.arange(flux.size), (blocks + 0.5) * block, level)


def _flux(data: Any, path: str) -> Array:
    if data is None or data.ndim != 1 or data.size < _MIN_PIXELS:
        shape = "no image" if data is None else f"an image of shape {data.shape}"
        raise ReadError(
            f"{shape} in the primary HDU", expected="a one-dimensional spectrum", path=path
        )
    return np.asarray(data, dtype=float)


def _axis(header: Mapping[str, Any], size: int, path: str) -> Array:
    """Air wavelengths [Å] from the WCS cards."""
    start = number(header.get("CRVAL1"))
    step = number(header.get("CDELT1", header.get("CD1_1")))
    reference = number(header.get("CRPIX1", 1.0))
    wave = np.asarray(start, dtype=float) + step * (np.arange(size) + 1.0 - reference)
    logarithmic = str(header.get("DC-FLAG", "0")).strip() == "1"
    if logarithmic:
        with np.errstate(over="ignore"):
            wave = 10.0**wave
    wave = wave * _unit(header)
    if not (np.isfinite(wave).all() and step > 0 and wave[0] > 1000 and wave[-1] < 30000):
        raise ReadError(
            f"no wavelength axis (CRVAL1 = {header.get('CRVAL1')}, CDELT1 = "
            f"{header.get('CDELT1')}, CRPIX1 = {header.get('CRPIX1')}, "
            f"CTYPE1 = {header.get('CTYPE1')!r})",
            expected="rising optical wavelengths",
            path=path,
        )
    # FITS WCS paper III: WAVE is vacuum, AWAV air; the DRS and IRAF write a unit, and mean air.
    return air(wave) if str(header.get("CTYPE1", "")).strip().upper() == "WAVE" else wave


def _unit(header: Mapping[str, Any]) -> float:
    """Å in the unit of the axis; Å where the header names none."""
    for name in ("CUNIT1", "CTYPE1"):
        text = str(header.get(name, "")).strip()
        for candidate in (text, text.lower(), text.capitalize()):
            try:
                return float(u.Unit(candidate).to(u.AA)) if candidate else 1.0
            except (ValueError, TypeError, u.UnitConversionError):
                continue
    return 1.0


def _gaps(flux: Array) -> Mask:
    """Pixels that were never measured: exact zeros, and the pixels next to a run of them."""
    zero = flux == 0
    run = np.convolve(zero, np.ones(_GAP_EDGE), "same") >= _GAP_EDGE
    return zero | binary_dilation(run, iterations=2 * _GAP_EDGE)


def _columns(hdus: fits.HDUList, path: str) -> dict[str, Array]:
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    names = [name.lower() for name in tables[0].columns.names] if tables else []
    missing = {"flux", "error"} - set(names)
    if not {"wavelength", "wavelength_air"} & set(names):
        missing.add("wavelength")
    if missing:
        raise ReadError(
            f"no column {', '.join(sorted(missing))} in the first table"
            if tables
            else "no table in the file",
            expected="columns wavelength, wavelength_air, flux, error, quality",
            path=path,
        )
    wanted = ("wavelength", "wavelength_air", "flux", "error", "quality")
    table = tables[0]
    columns = {}
    for name in wanted:
        if name in names:
            column = table.columns[names.index(name)]
            values = np.asarray(table.data[column.name], dtype=float).ravel()
            columns[name] = values * _table_unit(column.unit, name)
    sizes = {values.size for values in columns.values()}
    if len(sizes) > 1 or min(sizes) < _MIN_PIXELS:
        raise ReadError(
            f"columns of {', '.join(map(str, sorted(sizes)))} values",
            expected=f"columns of the same length, at least {_MIN_PIXELS}",
            path=path,
        )
    return columns


def _table_unit(unit: str | None, name: str) -> float:
    if not name.startswith("wavelength") or not unit:
        return 1.0
    return _unit({"CUNIT1": unit})
