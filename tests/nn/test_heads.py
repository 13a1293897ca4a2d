"""Gaussians: averages of them, and factors of precisions without an inverse."""

from __future__ import annotations

import pytest
import torch

from harpsstar.nn.heads import HEADS, Gaussian, average, precision_factor


def covariances(n, seed=0):
    """Random covariances (n, 4, 4) with standard deviations from 1e-3 to 1."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, 4, 6, generator=generator, dtype=torch.float64)
    sigma = 10 ** (-3 * torch.rand(n, 4, generator=generator, dtype=torch.float64))
    covariance = root @ root.mT
    unit = covariance.diagonal(dim1=-2, dim2=-1).rsqrt() * sigma
    return covariance * unit[:, :, None] * unit[:, None, :]


def relative(found, wanted):
    """Difference in units of the standard deviations of `wanted`, so that 1 is 100 %."""
    sigma = wanted.diagonal(dim1=-2, dim2=-1).sqrt()
    return ((found.double() - wanted) / (sigma[:, :, None] * sigma[:, None, :])).abs().max()


def test_the_factor_of_the_precision_is_that_of_the_inverse():
    covariance = covariances(200)
    factor = precision_factor(covariance)
    torch.testing.assert_close(factor, factor.tril())
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    inverse = torch.linalg.inv(covariance)
    torch.testing.assert_close(factor @ factor.mT, inverse, rtol=1e-6, atol=0)


def test_float32_is_enough_for_errors_of_any_size():
    covariance = covariances(200)
    factor = precision_factor(covariance.float())
    back = Gaussian(torch.zeros(200, 4), factor).covariance
    assert relative(back, covariance) < 1e-3


def test_no_covariance_gives_no_number_and_no_exception():
    bad = -torch.eye(4).expand(2, 4, 4)
    assert precision_factor(bad).isnan().any()


def test_an_average_has_the_mean_of_means_and_of_covariances():
    parts = [Gaussian(torch.full((5, 4), float(i)), precision_factor(covariances(5, seed=i)))
             for i in range(3)]  # fmt: skip
    found = average(parts)
    torch.testing.assert_close(found.mean, torch.ones(5, 4))
    wanted = torch.stack([covariances(5, seed=i) for i in range(3)]).mean(0)
    assert relative(found.covariance, wanted) < 1e-9


def test_the_average_of_one_is_itself():
    one = Gaussian(torch.randn(5, 4), precision_factor(covariances(5)))
    again = average([one])
    torch.testing.assert_close(again.mean, one.mean)
    assert relative(again.covariance, one.covariance) < 1e-9


@pytest.mark.parametrize("name", HEADS)
def test_errors_follow_the_noise_that_a_head_is_told(name):
    head = HEADS[name](6, 4)
    features = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    quiet, loud = (head(features, torch.full((3,), x)).covariance for x in (0.0, 0.5))
    torch.testing.assert_close(loud, quiet * torch.e, rtol=1e-4, atol=0)


def test_a_diagonal_head_knows_no_correlation():
    head = HEADS["diagonal"](6, 4, 0.0)
    covariance = head(torch.randn(3, 6)).covariance
    torch.testing.assert_close(covariance, torch.diag_embed(covariance.diagonal(dim1=1, dim2=2)))
