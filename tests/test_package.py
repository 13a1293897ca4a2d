"""Importing harpsstar is cheap, and what it promises is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import harpsstar

HEAVY = ("torch", "specutils", "astropy", "scipy", "pandas", "matplotlib", "numpy")


def python(code):
    """Run code in a fresh interpreter and return what it printed."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_importing_takes_nothing_heavy():
    """How long it takes is a matter of the machine: benchmarks/importing.py measures it."""
    loaded = python(f"import sys, harpsstar; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded.strip() == "[]"


@pytest.mark.parametrize(("module", "left_out"), [
    ("harpsstar.archive.batch", ("torch", "specutils", "scipy", "pandas", "matplotlib")),
    ("harpsstar.infer.predict", ("specutils", "pandas", "matplotlib")),
])
def test_a_night_of_data_does_not_wait_for_what_it_does_not_need(module, left_out):
    loaded = python(
        f"import sys, {module}; print([m for m in {left_out!r} if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_importing_opens_no_file_but_python_modules_and_no_connection():
    opened = python(
        "import sys\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'os.mkdir', 'os.rename'):\n"
        "        seen.append(event)\n"
        "    if event == 'open' and not str(args[0]).endswith(('.py', '.pyc')):\n"
        "        seen.append(str(args[0]))\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(hook)\n"
        "import harpsstar\n"
        "print([s for s in seen if 'harpsstar' in s or not s.startswith('/')])\n"
    )
    assert opened.strip() == "[]"


@pytest.mark.parametrize("name", harpsstar.__all__)
def test_every_public_name_is_there(name):
    assert getattr(harpsstar, name) is not None
    assert name in dir(harpsstar)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predicted'"):
        harpsstar.predicted  # noqa: B018 - the access is the test


def test_the_version_is_written_once():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", harpsstar.__version__)
    changelog = Path(__file__).parents[1] / "CHANGELOG.md"
    assert f"## {harpsstar.__version__}" in changelog.read_text(encoding="utf-8")


class TestReadersAreRegistered:
    """specutils finds the readers once both packages are imported, in either order."""

    show = (
        "\nfrom specutils import Spectrum, SpectrumCollection\n"
        "from astropy.io import registry\n"
        "import specutils\n"
        "names = [str(name) for kind in (Spectrum, SpectrumCollection)"
        " for name in registry.get_formats(kind)['Format']]\n"
        "print(sum(name.startswith('harpsstar ') for name in names) >= 4,"
        " specutils.__loader__ is not None,"
        " specutils.__spec__.loader is specutils.__loader__,"
        " type(specutils.__loader__).__module__.startswith('harpsstar'))"
    )

    @pytest.mark.parametrize("start", [
        "import sys, harpsstar",
        "import sys, specutils, harpsstar",
        "import sys, harpsstar, specutils, harpsstar.io",
    ])
    def test_in_either_order(self, start):
        assert python(start + self.show).split() == ["True", "True", "True", "False"]

    def test_specutils_alone_is_left_alone(self):
        assert python("import sys" + self.show).split()[0] == "False"
