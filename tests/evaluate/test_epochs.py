"""Claims that are right have the coverage and the scatter that they should; wrong ones do not."""

from __future__ import annotations

import numpy as np
import pytest

from harpsstar.errors import ConfigError
from harpsstar.evaluate.epochs import _Star, _statistics, epoch_quality

FREEDOM = 28


def stars(n, size, seed=0):
    """Stars whose errors and scatter are `size` times what they claim."""
    rng = np.random.default_rng(seed)
    return [
        _Star(size * rng.normal(size=4), np.ones(4), size**2 * rng.chisquare(FREEDOM), FREEDOM)
        for _ in range(n)
    ]


@pytest.mark.parametrize(("size", "right"), [(1.0, True), (1.3, False), (0.8, False)])
def test_wrong_claims_are_found(size, right):
    found = _statistics(stars(200, size))
    assert (abs(found["coverage_1"] - 0.683) < 0.04) is right
    assert (found["p_value"] > 0.01) is right
    assert found["chi2_red"] == pytest.approx(size**2, rel=0.06)


def test_settings_without_sense_are_refused():
    for wrong in ({"n": 1}, {"epochs": 1}, {"snr": (0.0, 50.0)}, {"snr": (90.0, 50.0)}):
        with pytest.raises(ConfigError, match="at least 2 stars"):
            epoch_quality(**wrong)


def test_a_star_is_a_function_of_the_seed():
    settings = {"n": 2, "epochs": 2, "teff_range": (5000.0, 6000.0)}
    one, same = epoch_quality(**settings), epoch_quality(**settings)
    assert one == same
    assert one.pulls != epoch_quality(**settings, seed=1).pulls
