"""The results table: the same content in every format, and files only ever replaced whole."""

from __future__ import annotations

import dataclasses
import json
import math
import stat

import numpy as np
import pandas
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import parse, validate
from astropy.io.votable.ucd import check_ucd
from astropy.table import QTable, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harpsstar.errors import OutputError, ReadError, UnwritableError
from harpsstar.io import results
from harpsstar.io.results import (
    COLUMNS,
    CORRELATIONS,
    EXTENSIONS,
    NOISE_CORRELATIONS,
    WITHOUT_NOISE,
    Row,
    provenance,
    read_table,
    to_table,
    write_table,
)

every_format = pytest.mark.parametrize("extension", EXTENSIONS)
few = settings(max_examples=12, deadline=None,
               suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["α Tau", "HD 189733", "61", "nan", "", "a\\nb", "it's, \"quoted\"", "\udcff.fits", "\x00", "#"]
    + [" a ", "#a b#", "\\", "<a&b>", "None", "--"]
)
numbers = st.floats(-1e6, 1e6) | st.just(math.nan)


@st.composite
def rows(draw):
    factor = np.array(draw(st.lists(st.floats(-1, 1), min_size=16, max_size=16))).reshape(4, 4)
    noise = factor @ factor.T + np.diag([4.0, 1e-4, 1e-4, 1e-3])
    covariance = noise + np.diag([400.0, 0.01, 0.01, 0.1])
    sigma, noise_sigma = np.sqrt(np.diag(covariance)), np.sqrt(np.diag(noise))
    known = {c.name: draw(numbers) for c in COLUMNS if c.kind == "real"}
    known |= {f"{name}_err": sigma[i] for i, name in enumerate(results.NAMES)}
    known |= {f"{name}_err_noise": noise_sigma[i] for i, name in enumerate(results.NAMES)}
    known |= {"covariance_noise": noise}
    known |= {c.name: draw(texts) for c in COLUMNS if c.kind == "text"}
    return Row(**known | {"covariance": covariance, "flags": draw(st.integers(0, 2**62))})


def failed_row(name="broken.fits"):
    return Row.failed(name, ReadError("is empty", expected="a FITS file", hint="copy it again",
                                      path=name))


def assert_same(table, other, *, rtol=0.0):
    assert table.colnames == other.colnames == [c.name for c in COLUMNS]
    assert len(table) == len(other)
    for column in COLUMNS:
        a, b = table[column.name], other[column.name]
        assert a.shape == b.shape
        assert a.unit == b.unit
        assert not hasattr(b, "mask")
        if column.kind in ("text", "integer"):
            assert a.tolist() == b.tolist()
        else:
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=rtol)


def write_and_read(table, path):
    write_table(table, path)
    return read_table(path)


@every_format
@given(content=st.lists(rows(), max_size=3))
@few
def test_a_table_survives_writing_and_reading(extension, content, tmp_path):
    table = to_table(content)
    # CSV has correlations and errors instead of covariances.
    rtol = 1e-12 if extension == ".csv" else 0.0
    assert_same(table, write_and_read(table, tmp_path / f"t{extension}"), rtol=rtol)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9)
    | st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=90),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("abcXYZ_ '&-", min_size=1, max_size=70), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("extension", [e for e in EXTENSIONS if e != ".csv"])
@given(meta=st.dictionaries(st.sampled_from(["versions", "command", "model_card"]), json_values))
@few
def test_metadata_survives(extension, meta, tmp_path):
    table = to_table([failed_row()], meta)
    assert write_and_read(table, tmp_path / f"t{extension}").meta == table.meta


@every_format
def test_a_table_of_failures_and_a_table_of_nothing_can_be_written(extension, tmp_path):
    for content in ([], [failed_row("α.fits"), failed_row("")]):
        table = to_table(content, provenance())
        assert_same(table, write_and_read(table, tmp_path / f"t{extension}"))


def test_row_and_columns_have_the_same_names_in_the_same_order():
    assert [f.name for f in dataclasses.fields(Row)] == [c.name for c in COLUMNS]


def test_every_column_says_what_it_holds_in_terms_of_the_virtual_observatory():
    assert not check_ucd("phys.nonsense", check_controlled_vocabulary=True)
    for column in COLUMNS:
        assert check_ucd(column.ucd, check_controlled_vocabulary=True), column
        assert column.description


def test_the_table_has_units():
    table = to_table([Row(file="a", teff=5772.0, rv=1.5)])
    assert table["teff"][0] == 5772 * u.K
    assert table["rv"][0].to(u.m / u.s) == 1500 * u.m / u.s


def test_a_failed_row_has_a_reason_and_no_numbers():
    row = failed_row()
    assert (row.status, row.file) == ("failed", "broken.fits")
    assert row.message == "is empty; expected a FITS file; copy it again"
    assert all(math.isnan(getattr(row, c.name)) for c in COLUMNS if c.kind == "real")
    assert Row.failed("x", ValueError("odd"), target="Sun").message == "ValueError: odd"
    assert Row.failed("x", ValueError("odd"), target="Sun").target == "Sun"


def test_metadata_that_json_cannot_hold_becomes_text_or_nothing(tmp_path):
    meta = {"path": tmp_path, "array": np.arange(2), "nan": math.nan, "n": np.float32(2), 3: {4}}
    plain = to_table([], meta).meta
    assert json.loads(json.dumps(plain)) == plain
    assert plain["path"] == str(tmp_path)
    assert plain["array"] == [0, 1]
    assert plain["nan"] is None


def test_unknown_observation_values_may_be_none():
    table = to_table([Row(file="a", bjd=None, target=None)])
    assert math.isnan(table["bjd"][0].value)
    assert table["target"][0] == ""


def test_provenance_names_versions_command_and_card():
    meta = provenance("harpsstar predict a.fits", {"name": "m"})
    assert meta["command"] == "harpsstar predict a.fits"
    assert meta["model_card"] == {"name": "m"}
    assert {"harpsstar", "numpy", "torch", "astropy", "python"} <= set(meta["versions"])


class TestOtherPrograms:
    """What the files look like to someone who does not have harpsstar."""

    table = to_table(
        [Row(file="a.fits", target="α Tau", teff=5772.0, teff_err=20.0, covariance=np.eye(4))],
        provenance("harpsstar predict a.fits"),
    )

    @pytest.mark.parametrize("extension", [".ecsv", ".fits", ".vot", ".parquet"])
    def test_astropy_finds_units_and_descriptions(self, extension, tmp_path):
        path = write_table(self.table, tmp_path / f"t{extension}")
        table = QTable.read(path)
        assert table["teff"][0] == 5772 * u.K
        assert table["teff"].info.description == self.table["teff"].info.description

    def test_fits_is_ascii_and_standard(self, tmp_path):
        path = write_table(self.table, tmp_path / "t.fits")
        with fits.open(path) as hdus:
            hdus.verify("exception")
            header = hdus[1].header
            number = hdus[1].columns.names.index("teff") + 1
            assert header[f"TUNIT{number}"] == "K"
            assert header[f"TUCD{number}"] == "phys.temperature.effective"
            assert hdus[1].data["target"][0] == "\\u03b1 Tau"
            assert hdus[1].data["covariance"].shape == (1, 4, 4)
        path.read_bytes().decode("latin-1").split("XTENSION")[0].encode("ascii")

    def test_votable_has_ucds(self, tmp_path):
        element = parse(write_table(self.table, tmp_path / "t.vot"), verify="exception")
        field = element.get_first_table().get_field_by_id_or_name("teff")
        assert (field.ucd, str(field.unit)) == ("phys.temperature.effective", "K")

    def test_votable_is_valid(self, tmp_path):
        for table in (self.table, self.table[:0]):
            path = write_table(table, tmp_path / "t.vot")
            assert "no violations" in validate(str(path), output=None)

    def test_pandas_opens_parquet(self, tmp_path):
        frame = pandas.read_parquet(write_table(self.table, tmp_path / "t.parquet"))
        assert frame["target"][0] == "α Tau"
        assert np.reshape(frame["covariance"][0], (4, 4)).tolist() == np.eye(4).tolist()

    def test_csv_has_one_line_a_row_and_six_correlations_of_each_covariance(self, tmp_path):
        path = write_table(self.table, tmp_path / "t.csv")
        names, line = path.read_text(encoding="utf-8").splitlines()
        assert {*CORRELATIONS, *NOISE_CORRELATIONS} <= set(names.split(","))
        assert not {"covariance", "covariance_noise"} & set(names.split(","))
        assert len(line.split(",")) == len(names.split(","))


class TestEarlierVersion:
    """Tables without ``covariance_noise`` are read, and their rows say what they lack."""

    @pytest.mark.parametrize("extension", [".ecsv", ".csv"])
    def test_a_table_without_the_covariance_of_the_noise(self, tmp_path, extension):
        path = tmp_path / f"t{extension}"
        write_table(to_table([Row(file="a.fits", teff=5772.0, message="saturated"), failed_row()]),
                    path)
        old = Table.read(path)
        old.remove_columns([name for name in old.colnames
                            if name == "covariance_noise" or name.startswith("corr_noise")])
        old.write(path, overwrite=True)
        good, bad = read_table(path)
        assert np.isnan(good["covariance_noise"]).all()
        assert good["message"] == f"saturated; {WITHOUT_NOISE}"
        assert WITHOUT_NOISE not in bad["message"]


class TestReplacedWhole:
    """An existing file is replaced whole or not at all."""

    table = to_table([failed_row()])

    @every_format
    def test_a_write_that_fails_leaves_the_old_file(self, extension, tmp_path, monkeypatch):
        path = tmp_path / f"t{extension}"
        path.write_bytes(b"precious")

        def half(table, target):
            target.write_bytes(b"half a ta")
            raise OSError(28, "No space left on device")

        broken = dataclasses.replace(results._FORMATS[extension], write=half)
        monkeypatch.setitem(results._FORMATS, extension, broken)
        with pytest.raises(UnwritableError, match="No space left"):
            write_table(self.table, path, overwrite=True)
        assert path.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [path]

    @every_format
    def test_a_longer_old_file_leaves_no_rest(self, extension, tmp_path):
        path = tmp_path / f"t{extension}"
        path.write_bytes(b"x" * 200_000)
        write_table(self.table, path, overwrite=True)
        assert_same(self.table, read_table(path))
        assert list(tmp_path.iterdir()) == [path]

    def test_the_mode_is_the_one_of_the_umask_and_a_link_stays_a_link(self, tmp_path):
        link, path = tmp_path / "link.ecsv", tmp_path / "t.ecsv"
        path.touch()
        link.symlink_to(path)
        reference = tmp_path / "new"
        reference.touch()
        write_table(self.table, link)
        assert link.is_symlink()
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(reference.stat().st_mode)
        assert_same(self.table, read_table(path))


class TestErrors:
    """What cannot be written or read is refused with a reason."""

    table = to_table([failed_row()])

    def test_unknown_extension_lists_the_known_ones(self, tmp_path):
        with pytest.raises(OutputError, match=r"\.ecsv, \.fits, \.vot, \.xml, \.parquet, \.csv"):
            write_table(self.table, tmp_path / "t.docx")
        with pytest.raises(ReadError, match=r"\.ecsv, \.fits"):
            read_table(tmp_path / "t.docx")

    def test_places_where_no_file_can_be(self, tmp_path):
        (tmp_path / "file").touch()
        (tmp_path / "folder.ecsv").mkdir()
        for place, reason in [("file/t.ecsv", "Not a directory"), ("none/t.ecsv", "does not exist"),
                              ("folder.ecsv", "is a folder"), ("x" * 300 + ".ecsv", "name")]:
            with pytest.raises(OutputError, match=reason):
                write_table(self.table, tmp_path / place)

    def test_an_existing_file_can_be_protected(self, tmp_path):
        path = write_table(self.table, tmp_path / "t.ecsv", overwrite=False)
        with pytest.raises(OutputError, match="exists already"):
            write_table(self.table, path, overwrite=False)

    @every_format
    @pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
    def test_a_damaged_file_is_a_read_error(self, extension, tmp_path):
        path = write_table(self.table, tmp_path / f"t{extension}")
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(ReadError, match="expected a results table"):
            read_table(path)
        path.write_bytes(b"")
        with pytest.raises(ReadError):
            read_table(path)

    def test_another_table_is_refused(self, tmp_path):
        QTable({"a": [1]}).write(tmp_path / "t.ecsv")
        with pytest.raises(ReadError, match="has no column file"):
            read_table(tmp_path / "t.ecsv")
        with pytest.raises(ReadError, match="no such file"):
            read_table(tmp_path / "none.ecsv")
