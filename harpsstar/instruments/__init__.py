"""The spectrographs: one TOML file each, read into a frozen :class:`Instrument`.

The packaged ones are always there; ``HARPSSTAR_INSTRUMENTS`` names files, or folders of files, that
describe others. Files are read when an instrument is first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.config import from_toml
from harpsstar.errors import ConfigError, UnknownInstrumentError

__all__ = ["VARIABLE", "Instrument", "Mode", "available", "from_header", "get_instrument",
           "prefixes", "read_instrument"]  # fmt: skip

#: The environment variable that names files or folders with further descriptions.
VARIABLE = "HARPSSTAR_INSTRUMENTS"
_FILES = ("harpsn", "harps", "espresso", "sophie", "expres", "fies", "feros")


@dataclass(frozen=True)
class Mode:
    """What differs in one mode of a spectrograph: a table ``[[modes]]`` of its file.

    Attributes
    ----------
    when : mapping
        Cards and the values that they must have, all of them; case does not count.
    resolution, n_orders, n_pixels, slices
        As in :class:`Instrument`; None where the mode changes nothing.
    """

    when: dict[str, str | int]
    resolution: float | None = None
    n_orders: int | None = None
    n_pixels: int | None = None
    slices: int | None = None

    def __post_init__(self) -> None:
        """Refuse a mode that is always or never on."""
        if not self.when:
            raise ValueError("when must name a card and its value")
        if any(value <= 0 for value in self.changes.values()):
            raise ValueError("resolution, n_orders, n_pixels and slices must be positive")

    @property
    def changes(self) -> dict[str, Any]:
        """What takes the place of the instrument's own."""
        names = ("resolution", "n_orders", "n_pixels", "slices")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def fits(self, header: Mapping[str, Any]) -> bool:
        """Whether a header is of this mode."""
        return all(_same(header.get(name), value) for name, value in self.when.items())


def _same(found: Any, wanted: str | int) -> bool:
    return str(found).strip().upper() == str(wanted).strip().upper()


@dataclass(frozen=True, eq=False)
class _Spectrograph:
    """What a file says in the very words of an :class:`Instrument`, which explains them."""

    name: str
    instrume: tuple[str, ...]
    prefix: str
    resolution: float


@dataclass(frozen=True, eq=False)
class Instrument(_Spectrograph):
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
    modes : tuple of Mode
        What differs where cards have certain values; see :meth:`in_mode`.
    cards : mapping
        Header card names, by pipeline generation (``"old"``, ``"new"``, or ``"plain"`` for other
        products) and meaning.
    wave_polynomials : ndarray (n_orders, degree + 1) or None
        Typical wavelength solution: air wavelength [Å] = Σ a_k x^k, x the 0-based pixel.
    """

    n_orders: int
    n_pixels: int
    m_first: int
    missing_m: tuple[int, ...]
    repeated_m: tuple[int, ...]
    slices: int
    gaps: tuple[tuple[float, float], ...]
    read_noise: float
    gain: float
    extraction_pixels: float
    saturation: float
    blaze_constant: float
    blaze_width: float
    cards: Mapping[str, Mapping[str, Any]] = field(repr=False)
    modes: tuple[Mode, ...] = field(default=(), repr=False)
    wave_polynomials: npt.NDArray[np.float64] | None = field(default=None, repr=False)

    def in_mode(self, header: Mapping[str, Any]) -> Instrument:
        """Return this instrument as it was set when a header was written."""
        changes: dict[str, Any] = {}
        for mode in self.modes:
            if mode.fits(header):
                changes |= mode.changes
        return replace(self, **changes) if changes else self

    @cached_property
    def names(self) -> frozenset[str]:
        """Its name and the values of its ``INSTRUME`` card, in capitals."""
        return frozenset(name.strip().upper() for name in (self.name, *self.instrume))

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
                hint="use HARPS-N or HARPS, or write the table",
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
    """Names of the instruments that harpsstar has a description of.

    Raises
    ------
    ConfigError
        ``HARPSSTAR_INSTRUMENTS`` names a file that is missing or cannot be used.
    """
    return tuple(instrument.name for instrument in _known())


def prefixes() -> tuple[str, ...]:
    """Observatory prefixes of the ``HIERARCH`` cards of all instruments, each once."""
    return tuple(dict.fromkeys(instrument.prefix for instrument in _known()))


def get_instrument(name: str) -> Instrument:
    """Find an instrument by its name or by a value of its ``INSTRUME`` card, in any case.

    Raises
    ------
    UnknownInstrumentError
        No description has that name.
    ConfigError
        ``HARPSSTAR_INSTRUMENTS`` names a file that is missing or cannot be used.

    Examples
    --------
    >>> int(get_instrument("harps-n").order_m[40])
    117
    """
    wanted = name.strip().upper()
    for instrument in _known():
        if wanted in instrument.names:
            return instrument
    raise UnknownInstrumentError(
        f"unknown instrument {name!r}", expected=f"one of {', '.join(available())}"
    )


def from_header(header: Mapping[str, Any], path: str | None = None) -> Instrument:
    """Find the instrument that wrote a FITS header, by its ``INSTRUME`` card, in its mode.

    Raises
    ------
    UnknownInstrumentError
        The card is missing or names an instrument without a description.
    """
    value = header.get("INSTRUME")
    try:
        return get_instrument(str(value or "")).in_mode(header)
    except UnknownInstrumentError:
        raise UnknownInstrumentError(
            "no INSTRUME card in the header" if value is None else f"INSTRUME = {value!r}",
            expected=f"a spectrum of {', '.join(available())}",
            hint="the header must say which spectrograph made this product" if value is None
            else f"this layout of another spectrograph needs a TOML file that {VARIABLE} names",
            path=path,
        ) from None


def read_instrument(path: str | Path) -> Instrument:
    """Read the description of a spectrograph.

    Parameters
    ----------
    path : str or Path
        A TOML file, see the packaged ones.

    Raises
    ------
    ConfigError
        No such file, not TOML, an unknown or missing key, an impossible value.
    """
    try:
        return from_toml(_Description, path).instrument()
    except ConfigError as error:
        if error.path is not None:
            raise
        raise ConfigError(error.found, expected=error.expected, hint=error.hint,
                          path=path) from error


def _known() -> tuple[Instrument, ...]:
    return _load(os.environ.get(VARIABLE, ""))


@cache
def _load(named: str) -> tuple[Instrument, ...]:
    """Read the packaged instruments and those of the files and folders in a list like PATH."""
    packaged = resources.files(__package__)
    known = [read_instrument(Path(str(packaged.joinpath(f"{stem}.toml")))) for stem in _FILES]
    for path in (path for place in named.split(os.pathsep) if place for path in _files(place)):
        new = read_instrument(path)
        for old in known:
            if both := sorted(old.names & new.names):
                raise ConfigError(
                    f"describes {both[0]}, which harpsstar has a description of already",
                    expected="a name and values of INSTRUME of its own", path=path)
        known.append(new)
    return tuple(known)


def _files(place: str) -> list[Path]:
    path = Path(place).expanduser()
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.toml"))
    if not files:
        raise ConfigError("holds no TOML file", expected="descriptions of spectrographs",
                          hint=f"correct the environment variable {VARIABLE}", path=path)
    return files


@dataclass(frozen=True)
class _Detector:
    """The table ``[detector]`` of a file; see :class:`Instrument`."""

    read_noise: float = 4.0
    gain: float = 1.4
    extraction_pixels: float = 6.0
    saturation: float = np.inf


@dataclass(frozen=True)
class _Wave:
    """The table ``[wave]`` of a file: a row of coefficients for each order."""

    polynomials: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class _Description(_Spectrograph):
    """A file; see :class:`Instrument` for the keys."""

    cards: dict[str, dict[str, str | tuple[str, ...]]]
    n_orders: int = 1
    n_pixels: int = 1
    m_first: int = 0
    missing_m: tuple[int, ...] = ()
    repeated_m: tuple[int, ...] = ()
    slices: int = 1
    gaps: tuple[tuple[float, float], ...] = ()
    blaze_constant: float = 612100.0
    blaze_width: float = 0.88
    detector: _Detector = field(default_factory=_Detector)
    modes: tuple[Mode, ...] = ()
    wave: _Wave | None = None

    def __post_init__(self) -> None:
        """Refuse what no spectrograph can have."""
        if not self.name.strip() or not self.instrume:
            raise ValueError("name and instrume must not be empty")
        if min(self.resolution, self.n_orders, self.n_pixels, self.slices) <= 0:
            raise ValueError("resolution, n_orders, n_pixels and slices must be positive")
        if not self.cards or set(self.cards) - {"old", "new", "plain"}:
            raise ValueError(f"cards has the tables {', '.join(self.cards) or '(none)'}; it must"
                             " have old, new, plain or several of them")
        if set(self.cards) != {"plain"} and self.m_first < 1:
            raise ValueError(f"m_first is {self.m_first}; order numbers are positive")
        if self.wave is not None and len(self.wave.polynomials) != self.n_orders:
            raise ValueError(f"wave.polynomials has {len(self.wave.polynomials)} rows;"
                             f" n_orders is {self.n_orders}")

    def instrument(self) -> Instrument:
        """Return what the rest of harpsstar works with."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__
                  if name not in ("detector", "wave")}  # fmt: skip
        instrument = Instrument(**values, **vars(self.detector))
        if self.wave is None:
            return instrument
        try:
            polynomials = np.array(self.wave.polynomials, dtype=float)
        except ValueError:
            raise ConfigError("rows of wave.polynomials differ in length",
                              expected="as many coefficients for every order") from None
        polynomials.flags.writeable = False
        return replace(instrument, wave_polynomials=polynomials)
