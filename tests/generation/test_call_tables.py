"""Tables of prompts: a dry run shows the requests, and an invalid row sends nothing."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import polars as pl
import pytest

from xai_notebook import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served
    from xai_notebook.generation.session import Session

PROMPTS: Final = [
    "a red fox, in snow",
    "füchse; at night",
    '"two" owls\nin a tree',
    "a sea at dawn",
]
FRAME: Final = pd.DataFrame({"id": range(5), "Prompt": [*PROMPTS[:2], None, *PROMPTS[2:]]})


def query_rows() -> Iterator[Any]:
    """Return the rows of a query, as a cursor yields them."""
    connection = sqlite3.connect(":memory:")
    FRAME.to_sql("scenes", connection)
    rows = connection.execute("SELECT prompt FROM scenes").fetchall()
    connection.close()
    return iter(rows)


SOURCES: Final[dict[str, Callable[[], Any]]] = {
    "excel.csv": lambda: FRAME.to_csv("excel.csv", sep=";", encoding="cp1252", index=False),
    "unicode.csv": lambda: FRAME.to_csv("unicode.csv", sep="\t", encoding="utf-16"),
    "a.tsv": lambda: FRAME.to_csv("a.tsv", sep="\t"),
    "a.jsonl": lambda: FRAME.to_json("a.jsonl", orient="records", lines=True),
    "a.json": lambda: FRAME.to_json("a.json"),
    "a.parquet": lambda: FRAME.to_parquet("a.parquet"),
    "a.xlsx": lambda: FRAME.to_excel("a.xlsx"),
    'a.csv["PROMPT"]': lambda: FRAME.to_csv("a.csv", sep="|"),
    "frame": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "lazy": lambda: pl.from_pandas(FRAME).lazy(),
    "records": lambda: FRAME.to_dict("records"),
    "rows": lambda: list(query_rows()),
}


def sent_prompts(server: Served) -> list[str]:
    """Return the prompts that the server has received, sorted."""
    return sorted(call.message.prompt for call in server.calls)


@pytest.mark.parametrize("name", SOURCES)
def test_a_dry_run_shows_what_is_sent(
    session: Session, quick: Served, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prompt, their number, and a guessed encoding."""
    monkeypatch.chdir(tmp_path)
    source = SOURCES[name]()
    each = name if source is None else source
    plan = session.generate(each=each, dry_run=True)
    assert [request.prompt for request in plan.requests] == PROMPTS
    assert [value for name, value in plan.rows() if name == "prompt"] == PROMPTS
    assert dict(plan.rows())["images"] == "4"
    assert ("Windows text (CP1252)" in repr(plan)) == (name == "excel.csv")
    assert quick.calls == []
    session.configured = lambda: {"rate": 0}
    session.generate(each=each)
    assert sent_prompts(quick) == sorted(PROMPTS)


def test_a_dry_run_of_many_prompts_shows_the_first_ten(session: Session) -> None:
    plan = session.generate(each=pd.Series([f"fox {n}" for n in range(2_500)]), dry_run=True)
    rows = plan.rows()
    assert [value for name, value in rows if name == "prompt"] == [f"fox {n}" for n in range(10)]
    assert ("", "… and 2,490 more prompts") in rows
    assert ("images", "2,500") in rows


def test_a_cell_names_a_column_of_a_file(
    shell: InteractiveShell, keyed: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FRAME.rename(columns={"Prompt": "My text"}).to_csv("my rows.csv", sep=";")
    for source in ('"my rows.csv"["my text"]', "'my rows.csv[My text]'"):
        plan = shell.run_cell(f"%xai_image --dry-run --each {source}").result
        assert [request.prompt for request in plan.requests] == PROMPTS


def test_a_guessed_encoding_is_noted_under_the_pictures(
    session: Session, quick: Served, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes("füchse".encode("cp1252"))
    batch: Any = session.generate(each=tmp_path / "a.txt")
    assert quick.last.prompt == "füchse"
    assert any("a.txt is not UTF-8" in note for note in batch.notes)


@pytest.mark.parametrize("kind", ["list", "Series", "file"])
def test_a_late_invalid_row_sends_nothing(
    session: Session, quick: Served, kind: str, tmp_path: Path
) -> None:
    """The message names the row, its type and the missing field."""
    rows: list[Any] = [*(["a fox"] * 15_000), {"text": "an owl"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    each = {"list": rows, "Series": pd.Series(rows), "file": tmp_path / "a.jsonl"}[kind]
    with pytest.raises(errors.OptionError, match="15,001: this dict has no field 'prompt'"):
        session.generate(each=each)
    assert quick.calls == []


def test_an_invalid_row_of_a_generator_keeps_earlier_rows(session: Session, quick: Served) -> None:
    session.configured = lambda: {"rate": 0}
    message = re.escape(
        "--each, row 3: the prompt is a value of type int. A prompt is text, or a record with a "
        "field 'prompt'. The error occurred after 2 prompts. Earlier prompts keep their pictures."
    )
    with pytest.raises(errors.XaiError, match=message):
        session.generate(each=iter(["a fox", "an owl", 5, "an elk"]))
    assert sent_prompts(quick) == ["a fox", "an owl"]
    assert {image.prompt for image in session.history.search()} == {"a fox", "an owl"}


@pytest.mark.parametrize("prompt", ["\u200b", "\ufeff \u2060", "\u00ad\n\u0301", "\u3164"])
def test_an_invisible_prompt_is_empty(session: Session, quick: Served, prompt: str) -> None:
    """A list or a cell of invisible prompts has no prompts."""
    with pytest.raises(errors.OptionError, match="The prompt is empty"):
        session.generate(prompt)
    with pytest.raises(errors.OptionError, match="source has no prompts"):
        session.generate(each=[prompt])
    with pytest.raises(errors.OptionError, match="cell has no prompts"):
        session.generate(prompt, each=True)
    assert quick.calls == []


def test_only_newlines_end_a_line_of_a_cell(session: Session, quick: Served) -> None:
    """Unicode separators do not. Invisible lines are skipped."""
    body = "\ufeffa fox\r\n\u200b\r\nan owl\u2028at night\r\n"
    plan = session.generate(body, each=True, dry_run=True)
    assert [request.prompt for request in plan.requests] == ["a fox", "an owl\u2028at night"]
