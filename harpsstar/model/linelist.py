"""Assembly of the line list: what ``linelist.toml`` says, done.

A line list is a plain :class:`numpy.ndarray` with the fields of :data:`DTYPE`, sorted by
wavelength. Nothing here needs PySME; :mod:`harpsstar.grid.synthesis` turns the array into
PySME's own container.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.errors import InputsMissingError
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import CREATOR, ECSV

#: wavelength air Å; excitation eV; log10 damping per perturber (VALD convention; van der Waals
#: may hold ABO's sigma.alpha when positive).
DTYPE = np.dtype(
    [
        ("species", "U8"),
        ("wavelength", "f8"),
        ("excitation", "f8"),
        ("log_gf", "f8"),
        ("gamma_rad", "f8"),
        ("gamma_stark", "f8"),
        ("gamma_vdw", "f8"),
        ("source", "U16"),
    ]
)

#: What the calibration on the Sun changes: the line as it was, and dex, Å, dex to add.
DELTA_DTYPE = np.dtype(
    [
        ("species", "U8"),
        ("wavelength", "f8"),
        ("excitation", "f8"),
        ("source", "U16"),
        ("log_gf", "f8"),
        ("delta_log_gf", "f8"),
        ("sigma_log_gf", "f8"),
        ("delta_wavelength", "f8"),
        ("delta_log_vdw", "f8"),
    ]
)

LineArray = npt.NDArray[np.void]

#: The packaged calibration.
SOLAR_FILE = "solar-lines.ecsv"
_UNITS = {
    "wavelength": ("Angstrom", ".4f"),
    "excitation": ("eV", ".4f"),
    "log_gf": ("dex", ".3f"),
    "delta_log_gf": ("dex", ".4f"),
    "sigma_log_gf": ("dex", ".4f"),
    "delta_wavelength": ("Angstrom", ".5f"),
    "delta_log_vdw": ("dex", ".4f"),
}

#: Columns of a ``vald-table`` in the order of :data:`DTYPE`.
_VALD_COLUMNS = (
    "wave_vald", "E_l", "loggf", "damping_rad", "damping_stark", "damping_waals",
)  # fmt: skip

# fmt: off
ELEMENTS = [
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S",
    "Cl", "Ar", "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga",
    "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd",
    "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm",
    "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os",
    "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa",
    "U",
]
# fmt: on

#: Asplund, Grevesse, Sauval & Scott (2009), Table 1: log eps(X); used only to decide what to keep.
SOLAR = dict(
    zip(
        ELEMENTS,
        # fmt: off
        (12.00, 10.93, 1.05, 1.38, 2.70, 8.43, 7.83, 8.69, 4.56, 7.93, 6.24, 7.60, 6.45, 7.51,
         5.41, 7.12, 5.50, 6.40, 5.03, 6.34, 3.15, 4.95, 3.93, 5.64, 5.43, 7.50, 4.99, 6.22, 4.19,
         4.56, 3.04, 3.65, 2.30, 3.34, 2.54, 3.25, 2.52, 2.87, 2.21, 2.58, 1.46, 1.88, -9.0, 1.75,
         0.91, 1.57, 0.94, 1.71, 0.80, 2.04, 1.01, 2.18, 1.55, 2.24, 1.08, 2.18, 1.10, 1.58, 0.72,
         1.42, -9.0, 0.96, 0.52, 1.07, 0.30, 1.10, 0.48, 0.92, 0.10, 0.84, 0.10, 0.85, -0.12, 0.85,
         0.26, 1.40, 1.38, 1.62, 0.92, 1.17, 0.90, 1.75, 0.65, -9.0, -9.0, -9.0, -9.0, -9.0, -9.0,
         0.02, -9.0, -0.54),
        # fmt: on
        strict=True,
    )
)


def air_from_vacuum(wavelength: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert vacuum to air wavelengths, in Å, as VALD does.

    Source: N. Piskunov's fit to the formulae of Birch & Downs (1994), as printed by VALD
    ("Air-to-vacuum conversion"); holds for 2000–100,000 Å.

    >>> float(round(air_from_vacuum(5000.0)[()], 3))
    4998.606
    """
    lam = np.asarray(wavelength, dtype=float)
    s2 = (1e4 / lam) ** 2
    n = 1 + 0.0000834254 + 0.02406147 / (130 - s2) + 0.00015998 / (38.9 - s2)
    return lam / n


def _vald_short(path: Path) -> Iterator[tuple[Any, ...]]:
    pattern = re.compile(r"^'\s*(\w+)\s+(\d+)\s*'")
    for text in path.read_text(errors="replace").splitlines():
        head = pattern.match(text)
        if head is None:
            continue
        wave, energy, _vmic, gf, rad, stark, vdw = (
            float(part) for part in text[head.end() :].lstrip(" ,").split(",")[:7]
        )
        yield f"{head[1]} {head[2]}", wave, energy, gf, rad, stark, vdw


def _moog(
    path: Path, source: dict[str, Any], isotopes: dict[str, Any]
) -> Iterator[tuple[Any, ...]]:
    lines = path.read_text(errors="replace").splitlines()[source.get("header_lines", 0) :]
    for text in lines:
        parts = text.split()
        try:
            wave, energy, gf = float(parts[0]), float(parts[2]), float(parts[3])
            code = float(parts[1])
        except (ValueError, IndexError):
            continue
        vdw = 0.0
        if source.get("damping", True) and len(parts) > 4:
            vdw = float(parts[4])
        if code >= 100:
            species, share = isotopes.get(f"{code:.5f}", ("", 1.0))
            gf += np.log10(share)
        elif round(code % 1, 4) in (0.0, 0.1, 0.2):
            species = f"{ELEMENTS[int(code) - 1]} {round(code % 1 * 10) + 1}"
        else:  # a hyperfine or isotopic component of an atom: the sum is listed elsewhere
            continue
        if species:
            yield species, abs(wave), energy, gf, 0.0, 0.0, vdw


def _vald_table(path: Path) -> Iterator[tuple[Any, ...]]:
    """Zipped table of VALD lines with named columns, as ARVE keeps them."""
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
        for row in csv.DictReader(io.TextIOWrapper(stream, "utf-8")):
            yield (
                row["species"],
                *(float(row[name]) for name in _VALD_COLUMNS),
            )


def _read(source: dict[str, Any], config: dict[str, Any], root: Path) -> LineArray:
    names = [source["file"].format(name=name) for name in source.get("files", [""])]
    rows: list[tuple[Any, ...]] = []
    for name in names:
        path = root / name
        if not path.is_file():
            raise InputsMissingError(
                "line list not found",
                path=path,
                expected=f"the source {source['name']!r} of linelist.toml",
                hint="run `harpsstar synth inputs`, or set HARPSSTAR_CACHE to a folder that has it",
            )
        match source["format"]:
            case "vald-short":
                found = _vald_short(path)
            case "vald-table":
                found = _vald_table(path)
            case _:
                found = _moog(path, source, config["isotopes"])
        rows.extend((*row, source["name"]) for row in found)
    lines = np.array(rows, dtype=DTYPE)
    if source["medium"] == "vacuum":
        lines["wavelength"] = air_from_vacuum(lines["wavelength"])
    inside = (lines["wavelength"] > config["range"]["low"]) & (
        lines["wavelength"] < config["range"]["high"]
    )
    lines = lines[inside]
    if "species" in source:
        return lines[np.isin(lines["species"], source["species"])]
    atoms = {f"{element} {ion}" for element in ELEMENTS for ion in (1, 2, 3)}
    return lines[np.isin(lines["species"], sorted(atoms))]


def _new_lines(lines: LineArray, held: LineArray, match: dict[str, float]) -> LineArray:
    """Those of `lines` that no line in `held` matches."""
    keep = np.ones(len(lines), dtype=bool)
    for species in np.unique(lines["species"]):
        mine = np.flatnonzero(lines["species"] == species)
        old = held[held["species"] == species]
        old = old[np.argsort(old["wavelength"])]
        low = np.searchsorted(old["wavelength"], lines["wavelength"][mine] - match["wavelength"])
        high = np.searchsorted(old["wavelength"], lines["wavelength"][mine] + match["wavelength"])
        for i, a, b in zip(mine, low, high, strict=True):
            near = abs(old["excitation"][a:b] - lines["excitation"][i]) < match["energy"]
            keep[i] = not near.any()
    return lines[keep]


def strength(
    lines: LineArray, temperatures: Sequence[float], config: dict[str, Any] | None = None
) -> npt.NDArray[np.float64]:
    """Largest log gf + A(X) - chi 5040/T over some temperatures (K), at solar abundance, (n,)."""
    config = configuration() if config is None else config
    abundance = dict(config["solar_abundance_of_molecules"])
    for species in np.unique(lines["species"]):
        abundance.setdefault(str(species), SOLAR.get(str(species).split()[0], -9.0))
    base = lines["log_gf"] + np.array([abundance[str(s)] for s in lines["species"]])
    theta = 5040.0 / np.array(temperatures)
    return np.asarray((base[:, None] - lines["excitation"][:, None] * theta).max(axis=1))


def _strong_enough(lines: LineArray, config: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Whether a line can matter for some star of the grid (see ``[cut]``)."""
    rule = config["cut"]
    return strength(lines, rule["temperatures"], config) - 7.5 > rule["threshold"]


def _selected(lines: LineArray, rule: dict[str, Any]) -> npt.NDArray[np.bool_]:
    chosen = np.ones(len(lines), dtype=bool)
    for field in ("source", "species"):
        if field in rule:
            chosen &= lines[field] == rule[field]
    if "wavelengths" in rule:
        offsets = abs(lines["wavelength"][:, None] - np.array(rule["wavelengths"])[None, :])
        chosen &= offsets.min(axis=1) < 0.011
    return chosen


def configuration() -> dict[str, Any]:
    """Return the packaged rules of assembly, ``linelist.toml``."""
    text = resources.files("harpsstar.model").joinpath("linelist.toml").read_text("utf-8")
    return tomllib.loads(text)


def assemble(
    root: Path, config: dict[str, Any] | None = None, *, calibrated: bool = True
) -> LineArray:
    """Build the line list from the sources below `root`.

    Parameters
    ----------
    root : Path
        Folder that holds ``lines/…`` (see :mod:`harpsstar.grid.inputs`).
    config : dict, optional
        Rules; those of the package by default.
    calibrated : bool
        Apply the packaged calibration on the Sun.

    Returns
    -------
    ndarray of :data:`DTYPE`, sorted by wavelength.

    Raises
    ------
    InputsMissingError
        When a source file is not there.
    """
    config = configuration() if config is None else config
    held = np.empty(0, dtype=DTYPE)
    for source in config["source"]:
        new = _new_lines(_read(source, config, root), held, config["match"])
        held = np.concatenate([held, new])
    for rule in config["remove"]:
        held = held[~_selected(held, rule)]
    for rule in config["shift"]:
        held["log_gf"][_selected(held, rule)] += rule["log_gf"]
    held = held[_strong_enough(held, config)]
    if calibrated:
        return apply_deltas(held, solar_deltas())
    return held[np.argsort(held["wavelength"], kind="stable")]


def shifted(
    lines: LineArray, log_gf: npt.ArrayLike, wavelength: npt.ArrayLike, log_vdw: npt.ArrayLike
) -> LineArray:
    """Move lines by dex, Å and dex, each a number or (n,).

    A van der Waals width that a source does not give stays PySME's own.
    """
    out = lines.copy()
    out["log_gf"] += log_gf
    out["wavelength"] += wavelength
    width = out["gamma_vdw"]
    sigma = np.floor(width)  # of ABO's sigma.alpha, to which the width is proportional
    abo = np.round(sigma * 10 ** np.asarray(log_vdw)) - sigma
    out["gamma_vdw"] += np.where(width > 0, abo, np.where(width < 0, log_vdw, 0.0))
    return out


def keys(lines: npt.NDArray[np.void]) -> list[tuple[str, str, str]]:
    """Return what tells lines apart: species, wavelength and excitation to 10⁻⁴ Å and eV."""
    return [
        (str(row["species"]), f"{row['wavelength']:.4f}", f"{row['excitation']:.4f}")
        for row in lines
    ]


def rows_of(
    lines: npt.NDArray[np.void], deltas: npt.NDArray[np.void]
) -> npt.NDArray[np.int_]:
    """Return the row of a calibration for each of n lines, (n,); −1 where it has none."""
    place = {key: i for i, key in enumerate(keys(deltas))}
    return np.array([place.get(key, -1) for key in keys(lines)], dtype=int)


def apply_deltas(lines: LineArray, deltas: npt.NDArray[np.void]) -> LineArray:
    """Apply a calibration to the lines it knows; the others stay.

    Parameters
    ----------
    lines : ndarray of :data:`DTYPE`
    deltas : ndarray of :data:`DELTA_DTYPE`

    Returns
    -------
    ndarray of :data:`DTYPE`, sorted by wavelength.
    """
    row = rows_of(lines, deltas)
    moves = (
        np.where(row >= 0, deltas[f"delta_{name}"][row], 0.0)
        for name in ("log_gf", "wavelength", "log_vdw")
    )
    moved = shifted(lines, *moves)
    return moved[np.argsort(moved["wavelength"], kind="stable")]


def solar_deltas() -> npt.NDArray[np.void]:
    """Return the packaged calibration on the Sun, of :data:`DELTA_DTYPE`.

    Made by ``harpsstar synth calibrate``; see :mod:`harpsstar.grid.calibration`.
    """
    with resources.as_file(resources.files("harpsstar.data") / SOLAR_FILE) as path:
        return read_deltas(path)


def read_deltas(path: Path) -> npt.NDArray[np.void]:
    """Read a calibration, ECSV."""
    from astropy.table import Table

    return np.asarray(Table.read(path, format="ascii.ecsv").as_array()).astype(DELTA_DTYPE)


def write_deltas(deltas: npt.NDArray[np.void], path: Path, meta: dict[str, Any]) -> None:
    """Write a calibration with units, sorted by wavelength."""
    from astropy.table import Table

    table = Table(deltas[np.argsort(deltas["wavelength"], kind="stable")], meta=meta)
    for name in table.colnames:
        if name in _UNITS:
            table[name].unit, table[name].format = _UNITS[name]
    table.meta["creator"] = CREATOR
    with replacing(path, ECSV) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)


def relevant(lines: LineArray, teff: float) -> LineArray:
    """Leave out molecules that a star of `teff` (K) dissociates: ``[hottest]`` of the rules."""
    keep = np.ones(len(lines), dtype=bool)
    for species, hottest in configuration()["hottest"].items():
        keep &= (lines["species"] != species) | (teff < hottest)
    return lines[keep]


def digest(lines: LineArray) -> str:
    """SHA-256 over the content, the same on every machine."""
    parts: Iterable[str] = (
        f"{row['species']}|{row['wavelength']:.5f}|{row['excitation']:.4f}|{row['log_gf']:.4f}|"
        f"{row['gamma_rad']:.3f}|{row['gamma_stark']:.3f}|{row['gamma_vdw']:.3f}\n"
        for row in lines
    )
    return hashlib.sha256("".join(parts).encode()).hexdigest()
