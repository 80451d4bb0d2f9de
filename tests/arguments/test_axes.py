"""Axes of `--matrix` over options: what can be said, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from xai_notebook.arguments.line import parse
from xai_notebook.arguments.options import resolve
from xai_notebook.errors import OptionError

RATIOS = ("aspect_ratio=1:1,16:9",)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, ()),
        (False, None),
        ("aspect_ratio=1:1,16:9", RATIOS),
        ("--aspect-ratio= 1:1, 16:9", RATIOS),
        ({"aspect_ratio": ["1:1", "16:9"]}, RATIOS),
        ({"aspect-ratio": "1:1,16:9"}, RATIOS),
        (["aspect_ratio=1:1,16:9", "quality=LOW,medium"], (*RATIOS, "quality=low,medium")),
        ({"model": ("a", "b")}, ("model=a,b")),
    ],
)
def test_all_ways_to_say_it(given: Any, expected: Any) -> None:
    """Text as in a cell, dicts and lists as in Python."""
    expected = (expected,) if isinstance(expected, str) else expected
    assert resolve({"matrix": given}).matrix == expected


@pytest.mark.parametrize(
    ("line", "matrix", "prompt"),
    [
        ("--matrix a {red|blue} fox", (), "a {red|blue} fox"),
        ("--matrix aspect_ratio=1:1,16:9 a fox", RATIOS, "a fox"),
        ("--matrix=quality=low,medium --matrix a fox", ("quality=low,medium",), "a fox"),
        ("a fox --matrix quality=low,medium --matrix aspect-ratio=1:1,16:9",
         ("quality=low,medium", *RATIOS), "a fox"),
        ("--matrix quality=low,medium aspect-ratio=1:1,16:9 a fox",
         ("quality=low,medium", *RATIOS), "a fox"),
        ("--matrix quality=low,medium -- x=1 is a formula", ("quality=low,medium",),
         "x=1 is a formula"),
    ],
)  # fmt: skip
def test_on_the_line(line: str, matrix: tuple[str, ...], prompt: str) -> None:
    """A prompt behind the flag stays a prompt."""
    parsed = parse(line)
    assert resolve(parsed.given).matrix == matrix
    assert parsed.prompt == prompt


@pytest.mark.parametrize(
    "given", [True, "aspect_ratio=1:1,16:9", {"model": "a,b", "quality": "low"}]
)
def test_the_cell_asks_for_the_same(given: Any) -> None:
    """What `to_line` writes, `parse` reads."""
    options = resolve({"matrix": given})
    line = options.to_line(resolve({})).removeprefix("%%xai_image")
    assert resolve(parse(line).given) == options


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("aspect=1:1", "'aspect' cannot be compared. Did you mean aspect_ratio?"),
        ("timeout=1,2", "These can: model, aspect_ratio, resolution, quality."),
        ("aspect_ratio=5:4", "5:4.*Did you mean 4:3"),
        ("quality", "'quality' is not an axis; write an option and values: quality=low,medium"),
        ("quality=", "it is empty"),
        (["quality=low", "quality=medium"], "quality stands twice"),
        ({"quality": 3}, "3 is not a list of values"),
    ],
)
def test_what_is_refused(given: Any, says: str) -> None:
    """The message names the nearest, or what there is."""
    with pytest.raises(OptionError, match=says):
        resolve({"matrix": given})
