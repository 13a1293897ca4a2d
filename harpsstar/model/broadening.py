"""What widens and shifts the lines of a star, as products in Fourier space.

On a grid uniform in ln(wavelength) every effect is a convolution in velocity, so that its Fourier
transform multiplies that of the spectrum. All transforms are written in closed form, with ``k`` in
radians per km/s, are one at ``k = 0`` and have finite derivatives where a velocity vanishes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from harpsstar.constants import C_KM_S
from harpsstar.model.nodes import lagrange_weights

#: Speed of light, km/s.
C_KMS = C_KM_S
#: Linear limb darkening of the rotation profile.
LIMB_DARKENING = 0.6

# FWHM of a Gaussian in units of its standard deviation.
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
# The kernels are narrow, hence smooth in Fourier space: they are evaluated at this spacing
# (2 pi / 1400 km/s) or closer and interpolated to the bins between. The worst error is 1e-6 up to
# a vsini of 30 km/s and 1e-4 at 100 km/s.
_SMOOTH_KMS = 1400.0
# The phase of a shift is a product of one factor per bin of a block and one per block.
_BLOCK = 128


class _DiskBessel(torch.autograd.Function):
    """J1(u)/u, with its derivative -J2(u)/u, which torch does not know.

    Good to 1e-7: torch's own J0 and J1 are off by up to 5e-7 at u = 5 to 10.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor) -> Tensor:
        small = u.abs() < 0.1
        safe = torch.where(small, torch.ones_like(u), u)
        u2 = u * u
        series = 0.5 * (1 - u2 / 8 * (1 - u2 / 24 * (1 - u2 / 48)))
        return torch.where(small, series, torch.special.bessel_j1(safe) / safe)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def _slope(u: Tensor, value: Tensor) -> Tensor:
        small = u.abs() < 0.1
        safe = torch.where(small, torch.ones_like(u), u)
        u2 = u * u
        series = -u / 8 * (1 - u2 / 12 * (1 - u2 / 32 * (1 - u2 / 60)))
        return torch.where(small, series, (torch.special.bessel_j0(safe) - 2 * value) / safe)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * _DiskBessel._slope(*ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent * _DiskBessel._slope(*ctx.saved_tensors)


def rotation(k: Tensor, vsini: Tensor, epsilon: float = LIMB_DARKENING) -> Tensor:
    """Transform of the rotation profile of a rigid sphere with linear limb darkening.

    The profile is Gray (2005), The Observation and Analysis of Stellar Photospheres, eq. 18.14;
    with u = k vsini its transform is [2(1-e) J1(u)/u + 2e j1(u)/u] / (1 - e/3), J1 a Bessel
    function and j1 a spherical one.

    Parameters
    ----------
    k : Tensor
        Radians per km/s.
    vsini : Tensor
        Projected rotation velocity, km/s, broadcast against ``k``; only its size matters.
    epsilon : float
        Limb-darkening coefficient e, 0 to 1.

    Returns
    -------
    Tensor
        Real, one where ``vsini`` is 0.
    """
    u = k * vsini
    disk = _DiskBessel.apply(u)
    small = u.abs() < 0.3
    safe = torch.where(small, torch.ones_like(u), u)
    u2 = torch.where(small, u * u, torch.zeros_like(u))
    series = (1 - u2 / 10 * (1 - u2 / 28 * (1 - u2 / 54 * (1 - u2 / 88)))) / 3
    limb = torch.where(small, series, (torch.sin(safe) / safe - torch.cos(safe)) / safe**2)
    return (2 * (1 - epsilon) * disk + 2 * epsilon * limb) / (1 - epsilon / 3)


def rotation_by_square(k: Tensor, vsini: Tensor, epsilon: float = LIMB_DARKENING) -> Tensor:
    """Derivative of :func:`rotation` with respect to vsini², s²/km².

    With d/d(v²) = k²/(2u) d/du it is -(k²/2) [2(1-e) J2(u)/u² + 2e j2(u)/u²] / (1 - e/3), which
    does not vanish without rotation.

    Parameters
    ----------
    k, vsini, epsilon
        As in :func:`rotation`.

    Returns
    -------
    Tensor
        Real.
    """
    u = k * vsini
    small = u.abs() < 1.0
    safe = torch.where(small, torch.ones_like(u), u)
    u2, safe2 = u * u, safe * safe
    bessel = 2 * torch.special.bessel_j1(safe) / safe - torch.special.bessel_j0(safe)
    series = (1 - u2 / 12 * (1 - u2 / 32 * (1 - u2 / 60 * (1 - u2 / 96 * (1 - u2 / 140))))) / 8
    disk = torch.where(small, series, bessel / safe2)
    sinc = torch.sin(safe) / safe
    spherical = 3 * (sinc - torch.cos(safe)) / safe2 - sinc
    series = (1 - u2 / 14 * (1 - u2 / 36 * (1 - u2 / 66 * (1 - u2 / 104 * (1 - u2 / 150))))) / 15
    limb = torch.where(small, series, spherical / safe2)
    return -k * k * ((1 - epsilon) * disk + epsilon * limb) / (1 - epsilon / 3)


def macroturbulence(k: Tensor, vmac: Tensor) -> Tensor:
    """Transform of radial-tangential macroturbulence, equal areas and velocities.

    Gray (2005), eq. 17.6 and the disc integration of its chapter 17, without limb darkening:
    where the line of sight makes an angle with cosine m, half of the surface has the transform
    exp(-a m^2) and half exp(-a (1 - m^2)), with a = (k vmac)^2 / 4. The mean of either over the
    disc, whose area is uniform in m^2, is (1 - exp(-a)) / a.

    Parameters
    ----------
    k : Tensor
        Radians per km/s.
    vmac : Tensor
        Gray's zeta_RT, km/s, broadcast against ``k``; only its size matters.

    Returns
    -------
    Tensor
        Real, one where ``vmac`` is 0.
    """
    a = (k * vmac) ** 2 / 4
    small = a < 1e-4
    safe = torch.where(small, torch.ones_like(a), a)
    return torch.where(small, 1 - a / 2 + a * a / 6, -torch.expm1(-safe) / safe)


def macroturbulence_by_square(k: Tensor, vmac: Tensor) -> Tensor:
    """Derivative of :func:`macroturbulence` with respect to vmac², s²/km².

    With a = (k vmac)²/4 it is (k²/4) [(1 + a) exp(-a) - 1] / a², which does not vanish without
    macroturbulence.

    Parameters
    ----------
    k, vmac
        As in :func:`macroturbulence`.

    Returns
    -------
    Tensor
        Real.
    """
    a = (k * vmac) ** 2 / 4
    small = a < 1e-2
    safe = torch.where(small, torch.ones_like(a), a)
    series = -1 / 2 + a * (1 / 3 - a * (1 / 8 - a * (1 / 30 - a / 144)))
    closed = (safe * torch.exp(-safe) + torch.expm1(-safe)) / safe**2
    return k * k / 4 * torch.where(small, series, closed)


def line_spread(k: Tensor, resolution: float | Tensor) -> Tensor:
    """Transform of a Gaussian with full width at half maximum c / ``resolution``.

    Parameters
    ----------
    k : Tensor
        Radians per km/s.
    resolution : float or Tensor
        Resolving power, broadcast against ``k``; infinite for a perfect spectrograph.

    Returns
    -------
    Tensor
        Real.
    """
    sigma = C_KMS / (_FWHM * torch.as_tensor(resolution, dtype=k.dtype, device=k.device))
    return torch.exp(-0.5 * (k * sigma) ** 2)


def kernel(
    n_bins: int,
    dk: float,
    vsini: Tensor,
    vmac: Tensor,
    resolution: float | Tensor,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """All symmetric broadening, in the bins of a real Fourier transform.

    Parameters
    ----------
    n_bins : int
        One more than a multiple of a power of two, for speed 16 or more.
    dk : float
        Distance of the bins, radians per km/s.
    vsini, vmac : Tensor, shape (B,)
        km/s.
    resolution : float or Tensor of shape (B,)
        Resolving power.
    dtype : torch.dtype
        Of the result; the transforms themselves are computed in double precision.

    Returns
    -------
    Tensor, shape (B, n_bins)
        Real.
    """
    k, step = _evaluated_at(n_bins, dk, vsini.device)
    coarse = rotation(k, vsini.double()[:, None]) * macroturbulence(k, vmac.double()[:, None])
    coarse = coarse * line_spread(k, _column(resolution))
    return _between(coarse, step, dtype)


def kernel_derivatives(
    n_bins: int,
    dk: float,
    vsini: Tensor,
    vmac: Tensor,
    resolution: float | Tensor,
    dtype: torch.dtype = torch.float64,
    wanted: tuple[str, ...] = ("vsini", "vmac"),
) -> dict[str, Tensor]:
    """Return :func:`kernel` and its derivatives with respect to vsini² and vmac².

    Parameters
    ----------
    n_bins, dk, vsini, vmac, resolution, dtype
        As in :func:`kernel`.
    wanted : tuple of str
        ``"vsini"``, ``"vmac"`` or both.

    Returns
    -------
    dict of str to Tensor, shape (B, n_bins)
        The kernel under ``""``, the derivatives under their names.
    """
    k, step = _evaluated_at(n_bins, dk, vsini.device)
    rotating, turbulent = vsini.double()[:, None], vmac.double()[:, None]
    spread = line_spread(k, _column(resolution))
    by_rotation, by_turbulence = rotation(k, rotating), macroturbulence(k, turbulent)
    found = {"": by_rotation * by_turbulence * spread}
    if "vsini" in wanted:
        found["vsini"] = rotation_by_square(k, rotating) * by_turbulence * spread
    if "vmac" in wanted:
        found["vmac"] = by_rotation * macroturbulence_by_square(k, turbulent) * spread
    return {name: _between(coarse, step, dtype) for name, coarse in found.items()}


def _column(resolution: float | Tensor) -> float | Tensor:
    return resolution.double()[..., None] if isinstance(resolution, Tensor) else resolution


def _evaluated_at(n_bins: int, dk: float, device: torch.device) -> tuple[Tensor, int]:
    """Where transforms are computed, radians per km/s, and how many bins lie in one cell."""
    step = _thinning(n_bins, dk)
    cells = (n_bins - 1) // step
    # One bin below zero and one above the last: the four-point stencils of the outer cells.
    k = torch.arange(-1, cells + 2, dtype=torch.float64, device=device) * (step * dk)
    return k, step


def _between(coarse: Tensor, step: int, dtype: torch.dtype) -> Tensor:
    """Interpolate from where transforms are computed, (B, cells + 3), to the bins between."""
    cells = coarse.shape[1] - 3
    fraction = torch.arange(step, dtype=torch.float64, device=coarse.device) / step
    at = torch.arange(-1, 3, dtype=torch.float64, device=coarse.device).expand(step, 4)
    weights = lagrange_weights(at, fraction).to(dtype)
    coarse = coarse.to(dtype)
    fine = coarse[:, :cells, None] * weights[:, 0]
    for j in range(1, 4):
        fine = fine + coarse[:, j : cells + j, None] * weights[:, j]
    return torch.cat([fine.flatten(1), coarse[:, -2:-1]], dim=1)


def _thinning(n_bins: int, dk: float) -> int:
    """Bins from one evaluation of the kernel to the next: a power of two."""
    step = 1
    while (n_bins - 1) % (2 * step) == 0 and 2 * step * dk * _SMOOTH_KMS <= 2 * math.pi:
        step *= 2
    return step


def log_shift(rv: Tensor) -> Tensor:
    """Shift in ln(wavelength) of a star with velocity ``rv`` (km/s): observed = rest (1 + rv/c)."""
    return torch.log1p(rv / C_KMS)


def phase(n_bins: int, turns: Tensor, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Transform of a shift towards higher indices.

    Parameters
    ----------
    n_bins : int
        Bins of the real Fourier transform of n values.
    turns : Tensor of float64, shape (B,)
        The shift in units of n pixels.
    dtype : torch.dtype
        Of the result; angles are computed in double precision, or they would lose their end.

    Returns
    -------
    Tensor, complex, shape (B, n_bins)
        exp(-2 pi i j turns) in bin j.
    """
    blocks = -(-n_bins // _BLOCK)
    angle = -2 * math.pi * turns[:, None]
    slow = angle * (_BLOCK * torch.arange(blocks, dtype=torch.float64, device=turns.device))
    fast = angle * torch.arange(_BLOCK, dtype=torch.float64, device=turns.device)
    one = torch.ones((), dtype=torch.float64, device=turns.device)
    per_block, per_bin = (torch.polar(one, x).to(dtype) for x in (slow, fast))
    return (per_block[:, :, None] * per_bin[:, None, :]).flatten(1)[:, :n_bins]
