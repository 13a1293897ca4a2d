"""Bare numbers out of whatever users hold arrays in, with their masks and in one unit.

Lists, numpy arrays, masked arrays, quantities, masked quantities, and columns of a table with or
without mask and unit all say the same thing here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def numbers(values: Any, unit: Any = None, name: str = "values") -> tuple[FloatArray, Mask]:
    """Return values as plain numbers, and which of them are masked.

    Parameters
    ----------
    values : array, masked array, Quantity, Masked Quantity, Column or MaskedColumn
        Any shape. Values without a unit are taken to be in `unit`.
    unit : unit, optional
        What to convert to. Without it, values are returned in their own unit.
    name : str
        For messages.

    Returns
    -------
    values : ndarray, float64
        NaN where masked, so that no value below a mask can be used by mistake.
    masked : ndarray of bool, same shape

    Raises
    ------
    ConfigError
        A unit that cannot be converted to `unit`, or values that are no numbers.
    """
    own = unit_of(values)
    masked = _mask_of(values)
    try:
        bare = np.array(_data_of(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}", expected="numbers") from error
    if own is not None and unit is not None:
        from astropy import units as u

        try:
            bare = bare * u.Unit(own).to(unit)
        except u.UnitConversionError as error:
            raise ConfigError(f"{name} in {own}", expected=_kind_of(u.Unit(unit))) from error
    masked = np.zeros(bare.shape, dtype=bool) if masked is None else masked
    return np.where(masked, np.nan, bare), masked


def _kind_of(unit: Any) -> str:
    kind = str(unit.physical_type)
    if kind == "dimensionless":
        return "no unit, as the flux has none"
    return f"a unit that can be converted to {unit}" if kind == "unknown" else f"a unit of {kind}"


def unit_of(values: Any) -> Any:
    """Return the unit of values, None where they have none (a column may)."""
    unit = getattr(values, "unit", None)
    return unit if unit is not None and hasattr(unit, "to") else None


def flags(values: Any) -> Mask:
    """Return a mask as an array of bool; what is itself masked is bad, too."""
    masked = _mask_of(values)
    bare = np.array(_data_of(values), dtype=bool)
    return bare if masked is None else bare | masked


def _mask_of(values: Any) -> Mask | None:
    # Not any attribute of that name: a pandas Series has a method "mask".
    if isinstance(values, np.ma.MaskedArray):
        return np.array(np.ma.getmaskarray(values), dtype=bool)
    if hasattr(values, "unmasked"):
        return np.array(np.broadcast_to(values.mask, np.shape(values)), dtype=bool)
    return None


def _data_of(values: Any) -> Any:
    values = getattr(values, "unmasked", values)
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.getdata(values)
    return getattr(values, "value", values)
