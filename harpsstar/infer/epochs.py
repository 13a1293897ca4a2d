"""Several spectra of one star made one: the only place where epochs are combined.

Their noise is independent, so it adds as information: the weights are the inverse covariances of
the noise. What is the same in every spectrum (the error of the physics, and what a star off the
relations of the nuisances does) does not average out: it is added once. Whether the epochs scatter
as they should is asked of the noise alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harpsstar.errors import ConfigError
from harpsstar.labels import NAMES

if TYPE_CHECKING:
    from astropy.table import QTable

FloatArray = npt.NDArray[np.float64]

#: The scatter raises an error if chance makes it as large only so often.
_CHANCE = 0.01
#: Spectra of one star, of other nights and instruments, differ by no more than this where the
#: physics has the same error in all, 1 sigma: a third of the floor of that error, K, dex, dex,
#: km/s; and the distance from their mean beyond which one of them does not belong.
_TOLERANCE = (23.0, 0.033, 0.03, 0.5)
_UNLIKE = 5.0


@dataclass(frozen=True)
class Mean:
    """Several measurements of k quantities made one.

    Attributes
    ----------
    values : ndarray (k,)
        The best linear unbiased mean.
    noise : ndarray (k, k)
        Its covariance from noise alone, raised by `chi2_red` where that is no chance.
    covariance : ndarray (k, k)
        Its whole covariance: `noise`, and what all measurements have in common.
    scatter, expected : ndarray (k,)
        Root mean square about the mean (nan for a single one), and that expected from noise.
    chi2_red : float
        Of all quantities about their means, per degree of freedom; nan for a single one.
    """

    values: FloatArray
    noise: FloatArray
    covariance: FloatArray
    scatter: FloatArray
    expected: FloatArray
    chi2_red: float


def weighted_mean(values: FloatArray, noise: FloatArray, total: FloatArray) -> Mean:
    r"""Combine measurements x_i with noise N_i and total covariance T_i.

    .. math:: N = (\sum_i N_i^{-1})^{-1}, \quad x = N \sum_i N_i^{-1} x_i, \quad
              T = s N + \sum_i w_i (T_i - N_i), \quad w_i = \mathrm{tr}(N N_i^{-1}) / k

    with s the reduced chi-squared where it exceeds 1 by more than chance makes it in one case of a
    hundred, else 1 (Birge 1932, Phys. Rev. 40, 207). The errors that all have in common count with
    the weights of the measurements, and no less.

    Parameters
    ----------
    values : ndarray (n, k)
    noise, total : ndarray (n, k, k)
        Positive definite. A quantity without noise in any of them (a fixed one) is averaged and
        keeps its errors.
    """
    count, size = values.shape
    mean, joint = values.mean(axis=0), np.zeros((size, size))
    weights = np.full(count, 1.0 / count)
    residual, chi2, freedom = values - mean, 0.0, 0
    free = np.einsum("nii->ni", noise).min(axis=0) > 0
    if free.any():
        inverse = np.linalg.inv(noise[:, free][:, :, free])
        inner = np.linalg.inv(inverse.sum(axis=0))
        inner = 0.5 * (inner + inner.T)
        mean[free] = inner @ np.einsum("nij,nj->i", inverse, values[:, free])
        joint[np.ix_(free, free)] = inner
        weights = np.einsum("ij,nji->n", inner, inverse) / free.sum()
        residual = values - mean
        chi2 = float(np.einsum("ni,nij,nj->", residual[:, free], inverse, residual[:, free]))
        freedom = (count - 1) * int(free.sum())
    joint = joint * _raised(chi2, freedom)
    common = np.einsum("n,nij->ij", weights, total - noise)
    unknown = np.full(size, math.nan)
    return Mean(
        mean, joint, joint + common,
        np.sqrt((residual**2).sum(axis=0) / (count - 1)) if count > 1 else unknown,
        np.sqrt(np.einsum("nii->ni", noise).mean(axis=0)),
        chi2 / freedom if freedom else math.nan,
    )  # fmt: skip


def _raised(chi2: float, freedom: int) -> float:
    """Factor on the variance of the mean of epochs with this scatter."""
    if not freedom:
        return 1.0
    from scipy.stats import chi2 as distribution

    return chi2 / freedom if chi2 > distribution.isf(_CHANCE, freedom) else 1.0


def are_alike(values: FloatArray, noise: FloatArray) -> bool:
    """Tell whether labels (n, 4) with noise (n, 4, 4) can be of one star.

    They are not if one of them is further from the mean than 5 sigma of its noise and of what
    spectra of one star differ by (23 K, 0.033, 0.03 dex, 0.5 km/s).
    """
    if len(values) < 2:
        return True
    own = noise + np.diag(np.square(_TOLERANCE))
    mean = weighted_mean(values, own, own)
    joint = np.linalg.inv(np.linalg.inv(own).sum(axis=0))
    offset = values - mean.values
    squares = np.einsum("ni,nij,nj->n", offset, np.linalg.inv(own - joint), offset)
    return bool((squares < _UNLIKE**2).all())


@dataclass(frozen=True)
class Combined:
    """One star from several rows of a table.

    Attributes
    ----------
    labels : ndarray (4,)
        Weighted by the inverse covariances of noise: K, dex, dex, km/s.
    covariance, noise : ndarray (4, 4)
        Of everything, and of noise alone; see :class:`Mean`.
    scatter : float
        Square root of the reduced chi-squared of the results about their mean; nan for a single
        one.
    rv, rv_scatter : float
        Weighted mean of the velocities, and their standard deviation (nan for a single one), km/s.
    n : int
        Results that took part.
    """

    labels: FloatArray
    covariance: FloatArray
    noise: FloatArray
    scatter: float
    rv: float
    rv_scatter: float
    n: int


def combine(table: QTable) -> Combined:
    """Combine the rows of a table of ``predict`` or ``fit``; failed and flagged rows do not count.

    Parameters
    ----------
    table : QTable
        As :func:`harpsstar.predict` or :attr:`harpsstar.infer.fit.result.FitResult.table` makes it.

    Raises
    ------
    ConfigError
        No row is ``ok`` and has a ``covariance_noise``.
    """
    status = np.asarray(table["status"])
    noise = np.asarray(table["covariance_noise"], dtype=float)
    good = (status == "ok") & np.isfinite(noise).all(axis=(1, 2))
    if not good.any():
        raise ConfigError(
            f"none of {len(table)} rows is ok and has a covariance_noise",
            expected="at least one good result",
            hint="look at status, flag_text and message",
        )
    rows = table[good]
    labels = np.stack([_plain(rows[name]) for name in NAMES], axis=1)
    mean = weighted_mean(labels, noise[good], np.asarray(rows["covariance"], dtype=float))
    velocity = mean_velocity(_plain(rows["rv"]), _plain(rows["rv_err"]))
    rv, spread = (math.nan, math.nan) if velocity is None else (
        float(velocity.values[0]), float(velocity.scatter[0])
    )  # fmt: skip
    return Combined(mean.values, mean.covariance, mean.noise, math.sqrt(mean.chi2_red), rv, spread,
                    len(rows))  # fmt: skip


def mean_velocity(rv: FloatArray, error: FloatArray) -> Mean | None:
    """Combine velocities (n,) with errors (n,), km/s; None where none is known."""
    known = np.isfinite(rv) & np.isfinite(error) & (error > 0)
    if not known.any():
        return None
    variance = error[known][:, None, None] ** 2
    return weighted_mean(rv[known][:, None], variance, variance)


def _plain(column: object) -> FloatArray:
    return np.asarray(getattr(column, "value", column), dtype=float)
