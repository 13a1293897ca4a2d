"""Interpolation of spectra from the emulator's own grid to any wavelengths."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from harpsstar.model.nodes import lagrange_weights

# Six points: seven times closer than four, for a cost that does not show.
_STENCIL = 6


class _Banded(torch.autograd.Function):
    """A product with a fixed sparse matrix: rows of ``x`` in, rows of ``x @ matrix.T`` out."""

    @staticmethod
    def forward(x: Tensor, matrix: _Sparse, adjoint: _Sparse) -> Tensor:
        return matrix.apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Sparse, _Sparse], output: Tensor) -> None:
        _, *ctx.pair = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        matrix, adjoint = ctx.pair
        return _Banded.apply(grad, adjoint, matrix), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return cast(Tensor, _Banded.apply(tangent, *ctx.pair))

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None, None], x: Tensor, matrix: _Sparse, adjoint: _Sparse
    ) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], 0)
        out = cast(Tensor, _Banded.apply(x.flatten(0, 1), matrix, adjoint))
        return out.unflatten(0, x.shape[:2]), 0


class _Sparse:
    """A sparse matrix in compressed rows, kept for products only."""

    def __init__(self, rows: Tensor, columns: Tensor, weights: Tensor, n_rows: int) -> None:
        order = torch.argsort(rows, stable=True)
        self.columns, self.weights = columns[order], weights[order]
        count = torch.bincount(rows, minlength=n_rows)
        self.offsets = torch.cumsum(count, 0) - count

    def apply(self, x: Tensor) -> Tensor:
        """Rows (B, n) in, rows (B, n_rows) out."""
        # Of all sparse products in torch this one is the fastest on a CPU, and out of beta.
        return nn.functional.embedding_bag(
            self.columns.to(x.device),
            x.T.contiguous(),
            self.offsets.to(x.device),
            per_sample_weights=self.weights.to(x),
            mode="sum",
        ).T.contiguous()


class Sampler:
    """Interpolation from an emulator's own grid to fixed wavelengths, to be used many times.

    Six-point Lagrange interpolation, differentiable in reverse and in forward mode. Its error is at
    most 1e-4 of the continuum for a star without rotation and macroturbulence at R = 115,000.

    Parameters
    ----------
    wave : array_like
        Wavelengths, Å in air, any shape and order.
    log_wave0, log_step : float
        First point and step of the grid, natural logarithm of Å.
    n_wave : int
        Points of the grid.
    """

    def __init__(
        self, wave: npt.ArrayLike | Tensor, *, log_wave0: float, log_step: float, n_wave: int
    ) -> None:
        self.wave = np.asarray(wave, dtype=np.float64)
        self.shape = self.wave.shape
        self.limits = (math.exp(log_wave0), math.exp(log_wave0 + log_step * (n_wave - 1)))
        with np.errstate(invalid="ignore", divide="ignore"):
            position = (np.log(self.wave.ravel()) - log_wave0) / log_step
            covered = (position >= -1e-6) & (position <= n_wave - 1 + 1e-6)
        #: Which wavelengths lie on the grid: flat, bool.
        self.covered = torch.from_numpy(covered)
        place = torch.from_numpy(np.where(covered, position, 0.0))
        first = (place.floor().long() - (_STENCIL // 2 - 1)).clamp(0, n_wave - _STENCIL)
        offset = torch.arange(_STENCIL)
        weights = lagrange_weights(offset.double().expand(len(place), -1), place - first)
        columns = (first[:, None] + offset).flatten()
        rows = torch.arange(len(place)).repeat_interleave(_STENCIL)
        self._matrix = _Sparse(rows, columns, weights.flatten(), len(place))
        self._adjoint = _Sparse(columns, rows, weights.flatten(), n_wave)

    def __call__(self, flux: Tensor) -> Tensor:
        """Sample spectra.

        Parameters
        ----------
        flux : Tensor, shape (B, n_wave)
            On the emulator's own grid.

        Returns
        -------
        Tensor, shape (B, *wave.shape)
            nan at wavelengths outside the grid.
        """
        sampled = self.without_gaps(flux)
        if not bool(self.covered.all()):
            sampled = sampled.masked_fill(~self.covered.to(flux.device), math.nan)
        return sampled.unflatten(1, self.shape) if self.shape else sampled[:, 0]

    def without_gaps(self, flux: Tensor) -> Tensor:
        """Sample to (B, number of wavelengths), with arbitrary values outside the grid."""
        return cast(Tensor, _Banded.apply(flux, self._matrix, self._adjoint))
