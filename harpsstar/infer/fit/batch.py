"""Fits of files: one row for each, whatever happens, with samples and pictures beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harpsstar._optional import load
from harpsstar.errors import HarpsstarError
from harpsstar.infer.fit.options import Options
from harpsstar.infer.fit.sampler import load_arviz
from harpsstar.infer.prepare import failed_row
from harpsstar.io.blaze import check_blaze_dir
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.results import Row, check_output, provenance, write_table
from harpsstar.outputs import make_folder
from harpsstar.plotting import Stems, picture_folder, save

if TYPE_CHECKING:
    from astropy.table import QTable

    from harpsstar.infer.fit.engine import Fitter, Start
    from harpsstar.infer.fit.result import FitResult

#: Told of a row, its number (from 1) and how many there will be.
OnRow = Callable[[Row, int, int], None]
#: A row, and what a fit adds to it; None where it failed.
Result = tuple[Row, dict[str, Any] | None]


@dataclass(frozen=True)
class Job:
    """How files are fitted.

    Attributes
    ----------
    options : Options
    output : Path, optional
        The table to write.
    model, blaze_dir
        As in :func:`harpsstar.fit`.
    together : bool
        Whether all files show one star, to be fitted at once.
    samples, plots : Path, optional
        Folders for draws (NetCDF) and pictures.
    overwrite : bool, optional
        Whether an existing output may be replaced, see :func:`harpsstar.io.results.write_table`.
    given : Given
        What the user says of files that do not say it.
    """

    options: Options
    output: Path | None = None
    model: str | None = None
    blaze_dir: Path | None = None
    together: bool = False
    samples: Path | None = None
    plots: Path | None = None
    overwrite: bool | None = None
    given: Given = NOTHING

    def check(self) -> None:
        """Find out what cannot be written before any file is opened, and make the folders.

        Raises
        ------
        OutputError
            An output cannot be written.
        InputsMissingError
            A package is not installed that draws pictures or stores samples.
        ConfigError
            The folder for blaze files does not exist.
        """
        check_blaze_dir(self.blaze_dir)
        if self.output is not None:
            check_output(self.output, overwrite=self.overwrite)
        if self.samples is not None:
            load_arviz()
            make_folder(self.samples)
        if self.plots is not None:
            load("corner", "fit")
            picture_folder(self.plots)


@dataclass(frozen=True)
class Outcome:
    """What became of some files.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the inputs; fewer than ``total`` when interrupted.
    table : QTable
        The same with what a fit adds: docs/reference/fit.md.
    total : int
    output : Path or None
        What was written; a ``.partial`` file when interrupted.
    interrupted : bool
    kept : Path or None
        A table that stays as it is, for there was no file to fit.
    """

    rows: tuple[Row, ...]
    table: QTable
    total: int
    output: Path | None
    interrupted: bool
    kept: Path | None = None

    def count(self, status: str) -> int:
        """Return how many rows have this status (ok, flagged, failed)."""
        return sum(row.status == status for row in self.rows)


def fit_files(
    inputs: Sequence[tuple[Path, HarpsstarError | None]],
    job: Job,
    *,
    command: str = "",
    on_row: OnRow | None = None,
) -> Outcome:
    """Fit files and write the table.

    Parameters
    ----------
    inputs : sequence of (Path, error or None)
        Files, and why one of them cannot be opened, if that is known already.
    job : Job
    command : str
        What the user typed, for the table's metadata.
    on_row : callable, optional
        Told of every row as soon as it is there.

    Raises
    ------
    OutputError, ModelError, ConfigError, InputsMissingError
        Before any file is opened.
    """
    job.check()
    # Torch takes its time, and a wrong output should be told at once.
    from harpsstar.infer.fit.engine import Fitter
    from harpsstar.infer.fit.result import fit_table

    fitter = Fitter(job.options, model=job.model, blaze_dir=job.blaze_dir,
                    given=job.given)  # fmt: skip
    results: dict[int, Result] = {}
    interrupted = False
    names = Stems()
    try:
        for group in _groups(len(inputs), together=job.together):
            for index, result in _fit_group(fitter, job, group, inputs, names):
                results[index] = result
                if on_row is not None:
                    on_row(result[0], len(results), len(inputs))
    except KeyboardInterrupt:
        interrupted = True
    ordered = [results[index] for index in sorted(results)]
    table = fit_table(ordered, fitter.nuisances, provenance(command, fitter.card))
    output, kept = job.output, None
    if output is not None and output.exists() and all(problem for _, problem in inputs):
        output, kept = None, output
    elif output is not None and interrupted:
        output = output.with_name(f"{output.stem}.partial{output.suffix}") if ordered else None
    if output is not None:
        write_table(table, output, overwrite=job.overwrite)
    rows = tuple(row for row, _ in ordered)
    return Outcome(rows, table, len(inputs), output, interrupted, kept)


def _groups(n: int, *, together: bool) -> list[list[int]]:
    return [list(range(n))] if together else [[i] for i in range(n)]


def _fit_group(
    fitter: Fitter,
    job: Job,
    group: Sequence[int],
    inputs: Sequence[tuple[Path, HarpsstarError | None]],
    names: Stems,
) -> Iterable[tuple[int, Result]]:
    starts: list[tuple[int, Start]] = []
    for index in group:
        path, problem = inputs[index]
        if problem is not None:
            yield index, (Row.failed(path, problem), None)
            continue
        try:
            starts.append((index, fitter.prepare(path)))
        except Exception as error:  # noqa: BLE001  another file's row must not be lost
            yield index, (failed_row(path, error), None)
    if not starts:
        return
    try:
        result = fitter.solve([start for _, start in starts])
        _write_extras(result, job, names)
        found: list[Result] = list(zip(result.rows, result.extras, strict=True))
    except Exception as error:  # noqa: BLE001  another star's row must not be lost
        found = [(failed_row(start.file, error), None) for _, start in starts]
    yield from zip((index for index, _ in starts), found, strict=True)


def _write_extras(result: FitResult, job: Job, names: Stems) -> None:
    stems = [names.of(file) for file in result.files]
    if job.samples is not None:
        result.save_samples(job.samples / f"{stems[0]}.nc")
    if job.plots is not None:
        for index, stem in enumerate(stems):
            save(result.plot(index), job.plots / f"{stem}.png", dpi=100)
        save(result.corner(), job.plots / f"{stems[0]}.corner.png", dpi=100)
