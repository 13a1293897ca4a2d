"""The command line as a whole: quick, helpful, and without tracebacks."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import pytest
import typer.rich_utils
from typer.testing import CliRunner

import harpsstar
from harpsstar.archive import batch
from harpsstar.archive.batch import Outcome
from harpsstar.cli import app, main
from harpsstar.cli.exit import ExitCode, code_of, describe_codes
from harpsstar.io.results import Row

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
GROUPS = [group.name for group in app.registered_groups]


def harpsstar_command(*arguments):
    command = [sys.executable, "-X", "importtime", "-m", "harpsstar.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["--version"]])
def test_help_imports_nothing_that_takes_long(arguments):
    """How long it takes is a matter of the machine: benchmarks/importing.py measures it."""
    result = harpsstar_command(*arguments)
    assert result.returncode == 0
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "harpsstar.cli" in imported
    assert not imported & {"torch", "astropy", "specutils", "scipy", "numpy", "pandas",
                           "matplotlib", "distributed", "pyarrow"}  # fmt: skip


@pytest.mark.parametrize("arguments", [[], *([name] for name in [*COMMANDS, *GROUPS])])
def test_every_command_has_help(arguments):
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert len(result.output.splitlines()) > 5


def test_a_narrow_terminal_gets_whole_names_of_options(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    text = harpsstar_command("predict", "--help").stdout
    for name in ("--blaze-dir", "--time-limit", "--no-overwrite"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 50


def test_ctrl_c_before_anything_is_imported_is_a_sentence():
    code = ("import builtins, sys\n"
            "real = builtins.__import__\n"
            "def stop(name, *rest):\n"
            "    if name == 'harpsstar.cli':\n"
            "        raise KeyboardInterrupt\n"
            "    return real(name, *rest)\n"
            "from harpsstar.__main__ import main\n"
            "builtins.__import__ = stop\n"
            "main()\n")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == ExitCode.INTERRUPTED
    assert result.stderr == "harpsstar: interrupted, nothing was written\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell, monkeypatch):
    monkeypatch.setenv("_HARPSSTAR_COMPLETE", f"complete_{shell}")
    for typed, expected in (("harpsstar pre", "predict"), ("harpsstar predict --bl", "--blaze")):
        words = typed.split()
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", typed)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        assert expected in harpsstar_command().stdout


def test_version():
    assert CliRunner().invoke(app, ["--version"]).output == f"harpsstar {harpsstar.__version__}\n"


def test_every_exit_code_is_documented():
    for code in ExitCode:
        assert f"{code:d} " in describe_codes()


@pytest.mark.parametrize("arguments", [["prdict"], ["predict"], ["predict", "a", "--mdl", "x"]])
def test_wrong_usage_is_code_2(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "Usage" in result.stderr


@pytest.mark.parametrize(("statuses", "interrupted", "code"), [
    (["ok", "flagged"], False, ExitCode.OK),
    (["ok", "failed"], False, ExitCode.SOME_FAILED),
    (["failed", "failed"], False, ExitCode.NOTHING_DONE),
    (["ok"], True, ExitCode.INTERRUPTED),
])
def test_the_code_of_a_batch(statuses, interrupted, code):
    rows = tuple(Row(file="a", status=status) for status in statuses)
    assert code_of(Outcome(rows, 2, None, interrupted)) == code


class TestNoTraceback:
    """Whatever goes wrong ends in a sentence and a code."""

    arguments = ["predict", "none.fits", "-o"]

    def run(self, arguments, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["harpsstar", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert "Traceback" not in output.err + output.out
        return caught.value.code, output.err

    def test_an_error_of_ours(self, tmp_path, monkeypatch, capsys):
        arguments = [*self.arguments, tmp_path / "t.docx"]
        code, message = self.run(arguments, monkeypatch, capsys)
        assert code == ExitCode.NOTHING_DONE
        assert "unknown extension '.docx'; expected one of .ecsv" in message

    def test_an_error_of_the_program(self, tmp_path, monkeypatch, capsys):
        def broken(inputs):
            raise ZeroDivisionError("by design")

        monkeypatch.setattr(batch, "find", broken)
        arguments = [*self.arguments, tmp_path / "t.ecsv"]
        code, message = self.run(arguments, monkeypatch, capsys)
        assert code == ExitCode.UNEXPECTED
        assert "unexpected ZeroDivisionError: by design" in message
        assert "HARPSSTAR_DEBUG" in message
        monkeypatch.setenv("HARPSSTAR_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            main()

    def test_ctrl_c(self, tmp_path, monkeypatch, capsys):
        def stopped(inputs):
            raise KeyboardInterrupt

        monkeypatch.setattr(batch, "find", stopped)
        arguments = [*self.arguments, tmp_path / "t.ecsv"]
        code, message = self.run(arguments, monkeypatch, capsys)
        assert code == ExitCode.INTERRUPTED
        assert "interrupted" in message


def _texts(command):
    """Every sentence that the help of a command shows: of itself, its options, its commands."""
    yield command.help or ""
    for parameter in command.params:
        yield getattr(parameter, "help", None) or ""
    for below in getattr(command, "commands", {}).values():
        yield (below.help or "").split("\n\n")[0]


def _all_commands(command, names=()):
    yield names, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _all_commands(below, (*names, name))


@pytest.mark.parametrize("width", [80, 120])
def test_help_shows_every_word_and_breaks_lines_only_at_the_edge(width, monkeypatch):
    monkeypatch.setattr(typer.rich_utils, "MAX_WIDTH", width)
    for names, command in _all_commands(typer.main.get_command(app)):
        output = CliRunner().invoke(app, [*names, "--help"]).output
        shown = "".join(re.sub("[│╭╮╰╯─]", " ", output).split())
        for text in _texts(command):
            for word in text.split():
                assert word in shown, (names, word)
        for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
            # Nothing but the edge breaks a line: each is as long as the next word allows.
            words = paragraph.split()
            paragraph = " ".join(words)
            lines = [line.strip() for line in output.splitlines()]
            start = next((i for i, line in enumerate(lines) if paragraph.startswith(line) and line),
                         None)
            assert start is not None, (names, paragraph)
            while words:
                line = lines[start].split()
                assert words[: len(line)] == line, (names, paragraph)
                words = words[len(line):]
                if words:
                    assert len(" ".join(line)) + len(words[0]) > width - 6, (names, paragraph)
                start += 1


def test_commands_are_thin():
    # Fifteen lines are what parsing, one call and printing take; more is science or a helper.
    for group in [app, *(group.typer_instance for group in app.registered_groups)]:
        for command in group.registered_commands:
            (body,) = ast.parse(inspect.getsource(command.callback)).body
            statements = body.body[1:]
            assert statements[-1].end_lineno - statements[0].lineno < 15, command.callback.__name__


def test_the_commands_are_listed():
    output = CliRunner().invoke(app, ["--help"]).output
    assert all(name in output for name in [*COMMANDS, *GROUPS])
