"""Output heads: the parameters of a Gaussian over the labels.

Source: Hüttel & Clemmensen (2021), eq. 1 and 2; Kendall & Gal (2017). Heads compute in float32
whatever the precision of the layers before them: a covariance does not survive bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Errors of 2e-6 to 2e4 half-ranges: no training leaves this range unless it has gone wrong.
_SMALLEST, _LARGEST = -10.0, 14.0


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
        and no determinant, so it is stable in float32, also where the rest is bfloat16.
        """
        residual = (truth - self.mean).unsqueeze(-1)
        # a sum, not a matrix product, which automatic mixed precision would round to bfloat16
        whitened = (self.precision_factor * residual).sum(-2)
        diagonal = self.precision_factor.diagonal(dim1=-2, dim2=-1)
        return 0.5 * whitened.square().sum(-1) - diagonal.log().sum(-1)

    @property
    def covariance(self) -> Tensor:
        """(B, n, n) covariance Σ = L⁻ᵀ L⁻¹."""
        return _covariance(self.precision_factor)


def average(parts: Sequence[Gaussian]) -> Gaussian:
    """Average the means and the covariances of several Gaussians over the same labels.

    Parameters
    ----------
    parts : sequence of Gaussian
        Each (B, n).

    Returns
    -------
    Gaussian
        (B, n); its covariance is the mean of the covariances.
    """
    mean = torch.stack([part.mean for part in parts]).mean(0)
    covariance = torch.stack([part.covariance for part in parts]).mean(0)
    return Gaussian(mean, precision_factor(covariance))


def precision_factor(covariance: Tensor) -> Tensor:
    """Lower triangular L with L Lᵀ = Σ⁻¹, without inverting Σ.

    The Cholesky factor of Σ with rows and columns in reverse order is, put back, an upper
    triangular U with U Uᵀ = Σ; so L = U⁻ᵀ. Labels are scaled to unit variance before, which
    leaves only their correlations to the condition number.

    Parameters
    ----------
    covariance : Tensor
        (B, n, n)

    Returns
    -------
    Tensor
        (B, n, n); not a number where Σ is not positive definite.
    """
    with torch.autocast(covariance.device.type, enabled=False):
        sigma = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        correlation = covariance / (sigma[..., :, None] * sigma[..., None, :])
        # the variant that does not raise: the loop reports a loss that is not finite
        factor, _ = torch.linalg.cholesky_ex(correlation.flip(-2, -1))
        upper = factor.flip(-2, -1)
        return _inverse(upper, upper=True).mT / sigma[..., :, None]


def _covariance(factor: Tensor) -> Tensor:
    with torch.autocast(factor.device.type, enabled=False):
        inverse = _inverse(factor, upper=False)
        return inverse.mT @ inverse


def _inverse(triangular: Tensor, *, upper: bool) -> Tensor:
    eye = torch.eye(triangular.shape[-1], dtype=triangular.dtype, device=triangular.device)
    return torch.linalg.solve_triangular(triangular, eye.expand_as(triangular), upper=upper)


class _Head(nn.Module):
    """One linear layer from features to the ``n_outputs`` numbers that make a Gaussian."""

    def __init__(
        self, n_features: int, n_labels: int, n_outputs: int, log_precision: float
    ) -> None:
        super().__init__()
        self.n_labels = n_labels
        self.linear = nn.Linear(n_features, n_outputs)
        # start with errors as wide as the prior: a confident beginner has an infinite loss
        nn.init.normal_(self.linear.weight, std=1e-3)
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            self.linear.bias[n_labels : 2 * n_labels] = log_precision

    def outputs(self, features: Tensor) -> Tensor:
        """(B, n_outputs) in float32."""
        with torch.autocast(features.device.type, enabled=False):
            return nn.functional.linear(features.float(), self.linear.weight, self.linear.bias)

    @staticmethod
    def diagonal(log_diagonal: Tensor, log_scale: Tensor | None) -> Tensor:
        """(B, n) diagonal of the precision factor."""
        if log_scale is not None:
            log_diagonal = log_diagonal - log_scale.unsqueeze(-1)
        return log_diagonal.clamp(_SMALLEST, _LARGEST).exp()


class DiagonalCovariance(_Head):
    """Maps features to a Gaussian whose labels are independent of one another.

    Parameters
    ----------
    n_features : int
        Length of the incoming feature vector.
    n_labels : int
        Number of labels n.
    log_precision : float
        Natural log of 1/σ (scaled labels) that training starts from.
    """

    def __init__(self, n_features: int, n_labels: int, log_precision: float = -6.0) -> None:
        super().__init__(n_features, n_labels, 2 * n_labels, log_precision)

    def forward(self, features: Tensor, log_scale: Tensor | None = None) -> Gaussian:
        """Map (B, n_features) to a :class:`Gaussian`; see :meth:`FullCovariance.forward`."""
        mean, log_diagonal = self.outputs(features).chunk(2, dim=-1)
        return Gaussian(mean, torch.diag_embed(self.diagonal(log_diagonal, log_scale)))


class FullCovariance(_Head):
    """Maps features to a Gaussian with a full covariance, through its Cholesky factor.

    Parameters are those of :class:`DiagonalCovariance`.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, n_features: int, n_labels: int, log_precision: float = -6.0) -> None:
        n_outputs = n_labels + n_labels * (n_labels + 1) // 2
        super().__init__(n_features, n_labels, n_outputs, log_precision)
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
        mean, log_diagonal, below = self.outputs(features).split([n, n, n * (n - 1) // 2], dim=-1)
        diagonal = self.diagonal(log_diagonal, log_scale)
        factor = torch.diag_embed(diagonal)
        # off-diagonal elements in units of their row's diagonal: correlations do not grow with SNR
        factor = factor.index_put(
            (torch.arange(len(mean), device=mean.device)[:, None], self.rows, self.columns),
            below * diagonal[:, self.rows],
        )
        return Gaussian(mean, factor)


#: Heads by the name that a recipe gives them.
HEADS: dict[str, type[DiagonalCovariance | FullCovariance]] = {
    "diagonal": DiagonalCovariance,
    "full": FullCovariance,
}
