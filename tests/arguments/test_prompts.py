"""Where `--each` finds its prompts."""

from __future__ import annotations

import re
import tracemalloc
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from xai_notebook.arguments.line import parse
from xai_notebook.arguments.prompts import read_prompts
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def prompts(source: Any, **namespace: Any) -> list[str]:
    return list(read_prompts(source, namespace))


def test_each_takes_lists_tuples_and_series() -> None:
    """Whatever can be gone through, in its order."""
    assert prompts(["a", "b"]) == ["a", "b"]
    assert prompts("them", them=("a", "b")) == ["a", "b"]
    assert prompts("them", them=pd.Series(["a", "b"])) == ["a", "b"]


def test_each_takes_columns() -> None:
    """`df.name` and `df["name"]` are that column; a whole frame is read by its column `prompt`."""
    frame = pd.DataFrame({"prompt": ["a", "b"], "text": ["c", "d"]})
    assert prompts("frame", frame=frame) == ["a", "b"]
    assert prompts("frame.text", frame=frame) == ["c", "d"]
    for line in ("--each frame['text']", '--each frame["text"]', "--each=frame[text]"):
        assert prompts(parse(line).given["each"], frame=frame) == ["c", "d"]


def test_each_leaves_out_what_is_empty() -> None:
    """Blank lines, None and NaN are no prompts."""
    assert prompts(["a", "", "  ", None, float("nan"), "b"]) == ["a", "b"]
    assert prompts("a\n\n  b  \n") == ["a", "b"]


@pytest.mark.parametrize("text", ["{{ x }}", "{{ get_ipython() }}", "{% x %}", "\x01{% x %}\x01"])
def test_what_each_reads_is_no_template(tmp_path: Path, text: str) -> None:
    """A row of a list, a Series, a table or a file is data, whatever braces it holds."""
    table, lines = tmp_path / "a.csv", tmp_path / "a.txt"
    pd.DataFrame({"prompt": [text]}).to_csv(table, index=False)
    lines.write_text(text)
    frame = pd.DataFrame({"prompt": [text]})
    for source in ([text], iter([text]), pd.Series([text]), frame, str(table), str(lines)):
        assert prompts(source, x="fox") == [text]
    assert prompts("them", them=[text], x="fox") == [text]


def test_each_reads_files(tmp_path: Path) -> None:
    """A text file by its lines; a CSV file by its column `prompt`, or its only one."""
    text, table, single = tmp_path / "a.txt", tmp_path / "b.csv", tmp_path / "c.csv"
    text.write_text("a fox\n\nan owl, at night\n", encoding="utf-8")
    table.write_text('id,Prompt\n1,"a fox, red"\n2,an owl\n', encoding="utf-8-sig")
    single.write_text("a fox\nan owl\n")
    assert prompts(str(text)) == ["a fox", "an owl, at night"]
    assert prompts(str(table)) == ["a fox, red", "an owl"]
    assert prompts(str(single)) == ["a fox", "an owl"]
    assert prompts("there", there=str(text)) == ["a fox", "an owl, at night"]
    assert prompts(text) == ["a fox", "an owl, at night"]


def test_each_reads_quoted_line_breaks_of_csv_files(tmp_path: Path) -> None:
    """A prompt of two lines in a CSV cell is one prompt."""
    table = tmp_path / "b.csv"
    table.write_text('prompt\n"a fox\nin snow"\nan owl\n')
    assert prompts(str(table)) == ["a fox\nin snow", "an owl"]


def test_each_reads_a_generator_as_it_goes() -> None:
    """Only the first prompt is read ahead: a generator may be endless."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"fox {read}"

    found = read_prompts("them", {"them": endless()})
    assert [next(found), next(found)] == ["fox 1", "fox 2"]
    assert read == 2


def test_each_reads_files_as_it_goes(tmp_path: Path) -> None:
    """A file of any size takes no memory to speak of."""
    path = tmp_path / "many.txt"
    path.write_text("a red fox in fresh snow, at dawn\n" * 60_000)
    table = tmp_path / "many.csv"
    table.write_text("prompt\n" + "a fox\n" * 60_000)
    for source in (path, table):
        tracemalloc.start()
        found = read_prompts(source, {})
        assert sum(1 for _ in found) == 60_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()
        assert not found.lazy


@pytest.mark.parametrize(
    ("items", "length", "lazy"),
    [
        (["a", "b"], 2, False),
        (range(10**9), 10**9, False),
        (range(10**30), None, False),
        (pd.Series(["a", "b"]), 2, False),
        (repeat("a"), None, True),
    ],
    ids=["list", "range", "long range", "series", "endless"],
)
def test_each_knows_what_it_may_count_and_what_may_not_end(
    items: Any, length: int | None, lazy: object
) -> None:
    """Nothing is read to find out how long it is."""
    found = read_prompts("them", {"them": items})
    assert (found.length, found.lazy) == (length, lazy)
    assert [next(found), next(found)]


def broken(*items: str) -> Iterator[str]:
    """Yield some prompts, then fail."""
    yield from items
    raise KeyError("mine")


class Nameless:
    """An object that cannot be written down."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (broken(), "--each: KeyError: 'mine'."),
        (broken("a", "b"), "--each: KeyError: 'mine'. It came after 2 prompts."),
        (["a", Nameless()], "--each: RuntimeError: no. It came after 1 prompts."),
        (np.zeros((2, 2)), "--each: ValueError: "),
        (repeat(""), "--each: 1,000,000 blank prompts in a row."),
        (chain("ab", repeat(None)), "in a row. It came after 2 prompts."),
        (pd.DataFrame, "--each: "),
    ],
)
def test_each_names_what_fails_while_it_reads(items: Any, message: str) -> None:
    """Whatever the user's objects raise, the message says what and after how many prompts."""
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts("them", them=items)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"prompt\na fox\n" + b"x" * 140_000, "line 3: field larger than field limit"),
        ("a.csv", b'prompt\n"a fox\n' + b"an owl\n" * 30_000, "Is a quote not closed?"),
        ("a.txt", b"a fox\nan owl\n" + b"x" * 2_000_000, "line 3: more than 1,048,576 characters"),
        ("a.txt", b"a fox\n" * 40_000 + b"f\xfcchse\n", "line 40001: this is not UTF-8 text."),
        ("a.txt", "a fox".encode("utf-16"), "line 1: this is not UTF-8 text. Save the file as"),
    ],
)
def test_each_names_the_line_it_cannot_read(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    """A file that is broken somewhere says where."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("~nobody-of-that-name/x.csv", "there is no such variable or file."),
        ("nope", "--each nope: there is no such variable or file."),
        ("nope.txt", "--each nope.txt: there is no such variable or file."),
        ("number", "a value of type int is none of these"),
        ("mapping", "a value of type dict is none of these"),
        ("data", "a value of type bytes is none of these"),
        ("frame", "there is no column 'prompt'. There are: text."),
        ("frame.nope", "there is no column 'nope'. There are: text."),
        ("nothing", "--each found no prompt."),
        ("table.csv", "no column is called 'prompt'. There are: id, text."),
        ("latin.txt", "latin.txt"),
    ],
)
def test_each_names_what_it_cannot_read(
    source: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The message says what was found instead, in a line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("id,text\n1,a fox\n")
    (tmp_path / "latin.txt").write_bytes("füchse".encode("latin-1"))
    names = {
        "number": 3,
        "mapping": {"a": 1},
        "data": b"a",
        "frame": pd.DataFrame({"text": ["a"]}),
        "nothing": [],
    }
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        prompts(source, **names)
    assert "\n" not in str(caught.value)
