"""How well any method can do: the Bayesian Cramér-Rao bound.

For Gaussian noise with inverse variance w the Fisher information of the parameters is
J^T diag(w) J, with J the derivatives of the spectrum. Nuisances that are not known are
marginalised, which takes a Schur complement; prior knowledge adds its own precision (Van Trees
1968, Detection, Estimation and Modulation Theory I, sect. 2.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.model.emulator import Emulator, PerSpectrum
from harpsstar.model.sampler import Sampler

from ..infer.parameters import expected_slopes
from ..labels import LABELS, NAMES, NUISANCES

# Stars at once: bounds the memory of seven derivatives of 32,768 pixels.
_STARS_AT_ONCE = 16
# Relative to the trace: enough to invert the normal equations of an order without usable pixels.
_RIDGE = 1e-12


@dataclass(frozen=True)
class Nuisances:
    """What is not known besides the labels, and how well it is known beforehand.

    Attributes
    ----------
    vmic, vmac, alpha, rv : float, optional
        Standard deviation of a Gaussian prior, km/s or dex; infinite for none at all, None where
        the quantity is known.
    continuum : int, optional
        Degree of the Legendre polynomial that multiplies each order with free coefficients;
        None where the continuum is known.
    """

    vmic: float | None = None
    vmac: float | None = None
    alpha: float | None = None
    rv: float | None = None
    continuum: int | None = None

    def __post_init__(self) -> None:
        for label in NUISANCES:
            sigma = getattr(self, label.name)
            if sigma is not None and not sigma > 0:
                unit = f" {label.unit}".rstrip()
                raise ValueError(
                    f"the prior of {label.name} has a width of {sigma}; expected > 0{unit}"
                )
        if self.continuum is not None and self.continuum < 0:
            raise ValueError(f"continuum of degree {self.continuum}; expected 0 or more")

    @property
    def free(self) -> dict[str, float]:
        """Prior standard deviation of each free nuisance, in the order of the labels' module."""
        values = {label.name: getattr(self, label.name) for label in NUISANCES}
        return {name: sigma for name, sigma in values.items() if sigma is not None}


#: Everything known but the labels.
KNOWN = Nuisances()


def information(
    emulator: Emulator,
    wave: npt.ArrayLike,
    labels: Tensor,
    *,
    ivar: Tensor | float,
    vmic: PerSpectrum,
    vmac: PerSpectrum = 0.0,
    alpha: PerSpectrum = 0.0,
    resolution: float = 115000.0,
    free: Nuisances = KNOWN,
    related: bool = False,
) -> Tensor:
    """Fisher information of the four labels in a spectrum, nuisances marginalised.

    Parameters
    ----------
    emulator : Emulator
        Gives spectra and derivatives.
    wave : array_like, shape (n_orders, n_pixels) or (n_pixels,)
        Rest wavelengths, Å in air; pixels outside the emulator carry nothing.
    labels : Tensor, shape (B, 4)
        ``teff`` K, ``logg``, ``m_h``, ``vsini`` km/s.
    ivar : float or Tensor, shape of ``wave``, optionally with B in front
        Inverse variance of the flux over continuum, so SNR^2 for a constant signal-to-noise ratio;
        0 for a pixel that cannot be used.
    vmic, vmac, alpha : float or Tensor of shape (B,)
        Microturbulence and radial-tangential macroturbulence, km/s, and [alpha/Fe], dex.
    resolution : float
        Resolving power.
    free : Nuisances
        What is not known.
    related : bool
        The nuisances scatter about their relations with the labels (and lie on them where they
        are known), so that they tell of the labels; otherwise about fixed values.

    Returns
    -------
    Tensor of float64, shape (B, 4, 4)
        Without the prior of the labels, hence singular at ``vsini`` 0, where the spectrum does
        not depend on ``vsini`` to first order.

    Raises
    ------
    OutsideGridError
        If a star lies outside the grid.
    """
    wave = np.atleast_2d(np.asarray(wave, dtype=np.float64))
    emulator.check(labels, vmic, 0.0)
    sampler = emulator.sampler(wave)
    size = len(labels)
    ones = labels.new_ones(size)
    weight = torch.as_tensor(ivar, device=labels.device).double()
    weight = weight.expand(size, *wave.shape) * sampler.covered.reshape(wave.shape)
    columns = (labels, ones * vmic, ones * vmac, ones * alpha, weight)
    parts = [
        _information(emulator, sampler, part, resolution, free, related)
        for part in zip(*(column.split(_STARS_AT_ONCE) for column in columns), strict=True)
    ]
    return torch.cat(parts)


def prior_precision() -> Tensor:
    """Precision of the labels before any spectrum is seen, shape (4, 4).

    A uniform distribution over the range of a label has the variance range^2 / 12; a Gaussian of
    that variance stands for it, because the bound of a distribution with sharp ends does not
    exist. It understates what is known close to an end of a range, so an estimator that knows the
    ends can be better than the bound there.
    """
    spans = [label.high - label.low for label in LABELS]
    return torch.diag(torch.tensor([12.0 / span**2 for span in spans], dtype=torch.float64))


def cramer_rao(information: Tensor, *, prior: bool = True) -> Tensor:
    """Smallest covariance that the labels can have.

    Parameters
    ----------
    information : Tensor, shape (B, 4, 4)
        From :func:`information`.
    prior : bool
        Add :func:`prior_precision`.

    Returns
    -------
    Tensor, shape (B, 4, 4)
    """
    # Scaled to ranges: kelvins and dex differ by six powers of ten in the matrix.
    scale = prior_precision().diagonal().rsqrt().to(information)
    scaled = information * scale[:, None] * scale
    if prior:
        scaled = scaled + torch.eye(len(scale)).to(scaled)
    return torch.linalg.inv(scaled) * scale[:, None] * scale


def mean_absolute_error(covariance: Tensor) -> Tensor:
    """Expected absolute error of each label, sqrt(2/pi) sigma, shape (B, 4)."""
    return math.sqrt(2 / math.pi) * covariance.diagonal(dim1=-2, dim2=-1).sqrt()


def _information(
    emulator: Emulator,
    sampler: Sampler,
    part: tuple[Tensor, ...],
    resolution: float,
    free: Nuisances,
    related: bool,
) -> Tensor:
    *point, weight = part
    flux, jacobian = _derivatives(emulator, sampler, tuple(point), resolution, free, related)
    if free.continuum is not None:
        continuum = flux[:, None] * _legendre(sampler.wave, free.continuum)[None].to(flux)
        jacobian = _project_out(jacobian, continuum, weight)
    jacobian = jacobian.flatten(2)
    full = (jacobian * weight.flatten(1)[:, None]) @ jacobian.mT
    n = len(LABELS)
    precision = torch.tensor([sigma**-2 for sigma in free.free.values()], dtype=full.dtype)
    nuisance = full[:, n:, n:] + torch.diag(precision).to(full)
    cross = full[:, :n, n:]
    # Least squares, because a nuisance without prior may have no effect at all (vmac at 0).
    return full[:, :n, :n] - cross @ torch.linalg.pinv(nuisance, hermitian=True) @ cross.mT


def _derivatives(
    emulator: Emulator,
    sampler: Sampler,
    point: tuple[Tensor, ...],
    resolution: float,
    free: Nuisances,
    related: bool,
) -> tuple[Tensor, Tensor]:
    """Flux (B, orders, pixels) and its derivatives (B, 4 + free, orders, pixels), in float64."""
    labels, vmic, vmac, alpha = point
    nuisances = [label.name for label in NUISANCES]
    flux, slopes = emulator.derivatives(
        sampler,
        labels,
        vmic=vmic,
        vmac=vmac,
        alpha=alpha,
        resolution=resolution,
        by=[*NAMES, *(nuisances if related else free.free)],
    )
    slopes = slopes.double()
    n = len(LABELS)
    if related:
        # a label grows with the nuisances along their relations
        along = torch.einsum("bij,biop->bjop", expected_slopes(labels).to(slopes), slopes[:, n:])
        chosen = [n + nuisances.index(name) for name in free.free]
        slopes = torch.cat([slopes[:, :n] + along, slopes[:, chosen]], dim=1)
    return flux.double(), slopes


def _legendre(wave: npt.NDArray[np.float64], degree: int) -> Tensor:
    """Legendre polynomials of each order, (degree + 1, orders, pixels), on -1 to 1."""
    low, high = wave.min(axis=1, keepdims=True), wave.max(axis=1, keepdims=True)
    x = 2 * (wave - low) / np.maximum(high - low, 1e-9) - 1
    return torch.from_numpy(np.moveaxis(np.polynomial.legendre.legvander(x, degree), -1, 0))


def _project_out(jacobian: Tensor, basis: Tensor, weight: Tensor) -> Tensor:
    """Remove from the derivatives what the continuum of each order can imitate.

    Shapes: jacobian (B, P, orders, pixels), basis (B, D, orders, pixels), weight
    (B, orders, pixels).
    """
    weighted = basis * weight[:, None]
    normal = torch.einsum("bdop,beop->bode", weighted, basis)
    trace = normal.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    eye = torch.eye(normal.shape[-1]).to(normal)
    normal = normal + torch.where(trace > 0, _RIDGE * trace, torch.ones_like(trace)) * eye
    right = torch.einsum("bdop,bjop->bodj", weighted, jacobian)
    coefficients = torch.linalg.solve(normal, right)
    return jacobian - torch.einsum("bdop,bodj->bjop", basis, coefficients)
