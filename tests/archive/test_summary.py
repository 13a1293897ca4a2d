"""Epochs together: what averages out does, what does not stays, and who disagrees is named."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from astropy.io.votable import validate
from astropy.io.votable.ucd import check_ucd
from astropy.table import QTable

from harpsstar.archive.summary import summarise, to_summary_table, write_summary
from harpsstar.errors import OutputError
from harpsstar.io.results import Row, to_table
from harpsstar.labels import NAMES

TRUTH = np.array([5772.0, 4.44, 0.0, 5.0])
#: Of the physics: as that of real stars, not diagonal.
MODEL = np.array([70.0, 0.1, 0.09, 1.5])
PHYSICS = np.outer(MODEL, MODEL) * (0.4 * np.ones((4, 4)) + 0.6 * np.eye(4))


def epochs(n, noise, *, target="HD 1", seed=0, **changes):
    """Rows of a star whose errors are `noise` (4,) and correlated, and the model's."""
    rng = np.random.default_rng(seed)
    correlation = np.full((4, 4), 0.5) + 0.5 * np.eye(4)
    covariance = correlation * np.outer(noise, noise)
    rows = []
    for i, values in enumerate(rng.multivariate_normal(TRUTH, covariance, size=n)):
        total = covariance + PHYSICS
        labels = dict(zip(NAMES, values, strict=True))
        labels |= {f"{name}_err": math.sqrt(total[k, k]) for k, name in enumerate(NAMES)}
        labels |= {f"{name}_err_noise": noise[k] for k, name in enumerate(NAMES)}
        rows.append(Row(file=f"{target} {i}", target=target, bjd=2457000.0 + i, covariance=total,
                        covariance_noise=covariance,
                        rv=12.0 + rng.normal(0, 0.01), rv_err=0.01, **(labels | changes)))
    return rows


NOISE = np.array([20.0, 0.05, 0.02, 0.3])


def test_noise_averages_out_and_the_model_stays():
    (one,) = summarise(to_table(epochs(1, NOISE)))
    (many,) = summarise(to_table(epochs(400, NOISE)))
    assert (one.epochs, many.epochs) == (1, 400)
    np.testing.assert_allclose(np.diag(one.covariance), NOISE**2 + MODEL**2)
    np.testing.assert_allclose(many.covariance - many.covariance_noise, PHYSICS)
    np.testing.assert_allclose(np.diag(many.covariance), NOISE**2 / 400 + MODEL**2, rtol=0.01)
    assert np.all(np.abs(many.labels - TRUTH) < 5 * NOISE / 20)
    np.testing.assert_allclose(many.scatter, many.expected, rtol=0.15)
    assert many.chi2_red == pytest.approx(1.0, abs=0.15)
    assert math.isnan(one.chi2_red)
    assert many.rv == pytest.approx(12.0, abs=0.003)
    assert many.rv_scatter == pytest.approx(0.01, rel=0.2)
    assert many.last - many.first == 399


def test_scatter_beyond_the_noise_raises_the_error():
    rows = [Row(**{**row.__dict__, "teff": row.teff + 100.0 * (-1) ** i})
            for i, row in enumerate(epochs(50, NOISE))]
    (star,) = summarise(to_table(rows))
    assert star.chi2_red > 5
    assert star.scatter[0] > 4 * star.expected[0]
    noise = star.covariance[0, 0] - MODEL[0] ** 2
    assert noise == pytest.approx(star.chi2_red * NOISE[0] ** 2 / 50, rel=1e-6)


def test_an_outlier_is_named_and_left_out():
    rows = epochs(20, NOISE)
    rows[7] = Row(**{**rows[7].__dict__, "logg": 1.0})
    (star,) = summarise(to_table(rows))
    assert star.outliers == ("HD 1 7",)
    assert star.epochs == 19


def test_what_is_left_out():
    rows = [*epochs(3, NOISE), *epochs(2, NOISE, status="flagged", seed=1),
            Row.failed("x", "no", target="HD 1"), Row(file="anonymous")]
    again = Row(**{**rows[0].__dict__, "file": "copy"})
    old = Row(**{**rows[0].__dict__, "file": "old", "covariance_noise": np.full((4, 4), np.nan)})
    (star,) = summarise(to_table([*rows, again, old]))
    assert (star.epochs, star.flagged, star.failed, star.copies) == (3, 2, 1, 1)
    assert star.without_noise == 1
    shifted = [Row(**{**row.__dict__, "bjd": row.bjd + 50}) for row in rows]
    (star,) = summarise(to_table(shifted), flagged=True)
    assert (star.epochs, star.flagged, star.copies) == (3, 0, 2)


def test_two_stars_under_one_name_are_not_alike():
    (one,) = summarise(to_table(epochs(4, NOISE)))
    other = [Row(**{**row.__dict__, "teff": row.teff - 400.0, "bjd": row.bjd + 50})
             for row in epochs(4, NOISE, seed=1)]
    (both,) = summarise(to_table([*epochs(4, NOISE), *other]))
    assert one.alike
    assert not both.alike


def test_a_star_without_labels_has_none():
    (star,) = summarise(to_table([Row.failed("x", "no", target="HD 1")]))
    assert (star.epochs, star.failed) == (0, 1)
    assert np.isnan(star.labels).all()


def test_every_column_has_a_ucd_that_exists():
    table = to_summary_table(summarise(to_table(epochs(2, NOISE))))
    for name in table.colnames:
        assert table[name].info.description
        assert check_ucd(table[name].info.meta["ucd"], check_controlled_vocabulary=True)


@pytest.mark.parametrize("extension", [".ecsv", ".fits", ".vot"])
def test_written_tables_open_with_units(tmp_path, extension):
    stars = summarise(to_table([*epochs(3, NOISE), *epochs(2, NOISE, target="α Tau")]))
    path = tmp_path / f"stars{extension}"
    write_summary(stars, path)
    table = QTable.read(path)
    assert len(table) == 2
    assert table["teff"].unit == "K"
    np.testing.assert_allclose(table["vsini_err"].value, to_summary_table(stars)["vsini_err"].value)
    if extension == ".vot":
        assert "no violations" in validate(str(path), output=None)
    with pytest.raises(OutputError, match="unknown extension"):
        write_summary(stars, tmp_path / "stars.docx")


def test_spellings_of_a_name_are_one_star():
    rows = [row for n, name in ((2, "HD10700"), (3, "HD 10700"), (1, "hd-10700"), (1, "TOI-1-23"))
            for row in epochs(n, NOISE, target=name, seed=n)]
    rows = [dataclasses.replace(row, bjd=2457000.0 + i) for i, row in enumerate(rows)]
    rows.append(dataclasses.replace(epochs(1, NOISE, target="TOI-123")[0], bjd=1.0))
    stars = summarise(to_table(rows))
    assert [(star.target, star.epochs) for star in stars] == [
        ("HD 10700", 6), ("TOI-1-23", 1), ("TOI-123", 1)]


def test_a_star_that_cannot_be_combined_costs_no_other():
    bad = [dataclasses.replace(row, covariance=np.zeros((4, 4)))
           for row in epochs(3, NOISE, target="HD 2")]
    first, second = summarise(to_table(epochs(3, NOISE) + bad))
    assert (first.target, first.epochs) == ("HD 1", 3)
    assert (second.target, second.epochs) == ("HD 2", 0)
    assert np.isnan(second.labels).all()
