"""What a file is, whether it can be used, and what would be done to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harpsstar.errors import CoverageError
from harpsstar.io import Observation, read
from harpsstar.spectra.frame import pixels_from


@dataclass(frozen=True)
class Description:
    """What ``harpsstar inspect`` shows.

    Attributes
    ----------
    facts : tuple of (str, str)
        What is known, in reading order: name and text.
    notes : tuple of str
        What was or would be done to the spectrum that a user should know.
    problem : str
        Why labels cannot be predicted; empty when they can.
    """

    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    problem: str


def describe(path: str | Path, *, blaze_dir: str | Path | None = None) -> Description:
    """Describe one file.

    Parameters
    ----------
    path : str or Path
        The file.
    blaze_dir : str or Path, optional
        Where its blaze file may lie, if not beside it.

    Raises
    ------
    ReadError
        The file holds no spectrum that can be read.
    """
    spectrum = read(path, blaze_dir=blaze_dir)
    observation: Observation = spectrum.meta["observation"]
    facts = _facts(observation)
    facts["shape"] = " × ".join(str(n) for n in np.shape(spectrum.flux))
    try:
        pixels = pixels_from(spectrum)
    except CoverageError as error:
        return Description(tuple(facts.items()), observation.notes, str(error))
    facts["wavelength"] = f"{np.min(pixels.wave):.1f} – {np.max(pixels.wave):.1f} Å (air)"
    facts["usable pixels"] = f"{np.mean(pixels.ivar > 0):.1%}"
    return Description(tuple(facts.items()), observation.notes, "")


def _facts(observation: Observation) -> dict[str, str]:
    return {
        "file": observation.file,
        "target": observation.target or "unknown",
        "instrument": observation.instrument or "unknown",
        "product": observation.product,
        "BJD": _number(observation.bjd, ".5f"),
        "barycentric velocity": _number(observation.berv, ".3f", " km/s"),
        "velocity in the header": _number(observation.rv_header, ".3f", " km/s"),
        "SNR per pixel": _number(observation.snr, ".0f"),
        "blaze": observation.blaze,
    }


def _number(value: float | None, form: str, unit: str = "") -> str:
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{value:{form}}{unit}"
