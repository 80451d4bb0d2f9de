"""Plain data: what a template may read of the user's variables, none of their code being run.

Text, numbers, dates, paths, lists, tuples, sets, dicts, the scalars, columns and rows of NumPy and
pandas, and what other objects store under a public name. Never a module, a function, a class, a
property, or anything that an object would have to be asked for.
"""

from __future__ import annotations

import inspect
import os
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Allowance",
    "DataText",
    "MissingError",
    "NotPlainError",
    "field",
    "is_missing",
    "item",
    "plain",
    "vetted",
]

_MAX_SIZE: Final = 1_000_000
_MAX_DEPTH: Final = 30
_MAX_BITS: Final = 10_000
_TOO_LARGE: Final = "a number is too large"
_DATES: Final = (date, datetime, time, timedelta)
_OTHERS: Final = (float, complex, bool, type(None), timezone, UUID)
_PATHS: Final = (PosixPath, PurePosixPath, PureWindowsPath, WindowsPath)
_ZONES: Final = ("datetime", "zoneinfo", "pytz", "dateutil", "pandas")
_CONTAINERS: Final[tuple[Any, ...]] = (list, tuple, set, frozenset)
_DATE_FIELDS: Final = frozenset(
    {"year", "month", "day", "hour", "minute", "second", "microsecond", "days", "seconds"}
)
_MISSING: Final = object()


class DataText(str):
    """Text that a template read from data: a path or an id, never the name of a variable."""

    __slots__ = ()


class NotPlainError(Exception):
    """What a template names is there, but is not for a template."""


class MissingError(NotPlainError):
    """What a template names is not there."""


class Allowance:
    """How much a template may still read and make: characters and elements."""

    def __init__(self, size: int = _MAX_SIZE) -> None:
        self._left = size

    def spend(self, size: int) -> None:
        """Take `size` from what is left.

        Raises:
            NotPlainError: So much is not left.
        """
        self._left -= abs(size)
        if self._left < 0:
            raise NotPlainError(
                f"the value is too large; {_MAX_SIZE:,} characters or elements are possible"
            )


def is_missing(value: Any) -> bool:
    """Tell whether a plain value stands for no value: None, NaN, or pandas' NA and NaT."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value  # noqa: PLR0124  # NaN
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NA or value is pandas.NaT)


def plain(value: Any, allowance: Allowance, depth: int = 0) -> Any:
    """Return a value as data of built-in types, of dates or of pandas' scalars, copied.

    Raises:
        NotPlainError: It is something else, holds something else, or is too large.
    """
    kind = type(value)
    allowance.spend(1)
    if depth > _MAX_DEPTH:
        raise NotPlainError("a value is nested too deeply")
    scalar = _scalar(value, allowance)
    if scalar is not _MISSING:
        return scalar
    for base in _CONTAINERS:
        if issubclass(kind, base):
            return base(plain(each, allowance, depth + 1) for each in base.__iter__(value))
    if issubclass(kind, dict):
        return {
            plain(key, allowance, depth + 1): plain(each, allowance, depth + 1)
            for key, each in dict.items(value)
        }
    return plain(_listed(value, allowance), allowance, depth + 1)


def _scalar(value: Any, allowance: Allowance) -> Any:
    """Return what holds no other values; `_MISSING`: it is something else."""
    kind, found = type(value), _MISSING
    if issubclass(kind, str):
        allowance.spend(str.__len__(value))
        found = str.__str__(value)
    elif _is_one(kind, _OTHERS) or _is_date(value):
        found = value
    elif _is_one(kind, _PATHS):
        found = _scalar(os.fspath(value), allowance)
    elif issubclass(kind, int):
        found = _bounded(int.__int__(value), allowance)
    elif issubclass(kind, float):
        found = float.__float__(value)
    elif kind is Decimal:
        if value.adjusted() > _MAX_BITS // 3:  # digits that `int` would write out
            raise NotPlainError(_TOO_LARGE)
        found = value
    elif kind is Fraction:
        found = Fraction(*(_bounded(part, allowance) for part in value.as_integer_ratio()))
    return found


def _bounded(number: int, allowance: Allowance) -> int:
    if number.bit_length() > _MAX_BITS:
        raise NotPlainError(_TOO_LARGE)
    allowance.spend(number.bit_length() // 3)
    return number


def _is_one(kind: type, kinds: Iterable[type]) -> bool:
    """Tell whether a class is one of these; `in` would ask its metaclass."""
    return any(kind is each for each in kinds)


def _is_date(value: Any) -> bool:
    """Tell whether a value is a date or time of a known class, whose zone is of one, too."""
    kind = type(value)
    if not _is_one(kind, _DATES) and not (
        (pandas := sys.modules.get("pandas"))
        and _is_one(
            kind,
            (pandas.Timestamp, pandas.Timedelta, pandas.Period, type(pandas.NaT), type(pandas.NA)),
        )
    ):
        return False
    zone = getattr(value, "tzinfo", None)
    return zone is None or type(zone).__module__.partition(".")[0] in _ZONES


def _listed(value: Any, allowance: Allowance) -> Any:
    """Return what NumPy or pandas holds as built-in data.

    Raises:
        NotPlainError: It is of neither, or a whole table.
    """
    if _is_array(value) or _is_of(value, "Series"):
        allowance.spend(value.size)
        return value.tolist()
    numpy = sys.modules.get("numpy")
    kind = type(value)
    if numpy and issubclass(kind, numpy.generic) and getattr(numpy, kind.__name__, None) is kind:
        if issubclass(kind, (numpy.datetime64, numpy.timedelta64)):
            return str(value)
        return value.item()
    raise NotPlainError(_refusal(value))


def _is_of(value: Any, *names: str) -> bool:
    """Tell whether a value is of one of pandas' classes, and of no class made from it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and any(type(value) is getattr(pandas, name) for name in names)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and (type(value) is numpy.ndarray or type(value) is numpy.void)


def _refusal(value: Any) -> str:
    name = type(value).__name__
    if issubclass(type(value), ModuleType):
        name = "module"
    elif issubclass(type(value), type):
        name = "class"
    elif callable(value):
        name = "function"
    return (
        f"a {name} is not for templates. They read text, numbers, dates, lists, dicts and cells of "
        "tables; put what you mean into a variable first"
    )


def vetted(value: Any) -> Any:
    """Return the value of a name or a field, from which fields and items may be read.

    Raises:
        NotPlainError: It is a module, a class or something to call.
    """
    if issubclass(type(value), ModuleType) or callable(value):
        raise NotPlainError(_refusal(value))
    return value


def field(value: Any, name: str) -> Any:
    """Return what a value stores under a name: a dict's key, a column, a field.

    Raises:
        MissingError: Nothing.
        NotPlainError: Something that is computed, or not for templates.
    """
    kind = type(value)
    if name.startswith("_"):
        raise NotPlainError(f"{name!r} is private")
    found = _MISSING
    if issubclass(kind, dict):
        found = dict.get(value, name, _MISSING)
    elif _is_of(value, "DataFrame", "Series"):
        found = _of_table(value, name)
    elif _is_date(value):
        found = getattr(value, name, _MISSING) if name in _DATE_FIELDS else _MISSING
    elif issubclass(kind, tuple):
        names = inspect.getattr_static(kind, "_fields", ())
        found = tuple.__getitem__(value, names.index(name)) if name in names else _MISSING
    elif not issubclass(kind, (str, int, float, list)):
        found = inspect.getattr_static(value, name, _MISSING)
        if type(found) is MemberDescriptorType:  # of __slots__
            found = found.__get__(value)
        elif type(found) is property:
            raise NotPlainError(f"{name!r} would have to be computed; templates only read")
    if found is _MISSING:
        raise MissingError(f"{_noun(kind)} has no field {name!r}")
    return vetted(found)


def _noun(kind: type) -> str:
    return "text" if issubclass(kind, str) else f"a value of type {kind.__name__}"


def _of_table(table: Any, name: str) -> Any:
    series = _is_of(table, "Series")
    if name in (table.index if series else table.columns):
        return table[name]
    return table.name if series and name == "name" else _MISSING


def item(value: Any, key: Any) -> Any:
    """Return what a value holds under an index, a slice, a key or a label.

    Raises:
        MissingError: Nothing.
        NotPlainError: Something that is not for templates.
    """
    kind, found = type(value), _MISSING
    try:
        if issubclass(kind, dict):
            found = dict.get(value, key, _MISSING)  # not [key], which may call __missing__
        elif _is_of(value, "DataFrame", "Series"):
            found = _cell(value, key)
        elif _is_array(value):
            found = value[key]
        elif not isinstance(key, str):
            for base in (str, list, tuple):
                if issubclass(kind, base):
                    found = base.__getitem__(value, key)
    except (LookupError, TypeError) as error:
        raise MissingError(f"{_noun(kind)} has nothing at {key!r}: {error}") from error
    if found is not _MISSING:
        return vetted(found)
    if isinstance(key, str) and not issubclass(kind, dict):
        return field(value, key)
    raise MissingError(f"{_noun(kind)} has nothing at {key!r}")


def _cell(table: Any, key: Any) -> Any:
    """Return by label, else a Series' element by position."""
    series = _is_of(table, "Series")
    if isinstance(key, slice) or (series and isinstance(key, int) and key not in table.index):
        return table.iloc[key]
    return table.loc[key] if series else table[key]
