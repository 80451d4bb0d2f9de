"""The option table: possible values, defaults, help and the axes of `--matrix`."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from xai_notebook import settings
from xai_notebook.arguments.line import parse
from xai_notebook.arguments.options import (
    OPTIONS,
    SETTINGS,
    Defaults,
    Keywords,
    Options,
    as_keywords,
    help_text,
    resolve,
    signature,
)
from xai_notebook.arguments.values import Choice
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import OptionError
from xai_notebook.generation.api import agenerate, generate, stream
from xai_notebook.pictures.magic_source import magic_cell


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 0}, "-n/--count: 0 is outside 1 to 10"),
        ({"n": "11"}, "-n/--count: 11 is outside 1 to 10"),
        ({"n": "two"}, "'two' is not a whole number"),
        ({"n": 2.5}, "2.5 is not a whole number"),
        ({"n": True}, "True is not a whole number"),
        ({"n": [1]}, "[1] is not a whole number"),
        ({"aspect_ratio": "16x9"}, "Did you mean 16:9?"),
        ({"aspect_ratio": "16:10"}, "Did you mean 3:2?"),
        ({"aspect_ratio": "21:9"}, "Did you mean 20:9?"),
        ({"aspect_ratio": "0.5"}, "Did you mean 1:2?"),
        ({"aspect_ratio": "1/3"}, "Did you mean 9:20?"),
        ({"resolution": "8k"}, "'8k' is not one of 1k, 2k."),
        ({"quality": "high"}, "'high' is not one of low, medium."),
        ({"format": "png"}, "'png' is not one of base64, url."),
        ({"timeout": "0"}, "not a valid number of seconds"),
        ({"timeout": "nan"}, "not a valid number of seconds"),
        ({"timeout": "soon"}, "'soon' is not a number of seconds"),
        ({"max_cost": -1}, "not a valid number of US dollars"),
        ({"max_cost": "inf"}, "not a valid number of US dollars"),
        ({"columns": 0}, "--columns: 0 is outside 1 to 12"),
        ({"as_": "1x"}, "'1x' is not a valid variable name"),
        ({"as_": "class"}, "'class' is not a valid variable name"),
        ({"user": " "}, "-u/--user: the value is empty"),
        ({"colour": "red"}, "Unknown option 'colour'"),
        ({"aspect": "1:1"}, "Did you mean aspect_ratio?"),
        ({"fresh": True, "replay": True}, "--fresh and --replay contradict each other"),
    ],
)
def test_the_error_for_an_invalid_value_names_the_option(
    given: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        resolve(given)


@pytest.mark.parametrize(
    ("option", "value", "converted"),
    [
        ("n", "3", 3),
        ("max_cost", "$0.50", 0.5),
        ("timeout", 9, 9.0),
        ("resolution", " 2K ", "2k"),
        ("image", b"x", (b"x",)),
        ("model", None, (settings.DEFAULT_MODEL,)),
        ("export", True, ""),
        ("export", "", ""),
        ("export", "out", "out"),
        ("export", False, None),
        ("export", None, None),
    ],
)
def test_values_are_converted(option: str, value: object, converted: object) -> None:
    """Values are strings from the magic or objects from `generate()`; None means not given."""
    assert getattr(resolve({option: value}), option) == converted


def test_sdk_option_names_are_aliases() -> None:
    options = resolve({"count": 2, "image_format": "url"})
    assert (options.n, options.format) == (2, "url")


def test_a_call_overrules_the_defaults() -> None:
    defaults = {"n": 4, "model": "m", "concurrency": 9, "as_": "x", "export": "pictures"}
    options = resolve({"n": 2, "export": False}, defaults)
    assert options == Options(n=2, model=("m",))


def test_the_help_lists_every_option_in_at_most_100_columns() -> None:
    text = help_text()
    assert all(flag in text for option in OPTIONS for flag in option.flags)
    assert max(map(len, text.splitlines())) <= 100


def test_the_help_lists_the_choices() -> None:
    text = " ".join(help_text().split())
    for option in OPTIONS:
        if isinstance(option.convert, Choice):
            assert ", ".join(option.choices) in text or "|".join(option.choices) in text


def fields_of(typed: type) -> set[str]:
    """Return the fields of a TypedDict, with those of its bases."""
    return {name for base in typed.__mro__ for name in getattr(base, "__annotations__", ())}


def test_keywords_and_signature_match_the_option_table() -> None:
    names = [option.name for option in OPTIONS if option.name != "help"]
    assert fields_of(Keywords) == {*names} - {"dry_run", "batch"}
    assert [*signature().parameters] == ["prompt", *names]
    both = inspect.signature(generate) == inspect.signature(agenerate)
    assert both
    assert [*inspect.signature(generate).parameters] == ["prompt", *names, "template", "progress"]
    assert [*inspect.signature(stream).parameters] == [
        "prompt", *(name for name in names if name not in {"dry_run", "batch", "redo"}),
        "template", "progress",
    ]  # fmt: skip


def test_flags_are_stable() -> None:
    flags = {flag for option in OPTIONS for flag in option.flags}
    assert flags >= {
        "-n", "--count", "-m", "--model", "-f", "--format", "-a", "--aspect-ratio", "-r",
        "--resolution", "-q", "--quality", "-i", "--image", "-u", "--user", "--as", "-e",
        "--export", "--columns", "--full", "--each", "--rewrite", "--fresh", "--replay",
        "--max-cost", "--dry-run", "--timeout", "--local", "-h", "--help",
    }  # fmt: skip


def test_the_magic_of_an_edit_uses_the_users_names_for_input_images() -> None:
    inputs = (
        InputImage(url="data:,", sha256="0", label="cats[0]"),
        InputImage(url="data:,", sha256="1", label="my cat.png"),
    )
    cell = magic_cell(ImageRequest(prompt="a hat", model=settings.DEFAULT_MODEL, inputs=inputs))
    assert cell == '%%xai_image --image=cats[0] --image="my cat.png"\na hat'


def test_configure_accepts_every_configurable_option() -> None:
    names = {option.name for option in (*OPTIONS, *SETTINGS) if option.configurable}
    assert fields_of(Defaults) == names | {"replay"}


# Axes of --matrix

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
        ({"model": ("a", "b")}, ("model=a,b",)),
    ],
)
def test_axes_are_strings_dicts_or_lists(given: Any, expected: Any) -> None:
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
def test_the_first_word_that_is_not_an_axis_starts_the_prompt(
    line: str, matrix: tuple[str, ...], prompt: str
) -> None:
    parsed = parse(line)
    assert resolve(parsed.given).matrix == matrix
    assert parsed.prompt == prompt


@pytest.mark.parametrize(
    "given", [True, "aspect_ratio=1:1,16:9", {"model": "a,b", "quality": "low"}]
)
def test_to_line_writes_axes_that_parse_reads(given: Any) -> None:
    options = resolve({"matrix": given})
    line = options.to_line(resolve({})).removeprefix("%%xai_image")
    assert resolve(parse(line).given) == options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("aspect=1:1", "'aspect' is not an axis. Did you mean aspect_ratio?"),
        ("timeout=1,2", "The axes are: model, aspect_ratio, resolution, quality."),
        ("aspect_ratio=5:4", "5:4.*Did you mean 4:3"),
        ("quality", "'quality' is not an axis; write an option and values: quality=low,medium"),
        ("quality=", "the value is empty"),
        (["quality=low", "quality=medium"], "quality is given twice"),
        ({"quality": 3}, "3 is not a list of values"),
    ],
)
def test_invalid_axes_are_refused(given: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        resolve({"matrix": given})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("-n/--count: 11 is outside 1 to 10.", "n: 11 is outside 1 to 10."),
        ("--image a.png: No such file. --image takes a path.",
         "image=a.png: No such file. image= takes a path."),
        ("--image @37ab: no picture", "image=@37ab: no picture"),
        ("$0.20 of --max-cost $0.20 is left", "$0.20 of max_cost=$0.20 is left"),
        ("of XaiImage.budget $5/day is left", "of budget=$5/day is left"),
        ("Give --key COLUMN, or omit --batch.", "Give key=COLUMN, or omit batch=True."),
        ("--no-metadata and --fresh", "metadata=False and fresh=True"),
        ('Name it: --each frame["Text"].', 'Name it: each=frame["Text"].'),
        ("--each: the source has no prompts.", "each: the source has no prompts."),
        ("pip install --upgrade, papermill --cwd X, https://x.org/--image, --imagery",
         "pip install --upgrade, papermill --cwd X, https://x.org/--image, --imagery"),
    ],
)  # fmt: skip
def test_options_have_their_names_in_python(message: str, expected: str) -> None:
    assert as_keywords(message) == expected


def test_errors_name_flags_only_where_the_magics_are_loaded(request: pytest.FixtureRequest) -> None:
    for call in (lambda: generate("a fox", n=11), lambda: next(stream("a fox", n=11))):
        with pytest.raises(OptionError, match=r"^n: 11 is outside"):
            call()
    request.getfixturevalue("shell")
    with pytest.raises(OptionError, match=r"^-n/--count: 11 is outside"):
        generate("a fox", n=11)
