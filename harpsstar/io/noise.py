"""Errors of spectra whose files hold none: from the scatter of pixels, or from a header."""

from __future__ import annotations

import numpy as np

from harpsstar.instruments import Instrument
from harpsstar.io.build import Array, Mask
from harpsstar.io.headers import Cards
from harpsstar.spectra.noise import MAD_TO_SIGMA

__all__ = ["header_noise", "scatter_noise"]


def scatter_noise(
    flux: Array, mask: Mask, block: int = 512, *, resampled: bool = True
) -> Array:
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
    block : int
        Pixels of a block.
    resampled : bool
        Whether pixels were interpolated; those of extracted orders were not.

    Returns
    -------
    ndarray (n,)
        Standard deviations; nan where the spectrum is too short or has no signal.
    """
    factor = 2.4 if resampled else 1.0
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
        noise = factor * MAD_TO_SIGMA * np.median(np.abs(values)) / np.sqrt(70.0)
        level = np.nanmedian(y[part])
        # Between pure read noise (constant) and pure photon noise; never below a tenth.
        share = np.clip(y[part] / level, 0.1, None) if level > 0 else 1.0
        sigma[part] = noise * np.sqrt(share)
    return sigma


def header_noise(
    wave: Array,
    flux: Array,
    mask: Mask,
    snr_orders: tuple[float, ...],
    cards: Cards,
    instrument: Instrument,
) -> Array:
    """Photon and read noise that give the header's signal to noise at the continuum."""
    rows = np.arange(min(len(snr_orders), instrument.n_orders))
    centres = instrument.blaze_constant / instrument.order_m[rows]
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
    from scipy.ndimage import percentile_filter

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
