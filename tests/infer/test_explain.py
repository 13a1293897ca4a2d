"""What a line says of a label: shares are shares, and neither noise nor flux units change them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harpsstar import plotting
from harpsstar.errors import ConfigError, OutputError
from harpsstar.infer.explain import explain_and_write, explain_measurement
from harpsstar.infer.predict import predictor
from harpsstar.infer.prepare import _UNKNOWN, Prepared
from harpsstar.labels import NAMES
from harpsstar.nn.zoo import build
from harpsstar.spectra.frame import Canonical, canonical_wavelengths
from harpsstar.spectra.velocity import Velocity

SUN = (5772.0, 4.44, 0.0, 2.0)
SNR = 300.0


def measured(flux, ivar):
    canonical = Canonical(flux=flux.astype(np.float32), ivar=ivar.astype(np.float32), rv=0.0)
    velocity = Velocity(0.0, 0.01, SUN, 1.0, 1.0, 1.0, 0.0, 99.0, 1.0, 9, np.empty(0),
                        np.empty(0))  # fmt: skip
    (result,) = predictor().infer([Prepared("sun", _UNKNOWN, velocity, canonical)])
    assert not isinstance(result, Exception), result
    return result


def explained(flux, ivar, network=None):
    ready = predictor()
    return explain_measurement(
        measured(flux, ivar), ready.emulator, ready.estimator.mismatch,
        ready.model.network if network is None else network,
    )  # fmt: skip


@pytest.fixture(scope="module")
def noiseless():
    """A twin of the Sun."""
    emulator = predictor().emulator
    labels = torch.tensor([SUN])
    flux = emulator.sampler(canonical_wavelengths())(
        emulator(labels, vmic=1.0, vmac=3.2, resolution=_UNKNOWN.resolution)
    )[0].numpy()
    return flux, np.full(flux.shape, SNR**2)


@pytest.fixture(scope="module")
def spectrum(noiseless):
    """The same with its noise."""
    flux, ivar = noiseless
    noise = np.random.default_rng(3).normal(size=flux.shape) / SNR
    return flux + noise, ivar


@pytest.fixture(scope="module")
def result(spectrum):
    return explained(*spectrum)


def by_line(result, label="logg"):
    return dict(zip(result.table["name"], result.table[f"share_{label}"], strict=True))


@pytest.mark.parametrize("label", NAMES)
def test_shares_sum_to_one(result, label):
    share = result.share[NAMES.index(label)]
    assert share.sum() == pytest.approx(1)
    assert (share >= 0).all()
    assert result.table[f"share_{label}"].sum() == pytest.approx(1)


def test_lines_hold_the_pixels_that_are_theirs(result):
    for i in (0, 5):
        mine = result.line == i
        assert mine.sum() == result.table["n_pixels"][i]
        assert result.pull[1][mine].sum() == pytest.approx(result.table["pull_logg"][i])


def test_pulls_cancel_at_the_solution(result):
    total = result.pull.sum(axis=(1, 2))
    # the labels are a median, and v sin i of a slow star is far from Gaussian
    assert abs(total[:3]).max() < 0.3
    assert abs(result.pull).sum(axis=(1, 2)).min() > 5


def test_a_masked_pixel_carries_nothing(spectrum):
    flux, ivar = (x.copy() for x in spectrum)
    ivar[4, 1000:1100] = 0
    result = explained(flux, ivar)
    hole = (slice(None), 4, slice(1000, 1100))
    assert not result.share[hole].any()
    assert not result.pull[hole].any()
    assert (result.line[hole[1:]] == -1).all()
    flux[4, 1000:1100] = 7
    np.testing.assert_allclose(explained(flux, ivar).share, result.share, atol=1e-7)


def test_twice_the_noise_changes_no_share(noiseless):
    # but for the priors of the nuisances, which are weak at this noise
    flux, ivar = noiseless
    one, two = (explained(flux, ivar / factor**2) for factor in (1, 2))
    np.testing.assert_allclose(two.sigma[:3] / one.sigma[:3], 2, rtol=0.005)
    for label in NAMES[:3]:
        before, after = by_line(one, label), by_line(two, label)
        for name in one.top(label)["name"]:
            assert after[name] == pytest.approx(before[name], rel=0.01)


def test_the_unit_of_flux_changes_nothing(spectrum, result):
    flux, ivar = spectrum
    scaled = explained(flux * 1e4, ivar / 1e8)
    np.testing.assert_allclose(scaled.share, result.share, atol=1e-6)
    assert list(scaled.top("logg")["name"]) == list(result.top("logg")["name"])


def test_magnesium_decides_on_the_gravity_of_the_sun(result):
    best = list(result.top("logg")["name"])
    assert {"Mg I 5183.61", "Mg I 5172.69"} < set(best)
    assert any(name.startswith("Fe I") for name in best)
    assert any(name.startswith("Fe I 5269") for name in result.top("m_h")["name"])


def test_the_wings_of_magnesium_are_its_own(result):
    row = list(result.table["name"]).index("Mg I 5183.61")
    mine = result.wave[result.line == row]
    assert mine.min() < 5183.61 - 1.2
    assert mine.max() > 5183.61 + 1.2


def test_a_lone_outlier_pulls_less_than_it_would(spectrum, result):
    flux, ivar = (x.copy() for x in spectrum)
    row, pixel = np.unravel_index(np.argmax(result.share[1]), flux.shape)
    flux[row, pixel] -= 3 / SNR
    pulled = explained(flux, ivar).pull[1][row, pixel] - result.pull[1][row, pixel]
    assert np.sign(pulled) == -np.sign(result.pull[1][row, pixel] * (
        result.flux - result.model)[row, pixel])  # fmt: skip


def test_a_label_that_is_none(result):
    with pytest.raises(ConfigError, match="teff, logg, m_h, vsini"):
        result.top("rv")


@pytest.mark.parametrize("suffix", plotting.FORMATS)
def test_the_picture_names_lines(result, tmp_path, suffix):
    figure = dataclasses.replace(result).plot(n=3)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert "Mg b1 5183.6" in texts
    assert len(texts) == 3 * len(NAMES)
    if suffix == ".png":
        assert plotting.save(figure, tmp_path / f"explained{suffix}").stat().st_size > 10_000


@pytest.mark.parametrize("name", [{"output": "lines.txt"}, {"picture": "lines.gif"}])
def test_a_wrong_output_is_told_before_the_file_is_opened(tmp_path, name):
    options = {key: tmp_path / value for key, value in name.items()}
    with pytest.raises(OutputError, match="extension"):
        explain_and_write(tmp_path / "none.fits", **options)


def test_attention_is_given_line_by_line_where_the_network_has_some(spectrum, result):
    assert len(result.attention) == 0
    assert "attention" not in result.table.colnames
    flux, ivar = spectrum
    options = {"covariance": "diagonal", "channels": [2, 2, 2, 2]}
    found = explained(flux, ivar, build("attention", options).eval())
    assert found.attention.shape == (3, *flux.shape)
    np.testing.assert_allclose(found.attention.sum((1, 2)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found.table["attention"].sum(), 1.0, rtol=1e-5)
    assert "attention / mean" in [axis.get_ylabel() for axis in found.plot(n=1).axes]
