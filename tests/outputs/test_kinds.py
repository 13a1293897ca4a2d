"""Products of harpsstar are known by their content, as their own writers make them."""

import csv
import hashlib
import logging
import zipfile

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from harpsstar import read_table
from harpsstar.archive.journal import Journal
from harpsstar.archive.summary import write_summary
from harpsstar.cli._archive import told
from harpsstar.errors import OutputError
from harpsstar.grid.inputs import Input, pack
from harpsstar.io.results import EXTENSIONS, Row, provenance, to_table, write_table
from harpsstar.mock import blaze_frame, observe_star, write
from harpsstar.outputs import Policy, check_file, replacing, under
from harpsstar.outputs.kinds import MOCK, PICTURE, TABLE, TENSORS, product_of
from harpsstar.outputs.tensors import write_tensors
from harpsstar.plotting import FORMATS, new_figure, save

SUN = (5772.0, 4.44, 0.0, 2.0)
TABLES = [to_table([Row(file="a.fits")], meta) for meta in ({}, provenance("harpsstar predict"))]


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("table", TABLES, ids=["bare", "with metadata"])
def test_tables_of_results(extension, table, tmp_path):
    path = write_table(table, tmp_path / f"t{extension}")
    assert product_of(path) == "table"
    write_table(read_table(path), path)


@pytest.mark.parametrize("extension", [".ecsv", ".fits", ".vot"])
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
def test_tables_of_others_are_not(extension, tmp_path):
    path = tmp_path / f"t{extension}"
    table = Table({"file": ["/home/harpsstar/a.fits"], "teff": [5772.0], "rv": [1.0]})
    table.write(path, format={".ecsv": "ascii.ecsv", ".vot": "votable"}.get(extension, "fits"))
    before = path.read_bytes()
    assert product_of(path) == ""
    with pytest.raises(OutputError, match="harpsstar did not write it"):
        write_table(TABLES[0], path)
    assert path.read_bytes() == before
    write_table(TABLES[0], path, overwrite=True)
    assert product_of(path) == "table"


def test_tables_saved_again_by_astropy_are_still_known(tmp_path):
    path = write_table(TABLES[1], tmp_path / "t.fits")
    Table.read(path).write(tmp_path / "again.fits")
    assert product_of(tmp_path / "again.fits") == "table"


@pytest.mark.parametrize("extension", [".ecsv", ".vot"])
def test_summaries(extension, tmp_path):
    for _ in range(2):
        write_summary([], tmp_path / f"s{extension}")
        assert product_of(tmp_path / f"s{extension}") == "table"


@pytest.mark.parametrize("extension", FORMATS)
def test_pictures(extension, tmp_path):
    path, other = tmp_path / f"p{extension}", tmp_path / f"other{extension}"
    for _ in range(2):
        assert product_of(save(new_figure(2, 2), path)) == "picture"
    new_figure(2, 2).savefig(other)
    assert product_of(other) == ""
    with pytest.raises(OutputError, match="harpsstar did not write it"):
        save(new_figure(2, 2), other)


@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
def test_mock_products_are_no_tables(ending, tmp_path):
    path = tmp_path / f"m{ending}"
    hdus = observe_star(*SUN, format="e2ds", seed=1)
    write(hdus, path, blaze=blaze_frame())
    assert {product_of(file) for file in tmp_path.iterdir()} == {"mock"}
    write(hdus, path, overwrite=True)
    if ending == ".fits":
        with pytest.raises(OutputError, match="as a table"):
            write_table(TABLES[0], path)
    del hdus[0].header["ORIGIN"]
    hdus.writeto(tmp_path / f"real{ending}")
    assert product_of(tmp_path / f"real{ending}") == ""


def test_tensors(tmp_path):
    from safetensors.numpy import save_file

    path, other = tmp_path / "w.safetensors", tmp_path / "other.safetensors"
    for _ in range(2):
        write_tensors({"a": np.zeros(2)}, path)
    save_file({"a": np.zeros(2)}, other, {"format": "pt"})
    assert (product_of(path), product_of(other)) == ("tensors", "")
    with pytest.raises(OutputError, match="harpsstar did not write it"):
        write_tensors({"a": np.zeros(2)}, other)


def test_logs_and_journals(tmp_path):
    with told(log_file=tmp_path / "run.log"):
        pass
    with Journal(tmp_path / "t.ecsv.journal"):
        # Still in the write-ahead log.
        assert product_of(tmp_path / "t.ecsv.journal") == "journal"
    found = [product_of(tmp_path / name) for name in ("run.log", "t.ecsv.journal")]
    assert found == ["log", "journal"]
    handler = logging.FileHandler(tmp_path / "other.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.emit(logging.LogRecord("x", 20, "", 0, "started", (), None))
    handler.close()
    assert product_of(tmp_path / "other.log") == ""


def test_what_is_damaged_or_strange_is_nobodys(tmp_path):
    path = tmp_path / "file"
    assert product_of(path) == product_of(tmp_path) == ""
    path.touch()
    assert product_of(path) == "nothing"
    for begin in (b"SIMPLE  =", b"\x1f\x8b", b"PAR1", b"%PDF", b"\x89PNG", b"<?xml", b"PK\x03\x04",
                  b"SQLite format 3", b"\x89HDF", b"# %ECSV", bytes(8) + b"{", b"a,b"):  # fmt: skip
        path.write_bytes(begin + bytes(range(256)))
        assert product_of(path) == ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    assert product_of(path) == ""
    with h5py.File(path, "w") as file:
        file["a"] = 1
    assert product_of(path) == ""
    with open(path, "w") as file:
        csv.writer(file).writerow(["file", "target", "teff"])
    assert product_of(path) == ""
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(path, overwrite=True)
    assert product_of(path) == ""


class TestPolicy:
    """Inputs are never replaced, whoever asks."""

    def test_an_input_by_any_link(self, tmp_path):
        path = write_table(TABLES[0], tmp_path / "t.ecsv")
        for name, link in (("soft", path.with_name("soft.ecsv").symlink_to),
                           ("hard", path.with_name("hard.ecsv").hardlink_to)):  # fmt: skip
            link(path)
            with (
                under(Policy((tmp_path / f"{name}.ecsv",), overwrite=True)),
                pytest.raises(OutputError, match="is an input"),
                replacing(path, TABLE, overwrite=True),
            ):
                pass
        assert product_of(path) == "table"

    def test_the_files_that_a_table_was_made_of(self, tmp_path):
        path = tmp_path / "s.fits"
        fits.PrimaryHDU(np.zeros((5, 5))).writeto(path)
        before = path.read_bytes()
        with pytest.raises(OutputError, match="is an input"):
            write_table(to_table([Row(file=str(path))]), path, overwrite=True)
        assert path.read_bytes() == before

    def test_nothing_is_found_out_for_a_new_file_or_an_own_one(self, tmp_path):
        def search():
            raise AssertionError("a search")

        with under(Policy(found=search)):
            for _ in range(2):
                write_table(TABLES[0], tmp_path / "t.ecsv")

    def test_the_name_decides_between_kinds(self, tmp_path):
        assert check_file(tmp_path / "a.PNG", TABLE, PICTURE).name == "a.PNG"
        with pytest.raises(OutputError, match=r"expected one of \.png, \.pdf, \.svg, \.safeten"):
            check_file(tmp_path / "a.txt", PICTURE, TENSORS)
        with pytest.raises(OutputError, match=r"one of \.fits, \.fits\.gz"):
            check_file(tmp_path / "a.dat", MOCK)


def test_archives_of_inputs(tmp_path):
    (tmp_path / "b").write_text("x")
    inputs = [Input("b", hashlib.sha256(b"x").hexdigest(), "")]
    for _ in range(2):
        pack(tmp_path / "all.zip", folder=tmp_path, inputs=inputs)
    assert product_of(tmp_path / "all.zip") == "archive"
