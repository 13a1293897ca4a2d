r"""The likelihood of the observed pixels, with the continuum integrated out.

The model of a row is f(theta) · B c, with f the emulator's spectrum at the row's own wavelengths, B
Legendre polynomials along the row and c their coefficients. Noise is Gaussian with the variance of
:mod:`~harpsstar.infer.fit.noise`. The coefficients have a Gaussian prior N(c0, L), so that the
integral over them is, with F = diag(f), W the inverse variances and A = B'F W F B + L⁻¹,

.. math:: -2 \ln p(y|\theta) = \min_c [(y-FBc)'W(y-FBc) + (c-c_0)'L^{-1}(c-c_0)] + \ln|A|

up to a constant (Woodbury; Rasmussen & Williams 2006, Gaussian Processes for Machine Learning,
sect. 2.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.infer.fit.data import Data, continuum_prior
from harpsstar.infer.fit.space import SLOWEST, Space, Star
from harpsstar.model.derivatives import PARAMETERS as QUANTITIES
from harpsstar.model.emulator import Emulator
from harpsstar.spectra.continuum import legendre

#: Points evaluated at a time, so that the working set stays near the processor.
CHUNK = 16


@dataclass(frozen=True)
class Expansion:
    """Second-order expansion of a logarithm of a density in square coordinates.

    ``value`` at the point; ``gradient`` (P,); ``information`` (P, P), minus the second derivative
    (Gauss-Newton: without the term of second derivatives of the model). float64.
    """

    value: float
    gradient: Tensor
    information: Tensor

    def __add__(self, other: Expansion) -> Expansion:
        """Return the expansion of a product of densities."""
        return Expansion(
            self.value + other.value,
            self.gradient + other.gradient,
            self.information + other.information,
        )


class Likelihood:
    """The likelihood of one spectrum.

    Parameters
    ----------
    emulator : Emulator
    data : Data
    variance : Tensor (O, N), optional
        Of the flux; that of the data by default.
    """

    def __init__(self, emulator: Emulator, data: Data, variance: Tensor | None = None) -> None:
        self.data = data
        self._emulator = emulator
        self._sampler = emulator.sampler(data.rest)
        self.covered = self._sampler.covered.reshape(data.wave.shape)
        used = data.used & self.covered
        ivar = data.ivar if variance is None else variance.reciprocal()
        self.weight = torch.where(used, ivar, torch.zeros(()))
        self.basis = legendre(data.wave.shape[1], data.degree).float()
        self._pairs = torch.tril_indices(len(self.basis), len(self.basis))
        self._products = self.basis[self._pairs[0]] * self.basis[self._pairs[1]]
        self._centre, self._precision = continuum_prior(data.degree)

    def reweighted(self, data: Data, variance: Tensor) -> Likelihood:
        """Return the same likelihood with other weights; only they may differ in ``data``."""
        other = object.__new__(Likelihood)
        other.__dict__.update(self.__dict__)
        other.data = data
        used = data.used & self.covered
        other.weight = torch.where(used, variance.reciprocal(), torch.zeros(()))
        return other

    def spectra(self, star: Star, rv: Tensor) -> Tensor:
        """Emulator spectra (B, O, N), float32, of stars with velocity ``rv`` (B,) about rv0."""
        grid = self._emulator(
            star.labels.float(),
            **{name: value.float() for name, value in star.nuisances.items()},
            rv=rv.float(),
            resolution=self.data.resolution,
            check=False,
        )
        return self._sampler.without_gaps(grid).unflatten(1, self.data.wave.shape)

    def slopes(self, star: Star, rv: Tensor, turns: Tensor) -> Tensor:
        """Derivatives (P, O, N), float32, of the spectrum of one star.

        By parameters of which :data:`QUANTITIES` have the derivatives ``turns`` (P, Q).
        """
        by = [name for name, moved in zip(QUANTITIES, (turns != 0).any(0), strict=True) if moved]
        nuisances = star.nuisances
        slopes = self._emulator.derivatives(
            self._sampler,
            star.labels.float(),
            vmic=nuisances["vmic"].float(),
            vmac=nuisances["vmac"].float(),
            alpha=nuisances["alpha"].float(),
            rv=rv.float(),
            resolution=self.data.resolution,
            by=by,
        )[1][0]
        columns = [QUANTITIES.index(name) for name in by]
        return torch.einsum("pq,qon->pon", turns[:, columns], slopes)

    def _normal(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """A (B, O, K, K) and coefficients (B, O, K) of the continuum, float64."""
        weighted = spectra * self.weight
        elements = torch.matmul(weighted * spectra, self._products.T).double()
        normal = elements.new_zeros(*elements.shape[:2], len(self.basis), len(self.basis))
        normal[..., self._pairs[0], self._pairs[1]] = elements
        normal[..., self._pairs[1], self._pairs[0]] = elements
        normal = normal + torch.diag(self._precision)
        right = torch.matmul(weighted * self.data.flux, self.basis.T).double()
        right = right + self._precision * self._centre
        return normal, torch.linalg.solve(normal, right)

    def continuum(self, spectra: Tensor) -> Tensor:
        """Best continuum (B, O, N) of spectra (B, O, N)."""
        return torch.matmul(self._normal(spectra)[1].float(), self.basis)

    def __call__(self, spectra: Tensor) -> Tensor:
        """Logarithm of the likelihood of spectra (B, O, N), (B,), float64."""
        normal, coefficients = self._normal(spectra)
        fitted = spectra * torch.matmul(coefficients.float(), self.basis)
        # Explicit residuals: sums of squares would lose all figures in single precision.
        chi2 = ((self.data.flux - fitted).square() * self.weight).sum(-1).double()
        penalty = ((coefficients - self._centre).square() * self._precision).sum(-1)
        return -0.5 * (chi2 + penalty + torch.logdet(normal)).sum(-1)

    def expand(self, spectrum: Tensor, slopes: Tensor) -> Expansion:
        """Expand about a spectrum (O, N) with derivatives (P, O, N)."""
        normal, coefficients = (x[0] for x in self._normal(spectrum[None]))
        continuum = torch.matmul(coefficients.float(), self.basis)
        residual = self.data.flux - spectrum * continuum
        moved = slopes * continuum
        weighted = moved * self.weight
        inner = torch.einsum("pon,qon->pq", weighted, moved).double()
        basis = spectrum[:, None] * self.basis
        cross = torch.einsum("pon,okn->opk", weighted, basis).double()
        inner = inner - (cross @ torch.linalg.solve(normal, cross.mT)).sum(0)
        gradient = torch.einsum("pon,on->p", weighted.double(), residual.double())
        gradient = gradient - self._volume_slope(normal, spectrum, slopes)
        return Expansion(float(self(spectrum[None])[0]), gradient, inner)

    def _volume_slope(self, normal: Tensor, spectrum: Tensor, slopes: Tensor) -> Tensor:
        """Derivatives (P,) of ln|A| / 2."""
        share = torch.linalg.inv(normal).float()
        leverage = torch.einsum("kn,okl,ln->on", self.basis, share, self.basis)
        return torch.einsum("on,pon->p", leverage * self.weight * spectrum, slopes).double()


class Posterior:
    """Everything that is known of a star: prior and the likelihoods of its spectra.

    Parameters
    ----------
    space : Space
    parts : sequence of Likelihood
        One for each spectrum, in the order of ``space.rv0``.
    """

    def __init__(self, space: Space, parts: Sequence[Likelihood]) -> None:
        self.space = space
        self.parts = tuple(parts)
        self._known_slopes: tuple[Tensor, list[Tensor]] | None = None

    def reweighted(self, parts: Sequence[Likelihood]) -> Posterior:
        """Return the same posterior with likelihoods whose weights alone differ."""
        other = Posterior(self.space, parts)
        # Derivatives of the spectra do not depend on weights, and cost most of an expansion.
        other._known_slopes = self._known_slopes
        return other

    @torch.no_grad()
    def log_prob(self, natural: Tensor) -> Tensor:
        """Logarithm of the posterior density of natural values (B, P), not normalised, (B,)."""
        value = self.space.log_prior(natural)
        inside = torch.isfinite(value)
        if not bool(inside.any()):
            return value
        found = [self._log_likelihood(part) for part in natural[inside].split(CHUNK)]
        value[inside] += torch.cat(found)
        return value

    def _log_likelihood(self, natural: Tensor) -> Tensor:
        spectra = self.spectra(natural)
        parts = zip(self.parts, spectra, strict=True)
        return torch.stack([part(each) for part, each in parts]).sum(0)

    @torch.no_grad()
    def spectra(self, natural: Tensor) -> list[Tensor]:
        """Emulator spectra (B, O, N) of each observed spectrum at points (B, P)."""
        star, rv = self.space.star(natural), self.space.rv(natural)
        return [part.spectra(star, rv[:, i]) for i, part in enumerate(self.parts)]

    @torch.no_grad()
    def expand(self, square: Tensor) -> tuple[Expansion, Expansion]:
        """Expansions of likelihood and prior about a point (P,) in square coordinates."""
        natural = self.space.natural(square)
        spectra = self.spectra(natural[None])
        slopes = self.slopes(square)
        total = self._expand_prior(square)
        likelihood = [
            part.expand(f[0], j) for part, f, j in zip(self.parts, spectra, slopes, strict=True)
        ]
        whole = likelihood[0]
        for one in likelihood[1:]:
            whole = whole + one
        return whole, total

    def slopes(self, square: Tensor) -> list[Tensor]:
        """Exact derivatives (P, O, N) of each spectrum with respect to square coordinates (P,)."""
        if self._known_slopes is not None and torch.equal(self._known_slopes[0], square):
            return self._known_slopes[1]
        natural, turns = self._turns(self._away(square))
        star, rv = self.space.star(natural), self.space.rv(natural)
        found = [
            part.slopes(star, rv[:, i], turns[i].float()) for i, part in enumerate(self.parts)
        ]
        self._known_slopes = (square.clone(), found)
        return found

    def _turns(self, square: Tensor) -> tuple[Tensor, Tensor]:
        """Natural values (1, P), and what each spectrum's model depends on by square values.

        The second is (S, P, Q), the derivatives of :data:`QUANTITIES` of each spectrum.
        """
        n = len(self.space)

        def quantities(x: Tensor) -> Tensor:
            natural = self.space.natural(x)
            known, rv = self.space.columns(natural), self.space.rv(natural)
            star = [known[name] for name in QUANTITIES if name in known]
            return torch.stack([torch.stack([*star, v], dim=1) for v in rv.T])

        rows = square.expand(n, -1).contiguous()
        turns = torch.func.jvp(quantities, (rows,), (torch.eye(n, dtype=square.dtype),))[1]
        return self.space.natural(square[None]), turns

    def _away(self, square: Tensor) -> Tensor:
        """Keep squares off zero, where a root has no derivative."""
        return torch.where(self.space.squared, square.clamp_min(SLOWEST**2), square)

    def _expand_prior(self, square: Tensor) -> Expansion:
        """Gauss-Newton expansion of the prior density of natural values."""
        space, at = self.space, self._away(square)
        n = len(space)

        def both(x: Tensor) -> tuple[Tensor, Tensor]:
            natural = space.natural(x)
            return space.pulls(natural), space.log_density(natural)

        rows = at.expand(n, -1).contiguous()
        tangents = (torch.eye(n, dtype=at.dtype),)
        pulls, gradient = torch.func.jvp(both, (rows,), tangents)[1]
        value = float(space.log_prior(space.natural(square[None]))[0])
        return Expansion(value, gradient, pulls @ pulls.T)
