"""Make a data set, or go on with one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from harpsstar._optional import load
from harpsstar._threads import one_thread
from harpsstar._version import __version__
from harpsstar.errors import OutputError
from harpsstar.mock.dataset.presets import Preset, recorded
from harpsstar.mock.dataset.sources import CHUNK, Source, source_of
from harpsstar.mock.dataset.store import Store, size
from harpsstar.model.emulator import Emulator

__all__ = ["Facts", "make_dataset"]


@dataclass(frozen=True)
class Facts:
    """What a finished data set holds: spectra in all, for training, for tests, and double ones."""

    spectra: int
    training: int
    test: int
    double: int


def make_dataset(
    preset: Preset,
    output: Path,
    *,
    emulator: Emulator | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    announce: Callable[[int, int], None] | None = None,
) -> Facts:
    """Make a data set as one HDF5 file; killed, the same call goes on where it stopped.

    Work in progress is ``<output>.part``. One thread computes: how threads share a sum changes its
    last bit, and then the bytes of the file would depend on the number of cores.

    Parameters
    ----------
    preset : Preset
    output : Path
        The file; it appears when it is complete.
    emulator : Emulator, optional
        The packaged one by default.
    limit : int, optional
        At most about so many spectra.
    progress : callable, optional
        Called with (spectra done, spectra in all).
    announce : callable, optional
        Called once, before the work, with (spectra, bytes).

    Raises
    ------
    OutputError
        The file exists, the disk has no room for it, or an unfinished one is of another preset.
    InputsMissingError
        h5py is not installed.
    """
    if output.exists():
        raise OutputError("exists", hint="remove it or choose another name", path=output)
    load("h5py", "dataset")
    emulator = Emulator.load() if emulator is None else emulator
    source = source_of(preset, emulator, limit)
    if announce is not None:
        announce(source.n, size(source))
    part = output.with_name(f"{output.name}.part")
    attributes = _attributes(preset, emulator, source)
    with one_thread(), Store(part, source, split(preset, source.n), attributes) as store:
        _fill(store, source, progress)
        store.finish(output)
    return facts(output)


def _fill(store: Store, source: Source, progress: Callable[[int, int], None] | None) -> None:
    missing = store.missing()
    done = source.n - sum(min(CHUNK, source.n - CHUNK * i) for i in missing)
    if progress is not None:
        progress(done, source.n)
    for index in missing:
        arrays = source.chunk(index)
        store.write(index, arrays)
        done += len(arrays["labels"])
        if progress is not None:
            progress(done, source.n)


def split(preset: Preset, n: int) -> npt.NDArray[np.uint8]:
    """(n,) 0 for training, 1 for tests: the share of the preset, rounded down, drawn."""
    chosen = np.random.default_rng(preset.seed).permutation(n)[: int(preset.test_share * n)]
    test = np.zeros(n, dtype=np.uint8)
    test[chosen] = 1
    return test


def facts(path: Path) -> Facts:
    """Count the spectra of a finished data set, and those whose labels occur before."""
    with load("h5py", "dataset").File(path, "r") as file:
        labels, test = file["labels"][...], file["split"][...]
    double = len(labels) - len(np.unique(labels, axis=0))
    return Facts(len(labels), int(np.sum(test == 0)), int(np.sum(test == 1)), double)


def _attributes(preset: Preset, emulator: Emulator, source: Source) -> dict[str, str]:
    known = {
        "preset": json.dumps(recorded(preset), sort_keys=True),
        "grid": emulator.metadata.get("sha256", ""),
        "harpsstar": __version__,
        "torch": str(torch.__version__),
        "spectra": str(source.n),
    }
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return {**known, "recipe": digest, "title": preset.description}
