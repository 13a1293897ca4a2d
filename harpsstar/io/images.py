"""Reader of spectra in FITS images: s1d of the old DRS, co-adds, IRAF's one and many apertures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from astropy.io import fits

from harpsstar.errors import ReadError
from harpsstar.io.axis import in_angstrom, is_wavelength_axis, linear_axis
from harpsstar.io.blaze import estimate_blaze
from harpsstar.io.build import Array, Mask, Reading
from harpsstar.io.cards import ReadableCards
from harpsstar.io.given import Given
from harpsstar.io.iraf import is_multispec, multispec_wavelengths
from harpsstar.io.plain import MIN_PIXELS, facts_of, plain_reading

__all__ = ["read_image", "spectrum_hdu"]

#: An order whose edges are at less than this part of its middle has its blaze in it.
_FLAT = 0.7
#: Orders from which a blaze can be estimated.
_LEAST_ORDERS = 5


def spectrum_hdu(hdus: fits.HDUList) -> Any:
    """The first HDU with an image that has wavelengths; the primary one if there is none."""
    for hdu in hdus:
        if hdu.is_image and hdu.header.get("NAXIS", 0) and is_wavelength_axis(
            ReadableCards(hdu.header)
        ):
            return hdu
    return hdus[0]


def read_image(hdus: fits.HDUList, path: str, given: Given, *, product: str) -> Reading:
    """Read a spectrum from an image with a wavelength axis in its header.

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
    given : Given
        What the user says.
    product : {"s1d", "image", "multispec"}

    Raises
    ------
    ReadError
        No image, an axis that is no wavelength, or no usable pixel.
    """
    hdu = spectrum_hdu(hdus)
    header = ReadableCards(hdu.header)
    flux, sigma = _flux(hdu.data, header, path)
    said = facts_of(ReadableCards(hdus[0].header, header), product, path)
    if product == "s1d":
        said = replace(said, medium="air", frame=said.frame or "barycentric", blaze="pipeline")
    if is_multispec(header):
        values, unit = multispec_wavelengths(header, len(np.atleast_2d(flux)), flux.shape[-1], path)
        wave, note = in_angstrom(values.reshape(flux.shape), unit)
        medium, notes = "", [note] if note else []
    else:
        wave, medium, notes = linear_axis(header, flux.shape[-1], path)
        wave = np.broadcast_to(wave, flux.shape).copy()
    said = replace(said, medium=medium or said.medium, notes=(*said.notes, *notes))
    mask = np.zeros(flux.shape, dtype=bool)
    if flux.ndim == 2:
        wave, flux, sigma, mask, blaze = _orders(wave, flux, sigma)
        said = replace(said, blaze=blaze)
    return plain_reading(wave, flux, sigma, mask, hdus[0].header, said, given)


def _flux(data: Any, header: Any, path: str) -> tuple[Array, Array | None]:
    """Flux (n,) or (orders, n), and errors where a band of IRAF's apall holds them."""
    found = "no image" if data is None else f"an image of shape {data.shape}"
    sigma = None
    if data is not None and data.ndim == 3:
        # IRAF's apall: bands (spectrum, background, sigma …) by apertures by pixels.
        names = [str(header.get(f"BANDID{i + 1}", "")).lower() for i in range(len(data))]
        errors = [i for i, name in enumerate(names) if "sigma" in name]
        sigma = np.asarray(data[errors[0]], dtype=float) if errors else None
        data = data[0]
    if data is not None and data.ndim == 2 and data.shape[0] == 1:
        data, sigma = data[0], None if sigma is None else sigma[0]
    if data is None or data.ndim not in (1, 2) or data.shape[-1] < MIN_PIXELS:
        raise ReadError(f"{found} in the primary HDU", expected="a one-dimensional spectrum",
                        path=path)  # fmt: skip
    return np.asarray(data, dtype=float), sigma


def _orders(
    wave: Array, flux: Array, sigma: Array | None
) -> tuple[Array, Array, Array | None, Mask, str]:
    """Orders with rising wavelengths and without their blaze, if they have one."""
    falling = wave[:, 0] > wave[:, -1]
    wave, flux = _flipped(wave, falling), _flipped(flux, falling)
    sigma = None if sigma is None else _flipped(sigma, falling)
    rows = np.argsort(wave[:, wave.shape[1] // 2])
    wave, flux = wave[rows], flux[rows]
    sigma = None if sigma is None else sigma[rows]
    mask = ~np.isfinite(flux) | (flux == 0)
    if len(flux) < _LEAST_ORDERS:
        return wave, flux, sigma, mask, "none"
    width = np.gradient(wave, axis=1)
    blaze = estimate_blaze(np.where(mask, 0.0, flux) / width, ~mask, wave)
    edge = max(1, flux.shape[1] // 10)
    ends = np.minimum(blaze[:, :edge].mean(axis=1), blaze[:, -edge:].mean(axis=1))
    if np.median(ends) > _FLAT:
        return wave, flux, sigma, mask, "none"
    scale = np.maximum(blaze, 1e-3) * width
    return wave, flux / scale, None if sigma is None else sigma / scale, mask, "estimated"


def _flipped(values: Array, falling: Any) -> Array:
    return np.where(falling[:, None], values[:, ::-1], values)
