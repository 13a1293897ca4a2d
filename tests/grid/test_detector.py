"""The one mock detector: what it counts has the noise that it claims, for files and training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harpsstar import read
from harpsstar.evaluate import posterior
from harpsstar.mock import expose, observe, write
from harpsstar.mock.detector import TRAINING_READ_NOISE, Detector, gaussian
from harpsstar.mock.simulate import Priors
from harpsstar.spectra.frame import ROWS

N = 400_000
DETECTOR = Detector(96.0)


def _numpy(expected):
    return DETECTOR.count(np.full(N, expected), np.random.default_rng(1))


def _torch(expected):
    generator = torch.Generator().manual_seed(1)
    return DETECTOR.count_many(torch.full((N,), expected, dtype=torch.float64), generator).numpy()


@pytest.mark.parametrize("counted", [_numpy, _torch])
@pytest.mark.parametrize("expected", [0.0, 30.0, 9000.0])
def test_counts_have_the_mean_and_the_variance_that_are_claimed(counted, expected):
    counts = counted(expected)
    variance = DETECTOR.variance(expected)
    assert counts.mean() == pytest.approx(expected, abs=5 * np.sqrt(variance / N))
    assert counts.var() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("kind", [float, np.asarray, torch.as_tensor])
@pytest.mark.parametrize("snr", [2.0, 20.0, 500.0])
def test_electrons_have_the_ratio_that_was_asked_for(kind, snr):
    electrons = DETECTOR.electrons(kind(snr))
    assert float(electrons / DETECTOR.variance(electrons) ** 0.5) == pytest.approx(snr, rel=1e-6)


def test_a_count_below_zero_suggests_no_photons():
    found = DETECTOR.suggested_variance(torch.tensor([-50.0, 0.0, 4.0]))
    assert found.tolist() == [96.0, 96.0, 100.0]


def test_noise_is_drawn_in_the_type_of_the_signal():
    for kind in (torch.float32, torch.float64):
        flux = torch.ones(3, dtype=kind)
        assert gaussian(flux, flux, torch.Generator().manual_seed(0)).dtype == kind


@pytest.mark.parametrize("snr", [12.0, 150.0])
def test_a_reader_finds_the_variance_that_a_mock_file_was_made_with(tmp_path, snr):
    """At a ratio of 12 a third of it is read noise."""
    made = expose(np.ones_like, snr=snr, seed=4)
    spectrum = read(write(observe(np.ones_like, snr=snr, seed=4), tmp_path / "mock_e2ds_A.fits"))
    # relative: the reader has divided by blaze and width of the pixels
    found = (spectrum.uncertainty.array / spectrum.flux.value) ** 2
    true = made.variance / made.electrons**2
    middle = np.s_[list(ROWS), 1500:2500]
    assert np.median(found[middle] / true[middle]) == pytest.approx(1.0, abs=0.01)


def test_training_and_judging_have_one_read_noise():
    """The packaged networks' calibration holds for this value."""
    assert Priors().read_noise == TRAINING_READ_NOISE == 7.0
    assert posterior._DETECTOR.read_noise == TRAINING_READ_NOISE
