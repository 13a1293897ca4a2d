"""What each pixel and line of a spectrum says of each label, and its picture."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harpsstar.errors import ConfigError
from harpsstar.infer.pictures import LABEL, WIDTH, title_of
from harpsstar.labels import LABELS, NAMES
from harpsstar.plotting import BLACK, BLUE, LINES, ORANGE, apart, new_figure, style

if TYPE_CHECKING:
    from astropy.table import QTable
    from matplotlib.figure import Figure


Array = npt.NDArray[np.float64]
#: What pixels without a line are called.
CONTINUUM = "continuum"


@dataclass(frozen=True)
class Explanation:
    """What each pixel and line of a spectrum says of each label, see :func:`harpsstar.explain`.

    Labels are in the order of :data:`harpsstar.labels.NAMES`; there are 8 orders of 4096 pixels.

    Attributes
    ----------
    file : str
        As the user named it.
    labels, sigma : ndarray
        (4,) K, dex, dex, km/s: the labels, and their errors from noise in least squares.
    wave : ndarray
        (8, 4096) rest wavelength in air, Å.
    flux, model : ndarray
        (8, 4096) observed over continuum, nan where it is not used, and the emulator.
    share : ndarray
        (4, 8, 4096) of the information about a label; sums to 1.
    pull : ndarray
        (4, 8, 4096) by how much the pixel moves the label, in units of ``sigma``.
    line : ndarray of int
        (8, 4096) row of ``table`` that the pixel belongs to.
    prior : ndarray
        (4,) share of what is known that comes from priors and not from pixels.
    attention : ndarray
        (blocks, 8, 4096) where the attention blocks of the model's network look; each sums to 1.
        There are none in the packaged default.
    table : QTable
        A row for each line that has pixels, the most informative first: ``wave_air``, ``species``,
        ``name``, ``n_pixels``, and ``share_`` and ``pull_`` of each label; ``attention``, the mean
        of the blocks, where the network has some.
    """

    file: str
    labels: Array
    sigma: Array
    wave: Array
    flux: Array
    model: Array
    share: Array
    pull: Array
    line: npt.NDArray[np.int64]
    prior: Array
    attention: Array
    table: QTable

    def __repr__(self) -> str:
        """One line: the labels and the line that says most of each."""
        best = ", ".join(f"{name} {value:.4g} (most by {self.top(name, 1)['name'][0]})"
                         for name, value in zip(NAMES, self.labels, strict=True))  # fmt: skip
        return f"<Explanation of {self.file or 'a spectrum'}: {best}>"

    def _repr_html_(self) -> str:
        """The table of lines, for a notebook."""
        return f"<p>{html.escape(repr(self))}</p>{self.table._repr_html_()}"

    def top(self, label: str, n: int = 10) -> QTable:
        """Return the `n` lines that say most of a label, the most informative first.

        Raises
        ------
        ConfigError
            There is no such label.
        """
        if label not in NAMES:
            raise ConfigError(f"label {label!r}", expected=f"one of {', '.join(NAMES)}")
        lines = self.table[self.table["name"] != CONTINUUM]
        best = np.argsort(-np.asarray(lines[f"share_{label}"]), kind="stable")[:n]
        return lines[best]

    def plot(self, n: int = 10) -> Figure:
        """Draw the spectrum, the share of each pixel in each label, and the lines that say most.

        Parameters
        ----------
        n : int
            Lines listed for each label.

        Raises
        ------
        InputsMissingError
            matplotlib is not installed.
        """

        return draw_explanation(self, n)


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
    figure = new_figure(WIDTH, LABEL / 3 * sum(heights))
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
    figure.suptitle(title_of(result.file, result.labels.tolist()), fontsize=12, x=0.01, ha="left")
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
