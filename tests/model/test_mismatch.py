"""What the models of a star may be off by: as large and as correlated as what was learnt."""

from __future__ import annotations

import pytest
import torch

from harpsstar.model import mismatch
from harpsstar.model.mismatch import ModelError, draw_errors, load_mismatch
from harpsstar.spectra.noise import MAD_TO_SIGMA


def drawn(n, seed=1):
    return draw_errors(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("level", "correlation"), [(0.005, 6.0), (0.02, 2.0)])
def test_errors_have_the_size_and_correlation_that_were_learnt(monkeypatch, level, correlation):
    monkeypatch.setattr(mismatch, "load_model_error", lambda: ModelError(level, correlation, ""))
    scaled = (drawn(16) / load_mismatch() / level)[..., 50:-50]
    assert float(scaled.std()) == pytest.approx(MAD_TO_SIGMA, rel=0.01)
    scaled = scaled / scaled.std()
    n = scaled.shape[-1]
    lags = [float((scaled[..., k:] * scaled[..., : n - k]).mean()) for k in range(1, 25)]
    assert 1 + 2 * sum(lags) == pytest.approx(correlation, rel=0.1)


def test_errors_of_stars_are_independent_and_those_of_a_seed_the_same():
    one, other = drawn(2)
    assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.05
    assert torch.equal(drawn(2), drawn(2))
    assert not torch.equal(drawn(2), drawn(2, seed=2))


def test_without_a_learnt_error_there_is_none(monkeypatch):
    monkeypatch.setattr(mismatch, "load_model_error", lambda: None)
    assert not drawn(1).any()
