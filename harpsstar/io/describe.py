"""What a file is, whether it can be used, and what would be done to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harpsstar.errors import ConfigError, CoverageError, HarpsstarError, ReadError
from harpsstar.io import Observation
from harpsstar.io.blaze import check_blaze_dir
from harpsstar.io.build import Reading
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.paths import find
from harpsstar.io.products import read_arrays
from harpsstar.plotting import (
    BLACK,
    BLUE,
    ORANGE,
    RED,
    as_written,
    check_picture,
    new_figure,
    save,
    style,
)
from harpsstar.spectra.frame import canonical_wavelengths

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Description:
    """What ``harpsstar inspect`` shows.

    Attributes
    ----------
    facts : tuple of (str, str)
        What is known, in reading order: name and text.
    notes : tuple of str
        What was or would be done to the spectrum that a user should know.
    problem : str
        Why labels cannot be predicted; empty when they can.
    """

    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    problem: str


def describe_all(
    names: Iterable[str | Path],
    *,
    blaze_dir: str | Path | None = None,
    plot: Path | None = None,
    given: Given = NOTHING,
) -> Iterator[Description | HarpsstarError]:
    """Describe the files behind what a user named, each as :func:`describe` does.

    Parameters
    ----------
    names : iterable of str or Path
        Files, folders and patterns, see :func:`harpsstar.io.paths.find`.
    blaze_dir, plot, given
        As for :func:`describe`; a picture shows one file.

    Yields
    ------
    Description or HarpsstarError
        Of each file; why one cannot be read costs no other its description.

    Raises
    ------
    ConfigError
        A picture of several files, or no such folder for blaze files.
    OutputError
        The picture cannot be written.
    """
    check_blaze_dir(blaze_dir)
    files = find(names)
    if plot is not None and len(files) > 1:
        raise ConfigError(f"a plot of {len(files)} files", expected="one file with --plot")
    for item in files:
        try:
            if item.problem is not None:
                raise item.problem
            yield describe(item.path, blaze_dir=blaze_dir, plot=plot, given=given)
        except ReadError as error:
            yield error


def describe(
    path: str | Path,
    *,
    blaze_dir: str | Path | None = None,
    plot: Path | None = None,
    given: Given = NOTHING,
) -> Description:
    """Describe one file.

    Parameters
    ----------
    path : str or Path
        The file.
    blaze_dir : str or Path, optional
        Where its blaze file may lie, if not beside it.
    plot : Path, optional
        A picture to draw, see :func:`draw`.
    given : Given, optional
        What the user says of a file that does not say it.

    Raises
    ------
    OutputError
        The picture cannot be written; found out, where possible, before the file is opened.
    ReadError
        The file holds no spectrum that can be read.
    """
    if plot is not None:
        check_picture(plot)
    check_blaze_dir(blaze_dir)
    spectrum = read_arrays(path, blaze_dir=blaze_dir, given=given)
    if plot is not None:
        save(draw(spectrum, Path(path).name), plot)
    observation = spectrum.observation
    facts = _facts(observation)
    facts["shape"] = " × ".join(str(n) for n in np.shape(spectrum.flux))
    try:
        pixels = spectrum.pixels()
    except (CoverageError, ReadError) as error:
        return Description(tuple(facts.items()), observation.notes, str(error))
    facts["wavelength"] = f"{np.min(pixels.wave):.1f} – {np.max(pixels.wave):.1f} Å (air)"
    facts["usable pixels"] = f"{np.mean(pixels.ivar > 0):.1%}"
    return Description(tuple(facts.items()), observation.notes, "")


def draw(spectrum: Reading, title: str) -> Figure:
    """Draw all of a spectrum, and the wavelengths that are analysed with the pixels that are not.

    Parameters
    ----------
    spectrum : Reading
    title : str

    Raises
    ------
    InputsMissingError
        matplotlib is not installed.
    """
    flux, wave = np.atleast_2d(spectrum.flux), np.atleast_2d(spectrum.wave)
    lost = np.atleast_2d(spectrum.mask)
    low, high = canonical_wavelengths()[0, 0], canonical_wavelengths()[-1, -1]
    figure = new_figure(13.0, 7.0)
    axes = figure.subplots(2, 1)
    style(*axes)
    inside = (wave >= low) & (wave <= high)
    for axis, shown in zip(axes, (np.ones(wave.shape, bool), inside), strict=True):
        for row in np.flatnonzero(shown.any(axis=1)):
            x, y, bad = (values[row][shown[row]] for values in (wave, flux, lost))
            axis.plot(x, np.where(bad, np.nan, y), color=(BLACK, BLUE)[row % 2], lw=0.5)
        axis.set_ylabel(f"flux [{spectrum.unit}]".replace(" []", ""))
        good = flux[shown & ~lost]
        if good.size:
            top = 1.08 * np.quantile(good, 0.9995)
            axis.set_ylim(min(0.0, np.quantile(good, 1e-4)), top if top > 0 else None)
    axes[0].axvspan(low, high, color=ORANGE, alpha=0.25, lw=0, label="analysed")
    axes[0].legend(loc="upper left", fontsize=10)
    if (lost & inside).any():
        axes[1].plot(wave[lost & inside], np.zeros((lost & inside).sum()), "|", color=RED, ms=12,
                     label="not usable")  # fmt: skip
        axes[1].legend(loc="upper left", fontsize=10)
    axes[1].set(xlim=(low, high), xlabel="wavelength in air, barycentric [Å]")
    orders = f": {len(wave)} orders" if len(wave) > 1 else ""
    axes[0].set_title(as_written(title) + orders, loc="left")
    return figure


def _facts(observation: Observation) -> dict[str, str]:
    return {
        "file": observation.file,
        "target": observation.target or "unknown",
        "instrument": observation.instrument or "unknown",
        "product": observation.product,
        "BJD": _number(observation.bjd, ".5f"),
        "frame": observation.frame,
        "resolving power": f"{observation.resolution:.0f}"
        + (" (assumed)" if observation.resolution_assumed else ""),
        "barycentric velocity": _number(observation.berv, ".3f", " km/s"),
        "velocity in the header": _number(observation.rv_header, ".3f", " km/s"),
        "SNR per pixel": _number(observation.snr, ".0f"),
        "blaze": observation.blaze,
    }


def _number(value: float | None, form: str, unit: str = "") -> str:
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{value:{form}}{unit}"
