"""What commands print: results on standard output, progress and complaints on standard error."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harpsstar.cli._table import console, show_table
from harpsstar.cli.exit import ExitCode
from harpsstar.errors import HarpsstarError
from harpsstar.formatting import plain, with_error
from harpsstar.labels import LABELS, NAMES

if TYPE_CHECKING:
    from harpsstar.archive.batch import Outcome
    from harpsstar.archive.discover import Candidate
    from harpsstar.archive.summary import Star
    from harpsstar.grid.inputs import Record
    from harpsstar.io.describe import Description
    from harpsstar.io.results import Row

_STYLE = {"ok": "green", "flagged": "yellow", "failed": "red"}
#: Characters beyond which a text or a list of a card is shortened.
_LONG = 300


def sentence(row: Row) -> str:
    """Return one line that summarises a row."""
    if row.status == "failed":
        return f"failed: {row.message}"
    labels = ", ".join(f"{label.name} {_value(row, label.name)} {label.unit}".rstrip()
                       for label in LABELS)
    flags = f" ({row.flag_text})" if row.flag_text else ""
    return f"{row.status}{flags}: {labels}"


def _value(row: Row, name: str) -> str:
    return with_error(name, getattr(row, name), getattr(row, f"{name}_err", math.nan))


def show_outcome(outcome: Outcome, *, quiet: bool, table: bool = True) -> None:
    """Show the rows of a run, unless they are many in a file, and how many failed."""
    if table and outcome.rows and not (quiet and outcome.output):
        _show_rows(outcome.rows)
    failed = outcome.count("failed")
    if quiet and not failed and not outcome.interrupted:
        return
    print(_summary(outcome), file=sys.stderr)
    for reason, number in outcome.left_out.items():
        print(f"harpsstar: left out {number}: {reason}", file=sys.stderr)
    for note in outcome.notes:
        print(f"harpsstar: {note}", file=sys.stderr)
    if outcome.out_of_reach:
        print(f"harpsstar: kept {outcome.out_of_reach} rows of files whose folder no longer exists;"
              " is the disk mounted?", file=sys.stderr)
    for model, number in outcome.stale.items():
        print(f"harpsstar: {number} rows come from the model {model}, not from the current one;"
              " --refresh replaces them", file=sys.stderr)


def print_ecsv(rows: Sequence[Row]) -> None:
    """Print rows as the ECSV file that they would be."""
    from harpsstar.io.results import provenance, to_table, write_table

    command = shlex.join(["harpsstar", *sys.argv[1:]])
    with TemporaryDirectory() as folder:
        path = write_table(to_table(rows, provenance(command)), Path(folder) / "table.ecsv")
        print(path.read_text(encoding="utf-8"), end="")


def _summary(outcome: Outcome) -> str:
    counts = ", ".join(f"{outcome.count(status)} {status}" for status in _STYLE)
    where = f"; written to {outcome.output}" if outcome.output else ""
    if outcome.resumed:
        counts += f" ({outcome.resumed} of them from an earlier run)"
    if outcome.interrupted:
        done = sum(outcome.count(status) for status in _STYLE)
        return (f"harpsstar: interrupted after {done} of {outcome.total} inputs: {counts};"
                " with --output, the same command continues")
    if outcome.total == 0:
        return "harpsstar: nothing to do"
    if outcome.count("failed") == outcome.total:
        return f"harpsstar: no input gave a result: {counts}{where}"
    inputs = "1 input" if outcome.total == 1 else f"{outcome.total} inputs"
    return f"harpsstar: {inputs}: {counts}{where}"


def _show_rows(rows: Sequence[Row]) -> None:
    """Show a line of numbers for each row; on a terminal, its remarks below all of them."""
    output = console()
    below = output.is_terminal
    table = Table(box=None, padding=(0, 2, 0, 0)) if below else Table()
    for heading in ("file", "target"):
        table.add_column(heading)
    for heading in ("snr", "rv [km/s]", *(label.heading for label in LABELS)):
        table.add_column(escape(heading), no_wrap=True)
    for heading in ("status",) if below else ("status", "remark"):
        table.add_column(heading)
    names = [Path(row.file).name if below else row.file for row in rows]
    remarks = ["; ".join(text for text in (row.flag_text, row.message) if text) for row in rows]
    for row, name, remark in zip(rows, names, remarks, strict=True):
        values = (_value(row, name) for name in ("snr", "rv", *NAMES))
        last = () if below else (Text(remark, overflow="fold"),)
        table.add_row(Text(name, overflow="fold"), Text(row.target), *values,
                      Text(row.status, style=_STYLE[row.status]), *last)  # fmt: skip
    show_table(table)
    if below:
        output.print()
        for name, remark in zip(names, remarks, strict=True):
            if remark:
                output.print(Text(f"{name}: {remark.replace(',', ', ')}"))


def show_stars(stars: Sequence[Star]) -> None:
    """Show a line for each star: its labels, and the scatter of its epochs over the noise."""
    table = Table("target", "epochs", *(escape(label.heading) for label in LABELS),
                  "scatter / noise", escape("rv [km/s]"), "left out")
    for star in stars:
        labels = (with_error(label.name, value, error) for label, value, error in zip(
            LABELS, star.labels, (math.sqrt(star.covariance[i, i]) for i in range(4)), strict=True))
        ratio = math.sqrt(star.chi2_red) if math.isfinite(star.chi2_red) else math.nan
        left_out = {"flagged": star.flagged, "failed": star.failed, "copies": star.copies,
                    "outliers": len(star.outliers), "without covariance_noise": star.without_noise}
        remarks = [f"{number} {what}" for what, number in left_out.items() if number]
        remarks += [] if star.alike else ["spectra differ too much for one star"]
        table.add_row(
            Text(star.target), str(star.epochs), *labels,
            plain(ratio, ".1f"),
            with_error("rv", star.rv, star.rv_err), ", ".join(remarks),
        )
    show_table(table)


def show_descriptions(found: Iterable[Description | HarpsstarError]) -> ExitCode:
    """Show what ``harpsstar inspect`` found of each file, and return the code that says it all."""
    usable: list[bool] = []
    for item in found:
        if usable:
            print()
        if isinstance(item, HarpsstarError):
            print(f"harpsstar: {item}", file=sys.stderr)
            usable.append(False)
        else:
            _show_description(item)
            usable.append(not item.problem)
    if not any(usable):
        return ExitCode.NOTHING_DONE
    return ExitCode.OK if all(usable) else ExitCode.SOME_FAILED


def _show_description(description: Description) -> None:
    table = Table(show_header=False, box=None)
    for name, text in description.facts:
        table.add_row(name, Text(text))
    for note in description.notes:
        table.add_row("note", Text(note))
    table.add_row("usable", Text(f"no: {description.problem}" if description.problem else "yes"))
    show_table(table)


def show_system() -> None:
    """Show the environment as plain lines, to be pasted into a report."""
    from harpsstar.cli._system import system_report

    facts = system_report()
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        print(f"{name:{width}}  {text}")


def show_models(cards: Mapping[str, Mapping[str, Any]]) -> None:
    """Show a line for each model: its name and what its card says it is."""
    table = Table("name", "description")
    for name, card in cards.items():
        table.add_row(Text(name), Text(str(card.get("description", ""))))
    show_table(table)


def show_card(card: Mapping[str, Any], *, full: bool) -> None:
    """Show the card of a model as JSON; long lists only by their number of items, or whole."""
    print(json.dumps(_readable(card, full=full), indent=2, ensure_ascii=False))


def _readable(value: Any, *, full: bool) -> Any:
    if isinstance(value, Mapping):
        return {key: _readable(item, full=full) for key, item in value.items()}
    if isinstance(value, str) and len(value) > _LONG:
        # The grid writes its lists as text, since the headers of its file hold nothing else.
        try:
            value = json.loads(value)
        except ValueError:
            return value if full else f"{value[:_LONG]} …"
    if isinstance(value, list) and len(json.dumps(value)) > _LONG and not full:
        return f"{len(value)} items, the first of them {value[0]!r}; --full shows all"
    if isinstance(value, list):
        return [_readable(item, full=full) for item in value]
    return value


def show_inputs(records: Sequence[Record], folder: Path) -> None:
    """Show a line for each folder of inputs: how many are held, which hash, from where.

    The hash is that of the file, or, of several, that of their listing in sha256sum's format.
    """
    table = Table("folder", "held", "SHA-256", "from", "licence", "citation")
    folders: dict[str, list[Record]] = {}
    for record in records:
        folders.setdefault(record.name.rpartition("/")[0], []).append(record)
    for name, files in folders.items():
        count = f"{sum(file.present for file in files)}/{len(files)}"
        listing = "".join(f"{file.sha256}  {file.name}\n" for file in files).encode()
        digest = files[0].sha256 if len(files) == 1 else hashlib.sha256(listing).hexdigest()
        first = files[0]
        cells = (name, count, digest, first.origin, first.licence, first.citation)
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    show_table(table)
    print(f"in {folder}: {sum(record.present for record in records)} of {len(records)} files")


def show_plan(plan: Sequence[tuple[Candidate, str]]) -> None:
    """Show what would be done with every file, and how many files with each."""
    for item, what in plan:
        facts = ", ".join(text for text in (item.facts.product, item.facts.target) if text)
        print(f"{item.found.path}: {what}" + (f" ({facts})" if facts else ""))
    for what, number in Counter(what for _, what in plan).most_common():
        print(f"harpsstar: {number}: {what}", file=sys.stderr)
