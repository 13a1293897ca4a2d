"""A terminal that lacks characters costs no result."""

import json
import os
import subprocess
import sys

import pytest

from harpsstar.mock import observe_star, write


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    path = tmp_path_factory.mktemp("stars") / "α Cen ± ž.fits"
    write(observe_star(5772.0, 4.44, 0.0, 2.0, format="s1d", seed=1, target="HD 1"), path)
    return path


def run(encoding, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "harpsstar", *map(str, arguments)], check=False,
        capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp1250", "cp932", "ascii", "latin-1"])
def test_results_are_shown_in_every_encoding(encoding, star):
    result = run(encoding, "predict", star, "--jobs", "0")
    assert result.returncode == 0, result.stderr
    shown = result.stdout.decode(encoding)
    assert "HD 1" in shown
    assert ("+-" in shown) or ("±" in shown)
    assert b"Traceback" not in result.stderr
    assert b"bug" not in result.stderr


def test_json_stays_json(star, tmp_path):
    result = run("ascii", "predict", star, "--jobs", "0", "--json", "-o", tmp_path / "t.ecsv")
    assert result.returncode == 0, result.stderr
    rows = [event["row"] for line in result.stdout.splitlines()
            if "row" in (event := json.loads(line))]  # fmt: skip
    assert [row["file"] for row in rows] == [str(star)]


def test_help_and_failures_too(tmp_path):
    assert run("ascii", "evaluate", "fit", "--help").returncode == 0
    result = run("cp932", "predict", tmp_path / "čeština.fits", "--jobs", "0")
    assert result.returncode == 2
    assert "cestina.fits: failed" in result.stderr.decode("cp932").replace("\n", "")
