"""``harpsstar archive``: what to do with tables of many spectra."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from astropy.table import QTable
from typer.testing import CliRunner

from harpsstar.archive.journal import Journal, Record, journal_of
from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.io.paths import Found
from harpsstar.io.results import Row, read_table, to_table, write_table
from tests.archive.test_summary import NOISE, epochs

ROOT = Path(__file__).parents[2]


def archive(*arguments):
    return CliRunner().invoke(app, ["archive", *map(str, arguments)])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.ecsv"
    write_table(to_table([*epochs(4, NOISE), *epochs(2, NOISE, target="HD 2")]), path)
    return path


def test_a_summary_has_a_line_for_each_star(table, tmp_path):
    result = archive("summary", table)
    assert result.exit_code == ExitCode.OK
    assert "HD 1" in result.stdout
    assert "HD 2" in result.stdout
    assert archive("summary", table, "-o", tmp_path / "stars.vot").exit_code == ExitCode.OK
    assert QTable.read(tmp_path / "stars.vot")["epochs"].tolist() == [4, 2]


def test_the_rows_of_a_journal_in_another_format(tmp_path):
    output = tmp_path / "t.ecsv"
    with Journal(journal_of(output)) as journal:
        journal.set_inputs([Found("a.fits")])
        journal.record([Record(Found("a.fits").key, Row(file="a.fits", teff=5772.0))])
    result = archive("export", output, "-o", tmp_path / "t.csv")
    assert result.exit_code == ExitCode.OK
    assert "1 row" in result.stderr
    assert read_table(tmp_path / "t.csv")["file"].tolist() == ["a.fits"]


@pytest.mark.parametrize("arguments", [
    ["summary", "none.ecsv"], ["export", "none.ecsv", "-o", "t.ecsv"],
])
def test_what_is_not_there_is_said(arguments):
    result = archive(*arguments)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "no such" in result.stderr


def test_every_exit_code_has_its_line_in_the_reference():
    page = (ROOT / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == [f"{code:d}" for code in ExitCode]
