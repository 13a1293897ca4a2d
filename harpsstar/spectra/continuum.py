"""The continuum: per order, the exponential of a polynomial, fitted together with a model.

Training and observed spectra pass through the same :func:`normalise`, in batches, in torch. The
exponential makes the continuum positive, and makes the family closed under multiplication:
whatever smooth response exp(polynomial) multiplies a spectrum, the normalised one is the same. A
plain polynomial times the model does not have this property.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, median_filter

if TYPE_CHECKING:
    from torch import Tensor

    from harpsstar.spectra.frame import Pixels

#: Share of an order's pixels without which it is not used.
LEAST_SHARE = 0.25
#: Pixels summed before the iterations; a polynomial of low degree is constant over them.
_BIN = 8
#: Rows treated at a time: one spectrum, so that its result does not depend on its batch; on an
#: accelerator, where so little would cost more to start than to compute, many.
_CHUNK, _CHUNK_ACCELERATED = 8, 2048
_ITERATIONS = 12
_TOLERANCE = 1e-6
#: Times that a step is halved at most, and the change of a sum that is none.
_HALVINGS = 6
_ROUNDING = 1e-9
#: Relative to the mean diagonal; it damps the steps and does not shift the solution.
_RIDGE = 1e-6
#: Largest logarithm of the continuum relative to its mean: beyond, no pixel constrains it.
_LARGEST = 10.0


def fit_continuum(flux: Tensor, ivar: Tensor, model: Tensor, degree: int = 4) -> Tensor:
    """Continuum of each order, given what the normalised spectrum should be.

    Minimises Σ ivar (flux − model · exp(Σ_k q_k P_k))² over the coefficients q of Legendre
    polynomials along the order, by Gauss–Newton steps on sums over eight pixels and one last
    step on all pixels.

    Parameters
    ----------
    flux, ivar, model : Tensor (..., n_orders, n_pixels)
        Observed flux, its inverse variance (0 = unusable) and the normalised model.
    degree : int
        Degree of the polynomial in the exponent.

    Returns
    -------
    Tensor (..., n_orders, n_pixels)
        Positive continuum; 1 for an order without weight, 0 for one whose flux has no positive
        level.
    """
    return _by_chunks(lambda f, w, m: (_fit_rows(f, w, m, degree),), flux, ivar, model)[0]


def normalise(flux: Tensor, ivar: Tensor, model: Tensor, degree: int = 4) -> tuple[Tensor, Tensor]:
    """Divide by the continuum of :func:`fit_continuum`.

    Parameters
    ----------
    flux, ivar, model : Tensor (..., n_orders, n_pixels)
        As for :func:`fit_continuum`.
    degree : int
        Degree of the polynomial in the exponent.

    Returns
    -------
    flux, ivar : Tensor (..., n_orders, n_pixels)
        Normalised flux and its inverse variance; both 0 where there is no weight or no positive
        continuum, and in an order with less than a quarter of its pixels, whose continuum would
        be a guess.
    """
    share = (ivar > 0).to(ivar.dtype).mean(-1, keepdim=True)
    ivar = ivar * (share >= LEAST_SHARE)
    normalised = _by_chunks(
        lambda f, w, m: _divide(f, w, _fit_rows(f, w, m, degree)), flux, ivar, model
    )
    return normalised[0], normalised[1]


def _by_chunks(
    function: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]], *arrays: Tensor
) -> list[Tensor]:
    """Apply a function of rows (r, m) to arrays (..., m), a cacheful at a time."""
    import torch

    arrays = torch.broadcast_tensors(*arrays)
    rows = [x.reshape(-1, x.shape[-1]) for x in arrays]
    size = _CHUNK if arrays[0].device.type == "cpu" else _CHUNK_ACCELERATED
    parts = [function(*(x[i : i + size] for x in rows)) for i in range(0, len(rows[0]), size)]
    return [torch.cat(part).reshape(arrays[0].shape) for part in zip(*parts, strict=True)]


def _divide(flux: Tensor, ivar: Tensor, continuum: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    usable = (ivar > 0) & (continuum > 0)
    zero = torch.zeros((), dtype=flux.dtype, device=flux.device)
    safe = torch.where(usable, continuum, zero + 1.0)
    return torch.where(usable, flux / safe, zero), torch.where(usable, ivar * safe**2, zero)


def _fit_rows(flux: Tensor, ivar: Tensor, model: Tensor, degree: int) -> Tensor:
    """Continuum (r, m) of r independent rows."""
    import torch

    usable = ivar > 0
    zero = torch.zeros((), dtype=flux.dtype, device=flux.device)
    flux = torch.where(usable, flux, zero)
    model = torch.where(usable, model, zero)
    weighted = ivar * model
    data, square = _binned(weighted * flux), _binned(weighted * model)
    total, weight = data.sum(-1), square.sum(-1)
    positive = (total > 0) & (weight > 0)
    q = torch.zeros(*total.shape, degree + 1, dtype=torch.float64, device=flux.device)
    level = torch.where(positive, total, torch.ones_like(total)) / torch.where(
        positive, weight, torch.ones_like(weight)
    )
    q[..., 0] = level.log()
    q, normal = _iterate(q, data, square, positive, flux.shape[-1])
    basis = legendre(flux.shape[-1], degree).to(flux)
    continuum = _exponential(q, basis)
    expected = model * continuum
    gradient = ((ivar * expected) * (flux - expected)) @ basis.T
    step = _solve(normal, gradient.double())
    continuum = _exponential(q + _where_rows(positive, step), basis)
    constant = torch.where(weight > 0, 0.0, 1.0).to(flux)
    return torch.where(positive[..., None], continuum, constant[..., None])


def _iterate(
    q: Tensor, data: Tensor, square: Tensor, positive: Tensor, n_pixels: int
) -> tuple[Tensor, Tensor]:
    """Gauss–Newton on binned sums: Σ P_k c (data − c · square) = 0. Returns q and A (r, k, k)."""
    import torch

    n_terms = q.shape[-1]
    basis = legendre(n_pixels, n_terms - 1, _BIN).to(data)
    pairs = torch.tril_indices(n_terms, n_terms)
    products = basis[pairs[0]] * basis[pairs[1]]
    normal = torch.zeros(*q.shape, n_terms, dtype=q.dtype, device=q.device)
    for _ in range(_ITERATIONS):
        continuum = _exponential(q, basis)
        elements = (square * continuum**2) @ products.T
        normal = torch.zeros_like(normal)
        normal[..., pairs[0], pairs[1]] = elements
        normal[..., pairs[1], pairs[0]] = elements
        gradient = (continuum * (data - continuum * square)) @ basis.T
        step = _where_rows(positive, _solve(normal, gradient).clamp(-1.0, 1.0))
        step = _shortened(step, q, continuum, data, square, basis)
        q = q + step
        if float(step.detach().abs().max()) < _TOLERANCE:
            break
    return q, normal


def _shortened(
    step: Tensor, q: Tensor, continuum: Tensor, data: Tensor, square: Tensor, basis: Tensor
) -> Tensor:
    """Steps (r, k) from q and its continuum that leave no row worse fitted.

    Where little constrains a row, a step may overshoot; and from a continuum of almost nothing,
    where a gradient vanishes too, no later one comes back.
    """
    import torch

    def misfit(continuum: Tensor) -> Tensor:
        return (continuum * (continuum * square - 2 * data)).sum(-1)

    before = misfit(continuum)
    allowed = before + _ROUNDING * before.abs()
    for _ in range(_HALVINGS):
        worse = misfit(_exponential(q + step, basis)) > allowed
        if not bool(worse.any()):
            break
        step = torch.where(worse[..., None], 0.5 * step, step)
    return step


def _exponential(q: Tensor, basis: Tensor) -> Tensor:
    """exp(Σ q_k P_k), kept within e±10 of its level where nothing constrains it."""
    import torch

    shape = (q[..., 1:].to(basis) @ basis[1:]).clamp(-_LARGEST, _LARGEST)
    return torch.exp(shape + q[..., :1].to(basis))


def _solve(normal: Tensor, gradient: Tensor) -> Tensor:
    import torch

    trace = normal.diagonal(dim1=-2, dim2=-1).sum(-1)
    scale = torch.where(trace > 0, trace, torch.ones_like(trace))[..., None, None]
    n_terms = normal.shape[-1]
    identity = torch.eye(n_terms, dtype=normal.dtype, device=normal.device)
    empty = (trace <= 0)[..., None, None]
    matrix = torch.where(empty, identity, normal / scale + _RIDGE / n_terms * identity)
    return torch.linalg.solve(matrix, gradient / scale[..., 0])


def _where_rows(rows: Tensor, values: Tensor) -> Tensor:
    import torch

    return torch.where(rows[..., None], values, torch.zeros_like(values))


def _binned(values: Tensor) -> Tensor:
    """Sums over _BIN neighbours in float64, zero-padded at the end."""
    import torch

    pad = -values.shape[-1] % _BIN
    if pad:
        values = torch.nn.functional.pad(values, (0, pad))
    return values.unflatten(-1, (-1, _BIN)).sum(-1).double()


def legendre(n_pixels: int, degree: int, width: int = 1) -> Tensor:
    """P_0…P_degree along a row of pixels, from -1 at the first to 1 at the last.

    Parameters
    ----------
    n_pixels, degree : int
    width : int
        Pixels of a group; the polynomials are those at the centres of groups.

    Returns
    -------
    Tensor of float64 (degree + 1, groups)
    """
    import torch

    return torch.from_numpy(_legendre_array(degree, n_pixels, width))


# Cached as an array: a tensor first made in inference mode could not be trained with later.
@cache
def _legendre_array(degree: int, n_pixels: int, width: int) -> npt.NDArray[np.float64]:
    groups = -(-n_pixels // width)
    pixel = np.arange(groups) * float(width) + 0.5 * (width - 1)
    x = 2.0 * pixel / max(n_pixels - 1, 1) - 1.0
    return np.ascontiguousarray(np.polynomial.legendre.legvander(x, degree).T)


def rough_continuum(
    pixels: Pixels, *, block: float = 2.0, quantile: float = 0.9, smooth: float = 2.0
) -> npt.NDArray[np.float64]:
    """Upper envelope of a spectrum for which no model is known yet.

    A quantile in blocks, a running median of three blocks and a Gaussian along the row. It is
    good to some per cent, above the true continuum by about 1.3 σ of the noise and below it where
    lines crowd; comparing spectra that were divided by it needs a free offset and scale.

    Parameters
    ----------
    pixels : Pixels
        n rows of m pixels.
    block : float
        Width of a block, Å.
    quantile : float
        Taken among the usable pixels of a block.
    smooth : float
        Standard deviation of the Gaussian, blocks.

    Returns
    -------
    ndarray (n, m), float64
        Positive; 1 in a row without usable pixels.
    """
    n_rows, n_pixels = pixels.flux.shape
    width = int(np.clip(block / np.median(np.diff(pixels.wave, axis=1)), 4, n_pixels))
    n_blocks = -(-n_pixels // width)
    padding = ((0, 0), (0, n_blocks * width - n_pixels))
    values = np.where(pixels.ivar > 0, pixels.flux, np.nan)
    blocks = np.pad(values, padding, constant_values=np.nan).reshape(n_rows, n_blocks, width)
    ordered = np.sort(blocks, axis=-1)
    count = np.isfinite(blocks).sum(axis=-1)
    index = (quantile * np.maximum(count - 1, 0)).astype(int)
    level = np.take_along_axis(ordered, index[..., None], axis=-1)[..., 0]
    known = (count >= 0.25 * width) & (np.nan_to_num(level) > 0)
    centre = np.minimum((np.arange(n_blocks) + 0.5) * width, n_pixels - 1.0)
    continuum = np.ones((n_rows, n_pixels))
    for row in np.flatnonzero(known.any(axis=1)):
        logarithm = np.log(level[row][known[row]])
        continuum[row] = np.exp(_smooth(centre, centre[known[row]], logarithm, n_pixels, smooth))
    return continuum


def _smooth(
    centre: npt.NDArray[np.float64],
    known: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    n_pixels: int,
    width: float,
) -> npt.NDArray[np.float64]:
    """Smooth values known at some block centres to all pixels, (n_pixels,).

    A parabola goes first, so that the filters do not flatten the ends of a sloping row.
    """
    x = 2.0 * np.arange(n_pixels) / n_pixels - 1.0
    trend = np.polynomial.Polynomial.fit(
        known, values, min(2, known.size - 1), domain=[0, n_pixels]
    )
    filled = np.interp(centre, known, values - trend(known))
    filled = gaussian_filter1d(median_filter(filled, 3, mode="nearest"), width, mode="nearest")
    parabola = np.polynomial.polynomial.polyval(x, trend.coef)
    # Far from known blocks the parabola means nothing.
    parabola = np.clip(parabola, values.min() - 1.0, values.max() + 1.0)
    return parabola + np.interp(np.arange(n_pixels), centre, filled)
