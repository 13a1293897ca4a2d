"""Output heads: the parameters of a Gaussian over the labels.

Source: Hüttel & Clemmensen (2021), eq. 1 and 2; Kendall & Gal (2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Gaussian:
    """p(y|x) = N(mean, (L Lᵀ)⁻¹), eq. 1, in scaled labels.

    Attributes
    ----------
    mean : Tensor
        (B, n)
    precision_factor : Tensor
        (B, n, n) lower triangular L with a positive diagonal; L Lᵀ is the inverse covariance.
    """

    mean: Tensor
    precision_factor: Tensor

    def negative_log_likelihood(self, truth: Tensor) -> Tensor:
        """Eq. 2 per sample, (B,), without its constant.

        With Σ⁻¹ = L Lᵀ, ½ log|Σ| = −Σ log L_ii and the quadratic form is |Lᵀ(y − μ)|²: no inverse
        and no determinant, so it is stable in float32 and bfloat16.
        """
        residual = (truth - self.mean).unsqueeze(-1)
        whitened = (self.precision_factor.mT @ residual).squeeze(-1)
        diagonal = self.precision_factor.diagonal(dim1=-2, dim2=-1)
        return 0.5 * whitened.square().sum(-1) - diagonal.log().sum(-1)

    @property
    def covariance(self) -> Tensor:
        """(B, n, n) covariance Σ."""
        return torch.cholesky_inverse(self.precision_factor)


class FullCovariance(nn.Module):
    """Maps features to a Gaussian with a full covariance.

    Parameters
    ----------
    n_features : int
        Length of the incoming feature vector.
    n_labels : int
        Number of labels n.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, n_features: int, n_labels: int) -> None:
        super().__init__()
        self.n_labels = n_labels
        self.linear = nn.Linear(n_features, n_labels + n_labels * (n_labels + 1) // 2)
        # start with errors as wide as the prior: a confident beginner has an infinite loss
        nn.init.normal_(self.linear.weight, std=1e-3)
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            self.linear.bias[n_labels : 2 * n_labels] = -6.0
        rows, columns = torch.tril_indices(n_labels, n_labels, offset=-1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, features: Tensor, log_scale: Tensor | None = None) -> Gaussian:
        """Map (B, n_features) to a :class:`Gaussian`.

        Parameters
        ----------
        features : Tensor
            (B, n_features)
        log_scale : Tensor, optional
            (B,) natural log of the noise level: errors are expected to grow with it, so the
            network only learns the departure from proportionality.
        """
        n = self.n_labels
        mean, log_diagonal, below = self.linear(features).split([n, n, n * (n - 1) // 2], dim=-1)
        if log_scale is not None:
            log_diagonal = log_diagonal - log_scale.unsqueeze(-1)
        diagonal = log_diagonal.clamp(-10.0, 14.0).exp()
        factor = torch.diag_embed(diagonal)
        # off-diagonal elements in units of their row's diagonal: correlations do not grow with SNR
        factor = factor.index_put(
            (torch.arange(len(mean), device=mean.device)[:, None], self.rows, self.columns),
            below * diagonal[:, self.rows],
        )
        return Gaussian(mean, factor)
