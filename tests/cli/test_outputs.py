"""Every option that writes, of every command, against files that must not be replaced.

The options are taken from the program itself. A new one that names a file and does not say whether
it reads or writes it fails the first test.
"""

import os
import signal
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli._files import Reads, Writes, roles
from harpsstar.cli.exit import ExitCode
from harpsstar.io.results import Row, to_table, write_table
from harpsstar.mock import observe_star, write

#: Parameters that are text and name no file.
_NO_FILES = {
    "change", "device", "fix", "format", "frame", "instrument", "medium", "prior", "scheduler",
    "since", "snr", "target", "teff", "tie",
}  # fmt: skip


def _commands(group, names=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*names, name))
        else:
            yield (*names, name), command


PROGRAM = typer.main.get_command(app)
COMMANDS = dict(_commands(PROGRAM))
ROLES = {names: roles(command.callback) for names, command in COMMANDS.items()}
#: Command, parameter that writes, and options that make it a folder.
WRITERS = [
    (names, name, extra)
    for names, files in ROLES.items()
    for name, role in files.items()
    if isinstance(role, Writes)
    for extra in ((), ("by_night",), ("night",))
    if not extra or role.folder_if == extra[0]
]
#: The same with each parameter that reads.
PAIRS = [
    (*writer, reader)
    for writer in WRITERS
    for reader, role in ROLES[writer[0]].items()
    if isinstance(role, Reads)
]


def _name(writer):
    return "-".join(" ".join(part) if isinstance(part, tuple) else part for part in writer)


each_writer = pytest.mark.parametrize("writer", WRITERS, ids=_name)
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=_name)


@pytest.fixture(scope="module")
def spectrum(tmp_path_factory):
    """A spectrum that harpsstar did not write."""
    path = tmp_path_factory.mktemp("spectrum") / "s.fits"
    hdus = observe_star(5772.0, 4.44, 0.0, 2.0, format="s1d", seed=1)
    del hdus[0].header["ORIGIN"]
    write(hdus, path)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _built_once(monkeypatch):
    """Typer builds the program anew for every call, which takes longer than the call."""
    monkeypatch.setattr("typer.testing._get_command", lambda app: PROGRAM, raising=False)


@pytest.fixture(autouse=True)
def _in_time():
    """What is not refused at once may take hours."""

    def late(number, frame):
        raise TimeoutError("the command went to work")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _flag(command, name):
    """How a parameter is given on the command line: its option, or nothing for an argument."""
    param = next(param for param in command.params if param.name == name)
    return [param.opts[0]] if param.param_type_name == "option" else []


def _run(names, given, extra=(), *flags):
    """Run a command with some parameters, and what else it requires."""
    command, arguments = COMMANDS[names], []
    for param in command.params:
        if param.name in given:
            arguments += [*_flag(command, param.name), str(given[param.name])]
        elif param.required:
            other = f"other-{param.name}{_suffix((names, param.name, extra))}"
            arguments += [*_flag(command, param.name), other]
    for name in extra:
        arguments += _flag(command, name) + (["3"] if name == "night" else [])
    return CliRunner().invoke(app, [*names, *arguments, *flags])


def _suffix(writer):
    names, name, extra = writer
    kinds = getattr(ROLES[names][name], "kinds", ())
    return kinds[0].suffixes[0] if kinds and kinds[0].suffixes and not extra else ".fits"


def _picture(folder):
    """Everything below a folder: its content and what would change if it were written to."""
    return {
        path: (path.lstat().st_ino, path.lstat().st_mtime_ns,
               path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


def _refused(result, path, code=ExitCode.NOTHING_DONE):
    assert result.exit_code == code, result.output + repr(result.exception)
    assert "harpsstar: " in result.stderr
    assert str(path) in result.stderr
    assert result.stdout == ""


def test_every_parameter_that_may_name_a_file_says_what_is_done_to_it():
    for names, command in COMMANDS.items():
        for name, hint in get_type_hints(command.callback).items():
            if name not in ROLES[names] and name != "return":
                assert "Path" not in str(hint), f"{names} {name}: mark it with Reads or Writes"
                if "str" in str(hint).replace("StrEnum", ""):
                    assert name in _NO_FILES, f"{names} {name}: mark it, or name it in _NO_FILES"


def test_the_walk_through_the_program_finds_what_is_known_to_write():
    found = {(" ".join(names), name) for names, name, _ in WRITERS}
    assert found >= {
        ("predict", "output"), ("predict", "report"), ("predict", "plots"), ("predict", "log_file"),
        ("watch", "output"), ("fit", "output"), ("fit", "samples"), ("explain", "picture"),
        ("inspect", "plot"), ("train", "output"), ("train", "work"), ("models calibrate", "output"),
        ("archive export", "output"), ("archive summary", "output"), ("synth grid", "output"),
        ("synth inputs", "archive"), ("synth observe", "output"), ("synth dataset", "output"),
        ("evaluate fit", "journal"), ("evaluate table2", "output"),
    }  # fmt: skip
    assert len(PAIRS) > 60


@each_pair
@pytest.mark.parametrize("link", ["itself", "symbolic", "hard", "folder"])
def test_an_input_is_never_replaced(pair, link, spectrum, tmp_path, monkeypatch):
    names, name, extra, reader = pair
    monkeypatch.chdir(tmp_path)
    suffix = _suffix(pair[:3])
    real = tmp_path / "real" / f"input{suffix}"
    real.parent.mkdir()
    real.write_bytes(spectrum)
    path = tmp_path / f"link{suffix}"
    if link == "itself":
        path = real
    elif link == "symbolic":
        path.symlink_to(real)
    elif link == "hard":
        path.hardlink_to(real)
    else:
        (tmp_path / "folder").symlink_to(real.parent)
        path = tmp_path / "folder" / real.name
    before = _picture(tmp_path)
    result = _run(names, {name: path, reader: real}, extra)
    _refused(result, path)
    assert "is an input of this run" in result.stderr
    if "overwrite" in get_type_hints(COMMANDS[names].callback):
        result = _run(names, {name: path, reader: real}, extra, "--overwrite")
        _refused(result, path)
    assert _picture(tmp_path) == before


@pytest.mark.parametrize("names", [("predict",), ("fit",)])
@pytest.mark.parametrize("name", ["output", "report"])
@pytest.mark.parametrize("given", ["night", "night/*.fits"])
def test_nor_is_one_that_a_folder_or_a_pattern_leads_to(
    names, name, given, spectrum, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if name not in ROLES[names]:
        pytest.skip("it has no such option")
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "a.fits").write_bytes(spectrum)
    suffix = _suffix((names, name, ()))
    (tmp_path / f"b{suffix}").hardlink_to(tmp_path / "night" / "a.fits")
    before = _picture(tmp_path)
    for flags in ([], ["--overwrite"]):
        result = _run(names, {"files": given, name: f"b{suffix}"}, (), *flags)
        _refused(result, f"b{suffix}")
        assert "is an input of this run" in result.stderr
    assert _picture(tmp_path) == before


@each_writer
def test_a_file_of_somebody_else_is_not_replaced(writer, tmp_path, monkeypatch):
    names, name, extra = writer
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"thesis{_suffix(writer)}"
    path.write_text("years of work\n")
    before = _picture(tmp_path)
    _refused(_run(names, {name: path}, extra), path)
    assert _picture(tmp_path) == before


@each_writer
@pytest.mark.parametrize("place", ["file/x", "/proc/x", "x" * 300])
def test_an_unwritable_place_has_its_own_code(writer, place, tmp_path, monkeypatch):
    names, name, extra = writer
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder\n")
    if not os.path.isdir(os.path.dirname(place) or ".") and place.startswith("/"):
        pytest.skip("another operating system")
    path = f"{place}{_suffix(writer)}"
    before = _picture(tmp_path)
    _refused(_run(names, {name: path}, extra), path, ExitCode.NOT_WRITTEN)
    assert _picture(tmp_path) == before


@each_writer
def test_a_wrong_name_is_refused(writer, tmp_path, monkeypatch):
    names, name, extra = writer
    role = ROLES[names][name]
    monkeypatch.chdir(tmp_path)
    is_folder = not role.kinds or extra
    if not is_folder:
        (tmp_path / f"folder{_suffix(writer)}").mkdir()
        _refused(_run(names, {name: f"folder{_suffix(writer)}"}), "is a folder")
        _refused(_run(names, {name: f"none/x{_suffix(writer)}"}), "does not exist")
    if not is_folder and role.kinds[0].suffixes:
        result = _run(names, {name: "m.dat"})
        _refused(result, "unknown extension '.dat'")
        assert role.kinds[0].suffixes[0] in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_two_outputs_of_one_run_are_two_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = _run(("explain",), {"output": "t.ecsv", "picture": "t.png"})
    assert "named for two outputs" not in result.stderr
    result = _run(("predict",), {"output": "t.csv", "log_file": "./t.csv"})
    _refused(result, "is named for two outputs")
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_never_replaced_by_its_own_summary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(to_table([Row(file="a.fits")]), "t.ecsv")
    os.symlink("t.ecsv", "link.ecsv")
    before = _picture(tmp_path)
    for output in ("t.ecsv", "link.ecsv"):
        _refused(_run(("archive", "summary"), {"table": "t.ecsv", "output": output}), output)
    assert _picture(tmp_path) == before


def test_a_log_that_is_no_log_is_not_added_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("of the night\n")
    result = _run(("predict",), {"log_file": "notes.txt"}, (), "--overwrite", "--jobs", "0")
    _refused(result, "notes.txt")
    assert Path("notes.txt").read_text() == "of the night\n"
    for _ in range(2):
        _run(("predict",), {"log_file": "run.log"}, (), "--jobs", "0")
    assert Path("run.log").read_text().count('"event": "start"') == 2
