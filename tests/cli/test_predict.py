"""``harpsstar predict``: a row for each input, a table replaced whole, a code for scripts."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli._show import Progress
from harpsstar.cli.exit import ExitCode
from harpsstar.io.results import read_table


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_a_good_spectrum_gives_a_row_and_code_0(star, tmp_path, monkeypatch):
    path = tmp_path / "t.ecsv"
    monkeypatch.setattr(sys, "argv", ["/bin/harpsstar", "predict", "a b.fits"])
    result = predict(star, "-o", path)
    assert result.exit_code == ExitCode.OK
    table = read_table(path)
    assert table["file"].tolist() == [str(star)]
    assert table["target"].tolist() == ["HD 1"]
    assert table["status"][0] in ("ok", "flagged")
    assert np.all(np.linalg.eigvalsh(table["covariance"][0]) > 0)
    assert abs(table["rv"][0].value - 12.0) < 1.0
    assert table.meta["command"] == "harpsstar predict 'a b.fits'"
    assert table.meta["model_card"]
    assert "1 input:" in result.stderr
    assert result.stdout == ""


def test_one_bad_file_loses_no_other_row(star, empty, tmp_path):
    path = tmp_path / "t.ecsv"
    path.write_bytes(b"old")
    result = predict("none.fits", star, empty, "-o", path)
    table = read_table(path)
    assert result.exit_code == ExitCode.SOME_FAILED
    assert table["file"].tolist() == ["none.fits", str(star), str(empty)]
    assert [status == "failed" for status in table["status"]] == [True, False, True]
    assert math.isnan(table["teff"][0].value)
    assert math.isfinite(table["teff"][1].value)
    for row in table[[0, 2]]:
        assert row["message"]
        assert row["message"] in result.stderr


@pytest.mark.parametrize("extension", [".ecsv", ".fits", ".vot", ".parquet", ".csv"])
def test_a_single_bad_file_is_code_2_and_still_a_row(empty, tmp_path, extension):
    path = tmp_path / f"t{extension}"
    result = predict(empty, "-o", path)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "expected" in result.stderr
    assert "no input gave a result" in result.stderr
    assert read_table(path)["status"].tolist() == ["failed"]


def test_without_output_a_summary_is_shown(star, empty):
    result = predict(star, empty)
    assert "teff [K]" in result.stdout
    assert "HD 1" in result.stdout
    assert "failed" in result.stdout


def test_quiet_says_only_what_failed(star, empty, tmp_path):
    assert predict(star, "-q", "-o", tmp_path / "t.ecsv").stderr == ""
    assert str(empty) in predict(star, empty, "-q", "-o", tmp_path / "t.ecsv").stderr


def test_brackets_in_names_are_no_markup(tmp_path):
    path = tmp_path / "[red]a.fits"
    path.touch()
    result = predict(path)
    assert str(path) in result.stderr
    assert str(path) in result.stdout


@pytest.mark.parametrize("arguments", [
    ["-o", "t.docx"], ["-o", "none/t.ecsv"], ["-o", "old.ecsv", "--no-overwrite"],
    ["-o", "t.ecsv", "--model", "none"],
])
def test_what_cannot_work_is_said_before_any_work(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.ecsv").write_bytes(b"precious")
    result = predict("none.fits", *arguments)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "none.fits" not in result.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


def test_ctrl_c_says_what_is_done_and_leaves_the_old_table(empty, tmp_path, monkeypatch):
    def stop(self, row, number, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "row", stop)
    path = tmp_path / "t.ecsv"
    path.write_bytes(b"precious")
    result = predict(empty, "none.fits", "-o", path)
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "interrupted after 1 of 2 inputs" in result.stderr
    assert str(tmp_path / "t.partial.ecsv") in result.stderr
    assert path.read_bytes() == b"precious"
    assert read_table(tmp_path / "t.partial.ecsv")["file"].tolist() == [str(empty)]
