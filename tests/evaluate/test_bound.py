"""The bound: what more noise, unknown nuisances and lost pixels must do to it."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from harpsstar.errors import OutsideGridError
from harpsstar.evaluate.bound import (
    KNOWN,
    Nuisances,
    cramer_rao,
    information,
    mean_absolute_error,
    prior_precision,
)
from harpsstar.labels import LABELS
from harpsstar.model.emulator import Emulator

N_WAVE = 3000
WAVE = np.linspace([5102.0, 5114.0], [5115.0, 5128.0], 700, axis=1)
STARS = torch.tensor([[4600.0, 3.1, -0.3, 4.0], [5600.0, 3.7, 0.1, 9.0]], dtype=torch.float64)
VMIC, VMAC = 1.4, 3.0
SPANS = torch.tensor([label.high - label.low for label in LABELS], dtype=torch.float64)
FREE = Nuisances(vmic=0.3, vmac=1.0, rv=math.inf, continuum=2)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    """Twelve lines whose strengths answer differently to teff, logg, m_h and vmic."""
    axes = ([4000.0, 4500.0, 5000.0, 5500.0, 6000.0], [3.0, 3.5, 4.0], [-0.5, 0.0, 0.5], [1.0, 2.0])
    nodes = torch.tensor(list(itertools.product(*axes)))
    generator = torch.Generator().manual_seed(8)
    response = torch.randn(4, 12, generator=generator)
    scaled = (nodes - torch.tensor([5000.0, 3.5, 0.0, 1.5])) / torch.tensor([1000.0, 0.5, 0.5, 0.5])
    # Blended pairs: only an asymmetric feature can be confused with a shift.
    centres = 150.3 + 235.0 * torch.arange(12) - 228.0 * (torch.arange(12) % 2)
    lines = -torch.exp(-0.5 * ((torch.arange(N_WAVE) - centres[:, None]) / 3.0) ** 2)
    return Emulator(
        nodes,
        torch.ones(N_WAVE),
        lines,
        0.4 + 0.03 * scaled @ response + 0.02 * scaled[:, :1] ** 2,
        log_wave0=math.log(5101.0),
        log_step=2e-6,
    ).double()


def bound(emulator, ivar, *, free=KNOWN, wave=WAVE, labels=STARS, prior=True):
    fisher = information(emulator, wave, labels, ivar=ivar, vmic=VMIC, vmac=VMAC, free=free)
    return cramer_rao(fisher, prior=prior)


def errors(covariance):
    return covariance.diagonal(dim1=1, dim2=2).sqrt()


@pytest.mark.parametrize("free", [KNOWN, Nuisances(rv=math.inf, continuum=2)])
def test_twice_the_noise_doubles_the_error_bar(emulator, free):
    low = errors(bound(emulator, 50.0**2, free=free, prior=False))
    high = errors(bound(emulator, 100.0**2, free=free, prior=False))
    torch.testing.assert_close(low, 2 * high, rtol=1e-6, atol=0)


def test_jacobian_products_agree_with_finite_differences(emulator):
    sampler = emulator.sampler(WAVE)
    columns = []
    for j, step in enumerate((0.1, 1e-4, 1e-4, 1e-3)):
        change = torch.zeros(4, dtype=torch.float64)
        change[j] = step
        up, down = (
            emulator.at(sampler, STARS + sign * change, vmic=VMIC, vmac=VMAC) for sign in (1, -1)
        )
        columns.append((up - down).flatten(1) / (2 * step))
    jacobian = torch.stack(columns, dim=1)
    found = information(emulator, WAVE, STARS, ivar=9.0, vmic=VMIC, vmac=VMAC)
    torch.testing.assert_close(found, 9.0 * jacobian @ jacobian.mT, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("what", ["vmic", "vmac", "rv", "continuum"])
def test_not_knowing_a_nuisance_never_helps(emulator, what):
    known = bound(emulator, 100.0**2)
    free = bound(emulator, 100.0**2, free=Nuisances(**{what: getattr(FREE, what)}))
    everything = bound(emulator, 100.0**2, free=FREE)
    for worse, better in ((free, known), (everything, free)):
        # In the sense of matrices: no combination of labels gains.
        gain = torch.linalg.eigvalsh((worse - better) / SPANS / SPANS[:, None]).min()
        assert gain > -1e-12
    assert (errors(free) > errors(known) * (1 + 1e-9)).any()


def test_a_narrow_prior_is_knowledge_and_a_wide_one_ignorance(emulator):
    known, free = bound(emulator, 1e4), bound(emulator, 1e4, free=Nuisances(vmic=math.inf))
    narrow = bound(emulator, 1e4, free=Nuisances(vmic=1e-6))
    wide = bound(emulator, 1e4, free=Nuisances(vmic=1e3))
    torch.testing.assert_close(narrow, known, rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(wide, free, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("free", [KNOWN, FREE])
def test_masked_pixels_carry_nothing(emulator, free):
    ivar = torch.full(WAVE.shape, 1e4, dtype=torch.float64)
    ivar[1] = 0.0
    ivar[0, 500:] = 0.0
    masked = information(emulator, WAVE, STARS, ivar=ivar, vmic=VMIC, vmac=VMAC, free=free)
    if free.continuum is None:
        cut = information(emulator, WAVE[:1, :500], STARS, ivar=1e4, vmic=VMIC, vmac=VMAC)
        torch.testing.assert_close(masked, cut)
    every = information(emulator, WAVE, STARS, ivar=1e4, vmic=VMIC, vmac=VMAC, free=free)
    # The difference is information, too: no combination of labels gains from a mask.
    lost = (every - masked) * SPANS * SPANS[:, None]
    assert torch.linalg.eigvalsh(lost).min() > -1e-9 * lost.abs().max()
    ivar[:] = 0.0
    nothing = information(emulator, WAVE, STARS, ivar=ivar, vmic=VMIC, vmac=VMAC, free=free)
    assert (nothing == 0).all()


def test_a_pixel_outside_the_emulator_carries_nothing(emulator):
    outside = np.concatenate([WAVE, np.linspace(5000.0, 5010.0, 700)[None]])
    known = information(emulator, WAVE, STARS, ivar=1e4, vmic=VMIC)
    torch.testing.assert_close(
        information(emulator, outside, STARS, ivar=1e4, vmic=VMIC), known, rtol=1e-12, atol=0
    )


def test_orders_add_up(emulator):
    both = information(emulator, WAVE, STARS, ivar=1e4, vmic=VMIC)
    single = [information(emulator, row, STARS, ivar=1e4, vmic=VMIC) for row in WAVE]
    torch.testing.assert_close(both, single[0] + single[1])


def test_a_free_continuum_hides_what_looks_like_it(emulator):
    # A continuum that can do anything leaves nothing to measure.
    wave = WAVE[:, :40]
    rigid = information(emulator, wave, STARS, ivar=1.0, vmic=VMIC)
    limp = information(emulator, wave, STARS, ivar=1.0, vmic=VMIC, free=Nuisances(continuum=39))
    assert limp.diagonal(dim1=1, dim2=2).max() <= 1e-3 * rigid.diagonal(dim1=1, dim2=2).max()


def test_without_data_the_prior_remains():
    sigma = errors(cramer_rao(torch.zeros(1, 4, 4, dtype=torch.float64)))[0]
    torch.testing.assert_close(sigma, SPANS / math.sqrt(12))
    torch.testing.assert_close(prior_precision().diagonal(), 12 / SPANS**2)


def test_a_star_that_does_not_rotate_has_only_the_prior_of_vsini(emulator):
    still = STARS.clone()
    still[:, 3] = 0.0
    sigma = errors(bound(emulator, 1e4, labels=still))
    torch.testing.assert_close(sigma[:, 3], torch.full((2,), 30 / math.sqrt(12)).double())
    assert sigma.isfinite().all()


def test_each_star_by_itself_and_many_at_once(emulator):
    many = STARS.repeat(20, 1)
    together = information(emulator, WAVE, many, ivar=1e4, vmic=VMIC, vmac=VMAC, free=FREE)
    alone = information(emulator, WAVE, STARS, ivar=1e4, vmic=VMIC, vmac=VMAC, free=FREE)
    torch.testing.assert_close(together, alone.repeat(20, 1, 1), rtol=1e-7, atol=1e-9)


def test_the_expected_error_is_that_of_a_gaussian():
    draws = 3.0 * torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    covariance = 9.0 * torch.eye(4)[None]
    expected = torch.full((1, 4), draws.abs().mean().item())
    torch.testing.assert_close(mean_absolute_error(covariance), expected, rtol=0.01, atol=0)


def test_bad_requests_are_refused(emulator):
    with pytest.raises(OutsideGridError):
        information(emulator, WAVE, STARS + 1500.0, ivar=1.0, vmic=VMIC)
    with pytest.raises(ValueError, match="vmic"):
        Nuisances(vmic=0.0)
    with pytest.raises(ValueError, match="continuum"):
        dataclasses.replace(FREE, continuum=-1)
