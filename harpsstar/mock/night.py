"""A whole mock night in an archive: spectra of stars among everything else that a night leaves.

Every exposure of a star leaves an e2ds of fibre A and one of fibre B and a cross-correlation
function; some leave the merged spectrum too, and some have been reduced again by the new pipeline.
Calibrations lie before and between them. One in a few spectra has a defect that a real archive has:
moonlight, a companion, a wrong velocity in its header, a drift, cosmic rays, a low signal.
``truth.ecsv`` tells what every file is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from harpsstar._threads import one_thread
from harpsstar.errors import ConfigError, OutputError
from harpsstar.instruments import Instrument, get_instrument
from harpsstar.mock import frames
from harpsstar.mock.effects import Effects
from harpsstar.mock.exposure import Exposure, When, expose
from harpsstar.mock.files import write
from harpsstar.mock.headers import NEW, OLD, file_name
from harpsstar.mock.products import writer
from harpsstar.mock.stars import model_star, moonlight, second_star
from harpsstar.outputs import make_folder, replacing
from harpsstar.outputs.kinds import CREATOR, ECSV

if TYPE_CHECKING:
    from harpsstar.model.emulator import Emulator

__all__ = ["TRUTH", "Plan", "observe_night", "plan"]

#: Name of the table that tells what every file is.
TRUTH = "truth.ecsv"
#: Exposures of one star, on average.
_VISITS = 3
#: A frame of the lamp after this many exposures.
_LAMP_EVERY = 8
_HOURS = 10.0
_CALIBRATED = timedelta(hours=-4)  # from the beginning of the night at 20 h


@dataclass(frozen=True)
class Star:
    """A target of the night: labels as everywhere, velocities in km/s."""

    name: str
    labels: tuple[float, float, float, float]
    rv: float
    berv: float


@dataclass(frozen=True)
class Plan:
    """One exposure of the night before it is taken.

    Attributes
    ----------
    star : Star
    when : When
    berv, snr : float
        km/s; per pixel.
    effects : Effects
        Without contaminants.
    moon, companion : float
        Light of the Moon, and of a K dwarf 40 km/s away, in units of the star's; 0 for none.
    formats : tuple of str
        Products besides the e2ds.
    seed : int
        Of the noise.
    """

    star: Star
    when: When
    berv: float
    snr: float
    effects: Effects
    moon: float
    companion: float
    formats: tuple[str, ...]
    seed: int


def plan(n: int, seed: int, emulator: Emulator) -> list[Plan]:
    """Draw a night.

    Parameters
    ----------
    n : int
        Exposures of stars.
    seed : int
        The night is a function of both.
    emulator : Emulator
        Whose stars there are.

    Raises
    ------
    ConfigError
        No exposure, or more than a night holds (2,000).
    """
    if not 1 <= n <= 2000:
        raise ConfigError(f"{n} exposures", expected="1 to 2000 in a night")
    rng = np.random.default_rng([seed, n])
    evening = datetime.fromordinal(
        date(2013, 1, 1).toordinal() + int(rng.integers(365 * 8))
    ) + timedelta(hours=20)
    slot = min(900.0, _HOURS * 3600 / n)
    calibrated = _iso(evening + _CALIBRATED)
    stars = _stars(max(1, round(n / _VISITS)), rng, emulator)
    plans, drift = [], 0.0
    for i in range(n):
        star = stars[i * len(stars) // n]
        hours = i * slot / 3600
        start = evening + timedelta(seconds=i * slot + float(rng.integers(1000)) / 1000)
        drift += float(rng.normal(0.0, 0.3))
        effects = Effects(
            airmass=round(1.0 + 0.04 * (hours - _HOURS / 2) ** 2 * float(rng.uniform(0.3, 1)), 3),
            water=round(float(rng.uniform(1.0, 8.0)), 2),
            cosmics=round(float(rng.exponential(0.3)), 3),
            drift=round(drift, 3),
            header_rv_error=round(float(rng.normal(0.0, 30.0)), 3) if i % 6 == 5 else 0.0,
        )
        plans.append(
            Plan(
                star=star,
                when=When(_iso(start), round(slot * 0.9, 1), calibrated),
                # the Earth's rotation, seen from the latitude of the telescope
                berv=round(star.berv - 0.4 * np.sin(2 * np.pi * (hours - 5.0) / 24.0), 4),
                snr=round(float(np.exp(rng.uniform(np.log(12.0), np.log(200.0)))), 1),
                effects=effects,
                moon=round(float(rng.uniform(0.01, 0.1)), 3) if i % 5 == 3 else 0.0,
                companion=round(float(rng.uniform(0.03, 0.3)), 3) if i % 7 == 4 else 0.0,
                formats=(("s1d",), ("s2d", "s1d_table"), ("s2d_blaze",), ())[i % 4],
                seed=int(rng.integers(2**31)),
            )
        )
    return plans


def observe_night(
    n: int,
    folder: Path,
    *,
    seed: int = 0,
    instrument: str = "HARPS-N",
    emulator: Emulator | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a night into a folder of its own; the same arguments give the same bytes.

    Parameters
    ----------
    n : int
        Exposures of stars, 1 to 2000.
    folder : Path
        Made if it does not exist; the night goes into ``<folder>/<date>``.
    seed : int
        The night is a function of it, of `n` and of the emulator.
    instrument : str
        ``"HARPS-N"`` or ``"HARPS"``.
    emulator : Emulator, optional
        The packaged one by default.
    overwrite : bool
        Replace files of an earlier run.
    progress : callable, optional
        Called with (exposures done, exposures in all).

    Returns
    -------
    Path
        The folder of the night; its :data:`TRUTH` has a row for each file.

    Raises
    ------
    ConfigError
        No exposure, or too many.
    OutputError
        The folder of the night exists already, or cannot be written to.
    UnknownInstrumentError
        Unknown instrument.
    """
    from harpsstar.model.emulator import Emulator

    spectrograph = get_instrument(instrument)
    emulator = Emulator.load() if emulator is None else emulator
    with one_thread():
        plans = plan(n, seed, emulator)
        if progress is not None:
            progress(0, n)
        night = folder / plans[0].when.calibrated[:10]
        _check_empty(make_folder(night), overwrite)
        tilt = round(float(np.random.default_rng([seed, n, 1]).normal(0.0, 0.03)), 4)
        rows = _write_all(_calibrations(spectrograph, plans[0].when, tilt), night, overwrite)
        for i, item in enumerate(plans):
            rows += _write_all(_exposure(item, spectrograph, tilt, emulator), night, overwrite)
            if i % _LAMP_EVERY == _LAMP_EVERY - 1:
                rows += _write_all(_lamp(spectrograph, item), night, overwrite)
            if progress is not None:
                progress(i + 1, n)
    _write_truth(rows, night, n, seed)
    return night


#: A file before it is written: its name, its content, and its row of the truth.
_File = tuple[str, fits.HDUList, dict[str, Any]]


def _calibrations(spectrograph: Instrument, when: When, tilt: float) -> Iterator[_File]:
    at = replace(when, start=when.calibrated, exptime=20.0)
    name = spectrograph.name
    for fibre, own in (("A", tilt), ("B", 0.9 * tilt)):
        frame = frames.blaze_frame(name, tilt=own, when=at)
        yield file_name(spectrograph, OLD, at.start, f"blaze_{fibre}"), frame, {"kind": "blaze"}
        frame = frames.wave_frame(name, when=at)
        yield file_name(spectrograph, OLD, at.start, f"wave_{fibre}"), frame, {"kind": "wave"}
    frame = frames.blaze_frame(name, tilt=tilt, new=True, when=at)
    yield file_name(spectrograph, NEW, at.start, "BLAZE_A"), frame, {"kind": "blaze"}


def _lamp(spectrograph: Instrument, before: Plan) -> Iterator[_File]:
    """A frame of the lamp between two exposures."""
    end = datetime.fromisoformat(before.when.start) + timedelta(seconds=before.when.exptime + 5)
    at = replace(before.when, start=_iso(end), exptime=20.0)
    frame = frames.thorium_frame(spectrograph.name, seed=before.seed, when=at)
    yield file_name(spectrograph, OLD, at.start, "e2ds_A"), frame, {"kind": "lamp"}


def _exposure(
    item: Plan, spectrograph: Instrument, tilt: float, emulator: Emulator
) -> Iterator[_File]:
    exposure = _expose(item, spectrograph, tilt, emulator)
    truth = _truth(item)
    for format in ("e2ds", *item.formats):
        pipeline = NEW if format.startswith("s2d") or format == "s1d_table" else OLD
        kind = "S1D" if format == "s1d_table" else format.upper() if pipeline == NEW else format
        name = file_name(spectrograph, pipeline, item.when.start, f"{kind}_A")
        yield name, writer(format)(exposure), {**truth, "kind": format}
    name = file_name(spectrograph, OLD, item.when.start, "e2ds_B")
    yield name, frames.fibre_b(exposure, seed=item.seed), {**truth, "kind": "fibre B"}
    width: dict[str, Any] = {
        "fwhm": round(float(np.hypot(6.0, item.star.labels[3])), 3), "mask": _mask(item)
    }  # fmt: skip
    name = file_name(spectrograph, OLD, item.when.start, f"ccf_{width['mask']}_A")
    yield name, frames.ccf_frame(exposure, **width), {**truth, "kind": "ccf"}
    if set(item.formats) & {"s2d", "s2d_blaze"}:
        name = file_name(spectrograph, NEW, item.when.start, "CCF_A")
        yield name, frames.ccf_frame(exposure, new=True, **width), {**truth, "kind": "ccf"}


def _expose(item: Plan, spectrograph: Instrument, tilt: float, emulator: Emulator) -> Exposure:
    resolution, star = spectrograph.resolution, item.star
    model = model_star(*star.labels, resolution=resolution, emulator=emulator)
    others = []
    if item.moon:
        others.append(moonlight(item.moon, berv=item.berv, resolution=resolution,
                                emulator=emulator))  # fmt: skip
    if item.companion:
        others.append(second_star(4500.0, 4.6, star.rv + 40.0, item.companion,
                                  m_h=star.labels[2], resolution=resolution,
                                  emulator=emulator))  # fmt: skip
    return expose(
        model, rv=star.rv, berv=item.berv, snr=item.snr, instrument=spectrograph.name,
        seed=item.seed, target=star.name, tilt=tilt, when=item.when,
        effects=replace(item.effects, contaminants=tuple(others)),
    )  # fmt: skip


def _stars(n: int, rng: np.random.Generator, emulator: Emulator) -> list[Star]:
    """Draw stars of FGK type with an atmosphere in the grid."""
    import torch

    from harpsstar.model.relations import vmic_relation

    stars: list[Star] = []
    while len(stars) < n:
        teff, logg = float(rng.uniform(4500.0, 7000.0)), float(rng.uniform(2.5, 4.8))
        m_h, vsini = float(rng.uniform(-1.0, 0.4)), float(min(25.0, rng.exponential(4.0)))
        rv, berv = float(rng.normal(0.0, 30.0)), float(rng.uniform(-25.0, 25.0))
        point = torch.tensor([teff]), torch.tensor([logg]), torch.tensor([m_h])
        if bool(emulator.contains(*point, vmic_relation(*point))):
            labels = (round(teff, 1), round(logg, 3), round(m_h, 3), round(vsini, 2))
            stars.append(Star(f"MOCK {len(stars) + 1}", labels, round(rv, 3), round(berv, 3)))
    return stars


def _mask(item: Plan) -> str:
    return "G2" if item.star.labels[0] > 5400 else "K5"


def _truth(item: Plan) -> dict[str, Any]:
    effects, (teff, logg, m_h, vsini) = item.effects, item.star.labels
    return {
        "target": item.star.name, "start": item.when.start, "teff": teff, "logg": logg,
        "m_h": m_h, "vsini": vsini, "rv": item.star.rv, "berv": item.berv, "snr": item.snr,
        "airmass": effects.airmass, "water": effects.water, "cosmics": effects.cosmics,
        "drift": effects.drift, "header_rv_error": effects.header_rv_error, "moon": item.moon,
        "companion": item.companion,
    }  # fmt: skip


def _write_all(files: Iterator[_File], night: Path, overwrite: bool) -> list[dict[str, Any]]:
    rows = []
    for name, hdus, truth in files:
        write(hdus, night / name, overwrite=overwrite)
        rows.append({"file": name, **truth})
    return rows


_UNITS = {"teff": "K", "vsini": "km/s", "rv": "km/s", "berv": "km/s", "water": "mm",
          "drift": "m/s", "header_rv_error": "km/s"}  # fmt: skip
_COLUMNS = (
    "file", "kind", "target", "start", "teff", "logg", "m_h", "vsini", "rv", "berv", "snr",
    "airmass", "water", "cosmics", "drift", "header_rv_error", "moon", "companion",
)  # fmt: skip


def _write_truth(rows: list[dict[str, Any]], night: Path, n: int, seed: int) -> None:
    text = {"file", "kind", "target", "start"}
    table = Table(
        {
            name: [row.get(name, "" if name in text else np.nan) for row in rows]
            for name in _COLUMNS
        },
        meta={"creator": CREATOR, "night": n, "seed": seed},
    )
    for name, unit in _UNITS.items():
        table[name].unit = unit
    with replacing(night / TRUTH, ECSV) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)


def _check_empty(night: Path, overwrite: bool) -> None:
    if not overwrite and next(itertools.chain(night.glob("*.fits"), night.glob(TRUTH)), None):
        raise OutputError(
            "holds files already", hint="choose another folder, or overwrite it", path=night
        )


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")
