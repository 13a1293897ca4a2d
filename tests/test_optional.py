"""Optional and packaged files: the same words wherever one is missing."""

from __future__ import annotations

import sys

import pytest

from harpsstar._optional import load
from harpsstar.errors import ConfigError, InputsMissingError, ModelError
from harpsstar.mock.dataset import presets
from harpsstar.nn import zoo
from harpsstar.train import recipes


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "emcee", None)
    with pytest.raises(InputsMissingError, match=r"emcee is not installed.*harpsstar\[fit\]"):
        load("emcee", "fit")


@pytest.mark.parametrize(
    ("read", "kind", "error"),
    [(zoo.load, "model", ModelError), (recipes.read_recipe, "recipe", ConfigError),
     (presets.read_preset, "preset", ConfigError)],
)  # fmt: skip
def test_a_file_that_is_neither_packaged_nor_there_is_told(read, kind, error):
    with pytest.raises(error, match=rf"no such {kind}; expected a .* packaged {kind}s: \w+"):
        read("nothing-of-this-name")


@pytest.mark.parametrize("module", [zoo, recipes, presets])
def test_packaged_names_have_no_endings(module):
    names = module.packaged()
    assert names == sorted(names)
    assert names
    assert not any("." in name for name in names)
