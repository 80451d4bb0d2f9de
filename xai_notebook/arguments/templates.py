"""Templates: `{{ … }}` in prompts and option values that the user typed, filled from variables.

An expression of Jinja is parsed by Jinja and evaluated here, node by node. It reads plain data and
calls nothing but methods of text, numbers and dates and a choice of Jinja's filters and tests; its
time and the size of what it makes are bounded. There is no other delimiter: statements, comments
and whatever else means something in other dialects are text.

Text that nobody typed as a template (a row of a table, what a server or a picture says) is not
filled. Where it has to stand in one, `cell.escape` writes it so that filling gives it back.
"""

from __future__ import annotations

import inspect
import operator
import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from xai_notebook.arguments.options import OPTIONS
from xai_notebook.errors import OptionError
from xai_notebook.pictures.magic_source import OpenExpressionError, split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jinja2 import Environment, nodes

    from xai_notebook.arguments.options import Option

__all__ = [
    "Allowance",
    "DataText",
    "MissingError",
    "NotPlainError",
    "field",
    "fill",
    "fill_options",
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


_TEXT_METHODS: Final = frozenset({
    "capitalize", "casefold", "center", "count", "endswith", "find", "isalnum", "isalpha",
    "isdigit", "islower", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip",
    "partition", "removeprefix", "removesuffix", "replace", "rfind", "rjust", "rpartition",
    "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    "zfill",
})  # fmt: skip
_DATE_METHODS: Final = frozenset({"isoformat", "isoweekday", "strftime", "weekday"})
_NEEDED: Final = frozenset({"each", "image", "max_cost"})
"""Options whose value cannot be None: without them, there is no limit, or another request."""
_BRACES: Final = re.compile(r"\$?\{[A-Za-z_][\w.]*\}")
_VARIABLE: Final = re.compile(r"\$?\{?[A-Za-z_][\w.]*\}?")
_WIDE: Final = re.compile(r"%[^A-Za-z%]*\d")
_FILTERS: Final = {
    "abs": 0, "capitalize": 0, "center": 1, "count": 0, "d": 2, "default": 2, "first": 0,
    "float": 1, "int": 2, "join": 1, "last": 0, "length": 0, "list": 0, "lower": 0, "max": 1,
    "min": 1, "random": 0, "replace": 3, "reverse": 0, "round": 2, "sort": 2, "string": 0, "sum": 0,
    "title": 0, "trim": 1, "truncate": 4, "unique": 1, "upper": 0, "wordcount": 0,
}  # fmt: skip
"""Jinja's filters that only look at their value, and how many arguments they may have: one more
would be an attribute to look up."""
_TESTS: Final = frozenset({
    "boolean", "divisibleby", "eq", "even", "false", "float", "ge", "gt", "in", "integer",
    "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sequence", "string",
    "true", "upper",
})  # fmt: skip
_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "Neg": operator.neg,
    "Pos": operator.pos,
    "Not": operator.not_,
}
_BINARY: Final = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv,
    "FloorDiv": operator.floordiv, "Mod": operator.mod, "Pow": operator.pow,
}  # fmt: skip
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le,
    "gt": operator.gt, "gteq": operator.ge,
    "in": lambda a, b: a in b, "notin": lambda a, b: a not in b,
}  # fmt: skip


def fill(text: str, names: Mapping[str, Any], where: str = "the prompt") -> str:
    """Return text with every `{{ expression }}` filled in; all other text as it is.

    Args:
        text: As the user typed it.
        names: Variables by name.
        where: What messages call the text.

    Raises:
        OptionError: An expression is broken, has no value, names what is not there, or asks for
            more than reading plain data.
    """
    if "{{" not in text:
        return text
    evaluator = _Evaluator(names)
    with _telling(where):
        pieces = [
            literal if source is None else literal + evaluator.text(_parse(source), source)
            for literal, source in split(text)
        ]
    return "".join(pieces)


def fill_options(given: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a magic's line with every `{{ expression }}` filled in.

    An expression that is the whole value keeps its type: a list is several values of an option
    that can be repeated. None is an option that was not given, unless the call would then cost
    more or be another one.

    Args:
        given: Values as typed, by the names of the option table.
        names: Variables by name.

    Raises:
        OptionError: As `fill`; or a value looks like a variable and is no template.
    """
    rows = {row.name: row for row in OPTIONS}
    filled: dict[str, Any] = {}
    for name, value in given.items():
        row = rows[name]
        typed = value if isinstance(value, list) else [value]
        values = [one for each in typed for one in _values(each, names, row)]
        if values:
            filled[name] = values if isinstance(value, list) else values[0]
    return filled


def _values(typed: Any, names: Mapping[str, Any], row: Option) -> list[Any]:
    """Return the values that one value as typed stands for; none: it is None."""
    if not isinstance(typed, str):
        return [typed]
    _check_braces(typed, row)
    if "{{" not in typed:
        return [typed]
    with _telling(row.flag):
        (before, source), *rest = split(typed)
        if source is not None and not before and rest == [("", None)]:
            values = _whole_values(source, names, row)
        else:
            # A name that begins with data is data.
            is_data = row.variables is not None and typed.startswith("{{")
            filled = fill(typed, names, row.flag)
            values = [_data(filled) if is_data else filled]
    return values


def _whole_values(source: str, names: Mapping[str, Any], row: Option) -> list[Any]:
    """Return the values of an expression that is all of an option's value.

    Raises:
        NotPlainError: The option takes no such value.
    """
    name = source.strip()
    reads_names = row.variables is not None
    try:
        value = _Evaluator(names).value(_parse(source))
    except NotPlainError as error:
        if not reads_names or isinstance(error, MissingError):
            raise
        raise NotPlainError(f"{error}. To name a variable, write {row.flag} {name}") from error
    if value is None and row.name not in _NEEDED:
        return []
    if is_missing(value):
        raise MissingError(f"the value of {name} is missing")
    several = isinstance(value, (list, tuple, set, dict))
    if several and row.name == "image" and not all(isinstance(one, str) for one in value):
        raise NotPlainError(f"only text is filled in. To name a variable, write {row.flag} {name}")
    if several and row.repeatable and not isinstance(value, dict):
        return [_data(one) if reads_names else one for one in value]
    if several and not reads_names:
        kind = type(value).__name__
        raise NotPlainError(f"the value of {name} is a {kind}, and one value fits")
    return [_data(value) if reads_names else value]


def _data(value: Any) -> Any:
    return DataText(value) if isinstance(value, str) else value


def _check_braces(typed: str, row: Option) -> None:
    """Refuse `{name}` and `$name`, with which other magics name variables."""
    literal = "".join(text for text, _ in _split(typed))
    if typed[:1] in {"$", "{"} and not typed.startswith("{{"):
        match = _VARIABLE.match(typed)
        shown = match[0] if match else typed[0]
    elif "://" not in literal and (match := _BRACES.search(literal)):
        shown = match[0]
    else:
        return
    name = shown.strip("${}") or "name"
    raise OptionError(
        f"{row.flag}: {shown} is no variable here. Write {{{{ {name} }}}} for its value, or "
        f"{{{{ '{shown[0]}' }}}}{shown[1:]} for these characters."
    )


def _split(text: str) -> list[tuple[str, str | None]]:
    try:
        return list(split(text))
    except OpenExpressionError:
        return [(text, None)]


@contextmanager
def _telling(where: str) -> Iterator[None]:
    """Turn errors of templates into the user's.

    Args:
        where: What messages call the text.
    """
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415  # 20 ms that most prompts do not need

    try:
        yield
    except (NotPlainError, OpenExpressionError) as error:
        raise OptionError(f"{{{{ … }}}} in {where}: {error}.") from error
    except TemplateSyntaxError as error:
        raise OptionError(
            f"{{{{ … }}}} in {where}: {error.message}. For two literal braces write "
            "{{ '{{' }}."
        ) from error
    except RecursionError as error:
        raise OptionError(f"{{{{ … }}}} in {where}: it is nested too deeply.") from error
    except OptionError:
        raise
    except Exception as error:  # 1 / 0 and the like
        raise OptionError(f"{{{{ … }}}} in {where}: {type(error).__name__}: {error}.") from error


@cache
def _environment() -> Environment:
    from jinja2 import Environment  # noqa: PLC0415  # see fill

    return Environment(autoescape=False)  # noqa: S701  # nothing is rendered with it


def _parse(source: str) -> nodes.Expr:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415
    from jinja2.parser import Parser  # noqa: PLC0415

    if not source.strip():
        raise TemplateSyntaxError("Expected an expression", 1)
    parser = Parser(_environment(), source, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        raise TemplateSyntaxError(f"{parser.stream.current.value!r} is not expected", 1)
    return expression


class _Evaluator:
    """Evaluates the expressions of one text. A node without a method of its name is refused."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._allowance = Allowance()

    def text(self, node: nodes.Node, source: str) -> str:
        """Return an expression's value as text.

        Raises:
            NotPlainError: The value has no text that a prompt could mean.
        """
        value = self.value(node)
        name = source.strip()
        if is_missing(value):
            raise MissingError(
                f"the value of {name} is missing. Write {{{{ {name} | default('…') }}}} for what "
                "stands in its place"
            )
        if isinstance(value, (list, tuple, set, frozenset)):
            raise NotPlainError(
                f"the value of {name} is a {type(value).__name__}. Write "
                f"{{{{ {name} | join(', ') }}}} or {{{{ {name}[0] }}}}"
            )
        if isinstance(value, dict):
            raise NotPlainError(
                f"the value of {name} is a dict. Write one of its fields: {{{{ {name}.key }}}}"
            )
        return self._as_text(value)

    def value(self, node: nodes.Node) -> Any:
        """Return the value of an expression, plain and bounded."""
        return plain(self._read(node), self._allowance)

    def _read(self, node: Any) -> Any:
        """Return the value of an expression, which may be a whole table to take a cell from."""
        name = type(node).__name__
        if name in _BINARY:
            return self._binary(name, node)
        if name in _UNARY:
            return _UNARY[name](self.value(node.node))
        method: Any = getattr(self, f"_read_{name.lower()}", None)
        if method is None:
            raise NotPlainError(f"{name.lower()} is not for templates")
        return method(node)

    def _as_text(self, value: Any) -> str:
        text = str(value)
        self._allowance.spend(len(text))
        return text

    # What is read

    def _read_const(self, node: nodes.Const) -> Any:
        return node.value

    def _read_name(self, node: nodes.Name) -> Any:
        if node.name not in self._names:
            raise MissingError(f"{node.name!r} is undefined. Define it in a cell above")
        try:
            return vetted(self._names[node.name])
        except NotPlainError as error:
            raise NotPlainError(f"{node.name!r}: {error}") from None

    def _read_getattr(self, node: nodes.Getattr) -> Any:
        return field(self._read(node.node), node.attr)

    def _read_getitem(self, node: nodes.Getitem) -> Any:
        return item(self._read(node.node), self._key(node.arg))

    def _key(self, node: nodes.Node) -> Any:
        if type(node).__name__ != "Slice":
            return self.value(node)
        parts = (node.start, node.stop, node.step)  # type: ignore[attr-defined]
        return slice(*(None if part is None else self.value(part) for part in parts))

    def _read_list(self, node: nodes.List) -> list[Any]:
        return [self.value(each) for each in node.items]

    def _read_tuple(self, node: nodes.Tuple) -> tuple[Any, ...]:
        return tuple(self.value(each) for each in node.items)

    def _read_dict(self, node: nodes.Dict) -> dict[Any, Any]:
        return {self.value(pair.key): self.value(pair.value) for pair in node.items}

    # What is made of it

    def _binary(self, name: str, node: Any) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if name == "Mul":
            for many, times in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(many, (str, list, tuple)):
                    self._allowance.spend(len(many) * times)
        if name == "Pow":
            if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
                raise NotPlainError("only numbers have powers")
            if isinstance(left, int) and isinstance(right, int):
                plain(1 << min(left.bit_length() * abs(right), 1 << 16), self._allowance)
        if name == "Mod" and isinstance(left, str):
            raise NotPlainError("% does not format text here; write {{ name }} where it belongs")
        return _BINARY[name](left, right)

    def _read_concat(self, node: nodes.Concat) -> str:
        return "".join(self._as_text(self.value(each)) for each in node.nodes)

    def _read_and(self, node: nodes.And) -> Any:
        return self.value(node.left) and self.value(node.right)

    def _read_or(self, node: nodes.Or) -> Any:
        return self.value(node.left) or self.value(node.right)

    def _read_condexpr(self, node: nodes.CondExpr) -> Any:
        if self.value(node.test):
            return self.value(node.expr1)
        if node.expr2 is None:
            raise MissingError("there is an `if` without `else`, and it is not so")
        return self.value(node.expr2)

    def _read_compare(self, node: nodes.Compare) -> bool:
        left = self.value(node.expr)
        for operand in node.ops:
            right = self.value(operand.expr)
            if not _COMPARE[operand.op](left, right):
                return False
            left = right
        return True

    # What is called

    def _read_call(self, node: nodes.Call) -> Any:
        called: Any = node.node
        if type(called).__name__ != "Getattr":
            raise NotPlainError(
                "it calls a function. Templates call nothing but methods of text, such as "
                "name.upper(); put the result into a variable first"
            )
        value, name = self.value(called.node), called.attr
        args, kwargs = self._arguments(node)
        if isinstance(value, str):
            allowed = name in _TEXT_METHODS
            self._foresee(name, value, args, kwargs)
        elif isinstance(value, (date, time)):
            allowed = name in _DATE_METHODS
            if allowed and any(_WIDE.search(str(each)) for each in (*args, *kwargs.values())):
                raise NotPlainError(f"{name} takes letters only, such as %B")
        else:
            allowed = isinstance(value, float) and name == "is_integer"
        if not allowed:
            raise NotPlainError(f"a template does not call {name} of a {type(value).__name__}")
        return getattr(value, name)(*args, **kwargs)

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        if node.dyn_args or node.dyn_kwargs:
            raise NotPlainError("* and ** are not for templates")
        args = [self.value(each) for each in node.args]
        kwargs = {pair.key: self.value(pair.value) for pair in node.kwargs}
        for each in (*args, *kwargs.values()):
            if isinstance(each, int):
                self._allowance.spend(each)  # a width is as much text
        return args, kwargs

    def _foresee(
        self, name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Spend what replacing or joining will make before it is made."""
        if name not in {"replace", "join"}:
            return
        if kwargs:
            raise NotPlainError(f"{name} takes no names of arguments here")
        if name == "replace" and len(args) > 1:
            self._allowance.spend(str(value).count(str(args[0])) * len(str(args[1])))
        if name == "join" and args:
            self._allowance.spend(len(value) * len(args[0]))

    def _read_filter(self, node: nodes.Filter) -> Any:
        from jinja2 import Undefined  # noqa: PLC0415

        name = node.name
        if name not in _FILTERS:
            known = ", ".join(_FILTERS)
            raise NotPlainError(f"No filter named {name!r} is for templates. There are: {known}")
        args, kwargs = self._arguments(node)
        if len(args) > _FILTERS[name] or kwargs.keys() & {"attribute", "start"}:
            raise NotPlainError(f"{name} looks at no attributes here")
        try:
            value = self.value(node.node)  # type: ignore[arg-type]
            missing = is_missing(value)
        except MissingError:
            if name not in {"d", "default"}:
                raise
            missing = True
        if missing and name in {"d", "default"}:
            return args[0] if args else kwargs.get("default_value", "")
        if name == "random":
            return random.choice(value)  # noqa: S311  # a choice of words
        if name == "join":
            self._foresee(name, args[0] if args else "", [value], kwargs)
        else:
            self._foresee(name, value, args, kwargs)
        made = _environment().call_filter(name, value, args, kwargs)
        if isinstance(made, Undefined):
            raise MissingError(f"{name} finds nothing in {value!r}")
        # Some of them return iterators over what they were given.
        return list(made) if isinstance(made, Iterator) else made

    def _read_test(self, node: nodes.Test) -> bool:
        if node.name in {"defined", "undefined"}:
            try:
                self._read(node.node)
            except MissingError:
                return node.name == "undefined"
            return node.name == "defined"
        if node.name not in _TESTS:
            raise NotPlainError(f"No test named {node.name!r} is for templates")
        args, kwargs = self._arguments(node)
        return bool(_environment().call_test(node.name, self.value(node.node), args, kwargs))
