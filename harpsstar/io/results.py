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
from harpsstar.errors import HarpsstarError, InputsMissingError, OutputError, ReadError
from harpsstar.formatting import printable
from harpsstar.io.extra import add_extra, flat
from harpsstar.io.model_facts import model_facts
from harpsstar.labels import LABELS, NAMES, RV
from harpsstar.outputs import Policy, check_file, check_room, policy, replacing, under
from harpsstar.outputs.kinds import ECSV, TABLE

if TYPE_CHECKING:
    from astropy.table import QTable
    from pandas import DataFrame

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
        text = f"1-sigma uncertainty of {label.name}: noise and error of the physics"
        ucd = f"stat.error;{label.ucd}"
        columns.append(Column(f"{label.name}_err", "real", label.unit, ucd, text))
    return columns


def _noise_columns() -> list[Column]:
    text = "1-sigma uncertainty of {} from noise alone"
    columns = [
        Column(f"{label.name}_err_noise", "real", label.unit, f"stat.error;{label.ucd}",
               text.format(label.name))
        for label in LABELS
    ]
    matrix = Column("covariance_noise", "matrix", "", "stat.covariance",
                    "Covariance of the labels from noise alone, in the same order and units")
    return [*columns, matrix]


#: Every column of a results table, in order.
COLUMNS: tuple[Column, ...] = (
    Column("file", "text", "", "meta.id;meta.file", "Input file, as it was given"),
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
    Column("chi2_red", "real", "", "stat.fit.chi2", "Reduced chi-squared of the best fit"),
    Column("flags", "integer", "", "meta.code.qual", "Quality flags, one bit each; 0 = none"),
    Column("flag_text", "text", "", "meta.note", "Names of the flags that are set"),
    Column("status", "text", "", "meta.code.status", "ok, flagged or failed"),
    Column("message", "text", "", "meta.note", "Reason of a failure, or remarks"),
    Column("model", "text", "", "meta.id;meta.modelled", "Name of the model used"),
    *_noise_columns(),
)

#: Names of the six correlations that stand for the covariance where a format has no arrays.
CORRELATIONS: tuple[str, ...] = tuple(f"corr_{a}_{b}" for a, b in combinations(NAMES, 2))
#: The same for ``covariance_noise``.
NOISE_CORRELATIONS: tuple[str, ...] = tuple(
    f"corr_noise_{a}_{b}" for a, b in combinations(NAMES, 2)
)
#: For each matrix: the end of the names of its errors, and the names of its correlations.
_MATRICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "covariance": ("_err", CORRELATIONS),
    "covariance_noise": ("_err_noise", NOISE_CORRELATIONS),
}
#: Said of rows of an earlier version.
WITHOUT_NOISE = (
    "made by an earlier version, without covariance_noise: "
    "harpsstar predict --refresh replaces the row"
)


def _unknown_matrix() -> npt.NDArray[np.float64]:
    return np.full((4, 4), np.nan)


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """What is known about one input: plain numbers, NaN where unknown.

    Units are those of :data:`COLUMNS`: ``bjd`` in days, velocities in km/s, ``teff`` in K, ``logg``
    and ``m_h`` in dex; ``covariance`` and ``covariance_noise`` are (4, 4) in the order teff, logg,
    m_h, vsini.
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
    covariance_noise: npt.NDArray[np.float64] = field(default_factory=_unknown_matrix)

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
    """Return the metadata of a results table: versions, the command and what the model is.

    Parameters
    ----------
    command : str
        As the user typed it.
    model_card : mapping, optional
        The card of the model; :func:`harpsstar.io.model_facts.model_facts` of it are kept.
    """
    versions = {"harpsstar": __version__, "python": platform.python_version()}
    for package in ("numpy", "astropy", "torch"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"versions": versions, "command": command, "model_card": model_facts(model_card or {})}


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
        The columns of :data:`COLUMNS`; the two covariances are (n, 4, 4) without a unit.
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
        metadata: it holds :data:`CORRELATIONS` and :data:`NOISE_CORRELATIONS` in place of the
        covariances, and no metadata.
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
        further columns, as ``fit`` adds them, after the others; ``meta`` as it was given, empty
        where another program has written the table again. From CSV, the covariances are made of
        errors and correlations. A table of an earlier version has no ``covariance_noise``: it is
        NaN, and ``message`` says so.

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
    columns = _completed(columns)
    missing = [c.name for c in COLUMNS if c.name not in columns]
    if missing:
        raise ReadError(f"has no column {', '.join(missing)}", path=path,
                        expected="a results table of harpsstar")
    return _table(columns, meta)


def _completed(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add what tables of earlier versions lack, and say so in the rows that have labels."""
    if "covariance_noise" in columns or not {"message", "teff"} <= set(columns):
        return columns
    teff = _values(columns["teff"], "real")
    messages = [
        without_noise(str(message)) if known else message
        for message, known in zip(columns["message"], np.isfinite(teff), strict=True)
    ]
    unknown = np.full((len(teff), 4, 4), np.nan)
    return {**columns, "message": messages, "covariance_noise": unknown}


def without_noise(message: str) -> str:
    """Add to the message of a row with labels that it has no ``covariance_noise``."""
    return "; ".join(part for part in (message, WITHOUT_NOISE) if part)


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
    add_extra(table, columns, {*(c.name for c in COLUMNS), *CORRELATIONS, *NOISE_CORRELATIONS})
    return table


def to_pandas(table: QTable) -> DataFrame:
    """Return a results table as a pandas ``DataFrame``: one number or text in each cell.

    Units are left out (``table[name].unit`` has them), and as a cell has no room for a matrix,
    :data:`CORRELATIONS` take the place of ``covariance``, and :data:`NOISE_CORRELATIONS` that of
    ``covariance_noise``.

    Parameters
    ----------
    table : QTable
        From :func:`harpsstar.predict`, :func:`harpsstar.read_table` or ``FitResult.table``.

    Raises
    ------
    InputsMissingError
        pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputsMissingError("pandas is not installed", hint="pip install pandas") from error
    return pandas.DataFrame(_flat(table))


def _flat(table: QTable) -> dict[str, Sequence[Any]]:
    """Return every column as single values, correlations in place of matrices."""
    columns: dict[str, Sequence[Any]] = {}
    for column in COLUMNS:
        if column.kind == "matrix":
            columns |= correlations(table[column.name], _MATRICES[column.name][1])
        else:
            columns[column.name] = np.asarray(table[column.name]).tolist()
    return columns | flat(table, {c.name for c in COLUMNS})


def _values(values: Any, kind: Kind) -> npt.NDArray[Any]:
    """Return values as an unmasked array of the column's type."""
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled("" if kind == "text" else np.nan if kind != "integer" else 0)
    if kind == "text":
        return np.array([printable(value) for value in values], dtype=str)
    if kind == "integer":
        return np.array(values, dtype=np.int64)
    array = np.array([np.nan if v is None else v for v in values], dtype=float)
    return array.reshape(-1, 4, 4) if kind == "matrix" else array


def _plain(value: Any) -> Any:
    """Return metadata made of what JSON holds: dict, list, str, int, float, bool, None."""
    if isinstance(value, Mapping):
        return {printable(key): _plain(item) for key, item in value.items()}
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
    return printable(value)


@dataclass(frozen=True)
class _Format:
    write: Callable[[QTable, Path], None]
    read: Callable[[Path], tuple[Mapping[str, Any], Mapping[str, Any]]]


def _columns_of(table: Any) -> dict[str, Any]:
    known = {column.name for column in COLUMNS}
    return {name: getattr(table[name], "value", table[name]) if name in known else table[name]
            for name in table.colnames}


def _write_ecsv(table: QTable, path: Path) -> None:
    from astropy.table import Table

    if len(table) == 0:
        # astropy cannot read back an array column without rows.
        table = table.copy()
        for name in [name for name in table.colnames if table[name].ndim > 1]:
            table.replace_column(name, np.zeros(0))
    # Written as quantities, every unit would stand in the header twice.
    Table(table).write(path, format="ascii.ecsv", overwrite=True)
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
    from astropy.table import Table

    # Only what astropy reads from comments alone, the descriptions: units and UCDs have cards.
    bare = Table()
    for name in table.colnames:
        bare[name] = _ascii(getattr(table[name], "value", table[name]))
        bare[name].info.description = table[name].info.description
    bare.write(path, format="fits", overwrite=True)
    ucds = {column.name: column.ucd for column in COLUMNS}
    with fits.open(path, mode="update") as hdus:
        header = hdus[1].header
        header["EXTNAME"] = "HARPSSTAR"
        for number, name in enumerate(table.colnames, start=1):
            if table[name].unit is not None:
                header[f"TUNIT{number}"] = table[name].unit.to_string("fits")
            if name in ucds:
                header[f"TUCD{number}"] = ucds[name]
            header[f"TCOMM{number}"] = table[name].info.description or ""
        header[_FITS_CARD] = _card_text(dict(table.meta))


def _ascii(values: Any) -> npt.NDArray[Any]:
    """Return values as FITS holds them: text in ASCII, others and the backslash itself escaped."""
    array = np.asarray(values)
    if array.dtype.kind != "U":
        return array
    return np.array([text.encode("unicode_escape").decode("ascii") for text in array], dtype=str)


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
        # TOPCAT puts a description of its own before the table.
        found = next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
        meta = _meta_of(found.header.get(_FITS_CARD))
        texts = {number: found.header.get(f"TCOMM{number}")
                 for number in range(1, len(found.columns) + 1)}
        table = Table.read(found)
    for name in [name for name in table.colnames if table[name].dtype.kind in "SU"]:
        # Nothing but harpsstar escapes text; what another program wrote may not be escaped well.
        table[name] = [_unescaped(str(text)) for text in table[name]]
    for number, text in texts.items():
        table[table.colnames[number - 1]].info.description = text
    return _columns_of(table), meta


def _unescaped(text: str) -> str:
    try:
        return text.encode("ascii").decode("unicode_escape")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


def _meta_of(text: Any) -> Mapping[str, Any]:
    """Return metadata written as JSON, empty where another program has lost it."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
    infos = [info.value for info in element.infos if info.name == _VOTABLE_INFO]
    meta = _meta_of(infos[0] if infos else None)
    return _columns_of(element.to_table(use_names_over_ids=True)), meta


def _write_parquet(table: QTable, path: Path) -> None:
    table.write(path, format="parquet", overwrite=True)


def _read_parquet(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    # Not by astropy's reader, which needs pandas.
    from astropy.table import Column
    from astropy.table.meta import get_header_from_yaml
    from pyarrow import parquet

    table = parquet.read_table(path)
    # Without what astropy wrote, as in a table that pandas saved, the columns are enough.
    written = (table.schema.metadata or {}).get(b"table_meta_yaml")
    header = get_header_from_yaml(written.decode("utf-8").split("\n")) if written else {}
    meta = header.get("meta", {})
    # How astropy remembers which columns have units; they are made anew here.
    meta.pop("__serialized_columns__", None)
    about = {item["name"]: item for item in header.get("datatype", [])}
    columns: dict[str, Any] = table.to_pydict()
    for name in set(columns) - {column.name for column in COLUMNS}:
        item = about.get(name, {})
        columns[name] = Column(columns[name], unit=item.get("unit"),
                               description=item.get("description"))  # fmt: skip
    return columns, meta


def _write_csv(table: QTable, path: Path) -> None:
    columns = _flat(table)
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
    for name, (suffix, correlated) in _MATRICES.items():
        if set(correlated) <= set(columns):
            columns[name] = _covariance(columns, suffix, correlated)
    return columns, {}


def correlations(
    covariance: npt.ArrayLike, names: Sequence[str] = CORRELATIONS
) -> dict[str, list[float]]:
    """Return the six correlations of (n, 4, 4) covariances by name, NaN where unknown."""
    matrices = np.asarray(covariance, dtype=float).reshape(-1, 4, 4)
    sigma = np.sqrt(np.einsum("nii->ni", matrices))
    with np.errstate(invalid="ignore", divide="ignore"):
        matrices = matrices / (sigma[:, :, None] * sigma[:, None, :])
    pairs = combinations(range(4), 2)
    return {name: matrices[:, i, j].tolist()
            for name, (i, j) in zip(names, pairs, strict=True)}


def _covariance(
    columns: Mapping[str, Any], suffix: str, names: Sequence[str]
) -> npt.NDArray[np.float64]:
    errors = [columns[f"{name}{suffix}"] for name in NAMES]
    sigma = np.array(errors, dtype=float).T.reshape(-1, 4)
    matrices = np.zeros((len(sigma), 4, 4)) + np.eye(4)
    for name, (i, j) in zip(names, combinations(range(4), 2), strict=True):
        matrices[:, i, j] = matrices[:, j, i] = np.array(columns[name], dtype=float)
    return matrices * sigma[:, :, None] * sigma[:, None, :]


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
