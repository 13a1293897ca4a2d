"""The tutorials do what they say: their blocks are run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = [path for path in sorted((ROOT / "docs" / "tutorials").glob("*.md"))
             if path.name != "index.md"]
#: What a tutorial needs beside the package; without, it is skipped.
NEEDS = {"one-spectrum": "matplotlib", "night": "matplotlib", "known-logg": "matplotlib"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"Save it as `([\w.-]+)`")
_PICTURE = re.compile(r"\]\(\.\./_static/([\w-]+\.png)\)")


def pieces(text):
    """Yield the kind and text of each block; one that is to be saved is of kind ``save``."""
    for found in _BLOCK.finditer(text):
        kind, body = found.groups()
        if kind == "toml":
            yield "save", (_NAMED.search(text, found.end())[1], body)
        elif kind in ("sh", "python"):
            yield kind, body


@pytest.fixture
def place(tmp_path):
    """A folder as a reader has it: the examples, and ``harpsstar`` and ``python`` in PATH."""
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    programs = tmp_path / ".bin"
    programs.mkdir()
    command = programs / "harpsstar"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harpsstar.cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run(place, command):
    path = os.pathsep.join([str(place / ".bin"), os.environ["PATH"]])
    source = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PATH": path, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page, place):
    if page.stem in NEEDS:
        pytest.importorskip(NEEDS[page.stem])
    text = page.read_text(encoding="utf-8")
    blocks = list(pieces(text))
    assert blocks
    python = []
    for i, (kind, body) in enumerate(blocks):
        if kind == "save":
            name, content = body
            (place / name).write_text(content, encoding="utf-8")
        elif kind == "sh":
            run(place, ["bash", "-euo", "pipefail", "-c", body])
        else:
            python.append(body)
            if all(later != "python" for later, _ in blocks[i + 1:]) or blocks[i + 1][0] == "sh":
                run(place, [sys.executable, "-c", "".join(python)])
    for name in _PICTURE.findall(text):
        assert (place / name).stat().st_size > 1000
        if os.environ.get("HARPSSTAR_PICTURES"):
            shutil.copy(place / name, ROOT / "docs" / "_static" / name)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_pictures_of_a_page_are_there_and_small(page):
    for name in _PICTURE.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / "docs" / "_static" / name).stat().st_size < 150_000
