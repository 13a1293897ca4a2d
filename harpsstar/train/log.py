"""What a training was like, epoch by epoch: ``log.csv``, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Columns of ``log.csv``; ``samples`` and ``seconds`` count from the very beginning.
COLUMNS = ("epoch", "samples", "seconds", "learning_rate", "loss", "validation")


class Log:
    """Writes a row for each epoch.

    Parameters
    ----------
    folder : Path
        Where ``log.csv`` is, and the folder ``tensorboard``.
    first : int
        The epoch that comes next: rows from there on belong to work that was lost, and go.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._path = folder / "log.csv"
        self._rewrite(first)
        self._board: Any = None
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)

    def _rewrite(self, first: int) -> None:
        rows: list[dict[str, str]] = []
        if self._path.exists():
            with self._path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in csv.DictReader(stream) if int(row["epoch"]) < first]
        with self._path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def __call__(self, **values: float) -> None:
        """Add a row; the keywords are :data:`COLUMNS`."""
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS, lineterminator="\n").writerow(values)
        if self._board is not None:
            for name in ("learning_rate", "loss", "validation"):
                self._board.add_scalar(name, values[name], int(values["epoch"]))
            self._board.flush()

    def close(self) -> None:
        """Close the files."""
        if self._board is not None:
            self._board.close()
