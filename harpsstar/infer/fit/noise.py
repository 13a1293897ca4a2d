"""The variance of a pixel: noise, a jitter, and what the physics gets wrong.

variance = noise² (1 + jitter) + (misfit · pattern · continuum)², where ``pattern`` says at which
wavelengths the emulator is known to be wrong (:mod:`harpsstar.model.mismatch`). Jitter and misfit
are fitted by maximum likelihood to the residuals of the best model and then held: thousands of
pixels know them to a per cent. Pixels that are still more than five sigmas away, with their
neighbours, do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

FloatArray = npt.NDArray[np.float64]

#: Sigmas beyond which a pixel does not count.
CLIP = 5.0
_MAX_JITTER, _MAX_MISFIT = 100.0, 0.5
_ROUNDS = 4
#: Share of its own variance that a pixel keeps at least: a cosmic ray's hit is no photon noise.
_LEAST = 0.3


@dataclass(frozen=True)
class Noise:
    """What was found of one spectrum.

    Attributes
    ----------
    jitter : float
        Relative excess of the noise's variance, 0 or more.
    misfit : float
        Median error of the physics, in units of the continuum, 0 or more.
    variance : Tensor (O, N)
        Of the flux.
    outlier : Tensor (O, N) of bool
        Pixels that do not count.
    """

    jitter: float
    misfit: float
    variance: Tensor
    outlier: Tensor


def fit_noise(residual: Tensor, ivar: Tensor, photon: Tensor, scale: Tensor) -> Noise:
    """Fit jitter and misfit to residuals.

    Parameters
    ----------
    residual, ivar : Tensor (O, N)
        Flux minus model, and inverse variance of the noise; 0 where there is no information.
    photon : Tensor (O, N)
        Derivative of the noise's variance with respect to the flux: the variance that counts is
        that of the flux which the model predicts.
    scale : Tensor (O, N)
        Pattern of the model's errors times the continuum.
    """
    used = ivar > 0
    # Unusable pixels need a finite variance, too.
    noise = torch.where(used, ivar, torch.ones(())).reciprocal()
    noise = torch.maximum(noise - photon * residual, _LEAST * noise)
    flat = used.numpy().astype(bool)
    r2, n2, p2 = (x.double().numpy()[flat] for x in (residual.square(), noise, scale.square()))
    jitter, misfit2 = 0.0, _first_misfit(r2, n2, p2)
    for _ in range(_ROUNDS):
        kept = r2 < CLIP**2 * (n2 * (1 + jitter) + misfit2 * p2)
        before = jitter, misfit2
        jitter, misfit2 = _maximum(r2[kept], n2[kept], p2[kept], before)
        if np.allclose(before, (jitter, misfit2), rtol=1e-3, atol=1e-9):
            break
    variance = noise * (1 + jitter) + misfit2 * scale.square()
    outlier = used & (residual.square() > CLIP**2 * variance)
    return Noise(jitter, float(np.sqrt(misfit2)), variance, used & _with_neighbours(outlier))


def _first_misfit(r2: FloatArray, n2: FloatArray, p2: FloatArray) -> float:
    """Robust excess of the residuals: the median of a squared normal variate is 0.4549."""
    excess = np.median(r2 / 0.4549 - n2) / np.median(p2)
    return float(np.clip(excess, 0.0, _MAX_MISFIT**2))


def _maximum(
    r2: FloatArray, n2: FloatArray, p2: FloatArray, start: tuple[float, float]
) -> tuple[float, float]:
    """Jitter and squared misfit of largest likelihood."""
    unit = float(np.median(n2 / p2))

    def cost(x: FloatArray) -> tuple[float, FloatArray]:
        variance = n2 * (1 + x[0]) + unit * x[1] * p2
        slope = (1 - r2 / variance) / variance
        value = np.log(variance / n2).mean() + (r2 / variance).mean()
        return float(value), np.array([(slope * n2).mean(), unit * (slope * p2).mean()])

    found = minimize(
        cost, np.array([start[0], start[1] / unit]), jac=True, method="L-BFGS-B",
        bounds=[(0.0, _MAX_JITTER), (0.0, _MAX_MISFIT**2 / unit)],
        options={"ftol": 1e-10, "gtol": 1e-6, "maxiter": 60},
    )  # fmt: skip
    return float(found.x[0]), float(found.x[1] * unit)


def _with_neighbours(outlier: Tensor) -> Tensor:
    grown = outlier.clone()
    grown[:, 1:] |= outlier[:, :-1]
    grown[:, :-1] |= outlier[:, 1:]
    return grown
