"""``harpsstar inspect``: what a file is and whether it can be used."""

from __future__ import annotations

from typer.testing import CliRunner

import harpsstar
from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.model.emulator import Emulator


def inspect(path):
    return CliRunner().invoke(app, ["inspect", str(path)])


def test_a_spectrum(star):
    result = inspect(star)
    assert result.exit_code == ExitCode.OK
    for text in ("HD 1", "HARPS-N", "e2ds", "-5.000 km/s", "usable"):
        assert text in result.stdout


def test_no_spectrum(empty):
    result = inspect(empty)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert str(empty) in result.stderr
    assert "expected" in result.stderr


def test_several_files_folders_and_patterns(star, empty):
    """Beside the star lies its blaze, which is no spectrum."""
    (blaze,) = star.parent.glob("*_blaze_A.fits")
    for names, bad in (([star, empty], empty), ([star.parent], blaze),
                       ([f"{star.parent}/*.fits"], blaze)):  # fmt: skip
        result = CliRunner().invoke(app, ["inspect", *map(str, names)])
        assert result.exit_code == ExitCode.SOME_FAILED
        assert str(star) in result.stdout
        assert str(bad) in result.stderr
    result = CliRunner().invoke(app, ["inspect", str(star), str(star)])
    assert result.exit_code == ExitCode.OK
    result = CliRunner().invoke(app, ["inspect", str(star), str(empty), "--plot", "a.png"])
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "one file" in result.stderr


def test_nothing(tmp_path):
    result = inspect(tmp_path / "none.fits")
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "none.fits" in result.stderr


def test_the_environment():
    result = CliRunner().invoke(app, ["inspect", "--system"])
    assert result.exit_code == ExitCode.OK
    facts = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert facts["harpsstar"].strip().startswith(harpsstar.__version__)
    for name in ("python", "platform", "torch", "inputs", "HARPSSTAR_CACHE"):
        assert facts[name].strip()
    digest = Emulator.load().metadata["sha256"]
    assert facts["grid.safetensors"].strip().startswith(digest[:16])


def test_a_broken_environment_is_described(monkeypatch, tmp_path):
    monkeypatch.setenv("HARPSSTAR_INSTRUMENTS", str(tmp_path / "none.toml"))
    result = CliRunner().invoke(app, ["inspect", "--system"])
    assert result.exit_code == ExitCode.OK
    assert "unknown: ConfigError" in result.stdout


def test_neither_file_nor_system():
    result = CliRunner().invoke(app, ["inspect"])
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "give at least one FILE, or --system" in result.stderr


def test_a_picture(star, tmp_path):
    result = CliRunner().invoke(app, ["inspect", str(star), "--plot", str(tmp_path / "star.png")])
    assert result.exit_code == ExitCode.OK, result.output
    assert (tmp_path / "star.png").stat().st_size > 10_000
    result = CliRunner().invoke(app, ["inspect", str(star), "--plot", str(tmp_path / "star.gif")])
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert ".png, .pdf, .svg" in result.stderr
