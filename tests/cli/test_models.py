"""``harpsstar models``: what models there are and what they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.nn.zoo import FORMAT, packaged, read_card


def models(*arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture
def model(tmp_path):
    """A model file with one weight and a card."""
    path = tmp_path / "mine.safetensors"
    card = {"description": "a mock α", "labels": ["teff"]}
    save_file({"w": np.zeros(1)}, path, {"format": FORMAT, "card": json.dumps(card)})
    return path


def test_the_packaged_models_are_listed_with_their_descriptions():
    result = models("list")
    assert result.exit_code == ExitCode.OK
    assert "default" in packaged()
    for name in packaged():
        assert name in result.stdout
        assert read_card(name)["description"] in result.stdout


def test_the_default_model_is_shown_as_json_that_fits_on_screens():
    result = models("show")
    shown, card = json.loads(result.stdout), read_card("default")
    assert max(map(len, result.stdout.splitlines())) < 400
    nodes = json.loads(card["grid"].pop("computed"))
    assert str(len(nodes)) in shown["grid"].pop("computed")
    assert shown == card


def test_the_whole_card_is_shown_on_request_an_item_a_line():
    result = models("show", "--full")
    shown, card = json.loads(result.stdout), read_card("default")
    assert max(map(len, result.stdout.splitlines())) < 400
    assert shown["grid"].pop("computed") == json.loads(card["grid"].pop("computed"))
    assert shown == card


def test_the_card_of_a_file_is_shown(model):
    assert json.loads(models("show", model).stdout)["description"] == "a mock α"


def test_an_unknown_model_is_an_error_that_names_the_known_ones():
    result = models("show", "none")
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert all(name in result.stderr for name in ["none", *packaged()])


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"no weights here")
    result = models("show", path)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert str(path) in result.stderr
