"""Where the model fails, as a table and its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harpsstar.evaluate.lines import Check, Stretch, check
from harpsstar.io.results import check_table_output, provenance
from harpsstar.model.opacity import name_of
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import ECSV

if TYPE_CHECKING:
    from astropy.table import Table

#: Columns of :func:`table`: name, unit, format, description.
COLUMNS = (
    ("wavelength", "Angstrom", ".3f", "Rest wavelength in air of the largest residual"),
    ("low", "Angstrom", ".3f", "First wavelength of the interval"),
    ("high", "Angstrom", ".3f", "Last wavelength of the interval"),
    ("residual", "", ".4f", "Largest residual, observed - model, smoothed, in units of continuum"),
    ("width", "mAngstrom", ".2f", "Equivalent width, observed - model"),
    ("width_err", "mAngstrom", ".2f", "Error of the equivalent width from photon noise"),
    ("species", "", "", "Species of the line with the most opacity; 1 is neutral; empty for none"),
    ("line", "Angstrom", ".3f", "Wavelength of this line in air"),
    ("excitation", "eV", ".3f", "Excitation energy of its lower level"),
    ("log_gf", "dex", ".3f", "log gf of this line, with the solar correction"),
    ("delta_log_gf", "dex", ".3f", "Solar correction of log gf; nan if there is none"),
    ("source", "", "", "Source of the line"),
    ("rivals", "", "", "Other lines with nearly as much opacity"),
)


def table(result: Check) -> Table:
    """Return the stretches as a table with units and descriptions, and the star as metadata."""
    from astropy.table import Column, Table

    rows = [_cells(stretch) for stretch in result.stretches]
    out = Table(meta=provenance("harpsstar synth lines --check") | {
        "file": Path(result.file).name, "star": result.star, "resolution": result.resolution,
        "median": result.median, "scatter": result.scatter, "threshold": result.threshold,
        "lines": result.list_name,
    })  # fmt: skip
    for i, (name, unit, form, description) in enumerate(COLUMNS):
        values = np.array([row[i] for row in rows], dtype=float if form else str)
        out[name] = Column(values, unit=unit or None, format=form or None, description=description)
    return out


def _cells(stretch: Stretch) -> list[float | str]:
    numbers = [getattr(stretch, name) for name, *_ in COLUMNS[:6]]
    if len(stretch.lines) == 0:
        return [*numbers, "", np.nan, np.nan, np.nan, np.nan, "", ""]
    best = stretch.lines[0]
    values = [float(best[n]) for n in ("wavelength", "excitation", "log_gf", "delta_log_gf")]
    rivals = "; ".join(name_of(line) for line in stretch.lines[1:])
    return [*numbers, str(best["species"]), *values, str(best["source"]), rivals]


def write(result: Check, path: Path) -> None:
    """Write :func:`table` as ECSV; an existing file is only ever replaced whole."""
    with replacing(check_table_output(path), ECSV) as temporary:
        table(result).write(temporary, format="ascii.ecsv", overwrite=True)


def check_and_write(
    spectrum: str | Path,
    root: Path,
    *,
    output: Path | None = None,
    plot: Path | None = None,
    **options: Any,
) -> Check:
    """:func:`check`, then write the table and draw the picture, which are tried before it."""
    from harpsstar.evaluate.line_plots import draw
    from harpsstar.plotting import check_picture

    if output is not None:
        check_table_output(output)
    if plot is not None:
        check_picture(plot)
    result = check(spectrum, root, **options)
    if output is not None:
        write(result, output)
    if plot is not None:
        draw(result, plot)
    return result
