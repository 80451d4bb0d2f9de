"""The filter of a list of files: `size_bytes > 1000 AND NOT public_url = null`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from xai_notebook.server.validation import invalid

__all__ = ["parse_filter"]

Fields: TypeAlias = Mapping[str, Any]
Test: TypeAlias = Callable[[Fields], bool]

_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<text>"[^"]*"|'[^']*') | (?P<sign>!=|>=|<=|[=<>()]) | (?P<word>[\w.:+-]+) )""",
    re.VERBOSE,
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "!=": operator.ne,
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_MOST: Final = 100
"""Tokens: deeper nesting than this is no question about files."""


def parse_filter(text: str, names: Mapping[str, str]) -> Test:
    """Return what tells whether a file's fields pass a filter.

    Args:
        text: The filter.
        names: The fields that there are, by what they may be called.

    Raises:
        Refusal: INVALID_ARGUMENT: it cannot be read.
    """
    tokens = list(_tokens(text))
    if len(tokens) > _MOST:
        raise invalid("The filter is too long.")
    parser = _Parser(tokens, names)
    test = parser.either()
    if parser.left:
        raise invalid(f"The filter cannot be read from {parser.left[0]!r} on.")
    return test


def _tokens(text: str) -> list[str]:
    tokens, at, text = [], 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise invalid(f"The filter cannot be read from {text[at : at + 20]!r} on.")
        tokens.append(match[0].strip())
        at = match.end()
    return tokens


class _Parser:
    """Reads tokens from the left: OR of ANDs of NOTs of comparisons and parentheses."""

    def __init__(self, tokens: list[str], names: Mapping[str, str]) -> None:
        self.left = tokens
        self._names = names

    def either(self) -> Test:
        tests = [self._both()]
        while self._skip("OR"):
            tests.append(self._both())
        return lambda fields: any(test(fields) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._skip("AND"):
            tests.append(self._one())
        return lambda fields: all(test(fields) for test in tests)

    def _one(self) -> Test:
        if self._skip("NOT"):
            test = self._one()
            return lambda fields: not test(fields)
        if self._skip("("):
            test = self.either()
            if not self._skip(")"):
                raise invalid("The filter lacks a closing parenthesis.")
            return test
        return self._comparison()

    def _comparison(self) -> Test:
        if len(self.left) < 3:  # noqa: PLR2004  # a field, an operator, a value
            raise invalid("The filter ends in the middle of a comparison.")
        field, sign, given = self.left[:3]
        del self.left[:3]
        if field not in self._names:
            raise invalid(f"The filter knows no field {field!r}, but {', '.join(self._names)}.")
        if sign not in _COMPARE:
            raise invalid(f"The filter knows no operator {sign!r}, but {' '.join(_COMPARE)}.")
        name, compare, value = self._names[field], _COMPARE[sign], _value(given)

        def test(fields: Fields) -> bool:
            held = fields[name]
            if held is None or value is None:
                return sign in {"=", "!="} and compare(held, value)
            if isinstance(held, (int, float)) != isinstance(value, (int, float)):
                return compare(str(held), str(value))
            return compare(held, value)

        return test

    def _skip(self, token: str) -> bool:
        if self.left and self.left[0].upper() == token:
            del self.left[0]
            return True
        return False


def _value(given: str) -> str | float | None:
    if given[0] in "\"'":
        return given[1:-1]
    if given == "null":
        return None
    try:
        return float(given)
    except ValueError:
        return given
