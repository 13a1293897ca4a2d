"""Tables that predict and fit write: short headers, and read again whoever saved them last."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
from astropy.io import fits
from astropy.table import QTable, Table
from typer.testing import CliRunner

import harpsstar as hs
from harpsstar.cli import app
from harpsstar.io.results import COLUMNS, CORRELATIONS, EXTENSIONS
from harpsstar.labels import NAMES

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.fits"))
#: Cards of a column in a FITS header, and what every table has.
_OF_COLUMN = ("TTYPE", "TFORM", "TUNIT", "TDISP", "TNULL", "TDIM", "TUCD", "TCOMM")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of the examples in every format, by predict, and of one of them by fit."""
    folder = tmp_path_factory.mktemp("tables")
    files = list(map(str, EXAMPLES))
    run = CliRunner().invoke(app, ["predict", *files, "-o", str(folder / "p.ecsv"), "--jobs", "0"])
    assert run.exit_code == 0, run.output
    run = CliRunner().invoke(app, ["fit", files[1], "-o", str(folder / "f.ecsv")])
    assert run.exit_code == 0, run.output
    for name in "pf":
        table = hs.read_table(folder / f"{name}.ecsv")
        for extension in EXTENSIONS:
            hs.write_table(table, folder / f"{name}{extension}")
    return folder


@pytest.mark.parametrize("name", "pf")
def test_the_header_is_short(folder, name):
    """Name, hash, recipe and versions of the model; nothing of its 5,512 atmospheres."""
    text = (folder / f"{name}.ecsv").read_text(encoding="utf-8")
    header = [line for line in text.splitlines() if line.startswith("#")]
    meta = header[header.index("# meta: !!omap"):]
    assert len("\n".join(meta)) < 2000
    assert len("\n".join(header)) < 10_000
    assert max(map(len, header)) < 400
    with fits.open(folder / f"{name}.fits") as hdus:
        cards = [card for hdu in hdus for card in hdu.header.cards]
        # A long value takes further cards.
        others = [card for card in cards if not card.keyword.startswith((*_OF_COLUMN, "COMMENT"))]
        assert sum(len(str(card)) // 80 for card in others) < 60
        assert sum(len(str(card)) // 80 for card in cards) < 9 * len(hdus[1].columns)
    for extension in (".ecsv", ".fits", ".vot", ".parquet"):
        about = hs.read_table(folder / f"{name}{extension}").meta["model_card"]
        assert about["name"] == about["recipe"] == "default"
        assert len(about["sha256"]) == len(about["grid"]["sha256"]) == 64
        row = hs.read_table(folder / f"{name}{extension}")[0]
        assert about["sha256"][:8] in row["model"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_columns_of_a_fit_are_read_in_every_format(folder, extension):
    first, again = hs.read_table(folder / "f.ecsv"), hs.read_table(folder / f"f{extension}")
    extra = first.colnames[len(COLUMNS):]
    assert {"vmic", "vmac", "converged", "n_starts", "method", "chi2_red_orders"} <= set(extra)
    if extension == ".csv":
        extra.remove("chi2_red_orders")
        orders = [again[f"chi2_red_orders_{k}"][0] for k in range(1, 9)]
        np.testing.assert_allclose(orders, first["chi2_red_orders"][0])
    for name in extra:
        assert again[name].dtype.kind == first[name].dtype.kind, name
        if first[name].dtype.kind == "f":
            values = [getattr(t[name], "value", t[name]) for t in (first, again)]
            np.testing.assert_allclose(values[1], values[0], equal_nan=True)
        else:
            assert again[name].tolist() == first[name].tolist(), name
        if extension != ".csv":
            assert again[name].unit == first[name].unit
            assert again[name].info.description == first[name].info.description


@pytest.mark.parametrize("name", "pf")
@pytest.mark.parametrize("kind", [Table, QTable])
@pytest.mark.parametrize("extension", [".ecsv", ".fits", ".vot", ".parquet"])
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_what_another_program_has_saved_again_is_read_by_its_columns(
    folder, tmp_path, name, kind, extension
):
    expected, path = hs.read_table(folder / f"{name}.ecsv"), tmp_path / f"again{extension}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = kind.read(folder / f"{name}{extension}")
        table.meta.clear()
        formats = {".vot": "votable", ".fits": "fits", ".ecsv": "ascii.ecsv"}
        table.write(path, format=formats.get(extension, "parquet"))
    again = hs.read_table(path)
    assert again.colnames == expected.colnames
    for column in again.colnames:
        values = [getattr(t[column], "value", t[column]) for t in (expected, again)]
        if values[0].dtype.kind == "f":
            np.testing.assert_allclose(values[1], values[0], equal_nan=True, err_msg=column)
        else:
            assert values[1].tolist() == values[0].tolist(), column


def test_pandas_gets_one_number_in_each_cell(folder):
    table = hs.read_table(folder / "f.ecsv")
    frame = hs.to_pandas(table)
    assert isinstance(frame, pandas.DataFrame)
    assert "covariance" not in frame
    assert set(CORRELATIONS) <= set(frame)
    assert {"teff", "teff_err", "vmic", "converged", "chi2_red_orders_8"} <= set(frame)
    covariance = table["covariance"][0]
    for name in CORRELATIONS:
        a, b = (NAMES.index(x) for x in _pair(name))
        expected = covariance[a, b] / np.sqrt(covariance[a, a] * covariance[b, b])
        assert frame[name][0] == pytest.approx(expected)
    assert all(np.ndim(value) == 0 for value in frame.iloc[0])
    assert hs.to_pandas(table[:0]).shape == (0, frame.shape[1])


def _pair(name):
    return next((a, b) for a in NAMES for b in NAMES if name == f"corr_{a}_{b}")
