"""The HDF5 file of a data set: laid out at once, filled in place, valid at every moment.

All arrays are contiguous and have their place in the file from the beginning, so that filling one
changes no other byte: a process killed at any moment leaves a valid file, and what order chunks
were written in cannot be told afterwards. That, and reading single spectra at random, is why they
are not compressed. A chunk counts as done only after it has been written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from harpsstar._optional import load
from harpsstar.errors import OutputError
from harpsstar.labels import CENTRE, HALF_RANGE, LABELS
from harpsstar.mock.dataset.sources import CHUNK, Source
from harpsstar.spectra.frame import canonical_wavelengths

__all__ = ["FORMAT", "Store", "size"]

FORMAT = "harpsstar-spectra-1"
_SPARE = 64 * 2**20  # bytes of the disk that are left alone


def size(source: Source) -> int:
    """Bytes of the file, but for some kilobytes of headers."""
    each = sum(
        np.dtype(column.dtype).itemsize * int(np.prod(column.shape)) for column in source.columns
    )
    return source.n * each


class Store:
    """A data set that is being made, as a context manager.

    Parameters
    ----------
    part : Path
        Where it is made; what is there is gone on with if it is of the same `recipe`.
    source : Source
        What goes into it.
    split : ndarray of uint8 (n,)
        0 for training, 1 for tests.
    attributes : mapping of str to str
        Of the file, ``recipe`` among them: equal recipes make equal files.

    Raises
    ------
    OutputError
        No room, no folder, another process writes it, or it is of another recipe.
    """

    def __init__(
        self,
        part: Path,
        source: Source,
        split: npt.NDArray[np.uint8],
        attributes: Mapping[str, str],
    ) -> None:
        self._h5py = load("h5py", "dataset")
        self._part, self._source = part, source
        try:
            if not part.exists():
                self._create(split, attributes)
            self._file = self._h5py.File(part, "r+")
        except OSError as error:
            raise OutputError(
                f"cannot be written ({str(error).splitlines()[0]})",
                path=part,
                hint="check the folder, and whether another process is making it",
            ) from None
        if self._file.attrs.get("recipe") != attributes["recipe"]:
            self._file.close()
            raise OutputError(
                "is unfinished and of another preset, grid or version of harpsstar",
                path=part,
                hint="remove it, or choose another output",
            )

    def _create(self, split: npt.NDArray[np.uint8], attributes: Mapping[str, str]) -> None:
        self._check_room()
        fresh = self._part.with_name(f"{self._part.name}.new")
        source = self._source
        # The oldest format keeps neither times nor marks of who has it open.
        with self._h5py.File(fresh, "w", libver="earliest") as file:
            file.attrs.update({"format": FORMAT, **attributes})
            for column in source.columns:
                self._array(file, column.name, (source.n, *column.shape), column.dtype,
                            column.unit, column.description)  # fmt: skip
            self._array(file, "done", (-(-source.n // CHUNK),), "u1", "", "1 for a whole chunk")
            for name, values, unit, description in (
                ("split", split, "", "0 training, 1 test"),
                ("wavelength", canonical_wavelengths(), "angstrom", "in air, in the rest frame"),
                ("response", source.response, "", "what flux over continuum is multiplied by"),
                ("centre", CENTRE, "K, dex, dex, km/s", "labels are scaled as"),
                ("half_range", HALF_RANGE, "K, dex, dex, km/s", "(labels - centre) / half_range"),
            ):
                self._array(file, name, values.shape, values.dtype.str, unit, description)
                file[name][...] = values
            file["labels"].attrs["names"] = ", ".join(label.name for label in LABELS)
        fresh.replace(self._part)

    def _array(
        self, file: Any, name: str, shape: tuple[int, ...], dtype: str, unit: str, description: str
    ) -> None:
        h5py = self._h5py
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)
        array = file.create_dataset(name, shape, dtype, dcpl=layout, track_times=False)
        array.attrs.update({"unit": unit, "description": description})

    def _check_room(self) -> None:
        folder = self._part.parent
        if not folder.is_dir():
            raise OutputError(f"the folder {folder} does not exist", path=self._part,
                              hint="create it first")  # fmt: skip
        free, needed = shutil.disk_usage(folder).free, size(self._source)
        if free < needed + _SPARE:
            raise OutputError(
                f"{free / 1e9:.1f} GB are free", expected=f"{needed / 1e9:.1f} GB",
                hint="choose another disk, or --limit", path=folder,
            )  # fmt: skip

    def missing(self) -> list[int]:
        """Numbers of the chunks that are not there yet."""
        return np.flatnonzero(self._file["done"][...] == 0).tolist()

    def write(self, index: int, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Write one chunk; it counts once all of it is with the operating system."""
        start = CHUNK * index
        for column in self._source.columns:
            values = arrays[column.name]
            self._file[column.name][start : start + len(values)] = values.astype(column.dtype)
        self._file.flush()
        self._file["done"][index] = 1
        self._file.flush()

    def finish(self, output: Path) -> None:
        """Close the file, and give it its name."""
        self._file.close()
        with self._part.open("rb") as stream:
            os.fsync(stream.fileno())
        self._part.replace(output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
