"""Damaged rows and read-only folders."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from harness import unprivileged
from xai_notebook.client.request import InputImage
from xai_notebook.errors import LibraryError
from xai_notebook.library import Library
from xai_notebook.library.jobs import JobRecord
from xai_notebook.library.storage import database

if TYPE_CHECKING:
    from pathlib import Path

    from harness import MakeOld, NewJpeg, Save


DAMAGE = [
    ("requests", "prompt", b"a \xff fox"),
    ("requests", "n", "many"),
    ("requests", "inputs", "[{"),
    ("requests", "inputs", '[{"no": 1}]'),
    ("requests", "created", b"\0"),
    ("requests", "created", 1e300),
    ("requests", "cost_usd", "\0dear"),
    ("requests", "answered_by", b"\xff"),
    ("images", "created", 1e300),
    ("images", "created", "yesterday"),
    ("images", "notes", "not JSON"),
    ("images", "notes", "3"),
    ("images", "sha256", "../../secret"),
    ("images", "status", "splendid"),
    ("images", "width", "wide"),
    ("images", "rewritten_prompt", b"\xff\xfe"),
    ("images", "notes", "[" * 100_000),
    ("images", "position", -1),
    ("images", "created", float("inf")),
    ("requests", "n", 10**12),
    ("requests", "inputs", '[{"sha256": "x", "label": "y"}]'),
    ("requests", "share", -1.0),
]


@pytest.mark.parametrize(("table", "column", "value"), DAMAGE)
def test_a_damaged_row_affects_no_other(
    library: Library, save: Save, picture: NewJpeg, table: str, column: str, value: object
) -> None:
    """The row becomes a card with an error, or loses a value; other rows are unchanged."""
    save("a red fox", [picture()])
    (bad,) = save("a blue fox", [picture()])
    save("a green fox", [picture()])
    damage(library, table, column, value, bad.id)
    images = library.history("fox")
    assert {image.request.prompt for image in images} >= {"a red fox", "a green fox"}
    assert {image.status for image in images} <= {"ok", "damaged"}
    assert all("Row 2" in (image.error or "") for image in images if image.status == "damaged")
    assert len(library.history()) == 3
    assert sum(row.requests for row in library.spending.costs()) == 3
    assert len(library.catalog.lineage(bad.sha256)) <= 1
    assert library.find("fingerprint of a red fox")[0].request.prompt == "a red fox"
    assert all(image.status == "ok" for image in library.find("fingerprint of a blue fox"))


EXTREMES = [
    ("created", 253_402_300_799, "created", datetime(2200, 1, 1, tzinfo=timezone.utc)),
    ("created", -1, "created", datetime(2000, 1, 1, tzinfo=timezone.utc)),
    ("public_url_expires", 0.0, "public_url_expires", None),
    ("public_url_expires", 253_402_300_799, "public_url_expires", None),
    ("public_url", "javascript:alert(1)", "public_url", None),
    ("cost_usd", float("inf"), "cost_usd", None),
    ("cost_usd", -5, "cost_usd", None),
    ("width", -3, "size", None),
    ("height", 10**15, "size", None),
    ("model", "a\u202eb\nc", "model", "ab c"),
]


@pytest.mark.parametrize(("column", "value", "name", "expected"), EXTREMES)
def test_values_out_of_bounds_are_left_out_or_clipped(
    library: Library, save: Save, picture: NewJpeg, column: str, value: object, name: str,
    expected: object,
) -> None:  # fmt: skip
    """The picture itself can still be read."""
    (image,) = save("a fox", [picture()])
    damage(library, "images", column, value, image.id)
    (stored,) = library.history()
    assert (stored.status, getattr(stored, name)) == ("ok", expected)
    assert stored.data == image.data


def test_amounts_out_of_bounds_do_not_count(library: Library, save: Save, picture: NewJpeg) -> None:
    save("a red fox", [picture()], cost_usd=0.02)
    (bad,) = save("a blue fox", [picture()], cost_usd=0.02)
    for value in (float("inf"), -1e9, 1e300, "dear"):
        damage(library, "requests", "cost_usd", value, bad.id)
        assert library.spending.totals(0.0).spent == 2 * 10**8
        assert [cost for _, cost in library.spending.last_costs("api.x.ai")] == [0.02]
        (row,) = library.spending.costs()
        assert (row.cost_usd, row.unknown) == (0.02, 1)
    damage(library, "requests", "inputs", "[{", bad.id)
    assert [cost for _, cost in library.spending.last_costs("api.x.ai")] == [0.02]


def test_file_ids_and_urls_are_not_read(library: Library, save: Save, picture: NewJpeg) -> None:
    (image,) = save("a fox", [picture()])
    stored_input = {
        "sha256": "ab" * 32,
        "label": "x.png",
        "file_id": "file-1",
        "url": "https://evil/",
    }
    damage(library, "requests", "inputs", json.dumps([stored_input]), image.id)
    (stored,) = library.history()
    assert stored.request.inputs == (InputImage("", "ab" * 32, "x.png"),)
    assert stored.request.inputs[0].file_id is None


def test_a_damaged_job_hides_no_other(library: Library) -> None:
    insert = (
        "INSERT INTO jobs (name, backend, host, state, inputs, created) VALUES (?, ?, ?, ?, ?, ?)"
    )
    rows = [
        ("good", "xai", "api.x.ai", "done", "{}", 1.8e9),
        ("odd", "xai", "api.x.ai", "splendid", "{}", 1.8e9),
        ("odder", "xai", "api.x.ai", "done", "[" * 100_000, 1.8e9),
        ("oddest", "xai", "api.x.ai", "done", "7", 1.8e9),
        ("old", "xai", "api.x.ai", "done", "{}", 1e300),
    ]
    with library.database.writing() as connection:
        connection.executemany(insert, rows)
    assert [job.name for job in library.jobs.newest(9)] == ["old", "good"]
    with pytest.raises(LibraryError, match="Job 2 of the library is damaged"):
        library.jobs.get(JobRecord(id=2, name="odd", backend="xai", host="api.x.ai"))


def test_invalid_utf8_is_replaced(library: Library, save: Save, picture: NewJpeg) -> None:
    (bad,) = save("a blue fox", [picture()])
    with library.database.writing() as connection:
        connection.execute("UPDATE requests SET prompt = CAST(x'61ff' AS TEXT)")
        connection.execute("UPDATE requests SET answered_by = CAST(x'61ff' AS TEXT)")
    (stored,) = library.history()
    assert (stored.id, stored.request.prompt) == (bad.id, "a\ufffd")
    assert library.spending.costs()[0].model == "a\ufffd"


def damage(library: Library, table: str, column: str, value: object, row: int) -> None:
    """Store a value; SQLite accepts any type."""
    with library.database.writing() as connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (value, row))


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_an_unwritable_home_is_refused(unprivileged_folder: Path) -> None:
    unprivileged_folder.chmod(0o555)
    with unprivileged(), pytest.raises(LibraryError, match=r"denied.*XAI_NOTEBOOK_HOME"):
        Library.open(unprivileged_folder / "home")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_library_answers(
    unprivileged_folder: Path, save: Save, picture: NewJpeg
) -> None:
    home = unprivileged_folder / "home"
    with contextlib.closing(Library.open(home)) as library:
        (image,) = save("a fox", [data := picture()], to=library)
    subprocess.run(["chmod", "-R", "a-w,a+rX", home], check=True)
    before = sorted(home.rglob("*"))
    with unprivileged(), contextlib.closing(Library.open(home)) as library:
        assert library.database.read_only
        (stored,) = library.find("fingerprint of a fox")
        assert (stored.id, stored.data) == (image.id, data)
        assert [picture.id for picture in library.history("fo")] == [image.id]
        assert library.spending.costs()[0].images == 1
        with pytest.raises(LibraryError, match="read-only"):
            save("new", [picture()], to=library)
    assert sorted(home.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_library_of_version_1_answers(
    unprivileged_folder: Path, picture: NewJpeg, make_old: MakeOld
) -> None:
    """The database is migrated in memory."""
    home = unprivileged_folder / "home"
    make_old(home, data := picture())
    subprocess.run(["chmod", "-R", "a-w,a+rX", home], check=True)
    before = (home / database.FILE).read_bytes()
    with unprivileged(), contextlib.closing(Library.open(home)) as library:
        assert [image.data for image in library.find("f")] == [data]
        assert [image.data for image in library.history("old fo")] == [data]
        assert library.rewrite_for("key") is None
    assert (home / database.FILE).read_bytes() == before
