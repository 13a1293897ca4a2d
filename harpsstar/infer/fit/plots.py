"""Pictures of a fit; matplotlib and corner are imported when the first is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harpsstar.errors import InputsMissingError
from harpsstar.infer.fit.options import PARAMETERS
from harpsstar.infer.fit.result import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Strong lines by rest wavelength in air, Å (NIST Atomic Spectra Database).
LINES: dict[float, str] = {
    5167.32: "Mg b4", 5172.68: "Mg b2", 5183.60: "Mg b1", 5269.54: "Fe I", 5328.04: "Fe I",
    5371.49: "Fe I", 5041.76: "Fe I", 5051.63: "Fe I", 5083.34: "Fe I", 5110.41: "Fe I",
    5139.47: "Fe I", 5169.03: "Fe II", 5227.19: "Fe I", 5316.61: "Fe II", 5204.51: "Cr I",
    5206.04: "Cr I", 5208.42: "Cr I", 5270.35: "Fe I", 5188.69: "Ti II", 5226.54: "Ti II",
    5018.44: "Fe II", 5107.64: "Fe I", 5296.69: "Cr I", 5345.80: "Cr I",
}  # fmt: skip
_MANY = 3000


def _missing(name: str) -> InputsMissingError:
    return InputsMissingError(
        f"{name} is not installed", expected="the optional packages of fit",
        hint='pip install "harpsstar[fit]"',
    )  # fmt: skip


def _figure(**options: Any) -> Figure:
    """Return a figure that no window shows, so that thousands can be made and dropped."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing("matplotlib") from error
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


def plot_spectrum(solution: Solution, index: int, title: str) -> Figure:
    """Observed and fitted spectrum over rest wavelength, and residuals, two panels a row.

    Flux is divided by the fitted continuum; pixels that did not count are grey.
    """
    data, part = solution.data[index], solution.posterior.parts[index]
    spectrum, continuum = (x.double().numpy() for x in solution.models[index])
    flux = data.flux.double().numpy() / continuum
    used, known = (part.weight > 0).numpy(), (data.ivar > 0).numpy()
    residual = np.where(used, flux - spectrum, np.nan)
    n_rows = len(data.wave)
    figure = _figure(figsize=(16, 2.9 * n_rows), layout="constrained")
    axes = figure.subplots(2 * n_rows, 1, height_ratios=[3, 1] * n_rows, squeeze=False)[:, 0]
    size = 4 * float(np.nanstd(residual))
    for row, wave in enumerate(data.rest):
        above, below = axes[2 * row], axes[2 * row + 1]
        masked = np.where(known[row] & ~used[row], flux[row], np.nan)
        above.plot(wave, np.where(used[row], flux[row], np.nan), color="0.2", lw=0.5)
        above.plot(wave, masked, ".", color="tab:orange", ms=3)
        above.plot(wave, spectrum[row], color="tab:red", lw=0.7)
        above.set_ylim(-0.05, 1.3)
        above.tick_params(labelbottom=False)
        below.plot(wave, residual[row], color="0.2", lw=0.4)
        below.axhline(0.0, color="tab:red", lw=0.5)
        below.set_ylim(-size, size)
        _name_lines(above, float(wave.min()), float(wave.max()))
        for axis in (above, below):
            axis.set_xlim(wave.min(), wave.max())
    axes[0].set_title(f"{title}: observed (black), model (red), not counted (orange)")
    axes[-1].set_xlabel("rest wavelength in air [Å]")
    figure.supylabel("flux / continuum; difference")
    return figure


def _name_lines(axis: Any, low: float, high: float) -> None:
    for wave, name in LINES.items():
        if low < wave < high:
            axis.plot([wave, wave], [1.06, 1.12], color="tab:blue", lw=0.8)
            axis.text(wave, 1.14, name, ha="center", va="bottom", fontsize=7, color="tab:blue")


def plot_corner(solution: Solution, title: str) -> Figure:
    """Every pair of free parameters.

    Raises
    ------
    InputsMissingError
        corner or matplotlib is not installed.
    """
    try:
        import corner
    except ImportError as error:
        raise _missing("corner") from error
    values = solution.everything
    names = [name for name in values if name in solution.names]
    columns = np.stack([values[name].numpy() for name in names], axis=1)
    weight = solution.draws.weight.numpy()
    step = max(1, len(columns) // (10 * _MANY))
    figure = _figure(figsize=(1.9 * len(names), 1.9 * len(names)))
    corner.corner(
        columns[::step], weights=weight[::step], labels=[_axis(name) for name in names],
        show_titles=True, title_fmt=".3g", quantiles=[0.16, 0.5, 0.84], fig=figure,
        plot_datapoints=False, max_n_ticks=3,
    )  # fmt: skip
    figure.suptitle(title)
    return figure


def _axis(name: str) -> str:
    base, _, number = name.partition("_") if name.startswith("rv") else (name, "", "")
    label = PARAMETERS[base]
    unit = f" [{label.unit}]" if label.unit else ""
    return f"{label.symbol}{' ' + number if number else ''}{unit}"
