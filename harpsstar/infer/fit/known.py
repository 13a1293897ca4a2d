r"""What is known of a star beforehand, weighed against the whole error of the spectrum.

A spectrum says x with the covariance V of its likelihood, and the physics is wrong by as much as S
says: the whole covariance is C = V + S. A prior N(m, Σ) of some labels p meets C, not V:

.. math:: x'_p = x_p + K (m - x_p), \quad K = C_{pp} (C_{pp} + \Sigma)^{-1}, \quad
          C'_{pp} = (C_{pp}^{-1} + \Sigma^{-1})^{-1}

So a gravity of 4.30 ± 0.03 draws a star of 4.44 ± 0.10 to 4.31 ± 0.03. The other labels and the
nuisances go where the likelihood is largest with those labels at x', along its ridge, as they do
for a value that is fixed. To have both, the fit is given an effective prior N(m_e, E) that meets V
and has the same result:

.. math:: E_{ii} = \Sigma_{ii} V_{ii} / C_{ii}, \quad
          m_e = x_p + [V_{pp} (V_{pp} + E)^{-1}]^{-1} K (m - x_p)

For a single label m_e = m: its prior is narrower by the ratio of the errors from V and from C. The
error of the physics of a label with a prior shrinks, so that its variance is that of C'; that of
the others stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harpsstar.infer.epochs import weighted_mean
from harpsstar.infer.fit.options import PARAMETERS, Gaussian, Options, Uniform
from harpsstar.infer.predict import Measurement
from harpsstar.infer.uncertainty import Uncertainty
from harpsstar.labels import NAMES, NUISANCES
from harpsstar.model.relations import VMAC_SCATTER, VMIC_SCATTER

FloatArray = npt.NDArray[np.float64]

#: A value further from what the spectrum says, in sigmas of the whole error, contradicts it.
CONTRADICTION = 3.0
#: Errors of the nuisances, to judge a value that is given for them: km/s.
_SCATTER = {"vmic": VMIC_SCATTER, "vmac": VMAC_SCATTER}


@dataclass(frozen=True)
class Weighed:
    """Priors of labels as a fit is to use them, and what the variances will be in the end.

    Attributes
    ----------
    priors : mapping of str to Gaussian
        The effective ones, of the labels that have a Gaussian prior.
    variance : mapping of str to float
        Whole variance of each of these labels, the prior included.
    """

    priors: Mapping[str, Gaussian] = field(default_factory=dict)
    variance: Mapping[str, float] = field(default_factory=dict)


def with_prior(options: Options) -> list[str]:
    """Names of the labels that have a Gaussian prior."""
    return [name for name in NAMES if isinstance(options.priors.get(name), Gaussian)]


def weigh(
    options: Options, labels: FloatArray, likelihood: FloatArray, physics: FloatArray
) -> Weighed:
    """Find the effective priors, see the formulae above.

    Parameters
    ----------
    options : Options
    labels : ndarray (4,)
        Of a fit without Gaussian priors of labels.
    likelihood, physics : ndarray (4, 4)
        Covariance of that fit, and that of the error of the physics.
    """
    names = with_prior(options)
    if not names:
        return Weighed()
    index = [NAMES.index(name) for name in names]
    given = [prior for name in names if isinstance(prior := options.priors[name], Gaussian)]
    centre, width = (np.array([getattr(p, what) for p in given]) for what in ("mean", "sigma"))
    inner = likelihood[np.ix_(index, index)]
    whole = inner + physics[np.ix_(index, index)]
    shift = whole @ np.linalg.solve(whole + np.diag(width**2), centre - labels[index])
    narrow = width * np.sqrt(np.diag(inner) / np.diag(whole))
    gain = inner @ np.linalg.inv(inner + np.diag(narrow**2))
    mean = labels[index] + np.linalg.solve(gain, shift)
    variance = np.diag(np.linalg.inv(np.linalg.inv(whole) + np.diag(width**-2.0)))
    return Weighed(
        {n: Gaussian(float(m), float(s)) for n, m, s in zip(names, mean, narrow, strict=True)},
        dict(zip(names, variance.tolist(), strict=True)),
    )


def physics_left(
    physics: FloatArray, posterior: FloatArray, weighed: Weighed, options: Options
) -> FloatArray:
    """Error of the physics (4, 4) that is left in a fit with the covariance `posterior` (4, 4).

    None in a label that was fixed; in one with a prior, what is missing to its whole variance.
    """
    factor = np.ones(len(NAMES))
    for i, name in enumerate(NAMES):
        if name in options.fixed:
            factor[i] = 0.0
        elif name in weighed.variance:
            missing = (weighed.variance[name] - posterior[i, i]) / physics[i, i]
            factor[i] = math.sqrt(min(max(missing, 0.0), 1.0))
    return physics * np.outer(factor, factor)


def star_of(starts: Sequence[Measurement]) -> tuple[dict[str, float], dict[str, float], FloatArray]:
    """What ``predict`` says of a star from all its spectra.

    Returns
    -------
    value, sigma : dict of str to float
        Of the labels and of vmic and vmac, with the whole error.
    physics : ndarray (4, 4)
        The error of the physics.
    """
    errors = [Uncertainty.of(start.estimate) for start in starts]
    values = np.stack([start.estimate.labels[0].double().numpy() for start in starts])
    noise, total = (np.stack([getattr(e, name) for e in errors]) for name in ("noise", "total"))
    mean = weighted_mean(values, noise, total)
    value = dict(zip(NAMES, mean.values.tolist(), strict=True))
    sigma = dict(zip(NAMES, np.sqrt(np.diag(mean.covariance)).tolist(), strict=True))
    best = max(starts, key=lambda start: start.snr)
    for i, label in enumerate(NUISANCES):
        if label.name in _SCATTER:
            value[label.name] = float(best.estimate.nuisances[0, i])
            sigma[label.name] = _SCATTER[label.name]
    physics = np.mean([s.estimate.systematic[0].double().numpy() for s in starts], axis=0)
    return value, sigma, physics


def contradictions(
    options: Options, value: Mapping[str, float], sigma: Mapping[str, float]
) -> list[str]:
    """Say which fixed values and priors contradict the spectrum, and by how many sigmas.

    Parameters
    ----------
    options : Options
    value, sigma : mapping of str to float
        What the spectrum says, with the whole error.
    """
    found = []
    for name, known in value.items():
        distance, what = _distance(options, name, known, sigma[name])
        if distance > CONTRADICTION:
            unit = f" {PARAMETERS[name].unit}" if PARAMETERS[name].unit else ""
            form = ".0f" if name == "teff" else ".2f"
            found.append(
                f"{what}{unit} contradicts the spectrum, which gives {known:{form}} ± "
                f"{sigma[name]:{form}}{unit}: {distance:.1f} sigma"
            )
    return found


def _distance(options: Options, name: str, known: float, sigma: float) -> tuple[float, str]:
    """Distance in sigmas of what is given from what is known, and what is given."""
    if name in options.fixed:
        given = options.fixed[name]
        return abs(given - known) / sigma, f"{name} fixed at {given:g}"
    prior = options.priors.get(name)
    if isinstance(prior, Gaussian):
        distance = abs(prior.mean - known) / math.hypot(sigma, prior.sigma)
        return distance, f"the prior {name} = {prior.mean:g} ± {prior.sigma:g}"
    if isinstance(prior, Uniform):
        outside = max(prior.low - known, known - prior.high, 0.0)
        return outside / sigma, f"the prior {name} = {prior.low:g} to {prior.high:g}"
    return 0.0, ""
