"""Parse the magic: options and a prompt on its line, or the prompt in the body of the cell.

A prompt keeps its quotes, backslashes and braces.
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

_ESCAPED: Final = re.compile(r"\$'((?:\\.|[^'\\])*)'")
"""A string with escapes, as in bash. Elsewhere a backslash is literal, as in a Windows path."""
_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“"}  # noqa: RUF001
# Compiled at first use, because `%load_ext` does not need it.
_DASHED_FLAG: Final = rf"(?s)[{DASHES}]+(?P<name>[A-Za-z][{DASHES}\w]*)(?P<rest>.*)"
_SHORT_WITH_VALUE: Final = re.compile(r"-[A-Za-z]=?\d")
_LOOKS_LIKE_LONG_FLAG: Final = re.compile(r"--[A-Za-z][\w-]*(?:=.*)?", re.DOTALL)
_LOOKS_LIKE_FLAG: Final = re.compile(r"--?[A-Za-z]")
_CELL_COMMENT: Final = re.compile(r"[^\S\n]*#[^\S\n]*[|@][^\n]*(?:\n|$)|[^\S\n]*\n")
"""A comment for Quarto (`#| label: fox`) or Colab (`#@title Foxes`), or a blank line."""
_MAGIC: Final = re.compile(r"^[^\S\n]*(%%?[A-Za-z]\w*)(?!\S)", re.MULTILINE)


def options_by_flag(rows: tuple[Option, ...]) -> dict[str, Option]:
    """Return the options by their flags."""
    return {flag: option for option in rows for flag in option.flags}


_FLAGS: Final = options_by_flag(OPTIONS)


class Parsed(NamedTuple):
    """The options on a magic's line, by name, and the prompt on the line."""

    given: dict[str, Any]
    prompt: str


class _Word(NamedTuple):
    """A word of the line, with its position. In a known flag, all dashes are hyphens."""

    text: str
    start: int
    end: int


def parse(line: str, flags: Mapping[str, Option] = _FLAGS) -> Parsed:
    """Split a magic's line into options, by their `flags`, and the prompt, which is not changed.

    Options come before or after the prompt; everything after ` -- ` is the prompt. A `;` at the end
    of the line, common in notebooks, is not part of an option's value.

    Raises:
        OptionError: An option is unknown, has no value or is in the middle of the prompt.
    """
    if not line or line.isspace():
        return Parsed({}, "")
    located = _words(line, flags)
    words = [word.text for word in located]
    words[-1:] = [word.removesuffix(";") for word in words[-1:]]
    if "--" in words:
        split = words.index("--")
        given, rest = _parse_words(words[:split], flags)
        if rest:
            raise OptionError(f"{' '.join(rest)!r} is before the `--`. Put `--` before the prompt.")
        return Parsed(given, line[located[split].end :].strip())
    given, rest = _parse_words(words, flags)
    first = len(words) - len(rest)
    if given and rest[:1] in (["–"], ["—"]):  # `--`, changed by an editor  # noqa: RUF001
        return Parsed(given, line[located[first].end :].strip())
    for position, word in enumerate(rest):
        # A misspelt option that is sent as part of the prompt costs money and goes unnoticed.
        if _is_unknown(word, flags, is_first=position == 0):
            raise OptionError(_unknown_message(word, flags))
    after = next((i for i, word in enumerate(rest) if _is_flag(word, flags)), len(rest))
    trailing, stray = _parse_words(rest[after:], flags)
    if stray:
        raise OptionError(
            f"{rest[after]} is in the middle of the prompt. Put options first, or `--` before a "
            "prompt that contains such words."
        )
    if not rest:
        return Parsed(given, "")
    end = located[first + after].start if after < len(rest) else len(line)
    repeated = [name for name in given.keys() & trailing.keys() if isinstance(given[name], list)]
    trailing |= {name: given[name] + trailing[name] for name in repeated}
    return Parsed(given | trailing, line[located[first].start : end].strip())


def cell_prompt(on_line: str, body: str | None) -> str | None:
    r"""Return the prompt of a cell, from its line or its body; None if both are empty.

    Line ends become `\n`. Comments for Quarto and Colab at the top of the body and a `;` at its end
    are removed. A line magic has no body.

    Raises:
        OptionError: There are two prompts, or the prompt contains a magic or starts with an option.
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
            f"{magic[1]} is in the prompt. Put it into a cell of its own, or write "
            f"{{{{ '%' }}}}{magic[1][1:]} if it belongs to the prompt."
        )
    if text.lstrip(INVISIBLE).startswith(tuple(DASHES)):
        first = _words(text.partition("\n")[0], _FLAGS)[0].text
        if _is_flag(first, _FLAGS):
            raise OptionError(
                f"{first} is in the body. Put options on the first line, after %%xai_image, or "
                f"write {{{{ '-' }}}}{first[1:]} if it belongs to the prompt."
            )
    return text or on_line or None


def _words(line: str, flags: Mapping[str, Option]) -> list[_Word]:
    """Return the words of a line. White space outside of quotes and `{{ … }}` ends a word."""
    words = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        start = position
        while position < len(line) and not line[position].isspace():
            position = _piece_end(line, position)
        words.append(_Word(_as_typed(line[start:position], flags), start, position))
    return words


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
    """Return the end of the `{{ … }}` at `start`, or `start + 1` if it is not closed."""
    try:
        return expression_end(text, start + 2) + 2
    except OpenExpressionError:
        return start + 1


def _plain_dashes(word: str) -> str | None:
    """Replace typographic dashes in a word that looks like an option; None if it has no such dash.

    Editors turn `--n` into an em dash and `n`, and `-n` into an en dash and `n`.
    """
    match = re.fullmatch(_DASHED_FLAG, word)
    if match is None or not set(word[: match.end("name")]) & set(DASHES[1:]):
        return None
    name = re.sub(f"[{DASHES}]", "-", match["name"])
    short = len(name) == 1 or _SHORT_WITH_VALUE.match(f"-{name}")
    return f"{'-' if short else '--'}{name}{match['rest']}"


def _as_typed(word: str, flags: Mapping[str, Option]) -> str:
    """Return a word without leading invisible characters; a known option gets plain hyphens."""
    word = word.lstrip(INVISIBLE) or word
    plain = _plain_dashes(word)
    if plain is None:
        return word
    known = _is_flag(plain, flags) or (_SHORT_WITH_VALUE.match(plain) and plain[:2] in flags)
    return plain if known else word


def _is_unknown(word: str, flags: Mapping[str, Option], *, is_first: bool) -> bool:
    """Tell whether a word of the prompt looks like an option but is unknown."""
    if _LOOKS_LIKE_LONG_FLAG.fullmatch(word):
        return not _is_flag(word, flags)
    plain = _plain_dashes(word)
    if plain is None:
        return False
    # After the first word, a typographic dash may be punctuation.
    return is_first or nearest(plain.partition("=")[0], flags, cutoff=0.8) is not None


def _is_flag(word: str, flags: Mapping[str, Option]) -> bool:
    flag, equals, _ = word.partition("=")
    return flag in flags and (not equals or flag.startswith("--"))


def _parse_words(
    words: Sequence[str], flags: Mapping[str, Option]
) -> tuple[dict[str, Any], list[str]]:
    """Return the options at the start of `words`, and the remaining words.

    A quoted word is never an option, and text after `--flag=` is always the option's value.
    """
    given: dict[str, Any] = {}
    position = 0
    while position < len(words) and _LOOKS_LIKE_FLAG.match(words[position]):
        flag, value = _split_flag(words[position])
        option = flags.get(flag)
        if option is None:
            raise OptionError(_unknown_message(words[position], flags))
        if option.metavar is None and value is not None:
            raise OptionError(f"{flag} is a switch: it takes no value.")
        position += 1
        values = [] if value is None else [value]
        while _takes(option, len(values), words[position : position + 1]):
            values.append(words[position])
            position += 1
        if not values and option.metavar is not None and option.bare is None:
            raise OptionError(f"{'/'.join(option.flags)} needs a value.")
        unquoted: list[Any] = [_unquote(each) for each in values] or [option.bare]
        given[option.name] = (
            [*given.get(option.name, []), *unquoted] if option.repeatable else unquoted[0]
        )
    return given, list(words[position:])


def _split_flag(word: str) -> tuple[str, str | None]:
    """Return a flag and the value in the same word, as in `--flag=value` and `-n2`."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        return flag, value if equals else None
    return word[:2], word[2:].removeprefix("=") or None


def _takes(option: Option, count: int, following: Sequence[str]) -> bool:
    """Tell whether the next word is a value of an option that already has `count` values."""
    if option.metavar is None or not following or _LOOKS_LIKE_FLAG.match(following[0]):
        return False
    if count and not (option.repeatable and option.begins):  # it may be the prompt
        return False
    return re.match(option.begins, following[0]) is not None


def _unknown_message(word: str, flags: Mapping[str, Option]) -> str:
    flag = word.partition("=")[0]
    long_flags = {known.removeprefix("--"): known for known in flags if known.startswith("--")}
    name = flag.lstrip("-")
    longer = [known for known in long_flags if len(name) > 1 and known.startswith(name)]
    near = longer[0] if longer else nearest(name, long_flags)
    hint = f"Did you mean {long_flags[near]}?" if near else "%xai_image --help lists the options."
    return f"Unknown option {flag}. {hint} Put `--` before a prompt that contains such words."


def _unquote(word: str) -> str:
    """Return a word without its quotes and escapes."""
    pieces, position = [], 0
    while position < len(word):
        end = _piece_end(word, position)
        pieces.append(word[position:end])
        position = end
    if {'"', "'"} & set(pieces):  # a closed quotation is a single longer piece
        if word[0] not in {'"', "'"}:
            return word  # an apostrophe
        raise OptionError(f"The quote in {word} is not closed.")
    try:
        return "".join(map(_unquote_piece, pieces))
    except UnicodeDecodeError as error:
        raise OptionError(f"{word}: {error.reason}.") from error


def _unquote_piece(piece: str) -> str:
    if match := _ESCAPED.fullmatch(piece):
        return match[1].encode("ascii", "backslashreplace").decode("unicode-escape")
    return piece[1:-1] if len(piece) > 1 and piece[0] in _QUOTES else piece
