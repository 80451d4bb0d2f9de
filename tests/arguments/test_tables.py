"""The sources of prompts for `--each`: objects, files and columns."""

from __future__ import annotations

import codecs
import csv
import json
import re
import sqlite3
import sys
import tracemalloc
from collections import UserDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain, count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from xai_notebook.arguments.line import parse
from xai_notebook.arguments.tables import read_rows, split_lines
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator


def prompts(source: Any, **namespace: Any) -> list[str]:
    return [row.prompt for row in read_rows(source, namespace) if row.prompt is not None]


@pytest.mark.parametrize("text", ["{{ x }}", "{{ get_ipython() }}", "{% x %}", "\x01{% x %}\x01"])
def test_rows_are_not_templates(tmp_path: Path, text: str) -> None:
    table, lines = tmp_path / "a.csv", tmp_path / "a.txt"
    frame = pd.DataFrame({"prompt": [text]})
    frame.to_csv(table, index=False)
    lines.write_text(text)
    for source in ([text], iter([text]), frame.prompt, frame, str(table), lines, "prompts"):
        assert prompts(source, x="fox", prompts=[text]) == [text]


def test_an_endless_generator_is_read_lazily() -> None:
    numbers = count(1)
    foxes = read_rows("prompts", {"prompts": (f"fox {number}" for number in numbers)})
    assert [next(foxes).prompt, next(foxes).prompt] == ["fox 1", "fox 2"]
    assert next(numbers) == 3


def test_reading_a_file_takes_constant_memory(tmp_path: Path) -> None:
    text = tmp_path / "many.txt"
    text.write_text("a red fox in fresh snow, at dawn\n" * 30_000)
    table = tmp_path / "many.csv"
    table.write_text("prompt\n" + "a fox\n" * 30_000)
    for source in (text, table):
        tracemalloc.start()
        foxes = read_rows(source, {})
        assert sum(1 for _ in foxes) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()
        assert not foxes.lazy


class Foxes(Sequence[str]):
    """A sequence of `length` equal prompts."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return "a fox"


@pytest.mark.parametrize(
    ("items", "length", "lazy"),
    [
        (["a", "b"], 2, False),
        (Foxes(10**9), 10**9, False),
        (Foxes(10**30), None, False),
        (pd.Series(["a", "b"]), 2, False),
        (repeat("a"), None, True),
    ],
    ids=["list", "long", "length above sys.maxsize", "series", "endless"],
)
def test_the_length_is_known_without_reading(items: Any, length: int | None, *, lazy: bool) -> None:
    source = read_rows("prompts", {"prompts": items})
    assert (source.length, source.lazy) == (length, lazy)
    assert [next(source), next(source)]


def broken(*items: str) -> Iterator[str]:
    """Yield some prompts, then fail."""
    yield from items
    raise KeyError("mine")


class Unprintable:
    """An object whose `str()` fails."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (broken(), "--each: KeyError: 'mine'."),
        (broken("a", "b"), "--each: KeyError: 'mine'. The error occurred after 2 prompts."),
        (iter(["a", Unprintable()]),
         "value of type Unprintable. A prompt is text, or a record with a "),
        (iter(["a", 5]), "a record with a field 'prompt'. The error occurred after 1 prompt."),
        (repeat(""), "--each: 1,000,000 blank prompts in a row."),
        (chain("ab", repeat(None)), "in a row. The error occurred after 2 prompts."),
        (pd.DataFrame, "--each prompts: a class is not a source of prompts."),
    ],
)  # fmt: skip
def test_read_errors_report_how_many_prompts_were_read(items: Any, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts("prompts", prompts=items)
    assert "\n" not in str(caught.value)


# Sources: objects, and files as written by Excel, LibreOffice, pandas and polars

FOXES: Final = ["a red fox, in snow", "füchse; at night", '"two" owls\nin a tree']
"""Prompts with delimiters, letters outside ASCII, quotes and a line break."""
FRAME: Final = pd.DataFrame({
    "id": [7, 8, 9, 10],
    "Prompt": [FOXES[0], None, FOXES[1], FOXES[2]],
    "price": [1.5, 2.5, None, 4.0],
})  # fmt: skip
ROWS: Final = FRAME.to_dict("records")


@dataclass
class PromptRecord:
    """A record with a prompt."""

    prompt: str
    seed: int = 0


@dataclass
class RecordWithoutPrompt:
    """A record without a prompt."""

    width: int


class PromptTuple(NamedTuple):
    """A named tuple with a `Prompt` field."""

    Prompt: str | None
    seed: int = 0


class PromptEnum(str, Enum):
    """A `str` subclass."""

    CALM = "a calm sea"


SourceFactory = Callable[[Path], Any]


def write_file(name: str, text: str | bytes, encoding: str = "utf-8") -> SourceFactory:
    """Return a function that writes a file and returns its name."""
    data = text if isinstance(text, bytes) else text.encode(encoding)
    return save_with(name, lambda path: path.write_bytes(data))


def save_with(name: str, save: Callable[[Path], Any]) -> SourceFactory:
    """Return a function that saves a file with `save` and returns its name."""

    def make(folder: Path) -> str:
        save(folder / name)
        return str(folder / name)

    return make


def excel_csv(delimiter: str, encoding: str, head: str = "") -> SourceFactory:
    """Return a function that writes a file as Excel does: CRLF, quotes where needed, blank cells.

    European versions of Excel write semicolons and CP1252; "Unicode Text" is UTF-16 with tabs;
    "CSV UTF-8" has a byte order mark.
    """

    def save(path: Path) -> None:
        with path.open("w", encoding=encoding, newline="") as stream:
            stream.write(head)
            writer = csv.writer(stream, delimiter=delimiter)
            writer.writerow(FRAME.columns)
            writer.writerows([["" if pd.isna(x) else x for x in row.values()] for row in ROWS])

    return save_with("excel.csv", save)


def workbook(*rows: Sequence[Any], sheets: int = 1) -> SourceFactory:
    """Return a function that writes an Excel workbook of these rows."""

    def save(path: Path) -> None:
        book = openpyxl.Workbook()
        for row in rows:
            book.worksheets[0].append(row)
        for _ in range(sheets - 1):
            book.create_sheet()
        book.save(path)

    return save_with("book.xlsx", save)


def query_rows(query: str, factory: Any = None, *, fetched: bool = True) -> SourceFactory:
    """Return a function that runs `query` on an SQLite copy of `FRAME`; it returns the rows."""

    def make(_: Path) -> Any:
        connection = sqlite3.connect(":memory:")
        connection.row_factory = factory
        FRAME.to_sql("scenes", connection)
        rows = connection.execute(query).fetchall()
        connection.close()
        return rows if fetched else iter(rows)

    return make


READ: Final[dict[str, tuple[Any, list[str]]]] = {
    "Excel, CSV UTF-8": (excel_csv(",", "utf-8-sig"), FOXES),
    "Excel, European CSV": (excel_csv(";", "cp1252"), FOXES),
    "Excel, sep= line": (excel_csv(";", "utf-8", "sep=;\r\n"), FOXES),
    "Excel, sep= line with a BOM": (excel_csv("|", "utf-8-sig", "sep=|\r\n"), FOXES),
    "Excel, Unicode Text": (excel_csv("\t", "utf-16"), FOXES),
    "UTF-16, big-endian": (
        write_file("a.csv", codecs.BOM_UTF16_BE + "id;prompt\r\n1;füchse\r\n".encode("utf-16-be")),
        ["füchse"],
    ),
    "Excel, Unicode Text as .txt": (
        write_file("a.txt", "id\tPrompt\r\n1\ta fox, red\r\n", "utf-16"),
        ["a fox, red"]),
    "LibreOffice, all quoted": (
        save_with(
            "a.csv", lambda path: FRAME.to_csv(path, sep=";", index=False, quoting=csv.QUOTE_ALL)
        ),
        FOXES,
    ),
    "pandas, with its index": (save_with("a.csv", FRAME.to_csv), FOXES),
    "pandas, pipes": (save_with("a.csv", lambda path: FRAME.to_csv(path, sep="|")), FOXES),
    "pandas, one column": (save_with("a.csv", FRAME.Prompt.to_csv), FOXES),
    "pandas, TSV": (save_with("a.tsv", lambda path: FRAME.to_csv(path, sep="\t")), FOXES),
    "polars, CSV": (save_with("a.csv", pl.from_pandas(FRAME).write_csv), FOXES),
    "polars, one column": (save_with("a.csv", pl.from_pandas(FRAME[["Prompt"]]).write_csv), FOXES),
    "R, row names": (write_file("a.csv", '"","prompt"\n"1","a fox"\n"2",""\n'), ["a fox"]),
    "old Mac, CR": (write_file("a.csv", "id,prompt\r1,a fox\r2,an owl\r"), ["a fox", "an owl"]),
    "trailing delimiters": (write_file("a.csv", "prompt;;\n;;\na fox, red;;\n\nan owl;;\n"),
        ["a fox, red", "an owl"]),
    "blanks around": (write_file("a.csv", '\n id , Prompt \n1, "a fox, red"\n 2, an owl\n'),
        ["a fox, red", "an owl"]),
    "short rows": (write_file("a.csv", "id,prompt,note\n1\n2,a fox\n3,an owl,x\n"),
        ["a fox", "an owl"]),
    "two BOMs": (write_file("a.csv", '\ufeff\ufeff"prompt";id\na fox;1\n'), ["a fox"]),
    "exact case": (write_file("a.csv", "Prompt,prompt\n1,a fox\n"), ["a fox"]),
    "plural": (write_file("a.csv", "id,PROMPTS\n1,a fox\n"), ["a fox"]),
    "one column, heading": (write_file("a.csv", "Text\na fox, red\nan owl; grey\n"),
        ["a fox, red", "an owl; grey"]),
    "one column, no heading": (write_file("a.csv", "a red fox\nan owl, at night\n"),
        ["a red fox", "an owl, at night"]),
    "lines in CP1252": (write_file("a.txt", "füchse, “red” €\r\n\r\nan owl\r\n", "cp1252"),
        ["füchse, “red” €", "an owl"]),
    "lines in UTF-16": (write_file("a.txt", "füchse\nan owl\n", "utf-16"), ["füchse", "an owl"]),
    "lines with invisible characters": (
        write_file("a.txt", "\ufeff\u200ba fox\n\u200b\n\u00ad\u2060\nan owl"),
        ["a fox", "an owl"],
    ),
    "pandas, JSON lines": (
        save_with("a.jsonl", lambda path: FRAME.to_json(path, orient="records", lines=True)),
        FOXES,
    ),
    "polars, JSON lines": (save_with("a.ndjson", pl.from_pandas(FRAME).write_ndjson), FOXES),
    "strings in JSON lines": (write_file("a.jsonl", '"a fox"\n\n{"PROMPT": "an owl"}\nnull\n'),
        ["a fox", "an owl"]),
    "pandas, JSON": (save_with("a.json", FRAME.to_json), FOXES),
    "records in JSON": (save_with("a.json", lambda path: FRAME.to_json(path, orient="records")),
        FOXES),
    "pandas, Parquet": (save_with("a.parquet", FRAME.to_parquet), FOXES),
    "polars, Parquet": (save_with("a.parquet", pl.from_pandas(FRAME).write_parquet), FOXES),
    "pandas, Excel": (save_with("a.xlsx", FRAME.to_excel), FOXES),
    "Excel, blank rows above the heading": (
        workbook([], [], [None, "prompt"], [1, "NA"], [2, None], [3, "an owl"]),
        ["NA", "an owl"]),
    "Excel, one column": (workbook(["Caption"], ["a fox"], [None], ["an owl"]),
        ["a fox", "an owl"]),
    "lines of a cell": ("a\n\n  b  \n", ["a", "b"]),
    "strings": (("a", "", "  ", None, float("nan"), "b"), ["a", "b"]),
    "DataFrame": (FRAME, FOXES),
    "DataFrame, Arrow": (FRAME.convert_dtypes(dtype_backend="pyarrow"), FOXES),
    "DataFrame, nullable": (FRAME.convert_dtypes(), FOXES),
    "Series of objects": (pd.Series(["a", None, pd.NA, float("nan"), pd.NaT]), ["a"]),
    "Series of categories": (FRAME.Prompt.astype("category"), FOXES),
    "records": (ROWS, FOXES),
    "columns": (FRAME.to_dict("list"), FOXES),
    "columns by index": (FRAME.to_dict(), FOXES),
    "a record": ({"prompt": "a fox"}, ["a fox"]),
    "a mapping": (UserDict(prompt=["a fox"]), ["a fox"]),
    "itertuples": (FRAME.itertuples(), FOXES),
    "namedtuples": ([PromptTuple("a fox"), PromptTuple(None)], ["a fox"]),
    "dataclasses": ([PromptRecord("a fox")], ["a fox"]),
    "keys": ({"a fox": 1}.keys(), ["a fox"]),
    "polars DataFrame": (pl.from_pandas(FRAME), FOXES),
    "polars LazyFrame": (pl.from_pandas(FRAME).lazy(), FOXES),
    "polars Series": (pl.Series(["a fox", None], dtype=pl.Categorical), ["a fox"]),
    "polars rows": (pl.from_pandas(FRAME).iter_rows(named=True), FOXES),
    "Arrow table": (pa.Table.from_pandas(FRAME), FOXES),
    "Arrow batch": (pa.RecordBatch.from_pandas(FRAME), FOXES),
    "Arrow column": (pa.Table.from_pandas(FRAME)["Prompt"], FOXES),
    "Arrow array": (pa.array(["a fox", None]).dictionary_encode(), ["a fox"]),
    "database, one column": (query_rows("SELECT prompt AS x FROM scenes", fetched=False), FOXES),
    "database, named rows": (query_rows("SELECT * FROM scenes", sqlite3.Row), FOXES),
    "database, a named column": (query_rows("SELECT prompt AS x FROM scenes", sqlite3.Row), FOXES),
    "array of text": (np.array(["a fox", "an owl"]), ["a fox", "an owl"]),
    "array of objects": (np.array(["a fox", None], dtype=object), ["a fox"]),
    "masked array": (np.ma.array(["a fox", "x"], mask=[False, True]), ["a fox"]),
    "structured array": (np.array([("a fox", 1)], dtype=[("prompt", "U9"), ("n", int)]), ["a fox"]),
    "kinds of text": ([np.str_("a fox"), PromptEnum.CALM], ["a fox", "a calm sea"]),
    "invisible": (["a", "\u200b", "\ufeff", "\u0301", "\u3164 \u00ad", "b"], ["a", "b"]),
}  # fmt: skip

HINT: Final = "A prompt is text, or a record with a field 'prompt'."
REFUSED: Final[dict[str, tuple[Any, str]]] = {
    "a long cell": (write_file("a.csv", b"prompt\na fox\n" + b"x" * 140_000),
        "line 3: field larger than field limit"),
    "an open quote, many lines": (write_file("a.csv", b'prompt\n"a fox\n' + b"an owl\n" * 30_000),
        "Is a quote not closed?"),
    "a long line": (write_file("a.txt", b"a fox\nan owl\n" + b"x" * 2_000_000),
        "line 3: more than 1,048,576 characters"),
    "an undefined byte after many lines": (
        write_file("a.txt", b"a fox\n" * 40_000 + b"f\x81chse\n"),
        "line 40,001: the file is neither UTF-8 nor"),
    "columns without prompt": (write_file("a.csv", "id;text;n\n1;a fox;2\n"),
        "no column 'prompt'. There are: id, text, n. Name the column that holds the prompts: --ea"),
    "two columns": (write_file("a.csv", "Prompt,PROMPT\na,b\n"),
        "'prompt' matches 2 columns: 'Prompt' and 'PROMPT'. Rename the others."),
    "one word": (write_file("a.csv", "fox\nan owl\n"),
        "'fox' may be the heading or a prompt. If it is the heading, name the column: "),
    "heading of two words": (write_file("a.csv", "Image prompt\nan owl\n"),
        "'Image prompt' may be the heading or a prompt."),
    "a title above the table": (
        write_file("a.csv", "Winter campaign 2026\nid;prompt\n1;a fox\n2;an owl\n"),
        "the first line has one cell and the lines below it have 2. Put prompts with delimiters",
    ),
    "a delimiter in a prompt": (write_file("a.csv", "id,prompt\n1,a fox\n2,a fox, red\n"),
        "line 3: this row has 3 cells, but the heading has 2. Put a prompt that contains the"),
    "a delimiter below an empty heading": (write_file("a.csv", "prompt,\na fox, red\n"),
        "line 2: this row has 2 cells, but the heading has 1."),
    "a line break in a prompt": (write_file("a.csv", "id,prompt\n1,a fox\nin the snow\n"),
        "line 3: this row has 1 cell, but the heading has 2."),
    "an open quote": (write_file("a.csv", 'id,prompt\n1,"a fox\n2,an owl\n'),
        "line 2: a quote is not closed."),
    "text after a closing quote": (write_file("a.csv", 'id,prompt\n1,x\n2,"red" fox\n'),
        "line 3: text follows a closing quote. Put the whole cell into quotes"),
    "UTF-16 without a BOM": (write_file("a.csv", "id,prompt\n1,a fox\n", "utf-16-le"),
        "line 1: the file is not UTF-8 text."),
    "UTF-32": (write_file("a.csv", "prompt\n", "utf-32"),
        "the file is not UTF-16 text. Save the file as"),
    "half of UTF-16": (write_file("a.csv", "prompt\n".encode("utf-16")[:-1]),
        "the file is not UTF-16 text."),
    "UTF-8 with a broken line": (write_file("a.txt", "füchse\n".encode() + b"f\xfcchse\n"),
        "line 2: the file is neither UTF-8 nor Windows text (CP1252). Save the file as UTF-8."),
    "undefined bytes": (write_file("a.txt", b"a\nf\xfcchse\x81\n"),
        "line 2: the file is neither UTF-8 nor"),
    "Cyrillic": (write_file("a.csv", "prompt\nкрасная лиса\n", "cp1251"),  # noqa: RUF001
        "line 2: the file is neither"),
    "Chinese": (write_file("a.csv", "prompt\n红色的狐狸\n", "gbk"), "line 2: the file is neither"),
    "Japanese": (write_file("a.txt", "赤い狐、雪の中\n", "shift-jis"),
        "line 1: the file is neither UTF-8"),
    "a workbook called .csv": (
        lambda folder: Path(workbook(["prompt"])(folder)).rename(folder / "a.csv"),
        "the file is not UTF-8 text. Save the file as UTF-8; in Excel that is the type CSV UTF-8.",
    ),
    "broken JSON lines": (write_file("a.jsonl", '"a"\n\n{"prompt": \n'),
        "line 3: the line is not JSON: Expecting value. Write a string or an object on each line."),
    "numbers in JSON lines": (write_file("a.jsonl", '"a"\n{"prompt": 5}\n'),
        f"line 2: the field 'prompt' holds a value of type int. {HINT}"),
    "JSON lines without prompt": (write_file("a.jsonl", '{"id": 1, "text": "a"}\n'),
        "line 1: this dict has no field 'prompt'. It has: id, text. Name the field that holds the"),
    "broken JSON": (write_file("a.json", "{"), "the file is not JSON: Expecting property name"),
    "a number in JSON": (write_file("a.json", "5"),
        "the file holds a value of type int. Write a list of strings"),
    "not a Parquet file": (write_file("a.parquet", b"x"),
        "a.parquet: the file is not a Parquet file: "),
    "not a workbook": (write_file("a.xlsx", b"x"),
        "a.xlsx: the file is not a readable Excel workbook"),
    "a formula without a value": (workbook(["n", "prompt"], ["=1", "a fox"], [2, '="an "&"owl"']),
        "row 3: a formula has no stored value. Open the file in Excel or LibreOffice and save it"),
    "a number in a workbook": (workbook(["prompt", "n"], ["a fox", 1], [5, 2]),
        f"row 3: the prompt is a value of type int. {HINT}"),
    "a title in a workbook": (workbook(["Campaign"], ["id", "prompt"], [1, "a fox"]),
        "There are: Campaign. Name the column"),
    ".xls": (write_file("a.xls", b"x"),
        "files of type .xls are not supported. Use one of .csv, .json, "),
    ".csv.gz": (write_file("a.csv.gz", b"x"), "files of type .gz are not supported."),
    "no suffix": (write_file("prompts", b"x"), "files without a suffix are not supported."),
    "a missing file": (lambda folder: folder / "a.csv", "a.csv: No such file or directory."),
    "several values": (query_rows("SELECT id, prompt FROM scenes"),
        "row 1: a tuple of 2 values is not a prompt. Give one column, or records with a field"),
    "records without prompt": ([{"prompt": "a"}, {"text": "b", "n": 1}],
        "row 2: this dict has no field 'prompt'. It has: text, n. Name the field that holds the"),
    "records with two": ([{"Prompt": "a", "PROMPT": "b"}],
        "'prompt' matches 2 fields: 'Prompt' and"),
    "bytes": (["a", b"b"], f"row 2: the prompt is a value of type bytes. {HINT}"),
    "a number": (["a", None, 5], f"row 3: the prompt is a value of type int. {HINT}"),
    "a boolean": ([True], "row 1: the prompt is a value of type bool."),
    "a column of numbers": (FRAME.id, "row 1: the prompt is a value of type int."),
    "a list of lists": ([["a fox"]], "row 1: a list of 1 values is not a prompt."),
    "a two-dimensional array": (np.array([["a", "b"]]),
        "a value of type ndarray with 2 dimensions is not a list"),
    "no dimension": (np.array("a fox"), "a value of type ndarray with 0 dimensions"),
    "a set": ({"a", "b"}, "--each: a set has no order. Pass sorted(…) instead."),
    "a field of bytes": ([{"prompt": b"a"}],
        "row 1: the field 'prompt' holds a value of type bytes."),
    "a class": ([PromptRecord], "row 1: the prompt is a value of type type."),
    "an object": ([Path("a fox")], "row 1: the prompt is a value of type "),
    "a dataclass of something else": ([RecordWithoutPrompt(1)],
        "row 1: the prompt is a value of type RecordWithoutPrompt."),
    "two columns of a name": (pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"]),
        "'prompt' matches 2 columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_every_kind_of_source_is_read(name: str, tmp_path: Path) -> None:
    source, expected = READ[name]
    assert prompts(source(tmp_path) if callable(source) else source) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_sources_are_refused_with_row_and_hint(name: str, tmp_path: Path) -> None:
    source, message = REFUSED[name]
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts(source(tmp_path) if callable(source) else source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", [0, 20_000, 60_000])
def test_lists_and_files_are_checked_before_the_first_prompt(index: int, tmp_path: Path) -> None:
    rows: list[Any] = ["a fox"] * 70_000
    rows[index] = 5
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    message = f"{index + 1:,}: the prompt is a value of type int"
    for source, unit in ((rows, "row"), (pd.Series(rows), "row"), (tmp_path / "a.jsonl", "line")):
        with pytest.raises(OptionError, match=f"{unit} {message}"):
            read_rows(source, {})


def test_an_iterator_with_a_length_is_read_once() -> None:
    """Checking a progress bar around a generator in advance would consume the generator."""

    class Bar:
        items = iter(["a fox", "an owl"])

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[str]:
            return self.items

    assert prompts(Bar()) == ["a fox", "an owl"]


QUOTED: Final = ("--each frame['text']", '--each frame["text"]', "--each=frame[text]")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rows.csv[text]", ["a fox"]),
        ('rows.csv["Text"]', ["a fox"]),
        ("rows.csv['MY WORDS']", ["an owl"]),
        ("rows.tsv[text]", ["a fox"]),
        ("rows.txt[text]", ["a fox"]),
        ("rows.jsonl[text]", ["a fox"]),
        ("rows.json[text]", ["a fox"]),
        ("rows.parquet[text]", ["a fox"]),
        ("rows.xlsx[my words]", ["an owl"]),
        ("path[text]", ["a fox"]),
        ("frame.TEXT", ["a fox"]),
        ("frame[ my words ]", ["an owl"]),
        ("lazy.text", ["a fox"]),
        ("table[TEXT]", ["a fox"]),
        ("records[Text]", ["a fox"]),
        ("nested.train[text]", ["a fox"]),
        ('nested["train"]["text"]', ["a fox"]),
        ("numbered[0]", ["a fox"]),
        *((parse(line).given["each"], ["a fox"]) for line in QUOTED),
    ],
)
def test_the_column_syntax_works_for_every_source(
    expression: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`name[column]` is case-insensitive; it reads a file even if a variable has its name."""
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"id": [1], "Text": ["a fox"], "My words": ["an owl"]})
    frame.to_csv("rows.csv", index=False)
    frame.to_csv("rows.tsv", sep="\t")
    frame.to_csv("rows.txt", sep=";")
    frame.to_json("rows.jsonl", orient="records", lines=True)
    frame.to_json("rows.json")
    frame.to_parquet("rows.parquet")
    frame.to_excel("rows.xlsx")
    names = {
        "path": tmp_path / "rows.csv",
        "rows": 3,
        "frame": frame,
        "lazy": pl.from_pandas(frame).lazy(),
        "table": pa.Table.from_pandas(frame),
        "records": frame.to_dict("records"),
        "nested": {"train": frame},
        "numbered": pd.DataFrame([["a fox"]]),
    }
    assert prompts(expression, **names) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a.csv[words]", "There are: id, text. Name the column that holds the prompts: --each a"),
        ("a.csv[words]", ' holds the prompts: --each a.csv["text"].'),
        ("my a.csv[words]", ' holds the prompts: --each "my a.csv"["text"].'),
        ("records[words]", "row 1: this dict has no field 'words'. It has: text."),
        ("texts[words]", "row 1: a string has no field 'words'. Omit [words], or pass"),
        ("frame.words", ' holds the prompts: --each frame["Text"].'),
        ("number.words", "--each number: no column 'words'."),
        ("gone", "--each gone: the file 'prompts.csv' does not exist."),
        ("~nobody-of-that-name/x.csv", "no such variable or file."),
        ("nope", "--each nope: no such variable or file."),
        ("nope.txt", "--each nope.txt: no such variable or file."),
        ("number", "a value of type int is not a source of prompts"),
        ("mapping", "--each mapping: no column 'prompt'. There are: a."),
        ("data", "a value of type bytes is not a source of prompts"),
        ("nothing", "--each: the source has no prompts."),
    ],
)  # fmt: skip
def test_unknown_names_and_columns_are_refused_with_a_hint(
    expression: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "my a.csv"):
        Path(name).write_text("id,text\n1,a fox\n")
    names = {
        "records": [{"text": "a fox"}], "texts": ["a fox"], "number": 3, "gone": "prompts.csv",
        "mapping": {"a": 1}, "data": b"a", "nothing": [],
        "frame": pd.DataFrame({"Text": ["a fox"]}),
    }  # fmt: skip
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts(expression, **names)
    assert "\n" not in str(caught.value)


def test_assumptions_are_reported_as_notes(tmp_path: Path) -> None:
    table = read_rows(excel_csv(";", "cp1252")(tmp_path), {})
    (note,) = table.notes
    assert note.startswith("excel.csv is not UTF-8: it was read as Windows text (CP1252). Check ")
    first_sheet = read_rows(workbook(["prompt"], ["a fox"], sheets=2)(tmp_path), {})
    assert first_sheet.notes == (
        "book.xlsx has several sheets: only the first, 'Sheet', was read.",
    )
    assert read_rows(excel_csv(";", "utf-8")(tmp_path), {}).notes == ()


@pytest.mark.parametrize("absent", ["pyarrow.parquet", "polars"])
def test_pyarrow_or_polars_is_enough_for_parquet(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, absent, None)
    assert prompts(tmp_path / "a.parquet") == FOXES


def test_the_error_names_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    FRAME.to_excel(tmp_path / "a.xlsx")
    for name in ("pyarrow.parquet", "polars", "openpyxl"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError, match=r"needs pyarrow or polars.* pip install pyarrow\."):
        prompts(tmp_path / "a.parquet")
    with pytest.raises(OptionError, match=r"pip install openpyxl\."):
        prompts(tmp_path / "a.xlsx")


def test_an_open_csv_file_is_refused(tmp_path: Path) -> None:
    """Iterating over it would send the heading and the other columns as prompts."""
    FRAME.to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file, pytest.raises(OptionError, match=r"each='a\.csv'"):
        prompts(file)


def test_columns_may_have_the_names_of_attributes_of_the_table() -> None:
    names = ["columns", "column_names", "collect", "schema", "keys", "dtype", "Prompt"]
    frame = pd.DataFrame([["x"] * 6 + ["a fox"]], columns=names)
    for table in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        assert prompts(table) == ["a fox"]
    for rows in (frame.to_dict("records"), frame.itertuples(), [frame.iloc[0]]):
        assert prompts(rows) == ["a fox"]


def test_strings_and_files_are_split_at_the_same_line_ends(tmp_path: Path) -> None:
    """Vertical tabs and Unicode's line separators stay in the prompt."""
    text = "a fox\x0bin snow\r\nan owl\u2028at night\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    assert split_lines(text) == ["a fox\x0bin snow", "an owl\u2028at night"]
    assert prompts(tmp_path / "a.txt") == prompts(text) == split_lines(text)
