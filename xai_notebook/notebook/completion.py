"""Tab completion for the magics: options, their values, models, variables and files.

Separate because it is imported on the first Tab, not with the extension.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.arguments.line import options_by_flag
from xai_notebook.arguments.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xai_notebook.arguments.options import Option

_MAGIC: Final = re.compile(
    r"\s*(?:[\w.\[\]]+\s*=\s*)?%%?xai_(?P<kind>image|history|library|panel)\b"
)
_MAX_FILES: Final = 50


def matches(context: Any, namespace: Mapping[str, Any]) -> Any:
    """Return completions for IPython's `CompletionContext`, in the format of a matcher."""
    from IPython.core.completer import SimpleCompletion  # noqa: PLC0415  # not in IPython 7

    completed = complete(context.full_text, context.cursor_position, context.cursor_line, namespace)
    if completed is None:
        return {"completions": [], "suppress": False}
    token, texts = completed
    # The frontend replaces IPython's token, which may start after a dash or a dot.
    cut = len(token) - len(context.token) if token.endswith(context.token) else 0
    completions = [
        SimpleCompletion(text[cut:], type="param") for text in texts if text[:cut] == token[:cut]
    ]
    return {"completions": completions, "suppress": True, "ordered": True}


def completions_at(text: str, offset: int, namespace: Mapping[str, Any]) -> list[Any] | None:
    """Return IPython's `Completion` objects at a position in a cell; None outside our magics."""
    from IPython.core.completer import Completion  # noqa: PLC0415

    before = text[:offset].split("\n")
    completed = complete(text, len(before[-1]), len(before) - 1, namespace)
    if completed is None:
        return None
    token, texts = completed
    return [Completion(offset - len(token), offset, each, type="param") for each in texts]


def complete(
    full_text: str,
    cursor: int,
    line: int,
    namespace: Mapping[str, Any],
    rows: tuple[Option, ...] = OPTIONS,
) -> tuple[str, list[str]] | None:
    """Return the word before the cursor and its completions; None outside our magics.

    `cursor` is the number of characters before the cursor in its line, `line` the line's number
    from 0.
    """
    lines = full_text.split("\n")
    if line >= len(lines):
        return None
    if lines[0].lstrip().startswith("%%") and line:
        # The body is a prompt, so suppress completion of Python names.
        return ("", []) if _MAGIC.match(lines[0]) else None
    head = lines[line][:cursor]
    magic = _MAGIC.match(head)
    if magic is None or not head[magic.end() :].startswith((" ", "\t")):
        return None
    words = head[magic.end() :].split()
    token = "" if head[-1].isspace() else words.pop()
    if magic["kind"] == "history":
        return token, [flag for flag in ("-n",) if not words and flag.startswith(token)]
    if magic["kind"] == "library":
        rows = tuple(row for row in rows if row.name == "model")
    if magic["kind"] == "panel":
        rows = tuple(row for row in rows if row.in_panel)
    return token, _candidates(words, token, namespace, options_by_flag(rows))


def _candidates(
    words: list[str], token: str, namespace: Mapping[str, Any], flags: Mapping[str, Option]
) -> list[str]:
    if token.startswith("-") and "=" not in token:
        return sorted(flag for flag in flags if flag.startswith(token))
    flag, equals, value = token.partition("=")
    if equals and flag in flags:
        return [f"{flag}={text}" for text in _values(flags[flag], value, namespace)]
    if words and words[-1] in flags and flags[words[-1]].metavar is not None:
        return _values(flags[words[-1]], token, namespace)
    prompt_begun = any(not word.startswith("-") for word in words[:1])
    return [] if token or prompt_begun else sorted(f for f in flags if f.startswith("--"))


def _values(option: Option, start: str, namespace: Mapping[str, Any]) -> list[str]:
    texts = list(option.choices)
    if option.variables is not None:
        texts += sorted(
            name
            for name, value in namespace.items()
            if not name.startswith("_") and option.variables(value)
        )
    if option.suffixes is not None:
        texts += _files(start, option.suffixes)
    return [text for text in texts if text.startswith(start)]


def _files(start: str, suffixes: frozenset[str]) -> list[str]:
    """Return the folders and the files with a matching suffix in the folder typed so far."""
    folder = start.rpartition("/")[0]
    try:
        entries = sorted(Path(folder or ("/" if start.startswith("/") else ".")).iterdir())
    except OSError:
        return []
    prefix = f"{folder}/" if "/" in start else ""
    return [
        prefix + entry.name + ("/" if entry.is_dir() else "")
        for entry in entries
        if not entry.name.startswith(".") and (entry.is_dir() or entry.suffix.lower() in suffixes)
    ][:_MAX_FILES]
