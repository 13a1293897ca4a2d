"""The emulator's own error: nothing for what its polynomials can do, and scaled to its spacing."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.errors import InputsMissingError
from harpsstar.evaluate import synthesis as comparing
from harpsstar.evaluate.emulator import emulator_accuracy, label_bias, observed_as, predict_left_out
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.model.grid_file import GRID_FORMAT
from harpsstar.outputs.tensors import write_tensors

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


def test_all_axes_together_are_the_sum_of_their_errors():
    emulator = grid(bent)
    result = emulator_accuracy(emulator, n_stars=8)
    single = result.axes.values()
    assert result.together.flux_rms < 1.5 * sum(axis.flux_rms for axis in single)
    assert result.together.flux_rms > 0.5 * max(axis.flux_rms for axis in single)
    assert result.together.n_left_out <= min(axis.n_left_out for axis in single)
    assert emulator_accuracy(grid(bent, interpolation="linear"), n_stars=2).together is not None


def test_nine_in_ten_are_within_the_ninetieth_percentile():
    for axis in emulator_accuracy(grid(bent), n_stars=20).axes.values():
        assert all(axis.bias_90[name] >= axis.bias[name] for name in NAMES)


POINTS = torch.tensor([
    [5125.0, 3.2, -0.4, 1.3, 0.0], [5900.0, 4.1, 0.3, 1.7, 0.0], [6350.0, 3.7, -1.2, 1.1, 0.0],
])  # fmt: skip
OFFSETS = torch.tensor([8.0, -0.02, 0.01])


def moved(emulator, offsets):
    """Spectra of stars that differ from those at POINTS, unbroadened."""
    at = POINTS[:, :3] + offsets
    with torch.no_grad():
        return emulator.intrinsic(at, POINTS[:, 3], POINTS[:, 4])


def test_the_bias_is_how_far_the_other_spectra_are_off():
    emulator = grid(cubic)
    labels, options = observed_as(POINTS)
    labels[:, :3] += OFFSETS
    with torch.no_grad():
        bias = label_bias(emulator, POINTS, emulator(labels, **options))
    torch.testing.assert_close(bias[:, :3], OFFSETS.double().expand(3, 3), rtol=0.1, atol=1e-4)


def test_a_comparison_finds_what_the_other_spectra_are_off():
    emulator = grid(cubic)
    same = comparing.compare(emulator, POINTS, moved(emulator, 0 * OFFSETS))
    assert same.flux_rms_worst < 1e-6
    other = comparing.compare(emulator, POINTS, moved(emulator, OFFSETS))
    assert other.n == len(POINTS)
    for name, offset in zip(NAMES, [*OFFSETS.tolist(), 0.0], strict=True):
        for star in other.points:
            assert star[f"bias_{name}"] == pytest.approx(offset, rel=0.1, abs=2e-3)
        assert other.bias[name] <= other.bias_90[name] <= other.bias_worst[name]
    assert other.points[1]["teff"] == 5900.0
    assert 0 < other.flux_rms <= other.flux_rms_90 <= other.flux_rms_worst


def test_without_a_comparison_no_inputs_are_needed(tmp_path):
    emulator = grid(cubic)
    accuracy = emulator_accuracy(emulator, n_stars=1)
    assert comparing.with_syntheses(accuracy, emulator, tmp_path) is accuracy
    with pytest.raises(InputsMissingError, match="no ATLAS9 deck"):
        comparing.with_syntheses(accuracy, emulator, tmp_path, plane=1)


@pytest.fixture
def grid_file(tmp_path):
    """A grid as ``harpsstar synth grid`` writes it, four of its nodes carried over."""
    emulator = grid(bent)
    tensors = {
        "nodes": torch.cartesian_prod(*emulator.grid.axes), "mean": emulator.mean,
        "components": emulator.components, "coefficients": emulator.grid.table,
    }  # fmt: skip
    facts = {
        "format": GRID_FORMAT, "log_wave0": repr(emulator.log_wave0), "carried_over": "4",
        "log_step": repr(emulator.log_step), "residual_rms": "3e-4", "residual_max": "2e-2",
    }  # fmt: skip
    write_tensors(tensors, tmp_path / "grid.safetensors", facts)
    return tmp_path / "grid.safetensors"


def command(*arguments):
    return CliRunner().invoke(app, ["evaluate", "emulator", *map(str, arguments)])


def test_the_command_prints_a_row_for_each_axis_and_for_all(grid_file):
    result = command("--grid", grid_file)
    assert result.exit_code == ExitCode.OK, result.stderr
    for word in ("teff", "logg", "together", "4 of them carried over", "3.0e-04"):
        assert word in result.stdout
    found = json.loads(command("--grid", grid_file, "--json").stdout)
    assert list(found["axes"]) == ["teff", "logg"]
    assert found["axes"]["teff"]["bias_90"]["teff"] >= found["axes"]["teff"]["bias"]["teff"] > 0
    assert (found["carried_over"], found["comparisons"]) == (4, {})


def test_the_command_says_that_inputs_are_missing(grid_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path / "none"))
    result = command("--grid", grid_file, "--p02", 1)
    assert result.exit_code == ExitCode.NOTHING_DONE
    assert "harpsstar synth inputs" in result.stderr
