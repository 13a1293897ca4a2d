"""How wrong the emulator is: compression of the nodes, and interpolation between them.

What is here needs the grid alone; :mod:`harpsstar.evaluate.synthesis` compares with PySME.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from harpsstar.evaluate.bound import information
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.model.nodes import AXES, STENCILS, lagrange_weights
from harpsstar.model.relations import vmac_relation
from harpsstar.spectra.frame import canonical_wavelengths

#: Where label biases are taken, K: outside, few lines or few stars make medians hard to read.
TEFF_RANGE = (4500.0, 7000.0)
#: Rotation of the stars whose biases are computed, km/s.
VSINI = 3.0
_BATCH = 16


@dataclass(frozen=True)
class AxisError:
    """Interpolation error along one axis, or all, half way between nodes at the grid's own spacing.

    Attributes
    ----------
    order : int
        Nodes s of the stencil; the error is taken to fall as spacing^s.
    n_left_out : int
        Nodes predicted from their neighbours.
    flux_rms, flux_rms_worst : float
        Median and largest rms over the spectrum, in units of the continuum, without broadening.
    bias, bias_90 : dict of str to float
        Median and 90th percentile of the absolute bias of each label that these errors cause; K,
        dex, dex, km/s.
    """

    order: int
    n_left_out: int
    flux_rms: float
    flux_rms_worst: float
    bias: dict[str, float]
    bias_90: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """The emulator against spectra that were synthesised where it has no node.

    Attributes
    ----------
    n : int
        Spectra.
    flux_rms, flux_rms_90, flux_rms_worst : float
        Median, 90th percentile and largest rms difference over the canonical orders, in units of
        the continuum, of stars as a spectrograph sees them.
    bias, bias_90, bias_worst : dict of str to float
        Median, 90th percentile and largest absolute bias of each label; K, dex, dex, km/s.
    points : tuple of dict of str to float
        Of every spectrum teff, logg, m_h, vmic, alpha, flux_rms, and ``bias_<label>`` with its
        sign: what the emulator would find too much.
    """

    n: int
    flux_rms: float
    flux_rms_90: float
    flux_rms_worst: float
    bias: dict[str, float]
    bias_90: dict[str, float]
    bias_worst: dict[str, float]
    points: tuple[dict[str, float], ...]


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
    n_nodes, carried_over : int
        Nodes, and how many of them were not synthesised with the grid's line list but carried over
        from an older grid.
    teff_range : tuple of float
        Where biases were taken, K.
    axes : dict of str to AxisError
        Of the axes that have enough nodes to leave some out.
    together : AxisError or None
        At the nodes that can be left out on every one of these axes: the sum of their errors.
    comparisons : dict of str to Comparison
        What :mod:`harpsstar.evaluate.synthesis` adds.
    """

    grid: str
    interpolation: str
    residual_rms: float
    residual_max: float
    n_nodes: int
    carried_over: int
    teff_range: tuple[float, float]
    axes: dict[str, AxisError]
    together: AxisError | None
    comparisons: dict[str, Comparison] = field(default_factory=dict)


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
    errors = {}
    for j, label in enumerate(AXES):
        error, there = _interpolation_error(emulator, j)
        if bool(there.any()):
            errors[label.name] = (error, there)
    axes = {name: _measure(emulator, *pair, n_stars, seed) for name, pair in errors.items()}
    return EmulatorAccuracy(
        grid=metadata.get("sha256", "")[:8],
        interpolation=emulator.interpolation,
        residual_rms=float(metadata.get("residual_rms", math.nan)),
        residual_max=float(metadata.get("residual_max", math.nan)),
        n_nodes=int(_existing(emulator).sum()),
        carried_over=int(metadata.get("carried_over", 0)),
        teff_range=TEFF_RANGE,
        axes=axes,
        together=_together(emulator, list(errors.values()), n_stars, seed),
    )


def _interpolation_error(emulator: Emulator, axis: int) -> tuple[Tensor, Tensor]:
    """Error of the coefficients half way between nodes on one axis, 0 where it is not known."""
    predicted, there = predict_left_out(emulator, axis)
    truth = cast(Tensor, emulator.grid.table).unflatten(0, emulator.grid.shape)
    scale = 0.5 ** STENCILS[emulator.interpolation]
    return scale * torch.where(there[..., None], predicted - truth, torch.zeros(())), there


def _together(
    emulator: Emulator, errors: list[tuple[Tensor, Tensor]], n_stars: int, seed: int
) -> AxisError | None:
    there = torch.ones(emulator.grid.shape, dtype=torch.bool)
    total = torch.zeros(())
    for error, known in errors:
        there, total = there & known, total + error
    if not errors or not bool(there.any()):
        return None
    return _measure(emulator, total, there, n_stars, seed)


def predict_left_out(emulator: Emulator, axis: int) -> tuple[Tensor, Tensor]:
    """Coefficients of every node predicted from its neighbours of the other parity on one axis.

    Parameters
    ----------
    emulator : Emulator
    axis : int
        Index into :data:`harpsstar.model.nodes.AXES`.

    Returns
    -------
    predicted : Tensor
        (teff, logg, m_h, vmic, alpha, K); meaningless where not ``there``.
    there : Tensor of bool
        (teff, logg, m_h, vmic, alpha); whether the node and its whole stencil exist.
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
    teff, logg, *others = emulator.grid.axes
    real = logg >= emulator.grid.lowest_logg(teff)[:, None] - 1e-3
    return real[(..., *(None,) * len(others))].expand(emulator.grid.shape)


def _measure(
    emulator: Emulator, error: Tensor, there: Tensor, n_stars: int, seed: int
) -> AxisError:
    """Spectra and label biases that an error of the coefficients makes at the nodes `there`."""
    grid = emulator.grid
    components = cast(Tensor, emulator.components).double()
    some_error = error[there].double()
    gram = components @ components.T / emulator.n_wave
    rms = torch.einsum("nk,kl,nl->n", some_error, gram, some_error).clamp_min(0).sqrt()
    nodes = torch.cartesian_prod(*grid.axes).unflatten(0, grid.shape)[there]
    inside = (nodes[:, 0] >= TEFF_RANGE[0]) & (nodes[:, 0] <= TEFF_RANGE[1])
    some = nodes[inside]
    drawn = some[torch.randperm(len(some), generator=torch.Generator().manual_seed(seed))[:n_stars]]
    bias = label_bias(emulator, drawn, seen(_with_error(emulator, error), drawn)).abs()
    return AxisError(
        STENCILS[emulator.interpolation], len(some_error), float(rms.median()), float(rms.max()),
        by_label(bias, 0.5), by_label(bias, 0.9),
    )  # fmt: skip


def by_label(values: Tensor, quantile: float) -> dict[str, float]:
    """Quantile over the stars of (n, 4) values, by label; nan without stars."""
    if len(values) == 0:
        return dict.fromkeys(NAMES, math.nan)
    return dict(zip(NAMES, values.quantile(quantile, dim=0).tolist(), strict=True))


def _with_error(emulator: Emulator, error: Tensor) -> Emulator:
    """Return an emulator whose coefficients at the nodes are wrong by so much."""
    other = copy.deepcopy(emulator)
    other.grid.table = cast(Tensor, other.grid.table) + error.flatten(0, -2)
    return other


def label_bias(emulator: Emulator, points: Tensor, others: Tensor) -> Tensor:
    """Bias of the labels of stars whose spectra are not the emulator's.

    (JᵀJ)⁻¹ Jᵀ Δf, the least-squares answer to the difference of the two spectra under white
    noise, whose level (SNR 100, say) cancels; nuisances known.

    Parameters
    ----------
    emulator : Emulator
    points : Tensor, shape (n, 5)
        ``teff``, ``logg``, ``m_h``, ``vmic``, ``alpha``; they rotate with :data:`VSINI`.
    others : Tensor, shape (n, n_wave)
        The other spectra of the same stars, as :func:`seen` gives the emulator's.

    Returns
    -------
    Tensor of float64, shape (n, 4)
        What the emulator finds too much; K, dex, dex, km/s.
    """
    sampler = emulator.sampler(canonical_wavelengths())
    parts = [points.new_zeros(0, len(NAMES)).double()]
    for part, other in zip(points.split(_BATCH), others.split(_BATCH), strict=True):
        labels, options = observed_as(part)
        with torch.enable_grad():
            point = labels.clone().requires_grad_()
            flux = sampler(emulator(point, **options))
            difference = sampler(other) - flux.detach()
            (gradient,) = torch.autograd.grad((flux * difference).sum(), point)
        fisher = information(
            emulator, canonical_wavelengths(), labels, ivar=1.0,
            vmic=options["vmic"], vmac=options["vmac"], alpha=options["alpha"],
        )  # fmt: skip
        parts.append(_solve(fisher, gradient.double()))
    return torch.cat(parts)


def seen(emulator: Emulator, points: Tensor) -> Tensor:
    """Spectra (n, n_wave) of stars at points (n, 5), as :func:`observed_as` observes them."""
    parts = [points.new_zeros(0, emulator.n_wave)]
    for part in points.split(_BATCH):
        labels, options = observed_as(part)
        parts.append(emulator(labels, **options, check=False))
    return torch.cat(parts)


def observed_as(points: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Labels (n, 4) and keywords of the emulator for slowly rotating stars at points (n, 5)."""
    teff, logg, m_h, vmic, alpha = points.T
    labels = torch.stack([teff, logg, m_h, torch.full_like(teff, VSINI)], dim=1)
    return labels, {"vmic": vmic, "vmac": vmac_relation(teff, logg), "alpha": alpha}


def _solve(fisher: Tensor, gradient: Tensor) -> Tensor:
    """Solve fisher · x = gradient with rows and columns scaled to unit diagonal, (n, 4)."""
    scale = fisher.diagonal(dim1=-2, dim2=-1).rsqrt()
    scaled = fisher * scale[:, :, None] * scale[:, None, :]
    return torch.linalg.solve(scaled, scale * gradient) * scale
