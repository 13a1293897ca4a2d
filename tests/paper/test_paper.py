"""The paper's tables and figures: numbers that add up, beside the paper's own."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import Table
from typer.testing import CliRunner

from harpsstar.cli import app
from harpsstar.cli.exit import ExitCode
from harpsstar.config import to_mapping
from harpsstar.errors import ConfigError, OutputError
from harpsstar.infer.prepare import prepare
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.model.templates import bank_of
from harpsstar.nn import zoo
from harpsstar.paper import attention, export, figures, judge, sun, tables
from harpsstar.paper.attention import MG_B, AttentionMaps, mg_b_share, near_lines
from harpsstar.paper.judge import Judged
from harpsstar.paper.published import TABLE2, row_of
from harpsstar.plotting import save
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.recipes import read_recipe
from harpsstar.train.run import network_options
from harpsstar.train.stream import window

TINY = {
    "resnet": ("network.channels = [2, 2, 2, 2, 2]", "network.strides = [8, 4, 2, 2, 2]",
               "network.hidden = [8, 8]"),
    "attention": ("network.channels = [2, 2, 2, 2]", "network.bins = 8", "network.hidden = 8"),
}  # fmt: skip
DENOISER = ("denoiser.channels = [2, 2]", "denoiser.strides = [8, 8]", "denoiser.latent = 4")


@pytest.fixture(scope="module")
def star():
    """A mock observation of a star like the Sun."""
    return Path(__file__).parents[2] / "docs/examples/HARPN.mock-g2v_e2ds_A.fits"


@pytest.fixture(scope="module")
def linear():
    return Emulator.load(interpolation="linear")


def make(name, scale=1.0):
    """An untrained model of a packaged recipe, its network made tiny."""
    changes = TINY["attention" if "attention" in name else "resnet"]
    recipe = read_recipe(name, changes + (DENOISER if "dae" in name else ()))
    torch.manual_seed(1)
    network = zoo.build(*network_options(recipe)).eval()
    network.image.window.copy_(window(recipe))
    kind, options = network_options(recipe)
    card = {
        "name": name, "labels": list(NAMES), "network": kind, "network_options": options,
        "recipe": to_mapping(recipe), "training": {"samples": 5, "hours": 0.5},
    }  # fmt: skip
    factors = torch.full((2, 4), scale)
    return zoo.Model(name, network, factors, torch.tensor([2.0, 4.0]), card, "0123456789")


@pytest.fixture(scope="module")
def resnet():
    return make("quick-resnet-diagonal-20")


@pytest.fixture(scope="module")
def attending():
    return make("quick-dae-attention-full-20")


def known(n=4000, seed=0):
    """A test set whose errors are as large as claimed, correlations included."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    root = root * torch.tensor([[40.0], [0.1], [0.05], [0.5]], dtype=torch.float64)
    error = torch.randn(n, 4, generator=generator, dtype=torch.float64) @ root.T
    span = torch.tensor([6250.0, 5.0, 3.0, 30.0], dtype=torch.float64)
    low = torch.tensor([3500.0, 0.0, -2.5, 0.0], dtype=torch.float64)
    truth = low + span * torch.rand(n, 4, generator=generator, dtype=torch.float64)
    model = make("quick-resnet-full-20")
    recipe = judge.recipe_of(model)
    covariance = (root @ root.T).expand(n, 4, 4)
    return Judged(model, recipe, truth, truth + error, covariance, torch.ones(4).double())


def test_table_2_has_the_paper_s_rows_in_its_order_and_ours_beside_them(resnet, linear):
    ours = make("ours-attention-diagonal-100")
    rows = tables.table2([resnet, ours], n=4, n_bound=1, emulator=linear)
    assert [row.paper for row in rows[:12]] == [row.model for row in TABLE2]
    first = rows[0]
    assert (first.model, first.network, first.covariance) == (resnet.name, "resnet", "diagonal")
    assert (first.n, first.n_bound, first.samples, first.hours) == (4, 1, 5, 0.5)
    for name, paper in zip(NAMES, TABLE2[0].mae, strict=True):
        cell = first.labels[name]
        assert cell.paper == paper
        assert 0 < cell.low <= cell.mae <= cell.high
        assert cell.short == pytest.approx(cell.mae / paper - 1)
        # a network that has learnt nothing is far from the bound
        assert cell.ratio > 1
    assert all(row.model == "" and math.isnan(row.labels["teff"].mae) for row in rows[1:12])
    assert (rows[12].model, rows[12].paper, rows[12].preset) == (ours.name, "", "ours")
    table = export.rows_table(rows)
    assert len(table) == 13
    assert str(table["teff_mae"].unit) == "K"
    assert table["teff_ratio"].unit is None


def test_models_of_the_same_spectra_are_judged_by_the_same(resnet, attending, linear):
    one, other = (judge.judge(model, n=4, emulator=linear) for model in (resnet, attending))
    torch.testing.assert_close(one.truth, other.truth, rtol=0, atol=0)
    again = judge.judge(resnet, n=4, seed=1, emulator=linear)
    assert not torch.equal(again.truth, one.truth)


def test_calibration_scales_the_errors(resnet, linear):
    double = dataclasses.replace(resnet, scale=torch.full((2, 4), 2.0))
    one, two = (judge.judge(model, n=2, emulator=linear) for model in (resnet, double))
    torch.testing.assert_close(two.sigma, 2 * one.sigma)
    torch.testing.assert_close(two.mean, one.mean)


def test_no_test_spectrum_is_one_of_the_training(resnet, linear):
    recipe = judge.recipe_of(resnet)
    test = judge.fresh_stream(recipe, 0, linear)
    assert abs(test.recipe.seed - recipe.seed) > 2**30
    assert test.recipe.data.preset == "paper"


def test_coverage_of_errors_as_large_as_claimed_is_that_of_a_gaussian():
    row = tables._table3_row(known())
    for name in (*NAMES, "all", "joint"):
        cover = row.labels[name]
        assert cover.one == pytest.approx(0.6827, abs=0.03)
        assert cover.two == pytest.approx(0.9545, abs=0.015)
        assert cover.one_interval[0] < cover.one < cover.one_interval[1]
        assert cover.before == (cover.one, cover.two)


def test_coverage_knows_what_it_was_before_the_calibration():
    judged = known()
    wide = dataclasses.replace(
        judged, covariance=4 * judged.covariance, scale=torch.full((4,), 2.0).double()
    )
    before, after = tables._table3_row(judged), tables._table3_row(wide)
    for name in (*NAMES, "all", "joint"):
        assert after.labels[name].before == pytest.approx(before.labels[name].before, abs=1e-3)
        assert after.labels[name].one > 0.85


def test_the_interval_of_a_mean_is_that_of_a_mean():
    values = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)).double()
    low, high = judge.interval(values)
    np.testing.assert_allclose(high - low, 2 * 1.96 / 2000**0.5, rtol=0.1)


def test_a_row_is_found_by_what_it_is():
    assert row_of("dae-attention", "full", 20.0, (3500.0, 9750.0)) == TABLE2[7]
    assert row_of("resnet", "diagonal", 100.0, (4000.0, 6000.0)) == TABLE2[10]
    assert row_of("resnet", "diagonal", 100.0, (3500.0, 9750.0)) is None


def test_the_default_model_is_not_of_this_kind():
    with pytest.raises(ConfigError, match="spectral images"):
        judge.models_of(["default"])
    assert all(judge.recipe_of(model) for model in judge.models_of(["all"]))


def test_equal_attention_has_a_ratio_of_one_and_attention_on_mg_b_more(attending):
    wave = torch.from_numpy(canonical_wavelengths().copy())
    seen = (wave >= 5050) & (wave <= 5350)
    flat = seen / seen.sum()
    pointed = torch.where(near_lines(wave, MG_B), 5 * flat, flat)
    found = AttentionMaps("x", (0.0,), wave, flat, seen, (flat, pointed / pointed.sum()))
    one, other = mg_b_share(found)
    assert (one.block, other.block) == (1, 2)
    assert one.ratio == pytest.approx(1.0)
    # six angstroms of three hundred, in overlapping orders: some per cent of the pixels
    assert 0.01 < one.pixels < 0.03
    assert other.ratio == pytest.approx(5 / (1 + 4 * one.pixels), rel=1e-3)


def test_attention_maps_of_a_network_sum_to_one_over_what_it_sees(attending, resnet):
    found = attention.attention_maps(attending, n=1)
    assert len(found.maps) == 3
    for alpha in found.maps:
        assert float(alpha.sum()) == pytest.approx(1.0, abs=1e-4)
        assert (alpha[~found.seen] == 0).all()
    assert figures.figure5(found).axes
    table = export.attention_table(found)
    assert len(table) == int(found.seen.sum())
    with pytest.raises(ConfigError, match="attention"):
        attention.attention_maps(resnet, n=1)


def test_bins_tell_bias_scatter_and_claim():
    judged = known(20_000)
    shifted = dataclasses.replace(judged, mean=judged.mean + judged.sigma)
    for plain, moved in zip(figures.binned(judged, 3), figures.binned(shifted, 3), strict=True):
        assert plain.n == moved.n > 5000
        assert plain.scatter == pytest.approx(plain.sigma, rel=0.05)
        assert abs(plain.bias) < 0.05 * plain.sigma
        assert moved.bias == pytest.approx(plain.bias + plain.sigma, rel=1e-6)


def test_pictures_and_tables_of_residuals(tmp_path):
    judged = known(300)
    for i, draw in enumerate((figures.figure3, figures.figure4)):
        path = tmp_path / f"{i}.png"
        save(draw(judged), path)
        assert path.read_bytes().startswith(b"\x89PNG")
    export.write(export.residuals_table(judged), tmp_path / "a.ecsv")
    table = Table.read(tmp_path / "a.ecsv")
    np.testing.assert_allclose(table["logg_mean"], judged.mean[:, 1].numpy())
    with pytest.raises(OutputError, match="does not exist; create it first"):
        export.write(table, tmp_path / "none" / "a.ecsv")


def test_figure_1_shows_one_spectrum_three_times(linear):
    found = figures.sample(emulator=linear)
    assert found.image.shape == (8, 4096)
    row = found.image[3]
    np.testing.assert_allclose(
        row, np.interp(found.orders_wave[3], found.wave, found.flux), atol=0.05
    )
    assert found.image[0, 0] == 0
    assert len(figures.figure1(found).axes) == 4
    rows = figures.orders(found)
    assert [one.order for one in rows] == list(range(8))
    assert all(0 < one.lowest < one.mean < 1 for one in rows)
    assert len(export.sample_table(found)) == int((found.image > 0).sum())


def test_a_network_is_shown_whole_spectra_of_the_noise_that_it_knows():
    """The model stands in where there is nothing; quiet pixels get noise, loud ones none."""
    generator = torch.Generator().manual_seed(5)
    flux, model = torch.full((3, 4096), 0.8), torch.full((3, 4096), 0.6)
    ivar = torch.tensor([0.0, 1e6, 100.0])[:, None].expand(3, 4096)
    shown, weight = sun.as_trained(flux, ivar, model, 50.0, 20, generator)
    assert shown.shape == weight.shape == (20, 3, 4096)
    np.testing.assert_allclose(shown.mean((0, 2)), [0.6, 0.8, 0.8], atol=5 * 0.02 / 81920**0.5)
    added = (0.02**2 - 1e-6) ** 0.5
    np.testing.assert_allclose(shown.std((0, 2)), [0.02, added, 0.0], rtol=0.02, atol=1e-6)
    np.testing.assert_allclose(weight[0, :, 0], [2500.0, 2500.0, 100.0], rtol=1e-5)
    flux[0] = torch.nan  # whatever stands where there is no weight
    again = sun.as_trained(flux, ivar, model, 50.0, 2, generator)
    assert all(one.isfinite().all() for one in again)


def test_the_sun_is_measured_by_a_network_alone(star, resnet, tmp_path):
    emulator = Emulator.load()
    (row,) = sun.table4([resnet], [star], emulator=emulator)
    prepared = prepare(star, bank_of(emulator))
    value, covariance = sun.network_labels(resnet, prepared, emulator)
    double = dataclasses.replace(resnet, scale=torch.full((2, 4), 2.0))
    _, wide = sun.network_labels(double, prepared, emulator)
    torch.testing.assert_close(wide, 4 * covariance)
    for i, name in enumerate(NAMES):
        cell = row.labels[name]
        assert cell.value == pytest.approx(float(value[i]))
        assert cell.pull == pytest.approx((cell.value - sun.SUN[i]) / cell.sigma)
    assert row.labels["logg"].paper == 4.72
    assert figures.table4_picture([row]).axes
    assert len(export.rows_table([row])) == 1


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def file(attending, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "a.safetensors"
    zoo.save(attending, path)
    return path


def test_table2_and_table3_on_the_command_line(file, tmp_path):
    result = evaluate("table2", "--model", file.parent, "-n", 2, "--bound-stars", 1, "--json",
                      "-o", tmp_path / "a.png", "-o", tmp_path / "a.ecsv")  # fmt: skip
    assert result.exit_code == ExitCode.OK, result.stderr
    rows = json.loads(result.stdout)
    assert rows[7]["model"] == "quick-dae-attention-full-20"
    assert rows[0]["labels"]["teff"] == {
        "mae": None, "low": None, "high": None, "paper": 76.9, "bound": None, "ratio": None,
        "short": None,
    }  # fmt: skip
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.ecsv", "a.png"]
    result = evaluate("table3", "--model", file, "-n", 4, "-o", tmp_path / "b.png")
    assert result.exit_code == ExitCode.OK, result.stderr
    assert "joint" in result.stdout


def test_figures_on_the_command_line(file, tmp_path):
    assert json.loads(evaluate("figure1", "--json").stdout)[0]["low"] == pytest.approx(
        5050, abs=0.1
    )
    for arguments, word in (
        (("figure1", "-o", tmp_path / "1.png"), "mean flux"),
        (("figure3", "--model", file, "-n", 4, "-o", tmp_path / "3.png"), "median error"),
        (("figure5", "--model", file, "-n", 1, "-o", tmp_path / "5.ecsv"), "ratio"),
    ):
        result = evaluate(*arguments)
        assert result.exit_code == ExitCode.OK, result.stderr
        assert word in result.stdout
        assert arguments[-1].exists()


def test_what_cannot_be_done_is_said(file):
    for arguments, word in (
        (("figure5", "--model", "default"), "spectral images"),
        (("table2", "--model", file, "-n", 1), "at least 2"),
        (("figure1", "-o", "a.doc"), ".ecsv"),
        (("table2", "--model", "none"), "no such model"),
    ):
        result = evaluate(*arguments)
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert word in result.stderr
