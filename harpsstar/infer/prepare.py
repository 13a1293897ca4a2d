"""From a file to the canonical frame: what a spectrum needs before it can join a batch.

Numbers in, numbers out, without torch, so that worker processes are quick to start and what they
send back is small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from harpsstar.errors import UNEXPECTED, HarpsstarError, unexpected
from harpsstar.io import Observation
from harpsstar.io.build import Reading
from harpsstar.io.products import read_arrays
from harpsstar.io.results import Row
from harpsstar.spectra.frame import Canonical, Pixels, meta_of, pixels_from, to_canonical
from harpsstar.spectra.velocity import Bank, Velocity, measure_velocity

if TYPE_CHECKING:
    from specutils import Spectrum, SpectrumCollection

#: What can be measured; a :class:`~harpsstar.io.build.Reading` needs no specutils.
Source: TypeAlias = "str | Path | Reading | Spectrum | SpectrumCollection"

_UNKNOWN = Observation(
    file="", target="", instrument="", product="", bjd=np.nan, berv=np.nan, snr=np.nan,
    snr_orders=(), rv_header=np.nan, rv_header_err=np.nan, blaze="none", resolution=115000.0,
)  # fmt: skip


def one_by_one(sources: Source | Iterable[Source]) -> Iterable[Source]:
    """Each source, where a single one may have been given."""
    single = isinstance(sources, str | Path) or hasattr(sources, "flux")
    return [sources] if single else sources  # type: ignore[list-item,return-value]


@dataclass(frozen=True)
class Prepared:
    """A spectrum ready for inference, some 300 kB.

    Attributes
    ----------
    file : str
        As the user named it; empty for what did not come from a file.
    observation : Observation
        What the header says.
    velocity : Velocity
        The velocity that was removed, and the template it was measured with.
    canonical : Canonical
        The spectrum in the rest frame.
    """

    file: str
    observation: Observation
    velocity: Velocity
    canonical: Canonical


def prepare(
    source: Source, bank: Bank, *, blaze_dir: str | Path | None = None, file: str | None = None
) -> Prepared:
    """Read a spectrum, measure its velocity and bring it to the canonical frame.

    Parameters
    ----------
    source : path, Reading, Spectrum or SpectrumCollection
        Air wavelengths in the barycentric frame, as :func:`harpsstar.read` returns it.
    bank : Bank
        From :func:`harpsstar.spectra.velocity.bank_of`.
    blaze_dir : path, optional
        Folder with blaze files.
    file : str, optional
        What the result calls itself; by default the path, or what the spectrum knows.

    Raises
    ------
    HarpsstarError
        When it cannot be read or does not cover the wavelengths that are analysed.
    """
    if isinstance(source, str | Path):
        file = file or str(source)
        source = read_arrays(source, blaze_dir=blaze_dir)
    if isinstance(source, Reading):
        seen, pixels = source.observation, source.pixels()
    else:
        seen, pixels = observation_of(source), pixels_from(source)
    return prepared_from(pixels, bank, seen, file or seen.file)


def prepared_from(
    pixels: Pixels, bank: Bank, seen: Observation = _UNKNOWN, file: str = ""
) -> Prepared:
    """:func:`prepare` of bare arrays."""
    velocity = measure_velocity(pixels, bank)
    return Prepared(file, seen, velocity, to_canonical(pixels, velocity.rv))


def attempt(
    source: Source, bank: Bank, *, blaze_dir: str | Path | None = None, file: str | None = None
) -> Prepared | Row:
    """:func:`prepare`, or a failed row that says why not; nothing is raised."""
    name = file or (str(source) if isinstance(source, str | Path) else "")
    try:
        with quietly():
            return prepare(source, bank, blaze_dir=blaze_dir, file=file)
    except Exception as error:  # noqa: BLE001  another file's row must not be lost
        return failed_row(name, error)


def quietly() -> np.errstate:
    """Keep numpy from warning of what damaged values do: they end as a reason in a row."""
    return np.errstate(all="ignore")


def failed_row(file: str | Path, error: Exception) -> Row:
    """Row of a spectrum that gave no labels; what is not our own error asks to be reported."""
    if isinstance(error, HarpsstarError):
        return Row.failed(file, error)
    return Row.failed(file, unexpected(error))


def is_unexpected(row: Row) -> bool:
    """Tell whether a row failed for no fault of the spectrum: for lack of memory, or by a bug."""
    return row.status == "failed" and row.message.startswith(UNEXPECTED)


def observation_of(spectrum: Spectrum | SpectrumCollection) -> Observation:
    """What the reader found in the header; a neutral answer for a spectrum made by hand."""
    found = meta_of(spectrum).get("observation")
    return found if isinstance(found, Observation) else _UNKNOWN
