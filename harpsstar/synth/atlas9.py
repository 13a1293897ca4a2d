"""ATLAS9 model atmospheres: which decks exist, and what they are.

The decks are Castelli & Kurucz (2003, IAU Symp. 210, A20) ODFNEW models, one per file, in folders
``grid<Z>odfnew`` as the SPECIES repository keeps them. PySME reads a deck by itself; this module
finds them and reads the two numbers of its first card.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harpsstar.errors import InputsMissingError, OutsideGridError, ReadError
from harpsstar.synth._pysme import load_pysme

#: Metallicities of the seeds' grid (Table 1) and the folder codes that hold them.
METALLICITY_CODES = {
    "m25": -2.5, "m20": -2.0, "m15": -1.5, "m10": -1.0, "m05": -0.5, "p00": 0.0, "p05": 0.5,
}  # fmt: skip
#: A plane of real nodes between those of the grid: the test of interpolation in [M/H].
HELD_OUT_CODES = {"p02": 0.2}


@dataclass(frozen=True, order=True)
class Deck:
    """One model atmosphere.

    Attributes
    ----------
    teff : float
        K.
    logg : float
        log10 of cm/s².
    m_h : float
        Metallicity, dex.
    path : Path
        Its file.
    """

    teff: float
    logg: float
    m_h: float
    path: Path

    @property
    def name(self) -> str:
        """The file's own name, e.g. ``p00_5750_4.5``."""
        return self.path.stem


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
        The folder of inputs (see :mod:`harpsstar.synth.inputs`).
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


@dataclass(frozen=True)
class Atmosphere:
    """An atmosphere between the decks.

    Attributes
    ----------
    teff, logg, m_h : float
        K, log10 of cm/s², dex.
    columns : dict of str to ndarray
        (72,) each: ``rhox`` g/cm², ``temp`` K, ``xna`` and ``xne`` 1/cm³, ``rho`` g/cm³.
    like : Deck
        The nearest deck, for all that is not interpolated (opacity switches, mixing length).
    """

    teff: float
    logg: float
    m_h: float
    columns: dict[str, npt.NDArray[np.float64]]
    like: Deck


N_LAYERS = 72
#: What PySME needs of every layer, and the interpolation is done in.
COLUMNS = ("rhox", "temp", "xna", "xne", "rho")


def structure(deck: Deck) -> npt.NDArray[np.float64]:
    """Read the logarithms of :data:`COLUMNS` of a deck, (5, 72)."""
    atmosphere = load_pysme().krzfile.KrzFile(str(deck.path))
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


def interpolate(decks: Sequence[Deck], teff: float, logg: float, m_h: float) -> Atmosphere:
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
    return Atmosphere(teff, logg, m_h, columns, at[nearest])


def digest(decks: list[Deck]) -> str:
    """SHA-256 over the names and contents of the decks."""
    total = hashlib.sha256()
    for deck in decks:
        total.update(deck.name.encode())
        total.update(deck.path.read_bytes())
    return total.hexdigest()
