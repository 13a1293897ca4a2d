"""What a file says about the exposure, beside the spectrum itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Observation", "star_key", "star_names"]

#: Why a spectrum in such a frame gives no barycentric velocity.
_WHY = {
    "topocentric": "the header has no BERV",
    "rest": "the wavelengths were shifted to the rest frame of the star",
    "unknown": "the header does not state the frame of the wavelengths",
}


@dataclass(frozen=True)
class Observation:
    """What is known about one exposure; ``meta["observation"]`` of every spectrum read.

    Attributes
    ----------
    file : str
        Path as given, or empty.
    target : str
        Name of the target, or empty.
    instrument : str
        Name of the :class:`~harpsstar.instruments.Instrument`, or empty for a 1-D spectrum whose
        header names none.
    product : str
        ``"e2ds"``, ``"s1d"`` (old DRS); ``"S2D"``, ``"S2D_BLAZE"``, ``"S1D"`` (new DRS), with what
        was done to it: ``"S1D_SKYSUB"``, ``"S1D_TELL_CORR"``, ``"S1D_FLUXCAL"``; ``"ADP"`` (ESO
        phase 3); ``"image"``, ``"multispec"``, ``"table"`` or ``"text"`` for any other layout.
    bjd : float
        Barycentric Julian date; nan when unknown.
    berv : float
        Barycentric Earth radial velocity [km/s]; nan when unknown.
    snr : float
        Signal to noise per extracted pixel, median over the orders of 5025-5393 Å.
    snr_orders : tuple of float
        Signal to noise of every order from the header; empty when it has none.
    rv_header, rv_header_err : float
        Barycentric radial velocity measured by the pipeline and its error [km/s], else nan.
    blaze : str
        How the blaze was removed: ``"file NAME"``, ``"estimated"``, ``"pipeline"`` or ``"none"``.
    resolution : float
        Resolving power.
    clipped : float
        Share of the pixels that something has clipped to one value, where the reader could tell.
    resolution_assumed : bool
        Whether nothing says what the resolving power is, so that ``resolution`` is a guess.
    frame : str
        Of the wavelengths: ``"barycentric"``, ``"topocentric"``, ``"rest"`` or ``"unknown"``. Only
        in the first a velocity that is measured is that of the star.
    notes : tuple of str
        What a user should know about how the file was read.
    frame : str
        Of the wavelengths: ``"barycentric"``, ``"topocentric"``, ``"rest"`` or ``"unknown"``. Only
        in the first a velocity that is measured is that of the star.
    """

    file: str
    target: str
    instrument: str
    product: str
    bjd: float
    berv: float
    snr: float
    snr_orders: tuple[float, ...]
    rv_header: float
    rv_header_err: float
    blaze: str
    resolution: float
    clipped: float = 0.0
    notes: tuple[str, ...] = ()
    resolution_assumed: bool = False
    frame: str = "barycentric"

    def barycentric(self, rv: float, rv_err: float) -> tuple[float, float, tuple[str, ...]]:
        """Barycentric velocity and its error, NaN where there is none, and remarks that say why.

        Parameters
        ----------
        rv, rv_err : float
            As measured from the wavelengths as they are, km/s.
        """
        if self.frame == "barycentric":
            return rv, rv_err, ()
        remark = (
            f"no barycentric velocity: {_WHY[self.frame]}; its lines are shifted by {rv:+.2f} km/s"
        )
        return math.nan, math.nan, (remark,)


def star_key(name: str) -> str:
    """Return what all spellings of a star's name in headers have in common.

    Upper and lower case, blanks, hyphens, underscores and leading zeros do not count, and "Gl" and
    "Gliese" are "GJ". Between two digits a separator counts (TOI-1-23 is not TOI-123), as does the
    sign of a declination zone (BD-20 1790 is not BD+20 1790).

    Examples
    --------
    >>> star_key("HD_010700") == star_key("hd-10700") == star_key("HD 10700")
    True
    """
    key = re.sub(r"^bd[\s_]*-(?=[\s_]*\d)", "bd\N{MINUS SIGN}", name.strip().casefold())
    key = re.sub(r"(?<=\d)[\s_-]+(?=\d)", " ", key)
    key = re.sub(r"(?<!\d)[\s_-]+|[\s_-]+(?!\d)", "", key)
    key = re.sub(r"^(gliese|gl)(?=\d)", "gj", key)
    return re.sub(r"(?<=[^\W\d_])0+(?=\d)", "", key)


def star_names(names: Sequence[str]) -> list[str]:
    """Return each name in the spelling that is the most frequent for its star, the first of equals.

    Examples
    --------
    >>> star_names(["HD 1", "hd-1", "hd-1", "HD 2"])
    ['hd-1', 'hd-1', 'hd-1', 'HD 2']
    """
    best = {"": ""}
    for name, _ in Counter(names).most_common():
        best.setdefault(star_key(name), name)
    return [best[star_key(name)] for name in names]
