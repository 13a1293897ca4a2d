from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from harpsstar.spectra.continuum import fit_continuum, normalise, rough_continuum
from harpsstar.spectra.frame import Pixels, canonical_wavelengths

X = torch.linspace(-1.0, 1.0, 4096)


@pytest.fixture(scope="module")
def model(normalised: Callable[..., np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(normalised("G dwarf", canonical_wavelengths())).float()


@pytest.fixture(scope="module")
def wrong_model(normalised: Callable[..., np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(normalised("K dwarf", canonical_wavelengths())).float()


def noisy(model: torch.Tensor, snr: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(model.shape, generator=generator)
    return model + noise / snr, torch.full_like(model, snr**2)


def response(seed: int) -> torch.Tensor:
    """A different exp(polynomial of degree 4) for each order, falling to 0.4 or so."""
    generator = torch.Generator().manual_seed(seed)
    coefficients = 0.35 * torch.randn(8, 5, generator=generator)
    powers = torch.stack([X**k for k in range(5)])
    return torch.exp(coefficients @ powers)


@pytest.mark.parametrize("snr", [5.0, 50.0, 500.0])
def test_true_continuum_is_found(model: torch.Tensor, snr: float) -> None:
    flux, ivar = noisy(model, snr)
    truth = response(0)
    error = fit_continuum(flux * truth, ivar / truth**2, model) / truth - 1
    # Five terms from 4096 pixels: √(5/4096)/snr, and more where the order ends.
    assert error.square().mean().sqrt() < 2 * (5 / 4096) ** 0.5 / snr


@pytest.mark.parametrize("snr", [5.0, 100.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_any_smooth_response_divides_out(
    model: torch.Tensor, wrong_model: torch.Tensor, snr: float, seed: int
) -> None:
    flux, ivar = noisy(model, snr)
    p = response(seed)
    for assumed in (model, wrong_model):
        plain = normalise(flux, ivar, assumed)
        distorted = normalise(1000 * flux * p, ivar / (1000 * p) ** 2, assumed)
        assert torch.allclose(plain[0], distorted[0], rtol=1e-4, atol=1e-5)
        assert torch.allclose(plain[1], distorted[1], rtol=1e-4)


def test_values_without_weight_never_matter(model: torch.Tensor) -> None:
    flux, ivar = noisy(model, 30.0)
    ivar[torch.rand(ivar.shape, generator=torch.Generator().manual_seed(5)) < 0.1] = 0.0
    results = []
    for junk in (0.0, float("nan"), float("inf"), -1e30):
        results.append(normalise(torch.where(ivar > 0, flux, junk), ivar, model))
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert torch.equal(results[0][1], other[1])
    holes = model.clone()
    holes[ivar == 0] = float("nan")
    assert torch.equal(results[0][0], normalise(flux, ivar, holes)[0])


def test_order_without_weight_has_continuum_one(model: torch.Tensor) -> None:
    flux, ivar = noisy(model, 30.0)
    ivar[4] = 0.0
    assert torch.all(fit_continuum(flux, ivar, model)[4] == 1.0)
    normal, weight = normalise(flux, ivar, model)
    assert torch.all(normal[4] == 0)
    assert torch.all(weight[4] == 0)
    full = normalise(*noisy(model, 30.0), model)[0]
    assert torch.allclose(normal[3], full[3], rtol=1e-5)


def test_order_without_light_has_no_weight(model: torch.Tensor) -> None:
    flux, ivar = noisy(model, 30.0)
    flux[2] = -flux[2]
    normal, weight = normalise(flux, ivar, model)
    assert torch.all(weight[2] == 0)
    assert torch.all(normal[2] == 0)
    assert torch.all(weight[3] > 0)


def test_narrow_remainder_of_an_order_stays_finite(model: torch.Tensor) -> None:
    flux, ivar = noisy(model, 20.0)
    kept = int(0.3 * flux.shape[-1])
    ivar[:, kept:] = 0.0
    normal, weight = normalise(flux, ivar, model)
    assert torch.all(torch.isfinite(normal))
    assert torch.all(torch.isfinite(weight))
    assert normal[:, :kept].mean() == pytest.approx(float(model[:, :kept].mean()), rel=0.02)


def test_less_than_a_quarter_of_an_order_is_not_used(model: torch.Tensor) -> None:
    flux, ivar = noisy(model, 20.0)
    ivar[0, int(0.2 * flux.shape[-1]) :] = 0.0
    normal, weight = normalise(flux, ivar, model)
    assert torch.all(weight[0] == 0) and torch.all(normal[0] == 0)
    assert torch.all(weight[1] > 0)


def test_batch_is_its_members(model: torch.Tensor, wrong_model: torch.Tensor) -> None:
    models = torch.stack([model, wrong_model] * 5)
    flux, ivar = noisy(models, 40.0)
    flux = flux * torch.stack([response(i) for i in range(10)])
    together = fit_continuum(flux, ivar, models)
    assert together.shape == models.shape
    for i in range(10):
        alone = fit_continuum(flux[i], ivar[i], models[i])
        assert torch.allclose(together[i], alone, rtol=2e-5)


def test_order_length_need_not_be_a_power_of_two() -> None:
    model = 1 - 0.5 * torch.rand(3, 1003, generator=torch.Generator().manual_seed(0))
    truth = torch.exp(0.3 * torch.linspace(-1, 1, 1003))
    continuum = fit_continuum(model * truth, torch.ones_like(model), model)
    assert torch.allclose(continuum, truth.expand_as(continuum), rtol=1e-4)


def test_gradient_reaches_flux_and_model(model: torch.Tensor) -> None:
    flux, ivar = noisy(model, 40.0)
    assumed = model.clone().requires_grad_()
    flux.requires_grad_()
    normalise(flux, ivar, assumed)[0].square().sum().backward()
    assert torch.all(torch.isfinite(flux.grad))
    assert torch.all(torch.isfinite(assumed.grad))
    assert assumed.grad.abs().max() > 0


def test_inference_mode_does_not_spoil_later_training(model: torch.Tensor) -> None:
    flux, ivar = noisy(model[:, :1536], 40.0)
    with torch.inference_mode():
        fit_continuum(flux, ivar, model[:, :1536])
    assumed = model[:, :1536].clone().requires_grad_()
    fit_continuum(flux, ivar, assumed).sum().backward()
    assert torch.all(torch.isfinite(assumed.grad))


def test_rough_continuum_follows_the_envelope(observe: Callable[..., Pixels]) -> None:
    pixels = observe("metal-poor giant", 0.0, 400.0)
    x = np.linspace(-1, 1, 4096)
    ratio = rough_continuum(pixels) / (1 + 0.1 * x - 0.2 * x**2)
    assert np.abs(np.median(ratio) - 1) < 0.01
    assert np.percentile(np.abs(ratio - 1), 95) < 0.03


def test_rough_continuum_scales_with_the_flux_and_ignores_masked(
    observe: Callable[..., Pixels],
) -> None:
    pixels = observe("K dwarf", 0.0, 50.0)
    ivar = pixels.ivar.copy()
    ivar[:, ::7], ivar[5] = 0.0, 0.0
    reference = rough_continuum(Pixels(pixels.wave, pixels.flux, ivar))
    flux = np.where(ivar > 0, 8.0 * pixels.flux, np.nan)
    scaled = rough_continuum(Pixels(pixels.wave, flux, ivar / 64.0))
    used = np.arange(8) != 5
    assert np.allclose(scaled[used], 8.0 * reference[used], rtol=1e-12)
    assert np.all(scaled[5] == 1.0)


def test_a_wrong_model_of_a_quarter_of_an_order_does_not_drive_the_fit_away() -> None:
    """Little constrains the polynomial there: a step too far ended at no light and stayed."""
    generator = torch.Generator().manual_seed(1)
    n = 100
    centres, depths = 4096 * torch.rand(2, n, 30, 1, generator=generator)
    lines = depths / 4500 * torch.exp(-0.5 * ((2048 * (X + 1) - centres) / 25) ** 2)
    model = 1 - lines.sum(1).clamp_max(0.95)
    wrong = 1 + 0.1 * torch.randn(n, 512, generator=generator).repeat_interleave(8, 1)
    flux = model * wrong
    ivar = torch.zeros_like(model)
    for row, start in enumerate(torch.randint(3000, (n,), generator=generator).tolist()):
        ivar[row, start : start + 1060] = 1e4

    def misfit(continuum: torch.Tensor) -> torch.Tensor:
        return (ivar * (flux - model * continuum) ** 2).sum(1)

    level = (ivar * model * flux).sum(1) / (ivar * model**2).sum(1)
    assert (misfit(fit_continuum(flux, ivar, model)) < 1.02 * misfit(level[:, None])).all()
