"""Accuracy: fresh stars, statistics that add up, a bound that knows the noise."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from harpsstar.errors import ConfigError
from harpsstar.evaluate.accuracy import (
    _summarise,
    accuracy,
    expected_error_inside,
    fresh_seed,
    training_nuisances,
)
from harpsstar.labels import NAMES
from harpsstar.mock.simulate import Priors
from harpsstar.model.emulator import Emulator
from harpsstar.nn import zoo
from harpsstar.train.recipes import Recipe, read_recipe


@pytest.fixture(scope="module")
def model():
    return zoo.load()


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="module")
def measure(model, emulator):
    def run(**options):
        return accuracy(
            model, emulator=emulator, **({"snr": 50.0, "n": 6, "n_bound": 3} | options)
        )

    return run


def test_every_label_has_every_statistic(measure, model):
    steps = []
    result = measure(batch=4, progress=lambda done, total: steps.append((done, total)))
    assert tuple(result.labels) == NAMES
    assert (result.snr, result.n, result.n_bound, result.noise) == (50.0, 6, 3, "training")
    assert model.sha256.startswith(result.model)
    assert steps == [(4, 6), (6, 6)]
    for label in result.labels.values():
        assert 0 < label.mae_low <= label.mae <= label.mae_high
        assert label.median_error > 0
        assert abs(label.bias) <= label.mae
        assert 0 <= label.coverage_1 <= label.coverage_2 <= 1
        assert 0 < label.bound_inside <= label.bound * (1 + 1e-9)
        assert label.ratio_inside >= label.ratio > 0
    json.dumps(dataclasses.asdict(result))


def test_the_same_seed_gives_the_same_result_and_another_does_not(measure):
    one, same, other = measure(seed=1), measure(seed=1), measure(seed=2)
    assert one == same
    assert one.labels["teff"].mae != other.labels["teff"].mae


def test_twice_the_noise_doubles_the_bound(measure):
    """White noise and the same stars; rotation is half hidden, so vsini is not asked."""
    options = {"white": True, "n": 4, "n_bound": 4, "teff_range": (4500.0, 6000.0)}
    options["nuisances"] = "fixed"
    low, high = measure(snr=100.0, **options), measure(snr=200.0, **options)
    assert low.noise == "white"
    for name in ("teff", "logg", "m_h"):
        ratio = low.labels[name].bound / high.labels[name].bound
        assert ratio == pytest.approx(2.0, rel=0.02)


def test_only_stars_of_the_temperatures_asked_for(measure):
    """Cool stars have more and deeper lines, so their bound is far lower."""
    cool = measure(teff_range=(4000.0, 5000.0))
    hot = measure(teff_range=(8000.0, 9750.0))
    assert cool.teff_range == (4000.0, 5000.0)
    assert 5 * cool.labels["teff"].bound < hot.labels["teff"].bound


def test_statistics_of_known_errors():
    generator = torch.Generator().manual_seed(0)
    sigma = torch.tensor([40.0, 0.1, 0.05, 0.5], dtype=torch.float64).expand(20_000, 4)
    error = sigma * torch.randn(sigma.shape, generator=generator, dtype=torch.float64)
    bound = 0.5 * 0.79788456 * sigma[:100]
    found = _summarise(error, sigma, torch.stack([2 * bound, bound], dim=1))
    for name, size in zip(NAMES, sigma[0].tolist(), strict=True):
        label = found[name]
        assert label.mae == pytest.approx(0.79788 * size, rel=0.02)
        assert label.median_error == pytest.approx(0.67449 * size, rel=0.03)
        assert label.coverage_1 == pytest.approx(0.6827, abs=0.015)
        assert label.coverage_2 == pytest.approx(0.9545, abs=0.01)
        assert label.mae_low < label.mae < label.mae_high
        # Standard error of a mean of |x| is 0.6028 sigma / sqrt(n), and 95 % are 1.96 of them.
        expected = 2 * 1.96 * 0.6028 * size / 20_000**0.5
        assert label.mae_high - label.mae_low == pytest.approx(expected, rel=0.15)
        assert label.ratio_inside == pytest.approx(2 * label.ratio)
        assert label.ratio_inside == pytest.approx(2.0, rel=0.25)


@pytest.mark.parametrize("recipe_seed", [0, 20261122, 2**31 + 5, 2**32 - 1])
def test_no_training_shares_a_stream_with_an_evaluation(recipe_seed):
    """torch's generator keeps the low 32 bits of a seed."""
    recipe = Recipe("test", seed=recipe_seed)
    trained = {(recipe_seed + k) % 2**32 for k in range(-2000, 3000)}
    for seed in (0, 1, 12345, 2**30 - 1):
        assert fresh_seed(recipe, seed) not in trained
    one, other = (
        torch.rand(3, generator=torch.Generator().manual_seed(fresh_seed(recipe, k)))
        for k in (0, 1)
    )
    assert not torch.equal(one, other)


def test_nuisances_are_those_of_the_training():
    free = training_nuisances(read_recipe("default").priors)
    assert free.free.keys() == {"vmic", "vmac", "alpha", "rv"}
    assert free.continuum == 4
    fixed = training_nuisances(
        Priors(vmic_scatter=0.0, vmac_scatter=0.0, alpha_scatter=0.0, rv_error=0.0)
    )
    assert fixed.free == {}


def test_knowing_nuisances_continuum_and_velocity_helps(measure):
    options = {"n": 4, "n_bound": 4, "white": True, "teff_range": (4500.0, 6000.0)}
    fixed, free = measure(nuisances="fixed", **options), measure(nuisances="free", **options)
    assert (fixed.nuisances, free.nuisances) == ("fixed", "free")
    for name in ("teff", "logg", "m_h"):
        assert fixed.labels[name].bound < free.labels[name].bound


def test_ends_of_the_grid_help_only_those_who_are_near(emulator):
    """Far from the ends the error is sqrt(2/pi) sigma; one sigma from an end it is 30 % less."""
    sigma = torch.tensor([50.0, 0.05, 0.05, 0.5], dtype=torch.float64)
    covariance = torch.diag(sigma.square()).expand(2, 4, 4)
    labels = torch.tensor([[6000.0, 4.0, -1.0, 15.0], [9700.0, 4.95, 0.45, 0.5]])
    inside, edge = expected_error_inside(emulator, labels, covariance) / sigma
    assert inside.numpy() == pytest.approx(0.79788, rel=0.05)
    assert edge.numpy() == pytest.approx(0.558, rel=0.05)


@pytest.mark.parametrize("options", [
    {"snr": 0.0}, {"n": 1}, {"n_bound": 0}, {"seed": -1}, {"teff_range": (6000.0, 5000.0)},
    {"teff_range": (2000.0, 5000.0)},
])
def test_impossible_requests_are_refused(measure, options):
    with pytest.raises(ConfigError, match="expected"):
        measure(**options)


def test_a_model_without_a_recipe_is_refused(model, emulator):
    bare = dataclasses.replace(model, card={})
    with pytest.raises(ConfigError, match="recipe"):
        accuracy(bare, snr=50.0, n=2, emulator=emulator)
