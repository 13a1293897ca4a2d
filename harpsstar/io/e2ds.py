"""Reader of old-DRS ``e2ds`` frames (HARPS-N and HARPS): extracted orders in electrons."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.polynomial import polynomial

from harpsstar.errors import ReadError
from harpsstar.instruments import Instrument, from_header
from harpsstar.io.blaze import FLOOR, estimate_blaze, find_blaze
from harpsstar.io.build import (
    Array,
    Mask,
    Reading,
    barycentric_factor,
    measured_snr,
    note_clipped,
    note_dark,
    reading,
)
from harpsstar.io.cards import ReadableCards
from harpsstar.io.headers import Cards, canonical_snr
from harpsstar.io.observation import Observation

#: Pixels of the shortest order that is one.
MIN_PIXELS = 1000
#: The Earth does not move faster [km/s].
_MAX_BERV = 40.0
# Sigmas of read noise below zero beyond which a pixel is no measurement.
_MAX_BELOW_ZERO = 8.0

__all__ = ["read_e2ds", "remove_blaze", "wavelengths"]


def read_e2ds(
    hdus: fits.HDUList, path: str, blaze_dir: str | os.PathLike[str] | None = None
) -> Reading:
    """Read an ``e2ds`` frame: wavelengths, noise, blaze and pixel width as the contract of `read`.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    path : str
        Its path, for the blaze file and for messages.
    blaze_dir : path, optional
        Folder with blaze files, searched before the file's own.

    Raises
    ------
    ReadError
        No image, no wavelength polynomial, or nothing but zeros.
    UnknownInstrumentError
        An instrument without a description.
    """
    header = ReadableCards(hdus[0].header)
    instrument = from_header(header, path)
    cards = Cards.of(header, instrument, "old", path)
    electrons = _image(hdus, instrument, path)
    wave, width = wavelengths(cards, electrons.shape)

    notes: list[str] = []
    berv = cards.number("berv")
    frame = "barycentric"
    if abs(berv) < _MAX_BERV:
        factor = barycentric_factor(berv)
        wave, width = wave * factor, width * factor
    else:
        frame = "topocentric"
        notes.append("no usable BERV card: wavelengths are topocentric and the star's "
                     "velocity is unknown")  # fmt: skip

    variance = _variance(electrons, cards, instrument)
    mask = _bad_pixels(electrons, variance, instrument, notes)
    clipped = note_clipped(electrons, mask, notes)
    mask |= clipped
    note_dark(mask, wave, notes)
    blaze, origin = remove_blaze(
        cards.text("blaze"), electrons / width, mask, wave, path, blaze_dir, notes
    )
    mask = mask | (blaze <= FLOOR * blaze.max(axis=1, keepdims=True))
    scale = np.where(mask, 1.0, blaze) * width
    flux, sigma = electrons / scale, np.sqrt(variance) / scale

    snr_orders = cards.snr(len(electrons))
    snr = canonical_snr(snr_orders, instrument)
    rv = cards.number("rv")
    observation = Observation(
        file=path,
        target=cards.text("target"),
        instrument=instrument.name,
        product="e2ds",
        bjd=cards.number("bjd"),
        berv=berv,
        snr=snr if np.isfinite(snr) else measured_snr(wave, flux, sigma, mask),
        snr_orders=snr_orders,
        rv_header=rv,
        rv_header_err=cards.number("rv_err") / 1000.0 if np.isfinite(rv) else np.nan,
        blaze=origin,
        resolution=instrument.resolution,
        clipped=float(clipped.mean()),
        notes=tuple(notes),
        frame=frame,
    )
    return reading(wave, flux, sigma, mask, hdus[0].header, observation)


def wavelengths(cards: Cards, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Wavelengths from the polynomial cards of the old DRS.

    λ(x) = Σ_i LL[i + o (d + 1)] x^i, with d the degree, o the row, x the 0-based pixel.

    Parameters
    ----------
    cards : Cards
        A header with ``CAL TH DEG LL`` and ``CAL TH COEFF LLn``.
    shape : (int, int)
        Rows and pixels.

    Returns
    -------
    wave, width : ndarray (n_orders, n_pixels)
        Air wavelength at the observatory and dλ/dx [Å].

    Raises
    ------
    ReadError
        Cards missing, or wavelengths that do not rise or are not optical.
    """
    n_orders, n_pixels = shape
    degree = int(cards.required("degree", "degree of the wavelength polynomials"))
    if not 0 < degree < 20:
        raise ReadError(
            f"wavelength polynomials of degree {degree}", expected="degree 3", path=cards.path
        )
    count = n_orders * (degree + 1)
    what = "coefficient of a wavelength polynomial"
    flat = [cards.required("coefficient", what, index=i) for i in range(count)]
    coefficients = np.reshape(flat, (n_orders, degree + 1)).T
    x = np.arange(n_pixels, dtype=float)
    wave = polynomial.polyval(x, coefficients)
    width = polynomial.polyval(x, polynomial.polyder(coefficients))
    if not (np.all(width > 0) and wave.min() > 2000 and wave.max() < 20000):
        raise ReadError(
            f"wavelengths from {wave.min():.0f} to {wave.max():.0f} Å, not all increasing",
            expected="optical wavelengths that increase along each order",
            hint="the polynomial cards are damaged; fetch the product again",
            path=cards.path,
        )
    return wave, width


def remove_blaze(
    name: str,
    density: Array,
    mask: Mask,
    wave: Array,
    path: str,
    blaze_dir: str | os.PathLike[str] | None,
    notes: list[str],
) -> tuple[Array, str]:
    """Find the blaze by its file name or estimate it, noting which.

    Parameters
    ----------
    name : str
        File name from the header.
    density : ndarray (n_orders, n_pixels)
        Flux per Å with its blaze.
    mask : ndarray of bool (n_orders, n_pixels)
        True for bad pixels.
    wave : ndarray (n_orders, n_pixels)
        Wavelengths.
    path, blaze_dir
        Where to look.
    notes : list of str
        Extended with a note when the blaze is estimated.

    Returns
    -------
    blaze : ndarray (n_orders, n_pixels)
        Finite, zero where unknown.
    origin : str
        ``"file NAME"`` or ``"estimated"``.
    """
    shape = (density.shape[0], density.shape[1])
    blaze, reason = find_blaze(name, shape, path, blaze_dir)
    if blaze is not None:
        return np.nan_to_num(blaze, nan=0.0, posinf=0.0, neginf=0.0), f"file {name}"
    notes.append(f"blaze estimated from the spectrum: {reason}")
    return estimate_blaze(density, ~mask, wave), "estimated"


def _image(hdus: fits.HDUList, instrument: Instrument, path: str) -> Array:
    data: Any = hdus[0].data
    if data is None or data.ndim != 2 or data.shape[1] < MIN_PIXELS:
        shape = "no image" if data is None else f"an image of shape {data.shape}"
        raise ReadError(
            f"{shape} in the primary HDU",
            expected=f"{instrument.n_orders} orders of {instrument.n_pixels} pixels",
            path=path,
        )
    return np.asarray(data, dtype=float)


def _bad_pixels(
    electrons: Array, variance: Array, instrument: Instrument, notes: list[str]
) -> Mask:
    """Not finite, exactly zero (never a measurement), saturated, or below zero beyond the noise."""
    finite = np.isfinite(electrons)
    # Without photons such a pixel has the smallest variance of all: it would outweigh the others.
    negative = finite & (np.where(finite, electrons, 0.0) < -_MAX_BELOW_ZERO * np.sqrt(variance))
    saturated = finite & (np.where(finite, electrons, 0.0) > instrument.saturation)
    bad = ~finite | (electrons == 0)
    if saturated.any():
        notes.append(f"{int(saturated.sum())} saturated pixels left out")
    if negative.any():
        notes.append(f"{int(negative.sum())} pixels far below zero left out")
    return bad | saturated | negative


def _variance(electrons: Array, cards: Cards, instrument: Instrument) -> Array:
    """Photon and read noise [electrons²].

    The optimal extraction (Horne 1986) weights raw pixels by the profile p, so that the read noise
    of 1/Σp² of them enters; for the fibre's profile that is six, as the header's own signal to
    noise ratios confirm.
    """
    read_noise = cards.number("read_noise", instrument.read_noise)
    photons = np.maximum(np.nan_to_num(electrons, nan=0.0), 0.0)
    variance: Array = photons + instrument.extraction_pixels * read_noise**2
    return variance
