"""Noise: what a spectrum's weights say, and pixels that the noise cannot explain."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.constants import MAD_TO_SIGMA

#: How far the disturbance of a cosmic-ray hit reaches after resampling, pixels.
_REACH = 2


def snr_per_pixel(flux: npt.ArrayLike, ivar: npt.ArrayLike) -> float:
    """Signal-to-noise ratio per pixel: the median over rows of each row's median.

    Parameters
    ----------
    flux, ivar : array (n, m)
        Flux and inverse variance; pixels with ``ivar`` 0 do not count.

    Returns
    -------
    float
        NaN where no pixel is usable.
    """
    flux, ivar = np.atleast_2d(flux), np.atleast_2d(ivar)
    rows = [
        float(np.median(f[w > 0] * np.sqrt(w[w > 0])))
        for f, w in zip(flux, ivar, strict=True)
        if np.any(w > 0)
    ]
    return float(np.median(rows)) if rows else float("nan")


def ivar_from_flux(flux: npt.NDArray[Any], usable: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Inverse variance of a spectrum that comes without errors, one value per row.

    The noise is the robust scatter of fourth differences: DER_SNR (Stoehr et al. 2008, ASP Conf.
    Ser. 394, 505) one order higher, since lines of high signal-to-noise enter second differences.
    Pixels that an earlier resampling has correlated make the result optimistic.

    Parameters
    ----------
    flux : ndarray (n, m)
    usable : ndarray (n, m) of bool

    Returns
    -------
    ndarray (n, m)
        0 where ``usable`` is false or a row has too few pixels to tell.
    """
    ivar = np.zeros(flux.shape)
    values = np.where(usable, flux, 0.0)
    difference = np.abs(np.diff(values, n=4, axis=1))
    windows = np.lib.stride_tricks.sliding_window_view(usable, 5, axis=1)
    known = np.asarray(windows.all(axis=-1))
    for row, good in enumerate(known):
        if np.count_nonzero(good) > 10:
            # 1 + 16 + 36 + 16 + 1 = 70 times the variance of a pixel.
            sigma = MAD_TO_SIGMA / np.sqrt(70.0) * np.median(difference[row, good])
            # A noise-free model spectrum still needs a finite weight.
            floor = 1e-4 * np.median(np.abs(values[row][usable[row]]))
            ivar[row] = 1.0 / max(sigma, floor, np.finfo(float).tiny) ** 2
    return np.where(usable, ivar, 0.0)


def plateaus(
    flux: npt.NDArray[Any], usable: npt.NDArray[np.bool_], shortest: int
) -> npt.NDArray[np.bool_]:
    """Pixels that lie in runs with exactly one value: something has clipped the spectrum.

    Noise makes hardly two neighbours the same.

    Parameters
    ----------
    flux, usable : ndarray (n, m)
    shortest : int
        Pixels of a run.

    Returns
    -------
    ndarray of bool (n, m)
    """
    left, right = flux[:, :-1], flux[:, 1:]
    same = (right == left) & usable[:, :-1] & usable[:, 1:]
    inside = np.zeros(flux.shape, dtype=bool)
    for row in np.flatnonzero(np.count_nonzero(same, axis=1) >= shortest - 1):
        edges = np.flatnonzero(np.diff(same[row], prepend=False, append=False))
        for first, last in edges.reshape(-1, 2):
            inside[row, first : last + 1] = last - first >= shortest - 1
    return inside


def level_and_scatter(
    curves: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Median along the last axis, and robust scatter about it but at least 1, both (…, 1).

    Parameters
    ----------
    curves : ndarray (…, n)
        In units of their errors.
    """
    level = np.median(curves, axis=-1, keepdims=True)
    scatter = MAD_TO_SIGMA * np.median(np.abs(curves - level), axis=-1, keepdims=True)
    return level, np.maximum(scatter, 1.0)


def clip_cosmics(
    flux: npt.NDArray[Any],
    ivar: npt.NDArray[Any],
    model: npt.NDArray[Any],
    sigma: float = 6.0,
) -> tuple[npt.NDArray[Any], int]:
    """Take the weight from pixels that stand too far above the model.

    A pixel goes when ``flux − model > sigma · max(noise, 3 · excess)``, where the excess of a row
    is its robust scatter about the model beyond the noise: a model that does not fit must not
    make cosmics of ordinary lines. Neighbours within two pixels go too, since resampling has
    spread the hit.

    Parameters
    ----------
    flux, ivar, model : ndarray (n, m)
        In the same units; normalised flux in the usual case.
    sigma : float
        Threshold.

    Returns
    -------
    ivar : ndarray (n, m)
        A copy, zero at the pixels that were clipped.
    count : int
        Pixels above the threshold (without neighbours).
    """
    usable = ivar > 0
    with np.errstate(divide="ignore"):
        noise = 1.0 / np.sqrt(ivar)
    residual = np.where(usable, flux - model, 0.0)
    # What is no outlier of its row by the smallest threshold there can be is none.
    rows = np.flatnonzero((residual > sigma * noise).any(axis=1))
    outlier = np.zeros(flux.shape, dtype=bool)
    for row in rows:
        good = usable[row]
        r, s = residual[row][good], noise[row][good]
        scatter = MAD_TO_SIGMA * float(np.median(np.abs(r - np.median(r))))
        excess = np.sqrt(max(scatter**2 - float(np.median(s)) ** 2, 0.0))
        outlier[row] = residual[row] > sigma * np.maximum(noise[row], 3.0 * excess)
    if not outlier.any():
        return ivar.copy(), 0
    hit = outlier.copy()
    for shift in range(1, _REACH + 1):
        hit[:, shift:] |= outlier[:, :-shift]
        hit[:, :-shift] |= outlier[:, shift:]
    return np.where(hit, 0.0, ivar).astype(ivar.dtype), int(np.count_nonzero(outlier))
