"""The spectrographs: one TOML file each, read into a frozen :class:`Instrument`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.errors import ConfigError, UnknownInstrumentError

__all__ = ["Instrument", "available", "from_header", "get_instrument"]

_FILES = ("harpsn", "harps", "espresso")


@dataclass(frozen=True, eq=False)
class Instrument:
    """What harpsstar knows about a spectrograph.

    Attributes
    ----------
    name : str
        Name used everywhere: ``"HARPS-N"``, ``"HARPS"``, ``"ESPRESSO"``.
    instrume : tuple of str
        Values of the ``INSTRUME`` card that mean this instrument.
    prefix : str
        Observatory prefix of its ``HIERARCH`` cards (``"TNG"``, ``"ESO"``).
    resolution : float
        Resolving power, wavelength over full width at half maximum.
    n_orders, n_pixels : int
        Rows and columns of an extracted frame.
    m_first : int
        Physical order number of row 0; it falls by one per row.
    missing_m, repeated_m : tuple of int
        Physical orders that no row holds, and that two detectors hold.
    slices : int
        Rows per physical order.
    gaps : tuple of (float, float)
        Air wavelengths [Å] that no order covers.
    read_noise : float
        Read noise [electrons per raw pixel] where the file does not say.
    gain : float
        Electrons per ADU where the file does not say.
    extraction_pixels : float
        Raw pixels whose read noise ends in one extracted pixel.
    saturation : float
        Electrons in one extracted pixel above which it is not linear.
    blaze_constant : float
        Order number times wavelength of the blaze's maximum [Å].
    blaze_width : float
        Width of the blaze function: 1 for an ideal grating, see :meth:`blaze`.
    cards : mapping
        Header card names, by pipeline generation (``"old"``, ``"new"``) and meaning.
    wave_polynomials : ndarray (n_orders, degree + 1) or None
        Typical wavelength solution: air wavelength [Å] = Σ a_k x^k, x the 0-based pixel.
    """

    name: str
    instrume: tuple[str, ...]
    prefix: str
    resolution: float
    n_orders: int
    n_pixels: int
    m_first: int
    missing_m: tuple[int, ...] = ()
    repeated_m: tuple[int, ...] = ()
    slices: int = 1
    gaps: tuple[tuple[float, float], ...] = ()
    read_noise: float = 4.0
    gain: float = 1.4
    extraction_pixels: float = 6.0
    saturation: float = np.inf
    blaze_constant: float = 612100.0
    blaze_width: float = 0.88
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    wave_polynomials: npt.NDArray[np.float64] | None = field(default=None, repr=False)

    @cached_property
    def order_m(self) -> npt.NDArray[np.int64]:
        """Physical order number of every row, shape (n_orders,)."""
        numbers: list[int] = []
        m = self.m_first
        while len(numbers) < self.n_orders:
            copies = 0 if m in self.missing_m else 2 if m in self.repeated_m else 1
            numbers += [m] * (copies * self.slices)
            m -= 1
        return np.array(numbers[: self.n_orders])

    @cached_property
    def wavelengths(self) -> npt.NDArray[np.float64]:
        """Typical air wavelengths [Å] of all pixels, shape (n_orders, n_pixels).

        Raises
        ------
        ConfigError
            The instrument's file holds no wavelength solution.
        """
        if self.wave_polynomials is None:
            raise ConfigError(
                f"the description of {self.name} holds no wavelength solution",
                expected="a [wave] table in its TOML file",
                hint="use HARPS-N or HARPS",
            )
        x = np.arange(self.n_pixels, dtype=float)
        wave = np.polynomial.polynomial.polyval(x, self.wave_polynomials.T)
        wave.flags.writeable = False
        return wave

    def blaze(self, rows: Sequence[int]) -> npt.NDArray[np.float64]:
        """Typical relative blaze of some rows, shape (len(rows), n_pixels), at most 1.

        sinc²(α m (λ − λ_c)/λ) with m λ_c = ``blaze_constant`` and α = ``blaze_width`` (Schroeder &
        Hilliard 1980, Appl. Opt. 19, 2833, near the Littrow condition); within 1 % of a measured
        blaze of HARPS. For mock observations and training only: an observed spectrum brings its
        own.
        """
        wave = self.wavelengths[list(rows)]
        m = self.order_m[list(rows)][:, None]
        return np.sinc(self.blaze_width * (m - self.blaze_constant / wave)) ** 2


def available() -> tuple[str, ...]:
    """Names of the instruments that harpsstar has a description of."""
    return tuple(_load(stem).name for stem in _FILES)


def get_instrument(name: str) -> Instrument:
    """Find an instrument by its name or by a value of its ``INSTRUME`` card, in any case.

    Raises
    ------
    UnknownInstrumentError
        No description has that name.

    Examples
    --------
    >>> int(get_instrument("harps-n").order_m[40])
    117
    """
    wanted = name.strip().upper()
    for stem in _FILES:
        instrument = _load(stem)
        if wanted in (instrument.name, *instrument.instrume):
            return instrument
    raise UnknownInstrumentError(
        f"unknown instrument {name!r}", expected=f"one of {', '.join(available())}"
    )


def from_header(header: Mapping[str, Any], path: str | None = None) -> Instrument:
    """Find the instrument that wrote a FITS header, by its ``INSTRUME`` card.

    Raises
    ------
    UnknownInstrumentError
        The card is missing or names an instrument without a description.
    """
    value = header.get("INSTRUME")
    try:
        return get_instrument(str(value or ""))
    except UnknownInstrumentError:
        raise UnknownInstrumentError(
            "no INSTRUME card in the header" if value is None else f"INSTRUME = {value!r}",
            expected=f"a spectrum of {', '.join(available())}",
            hint="harpsstar reads no other spectrograph's orders",
            path=path,
        ) from None


@cache
def _load(stem: str) -> Instrument:
    text = resources.files(__package__).joinpath(f"{stem}.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    wave = values.pop("wave", None)
    detector = values.pop("detector")
    for key in ("instrume", "missing_m", "repeated_m"):
        values[key] = tuple(values[key])
    values["gaps"] = tuple((low, high) for low, high in values["gaps"])
    polynomials = None
    if wave is not None:
        polynomials = np.array(wave["polynomials"], dtype=float)
        polynomials.flags.writeable = False
    return Instrument(**values, **detector, wave_polynomials=polynomials)
