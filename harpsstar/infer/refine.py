"""Gauss–Newton steps on the emulator, from where the network points.

The network finds the neighbourhood; the least-squares solution there has the smallest variance
that the photons allow. The nuisances and the continuum of every order are solved for together with
the labels and marginalised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from harpsstar.infer import parameters as space
from harpsstar.infer.slopes import slopes_at, spectra_at
from harpsstar.labels import LABELS
from harpsstar.model.emulator import Emulator
from harpsstar.model.sampler import Sampler
from harpsstar.spectra.continuum import legendre
from harpsstar.spectra.noise import MAD_TO_SIGMA, clip_cosmics

#: Largest change in one iteration, in working coordinates.
_LARGEST = {
    "teff": 500.0, "logg": 0.6, "m_h": 0.4, "vsini": 4.0,
    "vmic": 0.5, "vmac": 2.0, "alpha": 0.2, "rv": 0.5,
}  # fmt: skip
#: Derivatives are taken again when the parameters have moved by more than this share of that.
_STALE = 0.1
#: Pixels further from the model than this many sigmas count less (Cauchy weights).
_ROBUST = 4.0
#: Degree of the continuum's polynomial in the exponent, as in :mod:`harpsstar.spectra.continuum`.
_DEGREE = 4
#: Steps are this much longer than the weights say: lines of equal weight turn with the residual,
#: and for Gaussian noise the curvature of the robust loss is smaller by so much.
_LONGER = 1.1
_MAX_STEPS = 8
#: Relative to the trace: sums in single precision know no better. It damps, and does not shift.
_RIDGE = 2e-6
#: Largest change of the logarithm of the continuum in one step.
_BEND = 0.5
#: Share of the nuisances' scatter that is left where they are known.
_KNOWN = 1e-3
#: Last change, in sigmas, below which the weights of the pixels, but for outliers, are final.
_FAR = 0.2
#: Scatter beyond the noise, in units of it, that is not a chance of so many pixels.
_SIGNIFICANT = 0.25
#: Parameters that a step may stop at the end of their ranges, and by how many sigmas it passes one.
_HOLDS, _OUTSIDE = 4, 1e-3
#: Largest change, in sigmas, after which no further step is taken.
_CONVERGED = 0.01
#: Spectra at once: the arrays of that many stay in the processor's cache.
_AT_ONCE = 4
#: Every so many pixels are looked at where only a median is wanted.
_STRIDE = 2


@dataclass(frozen=True)
class Refined:
    """Result of :func:`refine` for B spectra.

    Attributes
    ----------
    parameters : Tensor
        (B, P) in the order of :data:`harpsstar.infer.parameters.PARAMETERS`, physical units,
        inside the grid; rv is what is left of the velocity already removed.
    peak : Tensor
        (B, P) working coordinates, where least squares without limits would go.
    covariance : Tensor
        (B, P, P) of the working coordinates, continuum marginalised, float64.
    flux, ivar : Tensor
        (B, orders, pixels) divided by the continuum; ``ivar`` is 0 where a cosmic ray was found.
    model : Tensor
        (B, orders, pixels) the emulator at ``parameters``.
    spurious : Tensor
        (B, P, P) covariance of the working coordinates that an error of the model with the
        standard deviation `mismatch` in each pixel, independent from pixel to pixel, would cause.
    noise : Tensor
        (B, P, P) part of `covariance` that differs from exposure to exposure: without the priors.
    """

    parameters: Tensor
    peak: Tensor
    covariance: Tensor
    flux: Tensor
    ivar: Tensor
    model: Tensor
    spurious: Tensor
    noise: Tensor


@dataclass(frozen=True)
class _State:
    """Spectra on their way: where they are (``at``), and the derivatives taken at ``origin``."""

    flux: Tensor
    ivar: Tensor
    at: Tensor
    origin: Tensor
    model: Tensor
    slopes: Tensor
    misfit: Tensor

    def __getitem__(self, rows: Tensor | slice) -> _State:
        return _State(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Task:
    """What is the same for all spectra and steps."""

    emulator: Emulator
    sampler: Sampler
    mismatch: Tensor
    known: bool


@torch.no_grad()
def refine(
    emulator: Emulator,
    sampler: Sampler,
    flux: Tensor,
    ivar: Tensor,
    labels: Tensor,
    resolution: float | Tensor,
    mismatch: Tensor,
    *,
    known: bool = False,
) -> Refined:
    """Improve labels by weighted, robust least squares.

    Parameters
    ----------
    emulator, sampler
        The emulator, and its sampler of the (8, 4096) canonical wavelengths.
    flux, ivar : Tensor
        (B, 8, 4096) in the rest frame, divided by nearly the right continuum.
    labels : Tensor
        (B, 4) where to start.
    resolution : float or Tensor
        Resolving power, one or (B,).
    mismatch : Tensor
        (8, 4096) where the emulator is known to be wrong, and how much relative to its median:
        see :mod:`harpsstar.model.mismatch`.
    known : bool
        The continuum is 1, the velocity 0 and every nuisance on its relation: for comparison with
        methods that take this for granted.

    Returns
    -------
    Refined

    Notes
    -----
    Priors: those of :mod:`harpsstar.infer.parameters` for the nuisances, flat within the grid for
    the labels. The continuum of an order is multiplied by exp(polynomial), solved for jointly with
    the parameters. Derivatives are taken at the start, after the first step, and again only after a
    long way: near the solution they hardly change, and what does, the residual, is exact. The
    robust misfit of the model beyond the noise, times `mismatch`, is added to the noise in
    quadrature, and single pixels far from the model count less, so that a missing line does not
    decide.
    """
    task = _Task(emulator, sampler, mismatch, known)
    at = torch.cat([labels, space.expected(labels)], dim=1)
    at = space.inside(emulator, at)
    model, slopes = slopes_at(emulator, sampler, at, resolution)
    state = _State(flux, ivar, at, at, model, slopes, torch.zeros(len(labels)))
    done = Refined(
        at.clone(), space.to_working(at), torch.zeros(*at.shape, at.shape[1]).double(),
        flux.clone(), ivar.clone(), model.clone(),
        *(torch.zeros(*at.shape, at.shape[1]).double() for _ in range(2)),
    )  # fmt: skip
    moving = torch.arange(len(labels))
    resolutions = torch.as_tensor(resolution).expand(len(labels))
    change = torch.full((len(labels),), torch.inf)
    for iteration in range(_MAX_STEPS):
        # each spectrum stops by itself, so that its result does not depend on its batch
        misfit = torch.where(change > _FAR, _misfit(state), state.misfit)
        state = replace(state, misfit=misfit)
        stale = _STALE if iteration else 0.0
        state, step = _stepped(task, state, resolutions[moving], stale)
        if iteration == 0:
            state = replace(state, ivar=without_cosmics(state.flux, state.ivar, state.model))
        _store(done, moving, state, step)
        going = step.change >= _CONVERGED
        ending = ~going | (iteration == _MAX_STEPS - 1)
        if bool(ending.any()):
            done.spurious[moving[ending]] = _spurious(
                state[ending], step.covariance[ending], step.slope[ending], task
            )
        if not bool(going.any()):
            break
        change = step.change[going]
        if not bool(going.all()):
            moving, state = moving[going], state[going]
    return done


@dataclass(frozen=True)
class _Step:
    peak: Tensor
    covariance: Tensor
    noise: Tensor
    change: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Influence:
    """What each pixel of one spectrum says of each label, see :func:`influence`.

    Attributes
    ----------
    slope : Tensor
        (4, orders, pixels) derivative of the spectrum by each label in working coordinates, without
        what any other parameter or the continuum could do as well.
    weight : Tensor
        (orders, pixels) of each pixel in least squares, 0 where there is no information.
    residual : Tensor
        (orders, pixels) flux - model, 0 where there is no information.
    sigma : Tensor
        (4,) standard deviation of the label, working coordinates.
    """

    slope: Tensor
    weight: Tensor
    residual: Tensor
    sigma: Tensor


@torch.no_grad()
def influence(
    emulator: Emulator,
    sampler: Sampler,
    flux: Tensor,
    ivar: Tensor,
    model: Tensor,
    parameters: Tensor,
    resolution: float | Tensor,
    mismatch: Tensor,
) -> Influence:
    """Rows of the solution that :func:`refine` has found, pixel by pixel.

    With the information matrix H of all parameters (continuum taken out, priors added), the
    derivatives J and the weights W, the last step of label k is the sum over pixels of the k-th
    row of H⁻¹JᵀW times the residual. ``slope`` is that row of H⁻¹Jᵀ divided by (H⁻¹)ₖₖ: the
    derivative by the label minus its weighted projection on everything else.

    Parameters
    ----------
    emulator, sampler, mismatch
        As for :func:`refine`.
    flux, ivar, model : Tensor
        (1, 8, 4096) as in :class:`Refined`.
    parameters : Tensor
        (1, P) physical units.
    resolution : float or Tensor
        Resolving power.
    """
    _, slopes = slopes_at(emulator, sampler, parameters, resolution)
    state = _State(flux, ivar, parameters, parameters, model, slopes, torch.zeros(1))
    state = replace(state, misfit=_misfit(state))
    inner, _, _, bend = _normal_equations(state, _Task(emulator, sampler, mismatch, False))
    covariance = torch.linalg.inv(inner + _priors(parameters, 1.0)[0])[0, : space.N_LABELS]
    variance = covariance.diagonal()
    rows = covariance / variance[:, None]
    residual, root = _weighed(state, mismatch)
    continuum = (bend[0].mT @ _basis(flux.shape[-1]).double()) * model[0, :, None].double()
    slope = torch.einsum("kp,opi->koi", rows, slopes[0].double() - continuum)
    return Influence(slope, root[0].double().square(), residual[0].double(), variance.sqrt())


def _store(done: Refined, rows: Tensor, state: _State, step: _Step) -> None:
    done.parameters[rows] = state.at
    done.peak[rows] = step.peak
    done.covariance[rows] = step.covariance
    done.noise[rows] = step.noise
    done.flux[rows] = state.flux
    done.ivar[rows] = state.ivar
    done.model[rows] = state.model


def _stepped(
    task: _Task, state: _State, resolution: Tensor, stale: float
) -> tuple[_State, _Step]:
    """One step: new parameters, continuum and model, and derivatives where they are stale."""
    emulator, sampler = task.emulator, task.sampler
    inner, pull, offset, slope = _normal_equations(state, task)
    precision, prior_pull = _priors(state.at, _KNOWN if task.known else 1.0)
    covariance = torch.linalg.inv(inner + precision)
    wanted = _LONGER * (covariance @ (pull + prior_pull).unsqueeze(-1)).squeeze(-1)
    limit = torch.tensor([_LARGEST[name] for name in space.PARAMETER_NAMES]).double()
    here = space.to_working(state.at)
    peak = here + wanted.clamp(-limit, limit).float()
    at = _inside(emulator, here, wanted, inner + precision, covariance, limit)
    moved = space.to_working(at) - here
    change = (moved.abs() / covariance.diagonal(dim1=-2, dim2=-1).sqrt()).amax(1)
    continuum = _LONGER * offset - (slope @ moved.double()[:, None, :, None]).squeeze(-1)
    flux, ivar = _divided(state.flux, state.ivar, continuum)
    origin, slopes = state.origin, state.slopes
    far = ((space.to_working(at) - space.to_working(origin)).abs() >= stale * limit).any(1)
    model = torch.empty_like(state.model)
    if bool(far.any()):
        model[far], fresh = slopes_at(emulator, sampler, at[far], resolution[far])
        origin, slopes = origin.clone(), slopes.clone()
        origin[far], slopes[far] = at[far], fresh
    # a small step needs no new spectrum: the derivatives tell it
    small = ~far & (change < _CONVERGED)
    if bool(small.any()):
        along = (moved[small][:, None, None] @ slopes[small]).squeeze(2)
        model[small] = state.model[small] + along
    new = ~far & ~small
    if bool(new.any()):
        model[new] = spectra_at(emulator, sampler, at[new], resolution[new])
    moved_on = _State(flux, ivar, at, origin, model, slopes, state.misfit)
    return moved_on, _Step(peak, covariance, covariance @ inner @ covariance, change, slope)


def _inside(
    emulator: Emulator,
    here: Tensor,
    wanted: Tensor,
    precision: Tensor,
    covariance: Tensor,
    limit: Tensor,
) -> Tensor:
    """Parameters (B, P) where the step from `here` ends that stays in the grid.

    What would leave it stops at its end, and the others take the step that is best then: a star
    without rotation would else keep the turbulence that goes with a negative one.
    """
    sigma = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    held = torch.zeros_like(wanted, dtype=torch.bool)
    step, pull = wanted, (precision @ wanted[..., None]).squeeze(-1)
    for _ in range(_HOLDS):
        target = here + step.clamp(-limit, limit).float()
        at = space.inside(emulator, space.from_working(target))
        short = space.to_working(at) - target
        over = (short.abs() > _OUTSIDE * sigma) & ~held
        if not bool(over.any()):
            break
        # of several, the one that is furthest out may bring the others back
        worst = (short.abs() / sigma * over).argmax(1, keepdim=True)
        held = held | (over & torch.zeros_like(held).scatter(1, worst, True))
        ends = (space.to_working(at) - here).double()
        fixed = held.double()
        free = 1 - fixed
        system = precision * free[:, :, None] * free[:, None] + torch.diag_embed(fixed)
        known = (precision @ (ends * fixed)[..., None]).squeeze(-1)
        right = torch.where(held, ends, pull - known)
        step = torch.linalg.solve(system, right)
    return at


def _normal_equations(
    state: _State, task: _Task
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums over pixels, continuum taken out, in float64.

    Returns
    -------
    inner : Tensor
        (B, P, P) information about the parameters.
    pull : Tensor
        (B, P) its right-hand side.
    offset, slope : Tensor
        (B, 8, K) and (B, 8, K, P): the polynomial of each order's continuum is offset minus
        slope times the step of the parameters.
    """
    starts = range(0, len(state.at), _AT_ONCE)
    gram = torch.cat([_sums(state[i : i + _AT_ONCE], task.mismatch) for i in starts]).double()
    n = space.N_PARAMETERS
    own, cross = gram[..., n + 1 :, n + 1 :], gram[..., n + 1 :, : n + 1]
    trace = own.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    own = own + torch.eye(_DEGREE + 1) * torch.where(trace > 0, _RIDGE * trace, 1.0)
    taken = torch.linalg.solve(own, cross)
    if task.known:
        taken = torch.zeros_like(taken)
    inner = (gram[..., : n + 1, : n + 1] - cross.mT @ taken).sum(1)
    return inner[:, :n, :n], inner[:, :n, n], taken[..., n], taken[..., :n]


def _misfit(state: _State) -> Tensor:
    """Scatter of the spectra about their models beyond the noise, as far as it is significant."""
    misfit = goodness(state.flux, state.model, state.ivar, stride=_STRIDE)[1]
    used = state.ivar > 0
    noise = (used.flatten(1).sum(1) / state.ivar.flatten(1).sum(1).clamp_min(1e-12)).sqrt()
    return torch.where(misfit > _SIGNIFICANT * noise, misfit, torch.zeros(()))


def _weighed(state: _State, mismatch: Tensor) -> tuple[Tensor, Tensor]:
    """Residual and square root of the weight of each pixel, (B, orders, pixels)."""
    used = state.ivar > 0
    residual = torch.where(used, state.flux - state.model, torch.zeros(()))
    variance = state.ivar.clamp_min(1e-12).reciprocal()
    variance += (state.misfit[:, None, None] * mismatch).square()
    # Cauchy: 1 / (variance (1 + residual² / (variance robust²)))
    return residual, torch.where(used, (variance + residual.square() / _ROBUST**2).rsqrt(), 0.0)


def _spurious(state: _State, covariance: Tensor, slope: Tensor, task: _Task) -> Tensor:
    """H⁻¹ Jᵀ W S W J H⁻¹ (B, P, P), S = diag(mismatch²), continuum taken out of J."""
    parts = []
    for i in range(0, len(state.at), _AT_ONCE):
        rows = slice(i, i + _AT_ONCE)
        one = state[rows]
        root = _weighed(one, task.mismatch)[1]
        bent = slope[rows].mT.float() @ _basis(root.shape[-1])
        columns = one.slopes - bent * one.model[:, :, None]
        columns *= (root.square() * task.mismatch)[:, :, None]
        parts.append((columns @ columns.mT).sum(1).double())
    return covariance @ torch.cat(parts) @ covariance


def _sums(state: _State, mismatch: Tensor) -> Tensor:
    """Products (B, 8, P + 1 + K, P + 1 + K) of slopes, residual and continuum, weighted."""
    residual, root = _weighed(state, mismatch)
    root = root[:, :, None]
    n = space.N_PARAMETERS
    size, orders, _, pixels = state.slopes.shape
    columns = torch.empty(size, orders, n + 2 + _DEGREE, pixels)
    torch.mul(state.slopes, root, out=columns[:, :, :n])
    torch.mul(residual[:, :, None], root, out=columns[:, :, n : n + 1])
    torch.mul(_basis(pixels), root * state.model[:, :, None], out=columns[:, :, n + 1 :])
    return columns @ columns.mT


@cache
def _basis(n_pixels: int) -> Tensor:
    """(K, pixels) Legendre polynomials along an order."""
    return legendre(n_pixels, _DEGREE).float()


def _divided(flux: Tensor, ivar: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Divide by exp(polynomial) of coefficients (B, 8, K)."""
    continuum = (coefficients.float() @ _basis(flux.shape[-1])).clamp(-_BEND, _BEND).exp()
    return flux / continuum, ivar * continuum.square()


def without_cosmics(flux: Tensor, ivar: Tensor, model: Tensor) -> Tensor:
    """Inverse variance without the pixels that :func:`clip_cosmics` finds, (B, 8, 4096)."""
    rows = [x.flatten(0, 1).numpy() for x in (flux, ivar, model)]
    return torch.from_numpy(clip_cosmics(rows[0], rows[1], rows[2])[0]).reshape(flux.shape)


def _priors(parameters: Tensor, tightness: float) -> tuple[Tensor, Tensor]:
    """Precision (B, P, P) and gradient (B, P) of the priors.

    A nuisance scatters about a relation of the labels, so that it tells of them, too.
    """
    n = space.N_LABELS
    labels, nuisances = parameters[:, :n], parameters[:, n:]
    spans = torch.tensor([label.high - label.low for label in LABELS], dtype=torch.float64)
    away = torch.cat([
        -space.expected_slopes(labels).double(),
        torch.eye(nuisances.shape[1]).double().expand(len(labels), -1, -1),
    ], dim=2)  # fmt: skip
    weighted = away / (space.scatter() * tightness).square()[:, None]
    precision = away.mT @ weighted
    precision[:, range(n), range(n)] += 12 / spans**2
    residual = (nuisances - space.expected(labels)).double()
    return precision, -(weighted.mT @ residual[:, :, None]).squeeze(2)


def goodness(
    flux: Tensor, model: Tensor, ivar: Tensor, *, stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Reduced chi-squared and misfit beyond the noise, each (B,), of (B, 8, 4096) spectra.

    The misfit is robust: the median of |flux − model| in units of each pixel's own noise, made
    consistent with a normal distribution, of which 1 is subtracted in quadrature. With a `stride`
    only every so many pixels are looked at.
    """
    flux, model, ivar = (x[..., ::stride] for x in (flux, model, ivar))
    used = ivar > 0
    n = used.flatten(1).sum(1).clamp_min(1)
    pulls = torch.where(used, (flux - model) * ivar.sqrt(), torch.zeros(()))
    chi2_red = pulls.square().flatten(1).sum(1) / n
    hole = torch.full((), torch.nan)
    noise = torch.where(used, ivar, hole).flatten(1).nanmedian(1).values.clamp_min(1e-12).rsqrt()
    pull = torch.where(used, pulls.abs(), hole).flatten(1).nanmedian(1).values
    misfit = noise * ((MAD_TO_SIGMA * pull).square() - 1).clamp_min(0).sqrt()
    return chi2_red, misfit.nan_to_num(0.0)
