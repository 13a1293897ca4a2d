"""How long ``import harpsstar`` takes, beyond astropy's:  python benchmarks/importing.py

Each import happens in a fresh interpreter; the smallest of some tries counts, since other work on
the machine can only make one longer. ``--limit SECONDS`` makes it an error to take longer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

STATEMENTS = {
    "astropy": "import astropy",
    "harpsstar": "import harpsstar",
    "both": "import astropy; import harpsstar",
    "harpsstar.read, with specutils": "import harpsstar; harpsstar.read",
    "harpsstar.predict, with torch": "import harpsstar; harpsstar.predict",
}


def seconds(statement: str, tries: int) -> float:
    """Return the smallest time of a statement in fresh interpreters, their start not counted."""
    code = ("import time; start = time.perf_counter(); " + statement
            + "; print(time.perf_counter() - start)")
    command = [sys.executable, "-c", code]
    return min(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
               for _ in range(tries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--limit", type=float, help="of harpsstar beyond astropy, seconds")
    options = parser.parse_args()
    found = {name: seconds(text, options.tries) for name, text in STATEMENTS.items()}
    for name, value in found.items():
        print(f"{name:32s} {value:6.3f} s")
    beyond = found["both"] - found["astropy"]
    print(f"{'harpsstar beyond astropy':32s} {beyond:6.3f} s")
    if options.limit is not None and beyond > options.limit:
        sys.exit(f"importing harpsstar takes {beyond:.3f} s beyond astropy; the limit is"
                 f" {options.limit:g} s")


if __name__ == "__main__":
    main()
