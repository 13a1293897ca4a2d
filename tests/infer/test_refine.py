"""Least squares on the emulator: it finds the truth, its errors scale, and patterns act."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from harpsstar.infer import parameters as space
from harpsstar.infer.posterior import posterior_inside
from harpsstar.infer.refine import Refined, goodness, refine
from harpsstar.infer.slopes import slopes_at, spectra_at
from harpsstar.model.emulator import Emulator
from harpsstar.model.mismatch import learn_mismatch
from harpsstar.model.relations import vmac_relation, vmic_relation
from harpsstar.spectra.frame import Canonical, canonical_wavelengths

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
    away = found.peak - space.to_working(torch.cat([STARS, space.expected(STARS)], dim=1))
    assert (away[:, :4].abs() < 4.5 * sigma).all()


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


def gaussian(labels, sigma):
    """What least squares would return: a peak and errors of the labels, uncorrelated."""
    labels = torch.tensor([labels])
    parameters = torch.cat([labels, space.expected(labels)], dim=1)
    peak = space.to_working(parameters)
    errors = torch.cat([torch.tensor(sigma), 0.05 * torch.ones(space.N_PARAMETERS - 4)])
    covariance = torch.diag(errors.double().square())[None]
    empty = torch.zeros(1, 8, 4)
    return Refined(
        parameters, peak, covariance, empty, empty, empty, covariance, covariance
    )  # fmt: skip


def test_posterior_stays_inside_the_grid(emulator):
    best = gaussian([9700.0, 4.9, 0.45, 0.5], [200.0, 0.3, 0.2, 2.0])
    labels, narrower = posterior_inside(emulator, best)
    assert emulator.contains(*labels[:, :3].T, torch.ones(1)).all()
    assert (labels[0, :3] < best.parameters[0, :3]).all() and labels[0, 3] > 0.5
    wide = best.covariance[:, :3, :3].diagonal(dim1=-2, dim2=-1)
    assert (narrower.diagonal(dim1=-2, dim2=-1)[:, :3] < wide).all()


def test_posterior_far_from_the_limits_is_the_gaussian(emulator):
    best = gaussian([5800.0, 4.0, -0.5, 10.0], [20.0, 0.03, 0.02, 0.3])
    labels, covariance = posterior_inside(emulator, best)
    sigma = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((labels - best.parameters[:, :4]) / sigma).abs().max() < 0.05
    wanted = best.covariance[:, :3, :3].diagonal(dim1=-2, dim2=-1).sqrt().float()
    torch.testing.assert_close(sigma[:, :3], wanted, rtol=0.03, atol=0)
    stretched = 0.3 * space.stretch(torch.tensor(10.0))
    assert float(sigma[0, 3]) == pytest.approx(float(stretched), rel=0.03)


def test_a_rotation_that_cannot_be_seen_is_bounded_and_not_measured(emulator):
    """The median of what remains possible lies well above zero, and its error reaches zero."""
    labels, covariance = posterior_inside(
        emulator, gaussian([5800.0, 4.0, -0.5, 0.0], [20.0, 0.03, 0.02, 0.3])
    )
    assert 0.3 < float(labels[0, 3]) < 2.0
    assert float(covariance[0, 3, 3].sqrt()) > 0.3 * float(labels[0, 3])


def test_a_star_outside_gets_the_nearest_point(emulator):
    best = gaussian([3000.0, 5.5, -3.0, 5.0], [10.0, 0.01, 0.01, 0.1])
    nearest = torch.tensor([[3500.0, 5.0, -2.5, 5.0]])
    best = dataclasses.replace(best, parameters=torch.cat([nearest, best.parameters[:, 4:]], 1))
    labels, covariance = posterior_inside(emulator, best)
    torch.testing.assert_close(labels, nearest)
    sigma = covariance[0].diagonal().sqrt()
    torch.testing.assert_close(sigma[:3], torch.tensor([10.0, 0.01, 0.01]), rtol=0.05, atol=0)


def test_no_rotation_is_known_to_some_error(emulator):
    """A coordinate far below zero, as wrong lines give it, is no rotation without an error."""
    best = gaussian([5800.0, 4.0, -0.5, 0.0], [20.0, 0.03, 0.02, 0.05])
    vsini = space.PARAMETER_NAMES.index("vsini")
    peak = best.peak.clone()
    peak[0, vsini] = -1.0
    labels, covariance = posterior_inside(emulator, dataclasses.replace(best, peak=peak))
    assert float(labels[0, 3]) == 0.0
    # 68 % of a rotation whose coordinate scatters by 0.05
    assert float(covariance[0, 3, 3].sqrt()) == pytest.approx((0.05 * 6.05) ** 0.5, rel=0.05)


def test_a_star_that_hardly_rotates_has_its_own_turbulence(emulator, sampler):
    """Stopped at no rotation, least squares must not keep the turbulence of a negative one."""
    truth = torch.tensor([[5000.0, 4.68, -0.3, 0.27, 0.69, 1.44, 0.12, 0.0]])
    flux, ivar = noisy(spectra_at(emulator, sampler, truth, RESOLUTION), 150.0)
    start = torch.tensor([[5090.0, 4.72, -0.25, 0.25]])
    best = refine(emulator, sampler, flux, ivar, start, RESOLUTION, torch.ones(8, 4096))
    assert float(goodness(best.flux, best.model, best.ivar)[0]) == pytest.approx(1.0, abs=0.05)
    vmac = space.PARAMETER_NAMES.index("vmac")
    assert float(best.parameters[0, vmac]) == pytest.approx(1.44, abs=0.4)
    assert float(best.parameters[0, 3]) < 1.5


def test_working_coordinates_come_back():
    parameters = torch.cat([STARS, space.expected(STARS)], dim=1)
    parameters[0, 3] = 0.0
    torch.testing.assert_close(space.from_working(space.to_working(parameters)), parameters,
                               rtol=1e-5, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("j", range(space.N_PARAMETERS), ids=space.PARAMETER_NAMES)
def test_slopes_are_the_derivatives_of_the_spectra(emulator, sampler, j):
    parameters = torch.cat([STARS, space.expected(STARS)], dim=1)
    parameters[:, -1] = torch.tensor([0.0, -2.0, 3.0])
    flux, slopes = slopes_at(emulator, sampler, parameters, RESOLUTION)
    torch.testing.assert_close(
        flux, spectra_at(emulator, sampler, parameters, RESOLUTION), rtol=0, atol=2e-6
    )
    step = {"teff": 20.0, "logg": 0.03, "m_h": 0.02}.get(space.PARAMETER_NAMES[j], 0.05)
    ends = []
    for sign in (1, -1):
        moved = space.to_working(parameters)
        moved[:, j] += sign * step / 2
        moved = space.from_working(moved)
        ends.append(spectra_at(emulator, sampler, moved, RESOLUTION))
    numerical = (ends[0] - ends[1]) / step
    error = (numerical - slopes[:, :, j]).flatten(1).norm(dim=1)
    # a grid with one alpha has no derivative but rounding
    assert (error <= 0.05 * numerical.flatten(1).norm(dim=1) + 1e-4).all()


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
