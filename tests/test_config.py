"""Configurations are strict: what they do not know they refuse, and say what they know."""

from __future__ import annotations

import dataclasses
import enum
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpsstar.config import from_mapping, from_toml, to_mapping
from harpsstar.errors import ConfigError


class Kind(enum.Enum):
    LINEAR = "linear"
    CUBIC = "cubic"


@dataclass(frozen=True)
class Optimiser:
    rate: float = 1e-3
    name: Literal["adam", "sgd"] = "adam"

    def __post_init__(self):
        if not self.rate > 0:
            raise ValueError(f"rate is {self.rate}, it must be positive")


@dataclass(frozen=True)
class Recipe:
    steps: int
    optimiser: Optimiser = field(default_factory=Optimiser)
    snr: tuple[float, float] = (5.0, 500.0)
    widths: tuple[int, ...] = ()
    kind: Kind = Kind.CUBIC
    resume: bool = False
    start: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    seed: int | str = 0


recipes = st.builds(
    Recipe,
    steps=st.integers(),
    optimiser=st.builds(Optimiser, rate=st.floats(1e-6, 1), name=st.sampled_from(["adam", "sgd"])),
    snr=st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)),
    widths=st.lists(st.integers(1, 9)).map(tuple),
    kind=st.sampled_from(Kind),
    resume=st.booleans(),
    start=st.none() | st.just(Path("a/b.safetensors")),
    weights=st.dictionaries(st.text(), st.floats(0, 1)),
    seed=st.integers() | st.text(),
)


@given(recipes)
def test_a_configuration_survives_becoming_plain_values(recipe):
    assert from_mapping(Recipe, to_mapping(recipe)) == recipe


def test_toml(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('steps = 3\nsnr = [5, 500]\nkind = "linear"\n[optimiser]\nrate = 1\n')
    recipe = from_toml(Recipe, path)
    assert recipe == Recipe(steps=3, kind=Kind.LINEAR, optimiser=Optimiser(rate=1.0))
    assert type(recipe.optimiser.rate) is float


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe(steps=3).steps = 4


@pytest.mark.parametrize(("toml", "message"), [
    ("steps=1\nstep=2", "unknown key step; expected keys among steps, .*; did you mean steps?"),
    ("steps=1\n[optimiser]\nlr=2", "unknown key optimiser.lr; expected keys among rate, name"),
    ("", "the key steps is missing"),
    ("steps=1.0", "steps is 1.0; expected a whole number"),
    ("steps=true", "steps is True; expected a whole number"),
    ("steps='1'", "steps is '1'; expected a whole number"),
    ("steps=1\nresume=1", "resume is 1; expected true or false"),
    ("steps=1\nsnr=[1]", "snr is .*; expected a list of 2 values"),
    ("steps=1\nsnr=[1,'x']", r"snr\[1\] is 'x'; expected a number"),
    ("steps=1\nwidths=3", "widths is 3; expected a list"),
    ("steps=1\nkind='spline'", "kind is 'spline'; expected one of 'linear', 'cubic'"),
    ("steps=1\nstart=3", "start is 3; expected a path"),
    ("steps=1\noptimiser=3", "optimiser is 3; expected a table"),
    ("steps=1\n[weights]\na='x'", "weights.a is 'x'; expected a number"),
    ("steps=1\n[optimiser]\nname='adamw'", "optimiser.name is 'adamw'; expected one of 'adam'"),
    ("steps=1\n[optimiser]\nrate=-1", "optimiser: rate is -1.0, it must be positive"),
])
def test_what_is_wrong_is_said_with_the_key_and_the_file(toml, message, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError, match=message) as caught:
        from_toml(Recipe, path)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match=message):
        from_mapping(Recipe, tomllib.loads(toml))


def test_files_that_are_no_toml(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        from_toml(Recipe, tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("steps = = 3")
    with pytest.raises(ConfigError, match="is not TOML"):
        from_toml(Recipe, tmp_path / "a.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        from_toml(Recipe, tmp_path / "b.toml")
