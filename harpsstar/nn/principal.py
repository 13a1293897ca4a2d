"""Principal components of more pixels than spectra."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def principal_components(centred: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Directions in which spectra differ most, from the products of the spectra themselves.

    Parameters
    ----------
    centred : Tensor
        (N, pixels) spectra less their mean, N ≥ `n`.
    n : int
        How many.

    Returns
    -------
    basis : Tensor
        (n, pixels) orthonormal, the largest first.
    share : Tensor
        (n,) share of the variance in each.
    """
    value, vector = torch.linalg.eigh((centred @ centred.T).double())
    vector = vector.flip(1)[:, :n].to(centred.dtype)
    basis = nn.functional.normalize(vector.T @ centred, dim=1)
    value = value.flip(0)
    return basis, (value[:n] / value.sum()).to(centred.dtype)
