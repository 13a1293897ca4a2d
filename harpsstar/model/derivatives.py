"""Exact derivatives of spectra with respect to everything that they depend on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.labels import LABELS, NUISANCES
from harpsstar.model.fourier import VELOCITIES, Transforms
from harpsstar.model.nodes import AXES, NodeGrid
from harpsstar.model.sampler import Sampler

#: Everything that spectra depend on and can be differentiated by.
PARAMETERS: tuple[str, ...] = tuple(label.name for label in LABELS + NUISANCES)

# Spectra at once: the arrays of that many stay in the processor's cache.
_AT_ONCE = 8


@dataclass(frozen=True)
class Stars:
    """What B spectra depend on.

    Attributes
    ----------
    points : Tensor, shape (B, 5)
        Where they lie in the grid.
    vsini, vmac, resolution, rv : Tensor, shape (B,)
        km/s; resolving power.
    """

    points: Tensor
    vsini: Tensor
    vmac: Tensor
    resolution: Tensor
    rv: Tensor

    def __getitem__(self, rows: slice) -> Stars:
        return Stars(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@torch.no_grad()
def differentiate(
    grid: NodeGrid,
    transforms: Transforms,
    sampler: Sampler,
    stars: Stars,
    by: tuple[str, ...],
    *,
    squares: bool = False,
    smooth: bool = False,
) -> tuple[Tensor, Tensor]:
    """Spectra and their derivatives, see :meth:`harpsstar.model.emulator.Emulator.derivatives`."""
    if unknown := sorted(set(by) - set(PARAMETERS)):
        raise ValueError(f"no derivatives by {unknown}; known are {PARAMETERS}")
    size, axes = len(stars.points), [label.name for label in AXES]
    # no spectrum depends on what has a single value in the grid
    inner = [name for name in by if name in axes and grid.shape[axes.index(name)] > 1]
    outer = tuple(name for name in VELOCITIES if name in by)
    rows = [0, *(1 + axes.index(name) for name in inner)]
    place = [by.index(name) for name in (*inner, *outer)]
    flux = stars.points.new_empty(size, sampler.wave.size)
    slopes = flux.new_zeros(size, len(by), sampler.wave.size)
    for start in range(0, size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        few = stars[part]
        lines = transforms.derivatives(
            grid.derivatives(few.points, smooth=smooth)[:, rows],
            few.vsini, few.vmac, few.resolution, few.rv, outer,
        )  # fmt: skip
        sampled = sampler.without_gaps(lines.flatten(0, 1)).unflatten(0, lines.shape[:2])
        torch.add(sampled[:, 0], 1, out=flux[part])
        slopes[part, place] = sampled[:, 1:]
    if not squares:
        for name, speed in (("vsini", stars.vsini), ("vmac", stars.vmac)):
            if name in by:
                slopes[:, by.index(name)] *= 2 * speed[:, None].to(slopes)
    return flux.unflatten(1, sampler.shape), slopes.unflatten(2, sampler.shape)
