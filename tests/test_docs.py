"""What the pages say is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harpsstar.cli.exit import ExitCode
from harpsstar.infer.quality import MEANING, SERIOUS, Flag
from harpsstar.io.results import COLUMNS, EXTENSIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rows(page, cells):
    """The lines of a page's table with so many cells whose first or second is code."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return [row for row in table if len(row) == cells and "`" in row[0] + row[1]]


def test_every_column_is_documented():
    assert [[c[0], c[2], c[3], c[4]] for c in rows("docs/reference/columns.md", 5)] == [
        [f"`{c.name}`", c.unit, c.description, f"`{c.ucd}`"] for c in COLUMNS
    ]


def test_every_format_is_documented():
    names = {name for row in rows("docs/reference/columns.md", 3) for name in row[0].split(", ")}
    assert names == {f"`{extension}`" for extension in EXTENSIONS}


def test_every_flag_is_documented():
    assert rows("docs/reference/flags.md", 5) == [
        [f"{flag:d}", f"`{flag.name}`", "yes" if flag & SERIOUS else "", *MEANING[flag]]
        for flag in Flag
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_use_names_that_exist(page):
    import harpsstar

    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        compile(block, str(page), "exec")
        assert set(re.findall(r"\bhs\.(\w+)", block)) <= set(harpsstar.__all__)


def test_the_python_of_the_readme_runs_as_printed(monkeypatch, capsys):
    """From the folder of the README, where a reader is who has just installed it."""
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"),
                        re.DOTALL)  # fmt: skip
    assert blocks
    for block in blocks:
        names = {}
        exec(compile(block, "README.md", "exec"), names)
        assert names["table"]["teff"][0].value == pytest.approx(5773, abs=5)
        assert names["table"]["teff_err"][0].value == pytest.approx(71, abs=5)
    assert "teff_err" in capsys.readouterr().out


def test_the_readme_has_the_two_commands_and_the_exit_codes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\npip install . && harpsstar predict docs/examples/*.fits -o results.ecsv\n" in readme
    assert '\npip install ".[test]" && pytest\n' in readme
    assert {f"{code:d}" for code in (ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.NOTHING_DONE)} <= (
        set(re.findall(r"\d+", readme.partition("exit code is")[2].partition("From Python")[0]))
    )
