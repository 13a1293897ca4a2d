"""Radiative transfer by PySME (Piskunov & Valenti 2017, A&A 597, A16; Wehrhahn et al. 2023).

Four choices differ from PySME's defaults, all measured in ``benchmarks/synthesis.py``: the
transfer is solved on our own wavelength grid (PySME's adaptive grid, interpolated, differs from
it by up to 3 % of the continuum and takes longer), the flux is integrated over the disk by
three-point Gauss-Jacobi quadrature in mu (within 2e-4 of eight points), the opacity of the
continuum is computed every ångström and interpolated (within 1e-5 of PySME's adaptive steps,
which are four times as many), and several microturbulences share one solution of the gas.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.grid._pysme import load_pysme
from harpsstar.grid.atlas9 import Deck
from harpsstar.model.linelist import LineArray, relevant

#: Air Å.
WAVE_START, WAVE_END = 5010.0, 5410.0
#: Natural log of wavelength; 0.6 km/s.
LOG_STEP = 2e-6
N_WAVE = 38400
N_MU = 3
#: Å; between two computations of the continuum's opacity.
CONTINUUM_STEP = 1.0
#: A line is followed as far as its opacity exceeds this share of the continuum's.
LINE_CUT = 1e-4
#: Enhanced together as [alpha/Fe].
ALPHA_ELEMENTS = ("O", "Ne", "Mg", "Si", "S", "Ca", "Ti")


def wavelengths() -> npt.NDArray[np.float64]:
    """Return the grid's wavelengths, (38400,) air Å, uniform in the logarithm."""
    return np.exp(np.log(WAVE_START) + LOG_STEP * np.arange(N_WAVE))


def disk_quadrature(n_mu: int = N_MU) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return nodes mu and weights, each (n_mu,), of F = 2 ∫ I(mu) mu dmu, mu decreasing.

    Gauss-Jacobi quadrature with the weight mu (Abramowitz & Stegun 25.4.33).

    >>> mu, weight = disk_quadrature(3)
    >>> float(round(weight @ mu**2, 12))  # 2 ∫ mu^3 dmu
    0.5
    """
    from scipy.special import roots_jacobi

    x, weight = roots_jacobi(n_mu, 0, 1)
    order = np.argsort(-x)
    return 0.5 * (x[order] + 1), weight[order] / weight.sum()


def _line_list(pysme: SimpleNamespace, lines: LineArray) -> Any:
    import pandas

    frame = pandas.DataFrame(
        {
            "species": lines["species"].astype(str),
            "wlcent": lines["wavelength"],
            "excit": lines["excitation"],
            "gflog": lines["log_gf"],
            "gamrad": lines["gamma_rad"],
            "gamqst": lines["gamma_stark"],
            "gamvw": lines["gamma_vdw"],
            "lande": 1.0,
            "depth": 1.0,
            "error": 0.0,
            "reference": "",
            "atom_number": 1.0,
            "ionization": [float(str(species).split()[1]) for species in lines["species"]],
        }
    )
    return pysme.linelist.LineList(frame, lineformat="short", medium="air")


def atmosphere_for(pysme: SimpleNamespace, star: Deck) -> Any:
    """Give PySME a deck, or what was interpolated between decks."""
    atmosphere = pysme.krzfile.KrzFile(str(star.path))
    if star.columns is not None:
        atmosphere.teff, atmosphere.logg = star.teff, star.logg
        for name, column in star.columns.items():
            setattr(atmosphere, name, column)
    atmosphere.method = "embedded"
    return atmosphere


def state_for(star: Deck, lines: LineArray, vmic: float, alpha: float = 0.0) -> Any:
    """Return PySME's description of a star without rotation, ready but for its wavelengths."""
    pysme = load_pysme()
    state = pysme.sme.SME_Structure()
    state.atmo = atmosphere_for(pysme, star)
    state.teff, state.logg, state.monh = star.teff, star.logg, star.m_h
    state.abund = pysme.abund.Abund(star.m_h, "asplund2009")
    for element in ALPHA_ELEMENTS if alpha else ():
        state.abund.set_xm(element, alpha)
    state.vmic, state.vmac, state.vsini = vmic, 0, 0
    state.linelist = _line_list(pysme, lines)
    state.cscale_flag = state.vrad_flag = "none"
    return state


def synthesize(
    star: Deck,
    lines: LineArray,
    *,
    vmic: float,
    alpha: float = 0.0,
    wave: npt.NDArray[np.float64] | None = None,
    n_mu: int = N_MU,
) -> npt.NDArray[np.float32]:
    """Compute the normalised disk-integrated flux of one model atmosphere.

    Parameters
    ----------
    star : Deck
        The atmosphere; its metallicity scales Asplund et al. (2009).
    lines : ndarray of :data:`harpsstar.model.linelist.DTYPE`
        Those that cannot be seen in the star are left out.
    vmic : float
        Microturbulence, km/s.
    alpha : float
        [alpha/Fe] of :data:`ALPHA_ELEMENTS`, dex; the atmosphere's structure stays.
    wave : ndarray, optional
        (n,) air Å; :func:`wavelengths` by default.
    n_mu : int
        Points of the disk quadrature.

    Returns
    -------
    ndarray
        (n,) flux over continuum, no rotation, no macroturbulence, no instrument.

    Raises
    ------
    InputsMissingError
        When PySME is not installed.
    """
    wave = wavelengths() if wave is None else wave
    return synthesize_each(star, lines, [(vmic, wave)], alpha=alpha, n_mu=n_mu)[0]


def synthesize_each(
    star: Deck,
    lines: LineArray,
    wanted: Sequence[tuple[float, npt.NDArray[np.float64]]],
    *,
    alpha: float = 0.0,
    n_mu: int = N_MU,
) -> list[npt.NDArray[np.float32]]:
    """Compute the flux of one model atmosphere for several microturbulences.

    The state of the gas is solved once, since it does not depend on the microturbulence.

    Parameters
    ----------
    star, lines, alpha, n_mu
        As in :func:`synthesize`.
    wanted : sequence of (float, ndarray)
        Microturbulence, km/s, and the wavelengths (n,), air Å, at which its flux is
        computed. A wavelength's flux does not depend on which others are asked for.

    Returns
    -------
    list of ndarray
        For each of `wanted`, (n,) flux over continuum.

    Raises
    ------
    InputsMissingError
        When PySME is not installed.
    """
    pysme = load_pysme()
    lines = relevant(lines[np.argsort(lines["wavelength"], kind="stable")], star.teff)
    mu, weight = disk_quadrature(n_mu)
    state = state_for(star, lines, wanted[0][0], alpha)
    synthesizer = pysme.synthesize.Synthesizer()
    fluxes = []
    # SMElib writes a log into the working directory
    with tempfile.TemporaryDirectory(prefix="harpsstar-sme-") as folder, contextlib.chdir(folder):
        library = synthesizer.get_dll()
        library.SetLibraryPath()
        library.SetContinuumOpacityGrid("fixed", base_step=CONTINUUM_STEP)
        library.SetContinuumScatteringSourceMode(int(state.continuum_scattering_source))
        library.InputLineList(state.linelist)
        state = synthesizer.get_atmosphere(state)
        for i, (vmic, wave) in enumerate(wanted):
            library.InputModel(state.teff, state.logg, vmic, state.atmo)
            if i == 0:
                library.InputAbund(state.abund)
                with warnings.catch_warnings():  # of electron densities; the deck's own are used
                    warnings.simplefilter("ignore")
                    library.Ionization(0)
            library.SetVWscale(state.gam6)
            library.SetH2broad(state.h2broad)
            library.InputWaveRange(WAVE_START - 2.0, WAVE_END + 2.0)
            library.Opacity()
            strongest, reach = library.ALMAXRange(accrt=LINE_CUT)
            strong = (strongest >= LINE_CUT).astype(np.uint8)
            library.InputLinePrecomputedInfo(reach[:, 0], reach[:, 1], strong)
            _, _, intensity, continuum = library.Transf(mu, wave=wave, accrt=LINE_CUT)
            flux = (weight @ intensity) / (weight @ continuum)
            fluxes.append(flux.astype(np.float32))
    return fluxes
