"""What commands print: results on standard output, progress and complaints on standard error."""

from __future__ import annotations

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harpsstar.cli._table import show_table
from harpsstar.labels import LABELS

if TYPE_CHECKING:
    from harpsstar.archive.batch import Outcome
    from harpsstar.archive.describe import Description
    from harpsstar.archive.discover import Candidate
    from harpsstar.archive.summary import Star
    from harpsstar.io.results import Row
    from harpsstar.synth.inputs import Record

#: How a label is written, and how its uncertainty.
_FORM = {"teff": (".0f", ".0f"), "logg": (".2f", ".2f"), "m_h": ("+.2f", ".2f"),
         "vsini": (".1f", ".1f"), "rv": (".2f", ".2f"), "snr": (".0f", "")}
_STYLE = {"ok": "green", "flagged": "yellow", "failed": "red"}


def sentence(row: Row) -> str:
    """Say in a line what a row holds."""
    if row.status == "failed":
        return f"failed: {row.message}"
    labels = ", ".join(f"{label.name} {_value(row, label.name)} {label.unit}".rstrip()
                       for label in LABELS)
    flags = f" ({row.flag_text})" if row.flag_text else ""
    return f"{row.status}{flags}: {labels}"


def _value(row: Row, name: str) -> str:
    return _with_error(name, getattr(row, name), getattr(row, f"{name}_err", math.nan))


def _with_error(name: str, value: float, error: float) -> str:
    if not math.isfinite(value):
        return "–"
    form, error_form = _FORM[name]
    return f"{value:{form}}" + (f" ± {error:{error_form}}" if math.isfinite(error) else "")


def show_outcome(outcome: Outcome, *, quiet: bool, table: bool = True) -> None:
    """Show the rows of a run, unless they were written to a file, and how many failed."""
    if table and outcome.rows:
        show_table(_rows_table(outcome.rows))
    failed = outcome.count("failed")
    if quiet and not failed and not outcome.interrupted:
        return
    print(_summary(outcome), file=sys.stderr)
    for reason, number in outcome.left_out.items():
        print(f"harpsstar: left out {number}: {reason}", file=sys.stderr)
    for note in outcome.notes:
        print(f"harpsstar: {note}", file=sys.stderr)
    for model, number in outcome.stale.items():
        print(f"harpsstar: {number} rows were made by the model {model}, not by the present one;"
              " --refresh makes them again", file=sys.stderr)


def _summary(outcome: Outcome) -> str:
    counts = ", ".join(f"{outcome.count(status)} {status}" for status in _STYLE)
    where = f"; written to {outcome.output}" if outcome.output else ""
    if outcome.resumed:
        counts += f" ({outcome.resumed} of them from an earlier run)"
    if outcome.interrupted:
        done = sum(outcome.count(status) for status in _STYLE)
        return (f"harpsstar: interrupted after {done} of {outcome.total} inputs: {counts};"
                " the same command goes on, if it has an output")
    if outcome.total == 0:
        return "harpsstar: nothing to do"
    if outcome.count("failed") == outcome.total:
        return f"harpsstar: no input gave a result: {counts}{where}"
    inputs = "1 input" if outcome.total == 1 else f"{outcome.total} inputs"
    return f"harpsstar: {inputs}: {counts}{where}"


def _rows_table(rows: tuple[Row, ...]) -> Table:
    units = {label.name: f" [{label.unit}]" if label.unit else "" for label in LABELS}
    table = Table("file", "target", "snr", escape("rv [km/s]"),
                  *(escape(name + unit) for name, unit in units.items()), "status", "remark")
    for row in rows:
        remark = "; ".join(text for text in (row.flag_text, row.message) if text)
        values = (_value(row, name) for name in ("snr", "rv", *units))
        status = Text(row.status, style=_STYLE[row.status])
        table.add_row(Text(row.file, overflow="fold"), Text(row.target), *values, status,
                      Text(remark, overflow="fold"))  # fmt: skip
    return table


def show_stars(stars: Sequence[Star]) -> None:
    """Show a line for each star: its labels, and the scatter of its epochs over the noise."""
    units = [f" [{label.unit}]" if label.unit else "" for label in LABELS]
    table = Table("target", "epochs", *(escape(label.name + unit)
                                        for label, unit in zip(LABELS, units, strict=True)),
                  "scatter / noise", escape("rv [km/s]"), "left out")
    for star in stars:
        labels = (_with_error(label.name, value, error) for label, value, error in zip(
            LABELS, star.labels, (math.sqrt(star.covariance[i, i]) for i in range(4)), strict=True))
        ratio = math.sqrt(star.chi2_red) if math.isfinite(star.chi2_red) else math.nan
        left_out = {"flagged": star.flagged, "failed": star.failed, "copies": star.copies,
                    "outliers": len(star.outliers)}
        table.add_row(
            Text(star.target), str(star.epochs), *labels,
            f"{ratio:.1f}" if math.isfinite(ratio) else "–",
            _with_error("rv", star.rv, star.rv_err),
            ", ".join(f"{number} {what}" for what, number in left_out.items() if number),
        )
    show_table(table)


def show_description(description: Description) -> None:
    """Show what ``harpsstar inspect`` found."""
    table = Table(show_header=False, box=None)
    for name, text in description.facts:
        table.add_row(name, Text(text))
    for note in description.notes:
        table.add_row("note", Text(note))
    table.add_row("usable", Text(f"no: {description.problem}" if description.problem else "yes"))
    show_table(table)


def show_system() -> None:
    """Show the environment as plain lines, to be pasted into a report."""
    from harpsstar._system import system_report

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
