"""Rows of tables: templates, rows and keys of the results, money, and retries."""

from __future__ import annotations

import asyncio
import pickle
import re
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from harness import CENT, tiny, until
from xai_notebook import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Kernels, Served
    from xai_notebook.generation.session import Session

PRODUCTS: Final = pd.DataFrame(
    {
        "id": ["A-1", "B-2", "C-3", "D-4"],
        "Fruit": ["pear", "plum", None, "fig"],
        "table": ["oak", "elm", "ash", "fir"],
        "shape": ["1:1", "16:9", "1:1", None],
        "n": [1, 2, 1, 1],
    },
    index=[10, 20, 30, 40],
)
TEMPLATE: Final = "a {{ row.fruit }} on {{ row.table }}"
SENT: Final = ["a fig on fir", "a pear on oak", "a plum on elm"]


def prompts(server: Served) -> list[str]:
    """Return the prompts that the server has received, sorted."""
    return sorted(call.message.prompt for call in server.calls)


@pytest.fixture
def fast(session: Session, quick: Served) -> Session:
    """A session without a rate limit; each image costs seven cents."""
    session.configured = lambda: {"rate": 0}
    quick.faults.cost_ticks = 7 * CENT
    return session


# Templates


SOURCES: Final[dict[str, Callable[[], Any]]] = {
    "pandas": lambda: PRODUCTS,
    "polars": lambda: pl.from_pandas(PRODUCTS),
    "lazy": lambda: pl.from_pandas(PRODUCTS).lazy(),
    "arrow": lambda: pa.Table.from_pandas(PRODUCTS),
    "records": lambda: PRODUCTS.to_dict("records"),
    "named tuples": lambda: list(PRODUCTS.itertuples()),
    "columns": lambda: PRODUCTS.to_dict("list"),
    "to_dict": PRODUCTS.to_dict,
    "generator": lambda: iter(PRODUCTS.to_dict("records")),
    "a.csv": lambda: PRODUCTS.to_csv("a.csv", sep=";", index=False),
    "a.tsv": lambda: PRODUCTS.to_csv("a.tsv", sep="\t"),
    "a.jsonl": lambda: PRODUCTS.to_json("a.jsonl", orient="records", lines=True),
    "a.json": lambda: PRODUCTS.to_json("a.json"),
    "a.parquet": lambda: PRODUCTS.to_parquet("a.parquet"),
    "a.xlsx": lambda: PRODUCTS.to_excel("a.xlsx"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_template_is_filled_in_from_the_rows_of_every_source(
    fast: Session, quick: Served, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of columns ignore case; a row with a blank cell is skipped and keeps its place."""
    monkeypatch.chdir(tmp_path)
    source = SOURCES[name]()
    batch = fast.generate(
        TEMPLATE,
        each=name if source is None else source,
        template=True,
        key="ID",
        aspect_ratio="{{ row.shape }}",
        n="{{ row.n }}",
    )
    assert prompts(quick) == SENT
    wide = next(call.message for call in quick.calls if call.message.prompt == "a plum on elm")
    assert (wide.n, wide.aspect_ratio) == (2, 5)
    rows = [(image.key, image.index, image.status) for image in batch]
    assert rows == [
        ("A-1", 0, "ok"),
        ("B-2", 0, "ok"),
        ("B-2", 1, "ok"),
        ("C-3", 0, "skipped"),
        ("D-4", 0, "ok"),
    ]
    labels: list[Any] = [10, 20, 20, 30, 40] if name in {"pandas", "to_dict"} else [0, 1, 1, 2, 3]
    if name == "a.json":  # the index in the file
        labels = ["10", "20", "20", "30", "40"]
    assert [image.row for image in batch] == labels


NESTED: Final = [
    {"shape": {"name": "round"}, "words": ["red", "old"]},
    {"shape": None, "words": ["new"]},
    {"shape": {"name": "flat"}, "words": None},
]


@pytest.mark.parametrize("source", [list, pa.Table.from_pylist, pl.DataFrame, pd.DataFrame])
def test_nested_cells_are_read_and_missing_ones_skip_the_row(
    fast: Session, quick: Served, source: Callable[[Any], Any]
) -> None:
    template = "a {{ row.shape.name }} {{ row.words | join(' ') }} box"
    batch = fast.generate(template, each=source(NESTED), template=True)
    assert prompts(quick) == ["a round red old box"]
    assert [image.status for image in batch] == ["ok", "skipped", "skipped"]


def test_a_cell_fills_in_rows_options_and_variables(
    shell: InteractiveShell, keyed: Served, quick: Served
) -> None:
    shell.user_ns |= {"products": PRODUCTS, "light": "at dusk"}
    batch = shell.run_cell(
        "%%xai_image --each products --key id --aspect-ratio {{ row.shape }}\n"
        "a {{ row.Fruit | upper }} on {{ row['table'] }}, {{ light }};"
    ).result
    assert prompts(quick) == [
        "a FIG on fir, at dusk",
        "a PEAR on oak, at dusk",
        "a PLUM on elm, at dusk",
    ]
    assert [image.key for image in batch["B-2"]] == ["B-2"]


def test_data_is_never_a_template(fast: Session, quick: Served) -> None:
    rows = [{"word": "{{ secret }}", "shape": "1:1"}, {"word": "{% x %}", "shape": "16:9"}]
    fast.generate("see {{ row.word }}", each=rows, template=True, aspect_ratio="{{ row.shape }}")
    assert prompts(quick) == ["see {% x %}", "see {{ secret }}"]


def test_a_list_is_data_too(fast: Session, quick: Served) -> None:
    """It may be empty, and its texts are sent as they are."""
    fast.generate("say {{ row }}", each=["{{ 7 * 7 }}", "$100 {bill}"], template=True)
    assert prompts(quick) == ["say $100 {bill}", "say {{ 7 * 7 }}"]
    with pytest.raises(errors.OptionError, match="the source has no prompts"):
        fast.generate("a {{ row }}", each=[], template=True)


def test_a_database_cursor_is_read(fast: Session, quick: Served) -> None:
    """In one thread: SQLite allows no other."""
    with closing(sqlite3.connect(":memory:")) as base:
        base.execute("CREATE TABLE t (fruit, n)")
        base.executemany("INSERT INTO t VALUES (?, ?)", [("pear", 1), ("plum", 2)])
        base.row_factory = sqlite3.Row
        rows = base.execute("SELECT * FROM t")
        fast.generate("a {{ row.fruit }}", each=rows, template=True, n="{{ row.n }}")
    assert prompts(quick) == ["a pear", "a plum"]


def test_a_source_that_exits_ends_the_call(fast: Session, quick: Served) -> None:
    """And not the background loop, without which every later call would wait forever."""

    def rows() -> Iterator[str]:
        yield from ("a fox", "an owl")
        sys.exit(3)

    with pytest.raises(errors.XaiError, match=r"--each: SystemExit: 3\."):
        fast.generate(each=rows())
    assert fast.generate("an elk")[0].status == "ok"


def test_a_row_of_a_list_is_its_text(fast: Session, quick: Served) -> None:
    batch = fast.generate("a {{ row }} pie", each=["pear", "", "plum"], template=True)
    assert prompts(quick) == ["a pear pie", "a plum pie"]
    assert [image.status for image in batch] == ["ok", "skipped", "ok"]


def test_options_of_rows_work_with_a_column_of_prompts(fast: Session, quick: Served) -> None:
    rows = {"prompt": ["a fox", "an owl"], "shape": ["1:1", "16:9"]}
    fast.generate(each=rows, template=True, aspect_ratio="{{ row.shape }}")
    sent = sorted((call.message.prompt, call.message.aspect_ratio) for call in quick.calls)
    assert sent == [("a fox", 1), ("an owl", 5)]


def test_the_other_name_of_an_option_can_read_the_row(fast: Session, quick: Served) -> None:
    rows = [{"fruit": "pear", "n": 1}, {"fruit": "plum", "n": 2}]
    fast.generate("a {{ row.fruit }}", each=rows, template=True, count="{{ row.n }}")
    assert sorted((call.message.prompt, call.message.n) for call in quick.calls) == [
        ("a pear", 1),
        ("a plum", 2),
    ]


def test_photos_of_rows_are_sent(fast: Session, quick: Served, tmp_path: Path) -> None:
    """From paths, arrays and Pillow images. A row without a photo is skipped."""
    (tmp_path / "a.jpg").write_bytes(tiny(1))
    photos = [
        tmp_path / "a.jpg",
        np.zeros((3, 3, 3), np.uint8),
        Image.new("RGB", (2, 2)),
        None,
        [],
    ]
    table = pd.DataFrame({"photo": photos, "name": list("abcde")})
    batch = fast.generate(
        "make it night", each=table, template=True, image="{{ row.photo }}", key="name"
    )
    assert [image.status for image in batch] == ["ok"] * 3 + ["skipped"] * 2
    assert not any(image.item.options.image for image in batch.ok)  # the photos can be freed
    assert len(quick.calls) == 3
    assert all(call.message.image.image_url for call in quick.calls)
    assert not any(source.url for image in batch for source in image.request.inputs)


def test_a_photo_that_is_broken_fails_its_row_only(
    fast: Session, quick: Served, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(tiny(1))
    (tmp_path / "b.jpg").write_bytes(b"not a picture")
    rows = [{"photo": str(tmp_path / f"{name}.jpg")} for name in "ab"]
    batch = fast.generate("at night", each=rows, template=True, image="{{ row.photo }}")
    assert [image.status for image in batch] == ["ok", "failed"]
    (tmp_path / "b.jpg").write_bytes(tiny(2))
    assert [image.status for image in batch.retry()] == ["ok", "ok"]
    assert len(quick.calls) == 2


REFUSED: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("a {{ row.frut }}", {}, "no column 'frut' for row.frut. Did you mean Fruit? There are: id, "),
    ("a {{ row['no'] }}", {}, "no column 'no' for row.no. Did you mean n? There are: id, Fruit, "),
    ("a {{ row.Fruit }}", {"key": "sku"}, "no column 'sku' for --key sku. There are: id, "),
    ("a {{ row.Fruit }}", {"key": "n"}, "row 3: the key '1' is also that of row 1."),
    ("a {{ row.Fruit }}", {"n": "{{ row.table }}"}, "row 1: -n/--count: 'oak' is not a whole"),
    ("a {{ row.Fruit }}", {"n": "{{ row.frut }}"}, "no column 'frut' for row.frut."),
    ("a {{ row.table }}", {"image": "{{ row.table }}.jpg"}, "row 1: --image oak.jpg: the file "),
    ("a {{ row.Fruit }}", {"export": "{{ row.id }}"}, "--export: the value is one for the whole"),
    ("a {{ light }}", {}, "{{ … }} in the prompt: 'light' is undefined. Only row can be read"),
    ("a {{ 1 + 1 }}", {}, "the prompt is the same for every row"),
    ("a {{ row.Fruit }} {{ light }}", {}, "row 1: {{ … }} in the prompt: 'light' is undefined."),
    ("a {{ row.Fruit.shout() }}", {}, "row 1: {{ … }} in the prompt: a template does not call"),
    ("a {{ row.Fruit }}", {"each": [{"frut": 1}]}, "row 1: {{ … }} in the prompt: the row has"),
    ("a {{ row.Fruit }}", {"each": {"Fruit": [None, ""]}}, "--each: all prompts are blank. {{"),
    ("a {{ row.Fruit }}", {"batch": True, "image": "{{ row.id }}"}, "Omit --batch."),
    ("a {{ row.Fruit }}", {"each": {"Fruit": ["a"], "id": [1, 2]}, "key": "id"}, "1 and 2 rows"),
    ("a {{ row.Fruit }}", {"each": None}, "template=True fills in the prompt for each row"),
    ("a fox", {"each": None, "template": False, "key": "id"}, "--key names a column of a table."),
    ("a {{ row.Fruit }}", {"template": False}, "add template=True"),
    ("", {"template": False, "each": ["a"], "key": "id"}, "has no field 'id', the key."),
    ("", {"template": False, "each": [{"prompt": "a"}], "key": "id"}, "no field 'id', the key."),
    (
        "",
        {"template": False, "each": {"prompt": ["a", "b"], "id": [1, None]}, "key": "id"},
        "row 2: the key is missing.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "options", "message"), REFUSED)
def test_mistakes_are_refused_before_anything_is_sent(
    session: Session, quick: Served, prompt: str, options: dict[str, Any], message: str
) -> None:
    given = {"each": PRODUCTS, "template": True} | options
    with pytest.raises(errors.OptionError, match=re.escape(message)) as caught:
        session.generate(prompt, **given)
    assert "\n" not in str(caught.value)
    assert quick.calls == []


def test_a_late_mistake_in_a_table_sends_nothing(session: Session, quick: Served) -> None:
    table = pd.DataFrame({"fruit": ["pear"] * 5_000, "n": ["1"] * 4_999 + ["many"]})
    with pytest.raises(errors.OptionError, match="row 5,000: -n"):
        session.generate("a {{ row.fruit }}", each=table, template=True, n="{{ row.n }}")
    assert quick.calls == []


def test_a_mistake_below_the_rows_that_are_read_ahead_sends_nothing(
    session: Session, quick: Served
) -> None:
    table = pd.DataFrame({"id": range(10_200), "prompt": "a fox", "n": 1})
    table.loc[10_101, ["id", "n"]] = 4, 99
    with pytest.raises(errors.OptionError, match="row 10,102: the key '4' is also that of row 5"):
        session.generate(each=table, key="id")
    with pytest.raises(errors.OptionError, match="row 10,102: -n"):
        session.generate(each=table, template=True, n="{{ row.n }}")
    assert quick.calls == []


def test_names_of_files_are_checked_before_anything_is_sent(
    session: Session, quick: Served
) -> None:
    rows = {"prompt": ["a fox", "an owl"], "id": ["x", "a/b"]}
    with pytest.raises(errors.ExportError, match="Row 1 cannot have the file name 'a/b'"):
        session.generate(each=rows, key="id", export="out", name="{key}")
    with pytest.raises(errors.ExportError, match="have the same file name 'fruit'"):
        session.generate(each=rows, key="id", export="out", name="fruit")
    assert quick.calls == []


class Once:
    """An object with a length that can be read only once, such as a progress bar."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = iter(rows)
        self.length = len(rows)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return self.rows


def test_sources_that_can_be_read_once_lose_no_row(session: Session) -> None:
    rows = [{"n": n} for n in range(10_100)]
    plan = session.generate("fox {{ row.n }}", each=Once(rows), template=True, dry_run=True)
    assert len(plan.requests) == 10_100
    with closing(sqlite3.connect(":memory:")) as base:
        base.row_factory = sqlite3.Row
        base.execute("CREATE TABLE t (n)")
        base.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(10_100)])
        found = base.execute("SELECT n FROM t")
        plan = session.generate("fox {{ row.n }}", each=found, template=True, dry_run=True)
    assert len(plan.requests) == 10_100


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_columns_of_other_types_than_numpys_are_read(
    fast: Session, quick: Served, backend: str
) -> None:
    table = pd.DataFrame({"n": [1.0, None], "w": [1.5, 2.5]}).convert_dtypes(dtype_backend=backend)
    template = "{{ 'one' if row.n == 1 else 'many' }} of {{ row.w }}"
    fast.generate(template, each=table, template=True)
    fast.generate(template, each=pd.DataFrame({"n": [1.0, None], "w": [3.5, 4.5]}), template=True)
    assert prompts(quick) == ["many of 2.5", "many of 4.5", "one of 1.5", "one of 3.5"]


def test_whole_numbers_with_blanks_stay_whole(fast: Session, quick: Served) -> None:
    """Pandas stores them as floats."""
    table = pd.DataFrame({"id": [7, 8, None], "count": [3, None, 4], "price": [1.5, 2.0, None]})
    batch = fast.generate(
        "{{ row.count | default('some') }} pears for {{ row.price | default('?') }}",
        each=table[:2],
        template=True,
        key="id",
    )
    assert prompts(quick) == ["3 pears for 1.5", "some pears for 2.0"]
    assert [image.key for image in batch] == [7, 8]


def test_a_dry_run_shows_the_first_three_requests_and_the_last(
    session: Session, quick: Served
) -> None:
    quick.faults.image_price = 2 * CENT
    table = pd.DataFrame({"fruit": range(5_000), "shape": ["1:1", "16:9"] * 2_500})
    plan = session.generate(
        "a pie of {{ row.fruit }}",
        each=table,
        template=True,
        aspect_ratio="{{ row.shape }}",
        dry_run=True,
    )
    rows = plan.rows()
    assert [pair for pair in rows if pair[0].startswith("request") or not pair[0]] == [
        ("request 1", "a pie of 0  (aspect ratio 1:1)"),
        ("request 2", "a pie of 1  (aspect ratio 16:9)"),
        ("request 3", "a pie of 2  (aspect ratio 1:1)"),
        ("", "… 4,996 more"),
        ("request 5,000", "a pie of 4999  (aspect ratio 16:9)"),
    ]
    assert ("images", "5,000") in rows
    assert ("time", "about 16 min 39 s, at 5 requests per second") in rows
    assert ("expected cost", "$100.00") in rows
    small = session.generate(TEMPLATE, each=PRODUCTS, template=True, dry_run=True)
    assert ("blank rows", "1, not sent") in small.rows()
    assert quick.calls == []


# Rows and keys


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([7, 5, 6]),
        pd.Index(["x", "y", "z"]),
        pd.date_range("2026-01-01", periods=3, tz="Europe/Berlin"),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["shop", "shelf"]),
    ],
    ids=["numbers", "text", "dates", "levels"],
)
def test_results_join_their_table(fast: Session, quick: Served, index: pd.Index) -> None:
    quick.faults.fail_when = lambda request, _: (
        (grpc.StatusCode.INVALID_ARGUMENT, "no") if "owl" in request.prompt else None
    )
    table = pd.DataFrame({"prompt": ["a fox", "an owl", ""]}, index=index)
    joined = table.join(fast.generate(each=table, n=2).to_frame()[["image", "status", "spent_usd"]])
    assert [list(joined.loc[[label], "status"]) for label in index] == [
        ["ok", "ok"],
        ["failed"],
        ["skipped"],
    ]
    assert joined.spent_usd.sum() == pytest.approx(0.14)


def test_results_join_by_key_after_failures_moderation_replay_and_retry(
    kernels: Kernels, quick: Served
) -> None:
    """Each row of 300 has its picture, its cost and its status, in every run."""
    table = pd.DataFrame({"id": [f"SKU-{i}" for i in range(300)], "prompt": "", "n": 1})
    table["prompt"] = [f"thing {i}" if i % 10 else None for i in range(300)]
    quick.faults.cost_ticks = 7 * CENT
    quick.faults.fail_when = lambda request, _: (
        (grpc.StatusCode.INVALID_ARGUMENT, "not today") if request.prompt.endswith("7") else None
    )
    table = table.sample(frac=1, random_state=3)
    first = kernels()
    first.configured = lambda: {"rate": 0, "concurrency": 16}
    batch = first.generate(each=table, key="id")
    sent = len(quick.calls)

    def check(batch: Any, failed: str, spent: float) -> None:
        frame = batch.to_frame()
        assert list(frame.row) == list(table.index)
        assert list(frame.index) == list(table.index)
        joined = table.join(frame.set_index("key")[["status", "sha256", "spent_usd"]], on="id")
        numbers = joined.id.str.removeprefix("SKU-").astype(int)
        blank, sevens = numbers % 10 == 0, numbers % 10 == 7
        assert set(joined.status[blank]) == {"skipped"}
        assert set(joined.status[sevens]) == {failed}
        assert set(joined.status[~blank & ~sevens]) == {"ok"}
        assert all(image.prompt.split()[-1] == image.key[4:] for image in batch.ok)
        assert frame.spent_usd.sum() == pytest.approx(batch.spent_usd) == pytest.approx(spent)

    check(batch, "failed", 240 * 0.07)
    assert batch.cost_usd == pytest.approx(240 * 0.07)
    assert len(batch.failed) == 30
    quick.faults.fail_when = None
    second = kernels()
    second.configured = first.configured
    replayed = second.generate(each=table, key="id")
    check(replayed, "ok", 30 * 0.07)
    assert replayed.cost_usd == pytest.approx(270 * 0.07)
    assert len(quick.calls) == sent + 30
    check(batch.retry(), "ok", 240 * 0.07)
    assert len(quick.calls) == sent + 30  # they were in the library by then


def test_the_frame_keeps_the_name_of_the_index(fast: Session, tmp_path: Path) -> None:
    days = pd.date_range("2026-01-01", periods=2, name="day")
    batch = fast.generate(each=pd.DataFrame({"prompt": ["a fox", "an owl"]}, index=days))
    assert batch.to_frame().index.name == batch.ok.to_frame().index.name == "day"
    assert [path.name for path in batch.export(tmp_path, name="{row}")] == [
        "2026-01-01.jpg",
        "2026-01-02.jpg",
    ]


def test_redo_takes_keys(fast: Session, quick: Served) -> None:
    batch = fast.generate(each={"prompt": ["a fox", None, "an owl"], "id": list("xyz")}, key="id")
    again = batch.redo("z")
    assert [image.key for image in again] == ["x", "y", "z"]
    assert [image.id == old.id for image, old in zip(again, batch, strict=True)] == [
        True,
        True,
        False,
    ]
    with pytest.raises(errors.OptionError, match=r"redo\(\) takes whole numbers and keys"):
        batch.redo([0, 1])
    with pytest.raises(errors.OptionError, match=r"Image 1 was not requested\. Skipped: "):
        batch.redo(1)
    assert len(quick.calls) == 3


def test_a_batch_is_indexed_by_key(fast: Session) -> None:
    batch = fast.generate(each={"prompt": ["a fox", "an owl"], "id": [17, 18]}, key="id", n=2)
    assert [image.prompt for image in batch["17"]] == ["a fox", "a fox"]
    with pytest.raises(KeyError, match=r"no row has the key '16'\."):
        batch["16"]
    with pytest.raises(KeyError, match="The batch has no keys; name their column with key="):
        fast.generate("a fox")["16"]
    opened = pickle.loads(pickle.dumps(batch))
    assert [(image.row, image.key) for image in opened] == [(0, 17), (0, 17), (1, 18), (1, 18)]
    assert list(opened.to_frame().key) == [17, 17, 18, 18]


# Retries and interrupts


def test_retry_requests_only_what_is_missing(fast: Session, quick: Served) -> None:
    """Of an incomplete reply the missing image; of two equal rows the failed one, anew."""
    quick.faults.failures = [None, (grpc.StatusCode.INVALID_ARGUMENT, "no"), None]
    fast.configured = lambda: {"rate": 0, "concurrency": 1}
    batch = fast.generate(each=["a fox", "a fox", "an owl"])
    assert sorted(image.status for image in batch) == ["failed", "ok", "ok"]
    again = batch.retry()
    assert [image.status for image in again] == ["ok"] * 3
    assert [image.row for image in again] == [0, 1, 2]
    assert len(quick.calls) == 4
    assert again.spent_usd == pytest.approx(0.21)
    assert again.retry() is again
    quick.faults.short = 1
    short = fast.generate(each=["a hare", "a hen"], n=2)
    assert [image.status for image in short] == ["ok", "missing"] * 2
    quick.faults.short = 0
    calls = len(quick.calls)
    full = short.retry()
    assert [image.status for image in full] == ["ok"] * 4
    assert [call.message.n for call in quick.calls[calls:]] == [1, 1]
    assert [image.sha256 for image in full[::2]] == [image.sha256 for image in short[::2]]
    assert full.spent_usd == pytest.approx(4 * 0.07)
    assert fast.last_batch() is full


@pytest.mark.parametrize("options", [{"each": ["a fox"]}, {"prompt": "a fox"}])
def test_a_rewrite_is_counted_once(fast: Session, quick: Served, options: dict[str, Any]) -> None:
    """Although the images come from a first reply, which was incomplete, and from a retry."""
    quick.faults.chat_ticks = CENT
    quick.faults.short = 1
    batch = fast.generate(**options, n=2, rewrite=True)
    quick.faults.short = 0
    assert batch.retry().spent_usd == pytest.approx(0.07 + 0.07 + 0.01)


def test_batches_of_two_calls_are_retried_with_their_options(fast: Session, quick: Served) -> None:
    quick.faults.fail_when = lambda *_: (grpc.StatusCode.INVALID_ARGUMENT, "no")
    both = fast.generate(each=["a fox"], timeout=50) + fast.generate(each=["an owl"], timeout=60)
    quick.faults.fail_when = None
    assert [image.status for image in both.retry()] == ["ok", "ok"]


@pytest.mark.parametrize("each", [["a fox", "an owl"], [{"prompt": "a hen"}, {"prompt": "a fox"}]])
def test_replay_fails_if_a_row_has_no_stored_image(fast: Session, quick: Served, each: Any) -> None:
    fast.generate("a fox")
    with pytest.raises(
        errors.LibraryError, match=r"1 prompt cannot be replayed\. The library has 0"
    ):
        fast.generate(each=each, replay=True)
    assert sorted(image.status for image in fast.last_batch()) == ["failed", "ok"]
    assert len(quick.calls) == 1


def test_a_retry_at_another_server_or_of_another_photo_gets_a_slot_of_its_own(
    fast: Session, quick: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored image never answers a request of another server or with another photo."""
    quick.faults.fail_when = lambda *_: (grpc.StatusCode.INVALID_ARGUMENT, "no")
    photo = tmp_path / "a.jpg"
    photo.write_bytes(tiny(1))
    rows = [{"photo": photo}]
    edited = fast.generate("at night", each=rows, template=True, image="{{ row.photo }}")
    plain = fast.generate(each=["a fox"])
    quick.faults.fail_when = None
    photo.write_bytes(tiny(2))
    assert edited.retry()[0].status == "ok"
    photo.write_bytes(tiny(1))
    again = fast.generate("at night", each=rows, template=True, image="{{ row.photo }}", reuse=True)
    assert not again[0].replayed
    calls = len(quick.calls)
    fast.configured = lambda: {"rate": 0, "backend": "local"}
    assert plain.retry()[0].model == "local-preview"
    fast.configured = lambda: {"rate": 0}
    assert not fast.generate("a fox", reuse=True)[0].replayed
    assert len(quick.calls) == calls + 1


def test_a_second_retry_of_the_same_batch_costs_nothing(fast: Session, quick: Served) -> None:
    """Also in two threads at once."""
    quick.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no")] * 3
    batch = fast.generate(each=["a fox", "an owl", "an elk"])
    with ThreadPoolExecutor(2) as pool:
        full, again = pool.map(lambda _: batch.retry(), range(2))
    assert [image.id for image in full] == [image.id for image in again]
    assert [image.id for image in batch.retry()] == [image.id for image in full]
    assert len(quick.calls) == 6


def test_a_second_retry_of_a_row_with_a_photo_shows_the_stored_picture(
    fast: Session, quick: Served, tmp_path: Path
) -> None:
    """The bytes of the photo are dropped after the reply, so `redo` fails with a clear error."""
    (tmp_path / "a.jpg").write_bytes(tiny(1))
    quick.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no")]
    rows = [{"photo": tmp_path / "a.jpg"}]
    batch = fast.generate("at night", each=rows, template=True, image="{{ row.photo }}")
    full = batch.retry()
    assert [image.id for image in batch.retry()] == [image.id for image in full]
    assert len(quick.calls) == 2
    with pytest.raises(errors.InputImageError, match="is not in memory any more"):
        full.redo(0)
    assert len(quick.calls) == 2


@pytest.mark.parametrize("prompts", [[f"fox {n}" for n in range(8)], ["a fox"] * 8])
@pytest.mark.parametrize("earlier", [False, True])
def test_rows_that_a_call_did_not_get_to_are_retried_in_its_slots(
    shell: InteractiveShell, keyed: Served, quick: Served, prompts: list[str], *, earlier: bool
) -> None:
    """Running its cell once more then costs nothing, also if it had run before."""
    cell = f"import xai_notebook as xai\nrun = xai.generate(each={prompts})"
    shell.run_cell("import xai_notebook as xai\nxai.configure(rate=0, concurrency=1)")
    if earlier:
        shell.run_cell(cell, store_history=True, cell_id="one")
    start = len(quick.calls)
    quick.faults.failures = [None] * 3 + [(grpc.StatusCode.UNAUTHENTICATED, "revoked")]
    shell.run_cell(cell, store_history=True, cell_id="one")
    retry = "full = xai.history(last=True).retry()"
    shell.run_cell(retry, store_history=True, cell_id="two")
    full = shell.user_ns["full"]
    assert [image.status for image in full] == ["ok"] * 8
    assert len({image.id for image in full}) == 8
    made = len(quick.calls)
    assert made == start + 9
    shell.run_cell(cell, store_history=True, cell_id="one")
    assert [image.id for image in shell.user_ns["run"]] == [image.id for image in full]
    assert len(quick.calls) == made


def test_a_retried_cell_finds_its_images(
    shell: InteractiveShell, keyed: Served, quick: Served
) -> None:
    """Running the cell of the call again after a retry in another cell costs nothing."""
    cell = "import xai_notebook as xai\nrun = xai.generate(each=['a fox', 'an owl'])"
    quick.faults.failures = [None, (grpc.StatusCode.INVALID_ARGUMENT, "no")]
    shell.run_cell(cell, store_history=True, cell_id="one")
    shell.run_cell("full = run.retry()", store_history=True, cell_id="two")
    full = shell.user_ns["full"]
    assert [image.status for image in full] == ["ok", "ok"]
    shell.run_cell(cell, store_history=True, cell_id="one")
    assert [image.id for image in shell.user_ns["run"]] == [image.id for image in full]
    assert len(quick.calls) == 3


def test_images_keep_their_places_in_every_kind_of_batch(fast: Session, quick: Served) -> None:
    """A comparison, one prompt, a batch added to itself and a part of a batch."""
    quick.faults.failures = [None, (grpc.StatusCode.INVALID_ARGUMENT, "no")]
    boats = fast.generate("a {red|blue} boat", matrix=True).retry()
    assert [image.chosen for image in boats] == [("red",), ("blue",)]
    quick.faults.short = 1
    single, pair = fast.generate("a boat", n=3), fast.generate(each=["a fox"], n=2)
    quick.faults.short = 0
    assert [image.index for image in single.retry().ok] == [0, 1, 2]
    assert [image.index for image in (pair + pair).retry().ok] == [0, 1, 0, 1]
    assert [image.index for image in pair[1:].retry()] == [1]
    quick.faults.short = 2
    one_of_three = fast.generate(each=["a hen"], n=3)
    quick.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no")]
    quick.faults.short = 0
    still = one_of_three.retry()
    assert [image.status for image in still] == ["ok", "missing", "missing"]
    assert [image.index for image in still.retry().ok] == [0, 1, 2]


def test_a_fresh_call_is_retried_with_new_images(kernels: Kernels, quick: Served) -> None:
    prompts = [f"fox {n}" for n in range(4)]
    kernels().generate(each=prompts)
    session = kernels()
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    quick.faults.failures = [None, (grpc.StatusCode.UNAUTHENTICATED, "revoked")]
    with pytest.raises(errors.AuthenticationError):
        session.generate(each=prompts, fresh=True)
    full = session.last_batch().retry()
    assert not any(image.replayed for image in full)
    assert len(quick.calls) == 4 + 2 + 3


def test_an_error_before_a_retry_begins_is_raised_as_it_is(
    fast: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no")]
    batch = fast.generate(each=["a fox", "an owl"])
    fast.configured = lambda: {"backend": "xai", "api_host": "no such host"}
    with pytest.raises(errors.XaiError, match="no such host"):
        batch.retry()


def test_what_a_limit_kept_from_being_sent_is_retried(fast: Session, quick: Served) -> None:
    quick.faults.image_price = 7 * CENT
    batch = fast.generate(each=[f"fox {i}" for i in range(5)], max_cost=0.15)
    assert [image.status for image in batch].count("unsent") == 3
    assert batch.to_frame().spent_usd.sum() == pytest.approx(0.14)
    fast.configured = lambda: {"rate": 0}
    limited = batch.retry()
    assert [image.status for image in limited].count("unsent") == 1
    assert [image.row for image in limited] == [0, 1, 2, 3, 4]


def test_images_from_a_pickle_cannot_be_retried(fast: Session, quick: Served) -> None:
    quick.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no")]
    batch = fast.generate(each=["a fox", "an owl"])
    opened = pickle.loads(pickle.dumps(batch))
    with pytest.raises(errors.OptionError, match="cannot be requested again: they come from"):
        opened.retry()


def test_a_cancelled_call_has_a_row_for_everything(fast: Session, quick: Served) -> None:
    """Rows that were in flight or not begun are unsent; a retry makes exactly these."""
    fast.configured = lambda: {"rate": 0, "concurrency": 1}
    table = pd.DataFrame({"prompt": [f"fox {i}" for i in range(20)]}, index=range(100, 120))
    quick.faults.delay = lambda request: 60.0 if request.prompt == "fox 5" else 0.0

    async def cancel() -> Any:
        call = fast.prepare(None, {"each": table})
        task = fast.loop.submit(fast.run(call))
        await asyncio.to_thread(quick.wait_for_call, 6)
        until(lambda: call.progress.done == 5)
        task.cancel()
        await asyncio.sleep(0)
        call.interrupted = True
        until(lambda: call.over)
        return fast.finish(call)

    batch = asyncio.run(cancel())
    assert list(batch.to_frame().row) == list(range(100, 120))
    assert [image.status for image in batch] == ["ok"] * 5 + ["unsent"] * 15
    quick.faults.delay = 0.0
    again = batch.retry()
    assert [image.status for image in again] == ["ok"] * 20
    assert list(again.to_frame().row) == list(range(100, 120))
    assert len(quick.calls) == 21


def test_a_job_keeps_rows_and_keys(fast: Session, quick: Served) -> None:
    table = PRODUCTS.rename(columns={"Fruit": "prompt"})
    job = fast.generate(each=table, key="id", batch=True)
    batch = job.wait()
    assert [(image.row, image.key, image.status) for image in batch] == [
        (10, "A-1", "ok"),
        (20, "B-2", "ok"),
        (30, "C-3", "skipped"),
        (40, "D-4", "ok"),
    ]
    assert job.counts.total == 3
    opened = pickle.loads(pickle.dumps(job))
    assert [image.key for image in opened.images] == ["A-1", "B-2", "C-3", "D-4"]
