"""What is known beforehand meets the whole error: the formulae, without a spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from harpsstar.infer.fit.known import contradictions, physics_left, weigh
from harpsstar.infer.fit.options import Options, parse
from harpsstar.labels import NAMES

LABELS = np.array([5772.0, 4.44, 0.0, 3.0])
SIGMA = np.array([2.0, 0.003, 0.001, 0.04])
#: Of the likelihood: correlated as in real fits.
LIKELIHOOD = np.outer(SIGMA, SIGMA) * (0.8 * np.ones((4, 4)) + 0.2 * np.eye(4))
PHYSICS = np.diag(np.square([70.0, 0.1, 0.09, 1.5]))


def posterior(weighed):
    """Mean and covariance of labels whose Gaussian likelihood meets the effective priors."""
    precision, pull = np.zeros((4, 4)), np.zeros(4)
    for name, prior in weighed.priors.items():
        i = NAMES.index(name)
        precision[i, i] = prior.sigma**-2
        pull[i] = prior.mean * prior.sigma**-2
    information = np.linalg.inv(LIKELIHOOD)
    covariance = np.linalg.inv(information + precision)
    return covariance @ (information @ LABELS + pull), covariance


@pytest.mark.parametrize("text", [["logg=4.30±0.03"], ["logg=4.30±0.03", "teff=5700±20"]])
def test_priors_have_the_effect_that_they_would_have_on_the_whole_error(text):
    options = parse(prior=text)
    weighed = weigh(options, LABELS, LIKELIHOOD, PHYSICS)
    mean, covariance = posterior(weighed)
    left = physics_left(PHYSICS, covariance, weighed, options)
    whole = LIKELIHOOD + PHYSICS
    index = [NAMES.index(name) for name in weighed.priors]
    block = whole[np.ix_(index, index)]
    given = [options.priors[NAMES[i]] for i in index]
    centre, width = (np.array([getattr(p, what) for p in given]) for what in ("mean", "sigma"))
    gain = block @ np.linalg.inv(block + np.diag(width**2))
    np.testing.assert_allclose(mean[index], LABELS[index] + gain @ (centre - LABELS[index]))
    wanted = np.linalg.inv(np.linalg.inv(block) + np.diag(width**-2.0))
    np.testing.assert_allclose(np.diag(covariance + left)[index], np.diag(wanted))
    others = [i for i in range(4) if i not in index]
    np.testing.assert_allclose(np.diag(left)[others], np.diag(PHYSICS)[others])


def test_a_single_prior_keeps_its_centre_and_others_follow_the_ridge():
    weighed = weigh(parse(prior=["logg=4.30±0.03"]), LABELS, LIKELIHOOD, PHYSICS)
    assert weighed.priors["logg"].mean == pytest.approx(4.30)
    mean, _ = posterior(weighed)
    slope = LIKELIHOOD[:, 1] / LIKELIHOOD[1, 1]
    np.testing.assert_allclose(mean - LABELS, slope * (mean[1] - LABELS[1]))
    assert mean[1] == pytest.approx(4.31, abs=0.005)


def test_without_priors_nothing_is_weighed():
    assert not weigh(Options(), LABELS, LIKELIHOOD, PHYSICS).priors
    fixed = parse(fix=["logg=4.4"])
    left = physics_left(PHYSICS, LIKELIHOOD, weigh(fixed, LABELS, LIKELIHOOD, PHYSICS), fixed)
    np.testing.assert_allclose(np.diag(left), np.diag(PHYSICS) * [1, 0, 1, 1])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"fix": ["logg=4.1"]}, "logg fixed at 4.1 contradicts the spectrum, which gives "
                                "4.44 ± 0.10: 3.4 sigma"),
        ({"fix": ["logg=4.2"]}, None),
        ({"prior": ["logg=4.1±0.1"]}, None),
        ({"prior": ["m_h=-0.9±0.05"]}, "the prior m_h = -0.9 ± 0.05 contradicts"),
        ({"prior": ["teff=4000..4500"]}, "teff = 4000 to 4500 K contradicts the spectrum, which "
                                         "gives 5772 ± 70 K: 18.2 sigma"),
        ({"prior": ["teff=4000..5700"]}, None),
        ({"fix": ["vmic=2.0"]}, "vmic fixed at 2 km/s contradicts"),
    ],
)  # fmt: skip
def test_contradictions_are_told_with_their_size(given, told):
    value = dict(zip((*NAMES, "vmic"), (*LABELS.tolist(), 1.1), strict=True))
    sigma = dict(zip((*NAMES, "vmic"), (70.0, 0.1, 0.09, 1.5, 0.15), strict=True))
    found = contradictions(parse(**given), value, sigma)
    assert len(found) == (told is not None)
    assert told is None or told in found[0]
