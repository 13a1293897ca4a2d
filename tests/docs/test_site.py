"""The documentation site: it builds without a warning, and holds every public name and command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import harpsstar

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
API = "\n".join((DOCS / "reference" / name).read_text(encoding="utf-8")
                for name in ("api.md", "modules.md"))


@pytest.mark.parametrize("name", harpsstar.__all__)
def test_every_public_name_has_an_entry(name):
    entry = rf"^\.\. (auto\w+:: harpsstar\.{name}|py:data:: {name}\n   :module: harpsstar)$"
    assert re.search(entry, API, re.MULTILINE)


@pytest.mark.parametrize("name", [n for n in harpsstar.__all__ if n in harpsstar._LAZY])
def test_every_entry_says_parameters_and_errors(name):
    text = getattr(harpsstar, name).__doc__
    assert "Parameters\n" in text
    assert "Raises\n" in text


def test_every_page_is_in_the_contents():
    for folder in ("tutorials", "howto", "reference", "explanation"):
        index = (DOCS / folder / "index.md").read_text(encoding="utf-8")
        pages = {page.stem for page in (DOCS / folder).glob("*.md")} - {"index"}
        assert pages == set(re.findall(r"^([\w-]+)$", index, re.MULTILINE))


def test_every_command_is_on_its_page(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import _generated

    from harpsstar.cli import app

    text = _generated.fill((DOCS / "reference" / "cli.md").read_text(encoding="utf-8"))
    assert "generated:" not in text
    for command in app.registered_commands:
        assert f"### `harpsstar {command.name or command.callback.__name__}`" in text
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            name = command.name or command.callback.__name__.replace("_", "-")
            assert f"#### `harpsstar {group.name} {name}`" in text
    assert "--time-limit" in text


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    pytest.importorskip("pydata_sphinx_theme")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html",
               "-d", tmp_path / "doctrees", DOCS, tmp_path / "html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    from sphinx.util.inventory import InventoryFile

    with open(tmp_path / "html" / "objects.inv", "rb") as file:
        known = {name for kind in InventoryFile.load(file, "", lambda base, x: x).values()
                 for name in kind}
    assert {f"harpsstar.{name}" for name in harpsstar.__all__} <= known
