"""A batch gives one row for each input, in order, and one table, whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from harpsstar.archive.batch import run
from harpsstar.archive.files import Found
from harpsstar.errors import OutputError, ReadError
from harpsstar.io.results import Row, provenance, read_table


def found(*names):
    """Inputs; those whose name starts with "no" are not there."""
    return [Found(Path(name), ReadError("no such file") if name.startswith("no") else None)
            for name in names]


def by_name(paths):
    """A prediction that fails for names with "bad" and is interrupted at "stop"."""
    for path in paths:
        if "stop" in path.name:
            raise KeyboardInterrupt
        if "bad" in path.name:
            yield Row.failed(path, ReadError("is empty"))
        else:
            yield Row(file=str(path), teff=5772.0)


def test_rows_come_in_the_order_of_the_inputs():
    outcome = run(found("a", "no1", "bad", "b", "no2"), by_name)
    assert [row.file for row in outcome.rows] == ["a", "no1", "bad", "b", "no2"]
    assert [row.status for row in outcome.rows] == ["ok", "failed", "failed", "ok", "failed"]
    assert (outcome.count("ok"), outcome.count("flagged"), outcome.count("failed")) == (2, 0, 3)


def test_every_row_is_told_at_once():
    told = []
    run(found("a", "no1"), by_name, on_row=lambda row, n, total: told.append((row.file, n, total)))
    assert told == [("a", 1, 2), ("no1", 2, 2)]


def test_the_table_holds_every_row_and_the_metadata(tmp_path):
    path = tmp_path / "t.ecsv"
    outcome = run(found("a", "bad"), by_name, path, meta=provenance("the command"))
    table = read_table(path)
    assert outcome.output == path
    assert table["file"].tolist() == ["a", "bad"]
    assert table["message"].tolist() == ["", "is empty"]
    assert table.meta["command"] == "the command"


def test_an_interrupted_batch_leaves_the_old_table_and_keeps_its_rows_apart(tmp_path):
    path = tmp_path / "t.ecsv"
    path.write_bytes(b"precious")
    outcome = run(found("a", "stop", "b"), by_name, path)
    assert outcome.interrupted
    assert outcome.total == 3
    assert outcome.output == tmp_path / "t.partial.ecsv"
    assert read_table(outcome.output)["file"].tolist() == ["a"]
    assert path.read_bytes() == b"precious"


def test_an_interruption_before_the_first_row_writes_nothing(tmp_path):
    outcome = run(found("stop"), by_name, tmp_path / "t.ecsv")
    assert (outcome.output, outcome.rows) == (None, ())
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        run(found("a"), by_name, tmp_path / "none" / "t.ecsv")
