"""Wavelengths of IRAF's multispec format: a dispersion function for each aperture.

The format is that of the IRAF help page ``specwcs`` (Valdes 1993): ``WAT2_nnn`` cards hold, for
each aperture, ``specN = "ap beam dtype w1 dw nw z aplow aphigh [weight w0 ftype …]"``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev, legendre

from harpsstar.errors import ReadError
from harpsstar.io.build import Array

__all__ = ["is_multispec", "multispec_wavelengths"]

#: Characters of one WAT card; blanks at its end are part of the text, and FITS drops them.
_LENGTH = 68
_LINEAR, _LOG, _NONLINEAR = 0, 1, 2
_FUNCTIONS = {1: "Chebyshev", 2: "Legendre", 3: "cubic spline", 4: "linear spline",
              5: "pixel coordinates", 6: "sampled coordinates"}  # fmt: skip


def is_multispec(cards: Mapping[str, Any]) -> bool:
    """Whether a header describes the apertures of IRAF's multispec format."""
    return "multispec" in str(cards.get("WAT0_001", "")).lower() and "WAT2_001" in cards


def multispec_wavelengths(
    header: Mapping[str, Any], n_rows: int, n_pixels: int, path: str
) -> tuple[Array, str]:
    """Wavelengths of every aperture.

    Returns
    -------
    wave : ndarray (n_rows, n_pixels)
        In the unit of the second value.
    unit : str
        As IRAF spells it (``angstroms``); empty where the header has none.

    Raises
    ------
    ReadError
        An aperture is not described, or by a function that is not read.
    """
    text = _text(header)
    found = dict(re.findall(r'spec(\d+)\s*=\s*"([^"]*)"', text))
    wave = np.empty((n_rows, n_pixels))
    for row in range(n_rows):
        description = found.get(str(row + 1))
        if description is None:
            raise ReadError(
                f"the WAT2 cards do not describe aperture {row + 1} of {n_rows}",
                expected='spec1 = "…" for each of them', path=path,
            )  # fmt: skip
        try:
            wave[row] = _dispersion(description, n_pixels, path)
        except (ValueError, IndexError, OverflowError) as error:
            raise ReadError(
                f"aperture {row + 1} cannot be interpreted ({error}): {description[:60]!r}",
                expected="ap beam dtype w1 dw nw z aplow aphigh …", path=path,
            ) from error  # fmt: skip
    unit = re.search(r"units=(\w+)", str(header.get("WAT1_001", "")))
    return wave, unit.group(1) if unit else ""


def _text(header: Mapping[str, Any]) -> str:
    pieces = []
    number = 1
    while (name := f"WAT2_{number:03d}") in header:
        pieces.append(str(header[name]).ljust(_LENGTH))
        number += 1
    return "".join(pieces)


def _dispersion(description: str, n_pixels: int, path: str) -> Array:
    """Wavelengths of one aperture, (n_pixels,)."""
    words = description.split()
    kind, start, step = int(words[2]), float(words[3]), float(words[4])
    doppler = 1.0 + float(words[6])
    pixel = np.arange(n_pixels, dtype=float)
    if kind == _LINEAR:
        return (start + step * pixel) / doppler
    if kind == _LOG:
        with np.errstate(over="ignore"):
            return np.asarray(10.0 ** (start + step * pixel) / doppler)
    if kind != _NONLINEAR:
        raise ReadError(
            f"an aperture without wavelengths (dispersion type {kind})",
            expected="a spectrum with a dispersion solution", path=path,
        )  # fmt: skip
    numbers = [float(word) for word in words[9:]]
    wave = np.zeros(n_pixels)
    while len(numbers) > 2:
        weight, shift, function = numbers[0], numbers[1], int(numbers[2])
        if function not in (1, 2):
            raise ReadError(
                f"a dispersion function of type {_FUNCTIONS.get(function, function)}",
                expected="Chebyshev or Legendre polynomials", path=path,
                hint="resample with IRAF's dispcor",
            )  # fmt: skip
        order, low, high = int(numbers[3]), numbers[4], numbers[5]
        coefficients = numbers[6 : 6 + order]
        if not 0 < order == len(coefficients) or high <= low:
            raise ValueError(f"{order} coefficients between pixels {low:g} and {high:g}")
        x = (2.0 * (pixel + 1.0) - (low + high)) / (high - low)
        value = (chebyshev.chebval if function == 1 else legendre.legval)(x, coefficients)
        wave += weight * (shift + value)
        numbers = numbers[6 + order :]
    return wave / doppler
