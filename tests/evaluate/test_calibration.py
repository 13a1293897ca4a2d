"""Calibration: right claims are found right, wrong ones wrong; factors are found again."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from harpsstar.evaluate.calibration import TEFF_BINS, Bin, Calibration, compare, draw, ence
from harpsstar.infer.calibrate import fit_factors
from harpsstar.infer.estimate import TEFF_NODES, hats
from harpsstar.labels import NAMES

SIGMA = np.array([40.0, 0.1, 0.05, 0.5])


def errors(scale=1.0, n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    sigma = SIGMA * rng.uniform(0.5, 2.0, (n, 1))
    return scale * sigma * rng.normal(size=(n, 4)), sigma


def test_right_claims_are_found_right():
    for name, label in compare(*errors()).items():
        assert label.coverage_1 == pytest.approx(0.683, abs=0.012)
        assert label.coverage_2 == pytest.approx(0.954, abs=0.006)
        assert label.ence < 0.03
        assert label.pit == pytest.approx([0.1] * 10, abs=0.01)
        size = SIGMA[NAMES.index(name)]
        assert 0.5 * size < label.sharpness < 2 * size


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_wrong_claims_are_found_wrong_by_as_much(scale):
    error, sigma = errors(scale)
    found = compare(error, sigma)["teff"]
    assert (found.coverage_1 < 0.683) == (scale > 1)
    assert found.ence == pytest.approx(abs(1 - scale), rel=0.05)
    # Errors that are too small make the middle bars high, too large ones the outer.
    assert (found.pit[0] > found.pit[5]) == (scale > 1)


def test_ence_sees_what_coverage_does_not():
    """Large claims too large and small ones too small, right on average."""
    _, sigma = errors()
    rng = np.random.default_rng(1)
    flat = np.sqrt(np.mean(sigma[:, 0] ** 2)) * rng.normal(size=len(sigma))
    assert ence(flat, sigma[:, 0]) > 0.15


@pytest.mark.parametrize("scale", [1.0, 1.2])
def test_chance_is_told_from_claims_that_are_wrong(scale):
    n = 2000
    bins = tuple(Bin(20.0, TEFF_BINS[0], n, compare(*errors(scale, n, seed))) for seed in range(12))
    for sigmas in (1, 2):
        found = Calibration("abc", "def", n, 0, bins).spread(sigmas)
        assert (found.rms > 1.5 * found.counting) == (scale > 1)
        assert found.rms <= found.worst


def test_picture_and_json(tmp_path):
    labels = compare(*errors(n=500))
    bins = tuple(Bin(snr, limits, 500, labels) for snr in (20.0, 100.0) for limits in TEFF_BINS)
    result = Calibration("abc", "def", 500, 0, bins)
    draw(result, tmp_path / "calibration.png")
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
    json.dumps(dataclasses.asdict(result))


def test_factors_are_found_again():
    generator = torch.Generator().manual_seed(0)
    nodes = torch.tensor([10.0, 30.0, 100.0, 300.0]).log()
    log_snr = nodes.repeat_interleave(2000)
    teff = 3500 + 6250 * torch.rand(len(log_snr), generator=generator)
    true = 1 + 0.2 * ((teff - 6000) / 3000)[:, None] * torch.tensor([1.0, 0.0, -0.5, 0.2])
    pull = (true * torch.randn(len(teff), 4, generator=generator)).abs()
    table = fit_factors(nodes, log_snr, teff, pull)
    assert table.shape == (4, len(TEFF_NODES), 4)
    weights = hats(nodes, log_snr), hats(torch.tensor(TEFF_NODES), teff)
    found = torch.einsum("bs,bt,stl->bl", *weights, table)
    assert (pull < found).double().mean(0).numpy() == pytest.approx(0.6827, abs=0.005)
    assert ((found / true) - 1).square().mean(0).sqrt().max() < 0.06
