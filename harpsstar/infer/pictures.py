"""Pictures of predictions: a spectrum with its model, and what decides on each label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harpsstar.labels import LABELS, NAMES
from harpsstar.plotting import (
    BLACK,
    BLUE,
    LINES,
    ORANGE,
    RED,
    apart,
    as_written,
    name_lines,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harpsstar.infer.explain import Explanation
    from harpsstar.infer.predict import Measurement

Array = npt.NDArray[np.float64]

#: Inches.
_WIDTH, _ORDER, _LABEL = 13.0, 2.6, 2.7


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
    figure = new_figure(_WIDTH, _ORDER * max(len(rows), 1) + 0.8)
    axes = figure.subplots(
        2 * max(len(rows), 1), 1, height_ratios=[3, 1] * max(len(rows), 1), squeeze=False
    )[:, 0]
    residual = flux - model
    scatter = np.nanquantile(abs(residual), 0.997) if rows else 1.0
    for above, below, row in zip(axes[::2], axes[1::2], rows, strict=False):
        style(above, below)
        above.plot(wave[row], flux[row], color=BLACK, lw=0.7, label="observed")
        if ignored is not None:
            above.plot(wave[row], ignored[row], ".", color=ORANGE, ms=3, label="not counted")
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
        _title(title, result.estimate.labels[0].tolist()), ignored=np.where(lost, flux, np.nan),
    )  # fmt: skip


def draw_explanation(result: Explanation, n: int = 10) -> Figure:
    """Draw the spectrum, and for each label the share of each line in what is known of it.

    The `n` lines that say most are named; the colour says whether a line raises or lowers the
    label. Where the network has attention blocks, a last panel shows where they look.

    Raises
    ------
    InputsMissingError
        matplotlib is not installed.
    """
    heights = [2, *[3] * len(LABELS), *[2] * bool(len(result.attention))]
    figure = new_figure(_WIDTH, _LABEL / 3 * sum(heights))
    axes = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True)
    style(*axes)
    spectrum = axes[0]
    for row, wave in enumerate(result.wave):
        spectrum.plot(wave, result.flux[row], color=BLACK, lw=0.4)
    spectrum.set(ylim=(0, 1.15), ylabel="flux / continuum")
    low, high = float(result.wave.min()), float(result.wave.max())
    table = result.table[np.isfinite(result.table["wave_air"])]
    for axis, label in zip(axes[1 : 1 + len(LABELS)], LABELS, strict=True):
        share, pull = (np.asarray(table[f"{kind}_{label.name}"]) for kind in ("share", "pull"))
        for sign, colour, what in ((1, BLUE, "raises it"), (-1, ORANGE, "lowers it")):
            mine = sign * pull > 0
            axis.vlines(table["wave_air"].value[mine], 0, 100 * share[mine], color=colour, lw=1.6,
                        label=f"line {what}")  # fmt: skip
        _name_top(axis, result, label.name, n, low, high)
        axis.set_ylabel(f"share in {label.symbol} [%]")
    axes[1].legend(loc="upper left", ncols=2, fontsize=9, framealpha=0.9)
    if len(result.attention):
        _draw_attention(axes[-1], result)
    axes[-1].set(xlim=(low, high), xlabel="rest wavelength in air [Å]")
    figure.suptitle(_title(result.file, result.labels.tolist()), fontsize=12, x=0.01, ha="left")
    return figure


def _draw_attention(axis: Any, result: Explanation) -> None:
    """The mean of the attention blocks, over that of a pixel of no interest."""
    mean = result.attention.mean(0)
    for wave, alpha in zip(result.wave, mean * np.count_nonzero(mean), strict=True):
        axis.plot(wave, alpha, color=BLACK, lw=0.4)
    axis.set_ylabel("attention / mean")


def _name_top(
    axis: Any, result: Explanation, label: str, n: int, low: float, high: float
) -> None:
    best = result.top(label, n)
    best = best[np.argsort(best["wave_air"])]
    height = 100 * float(np.max(best[f"share_{label}"])) if len(best) else 1.0
    axis.set_ylim(0, 2.1 * height)
    wanted = best["wave_air"].value
    for line, place in zip(best, apart(wanted, 0.016 * (high - low), low, high), strict=True):
        wave, top = line["wave_air"].value, 100 * line[f"share_{label}"]
        axis.plot([wave, wave, place], [top, 1.08 * height, 1.22 * height], color="0.5", lw=0.6)
        axis.text(place, 1.25 * height, _name(line), rotation=90, fontsize=9, ha="center",
                  va="bottom")  # fmt: skip


def _name(line: Any) -> str:
    wave = line["wave_air"].value
    for known, name in LINES.items():
        if name.startswith("Mg b") and line["species"] == "Mg 1" and abs(wave - known) < 0.1:
            return f"{name} {wave:.1f}"
    head, _, _ = str(line["name"]).rpartition(" ")
    return f"{head} {wave:.1f}"


def _title(name: str, labels: list[float]) -> str:
    by_name = dict(zip(NAMES, labels, strict=True))
    if not math.isfinite(by_name["teff"]):
        return as_written(name)
    stem = as_written(name.replace("\\", "/").rpartition("/")[2])
    return (
        f"{stem}: $T_\\mathrm{{eff}}$ {by_name['teff']:.0f} K, log g {by_name['logg']:.2f}, "
        f"[M/H] {by_name['m_h']:+.2f}, $v\\,\\sin i$ {by_name['vsini']:.1f} km/s"
    )
