"""Mock observer: a model star through a spectrograph, as the pipelines would write it.

The files carry the layout and the cards of the real products, so that the same readers take them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from astropy.io import fits

from harpsstar.instruments import get_instrument
from harpsstar.labels import RV
from harpsstar.mock.effects import Contaminant, Effects, Model
from harpsstar.mock.exposure import Exposure, When, expose
from harpsstar.mock.files import write
from harpsstar.mock.frames import blaze_frame
from harpsstar.mock.products import FORMATS, NEW_FORMATS, writer
from harpsstar.mock.stars import check_range, model_star, moonlight, second_star

if TYPE_CHECKING:
    from harpsstar.model.emulator import Emulator

__all__ = [
    "FORMATS", "NEW_FORMATS", "Contaminant", "Effects", "Exposure", "Model", "When",
    "blaze_frame", "expose", "model_star", "moonlight", "observe", "observe_star", "second_star",
    "write",
]  # fmt: skip


def observe(model: Model, *, format: str = "e2ds", **options: Any) -> fits.HDUList:
    """Observe a model star.

    Parameters
    ----------
    model : callable
        Normalised flux at rest-frame air wavelengths [Å] of any shape, broadened to the
        instrument's resolution; nan outside its range.
    format : {"e2ds", "s1d", "s2d", "s2d_blaze", "s1d_table"}
        Product to write.
    rv, berv : float
        Barycentric velocity of the star and of the Earth towards it [km/s].
    snr : float
        Per pixel, of the continuum (with that of contaminants) in the middle of the order at
        5200 Å.
    instrument : str
        ``"HARPS-N"`` or ``"HARPS"``.
    seed : int
        Of the noise.
    target : str
        Name of the star.
    bjd : float
        Barycentric Julian date; the middle of the exposure by default.
    tilt : float
        Additional slope of the blaze, fraction per half order.
    effects : Effects
        Telluric lines, cosmics, gaps, other light, drift and a wrong velocity in the header.
    when : When
        Beginning and length of the exposure.

    Returns
    -------
    HDUList
        Ready for :func:`write`; its spectrum is zero where the model has no flux.

    Raises
    ------
    ConfigError
        Unknown format, or a signal to noise that is not positive.
    UnknownInstrumentError
        Unknown instrument.
    """
    as_product = writer(format)
    return as_product(expose(model, **options))


def observe_star(
    teff: float,
    logg: float,
    m_h: float,
    vsini: float,
    *,
    vmic: float | None = None,
    vmac: float | None = None,
    rv: float = 0.0,
    berv: float = 0.0,
    instrument: str = "HARPS-N",
    companion: tuple[float, float, float, float] | None = None,
    moon: float = 0.0,
    effects: Effects | None = None,
    emulator: Emulator | None = None,
    **options: Any,
) -> fits.HDUList:
    """Observe a star of the emulator.

    Parameters
    ----------
    teff, logg, m_h, vsini : float
        K, log10 of cm/s², dex, km/s.
    vmic, vmac : float, optional
        Micro- and radial-tangential macroturbulence [km/s]; those of
        :mod:`harpsstar.model.relations` by default.
    rv, berv : float
        Barycentric velocity, and that of the Earth towards the star [km/s].
    instrument : str
        Its resolving power broadens the lines.
    companion : (float, float, float, float), optional
        A second star in the fibre, of the same metallicity and 3 km/s of rotation: teff, logg, rv,
        and its continuum in units of the star's.
    moon : float
        Continuum of moonlight in units of the star's.
    effects : Effects, optional
        What else happens to the light.
    emulator : Emulator, optional
        The packaged one by default.
    **options
        Of :func:`observe`.

    Raises
    ------
    OutsideGridError
        A label, vmic, vmac or rv outside its range.
    ConfigError
        As :func:`observe`.
    UnknownInstrumentError
        As :func:`observe`.
    """
    shared: dict[str, Any] = {
        "resolution": get_instrument(instrument).resolution, "emulator": emulator
    }  # fmt: skip
    star = model_star(teff, logg, m_h, vsini, vmic=vmic, vmac=vmac, **shared)
    check_range(RV, rv)
    effects = effects or Effects()
    others = list(effects.contaminants)
    if companion is not None:
        others.append(second_star(*companion, m_h=m_h, **shared))
    if moon > 0:
        others.append(moonlight(moon, berv=berv, **shared))
    effects = replace(effects, contaminants=tuple(others))
    return observe(star, rv=rv, berv=berv, instrument=instrument, effects=effects, **options)
