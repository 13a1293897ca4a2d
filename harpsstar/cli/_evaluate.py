"""What ``harpsstar evaluate`` prints: tables for people, JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harpsstar.cli._show import _console
from harpsstar.labels import LABELS

if TYPE_CHECKING:
    from harpsstar.evaluate.accuracy import Accuracy
    from harpsstar.evaluate.emulator import EmulatorAccuracy
    from harpsstar.evaluate.stars import StarResult

#: How values and differences of each label are written.
_FORM = {"teff": ".0f", "logg": ".2f", "m_h": ".2f", "vsini": ".1f"}
_UNITS = {label.name: f"{label.name} [{label.unit}]" if label.unit else label.name
          for label in LABELS}  # fmt: skip


def show_json(result: Any) -> None:
    """Print a result, or a list of them, as JSON; what is not a number is null."""
    print(json.dumps(_plain(result), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_accuracy(result: Accuracy) -> None:
    """Show a row for each label."""
    table = Table(
        "label", "MAE", "95 %", "median", "bias", "1σ [%]", "2σ [%]", "bound", "MAE/bound",
        "bound, free", "MAE/bound",
        title=f"SNR {result.snr:g}, {result.n} spectra, {result.noise} noise, "
        f"{result.teff_range[0]:.0f}–{result.teff_range[1]:.0f} K, model {result.model or '–'}",
        caption=f"bounds of the first {result.n_bound}: nuisances known, and free with the priors "
        "of the training",
    )  # fmt: skip
    for name, label in result.labels.items():
        table.add_row(
            escape(_UNITS[name]),
            f"{label.mae:.3g}", f"{label.mae_low:.3g}–{label.mae_high:.3g}",
            f"{label.median_error:.3g}", f"{label.bias:+.2g}",
            f"{100 * label.coverage_1:.1f}", f"{100 * label.coverage_2:.1f}",
            f"{label.bound_known:.3g}", f"{label.ratio_known:.2f}",
            f"{label.bound_free:.3g}", f"{label.ratio_free:.2f}",
        )  # fmt: skip
    _console().print(table)


def show_stars(results: list[StarResult]) -> None:
    """Show a row for each spectrum: value, difference and pull of every label."""
    table = Table("file", "star", "status", "flags", *map(escape, _UNITS.values()))
    for result in results:
        cells = []
        for name, label in result.labels.items():
            parts = [f"{label.value:{_FORM[name]}}" if math.isfinite(label.value) else "–"]
            if math.isfinite(label.difference):
                parts.append(f"({label.difference:+{_FORM[name]}}, {label.pull:+.1f} σ)")
            cells.append(Text(" ".join(parts)))
        mark = {True: "green", False: "red", None: ""}[result.right]
        remark = result.message if result.status == "failed" else result.flag_text
        table.add_row(Text(result.file), Text(result.star or "unknown"),
                      Text(result.status, style=mark), Text(remark), *cells)  # fmt: skip
    _console().print(table)


def show_emulator(result: EmulatorAccuracy) -> None:
    """Show a row for each axis."""
    low, high = result.teff_range
    table = Table(
        "axis", "order", "left out", "flux rms", "worst",
        *(escape(f"bias {unit}") for unit in _UNITS.values()),
        title=f"grid {result.grid}, {result.interpolation} interpolation; "
        f"compression rms {result.residual_rms:.1e}, largest {result.residual_max:.1e}",
        caption="errors half way between nodes, from left-out nodes at twice the spacing scaled "
        f"by (1/2)^order; biases are medians in {low:.0f}–{high:.0f} K; an axis that is missing "
        "has too few nodes to leave any out",
    )  # fmt: skip
    for name, axis in result.axes.items():
        table.add_row(
            name, str(axis.order), str(axis.n_left_out), f"{axis.flux_rms:.1e}",
            f"{axis.flux_rms_worst:.1e}", *(f"{bias:.2g}" for bias in axis.bias.values()),
        )  # fmt: skip
    _console().print(table)
