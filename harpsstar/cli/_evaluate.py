"""What ``harpsstar evaluate`` prints: tables for people, JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harpsstar.cli._table import show_table
from harpsstar.errors import ConfigError
from harpsstar.formatting import with_error
from harpsstar.labels import LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harpsstar.evaluate.accuracy import Accuracy
    from harpsstar.evaluate.calibration import Calibration, Spread
    from harpsstar.evaluate.emulator import EmulatorAccuracy
    from harpsstar.evaluate.epochs import EpochQuality
    from harpsstar.evaluate.flags import FlagResult
    from harpsstar.evaluate.robustness import Robustness
    from harpsstar.evaluate.stars import StarResult

_UNITS = {label.name: label.heading for label in LABELS}


def show_json(result: Any) -> None:
    """Print a result, or a list of them, as JSON; what is not a number is null."""
    print(json.dumps(_plain(result), indent=2))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def numbers(text: str, separator: str = ",", count: int = 0) -> tuple[float, ...]:
    """Numbers of an option such as ``20,50``; exactly `count` of them if that is given."""
    try:
        values = tuple(float(part) for part in text.split(separator))
    except ValueError:
        values = ()
    if not values or (count and len(values) != count):
        wanted = f"{count} numbers" if count else "numbers"
        raise ConfigError(f"{text!r}", expected=f"{wanted} separated by {separator!r}")
    return values


def show_accuracy(results: list[Accuracy]) -> None:
    """Show a table for each signal-to-noise ratio, with a row for each label."""
    for result in results:
        _show_accuracy(result)


def _show_accuracy(result: Accuracy) -> None:
    table = Table(
        "label", "MAE", "95 %", "median", "bias", "1σ [%]", "2σ [%]", "bound", "MAE/bound",
        "bound, with edges", "MAE/bound",
        title=f"SNR {result.snr:g}, {result.n} spectra, {result.noise} noise, nuisances "
        f"{result.nuisances}, {result.teff_range[0]:.0f}–{result.teff_range[1]:.0f} K, model "
        f"{result.model or '–'}",
        caption=f"bounds of the first {result.n_bound} spectra; the Cramér-Rao bound ignores the "
        "edges of the grid, so MAE/bound may be below 1; the second bound includes them",
    )  # fmt: skip
    for name, label in result.labels.items():
        table.add_row(
            escape(_UNITS[name]),
            f"{label.mae:.3g}", f"{label.mae_low:.3g}–{label.mae_high:.3g}",
            f"{label.median_error:.3g}", f"{label.bias:+.2g}",
            f"{100 * label.coverage_1:.1f}", f"{100 * label.coverage_2:.1f}",
            f"{label.bound:.3g}", f"{label.ratio:.2f}",
            f"{label.bound_inside:.3g}", f"{label.ratio_inside:.2f}",
        )  # fmt: skip
    show_table(table)


def show_calibration(result: Calibration) -> None:
    """Show a row for each bin and label."""
    table = Table("SNR", "Teff", "label", "1σ [%]", "2σ [%]", "ENCE", "sharpness", "PIT [%]",
                  title=f"{result.n} spectra in each bin, model {result.model or '–'}",
                  caption="ideal: 68.3, 95.4, 0, small, and 10 in each of ten bars; "
                  + "; ".join(_spread(result.spread(k), k) for k in (1, 2)))  # fmt: skip
    for one in result.bins:
        for name, label in one.labels.items():
            table.add_row(
                f"{one.snr:g}", f"{one.teff_range[0]:.0f}–{one.teff_range[1]:.0f}",
                escape(_UNITS[name]), f"{100 * label.coverage_1:.1f}",
                f"{100 * label.coverage_2:.1f}", f"{label.ence:.3f}", f"{label.sharpness:.3g}",
                " ".join(f"{100 * bar:.0f}" for bar in label.pit),
            )  # fmt: skip
    show_table(table)


def _spread(found: Spread, sigmas: int) -> str:
    return (f"{sigmas}σ deviates by {100 * found.rms:.2f} % rms ({100 * found.counting:.2f} by "
            f"chance alone), at most {100 * found.worst:.1f}")  # fmt: skip


def show_epochs(result: EpochQuality) -> None:
    """Show a row for each label and one for all, and what the scatter of the epochs says."""
    (low, high), (cold, hot) = result.snr, result.teff_range
    table = Table("label", "1σ [%]", "2σ [%]", "rms of error/σ", "median σ",
                  title=f"{result.n} stars with {result.epochs} epochs, SNR {low:g}–{high:g}, "
                  f"{cold:g}–{hot:g} K, model {result.model or '–'}",
                  caption=f"ideal: 68.3, 95.4 and 1; scatter of the epochs: reduced χ² "
                  f"{result.chi2_red:.3f} (ideal: 1), p = {result.p_value:.3g} that χ² of the "
                  f"stars has its distribution; {result.n_left_out} stars left out: flagged",
                  )  # fmt: skip
    for name, label in result.labels.items():
        table.add_row(escape(_UNITS[name]), f"{100 * label.coverage_1:.1f}",
                      f"{100 * label.coverage_2:.1f}", f"{label.rms:.2f}", f"{label.claimed:.3g}")
    table.add_row("all", f"{100 * result.coverage_1:.1f}", f"{100 * result.coverage_2:.1f}", "", "")
    show_table(table)


def show_robustness(result: Robustness) -> None:
    """Show a row for each disturbance: median pull and coverage of every label."""
    table = Table("disturbance", *(f"{name} [σ]" for name in _UNITS), "within 1σ [%]",
                  title=f"median bias, SNR {result.snr:g}, {result.n} spectra, model "
                  f"{result.model or '–'}")  # fmt: skip
    for effect in result.effects:
        shares = " ".join(f"{100 * share:.0f}" for share in effect.coverage.values())
        table.add_row(effect.name, *(f"{x:+.2f}" for x in effect.bias.values()), shares)
    show_table(table)


def show_flags(result: FlagResult) -> None:
    """Show a row for each kind of spectra."""
    table = Table("spectra", "number", "flagged [%]", "flags",
                  title=f"serious flags, model {result.model or '–'}")  # fmt: skip
    for kind in result.kinds:
        names = ", ".join(f"{name} {count}" for name, count in kind.flags.items())
        table.add_row(kind.kind, str(kind.n), f"{100 * kind.share:.1f}", names)
    show_table(table)


def show_stars(results: list[StarResult]) -> None:
    """Show a row for each spectrum: value, difference and pull of every label."""
    table = Table("file", "star", "status", "flags", *map(escape, _UNITS.values()))
    for result in results:
        cells = []
        for name, label in result.labels.items():
            text = with_error(name, label.value)
            if math.isfinite(label.difference):
                text += f" ({with_error(name, label.difference, sign=True)}, {label.pull:+.1f} σ)"
            cells.append(Text(text))
        mark = {True: "green", False: "red", None: ""}[result.right]
        remark = result.message if result.status == "failed" else result.flag_text
        table.add_row(Text(result.file, overflow="fold"), Text(result.star or "unknown"),
                      Text(result.status, style=mark), Text(remark), *cells)  # fmt: skip
    show_table(table)


def show_emulator(result: EmulatorAccuracy) -> None:
    """Show a row for each axis, for all of them together, and for each comparison with PySME."""
    low, high = result.teff_range
    biases = [escape(f"bias {unit}") for unit in _UNITS.values()]
    carried = f", {result.carried_over} of them carried over" if result.carried_over else ""
    table = Table(
        "axis", "order", "left out", "flux rms", "worst", *biases,
        title=f"grid {result.grid}, {result.n_nodes} nodes{carried}; {result.interpolation} "
        f"interpolation; compression rms {result.residual_rms:.1e}, "
        f"largest {result.residual_max:.1e}",
        caption="errors half way between nodes, from left-out nodes at twice the spacing scaled "
        f"by (1/2)^order; biases: median / 90 % of stars in {low:.0f}–{high:.0f} K; an axis that "
        "is not listed has too few nodes",
    )  # fmt: skip
    rows = dict(result.axes) | ({"together": result.together} if result.together else {})
    for name, axis in rows.items():
        table.add_row(
            name, str(axis.order), str(axis.n_left_out), f"{axis.flux_rms:.1e}",
            f"{axis.flux_rms_worst:.1e}", *_quantiles(axis.bias, axis.bias_90),
        )  # fmt: skip
    show_table(table)
    if not result.comparisons:
        return
    table = Table("against PySME", "stars", "flux rms", "90 %", "worst", *biases,
                  caption="biases: median / 90 % / largest")  # fmt: skip
    for name, other in result.comparisons.items():
        table.add_row(
            escape(name), str(other.n), f"{other.flux_rms:.1e}", f"{other.flux_rms_90:.1e}",
            f"{other.flux_rms_worst:.1e}",
            *_quantiles(other.bias, other.bias_90, other.bias_worst),
        )  # fmt: skip
    show_table(table)


def _quantiles(*biases: Mapping[str, float]) -> list[str]:
    """One cell for each label: quantiles of its bias, smallest first."""
    return [" / ".join(f"{bias[name]:.2g}" for bias in biases) for name in _UNITS]
