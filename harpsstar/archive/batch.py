"""A run: many inputs, one row for each, kept in a journal, and a table made of it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from harpsstar._version import __version__
from harpsstar.archive.discover import Candidate, Selection, Survey, survey
from harpsstar.archive.engine import call_each, model_of, process
from harpsstar.archive.export import INCOMPLETE, META, check_place, export, remove_leftovers
from harpsstar.archive.journal import Journal, Known, Record, journal_of
from harpsstar.archive.pictures import plot
from harpsstar.archive.pool import Pool, make_pool
from harpsstar.archive.reach import out_of_reach
from harpsstar.archive.worker import STEPS, Done, Input, ModelFacts, Settings
from harpsstar.io.blaze import check_blaze_dir
from harpsstar.io.facts import Facts, night_of
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.paths import Found, find, policy_of
from harpsstar.io.results import Row, provenance
from harpsstar.outputs import replacing, under
from harpsstar.outputs.kinds import PICTURE
from harpsstar.plotting import Stems, picture_folder

_REFRESH, _GIVEN = "refresh", "given"
#: Most worker processes that are started unasked: each takes some 0.7 GB of memory.
_MOST_JOBS = 4
#: A table of so many rows is shown even where it is written.
FEW = 10
#: Fewer files than this are not worth another process.
_LEAST_SHARE = 8


@dataclass(frozen=True)
class Event:
    """Something that a user or a pipeline may want to know.

    Attributes
    ----------
    kind : str
        ``"looking"``, ``"found"``, ``"model"``, ``"row"``, ``"table"``, ``"report"``,
        ``"plots"``, ``"waiting"``, ``"interrupted"`` or ``"end"``.
    facts : mapping
        What JSON holds.
    row : Row or None
        Of kind ``"row"``.
    """

    kind: str
    facts: Mapping[str, Any]
    row: Row | None = None


#: Told of every event as soon as it is there.
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Options:
    """How a run is done.

    Attributes
    ----------
    model, blaze_dir : str or Path, optional
        See :func:`harpsstar.infer.predict.predict_rows`.
    jobs : int, optional
        Worker processes; one per processor, at most 4, by default. 0 works in this process.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do it instead.
    batch : int
        Files that one worker measures together.
    seconds : float
        Longest time that reading one file may take.
    refresh : bool
        Do files again that have a row.
    append : bool
        Keep the rows of earlier inputs in the table.
    by_night : bool
        The output is a folder with one Parquet file for each night.
    overwrite : bool, optional
        Whether an output that this journal did not make may be replaced; by default a table of
        harpsstar may, and nothing else.
    report : Path, optional
        A page to write about the run, see :mod:`harpsstar.archive.report`.
    plots : Path, optional
        A folder for a picture of each spectrum with its model.
    command : str
        What the user typed, for the table's metadata.
    given : Given
        What the user says of files that do not say it; rows made with other facts are done again.
    """

    model: str | Path | None = None
    blaze_dir: str | Path | None = None
    jobs: int | None = None
    scheduler: str | None = None
    batch: int = 16
    seconds: float = 60.0
    refresh: bool = False
    append: bool = False
    by_night: bool = False
    overwrite: bool | None = None
    report: Path | None = None
    plots: Path | None = None
    command: str = ""
    given: Given = NOTHING

    @property
    def settings(self) -> Settings:
        """What the workers need to know."""
        model, blaze_dir = (
            None if item is None else str(item) for item in (self.model, self.blaze_dir)
        )
        # A model that is a file must be found from wherever a worker runs.
        if model is not None and os.path.isfile(model):
            model = os.path.abspath(model)
        if blaze_dir is not None:
            blaze_dir = os.path.abspath(blaze_dir)
        return Settings(model, blaze_dir, self.seconds, given=self.given)

    def workers(self, files: int) -> int:
        """How many worker processes for so many files."""
        if self.jobs is not None:
            return self.jobs
        affinity = getattr(os, "sched_getaffinity", None)
        processors = len(affinity(0)) if affinity else os.cpu_count() or 1
        return max(1, min(_MOST_JOBS, processors, files // _LEAST_SHARE))


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the inputs, where no table was asked for or it has at most :data:`FEW`;
        else empty.
    total : int
        How many inputs there were.
    output : Path or None
        The table written.
    interrupted : bool
        Whether the user stopped the run.
    counts : mapping
        How many of the inputs have each status; those of ``rows`` if not given.
    resumed : int
        How many inputs had their rows from an earlier run.
    left_out : mapping
        How many files were left out, by reason.
    stale : mapping
        How many rows were made by another model than today's, by model.
    out_of_reach : int
        How many rows were kept of files that are gone with their folder: perhaps a disk is not
        mounted.
    notes : tuple of str
        What else a user should know, each a sentence.
    """

    rows: tuple[Row, ...]
    total: int
    output: Path | None
    interrupted: bool
    counts: Mapping[str, int] | None = None
    resumed: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    stale: Mapping[str, int] = field(default_factory=dict)
    out_of_reach: int = 0
    notes: tuple[str, ...] = ()

    def count(self, status: str) -> int:
        """Return how many rows have this status (ok, flagged, failed)."""
        if self.counts is not None:
            return self.counts.get(status, 0)
        return sum(row.status == status for row in self.rows)


def predict_files(
    inputs: Iterable[str | Path],
    output: str | Path | None = None,
    *,
    selection: Selection | None = None,
    options: Options | None = None,
    on_event: OnEvent | None = None,
) -> Outcome:
    """Predict the labels of every spectrum in files, folders and patterns.

    Parameters
    ----------
    inputs : iterable of str or Path
        See :func:`harpsstar.io.paths.find`.
    output : str or Path, optional
        Where the table goes, see :func:`harpsstar.io.results.write_table`. Its journal lies beside
        it; files that have a row there are not done again unless they have changed.
    selection, options
        Which files, and how.
    on_event : callable, optional
        Told of every event.

    Raises
    ------
    OutputError
        The output cannot be written; found out, where possible, before any work.
    BusyError
        Another run is writing to this output.
    StorageError
        A full disk, or no permission.
    ModelError
        There is no such model.
    ConfigError
        The scheduler does not answer.
    """
    options, inputs = options or Options(), list(inputs)
    check_blaze_dir(options.blaze_dir)
    with under(policy_of(inputs, overwrite=options.overwrite)):
        path = None if output is None else check_output(Path(output), options)
        if options.plots is not None:
            picture_folder(options.plots)
        return _predict_found(inputs, path, selection, options, on_event or nobody)


def _predict_found(
    inputs: Sequence[str | Path],
    path: Path | None,
    selection: Selection | None,
    options: Options,
    tell: OnEvent,
) -> Outcome:
    found = find_others(inputs, path)
    with closing(make_pool(options.workers(len(found)), options.scheduler)) as pool:
        # First, so that a model that is not there is told before a journal is made.
        model = model_of(pool, options.settings)
        with Journal(None if path is None else journal_of(path)) as journal:
            run = Run(journal, pool, model, path, options, tell)
            seen = survey(found, selection or Selection(), journal, run.looking)
            gone = journal.inputs_beside(item.key for item in found)
            return run(seen, out_of_reach(gone, inputs, found))


def plan_files(
    inputs: Iterable[str | Path],
    output: str | Path | None = None,
    *,
    selection: Selection | None = None,
    options: Options | None = None,
) -> list[tuple[Candidate, str]]:
    """Say what :func:`predict_files` would do with every file: ``predict``, ``keep`` or why not.

    No row and no table is changed; what headers say is remembered. Raises as :func:`predict_files`.
    """
    options, inputs = options or Options(), list(inputs)
    with under(policy_of(inputs, overwrite=options.overwrite)):
        table = None if output is None else check_output(Path(output), options)
    path = None if table is None else journal_of(table)
    with Journal(path if path is not None and path.exists() else None) as journal:
        seen = survey(find_others(inputs, table), selection or Selection(), journal)
        plan = [(item, f"leave out: {item.skip}") for item in seen.left_out]
        for item in seen.chosen:
            known = journal.known(item.key)
            redo = options.refresh or journal.note(_GIVEN) != str(options.given)
            kept = known is not None and not redo and is_kept(item, known)
            plan.append((item, "keep the row" if kept else "predict"))
    return sorted(plan, key=lambda pair: str(pair[0].found.path))


def find_others(inputs: Iterable[str | Path], output: Path | None) -> list[Found]:
    """Return what :func:`harpsstar.io.paths.find` does, without the table of this run."""
    own = None if output is None else os.path.realpath(output)
    return [item for item in find(inputs) if item.key != own]


def check_output(output: Path, options: Options) -> Path:
    """Return the output if it can probably be written, see :func:`check_place`.

    A table that has a journal may be replaced even if ``overwrite`` is False.
    """
    overwrite = options.overwrite
    if overwrite is False and journal_of(output).exists():
        overwrite = None
    return check_place(output, by_night=options.by_night, overwrite=overwrite)


class Run:
    """One run over what a survey has chosen; :mod:`harpsstar.archive.watch` calls it repeatedly.

    Parameters
    ----------
    journal : Journal
    pool : Pool
    model : ModelFacts
        That of the workers.
    output : Path or None
        The table.
    options : Options
    tell : callable
        Told of every event.
    """

    def __init__(
        self,
        journal: Journal,
        pool: Pool,
        model: ModelFacts,
        output: Path | None,
        options: Options,
        tell: OnEvent,
    ) -> None:
        self.journal, self.pool, self.model = journal, pool, model
        self.output, self.options, self.tell = output, options, tell
        if output is not None:
            remove_leftovers(output, journal.nights())

    def looking(self, done: int, total: int) -> None:
        """Tell how many headers have been looked at."""
        self._say("looking", done=done, total=total)

    def __call__(self, seen: Survey, keep: Sequence[tuple[str, str]] = ()) -> Outcome:
        """Do what is to be done, and write the table; rows to ``keep`` stay in it.

        When nothing was found, a table that is there stays as it is.
        """
        if seen.is_empty and self.output is not None and self.output.exists():
            return self._nothing(seen, keep)
        self.journal.set_inputs((item.found for item in seen.chosen), append=self.options.append,
                                keep=keep)
        self._note_absent(seen, keep)
        # Of an exposure that has come in parts, the better product may be the later one.
        self.journal.drop_inputs(item.key for item in seen.left_out if item.twin)
        since = self._refresh_since()
        counts = self._counts(keep)
        todo = []
        for item in seen.chosen:
            known = self.journal.known(item.key)
            if known is not None and is_kept(item, known, since):
                counts[known.status] += 1
            else:
                todo.append(item)
        resumed = counts.total()
        self._say("found", inputs=len(seen.chosen) + len(keep), todo=len(todo), resumed=resumed,
                  left_out=seen.reasons(), out_of_reach=len(keep))
        interrupted = False
        try:
            for row in self._rows(todo, resumed):
                counts[row.status] += 1
            self.journal.put_note(_REFRESH, "")
            self.journal.put_note(_GIVEN, str(self.options.given))
            self._export(seen)
            self._plot(seen, {item.key for item in todo})
        except KeyboardInterrupt:
            interrupted = True
        self._say("interrupted" if interrupted else "end", counts=dict(counts))
        return replace(self._outcome(seen, resumed, interrupted, counts),
                       total=len(seen.chosen) + len(keep), out_of_reach=len(keep))

    def _note_absent(self, seen: Survey, keep: Sequence[tuple[str, str]]) -> None:
        """Note whether inputs are missing that may come again: until then no night is deleted."""
        if keep or any(item.found.problem is not None for item in seen.chosen):
            self.journal.put_note(INCOMPLETE, "yes")
        elif not self.options.append:
            self.journal.put_note(INCOMPLETE, "")

    def _nothing(self, seen: Survey, keep: Sequence[tuple[str, str]]) -> Outcome:
        """Tell why nothing was found, and touch neither the table nor the journal."""
        counts, total = self._counts(keep), len(seen.chosen) + len(keep)
        self._say("found", inputs=total, todo=0, resumed=len(keep), left_out=seen.reasons(),
                  out_of_reach=len(keep))
        for number, item in enumerate(seen.chosen, start=len(keep) + 1):
            row = Row.failed(item.found.path, item.found.problem or "")
            self.tell(Event("row", {"number": number, "total": total}, row))
        counts["failed"] += len(seen.chosen)
        self._say("end", counts=dict(counts))
        notes = (*_missed(seen), f"found no new spectra; {self.output} is unchanged")
        return Outcome((), total, None, False, counts, len(keep), seen.reasons(), notes=notes,
                       out_of_reach=len(keep))

    def _counts(self, keep: Sequence[tuple[str, str]]) -> Counter[str]:
        """Return how many of some rows have each status."""
        known = (self.journal.known(path) for path, _ in keep)
        return Counter("failed" if one is None else one.status for one in known)

    def _refresh_since(self) -> int:
        """Serial number of the last row that a refresh, perhaps an interrupted one, is to replace.

        Without a refresh every row is kept.
        """
        if not self._redo():
            return -1
        version = f"{self.model.version} {self.options.given}".strip()
        serial, _, before = self.journal.note(_REFRESH).partition(" ")
        if not serial or before != version:
            serial = str(self.journal.serial)
            self.journal.put_note(_REFRESH, f"{serial} {version}")
        return int(serial)

    def _redo(self) -> bool:
        """Whether rows are made again although their files are what they were."""
        return self.options.refresh or self.journal.note(_GIVEN) != str(self.options.given)

    def _rows(self, todo: Sequence[Candidate], resumed: int) -> Iterator[Row]:
        """Make the rows, each safe in the journal before it is told."""
        items = {item.key: item for item in todo}
        present = [item for item in todo if item.found.problem is None]
        absent = [_absent(item) for item in todo if item.found.problem is not None]
        inputs = (self._input(item) for item in present)
        size = max(1, min(self.options.batch, -(-len(present) // max(1, self.pool.capacity))))
        number = resumed
        for batch in chain([absent], process(inputs, self.pool, self.options.settings, size)):
            for done, row in zip(batch, self._record(batch, items), strict=True):
                number += 1
                row = replace(row, file=str(items[done.key].found.path))
                facts = {"number": number, "total": resumed + len(todo),
                         **{name: round(getattr(done, name), 4) for name in STEPS}}
                self.tell(Event("row", facts, row))
                yield row

    def _input(self, item: Candidate) -> Input:
        known = self.journal.known(item.key)
        redo = known is None or not known.final or self._redo()
        digest = "" if known is None or redo else known.digest
        return Input(item.key, os.path.abspath(item.found.path), digest)

    def _record(self, batch: Sequence[Done], items: Mapping[str, Candidate]) -> list[Row]:
        """Put rows into the journal; a file whose content is what it was keeps its row."""
        rows = []
        records = []
        for done in batch:
            if done.row is None:
                rows.append(self.journal.confirm(done.key, done.stamp))
                continue
            record = _record_of(done, done.row, items[done.key].facts, self.model.version)
            rows.append(record.row)
            records.append(record)
        self.journal.record(records)
        return rows

    def _export(self, seen: Survey) -> None:
        if self.output is not None:
            meta = provenance(self.options.command, self.model.card)
            self.journal.put_note(META, json.dumps(meta))
            export(self.journal, self.output, meta, by_night=self.options.by_night)
            self._say("table", path=str(self.output))
        if self.options.report is not None:
            from harpsstar.archive.report import write_report

            about = {"Command": self.options.command, "Model": self.model.version,
                     "harpsstar": __version__}
            write_report(self.journal, self.pool, self.options.settings, self.options.report,
                         about=about, left_out=seen.reasons())
            self._say("report", path=str(self.options.report))

    def _plot(self, seen: Survey, new: Collection[str]) -> None:
        """Draw every spectrum of this run that has labels; a kept row keeps its picture."""
        if self.options.plots is None:
            return
        stems, paths = Stems(), {}
        for item in seen.chosen:
            known, path = self.journal.known(item.key), self.options.plots / (
                f"{stems.of(item.found.path)}.png"
            )
            drawn = item.key not in new and path.exists()
            if known is not None and known.status != "failed" and not drawn:
                paths[item.key] = (path, Input(item.key, os.path.abspath(item.found.path)))
        inputs = [one for _, one in paths.values()]
        for one, picture in call_each(plot, inputs, self.pool, self.options.settings):
            if picture is not None:
                with replacing(paths[one.key][0], PICTURE) as temporary:
                    temporary.write_bytes(picture)
        self._say("plots", path=str(self.options.plots))

    def _outcome(
        self, seen: Survey, resumed: int, interrupted: bool, counts: Mapping[str, int]
    ) -> Outcome:
        stale = self.journal.models()
        stale.pop(self.model.version, None)
        return Outcome(
            rows=tuple(self.journal.rows()) if self._is_shown() else (),
            total=len(seen.chosen),
            output=None if interrupted else self.output,
            interrupted=interrupted,
            counts=counts,
            resumed=resumed,
            left_out=seen.reasons(),
            stale=stale,
            notes=_missed(seen),
        )

    def _is_shown(self) -> bool:
        return self.output is None or sum(self.journal.counts().values()) <= FEW

    def _say(self, kind: str, **facts: Any) -> None:
        self.tell(Event(kind, facts))


def is_kept(item: Candidate, known: Known, since: int = -1) -> bool:
    """Tell whether a file needs not be done again: its row holds, and is newer than ``since``."""
    unchanged = known.stamp is not None and known.stamp == item.stamp
    return known.final and unchanged and known.serial > since


def _missed(seen: Survey) -> tuple[str, ...]:
    """Say which targets were asked for in vain, and which there are."""
    if not seen.missed:
        return ()
    there = ", ".join(seen.targets) or "none has a name"
    return (f"no spectrum of {', '.join(seen.missed)}; the targets are: {there}",)


def _absent(item: Candidate) -> Done:
    assert item.found.problem is not None  # that is how it was chosen
    return Done(item.key, Row.failed(item.found.path, item.found.problem), final=False)


def _record_of(done: Done, row: Row, facts: Facts, model: str) -> Record:
    """What the journal keeps of a row; what goes wrong with it ends this row and no other."""
    try:
        row = _completed(row, facts)
        return Record(done.key, row, done.stamp, done.digest, model,
                      night_of(row.bjd, facts.start), done.final)
    except Exception as error:  # noqa: BLE001  another file's row must not be lost
        from harpsstar.infer.prepare import failed_row

        return Record(done.key, failed_row(row.file, error), done.stamp, done.digest, model,
                      final=False)


def _completed(row: Row, facts: Facts) -> Row:
    """Say of a failed input what its header says."""
    if row.status != "failed":
        return row
    return replace(row, target=facts.target, instrument=facts.instrument, product=facts.product,
                   bjd=facts.bjd, snr=facts.snr)


def nobody(event: Event) -> None:
    """Listen to nothing."""
