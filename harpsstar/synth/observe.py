"""Mock observer: a model star through a spectrograph, as the pipelines would write it.

The files carry the layout and the cards of the real products, so that the same readers take them.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.io import fits
from numpy.polynomial import polynomial
from scipy.interpolate import CubicSpline
from specutils.utils.wcs_utils import air_to_vac

from harpsstar.errors import ConfigError, OutputError, OutsideGridError
from harpsstar.instruments import Instrument, get_instrument
from harpsstar.io.build import SPEED_OF_LIGHT, barycentric_factor
from harpsstar.labels import RV, VMAC, VSINI, Label

if TYPE_CHECKING:
    from harpsstar.synth.emulator import Emulator

__all__ = [
    "FORMATS", "NEW_FORMATS", "Exposure", "blaze_frame", "expose", "model_star", "observe",
    "observe_star", "write",
]  # fmt: skip

Array = npt.NDArray[np.float64]
#: Normalised flux (nan outside its range) at rest-frame air wavelengths [Å] of any shape.
Model = Callable[[Array], Any]

#: Products that :func:`observe` can write: old-DRS ``e2ds`` and ``s1d``, new-DRS ``S2D``,
#: ``S2D_BLAZE`` and ``S1D`` table.
FORMATS = ("e2ds", "s1d", "s2d", "s2d_blaze", "s1d_table")
#: Those of the new DRS, whose blaze files are laid out differently.
NEW_FORMATS = ("s2d", "s2d_blaze", "s1d_table")

_REFERENCE = 5200.0
_NIGHT = "2016-01-08"
_START = f"{_NIGHT}T02:30:21.236"


@dataclass(frozen=True)
class Exposure:
    """One exposure on the detector, after extraction; arrays are (n_orders, n_pixels).

    Attributes
    ----------
    instrument : Instrument
        The spectrograph.
    wave, width : ndarray
        Barycentric air wavelength and pixel width [Å].
    blaze : ndarray
        Relative efficiency, 1 at an order's maximum.
    electrons, variance : ndarray
        Extracted signal and its true variance; both 0 where the model has no flux.
    snr_orders : ndarray (n_orders,)
        Signal to noise per pixel of the continuum in the middle of each order, 0 if dark.
    rv, berv, bjd : float
        Velocities [km/s] and date.
    target : str
        Name.
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

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """True where the model has flux."""
        return self.variance > 0


def observe(
    model: Model,
    *,
    format: str = "e2ds",
    rv: float = 0.0,
    snr: float = 100.0,
    instrument: str = "HARPS-N",
    berv: float = 0.0,
    seed: int = 0,
    target: str = "MOCK",
    bjd: float = 2457395.6,
    tilt: float = 0.0,
) -> fits.HDUList:
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
        Per pixel, of the continuum in the middle of the order at 5200 Å.
    instrument : str
        ``"HARPS-N"`` or ``"HARPS"``.
    seed : int
        Of the noise.
    target : str
        Name of the star.
    bjd : float
        Barycentric Julian date.
    tilt : float
        Additional slope of the blaze, fraction per half order.

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
    writers = {
        "e2ds": _e2ds,
        "s1d": _s1d,
        "s2d": lambda exposure: _s2d(exposure, "S2D_A"),
        "s2d_blaze": lambda exposure: _s2d(exposure, "S2D_BLAZE_A"),
        "s1d_table": _s1d_table,
    }
    if format not in writers:
        raise ConfigError(f"unknown format {format!r}", expected=f"one of {', '.join(FORMATS)}")
    exposure = expose(
        model, rv=rv, snr=snr, instrument=instrument, berv=berv, seed=seed, target=target,
        bjd=bjd, tilt=tilt,
    )
    return writers[format](exposure)


def observe_star(
    teff: float,
    logg: float,
    m_h: float,
    vsini: float,
    *,
    vmic: float | None = None,
    vmac: float | None = None,
    rv: float = 0.0,
    instrument: str = "HARPS-N",
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
        :mod:`harpsstar.synth.relations` by default.
    rv : float
        Barycentric velocity [km/s].
    instrument : str
        Its resolving power broadens the lines.
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
    resolution = get_instrument(instrument).resolution
    star = model_star(
        teff, logg, m_h, vsini, vmic=vmic, vmac=vmac, resolution=resolution, emulator=emulator
    )
    _check_range(RV, rv)
    return observe(star, rv=rv, instrument=instrument, **options)


def model_star(
    teff: float,
    logg: float,
    m_h: float,
    vsini: float,
    *,
    vmic: float | None = None,
    vmac: float | None = None,
    resolution: float,
    emulator: Emulator | None = None,
) -> Model:
    """Return the emulator's star as :func:`observe` takes it.

    Parameters and errors are those of :func:`observe_star`.
    """
    import torch

    from harpsstar.synth.emulator import Emulator
    from harpsstar.synth.relations import vmac_relation, vmic_relation

    emulator = Emulator.load() if emulator is None else emulator
    labels = torch.tensor([[teff, logg, m_h, vsini]])
    micro = vmic_relation(*labels[:, :3].T) if vmic is None else torch.tensor([vmic])
    macro = vmac_relation(*labels[:, :2].T) if vmac is None else torch.tensor([vmac])
    emulator.check(labels, micro)
    _check_range(VSINI, vsini)
    _check_range(VMAC, float(macro))

    @torch.no_grad()
    def flux(wave: Array) -> Array:
        spectrum = emulator.at(wave, labels, vmic=micro, vmac=macro, resolution=resolution)
        return np.asarray(spectrum[0], dtype=float)

    return flux


def _check_range(label: Label, value: float) -> None:
    if not label.low <= value <= label.high:
        raise OutsideGridError(
            f"{label.name} {value:g} {label.unit}",
            expected=f"{label.low:g} to {label.high:g} {label.unit}",
        )


def expose(
    model: Model,
    *,
    rv: float = 0.0,
    snr: float = 100.0,
    instrument: str = "HARPS-N",
    berv: float = 0.0,
    seed: int = 0,
    target: str = "MOCK",
    bjd: float = 2457395.6,
    tilt: float = 0.0,
) -> Exposure:
    """Collect photons: continuum times model times blaze, photon and read noise.

    Parameters and errors are those of :func:`observe`.
    """
    if not (np.isfinite(snr) and snr > 0):
        raise ConfigError(f"signal to noise {snr}", expected="a positive number")
    spectrograph = get_instrument(instrument)
    at_earth = spectrograph.wavelengths
    factor = barycentric_factor(berv)
    x = np.arange(spectrograph.n_pixels, dtype=float)
    assert spectrograph.wave_polynomials is not None  # else .wavelengths has raised
    width = polynomial.polyval(x, polynomial.polyder(spectrograph.wave_polynomials.T)) * factor
    wave = at_earth * factor
    normalised = np.asarray(model(wave / (1.0 + rv / SPEED_OF_LIGHT)), dtype=float)
    covered = np.isfinite(normalised)

    blaze = _blaze(spectrograph, tilt)
    read = spectrograph.extraction_pixels * spectrograph.read_noise**2
    middle = spectrograph.n_pixels // 2
    nearest = int(np.argmin(np.abs(wave[:, middle] - _REFERENCE)))
    # A gentle slope stands for star, atmosphere and telescope; snr² = E² / (E + read) gives E.
    at_reference = 0.5 * (snr**2 + np.sqrt(snr**4 + 4 * snr**2 * read))
    continuum = at_reference * (wave / _REFERENCE) * width / width[nearest, middle] * blaze
    continuum *= 1.0 / blaze[nearest, middle]
    mean = np.where(covered, continuum * np.maximum(np.nan_to_num(normalised), 0.0), 0.0)

    rng = np.random.default_rng(seed)
    electrons = rng.poisson(mean) + rng.normal(0.0, np.sqrt(read), mean.shape)
    electrons = np.where(covered, electrons, 0.0)
    variance = np.where(covered, mean + read, 0.0)
    level = continuum[:, middle]
    snr_orders = np.where(covered[:, middle], level / np.sqrt(level + read), 0.0)
    return Exposure(
        spectrograph, wave, width, blaze, electrons, variance, snr_orders, rv, berv, bjd, target
    )


def blaze_frame(instrument: str = "HARPS-N", *, tilt: float = 0.0, new: bool = False) -> (
    fits.HDUList
):
    """Blaze file of the mock calibrations.

    Parameters
    ----------
    instrument : str
        Name.
    tilt : float
        As in :func:`observe`.
    new : bool
        Layout of the new DRS (image in the first extension) instead of the old.
    """
    spectrograph = get_instrument(instrument)
    data = _blaze(spectrograph, tilt).astype(np.float32)
    if not new:
        header = _header(spectrograph, "old", "", kind="LAMP,LAMP,TUN", category="CALIB")
        return fits.HDUList([fits.PrimaryHDU(data, header)])
    header = _header(spectrograph, "new", "", kind="FLAT,OFF", category="CALIB")
    _set(header, _names(spectrograph, "new", "product")[0], "BLAZE_A", "Category of product")
    return fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(data, name="SCIDATA")])


def write(
    hdus: fits.HDUList, path: str | os.PathLike[str], *, overwrite: bool = False,
    blaze: fits.HDUList | None = None,
) -> Path:
    """Write a mock product, and on request its blaze file beside it under the header's name.

    Parameters
    ----------
    hdus : HDUList
        From :func:`observe`.
    path : path
        File to write; compressed if it ends in ``.gz``.
    overwrite : bool
        Replace an existing file.
    blaze : HDUList, optional
        From :func:`blaze_frame`.

    Raises
    ------
    OutputError
        The file exists, the folder does not, or cannot be written to.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError("file exists", hint="choose another name or overwrite it", path=path)
    _replace(hdus, path)
    if blaze is not None:
        _replace(blaze, path.with_name(_blaze_file_of(hdus[0].header)))
    return path


def _replace(hdus: fits.HDUList, path: Path) -> None:
    """Write whole or not at all."""
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    content = buffer.getvalue()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"cannot be written ({error.strerror})", hint="check the folder", path=path
        ) from None


def _blaze(spectrograph: Instrument, tilt: float) -> Array:
    """Blaze of every order, 1 at its maximum, with an additional slope."""
    shape = spectrograph.blaze(range(spectrograph.n_orders))
    shape = shape * (1.0 + tilt * np.linspace(-1.0, 1.0, spectrograph.n_pixels))
    blaze: Array = shape / shape.max(axis=1, keepdims=True)
    return blaze


def _e2ds(exposure: Exposure) -> fits.HDUList:
    spectrograph = exposure.instrument
    header = _observed_header(exposure, "old")
    polynomials = spectrograph.wave_polynomials
    assert polynomials is not None
    header["CTYPE1"] = ("PIXEL", "Pixel coordinate system")
    header["CTYPE2"] = ("PIXEL", "Pixel coordinate system")
    _put(header, spectrograph, "old", "n_orders", len(polynomials), "nb orders localised")
    _put(header, spectrograph, "old", "degree", polynomials.shape[1] - 1, "degre polyn fit ll")
    for index, value in enumerate(polynomials.ravel()):
        _put(
            header, spectrograph, "old", "coefficient", float(value), "coeff ll(x,order)",
            index=index,
        )
    return fits.HDUList([fits.PrimaryHDU(exposure.electrons.astype(np.float32), header)])


def _s2d(exposure: Exposure, category: str) -> fits.HDUList:
    header = _observed_header(exposure, "new", product=category)
    blaze = exposure.blaze if category == "S2D_A" else 1.0
    vacuum = _vacuum(exposure.wave)
    images: dict[str, npt.NDArray[Any]] = {
        "SCIDATA": (exposure.electrons / blaze).astype(np.float32),
        "ERRDATA": (np.sqrt(exposure.variance) / blaze).astype(np.float32),
        "QUALDATA": np.where(exposure.covered, 0, 1).astype(np.int32),
        "WAVEDATA_VAC_BARY": vacuum,
        "WAVEDATA_AIR_BARY": exposure.wave,
        "DLLDATA_VAC_BARY": exposure.width * vacuum / exposure.wave,
        "DLLDATA_AIR_BARY": exposure.width,
    }
    extensions = [fits.ImageHDU(image, name=name) for name, image in images.items()]
    return fits.HDUList([fits.PrimaryHDU(header=header), *extensions])


def _s1d(exposure: Exposure) -> fits.HDUList:
    covered = exposure.wave[exposure.covered]
    start = np.ceil(covered.min() * 100) / 100 if covered.size else exposure.wave.min()
    stop = covered.max() if covered.size else start + 10.0
    wave = start + 0.01 * np.arange(int((stop - start) / 0.01))
    flux, _ = _merge(exposure, wave)
    header = _observed_header(exposure, "old")
    for name, value, comment in (
        ("CRPIX1", 1.0, "Reference pixel"),
        ("CRVAL1", float(start), "Coordinate at reference pixel"),
        ("CDELT1", 0.01, "Coordinate increment par pixel"),
        ("CTYPE1", "Angstrom", "Units of coordinate"),
        ("BUNIT", "Relative Flux", "Units of data values"),
    ):
        header[name] = (value, comment)
    return fits.HDUList([fits.PrimaryHDU(flux.astype(np.float32), header)])


def _s1d_table(exposure: Exposure) -> fits.HDUList:
    covered = exposure.wave[exposure.covered]
    low, high = (covered.min(), covered.max()) if covered.size else (5000.0, 5010.0)
    step = 0.82 / SPEED_OF_LIGHT
    wave = low * np.exp(step * np.arange(int(np.log(high / low) / step)))
    flux, variance = _merge(exposure, wave)
    columns = {
        "wavelength": (_vacuum(wave), "angstrom"),
        "wavelength_air": (wave, "angstrom"),
        "flux": (flux, "e-"),
        "error": (np.sqrt(variance), "e-"),
    }
    table = [
        fits.Column(name=name, format="D", unit=unit, array=values)
        for name, (values, unit) in columns.items()
    ]
    table.append(fits.Column(name="quality", format="J", array=(variance <= 0).astype(np.int32)))
    header = _observed_header(exposure, "new", product="S1D_A")
    return fits.HDUList([fits.PrimaryHDU(header=header), fits.BinTableHDU.from_columns(table)])


def _merge(exposure: Exposure, wave: Array) -> tuple[Array, Array]:
    """Orders interpolated and averaged with their blaze as weight; 0 in gaps.

    By splines: straight lines between pixels would broaden the lines. Per Å, on one scale for all
    orders: steps of a pixel's growth from order to order would be left where orders end.
    """
    total, squared, weight = (np.zeros(wave.size) for _ in range(3))
    response = exposure.blaze * exposure.width / exposure.width.mean()
    density = exposure.electrons / response
    noise = exposure.variance / response**2
    for row in np.flatnonzero(exposure.covered.sum(axis=1) > 1):
        at, covered = exposure.wave[row], exposure.covered[row]
        whole = np.interp(wave, at, covered, left=0.0, right=0.0) > 0.999
        share = np.where(whole, np.interp(wave, at, exposure.blaze[row]), 0.0)
        inside = np.clip(wave, at[0], at[-1])
        total += share * CubicSpline(at[covered], density[row][covered])(inside)
        squared += share**2 * np.interp(wave, at, noise[row])
        weight += share
    lit = weight > 0
    safe = np.where(lit, weight, 1.0)
    return np.where(lit, total / safe, 0.0), np.where(lit, squared / safe**2, 0.0)


def _vacuum(wave: Array) -> Array:
    return np.asarray(air_to_vac(wave * u.AA, method="Morton2000").to_value(u.AA), dtype=float)


def _observed_header(exposure: Exposure, kind: str, *, product: str = "") -> fits.Header:
    spectrograph = exposure.instrument
    header = _header(spectrograph, kind, exposure.target, kind="STAR,WAVE", category="SCIENCE")
    if product:
        names = _names(spectrograph, kind, "product")
        _set(header, names[0], product, "Category of pipeline product frame")
        _set(header, "ESO PRO REC1 PIPE ID", "espdr/3.0.0", "Pipeline identifier")
        name = _blaze_name(spectrograph, kind)
        _put(header, spectrograph, kind, "calibration_file", name, "File name", index=1)
        _put(header, spectrograph, kind, "calibration", "BLAZE_A", "Category", index=1)
        _put(header, spectrograph, kind, "rv", exposure.rv, "Radial velocity [km/s]")
        _put(header, spectrograph, kind, "rv_err", 0.001, "Uncertainty [km/s]")
    else:
        version = f"{spectrograph.instrume[0]}_3.7"
        _put(header, spectrograph, kind, "version", version, "DRS version")
        _put(header, spectrograph, kind, "blaze", _blaze_name(spectrograph, kind), "Blaze file")
        _put(
            header, spectrograph, kind, "read_noise", spectrograph.read_noise,
            "CCD Readout Noise [e-]",
        )
        _put(
            header, spectrograph, kind, "gain", spectrograph.gain, "CCD conv factor [e-/ADU]"
        )
    for row, value in enumerate(exposure.snr_orders):
        _put(
            header, spectrograph, kind, "snr", round(float(value), 2), "S_N order center",
            row=row, order=row + 1,
        )
    _put(header, spectrograph, kind, "berv", exposure.berv, "Barycentric Earth Radial Velocity")
    _put(header, spectrograph, kind, "bjd", exposure.bjd, "Barycentric Julian Day")
    return header


def _header(
    spectrograph: Instrument, pipeline: str, target: str, *, kind: str, category: str
) -> fits.Header:
    header = fits.Header()
    header["TELESCOP"] = "TNG" if spectrograph.prefix == "TNG" else "ESO-3P6"
    header["INSTRUME"] = (spectrograph.instrume[0], "Instrument used")
    header["ORIGIN"] = ("harpsstar mock observer", "Not an observation")
    header["DATE-OBS"] = (_START, "Date of observation")
    header["EXPTIME"] = (900.0, "Total integration time")
    if target:
        _put(header, spectrograph, pipeline, "target", target, "Target name")
    _put(header, spectrograph, pipeline, "type", kind, "Observation type")
    _put(header, spectrograph, pipeline, "category", category, "Observation category")
    return header


def _names(spectrograph: Instrument, pipeline: str, meaning: str) -> list[str]:
    names = spectrograph.cards[pipeline][meaning]
    return [names] if isinstance(names, str) else list(names)


def _put(
    header: fits.Header, spectrograph: Instrument, pipeline: str, meaning: str, value: Any,
    comment: str, **numbers: int,
) -> None:
    _set(header, _names(spectrograph, pipeline, meaning)[0].format(**numbers), value, comment)


def _set(header: fits.Header, name: str, value: Any, comment: str) -> None:
    key = f"HIERARCH {name}" if " " in name else name
    # A HIERARCH card has 80 characters for all three; the comment is what gives way.
    room = 80 - len(key) - 3 - len(f"{value!r}") - 5
    header[key] = (value, comment[:room]) if room > 0 else value


def _blaze_name(spectrograph: Instrument, pipeline: str) -> str:
    if pipeline == "old":
        return f"{spectrograph.instrume[0]}.{_NIGHT}T16-00-00.000_blaze_A.fits"
    return f"r.{spectrograph.instrume[0]}.{_NIGHT}T16-00-00.000_BLAZE_A.fits"


def _blaze_file_of(header: fits.Header) -> str:
    for name in ("DRS BLAZE FILE", "PRO REC1 CAL1 NAME"):
        for prefix in ("ESO", "TNG"):
            if f"{prefix} {name}" in header:
                return str(header[f"{prefix} {name}"])
    raise OutputError("the header names no blaze file", expected="a product of observe()")
