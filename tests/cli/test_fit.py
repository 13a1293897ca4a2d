"""``harpsstar fit``: a table, and refusals before any file is opened."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.io.results import read_table


def run(*arguments):
    return CliRunner().invoke(app, ["fit", *map(str, arguments)])


def test_good_and_bad_files_get_a_row_each(star, empty, tmp_path):
    output = tmp_path / "fits.ecsv"
    result = run(star, empty, "-o", output, "--fix", "logg=4.44", "--tie", "vmic")
    assert result.exit_code == ExitCode.SOME_FAILED
    table = read_table(output)
    assert list(table["status"]) == ["ok", "failed"]
    assert abs(table["teff"][0].value - 5772) < 20
    assert table["logg_err"][0] == 0.0
    assert abs(table["rv"][0].value - 12.0) < 0.05


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fix", "logg=9"], "logg from 0 to 5"),
        (["--fix", "gravity=4"], "unknown label 'gravity'"),
        (["--fix", "teff=5000", "--prior", "teff=5000+-10"], "only one of the two"),
        (["--prior", "m_h=-9..0"], "m_h from -2.5 to 0.5"),
        (["-o", "table.xyz"], "unknown extension"),
        (["--fix", "alpha=0.2"], "alpha cannot be fixed, tied or given a prior"),
    ],
)
def test_wrong_options_are_refused_before_any_file_is_opened(arguments, told):
    result = run("no-such-file.fits", *arguments)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert told in result.stderr
    assert "no-such-file" not in result.stderr


@pytest.mark.parametrize(("option", "package"), [
    ("--plots", "matplotlib.figure"), ("--plots", "corner"), ("--samples", "arviz"),
])
def test_what_needs_a_missing_package_is_refused_before_any_file_is_opened(
    option, package, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    result = run("no-such-file.fits", option, tmp_path / "folder")
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "is not installed" in result.stderr
    assert "no-such-file" not in result.stderr
    assert not (tmp_path / "folder").exists()


def test_an_unknown_sampler_is_refused():
    assert run("no-such-file.fits", "--sampler", "gibbs").exit_code == 2
