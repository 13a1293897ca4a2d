"""Constants and relations of the package against their sources.

The numbers on the right are those that the paper prints, or follow from a formula that it prints
and that is evaluated here, or are computed from other constants; none is taken from the package.
"""

from __future__ import annotations

import dataclasses
import math
import re
from importlib import resources

import numpy as np
import pytest
import torch
from astropy import constants as nature
from astropy import units as u
from scipy.stats import norm
from specutils.utils.wcs_utils import vac_to_air

from harpsstar import constants, labels
from harpsstar.evaluate import bound, calibration
from harpsstar.evaluate import posterior as simulated
from harpsstar.evaluate.stars import read_references
from harpsstar.grid import atlas9, synthesis, vald
from harpsstar.grid import calibration as solar
from harpsstar.infer import parameters, uncertainty
from harpsstar.infer import quality as flags
from harpsstar.infer.fit import data as fit_data
from harpsstar.instruments import get_instrument
from harpsstar.io import build
from harpsstar.io import noise as scatter
from harpsstar.io.s2d import air
from harpsstar.mock import simulate, tellurics
from harpsstar.model import broadening, linelist, mismatch, opacity, relations
from harpsstar.paper import attention, figures, sun
from harpsstar.paper import published as table2
from harpsstar.spectra import frame, noise
from harpsstar.train import stream

C = nature.c.to_value(u.km / u.s)
EV = (1 * u.eV / (nature.h * nature.c)).to_value(1 / u.cm, u.dimensionless_angles())
FWHM = 2 * math.sqrt(2 * math.log(2))


def einstein():
    """Mean shift of light between the Earth's surface and the barycentre, Stumpff (1979)."""
    of_sun = nature.GM_sun / (u.au * nature.c**2)
    of_earth = nature.GM_earth / (nature.R_earth * nature.c**2)
    transverse = 0.5 * (2 * math.pi * u.au / (1 * u.yr) / nature.c) ** 2
    return sum(float(term.to_value(u.one)) for term in (of_sun, of_earth, transverse))


def mad_of_a_gaussian():
    return 1 / norm.ppf(0.75)


#: What it is, the package's value, the source's value, relative tolerance, source.
TABLE = [
    ("speed of light", constants.C_KM_S, 299_792.458, 0, "SI"),
    ("of the frames", frame.C_KM_S, C, 0, "SI"),
    ("of broadening", broadening.C_KMS, C, 0, "SI"),
    ("of the barycentre", build.barycentric_factor(30.0) / build.barycentric_factor(0.0) - 1,
     30.0 / C, 1e-9, "SI"),
    ("barycentre of a resting Earth", build.barycentric_factor(0.0) - 1, einstein(), 2e-3,
     "Stumpff 1979, A&A 78, 229; as DRS 3.7"),
    ("MAD to sigma", constants.MAD_TO_SIGMA, mad_of_a_gaussian(), 2e-5, "Gaussian"),
    ("of the noise", noise.MAD_TO_SIGMA, mad_of_a_gaussian(), 2e-5, "Gaussian"),
    ("one sigma", constants.ONE_SIGMA, norm.cdf(1) - norm.cdf(-1), 1e-4, "Gaussian"),
    ("two sigma", constants.TWO_SIGMA, norm.cdf(2) - norm.cdf(-2), 1e-4, "Gaussian"),
    ("one sigma of a fit", simulated.SHARES[0], norm.cdf(1) - norm.cdf(-1), 1e-4, "Gaussian"),
    ("two sigma of a fit", simulated.SHARES[1], norm.cdf(2) - norm.cdf(-2), 1e-4, "Gaussian"),
    ("FWHM of a Gaussian", broadening._FWHM, FWHM, 1e-12, "Gaussian"),
    ("eV in 1/cm", vald._CM_PER_EV, EV, 1e-6, "CODATA"),
    # the Sun
    ("teff", constants.SUN_TEFF, 5772.0, 0, "IAU Resolution B3, Prsa et al. 2016"),
    ("logg", constants.SUN_LOGG,
     math.log10((nature.GM_sun / nature.R_sun**2).cgs.value), 1e-4, "the same, GM and R"),
    ("[M/H]", constants.SUN_M_H, 0.0, 0, "definition"),
    ("vsini", constants.SUN_VSINI, 1.8, 0, "Pavlenko et al. 2012, MNRAS 422, 542"),
    ("vmac", constants.SUN_VMAC, 3.21, 0, "Doyle et al. 2014, Eq. 8, at 5777 K and 4.44"),
    ("vsini to judge by", sun.SUN[3], 1.71, 0, "Kinem. Fiz. Nebesn. Tel 1993, 9, 37"),
    # the atmosphere of a star and its scatter
    ("limb darkening", broadening.LIMB_DARKENING, 0.6, 0, "Gray 2005, Ch. 18"),
    ("scatter of vmic", relations.VMIC_SCATTER, 0.15, 0, "Jofre et al. 2014, A&A 564, A133"),
    ("scatter of vmac", relations.VMAC_SCATTER, 0.73, 0, "Doyle et al. 2014, Eq. 8"),
    ("scatter of alpha", relations.ALPHA_SCATTER, 0.1, 0, "Adibekyan et al. 2012, Fig. 7"),
    ("vmic of Table 1", stream.PAPER_VMIC, 2.0, 0, "Castelli & Kurucz 2003, ODFNEW"),
    # lines
    ("hyperfine isotopes of MgH", linelist.configuration()["isotopes"]["112.00124"][1], 0.7899,
     0, "Asplund et al. 2009, Table 3"),
    ("12C", linelist.configuration()["isotopes"]["106.00112"][1], 0.988938, 1e-4, "the same"),
    ("12C2", linelist.configuration()["isotopes"]["606.01212"][1], 0.988938**2, 2e-4, "the same"),
    ("12C13C", linelist.configuration()["isotopes"]["606.01213"][1], 2 * 0.988938 * 0.011062,
     6e-3, "the same"),
    ("12C14N", linelist.configuration()["isotopes"]["607.01214"][1], 0.988938 * 0.99771, 2e-4,
     "the same"),
    ("Mg b1", attention.MG_B["Mg b1"], 5183.6042, 2e-6, "NIST ASD, air"),
    ("Mg b2", attention.MG_B["Mg b2"], 5172.6843, 2e-6, "NIST ASD, air"),
    ("Mg b4", attention.MG_B["Mg b4"], 5167.3216, 2e-6, "NIST ASD, air"),
    ("water, (5 0 1)", tellurics._BANDS[0].origin, 19781.0, 1e-4, "Carleer et al. 1999"),
    ("water, (4 2 1)", tellurics._BANDS[1].origin, 18393.0, 1e-4, "Carleer et al. 1999"),
    # what the grid is made on
    ("pixel of the grid", synthesis.LOG_STEP * C, 0.6, 1e-3, "PySME is run at 0.6 km/s"),
    ("end of the grid", synthesis.wavelengths()[-1], 5410.0, 2e-5, "5393 Å and 300 km/s"),
    ("begin of the grid", synthesis.wavelengths()[0], 5010.0, 1e-9, "5025 Å and 300 km/s"),
    ("pixels of the paper", figures.RANGE[1] - figures.RANGE[0], 300.0, 0, "Hüttel & Clemmensen"),
    ("test set of the paper", table2.N_TEST / (253 * 7 * 16), 0.2, 1e-3, "Hüttel & Clemmensen"),
    # what is claimed of the errors of the physics, K, dex, dex, km/s: measured, docs/explanation
    *((f"floor of {name}", found, known, 0, "docs/explanation/errors.md")
      for name, found, known in zip(labels.NAMES, uncertainty.FLOOR, (70.0, 0.10, 0.09, 1.5),
                                    strict=True)),
]  # fmt: skip


@pytest.mark.parametrize(("found", "known", "rel", "source"), [row[1:] for row in TABLE],
                         ids=[row[0] for row in TABLE])  # fmt: skip
def test_a_number_is_that_of_its_source(found, known, rel, source):
    assert found == pytest.approx(known, rel=rel, abs=0 if rel else 1e-12), source


def relation(function, *values):
    return float(function(*(torch.tensor(value, dtype=torch.float64) for value in values)))


def bergemann(teff, logg, m_h):
    """As the Gaia-ESO Survey prints it (wiki of WG 11; iSpec, Blanco-Cuaresma et al. 2014)."""
    t, g = teff - 5500, logg - 4.0
    common = -0.14 * g - 0.005 * g**2 + 0.05 * m_h + 0.01 * m_h**2
    if logg >= 3.5:
        t = max(teff, 5000) - 5500
        return 1.05 + 2.51e-4 * t + 1.5e-7 * t**2 + common
    return 1.25 + 4.01e-4 * t + 3.1e-7 * t**2 + common


@pytest.mark.parametrize("star", [
    (5772.0, 4.44, 0.0), (5000.0, 4.6, -0.5), (4300.0, 4.7, 0.3), (6400.0, 4.1, -1.2),
    (6800.0, 4.5, 0.5), (5500.0, 4.3, -2.4), (4250.0, 1.6, -0.5), (4800.0, 2.5, 0.1),
    (5400.0, 2.2, -2.0), (4100.0, 2.0, 0.3),
])  # fmt: skip
def test_microturbulence_is_that_of_the_gaia_eso_survey(star):
    """Away from 3.5, where the two branches are joined."""
    expected = min(max(bergemann(*star), 0.5), 2.0)
    assert relation(relations.vmic_relation, *star) == pytest.approx(expected, abs=4e-3)


def test_branches_of_the_microturbulence_meet_half_way():
    dwarf, giant = bergemann(5200.0, 3.5, 0.0), bergemann(5200.0, 3.5 - 1e-9, 0.0)
    found = relation(relations.vmic_relation, 5200.0, 3.5, 0.0)
    assert found == pytest.approx(0.5 * (dwarf + giant), abs=1e-6)


@pytest.mark.parametrize("star", [
    (5777.0, 4.44), (5200.0, 4.44), (6400.0, 4.44), (5777.0, 4.0), (5777.0, 4.6), (6100.0, 4.2),
])  # fmt: skip
def test_macroturbulence_is_eq_8_of_doyle_et_al(star):
    """MNRAS 444, 3592: 5200 to 6400 K, 4.0 to 4.6."""
    t, g = star[0] - 5777, star[1] - 4.44
    expected = 3.21 + 2.33e-3 * t + 2.00e-6 * t**2 - 2.00 * g
    assert relation(relations.vmac_relation, *star) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("m_h", "alpha"), [(-2.0, 0.4), (-1.0, 0.4), (-0.5, 0.2), (-0.25, 0.1),
                                            (0.0, 0.0), (0.4, 0.0)])  # fmt: skip
def test_alpha_is_that_of_the_standard_composition_of_marcs(m_h, alpha):
    """Gustafsson et al. (2008, A&A 486, 951), Sect. 3.2."""
    assert relation(relations.alpha_relation, m_h) == pytest.approx(alpha, abs=1e-6)


def test_alpha_elements_are_those_that_the_column_names_and_all_enhanced_alike():
    """Capture of helium makes them; argon, which has no line here, is left out."""
    assert synthesis.ALPHA_ELEMENTS == ("O", "Ne", "Mg", "Si", "S", "Ca", "Ti")
    assert all(name in labels.ALPHA.description for name in synthesis.ALPHA_ELEMENTS)
    pytest.importorskip("pysme")
    pysme = synthesis.load_pysme()
    plain, rich = (pysme.abund.Abund(0.0, "asplund2009") for _ in range(2))
    for element in synthesis.ALPHA_ELEMENTS:
        rich.set_xm(element, 0.4)
    raised = {name for name in linelist.ELEMENTS if not np.isnan(plain[name])
              and rich[name] - plain[name] == pytest.approx(0.4, abs=1e-6)}  # fmt: skip
    assert raised == {"O", "Ne", "Mg", "Si", "S", "Ca", "Ti"}


def test_solar_abundances_are_those_of_asplund_et_al():
    """ARA&A 47, 481, Table 1, as PySME has them for the synthesis, and some as printed."""
    printed = {"H": 12.0, "He": 10.93, "C": 8.43, "O": 8.69, "Mg": 7.60, "Si": 7.51, "Ca": 6.34,
               "Ti": 4.95, "Cr": 5.64, "Fe": 7.50, "Ni": 6.22, "Ba": 2.18}  # fmt: skip
    assert {name: linelist.SOLAR[name] for name in printed} == printed
    pytest.importorskip("pysme")
    abundances = synthesis.load_pysme().abund.Abund(0.0, "asplund2009")
    pattern = abundances.get_pattern(type="H=12", raw=True)
    for name, value in zip(abundances.elem, pattern, strict=True):
        if str(name) in linelist.SOLAR and np.isfinite(value):
            assert linelist.SOLAR[str(name)] == pytest.approx(float(value), abs=5e-3), name


def test_wavelengths_in_air_are_those_of_the_formula_and_of_another_measurement():
    """Birch & Downs (1994) as VALD prints it; Ciddor (1996) agrees to some 1e-9 in the optical."""
    vacuum = np.array([3000.0, 4000.0, 5010.0, 5200.0, 5410.0, 6000.0])
    s2 = (1e4 / vacuum) ** 2
    n = 1 + 8.34254e-5 + 2.406147e-2 / (130 - s2) + 1.5998e-4 / (38.9 - s2)
    ciddor = vac_to_air(vacuum * u.AA, method="Ciddor1996").to_value(u.AA)
    for found in (linelist.air_from_vacuum(vacuum), air(vacuum)):
        np.testing.assert_allclose(found, vacuum / n, rtol=1e-12)
        np.testing.assert_allclose(found, ciddor, rtol=2e-9)


def test_isotopes_of_an_element_are_all_there():
    for element, shares in vald._shares().items():
        assert sum(shares.values()) == pytest.approx(1.0, abs=2e-3), element
    known = {("Mg", "24"): 0.79, ("Mg", "25"): 0.10, ("Mg", "26"): 0.11, ("C", "12"): 0.989,
             ("Ti", "48"): 0.737, ("O", "16"): 0.9976, ("Si", "28"): 0.922}  # fmt: skip
    for (element, mass), share in known.items():
        assert vald._shares()[element][mass] == pytest.approx(share, rel=3e-3)


def test_the_boltzmann_factor_of_line_strengths():
    """5040 K: 1 eV over k ln 10."""
    line = np.zeros(2, dtype=linelist.DTYPE)
    line["species"], line["excitation"] = "Fe 1", [0.0, 1.0]
    weak, strong = linelist.strength(line, [5040.0], linelist.configuration())
    kelvin = (1 * u.eV / nature.k_B).to_value(u.K) / math.log(10)
    assert weak - strong == pytest.approx(kelvin / 5040.0, rel=1e-3)


# --- the Sun, wherever it stands -------------------------------------------------------------


def test_the_sun_is_one():
    known = (constants.SUN_TEFF, constants.SUN_LOGG, constants.SUN_M_H, constants.SUN_VSINI)
    assert known == mismatch.SUN_LABELS
    assert tuple(solar.SUN[name] for name in labels.NAMES) == known
    assert solar.SUN["vmac"] == mismatch.SUN_VMAC == constants.SUN_VMAC
    assert sun.SUN[:3] == known[:3]
    reference = read_references()["Sun"]
    assert [getattr(reference, name)[0] for name in labels.NAMES] == list(sun.SUN)
    # What is measured and what the line list was calibrated with agree within what is known.
    assert pytest.approx(sun.SUN[3], abs=0.1) == constants.SUN_VSINI
    assert relation(relations.vmac_relation, *known[:2]) == pytest.approx(3.21, abs=0.02)


# --- spectrographs ---------------------------------------------------------------------------

#: name: resolution, rows, pixels, first order, read noise, gain, pixels of an extracted one.
SPECTROGRAPHS = {
    # Cosentino et al. 2012; rows and orders: DRS 3.7; see tests/io/test_real_files.py for the six.
    "HARPS-N": (115_000.0, 69, 4096, 157, 4.0, 1.36, 6.0),
    "HARPS": (115_000.0, 72, 4096, 161, 4.8, 1.36, 6.0),  # Mayor et al. 2003
    "ESPRESSO": (140_000.0, 170, 9111, 161, 4.0, 0.9, 8.0),  # Pepe et al. 2021
}


@pytest.mark.parametrize("name", SPECTROGRAPHS)
def test_a_spectrograph_is_as_its_builders_say(name):
    known = get_instrument(name)
    assert (known.resolution, known.n_orders, known.n_pixels, known.m_first, known.read_noise,
            known.gain, known.extraction_pixels) == SPECTROGRAPHS[name]  # fmt: skip


def test_orders_of_harps_n_lie_where_its_grating_puts_them():
    """31.6 grooves/mm at 75 degrees; published centres of the eight orders that are analysed."""
    instrument = get_instrument("HARPS-N")
    assert tuple(range(36, 44)) == frame.ROWS
    assert instrument.order_m[list(frame.ROWS)].tolist() == list(range(121, 113, -1))
    centres = instrument.wavelengths[list(frame.ROWS), 2048]
    published = [5055.4, 5097.5, 5140.4, 5183.9, 5228.2, 5273.2, 5319.1, 5365.7]
    np.testing.assert_allclose(centres, published, atol=0.06)
    np.testing.assert_allclose(instrument.order_m * instrument.wavelengths[:, 2048],
                               instrument.blaze_constant, rtol=1.5e-3)  # fmt: skip
    widths = np.diff(instrument.wavelengths[list(frame.ROWS)], axis=1)[:, 2048]
    np.testing.assert_allclose(widths[[0, -1]], [0.0138, 0.0147], rtol=0.01)


# --- what follows from these, and where they are used ----------------------------------------


def test_fourth_differences_have_seventy_times_the_variance():
    rng = np.random.default_rng(5)
    flux = 1 + 0.01 * rng.normal(size=(1, 200_000))
    assert sum(math.comb(4, k) ** 2 for k in range(5)) == 70
    found = noise.ivar_from_flux(flux, np.ones(flux.shape, dtype=bool))
    assert found[0, 0] ** -0.5 == pytest.approx(0.01, rel=0.01)


def test_scatter_of_an_interpolated_spectrum_is_corrected_by_what_was_measured():
    """2.4 (docs of scatter_noise) over the scatter of white noise."""
    flux = 1 + 0.01 * np.random.default_rng(6).normal(size=40_000)
    found = scatter.scatter_noise(flux, np.zeros(flux.shape, dtype=bool))
    assert float(np.median(found)) == pytest.approx(2.4 * 0.01, rel=0.05)


def test_an_unresolved_rotation_is_below_the_width_of_the_instrument():
    good = flags.Evidence(
        labels=np.array([5500.0, 4.2, -0.3, 8.0]), sigma=np.array([5.0, 0.01, 0.01, 0.1]),
        lowest_logg=0.5, resolution=115000.0, misfit=0.01, snr=80.0, significance=5000.0,
        peak_ratio=0.2, order_share=np.ones(8), blaze="file b.fits", saturated=False,
    )  # fmt: skip
    for vsini, raised in ((C / 115000.0 - 0.001, True), (C / 115000.0 + 0.001, False)):
        evidence = dataclasses.replace(good, labels=np.array([5500.0, 4.2, -0.3, vsini]))
        assert (flags.Flag.VSINI_UPPER_LIMIT in flags.assess(evidence)) is raised


def test_widths_of_lines_use_the_same_light_and_gaussian():
    star = {"vsini": 0.0, "vmac": 0.0, "vmic": 0.0}
    own = opacity.line_width(star, math.inf)
    seen = math.sqrt(opacity.line_width(star, 50_000.0) ** 2 - own**2)
    assert seen == pytest.approx(C / 50_000.0 / FWHM, rel=1e-3)


def test_priors_of_inference_are_those_relations():
    scatter = dict(zip(parameters.PARAMETER_NAMES[4:], parameters.scatter().tolist(), strict=True))
    assert scatter["vmic"] == 0.15
    assert scatter["vmac"] == 0.73
    assert scatter["rv"] > 1.0  # no constraint in practice
    assert relations.SCATTER | {"vmic": 0.15, "vmac": 0.73} == relations.SCATTER
    default = simulate.Priors()
    assert (default.vmic_scatter, default.vmac_scatter) == (0.15, 0.73)
    assert fit_data.continuum_prior(4)[0][0] == 1.0


def test_a_flat_prior_has_the_variance_of_its_range():
    spans = np.array([label.high - label.low for label in labels.LABELS])
    np.testing.assert_allclose(bound.prior_precision().diagonal(), 12 / spans**2)


def test_ranges_of_the_labels_are_those_of_table_1():
    """Hüttel & Clemmensen (2021), Table 1; nuisances as far as the grid and the relations go."""
    ranges = {label.name: (label.low, label.high) for label in (*labels.LABELS, *labels.NUISANCES)}
    assert ranges == {
        "teff": (3500.0, 9750.0), "logg": (0.0, 5.0), "m_h": (-2.5, 0.5), "vsini": (0.0, 30.0),
        "vmic": (0.5, 2.0), "vmac": (0.0, 10.0), "alpha": (0.0, 0.4), "rv": (-300.0, 300.0),
    }  # fmt: skip
    assert atlas9.METALLICITY_CODES == {
        "m25": -2.5, "m20": -2.0, "m15": -1.5, "m10": -1.0, "m05": -0.5, "p00": 0.0, "p05": 0.5,
    }  # fmt: skip
    assert calibration.TEFF_BINS[0][0] == 3500.0
    assert calibration.TEFF_BINS[-1][1] == 9750.0


def test_nobody_else_writes_these_numbers():
    """Each has one place; a second one would be neither compared nor changed with the first."""
    numbers = re.compile(r"299_?792|1\.482|1\.55e-8")
    found = [
        path.name for path in sorted(resources.files("harpsstar").rglob("*.py"))
        if numbers.search(path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert set(found) == {"constants.py"}
