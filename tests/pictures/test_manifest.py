"""Manifests: what they hold, how they continue, and that no value changes on the way."""

from __future__ import annotations

import builtins
import csv
import io
import json
import sys
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import polars as pl
import pytest
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import ExportError
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from pathlib import Path

FORMATS: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
NASTY: Final = (
    'two "owls"; one, fox\n\nin a tree',
    "=1+1",
    "a\rb\r\nc\u2028d\x85e",
    "🦊 \\n \\ ' \ufeff",
    "nan and null",
    "ثعلب",
    "a\0b\tc" if sys.version_info >= (3, 11) else "a\tc",  # csv of Python 3.10 takes no \0
    "a\rb",
)
NUMPY: Final = pd.Series([7, 8]).to_numpy()


def picture(prompt: str, kind: str = "JPEG", **card: Any) -> GeneratedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (len(prompt), 50, 90)).save(buffer, kind)
    return GeneratedImage(
        Picture(
            request=ImageRequest(prompt=prompt, model="grok"),
            cached=buffer.getvalue(),
            created=datetime(2026, 11, 22, 12, tzinfo=timezone.utc),
            sha256="1a2b3c4d" * 8,
            model="grok-2",
            cost_usd=0.07,
            rewritten_prompt=f"{prompt}!",
        ),
        **card,
    )


def keyed(**prompts: str) -> ImageBatch:
    return ImageBatch(
        picture(prompt, row=position, key=key)
        for position, (key, prompt) in enumerate(prompts.items())
    )


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows as `datasets` reads them."""
    if path.suffix == ".csv":
        frame = pd.read_csv(path)
        rows: list[dict[str, Any]] = (
            frame.astype(object).where(frame.notna(), None).to_dict("records")
        )
        return rows
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().split("\n") if line]
    return pl.read_parquet(path).to_dicts()


@pytest.mark.parametrize("name", FORMATS)
def test_a_manifest_has_a_row_for_each_file(tmp_path: Path, name: str) -> None:
    batch = keyed(p="a fox", q="an owl")
    withheld = replace(batch[0], picture=replace(batch[0].picture, status="moderated"))
    batch = ImageBatch([batch[0], replace(withheld, row=5, key="x"), batch[1]])
    batch.export(tmp_path, name="{key}/{n}", manifest=name)
    assert read(tmp_path / name) == [
        {
            "file_name": f"{key}/1.jpg", "row": row, "key": key, "prompt": prompt,
            "rewritten_prompt": f"{prompt}!", "model": "grok-2", "sha256": "1a2b3c4d" * 8,
            "created": "2026-11-22T12:00:00.000+00:00", "cost_usd": 0.07,
        }
        for row, key, prompt in ((0, "p", "a fox"), (1, "q", "an owl"))
    ]  # fmt: skip
    assert all((tmp_path / row["file_name"]).is_file() for row in read(tmp_path / name))


@pytest.mark.parametrize("name", FORMATS)
def test_text_is_exact(tmp_path: Path, name: str) -> None:
    batch = ImageBatch(picture(prompt, row=n, key=f"k{n}") for n, prompt in enumerate(NASTY))
    batch.export(tmp_path, name="{key}", manifest=name)
    assert [row["prompt"] for row in read(tmp_path / name)] == list(NASTY)
    if name == "metadata.csv":
        with (tmp_path / name).open(newline="", encoding="utf-8") as stream:
            assert [row["prompt"] for row in csv.DictReader(stream)] == list(NASTY)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([1, 2], [1, 2]),
        ([*NUMPY], [7, 8]),
        ([1.5, 2.5], [1.5, 2.5]),
        ([True, False], [True, False]),
        ([1, "b"], ["1", "b"]),
        ([1 << 70, "b"], [str(1 << 70), "b"]),
        ([pd.Timestamp("2026-01-01"), "b"], ["2026-01-01 00:00:00", "b"]),
        ([None, "b"], [None, "b"]),
        ([None, None], [None, None]),
    ],
)
def test_keys_have_one_type(
    tmp_path: Path, name: str, keys: list[object], expected: list[object]
) -> None:
    batch = ImageBatch(picture("a fox", row=n, key=key) for n, key in enumerate(keys))
    batch.export(tmp_path, name="{row}", manifest=name)
    assert [row["key"] for row in read(tmp_path / name)] == expected


@pytest.mark.parametrize(
    ("name", "values", "cure"),
    [
        ("metadata.csv", {"007": "a", "008": "b"}, "Give a .jsonl or .parquet manifest"),
        ("metadata.csv", {"1e5": "a"}, "the key '1e5'"),
        ("metadata.csv", {"true": "a", "FALSE": "b"}, "the key 'true'"),
        ("metadata.csv", {"k": "NA"}, "the prompt 'NA'"),
        ("metadata.csv", {"k": "null", "l": "a fox"}, "the prompt 'null'"),
        ("metadata.csv", {"007": "a fox " * 40_000, "k": "b"}, "the key '007'"),
        ("metadata.jsonl", {"2026-01-01": "a", "2026-01-02": "b"}, "Give a .parquet manifest"),
    ],
)
def test_values_that_readers_would_change_are_refused(
    tmp_path: Path, name: str, values: dict[str, str], cure: str
) -> None:
    with pytest.raises(ExportError, match=cure):
        keyed(**values).export(tmp_path / "out", name="{key}", manifest=name)
    assert not (tmp_path / "out").exists()
    keyed(**values).export(tmp_path / "out", name="{key}", manifest="metadata.parquet")
    assert [row["key"] for row in read(tmp_path / "out/metadata.parquet")] == [*values]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("metadata.txt", "unknown format"),
        ("metadata", "unknown format"),
        ("a/metadata.csv", "has the character /"),
        (".csv", "unknown format"),
        ("..csv", "begins with a dot"),
        ("con.csv", "reserved on Windows"),
        ("x\n.csv", r"has the character \\n"),
        (True, "The manifest is a bool"),
    ],
)
def test_an_invalid_name_is_refused(tmp_path: Path, name: Any, problem: str) -> None:
    with pytest.raises(ExportError, match=problem):
        keyed(p="a fox").export(tmp_path / "out", manifest=name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_an_existing_manifest_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ExportError, match="nothing was exported"):
        keyed(p="a fox").export(tmp_path, name="{key}", manifest=name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_export_again_changes_nothing(tmp_path: Path, name: str) -> None:
    """As when a notebook runs again. Other pictures need `overwrite`."""
    batch = keyed(p="a fox", q="an owl")
    batch.export(tmp_path, name="{key}", manifest=name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    batch.export(tmp_path, name="{key}", manifest=name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(ExportError, match=r"lists other images\. Give overwrite=True"):
        keyed(p="a fox", q="an elk").export(tmp_path, name="{key}", manifest=name)
    with pytest.raises(ExportError, match=r"lists other images\. Give overwrite=True"):
        batch[:1].export(tmp_path, name="{key}", manifest=name)


@pytest.mark.parametrize("name", FORMATS)
def test_images_that_a_retry_has_made_are_added(tmp_path: Path, name: str) -> None:
    keyed(p="a fox").export(tmp_path, name="{key}", manifest=name)
    keyed(p="a fox", q="an owl").export(tmp_path, name="{key}", manifest=name)
    assert [row["key"] for row in read(tmp_path / name)] == ["p", "q"]


def test_a_manifest_in_a_second_format_is_refused(tmp_path: Path) -> None:
    """ImageFolder would read neither."""
    batch = keyed(p="a fox")
    batch.export(tmp_path, name="{key}", manifest="metadata.csv")
    with pytest.raises(ExportError, match=r"has metadata\.csv already"):
        batch.export(tmp_path, name="{key}", manifest="metadata.jsonl", overwrite=True)
    batch.export(tmp_path, name="{key}", manifest="list.jsonl")


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.parquet"])
def test_a_manifest_whose_prompts_are_numbers_is_refused(tmp_path: Path, name: str) -> None:
    pd.DataFrame({"file_name": ["a.jpg"], "prompt": [5]}).pipe(
        lambda table: (
            table.to_parquet(tmp_path / name)
            if name.endswith("parquet")
            else table.to_json(tmp_path / name, orient="records", lines=True)
        )
    )
    with pytest.raises(ExportError, match="has prompts that are not text"):
        keyed(p="a fox").export(tmp_path, name="{key}", manifest=name, overwrite=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_second_export_continues_a_manifest(tmp_path: Path, name: str) -> None:
    """Rows of other files stay, also in another format; rows of deleted files go."""
    keyed(p="a fox", q="an owl", r="a hare").export(tmp_path, name="{key}", manifest=name)
    (tmp_path / "q.jpg").unlink()
    again = ImageBatch([picture("a red fox", "PNG", row="x", key="p"), picture("a bee", key="s")])
    again.export(tmp_path, name="{key}", manifest=name, overwrite=True)
    assert [
        (row["file_name"], row["key"], row["prompt"], row["row"], row["cost_usd"])
        for row in read(tmp_path / name)
    ] == [
        ("r.jpg", "r", "a hare", "2", 0.07),
        ("p.png", "p", "a red fox", "x", 0.07),
        ("s.jpg", "s", "a bee", None, 0.07),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "p.png", "r.jpg", "s.jpg"]


@pytest.mark.parametrize(
    ("manifest", "left"),
    [(None, ["p.jpg", "p.png"]), ("metadata.csv", ["metadata.csv", "p.jpg"])],
)
def test_a_file_without_metadata_is_replaced_if_the_manifest_lists_it(
    tmp_path: Path, manifest: str | None, left: list[str]
) -> None:
    for kind in ("PNG", "JPEG"):
        ImageBatch([picture("a fox", kind, row=0, key="p")]).export(
            tmp_path, name="{key}", metadata=False, manifest=manifest, overwrite=True
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == left


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "metadata.csv",
            "file_name,label\na.jpg,fox\n",
            r"does not write \(label\), and would lose",
        ),
        ("metadata.csv", "prompt\na fox\n", "rows without a file_name"),
        ("metadata.csv", 'file_name\n"a', "cannot be read"),
        ("metadata.csv", "file_name\na,b\n", "cannot be read"),
        ("metadata.jsonl", "[1]\n", "cannot be read"),
        ("metadata.jsonl", "{", "cannot be read"),
        ("metadata.parquet", "PAR1", "cannot be read"),
    ],
)
def test_another_table_is_not_replaced(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ExportError, match=problem):
        keyed(p="a fox").export(tmp_path, name="{key}", manifest=name, overwrite=True)
    assert (tmp_path / name).read_text() == content
    assert not (tmp_path / "p.jpg").exists()


def test_a_folder_of_images_is_not_the_manifest(tmp_path: Path) -> None:
    batch = ImageBatch([picture("a fox", row="SKU", key="Metadata.csv")])
    with pytest.raises(ExportError, match="a folder of images and the manifest"):
        batch.export(tmp_path, name="{key}/{n}", manifest="metadata.csv")
    assert [*tmp_path.iterdir()] == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("file_name\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metadata.csv").symlink_to(tmp_path / "other.csv")
    with pytest.raises(ExportError, match="is a link or a folder"):
        keyed(p="a fox").export(tmp_path / "out", manifest="metadata.csv", overwrite=True)
    assert (tmp_path / "other.csv").read_text() == "file_name\n"


def test_every_picture_of_a_manifest_has_its_own_file(tmp_path: Path) -> None:
    """Without a pattern, equal pictures of one prompt would share a file."""
    batch = ImageBatch([picture("a fox", row=0), picture("a fox", row=1)])
    batch.export(tmp_path, manifest="metadata.csv")
    rows = read(tmp_path / "metadata.csv")
    assert len({row["file_name"] for row in rows}) == 2
    assert [row["row"] for row in rows] == [0, 1]


def test_a_batch_without_pictures_writes_nothing(tmp_path: Path) -> None:
    assert ImageBatch().export(tmp_path / "out", manifest="metadata.csv") == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", [("pyarrow",), ("pyarrow", "polars")])
def test_parquet_needs_pyarrow_or_polars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] in missing:
            raise ImportError(name)
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    batch = keyed(p="a fox", q="an owl")
    if "polars" in missing:
        with pytest.raises(ExportError, match="needs pyarrow: pip install pyarrow"):
            batch.export(tmp_path / "out", manifest="metadata.parquet")
        assert not (tmp_path / "out").exists()
    else:
        for _ in range(2):
            batch.export(tmp_path, name="{key}", manifest="metadata.parquet", overwrite=True)
        monkeypatch.undo()
        assert [row["key"] for row in read(tmp_path / "metadata.parquet")] == ["p", "q"]


@pytest.mark.parametrize("name", FORMATS)
def test_two_exports_at_the_same_time_share_a_manifest(tmp_path: Path, name: str) -> None:
    """The rows that the other export has written meanwhile are kept."""

    def export_others(done: int, total: int) -> None:
        keyed(q="an owl").export(tmp_path, name="{key}", manifest=name, overwrite=True)

    keyed(p="a fox").export(
        tmp_path, name="{key}", manifest=name, overwrite=True, progress=export_others
    )
    assert [row["key"] for row in read(tmp_path / name)] == ["q", "p"]
