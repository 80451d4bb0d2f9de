"""Create the source of `%%xai_image` cells: quote options and escape prompts; split templates.

When IPython runs the cell of a request, the cell makes exactly that request.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import hide_home
from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xai_notebook.client.request import ImageRequest

CHOOSE: Final = "choose:"
"""Prefix of input images in a cell made from an untrusted file: it must not open local files."""
OPTION_OF: Final = {"image_format": "format", "inputs": "image", "rewrite_model": "rewrite"}
"""Names of options by fields of a request, where they differ."""
_PICTURE_FIELDS: Final = (
    "n", "model", "aspect_ratio", "resolution", "quality", "inputs", "image_format",
    "rewrite_model",
)  # fmt: skip
"""Fields that a generated cell repeats; it does not repeat the public link or the user id."""
DASHES: Final = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""The hyphen-minus, and the dashes that editors and web pages replace it with."""
INVISIBLE: Final = "\u200b\u200c\u200d\u2060\ufeff"
"""Zero-width characters, common in text copied from web pages."""
_MAX_EXPRESSION: Final = 10_000
_UNSAFE: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
)
"""Characters that cells, form fields or clipboards change, lose or display differently. Tab and
newline are safe."""
# Compiled at first use, because `%load_ext` does not need them.
_UNQUOTED: Final = r"(?a)[\w./:@%+,=~^\[\]()*?!#&|<>\\-]+"
"""Pattern of values that need no quotes."""
_LOOKS_LIKE_VARIABLE: Final = r"^\$|\{+"
_QUOTE_OR_BRACKET: Final = r"(?s)'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[\[({\])}]"
_SPECIAL: Final = rf"\{{{{2,}}|\{{(?=[{_UNSAFE}])|[{_UNSAFE}]"
_CHANGED_BY_IPYTHON: Final = (
    r"(?m)^(?P<blank>[^\S\n])(?=[^\S\n]*$)"
    r"|^(?P<before>[^\S\n]*)(?P<prompt>>(?=>>)|\.(?=\.\.)|I(?=n \[\d)|\[(?=nav\]|ins\])"
    r"|%(?=%?[A-Za-z]))"
)
"""Blank lines and terminal prompts, which IPython removes, and lines that look like magics."""
_READ_AS_OPTION: Final = (
    rf"\A(?P<before>[{INVISIBLE}]*)(?P<prompt>[{DASHES}](?=[{DASHES}]*[A-Za-z])|#(?=[^\S\n]*[|@]))"
)
"""The start of a body that would be read as an option, or as a comment for Quarto or Colab."""


class OpenExpressionError(Exception):
    """An expression in a template is not closed."""


def magic_cell(request: ImageRequest) -> str:
    """Return the `%%xai_image` cell that requests the pictures of `request` again.

    The cell has only options that describe a picture, because a request can come from an untrusted
    file. Input images keep the names from the original cell. A `{{` in the prompt is escaped.
    """
    given = ["%%xai_image"]
    for name, values in _picture_options(request):
        given += words(flag(name), values)
    prompt = request.original_prompt or request.prompt
    return f"{' '.join(given)}\n{cell_body(escape(prompt))}"


def python_call(request: ImageRequest) -> str:
    """Return the call of `generate()` that does the same as `magic_cell`."""
    given = [repr(request.original_prompt or request.prompt)]
    for name, values in _picture_options(request):
        given.append(f"{name}={(values[0] if len(values) == 1 else values)!r}")
    return f"xai.generate({', '.join(given)})"


def _picture_options(request: ImageRequest) -> Iterator[tuple[str, list[Any]]]:
    """Yield the names and values of the options that differ from the defaults."""
    defaults = {field.name: field.default for field in fields(request)} | {"model": DEFAULT_MODEL}
    for name in _PICTURE_FIELDS:
        value = getattr(request, name)
        if value != defaults[name]:
            values = [hide_home(image.label) for image in value] if name == "inputs" else [value]
            yield OPTION_OF.get(name, name), values


def flag(name: str) -> str:
    """Return the flag of an option from its Python name: `--max-cost` for `max_cost`."""
    return f"-{name}" if len(name) == 1 else f"--{name.strip('_').replace('_', '-')}"


def words(flag: str, values: Iterable[Any]) -> list[str]:
    """Return an option as words of a magic's line, one per value; `True` gives the flag alone."""
    separator = "=" if flag.startswith("--") else " "
    return [flag if value is True else f"{flag}{separator}{_quote(value)}" for value in values]


def _quote(value: str | float) -> str:
    if not isinstance(value, str):
        return f"{value:g}"
    # Braces and a `$` at the start would be read as a variable.
    value = re.sub(_LOOKS_LIKE_VARIABLE, lambda match: _as_template(match[0]), value)
    if re.fullmatch(_UNQUOTED, value):
        return value
    if value.isprintable() and not set(value) & set("“”‘’„"):  # noqa: RUF001
        for quote in ('"', "'"):
            if quote not in value:
                return f"{quote}{value}{quote}"
    written = value.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if c.isprintable() else _escape_character(c) for c in written) + "'"


def _escape_character(character: str) -> str:
    return f"\\U{ord(character):08x}" if ord(character) > 0xFFFF else f"\\u{ord(character):04x}"  # noqa: PLR2004


def escape(text: str) -> str:
    """Return the template that renders exactly `text`.

    Two braces become `{{ '{{' }}`; an unsafe character becomes an escape in such an expression.
    """
    return re.sub(_SPECIAL, lambda match: _as_template(match[0]), text)


def cell_body(template: str) -> str:
    """Return a template as the body of a cell, protected from IPython's transformations."""
    try:
        parts = list(split(template))
    except OpenExpressionError:
        return template  # running the cell reports the open {{
    body = "".join(
        re.sub(_CHANGED_BY_IPYTHON, _protect, escape(literal))
        + ("" if source is None else f"{{{{{source}}}}}")
        for literal, source in parts
    )
    body = re.sub(_READ_AS_OPTION, _protect, body)
    # The magic removes a final semicolon, so the prompt's own semicolon needs protection.
    return body + ("{{ '' }}" if body.endswith(";") else "")


def _as_template(text: str) -> str:
    written = text.encode("ascii", "backslashreplace").decode()
    if not written.isprintable():
        written = f"\\x{ord(text):02x}"
    return f"{{{{ '{written}' }}}}"


def _protect(match: re.Match[str]) -> str:
    if blank := match.groupdict().get("blank"):
        return _as_template(blank)
    return match["before"] + _as_template(match["prompt"])


def split(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield pairs of a literal text and the expression after it, None after the last text.

    Raises:
        OpenExpressionError: An expression is not closed.
    """
    position = 0
    while (opening := text.find("{{", position)) >= 0:
        end = expression_end(text, opening + 2)
        yield text[position:opening], text[opening + 2 : end]
        position = end + 2
    yield text[position:], None


def expression_end(text: str, start: int) -> int:
    """Return the index of the `}}`, outside strings and brackets, that closes an expression.

    `start` is the index after the `{{`.

    Raises:
        OpenExpressionError: The expression is not closed.
    """
    depth = 0
    for match in re.compile(_QUOTE_OR_BRACKET).finditer(text, start, start + _MAX_EXPRESSION):
        if depth <= 0 and text.startswith("}}", match.start()):
            return match.start()
        depth += match[0] in "([{"
        depth -= match[0] in ")]}"
    raise OpenExpressionError("it is not closed. For two literal braces write {{ '{{' }}")
