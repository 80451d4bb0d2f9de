"""Parse a magic's text: options and prompt on its line, the prompt in a cell's body.

A prompt on the line keeps its quotes, backslashes and braces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.arguments.options import OPTIONS
from xai_notebook.arguments.values import nearest
from xai_notebook.errors import OptionError
from xai_notebook.pictures.magic_source import (
    DASHES,
    INVISIBLE,
    OpenExpressionError,
    expression_end,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xai_notebook.arguments.options import Option

__all__ = ["Parsed", "flags_of", "parse", "prompt_of"]

_ESCAPED: Final = re.compile(r"\$'((?:\\.|[^'\\])*)'")
"""As in bash; elsewhere a backslash means itself, as in a Windows path."""
_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“"}  # noqa: RUF001
# Compiled at first use: `%load_ext` does without.
_TYPED_FLAG: Final = rf"(?s)[{DASHES}]+(?P<name>[A-Za-z][{DASHES}\w]*)(?P<rest>.*)"
_SHORT_WITH_VALUE: Final = re.compile(r"-[A-Za-z]=?\d")
_LIKE_A_FLAG: Final = re.compile(r"--[A-Za-z][\w-]*(?:=.*)?", re.DOTALL)
_LIKE_AN_OPTION: Final = re.compile(r"--?[A-Za-z]")
_CELL_COMMENT: Final = re.compile(r"[^\S\n]*#[^\S\n]*[|@][^\n]*(?:\n|$)|[^\S\n]*\n")
"""A line for Quarto (`#| label: fox`) or for Colab's forms (`#@title Foxes`), or a blank one."""
_MAGIC: Final = re.compile(r"^[^\S\n]*(%%?[A-Za-z]\w*)(?!\S)", re.MULTILINE)


class Parsed(NamedTuple):
    """A magic's line: the options that were given, and the prompt on the line."""

    given: dict[str, Any]
    prompt: str


class _Word(NamedTuple):
    """A word of the line.

    Attributes:
        text: As written, but for typographic dashes of a known flag.
        start: Where it begins in the line.
        end: Where it ends.
    """

    text: str
    start: int
    end: int


def parse(line: str, rows: tuple[Option, ...] = OPTIONS) -> Parsed:
    """Split a magic's line into options and the prompt, which keeps every character.

    Options stand before the prompt or after it; everything behind ` -- ` is prompt. A `;` at the
    end of the line, a habit of notebooks, is no part of an option.

    Raises:
        OptionError: An option does not exist, lacks its value or stands inside the prompt.
    """
    flags = flags_of(rows)
    found = _words(line, flags)
    words = [word.text for word in found]
    words[-1:] = [word.removesuffix(";") for word in words[-1:]]
    if "--" in words:
        split = words.index("--")
        given, rest = _parse_words(words[:split], flags)
        if rest:
            raise OptionError(f"{' '.join(rest)!r} stands before `--`. Put `--` before the prompt.")
        return Parsed(given, line[found[split].end :].strip())
    given, rest = _parse_words(words, flags)
    first = len(words) - len(rest)
    if given and rest[:1] in (["–"], ["—"]):  # an editor's `--`  # noqa: RUF001
        return Parsed(given, line[found[first].end :].strip())
    for position, word in enumerate(rest):
        # Sent as part of the prompt, a misspelt option would cost money and go unnoticed.
        if _is_unknown(word, flags, leads=position == 0):
            raise OptionError(_unknown(word, flags))
    after = next((i for i, word in enumerate(rest) if _is_flag(word, flags)), len(rest))
    trailing, stray = _parse_words(rest[after:], flags)
    if stray:
        raise OptionError(
            f"{rest[after]} stands inside the prompt. Put options first, or `--` before a "
            "prompt that holds such words."
        )
    if not rest:
        return Parsed(given, "")
    end = found[first + after].start if after < len(rest) else len(line)
    for name in given.keys() & trailing.keys():
        if isinstance(given[name], list):  # it is repeatable
            trailing[name] = given[name] + trailing[name]
    return Parsed({**given, **trailing}, line[found[first].start : end].strip())


def prompt_of(on_line: str, body: str | None) -> str | None:
    r"""Return the prompt of a cell, from its line or its body; None: there is no prompt.

    Line ends become `\n`. Lines for Quarto and Colab at the top of the body, and a `;` at its end,
    are left out.

    Args:
        on_line: The prompt on the magic's line; see `parse`.
        body: The other lines of the cell; None: the magic has no body.

    Raises:
        OptionError: There are two prompts, or something in the body is meant for IPython.
    """
    lines = (body or "").replace("\r\n", "\n")
    while match := _CELL_COMMENT.match(lines):
        lines = lines[match.end() :]
    text = lines.strip().removesuffix(";").rstrip()
    on_line = on_line.removesuffix(";").rstrip()
    if on_line and text:
        raise OptionError(
            "There is a prompt on the line and one in the body. Keep one of them (options go "
            "before or after a prompt on the line)."
        )
    if magic := _MAGIC.search(text or on_line):
        raise OptionError(
            f"{magic[1]} stands in the prompt. Put it into a cell of its own, or write "
            f"{{{{ '%' }}}}{magic[1][1:]} if it belongs to the prompt."
        )
    flags = flags_of(OPTIONS)
    first = next(iter(_words(text.partition("\n")[0], flags)), None)
    if first is not None and _is_flag(first.text, flags):
        raise OptionError(
            f"{first.text} stands in the body. Options go on the first line, behind %%xai_image; "
            f"write {{{{ '-' }}}}{first.text[1:]} if it belongs to the prompt."
        )
    return text or on_line or None


def flags_of(rows: tuple[Option, ...]) -> dict[str, Option]:
    """Return the rows of a table by their flags."""
    return {flag: option for option in rows for flag in option.flags}


def _words(line: str, flags: Mapping[str, Option]) -> list[_Word]:
    """Return the words of a line; a quotation and a `{{ … }}` are each part of one word."""
    found = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        start = position
        while position < len(line) and not line[position].isspace():
            position = _piece_end(line, position)
        found.append(_Word(_as_typed(line[start:position], flags), start, position))
    return found


def _piece_end(text: str, start: int) -> int:
    """Return the end of the next piece of a word: an expression, a quotation or one character."""
    if text.startswith("{{", start):
        return _expression_end(text, start)
    if match := _ESCAPED.match(text, start):
        return match.end()
    if (closing := _QUOTES.get(text[start])) is not None:
        position = start + 1
        while position < len(text) and text[position] != closing:
            template = text.startswith("{{", position)
            position = _expression_end(text, position) if template else position + 1
        if position < len(text):
            return position + 1
    return start + 1


def _expression_end(text: str, start: int) -> int:
    """Return the end of the `{{ … }}` at `start`, or of its first brace if it is not closed."""
    try:
        return expression_end(text, start + 2) + 2
    except OpenExpressionError:
        return start + 1


def _plain_dashes(word: str) -> str | None:
    """Return a word like an option with plain dashes; None: it has no typographic dash.

    Editors turn `--n` into an em dash and `n`, and `-n` into an en dash and `n`.
    """
    match = re.fullmatch(_TYPED_FLAG, word)
    if match is None or not set(word[: match.end("name")]) & set(DASHES[1:]):
        return None
    name = re.sub(f"[{DASHES}]", "-", match["name"])
    short = len(name) == 1 or _SHORT_WITH_VALUE.match(f"-{name}")
    return f"{'-' if short else '--'}{name}{match['rest']}"


def _as_typed(word: str, flags: Mapping[str, Option]) -> str:
    """Return a word without invisible characters before it, its dashes plain if it is an option."""
    word = word.lstrip(INVISIBLE) or word
    plain = _plain_dashes(word)
    if plain is None:
        return word
    known = _is_flag(plain, flags) or (_SHORT_WITH_VALUE.match(plain) and plain[:2] in flags)
    return plain if known else word


def _is_unknown(word: str, flags: Mapping[str, Option], *, leads: bool) -> bool:
    """Tell whether a word of the prompt looks like an option that does not exist.

    Args:
        word: Of the prompt.
        flags: The options.
        leads: It is where options stand. Elsewhere a typographic dash may be punctuation.
    """
    if _LIKE_A_FLAG.fullmatch(word):
        return not _is_flag(word, flags)
    plain = _plain_dashes(word)
    if plain is None:
        return False
    return leads or nearest(plain.partition("=")[0], flags, cutoff=0.8) is not None


def _is_flag(word: str, flags: Mapping[str, Option]) -> bool:
    flag, equals, _ = word.partition("=")
    return flag in flags and (not equals or flag.startswith("--"))


def _parse_words(
    words: Sequence[str], flags: Mapping[str, Option]
) -> tuple[dict[str, Any], list[str]]:
    """Return the options at the start of `words`, and the words behind them as they were.

    A quoted word is never an option, and what stands behind `--flag=` is always its value.
    """
    given: dict[str, Any] = {}
    position = 0
    while position < len(words) and _LIKE_AN_OPTION.match(words[position]):
        flag, value = _split_flag(words[position])
        option = flags.get(flag)
        if option is None:
            raise OptionError(_unknown(words[position], flags))
        if option.metavar is None and value is not None:
            raise OptionError(f"{flag} is a switch: it takes no value.")
        position += 1
        values = [] if value is None else [value]
        while _takes(option, len(values), words[position : position + 1]):
            values.append(words[position])
            position += 1
        found: list[Any] = [_unquote(each) for each in values]
        if not found:
            if option.metavar is not None and option.bare is None:
                raise OptionError(f"{'/'.join(option.flags)} lacks its value.")
            found = [option.bare]
        given[option.name] = (
            [*given.get(option.name, []), *found] if option.repeatable else found[0]
        )
    return given, list(words[position:])


def _split_flag(word: str) -> tuple[str, str | None]:
    """Return a flag and the value written to it, as in `--flag=value` and `-n2`."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        return flag, value if equals else None
    return word[:2], word[2:].removeprefix("=") or None


def _takes(option: Option, count: int, following: Sequence[str]) -> bool:
    """Tell whether the word behind an option is a value of it, beside so many others."""
    if option.metavar is None or not following or _LIKE_AN_OPTION.match(following[0]):
        return False
    if count and not (option.repeatable and option.begins):  # only a pattern tells it from a prompt
        return False
    return re.match(option.begins, following[0]) is not None


def _unknown(word: str, flags: Mapping[str, Option]) -> str:
    flag = word.partition("=")[0]
    bare = {known.removeprefix("--"): known for known in flags if known.startswith("--")}
    name = flag.lstrip("-")
    longer = [known for known in bare if len(name) > 1 and known.startswith(name)]
    near = longer[0] if longer else nearest(name, bare)
    hint = f"Did you mean {bare[near]}?" if near else "%xai_image --help lists the options."
    return f"There is no option {flag}. {hint} Put `--` before a prompt that holds such words."


def _unquote(word: str) -> str:
    """Return what a word of the line says, its quotes taken away.

    Raises:
        OptionError: A quote is not closed.
    """
    pieces, position = [], 0
    while position < len(word):
        end = _piece_end(word, position)
        pieces.append(word[position:end])
        position = end
    if {'"', "'"} & set(pieces):  # a quotation is longer
        if word[0] not in {'"', "'"}:
            return word  # an apostrophe
        raise OptionError(f"The quote in {word} is not closed.")
    try:
        return "".join(map(_said, pieces))
    except UnicodeDecodeError as error:
        raise OptionError(f"{word}: {error.reason}.") from error


def _said(piece: str) -> str:
    if match := _ESCAPED.fullmatch(piece):
        return match[1].encode("ascii", "backslashreplace").decode("unicode-escape")
    return piece[1:-1] if len(piece) > 1 and piece[0] in _QUOTES else piece
