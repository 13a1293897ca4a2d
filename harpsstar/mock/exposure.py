"""From a model star to electrons in the extracted orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
from numpy.polynomial import polynomial

from harpsstar.errors import ConfigError
from harpsstar.instruments import Instrument, get_instrument
from harpsstar.io.build import barycentric_factor
from harpsstar.mock import tellurics
from harpsstar.mock.detector import Detector
from harpsstar.mock.effects import Array, Effects, Model
from harpsstar.spectra.frame import C_KM_S

__all__ = ["START", "Exposure", "When", "blaze_of", "expose"]

#: When a single mock exposure began.
START = "2016-01-08T02:30:21.236"

_REFERENCE = 5200.0
# Electrons that a cosmic ray leaves in an extracted pixel: the mean of an exponential law.
_COSMIC = 2000.0
_J2000, _JD2000 = datetime(2000, 1, 1, 12), 2451545.0


@dataclass(frozen=True)
class When:
    """Beginning (ISO 8601, UTC), length [s] and name of the night of an exposure.

    The calibrations of an exposure are those taken at four in the afternoon before.
    """

    start: str = START
    exptime: float = 900.0
    calibrated: str = START[:10] + "T16:00:00.000"

    @property
    def jd(self) -> float:
        """Julian date of the middle; light takes the barycentric one up to 8 minutes from it."""
        middle = datetime.fromisoformat(self.start) + timedelta(seconds=self.exptime / 2)
        return _JD2000 + (middle - _J2000) / timedelta(days=1)


@dataclass(frozen=True)
class Exposure:
    """One exposure on the detector, after extraction; arrays are (n_orders, n_pixels).

    Attributes
    ----------
    instrument : Instrument
        The spectrograph.
    wave, width : ndarray
        Barycentric air wavelength and pixel width [Å], as calibrated.
    blaze : ndarray
        Relative efficiency, 1 at an order's maximum.
    electrons, variance : ndarray
        Extracted signal and its true variance (without cosmics); both 0 where the model has no
        flux and in gaps.
    snr_orders : ndarray (n_orders,)
        Signal to noise per pixel of the continuum in the middle of each order, 0 if dark.
    rv, berv, bjd : float
        True velocities [km/s] and date.
    target : str
        Name.
    effects : Effects
        What happened to the light.
    when : When
        Beginning and length.
    """

    instrument: Instrument
    wave: Array
    width: Array
    blaze: Array
    electrons: Array
    variance: Array
    snr_orders: Array
    rv: float
    berv: float
    bjd: float
    target: str
    effects: Effects = Effects()
    when: When = When()

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """True where the model has flux."""
        return self.variance > 0

    @property
    def header_rv(self) -> float:
        """What the header says of the velocity [km/s]."""
        return self.rv + self.effects.header_rv_error


def expose(
    model: Model,
    *,
    rv: float = 0.0,
    snr: float = 100.0,
    instrument: str = "HARPS-N",
    berv: float = 0.0,
    seed: int = 0,
    target: str = "MOCK",
    bjd: float | None = None,
    tilt: float = 0.0,
    effects: Effects | None = None,
    when: When | None = None,
) -> Exposure:
    """Collect photons: continuum times model times blaze, photon and read noise.

    Parameters and errors are those of :func:`harpsstar.mock.observe`.
    """
    if not (np.isfinite(snr) and snr > 0):
        raise ConfigError(f"signal to noise {snr}", expected="a positive number")
    effects, when = effects or Effects(), when or When()
    spectrograph = get_instrument(instrument)
    at_earth = spectrograph.wavelengths
    factor = barycentric_factor(berv)
    wave, width = at_earth * factor, _pixel_width(spectrograph) * factor
    normalised = _light(model, at_earth, rv, factor, spectrograph.resolution, effects)
    covered = np.isfinite(normalised)

    blaze = blaze_of(spectrograph, tilt)
    detector = Detector.of(spectrograph)
    continuum = _continuum(detector.electrons(snr), wave, width, blaze)
    mean = np.where(covered, continuum * np.maximum(np.nan_to_num(normalised), 0.0), 0.0)

    rng = np.random.default_rng(seed)
    electrons = detector.count(mean, rng)
    # A stream of its own: with or without cosmics the noise is the same.
    electrons = electrons + _cosmics(mean.shape, effects.cosmics, np.random.default_rng([seed, 1]))
    electrons = np.where(covered, electrons, 0.0)
    variance = np.where(covered, detector.variance(mean), 0.0)
    middle = spectrograph.n_pixels // 2
    level = continuum[:, middle]
    snr_orders = np.where(covered[:, middle], level / np.sqrt(detector.variance(level)), 0.0)
    return Exposure(
        spectrograph,
        wave,
        width,
        blaze,
        electrons,
        variance,
        snr_orders,
        rv,
        berv,
        when.jd if bjd is None else bjd,
        target,
        effects,
        when,
    )


def blaze_of(spectrograph: Instrument, tilt: float) -> Array:
    """Blaze of every order, 1 at its maximum, with an additional slope."""
    shape = spectrograph.blaze(range(spectrograph.n_orders))
    shape = shape * (1.0 + tilt * np.linspace(-1.0, 1.0, spectrograph.n_pixels))
    blaze: Array = shape / shape.max(axis=1, keepdims=True)
    return blaze


def _pixel_width(spectrograph: Instrument) -> Array:
    assert spectrograph.wave_polynomials is not None  # else .wavelengths has raised
    x = np.arange(spectrograph.n_pixels, dtype=float)
    return np.asarray(
        polynomial.polyval(x, polynomial.polyder(spectrograph.wave_polynomials.T)), dtype=float
    )


def _light(
    model: Model, at_earth: Array, rv: float, factor: float, resolution: float, effects: Effects
) -> Array:
    """Light that reaches the pixels in units of all continua, nan where there is none.

    A pixel calibrated at wavelength w sees, after a drift d, the light of w / (1 + d/c).
    """
    seen = at_earth / (1.0 + effects.drift / 1000.0 / C_KM_S)
    at_barycentre = seen * factor
    light = np.asarray(model(at_barycentre / (1.0 + rv / C_KM_S)), dtype=float)
    total = 1.0
    for other in effects.contaminants:
        at_rest = at_barycentre / (1.0 + other.rv / C_KM_S)
        light = light + other.ratio * np.asarray(other.model(at_rest), dtype=float)
        total += other.ratio
    light = light / total
    if effects.water > 0:
        light = light * tellurics.transmission(
            seen, airmass=effects.airmass, water=effects.water, resolution=resolution
        )
    for low, high in effects.gaps:
        light = np.where((at_earth > low) & (at_earth < high), np.nan, light)
    return light


def _continuum(at_reference: float, wave: Array, width: Array, blaze: Array) -> Array:
    """Electrons of the continuum, given those in the middle of the order nearest to 5200 Å."""
    middle = wave.shape[1] // 2
    nearest = int(np.argmin(np.abs(wave[:, middle] - _REFERENCE)))
    # A gentle slope stands for star, atmosphere and telescope.
    continuum: Array = at_reference * (wave / _REFERENCE) * width / width[nearest, middle] * blaze
    return continuum / blaze[nearest, middle]


def _cosmics(shape: tuple[int, ...], rate: float, rng: np.random.Generator) -> Array:
    """Electrons of the hits that are left: one or two pixels wide, exponential in strength."""
    hits = np.zeros(shape)
    number = int(rng.poisson(rate * shape[0])) if rate > 0 else 0
    rows, columns = rng.integers(shape[0], size=number), rng.integers(shape[1] - 1, size=number)
    strength, share = rng.exponential(_COSMIC, number), rng.uniform(0.5, 1.0, number)
    np.add.at(hits, (rows, columns), strength * share)
    np.add.at(hits, (rows, columns + 1), strength * (1.0 - share))
    return hits
