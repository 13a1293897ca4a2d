"""Configurations: frozen dataclasses made from TOML that refuse what they do not know.

::

    @dataclass(frozen=True)
    class Recipe:
        steps: int
        rate: float = 1e-3

    recipe = from_toml(Recipe, "recipe.toml")

Types that may be used: bool, int, float, str, Path, Literal, Enum, ``X | None``, ``tuple[X, ...]``,
``tuple[X, Y]``, ``dict[str, X]`` and other dataclasses, which are tables in the file. A whole
number is a float too; nothing else is converted. What a type cannot say (a range), the dataclass
checks in ``__post_init__`` with a ``ValueError``.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harpsstar.errors import ConfigError, HarpsstarError

T = TypeVar("T")


def from_toml(kind: type[T], path: str | Path) -> T:
    """Read a configuration from a TOML file.

    Parameters
    ----------
    kind : type
        A dataclass.
    path : str or Path
        The file.

    Raises
    ------
    ConfigError
        No such file, not TOML, an unknown or missing key, a value of the wrong type or range.
    """
    try:
        mapping = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", expected="a TOML file", path=path) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", path=path) from error
    return from_mapping(kind, mapping, path=path)


def from_mapping(kind: type[T], mapping: Mapping[str, Any], *, path: str | Path | None = None) -> T:
    """Make a configuration of nested mappings, as :mod:`tomllib` returns them.

    Parameters
    ----------
    kind : type
        A dataclass.
    mapping : mapping
        Values by key.
    path : str or Path, optional
        Where the mapping comes from, for messages.

    Raises
    ------
    ConfigError
        An unknown or missing key, a value of the wrong type or range.
    """
    try:
        return typing.cast(T, _table(mapping, kind, ""))
    except ConfigError as error:
        raise ConfigError(error.found, expected=error.expected, hint=error.hint,
                          path=path) from error


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a configuration as what JSON and TOML hold, without keys that are None.

    ``from_mapping(type(config), to_mapping(config)) == config``.
    """
    return {field.name: _plain(value) for field in dataclasses.fields(config)
            if (value := getattr(config, field.name)) is not None}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _table(value: Any, kind: Any, key: str) -> Any:
    """Return an instance of the dataclass ``kind``; ``key`` is where its table is, for messages."""
    if not isinstance(value, Mapping):
        raise _wrong(value, key, "a table")
    where = f"{key}." if key else ""
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in value:
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {where}{close[0]}?" if close else ""
            raise ConfigError(f"unknown key {where}{name}", hint=hint,
                              expected=f"keys among {', '.join(fields)}")
    for name, field in fields.items():
        if name not in value and _required(field):
            raise ConfigError(f"the key {where}{name} is missing", hint=f"set {where}{name}")
    hints = typing.get_type_hints(kind)
    values = {name: _convert(item, hints[name], f"{where}{name}") for name, item in value.items()}
    try:
        return kind(**values)
    except HarpsstarError:
        raise
    except ValueError as error:
        raise ConfigError(f"{key}: {error}" if key else str(error)) from error


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _convert(value: Any, kind: Any, key: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _table(value, kind, key)
    if origin in _GENERIC:
        return _GENERIC[origin](value, kind, key)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice(value, {member.value: member for member in kind}, key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    # A bool is an int to Python, but not to whoever wrote the file.
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise _wrong(value, key, _NAMES.get(kind, kind.__name__))
    return value


def _union(value: Any, kind: Any, key: str) -> Any:
    problems: list[ConfigError] = []
    for alternative in typing.get_args(kind):
        if alternative is type(None):
            continue
        try:
            return _convert(value, alternative, key)
        except ConfigError as error:
            problems.append(error)
    raise problems[0]


def _sequence(value: Any, kind: Any, key: str) -> tuple[Any, ...]:
    arguments = typing.get_args(kind)
    if not isinstance(value, list | tuple):
        raise _wrong(value, key, "a list")
    if arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(value)
    if len(value) != len(arguments):
        raise _wrong(value, key, f"a list of {len(arguments)} values")
    pairs = enumerate(zip(value, arguments, strict=True))
    return tuple(_convert(item, argument, f"{key}[{i}]") for i, (item, argument) in pairs)


def _mapping(value: Any, kind: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, key, "a table")
    argument = typing.get_args(kind)[1]
    return {name: _convert(item, argument, f"{key}.{name}") for name, item in value.items()}


def _literal(value: Any, kind: Any, key: str) -> Any:
    return _choice(value, {choice: choice for choice in typing.get_args(kind)}, key)


def _choice(value: Any, choices: Mapping[Any, Any], key: str) -> Any:
    for choice, member in choices.items():
        if choice == value and type(choice) is type(value):
            return member
    raise _wrong(value, key, f"one of {', '.join(repr(choice) for choice in choices)}")


def _wrong(value: Any, key: str, expected: str) -> ConfigError:
    return ConfigError(f"{key or 'the configuration'} is {value!r}", expected=expected)


_NAMES: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", Path: "a path",
                          bool: "true or false"}
_GENERIC: dict[Any, Callable[[Any, Any, str], Any]] = {
    types.UnionType: _union,
    typing.Union: _union,
    typing.Literal: _literal,
    tuple: _sequence,
    dict: _mapping,
}
