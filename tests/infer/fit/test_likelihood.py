"""The likelihood against its definition, and its derivatives against differences."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from harpsstar.infer.fit.data import Data, continuum_prior
from harpsstar.infer.fit.likelihood import Likelihood, Posterior
from harpsstar.infer.fit.options import Gaussian, Options
from harpsstar.infer.fit.space import Space
from harpsstar.spectra.continuum import legendre


def small(n=80):
    """Two rows of few pixels."""
    generator = torch.Generator().manual_seed(0)
    wave = np.stack([np.linspace(5100.0, 5101.0, n), np.linspace(5200.0, 5201.0, n)])
    flux = 1 + 0.1 * torch.randn(2, n, generator=generator)
    ivar = torch.full((2, n), 100.0)
    ivar[0, 3] = 0.0
    one = torch.ones(2, n)
    return Data(wave, flux, ivar, 0 * one, one, 0.0, torch.ones(2, dtype=torch.float64), 1e5)


def dense(data, spectrum):
    """Logarithm of the density of the flux, by its full covariance matrix."""
    centre, precision = (x.numpy() for x in continuum_prior(data.degree))
    total = 0.0
    for row, f in enumerate(spectrum.double().numpy()):
        used = data.used[row].numpy()
        design = (f * legendre(len(f), data.degree).numpy()).T[used]
        noise = np.diag(1 / data.ivar[row].double().numpy()[used])
        covariance = noise + design @ np.diag(1 / precision) @ design.T
        flux = data.flux[row].double().numpy()[used]
        total += multivariate_normal(design @ centre, covariance).logpdf(flux)
    return total


def test_continuum_is_integrated_out_exactly(fitter):
    data = small()
    likelihood = Likelihood(fitter.emulator, data)
    generator = torch.Generator().manual_seed(1)
    spectra = 0.2 + 0.8 * torch.rand(3, 2, 80, generator=generator)
    found = likelihood(spectra)
    expected = np.array([dense(data, spectrum) for spectrum in spectra])
    np.testing.assert_allclose((found - found[0]).numpy(), expected - expected[0], atol=2e-3)


def test_a_masked_pixel_never_matters(fitter):
    data = small()
    flux = data.flux.clone()
    flux[0, 3] = 1e6
    spectra = torch.rand(2, 2, 80)
    one = Likelihood(fitter.emulator, data)(spectra)
    other = Likelihood(fitter.emulator, dataclasses.replace(data, flux=flux))(spectra)
    torch.testing.assert_close(one, other)


def test_gradient_is_that_of_the_density(result):
    posterior = result.solution.posterior
    space = posterior.space
    at = result.solution.optimum.square.clone()
    steps = {"teff": 2.0, "vsini": 0.1, "vmac": 0.1, "alpha": 0.03}
    for i, name in enumerate(space.names):
        # Away from the top, where the gradient is zero.
        at[i] += 3 * steps.get(name, 0.005)
    likelihood, prior = posterior.expand(at)
    gradient = (likelihood + prior).gradient
    for i, name in enumerate(space.names):
        step = torch.zeros_like(at)
        step[i] = steps.get(name, 0.005)
        ends = posterior.log_prob(space.natural(torch.stack([at - step, at + step])))
        slope = float(ends[1] - ends[0]) / (2 * float(step[i]))
        scale = float((likelihood + prior).information[i, i]) ** 0.5
        # Sums in single precision are good to 0.01.
        allowed = 0.02 * abs(slope) + 0.02 * scale + 0.01 / float(step[i])
        assert abs(slope - float(gradient[i])) < allowed, name


def test_a_chunk_does_not_depend_on_its_neighbours(result):
    posterior = result.solution.posterior
    points = result.solution.laplace.natural[:20]
    together = posterior.log_prob(points)
    alone = torch.cat([posterior.log_prob(point[None]) for point in points])
    torch.testing.assert_close(together, alone, atol=0.02, rtol=0)


def test_outside_the_grid_nothing_is_possible(result):
    posterior = result.solution.posterior
    point = result.solution.best.clone()
    point[0] = 3000.0
    assert torch.isneginf(posterior.log_prob(point[None])).all()


def test_no_star_below_the_staircase(fitter):
    space = Space(Options(), fitter.emulator, [0.0])
    point = space.start({"teff": 9000.0, "logg": 0.5, "m_h": 0.0, "vsini": 5.0})
    lowest = float(fitter.emulator.grid.lowest_logg(torch.tensor([9000.0]))[0])
    assert float(point[space.names.index("logg")]) == pytest.approx(lowest)
    point[space.names.index("logg")] = lowest - 0.1
    assert not space.allowed(point[None]).any()


@pytest.mark.parametrize("m_h", [-1.0, 0.0, 0.4])
def test_prior_about_a_relation_is_normalised(fitter, m_h):
    space = Space(Options(tied=frozenset({"vmac", "alpha"})), fitter.emulator, [0.0])
    point = space.start({"teff": 5772.0, "logg": 4.44, "m_h": m_h, "vsini": 3.0})
    column = space.names.index("vmic")
    values = torch.linspace(float(space.low[column]), float(space.high[column]), 4001).double()
    points = point.repeat(len(values), 1)
    points[:, column] = values
    density = space.log_prior(points).exp()
    width = space._gaussian("vmic", space.columns(point[None]))[1]
    # The density of a normal distribution lacks its constant factor here.
    assert float(torch.trapezoid(density, values)) == pytest.approx(
        width * (2 * np.pi) ** 0.5, rel=1e-3
    )


def test_draws_of_the_prior_lie_inside_it(fitter):
    options = Options(priors={"teff": Gaussian(5772.0, 30.0)})
    space = Space(options, fitter.emulator, [0.0])
    draws = space.draw(400, torch.Generator().manual_seed(0))
    assert len(draws) == 400 and space.allowed(draws).all()
    teff = draws[:, space.names.index("teff")]
    assert abs(float(teff.mean()) - 5772.0) < 6.0 and 26.0 < float(teff.std()) < 34.0


def test_tied_parameters_follow_their_relation(fitter):
    space = Space(Options(tied=frozenset({"vmic"})), fitter.emulator, [0.0])
    assert "vmic" not in space.names
    cool = space.start({"teff": 5000.0, "logg": 4.5, "m_h": 0.0, "vsini": 3.0})
    hot = space.start({"teff": 6400.0, "logg": 4.5, "m_h": 0.0, "vsini": 3.0})
    vmic = space.columns(torch.stack([cool, hot]))["vmic"]
    assert float(vmic[1]) > float(vmic[0])


def test_several_spectra_add_up(fitter, start):
    data = small()
    space = Space(Options(), fitter.emulator, [0.0, 0.0])
    part = Likelihood(fitter.emulator, data)
    posterior = Posterior(space, [part, part])
    point = space.start({"teff": 5772.0, "logg": 4.44, "m_h": 0.0, "vsini": 3.0})[None]
    single = part(posterior.spectra(point)[0])
    both = posterior.log_prob(point) - space.log_prior(point)
    torch.testing.assert_close(both, 2 * single)
    assert space.names[-2:] == ("rv_1", "rv_2")
