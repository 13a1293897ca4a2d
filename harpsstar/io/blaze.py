"""The blaze of an échelle order: from the calibration file, or from the spectrum itself."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from numpy.polynomial import legendre

from harpsstar.constants import MAD_TO_SIGMA
from harpsstar.errors import ConfigError, ReadError
from harpsstar.io.files import open_fits

__all__ = ["check_blaze_dir", "estimate_blaze", "find_blaze"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Below this part of an order's maximum the blaze says nothing about the star.
FLOOR = 0.02
_BLOCKS, _CELLS = 64, 8
_DEGREE = 6
_NEIGHBOURS = 4


def check_blaze_dir(blaze_dir: str | os.PathLike[str] | None) -> None:
    """Refuse a folder for blaze files that does not exist.

    Raises
    ------
    ConfigError
        There is no such folder.
    """
    if blaze_dir is not None and not Path(blaze_dir).is_dir():
        raise ConfigError("no such folder for blaze files", expected="an existing folder",
                          hint="check the spelling of blaze_dir (--blaze-dir)",
                          path=os.fspath(blaze_dir))  # fmt: skip


def find_blaze(
    name: str, shape: tuple[int, int], path: str, blaze_dir: str | os.PathLike[str] | None = None
) -> tuple[Array | None, str]:
    """Look for a blaze file by the name that a header gives.

    Parameters
    ----------
    name : str
        File name from the header; anything before the last slash is ignored.
    shape : (int, int)
        Rows and pixels of the spectrum.
    path : str
        The spectrum's path; its folder is searched, after ``blaze_dir``.
    blaze_dir : path, optional
        Folder with calibration files.

    Returns
    -------
    blaze : ndarray (n_orders, n_pixels) or None
        None where there is no usable file.
    reason : str
        Why there is none, for a note; empty when there is one.
    """
    name = name.replace("\\", "/").rpartition("/")[2]
    if not name:
        return None, "the header names no blaze file"
    folders = [Path(blaze_dir)] if blaze_dir is not None else []
    folders += [Path(path).parent] if path else []
    for folder in folders:
        for candidate in _spellings(name):
            file = folder / candidate
            if file.is_file():
                return _load_checked(file, shape)
    return None, f"{name} was not found"


def _spellings(name: str) -> list[str]:
    """Archives and file systems replace the colons of a time and compress."""
    stem = name.removesuffix(".gz")
    plain = [stem, stem.replace(":", "-"), stem.replace(":", "_")]
    return [text + ending for text in dict.fromkeys(plain) for ending in ("", ".gz")]


def _load_checked(file: Path, shape: tuple[int, int]) -> tuple[Array | None, str]:
    state = file.stat()
    try:
        blaze = _load(str(file), state.st_mtime_ns, state.st_size)
    except ReadError as error:
        return None, f"{file.name} cannot be used ({error.found})"
    if blaze.shape != shape:
        return None, f"{file.name} has the shape {blaze.shape} instead of {shape}"
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.nan_to_num(blaze, nan=0.0, posinf=0.0, neginf=0.0)
        good = (level > 0) & (level > FLOOR * level.max(axis=1, keepdims=True))
        jumps = np.abs(np.diff(level, axis=1)) / np.abs(level[:, 1:])
    rows = good.mean(axis=1) > 0.5
    if rows.mean() < 0.5:
        return None, f"{file.name} looks wrong (most of its pixels are not positive)"
    # The pixels of a lamp's order follow each other within a per cent; those of a star do not.
    if np.nanmedian(jumps[rows]) > 0.1:
        return None, f"{file.name} looks wrong (not smooth)"
    return blaze, ""


@lru_cache(maxsize=8)
def _load(file: str, mtime: int, size: int) -> Array:
    """Read the first image of a file; the unused arguments make a changed file a new one."""
    with open_fits(file) as hdus:
        for hdu in hdus:
            if hdu.is_image and hdu.header.get("NAXIS") == 2:
                blaze = np.array(hdu.data, dtype=float)
                blaze.flags.writeable = False
                return blaze
    raise ReadError("no two-dimensional image", expected="a blaze frame", path=file)


def estimate_blaze(density: Array, usable: Mask, wave: Array) -> Array:
    """Blaze from the orders' own upper envelopes and overlaps.

    Neighbouring orders have the same blaze as a function of pixel to a few per cent, so the median
    over nine of them bridges broad lines. The star's own slope is in every envelope too; what
    tells it from the blaze is that two orders must agree where they overlap. What remains of the
    star's continuum is a smooth factor, which the continuum fit takes up.

    Parameters
    ----------
    density : ndarray (n_orders, n_pixels)
        Flux per wavelength with its blaze.
    usable : ndarray of bool (n_orders, n_pixels)
        False for pixels to be left out.
    wave : ndarray (n_orders, n_pixels)
        Wavelengths, rising along each order.

    Returns
    -------
    ndarray (n_orders, n_pixels)
        Positive, 1 at each order's maximum.
    """
    n_pixels = density.shape[1]
    envelope = _log_envelope(density, usable)
    centres = (np.arange(envelope.shape[1]) + 0.5) / envelope.shape[1] * 2 - 1
    x = np.linspace(-1, 1, n_pixels)
    coefficients = _upper_fits(centres, _medians(envelope))
    log_blaze = coefficients @ legendre.legvander(x, _DEGREE).T
    tilts = _tilts(density / np.exp(log_blaze), usable, wave)
    log_blaze += np.nan_to_num(_medians(tilts[:, None])) * x
    blaze: Array = np.exp(np.clip(log_blaze - log_blaze.max(axis=1, keepdims=True), -7.0, 0.0))
    return blaze


def _medians(values: Array) -> Array:
    """Median of each order and its neighbours, nan where none of them is known; shape kept."""
    padding = ((_NEIGHBOURS, _NEIGHBOURS), (0, 0))
    padded = np.pad(values, padding, constant_values=np.nan)
    near = sliding_window_view(padded, 2 * _NEIGHBOURS + 1, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing is known of an order
        return np.asarray(np.nanmedian(near, axis=-1))


def _tilts(density: Array, usable: Mask, wave: Array) -> Array:
    """Slope of log blaze per half order that would make each order agree with the next one."""
    n_orders, n_pixels = density.shape
    tilts = np.full(n_orders, np.nan)
    x = np.linspace(-1, 1, n_pixels)
    clean = np.where(usable, density, 0.0)
    for row in range(n_orders - 1):
        shared = (wave[row] > wave[row + 1, 0]) & (wave[row] < wave[row + 1, -1])
        if shared.sum() < 50:
            continue
        at = wave[row, shared]
        whole = usable[row, shared] & (np.interp(at, wave[row + 1], usable[row + 1]) > 0.999)
        this = clean[row, shared][whole].sum()
        other = np.interp(at, wave[row + 1], clean[row + 1])[whole].sum()
        distance = x[shared].mean() - np.interp(at, wave[row + 1], x).mean()
        if this > 0 and other > 0 and distance > 0.5:
            tilts[row] = np.log(this / other) / distance
    return tilts


def _log_envelope(density: Array, usable: Mask) -> Array:
    """Log of the second highest of eight averages in each block, less its median in the row."""
    cell = max(1, density.shape[1] // (_BLOCKS * _CELLS))
    n_cells = density.shape[1] // cell
    blocks = max(1, n_cells // _CELLS)
    stop = blocks * _CELLS * cell
    layout = (density.shape[0], blocks, _CELLS, cell)
    weight = usable[:, :stop].reshape(layout)
    value = np.where(usable, density, 0.0)[:, :stop].reshape(layout)
    count = weight.sum(axis=3)
    mean = np.where(count > 0, value.sum(axis=3) / np.maximum(count, 1), -np.inf)
    high = np.sort(mean, axis=2)[:, :, -2]
    log = np.log(np.where(high > 0, high, np.nan))
    lit = np.isfinite(log).sum(axis=1) > blocks // 2
    log[~lit] = np.nan
    log[lit] -= np.nanmedian(log[lit], axis=1, keepdims=True)
    return log


def _upper_fits(x: Array, rows: Array) -> Array:
    """Legendre coefficients of smooth curves that ignore dips (lines).

    Parameters
    ----------
    x : ndarray (n,)
        From -1 to 1.
    rows : ndarray (n_orders, n)
        Values, nan where unknown.

    Returns
    -------
    ndarray (n_orders, degree + 1)
        Zero where too little is known.
    """
    basis = legendre.legvander(x, _DEGREE)
    products = basis[:, :, None] * basis[:, None, :]
    known = np.isfinite(rows)
    known &= known.sum(axis=1, keepdims=True) > _DEGREE + 1
    y = np.where(known, rows, 0.0)
    coefficients = np.zeros((len(rows), _DEGREE + 1))

    def fit(chosen: npt.NDArray[np.intp], keep: Mask) -> None:
        normal = np.tensordot(keep[chosen].astype(float), products, 1)
        right = (keep[chosen] * y[chosen]) @ basis
        coefficients[chosen] = np.linalg.solve(normal, right[..., None])[..., 0]

    left, keep = np.flatnonzero(known.any(axis=1)), known
    fit(left, keep)
    for _ in range(3):
        residual = y - coefficients @ basis.T
        size = np.where(keep, np.abs(residual), np.nan)
        scatter = np.zeros((len(rows), 1))
        scatter[left] = MAD_TO_SIGMA * np.nanmedian(size[left], axis=1, keepdims=True)
        keep = known & (residual > -2.0 * scatter - 1e-6)
        # an order with too little left keeps the fit that it has
        left = left[keep[left].sum(axis=1) > _DEGREE + 1]
        fit(left, keep)
    return coefficients
