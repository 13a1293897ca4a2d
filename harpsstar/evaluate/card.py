"""The model card as a page (Mitchell et al. 2019, Model Cards for Model Reporting)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harpsstar.infer.parameters import PARAMETERS, scatter
from harpsstar.infer.uncertainty import FLOOR
from harpsstar.labels import LABELS, NAMES, NUISANCES

_USE = """\
Teff, log g, [M/H] and v sin i of single stars of spectral types A to K from HARPS-N, HARPS and
ESPRESSO-style spectra of 5025–5393 Å. Not for M dwarfs, the coolest giants, composite spectra,
white dwarfs or stars with emission: they are beyond the models and meant to be flagged, see
[flags](flags.md)."""

_FAILURES = """\
- Below some 4200 K molecular lines are missing from the line list.
- v sin i below the resolution of the spectrograph is an upper limit; macroturbulence hides it.
- A binary whose lines are not separated, or a faint companion, need not raise a flag.
- The packaged grid has [α/Fe] = 0 only, whatever the range of `alpha` above: stars with enhanced
  α elements come out with too high a metallicity or gravity.
- Spectra are interpolated between the nodes of a grid: see how far that is off in
  [the emulator](../explanation/emulator.md).
- Models are one-dimensional and in local thermodynamic equilibrium: the error of the physics
  (`*_err` beside `*_err_noise`) dominates above a signal-to-noise ratio of some 30, see
  [the error bars](../explanation/errors.md)."""


def page(card: Mapping[str, Any]) -> str:
    """Return the card of a model as Markdown.

    Parameters
    ----------
    card : mapping
        As :func:`harpsstar.nn.zoo.read_card` returns it.
    """
    parts = [
        f"# Model card: {card.get('name', '')}",
        str(card.get("description", "")) + ". Made by `harpsstar evaluate card`.",
        "## Intended use", _USE,
        "## Labels and priors", _priors(card),
        "## Data and training", _training(card),
        "## Accuracy on held-out synthetic spectra", _metrics(card.get("metrics", {})),
        "What `harpsstar evaluate accuracy`, `calibration`, `robustness`, `flags` and `stars` "
        "print measures the model again.",
        "## Error of the physics",
        "At least " + ", ".join(
            f"{value:g} {label.unit or 'dex'} ({label.name})"
            for value, label in zip(FLOOR, LABELS, strict=True)
        ) + "; more where the spectrum fits worse or where few lines constrain the labels.",
        "## Known failures", _FAILURES,
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _priors(card: Mapping[str, Any]) -> str:
    priors = card.get("recipe", {}).get("priors", {})
    used = dict(zip((x.name for x in NUISANCES), scatter().tolist(), strict=True))
    lines = ["| quantity | range | drawn in training | prior of the fit |", "|---|---|---|---|"]
    for label in PARAMETERS:
        limits = f"{label.low:g} to {label.high:g} {label.unit}".rstrip()
        if label in LABELS:
            cells = ("uniform in the grid", "flat in the grid")
        else:
            drawn = priors.get("rv_error" if label.name == "rv" else f"{label.name}_scatter")
            known = "not varied" if drawn is None else f"± {drawn:g} about its relation"
            cells = (known, f"± {used[label.name]:g} about its relation")
        lines.append(f"| {label.name} | {limits} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _training(card: Mapping[str, Any]) -> str:
    facts = {
        "network": f"{card.get('network')} {json.dumps(card.get('network_options', {}))}",
        "spectra as the network sees them": card.get("frame", ""),
        "grid": card.get("grid", {}).get("sha256", "")[:16],
        **{key: value for key, value in card.get("training", {}).items()},
    }
    rows = [f"| {key} | {value} |" for key, value in facts.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _metrics(metrics: Mapping[str, Any]) -> str:
    lines = ["| | " + " | ".join(NAMES) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for place, values in metrics.items():
        if not isinstance(values, Mapping) or "mae" not in values:
            continue
        cells = " | ".join(f"{values['mae'][name]:.3g}" for name in NAMES)
        lines.append(f"| mean absolute error, {place} | {cells} |")
    return "\n".join(lines)
