"""Parsing of the magic's line into options and a prompt."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_notebook.arguments.line import Parsed, parse
from xai_notebook.errors import OptionError


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
def test_a_line_is_split_into_options_and_prompt(
    line: str, given: dict[str, object], prompt: str
) -> None:
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
    assert parse(f"-n 2 {prompt}") == Parsed({"n": "2"}, prompt)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")) | st.just(" "), max_size=80))
def test_any_prompt_after_two_dashes_is_kept(prompt: str) -> None:
    assert parse(f"-n 2 -- {prompt}").prompt == prompt.strip()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--aspect 16:9 a fox", "Unknown option --aspect. Did you mean --aspect-ratio?"),
        ("a fox --modle x", "Unknown option --modle. Did you mean --model?"),
        ("a fox --ar 16:9", "Unknown option --ar. %xai_image --help lists the options."),
        ("-x a fox", "Unknown option -x."),
        ("--Count 2 a fox", "Unknown option --Count. Did you mean --count?"),
        ("a fox -n", "-n/--count needs a value."),
        ("--model", "-m/--model needs a value."),
        ("a fox -n 2 in snow", "-n is in the middle of the prompt."),
        ("a fox -- in snow", "Put `--` before the prompt."),
        ("--user 'me a fox", "The quote in 'me is not closed."),
        # An abbreviation could become ambiguous when an option is added.
        ("--res 2k a fox", "Unknown option --res. Did you mean --resolution"),
        ("--full=no", "--full is a switch"),
    ],
)
def test_an_invalid_option_is_refused_and_not_sent_as_prompt(line: str, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        parse(line)
    assert "\n" not in str(caught.value)


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
def test_every_value_can_be_quoted(line: str, user: str) -> None:
    """Adjacent quoted parts are concatenated as in a shell; `$'…'` supports escapes."""
    assert parse(line) == Parsed({"user": user}, "")
