"""What lies beside the spectra in an archive: calibrations, fibre B, correlation functions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from harpsstar.instruments import Instrument, get_instrument
from harpsstar.mock import headers
from harpsstar.mock.detector import Detector
from harpsstar.mock.exposure import Exposure, When, blaze_of

__all__ = ["blaze_frame", "ccf_frame", "fibre_b", "thorium_frame", "wave_frame"]

# Lines of the mock lamp: this many per order, with at most this many electrons.
_LAMP_LINES, _LAMP_ELECTRONS = 40, 50_000.0
_Values = dict[str, float | str]
_Image = npt.NDArray[np.float32]


def blaze_frame(
    instrument: str = "HARPS-N", *, tilt: float = 0.0, new: bool = False, when: When | None = None
) -> fits.HDUList:
    """Blaze file of the mock calibrations.

    Parameters
    ----------
    instrument : str
        Name.
    tilt : float
        As in :func:`harpsstar.mock.observe`.
    new : bool
        Layout of the new DRS (image in the first extension) instead of the old.
    when : When, optional
        Beginning.
    """
    spectrograph, when = get_instrument(instrument), when or When()
    data = blaze_of(spectrograph, tilt).astype(np.float32)
    if not new:
        header = headers.base(
            spectrograph, headers.OLD, "", kind="LAMP,LAMP,TUN", category="CALIB", when=when
        )
        return fits.HDUList([fits.PrimaryHDU(data, header)])
    header = headers.base(
        spectrograph, headers.NEW, "", kind="FLAT,OFF", category="CALIB", when=when
    )
    headers.put(header, spectrograph, headers.NEW, "product", "BLAZE_A", "Category of product")
    return fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(data, name="SCIDATA")])


def wave_frame(instrument: str = "HARPS-N", *, when: When | None = None) -> fits.HDUList:
    """Wavelength calibration of the old pipeline: air wavelength at the observatory [Å]."""
    spectrograph = get_instrument(instrument)
    header = _lamp_header(spectrograph, when or When())
    return fits.HDUList([fits.PrimaryHDU(spectrograph.wavelengths.astype(np.float32), header)])


def thorium_frame(
    instrument: str = "HARPS-N", *, seed: int = 0, when: When | None = None
) -> fits.HDUList:
    """An e2ds of the thorium lamp, as taken between stars; lines at drawn places."""
    spectrograph = get_instrument(instrument)
    rng = np.random.default_rng(seed)
    shape = (spectrograph.n_orders, spectrograph.n_pixels)
    centres = rng.uniform(0, shape[1], (shape[0], _LAMP_LINES))
    strengths = _LAMP_ELECTRONS * 10.0 ** rng.uniform(-3.0, 0.0, centres.shape)
    mean = np.zeros(shape)
    for offset in range(-6, 7):
        column = np.rint(centres).astype(int) + offset
        profile = strengths * np.exp(-0.5 * ((column - centres) / 1.4) ** 2)
        rows = np.broadcast_to(np.arange(shape[0])[:, None], column.shape)
        inside = (column >= 0) & (column < shape[1])
        np.add.at(mean, (rows[inside], column[inside]), profile[inside])
    electrons = Detector.of(spectrograph).count(mean, rng)
    header = _lamp_header(spectrograph, when or When())
    return fits.HDUList([fits.PrimaryHDU(electrons.astype(np.float32), header)])


def fibre_b(exposure: Exposure, *, seed: int = 0) -> fits.HDUList:
    """An e2ds of fibre B, which looked at dark sky: read noise."""
    spectrograph = exposure.instrument
    rng = np.random.default_rng([seed, 2])
    electrons = Detector.of(spectrograph).dark(exposure.electrons.shape, rng)
    header = headers.observed(exposure, headers.OLD, fibre="B")
    headers.put_wave(header, spectrograph)
    return fits.HDUList([fits.PrimaryHDU(electrons.astype(np.float32), header)])


def ccf_frame(
    exposure: Exposure,
    *,
    new: bool = False,
    mask: str = "G2",
    fwhm: float = 7.0,
    contrast: float = 45.0,
) -> fits.HDUList:
    """Cross-correlation function of every order and, last, their sum.

    It is drawn, not computed: a Gaussian at the header's velocity. A reader needs its cards and
    the layout, by which it tells that this is no spectrum.

    Parameters
    ----------
    exposure : Exposure
    new : bool
        Layout of the new DRS.
    mask : str
        Name of the mask.
    fwhm, contrast : float
        Width [km/s] and depth [%].
    """
    rv, step = exposure.header_rv, 0.25
    start = round(rv - 20.0, 2)
    velocity = start + step * np.arange(161)
    profile = 1.0 - contrast / 100 * np.exp(-4 * np.log(2) * ((velocity - rv) / fwhm) ** 2)
    level = exposure.electrons.sum(axis=1)
    data = np.vstack([level[:, None] * profile, level.sum() * profile])
    values: _Values = {"RV": rv, "FWHM": fwhm, "CONTRAST": contrast, "MASK": mask}
    if new:
        return _new_ccf(exposure, data.astype(np.float32), values, start, step)
    return _old_ccf(exposure, data.astype(np.float32), values, start, step)


def _old_ccf(
    exposure: Exposure, data: _Image, values: _Values, start: float, step: float
) -> fits.HDUList:
    spectrograph = exposure.instrument
    header = headers.observed(exposure, headers.OLD)
    headers.put_wave(header, spectrograph)
    header["CTYPE1"] = ("km/s", "Units of coordinate")
    header["CRVAL1"], header["CDELT1"] = start, step
    noise = 100.0 / max(float(exposure.snr_orders.max()), 1.0)  # m/s, about as the pipeline says
    for name, value in {"RVC": values["RV"], **values, "NOISE": noise / 1000.0}.items():
        headers.set_card(header, f"{spectrograph.prefix} DRS CCF {name}", value, "")
    headers.set_card(header, f"{spectrograph.prefix} DRS DVRMS", noise, "Uncertainty [m/s]")
    return fits.HDUList([fits.PrimaryHDU(data, header)])


def _new_ccf(
    exposure: Exposure, data: _Image, values: _Values, start: float, step: float
) -> fits.HDUList:
    prefix = exposure.instrument.prefix
    header = headers.observed(exposure, headers.NEW, product="CCF_A")
    for name, value in values.items():
        headers.set_card(header, f"{prefix} QC CCF {name}", value, "")
    headers.set_card(header, f"{prefix} RV START", start, "[km/s]")
    headers.set_card(header, f"{prefix} RV STEP", step, "[km/s]")
    images = {"SCIDATA": data, "ERRDATA": np.sqrt(np.abs(data)),
              "QUALDATA": np.zeros(data.shape, np.int32)}  # fmt: skip
    extensions = [fits.ImageHDU(image, name=name) for name, image in images.items()]
    return fits.HDUList([fits.PrimaryHDU(header=header), *extensions])


def _lamp_header(spectrograph: Instrument, when: When) -> fits.Header:
    header = headers.base(
        spectrograph, headers.OLD, "", kind="WAVE,WAVE,THAR2", category="CALIB", when=when
    )
    headers.put_wave(header, spectrograph)
    return header
