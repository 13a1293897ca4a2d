"""The inputs of the synthesis, where they are at hand, and small ones made up."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from harpsstar.grid import atlas9, inputs
from harpsstar.model import linelist


def shared() -> Path:
    """Folder of the data that all working copies share; it need not exist."""
    beside = Path(__file__).parents[2] / "shared"
    return Path(os.environ.get("HARPSSTAR_SHARED", beside)) / "data"


@pytest.fixture(scope="session")
def shared_inputs() -> Path:
    """The shared copy of decks and line lists."""
    if not (shared() / "atlas9-odfnew").is_dir():
        pytest.skip("no shared inputs: set HARPSSTAR_SHARED")
    return shared()


@pytest.fixture(scope="session")
def inputs_root() -> Path:
    """Any copy of decks and line lists."""
    named = os.environ.get(inputs.VARIABLE)
    for folder in ([Path(named)] if named else []) + [shared()]:
        if (folder / "atlas9-odfnew").is_dir() and (folder / "lines").is_dir():
            return folder
    pytest.skip("no inputs: set HARPSSTAR_CACHE, or HARPSSTAR_SHARED")


@pytest.fixture(scope="session")
def lines(inputs_root) -> linelist.LineArray:
    """The packaged line list."""
    return linelist.assemble(inputs_root)


@pytest.fixture(scope="session")
def decks(inputs_root) -> dict[tuple[float, float, float], atlas9.Deck]:
    """Every deck of the grid by (teff, logg, m_h)."""
    return {(deck.teff, deck.logg, deck.m_h): deck for deck in atlas9.find_decks(inputs_root)}


@pytest.fixture(scope="session")
def two_line_root(tmp_path_factory) -> Path:
    """Sources of a line list that are all empty but for two lines of iron."""
    root = tmp_path_factory.mktemp("inputs")
    for source in linelist.configuration()["source"]:
        for name in source.get("files", [""]):
            path = root / source["file"].format(name=name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".zip":
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("table.csv", "species,wave_vald\n")
            else:
                path.write_text("a title\n")
    (root / "lines/rvlinelist-vald/VALD-Solar.txt").write_text(
        "'Fe 1', 5198.7110, 2.2227, 1.0, -2.135, 8.230, -6.070, 351.271, 1.5, 0.8, 'a'\n"
        "'Fe 2', 5234.6243, 3.2215, 1.0, -2.180, 8.490, -6.530, 180.249, 0.9, 0.8, 'b'\n"
    )
    return root
