"""One star in every layout that is read comes back with its labels and its velocity."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest

from harpsstar.infer.predict import predictor
from harpsstar.io.facts import read_facts
from harpsstar.io.given import Given
from harpsstar.io.products import identify, read_arrays
from harpsstar.mock import model_star, observe

from .layouts import BERV, Star, layouts

NAMES = (
    "e2ds", "s1d", "S2D", "S2D_BLAZE", "S1D", "S1D_SKYSUB", "S1D_TELL_CORR", "S1D_FLUXCAL",
    "e2ds, tile-compressed", "s1d, 1 × N", "ADP, old", "ADP, new", "ADP, observatory",
    "text, two columns", "text, nm, tabs, errors", "CSV, vacuum", "text, decimal commas",
    "text, gzipped", "table, names", "table, ivar", "table, UCD and unit", "image",
    "image, Angstrom", "image, nm", "image, WAVE", "image, AWAV-LOG", "image, DC-FLAG",
    "image in an extension", "multispec, one aperture", "multispec, chebyshev",
    "multispec, legendre",
)  # fmt: skip
RV = 33.0
LABELS = (5772.0, 4.44, 0.0, 5.0)


def star_at(resolution, snr=100.0):
    model = model_star(*LABELS, resolution=resolution)
    options = {"rv": RV, "berv": BERV, "snr": snr, "seed": 2, "target": "HD 1"}
    return Star(lambda format: observe(model, format=format, **options))


@pytest.fixture(scope="module")
def star():
    return star_at(115000.0)


@pytest.fixture(scope="module")
def files(star):
    return layouts(star)


def measured(data, say, **more):
    read = read_arrays(io.BytesIO(data), given=Given(**{**say, **more}))
    result = predictor("default").measure(read)
    total = (result.estimate.covariance + result.estimate.systematic)[0].double().numpy()
    return result, result.estimate.labels[0].double().numpy(), np.sqrt(np.diag(total))


def test_every_layout_is_listed(files):
    assert tuple(files) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_what_it_is_and_read(files, name, tmp_path):
    data, say, product = files[name]
    read = read_arrays(io.BytesIO(data), given=Given(**say))
    seen = read.observation
    assert (seen.product, seen.frame, seen.resolution) == (product, "barycentric", 115000.0)
    assert not seen.resolution_assumed
    path = tmp_path / "file.dat"
    path.write_bytes(data)
    assert identify(path)[0] == product
    # The fast scan of headers, by which folders are searched, says the same.
    facts = read_facts(path)
    assert (facts.product, facts.skip) == (product, "")
    path.write_bytes(gzip.compress(data, 1) if data[:2] != b"\x1f\x8b" else data)
    assert read_facts(path).product == product


@pytest.mark.parametrize("name", NAMES[10:])
def test_the_pixels_are_where_they_were(files, star, name):
    data, say, product = files[name]
    read = read_arrays(io.BytesIO(data), given=Given(**say))
    wave, flux, bad = read.wave, read.flux, read.mask
    if product == "multispec":
        expected = read_arrays(io.BytesIO(files["e2ds"][0]))
        low = np.flatnonzero(np.isclose(expected.wave[:, 0], wave[0, 0], atol=1e-3))[0]
        rows = slice(low, low + len(wave))
        np.testing.assert_allclose(wave, expected.wave[rows], atol=2e-4, rtol=0)
        return
    good = ~bad & (wave > 5030) & (wave < 5390)
    there = np.interp(wave[good], star.wave, star.flux)
    ratio = flux[good] / there
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.003


@pytest.mark.parametrize("name", ["S1D_FLUXCAL", "ADP, new", "ADP, observatory", "CSV, vacuum",
                                  "image, AWAV-LOG", "multispec, legendre"])  # fmt: skip
def test_labels_are_those_of_the_e2ds(files, name):
    _, expected, sigma = measured(*files["e2ds"][:2])
    result, labels, _ = measured(*files[name][:2])
    assert np.all(np.abs(labels - expected) < 0.3 * sigma)
    assert abs(result.rv - RV) < 3 * result.rv_err


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [115000.0, 80000.0, 45000.0])
def test_labels_are_those_of_the_e2ds_in_every_layout(resolution):
    found = layouts(star_at(resolution))
    more = {"resolution": resolution}
    _, expected, sigma = measured(*found["e2ds"][:2], **more)
    for name, (data, say, _) in found.items():
        result, labels, _ = measured(data, say, **more)
        assert np.all(np.abs(labels - expected) < 0.3 * sigma), (name, labels, expected)
        assert abs(result.rv - RV) < 3 * result.rv_err, (name, result.rv, result.rv_err)
