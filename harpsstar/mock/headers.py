"""Headers and names of mock products: the cards that readers look for, as pipelines write them."""

from __future__ import annotations

from typing import Any

from astropy.io import fits

from harpsstar.errors import OutputError
from harpsstar.instruments import Instrument, prefixes
from harpsstar.mock.exposure import Exposure, When

__all__ = ["base", "blaze_file_of", "file_name", "names", "observed", "put", "put_wave", "set_card"]

OLD, NEW = "old", "new"


def file_name(spectrograph: Instrument, pipeline: str, start: str, kind: str) -> str:
    """Name as the pipelines give it: ``HARPN.<time>_e2ds_A.fits``, ``r.HARPN.<time>_S2D_A.fits``.

    Times are written with dashes everywhere, as HARPS-N does: not all systems allow colons.

    Parameters
    ----------
    spectrograph : Instrument
    pipeline : {"old", "new"}
    start : str
        Beginning of the exposure, ISO 8601.
    kind : str
        ``e2ds_A``, ``S2D_BLAZE_A``, ….
    """
    first = "r." if pipeline == NEW else ""
    return f"{first}{spectrograph.instrume[0]}.{start.replace(':', '-')}_{kind}.fits"


def base(
    spectrograph: Instrument, pipeline: str, target: str, *, kind: str, category: str, when: When
) -> fits.Header:
    """Cards that every product has; `kind` is what the fibres saw (DPR TYPE)."""
    header = fits.Header()
    header["TELESCOP"] = "ESO-3P6" if spectrograph.prefix == "ESO" else spectrograph.prefix
    header["INSTRUME"] = (spectrograph.instrume[0], "Instrument used")
    header["ORIGIN"] = ("harpsstar mock observer", "Not an observation")
    header["DATE-OBS"] = (when.start, "Date of observation")
    header["MJD-OBS"] = (
        round(when.jd - 2400000.5 - when.exptime / 172800.0, 8),
        "Start of observation",
    )
    header["EXPTIME"] = (when.exptime, "Total integration time")
    if target:
        put(header, spectrograph, pipeline, "target", target, "Target name")
    put(header, spectrograph, pipeline, "type", kind, "Observation type")
    put(header, spectrograph, pipeline, "category", category, "Observation category")
    return header


def observed(
    exposure: Exposure, pipeline: str, *, product: str = "", fibre: str = "A"
) -> fits.Header:
    """Cards of a star's product; `product` is the category that the new pipeline gives it."""
    spectrograph, when = exposure.instrument, exposure.when
    header = base(
        spectrograph, pipeline, exposure.target, kind="STAR,WAVE", category="SCIENCE", when=when
    )
    header["AIRMASS"] = (exposure.effects.airmass, "Airmass at start")
    name = file_name(
        spectrograph,
        pipeline,
        when.calibrated,
        f"BLAZE_{fibre}" if pipeline == NEW else f"blaze_{fibre}",
    )
    if pipeline == NEW:
        put(header, spectrograph, NEW, "product", product, "Category of product")
        set_card(header, "ESO PRO REC1 PIPE ID", "espdr/3.0.0", "Pipeline identifier")
        put(header, spectrograph, NEW, "calibration_file", name, "File name", index=1)
        put(header, spectrograph, NEW, "calibration", f"BLAZE_{fibre}", "Category", index=1)
        put(header, spectrograph, NEW, "rv", exposure.header_rv, "Radial velocity [km/s]")
        put(header, spectrograph, NEW, "rv_err", 0.001, "Uncertainty [km/s]")
        set_card(header, f"{spectrograph.prefix} QC DRIFT DET0 MEAN", exposure.effects.drift,
                 "Drift [m/s]")  # fmt: skip
    else:
        _old_cards(header, exposure, name)
    for row, value in enumerate(exposure.snr_orders):
        put(header, spectrograph, pipeline, "snr", round(float(value), 2), "S_N order center",
            row=row, order=row + 1)  # fmt: skip
    put(header, spectrograph, pipeline, "berv", exposure.berv, "Barycentric Earth Radial Velocity")
    put(header, spectrograph, pipeline, "bjd", exposure.bjd, "Barycentric Julian Day")
    return header


def _old_cards(header: fits.Header, exposure: Exposure, blaze: str) -> None:
    spectrograph = exposure.instrument
    prefix = spectrograph.prefix
    wave = file_name(spectrograph, OLD, exposure.when.calibrated, "wave_A")
    for meaning, value, comment in (
        ("version", f"{spectrograph.instrume[0]}_3.7", "DRS version"),
        ("blaze", blaze, "Blaze file"),
        ("wave_file", wave, "Wave file"),
        ("read_noise", spectrograph.read_noise, "CCD Readout Noise [e-]"),
        ("gain", spectrograph.gain, "CCD conv factor [e-/ADU]"),
    ):
        put(header, spectrograph, OLD, meaning, value, comment)
    set_card(header, f"{prefix} TEL TARG RADVEL", exposure.header_rv, "Radial velocity [km/s]")
    set_card(header, f"{prefix} DRS DRIFT RV USED", exposure.effects.drift, "Drift used [m/s]")


def put_wave(header: fits.Header, spectrograph: Instrument) -> None:
    """Put the polynomials of the wavelength calibration into a header of the old pipeline."""
    polynomials = spectrograph.wave_polynomials
    assert polynomials is not None  # else nothing could have been observed
    header["CTYPE1"] = ("PIXEL", "Pixel coordinate system")
    header["CTYPE2"] = ("PIXEL", "Pixel coordinate system")
    put(header, spectrograph, OLD, "n_orders", len(polynomials), "nb orders localised")
    put(header, spectrograph, OLD, "degree", polynomials.shape[1] - 1, "degre polyn fit ll")
    for index, value in enumerate(polynomials.ravel()):
        put(header, spectrograph, OLD, "coefficient", float(value), "coeff ll(x,order)",
            index=index)  # fmt: skip


def names(spectrograph: Instrument, pipeline: str, meaning: str) -> list[str]:
    """Names of the cards with a meaning; none where the instrument has no such card."""
    found = spectrograph.cards.get(pipeline, {}).get(meaning, ())
    return [found] if isinstance(found, str) else list(found)


def put(
    header: fits.Header,
    spectrograph: Instrument,
    pipeline: str,
    meaning: str,
    value: Any,
    comment: str,
    **numbers: int,
) -> None:
    """Set the card that has a meaning for this instrument, if it has one."""
    for name in names(spectrograph, pipeline, meaning)[:1]:
        set_card(header, name.format(**numbers), value, comment)


def set_card(header: fits.Header, name: str, value: Any, comment: str) -> None:
    """Set a card, hierarchical if its name has spaces."""
    key = f"HIERARCH {name}" if " " in name else name
    # A HIERARCH card has 80 characters for all three; the comment is what gives way.
    room = 80 - len(key) - 3 - len(f"{value!r}") - 5
    header[key] = (value, comment[:room]) if room > 0 else value


def blaze_file_of(header: fits.Header) -> str:
    """Name of the blaze file that a header names.

    Raises
    ------
    OutputError
        It names none.
    """
    for name in ("DRS BLAZE FILE", "PRO REC1 CAL1 NAME"):
        for prefix in prefixes():
            if f"{prefix} {name}" in header:
                return str(header[f"{prefix} {name}"])
    raise OutputError("the header names no blaze file", expected="a product of observe()")
