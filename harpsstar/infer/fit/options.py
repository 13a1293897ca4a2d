"""What a fit is asked to do: which labels are free, fixed, tied, and what is known beforehand.

Nothing here needs a spectrum, a grid or torch, so that wrong options are refused at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from harpsstar.errors import ConfigError
from harpsstar.labels import LABELS, NUISANCES, RV, Label

#: Everything that shapes a spectrum and belongs to the star, in the order of the parameters.
STELLAR: tuple[Label, ...] = (*LABELS, *(label for label in NUISANCES if label is not RV))
#: Every parameter by name; each spectrum has an rv of its own.
PARAMETERS: dict[str, Label] = {label.name: label for label in (*STELLAR, RV)}
#: Parameters with an empirical relation to the others (:mod:`harpsstar.model.relations`).
RELATED: tuple[str, ...] = ("vmic", "vmac", "alpha")
#: How the posterior is found.
SAMPLERS: tuple[str, ...] = ("laplace", "emcee")

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_GAUSSIAN = re.compile(rf"({_NUMBER})\s*(?:±|\+/?-)\s*({_NUMBER})")
_UNIFORM = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})")


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution, cut at the range of its label."""

    mean: float
    sigma: float


@dataclass(frozen=True)
class Uniform:
    """A flat distribution between two limits."""

    low: float
    high: float


Prior: TypeAlias = Gaussian | Uniform


@dataclass(frozen=True)
class Options:
    """A checked request.

    Attributes
    ----------
    fixed : mapping of str to float
        Values of parameters that are not fitted.
    priors : mapping of str to Gaussian or Uniform
        What is known of others. Without: flat over the grid for the labels, Gaussian about their
        relations for vmic, vmac and alpha.
    tied : frozenset of str
        Parameters that follow their relation exactly.
    sampler : str
        One of :data:`SAMPLERS`.
    seed : int
        Of every random number.

    Raises
    ------
    ConfigError
        An unknown name, a value or prior outside the grid, or two requests that contradict each
        other, with what would be allowed.
    """

    fixed: Mapping[str, float] = field(default_factory=dict)
    priors: Mapping[str, Prior] = field(default_factory=dict)
    tied: frozenset[str] = frozenset()
    sampler: str = "laplace"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tied", frozenset(self.tied))
        for name in (*self.fixed, *self.priors, *self.tied):
            _known(name)
        _check_contradictions(self)
        for name, value in self.fixed.items():
            _check_inside(PARAMETERS[name], value, f"{name} fixed at {value:g}")
        for name, prior in self.priors.items():
            _check_prior(PARAMETERS[name], prior)
        for name in self.tied:
            if name not in RELATED:
                raise ConfigError(
                    f"{name} has no relation that it can be tied to",
                    expected=f"one of {', '.join(RELATED)}"
                )
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                f"unknown sampler {self.sampler!r}", expected=f"one of {', '.join(SAMPLERS)}"
            )
        if set(self.fixed) | self.tied >= set(PARAMETERS):
            raise ConfigError(
                "every parameter is fixed or tied", expected="at least one free parameter"
            )

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the star's own parameters that are fitted, in the order of STELLAR."""
        held = set(self.fixed) | self.tied
        return tuple(label.name for label in STELLAR if label.name not in held)

    @property
    def free_rv(self) -> bool:
        """Whether velocities are fitted."""
        return RV.name not in self.fixed


def plain_values(fixed: Mapping[str, Any]) -> dict[str, float]:
    """Values of parameters as bare numbers in their own units.

    Raises
    ------
    ConfigError
        An unknown name, a unit of another kind, or something that is no number.

    >>> from astropy import units as u
    >>> plain_values({"vsini": 2500 * u.m / u.s})
    {'vsini': 2.5}
    """
    return {name: _plain(name, value, f"{name} fixed at {value}") for name, value in fixed.items()}


def plain_priors(priors: Mapping[str, Any]) -> dict[str, Prior]:
    """Priors from text (``"5772±50"``), pairs of mean and sigma, with or without units, or objects.

    Raises
    ------
    ConfigError
        As :func:`plain_values`, or something that is no prior.

    >>> plain_priors({"teff": (5772, 50)})
    {'teff': Gaussian(mean=5772.0, sigma=50.0)}
    """
    found: dict[str, Prior] = {}
    for name, value in priors.items():
        _known(name)
        what = f"the prior {value!r} of {name}"
        if isinstance(value, Gaussian | Uniform):
            found[name] = value
        elif isinstance(value, str):
            found[name] = _parse_prior(f"{name}={value}", value.strip())
        elif isinstance(value, tuple | list) and len(value) == 2:
            found[name] = Gaussian(*(_plain(name, each, what) for each in value))
        else:
            raise ConfigError(what, expected="a pair of mean and sigma such as (5772, 50), or text "
                              "such as '5772±50' or '5000..6000'")  # fmt: skip
    return found


def _plain(name: str, value: Any, what: str) -> float:
    """Number in the unit of a parameter."""
    _known(name)
    unit = PARAMETERS[name].unit
    try:
        if hasattr(value, "unit"):
            from astropy import units as u

            # Logarithms are numbers here, whether somebody calls them dex or not.
            if not unit and "dex" in str(value.unit):
                return float(value.value)
            return float(u.Quantity(value).to_value(u.Unit(unit)))
        return float(value)
    except (TypeError, ValueError) as error:
        expected = f"a number in {unit}" if unit else "a number"
        raise ConfigError(f"{what}: {error}", expected=expected) from error


def parse(
    fix: Iterable[str] = (),
    prior: Iterable[str] = (),
    tie: Iterable[str] = (),
    *,
    sampler: str = "laplace",
    seed: int = 0,
) -> Options:
    """Read the options of the command line.

    Parameters
    ----------
    fix : iterable of str
        ``logg=4.44``.
    prior : iterable of str
        ``teff=5772±50`` or ``teff=5772+-50``, a Gaussian; ``teff=5000..6000``, uniform.
    tie : iterable of str
        ``vmic``.
    sampler, seed
        See :class:`Options`.

    Raises
    ------
    ConfigError
        As :class:`Options`, and for text that cannot be read.

    >>> parse(fix=["logg=4.44"], prior=["teff=5772±50"]).priors["teff"]
    Gaussian(mean=5772.0, sigma=50.0)
    """
    fixed: dict[str, float] = {}
    priors: dict[str, Prior] = {}
    for text in fix:
        name, value = _split(text, "--fix")
        _once(name, fixed, "--fix")
        if not re.fullmatch(_NUMBER, value):
            raise ConfigError(f"--fix {text!r}: {value!r} is not a number", expected="logg=4.44")
        fixed[name] = float(value)
    for text in prior:
        name, value = _split(text, "--prior")
        _once(name, priors, "--prior")
        priors[name] = _parse_prior(text, value)
    return Options(fixed, priors, frozenset(tie), sampler, seed)


def _split(text: str, option: str) -> tuple[str, str]:
    name, sign, value = (part.strip() for part in text.partition("="))
    if not sign:
        raise ConfigError(f"{option} {text!r} contains no =", expected="NAME=VALUE")
    _known(name)
    return name, value


def _once(name: str, before: Mapping[str, object], option: str) -> None:
    if name in before:
        raise ConfigError(f"{option} is given twice for {name}", expected="one for each parameter")


def _parse_prior(text: str, value: str) -> Prior:
    if found := _GAUSSIAN.fullmatch(value):
        return Gaussian(float(found[1]), float(found[2]))
    if found := _UNIFORM.fullmatch(value):
        return Uniform(float(found[1]), float(found[2]))
    raise ConfigError(
        f"--prior {text!r} cannot be read",
        expected="a Gaussian such as teff=5772±50 (or 5772+-50), or a range such as "
        "teff=5000..6000",
    )


def allowed(label: Label) -> str:
    """Range of a label in words."""
    unit = f" {label.unit}" if label.unit else ""
    return f"{label.name} from {label.low:g} to {label.high:g}{unit}"


def _known(name: str) -> None:
    if name not in PARAMETERS:
        raise ConfigError(
            f"unknown label {name!r}", expected="; ".join(map(allowed, PARAMETERS.values()))
        )


def _check_contradictions(options: Options) -> None:
    groups = {"fixed": set(options.fixed), "given a prior": set(options.priors),
              "tied to its relation": set(options.tied)}  # fmt: skip
    names = list(groups)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = sorted(groups[first] & groups[second])
            if both:
                raise ConfigError(
                    f"{', '.join(both)} is {first} and {second}", expected="only one of the two"
                )


def _check_inside(label: Label, value: float, what: str) -> None:
    if not label.low <= value <= label.high:
        raise ConfigError(f"{what} lies outside the grid", expected=allowed(label))


def _check_prior(label: Label, prior: Prior) -> None:
    if isinstance(prior, Gaussian):
        if not (prior.sigma > 0 and math.isfinite(prior.sigma)):
            raise ConfigError(
                f"the prior of {label.name} has a width of {prior.sigma:g}",
                expected="a positive number",
            )
        what = f"the prior of {label.name} with its centre at {prior.mean:g}"
        _check_inside(label, prior.mean, what)
        return
    if not prior.low < prior.high:
        raise ConfigError(
            f"the prior of {label.name} goes from {prior.low:g} to {prior.high:g}",
            expected="an increasing range",
        )
    for end in (prior.low, prior.high):
        _check_inside(label, end, f"the prior of {label.name}, up to {end:g},")
