"""Recipes: strict, complete, the same after a trip through a model's card."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harpsstar.config import from_mapping, to_mapping
from harpsstar.errors import ConfigError
from harpsstar.train.recipes import Recipe, packaged, read_recipe


def test_the_packaged_recipes_can_be_read():
    assert "default" in packaged()
    for name in packaged():
        assert read_recipe(name).description


@pytest.mark.parametrize(
    ("text", "wrong", "valid"),
    [
        ("name = 'a'\nsede = 1", "sede", ("seed", "resolution", "priors")),
        ("name = 'a'\n[data]\nspectrum = 1", "data.spectrum", ("spectra", "exposures", "batch")),
        ("name = 'a'\n[priors]\nsnrs = [1.0]", "priors.snrs", ("snr", "vmic_scatter", "rv_error")),
        ("name = 'a'\n[optimiser]\nlr = 0.1", "optimiser.lr", ("learning_rate", "epochs")),
    ],
)
def test_an_unknown_key_is_refused_and_the_valid_ones_are_named(tmp_path, text, wrong, valid):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert str(path) in message
    for word in (wrong, *valid):
        assert word in message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("description = 'no name'", "name"),
        ("name = 'a'\nseed = 1.5", "seed"),
        ("name = 'a'\n[data]\nspectra = 0", "data.spectra"),
        ("name = 'a'\n[data]\nprojector_spectra = 10", "n_features"),
        ("name = 'a'\n[calibration]\nsnr = [50.0, 10.0]", "increasing"),
        ("name = 'a'\n[calibration]\nsnr = [50.0]", "two"),
        ("name = ", "TOML"),
    ],
)
def test_impossible_recipes_are_refused(tmp_path, text, word):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        read_recipe(path)


def test_a_missing_recipe_names_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match="default"):
        read_recipe(tmp_path / "none.toml")


def test_a_recipe_survives_the_card_of_a_model():
    recipe = dataclasses.replace(read_recipe("default"), seed=7)
    for mapping in (dataclasses.asdict(recipe), to_mapping(recipe)):
        assert from_mapping(Recipe, json.loads(json.dumps(mapping))) == recipe
