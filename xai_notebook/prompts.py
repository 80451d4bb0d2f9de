"""Prompts: the variants that `{a|b}` stands for, and lists of prompts for `--each`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, product
from math import prod
from pathlib import Path
from typing import Any, Final

from xai_notebook.errors import OptionError

__all__ = ["expand", "read_prompts"]

MAX_VARIANTS: Final = 500
"""Prompts that one `--matrix` may stand for: more is rarely meant, and always costs."""
_ALTERNATIVES: Final = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")
_COLUMN: Final = "prompt"
_SOURCES: Final = (
    "a list, a Series, a DataFrame column such as df.prompt, a generator, "
    "or the path of a .txt or .csv file"
)


def expand(prompt: str) -> list[tuple[str, str]]:
    """Return every prompt that `{a|b}` stands for, each with the alternatives it took.

    Raises:
        OptionError: There are no alternatives, or more than `MAX_VARIANTS` combinations.
    """
    parts = _ALTERNATIVES.split(prompt)
    choices = [[option.strip() for option in part.split("|")] for part in parts[1::2]]
    if not choices:
        raise OptionError("--matrix found no {a|b} in the prompt. Write alternatives like that.")
    if (count := prod(map(len, choices))) > MAX_VARIANTS:
        raise OptionError(f"--matrix: {count:,} combinations are more than {MAX_VARIANTS}.")
    variants = []
    for chosen in product(*choices):
        words = [parts[0]]
        for word, text in zip(chosen, parts[2::2], strict=True):
            words += [word, text]
        variants.append(("".join(words).strip(), ", ".join(word or "(none)" for word in chosen)))
    return variants


def read_prompts(source: Any, namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the prompts that `--each` names, one at a time, as they stand there.

    A generator is read as its prompts are needed, never as a whole.

    Args:
        source: An iterable of prompts, or text: the name of a variable, `name.column`, a path, or
            several lines, one prompt each.
        namespace: Where variables are looked up.

    Raises:
        OptionError: There is nothing of that name, or no prompt in it.
    """
    prompts = iter(_lines(source, namespace))
    try:
        first = next(prompts)
    except StopIteration:
        raise OptionError(f"--each found no prompt. It takes {_SOURCES}.") from None
    return chain([first], prompts)


def _lines(source: Any, namespace: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(source, str) and "\n" not in source:
        source = _named(source, namespace)
    if isinstance(source, str):
        source = source.splitlines()
    elif isinstance(source, Path):
        source = _read_file(source)
    elif hasattr(source, "columns") and hasattr(source, "__getitem__"):
        source = _column(source, _COLUMN)
    if not isinstance(source, Iterable) or isinstance(source, (bytes, Mapping)):
        raise OptionError(
            f"--each takes {_SOURCES}; a value of type {type(source).__name__} is none of these."
        )
    for line in source:
        if line == line and line is not None and (text := str(line).strip()):  # noqa: PLR0124  # NaN
            yield text


def _named(name: str, namespace: Mapping[str, Any]) -> Any:
    """Return what a single line names: a variable, a column of one, or a file."""
    head, _, column = name.partition(".")
    if name in namespace:
        found = namespace[name]
        return Path(found) if isinstance(found, str) and _is_file(found) else found
    if head in namespace and column:
        return _column(namespace[head], column)
    if _is_file(name):
        return Path(name).expanduser()
    raise OptionError(f"--each {name}: there is no such variable or file. It takes {_SOURCES}.")


def _is_file(name: str) -> bool:
    try:
        return Path(name).suffix.lower() in {".txt", ".csv"} and Path(name).expanduser().is_file()
    except (OSError, ValueError):
        return False


def _column(table: Any, column: str) -> Any:
    try:
        return table[column]
    except (KeyError, TypeError, IndexError):
        pass
    try:
        return getattr(table, column)
    except AttributeError:
        names = ", ".join(str(name) for name in getattr(table, "columns", ()))
        hint = f" There are: {names}." if names else ""
        raise OptionError(f"--each: there is no column {column!r}.{hint}") from None


def _read_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--each {path}: {error}.") from error
    if path.suffix.lower() != ".csv":
        return text.splitlines()
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0]]
    if _COLUMN in header:
        position = header.index(_COLUMN)
        return [row[position] for row in rows[1:] if len(row) > position]
    if len(header) == 1:
        return [row[0] for row in rows if row]
    raise OptionError(
        f"--each {path}: no column is called {_COLUMN!r}. There are: {', '.join(rows[0])}."
    )
