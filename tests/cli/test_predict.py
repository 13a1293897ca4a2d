"""``harpsstar predict``: a row for each input, a table replaced whole, a code for scripts."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from harpsstar.archive.journal import Journal, journal_of
from harpsstar.cli import app
from harpsstar.cli._progress import Rows
from harpsstar.cli.exit import ExitCode
from harpsstar.io.results import read_table
from tests.archive.compare import difference
from tests.cli.signals import hear_interrupts


def predict(*arguments):
    """Without worker processes, which take seconds to start."""
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--jobs", "0"])


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
    # A few stars are shown even where they are written.
    assert "teff [K]" in result.stdout
    assert f"{table['teff'][0].value:.0f} ±" in result.stdout
    assert predict(star, "-o", path, "-q").stdout == ""


def test_more_than_ten_rows_are_not_shown_where_they_are_written(empty, tmp_path):
    names = [f"none{i}.fits" for i in range(11)]
    assert predict(*names, "-o", tmp_path / "t.ecsv").stdout == ""
    assert "none9.fits" in predict(*names[:10], "-o", tmp_path / "u.ecsv").stdout


def test_the_table_can_go_to_standard_output(star, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = predict(star, "-o", "-", "-q")
    assert result.exit_code == ExitCode.OK
    path = tmp_path / "t.ecsv"
    path.write_text(result.stdout, encoding="utf-8")
    assert read_table(path)["file"].tolist() == [str(star)]
    assert list(tmp_path.iterdir()) == [path]


def test_one_bad_file_loses_no_other_row(star, empty, tmp_path):
    path = tmp_path / "t.ecsv"
    path.write_bytes(b"old")
    result = predict("none.fits", star, empty, "-o", path, "--overwrite")
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


def test_a_terminal_shows_at_once_that_work_has_begun(star, tmp_path):
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "harpsstar", "predict", star, "-o", tmp_path / "t.ecsv"],
        stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"TERM": "xterm"},
    ):  # fmt: skip
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
            while part := os.read(ours, 4096):
                told += part
    os.close(ours)
    assert told.index(b"starting") < told.index(b"predicting") < told.index(b"1 input:")
    assert b"starting" not in told[told.index(b"predicting"):]


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.0, 2.0])
def test_ctrl_c_while_the_workers_start_is_a_sentence(star, tmp_path, delay):
    path = tmp_path / "t.ecsv"
    process = subprocess.Popen(
        [sys.executable, "-m", "harpsstar", "predict", star, "-o", path, "--jobs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not journal_of(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    # As a terminal does it: to every process of the command.
    os.killpg(process.pid, signal.SIGINT)
    # Ends when all of them have let go of their output.
    _, told = process.communicate(timeout=600)
    assert process.returncode in (ExitCode.INTERRUPTED, ExitCode.OK)
    assert "Traceback" not in told
    assert ("interrupted" in told) == (process.returncode == ExitCode.INTERRUPTED)


def test_ctrl_c_says_what_is_done_and_the_same_command_goes_on(empty, tmp_path, monkeypatch):
    def stop(self, event):
        if event.row is not None:
            raise KeyboardInterrupt

    path = tmp_path / "t.ecsv"
    path.write_bytes(b"precious")
    with monkeypatch.context() as patch:
        patch.setattr(Rows, "event", stop)
        result = predict(empty, "none.fits", "-o", path, "--overwrite")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "interrupted after 0 of 2 inputs" in result.stderr
    assert path.read_bytes() == b"precious"
    result = predict(empty, "none.fits", "-o", path, "--overwrite")
    assert "1 of them from an earlier run" not in result.stderr
    assert read_table(path)["file"].tolist() == [str(empty), "none.fits"]


class TestOutputInTrouble:
    """A message and a code of its own, nothing lost."""

    def check(self, result, word):
        assert result.exit_code == ExitCode.NOT_WRITTEN
        assert word in result.stderr
        assert "Traceback" not in result.output

    def test_another_run(self, empty, tmp_path):
        with Journal(journal_of(tmp_path / "t.ecsv")):
            self.check(predict(empty, "-o", tmp_path / "t.ecsv"), "another run is writing")

    def test_a_folder_that_cannot_be_written(self, empty, tmp_path):
        """A file where the journal would be made: what any user meets, root too."""
        journal_of(tmp_path / "t.ecsv").mkdir()
        self.check(predict(empty, "-o", tmp_path / "t.ecsv"), "cannot be written")

    def test_a_read_only_disk(self, empty, tmp_path, request):
        import subprocess

        if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path],
                          capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted")
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", tmp_path], check=True))
        self.check(predict("none.fits", "-o", tmp_path / "t.ecsv"), "cannot be written")


class TestEvents:
    """For pipelines: one JSON object a line, and a log."""

    def test_json(self, star, empty, tmp_path):
        result = predict(star, empty, "--json", "-o", tmp_path / "t.ecsv")
        events = [json.loads(line) for line in result.stdout.splitlines()]
        kinds = [event["event"] for event in events]
        assert kinds[-2:] == ["table", "end"]
        assert "found" in kinds
        rows = {event["row"]["file"]: event for event in events if event["event"] == "row"}
        assert set(rows) == {str(star), str(empty)}
        assert rows[str(empty)]["row"]["teff"] is None
        assert rows[str(star)]["row"]["status"] in ("ok", "flagged")
        assert rows[str(star)]["reading"] > 0
        assert events[-1]["counts"]["failed"] == 1

    def test_the_log_has_every_event(self, empty, tmp_path):
        log = tmp_path / "log"
        for _ in range(2):
            predict(empty, "-q", "--log-file", log)
        lines = log.read_text(encoding="utf-8").splitlines()
        assert sum('"event": "end"' in line for line in lines) == 2
        assert sum(str(empty) in line for line in lines) == 2
        result = predict(empty, "--log-file", tmp_path / "none" / "log")
        assert result.exit_code == ExitCode.NOTHING_DONE


def test_every_row_is_a_line_when_verbose(star, empty):
    assert "teff" in predict(star, empty, "-v").stderr
    assert "teff" not in predict(star, empty).stderr


def test_a_dry_run_lists_and_does_nothing(star, tmp_path):
    folder = star.parent
    result = predict(folder, "--dry-run", "-o", tmp_path / "t.ecsv")
    assert result.exit_code == ExitCode.OK
    assert f"{star}: predict (e2ds, HD 1)" in result.stdout
    assert "leave out: blaze" in result.stdout
    assert "1: predict" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_searched_for_spectra_and_the_rest_counted(star, tmp_path):
    result = predict(star.parent, "-o", tmp_path / "t.ecsv", "--report", tmp_path / "r.html")
    assert result.exit_code == ExitCode.OK
    assert "left out 1: blaze" in result.stderr
    assert "<svg" in (tmp_path / "r.html").read_text(encoding="utf-8")
    none = predict(star.parent, "--target", "HD 2")
    assert none.exit_code == ExitCode.NOTHING_DONE
    assert "nothing to do" in none.stderr


def test_every_good_input_has_a_picture_which_stays(star, empty, tmp_path):
    table, plots = tmp_path / "t.ecsv", tmp_path / "new" / "plots"
    result = predict(star, empty, "-o", table, "--plots", plots)
    assert result.exit_code == ExitCode.SOME_FAILED
    (picture,) = plots.iterdir()
    assert picture.name == "star_e2ds_A.png"
    made = picture.stat().st_mtime_ns
    predict(star, empty, "-o", table, "--plots", plots)
    assert picture.stat().st_mtime_ns == made
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("arguments", [
    ["--since", "2016"], ["--report", "none/r.html"],
])
def test_wrong_wishes_are_refused(empty, arguments):
    result = predict(empty, *arguments)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "expected" in result.stderr or "create it first" in result.stderr


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_told(empty):
    pytest.importorskip("distributed")
    result = predict(empty, "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "no Dask scheduler answers" in result.stderr


def test_worker_processes_give_the_same_rows(star, empty, tmp_path):
    tables = []
    for number in ("0", "2"):
        path = tmp_path / f"{number}.ecsv"
        runner = CliRunner()
        arguments = ["predict", "none.fits", str(star), str(empty), "--jobs", number, "-o"]
        assert runner.invoke(app, [*arguments, str(path)]).exit_code == ExitCode.SOME_FAILED
        tables.append(read_table(path))
    assert difference(*tables) < 1e-5
