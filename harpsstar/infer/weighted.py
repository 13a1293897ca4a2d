"""Statistics of weighted draws, the same for the posteriors of ``predict`` and of ``fit``."""

from __future__ import annotations

import torch
from torch import Tensor


def quantile(values: Tensor, weight: Tensor, share: float) -> Tensor:
    """Quantile of each quantity, linear between draws.

    Parameters
    ----------
    values : Tensor (..., draws, n)
    weight : Tensor (..., draws)
        0 or more; their sum does not matter.
    share : float
        0.5 for the median.

    Returns
    -------
    Tensor (..., n)
    """
    if values.shape[-2] == 1:
        return values[..., 0, :]
    ordered, index = values.sort(dim=-2)
    mass = torch.gather(weight[..., None].expand_as(values), -2, index)
    # the middle of a draw's own mass is its place
    place = (mass.cumsum(-2) - 0.5 * mass) / mass.sum(-2, keepdim=True)
    right = (place < share).sum(-2, keepdim=True).clamp(1, values.shape[-2] - 1)
    x0, x1 = ordered.gather(-2, right - 1), ordered.gather(-2, right)
    p0, p1 = place.gather(-2, right - 1), place.gather(-2, right)
    tiny = torch.finfo(place.dtype).tiny
    fraction = ((share - p0) / (p1 - p0).clamp_min(tiny)).clamp(0, 1)
    return (x0 + fraction * (x1 - x0))[..., 0, :]


def covariance(values: Tensor, weight: Tensor) -> Tensor:
    """Covariance (..., n, n) about the mean of values (..., draws, n), weights (..., draws)."""
    share = (weight / weight.sum(-1, keepdim=True))[..., None]
    centred = values - (values * share).sum(-2, keepdim=True)
    return (centred * share).mT @ centred
