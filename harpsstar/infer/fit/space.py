"""The parameters of a fit: their order, their ranges and what is known of them beforehand.

A point has two forms. *Natural*: the values of the free parameters, velocities in km/s. *Square*:
the same with vsini and vmac squared, because a profile depends on the square of its width: there
the likelihood is close to a Gaussian down to zero width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.infer.fit.options import PARAMETERS, STELLAR, Gaussian, Options, Prior, Uniform
from harpsstar.labels import LABELS, RV
from harpsstar.model.emulator import Emulator
from harpsstar.model.nodes import AXES
from harpsstar.model.relations import (
    ALPHA_SCATTER,
    VMAC_SCATTER,
    VMIC_SCATTER,
    alpha_relation,
    vmac_relation,
    vmic_relation,
)

#: Parameters that enter the spectrum by their square.
SQUARED = ("vsini", "vmac")
#: km/s; derivatives with respect to a square are taken no nearer to zero.
SLOWEST = 0.5
#: Scatter of stars about each relation, km/s, km/s, dex.
_SCATTER = {"vmic": VMIC_SCATTER, "vmac": VMAC_SCATTER, "alpha": ALPHA_SCATTER}


def relation(name: str, teff: Tensor, logg: Tensor, m_h: Tensor) -> Tensor:
    """Value of a parameter on its relation; the labels may have any one shape."""
    if name == "alpha":
        return alpha_relation(m_h)
    return vmic_relation(teff, logg, m_h) if name == "vmic" else vmac_relation(teff, logg)


def without_axis(emulator: Emulator) -> dict[str, float]:
    """Parameters on which no spectrum of this grid depends, and the only value that it has."""
    return {
        label.name: float(axis[0])
        for label, axis in zip(AXES, emulator.grid.axes, strict=True)
        if len(axis) == 1
    }


def nuisances_of(emulator: Emulator) -> tuple[str, ...]:
    """Parameters of a star, besides its labels, that the spectra of this grid depend on."""
    single = without_axis(emulator)
    return tuple(x.name for x in STELLAR if x not in LABELS and x.name not in single)


@dataclass(frozen=True)
class Star:
    """Arguments of the emulator for B points: labels (B, 4) and the nuisances, each (B,)."""

    labels: Tensor
    nuisances: Mapping[str, Tensor]


class Space:
    """The free parameters of a fit of one star to some spectra.

    Parameters
    ----------
    options : Options
    emulator : Emulator
        Whose grid limits them.
    rv0 : sequence of float
        Velocity about which each spectrum's rv is counted, km/s.
    effective : mapping, optional
        Gaussian priors that take the place of those in the options, see :mod:`.known`.

    Attributes
    ----------
    names : tuple of str
        Of the free parameters, in order: the star's own, then an rv for each spectrum (``rv``, or
        ``rv_1``, ``rv_2`` ... where there are several), relative to ``rv0``. A parameter of which
        the grid has a single value is none of them.
    nuisances : tuple of str
        Parameters besides the labels that the spectra depend on, free or not.
    """

    def __init__(
        self,
        options: Options,
        emulator: Emulator,
        rv0: Sequence[float],
        effective: Mapping[str, Prior] | None = None,
    ) -> None:
        self.options = options
        self.priors: dict[str, Prior] = {**options.priors, **(effective or {})}
        self._single = without_axis(emulator)
        self.nuisances = nuisances_of(emulator)
        self.rv0 = torch.tensor(list(rv0), dtype=torch.float64)
        self.n_spectra = len(rv0)
        velocities = ["rv"] if self.n_spectra == 1 else [f"rv_{i + 1}" for i in range(len(rv0))]
        self.stellar = tuple(name for name in options.free if name not in self._single)
        self.names = self.stellar + tuple(velocities if options.free_rv else ())
        self._grid = emulator.grid
        self.squared = torch.tensor([name in SQUARED for name in self.names], dtype=torch.bool)
        self.low, self.high = self._limits()

    def __len__(self) -> int:
        """Return the number of free parameters."""
        return len(self.names)

    def _limits(self) -> tuple[Tensor, Tensor]:
        """Natural range (P,) of each parameter; of rv, relative to its rv0."""
        limits = []
        for name in self.stellar:
            prior = self.priors.get(name)
            label = PARAMETERS[name]
            limits.append((prior.low, prior.high) if isinstance(prior, Uniform)
                          else (label.low, label.high))  # fmt: skip
        if self.options.free_rv:
            prior = self.priors.get("rv")
            low, high = (prior.low, prior.high) if isinstance(prior, Uniform) else (RV.low, RV.high)
            limits += [(low - float(v), high - float(v)) for v in self.rv0]
        low_high = torch.tensor(limits, dtype=torch.float64)
        return low_high[:, 0], low_high[:, 1]

    def natural(self, square: Tensor) -> Tensor:
        """Natural values of square ones, (..., P)."""
        return torch.where(self.squared, square.clamp_min(0.0).sqrt(), square)

    def square(self, natural: Tensor) -> Tensor:
        """Square values of natural ones, (..., P)."""
        return torch.where(self.squared, natural.square(), natural)

    def columns(self, natural: Tensor) -> dict[str, Tensor]:
        """Every parameter of the star, free, fixed or tied: name to (B,)."""
        free = dict(zip(self.stellar, natural.T, strict=False))
        known: dict[str, Tensor] = {}
        for label in STELLAR:
            name = label.name
            if name in free:
                known[name] = free[name]
            elif name in self.options.fixed:
                known[name] = torch.full_like(natural[:, 0], self.options.fixed[name])
            elif name in self._single:
                known[name] = torch.full_like(natural[:, 0], self._single[name])
            else:
                known[name] = relation(name, known["teff"], known["logg"], known["m_h"])
        return known

    def star(self, natural: Tensor) -> Star:
        """What the emulator needs of points (B, P)."""
        known = self.columns(natural)
        labels = torch.stack([known.pop(label.name) for label in LABELS], dim=1)
        return Star(labels, known)

    def rv(self, natural: Tensor) -> Tensor:
        """Velocity of each spectrum relative to its rv0, (B, S)."""
        if self.options.free_rv:
            return natural[:, len(self.stellar) :]
        offset = self.options.fixed["rv"] - self.rv0
        return offset.expand(len(natural), -1)

    def start(self, guess: Mapping[str, float]) -> Tensor:
        """Natural point (P,) from what is guessed of the star; nuisances on their relations."""
        known = {**guess, **self.options.fixed}
        teff, logg, m_h = (torch.tensor(known[n], dtype=torch.float64)
                           for n in ("teff", "logg", "m_h"))  # fmt: skip
        values = []
        for name in self.stellar:
            prior = self.priors.get(name)
            if name in guess:
                values.append(guess[name])
            elif isinstance(prior, Gaussian):
                values.append(prior.mean)
            elif isinstance(prior, Uniform):
                values.append(0.5 * (prior.low + prior.high))
            else:
                values.append(float(relation(name, teff, logg, m_h)))
        velocities = [0.0] * (len(self.names) - len(self.stellar))
        return self.inside(torch.tensor([values + velocities], dtype=torch.float64))[0]

    def inside(self, natural: Tensor) -> Tensor:
        """Move points (B, P) into their range, gravity after temperature."""
        point = torch.minimum(torch.maximum(natural, self.low), self.high)
        if "logg" not in self.stellar:
            return point
        column = self.stellar.index("logg")
        logg = torch.maximum(point[:, column], self._floor(point))
        return torch.cat([point[:, :column], logg[:, None], point[:, column + 1 :]], dim=1)

    def lowest(self, natural: Tensor) -> Tensor:
        """Lower limits (P,) of a point (P,): that of logg depends on teff."""
        low = self.low.clone()
        if "logg" in self.stellar:
            column = self.stellar.index("logg")
            low[column] = torch.maximum(low[column], self._floor(natural[None])[0])
        return low

    def lowest_logg(self, teff: Tensor) -> Tensor:
        """Lowest gravity of the grid at temperatures (B,), K."""
        return self._grid.lowest_logg(teff.float()).double()

    def _floor(self, natural: Tensor) -> Tensor:
        return self.lowest_logg(self.columns(natural)["teff"])

    def allowed(self, natural: Tensor) -> Tensor:
        """Which points (B, P) lie in the grid and in the range of their priors, bool (B,)."""
        inside = ((natural >= self.low) & (natural <= self.high)).all(1)
        known = self.columns(natural)
        return inside & (known["logg"] >= self._floor(natural) - 1e-6)

    def pulls(self, natural: Tensor) -> Tensor:
        """Distance from the centre of each Gaussian prior in its sigmas, (B, number of them)."""
        known = self.columns(natural)
        found = []
        for name in self.stellar:
            centre, sigma = self._gaussian(name, known)
            if sigma is not None:
                found.append((known[name] - centre) / sigma)
        prior = self.priors.get("rv")
        if self.options.free_rv and isinstance(prior, Gaussian):
            found += list(((self.rv(natural) + self.rv0 - prior.mean) / prior.sigma).T)
        return torch.stack(found, 1) if found else natural.new_zeros(len(natural), 0)

    def _gaussian(
        self, name: str, known: Mapping[str, Tensor]
    ) -> tuple[Tensor | float, float | None]:
        """Centre and width of the Gaussian prior of a parameter; no width where it is flat."""
        prior = self.priors.get(name)
        if isinstance(prior, Gaussian):
            return prior.mean, prior.sigma
        if prior is None and name in _SCATTER:
            return relation(name, known["teff"], known["logg"], known["m_h"]), _SCATTER[name]
        return 0.0, None

    def width(self, name: str) -> float | None:
        """Standard deviation of the Gaussian prior of a free parameter; None where it is flat."""
        prior = self.priors.get(name)
        if isinstance(prior, Gaussian):
            return prior.sigma
        return _SCATTER.get(name) if prior is None else None

    def log_prior(self, natural: Tensor) -> Tensor:
        """Logarithm of the prior density of natural values (B, P), -inf outside; (B,)."""
        return torch.where(self.allowed(natural), self.log_density(natural), -math.inf)

    def log_density(self, natural: Tensor) -> Tensor:
        """The same without limits, hence with derivatives everywhere.

        A Gaussian about a relation is cut at the range of its label, so that its norm depends on
        where the relation is.
        """
        value = -0.5 * self.pulls(natural).square().sum(1)
        known = self.columns(natural)
        for name in self.stellar:
            centre, sigma = self._gaussian(name, known)
            if sigma is not None and isinstance(centre, Tensor):
                label = PARAMETERS[name]
                value = value - torch.log(_normal(label.high, centre, sigma)
                                          - _normal(label.low, centre, sigma))  # fmt: skip
        return value

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw natural points (n, P) from the prior; rv from ± 20 km/s about rv0 where it is flat.

        By rejection: flat over the grid, nuisances normal about their relations.
        """
        kept: list[Tensor] = []
        while sum(map(len, kept)) < n:
            low, high = self.low.clone(), self.high.clone()
            if self.options.free_rv:
                low[len(self.stellar) :], high[len(self.stellar) :] = -20.0, 20.0
            point = low + (high - low) * torch.rand(
                4 * n, len(self), generator=generator, dtype=torch.float64
            )
            for column, name in enumerate(self.stellar):
                centre, sigma = self._gaussian(name, self.columns(point))
                if sigma is not None:
                    noise = torch.randn(4 * n, generator=generator, dtype=torch.float64)
                    point[:, column] = centre + sigma * noise
            kept.append(point[self.allowed(point)])
        return torch.cat(kept)[:n]


def _normal(x: float, centre: Tensor, sigma: float) -> Tensor:
    return 0.5 * (1 + torch.erf((x - centre) / (sigma * math.sqrt(2.0))))
