"""The emulator's own error: nothing for what its polynomials can do, and scaled to its spacing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from harpsstar.evaluate.emulator import emulator_accuracy, predict_left_out
from harpsstar.labels import NAMES
from harpsstar.synth.emulator import Emulator

LINES = 6
WAVE = 2000


def grid(strength, *, teff_step=250.0, interpolation="cubic"):
    """Lines whose depths are functions of the labels (n, 4), on a small grid."""
    axes = (
        [4750.0 + teff_step * i for i in range(9)], [2.0 + 0.5 * i for i in range(7)],
        [-1.5, -1.0, -0.5, 0.0, 0.5], [1.0, 2.0],
    )  # fmt: skip
    nodes = torch.tensor(list(itertools.product(*axes)))
    centres = 200.0 + 300.0 * torch.arange(LINES)
    lines = -torch.exp(-0.5 * ((torch.arange(WAVE) - centres[:, None]) / 4.0) ** 2)
    return Emulator(
        nodes, torch.ones(WAVE), lines, strength(nodes).float(), log_wave0=math.log(5102.0),
        log_step=2e-6, interpolation=interpolation, metadata={"sha256": "0123456789"},
    )  # fmt: skip


def reduced(nodes):
    centre, width = torch.tensor([5750.0, 3.5, -0.5, 1.5]), torch.tensor([1000.0, 1.5, 1.0, 0.5])
    return ((nodes - centre) / width).double()


def mixture(x, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return x @ torch.randn(x.shape[1], LINES, generator=generator, dtype=torch.float64)


def cubic(nodes):
    x = reduced(nodes)
    return 0.4 + 0.05 * mixture(x) + 0.02 * mixture(x**2, 1) + 0.01 * mixture(x**3, 2)


def bent(nodes):
    return cubic(nodes) + 0.02 * mixture(torch.exp(reduced(nodes)), 3)


def test_what_the_polynomials_can_do_is_predicted():
    emulator = grid(cubic)
    for axis in (0, 1, 2):
        predicted, there = predict_left_out(emulator, axis)
        table = emulator.grid.table.unflatten(0, emulator.grid.shape)
        if axis < 2:
            assert there.any()
        torch.testing.assert_close(predicted[there], table[there], rtol=0, atol=1e-5)
    result = emulator_accuracy(emulator, n_stars=4)
    assert result.axes["teff"].flux_rms_worst < 1e-6


def test_an_axis_with_too_few_nodes_is_left_out():
    """Four of every second node need seven, two need three."""
    assert set(emulator_accuracy(grid(bent), n_stars=2).axes) == {"teff", "logg"}
    linear = emulator_accuracy(grid(bent, interpolation="linear"), n_stars=2)
    assert set(linear.axes) == {"teff", "logg", "m_h"}


@pytest.mark.parametrize(("interpolation", "order"), [("linear", 2), ("cubic", 4)])
def test_errors_fall_with_the_spacing_as_the_order_says(interpolation, order):
    coarse, fine = (
        emulator_accuracy(grid(bent, teff_step=step, interpolation=interpolation), n_stars=2)
        for step in (250.0, 125.0)
    )
    assert coarse.axes["teff"].order == order
    ratio = coarse.axes["teff"].flux_rms / fine.axes["teff"].flux_rms
    # Not exactly: other stars lie under the finer grid.
    assert 0.6 * 2**order < ratio < 2.5 * 2**order


def test_the_error_is_that_half_way_between_nodes():
    """Left-out nodes of this grid, scaled, against the truth half way between its nodes."""
    coarse, fine = grid(bent, teff_step=250.0), grid(bent, teff_step=125.0)
    estimate = emulator_accuracy(coarse, n_stars=2).axes["teff"].flux_rms
    axes = [axis[1:-1] if k == 0 else axis for k, axis in enumerate(fine.grid.axes)]
    middle = torch.cartesian_prod(*axes)
    middle = middle[(middle[:, 0] - 4750.0) % 250.0 == 125.0]
    with torch.no_grad():
        difference = fine.intrinsic(middle[:, :3], middle[:, 3]) - coarse.intrinsic(
            middle[:, :3], middle[:, 3]
        )
    found = difference.square().mean(1).sqrt().median()
    assert estimate == pytest.approx(float(found), rel=1.0)


def test_linear_interpolation_is_worse_and_biases_are_of_every_label():
    linear, best = (
        emulator_accuracy(grid(bent, interpolation=kind), n_stars=6) for kind in ("linear", "cubic")
    )
    for result in (linear, best):
        assert result.grid == "01234567"
        assert math.isnan(result.residual_rms)
        for axis in result.axes.values():
            assert tuple(axis.bias) == NAMES
            assert all(bias >= 0 for bias in axis.bias.values())
    for name in ("teff", "logg"):
        assert linear.axes[name].flux_rms > 3 * best.axes[name].flux_rms
