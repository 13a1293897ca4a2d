"""The whole of a fit on mock spectra: what comes out, and that the truth is in it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units as u
from specutils import SpectrumCollection

from harpsstar.errors import ConfigError
from harpsstar.infer.epochs import combine
from harpsstar.infer.fit.engine import Fitter, fit
from harpsstar.infer.fit.laplace import Laplace, summary
from harpsstar.infer.fit.optimise import maximise
from harpsstar.infer.fit.options import Options, Uniform, parse
from harpsstar.infer.fit.sampler import sample
from harpsstar.infer.uncertainty import Uncertainty
from harpsstar.io.results import COLUMNS, read_table, write_table

from .conftest import TRUTH, mock


def test_the_truth_is_inside(result):
    for name, true in TRUTH.items():
        value, error = result[name]
        assert abs(value - true) < 4 * error, name
    assert result.solution.converged
    assert result.rows[0].status == "ok"
    assert 0.9 < result.rows[0].chi2_red < 1.1


def test_laplace_agrees_with_the_true_posterior(result):
    assert result.solution.efficiency > 0.9


def test_table_has_the_columns_of_predict_and_survives_a_file(result, tmp_path):
    table = result.table
    assert table.colnames[: len(COLUMNS)] == [column.name for column in COLUMNS]
    assert table["chi2_red_orders"].shape == (1, 8)
    assert table["vmic"].unit == u.km / u.s
    path = write_table(table, tmp_path / "fit.ecsv")
    again = read_table(path)
    assert again["teff"][0].value == pytest.approx(table["teff"][0].value)


def test_errors_hold_noise_and_model(result):
    row = result.rows[0]
    assert row.teff_err > 60 > row.teff_err_noise
    np.testing.assert_allclose(np.sqrt(np.diag(row.covariance))[0], row.teff_err)


def test_interval_holds_its_share(result):
    low, high = result.interval("teff", 0.6827)
    median, sigma = result["teff"]
    assert low < median < high
    assert high - low == pytest.approx(2 * sigma, rel=0.15)


def test_model_spectrum_lies_on_the_observed_one(result):
    model = result.model_spectrum
    assert isinstance(model, SpectrumCollection)
    observed = result.spectra[0]
    used = ~model.mask
    pulls = (observed.flux - model.flux).value[used] / model.uncertainty.array[used]
    assert np.std(pulls) == pytest.approx(1.0, abs=0.03)
    assert model.mask[observed.mask].all()


def test_pictures_have_every_order_and_parameter(result):
    figure = result.plot()
    assert len(figure.axes) == 16
    assert any(text.get_text() == "Mg b1" for axis in figure.axes for text in axis.texts)
    n = len(result.solution.names)
    assert len(result.corner().axes) == n * n


def test_samples_are_stored_in_a_standard_form(result, tmp_path):
    import arviz

    path = result.save_samples(tmp_path / "draws.nc")
    again = arviz.from_netcdf(path)
    assert set(again.posterior.data_vars) == set(TRUTH)
    assert again.posterior["teff"].attrs["units"] == "K"
    assert float(again.posterior["teff"].mean()) == pytest.approx(result["teff"][0], abs=2.0)
    assert float(again.posterior["rv"].mean()) == pytest.approx(12.0, abs=0.1)


def test_a_fixed_label_has_no_error_and_helps_the_others(start, result):
    fixed = Fitter(Options(fixed={"logg": 4.44})).solve([start])
    row = fixed.rows[0]
    assert (row.logg, row.logg_err) == (pytest.approx(4.44), 0.0)
    assert "logg" not in fixed.solution.names
    assert fixed["teff"][1] < result["teff"][1]


def test_a_prior_pulls_and_a_range_cuts(fitter, start):
    options = Options(priors={"teff": Uniform(5790.0, 6000.0)})
    cut = Fitter(options).solve([start])
    assert 5790.0 <= cut["teff"][0] < 5800.0
    assert "teff" in cut.solution.optimum.at_edge
    row = cut.rows[0]
    assert "at a limit of grid or prior: teff" in row.message
    assert (row.status, row.flag_text) == ("flagged", "HELD_BY_LIMIT,RESOLUTION_ASSUMED")
    assert row.teff_err > 60


def test_predict_and_fit_claim_the_same_errors(start, result):
    of_predict = Uncertainty.of(start.measurement.estimate).columns()
    row = result.rows[0]
    for name in ("teff", "logg", "m_h", "vsini"):
        assert getattr(row, f"{name}_err") == pytest.approx(of_predict[f"{name}_err"], rel=0.1)
    assert row.teff_err_noise == pytest.approx(of_predict["teff_err_noise"], rel=0.1)
    for matrix in (row.covariance, row.covariance_noise, row.covariance - row.covariance_noise):
        assert np.linalg.eigvalsh(matrix).min() > 0


def test_a_gaussian_prior_meets_the_whole_error(start, result):
    """And the other labels follow the ridge of the likelihood, as for a fixed value."""
    (row,), (free,) = known(start, prior=["logg=4.30±0.03"]).rows, result.rows
    weight = free.logg_err**-2 / (free.logg_err**-2 + 0.03**-2)
    assert row.logg == pytest.approx(weight * free.logg + (1 - weight) * 4.30, abs=0.003)
    assert row.logg == pytest.approx(4.31, abs=0.01)
    assert row.logg_err == pytest.approx(0.03, abs=0.01)
    (fixed,) = known(start, fix=[f"logg={row.logg}"]).rows
    assert row.status == fixed.status == "ok"
    for name in ("teff", "m_h", "vsini"):
        sigma = getattr(fixed, f"{name}_err_noise")
        assert getattr(row, name) == pytest.approx(getattr(fixed, name), abs=0.3 * sigma)
    assert abs(row.teff - free.teff) > 10 * free.teff_err_noise
    assert row.teff_err == pytest.approx(free.teff_err, rel=0.05)


def test_a_wide_prior_changes_nothing(start, result):
    (row,), (free,) = known(start, prior=["logg=4.0±30"]).rows, result.rows
    for name in ("teff", "logg", "m_h", "vsini"):
        assert getattr(row, name) == pytest.approx(
            getattr(free, name), abs=0.1 * getattr(free, f"{name}_err_noise")
        )
        assert getattr(row, f"{name}_err") == pytest.approx(getattr(free, f"{name}_err"), rel=0.01)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"fix": ["logg=3.0"]}, "logg fixed at 3 contradicts the spectrum, which gives 4.4"),
        ({"prior": ["teff=4000..4500"]}, "the prior teff = 4000 to 4500 K contradicts"),
    ],
)
def test_what_contradicts_the_spectrum_is_flagged_and_told(start, given, told):
    row = known(start, **given).rows[0]
    assert row.status == "flagged"
    assert "CONTRADICTED" in row.flag_text
    assert told in row.message
    assert re.search(r": \d+\.\d sigma", row.message)


def test_what_the_grid_lacks_has_no_column_and_cannot_be_given(start, result):
    assert "alpha" not in result.table.colnames
    for given in ({"fix": ["alpha=0.2"]}, {"prior": ["alpha=0.2±0.1"]}, {"tie": ["alpha"]}):
        with pytest.raises(ConfigError, match="the grid has the single value 0"):
            known(start, **given)


def test_a_prior_alone_is_no_result(fitter):
    """Fast rotation and noise hide macroturbulence."""
    fast = fitter.solve([fitter.prepare(mock(fitter, vsini=29.0, snr=7.0))])
    assert np.isnan(fast.table["vmac"][0].value)
    assert "does not constrain vmac" in fast.rows[0].message


def known(start, **given):
    return Fitter(parse(**given)).solve([start])


def test_from_far_away_the_same_maximum_is_found(result):
    posterior, space = result.solution.posterior, result.solution.posterior.space
    far = space.start({"teff": 5300.0, "logg": 3.9, "m_h": -0.4, "vsini": 9.0})
    found = maximise(posterior, far)
    assert found.converged
    sigma = summary(result.solution.laplace)[1].diagonal().sqrt()
    pull = (space.natural(found.square) - result.solution.best) / sigma
    assert float(pull.abs().max()) < 0.2


def test_two_spectra_of_one_star_know_more(fitter, start, result):
    other = fitter.prepare(mock(fitter, seed=2, rv=-7.0))
    both = fitter.solve([start, other])
    assert both["teff"][1] == pytest.approx(result["teff"][1] / 2**0.5, rel=0.1)
    assert both["rv_1"][0] == pytest.approx(12.0, abs=0.05)
    assert both["rv_2"][0] == pytest.approx(-7.0, abs=0.05)
    rows = both.rows
    assert len(rows) == 2 and rows[0].teff == rows[1].teff and rows[0].rv != rows[1].rv
    assert both.extras[0]["n_spectra"] == 2
    assert rows[0].status == "ok"
    assert rows[0].teff_err_noise == pytest.approx(result.rows[0].teff_err_noise / 2**0.5, rel=0.1)


def test_spectra_of_several_stars_are_no_star(fitter, start):
    other = fitter.prepare(mock(fitter, seed=3, teff=5300.0))
    rows = fitter.solve([start, other]).rows
    assert all(row.status == "flagged" and "UNLIKE_SPECTRA" in row.flag_text for row in rows)


def test_results_combine_by_their_covariances(result):
    from astropy.table import vstack

    table = result.table
    joint = combine(vstack([table, table], metadata_conflicts="silent"))
    assert joint.n == 2 and joint.scatter == pytest.approx(0.0, abs=1e-6)
    assert joint.labels[0] == pytest.approx(table["teff"][0].value)
    noise = table["teff_err_noise"][0].value
    assert np.sqrt(joint.noise[0, 0]) == pytest.approx(noise / 2**0.5)
    assert np.sqrt(joint.covariance[0, 0]) == pytest.approx(table["teff_err"][0].value, rel=0.01)
    table["status"] = ["failed"]
    with pytest.raises(ConfigError, match="none of 1 rows"):
        combine(table)


def test_a_second_set_of_lines_is_found(fitter):
    from harpsstar.infer.fit.velocity import velocity

    # The same detector noise would be added twice: the second star is bright and noise-free.
    first, second = mock(fitter, snr=80.0), mock(fitter, seed=5, snr=5000.0, rv=60.0)
    share = 0.15
    wave, level = first.spectral_axis, np.median(first.flux.value, axis=1, keepdims=True)
    other = np.stack([
        np.interp(w.value, v.value, f / np.median(f))
        for w, v, f in zip(wave, second.spectral_axis, second.flux.value, strict=True)
    ])  # fmt: skip
    mixed = SpectrumCollection(
        flux=((1 - share) * first.flux.value + share * level * other) * first.flux.unit,
        spectral_axis=wave, uncertainty=first.uncertainty, mask=first.mask, meta={},
    )  # fmt: skip
    found = velocity(mixed)
    assert found.second is not None
    assert found.second.rv == pytest.approx(60.0, abs=1.0)
    assert 0.5 * share < found.second.share < 1.5 * share


def test_velocity_of_a_single_star(fitter):
    from harpsstar.infer.fit.velocity import velocity

    found = velocity(mock(fitter), {"teff": 5772.0, "logg": 4.44, "m_h": 0.05, "vsini": 4.0})
    assert found.rv == pytest.approx(12.0, abs=4 * found.rv_err)
    assert 1e-4 < found.rv_err < 0.01
    assert found.second is None
    with pytest.raises(ConfigError, match="unknown label"):
        velocity("no such file", {"colour": 0.6})


def test_options_are_checked_before_files():
    with pytest.raises(ConfigError, match="unknown label"):
        fit("no such file", fixed={"tef": 5000.0})
    with pytest.raises(ConfigError, match="outside the grid"):
        fit("no such file", fixed={"teff": 9000.0, "logg": 0.1})
    with pytest.raises(ConfigError, match="at least one"):
        fit([])


def test_draws_have_the_density_they_claim(result):
    laplace = Laplace(result.solution.posterior.space, result.solution.optimum)
    points, density = laplace.propose(500, torch.Generator().manual_seed(0))
    torch.testing.assert_close(laplace.log_density(points), density, atol=1e-6, rtol=0)


def test_the_sampler_agrees_with_laplace(fitter, start):
    held = {name: TRUTH[name] for name in ("teff", "logg", "m_h", "vmic", "vmac")}
    solution = Fitter(Options(fixed=held)).solve([start]).solution
    chains = sample(solution.posterior, solution.optimum, solution.laplace, seed=0)
    assert chains.converged and chains.rhat.max() < 1.01
    draws = chains.natural.reshape(-1, len(solution.names))
    median, covariance = summary(solution.laplace)
    sigma = covariance.diagonal().sqrt().numpy()
    np.testing.assert_allclose(draws.std(axis=0), sigma, rtol=0.1)
    assert (np.abs(np.median(draws, axis=0) - median.numpy()) < 0.25 * sigma).all()


def test_every_column_of_a_fit_is_documented(result):
    page = Path(__file__).parents[3] / "docs" / "reference" / "fit.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    table = result.table
    extra = table.colnames[len(COLUMNS) :]
    assert rows == [
        [f"`{name}`", str(table[name].unit or "").replace(" / ", "/"), table[name].info.description]
        for name in extra
    ]
