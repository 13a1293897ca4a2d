"""The grid of nodes: where it exists, and interpolation of anything stored at its nodes.

The axes are ``teff`` (K), ``logg``, ``m_h``, ``vmic`` (km/s) and ``alpha``, in this order. Hot
stars of low gravity have no hydrostatic atmosphere, so the grid has a staircase edge there.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from harpsstar.errors import ModelError, OutsideGridError
from harpsstar.labels import ALPHA, LABELS, LOGG, M_H, TEFF, VMIC

#: The axes of the grid, in the order of the columns of a node list.
AXES = (TEFF, LOGG, M_H, VMIC, ALPHA)
#: Nodes per axis that take part in one interpolation.
STENCILS = {"linear": 2, "cubic": 4}

# Labels often sit exactly on an edge; single precision must not push them out.
_TOLERANCE = 1e-6
# Half the interval of a mean derivative, in cells: 10 K and 0.02 dex in the packaged grid.
_CLOSE = 0.04
# Bounds the memory of the gathered stencils (rows x 384 nodes x values).
_ROWS_AT_ONCE = 256


def lagrange_weights(at: Tensor, x: Tensor) -> Tensor:
    """Weights of Lagrange's interpolating polynomial.

    Parameters
    ----------
    at : Tensor, shape (..., s)
        Abscissae of the s values.
    x : Tensor, shape (...)
        Where the polynomial of degree s - 1 is wanted.

    Returns
    -------
    Tensor, shape (..., s)
        Weights that sum to one; exactly one and zeros where ``x`` is one of ``at``.
    """
    size = at.shape[-1]
    columns = []
    for i in range(size):
        weight = torch.ones_like(x)
        for j in range(size):
            if j != i:
                weight = weight * (x - at[..., j]) / (at[..., i] - at[..., j])
        columns.append(weight)
    return torch.stack(columns, dim=-1)


def lagrange_slopes(at: Tensor, x: Tensor) -> Tensor:
    """Derivatives of :func:`lagrange_weights` with respect to ``x``.

    Parameters
    ----------
    at : Tensor, shape (..., s)
        Abscissae of the s values.
    x : Tensor, shape (...)
        Where the derivative of the polynomial is wanted.

    Returns
    -------
    Tensor, shape (..., s)
        Weights that sum to zero.
    """
    size = at.shape[-1]
    columns = []
    for i in range(size):
        others = [j for j in range(size) if j != i]
        slope = torch.zeros_like(x)
        for j in others:
            term = 1 / (at[..., i] - at[..., j])
            for k in others:
                if k != j:
                    term = term * (x - at[..., k]) / (at[..., i] - at[..., k])
            slope = slope + term
        columns.append(slope)
    return torch.stack(columns, dim=-1)


class NodeGrid(nn.Module):
    """Values on a tensor grid with a staircase edge, interpolated by piecewise polynomials.

    Each axis uses the ``s`` nodes nearest to the cell that holds the point (fewer where the axis
    has fewer, one-sided at its ends): four for ``"cubic"``, two for ``"linear"``. An axis with two
    values is therefore linear and one with three quadratic. The interpolant is continuous and
    returns the stored value at every node.

    Corners of the box that have no atmosphere are filled by extrapolating along ``logg`` through
    the three lowest gravities of the same column. These ghosts are neighbours in a stencil only,
    they keep the interpolant continuous along the edge; :meth:`check` refuses points among them.

    Parameters
    ----------
    nodes : Tensor, shape (N, 5)
        ``teff`` K, ``logg``, ``m_h``, ``vmic`` km/s, ``alpha`` of every node.
    values : Tensor, shape (N, K)
        What is stored at the nodes.
    interpolation : {"cubic", "linear"}
        Degree of the polynomials.

    Raises
    ------
    ModelError
        If a node is double, or one is missing elsewhere than below the lowest gravity.
    ValueError
        If ``interpolation`` is unknown.
    """

    def __init__(self, nodes: Tensor, values: Tensor, *, interpolation: str = "cubic") -> None:
        super().__init__()
        if interpolation not in STENCILS:
            raise ValueError(f"interpolation {interpolation!r}; known are {sorted(STENCILS)}")
        self.interpolation = interpolation
        pairs = [torch.unique(nodes[:, j], return_inverse=True) for j in range(len(AXES))]
        for label, (axis, _) in zip(AXES, pairs, strict=True):
            self.register_buffer(f"axis_{label.name}", axis, persistent=False)
        table, present = _tensor_grid(pairs, values)
        lowest = _lowest_gravity(present)
        _fill_ghosts(table, lowest, self.axes[1])
        # The strictest of all m_h, vmic and alpha, so that no accepted point rests on ghosts alone.
        floor = self.axes[1][lowest.amax(dim=(1, 2, 3))]
        self.register_buffer("floor", floor, persistent=False)
        self.register_buffer("table", table.reshape(-1, values.shape[1]), persistent=False)
        self.shape = tuple(table.shape[:-1])

    @property
    def axes(self) -> list[Tensor]:
        """Values of ``teff``, ``logg``, ``m_h``, ``vmic`` and ``alpha``, each increasing."""
        return [cast(Tensor, getattr(self, f"axis_{label.name}")) for label in AXES]

    def lowest_logg(self, teff: Tensor) -> Tensor:
        """Lowest gravity with an atmosphere at ``teff`` (K), linear between the grid's values."""
        axis, floor = self.axes[0], cast(Tensor, self.floor)
        teff = teff.to(axis).clamp(axis[0], axis[-1])
        if len(axis) == 1:
            return floor.expand_as(teff)
        left = (torch.bucketize(teff.contiguous(), axis, right=True) - 1).clamp(0, len(axis) - 2)
        fraction = (teff - axis[left]) / (axis[left + 1] - axis[left])
        return torch.lerp(floor[left], floor[left + 1], fraction)

    def contains(
        self, teff: Tensor, logg: Tensor, m_h: Tensor, vmic: Tensor, alpha: Tensor | None = None
    ) -> Tensor:
        """Tell which points lie between existing nodes.

        Parameters
        ----------
        teff, logg, m_h, vmic : Tensor, shape (B,)
            K, log10 of cm/s2, dex, km/s.
        alpha : Tensor of shape (B,), optional
            [alpha/Fe], dex; 0 by default.

        Returns
        -------
        Tensor of bool, shape (B,)
            False also where a label is not finite.
        """
        inside = torch.ones_like(teff, dtype=torch.bool)
        point = (teff, logg, m_h, vmic, torch.zeros_like(teff) if alpha is None else alpha)
        for axis, value in zip(self.axes, point, strict=True):
            slack = _TOLERANCE * (axis[-1] - axis[0]).clamp(min=1.0)
            inside = inside & (value >= axis[0] - slack) & (value <= axis[-1] + slack)
        slack = _TOLERANCE * (self.axes[1][-1] - self.axes[1][0]).clamp(min=1.0)
        return inside & (logg >= self.lowest_logg(teff) - slack)

    def nearest(self, labels: Tensor) -> Tensor:
        """Move labels into the grid, each along its own axis, gravity after temperature.

        Parameters
        ----------
        labels : Tensor, shape (B, 4)
            ``teff``, ``logg``, ``m_h``, ``vsini``.

        Returns
        -------
        Tensor, shape (B, 4)
            The same where the point lies inside.
        """
        low, high = (
            torch.tensor([getattr(label, end) for label in LABELS]).to(labels)
            for end in ("low", "high")
        )
        inside = torch.minimum(torch.maximum(labels, low), high)
        floor = self.lowest_logg(inside[:, 0]).to(labels)
        logg = torch.maximum(inside[:, 1], floor)
        return torch.cat([inside[:, :1], logg[:, None], inside[:, 2:]], dim=1)

    def check(self, points: Tensor) -> None:
        """Refuse points outside the grid.

        Parameters
        ----------
        points : Tensor, shape (B, 5)
            ``teff``, ``logg``, ``m_h``, ``vmic``, ``alpha``.

        Raises
        ------
        OutsideGridError
            Naming the first point outside and the range allowed for each of its labels.
        """
        inside = self.contains(*points.unbind(-1))
        if bool(inside.all()):
            return
        row = int((~inside).nonzero()[0, 0])
        raise OutsideGridError(
            f"labels of spectrum {row} ({self._describe(points[row])}) lie outside the grid "
            f"({int((~inside).sum())} of {len(inside)} do)",
            expected=self._allowed(points[row, 0]),
        )

    @staticmethod
    def _describe(point: Tensor) -> str:
        pairs = zip(AXES, point.tolist(), strict=True)
        return ", ".join(f"{label.name} {x:g}{_unit(label.unit)}" for label, x in pairs)

    def _allowed(self, teff: Tensor) -> str:
        axes = self.axes
        known = bool(torch.isfinite(teff))
        at = teff.to(axes[0]).clamp(axes[0][0], axes[0][-1]) if known else axes[0][0]
        parts = []
        for label, axis in zip(AXES, axes, strict=True):
            low, high = float(axis[0]), float(axis[-1])
            where = ""
            if label is LOGG:
                low, where = float(self.lowest_logg(at)), f" (at teff {float(at):g} K)"
            parts.append(f"{label.name} {low:.4g} to {high:g}{_unit(label.unit)}{where}")
        return ", ".join(parts)

    def forward(self, points: Tensor) -> Tensor:
        """Interpolate.

        Parameters
        ----------
        points : Tensor, shape (B, 5)
            ``teff``, ``logg``, ``m_h``, ``vmic``, ``alpha``; differentiable. Outside the grid the
            outermost polynomials go on: see :meth:`check`.

        Returns
        -------
        Tensor, shape (B, K)
        """
        parts = [self._interpolate(part) for part in points.split(_ROWS_AT_ONCE)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def derivatives(self, points: Tensor, *, smooth: bool = False) -> Tensor:
        """Interpolate, and differentiate the interpolant.

        Parameters
        ----------
        points : Tensor, shape (B, 5)
            As in :meth:`forward`. At a node, where the interpolant has a kink, the derivative is
            that on the side of larger values, at the upper end of an axis that on the other.
        smooth : bool
            Take the mean derivative within 4 % of a cell on both sides instead, which is
            continuous across nodes.

        Returns
        -------
        Tensor, shape (B, 6, K)
            The value, then its derivatives with respect to the axes; zero for an axis with a
            single node.
        """
        parts = points.split(_ROWS_AT_ONCE)
        return torch.cat([self._differentiate(part, smooth) for part in parts])

    def _differentiate(self, points: Tensor, smooth: bool) -> Tensor:
        index = torch.zeros(len(points), 1, dtype=torch.long, device=points.device)
        stencils = []
        find = self._mean_slope if smooth else self._slope
        for axis, x in zip(self.axes, points.unbind(-1), strict=True):
            nearest, weight, slope = find(axis, x)
            index = (index[:, :, None] * len(axis) + nearest[:, None, :]).flatten(1)
            stencils.append((weight, slope))
        # (B, value and derivatives so far, nodes of the axes to come, K), one axis after the other
        known = cast(Tensor, self.table)[index][:, None]
        for weights, slopes in stencils:
            nodes = known.unflatten(2, (weights.shape[1], -1)).unbind(2)
            value = nodes[0] * _each(weights, 0)
            moved = nodes[0][:, :1] * _each(slopes, 0)
            # not a product of matrices, see _interpolate
            for j in range(1, len(nodes)):
                value = value + nodes[j] * _each(weights, j)
                moved = moved + nodes[j][:, :1] * _each(slopes, j)
            known = torch.cat([value, moved], dim=1)
        return known.squeeze(2)

    def _interpolate(self, points: Tensor) -> Tensor:
        index = torch.zeros(len(points), 1, dtype=torch.long, device=points.device)
        weight = points.new_ones(len(points), 1)
        for axis, x in zip(self.axes, points.unbind(-1), strict=True):
            nearest = self._nearest(axis, x)
            w = lagrange_weights(axis[nearest], x)
            index = (index[:, :, None] * len(axis) + nearest[:, None, :]).flatten(1)
            weight = (weight[:, :, None] * w[:, None, :]).flatten(1)
        table = cast(Tensor, self.table)
        # not a product of matrices: its last bits depend on where in memory a row begins
        return (weight[:, :, None] * table[index]).sum(1)

    def _nearest(self, axis: Tensor, x: Tensor) -> Tensor:
        size = min(STENCILS[self.interpolation], len(axis))
        cell = torch.bucketize(x.detach().contiguous(), axis, right=True) - 1
        first = (cell - (size // 2 - 1)).clamp(0, len(axis) - size)
        return first[:, None] + torch.arange(size, device=x.device)

    def _slope(self, axis: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes, their weights in the value and those in its derivative, (B, s) each."""
        nearest = self._nearest(axis, x)
        return nearest, lagrange_weights(axis[nearest], x), lagrange_slopes(axis[nearest], x)

    def _mean_slope(self, axis: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same with the mean derivative close to x, which may take one more node."""
        if len(axis) == 1:
            return self._slope(axis, x)
        half = _CLOSE * axis.diff().min()
        ends = (x, x - half, x + half)
        stencils = [self._nearest(axis, end) for end in ends]
        size = min(stencils[0].shape[1] + 1, len(axis))
        start = stencils[1][:, :1].clamp_max(len(axis) - size)
        here, below, above = (
            x.new_zeros(len(x), size).scatter(1, nodes - start, lagrange_weights(axis[nodes], end))
            for nodes, end in zip(stencils, ends, strict=True)
        )
        # what the interval is after rounding
        slope = (above - below) / (ends[2] - ends[1])[:, None]
        return start + torch.arange(size, device=x.device), here, slope


def _each(weights: Tensor, j: int) -> Tensor:
    """Weight of one node, (B, 1, 1, 1)."""
    return weights[:, j, None, None, None]


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _tensor_grid(pairs: list[tuple[Tensor, Tensor]], values: Tensor) -> tuple[Tensor, Tensor]:
    """Scatter nodes to a box (teff, logg, m_h, vmic, alpha, K), and tell which are there."""
    shape = [len(axis) for axis, _ in pairs]
    place = tuple(inverse for _, inverse in pairs)
    count = torch.zeros(shape, dtype=torch.long)
    count.index_put_(place, torch.ones(len(values), dtype=torch.long), accumulate=True)
    if bool((count > 1).any()):
        raise ModelError(f"the grid holds {int((count > 1).sum())} nodes more than once")
    table = values.new_zeros(*shape, values.shape[1])
    table[place] = values
    return table, count > 0


def _lowest_gravity(present: Tensor) -> Tensor:
    """Index of the lowest existing ``logg`` of each column (teff, m_h, vmic, alpha)."""
    n_logg = present.shape[1]
    lowest = n_logg - present.sum(dim=1)
    step = torch.arange(n_logg)[None, :, None, None, None]
    wanted = step >= lowest[:, None]
    if bool((present != wanted).any()) or bool((lowest == n_logg).any()):
        raise ModelError(
            "the grid has holes",
            expected="every gravity above the lowest one, at each teff, m_h, vmic and alpha",
            hint="compute the missing nodes before compressing the grid",
        )
    return lowest


def _fill_ghosts(table: Tensor, lowest: Tensor, axis: Tensor) -> None:
    """Extrapolate to the missing gravities of each column, in place."""
    by_logg = table.movedim(1, 0)
    for k in range(1, int(lowest.max()) + 1):
        teff, m_h, vmic, alpha = (lowest == k).nonzero(as_tuple=True)
        base = slice(k, min(k + 3, len(axis)))
        known = by_logg[base][:, teff, m_h, vmic, alpha]
        for i in range(k):
            weight = lagrange_weights(axis[base].double(), axis[i].double()).to(table)
            table[teff, i, m_h, vmic, alpha] = torch.einsum("s,snk->nk", weight, known)
