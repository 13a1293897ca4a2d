"""``harpsstar train``: a tiny network, interrupted or not."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from harpsstar.cli import _progress, app
from harpsstar.cli.exit import ExitCode
from harpsstar.nn.zoo import read_card
from harpsstar.train.recipes import HeldOutOptions, recipe_from

MODEL_FOLDER = Path(str(resources.files("harpsstar.data")))
RECIPE = """\
name = "tiny"
seed = 3
[network]
n_features = 16
width = 16
depth = 1
[data]
projector_spectra = 32
spectra = 64
exposures = 2
validation = 16
batch = 32
[optimiser]
epochs = 4
batch = 32
[calibration]
snr = [20.0, 100.0]
spectra = 16
"""


def train(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe that takes two seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    """Model and what was said of an uninterrupted training."""
    path = tmp_path_factory.mktemp("trained") / "tiny.safetensors"
    return path, train(recipe, "-o", path, "--threads", torch.get_num_threads())


def test_a_model_is_trained_and_its_stages_are_told(trained):
    path, result = trained
    assert result.exit_code == ExitCode.OK
    for text in ("making spectra 64/64", "training 1/4, validation", "training 4/4", str(path)):
        assert text in result.stderr.replace("\n", "")
    assert read_card(path)["recipe"]["network"]["width"] == 16


def test_work_in_progress_lies_beside_the_output(trained):
    path, _ = trained
    assert sorted(item.name for item in path.parent.iterdir()) == [
        "tiny.safetensors", "work-tiny"
    ]  # fmt: skip


@pytest.mark.parametrize(("stage", "done"), [("making spectra", 64), ("training", 2)])
def test_an_interrupted_training_resumes_to_the_same_weights(
    stage, done, trained, recipe, tmp_path, monkeypatch
):
    class Stop(_progress.Stages):
        def __call__(self, name, count, total, remark=""):
            super().__call__(name, count, total, remark)
            if (name, count) == (stage, done):
                raise KeyboardInterrupt

    path = tmp_path / "tiny.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(_progress, "Stages", Stop)
        result = train(recipe, "-o", path)
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "run the same command again to continue" in result.stderr
    assert not path.exists()

    result = train(recipe, "-o", path)
    assert result.exit_code == ExitCode.OK
    assert f"training {done + 1 if stage == 'training' else 1}/4" in result.stderr
    whole, resumed = load_file(trained[0]), load_file(path)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        # Weights to the bit; what is measured on them, to the rounding that memory alignment makes.
        rtol = 1e-5 if name.startswith("calibration.") else 0.0
        torch.testing.assert_close(
            resumed[name], tensor, rtol=rtol, atol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(("text", "message"), [
    (RECIPE.replace("width", "widht"), "did you mean network.width"),
    (RECIPE.replace("width", "widht"), "keys among name, n_features, width, depth"),
    (RECIPE + "[extra]\n", "keys among name, description, seed"),
    (RECIPE.replace("epochs = 4", 'epochs = "four"'), "a whole number"),
    (RECIPE.replace("spectra = 64", "spectra = 0"), "must be positive"),
    ("name = ", "is not TOML"),
])  # fmt: skip
def test_a_bad_recipe_is_told_before_any_work(text, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    result = train(path, "-o", tmp_path / "m.safetensors")
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert message in result.stderr
    assert str(path) in result.stderr.replace("\n", "")
    assert [item.name for item in tmp_path.iterdir()] == ["bad.toml"]


def test_a_recipe_that_is_not_there_names_those_that_are(tmp_path):
    result = train("none", "-o", tmp_path / "m.safetensors")
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "packaged recipes: default" in result.stderr


@pytest.mark.parametrize("output", ["none/m.safetensors", "."])
def test_an_output_that_cannot_be_is_told_before_the_work(output, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(recipe, "-o", output)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "folder" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_single_values_of_a_recipe_can_be_changed(recipe, tmp_path):
    path = tmp_path / "m.safetensors"
    result = train(recipe, "-o", path, "--set", "optimiser.epochs=1", "--set", "data.spectra=32")
    assert result.exit_code == ExitCode.OK
    assert "training 1/1" in result.stderr
    card = read_card(path)
    assert (card["recipe"]["optimiser"]["epochs"], card["recipe"]["data"]["spectra"]) == (1, 32)
    assert card["training"]["samples"] == 64


@pytest.mark.parametrize(("arguments", "message"), [
    (["--set", "optimiser.lr=1"], "keys among epochs, batch, learning_rate"),
    (["--device", "tpu"], "one of auto, cpu, cuda"),
    (["--finish"], "no checkpoint to finish"),
])  # fmt: skip
def test_what_cannot_be_done_is_told_before_any_work(arguments, message, recipe, tmp_path):
    result = train(recipe, "-o", tmp_path / "m.safetensors", *arguments)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_calibrated_again_and_keeps_its_weights(trained, tmp_path):
    path, other = trained[0], tmp_path / "again.safetensors"
    result = CliRunner().invoke(app, [
        "models", "calibrate", str(path), "-o", str(other), "--snr", "30,300", "-n", "100",
    ])  # fmt: skip
    assert result.exit_code == ExitCode.OK, result.stderr
    before, after = load_file(path), load_file(other)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"calibration.scale", "calibration.log_snr"}
    assert read_card(other)["recipe"]["calibration"] == {"snr": [30.0, 300.0], "spectra": 100}
    assert read_card(other)["training"]["samples"] == read_card(path)["training"]["samples"]


def test_a_network_of_images_is_calibrated_again_at_its_own_ratio(tmp_path):
    path = MODEL_FOLDER / "model-long-resnet-diagonal-20.safetensors"
    other = tmp_path / "r.safetensors"
    result = CliRunner().invoke(app, [
        "models", "calibrate", "long-resnet-diagonal-20", "-o", str(other), "-n", "100",
    ])  # fmt: skip
    assert result.exit_code == ExitCode.OK, result.stderr
    before, after = load_file(path), load_file(other)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"calibration.scale"}
    was, now = (recipe_from(read_card(file)["recipe"]) for file in (path, other))
    assert now == dataclasses.replace(was, calibration=HeldOutOptions(100))


def test_a_calibration_at_falling_ratios_is_refused(trained, tmp_path):
    result = CliRunner().invoke(app, [
        "models", "calibrate", str(trained[0]), "-o", str(tmp_path / "x.safetensors"),
        "--snr", "300,30",
    ])  # fmt: skip
    assert result.exit_code != ExitCode.OK
    assert "increasing" in " ".join(result.stderr.split())
    assert not (tmp_path / "x.safetensors").exists()
