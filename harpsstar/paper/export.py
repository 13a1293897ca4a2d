"""Results of the paper's tables and figures as astropy tables, for ECSV files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harpsstar._version import __version__
from harpsstar.io.results import check_table_output
from harpsstar.labels import LABELS, NAMES
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import CREATOR, ECSV
from harpsstar.paper.attention import AttentionMaps
from harpsstar.paper.figures import Sample
from harpsstar.paper.judge import Judged

if TYPE_CHECKING:
    from astropy.table import Table

#: What is measured in the unit of its label.
_IN_UNITS = ("mae", "low", "high", "paper", "bound", "value", "sigma", "truth", "paper_sigma")


def rows_table(rows: Sequence[Any]) -> Table:
    """Make a table of dataclasses; what is nested becomes columns such as ``teff_mae``."""
    from astropy.table import Table

    table = Table(rows=[_flat(dataclasses.asdict(row)) for row in rows] or None)
    units = {
        f"{label.name}_{quantity}": label.unit
        for label in LABELS
        for quantity in _IN_UNITS
        if label.unit
    }
    for name in table.colnames:
        table[name].unit = units.get(name)
    return table


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, "" if key == "labels" else f"{prefix}{key}_")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def residuals_table(judged: Judged) -> Table:
    """Truth, mean and claimed error of every test spectrum: the data of Figures 3 and 4."""
    from astropy.table import Table

    table = Table()
    for i, label in enumerate(LABELS):
        for what in ("truth", "mean", "sigma"):
            column = getattr(judged, what)[:, i].numpy()
            table[f"{label.name}_{what}"] = column
            table[f"{label.name}_{what}"].unit = label.unit or None
    table.meta = {"model": judged.model.name, "sha256": judged.model.sha256,
                  "labels": list(NAMES)}  # fmt: skip
    return table


def sample_table(found: Sample) -> Table:
    """Pixels of the eight orders: the data of Figure 1."""
    table = _pixels(found.orders_wave, found.image > 0, {"flux": found.image})
    table.meta = {"labels": dict(zip(NAMES, found.labels, strict=True))}
    return table


def attention_table(found: AttentionMaps) -> Table:
    """Pixels with the attention of each block: the data of Figure 5."""
    columns = {"flux": found.flux.numpy()}
    columns |= {f"attention_{i}": alpha.numpy() for i, alpha in enumerate(found.maps, start=1)}
    table = _pixels(found.wave.numpy(), found.seen.numpy(), columns)
    table.meta = {"model": found.model, "labels": dict(zip(NAMES, found.labels, strict=True))}
    return table


def _pixels(wave: Any, used: Any, columns: Mapping[str, Any]) -> Table:
    from astropy.table import Table

    order, pixel = np.nonzero(used)
    table = Table({"order": order, "pixel": pixel, "wavelength": wave[used]})
    table["wavelength"].unit = "Angstrom"
    for name, values in columns.items():
        table[name] = values[used]
    return table


def write(table: Table, path: Path) -> None:
    """Write an ECSV file.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    table.meta["creator"] = f"{CREATOR} {__version__}"
    with replacing(check_table_output(path), ECSV) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
