"""ATLAS9 model atmospheres: which decks exist, and what they are.

The decks are Castelli & Kurucz (2003, IAU Symp. 210, A20) ODFNEW models, one per file, in folders
``grid<Z>odfnew`` as the SPECIES repository keeps them. PySME reads a deck by itself; this module
finds them and reads the two numbers of its first card.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from harpsstar.errors import InputsMissingError, ReadError

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


def digest(decks: list[Deck]) -> str:
    """SHA-256 over the names and contents of the decks."""
    total = hashlib.sha256()
    for deck in decks:
        total.update(deck.name.encode())
        total.update(deck.path.read_bytes())
    return total.hexdigest()
