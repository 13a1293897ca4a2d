"""What the readers of layouts share that no pipeline of ours defines.

Such a file says little, and each says it in its own way. A reader collects what its file says in
:class:`Said`; here the rest is taken from the user (:class:`~harpsstar.io.given.Given`), from the
description of the instrument, or guessed by the numbers with a note that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harpsstar.errors import ReadError, UnknownInstrumentError
from harpsstar.instruments import Instrument, from_header
from harpsstar.io.build import Array, Mask, Reading, barycentric_factor, measured_snr, reading
from harpsstar.io.given import Given
from harpsstar.io.headers import Cards, canonical_snr
from harpsstar.io.medium import looks_like_vacuum
from harpsstar.io.noise import header_noise, scatter_noise
from harpsstar.io.observation import Observation
from harpsstar.io.s2d import air
from harpsstar.spectra.frame import check_lines

__all__ = ["ASSUMED_RESOLUTION", "Said", "facts_of", "gaps", "plain_reading", "resolution_of"]

#: Resolving power taken where nothing says it.
ASSUMED_RESOLUTION = 115000.0
#: Resolving powers for which the labels of real stars were tested.
_TESTED = (42_000.0, 140_000.0)
#: The Earth does not move faster [km/s].
_MAX_BERV = 40.0
#: A shorter spectrum is none.
MIN_PIXELS = 100
#: Pixels next to a gap that interpolation has touched.
_GAP_EDGE = 5
_FRAMES = {
    "BARYCENT": "barycentric", "HELIOCEN": "barycentric", "TOPOCENT": "topocentric",
    "SOURCE": "rest",
}  # fmt: skip
#: Cards with the barycentric velocity of the observatory, where no instrument names its own.
_BERV = (
    "ESO QC VRAD BARYCOR", "ESO QC BERV", "ESO DRS BERV", "ESO QC VRAD HELICOR", "BERV",
    "BARYCORR", "HELIOVEL",
)  # fmt: skip
_TARGET = ("OBJECT", "ESO OBS TARG NAME", "TARGET", "TARGNAME", "OBJNAME")


@dataclass(frozen=True)
class Said:
    """What a file says about its spectrum; what it does not say is empty or nan.

    Attributes
    ----------
    product : str
        As in :class:`~harpsstar.io.Observation`.
    path : str
        For messages.
    medium, frame : str
        As in :class:`~harpsstar.io.given.Given`.
    resolution, berv, bjd : float
        Resolving power; km/s; barycentric Julian date.
    target : str
    instrument : str
        Its name, or what the header calls it.
    described : Instrument or None
        Its description, if there is one.
    cards : Cards or None
        The header through the card names of that description.
    blaze : str
        As in :class:`~harpsstar.io.Observation`.
    notes : tuple of str
    """

    product: str
    path: str
    medium: str = ""
    frame: str = ""
    resolution: float = float("nan")
    berv: float = float("nan")
    bjd: float = float("nan")
    target: str = ""
    instrument: str = ""
    described: Instrument | None = None
    cards: Cards | None = None
    blaze: str = "none"
    notes: tuple[str, ...] = field(default=())


def facts_of(header: Mapping[str, Any], product: str, path: str) -> Said:
    """Collect what the cards of a header say, those of a known instrument first."""
    said = Said(product, path)
    try:
        described = from_header(header, path)
    except UnknownInstrumentError:
        described = None
    cards = None if described is None else _cards_of(header, described, path)
    own = Cards(header, {"target": _TARGET, "berv": _BERV, "resolution": ("SPEC_RES",),
                         "frame": ("SPECSYS",), "name": ("INSTRUME",)}, path)  # fmt: skip
    resolution = own.number("resolution")
    if described is not None and not 1e3 < resolution < 1e6:
        resolution = described.resolution
    defaults = {} if described is None else described.cards.get("plain", {})
    frame = _FRAMES.get(own.text("frame").upper()[:8], str(defaults.get("frame", "")))
    # IRAF's dopcor and its like: the velocity that was removed may be any.
    moved = any(name.startswith("DOPCOR") for name in header)
    return replace(
        said,
        medium=str(defaults.get("medium", "")),
        frame="rest" if moved else frame,
        resolution=resolution if 1e3 < resolution < 1e6 else float("nan"),
        berv=_first_finite(None if cards is None else cards.number("berv"), own.number("berv")),
        bjd=float("nan") if cards is None else cards.number("bjd"),
        target=("" if cards is None else cards.text("target")) or own.text("target"),
        instrument=own.text("name") if described is None else described.name,
        described=described,
        cards=cards,
        notes=(f"wavelengths were already Doppler-corrected ({header.get('DOPCOR01')})",)
        if "DOPCOR01" in header else (),
    )  # fmt: skip


def _first_finite(*values: float | None) -> float:
    for value in values:
        if value is not None and np.isfinite(value):
            return value
    return float("nan")


def _cards_of(header: Mapping[str, Any], described: Instrument, path: str) -> Cards | None:
    """The header through the names of the pipeline generation that fits it best."""
    tried = [Cards(header, names, path) for names in described.cards.values()]

    def known(cards: Cards) -> int:
        return sum(bool(cards.text(name)) for name in ("berv", "bjd", "target"))

    return max(tried, key=known, default=None)


def plain_reading(
    wave: Array,
    flux: Array,
    sigma: Array | None,
    mask: Mask,
    header: Any,
    said: Said,
    given: Given,
) -> Reading:
    """Make a :class:`Reading` of what a file holds and says, and of what the user says.

    Parameters
    ----------
    wave, flux : ndarray (n,) or (orders, n)
        Å in the file's own medium and frame; relative flux.
    sigma : ndarray, same shape, or None
        Standard deviations; where they are missing, nan or zero throughout the scatter tells them.
    mask : ndarray of bool, same shape
        True for a bad pixel.
    header : Header or mapping
    said : Said
    given : Given

    Raises
    ------
    ReadError
        Too few pixels, no wavelengths of the range that is analysed, or no usable pixel.
    WrongProductError
        A smooth curve without lines and noise.
    """
    notes = list(said.notes)
    wave, flux, sigma, mask = _in_order(wave, flux, sigma, mask, said.path, notes)
    if flux.ndim == 1:
        mask = mask | gaps(flux)
    mask = mask | ~np.isfinite(flux) | ~np.isfinite(wave)
    wave = _in_air(wave, flux, mask, said, given, notes)
    wave, frame = _barycentric(wave, said, given, notes)
    resolution, assumed = resolution_of(said.resolution, said.instrument, given, notes)
    error, snr_orders = _errors(wave, flux, sigma, mask, said, notes)
    check_lines(np.atleast_2d(wave), np.atleast_2d(flux), np.atleast_2d(1.0 - mask), said.path)
    snr = canonical_snr(snr_orders, said.described) if said.described else float("nan")
    bad = mask | ~np.isfinite(error)
    observation = Observation(
        file=said.path,
        target=said.target,
        instrument=said.instrument,
        product=said.product,
        bjd=said.bjd,
        berv=said.berv,
        snr=snr if np.isfinite(snr) else measured_snr(wave, flux, error, bad),
        snr_orders=snr_orders,
        rv_header=float("nan"),
        rv_header_err=float("nan"),
        blaze=said.blaze,
        resolution=resolution,
        resolution_assumed=assumed,
        frame=frame,
        notes=tuple(notes),
    )
    return reading(wave, flux, error, mask, header, observation)


def resolution_of(
    known: float, instrument: str, given: Given, notes: list[str]
) -> tuple[float, bool]:
    """Resolving power, and whether it is assumed; what the user says comes first."""
    value = known if given.resolution is None else given.resolution
    if not np.isfinite(value):
        what = f" of {instrument}" if instrument else ""
        notes.append(f"no card gives the resolving power{what} (INSTRUME, SPEC_RES): "
                     f"{ASSUMED_RESOLUTION:.0f} assumed (set it with --resolution)")
        return ASSUMED_RESOLUTION, True
    if given.resolution is not None and np.isfinite(known) and abs(known / value - 1) > 0.01:
        notes.append(f"resolving power {value:.0f} as given; header or instrument: {known:.0f}")
    if not _TESTED[0] <= value <= _TESTED[1] * 1.4:
        notes.append(f"resolving power {value:.0f} lies outside {_TESTED[0]:.0f}-{_TESTED[1]:.0f}, "
                     "for which labels were tested")
    return value, False


def _in_order(
    wave: Array, flux: Array, sigma: Array | None, mask: Mask, path: str, notes: list[str]
) -> tuple[Array, Array, Array | None, Mask]:
    """Check the sizes and make one-dimensional wavelengths rise, each once."""
    if flux.shape[-1] < MIN_PIXELS or flux.shape != wave.shape:
        raise ReadError(
            f"{flux.shape[-1]} values of flux and {wave.shape[-1]} wavelengths",
            expected=f"as many wavelengths as fluxes, at least {MIN_PIXELS}", path=path,
        )  # fmt: skip
    optical = np.isfinite(wave) & (wave > 1000) & (wave < 100_000)
    if optical.mean() < 0.5:
        raise ReadError(
            f"wavelengths from {np.nanmin(wave):g} to {np.nanmax(wave):g}",
            expected="optical wavelengths", path=path,
        )  # fmt: skip
    if flux.ndim == 2 or (np.diff(wave) > 0).all():
        return wave, flux, sigma, mask
    _, first = np.unique(wave, return_index=True)
    if not (np.diff(wave) < 0).all():
        notes.append("wavelengths did not increase: pixels sorted, repeated wavelengths left out")
    pick = first[np.isfinite(wave[first])]
    return wave[pick], flux[pick], None if sigma is None else sigma[pick], mask[pick]


def _in_air(
    wave: Array, flux: Array, mask: Mask, said: Said, given: Given, notes: list[str]
) -> Array:
    medium = said.medium or given.medium
    if said.medium and given.medium and said.medium != given.medium:
        notes.append(f"--medium {given.medium} not used: the file states {said.medium}")
    if not medium:
        row = _row_at(wave, 5200.0)
        good = ~mask if row is None else ~mask[row]
        w, f = (wave, flux) if row is None else (wave[row], flux[row])
        vacuum, note = looks_like_vacuum(w[good], f[good])
        notes.append(note)
        medium = "vacuum" if vacuum else "air"
    return air(wave) if medium == "vacuum" else wave


def _row_at(wave: Array, where: float) -> int | None:
    """Row of orders whose centre is nearest to a wavelength; None for one dimension."""
    if wave.ndim == 1:
        return None
    return int(np.argmin(np.abs(np.nan_to_num(wave[:, wave.shape[1] // 2]) - where)))


def _barycentric(
    wave: Array, said: Said, given: Given, notes: list[str]
) -> tuple[Array, str]:
    frame = said.frame or given.frame
    if said.frame and given.frame and said.frame != given.frame:
        notes.append(f"--frame {given.frame} not used: the file states {said.frame}")
    if frame == "topocentric" and abs(said.berv) < _MAX_BERV:
        notes.append(f"topocentric wavelengths, corrected by the header's {said.berv:.3f} km/s")
        return wave * barycentric_factor(said.berv), "barycentric"
    if frame == "topocentric":
        notes.append("wavelengths are topocentric and the header has no barycentric "
                     "velocity: the star's velocity is unknown")  # fmt: skip
    elif frame == "rest":
        notes.append("wavelengths are in the rest frame: the star's velocity is unknown")
    elif not frame:
        notes.append("the file does not state whether its wavelengths are barycentric: the star's "
                     "velocity is unknown (set it with --frame barycentric)")  # fmt: skip
    return wave, frame or "unknown"


def _errors(
    wave: Array, flux: Array, sigma: Array | None, mask: Mask, said: Said, notes: list[str]
) -> tuple[Array, tuple[float, ...]]:
    """Errors of the file, else of the header's signal to noise, else of the scatter."""
    snr_orders: tuple[float, ...] = ()
    if said.cards is not None and said.described is not None:
        snr_orders = said.cards.snr(said.described.n_orders)
    if sigma is not None:
        good = np.isfinite(sigma) & (sigma > 0)
        if (good & ~mask).sum() >= 0.5 * (~mask).sum() > 0:
            return np.where(good, sigma, np.nan), snr_orders
    if flux.ndim == 1 and said.cards is not None and said.described is not None and snr_orders:
        notes.append("errors from the SNR of the orders in the header")
        return header_noise(wave, flux, mask, snr_orders, said.cards, said.described), snr_orders
    notes.append("errors estimated from the scatter between pixels")
    if flux.ndim == 1:
        return scatter_noise(flux, mask), snr_orders
    rows = [scatter_noise(f, m, resampled=False) for f, m in zip(flux, mask, strict=True)]
    return np.array(rows), snr_orders


def gaps(flux: Array) -> Mask:
    """Pixels that were never measured: exact zeros, and the pixels next to a run of them."""
    from scipy.ndimage import binary_dilation

    zero = flux == 0
    run = np.convolve(zero, np.ones(_GAP_EDGE), "same") >= _GAP_EDGE
    return zero | np.asarray(binary_dilation(run, iterations=2 * _GAP_EDGE))
