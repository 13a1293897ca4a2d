"""Columns that a table of results has besides those of every command, as ``fit`` adds them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from astropy.table import QTable


def add_extra(table: QTable, columns: Mapping[str, Any], known: Collection[str]) -> None:
    """Add the columns that are not `known` to a table, with their units and descriptions.

    Parameters
    ----------
    table : QTable
        With the known columns; changed in place.
    columns : mapping
        Name to values; units and descriptions are taken where values have them.
    known : collection of str
        Names that are left out.
    """
    from astropy import units as u
    from astropy.table import Column

    for name, values in columns.items():
        if name in known:
            continue
        unit = getattr(values, "unit", None)
        array = _array(values)
        table[name] = array << u.Unit(unit) if unit is not None else Column(array)
        description = getattr(getattr(values, "info", None), "description", None)
        if description:
            # VOTables break long texts into lines.
            table[name].info.description = " ".join(str(description).split())


def _array(values: Any) -> npt.NDArray[Any]:
    """Return values as an array without mask: unknown numbers NaN, unknown text empty."""
    array = np.ma.asarray(getattr(values, "value", values))
    if array.dtype.kind == "f":
        return np.asarray(array.filled(np.nan))
    if array.dtype.kind in "OSU":
        texts = ["" if text is np.ma.masked or text is None else _text(text) for text in array]
        return _typed(texts) if isinstance(values, tuple) else np.array(texts, dtype=str)
    # A masked whole number or truth value has no other way to be unknown.
    return np.asarray(array.filled(0))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _typed(texts: Sequence[str]) -> npt.NDArray[Any]:
    """Return a column of CSV as what it looks like: whole numbers, numbers, truth or text."""
    if texts and set(texts) <= {"True", "False"}:
        return np.array([text == "True" for text in texts])
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(text) for text in texts])
        except ValueError:
            continue
    return np.array(texts, dtype=str)


def flat(table: QTable, known: Collection[str]) -> dict[str, list[Any]]:
    """Return the columns that are not `known` as lists of single values, arrays as one each.

    Returns
    -------
    dict
        Name to n values; the k-th number of an array is called ``<name>_<k>``, counted from 1.
    """
    columns: dict[str, list[Any]] = {}
    for name in table.colnames:
        if name in known:
            continue
        values = np.asarray(getattr(table[name], "value", table[name]))
        if values.ndim == 1:
            columns[name] = values.tolist()
            continue
        numbers = values.reshape(len(values), int(np.prod(values.shape[1:])))
        for k in range(numbers.shape[1]):
            columns[f"{name}_{k + 1}"] = numbers[:, k].tolist()
    return columns
