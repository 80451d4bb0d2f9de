"""The cell that asks for a picture again: the one way in which options and prompts are written.

Run as IPython runs cells, it asks for exactly what its request asked for.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xai_notebook.client.request import ImageRequest

__all__ = [
    "CHOOSE",
    "DASHES",
    "INVISIBLE",
    "OPTION_OF",
    "OpenExpressionError",
    "cell_body",
    "escape",
    "expression_end",
    "flag",
    "magic_cell",
    "split",
    "words",
]

CHOOSE: Final = "choose:"
"""Begins the name of an image in a cell made from a file, which must not open anything here."""
OPTION_OF: Final = {"image_format": "format", "inputs": "image", "rewrite_model": "rewrite"}
"""What users call those fields of a request that are another option by name."""
_OF_A_PICTURE: Final = (
    "n", "model", "aspect_ratio", "resolution", "quality", "inputs", "image_format",
    "rewrite_model",
)  # fmt: skip
"""What a cell says of a request. It does not publish the picture anew, or name a user for it."""
DASHES: Final = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""The hyphen-minus, and what editors and web pages write in its place."""
INVISIBLE: Final = "\u200b\u200c\u200d\u2060\ufeff"
"""Characters of no width that come with text from web pages."""
_PLAIN: Final = re.compile(r"[\w./:@%+,=~^\[\]()*?!#&|<>\\-]+", re.ASCII)
"""What needs no quotes."""
_LIKE_A_VARIABLE: Final = re.compile(r"^\$|\{+")
_MAX_EXPRESSION: Final = 10_000
_PART: Final = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[\[({\])}]", re.DOTALL)
_UNSPEAKABLE: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
)
"""What cells, fields and clipboards change, lose or show otherwise. Tab and newline are kept."""
# Compiled at first use: `%load_ext` does without.
_SPECIAL: Final = rf"\{{{{2,}}|\{{(?=[{_UNSPEAKABLE}])|[{_UNSPEAKABLE}]"
_CHANGED_BY_IPYTHON: Final = (
    r"(?m)^(?P<blank>[^\S\n])(?=[^\S\n]*$)"
    r"|^(?P<before>[^\S\n]*)(?P<prompt>>(?=>>)|\.(?=\.\.)|I(?=n \[\d)|\[(?=nav\]|ins\])"
    r"|%(?=%?[A-Za-z]))"
)
"""Lines of blanks and those that look like the prompt of a terminal, which IPython takes away, and
those that look like a magic."""
_NO_PROMPT: Final = (
    rf"\A(?P<before>[{INVISIBLE}]*)(?P<prompt>[{DASHES}](?=[{DASHES}]*[A-Za-z])|#(?=[^\S\n]*[|@]))"
)
"""What begins a body with an option, or with a comment for Quarto or Colab."""


class OpenExpressionError(Exception):
    """An expression of a template has no end."""


def magic_cell(request: ImageRequest) -> str:
    """Return the `%%xai_image` cell that would ask for the pictures of `request` again.

    It names what describes a picture and nothing else, because a request can be a stranger's.
    Input images stand as the user named them. A prompt with `{{` is written as a template of it.
    """
    given = ["%%xai_image"]
    defaults = {field.name: field.default for field in fields(request)} | {"model": DEFAULT_MODEL}
    for name in _OF_A_PICTURE:
        value = getattr(request, name)
        if value != defaults[name]:
            values = [image.label for image in value] if name == "inputs" else [value]
            given += words(flag(OPTION_OF.get(name, name)), values)
    prompt = request.original_prompt or request.prompt
    return f"{' '.join(given)}\n{cell_body(escape(prompt))}"


def flag(name: str) -> str:
    """Return the flag of an option that Python calls `name`: `--max-cost` for `max_cost`."""
    return f"-{name}" if len(name) == 1 else f"--{name.strip('_').replace('_', '-')}"


def words(flag: str, values: Iterable[Any]) -> list[str]:
    """Return an option as a magic's line has it, once for each value.

    Args:
        flag: As in `flag`.
        values: Texts, as they are meant, and numbers; `True` is the flag alone.
    """
    link = "=" if flag.startswith("--") else " "
    return [flag if value is True else f"{flag}{link}{_written(value)}" for value in values]


def _written(value: str | float) -> str:
    """Return a value as the end of a word of a magic's line, behind its flag."""
    if not isinstance(value, str):
        return f"{value:g}"
    # Braces and a leading `$` would be read as a variable.
    return _quote(_LIKE_A_VARIABLE.sub(lambda match: _as_template(match[0]), value))


def _quote(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    if value.isprintable() and not set(value) & set("“”‘’„"):  # noqa: RUF001
        for mark in ('"', "'"):
            if mark not in value:
                return f"{mark}{value}{mark}"
    written = value.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if c.isprintable() else _escaped(c) for c in written) + "'"


def _escaped(character: str) -> str:
    return f"\\U{ord(character):08x}" if ord(character) > 0xFFFF else f"\\u{ord(character):04x}"  # noqa: PLR2004


def escape(text: str) -> str:
    """Return the template that says exactly `text`, whatever it holds.

    Two braces become `{{ '{{' }}`, and a character that no cell or field keeps its number.
    """
    return re.sub(_SPECIAL, lambda match: _as_template(match[0]), text)


def cell_body(template: str) -> str:
    """Return a template as the body of a cell, in which IPython changes nothing."""
    try:
        parts = list(split(template))
    except OpenExpressionError:
        return template  # an open {{: the cell is refused just as the template is
    body = "".join(
        re.sub(_CHANGED_BY_IPYTHON, _protected, escape(literal))
        + ("" if source is None else f"{{{{{source}}}}}")
        for literal, source in parts
    )
    body = re.sub(_NO_PROMPT, _protected, body)
    # A magic drops a final semicolon as a habit; here it is part of the prompt.
    return body + ("{{ '' }}" if body.endswith(";") else "")


def _as_template(text: str) -> str:
    written = text.encode("ascii", "backslashreplace").decode()
    if not written.isprintable():
        written = f"\\x{ord(text):02x}"
    return f"{{{{ '{written}' }}}}"


def _protected(match: re.Match[str]) -> str:
    if blank := match.groupdict().get("blank"):
        return _as_template(blank)
    return match["before"] + _as_template(match["prompt"])


def split(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield text and the expression behind it; None behind the last.

    Raises:
        OpenExpressionError: An expression has no end.
    """
    position = 0
    while (opening := text.find("{{", position)) >= 0:
        end = expression_end(text, opening + 2)
        yield text[position:opening], text[opening + 2 : end]
        position = end + 2
    yield text[position:], None


def expression_end(text: str, start: int) -> int:
    """Return where the `}}` of an expression is: not in a string, not of a dict.

    Args:
        text: Of a prompt or a magic's line.
        start: Behind the `{{`.

    Raises:
        OpenExpressionError: The expression has no end.
    """
    depth = 0
    for match in _PART.finditer(text, start, start + _MAX_EXPRESSION):
        if depth <= 0 and text.startswith("}}", match.start()):
            return match.start()
        depth += match[0] in "([{"
        depth -= match[0] in ")]}"
    raise OpenExpressionError("it is not closed. For two literal braces write {{ '{{' }}")
