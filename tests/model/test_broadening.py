"""The closed forms against the integrals that define them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from harpsstar.model import broadening
from harpsstar.model.broadening import C_KMS

K = torch.linspace(0.0, 3.0, 40, dtype=torch.float64)


def speed(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("epsilon", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("vsini", [0.3, 2.0, 30.0])
def test_rotation_is_the_transform_of_grays_profile(vsini, epsilon):
    def profile(x):  # eq. 18.14, with x the velocity over vsini
        disk = 2 * (1 - epsilon) * math.sqrt(1 - x * x)
        return (disk + 0.5 * math.pi * epsilon * (1 - x * x)) / (math.pi * (1 - epsilon / 3))

    def transform(k):  # x = sin t: smooth where the profile ends
        def integrand(t):
            return profile(math.sin(t)) * math.cos(k * vsini * math.sin(t)) * math.cos(t)

        return quad(integrand, -math.pi / 2, math.pi / 2, limit=400, epsabs=1e-11)[0]

    expected = [transform(k) for k in K.tolist()]
    found = broadening.rotation(K, speed(vsini), epsilon)
    # torch's Bessel functions are no better than this.
    np.testing.assert_allclose(found, expected, atol=3e-7)


@pytest.mark.parametrize("vmac", [0.5, 4.0, 10.0])
def test_macroturbulence_is_the_disc_mean_of_radial_and_tangential_flows(vmac):
    def disc_mean(k):
        def flow(mu):  # Gaussians of width vmac times the projection, weighted by projected area
            radial = math.exp(-((k * vmac * mu) ** 2) / 4)
            tangential = math.exp(-((k * vmac) ** 2) * (1 - mu * mu) / 4)
            return mu * (radial + tangential)

        return quad(flow, 0, 1)[0]

    expected = [disc_mean(k) for k in K.tolist()]
    np.testing.assert_allclose(broadening.macroturbulence(K, speed(vmac)), expected, atol=1e-8)


def test_line_spread_has_the_width_of_the_resolving_power():
    step, n = 0.05, 4096
    k = 2 * math.pi * torch.arange(n // 2 + 1, dtype=torch.float64) / (n * step)
    profile = torch.fft.irfft(broadening.line_spread(k, 50000.0)).numpy()
    wide = np.flatnonzero(profile[: n // 2] >= profile[0] / 2)[-1] * step
    assert 2 * wide == pytest.approx(C_KMS / 50000.0, abs=2 * step)
    assert (broadening.line_spread(k, math.inf) == 1).all()


@pytest.mark.parametrize("transform", [broadening.rotation, broadening.macroturbulence])
def test_without_velocity_nothing_happens_and_derivatives_are_finite(transform):
    velocity = speed(0.0).requires_grad_()
    value = transform(K, velocity)
    assert (value - 1).abs().max() < 1e-15
    (slope,) = torch.autograd.grad(value.sum(), velocity)
    assert slope == 0


@pytest.mark.parametrize("transform", [broadening.rotation, broadening.macroturbulence])
def test_derivatives(transform):
    # Logarithmic, to cross every switch between a series and the closed form.
    velocity = torch.logspace(-4, 2, 60, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: transform(speed(1.0), v), velocity, check_forward_ad=True, atol=1e-7
    )


@pytest.mark.parametrize("transform", [broadening.rotation, broadening.macroturbulence])
def test_series_and_closed_form_meet(transform):
    k = torch.logspace(-5, 1, 20001, dtype=torch.float64)
    value = transform(k, speed(1.0))
    step = k[1:] - k[:-1]
    assert ((value[1:] - value[:-1]).abs() <= step + 1e-13).all()


def test_only_the_size_of_a_velocity_matters():
    for transform in (broadening.rotation, broadening.macroturbulence):
        assert torch.equal(transform(K, speed(7.0)), transform(K, speed(-7.0)))


@pytest.mark.parametrize("n_bins", [1025, 2048, 19713])
@pytest.mark.parametrize(("vsini", "vmac"), [(0.0, 0.0), (30.0, 10.0), (0.0, 10.0)])
def test_kernel_is_the_product_of_its_parts_in_every_bin(n_bins, vsini, vmac):
    dk = math.pi / ((n_bins - 1) * 0.6)
    k = torch.arange(n_bins, dtype=torch.float64) * dk
    expected = broadening.rotation(k, speed(vsini)) * broadening.macroturbulence(k, speed(vmac))
    expected = expected * broadening.line_spread(k, 115000.0)
    found = broadening.kernel(n_bins, dk, speed(vsini)[None], speed(vmac)[None], 115000.0)
    assert found.shape == (1, n_bins)
    assert (found - expected).abs().max() < 2e-6


def test_one_resolving_power_per_spectrum():
    n_bins, dk = 2049, 0.001
    v = torch.tensor([3.0, 8.0], dtype=torch.float64)
    powers = torch.tensor([50000.0, 115000.0])
    both = broadening.kernel(n_bins, dk, v, v, powers)
    for row, power in enumerate(powers.tolist()):
        alone = broadening.kernel(n_bins, dk, v[row : row + 1], v[row : row + 1], power)
        torch.testing.assert_close(both[row], alone[0])


@pytest.mark.parametrize("pixels", [0, 1, -7, 300])
def test_phase_moves_a_spectrum_by_whole_pixels(pixels):
    n = 1024
    flux = torch.rand(1, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turns = torch.tensor([pixels / n], dtype=torch.float64)
    shifted = torch.fft.irfft(torch.fft.rfft(flux) * broadening.phase(n // 2 + 1, turns), n=n)
    torch.testing.assert_close(shifted, flux.roll(pixels, dims=1), atol=1e-12, rtol=0)


def test_log_shift_is_the_doppler_formula():
    rv = torch.tensor([-300.0, 0.0, 300.0], dtype=torch.float64)
    torch.testing.assert_close(torch.exp(broadening.log_shift(rv)), 1 + rv / C_KMS)
