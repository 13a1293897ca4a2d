"""Statistics of weighted draws against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harpsstar.infer import weighted

DRAWS = torch.randn(3, 501, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHT = torch.rand(3, 501, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("share", [0.0, 0.16, 0.5, 0.97, 1.0])
def test_equal_weights_give_the_plain_quantile(share):
    """A draw lies in the middle of its own mass: Hazen's plotting positions."""
    found = weighted.quantile(DRAWS, torch.full((3, 501), 0.2), share)
    expected = np.quantile(DRAWS.numpy(), share, axis=1, method="hazen")
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.16, 0.5, 0.84])
def test_mass_below_the_quantile_is_the_share(share):
    found = weighted.quantile(DRAWS, WEIGHT, share)
    below = (WEIGHT[..., None] * (found[:, None] >= DRAWS)).sum(1) / WEIGHT.sum(1)[:, None]
    assert (below - share).abs().max() < 1 / 250


def test_the_sum_of_the_weights_and_draws_without_weight_do_not_matter():
    found = weighted.quantile(DRAWS, WEIGHT, 0.3)
    torch.testing.assert_close(weighted.quantile(DRAWS, 7 * WEIGHT, 0.3), found)
    more = torch.cat([DRAWS, 100 + DRAWS], 1)
    none = torch.cat([WEIGHT, torch.zeros_like(WEIGHT)], 1)
    torch.testing.assert_close(weighted.quantile(more, none, 0.3), found)


def test_one_draw_is_every_quantile():
    torch.testing.assert_close(weighted.quantile(DRAWS[:, :1], WEIGHT[:, :1], 0.1), DRAWS[:, 0])


def test_a_batch_is_each_of_its_members():
    for i in range(3):
        torch.testing.assert_close(
            weighted.quantile(DRAWS, WEIGHT, 0.84)[i], weighted.quantile(DRAWS[i], WEIGHT[i], 0.84)
        )


def test_covariance_is_numpys():
    found = weighted.covariance(DRAWS, WEIGHT)
    for i in range(3):
        expected = np.cov(DRAWS[i].numpy().T, aweights=WEIGHT[i].numpy(), ddof=0)
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-12)
