"""A magic's line: its options, and the raw rest.

A prompt on the line keeps its quotes, backslashes and braces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.arguments.options import OPTIONS
from xai_notebook.arguments.values import nearest
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xai_notebook.arguments.options import Option

__all__ = ["Parsed", "flags_of", "parse"]

_QUOTED: Final = re.compile(
    r"""\$'(?P<escaped>(?:\\.|[^'\\])*)'|"(?P<double>[^"]*)"|'(?P<single>[^']*)'"""
)
"""As in bash; a backslash means something only in `$'…'`, for it is part of a Windows path."""
_TOKEN: Final = re.compile(rf"(?:{_QUOTED.pattern}|\S)+".replace("?P<", "?P<_"))
_LIKE_A_FLAG: Final = re.compile(r"--[A-Za-z][\w-]*(?:=.*)?", re.DOTALL)
_LIKE_AN_OPTION: Final = re.compile(r"--?[A-Za-z]")


class Parsed(NamedTuple):
    """A magic's line: the options that were given, and the prompt on the line."""

    given: dict[str, Any]
    prompt: str


def parse(line: str, rows: tuple[Option, ...] = OPTIONS) -> Parsed:
    """Split a magic's line into options and the prompt, which keeps every character.

    Options stand before the prompt or after it; everything behind ` -- ` is prompt.

    Raises:
        OptionError: An option does not exist, lacks its value or stands inside the prompt.
    """
    flags = flags_of(rows)
    tokens = list(_TOKEN.finditer(line))
    words = [match.group() for match in tokens]
    if "--" in words:
        split = words.index("--")
        given, rest = _parse_words(words[:split], flags)
        if rest:
            raise OptionError(f"{' '.join(rest)!r} stands before `--`. Put `--` before the prompt.")
        return Parsed(given, line[tokens[split].end() :].strip())
    given, rest = _parse_words(words, flags)
    for word in rest:
        # Sent as part of the prompt, a misspelt option would cost money and go unnoticed.
        if _LIKE_A_FLAG.fullmatch(word) and not _is_flag(word, flags):
            raise OptionError(_unknown(word, flags))
    first = len(words) - len(rest)
    after = next((i for i, word in enumerate(rest) if _is_flag(word, flags)), len(rest))
    trailing, stray = _parse_words(rest[after:], flags)
    if stray:
        raise OptionError(
            f"{rest[after]} stands inside the prompt. Put options first, or `--` before a "
            "prompt that holds such words."
        )
    if not rest:
        return Parsed(given, "")
    end = tokens[first + after].start() if after < len(rest) else len(line)
    for name in given.keys() & trailing.keys():
        if isinstance(given[name], list):  # it is repeatable
            trailing[name] = given[name] + trailing[name]
    return Parsed({**given, **trailing}, line[tokens[first].start() : end].strip())


def flags_of(rows: tuple[Option, ...]) -> dict[str, Option]:
    """Return the rows of a table by their flags."""
    return {flag: option for option in rows for flag in option.flags}


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
    parts = _QUOTED.split(word)  # text, then escaped, double and single of each quotation, …
    if any(set(text) & {'"', "'"} for text in parts[::4]):
        if word[0] not in {'"', "'"}:
            return word  # an apostrophe
        raise OptionError(f"The quote in {word} is not closed.")
    try:
        parts[1::4] = [part and _unescaped(part) for part in parts[1::4]]
    except UnicodeDecodeError as error:
        raise OptionError(f"{word}: {error.reason}.") from error
    return "".join(part or "" for part in parts)


def _unescaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("unicode-escape")
