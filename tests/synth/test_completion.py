"""Completion: what is computed stays, and what is missing follows smooth changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harpsstar.errors import InputsMissingError
from harpsstar.synth.atlas9 import Deck
from harpsstar.synth.completion import complete
from harpsstar.synth.grid import Node

TEFF = np.arange(4000.0, 6001.0, 250.0)
LOGG = np.arange(2.0, 5.01, 0.5)
M_H = (-1.5, -1.0, -0.5, 0.0, 0.5)
PLANES = [(v, a) for a in (0.0, 0.4) for v in (1.0, 2.0)]
NODES = [
    Node(Deck(t, g, m, Path("x")), v, a)
    for v, a in PLANES for t in TEFF for g in LOGG for m in M_H
]  # fmt: skip


def rough(node: Node) -> np.ndarray:
    """An older grid: anything, without alpha."""
    seed = hash((node.deck.teff, node.deck.logg, node.deck.m_h, node.vmic)) % 2**32
    return np.random.default_rng(seed).normal(size=3)


def change(node: Node) -> np.ndarray:
    """A cubic in teff and logg, different on every plane and metallicity."""
    t, g = node.deck.teff / 5000 - 1, node.deck.logg / 3 - 1
    shape = np.array([t**3 + g, t * g**2, 1 + t - g**3])
    return shape * (1 + node.deck.m_h) * (1 + node.vmic) * (1 + node.alpha)


def coarse(node: Node) -> bool:
    return node.deck.teff % 500 == 0 and node.deck.logg % 1 == 0


def sparse(node: Node) -> bool:
    return coarse(node) and node.deck.m_h in (-1.5, -0.5, 0.0, 0.5)


TRUTH = np.array([rough(node) + change(node) for node in NODES])
OLDER = np.array([rough(n) if n.alpha == 0 else np.full(3, np.nan) for n in NODES])
COMPUTED = np.array([coarse(node) for node in NODES])


def test_a_cubic_change_is_carried_over_exactly():
    table = np.where(COMPUTED[:, None], TRUTH, np.nan)
    np.testing.assert_allclose(complete(NODES, table, OLDER), TRUTH, atol=1e-9)


def test_planes_other_than_the_first_may_know_fewer_metallicities():
    known = np.array([coarse(n) if (n.vmic, n.alpha) == (1, 0) else sparse(n) for n in NODES])
    table = np.where(known[:, None], TRUTH, np.nan)
    np.testing.assert_allclose(complete(NODES, table, OLDER), TRUTH, atol=1e-9)


def test_computed_nodes_stay_whatever_the_older_grid_says():
    rng = np.random.default_rng(0)
    known = rng.random(len(NODES)) < 0.7
    table = np.where(known[:, None], rng.normal(size=(len(NODES), 3)), np.nan)
    done = complete(NODES, table, OLDER)
    np.testing.assert_allclose(done[known], table[known], atol=1e-12)
    assert np.isfinite(done).all()


def test_a_plane_without_any_node_adds_the_effects_of_both_axes():
    known = np.array([n.alpha == 0 or n.vmic == 1 for n in NODES])
    table = np.where(known[:, None], TRUTH, np.nan)
    by_plane = complete(NODES, table, OLDER).reshape(2, 2, -1, 3)
    expected = by_plane[0, 1] + by_plane[1, 0] - by_plane[0, 0]
    np.testing.assert_allclose(by_plane[1, 1], expected, atol=1e-12)


def test_too_few_nodes_are_refused():
    known = np.array([n.deck.teff == 5000 and n.deck.m_h == 0 for n in NODES])
    with pytest.raises(InputsMissingError, match="--coarse"):
        complete(NODES, np.where(known[:, None], TRUTH, np.nan), OLDER)
