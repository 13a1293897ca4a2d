"""Check that a results table has a complete, finite row for every FITS file of a folder."""

import sys
from pathlib import Path

import numpy as np

import harpsstar
from harpsstar.io.results import COLUMNS
from harpsstar.labels import LABELS

table = harpsstar.read_table(sys.argv[1])
files = sorted(str(path) for path in Path(sys.argv[2]).glob("*.fits"))

problems = []
if sorted(table["file"]) != files or not files:
    problems.append(f"rows for {sorted(table['file'])}, expected {files}")
if table.colnames != [column.name for column in COLUMNS]:
    problems.append(f"columns {table.colnames}")
for row in table:
    if row["status"] == "failed":
        problems.append(f"{row['file']}: {row['message']}")
    for column in COLUMNS:
        if column.kind in ("real", "matrix") and not np.all(np.isfinite(row[column.name])):
            problems.append(f"{row['file']}: {column.name} is {row[column.name]}")
    sigma = [float(getattr(row[f"{x.name}_err"], "value", row[f"{x.name}_err"])) for x in LABELS]
    if not np.allclose(np.sqrt(np.diag(row["covariance"])), sigma, rtol=0.01):
        problems.append(f"{row['file']}: covariance and errors {sigma} disagree")
if not table.meta.get("model_card") or not table.meta.get("versions"):
    problems.append("no model card or versions in the metadata")

table["file", "status", "teff", "teff_err", "logg", "m_h", "vsini", "rv"].pprint(max_width=-1)
sys.exit("\n".join(problems) or 0)
