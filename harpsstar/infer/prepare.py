"""From a file to the canonical frame: what a spectrum needs before it can join a batch.

Numbers in, numbers out, without torch, so that worker processes are quick to start and what they
send back is small.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from astropy.io.fits import HDUList

from harpsstar.errors import UNEXPECTED, HarpsstarError, unexpected
from harpsstar.io import Observation
from harpsstar.io.build import Reading
from harpsstar.io.files import source_name
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.products import read_arrays
from harpsstar.io.results import Row
from harpsstar.spectra.frame import Canonical, Pixels, meta_of, pixels_from, to_canonical
from harpsstar.spectra.velocity import Bank, Velocity, measure_velocity

if TYPE_CHECKING:
    from specutils import Spectrum, SpectrumCollection

#: What can be measured; a :class:`~harpsstar.io.build.Reading` needs no specutils.
Source: TypeAlias = (
    "str | os.PathLike[str] | IO[bytes] | HDUList | Reading | Spectrum | SpectrumCollection"
)

_UNKNOWN = Observation(
    file="", target="", instrument="", product="", bjd=np.nan, berv=np.nan, snr=np.nan,
    snr_orders=(), rv_header=np.nan, rv_header_err=np.nan, blaze="none", resolution=115000.0,
    resolution_assumed=True,
)  # fmt: skip


def one_by_one(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """Each source, where a single one may have been given.

    Raises
    ------
    TypeError
        Bare arrays or numbers, which say neither medium nor resolving power; anything else that
        is no spectrum.
    """
    if is_source(sources):
        yield _named(sources)
        return
    if _is_array(sources) or not isinstance(sources, Iterable):
        raise TypeError(_not_a_source(sources))
    for source in sources:
        if not is_source(source):
            raise TypeError(_not_a_source(source))
        yield _named(source)


def is_source(source: Any) -> bool:
    """Whether something is one spectrum: a path, an open file, an HDUList or a container."""
    opened = hasattr(source, "flux") or hasattr(source, "seek")
    return isinstance(source, str | bytes | os.PathLike | HDUList | Reading) or opened


def is_file(source: Any) -> bool:
    """Whether a source is to be read: a path, an open file or an HDUList."""
    return is_source(source) and not (isinstance(source, Reading) or hasattr(source, "flux"))


def _named(source: Any) -> Any:
    return os.fsdecode(source) if isinstance(source, bytes) else source


def _is_array(sources: Any) -> bool:
    """Whether something is an array of numbers; one of names is a list of paths."""
    kind = getattr(getattr(sources, "dtype", None), "kind", "")
    return bool(kind) and kind not in "USO"


def _not_a_source(given: Any) -> str:
    arrays = _is_array(given) or isinstance(given, int | float | tuple | list)
    what = f"got {type(given).__name__}, not a spectrum or a file"
    if arrays:
        return (f"{what}: make a spectrum of arrays with harpsstar.from_arrays(wave, flux, sigma, "
                "resolution=…)")  # fmt: skip
    return f"{what}: give paths, open files, an HDUList or what harpsstar.read returns"


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
    source: Source,
    bank: Bank,
    *,
    blaze_dir: str | Path | None = None,
    file: str | None = None,
    given: Given = NOTHING,
) -> Prepared:
    """Read a spectrum, measure its velocity and bring it to the canonical frame.

    Parameters
    ----------
    source : path, open file, HDUList, Reading, Spectrum or SpectrumCollection
        Air wavelengths in the barycentric frame, as :func:`harpsstar.read` returns it.
    bank : Bank
        From :func:`harpsstar.model.templates.bank_of`.
    blaze_dir : path, optional
        Folder with blaze files.
    file : str, optional
        What the result calls itself; by default the path, or what the spectrum knows.
    given : Given, optional
        What the user says of a file.

    Raises
    ------
    HarpsstarError
        When it cannot be read or does not cover the wavelengths that are analysed.
    """
    if is_file(source):
        file = file or source_name(source)  # type: ignore[arg-type]
        source = read_arrays(source, blaze_dir=blaze_dir, given=given)  # type: ignore[arg-type]
    if isinstance(source, Reading):
        seen, pixels = source.observation, source.pixels()
    else:
        seen, pixels = observation_of(source), pixels_from(source)  # type: ignore[arg-type]
    return prepared_from(pixels, bank, seen, file or seen.file)


def prepared_from(
    pixels: Pixels, bank: Bank, seen: Observation = _UNKNOWN, file: str = ""
) -> Prepared:
    """:func:`prepare` of bare arrays."""
    velocity = measure_velocity(pixels, bank)
    return Prepared(file, seen, velocity, to_canonical(pixels, velocity.rv))


def attempt(
    source: Source,
    bank: Bank,
    *,
    blaze_dir: str | Path | None = None,
    file: str | None = None,
    given: Given = NOTHING,
) -> Prepared | Row:
    """:func:`prepare`, or a failed row that says why not; nothing is raised."""
    name = file or (source_name(source) if is_file(source) else "")  # type: ignore[arg-type]
    try:
        with quietly():
            return prepare(source, bank, blaze_dir=blaze_dir, file=file, given=given)
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
