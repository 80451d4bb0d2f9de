"""Read the rows of `--each` from variables, tables, files and lines; expand prompts of `--matrix`.

A row has a prompt, or the cells that a template reads. A prompt that is neither text nor in a
record raises an OptionError that names the row and the type; other types are never converted.

Separate because reading tables is independent of the other arguments of a call.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from importlib import import_module
from itertools import chain, islice, product, repeat, zip_longest
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TextIO

from xai_notebook.arguments.templates import ALL_COLUMNS, RowFields
from xai_notebook.arguments.values import TABLES, did_you_mean, list_names, shorten
from xai_notebook.client import bounds
from xai_notebook.client.request import is_blank
from xai_notebook.errors import OptionError
from xai_notebook.pictures.files import read_bounded
from xai_notebook.pictures.picture import is_missing
from xai_notebook.settings import MIB

_MAX_CHECKED: Final = 100_000
"""Rows of a list or a file that are checked before the first row is used."""
_MAX_BLANKS: Final = 1_000_000
"""Consecutive blank prompts after which reading stops, because the source may be endless."""
_COLUMNS: Final = ("prompt", "prompts")
"""Default names of the column with the prompts, in order of preference."""
_HEADINGS: Final = frozenset({
    *_COLUMNS, "text", "texts", "caption", "captions", "description", "descriptions",
})  # fmt: skip
"""Known headings of a file with one column."""
_POSITION: Final = object()
"""Label of a row without a label of its own."""
_EDGES: Final = "\ufeff\u200b\u2060"
"""Invisible characters that programs leave at the start or the end of a text."""
_TEXT_FILES: Final = frozenset({".txt", ".csv", ".tsv", ".jsonl", ".ndjson"})
_RECORD_FILES: Final = frozenset({".jsonl", ".ndjson"})
_SOURCES: Final = (
    "a list, a Series, a DataFrame column such as df.prompt, a generator, "
    "or the path of a file: " + ", ".join(sorted(TABLES))
)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that a call reads.

    Attributes:
        prompt: Whether a column contains the prompts; otherwise a template makes them.
        named: Columns that templates read; `ALL_COLUMNS` stands for all columns.
        key: The column that names the rows.
    """

    prompt: bool = True
    named: frozenset[str] = frozenset()
    key: str | None = None

    @property
    def only_prompt(self) -> bool:
        """Whether nothing but the prompt is read."""
        return self.prompt and not self.named and self.key is None


class Row(NamedTuple):
    """One row of a source.

    Attributes:
        number: Number of the row, from 1; in a text file, the line on which the row starts.
        label: Label of the row in the index of its table, else its position from 0.
        prompt: The prompt; None if the row is blank, or if a template makes the prompt.
        key: The row's value in the key column; None if it is blank.
        fields: What templates read as `row`; None if there are no templates.
    """

    number: int
    label: Any
    prompt: str | None
    key: Any = None
    fields: Any = None


@dataclass(slots=True)
class Rows(Iterator[Row]):
    """The rows of `--each`, one at a time.

    Attributes:
        rows: The remaining rows, with blank rows.
        length: The number of rows, including blank rows; None if unknown.
        lazy: Whether reading runs the user's code, which may be slow or endless.
        source: The source, for messages.
        again: Reads the rows from the beginning; None if the source can be read only once.
        index_names: Names of the levels of the table's index.
        notes: Notes for the user about how the rows were read.
    """

    rows: Iterator[Row]
    length: int | None
    lazy: bool
    source: _Source
    again: Callable[[], Iterator[Row]] | None = None
    index_names: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    def __next__(self) -> Row:
        return next(self.rows)

    def locate(self, row: Row) -> str:
        """Return the beginning of messages about a row."""
        return self.source.locate(row)


class _Item(NamedTuple):
    """One row as a reader yields it.

    Attributes:
        number: See `Row.number`.
        value: The prompt: text, a record or a list of cells. The whole row in records.
        label: See `Row.label`; `_POSITION` means the position of the row.
        cells: The cells of a table by column; None if `value` is the whole row.
        key: The cell of the key column, if `cells` is given.
    """

    number: int
    value: Any
    label: Any = _POSITION
    cells: RowFields | None = None
    key: Any = None


@dataclass(frozen=True, slots=True)
class _Source:
    """An object or a file that holds prompts.

    Attributes:
        value: An iterable, a table, or the path of a file.
        name: The name that the user typed; "" for an object given in Python.
        column: The column or field that the user named for the prompts; None: `prompt`.
        columns: The columns to read.
    """

    value: Any
    name: str
    column: str | None = None
    columns: Columns = Columns()

    @property
    def where(self) -> str:
        """The beginning of messages about the source."""
        return f"--each {self.name}" if self.name else "--each"

    @property
    def wanted(self) -> str:
        """The column or field to read."""
        return self.column or _COLUMNS[0]

    def locate(self, row: Row | _Item) -> str:
        """Return the beginning of messages about a row."""
        in_text = isinstance(self.value, Path) and self.value.suffix.lower() in _TEXT_FILES
        return f"{self.where}, {'line' if in_text else 'row'} {row.number:,}"

    def example(self, names: Sequence[Any]) -> str:
        """Return the argument that names a column of the source, for messages."""
        columns = [str(name) for name in names if str(name).strip()] or [_COLUMNS[0]]
        column = next((name for name in columns if _fold(name) in _HEADINGS), columns[-1])
        name = f'"{self.name}"' if " " in self.name else self.name
        return f'--each {name}["{shorten(column)}"]' if name else f'each=rows["{shorten(column)}"]'


_Read = Callable[[], Iterator[_Item]]
"""Function that reads a source from its beginning."""
_Reader = Callable[[_Source, Iterator[_Item]], Iterator[_Item]]
"""Function that converts the lines of a text file to rows."""


def read_rows(
    source: Any, namespace: Mapping[str, Any], columns: Columns = Columns()
) -> Rows:  # frozen
    """Return the rows of the source that `--each` names.

    The first 100,000 rows of a list or a file are checked immediately. If a source can be read only
    once, such as a generator, only the rows up to the first prompt are read in advance.

    Args:
        source: An iterable of prompts, a table, or text: the name of a variable, `name.column` or
            `name[column]`, a path, `path[column]`, or several lines with one prompt each.
        namespace: The user's variables by name.
        columns: The columns to read.

    Raises:
        OptionError: The name is unknown, or the source cannot be read or contains no prompt. The
            iterator raises it as well if a later row cannot be read.
    """
    try:
        origin = _find(source, namespace, columns)
        is_file = isinstance(origin.value, Path)
        length = None if is_file else _length(origin.value)
        read, notes = _file_reader(origin) if is_file else (partial(_read_object, origin), ())
    except OptionError:
        raise
    except Exception as error:  # raised by the user's own objects
        raise OptionError(f"--each: {type(error).__name__}: {error}.") from error
    value = origin.value
    if is_file and value.suffix.lower() not in _RECORD_FILES:
        origin = replace(origin, column=None)  # the reader yields the cell of the column
    lazy = not is_file and not hasattr(value, "__len__")
    if isinstance(value, _Table):
        lazy = not all(hasattr(column, "__len__") for column in value.columns)
    # A progress bar around a generator has a length but can be read only once.
    repeatable = (
        is_file
        or (isinstance(value, _Table) and value.repeatable)
        or isinstance(value, MappingView)
        or hasattr(type(value), "__getitem__")
    )

    def read_again() -> Iterator[Row]:
        return _rows(origin, read(), counted=False)

    repeatable = repeatable and not lazy
    if repeatable and not columns.named:  # templates are checked by the caller
        for _ in islice(read_again(), _MAX_CHECKED):
            pass
    rows = _rows(origin, read(), counted=not repeatable)
    first = []
    for row in rows:
        first.append(row)
        if row.prompt is not None or not columns.prompt:
            break
    else:
        raise OptionError(f"--each: the source has no prompts. --each takes {_SOURCES}.")
    index = value.labels if isinstance(value, _Table) else getattr(value, "index", None)
    names = tuple(getattr(index, "names", ()))
    again = read_again if repeatable else None
    return Rows(chain(first, rows), length, lazy, origin, again, names, notes)


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text. `\n`, `\r` and `\r\n` end a line, as in a text file."""
    return [line.rstrip("\n") for line in io.StringIO(text, newline=None)]


def _length(value: Any) -> int | None:
    try:
        return len(value) if hasattr(value, "__len__") else None
    except (OverflowError, TypeError):  # a huge length; an array without dimensions
        return None


# Find the object or the file for a name

_NAME: Final = re.compile(r"(?P<head>\w+)(?P<steps>(?:\[[^\[\]]+\]|\.[^.\[\]]+)+)")
_STEP: Final = re.compile(r"""\[\s*(["']?)(?P<key>.+?)\1\s*\]|\.(?P<name>[^.\[\]]+)""")
_CALL: Final = re.compile(r"\w+(?:\.\w+)*\(")
_FILE: Final = re.compile(r"""(?P<file>.+?)\[\s*(["']?)(?P<column>.+)\2\s*\]""", re.DOTALL)


def _find(given: Any, namespace: Mapping[str, Any], columns: Columns) -> _Source:
    """Return the source: an iterable of prompts or records, a table, or the path of a file."""
    if isinstance(given, str) and "\n" not in given:
        source = _look_up(given.strip(), namespace)
    else:
        source = _Source(given, str(given) if isinstance(given, Path) else "")
    source = replace(source, columns=columns)
    if isinstance(source.value, sqlite3.Cursor):  # it can be read in one thread only
        source = replace(source, value=source.value.fetchall())
    if isinstance(source.value, str):
        if _suffix(source.value):
            raise OptionError(f"{source.where}: the file {shorten(source.value)!r} does not exist.")
        lines = [line for line in split_lines(source.value) if not is_blank(line)]
        return replace(source, value=lines)
    if isinstance(source.value, Path):
        if source.value.suffix.lower() != ".json":
            return source
        source = _read_json(source)
    return _open_table(source)


def _look_up(name: str, namespace: Mapping[str, Any]) -> _Source:
    """Return the source with a name: a variable, a column of a variable, or a file."""
    if name in namespace:
        return _variable(name, namespace[name])
    files = [_Source(Path(name), name)]
    if parts := _FILE.fullmatch(name):
        files.append(_Source(Path(parts["file"]), parts["file"], parts["column"]))
    for file in files:
        if _suffix(file.name) and _is_file(file.name):
            return file
    if _CALL.match(name):
        raise OptionError(
            f"--each {name}: only a name is possible here, not an expression. Assign the value to "
            "a variable first."
        )
    if (parts := _NAME.fullmatch(name)) and parts["head"] in namespace:
        source = _variable(parts["head"], namespace[parts["head"]])
        for step in _STEP.finditer(parts["steps"]):
            source = _select(source, step["key"] or step["name"])
        return source
    for file in files:
        if _is_file(file.name):
            return file  # its type is refused later
    raise OptionError(f"--each {name}: no such variable or file. --each takes {_SOURCES}.")


def _variable(name: str, value: Any) -> _Source:
    """Return the value of a variable as a source; the path of a table file names that file."""
    is_file = isinstance(value, str) and _suffix(value) and _is_file(value)
    return _Source(Path(value) if is_file else value, name)


def _select(source: _Source, step: str) -> _Source:
    """Return the column, attribute or field that `.step` or `[step]` after a name selects."""
    if source.column is not None and _column_names(source.value) is not None:
        source = _take_column(source)
    value = source.value
    name = f"{source.name}.{step}"
    if isinstance(value, Path):
        return _Source(value, source.name, step)
    if (names := _column_names(value)) is not None:
        _position(_Source(value, source.name, step), names)
        return _Source(value, source.name, step)
    if (attribute := getattr(value, step, None)) is not None and not callable(attribute):
        return _variable(name, attribute)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return _Source(value, source.name, step)  # the name of a field in its records
    raise OptionError(f"{source.where}: no column {step!r}.")


def _suffix(name: str) -> str | None:
    """Return the suffix of the name of a table file; None for other texts."""
    suffix = Path(name).suffix.lower() if "\n" not in name and "\0" not in name else ""
    return suffix if suffix in TABLES else None


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: unknown user after ~
        return False


# Columns of tables


class _Picked(NamedTuple):
    """Positions of the columns that a call reads.

    Attributes:
        prompt: Position of the prompts; None if a template makes them.
        key: Position of the keys; None without keys.
        fields: Names by which templates read columns, with the positions.
    """

    prompt: int | None
    key: int | None = None
    fields: tuple[tuple[str, int], ...] = ()

    @property
    def positions(self) -> list[int]:
        """The positions, in ascending order."""
        others = (each for each in (self.prompt, self.key) if each is not None)
        return sorted({*others, *(position for _, position in self.fields)})

    def item(self, number: int, cells: Sequence[Any], label: Any = _POSITION) -> _Item:
        """Return a row from its cells, which may be fewer than the heading has names."""

        def cell(position: int | None) -> Any:
            return None if position is None or position >= len(cells) else cells[position]

        fields = _NO_CELLS
        if self.fields:
            fields = RowFields((name, _cell(cell(position))) for name, position in self.fields)
        return _Item(number, cell(self.prompt), label, fields, cell(self.key))


_NO_CELLS: Final = RowFields()


@dataclass(frozen=True, slots=True)
class _Table:
    """The columns of a table that a call reads, and the labels of its rows.

    Attributes:
        columns: The columns.
        picked: Positions in `columns`.
        labels: The index of the table; None if it has none.
    """

    columns: list[Any]
    picked: _Picked
    labels: Iterable[Any] | None

    @property
    def repeatable(self) -> bool:
        """Whether the columns can be read several times."""
        return all(hasattr(type(column), "__getitem__") for column in self.columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[_Item]:
        rows = zip(*self.columns, strict=True)
        labels = repeat(_POSITION) if self.labels is None else iter(self.labels)
        for number, (label, cells) in enumerate(zip(labels, rows, strict=False), 1):
            yield self.picked.item(number, [_unbox(cell) for cell in cells], label)


def _open_table(source: _Source) -> _Source:
    """Replace a table by the columns that are read; return other sources unchanged."""
    table, names = source.value, _column_names(source.value)
    if names is None:
        return source
    if not names:
        return replace(source, value=())
    if source.column is not None:
        taken = _take_column(source)
        inner = _column_names(taken.value)
        if inner is not None and (not isinstance(taken.value, Mapping) or _matches(inner, None)):
            return _open_table(taken)  # a table in a dict of tables
    picked = _pick(source, names)
    positions = picked.positions
    if hasattr(type(table), "collect"):  # a LazyFrame; collect these columns only
        table = table.select([names[position] for position in positions]).collect()
    columns, labels = _columns_at(source, table, names, positions)
    if source.columns.only_prompt and labels is None:
        return replace(source, value=columns[0], column=None)
    order = {position: index for index, position in enumerate(positions)}
    compact = _Picked(
        None if picked.prompt is None else order[picked.prompt],
        None if picked.key is None else order[picked.key],
        tuple((name, order[position]) for name, position in picked.fields),
    )
    return replace(source, value=_Table(columns, compact, labels), column=None)


def _columns_at(
    source: _Source, table: Any, names: Sequence[Any], positions: Sequence[int]
) -> tuple[list[Any], Any]:
    """Return columns of a table, and its index; None: its rows have no labels."""
    if hasattr(type(table), "iloc"):
        return [_as_typed(table.iloc[:, position]) for position in positions], table.index
    columns, labels = [table[names[position]] for position in positions], None
    if isinstance(table, Mapping):
        if any(isinstance(column, str) or not isinstance(column, Iterable) for column in columns):
            columns = [[column] for column in columns]  # a single record
        elif all(isinstance(column, Mapping) for column in columns):  # from DataFrame.to_dict()
            labels = list(columns[0])
            columns = [[column.get(label) for label in labels] for column in columns]
    lengths = {len(column) for column in columns if hasattr(column, "__len__")}
    if len(lengths) > 1:
        raise OptionError(
            f"{source.where}: the columns have {' and '.join(map(str, sorted(lengths)))} rows. "
            "Give columns of one length."
        )
    return columns, labels


def _as_typed(column: Any) -> Any:
    """Return a column of pandas with whole numbers in place of the floats that blanks make them."""
    floats = type(column.dtype).__module__.startswith("numpy") and column.dtype.kind == "f"
    if not floats or not column.isna().any():
        return column
    numbers = column.dropna()
    whole = (numbers % 1 == 0) & (abs(numbers) < _MAX_WHOLE)
    if not len(numbers) or not bool(whole.all()):
        return column
    return [None if is_missing(value) else int(value) for value in column]


_MAX_WHOLE: Final = 2**53
"""Floats below this represent each whole number."""


def _column_names(table: Any) -> list[Any] | None:
    """Return the names of a table's columns; None if the object is not a table."""
    if isinstance(table, Mapping):
        return list(table)
    kind = type(table)
    if hasattr(kind, "collect_schema"):  # polars; `LazyFrame.columns` gives a warning
        return list(table.collect_schema().names())
    if hasattr(table, "__len__") and hasattr(kind, "__getitem__"):
        for attribute in ("column_names", "columns"):  # Arrow and datasets; pandas and similar
            if hasattr(kind, attribute) and not callable(names := getattr(table, attribute)):
                return list(names) if names is not None else None
        if names := getattr(getattr(table, "dtype", None), "names", None):  # a structured array
            return list(names)
    return None


def _take_column(source: _Source) -> _Source:
    """Return the column of a table that `source.column` names, as a source of its own."""
    table, names = source.value, _column_names(source.value) or []
    name = names[_position(source, names)]
    if hasattr(type(table), "collect"):  # a LazyFrame; collect this column only
        table = table.select(name).collect()
    return replace(source, value=table[name], name=f"{source.name}.{source.column}", column=None)


def _pick(source: _Source, names: Sequence[Any]) -> _Picked:
    """Return the positions of the columns that are read.

    Raises:
        OptionError: A column does not exist, or its name is ambiguous.
    """
    columns = source.columns
    named = [(str(name).strip(), i) for i, name in enumerate(names) if str(name).strip()]
    fields = dict(named) if ALL_COLUMNS in columns.named else {}
    for wanted in sorted(columns.named - {ALL_COLUMNS}):
        fields[wanted] = _column_position(source, names, wanted, "row.")
    return _Picked(
        _position(source, names) if columns.prompt else None,
        None if columns.key is None else _column_position(source, names, columns.key, "--key "),
        tuple(fields.items()),
    )


def _column_position(source: _Source, names: Sequence[Any], wanted: str, before: str) -> int:
    """Return the position of a column that a template or `--key` names.

    `before` is the text in front of the name, for messages.
    """
    positions = _matches(names, wanted)
    if len(positions) == 1:
        return positions[0]
    if positions:
        raise OptionError(
            f"{source.where}: {before}{wanted} matches {len(positions)} columns. Rename the others."
        )
    hint = did_you_mean(wanted, [str(name) for name in names])
    raise OptionError(
        f"{source.where}: no column {wanted!r} for {before}{wanted}.{hint} "
        f"There are: {list_names(names)}."
    )


def _position(source: _Source, names: Sequence[Any]) -> int:
    """Return the position of the column that contains the prompts."""
    position = _match(source, names, source.where, "columns")
    if position is None:
        raise OptionError(
            f"{source.where}: no column {source.wanted!r}. There are: {list_names(names)}. "
            f"Name the column that holds the prompts: {source.example(names)}."
        )
    return position


def _match(source: _Source, names: Sequence[Any], where: str, unit: str) -> int | None:
    """Return the position of the name that matches the source's column; None if no name matches."""
    positions = _matches(names, source.column)
    if len(positions) > 1:
        several = " and ".join(repr(shorten(names[i])) for i in positions)
        raise OptionError(
            f"{where}: {source.wanted!r} matches {len(positions)} {unit}: {several}. "
            "Rename the others."
        )
    return positions[0] if positions else None


def _matches(names: Sequence[Any], wanted: str | None) -> list[int]:
    """Return the positions of names that match exactly; if none does, case is ignored."""
    for name in _COLUMNS if wanted is None else (wanted,):
        exact = [i for i, each in enumerate(names) if str(each) == name]
        if positions := exact or [i for i, each in enumerate(names) if _fold(each) == _fold(name)]:
            return positions
    return []


def _fold(name: Any) -> str:
    return str(name).strip().strip(_EDGES).strip().casefold()


# Convert rows to prompts


def _read_object(source: _Source) -> Iterator[_Item]:
    value, kind = source.value, type(source.value).__name__
    if isinstance(value, _Table):
        return iter(value)
    if isinstance(value, AbstractSet) and not isinstance(value, KeysView):
        raise OptionError(f"{source.where}: a {kind} has no order. Pass sorted(…) instead.")
    if isinstance(value, io.TextIOBase) and _suffix(name := str(getattr(value, "name", ""))):
        raise OptionError(
            f"{source.where}: an open file is read by its lines. Give its path: "
            f"each={Path(name).name!r}."
        )
    if isinstance(value, type):
        raise OptionError(
            f"{source.where}: a class is not a source of prompts. --each takes {_SOURCES}."
        )
    if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray, memoryview)):
        raise OptionError(
            f"{source.where}: a value of type {kind} is not a source of prompts. "
            f"--each takes {_SOURCES}."
        )
    if (dimensions := getattr(value, "ndim", 1)) != 1:
        raise OptionError(
            f"{source.where}: a value of type {kind} with {dimensions} dimensions is not a list of "
            "prompts. Give one of its columns."
        )
    if hasattr(type(value), "iloc"):  # a Series of pandas
        labelled: Any = value
        pairs = zip(labelled, labelled.index, strict=True)
        return (_Item(number, each, label) for number, (each, label) in enumerate(pairs, 1))
    return _numbered(value)


def _numbered(values: Iterable[Any]) -> Iterator[_Item]:
    return (_Item(number, value) for number, value in enumerate(values, 1))


def _rows(source: _Source, items: Iterator[_Item], *, counted: bool = True) -> Iterator[Row]:
    """Yield the rows with their prompts, keys and fields.

    If `counted` is true, error messages state the number of earlier prompts.
    """
    count = blanks = 0
    columns = source.columns
    keys: dict[str, int] = {}
    try:
        for position, item in enumerate(items):
            prompt, key, fields = None, item.key, item.cells
            if columns.named or columns.key is not None:
                if fields is None:
                    fields, key = _read_record(source, item)
                key = _check_key(source, item, key, keys)
            if columns.prompt:
                plain = type(item.value) is str and source.column is None
                value = item.value if plain else _text(source, item)
                if value is not None and not is_blank(value):
                    prompt = value.strip().strip(_EDGES).strip()
            if prompt is not None or not columns.prompt:
                count, blanks = count + 1, 0
            elif (blanks := blanks + 1) == _MAX_BLANKS:
                raise OptionError(f"--each: {blanks:,} blank prompts in a row.")  # noqa: TRY301
            label = position if item.label is _POSITION else item.label
            yield Row(item.number, label, prompt, key, fields if columns.named else None)
    except Exception as error:  # raised by the user's own objects
        known = isinstance(error, OptionError)
        reason = str(error) if known else f"--each: {type(error).__name__}: {error}."
        plural = "" if count == 1 else "s"
        after = f" The error occurred after {count:,} prompt{plural}." if counted and count else ""
        raise OptionError(reason + after) from error


def _cell(value: Any) -> Any:
    """Return a cell for templates: None if it is missing or blank text."""
    value = _unbox(value)
    return None if is_missing(value) or (isinstance(value, str) and is_blank(value)) else value


def _read_record(source: _Source, item: _Item) -> tuple[Any, Any]:
    """Return what templates read as `row`, and the key, for a row that is not from a table."""
    columns, value = source.columns, _unbox(item.value)
    record = _record(value, columns.key, every=True)
    if record is None:
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        if columns.key is not None:
            raise OptionError(
                f"{source.locate(item)}: a value of type {type(value).__name__} has no "
                f"field {columns.key!r}, the key. Pass a table or records."
            )
        return _cell(value), None
    fields = RowFields((str(name), _cell(record.get(name))) for name in record.names)
    for wanted in columns.named - {ALL_COLUMNS, *fields}:
        for position in _matches(record.names, wanted):
            fields[wanted] = _cell(record.get(record.names[position]))
    if columns.key is None:
        return fields, None
    positions = _matches(record.names, columns.key)
    if not positions:
        raise OptionError(
            f"{source.locate(item)}: this {type(value).__name__} has no field "
            f"{columns.key!r}, the key. It has: {list_names(record.names)}."
        )
    return fields, record.get(record.names[positions[0]])


def _check_key(source: _Source, item: _Item, key: Any, known: dict[str, int]) -> Any:
    """Return the key of a row as a plain value; None if it is missing. Refuse duplicates."""
    key = _cell(key)
    if is_missing(key):
        return None
    if type(key).__module__ == "numpy":
        key = key.item()
    if isinstance(key, (bytes, bool)) or (isinstance(key, Iterable) and not isinstance(key, str)):
        raise OptionError(
            f"{source.locate(item)}: the key is a value of type {type(key).__name__}. "
            "A key is text, a number or a date."
        )
    if isinstance(key, float) and key.is_integer():
        key = int(key)  # pandas stores whole numbers with blanks as floats
    if (text := str(key)) in known:
        raise OptionError(
            f"{source.locate(item)}: the key {shorten(text)!r} is also that of row "
            f"{known[text]:,}. Keys must be unique."
        )
    known[text] = item.number
    return key


def _text(source: _Source, row: _Item) -> str | None:
    """Return the prompt of a row; None if the row is empty."""
    value = _unbox(row.value)
    if isinstance(value, str) and source.column is not None:
        raise OptionError(
            f"{source.locate(row)}: a string has no field {source.column!r}. Omit "
            f"[{source.column}], or pass records."
        )
    holder = "the prompt is"
    if not isinstance(value, str) and not is_missing(value):
        record = _record(value, source.column)
        if record is not None:
            value = _unbox(_field(source, row, value, record))
            holder = f"the field {source.wanted!r} holds"
        elif isinstance(value, tuple) and len(value) == 1:  # a row of a database cursor
            value = _unbox(value[0])
        elif isinstance(value, (tuple, list)):
            raise OptionError(
                f"{source.locate(row)}: a {type(value).__name__} of {len(value)} values is not a "
                f"prompt. Give one column, or records with a field {source.wanted!r}."
            )
    if isinstance(value, str):
        return str.__str__(value)
    if is_missing(value):
        return None
    raise OptionError(
        f"{source.locate(row)}: {holder} a value of type {type(value).__name__}. A prompt is text, "
        f"or a record with a field {source.wanted!r}."
    )


def _unbox(value: Any) -> Any:
    """Return a scalar of Arrow, or a nested list of polars, as a value of Python."""
    kind = type(value)
    if hasattr(kind, "as_py"):
        return value.as_py()
    is_list = kind.__name__ == "Series" and kind.__module__.partition(".")[0] == "polars"
    return value.to_list() if is_list else value


class _Record(NamedTuple):
    """A row with named fields."""

    names: list[Any]
    get: Callable[[Any], Any]


def _record(row: Any, column: str | None, *, every: bool = False) -> _Record | None:
    """Return the named fields of a row; None without names.

    A dataclass counts as a record if it has the column, or if `every` field is read.
    """
    row = getattr(row, "_mapping", row)  # SQLAlchemy
    kind = type(row)
    if isinstance(row, tuple) and hasattr(kind, "_fields"):
        return _Record(list(kind._fields), partial(getattr, row))
    if isinstance(row, Mapping) or (hasattr(kind, "keys") and hasattr(kind, "__getitem__")):
        return _Record(list(kind.keys(row)), row.__getitem__)  # or sqlite3.Row, a Series
    if names := getattr(getattr(row, "dtype", None), "names", None):  # a row of a structured array
        return _Record(list(names), row.__getitem__)
    if is_dataclass(row) and not isinstance(row, type):
        names = [field.name for field in fields(row)]
        return _Record(names, partial(getattr, row)) if every or _matches(names, column) else None
    return None


def _field(source: _Source, row: _Item, value: Any, record: _Record) -> Any:
    """Return the field of a record that contains the prompt."""
    position = _match(source, record.names, source.locate(row), "fields")
    if position is not None:
        return record.get(record.names[position])
    if len(record.names) == 1 and source.column is None and not isinstance(value, Mapping):
        return record.get(record.names[0])  # a database row with one column
    raise OptionError(
        f"{source.locate(row)}: this {type(value).__name__} has no field {source.wanted!r}. "
        f"It has: {list_names(record.names)}. Name the field that holds the prompts: "
        f"{source.example(record.names)}."
    )


# Files

_CHUNK: Final = 1 << 16
_MAX_LINE: Final = 1 << 20
"""Maximum characters of a line in a text file."""
_MAX_JSON: Final = 256 * MIB
"""Maximum bytes of a .json file, which is read at once; .jsonl files have no limit."""
_NON_ASCII: Final = re.compile("[^\x00-\x7f\udc80-\udcff]")
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")
_NOT_CP1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]|[\xa1-\xff]{4}")
"""Bytes that mean another encoding: bytes undefined in CP1252, and four consecutive non-ASCII
letters, which no language of Western Europe has."""


def _file_reader(source: _Source) -> tuple[_Read, tuple[str, ...]]:
    """Return a function that reads a file from its beginning, and notes for the user."""
    suffix = source.value.suffix.lower()
    if suffix not in TABLES:
        files = f"files of type {suffix}" if suffix else "files without a suffix"
        raise OptionError(
            f"{source.where}: {files} are not supported. Use one of {', '.join(sorted(TABLES))}, "
            "or read the file in Python and pass the DataFrame or list."
        )
    with _file_errors(source):
        path = source.value.expanduser()
        path.stat()
        if suffix == ".parquet":
            return partial(_read_parquet, source, path), ()
        if suffix == ".xlsx":
            return _read_workbook(source, path)
        with path.open("rb") as stream:
            encoding = _find_encoding(source, stream)
    note = (
        f"{path.name} is not UTF-8: it was read as Windows text (CP1252). Check its accented "
        "letters, or save it as UTF-8."
    )
    readers: dict[str, _Reader] = {
        ".csv": _read_csv, ".tsv": partial(_read_csv, delimiter="\t"), ".txt": _read_text,
    }  # fmt: skip
    read = partial(_read_lines, source, path, encoding, readers.get(suffix, _read_jsonl))
    return read, (note,) if encoding == "cp1252" else ()


@contextmanager
def _file_errors(source: _Source) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: unknown user after ~
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{source.where}: {reason}.") from error


def _find_encoding(source: _Source, stream: BinaryIO) -> str:
    """Return the encoding of a text file: UTF-8, UTF-16 if it has a byte order mark, or CP1252.

    Reads the complete file in chunks.
    """
    mark = stream.read(2)
    stream.seek(0)
    if mark in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        _check_utf_16(source, stream)
        return "utf-16"
    # Bytes that are not UTF-8 become lone surrogates, which valid UTF-8 never contains.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    number = 1
    not_utf_8 = not_cp1252 = 0  # number of the first line of this kind
    has_utf_8 = False  # a byte order mark or another valid non-ASCII character
    for chunk in chain(iter(partial(stream.read, _CHUNK), b""), [b""]):
        text = decoder.decode(chunk, final=not chunk)
        if (start := text.find("\0")) >= 0:
            number += text.count("\n", 0, start)
            raise OptionError(
                f"{source.where}, line {number:,}: the file is not UTF-8 text. Save the file as "
                "UTF-8; in Excel that is the type CSV UTF-8."
            )
        if not text.isascii():
            has_utf_8 = has_utf_8 or _NON_ASCII.search(text) is not None
            if not not_utf_8 and (match := _NOT_UTF_8.search(text)):
                not_utf_8 = number + text.count("\n", 0, match.start())
            if not not_cp1252 and (undefined := _NOT_CP1252.search(chunk)):
                not_cp1252 = number + chunk.count(b"\n", 0, undefined.start())
        number += text.count("\n")
    if not not_utf_8:
        return "utf-8-sig"
    if has_utf_8 or not_cp1252:
        line = not_utf_8 if has_utf_8 else not_cp1252
        raise OptionError(
            f"{source.where}, line {line:,}: the file is neither UTF-8 nor Windows text (CP1252). "
            "Save the file as UTF-8."
        )
    return "cp1252"


def _check_utf_16(source: _Source, stream: BinaryIO) -> None:
    decoder = codecs.getincrementaldecoder("utf-16")()
    number = 1
    try:
        while chunk := stream.read(_CHUNK):
            text = decoder.decode(chunk)
            if "\0" in text:
                raise UnicodeError  # noqa: TRY301  # UTF-32, or binary data
            number += text.count("\n")
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise OptionError(
            f"{source.where}, line {number:,} or after it: the file is not UTF-16 text. "
            "Save the file as UTF-8."
        ) from error


def _read_lines(source: _Source, path: Path, encoding: str, reader: _Reader) -> Iterator[_Item]:
    """Yield the rows of a text file while reading the file."""
    with _file_errors(source), path.open(encoding=encoding) as stream:
        yield from reader(source, _lines(source, stream))


def _lines(source: _Source, stream: TextIO) -> Iterator[_Item]:
    for number, line in enumerate(iter(partial(stream.readline, _MAX_LINE + 1), ""), 1):
        if len(line) > _MAX_LINE:
            raise OptionError(
                f"{source.where}, line {number:,}: more than {_MAX_LINE:,} characters."
            )
        yield _Item(number, line.lstrip(_EDGES) if number == 1 else line)


def _read_text(source: _Source, lines: Iterator[_Item]) -> Iterator[_Item]:
    """Return the lines, or a column of a tab-separated table, which Excel calls Unicode text."""
    head = list(islice(lines, 1))
    lines = chain(head, lines)
    if source.column is not None:
        return _read_csv(source, lines)
    cells = head[0].value.split("\t") if head else []
    columns = source.columns
    if columns.key is not None or columns.named - {ALL_COLUMNS}:
        return _read_csv(source, lines)
    if columns.prompt and len(cells) > 1 and _matches(cells, None):
        return _read_csv(source, lines, "\t")
    return (line for line in lines if not is_blank(line.value))


def _read_jsonl(source: _Source, lines: Iterator[_Item]) -> Iterator[_Item]:
    for number, line, *_ in lines:
        if not is_blank(line):
            try:
                yield _Item(number, bounds.parsed(line))
            except ValueError as error:
                raise OptionError(
                    f"{source.where}, line {number:,}: the line is not JSON: "
                    f"{getattr(error, 'msg', error)}. Write a string or an object on each line."
                ) from error


def _read_json(source: _Source) -> _Source:
    """Return the content of a .json file as a source: a list of strings or records, or a dict."""
    with _file_errors(source):
        data = read_bounded(source.value.expanduser(), _MAX_JSON)
    try:
        value = bounds.parsed(data)
    except ValueError as error:
        raise OptionError(f"{source.where}: the file is not JSON: {error}.") from error
    if not isinstance(value, (list, dict)):
        raise OptionError(
            f"{source.where}: the file holds a value of type {type(value).__name__}. "
            "Write a list of strings, or of objects with a field 'prompt'."
        )
    return replace(source, value=value)


# CSV

_SAMPLE: Final = 100
"""Lines at the start of a CSV file from which the delimiter is determined."""
_DELIMITERS: Final = ",;\t|"
_ONE_COLUMN: Final = "\x1f"
"""The "delimiter" of a file with one column: a control character that texts do not contain."""
_LONGEST_HEADING: Final = 3
"""Maximum words of a first line that may be a heading because it contains one of `_HEADINGS`."""
_SEP: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The first line that tells Excel the delimiter."""


def _read_csv(source: _Source, lines: Iterator[_Item], delimiter: str = "") -> Iterator[_Item]:
    """Yield the rows of a CSV file, with the columns that the call reads."""
    head = list(islice(lines, 1))
    skipped = 0
    if head and (match := _SEP.fullmatch(head[0].value)):
        delimiter, head, skipped = match[1], [], 1
    head += islice(lines, _SAMPLE)
    delimiter = delimiter or _find_delimiter(source, [line.value for line in head])
    reader = csv.reader(
        (line.value for line in chain(head, lines)),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=True,
    )

    def rows() -> Iterator[_Item]:
        while True:
            first = skipped + reader.line_num + 1
            try:
                if cells := next(reader):  # an empty line is not a row
                    yield _Item(first, cells)
            except StopIteration:
                return
            except csv.Error as error:
                reason, last = str(error), skipped + reader.line_num
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

    return _below_heading(source, rows(), uneven=True)


def _find_delimiter(source: _Source, sample: Sequence[str]) -> str:
    """Return the delimiter of a CSV file, from its first lines.

    The first line decides, because prompts contain commas and semicolons. The delimiter is the
    character that separates the wanted column from others in this line. If the first line is one
    cell, the file has one column.
    """
    tables = {delimiter: _cells(sample, delimiter) for delimiter in _DELIMITERS}
    several = {delimiter: rows for delimiter, rows in tables.items() if rows and len(rows[0]) > 1}
    columns = source.columns
    wanted = {*columns.named, columns.key} - {ALL_COLUMNS, None}
    for delimiter, rows in several.items():
        if columns.prompt and _matches(rows[0], source.column):
            return delimiter
        if not columns.prompt and any(_matches(rows[0], name) for name in wanted):
            return delimiter
    if several:  # the column is missing; a message lists the columns of the widest table
        return max(several, key=lambda delimiter: len(several[delimiter][0]))
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
    """Return the rows of a sample, split at `delimiter`, without blank rows."""
    rows: list[list[str]] = []
    with suppress(csv.Error):  # raised when the file is read
        rows.extend(csv.reader(lines, delimiter=delimiter))
    return [row for row in rows if not is_blank("".join(row))]


def _below_heading(source: _Source, rows: Iterator[_Item], *, uneven: bool) -> Iterator[_Item]:
    """Yield the cells of the wanted column; the first row that is not blank may be the heading.

    If `uneven` is true, rows can be longer or shorter than the heading, as in a CSV file. A longer
    row is an error, because a cell contains an unquoted delimiter.
    """
    for row in rows:
        names = ["" if is_missing(cell) else str(cell) for cell in row.value]
        if not is_blank("".join(names)):
            break
    else:
        return
    picked = _Picked(0)
    columns = source.columns
    if (
        len(names) > 1
        or not columns.only_prompt
        or source.column is not None
        or _matches(names, None)
    ):
        picked = _pick(source, names)
    elif not _is_heading(source, names[0]):
        yield _Item(row.number, row.value[0])
    width = max(i for i, name in enumerate(names, 1) if not is_blank(name))
    for number, cells, *_ in rows:
        if uneven and any(not is_blank(cell) for cell in cells[width:]):
            raise OptionError(
                f"{source.where}, line {number:,}: this row has {len(cells)} cells, but the "
                f"heading has {width}. Put a prompt that contains the delimiter into quotes."
            )
        if uneven and width > len(cells) == 1 and " " in cells[0].strip():
            raise OptionError(
                f"{source.where}, line {number:,}: this row has 1 cell, but the heading has "
                f"{width}. Put a prompt that contains a line break into quotes."
            )
        yield picked.item(number, cells)


def _is_heading(source: _Source, cell: str) -> bool:
    """Tell whether the first cell of a file with one column is a heading; refuse doubtful cells."""
    words = _fold(cell).split()
    if len(words) == 1 and words[0] in _HEADINGS:
        return True
    short = len(words) <= _LONGEST_HEADING and any(word in _HEADINGS for word in words)
    if len(words) == 1 or short:
        raise OptionError(
            f"{source.where}: {shorten(cell)!r} may be the heading or a prompt. If it is the "
            f"heading, name the column: {source.example([cell])}. Otherwise, write prompt as the "
            "first line, above it."
        )
    return False


# Files read with other packages


def _read_parquet(source: _Source, path: Path) -> Iterator[_Item]:
    """Return the rows of a Parquet file; pyarrow reads the file in batches."""
    parquet, polars = _import_optional("pyarrow.parquet"), _import_optional("polars")
    if parquet is None and polars is None:
        raise OptionError(
            f"{source.where}: a .parquet file needs pyarrow or polars. Install one of them: "
            "pip install pyarrow."
        )
    try:
        if parquet is None:
            return _read_object(_open_table(replace(source, value=polars.scan_parquet(path))))
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        picked = _pick(source, names)
        batches = file.iter_batches(columns=[names[position] for position in picked.positions])
        return _read_batches(batches, names, picked)
    except OptionError:
        raise
    except Exception as error:  # pyarrow and polars raise many types for a broken file
        raise OptionError(
            f"{source.where}: the file is not a Parquet file: {shorten(error, 200).rstrip('.')}."
        ) from error


def _read_batches(batches: Iterable[Any], names: Sequence[str], picked: _Picked) -> Iterator[_Item]:
    """Yield the rows of Arrow's record batches."""
    number = 0
    cells: list[Any] = [None] * len(names)
    for batch in batches:
        positions = {position: names[position] for position in picked.positions}
        columns = {i: batch.column(batch.schema.names.index(n)) for i, n in positions.items()}
        for index in range(batch.num_rows):
            number += 1
            for position, column in columns.items():
                cells[position] = column[index].as_py()
            yield picked.item(number, cells)


_EMPTY: Final = (None, "")
_UNCALCULATED: Final = "a formula without a stored value"
"""Stands for a cell with a formula in a workbook that no spreadsheet program has saved."""


def _read_workbook(source: _Source, path: Path) -> tuple[_Read, tuple[str, ...]]:
    """Return a function that reads the first sheet of a workbook, and notes for the user."""
    openpyxl = _import_optional("openpyxl")
    if openpyxl is None:
        raise OptionError(
            f"{source.where}: an .xlsx file needs openpyxl. Install it: pip install openpyxl."
        )
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        first, *others = book.worksheets
        title = first.title
        rows = [[_workbook_value(cell) for cell in row] for row in _cells_of(first)]
        book.close()
        if any(value is None for row in rows for value in row):
            _mark_formulas(rows, openpyxl.load_workbook(path, read_only=True, keep_links=False))
        width = max(
            (i for row in rows for i, cell in enumerate(row, 1) if cell not in _EMPTY), default=0
        )
        rows = [[*row, *repeat(None, width)][:width] for row in rows]
        while rows and all(cell in _EMPTY for cell in rows[-1]):
            rows.pop()  # cells that only have a format
    except OSError:
        raise
    except Exception as error:  # openpyxl raises many types for a broken file
        raise OptionError(
            f"{source.where}: the file is not a readable Excel workbook: "
            f"{shorten(error, 200).rstrip('.')}."
        ) from error
    note = f"{path.name} has several sheets: only the first, {title!r}, was read."

    def read() -> Iterator[_Item]:
        for item in _below_heading(source, _numbered(rows), uneven=False):
            cells = () if item.cells is None else item.cells.values()
            if any(each is _UNCALCULATED for each in (item.value, item.key, *cells)):
                raise OptionError(
                    f"{source.where}, row {item.number:,}: a formula has no stored value. Open the "
                    "file in Excel or LibreOffice and save it, or replace the formula by its value."
                )
            yield item

    return read, (note,) if others else ()


def _cells_of(sheet: Any) -> Iterator[Any]:
    """Return the rows of a worksheet, which may state wrong dimensions."""
    sheet.reset_dimensions()
    return iter(sheet)


def _workbook_value(cell: Any) -> Any:
    """Return the value of a cell; `""` for an error such as #N/A and for a formula without text."""
    return (
        "" if cell.data_type == "e" or (cell.value, cell.data_type) == (None, "str") else cell.value
    )


def _mark_formulas(rows: Sequence[list[Any]], book: Any) -> None:
    """Mark the cells without a value that have a formula; `book` is open without values."""
    for row, cells in zip(rows, _cells_of(book.worksheets[0]), strict=False):
        for i, cell in enumerate(cells):
            if cell.data_type == "f" and row[i] is None:
                row[i] = _UNCALCULATED
    book.close()


def _import_optional(name: str) -> Any:
    """Return an optional module; None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


# Alternatives of --matrix

MAX_VARIANTS: Final = 500
"""Maximum prompts of one `--matrix`: a larger number is probably a mistake and expensive."""
_ALTERNATIVES: Final = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")


class Variant(NamedTuple):
    """One expansion of a prompt with `{a|b}`, and the alternatives chosen in it."""

    prompt: str
    chosen: tuple[str, ...]


def expand_variants(prompt: str, *, needed: bool = True) -> list[Variant]:
    """Return every expansion of a prompt with alternatives such as `{a|b}`.

    Raises:
        OptionError: There are more than `MAX_VARIANTS` combinations, or no alternatives although
            they are `needed`.
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
    return [
        Variant(
            "".join(chain.from_iterable(zip_longest(parts[::2], chosen, fillvalue=""))).strip(),
            tuple(word or "(none)" for word in chosen),
        )
        for chosen in product(*choices)
    ]
