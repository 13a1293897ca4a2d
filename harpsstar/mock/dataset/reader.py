"""Read a data set, one spectrum at a time or in batches by torch's DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from harpsstar._optional import load
from harpsstar.errors import ReadError
from harpsstar.mock.dataset.store import FORMAT

__all__ = ["StoredSpectra"]


class StoredSpectra(Dataset[dict[str, Tensor]]):
    """A data set of ``harpsstar synth dataset`` as torch takes it.

    The arrays are mapped into memory, not read: any number of DataLoader workers, forked or
    spawned, share one copy in the page cache, and a process needs memory for its batch only.

    Parameters
    ----------
    path : str or Path
        The HDF5 file.
    split : {"train", "test"}, optional
        All spectra by default.
    snr : float, optional
        White noise of this signal to noise, with respect to a continuum of 1, is added at every
        access, as the paper does; torch's generator draws it.

    Attributes
    ----------
    wavelength, response : ndarray (8, 4096)
        Air Å; what multiplies flux over continuum, 0 where no pixel is used.
    labels : ndarray (n, 4)
        teff, logg, m_h, vsini of the spectra of this split.

    Raises
    ------
    ReadError
        No such file, or not a finished data set.

    Examples
    --------
    ::

        loader = DataLoader(StoredSpectra("paper.h5", split="train", snr=20.0), batch_size=64,
                            shuffle=True, num_workers=2)
        for batch in loader:
            network(batch["flux"]), batch["labels"]   # (64, 8, 4096), (64, 4) from -1 to 1
    """

    def __init__(
        self,
        path: str | Path,
        *,
        split: Literal["train", "test"] | None = None,
        snr: float | None = None,
    ) -> None:
        self.path, self.snr = Path(path), snr
        with _open(self.path) as file:
            parts = file["split"][...]
            self.wavelength: npt.NDArray[np.float64] = file["wavelength"][...]
            self.response: npt.NDArray[np.float64] = file["response"][...]
            labels = file["labels"][...]
            scaled = (labels - file["centre"][...]) / file["half_range"][...]
            self._places = {
                name: (file[name].id.get_offset(), file[name].dtype, file[name].shape)
                for name in ("flux", "sigma")
                if name in file
            }
        wanted = np.isin(parts, {None: (0, 1), "train": (0,), "test": (1,)}[split])
        rows = np.flatnonzero(wanted)
        self.rows, self.labels = rows, labels[rows]
        self._scaled = torch.from_numpy(scaled[rows]).float()
        self._used = torch.from_numpy(self.response > 0)
        self._maps: dict[str, Any] = {}

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``flux`` (8, 4096), ``labels`` (4,) scaled, and ``sigma`` where there is noise."""
        row = self.rows[index]
        item = {name: torch.from_numpy(self._map(name)[row].astype(np.float32))
                for name in self._places}  # fmt: skip
        if self.snr is not None:
            noise = torch.randn(item["flux"].shape) / self.snr
            item["flux"] = item["flux"] + noise * self._used
        return item | {"labels": self._scaled[index]}

    def __getstate__(self) -> dict[str, Any]:
        # A map would travel to a worker as a copy of the whole array.
        return self.__dict__ | {"_maps": {}}

    def _map(self, name: str) -> Any:
        if name not in self._maps:
            offset, dtype, shape = self._places[name]
            self._maps[name] = np.memmap(self.path, dtype, "r", offset, shape)
        return self._maps[name]


def _open(path: Path) -> Any:
    expected = "a data set of `harpsstar synth dataset`"
    if not path.is_file():
        raise ReadError("no such file", expected=expected, path=path)
    try:
        file = load("h5py", "dataset").File(path, "r")
    except OSError as error:
        raise ReadError(f"not HDF5 ({error})", expected=expected, path=path) from None
    if file.attrs.get("format") != FORMAT or not file["done"][...].all():
        file.close()
        raise ReadError("not a finished data set", expected=expected, path=path,
                        hint="run the same `harpsstar synth dataset` again")  # fmt: skip
    return file
