"""What training sees: noise as claimed, masks as weights, labels within the priors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harpsstar.labels import LABELS, VMAC, VMIC
from harpsstar.mock.simulate import Priors
from harpsstar.model.emulator import Emulator
from harpsstar.model.relations import vmac_relation, vmic_relation
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.recipes import Recipe
from harpsstar.train.run import simulator_for

PLAIN = Priors(masked_share=0.0)
SHAPE = canonical_wavelengths().shape


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="module")
def simulator(emulator):
    def make(priors=PLAIN, seed=3):
        return simulator_for(Recipe("test", priors=priors), emulator, seed)

    return make


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["white", "photon"])
@pytest.mark.parametrize("snr", [20.0, 200.0])
def test_scatter_is_what_the_weights_claim(simulator, share, snr):
    made = simulator(dataclasses.replace(PLAIN, blaze_share=share))
    spectra = 1 - 0.6 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    exposure = made.expose(spectra, torch.full((4,), snr))
    pull = (exposure.flux - spectra) * exposure.ivar.sqrt()
    # A variance estimated from the photons themselves is a little off where there are few.
    assert pull.std() == pytest.approx(1.0, abs=0.02 if snr > 100 else 0.05)
    robust = 1.4826 * pull.abs().median()
    assert robust == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["white", "photon"])
def test_snr_is_per_pixel_where_the_blaze_is_one(simulator, share):
    made = simulator(dataclasses.replace(PLAIN, blaze_share=share))
    for snr in (10.0, 100.0):
        exposure = made.expose(torch.ones(6, *SHAPE), torch.full((6,), snr))
        bright = (made.blaze - 1).abs() < 0.02 if share else torch.ones(SHAPE, dtype=torch.bool)
        scatter = (exposure.flux - 1)[:, bright].std()
        assert float(1 / scatter) == pytest.approx(snr, rel=0.03)
        assert exposure.ivar[:, bright].sqrt().median() == pytest.approx(snr, rel=0.03)


def test_the_blaze_costs_light_at_the_ends_of_an_order(simulator):
    made = simulator(dataclasses.replace(PLAIN, blaze_share=1.0))
    exposure = made.expose(torch.ones(4, *SHAPE), torch.full((4,), 50.0))
    middle, end = exposure.ivar[..., 1948:2148].mean(), exposure.ivar[..., :200].mean()
    assert end < 0.8 * middle


def test_masks_are_weights_of_zero_and_nothing_else(simulator):
    spectra, snr = torch.ones(32, *SHAPE), torch.full((32,), 50.0)
    none = simulator(PLAIN).expose(spectra, snr)
    every = simulator(dataclasses.replace(PLAIN, masked_share=1.0)).expose(spectra, snr)
    assert (none.ivar > 0).all()
    assert (every.ivar >= 0).all()
    assert every.flux.isfinite().all()
    lost = (every.ivar == 0).double().mean(dim=(1, 2))
    assert (lost > 0).all()
    assert lost.max() < 0.5
    # Whole orders or most of one are lost in some, as HARPS loses one; single pixels in others.
    by_order = (every.ivar == 0).double().mean(-1)
    assert (by_order > 0.8).any()
    assert ((by_order > 0) & (by_order < 0.1)).any()
    share = simulator(dataclasses.replace(PLAIN, masked_share=0.4)).expose(spectra, snr)
    assert 0.1 < float(((share.ivar == 0).flatten(1).any(1)).double().mean()) < 0.75


def test_stars_are_drawn_from_the_priors(simulator, emulator):
    stars = simulator().draw(4000)
    assert len(stars) == 4000
    assert emulator.contains(*stars.labels[:, :3].T, stars.vmic).all()
    for label, values in zip(LABELS, stars.labels.T, strict=True):
        assert label.low <= values.min()
        assert values.max() <= label.high
        # Nearly uniform: each quarter of the range is used.
        counts = np.histogram(values.numpy(), bins=4, range=(label.low, label.high))[0]
        assert counts.min() > 300
    assert stars.vmic.min() >= VMIC.low
    assert stars.vmic.max() <= VMIC.high
    assert stars.vmac.min() >= VMAC.low
    assert stars.vmac.max() <= VMAC.high


def test_nuisances_scatter_about_their_relations(simulator):
    stars = simulator().draw(8000)
    vmic, vmac = vmic_relation(*stars.labels[:, :3].T), vmac_relation(*stars.labels[:, :2].T)
    away = (vmic > 1.45) & (vmic < 1.55)
    assert (stars.vmic - vmic)[away].std() == pytest.approx(PLAIN.vmic_scatter, rel=0.15)
    inside = (vmac > 3.0) & (vmac < 6.0)
    assert (stars.vmac - vmac)[inside].std() == pytest.approx(PLAIN.vmac_scatter, rel=0.1)
    assert float((stars.vmac - vmac)[inside].mean()) == pytest.approx(0.0, abs=0.1)


def test_snr_is_drawn_log_uniform(simulator):
    snr = simulator().draw_snr(4000)
    low, high = PLAIN.snr
    assert low <= snr.min()
    assert snr.max() <= high
    middle = (low * high) ** 0.5
    assert float((snr < middle).double().mean()) == pytest.approx(0.5, abs=0.03)


def test_the_whole_stream_is_a_function_of_the_seed(simulator):
    def everything(seed):
        made = simulator(Priors(), seed)
        stars = made.draw(3)
        exposure = made.expose(made.spectra(stars), made.draw_snr(3))
        near = made.nearby(stars, torch.full((3,), 50.0))
        return stars.labels, stars.vmic, exposure.flux, exposure.ivar, near.labels

    for one, same, other in zip(everything(7), everything(7), everything(8), strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0)
        assert not torch.equal(one, other)


def test_normalising_removes_the_level_and_slope_of_an_exposure(simulator):
    made = simulator()
    stars = made.draw(3)
    exposure = made.expose(made.spectra(stars), torch.full((3,), 300.0))
    flux, model, ivar = made.normalise(exposure, stars)
    x = torch.linspace(-1, 1, SHAPE[1])
    tilted = dataclasses.replace(
        exposure, flux=exposure.flux * 7 * (0.4 * x).exp(),
        ivar=exposure.ivar / (7 * (0.4 * x).exp()) ** 2,
    )  # fmt: skip
    again, _, weight = made.normalise(tilted, stars)
    torch.testing.assert_close(again, flux, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weight, ivar, rtol=1e-3, atol=1e-3 * float(ivar.max()))
    assert ((flux - model) * ivar.sqrt()).std() == pytest.approx(1.0, abs=0.1)
