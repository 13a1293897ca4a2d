"""``harpsstar evaluate``: tables for people, JSON for scripts."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.labels import NAMES


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.mark.parametrize("as_json", [False, True])
def test_accuracy(as_json):
    options = ["-n", 3, "--bound-stars", 1, "--snr", "80,90", "--teff", "4500:6000"]
    result = evaluate("accuracy", *options, *["--json"] * as_json)
    assert result.exit_code == ExitCode.OK
    if as_json:
        found, other = json.loads(result.stdout)
        assert other["snr"] == 90.0
        assert (found["snr"], found["n"], list(found["labels"])) == (80.0, 3, list(NAMES))
    else:
        assert "MAE" in result.stdout
        assert "teff [K]" in result.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_stars(star, empty, tmp_path, as_json):
    references = tmp_path / "stars.toml"
    references.write_text("['The star']\ntargets = ['HD 1']\nsource = 'x'\nteff = [5700.0, 50.0]\n")
    result = evaluate("stars", star, empty, "--references", references, *["--json"] * as_json)
    assert result.exit_code == ExitCode.OK
    if as_json:
        good, bad = json.loads(result.stdout)
        assert good["star"] == "The star"
        assert good["labels"]["teff"]["reference"] == 5700.0
        assert good["labels"]["logg"]["difference"] is None
        assert (bad["status"], bad["labels"]["teff"]["value"]) == ("failed", None)
    else:
        assert "The star" in result.stdout
        assert "empty" in result.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_epochs(tmp_path, as_json):
    options = ["-n", 2, "--epochs", 2, "--teff", "5000:6000", "--plot", tmp_path / "p.png"]
    result = evaluate("epochs", *options, *["--json"] * as_json)
    assert result.exit_code == ExitCode.OK
    assert (tmp_path / "p.png").stat().st_size > 10_000
    if as_json:
        found = json.loads(result.stdout)
        assert (found["n"], found["epochs"], list(found["labels"])) == (2, 2, list(NAMES))
        assert len(found["probabilities"]) == len(found["pulls"]) == 2
    else:
        assert "reduced χ²" in result.stdout


def test_the_card_is_a_page():
    result = evaluate("card")
    assert result.exit_code == ExitCode.OK
    for word in ("# Model card: default", "## Intended use", "| vmac |", "## Known failures"):
        assert word in result.stdout


def test_what_cannot_be_done_is_said():
    for arguments, word in (
        (["epochs", "-n", 1], "at least 2 stars"), (["epochs", "--snr", "40"], "2 numbers"),
        (["accuracy", "-n", 1], "expected"), (["accuracy", "--teff", "5000"], "2 numbers"),
        (["accuracy", "--model", "none"], "no such model"),
        (["stars", "a.fits", "--references", "none.toml"], "none.toml"),
        (["emulator", "--grid", "none.safetensors"], "no such grid"),
        (["emulator", "--interpolation", "spline"], "cubic"),
    ):  # fmt: skip
        result = evaluate(*arguments)
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert word in result.stderr
