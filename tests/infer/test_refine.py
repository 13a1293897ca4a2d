"""Least squares on the emulator: it finds the truth, its errors scale, and patterns act."""

from __future__ import annotations

import pytest
import torch

from harpsstar.infer.mismatch import learn_mismatch
from harpsstar.infer.refine import Refined, goodness, posterior_inside, refine
from harpsstar.spectra.frame import Canonical, canonical_wavelengths
from harpsstar.synth.emulator import Emulator
from harpsstar.synth.relations import vmac_relation, vmic_relation

RESOLUTION = 115000.0
STARS = torch.tensor(
    [[5772.0, 4.44, 0.0, 3.0], [4800.0, 2.6, -0.5, 5.0], [6400.0, 4.1, -1.2, 12.0]]
)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator.load()


@pytest.fixture(scope="module")
def sampler(emulator):
    return emulator.sampler(canonical_wavelengths())


@pytest.fixture(scope="module")
def spectra(emulator, sampler):
    vmic = vmic_relation(*STARS[:, :3].T)
    vmac = vmac_relation(STARS[:, 0], STARS[:, 1])
    with torch.no_grad():
        return sampler(emulator(STARS, vmic=vmic, vmac=vmac, resolution=RESOLUTION))


def noisy(spectra, snr, seed=0):
    noise = torch.randn(spectra.shape, generator=torch.Generator().manual_seed(seed))
    return spectra + noise / snr, torch.full_like(spectra, snr**2)


def solve(emulator, sampler, flux, ivar, start, mismatch=None):
    ones = torch.ones(flux.shape[1:]) if mismatch is None else mismatch
    return refine(emulator, sampler, flux, ivar, start, RESOLUTION, ones)


def test_the_truth_is_found_from_a_wrong_start(emulator, sampler, spectra):
    flux, ivar = noisy(spectra, 200.0)
    start = STARS + torch.tensor([150.0, -0.3, 0.2, 1.5])
    found = solve(emulator, sampler, flux, ivar, start)
    sigma = found.covariance.diagonal(dim1=-2, dim2=-1).sqrt()[:, :4]
    assert ((found.parameters[:, :4] - STARS).abs() < 4.5 * sigma).all()


def test_twice_the_noise_doubles_the_errors(emulator, sampler, spectra):
    # the well-determined labels: vsini of a slow rotator is a matter of the prior on vmac
    sigma = []
    for snr in (300.0, 150.0):
        ivar = torch.full_like(spectra, snr**2)
        found = solve(emulator, sampler, spectra, ivar, STARS)
        sigma.append(found.covariance.diagonal(dim1=-2, dim2=-1).sqrt()[:, :2])
    # the priors of vmic and vmac do not scale with the noise
    torch.testing.assert_close(sigma[1], 2 * sigma[0], rtol=0.25, atol=0)


def test_unusable_pixels_do_not_matter(emulator, sampler, spectra):
    flux, ivar = noisy(spectra, 100.0)
    hidden = torch.rand(flux.shape, generator=torch.Generator().manual_seed(1)) < 0.05
    ivar = torch.where(hidden, 0.0, ivar)
    one = solve(emulator, sampler, flux, ivar, STARS)
    other = solve(emulator, sampler, torch.where(hidden, 50.0, flux), ivar, STARS)
    torch.testing.assert_close(one.parameters, other.parameters)


def test_a_pattern_silences_the_pixels_it_names(emulator, sampler, spectra):
    flux, ivar = noisy(spectra, 300.0)
    wrong = torch.zeros(flux.shape[1:], dtype=torch.bool)
    wrong[:, 500::40] = wrong[:, 501::40] = wrong[:, 502::40] = True
    spoilt = torch.where(wrong, flux - 0.15, flux)
    pattern = torch.where(wrong, 1e4, 1.0)
    plain = solve(emulator, sampler, spoilt, ivar, STARS)
    told = solve(emulator, sampler, spoilt, ivar, STARS, pattern)
    error = [(r.parameters[:, 0] - STARS[:, 0]).abs() for r in (plain, told)]
    assert (error[1] <= error[0]).sum() >= 2
    assert error[1].max() < 30.0


def test_posterior_stays_inside_the_grid(emulator):
    covariance = torch.diag(torch.tensor([200.0, 0.3, 0.2, 2.0, 0.1, 0.5, 0.1])).square()[None]
    centre = torch.tensor([[9700.0, 4.9, 0.45, 0.5, 1.5, 3.0, 0.0]])
    labels, narrower = posterior_inside(emulator, Refined(centre, centre, covariance))
    assert emulator.contains(*labels[:, :3].T, torch.ones(1)).all()
    assert (labels[0, :3] < centre[0, :3]).all() and labels[0, 3] > centre[0, 3]
    assert (narrower.diagonal(dim1=-2, dim2=-1) < covariance[:, :4, :4].diagonal(dim1=-2, dim2=-1)
            ).all()  # fmt: skip


def test_posterior_far_from_the_limits_is_the_gaussian(emulator):
    covariance = torch.diag(torch.tensor([20.0, 0.03, 0.02, 0.5, 0.1, 0.5, 0.1])).square()[None]
    centre = torch.tensor([[5800.0, 4.0, -0.5, 10.0, 1.5, 3.0, 0.0]])
    labels, same = posterior_inside(emulator, Refined(centre, centre, covariance))
    torch.testing.assert_close(labels, centre[:, :4])
    torch.testing.assert_close(same, covariance[:, :4, :4])


def test_a_star_outside_gets_the_nearest_point(emulator):
    covariance = torch.diag(torch.tensor([10.0, 0.01, 0.01, 0.1, 0.1, 0.5, 0.1])).square()[None]
    peak = torch.tensor([[3000.0, 5.5, -3.0, 5.0, 1.5, 3.0, 0.0]])
    nearest = torch.tensor([[3500.0, 5.0, -2.5, 5.0, 1.5, 3.0, 0.0]])
    labels, _ = posterior_inside(emulator, Refined(nearest, peak, covariance))
    torch.testing.assert_close(labels, nearest[:, :4])


def test_goodness_of_pure_noise(spectra):
    flux, ivar = noisy(spectra, 50.0)
    chi2_red, misfit = goodness(flux, spectra, ivar)
    assert ((chi2_red - 1).abs() < 0.05).all()
    assert (misfit < 0.004).all()


def test_goodness_sees_a_misfit_beyond_the_noise(spectra):
    flux, _ = noisy(spectra, 30.0)
    _, misfit = goodness(flux, spectra, torch.full_like(flux, 1e6))
    torch.testing.assert_close(misfit, torch.full_like(misfit, 1 / 30.0), rtol=0.05, atol=0)


def test_mismatch_lights_up_where_the_physics_is_wrong(emulator, sampler):
    with torch.no_grad():
        star = torch.tensor([[5772.0, 4.438, 0.0, 1.8]])
        model = sampler(emulator(star, vmic=1.0, vmac=3.2, resolution=RESOLUTION))[0]
    flux, ivar = noisy(model[None], 200.0)
    flux[0, 3, 2000:2010] -= 0.3
    canonical = Canonical(flux[0].numpy(), ivar[0].numpy(), 0.0)
    pattern = learn_mismatch(canonical, emulator, RESOLUTION)
    assert int(pattern[3].argmax()) in range(1995, 2015)
    assert pattern.max() > 10 * pattern.median()
    assert float(pattern.median()) == pytest.approx(1.0, abs=0.05)
