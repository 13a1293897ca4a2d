"""The results table: one row per input, the same columns from every command and in every format.

A :class:`Row` holds plain numbers in the units of :data:`COLUMNS`. :func:`to_table` makes an
astropy ``QTable`` of rows, :func:`write_table` writes it by the extension of the file name and
:func:`read_table` reads any of the formats back into the same table.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from harpsstar._version import __version__
from harpsstar.errors import HarpsstarError, OutputError, ReadError
from harpsstar.labels import LABELS, NAMES, RV
from harpsstar.outputs import Policy, check_file, check_room, policy, replacing, under
from harpsstar.outputs.kinds import ECSV, TABLE

if TYPE_CHECKING:
    from astropy.table import QTable

Status = Literal["ok", "flagged", "failed"]
Kind = Literal["text", "real", "integer", "matrix"]

_FITS_CARD = "HSMETA"
_VOTABLE_INFO = "harpsstar"
_DTYPE: dict[Kind, Any] = {"text": str, "real": float, "integer": np.int64, "matrix": float}


@dataclass(frozen=True)
class Column:
    """What a column of the results table holds.

    Attributes
    ----------
    name : str
        Name of the column and of the field of :class:`Row`.
    kind : {"text", "real", "integer", "matrix"}
        ``matrix`` is 4 × 4 float64.
    unit : str
        astropy unit string, empty when the column has none.
    ucd : str
        IVOA UCD1+.
    description : str
        One line.
    """

    name: str
    kind: Kind
    unit: str
    ucd: str
    description: str


def _label_columns() -> list[Column]:
    columns = []
    for label in LABELS:
        columns.append(Column(label.name, "real", label.unit, label.ucd, label.description))
        text = f"1-sigma uncertainty of {label.name}: noise and model together"
        ucd = f"stat.error;{label.ucd}"
        columns.append(Column(f"{label.name}_err", "real", label.unit, ucd, text))
    return columns


def _noise_columns() -> list[Column]:
    text = "1-sigma uncertainty of {} from noise alone"
    return [
        Column(f"{label.name}_err_noise", "real", label.unit, f"stat.error;{label.ucd}",
               text.format(label.name))
        for label in LABELS
    ]


#: Every column of a results table, in order.
COLUMNS: tuple[Column, ...] = (
    Column("file", "text", "", "meta.id;meta.file", "Input, as it was named"),
    Column("target", "text", "", "meta.id;src", "Target name from the header"),
    Column("instrument", "text", "", "meta.id;instr", "Spectrograph"),
    Column("product", "text", "", "meta.code.class", "Pipeline product (e2ds, S2D, s1d ...)"),
    Column("bjd", "real", "d", "time.epoch", "Barycentric Julian date of mid-exposure"),
    Column("snr", "real", "", "stat.snr",
           "Signal-to-noise ratio per extracted pixel, median over the eight orders"),
    Column("rv", "real", "km/s", RV.ucd, RV.description),
    Column("rv_err", "real", "km/s", f"stat.error;{RV.ucd}", "1-sigma uncertainty of rv"),
    *_label_columns(),
    Column("covariance", "matrix", "", "stat.covariance",
           "Covariance of teff, logg, m_h, vsini in this order;"
           " units are products of K, dex, dex, km/s"),
    Column("chi2_red", "real", "", "stat.fit.chi2", "Reduced chi-squared of the best model"),
    Column("flags", "integer", "", "meta.code.qual", "Quality flags, one bit each; 0 = none"),
    Column("flag_text", "text", "", "meta.note", "Names of the flags that are set"),
    Column("status", "text", "", "meta.code.status", "ok, flagged or failed"),
    Column("message", "text", "", "meta.note", "Why the input failed, or what else to know"),
    Column("model", "text", "", "meta.id;meta.modelled", "Model that was used"),
    *_noise_columns(),
)

#: Names of the six correlations that stand for the covariance where a format has no arrays.
CORRELATIONS: tuple[str, ...] = tuple(f"corr_{a}_{b}" for a, b in combinations(NAMES, 2))


def _unknown_matrix() -> npt.NDArray[np.float64]:
    return np.full((4, 4), np.nan)


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """What is known about one input: plain numbers, NaN where unknown.

    Units are those of :data:`COLUMNS`: ``bjd`` in days, velocities in km/s, ``teff`` in K, ``logg``
    and ``m_h`` in dex; ``covariance`` is (4, 4) in the order teff, logg, m_h, vsini.
    """

    file: str
    target: str = ""
    instrument: str = ""
    product: str = ""
    bjd: float = math.nan
    snr: float = math.nan
    rv: float = math.nan
    rv_err: float = math.nan
    teff: float = math.nan
    teff_err: float = math.nan
    logg: float = math.nan
    logg_err: float = math.nan
    m_h: float = math.nan
    m_h_err: float = math.nan
    vsini: float = math.nan
    vsini_err: float = math.nan
    covariance: npt.NDArray[np.float64] = field(default_factory=_unknown_matrix)
    chi2_red: float = math.nan
    flags: int = 0
    flag_text: str = ""
    status: Status = "ok"
    message: str = ""
    model: str = ""
    teff_err_noise: float = math.nan
    logg_err_noise: float = math.nan
    m_h_err_noise: float = math.nan
    vsini_err_noise: float = math.nan

    @classmethod
    def failed(cls, file: str | Path, error: BaseException | str, **known: Any) -> Row:
        """Return the row of an input that gave no labels.

        Parameters
        ----------
        file : str or Path
            The input.
        error : Exception or str
            Why; becomes ``message``, without the file's name, which has its own column.
        **known
            Other fields that are known nevertheless (``target``, ``snr``, ``flags`` ...).
        """
        return cls(file=str(file), status="failed", message=_reason(error), **known)


def _reason(error: BaseException | str) -> str:
    if isinstance(error, HarpsstarError):
        expected = f"expected {error.expected}" if error.expected else ""
        return "; ".join(part for part in (error.found, expected, error.hint) if part)
    if isinstance(error, BaseException):
        return f"{type(error).__name__}: {error}"
    return error


def provenance(command: str = "", model_card: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the metadata of a results table: versions, the command and the model's card."""
    versions = {"harpsstar": __version__, "python": platform.python_version()}
    for package in ("numpy", "astropy", "torch"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"versions": versions, "command": command, "model_card": dict(model_card or {})}


def to_table(rows: Iterable[Row], meta: Mapping[str, Any] | None = None) -> QTable:
    """Return rows as a table with units, descriptions and UCDs.

    Parameters
    ----------
    rows : iterable of Row
        May be empty.
    meta : mapping, optional
        Metadata, usually from :func:`provenance`; what JSON cannot hold is turned into text.

    Returns
    -------
    QTable
        The columns of :data:`COLUMNS`; ``covariance`` is (n, 4, 4) without a unit.
    """
    rows = list(rows)
    return _table({c.name: [getattr(row, c.name) for row in rows] for c in COLUMNS}, meta or {})


def write_table(table: QTable, path: str | Path, *, overwrite: bool | None = None) -> Path:
    """Write a results table in the format of the extension; a file is only ever replaced whole.

    Parameters
    ----------
    table : QTable
        From :func:`to_table` or :func:`read_table`.
    path : str or Path
        Ends in .ecsv, .fits, .vot, .xml, .parquet or .csv. CSV has no room for arrays, units and
        metadata: it holds :data:`CORRELATIONS` in place of ``covariance``, and no metadata.
    overwrite : bool, optional
        Whether an existing file may be replaced. By default a table of harpsstar may, and nothing
        else; an input, one of the files that the table's rows were made from, never.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    OutputError
        Unknown extension, missing folder, an existing file that must not be replaced.
    UnwritableError
        No permission, full disk. An existing file is untouched.
    """
    with under(_with_inputs(table)):
        path = check_output(path, overwrite=overwrite)
        with replacing(path, TABLE, overwrite=overwrite) as temporary:
            _FORMATS[path.suffix.lower()].write(table, temporary)
    return path


def _with_inputs(table: QTable) -> Policy:
    """Return the policy of the run, with the files that a table names among its inputs.

    They are looked at only when there is a file that harpsstar did not write.
    """
    rules = policy()

    def found() -> Iterator[str | os.PathLike[str]]:
        yield from rules.found()
        yield from (str(name) for name in table["file"]) if "file" in table.colnames else ()

    return replace(rules, found=found)


def check_table_output(path: Path) -> Path:
    """Return `path` if an ECSV table can probably be written there, before any work is done.

    Raises
    ------
    OutputError
        See :func:`check_output`.
    """
    return check_room(check_file(path, ECSV))


def check_output(path: str | Path, *, overwrite: bool | None = None) -> Path:
    """Return ``path`` if a table can probably be written there, before any work is done.

    Raises
    ------
    OutputError
        Unknown extension, missing folder, a folder in the file's place, pyarrow missing for
        Parquet, or an existing file that must not be replaced, see
        :func:`harpsstar.outputs.check_file`.
    UnwritableError
        No permission, or no room.
    """
    path = check_room(check_file(path, TABLE, overwrite=overwrite))
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise OutputError("Parquet needs pyarrow, which is not installed", path=path,
                          hint='pip install "harpsstar[archive]", or write .ecsv')
    return path


def read_table(path: str | Path) -> QTable:
    """Read a results table written by :func:`write_table`, in any of its formats.

    Parameters
    ----------
    path : str or Path
        The table; its extension says the format.

    Returns
    -------
    QTable
        As :func:`to_table` makes it: unknown numbers NaN, unknown text empty, nothing masked;
        ``meta`` as it was given. From CSV, ``covariance`` is made of errors and correlations.

    Raises
    ------
    ReadError
        Not there, unknown extension, damaged, or not a results table.
    """
    path = Path(path)
    known = ", ".join(_FORMATS)
    if path.suffix.lower() not in _FORMATS:
        raise ReadError(f"unknown extension {path.suffix!r}", expected=f"one of {known}", path=path)
    if not os.path.isfile(path):
        raise ReadError("no such file", expected="a results table", path=path)
    try:
        columns, meta = _FORMATS[path.suffix.lower()].read(path)
    # The readers of five formats share no error of their own for a damaged file.
    except Exception as error:
        raise ReadError(f"cannot be read ({error})", expected="a results table", path=path,
                        hint="write it again with harpsstar predict") from error
    missing = [c.name for c in COLUMNS if c.name not in columns]
    if missing:
        raise ReadError(f"has no column {', '.join(missing)}", path=path,
                        expected="a results table of harpsstar")
    return _table(columns, meta)


def _table(columns: Mapping[str, Any], meta: Mapping[str, Any]) -> QTable:
    from astropy import units as u
    from astropy.table import Column as TableColumn
    from astropy.table import QTable

    table = QTable(meta=_plain(meta))
    for column in COLUMNS:
        values = _values(columns[column.name], column.kind)
        table[column.name] = values << u.Unit(column.unit) if column.unit else TableColumn(values)
        table[column.name].info.description = column.description
        table[column.name].info.meta = {"ucd": column.ucd}
    return table


def _values(values: Any, kind: Kind) -> npt.NDArray[Any]:
    """Return values as an unmasked array of the column's type."""
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled("" if kind == "text" else np.nan if kind != "integer" else 0)
    if kind == "text":
        return np.array([_printable(value) for value in values], dtype=str)
    if kind == "integer":
        return np.array(values, dtype=np.int64)
    array = np.array([np.nan if v is None else v for v in values], dtype=float)
    return array.reshape(-1, 4, 4) if kind == "matrix" else array


def _printable(value: Any) -> str:
    """Return text that every format can hold.

    Control characters and undecoded bytes are escaped; blanks at the ends, which FITS and VOTable
    lose, are taken off.
    """
    text = "" if value is None else str(value).strip()
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _plain(value: Any) -> Any:
    """Return metadata made of what JSON holds: dict, list, str, int, float, bool, None."""
    if isinstance(value, Mapping):
        return {_printable(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        # JSON knows no NaN and no infinity.
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return _printable(value)


@dataclass(frozen=True)
class _Format:
    write: Callable[[QTable, Path], None]
    read: Callable[[Path], tuple[Mapping[str, Any], Mapping[str, Any]]]


def _columns_of(table: Any) -> dict[str, Any]:
    return {name: getattr(table[name], "value", table[name]) for name in table.colnames}


def _write_ecsv(table: QTable, path: Path) -> None:
    if len(table) == 0:
        # astropy cannot read back an array column without rows.
        table = table.copy()
        table.replace_column("covariance", np.zeros(0))
    table.write(path, format="ascii.ecsv", overwrite=True)
    names = f"{COLUMNS[0].name} {COLUMNS[1].name} "
    head, line, rows = path.read_text(encoding="utf-8").partition(f"\n{names}")
    # A file's name that begins with "#" would make its row a comment, were it not quoted.
    rows = re.sub(r"^(#\S*)", r'"\1"', rows, flags=re.MULTILINE)
    path.write_text(head + line + rows, encoding="utf-8", newline="\n")


def _read_ecsv(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from astropy.table import Table

    table = Table.read(path, format="ascii.ecsv")
    return _columns_of(table), table.meta


def _write_fits(table: QTable, path: Path) -> None:
    from astropy.io import fits

    table = table.copy()
    meta, table.meta = dict(table.meta), {}
    for column in _of_kind("text"):
        # FITS text is ASCII: other characters and the backslash itself are escaped.
        escaped = [text.encode("unicode_escape").decode("ascii") for text in table[column.name]]
        table[column.name] = np.array(escaped, dtype=str)
    table.write(path, format="fits", overwrite=True)
    with fits.open(path, mode="update") as hdus:
        header = hdus[1].header
        header["EXTNAME"] = "HARPSSTAR"
        for number, column in enumerate(COLUMNS, start=1):
            header[f"TUCD{number}"] = column.ucd
            header[f"TCOMM{number}"] = column.description
        header[_FITS_CARD] = _card_text(meta)


def _card_text(meta: Mapping[str, Any]) -> str:
    # Quotes, ampersands and blanks have a meaning of their own in long FITS cards.
    text = json.dumps(meta, separators=(",", ":"))
    for character in "'& ":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _read_fits(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from astropy.io import fits
    from astropy.table import Table

    with fits.open(path) as hdus:
        meta = json.loads(hdus[1].header[_FITS_CARD])
        table = Table.read(hdus[1])
    columns = _columns_of(table)
    for column in _of_kind("text"):
        columns[column.name] = [
            str(text).encode("ascii").decode("unicode_escape") for text in table[column.name]
        ]
    return columns, meta


def _write_votable(table: QTable, path: Path) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    votable = from_table(table)
    info = Info(name=_VOTABLE_INFO, value=json.dumps(dict(table.meta)))
    votable.get_first_table().infos.append(info)
    votable.to_xml(str(path))


def _read_votable(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from astropy.io.votable import parse

    element = parse(str(path), verify="ignore").get_first_table()
    meta = next(json.loads(info.value) for info in element.infos if info.name == _VOTABLE_INFO)
    return _columns_of(element.to_table(use_names_over_ids=True)), meta


def _write_parquet(table: QTable, path: Path) -> None:
    table.write(path, format="parquet", overwrite=True)


def _read_parquet(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    # Not by astropy's reader, which needs pandas.
    from astropy.table.meta import get_header_from_yaml
    from pyarrow import parquet

    table = parquet.read_table(path)
    description = table.schema.metadata[b"table_meta_yaml"].decode("utf-8").split("\n")
    meta = get_header_from_yaml(description).get("meta", {})
    # How astropy remembers which columns have units; they are made anew here.
    meta.pop("__serialized_columns__", None)
    return table.to_pydict(), meta


def _write_csv(table: QTable, path: Path) -> None:
    columns: dict[str, Sequence[Any]] = {}
    for column in COLUMNS:
        if column.kind == "matrix":
            columns |= correlations(table[column.name])
        else:
            columns[column.name] = np.asarray(table[column.name]).tolist()
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _read_csv(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        raise ValueError("the last line is cut off")
    names, *lines = csv.reader(text.splitlines(), strict=True)
    columns: dict[str, Any] = dict.fromkeys(names, ())
    if lines:
        columns = dict(zip(names, zip(*lines, strict=True), strict=True))
    columns["covariance"] = _covariance(columns)
    return columns, {}


def correlations(covariance: npt.ArrayLike) -> dict[str, list[float]]:
    """Return the six correlations of (n, 4, 4) covariances by name, NaN where unknown."""
    matrices = np.asarray(covariance, dtype=float).reshape(-1, 4, 4)
    sigma = np.sqrt(np.einsum("nii->ni", matrices))
    with np.errstate(invalid="ignore", divide="ignore"):
        matrices = matrices / (sigma[:, :, None] * sigma[:, None, :])
    pairs = combinations(range(4), 2)
    return {name: matrices[:, i, j].tolist()
            for name, (i, j) in zip(CORRELATIONS, pairs, strict=True)}


def _covariance(columns: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    sigma = np.array([columns[f"{name}_err"] for name in NAMES], dtype=float).T.reshape(-1, 4)
    matrices = np.zeros((len(sigma), 4, 4)) + np.eye(4)
    for name, (i, j) in zip(CORRELATIONS, combinations(range(4), 2), strict=True):
        matrices[:, i, j] = matrices[:, j, i] = np.array(columns[name], dtype=float)
    return matrices * sigma[:, :, None] * sigma[:, None, :]


def _of_kind(kind: Kind) -> list[Column]:
    return [column for column in COLUMNS if column.kind == kind]


_FORMATS: dict[str, _Format] = {
    ".ecsv": _Format(_write_ecsv, _read_ecsv),
    ".fits": _Format(_write_fits, _read_fits),
    ".vot": _Format(_write_votable, _read_votable),
    ".xml": _Format(_write_votable, _read_votable),
    ".parquet": _Format(_write_parquet, _read_parquet),
    ".csv": _Format(_write_csv, _read_csv),
}

#: Extensions that :func:`write_table` knows.
EXTENSIONS: tuple[str, ...] = tuple(_FORMATS)
