"""Do the tests notice a wrong number?  python .ci/mutants.py [WORD …]

Each mutant is one change of one line in a copy of the tree; the nearest test files are run on it
until one fails. Prints which test that was, and ends with code 1 if a mutant survives all of its
files. With words, only mutants whose names contain one of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CONSTANTS = "tests/test_constants.py"


class Mutant(NamedTuple):
    """A name, the file below ``harpsstar/``, what stands there, what is put in its place, tests."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (CONSTANTS,)


MUTANTS = [
    # wrong constants that the nearest tests once let pass
    Mutant("limb darkening 0.3", "model/broadening.py",
           "LIMB_DARKENING = 0.6", "LIMB_DARKENING = 0.3"),
    Mutant("vmac: log g slope", "model/relations.py",
           "- 2.0 * (logg - 4.44)", "- 1.0 * (logg - 4.44)"),
    Mutant("HARPS-N extraction pixels 3", "instruments/harpsn.toml",
           "extraction_pixels = 6.0", "extraction_pixels = 3.0"),
    Mutant("no Einstein shift", "constants.py", "EINSTEIN_SHIFT = 1.55e-8", "EINSTEIN_SHIFT = 0.0"),
    Mutant("vsini of the Sun 3", "constants.py",
           "5772.0, 4.438, 0.0, 1.8", "5772.0, 4.438, 0.0, 3.0"),
    Mutant("scatter of vmic x 2", "model/relations.py",
           "VMIC_SCATTER = 0.15", "VMIC_SCATTER = 0.30"),
    Mutant("vmic of giants: curvature x 3", "model/relations.py",
           "3.1e-7 * offset", "9.3e-7 * offset"),
    Mutant("Ti is no alpha element", "grid/synthesis.py", '"Ca", "Ti")', '"Ca")'),
    # of the same sort: spectra
    Mutant("MAD to sigma 1", "constants.py", "MAD_TO_SIGMA = 1.4826", "MAD_TO_SIGMA = 1.0"),
    Mutant("speed of light 300,000", "constants.py", "299_792.458", "300_000.0"),
    Mutant("rows 35 to 42", "spectra/frame.py",
           "(36, 37, 38, 39, 40, 41, 42, 43)", "(35, 36, 37, 38, 39, 40, 41, 42)",
           ("tests/spectra/test_frame.py",)),
    Mutant("fourth differences 35", "spectra/noise.py",
           "np.sqrt(70.0)", "np.sqrt(35.0)", ("tests/spectra/test_noise.py",)),
    # synth
    Mutant("macroturbulence: a x 2", "model/broadening.py",
           "(k * vmac) ** 2 / 4", "(k * vmac) ** 2 / 2", ("tests/model/test_broadening.py",)),
    Mutant("FWHM of a Gaussian", "model/broadening.py",
           "math.log(2.0))", "math.log(3.0))", ("tests/model/test_broadening.py",)),
    Mutant("refraction of air", "model/linelist.py", "0.02406147", "0.02506147"),
    Mutant("iron 7.60", "model/linelist.py", "5.64, 5.43, 7.50,", "5.64, 5.43, 7.60,"),
    # infer
    Mutant("alpha relation: slope / 2", "model/relations.py", "(-0.4 * m_h)", "(-0.2 * m_h)"),
    Mutant("floor of teff 30 K", "infer/uncertainty.py", "FLOOR = (70.0,", "FLOOR = (30.0,"),
    # io
    Mutant("read noise not squared", "io/e2ds.py",
           "extraction_pixels * read_noise**2", "extraction_pixels * read_noise",
           ("tests/io/test_readers.py",)),
    Mutant("s1d: scatter not corrected", "io/noise.py", "factor = 2.4 if", "factor = 1.0 if"),
    # ten of another choice
    Mutant("vmic of dwarfs + 0.2", "model/relations.py", "dwarf = 1.05", "dwarf = 1.25"),
    Mutant("HARPS-N R 100,000", "instruments/harpsn.toml",
           "resolution = 115000.0", "resolution = 100000.0"),
    Mutant("HARPS-N begins at order 156", "instruments/harpsn.toml",
           "m_first = 157", "m_first = 156"),
    Mutant("share of 24MgH", "model/linelist.toml", '["MgH 1", 0.7899]', '["MgH 1", 0.8999]'),
    Mutant("5040 K for 1 eV: 5400", "model/linelist.py", "theta = 5040.0", "theta = 5400.0"),
    Mutant("eV in 1/cm", "grid/vald.py", "8065.544", "8056.544"),
    Mutant("line width: 2.355 twice", "model/opacity.py",
           "resolution / 2.355", "resolution / 4.71"),
    Mutant("s1d: fourth differences 35", "io/noise.py", "np.sqrt(70.0)", "np.sqrt(35.0)"),
    Mutant("vsini counts as resolved at half", "infer/quality.py",
           "vsini < C_KM_S / evidence", "2 * vsini < C_KM_S / evidence"),
    Mutant("cosmics from 3 sigma", "spectra/noise.py", "sigma: float = 6.0,", "sigma: float = 3.0,",
           ("tests/spectra/test_noise.py",)),
]  # fmt: skip


def copy_of_the_tree(folder: Path) -> None:
    """Copy what git knows or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, names)):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def killer(mutant: Mutant, tree: Path) -> str:
    """Return the first test that fails on a mutant; nothing if none does."""
    path = tree / "harpsstar" / mutant.file
    before = path.read_text(encoding="utf-8")
    if mutant.old not in before:
        return f"STALE: {mutant.file} has no {mutant.old!r}"
    path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    finally:
        path.write_text(before, encoding="utf-8")
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return failed[1] if failed else f"STALE: pytest ended with {done.returncode}"


def main() -> None:
    """Judge the chosen mutants one after the other."""
    words = [word.casefold() for word in sys.argv[1:]]
    chosen = [m for m in MUTANTS if not words or any(w in m.name.casefold() for w in words)]
    bad = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy_of_the_tree(Path(folder))
        for mutant in chosen:
            found = killer(mutant, Path(folder))
            print(f"{mutant.name:34s} {found or 'SURVIVED'}", flush=True)
            if not found or found.startswith("STALE"):
                bad.append(mutant.name)
    print(f"{len(chosen) - len(bad)} of {len(chosen)} mutants killed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
