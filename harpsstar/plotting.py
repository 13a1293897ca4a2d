"""What all pictures share: style, colours, names of lines, and how a file is written.

matplotlib is imported when the first picture is drawn, and no global state of it is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harpsstar._optional import load
from harpsstar.formatting import printable
from harpsstar.outputs import check_file, check_room, make_folder, replacing
from harpsstar.outputs.kinds import CREATOR, PICTURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a picture may end in; vectors for print, PNG for a terminal.
FORMATS = PICTURE.suffixes
#: Colours that colour-blind people can tell apart (Okabe & Ito 2008), black first.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = CYCLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
#: For lines that belong together, those that contrast most with each other and with white first.
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
#: Who made a picture, by which it is known again; without a date, so that the same picture is the
#: same file.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": CREATOR},
    ".pdf": {"Creator": CREATOR, "CreationDate": None},
    ".svg": {"Creator": CREATOR, "Title": CREATOR, "Date": None},
}
_DPI = 150
#: Strong lines by rest wavelength in air, Å (NIST Atomic Spectra Database).
LINES: dict[float, str] = {
    5167.32: "Mg b4", 5172.68: "Mg b2", 5183.60: "Mg b1", 5269.54: "Fe I", 5328.04: "Fe I",
    5371.49: "Fe I", 5041.76: "Fe I", 5051.63: "Fe I", 5083.34: "Fe I", 5110.41: "Fe I",
    5139.47: "Fe I", 5169.03: "Fe II", 5227.19: "Fe I", 5316.61: "Fe II", 5204.51: "Cr I",
    5206.04: "Cr I", 5208.42: "Cr I", 5270.35: "Fe I", 5188.69: "Ti II", 5226.54: "Ti II",
    5018.44: "Fe II", 5107.64: "Fe I", 5296.69: "Cr I", 5345.80: "Cr I",
}  # fmt: skip


def check_picture(path: str | Path) -> Path:
    """Return `path` if a picture can probably be written there, before any long work.

    Raises
    ------
    OutputError
        Another extension than those of :data:`FORMATS`, no such folder, or an existing file that
        must not be replaced, see :func:`harpsstar.outputs.check_file`.
    InputsMissingError
        matplotlib is not installed.
    """
    path = check_room(check_file(path, PICTURE))
    load("matplotlib.figure", "plot")
    return path


def picture_folder(path: str | Path) -> Path:
    """Return a folder for pictures, made if need be, before any long work.

    Raises
    ------
    OutputError
        It cannot be made.
    InputsMissingError
        matplotlib is not installed.
    """
    load("matplotlib.figure", "plot")
    return make_folder(path)


class Stems:
    """Names of pictures of files, each once, for files of one name in two folders."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, file: str | Path) -> str:
        """Return the name of a file without its extension, and with a number if it is taken."""
        stem = Path(file).name.removesuffix(".gz").removesuffix(".fits")
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}.{number}"
        self._taken.add(name)
        return name


def as_written(name: str) -> str:
    """Return a name so that matplotlib shows it as it is: no mathematics, no control characters."""
    return printable(name).replace("$", "\\$")


def new_figure(
    width: float, height: float, *, layout: str | None = "constrained"
) -> Figure:
    """Return an empty figure (inches) that no window shows, so that many can be made and dropped.

    Raises
    ------
    InputsMissingError
        matplotlib is not installed.
    """
    size = (width, height)
    figure: Figure = load("matplotlib.figure", "plot").Figure(
        figsize=size, layout=layout, facecolor="white"
    )
    load("matplotlib.backends.backend_agg", "plot").FigureCanvasAgg(figure)
    return figure


def style(*axes: Any) -> None:
    """Give axes the shared colours, sizes that are legible in print, and ticks on all sides."""
    from cycler import cycler

    for axis in axes:
        axis.set_prop_cycle(cycler(color=SERIES))
        axis.tick_params(labelsize=10, direction="in", top=True, right=True)
        axis.xaxis.label.set_size(11)
        axis.yaxis.label.set_size(11)


def save(figure: Figure, path: str | Path, *, dpi: int = _DPI) -> Path:
    """Write a figure; an existing file is only ever replaced whole.

    Parameters
    ----------
    figure : Figure
    path : str or Path
        .png, .pdf or .svg.
    dpi : int
        Dots per inch of a PNG.

    Raises
    ------
    OutputError
        See :func:`check_picture`; or no permission, or a full disk.
    """
    path = check_picture(path)
    from matplotlib import rc_context

    kind = path.suffix.lower()
    with rc_context({"svg.hashsalt": "harpsstar"}), replacing(path, PICTURE) as temporary:
        figure.savefig(temporary, dpi=dpi, format=kind[1:], metadata=METADATA[kind])
    return path


def name_lines(axis: Any, low: float, high: float) -> None:
    """Name the strong lines between two wavelengths (Å) above the continuum of a spectrum."""
    waves = sorted(wave for wave in LINES if low < wave < high)
    places = apart(np.array(waves), 0.03 * (high - low), low, high)
    for wave, place in zip(waves, places, strict=True):
        axis.plot([wave, wave, place], [1.05, 1.08, 1.13], color=BLUE, lw=0.8)
        axis.text(place, 1.14, LINES[wave], ha="center", va="bottom", fontsize=9, color=BLUE)


def apart(wanted: Any, least: float, low: float, high: float) -> Any:
    """Move increasing places as little as needed to be at least so far apart, inside the ends.

    Parameters
    ----------
    wanted : ndarray, shape (n,)
    least : float
        Distance between neighbours; smaller where the n do not fit.
    low, high : float

    Returns
    -------
    ndarray, shape (n,)

    >>> apart(np.array([1.0, 1.1, 5.0]), 1.0, 0.0, 6.0).round(2).tolist()
    [0.55, 1.55, 5.0]
    """
    if len(wanted) == 0:
        return wanted
    least = min(least, (high - low) / (len(wanted) + 1))
    # Distances taken out, the places have only to increase: least squares pools neighbours.
    groups: list[list[float]] = []
    for i, place in enumerate(np.asarray(wanted, dtype=float) - least * np.arange(len(wanted))):
        groups.append([place])
        while i and len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    level = np.concatenate([np.full(len(group), np.mean(group)) for group in groups])
    room = least * np.arange(len(wanted))
    return np.clip(level, low + 0.5 * least, high - 0.5 * least - room[-1]) + room
