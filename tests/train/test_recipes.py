"""Recipes: strict, complete, the same after a trip through a model's card."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path
from types import SimpleNamespace

import pytest

from harpsstar.config import from_mapping, to_mapping
from harpsstar.errors import ConfigError, HarpsstarWarning, TrainingError
from harpsstar.nn import zoo
from harpsstar.paper.published import N_TEST, TABLE2
from harpsstar.train import run
from harpsstar.train.recipes import ImageRecipe, Recipe, packaged, read_recipe, recipe_from
from harpsstar.train.run import network_options

PAPER = [row for row in TABLE2 if row.network]


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
        (
            "name = 'a'\n[network]\nname = 'resnet'\nwidth = 1",
            "network.width",
            ("hidden", "strides"),
        ),
        ("name = 'a'\n[network]\nname = 'attention'\nstrides = [1]", "network.strides", ("bins",)),
        (
            "name = 'a'\n[network]\nname = 'resnet'\n[data]\nexposures = 1",
            "data.exposures",
            ("snr",),
        ),
        ("extends = 'default'\nname = 'a'\nsede = 1", "sede", ("seed",)),
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
        ("name = 'a'\n[network]\nname = 'perceptron'", "'projector', 'resnet', 'attention'"),
        ("name = 'a'\n[network]\nname = 'resnet'\ncovariance = 'half'", "'diagonal', 'full'"),
        ("name = 'a'\n[network]\nname = 'resnet'\nchannels = [1, 2]", "5 values"),
        ("name = 'a'\n[network]\nname = 'resnet'\n[data]\nsnr = 0", "positive"),
        ("name = 'a'\n[network]\nname = 'resnet'\n[data]\nteff = [3000, 4000]", "3500"),
        ("name = 'a'\n[network]\nname = 'resnet'\n[denoiser]\nstrides = [2]", "same length"),
        ("name = 'a'\n[optimiser]\nepochs = 0", "positive"),
        ("extends = 'none'\nname = 'a'", "no such recipe"),
        ("extends = 'recipe.toml'\nname = 'a'", "extends itself"),
        ("extends = 5\nname = 'a'", "name of a recipe"),
    ],
)
def test_impossible_recipes_are_refused(tmp_path, text, word):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        read_recipe(path)


def test_former_names_are_understood_and_the_new_ones_are_told(tmp_path):
    with pytest.warns(HarpsstarWarning, match="paper-resnet-full-20"):
        assert read_recipe("seeds-resnet-full-20") == read_recipe("paper-resnet-full-20")
    path = tmp_path / "mine.toml"
    path.write_text("extends = 'seeds-resnet-full-20'\nname = 'mine'")
    with pytest.warns(HarpsstarWarning, match="paper-resnet-full-20"):
        assert read_recipe(path).network.covariance == "full"
    with pytest.warns(HarpsstarWarning, match="the preset seeds is now called paper"):
        recipe = read_recipe("quick-resnet-full-20", ("data.preset = 'seeds'",))
    assert recipe.data.preset == "paper"
    with pytest.raises(ConfigError, match="no such recipe"):
        read_recipe("seeds-resnet-half-20")


def test_a_card_with_the_former_name_is_valid_without_a_word(recwarn):
    recipe = read_recipe("quick-resnet-full-20")
    card = to_mapping(recipe)
    card["data"]["preset"] = "seeds"
    assert recipe_from(card) == recipe
    assert not recwarn.list


def test_work_begun_under_the_former_names_is_continued(tmp_path):
    recipe, grid = read_recipe("paper-resnet-full-20"), SimpleNamespace(metadata={"sha256": "0"})
    old = to_mapping(recipe) | {"name": "seeds-resnet-full-20"}
    old["data"]["preset"] = "seeds"
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": old, "grid": "0"}, indent=1))
    run._claim(tmp_path, recipe, grid)
    with pytest.raises(TrainingError, match="another training"):
        run._claim(tmp_path, dataclasses.replace(recipe, seed=1), grid)


def test_a_missing_recipe_names_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match="default"):
        read_recipe(tmp_path / "none.toml")


def test_a_recipe_survives_the_card_of_a_model():
    recipe = dataclasses.replace(read_recipe("default"), seed=7)
    for mapping in (dataclasses.asdict(recipe), to_mapping(recipe)):
        assert from_mapping(Recipe, json.loads(json.dumps(mapping))) == recipe


@pytest.mark.parametrize("name", packaged())
def test_every_recipe_is_named_as_its_file_and_survives_a_card(name):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe_from(json.loads(json.dumps(to_mapping(recipe)))) == recipe


@pytest.mark.parametrize("kind", ["paper", "quick"])
@pytest.mark.parametrize(
    "row", PAPER, ids=lambda row: f"{row.network}-{row.covariance}-{row.snr:g}"
)
def test_every_row_of_the_paper_has_a_recipe(kind, row):
    recipe = read_recipe(f"{kind}-{row.network}-{row.covariance}-{row.snr:g}")
    assert network_options(recipe)[0] == row.network
    assert recipe.network.covariance == row.covariance
    assert (recipe.data.snr, recipe.data.teff) == (row.snr, row.teff)
    assert recipe.data.preset == "paper"
    assert recipe.data.wavelengths == (5050.0, 5350.0)


@pytest.mark.parametrize(
    "row", PAPER, ids=lambda row: f"{row.network}-{row.covariance}-{row.snr:g}"
)
def test_the_rows_are_trained_as_the_paper_says(row):
    """Sections 2.1 and 4: optimisers, rates, epochs, the drop of the rate, the training set."""
    recipe = read_recipe(f"paper-{row.network}-{row.covariance}-{row.snr:g}")
    assert recipe.data.spectra == 253 * 7 * 16 - N_TEST
    made = recipe.optimiser
    assert (made.algorithm, made.learning_rate, made.epochs) == ("adam", 1e-4, 750)
    assert (made.schedule, made.gamma, made.last_epochs) == ("step", 0.1, 50)
    assert (recipe.denoiser is not None) == row.network.startswith("dae-")
    if recipe.denoiser is not None:
        made = recipe.denoiser.optimiser
        assert (made.algorithm, made.learning_rate, made.epochs) == ("adamw", 3e-4, 1500)
        assert (made.schedule, made.gamma, made.last_epochs) == ("step", 0.1, 50)


@pytest.mark.parametrize("name", [name for name in packaged() if name.startswith("long-")])
def test_a_long_recipe_differs_from_the_quick_one_in_size_alone(name):
    long, quick = read_recipe(name), read_recipe(name.replace("long", "quick"))
    assert network_options(long)[0] == network_options(quick)[0]
    assert (long.network.covariance, long.seed) == (quick.network.covariance, quick.seed)
    sizes = {"spectra": quick.data.spectra, "validation": quick.data.validation}
    assert dataclasses.replace(long.data, **sizes) == quick.data


def test_a_layout_on_which_torch_crashes_is_refused():
    changes = ("optimiser.channels_last = true",)
    assert read_recipe("quick-attention-full-20", changes).optimiser.channels_last
    for name in ("quick-resnet-full-20", "quick-dae-resnet-full-20"):
        with pytest.raises(ConfigError, match="attention networks"):
            read_recipe(name, changes)


def test_more_components_than_spectra_are_refused():
    with pytest.raises(ConfigError, match="at most data.spectra"):
        read_recipe("quick-dae-resnet-diagonal-20", ("data.spectra = 63",))


@pytest.mark.parametrize("name", [name for name in packaged() if name != "default"])
def test_the_network_of_every_recipe_can_be_built(name):
    recipe = read_recipe(name)
    assert isinstance(recipe, ImageRecipe)
    network = zoo.build(*network_options(recipe))
    assert network.shape == (8, 4096)


def test_our_own_spectra_are_all_that_differs_from_the_paper_s():
    for network in ("resnet", "attention"):
        ours = read_recipe(f"ours-{network}-diagonal-100")
        quick = read_recipe(f"quick-{network}-diagonal-100")
        data = dataclasses.replace(ours.data, preset="paper")
        same = dataclasses.replace(ours, name=quick.name, description=quick.description, data=data)
        assert same == quick


def test_a_recipe_of_a_user_extends_another_one_beside_it(tmp_path):
    (tmp_path / "one.toml").write_text("extends = 'default'\nname = 'one'\n[optimiser]\nepochs = 7")
    (tmp_path / "two.toml").write_text("extends = 'one.toml'\nname = 'two'\n[data]\nbatch = 5")
    recipe = read_recipe(tmp_path / "two.toml")
    default = read_recipe("default")
    assert (recipe.name, recipe.optimiser.epochs, recipe.data.batch) == ("two", 7, 5)
    assert recipe.network == default.network
    assert recipe.optimiser.batch == default.optimiser.batch


def test_single_values_are_changed_on_top_and_checked_as_any_other():
    recipe = read_recipe("default", ("optimiser.epochs = 3", "seed=4"))
    assert (recipe.optimiser.epochs, recipe.seed) == (3, 4)
    assert recipe.optimiser.batch == read_recipe("default").optimiser.batch
    with pytest.raises(ConfigError, match="a whole number"):
        read_recipe("default", ("optimiser.epochs = 'x'",))
    with pytest.raises(ConfigError, match="optimiser.epoch"):
        read_recipe("default", ("optimiser.epoch = 3",))
    with pytest.raises(ConfigError, match="not TOML"):
        read_recipe("default", ("optimiser.epochs",))


def keys_of(kind, prefix=""):
    """Every key of a dataclass of dataclasses but what `extends` and tables of priors hold."""
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        kinds = [one for one in (hints[item.name], *typing.get_args(hints[item.name]))
                 if dataclasses.is_dataclass(one)]  # fmt: skip
        name = f"{prefix}{item.name}"
        if item.name == "priors" or name == "denoiser.optimiser":
            yield f"{name}.…"
        elif kinds:
            for one in kinds:
                yield from keys_of(one, f"{name}.")
        else:
            yield name


def test_every_key_and_recipe_is_documented():
    page = (Path(__file__).parents[2] / "docs/reference/recipes.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = set(re.findall(r"`([^`]+)`", " ".join(cells)))
    for kind in (Recipe, ImageRecipe):
        for key in keys_of(kind):
            assert key in documented, key
    paper = {name for name in packaged() if not name.startswith(("quick-", "long-"))}
    assert paper <= documented
    assert {name.replace("paper", "quick") for name in paper if "paper" in name} == {
        name for name in packaged() if name.startswith("quick-")
    }
    real = {key for kind in (Recipe, ImageRecipe) for key in keys_of(kind)} | paper
    real |= {"quick-…", "long-…"}
    assert documented <= real
