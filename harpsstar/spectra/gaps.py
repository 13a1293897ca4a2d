"""Gaps of a spectrum with one wavelength axis: where they are, and what their edges spoil."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: So many missing pixels in a row are a gap; fewer are single bad pixels.
GAP = 5
#: Pixels over which the usual step of the wavelengths is found.
_STEPS = 101
#: Beside a gap, flux below this share of the level nearby is what is left of a pixel, not a line.
_LOW = 0.5
#: Wavelengths over which the level beside a gap is found, Å, and the share of pixels below it.
_NEAR, _LEVEL = 5.0, 0.9


def gap_ends(wave: FloatArray) -> npt.NDArray[np.int_]:
    """Return the indices i for which a gap lies between pixels i and i + 1.

    Parameters
    ----------
    wave : ndarray (n,)
        Increasing wavelengths, of the usable pixels or of all that there are.
    """
    if wave.size < 2:
        return np.zeros(0, dtype=int)
    # scipy takes its time, and choosing files needs none of this.
    from scipy.ndimage import median_filter

    steps = np.diff(wave)
    usual = median_filter(steps, min(_STEPS, steps.size), mode="nearest")
    return np.flatnonzero(steps > (GAP + 0.5) * usual)


def split_at_gaps(
    wave: FloatArray, flux: FloatArray, ivar: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Put an unusable pixel at both ends of a gap whose pixels were left out of the arrays.

    Without them, interpolation would take the pixels on both sides for neighbours.

    Parameters
    ----------
    wave, flux, ivar : ndarray (n,)
        Increasing wavelengths, flux and its inverse variance.
    """
    ends = gap_ends(wave)
    places = np.repeat(ends + 1, 2)
    left = wave[ends] + (wave[ends] - wave[np.maximum(ends - 1, 0)])
    after = np.minimum(ends + 2, wave.size - 1)
    right = wave[ends + 1] - (wave[after] - wave[ends + 1])
    # Where the neighbouring step is a gap itself, or there is none, the middle will do.
    middle = 0.5 * (wave[ends] + wave[ends + 1])
    third = (wave[ends + 1] - wave[ends]) / 3
    left = np.where((left > wave[ends]) & (left < middle), left, wave[ends] + third)
    right = np.where((right < wave[ends + 1]) & (right > middle), right, wave[ends + 1] - third)
    added = np.stack([left, right], axis=1).ravel()
    return (np.insert(wave, places, added), np.insert(flux, places, 0.0),
            np.insert(ivar, places, 0.0))  # fmt: skip


def spoilt_edges(wave: FloatArray, flux: FloatArray, usable: Mask) -> Mask:
    """Find the pixels beside gaps in which the flux has not come up yet.

    A merged spectrum falls to zero over a few pixels at the edge of a gap. These pixels go, from
    the edge to the first with half the flux nearby, and as many again: a straight slope has then
    reached the top. Beside gaps without such a slope nothing is left out.

    Parameters
    ----------
    wave, flux : ndarray (n,)
        Increasing wavelengths, and flux.
    usable : ndarray of bool (n,)
        Pixels that count; whether a gap's pixels are there or were left out makes no difference.

    Returns
    -------
    ndarray of bool (n,)
    """
    index = np.flatnonzero(usable)
    spoilt = np.zeros(flux.shape, dtype=bool)
    if not index.size:
        return spoilt
    x, y = wave[index], flux[index]
    ends = gap_ends(x)
    first = np.concatenate([[0], ends + 1])
    last = np.concatenate([ends, [x.size - 1]])
    for start, stop in zip(first, last, strict=True):
        near = min(int(np.searchsorted(x, x[start] + _NEAR, side="right")), stop + 1)
        far = max(int(np.searchsorted(x, x[stop] - _NEAR, side="left")), start)
        spoilt[index[start : start + _slope(y[start:near])]] = True
        spoilt[index[stop + 1 - _slope(y[far : stop + 1][::-1]) : stop + 1]] = True
    return spoilt


def _slope(flux: FloatArray) -> int:
    """Pixels from the edge on, which comes first, that belong to a slope."""
    high = flux >= _LOW * np.quantile(flux, _LEVEL)
    low = int(np.argmax(high)) if high.any() else flux.size
    return min(2 * low, flux.size)
