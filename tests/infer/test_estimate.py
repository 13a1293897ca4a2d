"""Estimates depend on the spectrum: on no first guess, no level and no smooth response."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harpsstar.infer.estimate import Estimator, expected_ivar
from harpsstar.mock.simulate import Priors, stars_at
from harpsstar.model.emulator import Emulator
from harpsstar.nn import zoo
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.recipes import Recipe
from harpsstar.train.run import simulator_for

R = 115000.0
SNR = 100.0
#: Within the grid, sharp-lined to rotating: teff, logg, m_h, vsini.
STARS = torch.tensor([
    [5772.0, 4.44, 0.0, 4.0], [4700.0, 4.5, 0.2, 3.0], [4800.0, 2.6, -0.4, 5.0],
    [6400.0, 4.1, -0.2, 12.0], [5200.0, 3.6, -1.2, 4.0],
])  # fmt: skip


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="module")
def estimator(emulator):
    return Estimator(zoo.load(), emulator, canonical_wavelengths())


@pytest.fixture(scope="module")
def exposure(emulator):
    simulator = simulator_for(Recipe("test", priors=Priors(masked_share=0.0)), emulator, 11)
    stars = stars_at(STARS, simulator.priors, simulator.generator)
    return simulator.expose(simulator.spectra(stars), torch.full((len(STARS),), SNR))


@pytest.fixture(scope="module")
def estimate(estimator, exposure):
    return estimator(exposure.flux, exposure.ivar, STARS, R)


def sigma(estimate):
    return estimate.covariance.diagonal(dim1=1, dim2=2).sqrt()


def moved(estimator, flux, ivar, estimate, start=STARS):
    """Change of the labels in sigmas."""
    return (estimator(flux, ivar, start, R).labels - estimate.labels) / sigma(estimate)


@pytest.mark.parametrize("guess", [
    [300.0, 0.4, 0.25, 3.0], [-300.0, -0.4, -0.25, -3.0], [250.0, -0.5, 0.3, 6.0],
    [-250.0, 0.4, -0.5, 2.0],
])
def test_the_first_guess_does_not_matter(estimator, exposure, estimate, guess):
    start = STARS + torch.tensor(guess)
    change = moved(estimator, exposure.flux, exposure.ivar, estimate, start)
    assert change.abs().max() < 0.1


@pytest.mark.parametrize("scale", [1e-6, 3.0, 1e6])
def test_the_level_does_not_matter(estimator, exposure, estimate, scale):
    change = moved(estimator, exposure.flux * scale, exposure.ivar / scale**2, estimate)
    assert change.abs().max() < 0.02


@pytest.mark.parametrize("coefficients", [(0.5,), (0.0, -0.8), (0.3, -0.4, 0.2, -0.1)])
def test_a_smooth_response_does_not_matter(estimator, exposure, estimate, coefficients):
    x = torch.linspace(-1, 1, exposure.flux.shape[-1])
    response = torch.exp(sum(c * x ** (k + 1) for k, c in enumerate(coefficients)))
    change = moved(estimator, exposure.flux * response, exposure.ivar / response**2, estimate)
    assert change.abs().max() < 0.05


def test_orders_may_have_different_levels(estimator, exposure, estimate):
    level = torch.linspace(0.3, 2.0, exposure.flux.shape[1])[:, None]
    change = moved(estimator, exposure.flux * level, exposure.ivar / level**2, estimate)
    assert change.abs().max() < 0.05


@pytest.mark.parametrize("junk", [0.0, 50.0, -1e4])
def test_the_value_of_a_masked_pixel_never_matters(estimator, exposure, junk):
    dead = torch.rand(exposure.flux.shape, generator=torch.Generator().manual_seed(2)) < 0.05
    ivar = exposure.ivar.masked_fill(dead, 0.0)
    one = estimator(exposure.flux, ivar, STARS, R)
    other = estimator(exposure.flux.masked_fill(dead, junk), ivar, STARS, R)
    torch.testing.assert_close(other.labels, one.labels, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(other.covariance, one.covariance, rtol=1e-3, atol=1e-6)


def test_a_star_alone_is_the_star_in_a_batch(estimator, exposure, estimate):
    for rows in (slice(2, 3), slice(0, 2), slice(1, 4)):
        some = estimator(exposure.flux[rows], exposure.ivar[rows], STARS[rows], R)
        assert torch.equal(some.labels, estimate.labels[rows])
        torch.testing.assert_close(some.covariance, estimate.covariance[rows], rtol=1e-5, atol=0)


def test_errors_are_claimed_and_met(estimate):
    """Twenty numbers: none is off by more than 4 sigma, and not all by less than a third."""
    pull = (estimate.labels - STARS) / sigma(estimate)
    assert pull.abs().max() < 4
    assert pull.square().mean().sqrt() > 1 / 3
    assert torch.linalg.eigvalsh(estimate.covariance.double()).min() > 0


def test_twice_the_noise_doubles_the_error(emulator):
    """From SNR 50 to 200 errors fall fourfold; up to the misfit that a noise draw may feign.

    Without the calibration, which depends on the noise.
    """
    network = zoo.load().network
    estimator = Estimator.uncalibrated(network, emulator, canonical_wavelengths())
    simulator = simulator_for(Recipe("test", priors=Priors(masked_share=0.0)), emulator, 5)
    stars = stars_at(STARS, simulator.priors, simulator.generator)
    spectra = simulator.spectra(stars)
    low, high = (
        sigma(estimator(*_arrays(simulator.expose(spectra, torch.full((5,), snr))), STARS, R))
        for snr in (50.0, 200.0)
    )
    ratio = low / high
    assert abs(ratio.median() - 4.0) < 0.1
    assert ratio.min() > 3.8
    assert ratio.max() < 5.0


def _arrays(exposure):
    return exposure.flux, exposure.ivar


def test_a_model_that_fits_has_a_chi2_of_one_and_no_misfit(estimate):
    assert (estimate.chi2_red - 1).abs().max() < 0.05
    assert estimate.misfit.max() < 0.5 / SNR


def test_a_spectrum_from_elsewhere_has_a_misfit(estimator, exposure):
    shuffled = exposure.flux.flip(-1)
    assert (estimator(shuffled, exposure.ivar, STARS, R).misfit > 0.015).all()


def counted(model, snr, seed):
    """Flux and the inverse variance that an observer reads off the counts of each pixel."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(model.numpy() * snr**2)
    flux, variance = counts / snr**2, np.maximum(counts, 1) / snr**4
    return torch.from_numpy(flux).float(), torch.from_numpy(1 / variance).float()


@pytest.mark.parametrize("snr", [10, 20, 100])
def test_weights_from_a_model_have_no_bias_where_those_from_counts_have(snr):
    ramp = torch.linspace(0.1, 1.0, 4096).repeat(1, 8, 1)
    flux, ivar = counted(ramp, snr, snr)
    weight = expected_ivar(ivar, ramp)

    def bias(w):
        return float((w * (flux - ramp)).sum() / w.sum().sqrt())

    assert abs(bias(weight)) < 4.0
    assert bias(ivar) < -20.0 / snr * 4


def test_weights_from_a_model_are_those_without_noise():
    ramp = torch.linspace(0.1, 1.0, 4096).repeat(1, 8, 1)
    _, ivar = counted(ramp, 30, 1)
    ratio = expected_ivar(ivar, ramp) * ramp / 30**2
    assert torch.allclose(ratio, torch.ones(()), atol=0.1)


def test_a_pixel_without_information_gets_none_from_a_model():
    model = torch.ones(1, 8, 4096)
    ivar = torch.full_like(model, 400.0)
    ivar[:, 3, 100:900] = 0.0
    weight = expected_ivar(ivar, model)
    assert torch.equal(weight > 0, ivar > 0)
    assert torch.allclose(weight[ivar > 0], torch.tensor(400.0), rtol=1e-4)
