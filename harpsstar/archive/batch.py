"""A batch: many inputs, one row for each, one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harpsstar.archive.files import Found, find
from harpsstar.io.results import Row, check_output, provenance, to_table, write_table

#: Called with a row, its number (from 1) and how many there will be.
OnRow = Callable[[Row, int, int], None]
#: One row for each path, in order, never raising because of a file.
PredictRows = Callable[[Sequence[Path]], Iterator[Row]]


@dataclass(frozen=True)
class Outcome:
    """What a batch came to.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the inputs; fewer than ``total`` when interrupted.
    total : int
        How many inputs there were.
    output : Path or None
        The file written.
    interrupted : bool
        Whether the user stopped the batch.
    """

    rows: tuple[Row, ...]
    total: int
    output: Path | None
    interrupted: bool

    def count(self, status: str) -> int:
        """Return how many rows have this status (ok, flagged, failed)."""
        return sum(row.status == status for row in self.rows)


def predict_files(
    inputs: Iterable[str | Path],
    output: str | Path | None = None,
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
    command: str = "",
    overwrite: bool = True,
    on_row: OnRow | None = None,
) -> Outcome:
    """Predict the labels of every spectrum in files, folders and patterns.

    Parameters
    ----------
    inputs : iterable of str or Path
        See :func:`harpsstar.archive.files.find`.
    output : str or Path, optional
        Where the table goes, see :func:`harpsstar.io.results.write_table`.
    model : str or Path, optional
        Name or file of the model; the default model without.
    blaze_dir : str or Path, optional
        Where blaze files are looked for when they do not lie beside a spectrum.
    command : str
        What the user typed, for the table's metadata.
    overwrite : bool
        Whether an existing output may be replaced.
    on_row : callable, optional
        Told of every row as soon as it is there.

    Raises
    ------
    OutputError
        The output cannot be written; found out, where possible, before any work.
    ModelError
        There is no such model.
    """
    if output is not None:
        check_output(output, overwrite=overwrite)

    # Here, because torch takes its time and a wrong output should be told at once.
    from harpsstar.infer.predict import predict_rows
    from harpsstar.nn.zoo import read_card

    def predict(paths: Sequence[Path]) -> Iterator[Row]:
        return predict_rows(paths, model=model, blaze_dir=blaze_dir)

    meta = provenance(command, read_card(model or "default"))
    return run(find(inputs), predict, output, meta=meta, on_row=on_row)


def run(
    found: Sequence[Found],
    predict: PredictRows,
    output: str | Path | None = None,
    *,
    meta: dict[str, Any] | None = None,
    on_row: OnRow | None = None,
) -> Outcome:
    """Make a row of every input and write the table.

    When the user interrupts (Ctrl-C), the rows made so far go to a file beside ``output`` with
    ``.partial`` in its name; ``output`` itself stays as it was.
    """
    rows: list[Row] = []
    interrupted = False
    try:
        for row in _rows(found, predict):
            rows.append(row)
            if on_row is not None:
                on_row(row, len(rows), len(found))
    except KeyboardInterrupt:
        interrupted = True
    written = None
    if output is not None and (rows or not interrupted):
        written = _partial(Path(output)) if interrupted else Path(output)
        write_table(to_table(rows, meta), written)
    return Outcome(tuple(rows), len(found), written, interrupted)


def _rows(found: Sequence[Found], predict: PredictRows) -> Iterator[Row]:
    predicted = predict([item.path for item in found if item.problem is None])
    for item in found:
        yield next(predicted) if item.problem is None else Row.failed(item.path, item.problem)


def _partial(output: Path) -> Path:
    return output.with_name(f"{output.stem}.partial{output.suffix}")
