"""How wrong the emulator is: compression of the nodes, and interpolation between them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from harpsstar.evaluate.bound import information
from harpsstar.labels import NAMES
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.synth.emulator import Emulator
from harpsstar.synth.nodes import AXES, STENCILS, lagrange_weights
from harpsstar.synth.relations import vmac_relation

#: Where label biases are taken, K: outside, few stars or few lines make medians hard to read.
TEFF_RANGE = (4750.0, 7000.0)
#: Rotation of the stars whose biases are computed, km/s.
VSINI = 3.0
_BATCH = 16


@dataclass(frozen=True)
class AxisError:
    """Interpolation error along one axis, half way between nodes at the grid's own spacing.

    Attributes
    ----------
    order : int
        Nodes s of the stencil; the error is taken to fall as spacing^s.
    n_left_out : int
        Nodes predicted from their neighbours.
    flux_rms, flux_rms_worst : float
        Median and largest rms over the spectrum, in units of the continuum, without broadening.
    bias : dict of str to float
        Median absolute bias of each label that these errors cause; K, dex, dex, km/s.
    """

    order: int
    n_left_out: int
    flux_rms: float
    flux_rms_worst: float
    bias: dict[str, float]


@dataclass(frozen=True)
class EmulatorAccuracy:
    """Result of :func:`emulator_accuracy`.

    Attributes
    ----------
    grid : str
        First digits of its SHA-256.
    interpolation : str
        ``"cubic"`` or ``"linear"``.
    residual_rms, residual_max : float
        Of the nodes against what the compressed grid gives back, in units of the continuum; nan
        where the file does not say.
    teff_range : tuple of float
        Where biases were taken, K.
    axes : dict of str to AxisError
        Of the axes that have enough nodes to leave some out.
    """

    grid: str
    interpolation: str
    residual_rms: float
    residual_max: float
    teff_range: tuple[float, float]
    axes: dict[str, AxisError]


@torch.no_grad()
def emulator_accuracy(
    emulator: Emulator | None = None, *, n_stars: int = 48, seed: int = 0
) -> EmulatorAccuracy:
    """Predict nodes from their neighbours on the axis at twice the spacing.

    A node takes the place of the middle of a cell of a grid with double spacing, and the stencil
    is the one that the emulator would use there, one-sided at the ends. The error is scaled to
    the grid's own spacing with (1/2)^s, s the number of nodes of the stencil: the leading term,
    which understates the error where the spectrum is not smooth on the scale of the stencil.

    Parameters
    ----------
    emulator : Emulator, optional
        The packaged grid by default.
    n_stars : int
        Left-out nodes per axis, drawn at random within :data:`TEFF_RANGE`, for label biases.
    seed : int
        Of that draw.
    """
    emulator = Emulator.load() if emulator is None else emulator
    metadata = emulator.metadata
    axes = {}
    for j, label in enumerate(AXES):
        predicted, there = predict_left_out(emulator, j)
        if bool(there.any()):
            axes[label.name] = _axis_error(emulator, j, predicted, there, n_stars, seed)
    return EmulatorAccuracy(
        grid=metadata.get("sha256", "")[:8],
        interpolation=emulator.interpolation,
        residual_rms=float(metadata.get("residual_rms", math.nan)),
        residual_max=float(metadata.get("residual_max", math.nan)),
        teff_range=TEFF_RANGE,
        axes=axes,
    )


def predict_left_out(emulator: Emulator, axis: int) -> tuple[Tensor, Tensor]:
    """Coefficients of every node predicted from its neighbours of the other parity on one axis.

    Parameters
    ----------
    emulator : Emulator
    axis : int
        Index into :data:`harpsstar.synth.nodes.AXES`.

    Returns
    -------
    predicted : Tensor
        (teff, logg, m_h, vmic, K); meaningless where not ``there``.
    there : Tensor of bool
        (teff, logg, m_h, vmic); whether the node and its whole stencil exist.
    """
    grid = emulator.grid
    table = cast(Tensor, grid.table).unflatten(0, grid.shape).movedim(axis, 0)
    exists = _existing(emulator).movedim(axis, 0)
    place, size = grid.axes[axis], STENCILS[emulator.interpolation]
    predicted, there = torch.zeros_like(table), torch.zeros_like(exists)
    for i in range(1, len(place) - 1):
        others = torch.arange((i + 1) % 2, len(place), 2)
        if len(others) < size:
            continue
        cell = int((others < i).sum()) - 1
        first = min(max(cell - (size // 2 - 1), 0), len(others) - size)
        stencil = others[first : first + size]
        weights = lagrange_weights(place[stencil].double(), place[i].double()).to(table)
        predicted[i] = torch.tensordot(weights, table[stencil], dims=1)
        there[i] = exists[i] & exists[stencil].all(0)
    return predicted.movedim(0, axis), there.movedim(0, axis)


def _existing(emulator: Emulator) -> Tensor:
    """Which places of the box hold a real node, as the strictest column of each teff has them."""
    teff, logg, _, _ = emulator.grid.axes
    real = logg >= emulator.grid.lowest_logg(teff)[:, None] - 1e-3
    return real[:, :, None, None].expand(emulator.grid.shape)


def _axis_error(
    emulator: Emulator, axis: int, predicted: Tensor, there: Tensor, n_stars: int, seed: int
) -> AxisError:
    grid = emulator.grid
    order = STENCILS[emulator.interpolation]
    scale = 0.5**order
    truth = cast(Tensor, grid.table).unflatten(0, grid.shape)
    components = cast(Tensor, emulator.components).double()
    error = (predicted - truth)[there].double()
    gram = components @ components.T / emulator.n_wave
    rms = scale * torch.einsum("nk,kl,nl->n", error, gram, error).clamp_min(0).sqrt()
    nodes = torch.cartesian_prod(*grid.axes).unflatten(0, grid.shape)[there]
    inside = (nodes[:, 0] >= TEFF_RANGE[0]) & (nodes[:, 0] <= TEFF_RANGE[1])
    some = nodes[inside]
    draw = torch.randperm(len(some), generator=torch.Generator().manual_seed(seed))[:n_stars]
    neighbour = _with_table(emulator, torch.where(there[..., None], predicted, truth))
    bias = scale * _label_bias(emulator, neighbour, some[draw]).abs()
    median = bias.median(0).values if len(bias) else torch.full((len(NAMES),), math.nan)
    return AxisError(
        order, len(error), float(rms.median()), float(rms.max()),
        dict(zip(NAMES, median.tolist(), strict=True)),
    )  # fmt: skip


def _with_table(emulator: Emulator, table: Tensor) -> Emulator:
    """Return an emulator with other coefficients at the same nodes."""
    other = copy.deepcopy(emulator)
    other.grid.table = table.flatten(0, 3)
    return other


def _label_bias(emulator: Emulator, neighbour: Emulator, nodes: Tensor) -> Tensor:
    """Bias of the labels (n, 4) at nodes (n, 4) when `neighbour` stands for the emulator.

    (JᵀJ)⁻¹ Jᵀ Δf, the least-squares answer to the difference of the two spectra under white
    noise, whose level (SNR 100, say) cancels; nuisances known.
    """
    sampler = emulator.sampler(canonical_wavelengths())
    parts = [nodes.new_zeros(0, len(NAMES)).double()]
    for part in nodes.split(_BATCH):
        teff, logg, m_h, vmic = part.T
        labels = torch.stack([teff, logg, m_h, torch.full_like(teff, VSINI)], dim=1)
        options = {"vmic": vmic, "vmac": vmac_relation(teff, logg)}
        with torch.enable_grad():
            point = labels.clone().requires_grad_()
            flux = sampler(emulator(point, **options))
            difference = sampler(neighbour(labels, **options)) - flux.detach()
            (gradient,) = torch.autograd.grad((flux * difference).sum(), point)
        fisher = information(emulator, canonical_wavelengths(), labels, ivar=1.0, **options)
        parts.append(_solve(fisher, gradient.double()))
    return torch.cat(parts)


def _solve(fisher: Tensor, gradient: Tensor) -> Tensor:
    """Solve fisher · x = gradient with rows and columns scaled to unit diagonal, (n, 4)."""
    scale = fisher.diagonal(dim1=-2, dim2=-1).rsqrt()
    scaled = fisher * scale[:, :, None] * scale[:, None, :]
    return torch.linalg.solve(scaled, scale * gradient) * scale
