"""``harpsstar inspect``: what a file is and whether it can be used."""

from __future__ import annotations

from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode


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


def test_nothing(tmp_path):
    result = inspect(tmp_path / "none.fits")
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "none.fits" in result.stderr


def test_a_picture(star, tmp_path):
    result = CliRunner().invoke(app, ["inspect", str(star), "--plot", str(tmp_path / "star.png")])
    assert result.exit_code == ExitCode.OK, result.output
    assert (tmp_path / "star.png").stat().st_size > 10_000
    result = CliRunner().invoke(app, ["inspect", str(star), "--plot", str(tmp_path / "star.gif")])
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert ".png, .pdf, .svg" in result.stderr
