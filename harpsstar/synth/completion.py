"""Nodes that have not been synthesised yet, carried over from what is known.

A grid takes hours; a better line list changes every node a little. Where a node has not been
computed again, its value in an older grid is corrected by the difference between new and old,
interpolated from the computed nodes around it. The difference is far smaller than the spectrum, and
as smooth. A plane of another vmic or alpha starts from the nearest plane that is known, in the same
way. The grid's card says how many nodes were carried over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from harpsstar.errors import InputsMissingError
from harpsstar.synth.atlas9 import Node
from harpsstar.synth.emulator import Emulator
from harpsstar.synth.nodes import lagrange_weights

Array = npt.NDArray[np.float64]
#: alpha and vmic (km/s).
Plane = tuple[float, float]
#: km/s; of the plane that is completed first.
HOME_VMIC = 1.0
#: Computed nodes that take part in the interpolation of a difference along one axis.
_STENCIL = 4


def evaluate_at(older: Path, nodes: Sequence[Node]) -> npt.NDArray[np.float32]:
    """Spectra of an older grid at the nodes, (N, n_wave); nan where it does not reach."""
    emulator = Emulator.load(older)
    labels = torch.tensor([[n.deck.teff, n.deck.logg, n.deck.m_h] for n in nodes])
    vmic, alpha = (torch.tensor([getattr(n, name) for n in nodes]) for name in ("vmic", "alpha"))
    teff, logg, m_h = labels.T
    inside = emulator.contains(teff, logg, m_h, vmic, alpha)
    flux = torch.full((len(nodes), emulator.n_wave), torch.nan)
    flux[inside] = emulator.intrinsic(labels[inside], vmic[inside], alpha[inside])
    return flux.numpy()


def complete(nodes: Sequence[Node], table: Array, start: Array) -> Array:
    """Fill the missing rows.

    Parameters
    ----------
    nodes : sequence of Node
        N nodes, complete planes of (vmic, alpha).
    table : ndarray
        (N, K) values of the computed nodes; nan elsewhere.
    start : ndarray
        (N, K) values of an older grid; nan where it has none.

    Returns
    -------
    ndarray
        (N, K) without nan; computed rows as they were.
    """
    decks = [node.deck for node in nodes]
    planes = list(dict.fromkeys((node.alpha, node.vmic) for node in nodes))
    n_decks = len(nodes) // len(planes)
    at = np.array([[d.teff, d.logg, d.m_h] for d in decks[:n_decks]])
    by_plane = dict(zip(planes, table.reshape(len(planes), n_decks, -1), strict=True))
    older = dict(zip(planes, start.reshape(len(planes), n_decks, -1), strict=True))
    done: dict[Plane, Array] = {}
    for plane in sorted(planes, key=_order):
        base = _expected(plane, done, older)
        done[plane] = base + _spread(at, by_plane[plane] - base)
    return np.concatenate([done[plane] for plane in planes])


def _order(plane: Plane) -> tuple[float, float]:
    """The plane of the Sun first, then those of alpha 0 by distance in vmic, then the others."""
    alpha, vmic = plane
    return alpha, abs(np.log(vmic / HOME_VMIC))


def _expected(plane: Plane, done: dict[Plane, Array], older: dict[Plane, Array]) -> Array:
    """What is known of a plane from the older grid and from the planes before it.

    From the nearest plane in vmic, the effect of vmic being that of the older grid where it has
    both planes; for another alpha, that of the same vmic, and the effect of alpha from the nearest
    plane in vmic where it is known.
    """
    alpha, vmic = plane
    if not done:
        base = older[plane]
        return base if np.isfinite(base).all() else np.zeros_like(base)
    if alpha > 0:
        lower = max(a for a, _ in done if a < alpha)
        others = [v for a, v in done if a == alpha]
        if not others:
            return done[lower, vmic]
        near = min(others, key=lambda v: abs(np.log(v / vmic)))
        return done[lower, vmic] + done[alpha, near] - done[lower, near]
    near = min((v for a, v in done if a == alpha), key=lambda v: abs(np.log(v / vmic)))
    effect = older[plane] - older[alpha, near]
    return done[alpha, near] + np.where(np.isfinite(effect), effect, 0.0)


def _spread(at: Array, difference: Array) -> Array:
    """Interpolate what is known of (D, K) to every deck, along logg, teff, m_h in turn."""
    out = difference.copy()
    if not np.isfinite(out[:, 0]).any():
        return np.zeros_like(out)
    for axis, others in ((1, (0, 2)), (0, (1, 2)), (2, (0, 1))):
        keys, column = np.unique(at[:, others], axis=0, return_inverse=True)
        for k in range(len(keys)):
            rows = np.flatnonzero(column == k)
            known = np.isfinite(out[rows, 0])
            if known.sum() > 1 and not known.all():
                weights = _weights(at[rows[known], axis], at[rows[~known], axis])
                out[rows[~known]] = weights @ out[rows[known]]
    if not np.isfinite(out).all():
        raise InputsMissingError(
            "too few nodes of the grid have been computed to carry the others over",
            expected="those that `harpsstar synth grid --coarse` computes",
            hint="run `harpsstar synth grid --coarse` again: it resumes",
        )
    return out


def _weights(known: Array, wanted: Array) -> Array:
    """Lagrange weights (wanted, known): four nearest nodes, two beyond the last one."""
    weights = np.zeros((len(wanted), len(known)))
    for i, x in enumerate(wanted):
        inside = known.min() <= x <= known.max()
        near = np.argsort(abs(known - x), kind="stable")[: _STENCIL if inside else 2]
        weights[i, near] = lagrange_weights(torch.from_numpy(known[near]), torch.tensor(x))
    return weights
