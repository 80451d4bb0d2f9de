"""Read prompts from what `--each` names: a variable, a column, a table in a file, or lines of text.

A reader yields rows: a number, as the user counts them, and a value. Whatever is no text and no
record with a prompt is refused with its row, its type and what to do; nothing is turned into text.

Separate because reading tables is a subject of its own, which needs nothing of a call.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from importlib import import_module
from itertools import chain, islice, product
from math import prod
from numbers import Number
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TextIO

from xai_notebook.arguments.values import TABLES
from xai_notebook.client import bounds
from xai_notebook.client.request import is_blank
from xai_notebook.errors import OptionError
from xai_notebook.pictures.files import read_bounded
from xai_notebook.settings import MIB

__all__ = ["MAX_VARIANTS", "Prompts", "Variant", "expand_variants", "read_prompts", "split_lines"]

_CHECKED: Final = 100_000
"""Rows of a list or a file that are checked before the first is used."""
_MAX_BLANKS: Final = 1_000_000
"""Blank prompts in a row: a source of nothing else would be read for ever."""
_MAX_LINE: Final = 1 << 20
"""Characters of a line in a file."""
_MAX_JSON: Final = 256 * MIB
"""Bytes of a .json file, which is read as a whole; .jsonl has no limit."""
_CHUNK: Final = 1 << 16
_SAMPLE: Final = 100
"""Lines of a CSV file that its delimiter is found from."""
_DELIMITERS: Final = ",;\t|"
_ONE_COLUMN: Final = "\x1f"
"""The "delimiter" of a file of one column: a character that no text holds."""
_COLUMNS: Final = ("prompt", "prompts")
"""The column that is read when none is named, in order of preference."""
_HEADINGS: Final = frozenset({
    *_COLUMNS, "text", "texts", "caption", "captions", "description", "descriptions",
})  # fmt: skip
"""Headings of a file that has one column."""
_LONGEST_HEADING: Final = 3
"""Words of a first line that may be a heading when one of `_HEADINGS` is among them."""
_EDGES: Final = "\ufeff\u200b\u2060"
"""Invisible characters that editors and exports leave at the start of a text."""
_SEP: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The line by which Excel learns a delimiter."""
_NON_ASCII: Final = re.compile("[^\x00-\x7f\udc80-\udcff]")
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")
_NOT_CP1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]|[\xa1-\xff]{4}")
"""Bytes that CP1252 leaves undefined; and four letters outside ASCII in a row, which no language
of Western Europe has: that is another encoding."""
_STEP: Final = re.compile(r"""\[\s*(["']?)(?P<key>.+?)\1\s*\]|\.(?P<name>[^.\[\]]+)""")
_NAME: Final = re.compile(r"(?P<head>\w+)(?P<steps>(?:\[[^\[\]]+\]|\.[^.\[\]]+)+)")
_FILE: Final = re.compile(r"""(?P<file>.+?)\[\s*(["']?)(?P<column>.+)\2\s*\]""", re.DOTALL)
_SOURCES: Final = (
    "a list, a Series, a DataFrame column such as df.prompt, a generator, "
    "or the path of a file: " + ", ".join(sorted(TABLES))
)


@dataclass(slots=True)
class Prompts(Iterator[str]):
    """The prompts of `--each`, one at a time.

    Attributes:
        texts: The prompts that are left.
        length: How many there may be, blanks included; None: the source does not say.
        lazy: Reading them runs code of the user's own, which may take its time or never end.
        notes: What the user should know about how they were read.
    """

    texts: Iterator[str]
    length: int | None
    lazy: bool
    notes: tuple[str, ...] = ()

    def __next__(self) -> str:
        return next(self.texts)


class Row(NamedTuple):
    """One row of a source.

    Attributes:
        number: From 1; in a text file, of the line it begins on.
        value: As it stands there.
    """

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class _Source:
    """What holds the prompts.

    Attributes:
        found: An iterable, a table or the path of a file.
        name: As the user typed it; "" for an object given in Python.
        column: The column or field that the user named; None: `prompt`.
    """

    found: Any
    name: str
    column: str | None = None

    @property
    def where(self) -> str:
        """How messages about it begin."""
        return f"--each {self.name}" if self.name else "--each"

    def at(self, row: Row) -> str:
        """How messages about one of its rows begin."""
        unit = "line" if isinstance(self.found, Path) and _is_text(self.found) else "row"
        return f"{self.where}, {unit} {row.number:,}"

    def example(self, names: Sequence[Any]) -> str:
        """Return how to name one of its columns."""
        told = [str(name) for name in names if str(name).strip()] or [_COLUMNS[0]]
        column = next((name for name in told if _fold(name) in _HEADINGS), told[-1])
        name = f'"{self.name}"' if " " in self.name else self.name
        return f'--each {name}["{_short(column)}"]' if name else f'each=rows["{_short(column)}"]'


def read_prompts(source: Any, namespace: Mapping[str, Any]) -> Prompts:
    """Return the prompts that `--each` names, as they stand there.

    The first 100,000 rows of a list or a file are checked at once. Of what can be read only once,
    such as a generator, only the first prompt is read ahead.

    Args:
        source: An iterable of prompts, a table, or text: the name of a variable, `name.column` or
            `name[column]`, a path, `path[column]`, or several lines, one prompt each.
        namespace: Where variables are looked up.

    Returns:
        Prompts; going on with them may raise an OptionError, where reading their source does.

    Raises:
        OptionError: There is nothing of that name, no prompt in it, or it cannot be read.
    """
    try:
        named = _find(source, namespace)
        found = named.found
        is_file = isinstance(found, Path)
        length = None if is_file else _length(found)
        read, notes = _file_reader(named) if is_file else (partial(_read_rows, named), ())
    except OptionError:
        raise
    except Exception as error:  # whatever the user's own objects raise
        raise OptionError(f"--each: {type(error).__name__}: {error}.") from error
    lazy = not is_file and not hasattr(found, "__len__")
    if is_file and found.suffix.lower() not in _RECORDS:
        named = _Source(found, named.name)  # its column is read, so rows are texts
    # A progress bar around a generator has a length, and can be read only once.
    again = is_file or isinstance(found, MappingView) or hasattr(type(found), "__getitem__")
    if again and not lazy:
        for _ in islice(_texts(named, read(), told=False), _CHECKED):
            pass
    prompts = _texts(named, read())
    first = next(prompts, None)
    if first is None:
        raise OptionError(f"--each found no prompt. It takes {_SOURCES}.")
    return Prompts(chain([first], prompts), length, lazy, notes)


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, which end as those of a file do."""
    return [line.rstrip("\n") for line in io.StringIO(text, newline=None)]


def _length(found: Any) -> int | None:
    try:
        return len(found) if hasattr(found, "__len__") else None
    except (OverflowError, TypeError):  # longer than any index; an array without dimensions
        return None


# From a name to what holds the prompts


def _find(given: Any, namespace: Mapping[str, Any]) -> _Source:
    """Return what holds the prompts: an iterable, or the path of a file."""
    if isinstance(given, str) and "\n" not in given:
        source = _named(given, namespace)
    else:
        source = _Source(given, f"{given}" if isinstance(given, Path) else "")
    if isinstance(source.found, Path):
        is_json = source.found.suffix.lower() == ".json"
        return _narrowed(_read_json(source)) if is_json else source
    if isinstance(source.found, str):
        if _suffix(source.found):
            raise OptionError(f"{source.where}: there is no file {_short(source.found)!r}.")
        return _Source(split_lines(source.found), source.name)
    return _narrowed(source)


def _narrowed(source: _Source) -> _Source:
    """Return the column of a table that holds the prompts; what is no table as it is."""
    names = _column_names(source.found)
    if names is None:
        return source
    column = _take_column(source.found, names[_position(source, names)]) if names else ()
    if isinstance(column, str):  # a single record
        column = [column]
    elif isinstance(column, Mapping):  # as DataFrame.to_dict() writes a column
        column = list(column.values())
    return _Source(column, source.name)


def _named(name: str, namespace: Mapping[str, Any]) -> _Source:
    """Return what a single line names: a variable, a column of one, or a file."""
    name = name.strip()
    if name in namespace:
        return _variable(name, namespace[name])
    files = [_Source(Path(name), name)]
    if parts := _FILE.fullmatch(name):
        files.append(_Source(Path(parts["file"]), parts["file"], parts["column"]))
    for file in files:
        if _suffix(file.name) and _is_file(file.name):
            return file
    if (parts := _NAME.fullmatch(name)) and parts["head"] in namespace:
        source = _variable(parts["head"], namespace[parts["head"]])
        for step in _STEP.finditer(parts["steps"]):
            source = _follow(source, step["key"] or step["name"])
        return source
    for file in files:
        if _is_file(file.name):
            return file  # of a type that is refused
    raise OptionError(f"--each {name}: there is no such variable or file. It takes {_SOURCES}.")


def _variable(name: str, value: Any) -> _Source:
    """Return a variable's value; text that is the path of a file stands for the file."""
    is_file = isinstance(value, str) and _suffix(value) and _is_file(value)
    return _Source(Path(value) if is_file else value, name)


def _follow(source: _Source, step: str) -> _Source:
    """Return what `.step` or `[step]` behind a name means."""
    found = source.found
    name = f"{source.name}.{step}"
    if isinstance(found, Path):
        return _Source(found, source.name, step)
    if (names := _column_names(found)) is not None:
        position = _position(_Source(found, source.name, step), names)
        return _Source(_take_column(found, names[position]), name)
    if (value := getattr(found, step, None)) is not None and not callable(value):
        return _variable(name, value)
    if isinstance(found, Iterable) and not isinstance(found, (str, bytes)):
        return _Source(found, source.name, step)  # a field of its records
    raise OptionError(f"{source.where}: there is no column {step!r}.")


def _suffix(name: str) -> str | None:
    """Return the suffix of a text that can only be the name of a table; else None."""
    suffix = Path(name).suffix.lower() if "\n" not in name and "\0" not in name else ""
    return suffix if suffix in TABLES else None


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # the last: nobody's home folder
        return False


# Columns


def _column_names(table: Any) -> list[Any] | None:
    """Return the names of a table's columns; None: it has no columns."""
    if isinstance(table, Mapping):
        return list(table)
    kind = type(table)
    if hasattr(kind, "collect_schema"):  # polars, which warns when a LazyFrame is asked otherwise
        return list(table.collect_schema().names())
    if hasattr(table, "__len__") and hasattr(kind, "__getitem__"):
        for attribute in ("column_names", "columns"):  # Arrow and datasets, pandas and its kin
            if hasattr(kind, attribute) and not callable(names := getattr(table, attribute)):
                return list(names) if names is not None else None
        if names := getattr(getattr(table, "dtype", None), "names", None):  # a structured array
            return list(names)
    return None


def _take_column(table: Any, name: Any) -> Any:
    if hasattr(type(table), "collect"):  # of a LazyFrame, this column alone
        table = table.select(name).collect()
    return table[name]


def _matches(names: Sequence[Any], wanted: str | None) -> list[int]:
    """Return the positions of the columns that fit a name; an exact match is better than others."""
    for name in _COLUMNS if wanted is None else (wanted,):
        exact = [i for i, each in enumerate(names) if str(each) == name]
        if found := exact or [i for i, each in enumerate(names) if _fold(each) == _fold(name)]:
            return found
    return []


def _position(source: _Source, names: Sequence[Any]) -> int:
    """Return the position of the column that holds the prompts.

    Raises:
        OptionError: There is none, or there are several.
    """
    wanted = source.column or _COLUMNS[0]
    found = _matches(names, source.column)
    if not found:
        raise OptionError(
            f"{source.where}: there is no column {wanted!r}. There are: {_listed(names)}. "
            f"Name the column that holds the prompts: {source.example(names)}."
        )
    if len(found) > 1:
        told = " and ".join(repr(_short(names[i])) for i in found)
        raise OptionError(
            f"{source.where}: {len(found)} columns can be meant by {wanted!r}: {told}. "
            "Rename the others."
        )
    return found[0]


def _fold(name: Any) -> str:
    return str(name).strip().strip(_EDGES).strip().casefold()


def _short(text: Any, limit: int = 60) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _listed(names: Sequence[Any], most: int = 20) -> str:
    told = [_short(name) for name in names if str(name).strip()]
    more = f" and {len(told) - most:,} more" if len(told) > most else ""
    return (", ".join(told[:most]) or "none with a name") + more


# From rows to prompts


def _read_rows(source: _Source) -> Iterator[Row]:
    """Yield the rows of an object.

    Raises:
        OptionError: It has none, or they have no order.
    """
    found = source.found
    if isinstance(found, AbstractSet) and not isinstance(found, KeysView):
        raise OptionError(
            f"{source.where}: a {type(found).__name__} has no order. Give sorted(…) of it."
        )
    if isinstance(found, io.TextIOBase) and _suffix(name := str(getattr(found, "name", ""))):
        raise OptionError(
            f"{source.where}: an open file is read by its lines. Give its path: "
            f"each={Path(name).name!r}."
        )
    if not isinstance(found, Iterable) or isinstance(found, (bytes, bytearray, memoryview)):
        raise OptionError(
            f"{source.where}: a value of type {type(found).__name__} is none of these. "
            f"--each takes {_SOURCES}."
        )
    if (dimensions := getattr(found, "ndim", 1)) != 1:
        raise OptionError(
            f"{source.where}: a value of type {type(found).__name__} with {dimensions} dimensions "
            "is no list of prompts. Give one of its columns."
        )
    return map(Row._make, enumerate(found, 1))


def _texts(source: _Source, rows: Iterator[Row], *, told: bool = True) -> Iterator[str]:
    """Yield the prompts of rows, without those that are missing or blank.

    Args:
        source: For messages.
        rows: As they stand there.
        told: A failure says how many prompts came before it.

    Raises:
        OptionError: A row holds no prompt, reading fails, or there are blanks without end.
    """
    given = blanks = 0
    try:
        for row in rows:
            plain = type(row.value) is str and source.column is None
            value = row.value if plain else _text(source, row, row.value)
            if value is not None and not is_blank(value):
                given, blanks = given + 1, 0
                yield value.strip().strip(_EDGES).strip()
            elif (blanks := blanks + 1) == _MAX_BLANKS:
                raise OptionError(f"--each: {blanks:,} blank prompts in a row.")  # noqa: TRY301
    except Exception as error:  # whatever the user's own objects raise
        known = isinstance(error, OptionError)
        reason = str(error) if known else f"--each: {type(error).__name__}: {error}."
        after = f" It came after {given:,} prompts." if told and given else ""
        raise OptionError(reason + after) from error


def _text(source: _Source, row: Row, value: Any, *, inside: bool = False) -> str | None:
    """Return the prompt of a row; None: it is missing.

    Args:
        source: Where it stands.
        row: For messages.
        value: The row's value, or that of its field.
        inside: It is that of a field, which is no record itself.

    Raises:
        OptionError: It is neither text nor a record with a prompt.
    """
    if hasattr(type(value), "as_py"):  # a scalar of Arrow
        value = value.as_py()
    if isinstance(value, str):
        if source.column is None or inside:
            return str.__str__(value)
        raise OptionError(
            f"{source.at(row)}: a text has no field {source.column!r}. Leave out "
            f"[{source.column}], or give records."
        )
    if _is_missing(value):
        return None
    if not inside:
        if (record := _record(value, source.column)) is not None:
            return _text(source, row, _field(source, row, value, record), inside=True)
        if isinstance(value, tuple) and len(value) == 1:  # a row of a database cursor
            return _text(source, row, value[0], inside=True)
    field = source.column or _COLUMNS[0]
    if isinstance(value, (tuple, list)) and not inside:
        raise OptionError(
            f"{source.at(row)}: a {type(value).__name__} of {len(value)} values is no prompt. "
            f"Give one column, or records with a field {field!r}."
        )
    held = f"the field {field!r} holds" if inside and _record(row.value, None) else "this is"
    raise OptionError(
        f"{source.at(row)}: {held} a value of type {type(value).__name__}. A prompt is text, or a "
        f"record with a field {field!r}."
    )


def _is_missing(value: Any) -> bool:
    """Tell whether a value stands for nothing: None, NaN, NaT, pd.NA, a masked element."""
    kind = type(value).__name__
    if value is None or kind in {"NAType", "NaTType", "MaskedConstant"}:
        return True
    return (isinstance(value, Number) or kind == "datetime64") and bool(value != value)  # noqa: PLR0124


class _Record(NamedTuple):
    """A row with named fields: the names, and how to get one."""

    names: list[Any]
    get: Callable[[Any], Any]


def _record(row: Any, column: str | None) -> _Record | None:
    """Return a row's fields; None: they have no names, or it is an object without that field."""
    row = getattr(row, "_mapping", row)  # SQLAlchemy
    kind = type(row)
    if isinstance(row, tuple) and hasattr(kind, "_fields"):
        return _Record(list(kind._fields), partial(getattr, row))
    if isinstance(row, Mapping) or (hasattr(kind, "keys") and hasattr(kind, "__getitem__")):
        return _Record(list(kind.keys(row)), row.__getitem__)  # the latter: sqlite3.Row, a Series
    if names := getattr(getattr(row, "dtype", None), "names", None):  # of a structured array
        return _Record(list(names), row.__getitem__)
    if is_dataclass(row) and not isinstance(row, type):
        names = [field.name for field in fields(row)]
        return _Record(names, partial(getattr, row)) if _matches(names, column) else None
    return None


def _field(source: _Source, row: Row, value: Any, record: _Record) -> Any:
    """Return the field of a record that holds the prompt.

    Raises:
        OptionError: There is none, or there are several.
    """
    wanted = source.column or _COLUMNS[0]
    found = _matches(record.names, source.column)
    if len(found) == 1:
        return record.get(record.names[found[0]])
    if found:
        told = " and ".join(repr(_short(record.names[i])) for i in found)
        raise OptionError(
            f"{source.at(row)}: {len(found)} fields can be meant by {wanted!r}: {told}. "
            "Rename the others."
        )
    if len(record.names) == 1 and source.column is None and not isinstance(value, Mapping):
        return record.get(record.names[0])  # a row of a database cursor, of one column
    raise OptionError(
        f"{source.at(row)}: this {type(value).__name__} has no field {wanted!r}. "
        f"It has: {_listed(record.names)}. Name the field that holds the prompts: "
        f"{source.example(record.names)}."
    )


# Files

_Read = Callable[[], Iterator[Row]]
_RECORDS: Final = frozenset({".jsonl", ".ndjson"})
"""Files whose rows can be records."""


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in {".txt", ".csv", ".tsv", ".jsonl", ".ndjson"}


def _file_reader(source: _Source) -> tuple[_Read, tuple[str, ...]]:
    """Return how to read a file, as often as needed, and notes for the user.

    Raises:
        OptionError: It cannot be read, or is of a type or in an encoding that is unknown.
    """
    suffix = source.found.suffix.lower()
    if suffix not in TABLES:
        raise OptionError(
            f"{source.where}: files of type {suffix or '(none)'} are not read. Give one of "
            f"{', '.join(sorted(TABLES))}, or read it in Python and give the DataFrame or list."
        )
    try:
        path = source.found.expanduser()
        path.stat()
        if suffix == ".parquet":
            return partial(_read_parquet, source, path), ()
        if suffix == ".xlsx":
            return _read_workbook(source, path)
        encoding = _find_encoding(source, path)
    except (OSError, RuntimeError) as error:  # the last: nobody's home folder
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{source.where}: {reason}.") from error
    note = (
        f"{path.name} is not UTF-8: it was read as Windows text (CP1252). Check its accented "
        "letters, or save it as UTF-8."
    )
    reader = {".csv": _read_csv, ".tsv": _read_tsv, ".txt": _read_text}.get(suffix, _read_jsonl)
    read = partial(_read_lines, source, path, encoding, reader)
    return read, (note,) if encoding == "cp1252" else ()


def _find_encoding(source: _Source, path: Path) -> str:
    """Return the encoding of a text file: UTF-8, UTF-16 by its mark, or CP1252.

    All of the file is read, a piece at a time.

    Raises:
        OptionError: It is none of these.
    """
    with path.open("rb") as stream:
        mark = stream.read(3)
        stream.seek(0)
        if mark[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
            _check_utf_16(source, stream)
            return "utf-16"
        return _find_byte_encoding(source, stream, marked=mark == codecs.BOM_UTF8)


def _check_utf_16(source: _Source, stream: BinaryIO) -> None:
    decoder = codecs.getincrementaldecoder("utf-16")()
    number = 1
    try:
        while chunk := stream.read(_CHUNK):
            text = decoder.decode(chunk)
            if "\0" in text:
                raise UnicodeError  # noqa: TRY301  # UTF-32, or no text at all
            number += text.count("\n")
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise OptionError(
            f"{source.where}, line {number:,} or after it: this is not UTF-16 text. "
            "Save the file as UTF-8."
        ) from error


def _find_byte_encoding(source: _Source, stream: BinaryIO, *, marked: bool) -> str:
    # What is not UTF-8 becomes a lone surrogate, which UTF-8 itself never holds.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    number = 1
    other = foreign = 0  # the first line that is not UTF-8; that is not CP1252
    encoded = False  # there are characters that only UTF-8 explains
    while True:
        chunk = stream.read(_CHUNK)
        text = decoder.decode(chunk, final=not chunk)
        if (start := text.find("\0")) >= 0:
            number += text.count("\n", 0, start)
            raise OptionError(
                f"{source.where}, line {number:,}: this is not UTF-8 text. Save the file as UTF-8; "
                "in Excel that is the type CSV UTF-8."
            )
        if not text.isascii():
            encoded = encoded or _NON_ASCII.search(text) is not None
            if not other and (match := _NOT_UTF_8.search(text)):
                other = number + text.count("\n", 0, match.start())
            if not foreign and (undefined := _NOT_CP1252.search(chunk)):
                foreign = number + chunk.count(b"\n", 0, undefined.start())
        number += text.count("\n")
        if not chunk:
            break
    if not other:
        return "utf-8-sig"
    if encoded or marked or foreign:
        line = other if encoded or marked else foreign
        raise OptionError(
            f"{source.where}, line {line:,}: this is neither UTF-8 nor Windows text (CP1252). "
            "Save the file as UTF-8."
        )
    return "cp1252"


def _read_lines(
    source: _Source,
    path: Path,
    encoding: str,
    reader: Callable[[_Source, Iterator[Row]], Iterator[Row]],
) -> Iterator[Row]:
    """Yield the rows of a text file, as it is read."""
    try:
        with path.open(encoding=encoding) as stream:
            yield from reader(source, _lines(source, stream))
    except OSError as error:
        raise OptionError(f"{source.where}: {error.strerror or error}.") from error


def _lines(source: _Source, stream: TextIO) -> Iterator[Row]:
    for number, line in enumerate(iter(partial(stream.readline, _MAX_LINE + 1), ""), 1):
        if len(line) > _MAX_LINE:
            raise OptionError(
                f"{source.where}, line {number:,}: more than {_MAX_LINE:,} characters."
            )
        yield Row(number, line.lstrip(_EDGES) if number == 1 else line)


def _read_text(source: _Source, lines: Iterator[Row]) -> Iterator[Row]:
    """Yield the lines; but of what Excel calls Unicode text, a table with tabs, a column."""
    first = next(lines, None)
    if first is None:
        return iter(())
    lines = chain([first], lines)
    cells = first.value.split("\t")
    if source.column is not None:
        return _read_csv(source, lines)
    return _read_tsv(source, lines) if len(cells) > 1 and _matches(cells, None) else lines


def _read_jsonl(source: _Source, lines: Iterator[Row]) -> Iterator[Row]:
    for number, line in lines:
        if not is_blank(line):
            try:
                yield Row(number, bounds.parsed(line))
            except ValueError as error:
                raise OptionError(
                    f"{source.where}, line {number:,}: this is not JSON: "
                    f"{getattr(error, 'msg', error)}. Write a text or an object on each line."
                ) from error


def _read_json(source: _Source) -> _Source:
    """Return what a .json file holds: a list of texts or objects, or an object of columns.

    Raises:
        OptionError: It cannot be read, or holds something else.
    """
    try:
        value = bounds.parsed(read_bounded(source.found.expanduser(), _MAX_JSON))
    except (OSError, RuntimeError) as error:  # the last: nobody's home folder
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{source.where}: {reason}.") from error
    except ValueError as error:
        raise OptionError(f"{source.where}: this is not JSON: {error}.") from error
    if not isinstance(value, (list, dict)):
        raise OptionError(
            f"{source.where}: it holds a value of type {type(value).__name__}. Write a list of "
            "texts, or of objects with a field 'prompt'."
        )
    return _Source(value, source.name, source.column)


def _read_tsv(source: _Source, lines: Iterator[Row]) -> Iterator[Row]:
    return _read_csv(source, lines, "\t")


def _read_csv(source: _Source, lines: Iterator[Row], delimiter: str = "") -> Iterator[Row]:
    """Yield the cells of the column that holds the prompts."""
    head = list(islice(lines, 1))
    if head and (match := _SEP.fullmatch(head[0].value)):
        delimiter, head = match[1], []
    head += islice(lines, _SAMPLE)  # each with its number, for messages
    delimiter = delimiter or _find_delimiter(source, [line for _, line in head])
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for last, line in chain(head, lines):  # noqa: B007  # read below
            yield line

    def rows() -> Iterator[Row]:
        while True:
            first = last + 1
            try:
                yield Row(first, next(reader))
            except StopIteration:
                return
            except csv.Error as error:
                reason = f"{error}"
                if "expected after" in reason:
                    raise OptionError(
                        f"{source.where}, line {last:,}: text follows a closing quote. Put the "
                        "whole cell into quotes, and write each quote inside it twice."
                    ) from error
                if "end of data" in reason:
                    raise OptionError(
                        f"{source.where}, line {first:,}: a quote is not closed. Write quotes at "
                        "both ends of the cell, and each quote inside it twice."
                    ) from error
                raise OptionError(
                    f"{source.where}, line {last:,}: {error}. Is a quote not closed?"
                ) from error

    reader = csv.reader(texts(), delimiter=delimiter, strict=True, skipinitialspace=True)
    return _below_heading(source, rows(), uneven=True)


def _find_delimiter(source: _Source, sample: Sequence[str]) -> str:
    """Return the delimiter of a CSV file, from its first lines.

    Prompts hold commas and semicolons, so the first line decides: the delimiter is what sets the
    wanted column apart in it. A first line of one cell means one column.

    Raises:
        OptionError: The first line is one cell, and those below it are a table.
    """
    tables = {delimiter: _cells(sample, delimiter) for delimiter in _DELIMITERS}
    several = {delimiter: rows for delimiter, rows in tables.items() if rows and len(rows[0]) > 1}
    for delimiter, rows in several.items():
        if _matches(rows[0], source.column):
            return delimiter
    if several:  # it lacks the column: what is most like a table shows which it has

        def likeness(delimiter: str) -> tuple[int, int]:
            rows = several[delimiter]
            return sum(len(row) == len(rows[0]) for row in rows), len(rows[0])

        return max(several, key=likeness)
    for rows in tables.values():
        widths = {len(row) for row in rows[1:]}
        prose = any(cell.startswith(" ") for row in rows[1:] for cell in row[1:])
        if len(widths) == 1 and widths != {1} and not prose:
            raise OptionError(
                f"{source.where}: the first line has one cell and the lines below it have "
                f"{widths.pop()}. Put prompts with delimiters into quotes, or name the file .txt "
                "if each line is one prompt."
            )
    return _ONE_COLUMN


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return what lines hold if that is their delimiter, without blank rows."""
    rows: list[list[str]] = []
    with suppress(csv.Error):  # told when it is read
        rows.extend(csv.reader(lines, delimiter=delimiter))
    return [row for row in rows if not is_blank("".join(row))]


def _below_heading(source: _Source, rows: Iterator[Row], *, uneven: bool) -> Iterator[Row]:
    """Yield the cells of the wanted column.

    Args:
        source: For its column.
        rows: Lists of cells; the first that is not blank is the heading, or the first prompt.
        uneven: A row longer than the heading means a delimiter inside a cell.

    Raises:
        OptionError: There is no such column, the first row can be a heading or a prompt, or a row
            cannot be the author's.
    """
    for row in rows:
        names = [_shown(cell) for cell in row.value]
        if not is_blank("".join(names)):
            break
    else:
        return
    position = 0
    if len(names) > 1 or source.column is not None or _matches(names, None):
        position = _position(source, names)
    elif not _is_heading(source, names[0]):
        yield Row(row.number, row.value[0])
    width = max(i for i, name in enumerate(names, 1) if not is_blank(name))
    for number, cells in rows:
        if uneven and any(not is_blank(cell) for cell in cells[width:]):
            raise OptionError(
                f"{source.where}, line {number:,}: this row has {len(cells)} cells and the heading "
                f"{width}. Put a prompt that holds the delimiter into quotes."
            )
        if len(cells) > position:
            yield Row(number, cells[position])
        elif uneven and len(cells) == 1 and " " in cells[0].strip():
            raise OptionError(
                f"{source.where}, line {number:,}: this row is a single text, and the heading has "
                f"{width} cells. Put a prompt that holds a line break into quotes."
            )


def _shown(cell: Any) -> str:
    return "" if _is_missing(cell) else str(cell)


def _is_heading(source: _Source, cell: str) -> bool:
    """Tell whether the first cell of a file of one column is its heading, or a prompt.

    Raises:
        OptionError: It can be either.
    """
    words = _fold(cell).split()
    if len(words) == 1 and words[0] in _HEADINGS:
        return True
    short = len(words) <= _LONGEST_HEADING and any(word in _HEADINGS for word in words)
    if len(words) == 1 or short:
        raise OptionError(
            f"{source.where}: {_short(cell)!r} can be a heading or a prompt. If it is the heading, "
            f"name it: {source.example([cell])}. Else write prompt as the first line, above it."
        )
    return False


# Files that other packages read


def _read_parquet(source: _Source, path: Path) -> Iterator[Row]:
    """Yield a column of a Parquet file, a batch at a time."""
    parquet, polars = _imported("pyarrow.parquet"), _imported("polars")
    if parquet is None and polars is None:
        raise OptionError(
            f"{source.where}: a .parquet file needs pyarrow or polars. Install one of them: "
            "pip install pyarrow."
        )
    values: Iterable[Any]
    try:
        if parquet is not None:
            file = parquet.ParquetFile(path)
            names = file.schema_arrow.names
        else:
            table = polars.scan_parquet(path)
            names = table.collect_schema().names()
        name = names[_position(source, names)]
        if parquet is not None:
            batches = file.iter_batches(columns=[name])
            values = (value for batch in batches for value in batch.column(0))
        else:
            values = _take_column(table, name)
    except OptionError:
        raise
    except Exception as error:  # whatever the package raises of a file that is no such table
        raise OptionError(
            f"{source.where}: this is not a Parquet file: {_short(error, 200).rstrip('.')}."
        ) from error
    return map(Row._make, enumerate(values, 1))


def _read_workbook(source: _Source, path: Path) -> tuple[_Read, tuple[str, ...]]:
    """Return how to read the first sheet of an Excel workbook, and notes for the user."""
    pandas, polars, openpyxl = map(_imported, ("pandas", "polars", "openpyxl"))
    if openpyxl is None or (pandas is None and polars is None):
        raise OptionError(
            f"{source.where}: an .xlsx file needs openpyxl, and pandas or polars. Install them: "
            "pip install pandas openpyxl."
        )
    rows: list[Sequence[Any]]
    try:
        if pandas is not None:
            options = {"header": None, "dtype": object, "keep_default_na": False}
            books = pandas.read_excel(path, sheet_name=None, engine="openpyxl", **options)
            sheets = list(books)
            rows = list(books[sheets[0]].itertuples(index=False, name=None))
        else:
            options = {"drop_empty_rows": False, "raise_if_empty": False}
            books = polars.read_excel(path, sheet_id=0, engine="openpyxl", **options)
            sheets = list(books)
            rows = [books[sheets[0]].columns, *books[sheets[0]].iter_rows()]
    except OSError:
        raise
    except Exception as error:  # whatever the package raises of a file that is no workbook
        raise OptionError(
            f"{source.where}: this is not an Excel workbook that can be read: "
            f"{_short(error, 200).rstrip('.')}."
        ) from error
    note = f"{path.name} has several sheets: only the first, {sheets[0]!r}, was read."

    def read() -> Iterator[Row]:
        return _below_heading(source, map(Row._make, enumerate(rows, 1)), uneven=False)

    return read, (note,) if len(sheets) > 1 else ()


def _imported(name: str) -> Any:
    """Return a module that users may have; None: it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


MAX_VARIANTS: Final = 500
"""Prompts that one `--matrix` may stand for: more is rarely meant, and always costs."""
_ALTERNATIVES: Final = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")


class Variant(NamedTuple):
    """One of the prompts that `{a|b}` stands for, and the alternatives it took."""

    prompt: str
    chosen: tuple[str, ...]


def expand_variants(prompt: str, *, needed: bool = True) -> list[Variant]:
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
