"""Files to rows: the same star through every product, and whatever else lies in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

import harpsstar as hs
from harpsstar.infer.epochs import combine
from harpsstar.infer.predict import predict_rows
from harpsstar.infer.quality import Flag
from harpsstar.io.results import to_table
from harpsstar.labels import NAMES
from harpsstar.mock import blaze_frame, observe, write
from harpsstar.model.emulator import Emulator
from harpsstar.model.relations import vmac_relation, vmic_relation
from harpsstar.nn.zoo import read_card

TRUTH = (5300.0, 4.3, -0.2, 5.0)
RV, BERV, SNR = 12.0, -5.0, 100.0
TNG = "HIERARCH TNG DRS"
BLAZE = f"{TNG} BLAZE FILE"


@pytest.fixture(scope="session")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="session")
def make(emulator, tmp_path_factory):
    """Write a mock of the star, blaze file beside it, and give its path."""
    folder = tmp_path_factory.mktemp("mocks")
    labels = torch.tensor([TRUTH])
    vmic = vmic_relation(*labels[:, :3].T)
    vmac = vmac_relation(*labels[:, :2].T)

    def model(wave):
        with torch.no_grad():
            return emulator.at(np.array(wave), labels, vmic=vmic, vmac=vmac)[0].numpy()

    def made(name, format="e2ds", change=None, blaze=True, **options):
        hdus = observe(
            model, format=format,
            **({"rv": RV, "berv": BERV, "snr": SNR, "seed": 1, "target": "HD 1"} | options),
        )  # fmt: skip
        if change is not None:
            change(hdus)
        path = folder / f"{name}.fits"
        needs = {"e2ds": False, "s2d_blaze": True}
        tilt = options.get("tilt", 0.0)
        frame = blaze_frame(tilt=tilt, new=needs[format]) if blaze and format in needs else None
        return write(hdus, path, blaze=frame, overwrite=True)

    return made


def measure(*paths, **options):
    rows = list(predict_rows(paths, **options))
    assert [row.file for row in rows] == [str(path) for path in paths]
    return rows


def labels(row):
    return np.array([getattr(row, name) for name in NAMES])


def sigma(row):
    return np.array([getattr(row, f"{name}_err_noise") for name in NAMES])


@pytest.fixture(scope="session")
def reference(make):
    return measure(make("reference"))[0]


def change_in_sigma(row, reference):
    return (labels(row) - labels(reference)) / sigma(reference)


def test_the_packaged_model_was_trained_on_the_packaged_grid(emulator):
    """Another grid shifts every spectrum a little, and labels by tens of sigmas."""
    assert read_card("default")["grid"]["sha256"] == emulator.metadata["sha256"]


def test_the_star_is_found(reference):
    assert reference.status == "ok", reference.flag_text
    assert np.all(np.abs(labels(reference) - TRUTH) < 4 * sigma(reference))
    assert abs(reference.rv - RV) < 0.05
    assert reference.snr == pytest.approx(SNR, rel=0.1)
    assert (reference.target, reference.instrument) == ("HD 1", "HARPS-N")
    assert reference.product == "e2ds"
    assert np.linalg.eigvalsh(reference.covariance).min() > 0
    total = np.sqrt(np.diag(reference.covariance))
    assert total == pytest.approx([getattr(reference, f"{name}_err") for name in NAMES])
    assert np.all(total > sigma(reference))


@pytest.fixture(scope="session")
def four_nights(make):
    """The rows of four e2ds of the star that differ in their noise."""
    return measure(*(make(f"e2ds{seed}", seed=seed) for seed in range(4)))


@pytest.mark.parametrize("format", ["s2d", "s2d_blaze", "s1d", "s1d_table"])
def test_every_product_of_a_star_gives_the_same_labels(make, four_nights, format):
    """Within 0.3 sigma of a night, for each label, in the mean of four nights.

    S2D holds the pixels of the e2ds, so each single night agrees. S1D has them resampled: what
    noise it lets through differs, by 0.2 sigma in a night.
    """
    others = measure(*(make(f"{format}{seed}", format, seed=seed) for seed in range(4)))
    changes = [change_in_sigma(*pair) for pair in zip(others, four_nights, strict=True)]
    assert np.abs(np.mean(changes, axis=0)).max() < 0.3
    if format.startswith("s2d"):
        assert np.abs(changes).max() < 0.3


@pytest.mark.parametrize("step", [30.0, -30.0])
def test_the_same_light_at_another_velocity(make, reference, step):
    """The Earth's velocity in the header moves all wavelengths and not a photon."""

    def moved(hdus):
        hdus[0].header["HIERARCH TNG DRS BERV"] = BERV + step

    (row,) = measure(make(f"berv{step}", change=moved))
    factor = (1 + (BERV + step) / 299792.458) / (1 + BERV / 299792.458)
    assert row.rv - reference.rv == pytest.approx(299792.458 * (factor - 1), abs=0.02)
    assert np.abs(change_in_sigma(row, reference)).max() < 0.5


@pytest.mark.parametrize("step", [30.0, -130.0])
def test_another_velocity_of_the_star(make, reference, step):
    """Other pixels, other photons, so nearly without noise: S2D knows no saturation."""
    still, moving = measure(
        make("still", "s2d", snr=600.0), make("moving", "s2d", snr=600.0, rv=RV + step)
    )
    assert moving.rv - still.rv == pytest.approx(step, abs=0.02)
    change = (labels(moving) - labels(still)) / sigma(reference)
    assert np.abs(change).max() < 0.5


@pytest.mark.parametrize("coefficients", [(0.4,), (-0.3, -0.5), (0.2, -0.3, -0.2, 0.15)])
def test_multiplying_by_a_smooth_blaze_changes_nothing(make, reference, coefficients):
    """On top of the blaze that the file beside it knows of."""

    def tilted(hdus):
        x = np.linspace(-1, 1, hdus[0].data.shape[1])
        response = np.exp(sum(c * x ** (k + 1) for k, c in enumerate(coefficients)))
        hdus[0].data = (hdus[0].data * response).astype(np.float32)

    (row,) = measure(make("tilted", change=tilted))
    assert np.abs(change_in_sigma(row, reference)).max() < 0.5


def test_a_blaze_that_has_to_be_estimated_changes_less_than_the_error(make, reference):
    path = make("reference_without", blaze=False)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header[BLAZE] = "not_there_blaze_A.fits"
    (row,) = measure(path)
    assert Flag.BLAZE_ESTIMATED in Flag(row.flags)
    assert "blaze" in row.message
    claimed = np.sqrt(np.diag(row.covariance))
    assert np.all(np.abs(labels(row) - labels(reference)) < 0.5 * claimed)


def test_losing_a_twentieth_of_the_pixels(make, reference):
    """Rms of twelve draws for each label; the values of the lost pixels are nonsense, too.

    A tenth of the information goes with them, which by itself moves a label by 0.3 sigma.
    """
    changes = []
    for seed in range(12):
        dead = np.random.default_rng(seed).random((69, 4096)) < 0.05

        def lose(hdus, dead=dead):
            hdus[0].data = np.where(dead, np.nan, hdus[0].data).astype(np.float32)

        (row,) = measure(make("lossy", change=lose))
        assert row.status == "ok"
        changes.append(change_in_sigma(row, reference))
    assert np.sqrt(np.mean(np.square(changes), axis=0)).max() < 0.5


def test_losing_a_twentieth_of_every_order(make, reference):
    """Rms of five places for each label."""
    changes = []
    for first in (0, 900, 1500, 2600, 3891):

        def lose(hdus, first=first):
            hdus[0].data[:, first : first + 205] = np.nan

        (row,) = measure(make("cut", change=lose))
        assert row.status == "ok"
        changes.append(change_in_sigma(row, reference))
    assert np.sqrt(np.mean(np.square(changes), axis=0)).max() < 0.5


def test_one_spectrum_is_one_row_whatever_it_is_given_as(make, reference):
    path = make("reference_again")
    spectrum = hs.read(path)
    tables = [hs.predict(source) for source in (str(path), path, spectrum, [path], [spectrum])]
    for table in tables:
        assert len(table) == 1
        assert table["teff"][0].value == pytest.approx(reference.teff)
        assert table.meta["model_card"]["labels"] == list(NAMES)


def _set(name, value):
    def change(hdus):
        hdus[0].header[name] = value

    return change


def _scale_row(row, factor):
    def change(hdus):
        hdus[0].data[row] = hdus[0].data[row] * factor

    return change


def _put(where, value):
    def change(hdus):
        hdus[0].data[where] = value

    return change


def _without_polynomial(hdus):
    header = hdus[0].header
    for key in [key for key in header if "CAL TH COEFF LL" in key]:
        del header[key]


def _only_blue(hdus):
    hdus[0].data[:30] = np.linspace(1e4, 2e4, hdus[0].data.shape[1])  # no one value: clipped
    hdus[0].data[30:] = 0


#: Name, what is done to a good e2ds, words of the reason.
SPOILT = [
    ("calibration", _set("HIERARCH TNG DPR TYPE", "WAVE,WAVE,THAR2"), "calibration"),
    ("no_polynomial", _without_polynomial, "polynomial"),
    ("unknown", _set("INSTRUME", "NIRSPEC"), "NIRSPEC"),
    ("elsewhere", _only_blue, "5025–5393"),
    ("negative", lambda hdus: _scale_row(slice(None), -1)(hdus), ""),
    ("all_nan", _put(slice(None), np.nan), ""),
    ("all_zero", _put(slice(None), 0.0), ""),
]


@pytest.fixture(scope="session")
def mess(make, tmp_path_factory):
    """Everything that may lie in a folder, between two good spectra."""
    folder = tmp_path_factory.mktemp("mess")
    good = make("good")
    data = good.read_bytes()
    paths = {"good": good}
    contents = {
        "empty": b"", "text": b"not a spectrum\n", "truncated": data[: len(data) // 2],
        "header_only": data[:2880], "missing": None,
    }  # fmt: skip
    for name, content in contents.items():
        paths[name] = folder / f"{name}.fits"
        if content is not None:
            paths[name].write_bytes(content)
    ccf = fits.PrimaryHDU(np.ones((70, 161), dtype=np.float32))
    ccf.header["INSTRUME"] = "HARPN"
    ccf.header["CTYPE1"] = "km/s"
    paths["ccf"] = folder / "ccf.fits"
    ccf.writeto(paths["ccf"])
    paths["blaze"] = good.parent / fits.getheader(good)[BLAZE.removeprefix("HIERARCH ")]
    for name, change, _ in SPOILT:
        paths[name] = make(name, change=change)
    paths["last"] = make("last", seed=9)
    return dict(zip(paths, measure(*paths.values()), strict=True))


REASONS = {name: word for name, _, word in SPOILT} | {
    "empty": "empty", "text": "FITS", "truncated": "truncated", "header_only": "truncated",
    "missing": "no such file", "ccf": "ccf", "blaze": "expected",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REASONS))
def test_what_is_no_spectrum_gets_a_row_that_says_why(mess, name):
    row = mess[name]
    assert row.status == "failed" or (row.status == "flagged" and row.flag_text)
    reason = row.message if row.status == "failed" else row.flag_text
    assert REASONS[name] in reason
    assert "unexpected" not in reason
    assert "Traceback" not in reason
    if row.status == "failed":
        assert np.isnan(labels(row)).all()


def test_no_other_row_is_lost(mess):
    for name in ("good", "last"):
        assert mess[name].status == "ok"
        assert np.all(np.abs(labels(mess[name]) - TRUTH) < 5 * sigma(mess[name]))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("zero_order", _put(40, 0.0)),
        ("nan_order", _put(38, np.nan)),
        ("nans", _put((slice(None), slice(0, 4096, 7)), np.nan)),
        ("hits", _put((slice(36, 44), slice(100, 4096, 500)), 3e5)),
        ("dips", _put((slice(36, 44), slice(50, 4096, 400)), -500.0)),
    ],
)
def test_a_flaw_costs_information_and_no_more(make, reference, name, change):
    (row,) = measure(make(name, change=change))
    assert row.status == "ok", (row.flag_text, row.message)
    assert np.all(np.abs(labels(row) - TRUTH) < 5 * sigma(row))
    assert (Flag.MISSING_ORDER in Flag(row.flags)) == name.endswith("order")
    if name.endswith("order"):
        assert np.prod(sigma(row)[:3] / sigma(reference)[:3]) > 1.02


def test_saturation_that_leaves_nothing_is_no_result(make):
    """At SNR 1000 all continuum pixels are beyond what the detector can count."""
    (row,) = measure(make("saturated", snr=1000.0))
    assert row.status == "failed" or Flag.SATURATED in Flag(row.flags)
    if row.status != "failed":
        assert np.all(sigma(row) < [300.0, 0.5, 0.3, 5.0])


def test_noise_alone_is_flagged(make):
    (row,) = measure(make("dark", snr=0.5))
    assert row.status in ("failed", "flagged")


@pytest.fixture(scope="session")
def real():
    beside = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("HARPSSTAR_SHARED", beside)) / "data" / "real"
    if not folder.is_dir():
        pytest.skip("no real spectra: set HARPSSTAR_SHARED")
    return folder


def test_real_epochs_scatter_as_their_noise_says(real):
    """Six exposures of alpha Cen B in four months, whose error of the physics is not diagonal."""
    folder = real / "archive" / "alf-cen-b"
    if not folder.is_dir():
        pytest.skip("no epochs of alpha Cen B here")
    table = to_table(measure(*sorted(folder.glob("*.fits"))))
    for name in ("covariance", "covariance_noise"):
        assert np.linalg.eigvalsh(np.asarray(table[name])).min() > 0
    star = combine(table)
    assert star.n == 6
    assert 0.3 < star.scatter**2 < 3
    assert np.linalg.eigvalsh(star.noise).min() > 0
    assert np.linalg.eigvalsh(star.covariance - star.noise).min() > 0


def test_the_sun(real):
    (row,) = measure(real / "FASMA-synthesis" / "Sun_HARPS.fits")
    assert row.status == "ok", row.flag_text
    assert abs(row.teff - 5772) <= 100
    assert abs(row.logg - 4.44) <= 0.2
    assert abs(row.m_h) <= 0.15


def test_a_k_dwarf(real):
    """HD 189733 (Bouchy et al. 2005), to the errors that the table claims."""
    (row,) = measure(real / "viper" / "HARPS.2006-09-08T02:12:38.604_s1d_A.fits")
    assert row.status == "ok", row.flag_text
    for name, value, error in (("teff", 5050, 50), ("logg", 4.53, 0.14), ("m_h", -0.03, 0.04)):
        claimed = np.hypot(getattr(row, f"{name}_err"), error)
        assert abs(getattr(row, name) - value) < 2.5 * claimed, name


@pytest.mark.parametrize(
    "name",
    [
        "ACTIN/HARPS.2003-12-13T06:19:48.371_e2ds_A.fits",
        "ACTIN/HARPS.2010-09-18T23:42:36.178_s1d_A.fits",
        "FASMA-synthesis/HARPS.GBOG_alfTau.fits",
    ],
    ids=["Gl 273", "Gl 581", "alpha Tau"],
)
def test_a_star_that_the_emulator_cannot_describe_is_not_ok(real, name):
    (row,) = measure(real / name)
    assert row.status == "flagged"
    assert row.flag_text
