"""One spectrum in every layout that is read.

The 1-D layouts share the pixels of an s1d table of the mock observer, those of orders its e2ds.
"""

from __future__ import annotations

import gzip
import io

import numpy as np
from astropy import units as u
from astropy.io import fits
from specutils.utils.wcs_utils import air_to_vac

from harpsstar.io.build import barycentric_factor

BERV = -12.0


class Star:
    """What a mock star's s1d table and e2ds hold: arrays in air and in the barycentric frame."""

    def __init__(self, observed):
        """Take a function of the name of a format that returns an HDUList of a mock star."""
        self.observed = observed
        table = observed("s1d_table")[1].data
        good = (table["quality"] == 0) & (table["flux"] != 0)
        self.wave = np.array(table["wavelength_air"][good], dtype=float)
        self.flux = np.array(table["flux"][good], dtype=float)
        self.error = np.array(table["error"][good], dtype=float)

    @property
    def vacuum(self):
        return air_to_vac(self.wave * u.AA, method="Morton2000").to_value(u.AA)

    @property
    def topocentric(self):
        return self.wave / barycentric_factor(BERV)

    def even(self, wave):
        """Flux on another axis, by splines as pipelines do it."""
        from scipy.interpolate import CubicSpline

        return CubicSpline(self.wave, self.flux)(wave)


def content(hdus):
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def rows(*columns, separator=" ", head=""):
    table = "\n".join(separator.join(f"{value:.8g}" for value in row) for row in
                      zip(*columns, strict=True))
    return (head + table + "\n").encode()


def phase3(star, wave, *, ucd, cards, errors=True, extra=()):
    names = [("WAVE", wave, "Angstrom"), ("FLUX", star.flux, "adu"),
             ("ERR", star.error if errors else np.full(wave.size, np.nan), "adu"), *extra]
    table = fits.BinTableHDU.from_columns([
        fits.Column(name=name, format=f"{wave.size}D", unit=unit, array=[values])
        for name, values, unit in names
    ], name="SPECTRUM")  # fmt: skip
    for index, text in enumerate(ucd, start=1):
        table.header[f"TUCD{index}"] = text
    primary = fits.PrimaryHDU()
    primary.header["PRODCATG"] = "SCIENCE.SPECTRUM"
    primary.header["OBJECT"] = "HD 1"
    for name, value in cards.items():
        primary.header[f"HIERARCH {name}" if " " in name else name] = value
    return content(fits.HDUList([primary, table]))


def image(flux, cards, shape=None):
    hdu = fits.PrimaryHDU(np.asarray(flux, dtype=np.float32).reshape(shape or flux.shape))
    for name, value in cards.items():
        hdu.header[name] = value
    return content(fits.HDUList([hdu]))


def wat(texts):
    """WAT2 cards of multispec: the text in pieces of 68 characters."""
    text = "wtype=multispec " + " ".join(f'spec{i + 1} = "{t}"' for i, t in enumerate(texts))
    pieces = [text[i : i + 68] for i in range(0, len(text), 68)]
    cards = {"WAT0_001": "system=multispec",
             "WAT1_001": "wtype=multispec label=Wavelength units=angstroms",
             "CTYPE1": "MULTISPE", "CTYPE2": "MULTISPE"}  # fmt: skip
    return cards | {f"WAT2_{i + 1:03d}": piece for i, piece in enumerate(pieces)}


def multispec(star, kind):
    """Orders of the e2ds (with their blaze) in IRAF's format, barycentric."""
    hdus = star.observed("e2ds")
    header, electrons = hdus[0].header, hdus[0].data
    prefix = "TNG DRS CAL TH COEFF LL"
    degree = header["TNG DRS CAL TH DEG LL"]
    use = np.flatnonzero((electrons != 0).sum(axis=1) > 2000)
    x = np.arange(electrons.shape[1], dtype=float)
    factor = barycentric_factor(BERV)
    texts = []
    for order, row in enumerate(use):
        power = [header[f"{prefix}{i + row * (degree + 1)}"] * factor for i in range(degree + 1)]
        start = f"{order + 1} {order + 1} 2 {power[0]:.6f} 0.0146 {x.size} 0. 0. 0. 1. 0."
        low, high = 1.0, float(x.size)
        # The same polynomial in t from -1 to 1, where pixel numbers begin with 1.
        t = np.linspace(-1, 1, 200)
        values = np.polynomial.polynomial.polyval((t * (high - low) + high + low) / 2 - 1, power)
        if kind == "chebyshev":
            code, found = 1, np.polynomial.chebyshev.chebfit(t, values, degree)
        else:
            code, found = 2, np.polynomial.legendre.legfit(t, values, degree)
        numbers = " ".join(f"{value:.14g}" for value in found)
        texts.append(f"{start} {code} {degree + 1} {low:g} {high:g} {numbers}")
    return image(electrons[use], wat(texts))


def layouts(star):
    """Name of every layout to (bytes, what the user has to say beside, product)."""
    step = 0.01
    linear = np.arange(star.wave[0] + 1, star.wave[-1] - 1, step)
    log = np.exp(np.arange(np.log(linear[0]), np.log(linear[-1]), 2e-6))
    vacuum = np.arange(star.vacuum[0] + 1, star.vacuum[-1] - 1, step)
    on_vacuum = np.interp(vacuum, star.vacuum, star.wave)
    say = {"frame": "barycentric", "resolution": 115000.0}
    every = {**say, "medium": "air"}
    hdus = star.observed
    found = {
        "e2ds": (content(hdus("e2ds")), {}, "e2ds"),
        "s1d": (content(hdus("s1d")), {}, "s1d"),
        "S2D": (content(hdus("s2d")), {}, "S2D"),
        "S2D_BLAZE": (content(hdus("s2d_blaze")), {}, "S2D_BLAZE"),
        "S1D": (content(hdus("s1d_table")), {}, "S1D"),
    }
    for variant in ("S1D_SKYSUB", "S1D_TELL_CORR", "S1D_FLUXCAL"):
        table = hdus("s1d_table")
        table[0].header["HIERARCH ESO PRO CATG"] = f"{variant}_A"
        if variant == "S1D_FLUXCAL":
            table[1].columns.change_name("flux", "flux_cal")
            table[1].columns.change_name("error", "error_cal")
        found[variant] = content(table), {}, variant
    packed = hdus("e2ds")
    primary = packed[0]
    packed = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(
        primary.data, primary.header, compression_type="RICE_1", quantize_level=-0.01)])
    found["e2ds, tile-compressed"] = content(packed), {}, "e2ds"
    found["s1d, 1 × N"] = one_by_n(hdus("s1d")), {}, "s1d"
    bary = {"SPECSYS": "BARYCENT", "SPEC_RES": 115000.0}
    air_ucd = ["em.wl;obs.atmos", "phot.flux.density;em.wl", "stat.error;phot.flux.density;em.wl"]
    found["ADP, old"] = phase3(star, star.wave, ucd=air_ucd, cards=bary, errors=False), {}, "ADP"
    found["ADP, new"] = phase3(
        star, star.vacuum, ucd=["em.wl"], cards={**bary, "ESO PRO CATG": "S1D_FINAL_A"},
        extra=[("WAVE_AIR", star.wave, "Angstrom"), ("FLUX_EL", star.flux, ""),
               ("ERR_EL", star.error, "")]), {}, "ADP"  # fmt: skip
    found["ADP, observatory"] = phase3(
        star, star.topocentric / 10, ucd=air_ucd,
        cards={"SPECSYS": "TOPOCENT", "SPEC_RES": 115000.0, "INSTRUME": "UVES",
               "ESO QC VRAD BARYCOR": BERV}), {}, "ADP"  # fmt: skip
    table = fits.open(io.BytesIO(found["ADP, observatory"][0]))
    table[1].header["TUNIT1"] = "nm"
    found["ADP, observatory"] = content(table), {}, "ADP"
    found["text, two columns"] = rows(star.wave, star.flux), every, "text"
    found["text, nm, tabs, errors"] = (
        rows(star.wave / 10, star.flux, star.error, separator="\t", head="# a comment\n"), every,
        "text")  # fmt: skip
    found["CSV, vacuum"] = (
        rows(star.vacuum, star.flux, star.error, separator=",", head="wave_vac,flux,flux_err\n"),
        say, "text")  # fmt: skip
    found["text, decimal commas"] = (
        rows(star.wave, star.flux, star.error, separator=";").replace(b".", b","), every, "text")
    found["text, gzipped"] = gzip.compress(found["text, two columns"][0], 1), every, "text"
    for name, names, wave in (("names", ("LAMBDA", "FLUX", "SIGMA"), star.wave),
                              ("ivar", ("loglam", "flux", "ivar"), np.log10(star.wave))):
        third = star.error if name == "names" else star.error**-2
        columns = [fits.Column(name=n, format="D", array=a) for n, a in
                   zip(names, (wave, star.flux, third), strict=True)]  # fmt: skip
        table = fits.BinTableHDU.from_columns(columns)
        found[f"table, {name}"] = content(fits.HDUList([fits.PrimaryHDU(), table])), every, "table"
    arrays = ((star.vacuum / 1e4, "um"), (star.flux, ""), (star.error, ""))
    columns = [fits.Column(name=f"col{i}", format="D", unit=unit, array=values)
               for i, (values, unit) in enumerate(arrays)]  # fmt: skip
    by_ucd = fits.BinTableHDU.from_columns(columns)
    for i, text in enumerate(["em.wl", "phot.flux.density", "stat.error;phot.flux.density"]):
        by_ucd.header[f"TUCD{i + 1}"] = text
    found["table, UCD and unit"] = (
        content(fits.HDUList([fits.PrimaryHDU(), by_ucd])), {**say, "medium": "vacuum"}, "table")
    axis = {"CRPIX1": 1.0, "CRVAL1": linear[0], "CDELT1": step}
    flux = star.even(linear)
    found["image"] = image(flux, axis), every, "image"
    found["image, Angstrom"] = image(flux, {**axis, "CTYPE1": "Angstrom"}), every, "image"
    nm = {"CRPIX1": 1.0, "CRVAL1": linear[0] / 10, "CDELT1": step / 10, "CUNIT1": "nm"}
    found["image, nm"] = image(flux, nm), every, "image"
    found["image, WAVE"] = image(
        star.even(on_vacuum), {"CTYPE1": "WAVE", "CUNIT1": "Angstrom", "CRPIX1": 1.0,
                               "CRVAL1": vacuum[0], "CDELT1": step}), say, "image"  # fmt: skip
    found["image, AWAV-LOG"] = image(
        star.even(log), {"CTYPE1": "AWAV-LOG", "CUNIT1": "Angstrom", "CRPIX1": 1.0,
                         "CRVAL1": log[0], "CDELT1": log[0] * 2e-6}), say, "image"  # fmt: skip
    found["image, DC-FLAG"] = image(
        star.even(log), {"DC-FLAG": 1, "CRPIX1": 1.0, "CRVAL1": np.log10(log[0]),
                         "CDELT1": 2e-6 / np.log(10)}), every, "image"  # fmt: skip
    found["image in an extension"] = in_extension(flux, axis), every, "image"
    text = f"1 1 0 {linear[0]:.6f} {step} {linear.size} 0. 0. 0."
    found["multispec, one aperture"] = image(flux, wat([text]), (1, flux.size)), every, "image"
    for kind in ("chebyshev", "legendre"):
        found[f"multispec, {kind}"] = multispec(star, kind), every, "multispec"
    return found


def one_by_n(hdus):
    hdus[0].data = hdus[0].data[None, :]
    return content(hdus)


def in_extension(flux, axis):
    hdu = fits.ImageHDU(flux.astype(np.float32))
    for name, value in axis.items():
        hdu.header[name] = value
    return content(fits.HDUList([fits.PrimaryHDU(), hdu]))
