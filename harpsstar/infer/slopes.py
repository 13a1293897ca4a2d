"""Spectra and their derivatives, many at a time.

Broadening and velocity are products in Fourier space, so all derivatives of a spectrum share what
is dear: one product with the principal components for each label that changes them, one kernel and
one inverse transform.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from harpsstar.infer import parameters as space
from harpsstar.model import broadening
from harpsstar.model.emulator import Emulator, Sampler, in_blocks

#: What the principal components depend on, and half the interval of their differences. Torch's own
#: derivatives of an interpolation take fifty times as long.
_INTRINSIC = {"teff": 10.0, "logg": 0.02, "m_h": 0.02, "vmic": 0.04, "alpha": 0.02}
#: Step of the derivatives of the broadening kernel, km/s.
_KERNEL_STEP = 0.2
#: km/s; the spectrum is even in vsini and vmac, so derivatives are taken no nearer to zero.
_SLOWEST = 0.7
#: Spectra at once: the arrays of that many stay in the processor's cache.
_AT_ONCE = 8


def spectra_at(
    emulator: Emulator, sampler: Sampler, parameters: Tensor, resolution: float | Tensor
) -> Tensor:
    """Spectra (B, *sampler.shape) at parameters (B, P), see :mod:`harpsstar.infer.parameters`."""
    size, n = len(parameters), space.N_LABELS
    if size == 1:
        # a single row is transformed in another way than several
        parameters = parameters.repeat(2, 1)
        resolution = resolution.repeat(2) if isinstance(resolution, Tensor) else resolution
    grid = emulator(
        parameters[:, :n],
        **space.of_emulator(parameters[:, n:]),
        resolution=resolution,
        check=False,
    )
    return sampler(grid)[:size]


def slopes_at(
    emulator: Emulator, sampler: Sampler, parameters: Tensor, resolution: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Spectra and their derivatives with respect to all parameters, in working coordinates.

    Parameters
    ----------
    emulator, sampler
        The emulator and its sampler of the (orders, pixels) canonical wavelengths.
    parameters : Tensor
        (B, P), physical units.
    resolution : float or Tensor
        Resolving power, one or (B,).

    Returns
    -------
    flux : Tensor
        (B, orders, pixels)
    slopes : Tensor
        (B, orders, P, pixels)
    """
    parts = []
    for start in range(0, len(parameters), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        r = resolution[rows] if isinstance(resolution, Tensor) else resolution
        parts.append(_slopes(emulator, sampler, parameters[rows], r))
    flux, slopes = (torch.cat(column) for column in zip(*parts, strict=True))
    return flux, slopes


def _slopes(
    emulator: Emulator, sampler: Sampler, parameters: Tensor, resolution: float | Tensor
) -> tuple[Tensor, Tensor]:
    size, n = len(parameters), space.N_PARAMETERS
    by_name = dict(zip(space.PARAMETER_NAMES, parameters.T, strict=True))
    depth = _depths(emulator, by_name)
    n_bins = depth.shape[-2]
    if bool((by_name["rv"] != 0).any()):
        shift = broadening.log_shift(by_name["rv"].double()) / emulator.log_step
        phase = broadening.phase(n_bins, shift / emulator._n_fft, torch.complex64)
        depth = torch.view_as_real(torch.view_as_complex(depth) * phase[:, None])
    kernel, by_vsini, by_vmac = (
        x[..., None] for x in _kernels(emulator, by_name, resolution, n_bins)
    )
    columns = torch.empty(size, n + 1, n_bins, 2)
    place = {name: i + 1 for i, name in enumerate(space.PARAMETER_NAMES)}
    torch.mul(depth[:, 0], kernel, out=columns[:, 0])
    torch.mul(depth[:, 0], by_vsini, out=columns[:, place["vsini"]])
    torch.mul(depth[:, 0], by_vmac, out=columns[:, place["vmac"]])
    for i, name in enumerate(_INTRINSIC):
        torch.mul(depth[:, i + 1], kernel, out=columns[:, place[name]])
    # d/drv of exp(-i k x): towards redder pixels, one per velocity step
    wavenumber = torch.arange(n_bins) * (2 * math.pi / emulator._n_fft / emulator.velocity_step)
    torch.mul(columns[:, 0, :, 1], wavenumber, out=columns[:, place["rv"], :, 0])
    torch.mul(columns[:, 0, :, 0], -wavenumber, out=columns[:, place["rv"], :, 1])
    lines = torch.fft.irfft(torch.view_as_complex(columns).flatten(0, 1), n=emulator._n_fft)
    sampled = sampler.without_gaps(lines[:, : emulator.n_wave]).unflatten(0, (size, n + 1))
    sampled = sampled.unflatten(-1, sampler.shape).neg_()
    return 1 + sampled[:, 0], sampled[:, 1:].movedim(1, 2)


def _depths(emulator: Emulator, by_name: dict[str, Tensor]) -> Tensor:
    """Transform of the unbroadened depth and its derivatives, (B, 1 + n, bins, 2), real."""

    here = torch.stack([by_name[name] for name in _INTRINSIC], dim=1)
    steps = torch.tensor(list(_INTRINSIC.values()))
    points = torch.cat([here[:, None], here[:, None] + torch.diag(steps),
                        here[:, None] - torch.diag(steps)], dim=1)  # fmt: skip
    *labels, vmic, alpha = points.flatten(0, 1).T
    rows = emulator.coefficients(torch.stack(labels, dim=1), vmic, alpha)
    centre, above, below = rows.unflatten(0, points.shape[:2]).split([1, *[len(steps)] * 2], dim=1)
    # differences of coefficients, not of spectra, whose rounding is as large as a small derivative
    rows = torch.cat([centre, (above - below) / (2 * steps[:, None])], dim=1)
    mean, components = _transforms(emulator)
    depth = in_blocks(rows.flatten(0, 1)) @ components
    depth = depth[: rows.shape[0] * rows.shape[1]].unflatten(0, rows.shape[:2])
    depth[:, 0] += mean
    return depth.unflatten(-1, (-1, 2))


def _transforms(emulator: Emulator) -> tuple[Tensor, Tensor]:
    """Transforms of mean and components, made by the emulator at its first use."""
    if emulator._transforms is None:
        emulator._transformed_depth(torch.zeros(1, cast(Tensor, emulator.components).shape[0]))
    assert emulator._transforms is not None
    return emulator._transforms


def _kernels(
    emulator: Emulator, by_name: dict[str, Tensor], resolution: float | Tensor, n_bins: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Broadening kernel and its derivatives by the coordinate of vsini and by vmac, (B, bins)."""
    dk = 2 * math.pi / (emulator._n_fft * emulator.velocity_step)
    vsini, vmac = by_name["vsini"], by_name["vmac"]
    fast, wide = vsini.clamp_min(_SLOWEST), vmac.clamp_min(_SLOWEST)
    h = _KERNEL_STEP
    rotations = torch.cat([vsini, fast + h, fast - h, vsini, vsini])
    turbulence = torch.cat([vmac, vmac, vmac, wide + h, wide - h])
    r = resolution.repeat(5) if isinstance(resolution, Tensor) else resolution
    kernel = broadening.kernel(n_bins, dk, rotations, turbulence, r, torch.float32)
    here, *pairs = kernel.unflatten(0, (5, -1))
    by_vsini = (pairs[0] - pairs[1]) * (space.stretch(fast) / (2 * h))[:, None]
    return here, by_vsini, (pairs[2] - pairs[3]) / (2 * h)
