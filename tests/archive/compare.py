"""How far two tables of results are from each other."""

from __future__ import annotations

import numpy as np

from harpsstar.io.results import COLUMNS


def bare(table, name):
    return np.asarray(getattr(table[name], "value", table[name]))


def difference(first, second) -> float:
    """Largest relative difference of any number in two tables whose texts are equal.

    A label that happens to be near zero and the noise's part of its error are compared on the scale
    of the whole error, a covariance on that of two errors. Not all is equal to the bit: how a sum
    is grouped depends on what a spectrum is inferred with.
    """
    assert len(first) == len(second)
    worst = 0.0
    for column in COLUMNS:
        one, other = bare(first, column.name), bare(second, column.name)
        if column.kind in ("text", "integer"):
            np.testing.assert_array_equal(one, other, err_msg=column.name)
            continue
        np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other), err_msg=column.name)
        scale = np.maximum(np.abs(one), np.abs(other))
        error = f"{column.name.removesuffix('_err_noise')}_err"
        if error in first.colnames:
            scale = np.maximum(scale, bare(first, error))
        if column.kind == "matrix":
            sigma = np.sqrt(np.einsum("nii->ni", one))
            scale = sigma[:, :, None] * sigma[:, None, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(one == other, 0.0, np.abs(one - other) / scale)
        worst = max(worst, float(np.nanmax(share, initial=0.0)))
    return worst
