"""The option table: what a line means, which values are possible, how messages read."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_notebook import settings
from xai_notebook.arguments.line import Parsed, parse
from xai_notebook.arguments.options import (
    OPTIONS,
    SETTINGS,
    Defaults,
    Keywords,
    Options,
    help_text,
    resolve,
    signature,
)
from xai_notebook.arguments.values import Choice
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import OptionError
from xai_notebook.generation.api import agenerate, generate
from xai_notebook.pictures.magic_source import magic_cell


@pytest.mark.parametrize(
    ("line", "given", "prompt"),
    [
        ("a red fox", {}, "a red fox"),
        ("-n 2 a fox", {"n": "2"}, "a fox"),
        ("a fox -n 2", {"n": "2"}, "a fox"),
        ("-n 2 a fox -a 16:9", {"n": "2", "aspect_ratio": "16:9"}, "a fox"),
        ("--count=2 a fox", {"n": "2"}, "a fox"),
        ("-n2 a fox", {"n": "2"}, "a fox"),
        ("-n\t2\ta fox", {"n": "2"}, "a fox"),
        ("a fox --export", {"export": ""}, "a fox"),
        ("a fox -e pictures", {"export": "pictures"}, "a fox"),
        ("--export 'my pictures' a fox", {"export": "my pictures"}, "a fox"),
        ('--image "my cat.png" a fox', {"image": ["my cat.png"]}, "a fox"),
        ("-i a.png -i b.png a fox", {"image": ["a.png", "b.png"]}, "a fox"),
        ("-i a.png a fox -i b.png", {"image": ["a.png", "b.png"]}, "a fox"),
        (r"-i C:\cats\x.png a fox", {"image": [r"C:\cats\x.png"]}, "a fox"),
        ("--each", {"each": True}, ""),
        ("--each prompts", {"each": "prompts"}, ""),
        ("--rewrite a fox", {"rewrite": ""}, "a fox"),
        ("--rewrite grok-4 a fox", {"rewrite": "grok-4"}, "a fox"),
        ("--no-metadata -n 2", {"metadata": False, "n": "2"}, ""),
        ("--as foxes a fox", {"as_": "foxes"}, "a fox"),
        ("-n 2 -- -n is written here", {"n": "2"}, "-n is written here"),
        ("-e -- a fox", {"export": ""}, "a fox"),
        ("-- --", {}, "--"),
        ("", {}, ""),
        ("   ", {}, ""),
        ("-h", {"help": True}, ""),
    ],
)
def test_a_line_is_options_and_a_prompt(line: str, given: dict[str, object], prompt: str) -> None:
    """Options before, after or before `--`; the rest is the prompt."""
    assert parse(line) == Parsed(given, prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "the fox's den",
        "cat's, dog's and fox's toys",
        '"quoted" words',
        "an open ' quote",
        'and an open " quote',
        r"a \backslash and C:\path\name",
        '{"subject": "fox", "n": [1, 2]}',
        r"$x^2$ and \(y\) and {braces} and {{template}}",
        "50% off! #tag @name ~ & | ; > <",
        "wide   space\tand tab",
        "a well-known fox - a red one",
        "-1 degrees",
        "an em --- dash",
        "דוב in the snow, 雪 and ☃",
    ],
)
def test_a_prompt_on_the_line_keeps_every_character(prompt: str) -> None:
    """Quotes, backslashes, braces and inner spaces come out as they went in."""
    assert parse(f"-n 2 {prompt}") == Parsed({"n": "2"}, prompt)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")) | st.just(" "), max_size=80))
def test_any_prompt_behind_two_dashes_is_kept(prompt: str) -> None:
    """Behind `--`, no text is an option."""
    assert parse(f"-n 2 -- {prompt}").prompt == prompt.strip()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--aspect 16:9 a fox", "Unknown option --aspect. Did you mean --aspect-ratio?"),
        ("a fox --modle x", "Unknown option --modle. Did you mean --model?"),
        ("a fox --ar 16:9", "Unknown option --ar. %xai_image --help lists the options."),
        ("-x a fox", "Unknown option -x."),
        ("--Count 2 a fox", "Unknown option --Count. Did you mean --count?"),
        ("a fox -n", "-n/--count lacks its value."),
        ("--model", "-m/--model lacks its value."),
        ("a fox -n 2 in snow", "-n stands inside the prompt."),
        ("a fox -- in snow", "Put `--` before the prompt."),
        ("--user 'me a fox", "The quote in 'me is not closed."),
    ],
)
def test_a_line_that_cannot_be_right_is_refused(line: str, message: str) -> None:
    """A misspelt option is an error that names the cure, never part of a paid prompt."""
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        parse(line)
    assert "\n" not in str(caught.value)


def test_options_are_not_abbreviated() -> None:
    """`--res` does not mean `--resolution`: a later option may begin the same."""
    with pytest.raises(OptionError, match=r"Unknown option --res\. Did you mean --resolution"):
        parse("--res 2k a fox")


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
        ({"resolution": "8k"}, "'8k' is not one of 1k, 2k."),
        ({"quality": "high"}, "'high' is not one of low, medium."),
        ({"format": "png"}, "'png' is not one of base64, url."),
        ({"timeout": "0"}, "not a possible number of seconds"),
        ({"timeout": "nan"}, "not a possible number of seconds"),
        ({"timeout": "soon"}, "'soon' is not a number of seconds"),
        ({"max_cost": -1}, "not a possible number of US dollars"),
        ({"max_cost": "inf"}, "not a possible number of US dollars"),
        ({"columns": 0}, "--columns: 0 is outside 1 to 12"),
        ({"as_": "1x"}, "'1x' is not a name a variable can have"),
        ({"as_": "class"}, "'class' is not a name a variable can have"),
        ({"user": " "}, "-u/--user: it is empty"),
        ({"colour": "red"}, "Unknown option 'colour'"),
        ({"aspect": "1:1"}, "Did you mean aspect_ratio?"),
        ({"fresh": True, "replay": True}, "--fresh and --replay contradict each other"),
    ],
)
def test_an_impossible_value_is_refused_by_name(given: dict[str, object], message: str) -> None:
    """The message names the option as written on the line, and what it takes."""
    with pytest.raises(OptionError, match=re.escape(message)):
        resolve(given)


def test_values_may_be_text_or_objects() -> None:
    """The magic gives text, `generate()` gives objects: both mean the same."""
    text = resolve({"n": "3", "max_cost": "$0.50", "timeout": "9", "columns": "2"})
    objects = resolve({"n": 3, "max_cost": 0.5, "timeout": 9, "columns": 2})
    assert text == objects
    assert text.max_cost == 0.5


def test_choices_ignore_case_and_space() -> None:
    """`2K` is `2k`."""
    assert resolve({"resolution": " 2K "}).resolution == "2k"


def test_none_is_not_given() -> None:
    """A keyword set to None leaves the default alone."""
    assert resolve({"n": None, "model": None}) == Options()


def test_the_clients_names_are_understood() -> None:
    """`count` and `image_format`, as xAI's SDK and the magic say, are `n` and `format`."""
    options = resolve({"count": 2, "image_format": "url"})
    assert (options.n, options.format) == (2, "url")


def test_defaults_stand_behind_what_is_given() -> None:
    """`%config XaiImage` fills in only what the call leaves open."""
    defaults = {"n": 4, "model": "grok-imagine-image-2.0", "concurrency": 9, "as_": "x"}
    options = resolve({"n": 2}, defaults)
    assert (options.n, options.model[0], options.as_) == (2, "grok-imagine-image-2.0", None)


@pytest.mark.parametrize(
    ("value", "folder"), [(True, ""), ("", ""), ("out", "out"), (False, None), (None, None)]
)
def test_export_is_a_switch_or_a_folder(value: object, folder: str | None) -> None:
    """`export=True` is the notebook's folder; False turns a configured export off."""
    assert resolve({"export": value}).export == folder


def test_export_false_overrules_the_configuration() -> None:
    """A call can decline what `%config XaiImage.export` asks for."""
    assert resolve({"export": False}, {"export": "pictures"}).export is None


def test_one_input_image_needs_no_list() -> None:
    """`image=x` is `image=[x]`."""
    assert resolve({"image": b"x"}).image == (b"x",)


def test_the_help_names_every_option() -> None:
    """Every flag of the table is in the help, in lines that fit a terminal."""
    text = help_text()
    assert all(flag in text for option in OPTIONS for flag in option.flags)
    assert max(map(len, text.splitlines())) <= 100


def test_the_help_lists_what_can_be_chosen() -> None:
    """Nobody has to guess a ratio."""
    text = " ".join(help_text().split())
    for option in OPTIONS:
        if isinstance(option.convert, Choice):
            assert ", ".join(option.choices) in text or "|".join(option.choices) in text


@pytest.mark.parametrize(
    ("ratio", "near"),
    [("16:10", "3:2"), ("21:9", "20:9"), ("16x9", "16:9"), ("0.5", "1:2"), ("1/3", "9:20")],
)
def test_a_wrong_ratio_is_told_the_nearest_one(ratio: str, near: str) -> None:
    """The nearest shape, not the most similar spelling."""
    with pytest.raises(OptionError, match=f"Did you mean {near}[?]"):
        resolve({"aspect_ratio": ratio})


def test_keywords_and_signature_are_the_table() -> None:
    """What type checkers read, what completion shows and the table name the same options."""
    names = [option.name for option in OPTIONS if option.name != "help"]
    assert [*Keywords.__annotations__] == [
        name for name in names if name not in {"dry_run", "batch"}
    ]
    assert [*signature().parameters] == ["prompt", *names]
    assert inspect.signature(generate) == inspect.signature(agenerate) == signature()


def test_the_table_has_the_options_of_the_design() -> None:
    """Flags are the contract: none is lost or renamed unnoticed."""
    flags = {flag for option in OPTIONS for flag in option.flags}
    assert flags >= {
        "-n", "--count", "-m", "--model", "-f", "--format", "-a", "--aspect-ratio", "-r",
        "--resolution", "-q", "--quality", "-i", "--image", "-u", "--user", "--as", "-e",
        "--export", "--columns", "--full", "--each", "--rewrite", "--fresh", "--replay",
        "--max-cost", "--dry-run", "--timeout", "--local", "-h", "--help",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "user"),
    [
        (r"--user=$'a \'quoted\' \"one\"'", "a 'quoted' \"one\""),
        (r"--user=$'two\nlines\t\u2028\\'", "two\nlines\t\u2028\\"),
        ("--user=--image=x.png", "--image=x.png"),
        ("--user=--", "--"),
        ("--user '--image=x.png'", "--image=x.png"),
        ("--user=\"a\"'b'c", "abc"),
        ("--user=it's", "it's"),
    ],
)
def test_every_value_has_a_spelling(line: str, user: str) -> None:
    """Quotes join as in a shell, `$'…'` has escapes, and no value becomes an option."""
    assert parse(line) == Parsed({"user": user}, "")


def test_a_switch_takes_no_value() -> None:
    """`--full=no` is an error, not `--full`."""
    with pytest.raises(OptionError, match="--full is a switch"):
        parse("--full=no")


def test_the_cell_of_an_edit_names_its_images() -> None:
    """Input images stand as the user named them."""
    inputs = (
        InputImage(url="data:,", sha256="0", label="cats[0]"),
        InputImage(url="data:,", sha256="1", label="my cat.png"),
    )
    cell = magic_cell(ImageRequest(prompt="a hat", model=settings.DEFAULT_MODEL, inputs=inputs))
    assert cell == '%%xai_image --image=cats[0] --image="my cat.png"\na hat'


def test_configure_takes_every_row_that_has_a_default() -> None:
    """Type checkers know the same names as `configure()` does."""
    rows = {row.name for row in (*OPTIONS, *SETTINGS) if row.configurable}
    assert set(Defaults.__annotations__) == rows | {"replay"}
