"""Fill in the `{{ … }}` of prompts and option values that a user types.

Jinja parses each expression, and our evaluator computes its value node by node. The evaluator reads
plain data and calls only methods of strings, floats and dates, and some of Jinja's filters and
tests. Time and the size of results are limited. All other text is literal, including Jinja's
statements and comments.

Jinja's sandbox is not sufficient: it compiles comparisons, `~` and filters to Python that does not
call its hooks. Methods of the user's objects would run, and results could have any size.

Data, such as a row of a table or a server's reply, is never a template. If data becomes part of a
template, `magic_source.escape` quotes it.
"""

from __future__ import annotations

import inspect
import operator
import os
import random
import re
import sys
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from numbers import Number
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from xai_notebook.arguments.options import ALIASES, OPTIONS
from xai_notebook.arguments.values import list_names, nearest
from xai_notebook.errors import OptionError
from xai_notebook.pictures.magic_source import OpenExpressionError, split
from xai_notebook.pictures.picture import is_missing

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

    from xai_notebook.arguments.options import Option


class DataText(str):
    """Text that a template has read from data: a path or an id, never the name of a variable."""

    __slots__ = ()


class RowTemplate(str):
    """The value of an option that reads `row`, and is filled in for each row of a table."""

    __slots__ = ()


class RowFields(dict[str, Any]):
    """The cells of a row by the names of their columns; templates read it as `row`."""


class _TemplateError(Exception):
    """A template cannot be filled. The message has no full stop."""


class _MissingError(_TemplateError):
    """A name, a field or a value is missing; the filter `default` can replace it."""


class _MissingValueError(_MissingError):
    """A value is None, NaN or another missing value, or a blank cell of a table."""


# Texts and options

_OPTIONS: Final = {option.name: option for option in OPTIONS}
_NEEDED: Final = frozenset({"each", "image", "max_cost"})
"""Options that cannot be None: without them, the call would do something else or have no limit."""
_BRACES: Final = re.compile(r"\$?\{[A-Za-z_][\w.]*\}")
_VARIABLE: Final = re.compile(r"\$?\{?[A-Za-z_][\w.]*\}?")


def fill(text: str, names: Mapping[str, Any], where: str = "the prompt") -> str:
    """Return the text with every `{{ expression }}` filled in; other text is not changed.

    `where` names the text in messages.

    Raises:
        OptionError: An expression is invalid, has no value, or does more than read plain data.
    """
    if "{{" not in text:
        return text
    evaluator = _Evaluator(names)
    with _as_option_errors(where):
        return "".join(
            literal if source is None else literal + evaluator.text(source)
            for literal, source in split(text)
        )


def fill_options(given: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a magic's line with every `{{ expression }}` filled in.

    If the value of an option is a single expression, the result keeps its type; a list gives a
    repeatable option several values. None omits the option; for `each`, `image` and `max_cost`, it
    is an error. With `--each TABLE`, values that read `row` become a `RowTemplate`.

    Raises:
        OptionError: See `fill`; or a value has the syntax of variables in other magics.
    """
    has_rows = given.get("each") is not None and not isinstance(given["each"], bool)
    filled: dict[str, Any] = {}
    for name, value in given.items():
        if (row := _OPTIONS.get(ALIASES.get(name, name))) is None:
            filled[name] = value  # refused later
            continue
        typed = value if isinstance(value, list) else [value]
        texts = [part for part in typed if isinstance(part, str)]
        if has_rows and name != "each" and row_columns(texts):
            for part in texts:
                _check_braces(part, row)
            parts = [RowTemplate(part) if isinstance(part, str) else part for part in typed]
            filled[name] = parts if isinstance(value, list) else parts[0]
            continue
        filled |= _fill_option(name, value, names, row)
    return filled


def _fill_option(name: str, value: Any, names: Mapping[str, Any], row: Option) -> dict[str, Any]:
    """Return an option with its value filled in; empty if the value omits the option."""
    typed = value if isinstance(value, list) else [value]
    values = [each for part in typed for each in _fill_value(part, names, row)]
    if not values:
        return {}
    return {name: values if isinstance(value, list) else values[0]}


ROW: Final = "row"
"""The name by which templates read a row of the table."""
ALL_COLUMNS: Final = "*"
"""Stands for all columns, if a template reads `row` as a whole."""


def row_columns(texts: Iterable[str]) -> frozenset[str]:
    """Return the columns of `row` that templates read; empty if they do not read `row`.

    Invalid templates read nothing; `fill` raises the error.
    """
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415  # not at load time

    found: set[str] = set()
    for text in texts:
        if "{{" not in text:
            continue
        try:
            for _, source in split(text):
                if source is not None:
                    found.update(_columns_read(_parse(source)))
        except (OpenExpressionError, TemplateSyntaxError, RecursionError):
            continue
    return frozenset(found)


def _columns_read(node: nodes.Node) -> Iterator[str]:
    kind = type(node).__name__
    if kind == "Name" and getattr(node, "name", "") == ROW:
        yield ALL_COLUMNS
        return
    holder = getattr(node, "node", None)
    if kind == "Call" and getattr(getattr(holder, "node", None), "name", "") == ROW:
        yield ALL_COLUMNS  # a method of a row that is text
    if kind in {"Getattr", "Getitem"} and getattr(holder, "name", "") == ROW:
        if kind == "Getattr":
            yield node.attr  # type: ignore[attr-defined]
            return
        key = node.arg  # type: ignore[attr-defined]
        if isinstance(getattr(key, "value", None), str):
            yield key.value
            return
    for child in node.iter_child_nodes():
        yield from _columns_read(child)


class MissingCellError(OptionError):
    """A template cannot be filled because a cell or a variable that it reads has no value."""


def fill_row(
    prompt: str, options: Mapping[str, Any], row: Any, names: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the prompt and the options for a row of a table.

    Args:
        prompt: The template of the prompt.
        options: Options whose values are a `RowTemplate`, or lists of them.
        row: The cells of the row, or the value of a row without columns.
        names: The user's variables by name.

    Raises:
        MissingCellError: A cell is missing, and the template has no `default`.
        OptionError: See `fill`.
    """
    names = ChainMap({ROW: row}, names)  # type: ignore[arg-type]  # it is only read
    try:
        filled: dict[str, Any] = {}
        for name, value in options.items():
            filled |= _fill_option(name, value, names, _OPTIONS[name])
        return fill(prompt, names), filled
    except OptionError as error:
        if isinstance(error.__cause__, _MissingValueError):
            raise MissingCellError(str(error)) from error.__cause__
        raise


def _fill_value(typed: Any, names: Mapping[str, Any], row: Option) -> list[Any]:
    """Fill in one value of an option; a list gives several values, None gives none."""
    if not isinstance(typed, str):
        return [typed]
    _check_braces(typed, row)
    if "{{" not in typed:
        return [typed]
    with _as_option_errors(row.flag):
        (before, source), *rest = split(typed)
        if source is not None and not before and rest == [("", None)]:
            return _whole_values(source, names, row)
        filled = fill(typed, names, row.flag)
        # Text that starts with an expression is data, not the name of a variable.
        return [_data(filled) if row.variables and typed.startswith("{{") else filled]


def _whole_values(source: str, names: Mapping[str, Any], row: Option) -> list[Any]:
    """Return the values of an option whose value is a single expression."""
    name = source.strip()
    takes_names = row.variables is not None
    if row.name == "image" and _is_object(cell := _row_cell(source, names)):
        return [*cell] if isinstance(cell, (list, tuple)) else [cell]
    try:
        value = _Evaluator(names).value(source)
    except _TemplateError as error:
        if not takes_names or isinstance(error, _MissingError):
            raise
        raise _TemplateError(f"{error}. To name a variable, write {row.flag} {name}") from error
    in_row = isinstance(names.get(ROW), RowFields)  # a blank cell is NaN or None
    if row.name not in _NEEDED and (value is None or (in_row and is_missing(value))):
        return []
    if is_missing(value):
        raise _MissingValueError(f"the value of {name} is missing")
    several = isinstance(value, (list, tuple, set, dict))
    if several and not value and row.name == "image":
        raise _MissingValueError(f"the value of {name} is empty")
    if several and row.name == "image" and not all(isinstance(each, str) for each in value):
        raise _TemplateError(f"only text is filled in. To name a variable, write {row.flag} {name}")
    if several and row.repeatable and not isinstance(value, dict):
        return [_data(each) if takes_names else each for each in value]
    if several and not takes_names:
        kind = type(value).__name__
        raise _TemplateError(f"the value of {name} is a {kind}, but the option takes one value")
    return [_data(value) if takes_names else value]


def _row_cell(source: str, names: Mapping[str, Any]) -> Any:
    """Return the cell that `row.column` or `row` names, unchanged; None for other expressions."""
    node, row = _parse(source), names.get(ROW)
    columns = [*_columns_read(node)]
    if len(columns) != 1 or type(node).__name__ not in {"Name", "Getattr", "Getitem"}:
        return None
    if columns[0] == ALL_COLUMNS:
        return None if isinstance(row, RowFields) else row
    return row.get(columns[0]) if isinstance(row, RowFields) else None


def _is_object(value: Any) -> bool:
    """Tell whether a cell holds an image, an array or another object instead of plain data."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_object, value))
    return not isinstance(value, (str, Number, dict)) and not is_missing(value)


def _data(value: Any) -> Any:
    return DataText(value) if isinstance(value, str) else value


def _check_braces(typed: str, row: Option) -> None:
    """Raise an error for `{name}` and `$name`, the syntax of variables in other magics."""
    if row.name == "name":  # a pattern such as {key}-{n}
        return
    try:
        literal = "".join(text for text, _ in split(typed))
    except OpenExpressionError:
        literal = typed
    if typed[:1] in {"$", "{"} and not typed.startswith("{{"):
        match = _VARIABLE.match(typed)
        shown = match[0] if match else typed[0]
    elif "://" not in literal and (match := _BRACES.search(literal)):
        shown = match[0]
    else:
        return
    name = shown.strip("${}") or "name"
    raise OptionError(
        f"{row.flag}: {shown} is not a variable here. Write {{{{ {name} }}}} for its value, or "
        f"{{{{ '{shown[0]}' }}}}{shown[1:]} for these characters."
    )


@contextmanager
def _as_option_errors(where: str) -> Iterator[None]:
    """Convert every error of a template to an OptionError; messages call the text `where`."""
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415  # takes 20 ms; most prompts do not need it

    try:
        yield
    except OptionError:
        raise
    except (_TemplateError, OpenExpressionError) as error:
        raise OptionError(f"{{{{ … }}}} in {where}: {error}.") from error
    except TemplateSyntaxError as error:
        raise OptionError(
            f"{{{{ … }}}} in {where}: {error.message}. For two literal braces write "
            "{{ '{{' }}."
        ) from error
    except RecursionError as error:
        raise OptionError(f"{{{{ … }}}} in {where}: it is nested too deeply.") from error
    except Exception as error:  # such as 1 / 0
        raise OptionError(f"{{{{ … }}}} in {where}: {type(error).__name__}: {error}.") from error


# Expressions

_TEXT_METHODS: Final = frozenset({
    "capitalize", "casefold", "center", "count", "endswith", "find", "isalnum", "isalpha",
    "isdigit", "islower", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip",
    "partition", "removeprefix", "removesuffix", "replace", "rfind", "rjust", "rpartition",
    "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    "zfill",
})  # fmt: skip
_DATE_METHODS: Final = frozenset({"isoformat", "isoweekday", "strftime", "weekday"})
_WIDTH: Final = re.compile(r"%[^A-Za-z%]*\d")
"""A width in a date format, which could produce text of any size."""
_FILTERS: Final = {
    "abs": 0, "capitalize": 0, "center": 1, "count": 0, "d": 2, "default": 2, "first": 0,
    "float": 1, "int": 2, "join": 1, "last": 0, "length": 0, "list": 0, "lower": 0, "max": 1,
    "min": 1, "random": 0, "replace": 3, "reverse": 0, "round": 2, "sort": 2, "string": 0, "sum": 0,
    "title": 0, "trim": 1, "truncate": 4, "unique": 1, "upper": 0, "wordcount": 0,
}  # fmt: skip
"""Jinja's filters that only read their value, with the maximum number of arguments. For some,
a further argument would name an attribute to read."""
_TESTS: Final = frozenset({
    "boolean", "divisibleby", "eq", "even", "false", "float", "ge", "gt", "in", "integer",
    "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sequence", "string",
    "true", "upper",
})  # fmt: skip
_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "Neg": operator.neg, "Pos": operator.pos, "Not": operator.not_,
}  # fmt: skip
_BINARY: Final = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv,
    "FloorDiv": operator.floordiv, "Mod": operator.mod, "Pow": operator.pow,
}  # fmt: skip
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le,
    "gt": operator.gt, "gteq": operator.ge,
    "in": lambda a, b: a in b, "notin": lambda a, b: a not in b,
}  # fmt: skip


@cache
def _environment() -> Environment:
    from jinja2 import Environment  # noqa: PLC0415  # not at load time

    return Environment(autoescape=False)  # noqa: S701  # nothing is rendered


@lru_cache(maxsize=256)  # a table fills the same templates for each row
def _parse(source: str) -> nodes.Expr:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415  # not at load time
    from jinja2.parser import Parser  # noqa: PLC0415  # not at load time

    if not source.strip():
        raise TemplateSyntaxError("Expected an expression", 1)
    parser = Parser(_environment(), source, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        raise TemplateSyntaxError(f"{parser.stream.current.value!r} is not expected", 1)
    return expression


class _Evaluator:
    """Evaluator for the expressions of one text, which share a size limit.

    A type of node without a `_read_…` method is an error.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._limit = _SizeLimit()

    def value(self, source: str) -> Any:
        """Return the value of an expression, as plain data."""
        return self._value(_parse(source))

    def text(self, source: str) -> str:
        """Return the value of an expression as text for a prompt; refuse lists and dicts."""
        value, name = self.value(source), source.strip()
        if is_missing(value):
            raise _MissingValueError(
                f"the value of {name} is missing. Write {{{{ {name} | default('…') }}}} to give "
                "a replacement"
            )
        if isinstance(value, (list, tuple, set, frozenset)):
            raise _TemplateError(
                f"the value of {name} is a {type(value).__name__}. Write "
                f"{{{{ {name} | join(', ') }}}} or {{{{ {name}[0] }}}}"
            )
        if isinstance(value, dict):
            raise _TemplateError(
                f"the value of {name} is a dict. Write one of its fields: {{{{ {name}.key }}}}"
            )
        return self._as_text(value)

    def _as_text(self, value: Any) -> str:
        text = str(value)
        self._limit.spend(len(text))
        return text

    def _value(self, node: nodes.Node) -> Any:
        return _plain(self._read(node), self._limit)

    def _read(self, node: Any) -> Any:
        """Return the value of a node; it can be a table or an object whose fields are read next."""
        name = type(node).__name__
        if name in _BINARY:
            return self._binary(name, self._value(node.left), self._value(node.right))
        if name in _UNARY:
            return _UNARY[name](self._value(node.node))
        read: Any = getattr(self, f"_read_{name.lower()}", None)
        if read is None:
            raise _TemplateError(f"{name.lower()} cannot be used in a template")
        return read(node)

    def _read_const(self, node: nodes.Const) -> Any:
        return node.value

    def _read_name(self, node: nodes.Name) -> Any:
        if node.name not in self._names:
            if {*self._names} <= {ROW}:
                raise _MissingError(
                    f"{node.name!r} is undefined. Only {ROW} can be read here: put the value into "
                    "the prompt or into a column"
                )
            raise _MissingError(f"{node.name!r} is undefined. Define it in a cell above")
        try:
            return _check_readable(self._names[node.name])
        except _TemplateError as error:
            raise _TemplateError(f"{node.name!r}: {error}") from None

    def _read_getattr(self, node: nodes.Getattr) -> Any:
        return _field(self._read(node.node), node.attr)

    def _read_getitem(self, node: nodes.Getitem) -> Any:
        sliced = type(node.arg).__name__ == "Slice"
        key = self._read(node.arg) if sliced else self._value(node.arg)
        value = self._read(node.node)
        return _item(value, str(key) if type(value) is RowFields else key)

    def _read_slice(self, node: nodes.Slice) -> slice:
        parts = (node.start, node.stop, node.step)
        return slice(*(None if part is None else self._value(part) for part in parts))

    def _read_list(self, node: nodes.List) -> list[Any]:
        return [self._value(each) for each in node.items]

    def _read_tuple(self, node: nodes.Tuple) -> tuple[Any, ...]:
        return tuple(self._value(each) for each in node.items)

    def _read_dict(self, node: nodes.Dict) -> dict[Any, Any]:
        return {self._value(pair.key): self._value(pair.value) for pair in node.items}

    def _binary(self, name: str, left: Any, right: Any) -> Any:
        if name == "Mul":
            for many, times in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(many, (str, list, tuple)):
                    self._limit.spend(len(many) * times)
        if name == "Pow":
            if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
                raise _TemplateError("only numbers have powers")
            if isinstance(left, int) and isinstance(right, int):
                _plain(1 << min(left.bit_length() * abs(right), 1 << 16), self._limit)
        if name == "Mod" and isinstance(left, str):
            raise _TemplateError("% does not format text here. Write {{ name }} in its place")
        return _BINARY[name](left, right)

    def _read_concat(self, node: nodes.Concat) -> str:
        values = [self._value(each) for each in node.nodes]
        if any(map(is_missing, values)):
            raise _MissingValueError("a value that ~ joins is missing")
        return "".join(map(self._as_text, values))

    def _read_and(self, node: nodes.And) -> Any:
        return self._value(node.left) and self._value(node.right)

    def _read_or(self, node: nodes.Or) -> Any:
        return self._value(node.left) or self._value(node.right)

    def _read_condexpr(self, node: nodes.CondExpr) -> Any:
        if self._value(node.test):
            return self._value(node.expr1)
        if node.expr2 is None:
            raise _MissingError("the condition of an `if` without `else` is false")
        return self._value(node.expr2)

    def _read_compare(self, node: nodes.Compare) -> bool:
        left = self._value(node.expr)
        for operand in node.ops:
            right = self._value(operand.expr)
            if not _COMPARE[operand.op](left, right):
                return False
            left = right
        return True

    def _read_call(self, node: nodes.Call) -> Any:
        method: Any = node.node
        if type(method).__name__ != "Getattr":
            raise _TemplateError(
                "it calls a function. Templates call only methods of values, such as "
                "name.upper(). Assign the result to a variable first"
            )
        value, name = self._value(method.node), method.attr
        args, kwargs = self._arguments(node)
        if isinstance(value, str):
            allowed = name in _TEXT_METHODS
            self._spend_ahead(name, value, args, kwargs)
        elif isinstance(value, (date, time)):
            allowed = name in _DATE_METHODS
            if allowed and any(_WIDTH.search(str(each)) for each in (*args, *kwargs.values())):
                raise _TemplateError(
                    f"a format of {name} can only have letters after a %, such as %B"
                )
        else:
            allowed = isinstance(value, float) and name == "is_integer"
        if not allowed:
            raise _TemplateError(f"a template does not call {name} of a {type(value).__name__}")
        return getattr(value, name)(*args, **kwargs)

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        if node.dyn_args or node.dyn_kwargs:
            raise _TemplateError("* and ** cannot be used in a template")
        args = [self._value(each) for each in node.args]
        kwargs = {pair.key: self._value(pair.value) for pair in node.kwargs}
        for each in (*args, *kwargs.values()):
            if isinstance(each, int):
                self._limit.spend(each)  # the integer may be the width of the result
        return args, kwargs

    def _spend_ahead(
        self, name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Count the size of the result of `replace` or `join` before calling it."""
        if name in {"replace", "join"} and kwargs:
            raise _TemplateError(f"{name} takes no keyword arguments here")
        if name == "replace" and len(args) > 1:
            self._limit.spend(str(value).count(str(args[0])) * len(str(args[1])))
        if name == "join" and args:
            self._limit.spend(len(value) * len(args[0]))

    def _read_filter(self, node: nodes.Filter) -> Any:
        from jinja2 import Undefined  # noqa: PLC0415  # not at load time

        name = node.name
        if name not in _FILTERS:
            known = ", ".join(_FILTERS)
            raise _TemplateError(
                f"No filter named {name!r} can be used here. The filters are: {known}"
            )
        args, kwargs = self._arguments(node)
        if len(args) > _FILTERS[name] or kwargs.keys() & {"attribute", "start"}:
            raise _TemplateError(f"{name} takes no attribute or further argument here")
        try:
            value = self._value(node.node)  # type: ignore[arg-type]
            missing = is_missing(value)
        except _MissingError:
            if name not in {"d", "default"}:
                raise
            missing = True
        if missing and name in {"d", "default"}:
            return args[0] if args else kwargs.get("default_value", "")
        if missing:
            raise _MissingValueError(
                f"the value of the filter {name} is missing. Write | default('…') before it"
            )
        if name == "random":
            return random.choice(value)  # noqa: S311  # chooses words
        if name == "join":
            self._spend_ahead(name, args[0] if args else "", [value], kwargs)
        else:
            self._spend_ahead(name, value, args, kwargs)
        result = _environment().call_filter(name, value, args, kwargs)
        if isinstance(result, Undefined):
            raise _MissingError(f"{name} has no result for {value!r}")
        return list(result) if isinstance(result, Iterator) else result

    def _read_test(self, node: nodes.Test) -> bool:
        if node.name in {"defined", "undefined"}:
            try:
                self._read(node.node)
            except _MissingError:
                return node.name == "undefined"
            return node.name == "defined"
        if node.name not in _TESTS:
            raise _TemplateError(f"No test named {node.name!r} can be used here")
        args, kwargs = self._arguments(node)
        return bool(_environment().call_test(node.name, self._value(node.node), args, kwargs))


# Plain data

_MAX_SIZE: Final = 1_000_000
_MAX_DEPTH: Final = 30
_MAX_BITS: Final = 10_000
_TOO_LARGE: Final = "a number is too large"
_DATES: Final = (date, datetime, time, timedelta)
_SCALARS: Final = (float, complex, bool, type(None), timezone, UUID)
_PATHS: Final = (PosixPath, PurePosixPath, PureWindowsPath, WindowsPath)
_ZONES: Final = ("datetime", "zoneinfo", "pytz", "dateutil", "pandas")
"""Packages with safe time zones: the methods of other zones may be the user's code."""
_DATE_FIELDS: Final = frozenset({
    "year", "month", "day", "hour", "minute", "second", "microsecond", "days", "seconds",
})  # fmt: skip
_ABSENT: Final = object()


class _SizeLimit:
    """Number of characters and elements that the expressions of a text may still use."""

    def __init__(self) -> None:
        self._left = _MAX_SIZE

    def spend(self, size: int) -> None:
        """Subtract `size` from the limit; raise an error if nothing is left."""
        self._left -= abs(size)
        if self._left < 0:
            raise _TemplateError(
                f"the value is too large; {_MAX_SIZE:,} characters or elements are possible"
            )


def _plain(value: Any, limit: _SizeLimit, depth: int = 0) -> Any:
    """Copy a value into standard types and pandas' scalars; refuse other values."""
    kind = type(value)
    limit.spend(1)
    if depth > _MAX_DEPTH:
        raise _TemplateError("a value is nested too deeply")
    if (scalar := _plain_scalar(value, limit)) is not _ABSENT:
        return scalar
    if issubclass(kind, dict):
        return {
            _plain(key, limit, depth + 1): _plain(each, limit, depth + 1)
            for key, each in dict.items(value)
        }
    bases: tuple[Any, ...] = (list, tuple, set, frozenset)
    for base in bases:
        if issubclass(kind, base):
            return base(_plain(each, limit, depth + 1) for each in base.__iter__(value))
    return _plain(_unwrap(value, limit), limit, depth + 1)


def _plain_scalar(value: Any, limit: _SizeLimit) -> Any:
    """Return a scalar, with a subclass converted to its base type; `_ABSENT` for other values."""
    kind, scalar = type(value), _ABSENT
    if issubclass(kind, str):
        limit.spend(str.__len__(value))
        scalar = str.__str__(value)
    elif _is_any(kind, _SCALARS) or _is_date(value):
        scalar = value
    elif _is_any(kind, _PATHS):
        scalar = os.fspath(value)
        limit.spend(len(scalar))
    elif issubclass(kind, int):
        scalar = _bounded(int.__int__(value), limit)
    elif issubclass(kind, float):
        scalar = float.__float__(value)
    elif kind is Decimal:
        if value.adjusted() > _MAX_BITS // 3:  # `int` would create that many digits
            raise _TemplateError(_TOO_LARGE)
        scalar = value
    elif kind is Fraction:
        scalar = Fraction(*(_bounded(part, limit) for part in value.as_integer_ratio()))
    return scalar


def _bounded(number: int, limit: _SizeLimit) -> int:
    if number.bit_length() > _MAX_BITS:
        raise _TemplateError(_TOO_LARGE)
    limit.spend(number.bit_length() // 3)
    return number


def _is_any(kind: type, kinds: Iterable[Any]) -> bool:
    """Tell whether a class is one of `kinds`; `in` would call methods of its metaclass."""
    return any(kind is each for each in kinds)


def _is_of(value: Any, package: str, *names: str) -> bool:
    """Tell whether the type of a value is one of a package's classes, not a subclass."""
    module = sys.modules.get(package)
    return _is_any(type(value), (getattr(module, name, None) for name in names))


def _is_date(value: Any) -> bool:
    """Tell whether a value is pandas' NaT or NA, or a date or time with a safe time zone."""
    pandas = sys.modules.get("pandas")
    if not (
        _is_any(type(value), _DATES)
        or _is_of(value, "pandas", "Timestamp", "Timedelta", "Period")
        or (pandas is not None and (value is pandas.NaT or value is pandas.NA))
    ):
        return False
    zone = getattr(value, "tzinfo", None)
    return zone is None or type(zone).__module__.partition(".")[0] in _ZONES


def _unwrap(value: Any, limit: _SizeLimit) -> Any:
    """Return a Series, or an array or a scalar of NumPy, as built-in types; refuse other values."""
    if _is_of(value, "numpy", "ndarray", "void") or _is_of(value, "pandas", "Series"):
        limit.spend(value.size)
        return value.tolist()
    if _is_of(value, "numpy", "datetime64", "timedelta64"):
        return str(value)
    numpy = sys.modules.get("numpy")
    kind = type(value)  # isinstance() would read __class__, which may run code
    if numpy and issubclass(kind, numpy.generic) and _is_of(value, "numpy", kind.__name__):
        return value.item()
    raise _TemplateError(_refusal(value))


def _refusal(value: Any) -> str:
    name = type(value).__name__
    if issubclass(type(value), ModuleType):
        name = "module"
    elif issubclass(type(value), type):
        name = "class"
    elif callable(value):
        name = "function"
    return (
        f"a {name} cannot be used in a template. Templates read text, numbers, dates, lists, dicts "
        "and cells of tables. Assign the value to a variable first"
    )


def _check_readable(value: Any) -> Any:
    """Return the value if its fields may be read; refuse modules, classes and callables."""
    if issubclass(type(value), ModuleType) or callable(value):
        raise _TemplateError(_refusal(value))
    return value


def _field(value: Any, name: str) -> Any:
    """Return a stored field of a value: a dict's value, a column or an attribute."""
    kind, stored = type(value), _ABSENT
    if name.startswith("_"):
        raise _TemplateError(f"{name!r} is private")
    if issubclass(kind, dict):
        stored = dict.get(value, name, _ABSENT)
    elif _is_of(value, "pandas", "DataFrame", "Series"):
        stored = _column(value, name)
    elif _is_date(value):
        stored = getattr(value, name, _ABSENT) if name in _DATE_FIELDS else _ABSENT
    elif issubclass(kind, tuple):
        names = inspect.getattr_static(kind, "_fields", ())
        stored = tuple.__getitem__(value, names.index(name)) if name in names else _ABSENT
    elif not issubclass(kind, (str, int, float, list)):
        stored = inspect.getattr_static(value, name, _ABSENT)
        if type(stored) is MemberDescriptorType:  # a field in __slots__
            stored = stored.__get__(value)
        elif type(stored) is property:
            raise _TemplateError(f"{name!r} is computed by a property, which templates do not call")
    if stored is _ABSENT:
        raise _absent(value, "field", name)
    return _check_readable(stored)


def _absent(value: Any, noun: str, name: Any) -> _MissingError:
    """Return the error for a field or an item that a value does not have."""
    if value is None:
        return _MissingValueError(f"the value from which {name!r} is read is missing")
    if type(value) is RowFields:
        near = nearest(str(name), value)
        has = f"did you mean {near}?" if near else f"it has {list_names([*value])}"
        return _MissingError(f"the row has no column {name!r} ({has})")
    return _MissingError(f"{_noun(type(value))} has no {noun} {name!r}")


def _item(value: Any, key: Any) -> Any:
    """Return the item of a value at an index, a slice, a key or a label."""
    kind, stored = type(value), _ABSENT
    try:
        if issubclass(kind, dict):
            stored = dict.get(value, key, _ABSENT)  # not [key], which may call __missing__
        elif _is_of(value, "pandas", "DataFrame", "Series"):
            stored = _cell(value, key)
        elif _is_of(value, "numpy", "ndarray", "void"):
            stored = value[key]
        elif not isinstance(key, str):
            for base in (str, list, tuple):
                if issubclass(kind, base):
                    stored = base.__getitem__(value, key)
    except (LookupError, TypeError) as error:
        raise _MissingError(f"{_noun(kind)} has no item {key!r}: {error}") from error
    if stored is not _ABSENT:
        return _check_readable(stored)
    if isinstance(key, str) and not issubclass(kind, dict):
        return _field(value, key)
    raise _absent(value, "item", key)


def _column(table: Any, name: str) -> Any:
    series = _is_of(table, "pandas", "Series")
    if name in (table.index if series else table.columns):
        return table[name]
    return table.name if series and name == "name" else _ABSENT


def _noun(kind: type) -> str:
    return "text" if issubclass(kind, str) else f"a value of type {kind.__name__}"


def _cell(table: Any, key: Any) -> Any:
    """Return the item with a label; slices, and integers that are not labels, are positions."""
    series = _is_of(table, "pandas", "Series")
    if isinstance(key, slice) or (series and isinstance(key, int) and key not in table.index):
        return table.iloc[key]
    return table.loc[key] if series else table[key]
