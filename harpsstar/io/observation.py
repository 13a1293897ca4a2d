"""What a file says about the exposure, beside the spectrum itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Observation"]


@dataclass(frozen=True)
class Observation:
    """What is known about one exposure; ``meta["observation"]`` of every spectrum read.

    Attributes
    ----------
    file : str
        Path as given, or empty.
    target : str
        Name of the target, or empty.
    instrument : str
        Name of the :class:`~harpsstar.instruments.Instrument`, or empty for a 1-D spectrum whose
        header names none.
    product : str
        ``"e2ds"``, ``"s1d"`` (old DRS); ``"S2D"``, ``"S2D_BLAZE"``, ``"S1D"`` (new DRS), with what
        was done to it: ``"S1D_SKYSUB"``, ``"S1D_TELL_CORR"``, ``"S1D_FLUXCAL"``; ``"ADP"`` (ESO
        phase 3); ``"image"``, ``"multispec"``, ``"table"`` or ``"text"`` for any other layout.
    bjd : float
        Barycentric Julian date; nan when unknown.
    berv : float
        Barycentric Earth radial velocity [km/s]; nan when unknown.
    snr : float
        Signal to noise per extracted pixel, median over the orders of 5025-5393 Å.
    snr_orders : tuple of float
        Signal to noise of every order from the header; empty when it has none.
    rv_header, rv_header_err : float
        Barycentric radial velocity measured by the pipeline and its error [km/s], else nan.
    blaze : str
        How the blaze was removed: ``"file NAME"``, ``"estimated"``, ``"pipeline"`` or ``"none"``.
    resolution : float
        Resolving power.
    clipped : float
        Share of the pixels that something has clipped to one value, where the reader could tell.
    resolution_assumed : bool
        Whether nothing says what the resolving power is, so that ``resolution`` is a guess.
    frame : str
        Of the wavelengths: ``"barycentric"``, ``"topocentric"``, ``"rest"`` or ``"unknown"``. Only
        in the first a velocity that is measured is that of the star.
    notes : tuple of str
        What a user should know about how the file was read.
    """

    file: str
    target: str
    instrument: str
    product: str
    bjd: float
    berv: float
    snr: float
    snr_orders: tuple[float, ...]
    rv_header: float
    rv_header_err: float
    blaze: str
    resolution: float
    clipped: float = 0.0
    notes: tuple[str, ...] = ()
    resolution_assumed: bool = False
    frame: str = "barycentric"
