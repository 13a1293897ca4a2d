"""Several separate results of one star made one, with their covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.table import QTable

from harpsstar.errors import ConfigError
from harpsstar.labels import NAMES

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Combined:
    """One star from several results.

    Attributes
    ----------
    labels : ndarray (4,)
        Weighted by the inverse covariances of noise: K, dex, dex, km/s.
    covariance : ndarray (4, 4)
        Of noise and model; the model's error is that of one result, for it is the same in all.
    noise : ndarray (4, 4)
        Of noise alone, enlarged by ``scatter`` where that exceeds 1.
    scatter : float
        Square root of the reduced chi-squared of the results about their mean (Birge 1932, Phys.
        Rev. 40, 207); nan for a single one.
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
        No row is ``ok``.
    """
    good = table[np.asarray(table["status"]) == "ok"]
    if len(good) == 0:
        raise ConfigError(
            f"none of {len(table)} rows is ok", expected="at least one good result",
            hint="look at status, flag_text and message",
        )  # fmt: skip
    labels = np.stack([_plain(good[name]) for name in NAMES], axis=1)
    errors = np.stack([_plain(good[f"{name}_err"]) for name in NAMES], axis=1)
    noise_errors = np.stack([_plain(good[f"{name}_err_noise"]) for name in NAMES], axis=1)
    total = np.asarray(good["covariance"], dtype=float)
    systematic = errors**2 - noise_errors**2
    covariances = total - systematic[:, :, None] * np.eye(len(NAMES))
    mean, noise, scatter = _weighted(labels, covariances)
    rv, rv_err = _plain(good["rv"]), _plain(good["rv_err"])
    weight = rv_err**-2 / np.sum(rv_err**-2)
    spread = float(np.std(rv, ddof=1)) if len(rv) > 1 else float("nan")
    common = np.diag(systematic.mean(axis=0))
    return Combined(mean, noise + common, noise, scatter, float(weight @ rv), spread, len(good))


def _weighted(labels: FloatArray, covariances: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    # A label that was fixed has no error and no weight of its own: it is the same in all.
    free = np.einsum("nii->ni", covariances).min(axis=0) > 0
    mean, noise = labels.mean(axis=0), np.zeros((labels.shape[1],) * 2)
    inverse = np.linalg.inv(covariances[:, free][:, :, free])
    joint = np.linalg.inv(inverse.sum(axis=0))
    mean[free] = joint @ np.einsum("nij,nj->i", inverse, labels[:, free])
    offset = labels[:, free] - mean[free]
    freedom = offset.size - free.sum()
    chi2 = float(np.einsum("ni,nij,nj->", offset, inverse, offset))
    scatter = np.sqrt(chi2 / freedom) if freedom else float("nan")
    noise[np.ix_(free, free)] = joint * max(1.0, np.nan_to_num(scatter)) ** 2
    return mean, noise, float(scatter)


def _plain(column: object) -> FloatArray:
    return np.asarray(getattr(column, "value", column), dtype=float)
