"""Whatever a user throws at the readers ends in one sentence with what was found and expected."""

from __future__ import annotations

import gzip
import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specutils import SpectrumCollection

from harpsstar.errors import HarpsstarError, ReadError, UnknownInstrumentError, WrongProductError
from harpsstar.io import read
from harpsstar.io.files import MAX_CARDS
from harpsstar.mock import blaze_frame


def content(hdus):
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def e2ds(mock):
    return content(mock("e2ds"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"SIMPLE", "not a FITS"),
        (b"\x89PNG\r\n", "not a FITS"),
        (b"SIMPLE  =                    T", "truncated"),
        (b"\x1f\x8b rest", "gzip"),
    ],
)
def test_files_that_are_no_fits(tmp_path, data, message):
    path = tmp_path / "file.fits"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=message) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert caught.value.expected


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        read(tmp_path / "none.fits")
    with pytest.raises(ReadError, match="folder"):
        read(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.98])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_files(tmp_path, e2ds, share, packed):
    path = tmp_path / "file.fits"
    data = gzip.compress(e2ds, 1) if packed else e2ds
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ReadError, match="gzip" if packed else "truncated"):
        read(path)


def test_a_missing_padding_is_no_truncation(tmp_path, e2ds):
    path = tmp_path / "file.fits"
    size = 69 * 4096 * 4
    path.write_bytes(e2ds[: len(e2ds) - (-size % 2880)])
    assert read(path).flux.shape == (69, 4096)


def test_a_packed_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.fits.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"SIMPLE  =".ljust(80))
        for _ in range(300):
            file.write(bytes(2**20))
    with pytest.raises(ReadError, match="more than 256 MB"):
        read(path)


def test_a_header_without_end(tmp_path):
    path = tmp_path / "long.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(80) * (MAX_CARDS + 100))
    with pytest.raises(ReadError, match="cards"):
        read(path)


def set_card(name, value):
    def change(hdus):
        key = f"HIERARCH {name}" if " " in name and name not in hdus[0].header else name
        hdus[0].header[key] = value

    return change


def drop_card(name):
    def change(hdus):
        del hdus[0].header[name]

    return change


def zero(hdus):
    hdus[0].data[:] = 0


def not_numbers(hdus):
    hdus[0].data[:] = np.nan


def flat(hdus):
    hdus[0].data = hdus[0].data[0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (zero, ReadError, "no usable pixel"),
        (not_numbers, ReadError, "no usable pixel"),
        (drop_card("TNG DRS CAL TH COEFF LL7"), ReadError, "COEFF LL7"),
        (drop_card("TNG DRS CAL TH DEG LL"), ReadError, "DEG LL"),
        (set_card("TNG DRS CAL TH DEG LL", 1000), ReadError, "degree 1000"),
        (set_card("TNG DRS CAL TH COEFF LL5", -1.0), ReadError, "increasing"),
        (set_card("TNG DRS CAL TH COEFF LL5", "x"), ReadError, "COEFF LL5"),
        (set_card("INSTRUME", "UVES"), UnknownInstrumentError, "UVES"),
        (set_card("INSTRUME", "ESPRESSO"), UnknownInstrumentError, "old pipeline"),
        (drop_card("INSTRUME"), UnknownInstrumentError, "no INSTRUME"),
        (set_card("TNG DPR TYPE", "WAVE,WAVE,THAR"), WrongProductError, "wavelength"),
        (set_card("TNG DPR TYPE", "LAMP,DARK,TUN"), WrongProductError, "blaze"),
        (set_card("TNG DPR TYPE", "BIAS"), WrongProductError, "calibration"),
        (set_card("CTYPE1", "km/s"), WrongProductError, "ccf"),
        (set_card("TNG DRS BLAZE FILE", "x_blaze_B.fits"), WrongProductError, "fibre B"),
        (set_card("ESO PRO CATG", "CCF_A"), WrongProductError, "CCF_A"),
        (set_card("ESO PRO CATG", "S2D_BLAZE_THAR_FP_A"), WrongProductError, "THAR_FP"),
        (set_card("ESO PRO CATG", "S2D_B"), WrongProductError, "S2D_B"),
        (set_card("ESO PRO CATG", "S2D_A"), ReadError, "SCIDATA"),
        (set_card("ESO PRO CATG", "S1D_A"), ReadError, "no table"),
        (flat, ReadError, "wavelength axis"),
    ],
)
def test_e2ds_that_are_none(mock, change, error, message):
    hdus = mock("e2ds")
    change(hdus)
    with pytest.raises(error, match=message) as caught:
        read(hdus)
    assert caught.value.expected


def test_a_blaze_file_is_no_star():
    for new in (False, True):
        with pytest.raises(WrongProductError):
            read(blaze_frame(new=new))


def test_extensions_of_another_shape(mock):
    hdus = mock("s2d")
    hdus["ERRDATA"].data = hdus["ERRDATA"].data[:5]
    with pytest.raises(ReadError, match="ERRDATA"):
        read(hdus)


def test_tables_without_flux(mock):
    hdus = mock("s1d_table")
    hdus[1].columns.del_col("flux")
    with pytest.raises(ReadError, match="flux"):
        read(hdus)


def test_specutils_is_told_politely(tmp_path, mock):
    """Other products are not claimed, so that specutils itself says what it can read."""
    hdus = mock("e2ds")
    hdus[0].header["CTYPE1"] = "km/s"
    hdus.writeto(tmp_path / "ccf.fits")
    with pytest.raises(Exception, match="Format could not be identified"):
        SpectrumCollection.read(tmp_path / "ccf.fits")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_bytes_give_a_spectrum_or_an_error_of_ours(tmp_path, e2ds, data):
    """No other exception and no warning, whatever bytes of header or data are changed."""
    damaged = bytearray(e2ds)
    header = 370 * 80
    for _ in range(data.draw(st.integers(1, 8))):
        limit = data.draw(st.sampled_from([header, len(damaged) - 1]))
        damaged[data.draw(st.integers(0, limit))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.fits"
    path.write_bytes(damaged[: data.draw(st.sampled_from([len(damaged), header, 200000]))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            spectrum = read(path)
        except HarpsstarError as error:
            assert str(path) in str(error)
        else:
            good = ~spectrum.mask
            assert np.isfinite(spectrum.flux.value[good]).all()
            assert (spectrum.uncertainty.array[good] > 0).all()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(
        ["NAXIS", "NAXIS1", "BITPIX", "INSTRUME", "TNG DRS CAL TH DEG LL", "TNG DRS BERV",
         "TNG DRS CAL TH COEFF LL3", "TNG DRS BLAZE FILE", "TNG DRS CCD SIGDET", "TNG DPR TYPE"]
    ),
    value=st.one_of(
        st.integers(-(2**40), 2**40),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
        st.booleans(),
    ),
)
def test_absurd_cards_give_a_spectrum_or_an_error_of_ours(e2ds, name, value):
    text = e2ds[: 370 * 80].decode("ascii")
    cards = [text[i : i + 80] for i in range(0, len(text), 80)]
    key = f"HIERARCH {name}" if " " in name else name.ljust(8)
    written = f"'{value}'" if isinstance(value, str) else str(value).upper()[:20]
    cards = [
        f"{key}= {written}".ljust(80)[:80] if card.startswith(key) else card for card in cards
    ]
    damaged = "".join(cards).encode() + e2ds[370 * 80 :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            spectrum = read(io.BytesIO(damaged))
        except HarpsstarError as error:
            assert error.found
        else:
            assert np.isfinite(spectrum.flux.value[~spectrum.mask]).all()


def test_a_compressed_image_cannot_ask_for_all_memory(mock):
    """An extension that claims to unpack to terabytes is a table with the wrong shape."""
    hdus = mock("s2d")
    packed = fits.CompImageHDU(np.zeros((8, 8), dtype=np.float32), name="SCIDATA")
    data = content(fits.HDUList([hdus[0], packed]))
    data = data.replace(b"ZNAXIS1 =                    8", b"ZNAXIS1 =        9999999999999")
    with pytest.raises(ReadError, match="SCIDATA"):
        read(io.BytesIO(data))
