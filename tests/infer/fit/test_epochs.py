"""Epochs together: noise adds as information, what they have in common is added once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpsstar.errors import ConfigError
from harpsstar.infer.epochs import are_alike, combine, weighted_mean
from harpsstar.infer.predict import predict_rows
from harpsstar.io.results import EXTENSIONS, read_table, to_table, write_table
from harpsstar.labels import NAMES

from .conftest import mock

counts, seeds = st.integers(1, 6), st.integers(0, 1000)


def drawn(n, seed):
    """Values, noise and what all have in common."""
    rng = np.random.default_rng(seed)
    values, roots, common = rng.normal(size=(n, 4)), rng.normal(size=(n, 4, 8)), rng.normal(
        size=(4, 8))
    return values, roots @ roots.transpose(0, 2, 1), common @ common.T


@settings(derandomize=True, deadline=None)
@given(counts, seeds)
def test_the_mean_of_equals_is_their_own_and_order_does_not_matter(n, seed):
    values, noise, common = drawn(n, seed)
    mean = weighted_mean(values, noise, noise + common)
    turned = weighted_mean(values[::-1], noise[::-1], noise[::-1] + common)
    for name in ("values", "noise", "covariance"):
        np.testing.assert_allclose(getattr(turned, name), getattr(mean, name), rtol=1e-6, atol=1e-8)
    equal = weighted_mean(np.repeat(values[:1], n, axis=0), noise, noise + common)
    np.testing.assert_allclose(equal.values, values[0], rtol=1e-6, atol=1e-8)
    assert math.isnan(equal.chi2_red) if n == 1 else equal.chi2_red < 1e-6


@settings(derandomize=True, deadline=None)
@given(counts, seeds)
def test_information_adds_and_what_is_common_is_added_once(n, seed):
    values, noise, common = drawn(n, seed)
    equal = np.repeat(values[:1], n, axis=0)
    mean = weighted_mean(equal, noise, noise + common)
    np.testing.assert_allclose(np.linalg.inv(mean.noise), np.linalg.inv(noise).sum(axis=0),
                               rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mean.covariance - mean.noise, common, rtol=1e-6, atol=1e-9)
    assert np.linalg.eigvalsh(mean.covariance).min() > 0


def test_what_only_poor_epochs_lack_hardly_counts():
    """A good epoch with a small common error beside poor ones with large ones."""
    noise = np.stack([np.eye(4) * size for size in (1e-4, 1.0, 1.0)])
    common = np.stack([np.eye(4) * size for size in (0.01, 1.0, 1.0)])
    mean = weighted_mean(np.zeros((3, 4)), noise, noise + common)
    np.testing.assert_allclose(np.diag(mean.covariance - mean.noise), 0.01, rtol=0.05)


def test_scatter_by_chance_does_not_raise_the_error_and_true_scatter_does():
    rng = np.random.default_rng(0)
    noise = np.repeat(np.eye(4)[None], 8, axis=0)
    for size, raised in ((1.0, False), (3.0, True)):
        mean = weighted_mean(size * rng.normal(size=(8, 4)), noise, noise)
        expected = mean.chi2_red if raised else 1.0
        np.testing.assert_allclose(mean.noise, expected * np.eye(4) / 8)


def test_a_fixed_quantity_is_averaged_and_keeps_its_errors():
    noise = np.repeat(np.diag([1.0, 0.0, 1.0, 1.0])[None], 3, axis=0)
    mean = weighted_mean(np.ones((3, 4)), noise, noise)
    assert mean.values[1] == 1.0
    np.testing.assert_allclose(np.diag(mean.noise), [1 / 3, 0.0, 1 / 3, 1 / 3])


@pytest.mark.parametrize(("change", "alike"), [(0.0, True), (50.0, True), (500.0, False)])
def test_one_star_or_several(change, alike):
    noise = np.repeat(np.diag([4.0, 1e-5, 1e-5, 1e-2])[None], 3, axis=0)
    values = np.array([[5772.0 + change * i, 4.44, 0.0, 3.0] for i in range(3)])
    assert are_alike(values, noise) is alike


@pytest.fixture(scope="module")
def table(fitter):
    """What ``predict`` says of three epochs of a star."""
    spectra = [mock(fitter, seed=seed, snr=snr) for seed, snr in enumerate([100.0, 40.0, 200.0])]
    return to_table(predict_rows(spectra))


class TestOfPredict:
    """What ``predict`` itself writes."""

    @pytest.mark.parametrize("extension", EXTENSIONS)
    def test_every_matrix_is_positive_definite_in_every_format(self, table, tmp_path, extension):
        again = read_table(write_table(table, tmp_path / f"t{extension}"))
        for name, suffix in (("covariance", "_err"), ("covariance_noise", "_err_noise")):
            matrices = np.asarray(again[name])
            sigma = np.sqrt(np.einsum("nii->ni", matrices))
            correlation = matrices / (sigma[:, :, None] * sigma[:, None, :])
            assert np.linalg.eigvalsh(correlation).min() > 1e-4
            errors = np.stack([np.asarray(again[f"{label}{suffix}"]) for label in NAMES], axis=1)
            np.testing.assert_allclose(sigma, errors, rtol=1e-9)

    def test_noise_is_a_part_of_the_whole(self, table):
        common = np.asarray(table["covariance"]) - np.asarray(table["covariance_noise"])
        assert np.linalg.eigvalsh(common).min() > 0

    def test_epochs_combine(self, table):
        star = combine(table)
        assert star.n == 3
        assert 0.2 < star.scatter < 2.0
        assert np.linalg.eigvalsh(star.covariance).min() > 0
        noise = np.asarray(table["covariance_noise"])
        np.testing.assert_allclose(np.linalg.inv(star.noise), np.linalg.inv(noise).sum(axis=0),
                                   rtol=1e-6)
        assert star.covariance[0, 0] > 70.0**2

    def test_rows_of_an_earlier_version_are_not_combined(self, table):
        old = table.copy()
        old["covariance_noise"] = np.nan
        with pytest.raises(ConfigError, match="covariance_noise"):
            combine(old)
