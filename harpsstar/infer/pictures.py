"""Pictures of predictions: a spectrum with its model, and what decides on each label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harpsstar.labels import NAMES
from harpsstar.plotting import (
    BLACK,
    ORANGE,
    RED,
    as_written,
    name_lines,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harpsstar.infer.predict import Measurement

Array = npt.NDArray[np.float64]

#: Inches.
WIDTH, _ORDER, LABEL = 13.0, 2.6, 2.7


def draw_orders(
    wave: Array, flux: Array, model: Array, title: str, *, ignored: Array | None = None
) -> Figure:
    """Draw observed, model and residual of each order, strong lines named.

    Parameters
    ----------
    wave, flux, model : ndarray
        (orders, pixels) rest wavelength in air, Å; over continuum, nan where it is not used.
    title : str
    ignored : ndarray, optional
        (orders, pixels) flux that did not count, nan elsewhere.

    Raises
    ------
    InputsMissingError
        matplotlib is not installed.
    """
    rows = [row for row in range(len(wave)) if np.isfinite(flux[row]).any()]
    figure = new_figure(WIDTH, _ORDER * max(len(rows), 1) + 0.8)
    axes = figure.subplots(
        2 * max(len(rows), 1), 1, height_ratios=[3, 1] * max(len(rows), 1), squeeze=False
    )[:, 0]
    residual = flux - model
    scatter = np.nanquantile(abs(residual), 0.997) if rows else 1.0
    for above, below, row in zip(axes[::2], axes[1::2], rows, strict=False):
        style(above, below)
        above.plot(wave[row], flux[row], color=BLACK, lw=0.7, label="observed")
        if ignored is not None:
            above.plot(wave[row], ignored[row], ".", color=ORANGE, ms=3, label="not used")
        above.plot(wave[row], model[row], color=RED, lw=0.8, label="model")
        below.plot(wave[row], 100 * residual[row], color=BLACK, lw=0.5)
        below.axhline(0.0, color=RED, lw=0.8)
        above.set(ylim=(-0.05, 1.32), yticks=[0, 0.5, 1])
        below.set_ylim(-120 * scatter, 120 * scatter)
        above.tick_params(labelbottom=False)
        low, high = float(wave[row][0]), float(wave[row][-1])
        name_lines(above, low, high)
        for axis in (above, below):
            axis.set_xlim(low, high)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=3, fontsize=10)
    axes[-1].set_xlabel("rest wavelength in air [Å]")
    figure.supylabel("flux / continuum, and observed − model [%]", fontsize=11)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    return figure


def draw_measurement(result: Measurement, title: str = "") -> Figure:
    """Draw the spectrum that a prediction saw, with the model at its labels.

    Parameters
    ----------
    result : Measurement
    title : str
        What the star is called; its labels follow.

    Raises
    ------
    InputsMissingError
        matplotlib is not installed.
    """
    from harpsstar.spectra.frame import canonical_wavelengths

    flux, ivar, model = (
        getattr(result.estimate, name)[0].double().numpy() for name in ("flux", "ivar", "model")
    )
    lost = (result.prepared.canonical.ivar > 0) & (ivar == 0) & (ivar > 0).any(1, keepdims=True)
    return draw_orders(
        canonical_wavelengths(), np.where(ivar > 0, flux, np.nan), model,
        title_of(title, result.estimate.labels[0].tolist()), ignored=np.where(lost, flux, np.nan),
    )  # fmt: skip


def title_of(name: str, labels: list[float]) -> str:
    """Return the title of a picture: file and labels."""
    by_name = dict(zip(NAMES, labels, strict=True))
    if not math.isfinite(by_name["teff"]):
        return as_written(name)
    stem = as_written(name.replace("\\", "/").rpartition("/")[2])
    return (
        f"{stem}: $T_\\mathrm{{eff}}$ {by_name['teff']:.0f} K, log g {by_name['logg']:.2f}, "
        f"[M/H] {by_name['m_h']:+.2f}, $v\\,\\sin i$ {by_name['vsini']:.1f} km/s"
    )
