"""Radiative transfer: what any spectrum must do, on short pieces of the Sun."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from harpsstar.errors import InputsMissingError
from harpsstar.grid.synthesis import disk_quadrature, load_pysme, synthesize, wavelengths
from harpsstar.model.linelist import DTYPE, configuration

STEP = 0.005
WAVE = np.arange(5199.0, 5201.0, STEP)
SUN = (5750.0, 4.5, 0.0)
VERY_WEAK, STRONG = -5.0, -0.5


def iron(log_gf, n=1):
    """One line of Fe I at 5200 Å, n times."""
    return np.array([("Fe 1", 5200.0, 2.5, log_gf, 8.2, -6.1, -7.5, "x")] * n, dtype=DTYPE)


def width(flux):
    """Equivalent width in mÅ."""
    return 1e3 * STEP * float((1 - flux).sum())


@pytest.fixture(scope="module")
def spectrum(decks):
    """Flux around 5200 Å of a deck with given lines."""
    pytest.importorskip("pysme")

    def make(lines, deck=SUN, vmic=1.0, **options):
        return synthesize(decks[deck], lines, vmic=vmic, wave=WAVE, **options)

    return make


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_quadrature_is_exact_for_polynomials(n):
    mu, weight = disk_quadrature(n)
    assert np.all(np.diff(mu) < 0)
    assert 0 < mu[-1] <= mu[0] < 1
    for power in range(2 * n):
        assert weight @ mu**power == pytest.approx(2 / (power + 2), rel=1e-12)
    assert abs(weight @ mu ** (2 * n) - 2 / (2 * n + 2)) > 1e-9


def test_the_grid_covers_the_orders_and_300_kilometres_per_second():
    wave = wavelengths()
    assert (wave.size, wave[0]) == (38400, pytest.approx(5010.0))
    np.testing.assert_allclose(np.diff(np.log(wave)), 2e-6, rtol=1e-6)
    assert wave[0] < 5025 * (1 - 300 / 299792) and wave[-1] > 5393 * (1 + 300 / 299792)


def test_without_pysme_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysme.abund", None)
    with pytest.raises(InputsMissingError, match=r'pip install "harpsstar\[synth\]"'):
        load_pysme.__wrapped__()


def test_pysme_is_kept_from_the_users_folders_and_screen(tmp_path):
    pytest.importorskip("pysme")
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    code = "from harpsstar.grid.synthesis import load_pysme; load_pysme()"
    paths = os.pathsep.join(path for path in sys.path if path)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=here,
        env=os.environ | {"HOME": str(home), "PYTHONPATH": paths},
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(home.iterdir()) == list(here.iterdir()) == []


def test_the_flux_lies_between_zero_and_the_continuum(spectrum):
    flux = spectrum(iron(STRONG))
    assert flux.shape == WAVE.shape
    assert flux.dtype == np.float32
    assert flux.min() > 0
    assert flux.max() <= 1 + 1e-6
    assert WAVE[flux.argmin()] == pytest.approx(5200.0, abs=STEP)


def test_a_weak_line_of_twice_the_abundance_is_twice_as_wide(spectrum):
    """The linear part of the curve of growth; gf and abundance enter as their product."""
    once, twice = spectrum(iron(VERY_WEAK)), spectrum(iron(VERY_WEAK + np.log10(2)))
    assert 0.002 < (1 - once).max() < 0.05
    assert width(twice) / width(once) == pytest.approx(2.0, abs=0.05)


def test_two_lines_absorb_like_one_of_twice_the_strength(spectrum):
    two, double = spectrum(iron(VERY_WEAK, n=2)), spectrum(iron(VERY_WEAK + np.log10(2)))
    np.testing.assert_allclose(two, double, atol=1e-4)


def test_a_strong_line_saturates_and_microturbulence_mends_it(spectrum):
    once = width(spectrum(iron(STRONG - 1)))
    assert 1.0 < width(spectrum(iron(STRONG - 1 + np.log10(2)))) / once < 1.6
    assert width(spectrum(iron(STRONG - 1), vmic=2.0)) / once > 1.05
    weak = width(spectrum(iron(VERY_WEAK)))
    assert width(spectrum(iron(VERY_WEAK), vmic=2.0)) / weak == pytest.approx(1.0, abs=0.02)


def test_a_metal_poor_star_has_weaker_lines(spectrum):
    depths = [width(spectrum(iron(-2.0), deck=(5750.0, 4.5, m_h))) for m_h in (-2.0, -1.0, 0.0)]
    assert depths == sorted(depths)
    assert depths[0] < 0.5 * depths[-1]


def test_hot_stars_have_no_molecules(spectrum):
    molecule = iron(-1.0)
    molecule["species"], molecule["excitation"], molecule["wavelength"] = "MgH 1", 0.5, 5200.3
    atom = iron(VERY_WEAK)
    both = np.concatenate([atom, molecule])
    cool, hot = (4000.0, 4.5, 0.0), (configuration()["hottest"]["MgH 1"], 4.5, 0.0)
    assert width(spectrum(both, cool)) > width(spectrum(atom, cool)) + 5
    np.testing.assert_array_equal(spectrum(both, hot), spectrum(atom, hot))


def test_three_points_of_the_disk_are_enough(spectrum):
    for line in (iron(-2.0), iron(STRONG)):
        np.testing.assert_allclose(spectrum(line), spectrum(line, n_mu=8), atol=3e-4)
