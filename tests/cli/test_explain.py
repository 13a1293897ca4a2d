"""``harpsstar explain``: which lines decided on a label."""

from __future__ import annotations

from astropy import units as u
from astropy.table import QTable
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.labels import NAMES


def explain(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def test_a_spectrum(star, tmp_path):
    table, picture = tmp_path / "lines.ecsv", tmp_path / "lines.svg"
    result = explain(star, "-o", table, "--picture", picture, "--top", 12)
    assert result.exit_code == ExitCode.OK, result.output
    assert "Mg I 5183.61" in result.stdout
    lines = QTable.read(table)
    assert lines["wave_air"].unit == u.AA
    for name in NAMES:
        assert abs(lines[f"share_{name}"].sum() - 1) < 1e-6
    assert picture.stat().st_size > 10_000


def test_no_spectrum(empty):
    result = explain(empty)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert str(empty) in result.stderr


def test_an_output_that_cannot_be(star, tmp_path):
    for option, name in (("-o", "lines.fits"), ("--picture", "lines.jpg")):
        result = explain(star, option, tmp_path / name)
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert "extension" in result.stderr
