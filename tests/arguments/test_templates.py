"""Templates: the expressions that are filled in, and those that are refused."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_notebook.arguments.templates import fill
from xai_notebook.errors import OptionError
from xai_notebook.pictures.magic_source import cell_body, escape

FRAME = pd.DataFrame({"prompt": ["a fox", "an owl"], "name": ["Rex", "Ula"], "size": [1.5, 2.5]})


class RaisingText(str):
    """Text whose methods raise."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("ran")

    __format__ = upper = __repr__ = __str__  # type: ignore[assignment]


class _Raising:
    """An object whose methods raise."""

    kept = "in the class"

    def __init__(self) -> None:
        self.light = "dusk"

    @property
    def computed(self) -> str:
        raise AssertionError("ran")

    __class__ = computed  # type: ignore[assignment]  # which isinstance() reads

    def __getattr__(self, name: str) -> str:
        raise AssertionError("ran")

    def __str__(self) -> str:
        raise AssertionError("ran")

    __format__ = __repr__ = __len__ = __iter__ = __str__  # type: ignore[assignment]

    def __getitem__(self, key: Any) -> str:
        raise AssertionError("ran")


@dataclass
class Scene:
    """A dataclass."""

    light: str = "dawn"


@dataclass
class Slotted:
    """A dataclass with slots."""

    __slots__ = ("light",)
    light: str


NAMES: dict[str, Any] = {
    "light": "dawn",
    "many": ["a", "b"],
    "deep": {"key": "value", "list": [1, 2]},
    "n": np.int64(3),
    "half": np.float64(0.5),
    "grid": np.arange(6).reshape(2, 3),
    "day": dt.date(2026, 11, 24),
    "stamp": pd.Timestamp("2026-11-24"),
    "price": Decimal("1.10"),
    "df": FRAME,
    "row": FRAME.iloc[1],
    "each": next(FRAME.itertuples()),
    "point": namedtuple("Point", "x y")(1, 2),  # type: ignore[call-arg, arg-type]  # noqa: PYI024  # users do
    "scene": Scene(),
    "slotted": Slotted("noon"),
    "simple": SimpleNamespace(light="night"),
    "tell": RaisingText("hey"),
    "odd": _Raising(),
    "os": os,
    "pd": pd,
    "open": open,
    "get_ipython": lambda: os,
    "cls": Scene,
    "huge": Decimal("1e999999999"),
    "large": Decimal("1e999998"),
}


@pytest.mark.parametrize(
    "prompt",
    [
        "a {single} brace and {} and }",
        "$x^2$ and \\frac{a}{b}",
        "100 % of {% if it %} and {# this #}",
        "\x01{% if x %}\x01 and \x01{# this #}\x01",
        '{"a": {"b": 1}}',
        "it's 'quoted' and \"quoted\"",
        "<b>bold</b> & more",
        "two\nlines\r\nand\rothers\u2028",
        "# a heading\n## another\n% a comment",
    ],
)
def test_everything_but_double_braces_stays_unchanged(prompt: str) -> None:
    """LaTeX, JSON, quotes, HTML and Jinja's statements are literal."""
    assert fill(prompt, {}) == prompt
    assert fill(prompt + "{{ x }}" + prompt, {"x": "<&>"}) == f"{prompt}<&>{prompt}"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("light | upper", "DAWN"),
        ("many[1]", "b"),
        ("many | join(', ')", "a, b"),
        ("deep.key ~ deep['list'][0]", "value1"),
        ("1 + 1", "2"),
        ("n + 1", "4"),
        ("half * 2", "1.0"),
        ("grid[1][2]", "5"),
        ("day.strftime('%d %B')", "24 November"),
        ("stamp.year", "2026"),
        ("price", "1.10"),
        ("df.prompt[0]", "a fox"),
        ("df['name'][1]", "Ula"),
        ("row.name", "Ula"),
        ("each.prompt", "a fox"),
        ("point.x + point[1]", "3"),
        ("scene.light", "dawn"),
        ("slotted.light", "noon"),
        ("simple.light", "night"),
        ("odd.light", "dusk"),
        ("odd.kept", "in the class"),
        ("tell.upper() + tell", "HEYhey"),
        ("light.replace('d', 'y').title()", "Yawn"),
        ("'it' if n > 2 and light in ['dawn'] else 'no'", "it"),
        ("nobody | default('none')", "none"),
        ("nobody is defined", "False"),
        ("'a-b'.split('-') | last", "b"),
        ("[1, 2, 3][::-1] | first", "3"),
        ("'{{'", "{{"),
        ("'}}'", "}}"),
        ("{'a': {'b': 1}}['a']['b']", "1"),
    ],
)
def test_expressions_are_filled_in(expression: str, text: str) -> None:
    assert fill(f"a {{{{ {expression} }}}} b", NAMES) == f"a {text} b"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a {{ nope }}", "'nope' is undefined. Define it in a cell above."),
        ("a {{ light.colour }}", "text has no field 'colour'"),
        ("a {{ many[5] }}", "has no item 5"),
        ("a {{ deep.nope }}", "has no field 'nope'"),
        ("a {{ light", "For two literal braces write {{ '{{' }}."),
        ("a {{ }}", "Expected an expression"),
        ("a {{ light many }}", "'many' is not expected"),
        ("a {{ light | nope }}", "No filter named 'nope'"),
        ("a {{ 1 / 0 }}", "ZeroDivisionError: division by zero."),
        ("a {{ light + 1 }}", "TypeError"),
        ("a {{ " + "(" * 3000 + ")" * 3000 + " }}", "nested too deeply"),
    ],
)
def test_an_invalid_template_is_refused(prompt: str, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        fill(prompt, NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("os", "'os': a module cannot be used in a template"),
        ("os.environ", "'os': a module"),
        ("pd.io.common.os", "'pd': a module"),
        ("get_ipython", "'get_ipython': a function"),
        ("get_ipython().system('touch x')", "it calls a function"),
        ("open('x', 'w')", "it calls a function"),
        ("cls", "'cls': a class"),
        ("light.__class__", "'__class__' is private"),
        ("light['__class__']", "'__class__' is private"),
        ("light | attr('__class__')", "No filter named 'attr'"),
        ("many | map(attribute='__class__')", "No filter named 'map'"),
        ("many | sort(attribute='__class__')", "takes no attribute or further argument"),
        ("many | join(', ', '__class__')", "takes no attribute or further argument"),
        ("light.upper.__self__", "has no field 'upper'"),
        ("'{0.__class__}'.format(light)", "does not call format"),
        ("'{x.__class__}'.format_map(deep)", "does not call format_map"),
        ("'%s' % light", "% does not format text here"),
        ("'%s' | format(light)", "No filter named 'format'"),
        ("many.append('c')", "does not call append"),
        ("range(3)", "it calls a function"),
        ("cycler", "'cycler' is undefined"),
        ("lipsum()", "it calls a function"),
        ("namespace(a=1)", "it calls a function"),
        ("self._TemplateReference__context", "'self' is undefined"),
        ("light.upper(*many)", "* and ** cannot be used in a template"),
        ("odd", "_Raising cannot be used in a template"),
        ("odd.computed", "is computed by a property"),
        ("odd.nobody", "has no field 'nobody'"),
        ("odd[0]", "has no item 0"),
        ("odd | length", "_Raising cannot be used in a template"),
        ("[odd]", "_Raising cannot be used in a template"),
        ("{'a': odd} ~ ''", "_Raising cannot be used in a template"),
        ("df", "DataFrame cannot be used in a template"),
    ],
)
def test_a_template_runs_no_code(expression: str, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        fill(f"a {{{{ {expression} }}}}", NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "'a' * 10**9", "10**9 * [1]", "'a' | center(10**9)", "'a'.ljust(10**9)",
        "'a'.center(width=10**9)", "9**(9**9)", "1 ** 10**9 * 10**9 ** 999",
        "[[['a'] * 1000] * 1000] * 1000",
        "[['a' * 1000] * 1000] * 1000",
        "('a' * 1000).replace('a', 'b' * 100000)",
        "('a' * 1000) | replace('a', 'b' * 100000)",
        "('a' * 1000) | replace(new='b' * 100000, old='a')",
        "(['a'] * 1000) | join('b' * 100000)",
        "('b' * 100000).join(['a'] * 1000)",
        "1.5 | round(10**9, 'floor')",
        "day.strftime('%1000000000d')",
        "'a' | urlize", "'a' | wordwrap(1)", "many | sum(start=[])", "huge", "huge | int",
        "large | int", "day.strftime(format='%1000000000d')", "9" * 9000,
    ],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_a_template_is_bounded(expression: str) -> None:
    """Values that would fill memory or take minutes are refused before they are made."""
    with pytest.raises(OptionError):
        fill(f"{{{{ {expression} }}}}", NAMES)


def test_all_expressions_of_a_prompt_share_a_limit() -> None:
    with pytest.raises(OptionError, match="too large"):
        fill("{{ 'a' * 9999 }}" * 1000, {})


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(OptionError, match="nested too deeply"):
        fill("{{ endless }}", {"endless": endless})


def test_braces_in_a_value_are_not_filled() -> None:
    assert fill("a {{ x }}", {"x": "{{ y }}"}) == "a {{ y }}"


PIECES = ["{", "{{", "}}", "{%", "'", "\\", "\x00", "\x01", "\r", "\x85", "\u2028", "\u202e",
          "\n", ";", " ", "x"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=12).map("".join))
def test_filling_escaped_text_returns_the_text(text: str) -> None:
    assert fill(escape(text), {}) == text
    assert fill(cell_body(escape(text)), {}) == text


@pytest.mark.parametrize(
    "text", ['a {fox} at 5 %; "it\'s"', "👩\u200d🚀 in ערב", "[moderated] In the sky ...", "a\tb"]
)
def test_ordinary_text_is_not_escaped(text: str) -> None:
    assert cell_body(escape(text)) == text


def test_double_braces_are_escaped_by_an_expression() -> None:
    assert escape("a {{ b }}") == "a {{ '{{' }} b }}"
