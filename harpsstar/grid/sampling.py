"""Which wavelengths of a node are computed: all of them, or one in four.

A spectrum of the grid is a mean and some hundreds of principal components, so a quarter of its
38,400 pixels determines it many times over (Everson & Sirovich 1995, JOSA A 12, 1657: gappy proper
orthogonal decomposition). Each node has its own pixels, one drawn from every four neighbours, so
that all nodes together see each pixel thousands of times. One spectrum in twenty is computed
whole: the scouts, from which the components are first made.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from harpsstar.grid.atlas9 import Node
from harpsstar.grid.synthesis import N_WAVE

#: One pixel of so many neighbours is computed.
STRIDE = 4
#: One pair of deck and alpha of so many has one microturbulence computed at all wavelengths.
SCOUTS_EVERY = 4


def pixels(node: Node, n_wave: int = N_WAVE) -> npt.NDArray[np.intp]:
    """Return the indices of a node's own pixels, (n_wave // STRIDE,), increasing.

    They follow from the node's name, the same on every machine.

    >>> from pathlib import Path
    >>> from harpsstar.grid.atlas9 import Deck
    >>> chosen = pixels(Node(Deck(5750.0, 4.5, 0.0, Path("p00_5750_4.5.dat")), 1.0, 0.0))
    >>> len(chosen), bool((chosen // STRIDE == range(len(chosen))).all())
    (9600, True)
    """
    random = np.random.default_rng(zlib.crc32(node.name.encode()))
    groups = np.arange(0, n_wave, STRIDE)
    return groups + random.integers(0, STRIDE, len(groups))


def scouts(place: int, vmic: tuple[float, ...]) -> tuple[float, ...]:
    """Return which microturbulences are computed whole for a pair of deck and alpha: one or none.

    Parameters
    ----------
    place : int
        Of the pair among all pairs.
    vmic : tuple of float
        Those of the grid, km/s; taken in turn.
    """
    turn, rest = divmod(place, SCOUTS_EVERY)
    return () if rest else (vmic[turn % len(vmic)],)
