"""Gauss–Newton steps on the emulator, from where the network points.

The network finds the neighbourhood; the least-squares solution there has the smallest variance
that the photons allow. Microturbulence, macroturbulence, velocity and the continuum of every order
are solved for together with the labels and marginalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.labels import LABELS, VMAC, VMIC
from harpsstar.spectra import continuum
from harpsstar.synth.emulator import Emulator, Sampler
from harpsstar.synth.relations import (
    VMAC_SCATTER,
    VMIC_SCATTER,
    vmac_relation,
    vmic_relation,
)

#: Steps of the derivatives: teff K, logg, m_h, vsini, vmic, vmac, rv km/s.
_STEPS = (15.0, 0.03, 0.02, 0.3, 0.05, 0.3, 0.05)
#: Largest change in one iteration.
_LARGEST = (500.0, 0.6, 0.4, 4.0, 0.5, 2.0, 0.5)
#: Prior standard deviation of rv about the velocity already removed, km/s.
_RV_SCATTER = 1.0
#: km/s; the spectrum is even in vsini and vmac, so derivatives are taken no nearer to zero.
_SLOWEST = 0.7
#: Pixels further from the model than this many sigmas count less (Cauchy weights).
_ROBUST = 4.0
_N = len(LABELS)
_DEGREE = 4
_MAX_STEPS = 6
_DRAWS, _FEWEST_DRAWS = 512, 20
#: Median absolute deviation to standard deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826
#: Largest change, in sigmas, after which no further step is taken.
_CONVERGED = 0.1


@dataclass(frozen=True)
class Refined:
    """Result of :func:`refine` for B spectra.

    Attributes
    ----------
    parameters : Tensor
        (B, 7) teff, logg, m_h, vsini, vmic, vmac, rv in the units of :mod:`harpsstar.labels`,
        inside the grid; rv is what is left of the velocity already removed.
    peak : Tensor
        (B, 7) the same, where least squares without the limits of the grid would go.
    covariance : Tensor
        (B, 7, 7) of all parameters, continuum marginalised.
    """

    parameters: Tensor
    peak: Tensor
    covariance: Tensor


@torch.no_grad()
def refine(
    emulator: Emulator,
    sampler: Sampler,
    flux: Tensor,
    ivar: Tensor,
    labels: Tensor,
    resolution: float,
    mismatch: Tensor,
) -> Refined:
    """Improve labels by weighted, robust least squares.

    Parameters
    ----------
    emulator, sampler
        The emulator, and its sampler of the (8, 4096) canonical wavelengths.
    flux, ivar : Tensor
        (B, 8, 4096) in the rest frame, continuum still in it.
    labels : Tensor
        (B, 4) where to start.
    resolution : float
        Resolving power.
    mismatch : Tensor
        (8, 4096) where the emulator is known to be wrong, and how much relative to its median:
        see :mod:`harpsstar.infer.mismatch`.

    Returns
    -------
    Refined

    Notes
    -----
    Priors: vmic and vmac about their relations, rv about zero, labels flat within the grid. The
    continuum is projected out of the derivatives order by order, which leaves the normal equations
    of the other parameters as they are in the joint fit. The robust misfit of the model beyond the
    noise, times `mismatch`, is added to the noise in quadrature, and single pixels far from the
    model count less, so that a missing line does not decide.
    """
    parameters = torch.cat([labels, _expected(labels)], dim=1)
    limit = torch.tensor(_LARGEST)
    peak = parameters.clone()
    covariance = parameters.new_zeros(*parameters.shape, parameters.shape[1])
    # each spectrum stops by itself, so that its result does not depend on its batch
    moving = torch.arange(len(labels))
    for _ in range(_MAX_STEPS):
        at = parameters[moving]
        normal, gradient = _normal_equations(
            emulator, sampler, flux[moving], ivar[moving], at, resolution, mismatch
        )
        inverse = torch.linalg.inv(normal)
        step = (inverse @ gradient.unsqueeze(-1)).squeeze(-1).float()
        peak[moving] = at + step.clamp(-limit, limit)
        covariance[moving] = inverse.float()
        parameters[moving] = _inside(emulator, peak[moving])
        sigma = inverse.diagonal(dim1=-2, dim2=-1).sqrt().float()
        change = ((parameters[moving] - at).abs() / sigma).amax(1)
        moving = moving[change >= _CONVERGED]
        if len(moving) == 0:
            break
    return Refined(parameters, peak, covariance)


def _expected(labels: Tensor) -> Tensor:
    """(B, 3) vmic, vmac and rv before the spectrum is seen."""
    teff, logg, m_h, _ = labels.T
    return torch.stack(
        [vmic_relation(teff, logg, m_h), vmac_relation(teff, logg), torch.zeros_like(teff)], dim=1
    )


def _inside(emulator: Emulator, parameters: Tensor) -> Tensor:
    labels, vmic, vmac, rv = parameters.split([_N, 1, 1, 1], dim=1)
    return torch.cat(
        [emulator.grid.nearest(labels), vmic.clamp(VMIC.low, VMIC.high),
         vmac.clamp(VMAC.low, VMAC.high), rv], dim=1,
    )  # fmt: skip


def spectra_at(
    emulator: Emulator, sampler: Sampler, parameters: Tensor, resolution: float
) -> Tensor:
    """Spectra (B, *sampler.shape) at parameters (B, 7), as :class:`Refined` orders them."""
    grid = emulator(
        parameters[:, :_N],
        vmic=parameters[:, _N],
        vmac=parameters[:, _N + 1],
        rv=parameters[:, _N + 2],
        resolution=resolution,
        check=False,
    )
    return sampler(grid)


def _derivatives(
    emulator: Emulator, sampler: Sampler, parameters: Tensor, resolution: float
) -> tuple[Tensor, Tensor]:
    """Model (B, 8, 4096) and derivatives (B, 7, 8, 4096) by forward differences."""
    steps = torch.tensor(_STEPS)
    n = len(steps)
    away = parameters.clone()
    for column in (_N - 1, _N + 1):
        away[:, column] = away[:, column].clamp_min(_SLOWEST)
    shifted = away[:, None] + torch.diag(steps)
    stacked = torch.cat([parameters[:, None], away[:, None], shifted], dim=1)
    spectra = spectra_at(emulator, sampler, stacked.flatten(0, 1), resolution)
    spectra = spectra.unflatten(0, (len(parameters), n + 2))
    return spectra[:, 0], (spectra[:, 2:] - spectra[:, 1:2]) / steps[:, None, None]


def _normal_equations(
    emulator: Emulator,
    sampler: Sampler,
    flux: Tensor,
    ivar: Tensor,
    parameters: Tensor,
    resolution: float,
    mismatch: Tensor,
) -> tuple[Tensor, Tensor]:
    """(B, 7, 7) normal matrix with priors and (B, 7) gradient, in float64."""
    model, slopes = _derivatives(emulator, sampler, parameters, resolution)
    normal_flux, weight = continuum.normalise(flux, ivar, model)
    residual = torch.where(weight > 0, normal_flux - model, torch.zeros(()))
    misfit = goodness(normal_flux, model, weight)[1]
    variance = weight.clamp_min(1e-12).reciprocal() + (misfit[:, None, None] * mismatch).square()
    weight = torch.where(weight > 0, 1 / variance, torch.zeros(()))
    weight = weight / (1 + residual.square() * weight / _ROBUST**2)
    columns = torch.cat([slopes, residual[:, None]], dim=1)
    x = torch.linspace(-1, 1, model.shape[-1])
    basis = model[:, None] * torch.stack([x**k for k in range(_DEGREE + 1)])[:, None]
    weighted = columns * weight[:, None]
    inner = torch.einsum("biop,bjop->bij", weighted, columns).double()
    cross = torch.einsum("biop,bkop->boik", weighted, basis).double()
    own = torch.einsum("bkop,blop->bokl", basis * weight[:, None], basis).double()
    trace = own.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    own = own + torch.eye(_DEGREE + 1) * torch.where(trace > 0, 1e-8 * trace, 1.0)
    taken = cross @ torch.linalg.solve(own, cross.mT)
    inner = inner - taken.sum(1)
    n = len(_STEPS)
    precision, pull = _priors(parameters)
    return inner[:, :n, :n] + torch.diag(precision), inner[:, :n, n] + pull


def _priors(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Precision (7,) and gradient (B, 7) of the priors."""
    spans = torch.tensor([label.high - label.low for label in LABELS], dtype=torch.float64)
    widths = torch.tensor([VMIC_SCATTER, VMAC_SCATTER, _RV_SCATTER], dtype=torch.float64)
    precision = torch.cat([12 / spans**2, widths**-2])
    pull = torch.zeros(len(parameters), len(precision), dtype=torch.float64)
    pull[:, _N:] = (_expected(parameters[:, :_N]) - parameters[:, _N:]) * precision[_N:]
    return precision, pull


def posterior_inside(emulator: Emulator, best: Refined) -> tuple[Tensor, Tensor]:
    """Median (B, 4) and covariance (B, 4, 4) of the labels, given that they lie in the grid.

    The Gaussian of least squares, cut at the limits of the grid (flat prior inside), by averaging
    draws that fall inside; the draws are the same for every spectrum, so that results repeat.
    Where next to none does, the star is outside and the nearest point of the grid stands in.
    """
    n_labels = len(LABELS)
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(_DRAWS, n_labels, generator=generator)
    normal = torch.cat([normal, -normal])
    labels, covariance = [], []
    for centre, nearest, matrix in zip(
        best.peak[:, :n_labels], best.parameters[:, :n_labels],
        best.covariance[:, :n_labels, :n_labels], strict=True,
    ):  # fmt: skip
        scale = matrix.diagonal().sqrt()
        factor = torch.linalg.cholesky(matrix / scale[:, None] / scale)
        draws = centre + (normal @ factor.mT) * scale
        inside = draws[(emulator.grid.nearest(draws) == draws).all(1)]
        if len(inside) < _FEWEST_DRAWS:
            labels.append(nearest)
            covariance.append(matrix)
        elif len(inside) == len(draws):
            labels.append(centre)
            covariance.append(matrix)
        else:
            labels.append(inside.median(0).values)
            covariance.append(torch.cov(inside.T))
    return torch.stack(labels), torch.stack(covariance)


def goodness(flux: Tensor, model: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
    """Reduced chi-squared and misfit beyond the noise, each (B,), of (B, 8, 4096) spectra.

    The misfit is robust: the median of |flux − model| in units of each pixel's own noise, made
    consistent with a normal distribution, of which 1 is subtracted in quadrature.
    """
    used = ivar > 0
    n = used.flatten(1).sum(1).clamp_min(1)
    residual = torch.where(used, flux - model, torch.zeros(()))
    chi2_red = (residual.square() * ivar).flatten(1).sum(1) / n
    hole = torch.full((), torch.nan)
    noise = torch.where(used, ivar.clamp_min(1e-12).rsqrt(), hole).flatten(1).nanmedian(1).values
    pull = torch.where(used, residual.abs() * ivar.sqrt(), hole).flatten(1).nanmedian(1).values
    misfit = noise * ((_MAD_TO_SIGMA * pull).square() - 1).clamp_min(0).sqrt()
    return chi2_red, misfit.nan_to_num(0.0)
