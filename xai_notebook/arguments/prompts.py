"""Prompts: the variants that `{a|b}` stands for, and lists of prompts for `--each`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count, product
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from xai_notebook.errors import OptionError

__all__ = ["Prompts", "Variant", "expand", "read_prompts"]

MAX_VARIANTS: Final = 500
"""Prompts that one `--matrix` may stand for: more is rarely meant, and always costs."""
_ALTERNATIVES: Final = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")
_MAX_BLANKS: Final = 1_000_000
"""Blank prompts in a row: a source of nothing else would be read for ever."""
_MAX_LINE: Final = 1 << 20
"""Characters of a line in a file of prompts."""
_COLUMN: Final = "prompt"
_SOURCES: Final = (
    "a list, a Series, a DataFrame column such as df.prompt, a generator, "
    "or the path of a .txt or .csv file"
)


class Variant(NamedTuple):
    """One of the prompts that `{a|b}` stands for, and the alternatives it took."""

    prompt: str
    chosen: tuple[str, ...]


def expand(prompt: str, *, needed: bool = True) -> list[Variant]:
    """Return every prompt that `{a|b}` stands for.

    Args:
        prompt: As written.
        needed: There must be alternatives.

    Raises:
        OptionError: There are no alternatives, or more than `MAX_VARIANTS` combinations.
    """
    parts = _ALTERNATIVES.split(prompt)
    choices = [[option.strip() for option in part.split("|")] for part in parts[1::2]]
    if needed and not choices:
        raise OptionError(
            "--matrix found no {a|b} in the prompt. Write alternatives like that, or options: "
            "--matrix quality=low,medium"
        )
    if (count := prod(map(len, choices))) > MAX_VARIANTS:
        raise OptionError(f"--matrix: {count:,} combinations are more than {MAX_VARIANTS}.")
    variants = []
    for chosen in product(*choices):
        words = [parts[0]]
        for word, text in zip(chosen, parts[2::2], strict=True):
            words += [word, text]
        variants.append(Variant("".join(words).strip(), tuple(word or "(none)" for word in chosen)))
    return variants


@dataclass(slots=True)
class Prompts(Iterator[str]):
    """The prompts of `--each`, one at a time.

    Attributes:
        texts: The prompts that are left.
        length: How many there may be, blanks included; None: the source does not say.
        lazy: Reading them runs code of the user's own, which may take its time or never end.
    """

    texts: Iterator[str]
    length: int | None
    lazy: bool

    def __next__(self) -> str:
        return next(self.texts)


def read_prompts(source: Any, namespace: Mapping[str, Any]) -> Prompts:
    """Return the prompts that `--each` names, as they stand there; only the first is read ahead.

    Args:
        source: An iterable of prompts, or text: the name of a variable, `name.column` or
            `name[column]`, a path, or several lines, one prompt each.
        namespace: Where variables are looked up.

    Returns:
        Prompts; going on with them may raise an OptionError, where reading their source does.

    Raises:
        OptionError: There is nothing of that name, no prompt in it, or it cannot be read.
    """
    try:
        found = _find(source, namespace)
        length = _length(found)
    except OptionError:
        raise
    except Exception as error:  # whatever the user's own objects raise
        raise OptionError(f"--each: {type(error).__name__}: {error}.") from error
    prompts = _texts(_read_file(found) if isinstance(found, Path) else found)
    first = next(prompts, None)
    if first is None:
        raise OptionError(f"--each found no prompt. It takes {_SOURCES}.")
    lazy = length is None and not isinstance(found, (Path, range))
    return Prompts(chain([first], prompts), length, lazy)


def _length(found: Any) -> int | None:
    try:
        return len(found) if hasattr(found, "__len__") else None
    except OverflowError:  # a range longer than any index
        return None


def _find(source: Any, namespace: Mapping[str, Any]) -> Any:
    """Return what holds the prompts: an iterable, or the path of a file."""
    if isinstance(source, str) and "\n" not in source:
        source = _named(source, namespace)
    if isinstance(source, str):
        return source.splitlines()
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):
        source = _column(source, _COLUMN)
    if isinstance(source, Path):
        return source
    if not isinstance(source, Iterable) or isinstance(source, (bytes, Mapping)):
        raise OptionError(
            f"--each takes {_SOURCES}; a value of type {type(source).__name__} is none of these."
        )
    return source


def _texts(items: Iterable[Any]) -> Iterator[str]:
    """Yield what is not blank.

    Raises:
        OptionError: Reading `items` fails, or there are blanks without end.
    """
    given = blanks = 0
    try:
        for item in items:
            known = item is not None and item == item  # noqa: PLR0124  # NaN
            if text := str(item).strip() if known else "":
                given, blanks = given + 1, 0
                yield text
            elif (blanks := blanks + 1) == _MAX_BLANKS:
                raise OptionError(f"--each: {blanks:,} blank prompts in a row.")  # noqa: TRY301
    except Exception as error:  # whatever the user's own objects raise
        known = isinstance(error, OptionError)
        reason = str(error) if known else f"--each: {type(error).__name__}: {error}."
        after = f" It came after {given:,} prompts." if given else ""
        raise OptionError(reason + after) from error


def _named(name: str, namespace: Mapping[str, Any]) -> Any:
    """Return what a single line names: a variable, a column of one, or a file."""
    head, _, column = re.sub(r"\[(.+)\]$", r".\1", name).partition(".")  # as in df["prompt"]
    if name in namespace:
        found = namespace[name]
        return Path(found) if isinstance(found, str) and _is_file(found) else found
    if head in namespace and column:
        return _column(namespace[head], column)
    if _is_file(name):
        return Path(name)
    raise OptionError(f"--each {name}: there is no such variable or file. It takes {_SOURCES}.")


def _is_file(name: str) -> bool:
    try:
        return Path(name).suffix.lower() in {".txt", ".csv"} and Path(name).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # the last: nobody's home folder
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


def _read_file(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, or the column of a table, as the file is read."""
    is_table = path.suffix.lower() == ".csv"
    try:
        path = path.expanduser()
        with path.open(encoding="utf-8-sig", newline="" if is_table else None) as stream:
            lines = _lines(path, stream)
            yield from _table(path, lines) if is_table else lines
    except (OSError, RuntimeError) as error:  # the last: nobody's home folder
        raise OptionError(f"--each {path}: {getattr(error, 'strerror', None) or error}.") from error


def _lines(path: Path, stream: TextIO) -> Iterator[str]:
    for number in count(1):
        try:
            line = stream.readline(_MAX_LINE + 1)
        except UnicodeDecodeError as error:
            number += error.object[: error.start].count(b"\n")  # noqa: PLW2901  # it reads in blocks
            raise OptionError(
                f"--each {path}, line {number}: this is not UTF-8 text. Save the file as UTF-8."
            ) from error
        if not line:
            return
        if len(line) > _MAX_LINE:
            raise OptionError(f"--each {path}, line {number}: more than {_MAX_LINE:,} characters.")
        yield line


def _table(path: Path, lines: Iterator[str]) -> Iterator[str]:
    rows = csv.reader(lines)
    try:
        first = next(rows, None)
        if first is None:
            return
        header = [cell.strip().lower() for cell in first]
        if _COLUMN in header:
            position = header.index(_COLUMN)
            yield from (row[position] for row in rows if len(row) > position)
        elif len(header) == 1:
            yield from (row[0] for row in chain([first], rows) if row)
        else:
            raise OptionError(
                f"--each {path}: no column is called {_COLUMN!r}. There are: {', '.join(first)}."
            )
    except csv.Error as error:
        raise OptionError(
            f"--each {path}, line {rows.line_num}: {error}. Is a quote not closed?"
        ) from error
