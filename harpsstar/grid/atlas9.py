"""ATLAS9 model atmospheres: which decks exist, and what they are.

The decks are Castelli & Kurucz (2003, IAU Symp. 210, A20) ODFNEW models, one per file, in folders
``grid<Z>odfnew`` as the SPECIES repository keeps them. PySME reads a deck by itself; this module
finds them, reads the two numbers of its first card, and interpolates between them.

The decks of solar metallicity do not belong to the same family as the others: they are titled
``VTURB=0``, the others ``VTURB=2``, and with less line opacity their line-forming layers are some
8 K (K dwarfs) to 16 K (F dwarfs) cooler than what the other metallicities say. A grid that holds
them bends at [M/H] = 0, where most stars are. So :func:`find_family` leaves them out and puts
atmospheres in their place that are interpolated between the others.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harpsstar.errors import InputsMissingError, OutsideGridError, ReadError
from harpsstar.grid._pysme import load_pysme

#: Metallicities of the paper's grid (Table 1) and the folder codes that hold them.
METALLICITY_CODES = {
    "m25": -2.5, "m20": -2.0, "m15": -1.5, "m10": -1.0, "m05": -0.5, "p00": 0.0, "p05": 0.5,
}  # fmt: skip
#: A plane of real decks between those of the grid: the test of interpolation in [M/H], and a
#: neighbour of the atmospheres that stand for :data:`ODD_CODE`.
HELD_OUT_CODES = {"p02": 0.2}
#: The plane computed with another microturbulence than all others.
ODD_CODE = "p00"


@dataclass(frozen=True, order=True)
class Deck:
    """One model atmosphere: a deck, or what :func:`interpolate` makes of several.

    Attributes
    ----------
    teff : float
        K.
    logg : float
        log10 of cm/s².
    m_h : float
        Metallicity, dex.
    path : Path
        Its file; of an interpolated one that of the nearest deck, for all that is not interpolated
        (opacity switches, mixing length).
    columns : dict of str to ndarray, optional
        Of an interpolated one, (72,) each: ``rhox`` g/cm², ``temp`` K, ``xna`` and ``xne`` 1/cm³,
        ``rho`` g/cm³.
    """

    teff: float
    logg: float
    m_h: float
    path: Path
    columns: dict[str, npt.NDArray[np.float64]] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def name(self) -> str:
        """The file's own name, e.g. ``p00_5750_4.5``, or ``mix0.0_5750_4.5``."""
        if self.columns is None:
            return self.path.stem
        return f"mix{self.m_h}_{self.teff:g}_{self.logg}"


class Node(NamedTuple):
    """One synthesis: an atmosphere, vmic in km/s and [alpha/Fe] in dex."""

    deck: Deck
    vmic: float
    alpha: float

    @property
    def name(self) -> str:
        """Stem of the node's file."""
        return f"{self.deck.name}_v{self.vmic:g}_a{self.alpha:g}"


def read_deck(path: Path, m_h: float) -> Deck:
    """Read teff and logg from the first card of a deck.

    Raises
    ------
    ReadError
        When the file does not begin with a ``TEFF … GRAVITY …`` card.
    """
    with path.open(errors="replace") as stream:
        first = stream.readline()
    found = re.match(r"\s*TEFF\s+([\d.]+)\s+GRAVITY\s+([\d.]+)", first)
    if found is None:
        raise ReadError(
            f"its first line is {first.strip()[:40]!r}",
            expected="an ATLAS deck that begins with a TEFF … GRAVITY … card",
            path=path,
        )
    return Deck(float(found[1]), float(found[2]), m_h, path)


def find_decks(root: Path, codes: dict[str, float] = METALLICITY_CODES) -> list[Deck]:
    """List the decks below ``root/atlas9-odfnew``, sorted by teff, logg and m_h.

    Parameters
    ----------
    root : Path
        The folder of inputs (see :mod:`harpsstar.grid.inputs`).
    codes : dict
        Folder code to metallicity.

    Raises
    ------
    InputsMissingError
        When a folder is missing or empty.
    """
    decks: list[Deck] = []
    for code, m_h in codes.items():
        folder = root / "atlas9-odfnew" / f"grid{code}odfnew"
        found = [read_deck(path, m_h) for path in sorted(folder.glob(f"{code}_*.dat"))]
        if not found:
            raise InputsMissingError(
                "no ATLAS9 deck found",
                path=folder,
                expected=f"files {code}_<teff>_<logg>.dat",
                hint="run `harpsstar synth inputs`, or set HARPSSTAR_CACHE to a folder with them",
            )
        decks += found
    return sorted(decks)


N_LAYERS = 72
#: What PySME needs of every layer, and the interpolation is done in.
COLUMNS = ("rhox", "temp", "xna", "xne", "rho")


def structure(deck: Deck) -> npt.NDArray[np.float64]:
    """Return the logarithms of :data:`COLUMNS` of a deck, (5, 72)."""
    if deck.columns is not None:
        return np.log([deck.columns[name] for name in COLUMNS])
    return _structure_in(deck.path)


@cache
def _structure_in(path: Path) -> npt.NDArray[np.float64]:
    # a deck takes part in the interpolation of many atmospheres
    atmosphere = load_pysme().krzfile.KrzFile(str(path))
    return np.log([getattr(atmosphere, name) for name in COLUMNS])


def _stencil(values: Sequence[float], at: float) -> dict[float, float]:
    """Lagrange weights of the (up to) four of increasing values around `at`."""
    if at in values:
        return {at: 1.0}
    place = int(np.searchsorted(values, at))
    first = min(max(place - 2, 0), max(len(values) - 4, 0))
    near = values[first : first + 4]
    return {
        a: math.prod((at - b) / (a - b) for b in near if b != a)
        for a in near
    }  # fmt: skip


def interpolate(decks: Sequence[Deck], teff: float, logg: float, m_h: float) -> Deck:
    """Interpolate the structure of the decks, layer by layer.

    The layers of all ATLAS9 decks lie at the same Rosseland optical depths, so the logarithm of
    each column is interpolated at fixed layer, by Lagrange polynomials through up to four decks
    along each axis.

    Parameters
    ----------
    decks : sequence of Deck
    teff, logg, m_h : float
        K, log10 of cm/s², dex.

    Raises
    ------
    OutsideGridError
        When a deck that is needed does not exist, or has other layers than the others.
    """
    at = {(deck.teff, deck.logg, deck.m_h): deck for deck in decks}
    axes = [_stencil(sorted({key[i] for key in at}), x) for i, x in enumerate((teff, logg, m_h))]
    total = np.zeros((len(COLUMNS), 1))
    for key in itertools.product(*axes):
        if key not in at:
            raise OutsideGridError(
                f"no ATLAS9 deck at teff {key[0]:g} K, logg {key[1]:g}, m_h {key[2]:g}",
                expected=f"decks all around teff {teff:g} K, logg {logg:g}, m_h {m_h:g}",
            )
        if (layers := structure(at[key])).shape[1] != N_LAYERS:
            raise OutsideGridError(
                f"{at[key].path.name} has {layers.shape[1]} layers", expected=f"{N_LAYERS} layers"
            )
        total = total + math.prod(w[x] for w, x in zip(axes, key, strict=True)) * layers
    nearest = min(
        at, key=lambda k: abs(k[0] - teff) / 250 + abs(k[1] - logg) / 0.5 + abs(k[2] - m_h) / 0.5
    )
    columns = dict(zip(COLUMNS, np.exp(total), strict=True))
    return Deck(teff, logg, m_h, at[nearest].path, columns)


def find_family(root: Path) -> list[Deck]:
    """List the atmospheres of the grid's nodes, sorted by teff, logg and m_h.

    They are the decks of :data:`METALLICITY_CODES`, but for the plane of :data:`ODD_CODE`: its
    temperatures and gravities with atmospheres interpolated in [M/H] between the four nearest
    metallicities that have a deck of 72 layers there, +0.2 among them.

    Parameters
    ----------
    root : Path
        As in :func:`find_decks`.

    Raises
    ------
    InputsMissingError
        When a folder is missing or empty.
    """
    codes = {code: m_h for code, m_h in METALLICITY_CODES.items() if code != ODD_CODE}
    real = find_decks(root, codes)
    around: dict[tuple[float, float], list[Deck]] = {}
    for deck in [*real, *find_decks(root, HELD_OUT_CODES)]:
        around.setdefault((deck.teff, deck.logg), []).append(deck)
    odd = find_decks(root, {ODD_CODE: METALLICITY_CODES[ODD_CODE]})
    return sorted([*real, *(_in_line(deck, around[deck.teff, deck.logg]) for deck in odd)])


def _in_line(deck: Deck, others: Sequence[Deck]) -> Deck:
    """Replace a deck by what others of its temperature and gravity interpolate to."""
    nearest = sorted(others, key=lambda other: abs(other.m_h - deck.m_h))[:6]
    usable = [other for other in nearest if structure(other).shape[1] == N_LAYERS]
    return interpolate(usable, deck.teff, deck.logg, deck.m_h)


def digest(decks: list[Deck]) -> str:
    """SHA-256 over the names and contents of the decks."""
    total = hashlib.sha256()
    for deck in decks:
        total.update(deck.name.encode())
        if deck.columns is None:
            total.update(deck.path.read_bytes())
        else:  # to what every processor's exp and log agree on
            total.update(structure(deck).round(6).tobytes())
    return total.hexdigest()
