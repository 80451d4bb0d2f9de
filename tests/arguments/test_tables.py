"""How `--each` finds and reads prompts."""

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
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from xai_notebook.arguments.line import parse
from xai_notebook.arguments.tables import read_prompts, split_lines
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator


def prompts(source: Any, **namespace: Any) -> list[str]:
    return list(read_prompts(source, namespace))


@pytest.mark.parametrize("text", ["{{ x }}", "{{ get_ipython() }}", "{% x %}", "\x01{% x %}\x01"])
def test_rows_are_not_templates(tmp_path: Path, text: str) -> None:
    table, lines = tmp_path / "a.csv", tmp_path / "a.txt"
    frame = pd.DataFrame({"prompt": [text]})
    frame.to_csv(table, index=False)
    lines.write_text(text)
    for source in ([text], iter([text]), frame.prompt, frame, str(table), lines, "them"):
        assert prompts(source, x="fox", them=[text]) == [text]


def test_a_generator_is_read_one_prompt_ahead() -> None:
    """It may be endless."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"fox {read}"

    foxes = read_prompts("them", {"them": endless()})
    assert [next(foxes), next(foxes)] == ["fox 1", "fox 2"]
    assert read == 2


def test_reading_a_file_takes_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("a red fox in fresh snow, at dawn\n" * 60_000)
    table = tmp_path / "many.csv"
    table.write_text("prompt\n" + "a fox\n" * 60_000)
    for source in (path, table):
        tracemalloc.start()
        foxes = read_prompts(source, {})
        assert sum(1 for _ in foxes) == 60_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()
        assert not foxes.lazy


class Same(Sequence[str]):
    """A sequence of any length, in no memory."""

    def __init__(self, prompt: str, length: int) -> None:
        self.prompt, self.length = prompt, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return self.prompt


@pytest.mark.parametrize(
    ("items", "length", "lazy"),
    [
        (["a", "b"], 2, False),
        (Same("a", 10**9), 10**9, False),
        (Same("a", 10**30), None, False),
        (pd.Series(["a", "b"]), 2, False),
        (repeat("a"), None, True),
    ],
    ids=["list", "long", "longer than an index", "series", "endless"],
)
def test_the_length_is_known_without_reading(items: Any, length: int | None, lazy: object) -> None:
    found = read_prompts("them", {"them": items})
    assert (found.length, found.lazy) == (length, lazy)
    assert [next(found), next(found)]


def broken(*items: str) -> Iterator[str]:
    """Yield some prompts, then fail."""
    yield from items
    raise KeyError("mine")


class Nameless:
    """An object that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (broken(), "--each: KeyError: 'mine'."),
        (broken("a", "b"), "--each: KeyError: 'mine'. It came after 2 prompts."),
        (iter(["a", Nameless()]), "value of type Nameless. A prompt is text, or a record with a "),
        (iter(["a", 5]), "a record with a field 'prompt'. It came after 1 prompts."),
        (repeat(""), "--each: 1,000,000 blank prompts in a row."),
        (chain("ab", repeat(None)), "in a row. It came after 2 prompts."),
        (pd.DataFrame, "--each them: a value of type type holds no prompts."),
    ],
)
def test_errors_while_reading_say_after_how_many_prompts(items: Any, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts("them", them=items)
    assert "\n" not in str(caught.value)


# Objects, and files as Excel, LibreOffice, pandas and polars write them

FOXES: Final = ["a red fox, in snow", "füchse; at night", '"two" owls\nin a tree']
"""Prompts with delimiters, letters outside ASCII, quotes and a line break."""
FRAME: Final = pd.DataFrame({
    "id": [7, 8, 9, 10],
    "Prompt": [FOXES[0], None, FOXES[1], FOXES[2]],
    "price": [1.5, 2.5, None, 4.0],
})  # fmt: skip
ROWS: Final = FRAME.to_dict("records")


@dataclass
class Scene:
    """A record with a prompt."""

    prompt: str
    seed: int = 0


@dataclass
class Size:
    """A record without a prompt."""

    width: int


class Shot(NamedTuple):
    """A row with names."""

    Prompt: str | None
    seed: int = 0


class Mood(str, Enum):
    """Text of another type."""

    CALM = "a calm sea"


Make = Callable[[Path], Any]


def written(name: str, text: str | bytes, encoding: str = "utf-8") -> Make:
    """Return a function that writes a file and returns its name."""

    def make(folder: Path) -> str:
        data = text if isinstance(text, bytes) else text.encode(encoding)
        (folder / name).write_bytes(data)
        return str(folder / name)

    return make


def saved(name: str, save: Callable[[Path], Any]) -> Make:
    """Return a function that has a library write a file, and returns its name."""

    def make(folder: Path) -> str:
        save(folder / name)
        return str(folder / name)

    return make


def given(value: Any) -> Make:
    return lambda _: value


def excel_csv(delimiter: str, encoding: str, head: str = "") -> Make:
    """Return a function that writes a file as Excel does: CRLF, quotes where needed, blank cells.

    Excel of Europe writes semicolons in CP1252; "Unicode Text" is UTF-16 with tabs; "CSV UTF-8" has
    a byte order mark.
    """

    def save(path: Path) -> None:
        with path.open("w", encoding=encoding, newline="") as stream:
            stream.write(head)
            writer = csv.writer(stream, delimiter=delimiter)
            writer.writerow(FRAME.columns)
            writer.writerows([["" if pd.isna(x) else x for x in row.values()] for row in ROWS])

    return saved("excel.csv", save)


def workbook(*rows: Sequence[Any], sheets: int = 1) -> Make:
    """Return a function that writes an Excel workbook of these rows."""

    def save(path: Path) -> None:
        book = openpyxl.Workbook()
        for row in rows:
            book.worksheets[0].append(row)
        for _ in range(sheets - 1):
            book.create_sheet()
        book.save(path)

    return saved("book.xlsx", save)


def selected(query: str, factory: Any = None, *, fetched: bool = True) -> Make:
    """Return a function that queries a database."""

    def make(_: Path) -> Any:
        base = sqlite3.connect(":memory:")
        base.row_factory = factory
        FRAME.to_sql("scenes", base)
        rows = base.execute(query).fetchall()
        base.close()
        return rows if fetched else iter(rows)

    return make


READ: Final[dict[str, tuple[Make, list[str]]]] = {
    "Excel, CSV UTF-8": (excel_csv(",", "utf-8-sig"), FOXES),
    "Excel, CSV of Europe": (excel_csv(";", "cp1252"), FOXES),
    "Excel, sep= line": (excel_csv(";", "utf-8", "sep=;\r\n"), FOXES),
    "Excel, sep= line with a mark": (excel_csv("|", "utf-8-sig", "sep=|\r\n"), FOXES),
    "Excel, Unicode Text": (excel_csv("\t", "utf-16"), FOXES),
    "UTF-16, big end first": (
        written("a.csv", codecs.BOM_UTF16_BE + "id;prompt\r\n1;füchse\r\n".encode("utf-16-be")),
        ["füchse"],
    ),
    "Excel, Unicode Text as .txt": (written("a.txt", "id\tPrompt\r\n1\ta fox, red\r\n", "utf-16"),
        ["a fox, red"]),
    "LibreOffice, all quoted": (
        saved(
            "a.csv", lambda path: FRAME.to_csv(path, sep=";", index=False, quoting=csv.QUOTE_ALL)
        ),
        FOXES,
    ),
    "pandas, with its index": (saved("a.csv", FRAME.to_csv), FOXES),
    "pandas, pipes": (saved("a.csv", lambda path: FRAME.to_csv(path, sep="|")), FOXES),
    "pandas, one column": (saved("a.csv", FRAME.Prompt.to_csv), FOXES),
    "pandas, TSV": (saved("a.tsv", lambda path: FRAME.to_csv(path, sep="\t")), FOXES),
    "polars, CSV": (saved("a.csv", pl.from_pandas(FRAME).write_csv), FOXES),
    "polars, one column": (saved("a.csv", pl.from_pandas(FRAME[["Prompt"]]).write_csv), FOXES),
    "R, row names": (written("a.csv", '"","prompt"\n"1","a fox"\n"2",""\n'), ["a fox"]),
    "old Mac, CR": (written("a.csv", "id,prompt\r1,a fox\r2,an owl\r"), ["a fox", "an owl"]),
    "trailing delimiters": (written("a.csv", "prompt;;\n;;\na fox, red;;\n\nan owl;;\n"),
        ["a fox, red", "an owl"]),
    "blanks around": (written("a.csv", '\n id , Prompt \n1, "a fox, red"\n 2, an owl\n'),
        ["a fox, red", "an owl"]),
    "short rows": (written("a.csv", "id,prompt,note\n1\n2,a fox\n3,an owl,x\n"),
        ["a fox", "an owl"]),
    "two marks": (written("a.csv", '\ufeff\ufeff"prompt";id\na fox;1\n'), ["a fox"]),
    "exact case": (written("a.csv", "Prompt,prompt\n1,a fox\n"), ["a fox"]),
    "plural": (written("a.csv", "id,PROMPTS\n1,a fox\n"), ["a fox"]),
    "one column, heading": (written("a.csv", "Text\na fox, red\nan owl; grey\n"),
        ["a fox, red", "an owl; grey"]),
    "one column, no heading": (written("a.csv", "a red fox\nan owl, at night\n"),
        ["a red fox", "an owl, at night"]),
    "lines in CP1252": (written("a.txt", "füchse, “red” €\r\n\r\nan owl\r\n", "cp1252"),
        ["füchse, “red” €", "an owl"]),
    "lines in UTF-16": (written("a.txt", "füchse\nan owl\n", "utf-16"), ["füchse", "an owl"]),
    "lines with invisible ones": (
        written("a.txt", "\ufeff\u200ba fox\n\u200b\n\u00ad\u2060\nan owl"),
        ["a fox", "an owl"],
    ),
    "pandas, JSON lines": (
        saved("a.jsonl", lambda path: FRAME.to_json(path, orient="records", lines=True)),
        FOXES,
    ),
    "polars, JSON lines": (saved("a.ndjson", pl.from_pandas(FRAME).write_ndjson), FOXES),
    "texts in JSON lines": (written("a.jsonl", '"a fox"\n\n{"PROMPT": "an owl"}\nnull\n'),
        ["a fox", "an owl"]),
    "pandas, JSON": (saved("a.json", FRAME.to_json), FOXES),
    "records in JSON": (saved("a.json", lambda path: FRAME.to_json(path, orient="records")), FOXES),
    "pandas, Parquet": (saved("a.parquet", FRAME.to_parquet), FOXES),
    "polars, Parquet": (saved("a.parquet", pl.from_pandas(FRAME).write_parquet), FOXES),
    "pandas, Excel": (saved("a.xlsx", FRAME.to_excel), FOXES),
    "Excel, rows above": (workbook([], [], [None, "prompt"], [1, "NA"], [2, None], [3, "an owl"]),
        ["NA", "an owl"]),
    "Excel, one column": (workbook(["Caption"], ["a fox"], [None], ["an owl"]),
        ["a fox", "an owl"]),
    "lines of a cell": (given("a\n\n  b  \n"), ["a", "b"]),
    "texts": (given(("a", "", "  ", None, float("nan"), "b")), ["a", "b"]),
    "DataFrame": (given(FRAME), FOXES),
    "DataFrame, Arrow": (given(FRAME.convert_dtypes(dtype_backend="pyarrow")), FOXES),
    "DataFrame, nullable": (given(FRAME.convert_dtypes()), FOXES),
    "Series of objects": (given(pd.Series(["a", None, pd.NA, float("nan"), pd.NaT])), ["a"]),
    "Series of categories": (given(FRAME.Prompt.astype("category")), FOXES),
    "records": (given(ROWS), FOXES),
    "columns": (given(FRAME.to_dict("list")), FOXES),
    "columns by index": (given(FRAME.to_dict()), FOXES),
    "a record": (given({"prompt": "a fox"}), ["a fox"]),
    "a mapping": (given(UserDict(prompt=["a fox"])), ["a fox"]),
    "itertuples": (given(FRAME.itertuples()), FOXES),
    "namedtuples": (given([Shot("a fox"), Shot(None)]), ["a fox"]),
    "dataclasses": (given([Scene("a fox")]), ["a fox"]),
    "keys": (given({"a fox": 1}.keys()), ["a fox"]),
    "polars DataFrame": (given(pl.from_pandas(FRAME)), FOXES),
    "polars LazyFrame": (given(pl.from_pandas(FRAME).lazy()), FOXES),
    "polars Series": (given(pl.Series(["a fox", None], dtype=pl.Categorical)), ["a fox"]),
    "polars rows": (given(pl.from_pandas(FRAME).iter_rows(named=True)), FOXES),
    "Arrow table": (given(pa.Table.from_pandas(FRAME)), FOXES),
    "Arrow batch": (given(pa.RecordBatch.from_pandas(FRAME)), FOXES),
    "Arrow column": (given(pa.Table.from_pandas(FRAME)["Prompt"]), FOXES),
    "Arrow array": (given(pa.array(["a fox", None]).dictionary_encode()), ["a fox"]),
    "database, one column": (selected("SELECT prompt AS x FROM scenes", fetched=False), FOXES),
    "database, named rows": (selected("SELECT * FROM scenes", sqlite3.Row), FOXES),
    "database, a named column": (selected("SELECT prompt AS x FROM scenes", sqlite3.Row), FOXES),
    "array of text": (given(np.array(["a fox", "an owl"])), ["a fox", "an owl"]),
    "array of objects": (given(np.array(["a fox", None], dtype=object)), ["a fox"]),
    "masked array": (given(np.ma.array(["a fox", "x"], mask=[False, True])), ["a fox"]),
    "structured array": (given(np.array([("a fox", 1)], dtype=[("prompt", "U9"), ("n", int)])),
        ["a fox"]),
    "kinds of text": (given([np.str_("a fox"), Mood.CALM]), ["a fox", "a calm sea"]),
    "invisible": (given(["a", "\u200b", "\ufeff", "\u0301", "\u3164 \u00ad", "b"]), ["a", "b"]),
}  # fmt: skip

CURE: Final = "A prompt is text, or a record with a field 'prompt'."
REFUSED: Final[dict[str, tuple[Make, str]]] = {
    "a long cell": (written("a.csv", b"prompt\na fox\n" + b"x" * 140_000),
        "line 3: field larger than field limit"),
    "an open quote, many lines": (written("a.csv", b'prompt\n"a fox\n' + b"an owl\n" * 30_000),
        "Is a quote not closed?"),
    "a long line": (written("a.txt", b"a fox\nan owl\n" + b"x" * 2_000_000),
        "line 3: more than 1,048,576 characters"),
    "an undefined byte after many lines": (written("a.txt", b"a fox\n" * 40_000 + b"f\x81chse\n"),
        "line 40,001: this is neither UTF-8 nor"),
    "columns without prompt": (written("a.csv", "id;text;n\n1;a fox;2\n"),
        "no column 'prompt'. There are: id, text, n. Name the column that holds the prompts: --ea"),
    "two columns": (written("a.csv", "Prompt,PROMPT\na,b\n"),
        "2 columns can be meant by 'prompt': 'Prompt' and 'PROMPT'. Rename the others."),
    "one word": (written("a.csv", "fox\nan owl\n"),
        "'fox' can be a heading or a prompt. If it is the heading, name it: "),
    "heading of two words": (written("a.csv", "Image prompt\nan owl\n"),
        "'Image prompt' can be a heading or a prompt."),
    "a title above the table": (
        written("a.csv", "Winter campaign 2026\nid;prompt\n1;a fox\n2;an owl\n"),
        "the first line has one cell and the lines below it have 2. Put prompts with delimiters",
    ),
    "a delimiter in a prompt": (written("a.csv", "id,prompt\n1,a fox\n2,a fox, red\n"),
        "line 3: this row has 3 cells and the heading 2. Put a prompt that holds the delimiter"),
    "a delimiter below an empty heading": (written("a.csv", "prompt,\na fox, red\n"),
        "line 2: this row has 2 cells and the heading 1."),
    "a line break in a prompt": (written("a.csv", "id,prompt\n1,a fox\nin the snow\n"),
        "line 3: this row is a single text, and the heading has 2 cells."),
    "an open quote": (written("a.csv", 'id,prompt\n1,"a fox\n2,an owl\n'),
        "line 2: a quote is not closed."),
    "text behind a quote": (written("a.csv", 'id,prompt\n1,x\n2,"red" fox\n'),
        "line 3: text follows a closing quote. Put the whole cell into quotes"),
    "UTF-16 without a mark": (written("a.csv", "id,prompt\n1,a fox\n", "utf-16-le"),
        "line 1: this is not UTF-8 text."),
    "UTF-32": (written("a.csv", "prompt\n", "utf-32"), "this is not UTF-16 text. Save the file as"),
    "half of UTF-16": (written("a.csv", "prompt\n".encode("utf-16")[:-1]),
        "this is not UTF-16 text."),
    "UTF-8 with a broken line": (written("a.txt", "füchse\n".encode() + b"f\xfcchse\n"),
        "line 2: this is neither UTF-8 nor Windows text (CP1252). Save the file as UTF-8."),
    "undefined bytes": (written("a.txt", b"a\nf\xfcchse\x81\n"),
        "line 2: this is neither UTF-8 nor"),
    "Cyrillic": (
        written("a.csv", "prompt\nкрасная лиса\n", "cp1251"),  # noqa: RUF001
        "line 2: this is neither",
    ),
    "Chinese": (written("a.csv", "prompt\n红色的狐狸\n", "gbk"), "line 2: this is neither UTF-8"),
    "Japanese": (written("a.txt", "赤い狐、雪の中\n", "shift-jis"),
        "line 1: this is neither UTF-8"),
    "a workbook called .csv": (
        lambda folder: Path(workbook(["prompt"])(folder)).rename(folder / "a.csv"),
        "this is not UTF-8 text. Save the file as UTF-8; in Excel that is the type CSV UTF-8.",
    ),
    "broken JSON lines": (written("a.jsonl", '"a"\n\n{"prompt": \n'),
        "line 3: this is not JSON: Expecting value. Write a text or an object on each line."),
    "numbers in JSON lines": (written("a.jsonl", '"a"\n{"prompt": 5}\n'),
        f"line 2: the field 'prompt' holds a value of type int. {CURE}"),
    "JSON lines without prompt": (written("a.jsonl", '{"id": 1, "text": "a"}\n'),
        "line 1: this dict has no field 'prompt'. It has: id, text. Name the field that holds the"),
    "broken JSON": (written("a.json", "{"), "this is not JSON: Expecting property name"),
    "a number in JSON": (written("a.json", "5"),
        "it holds a value of type int. Write a list of texts"),
    "no Parquet": (written("a.parquet", b"x"), "a.parquet: this is not a Parquet file: "),
    "no workbook": (written("a.xlsx", b"x"),
        "a.xlsx: this is not an Excel workbook that can be read"),
    "a number in a workbook": (workbook(["prompt", "n"], ["a fox", 1], [5, 2]),
        f"row 3: this is a value of type int. {CURE}"),
    "a title in a workbook": (workbook(["Campaign"], ["id", "prompt"], [1, "a fox"]),
        "There are: Campaign. Name the column"),
    ".xls": (written("a.xls", b"x"), "files of type .xls are not read. Give one of .csv, .json, "),
    ".csv.gz": (written("a.csv.gz", b"x"), "files of type .gz are not read."),
    "no suffix": (written("prompts", b"x"), "files of type (none) are not read."),
    "a missing file": (lambda folder: folder / "a.csv", "a.csv: No such file or directory."),
    "several values": (selected("SELECT id, prompt FROM scenes"),
        "row 1: a tuple of 2 values is not a prompt. Give one column, or records with a field"),
    "records without prompt": (given([{"prompt": "a"}, {"text": "b", "n": 1}]),
        "row 2: this dict has no field 'prompt'. It has: text, n. Name the field that holds the"),
    "records with two": (given([{"Prompt": "a", "PROMPT": "b"}]),
        "2 fields can be meant by 'prompt': 'Prompt' and"),
    "bytes": (given(["a", b"b"]), f"row 2: this is a value of type bytes. {CURE}"),
    "a number": (given(["a", None, 5]), f"row 3: this is a value of type int. {CURE}"),
    "a truth": (given([True]), "row 1: this is a value of type bool."),
    "a column of numbers": (given(FRAME.id), "row 1: this is a value of type int."),
    "a list of lists": (given([["a fox"]]), "row 1: a list of 1 values is not a prompt."),
    "a table of two dimensions": (given(np.array([["a", "b"]])),
        "a value of type ndarray with 2 dimensions is not a list"),
    "no dimension": (given(np.array("a fox")), "a value of type ndarray with 0 dimensions"),
    "a set": (given({"a", "b"}), "--each: a set has no order. Give sorted(…) of it."),
    "a field of bytes": (given([{"prompt": b"a"}]),
        "row 1: the field 'prompt' holds a value of type bytes."),
    "a class": (given([Scene]), "row 1: this is a value of type type."),
    "an object": (given([Path("a fox")]), "row 1: this is a value of type "),
    "a dataclass of something else": (given([Size(1)]), "row 1: this is a value of type Size."),
    "two columns of a name": (given(pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"])),
        "2 columns can be meant by"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_every_kind_of_source_is_read(name: str, tmp_path: Path) -> None:
    make, expected = READ[name]
    assert prompts(make(tmp_path)) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_sources_are_refused_with_row_and_cure(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts(make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", [0, 20_000, 60_000])
def test_lists_and_files_are_checked_before_the_first_prompt(index: int, tmp_path: Path) -> None:
    rows: list[Any] = ["a fox"] * 70_000
    rows[index] = 5
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for source, unit in ((rows, "row"), (pd.Series(rows), "row"), (tmp_path / "a.jsonl", "line")):
        with pytest.raises(OptionError, match=f"{unit} {index + 1:,}: this is a value of type int"):
            read_prompts(source, {})


def test_a_progress_bar_around_a_generator_is_read_once() -> None:
    """It has a length, but checking it ahead would lose its prompts."""

    class Bar:
        def __init__(self) -> None:
            self.items = iter(["a fox", "an owl"])

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[str]:
            return self.items

    assert prompts(Bar()) == ["a fox", "an owl"]


QUOTED: Final = ("--each frame['text']", '--each frame["text"]', "--each=frame[text]")


@pytest.mark.parametrize(
    ("named", "expected"),
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
def test_columns_are_named_alike_everywhere(
    named: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`name[column]` works in any case, for files and variables, even of the same name."""
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
    assert prompts(named, **names) == expected


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("a.csv[words]", "There are: id, text. Name the column that holds the prompts: --each a"),
        ("a.csv[words]", ' holds the prompts: --each a.csv["text"].'),
        ("my a.csv[words]", ' holds the prompts: --each "my a.csv"["text"].'),
        ("records[words]", "row 1: this dict has no field 'words'. It has: text."),
        ("texts[words]", "row 1: a text has no field 'words'. Leave out [words], or give"),
        ("frame.words", ' holds the prompts: --each frame["Text"].'),
        ("number.words", "--each number: no column 'words'."),
        ("gone", "--each gone: the file 'prompts.csv' does not exist."),
        ("~nobody-of-that-name/x.csv", "no such variable or file."),
        ("nope", "--each nope: no such variable or file."),
        ("nope.txt", "--each nope.txt: no such variable or file."),
        ("number", "a value of type int holds no prompts"),
        ("mapping", "--each mapping: no column 'prompt'. There are: a."),
        ("data", "a value of type bytes holds no prompts"),
        ("nothing", "--each found no prompt."),
    ],
)  # fmt: skip
def test_unknown_names_and_columns_are_refused_with_a_cure(
    named: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        prompts(named, **names)
    assert "\n" not in str(caught.value)


def test_guesses_are_notes(tmp_path: Path) -> None:
    old = read_prompts(excel_csv(";", "cp1252")(tmp_path), {})
    (note,) = old.notes
    assert note.startswith("excel.csv is not UTF-8: it was read as Windows text (CP1252). Check ")
    book = read_prompts(workbook(["prompt"], ["a fox"], sheets=2)(tmp_path), {})
    assert book.notes == ("book.xlsx has several sheets: only the first, 'Sheet', was read.",)
    assert read_prompts(excel_csv(";", "utf-8")(tmp_path), {}).notes == ()


@pytest.mark.parametrize("absent", ["pyarrow.parquet", "polars"])
def test_pyarrow_or_polars_is_enough_for_parquet(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, absent, None)
    assert prompts(tmp_path / "a.parquet") == FOXES


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    FRAME.to_excel(tmp_path / "a.xlsx")
    for name in ("pyarrow.parquet", "polars", "openpyxl"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError, match=r"needs pyarrow or polars.* pip install pyarrow\."):
        prompts(tmp_path / "a.parquet")
    with pytest.raises(OptionError, match=r"pip install openpyxl\."):
        prompts(tmp_path / "a.xlsx")


def test_an_open_table_is_refused(tmp_path: Path) -> None:
    """Its heading and its other columns would be sent."""
    FRAME.to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file, pytest.raises(OptionError, match=r"each='a\.csv'"):
        prompts(file)


def test_columns_may_be_called_anything() -> None:
    """Also like methods and attributes of tables."""
    names = ["columns", "column_names", "collect", "schema", "keys", "dtype", "Prompt"]
    frame = pd.DataFrame([["x"] * 6 + ["a fox"]], columns=names)
    for table in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        assert prompts(table) == ["a fox"]
    for rows in (frame.to_dict("records"), frame.itertuples(), [frame.iloc[0]]):
        assert prompts(rows) == ["a fox"]


def test_lines_of_a_text_end_as_in_a_file(tmp_path: Path) -> None:
    """Vertical tabs and Unicode's line separators stay in the prompt."""
    text = "a fox\x0bin snow\r\nan owl\u2028at night\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    assert split_lines(text) == ["a fox\x0bin snow", "an owl\u2028at night"]
    assert prompts(tmp_path / "a.txt") == prompts(text) == split_lines(text)
