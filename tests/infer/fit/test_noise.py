"""Jitter, model error and outliers are found from residuals."""

from __future__ import annotations

import pytest
import torch

from harpsstar.infer.fit.noise import fit_noise


def residuals(jitter=0.0, misfit=0.0, seed=0):
    """Residuals, inverse variance and a pattern of model errors that varies along the row."""
    generator = torch.Generator().manual_seed(seed)
    shape = (4, 4000)
    pattern = 0.3 + 3 * torch.rand(shape, generator=generator)
    variance = 1e-4 * (1 + jitter) + (misfit * pattern) ** 2
    residual = variance.sqrt() * torch.randn(shape, generator=generator)
    return residual, torch.full(shape, 1e4), pattern


@pytest.mark.parametrize(("jitter", "misfit"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.02), (1.0, 0.01)])
def test_what_was_put_in_is_found(jitter, misfit):
    residual, ivar, pattern = residuals(jitter, misfit)
    found = fit_noise(residual, ivar, 0 * pattern, pattern)
    assert found.jitter == pytest.approx(jitter, abs=0.1)
    assert found.misfit == pytest.approx(misfit, abs=0.0012)
    assert int(found.outlier.sum()) <= 3


def test_outliers_are_left_out_with_their_neighbours_and_do_not_decide():
    residual, ivar, pattern = residuals()
    residual[1, 100:103] = 0.5
    residual[2, 7] = -0.3
    found = fit_noise(residual, ivar, 0 * pattern, pattern)
    assert found.outlier[1, 99:104].all() and found.outlier[2, 6:9].all()
    assert found.jitter < 0.05


def test_a_pixel_without_information_stays_one():
    residual, ivar, pattern = residuals()
    ivar[0, :50] = 0.0
    residual[0, :50] = 99.0
    found = fit_noise(residual, ivar, 0 * pattern, pattern)
    assert not found.outlier[0, :50].any()
    assert found.jitter < 0.05


def test_twice_the_flux_error_is_three_times_more_variance():
    residual, ivar, pattern = residuals()
    found = fit_noise(2 * residual, ivar, 0 * pattern, pattern)
    assert found.variance.median() == pytest.approx(4e-4, rel=0.05)


def test_photon_noise_is_that_of_the_model():
    residual, ivar, pattern = residuals()
    photon = torch.full_like(residual, 1e-3)
    found = fit_noise(residual, ivar, photon, pattern)
    # The model is fainter where the flux is too bright, and so is its noise.
    bright, faint = (found.variance[x].mean() for x in (residual > 0.01, residual < -0.01))
    assert faint - bright == pytest.approx(2 * 1e-3 * 0.0153, rel=0.1)
