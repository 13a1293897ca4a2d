"""Figures 1, 3, 4 and 5 of Hüttel & Clemmensen (2021), and pictures of the tables.

Numbers are computed elsewhere; functions here take results and give matplotlib figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harpsstar.constants import ONE_SIGMA, TWO_SIGMA
from harpsstar.labels import LABELS, NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.paper.attention import IRON, MG_B, REACH, AttentionMaps
from harpsstar.paper.judge import FloatArray, Judged
from harpsstar.paper.sun import SUN, Table4Row
from harpsstar.paper.tables import Table2Row, Table3Row
from harpsstar.plotting import BLUE, FORMATS, RED, SERIES, new_figure, style
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.stream import PAPER_VMIC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the paper's spectra begin and end, Å in air.
RANGE = (5050.0, 5350.0)
#: Pictures that matplotlib writes here.
PICTURES = FORMATS


@dataclass(frozen=True)
class Sample:
    """One synthetic spectrum, as Figure 1 shows it three times.

    Attributes
    ----------
    labels : tuple of float
        K, dex, dex, km/s.
    wave, flux : ndarray (n,)
        In one dimension, Å in air and flux over continuum.
    orders_wave, image : ndarray (8, 4096)
        The eight orders; zero outside the paper's wavelengths.
    """

    labels: tuple[float, ...]
    wave: FloatArray
    flux: FloatArray
    orders_wave: FloatArray
    image: FloatArray


@dataclass(frozen=True)
class Order:
    """One order of a sample: its wavelengths (Å in air), lowest and mean flux."""

    order: int
    low: float
    high: float
    lowest: float
    mean: float


@dataclass(frozen=True)
class Bin:
    """Errors of one label among the test spectra within a range of its true value.

    Attributes
    ----------
    label : str
    low, high : float
        The range.
    n : int
        Spectra.
    bias, scatter, sigma : float
        Median error, 68.27 % quantile of its size, median claimed error; nan without spectra.
    """

    label: str
    low: float
    high: float
    n: int
    bias: float
    scatter: float
    sigma: float


@torch.no_grad()
def sample(labels: tuple[float, ...] = SUN, *, emulator: Emulator | None = None) -> Sample:
    """Make the spectrum of a star as the paper does: vmic 2 km/s, linear interpolation.

    Raises
    ------
    OutsideGridError
        When the star lies outside the grid.
    """
    emulator = Emulator.load(interpolation="linear") if emulator is None else emulator
    orders = canonical_wavelengths()
    grid = emulator(torch.tensor([labels]), vmic=PAPER_VMIC)
    wave, flux = emulator.wave.numpy(), grid[0].double().numpy()
    inside = (wave >= RANGE[0]) & (wave <= RANGE[1])
    image = emulator.sampler(orders)(grid)[0].double().numpy()
    image = np.where((orders >= RANGE[0]) & (orders <= RANGE[1]), image, 0.0)
    return Sample(tuple(labels), wave[inside], flux[inside], orders, image)


def orders(found: Sample) -> list[Order]:
    """Summary of each order of a sample."""
    rows = []
    for i, (wave, row) in enumerate(zip(found.orders_wave, found.image, strict=True)):
        used = row > 0
        lowest, mean = float(row[used].min()), float(row[used].mean())
        rows.append(Order(i, float(wave[used].min()), float(wave[used].max()), lowest, mean))
    return rows


def figure1(found: Sample) -> Figure:
    """Draw the spectrum in one dimension, in orders and as an image."""
    figure, axes = _figure(1, 3, (13, 3.6))
    left, middle, right = axes[0]
    left.plot(found.wave, found.flux, lw=0.4, color="k")
    left.set(xlabel="wavelength [Å]", ylabel="flux over continuum", title="one dimension")
    for wave, row in zip(found.orders_wave, found.image, strict=True):
        middle.plot(wave[row > 0], row[row > 0], lw=0.4)
    middle.set(xlabel="wavelength [Å]", title="eight échelle orders")
    shown = right.imshow(found.image, aspect="auto", cmap="viridis", interpolation="nearest")
    right.set(xlabel="pixel", ylabel="order", title="spectral image")
    figure.colorbar(shown, ax=right)
    return figure


def figure3(judged: Judged) -> Figure:
    """Draw the residuals of each label (rows) against each true label (columns)."""
    figure, axes = _figure(4, 4, (11, 9))
    truth, error = judged.truth.numpy(), judged.error.numpy()
    for i, row in enumerate(LABELS):
        reach = float(np.quantile(np.abs(error[:, i]), 0.995))
        for j, column in enumerate(LABELS):
            axes[i][j].plot(truth[:, j], error[:, i], ".", ms=1.5, alpha=0.4, color=BLUE)
            axes[i][j].axhline(0.0, lw=0.8, color="k")
            axes[i][j].set(ylim=(-reach, reach))
            _name_edges(axes, i, j, column.axis, "Δ " + row.axis)
    figure.suptitle(_title("Residuals", judged))
    return figure


def figure4(judged: Judged) -> Figure:
    """Draw the claimed errors of each label against its true value, and the real ones in bins."""
    figure, axes = _figure(1, 4, (13, 3.4))
    truth, sigma = judged.truth.numpy(), judged.sigma.numpy()
    for i, label in enumerate(LABELS):
        panel = axes[0][i]
        panel.plot(truth[:, i], sigma[:, i], ".", ms=1.5, alpha=0.4, color=BLUE)
        bins = [one for one in binned(judged) if one.label == label.name and one.n >= 10]
        middle = [0.5 * (one.low + one.high) for one in bins]
        panel.plot(middle, [one.scatter for one in bins], "k_", ms=9, mew=1.8)
        panel.set(xlabel=label.axis, ylabel="σ " + label.axis, yscale="log")
    figure.suptitle(_title("Claimed errors (dots) and real ones (bars)", judged))
    return figure


def binned(judged: Judged, n: int = 12) -> list[Bin]:
    """Statistics of errors in `n` bins of every label."""
    bins = []
    for i, label in enumerate(LABELS):
        edges = np.linspace(label.low, label.high, n + 1).tolist()
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            inside = (judged.truth[:, i] >= low) & (judged.truth[:, i] < high)
            error, sigma = judged.error[inside, i], judged.sigma[inside, i]
            numbers = (math.nan,) * 3
            if len(error):
                scatter = torch.quantile(error.abs(), ONE_SIGMA)
                numbers = (float(error.median()), float(scatter), float(sigma.median()))
            bins.append(Bin(label.name, low, high, len(error), *numbers))
    return bins


def figure5(found: AttentionMaps) -> Figure:
    """Draw the spectrum above the attention of the three blocks, with Mg b and iron named."""
    figure, axes = _figure(1 + len(found.maps), 1, (12, 8), sharex=True)
    rows = [found.wave[i][found.seen[i]] for i in range(len(found.wave))]
    for i, wave in enumerate(rows):
        axes[0][0].plot(wave, found.flux[i][found.seen[i]], lw=0.3, color="0.3")
        for n, alpha in enumerate(found.maps, start=1):
            relative = alpha[i][found.seen[i]] * int(found.seen.sum())
            axes[n][0].plot(wave, relative, lw=0.5, color=SERIES[(n - 1) % len(SERIES)])
    for n, (panel,) in enumerate(axes):
        panel.set(ylabel="flux" if n == 0 else f"attention {n}")
        for lines, colour in ((IRON, "C4"), (MG_B, "C3")):
            for at in lines.values():
                panel.axvspan(at - REACH, at + REACH, color=colour, alpha=0.15, lw=0)
    _name_lines(axes[0][0])
    axes[-1][0].set(xlabel="wavelength [Å]", xlim=RANGE)
    figure.suptitle(f"{found.model}: attention over its mean, Mg b (red) and Fe (violet) marked")
    return figure


def _name_lines(panel: Any) -> None:
    crowded = [name for name, at in IRON.items() if min(abs(at - mg) for mg in MG_B.values()) < 3]
    for name, at in (IRON | MG_B).items():
        if name in crowded:
            continue
        panel.annotate(
            name, (at, 1.0), (0, 4), xycoords=("data", "axes fraction"),
            textcoords="offset points", rotation=90, fontsize=7, ha="center", va="bottom",
        )  # fmt: skip


def table2_picture(rows: Sequence[Table2Row]) -> Figure:
    """Draw mean absolute errors with their intervals, the paper's and the bounds."""
    figure, axes = _figure(1, 4, (13, 0.4 * len(rows) + 1.6), sharey=True)
    places = range(len(rows))
    for i, name in enumerate(NAMES):
        cells, panel = [row.labels[name] for row in rows], axes[0][i]
        mae = np.array([cell.mae for cell in cells])
        ends = np.array([[cell.mae - cell.low, cell.high - cell.mae] for cell in cells]).T
        panel.errorbar(mae, places, xerr=ends, fmt="o", color=BLUE, label="measured")
        panel.plot([cell.paper for cell in cells], places, "x", color=RED, label="paper")
        panel.plot([cell.bound for cell in cells], places, "|", ms=12, color="k", label="bound")
        panel.set(xlabel=LABELS[i].axis, ylim=(len(rows) - 0.5, -0.5))
    axes[0][0].set_yticks(list(places), [_row_name(row) for row in rows], fontsize=7)
    axes[0][-1].legend(fontsize=7)
    return figure


def _row_name(row: Table2Row) -> str:
    return row.model or f"{row.paper} {row.covariance} {row.snr:g}".replace("  ", " ")


def table3_picture(rows: Sequence[Table3Row]) -> Figure:
    """Draw the shares within one and two sigmas."""
    figure, axes = _figure(1, 2, (10, 4), sharey=False)
    names = list(rows[0].labels) if rows else []
    for panel, which, gauss in zip(axes[0], ("one", "two"), (ONE_SIGMA, TWO_SIGMA), strict=True):
        for i, row in enumerate(rows):
            shares = [100 * getattr(row.labels[name], which) for name in names]
            panel.plot(np.arange(len(names)) + 0.1 * i, shares, "o", label=row.model)
        panel.axhline(100 * gauss, lw=0.8, color="k")
        panel.set_xticks(range(len(names)), names)
        panel.set(ylabel="within [%]", title=f"{which} σ")
    if rows:
        axes[0][0].legend(fontsize=7)
    return figure


def table4_picture(rows: Sequence[Table4Row]) -> Figure:
    """Draw the labels of the Sun with their errors, and the paper's."""
    figure, axes = _figure(1, 4, (13, 0.4 * len(rows) + 1.8), sharey=True)
    places = np.arange(len(rows))
    for i, name in enumerate(NAMES):
        cells, panel = [row.labels[name] for row in rows], axes[0][i]
        panel.errorbar([c.value for c in cells], places, xerr=[c.sigma for c in cells], fmt="o")
        panel.errorbar([c.paper for c in cells], places + 0.2,
                       xerr=[c.paper_sigma for c in cells], fmt="x", color=RED)  # fmt: skip
        panel.axvline(SUN[i], lw=0.8, color="k")
        panel.set(xlabel=LABELS[i].axis)
    axes[0][0].set_yticks(list(places), [f"{row.model}" for row in rows], fontsize=7)
    return figure


def _figure(
    rows: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, Any]:
    """Make a figure without any global state of matplotlib, and its axes as a 2-D array."""
    figure = new_figure(*size)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    style(*axes.flat)
    return figure, axes


def _name_edges(axes: Any, i: int, j: int, below: str, left: str) -> None:
    if i == len(axes) - 1:
        axes[i][j].set(xlabel=below)
    if j == 0:
        axes[i][j].set(ylabel=left)


def _title(what: str, judged: Judged) -> str:
    return (
        f"{what}: {judged.model.name}, {len(judged.truth)} spectra at SNR "
        f"{judged.recipe.data.snr:g}"
    )
