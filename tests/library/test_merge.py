"""Merge another library: each picture and each cost once, and foreign data stays data."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness import small_disk_at, unprivileged
from xai_notebook.client.request import InputImage
from xai_notebook.errors import LibraryError
from xai_notebook.library import Library, Reply, merge
from xai_notebook.library.storage import database
from xai_notebook.library.storage.spool import SpooledReply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import MakeOld, NewJpeg, Opens, Raw, Victims
    from xai_notebook.library.merge import Merged

    Pay = Callable[..., Reply]

TABLES = ("requests", "images", "tags", "rewrites", "jobs", "job_requests", "panels", "charges")


@pytest.fixture
def other(opens: Opens, tmp_path: Path) -> Library:
    """The library of a worker."""
    return opens(tmp_path / "worker")


@pytest.fixture
def pay(reply: Pay, picture: NewJpeg) -> Pay:
    """Return a function that makes a reply with an id and a price, as a server sends it."""

    def pay(prompt: str = "a fox", payloads: Any = None, *, spool: bool = True, **more: Any) -> Any:
        made = reply(prompt, payloads or [picture()], **{"cost_usd": 0.02, **more})
        spooled = SpooledReply(os.urandom(16).hex(), 1_750_000_000.123456) if spool else None
        fingerprint = made.request.fingerprint(made.backend, made.host)
        return replace(made, spooled=spooled, fingerprint=fingerprint)

    return pay


@pytest.fixture
def copied(other: Library, tmp_path: Path) -> Callable[[], Path]:
    """Return a function that copies the worker's library, as from another computer."""

    def copy() -> Path:
        other.close()
        return shutil.copytree(other.home, tmp_path / "copied")

    return copy


async def take(library: Library, home: Path) -> Merged:
    return await merge.merge(library, home, None)


def rows_of(home: Path) -> dict[str, list[Any]]:
    """Return all rows of a library."""
    with closing(sqlite3.connect(home / database.FILE)) as connection, connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


def originals_in(home: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (home / "images").glob("*/*.*")}


def costs(library: Library) -> float:
    return round(sum(row.cost_usd or 0.0 for row in library.spending.costs()), 10)


async def test_everything_about_a_picture_comes_along(
    library: Library, other: Library, pay: Pay
) -> None:
    inputs = (InputImage("", "a" * 64, "photo.jpg", parent="a" * 64),)
    paid = pay("a hat", inputs=inputs, notebook="/books/story.ipynb", place=3, user="me")
    (made,) = other.add(paid)
    other.annotations.star([made.id or 0])
    other.annotations.tag([made.id or 0], "noir")
    merged = await take(library, other.home)
    (found,) = library.find(paid.fingerprint, place=3, notebook="/books/story.ipynb")
    assert [each.id for each in merged.pictures] == [found.id]
    assert found.data == made.data
    assert found.file is not None
    assert found.file.is_relative_to(library.home)
    changed = {"file", "id"}
    for name in set(made.__slots__) - changed:
        assert getattr(found, name) == getattr(made, name), name
    assert library.annotations.of([found.id or 0])[found.id or 0][:2] == (True, ("noir",))
    (mine,), (theirs,) = rows_of(library.home)["requests"], rows_of(other.home)["requests"]
    assert mine == theirs
    assert (merged.cost_usd, costs(library)) == (0.02, 0.02)


async def test_a_second_merge_changes_nothing(
    library: Library, other: Library, pay: Pay, picture: NewJpeg
) -> None:
    """Also of replies without an id, as those of jobs and bundles, and of withheld images."""
    saved = other.add_replies(
        [
            pay("a fox", [picture(), picture()]),
            pay("an owl", spool=False),
            pay("an owl", spool=False, place=1),
            pay("a snake", [None], image={"status": "moderated"}),
        ]
    )
    assert all(isinstance(each, list) for each in saved)
    other.remember_rewrite("f" * 64, "fox", "a large fox", "grok", 0.5)
    merged = await take(library, other.home)
    assert [len(merged.pictures), merged.present] == [5, 0]
    assert costs(library) == costs(other) == 0.58
    before, files = rows_of(library.home), originals_in(library.home)
    again = await take(library, other.home)
    assert [len(again.pictures), again.present] == [0, 5]
    assert (rows_of(library.home), originals_in(library.home)) == (before, files)


async def test_merging_back_changes_nothing(library: Library, other: Library, pay: Pay) -> None:
    other.add_replies([pay("a fox"), pay("an owl", spool=False), pay("an owl", spool=False)])
    other.remember_rewrite("f" * 64, "fox", "a large fox", "grok", 0.5)
    before = rows_of(other.home)
    await take(library, other.home)
    merged = await take(other, library.home)
    assert (len(merged.pictures), rows_of(other.home)) == (0, before)


async def test_the_other_library_is_not_changed(library: Library, other: Library, pay: Pay) -> None:
    other.add(pay())
    before, files = rows_of(other.home), originals_in(other.home)
    other.close()
    await take(library, other.home)
    assert (rows_of(other.home), originals_in(other.home)) == (before, files)


async def test_a_library_in_use_gives_what_it_has_stored(
    library: Library, other: Library, pay: Pay
) -> None:
    """The rest comes with the next merge."""
    first, second = pay("a fox"), pay("an owl")
    other.add(first)
    assert len((await take(library, other.home)).pictures) == 1
    with other.database.writing() as connection:
        connection.execute("UPDATE images SET model = 'unfinished'")
        merged = await take(library, other.home)  # waits for nothing
    assert [len(merged.pictures), merged.present] == [0, 1]
    other.add(second)
    assert len((await take(library, other.home)).pictures) == 1
    assert len(rows_of(library.home)["requests"]) == 2


async def test_an_existing_picture_keeps_its_place(
    library: Library, other: Library, pay: Pay
) -> None:
    """Two computers have run the same notebook; the cell here shows what it showed."""
    made_here, made_there = pay("a fox", notebook="story"), pay("a fox", notebook="story")
    newer, elsewhere = pay("a fox", notebook="story"), pay("a fox", notebook="other")
    (shown,) = library.add(made_here)
    other.add_replies([made_there, newer, elsewhere])
    await take(library, other.home)
    (still,) = library.find(made_here.fingerprint, notebook="story")
    assert still.id == shown.id
    (second,) = library.find(made_here.fingerprint, notebook="story", place=1)
    assert second.data == newer.payloads[0]
    (theirs,) = library.find(made_here.fingerprint, notebook="other")
    assert theirs.data == elsewhere.payloads[0]


async def test_damaged_and_missing_originals_are_named_and_come_later(
    library: Library, other: Library, pay: Pay, picture: NewJpeg
) -> None:
    """Once their files are repaired, they are taken without counting the cost again."""
    paid = pay("a fox", [picture(), picture(), picture()])
    made = other.add(paid)
    assert made[1].file is not None
    assert made[2].file is not None
    whole = [image.data for image in made]
    made[1].file.write_bytes(whole[0])
    made[2].file.unlink()
    merged = await take(library, other.home)
    assert [image.data for image in merged.pictures] == whole[:1]
    (note,) = [each for each in merged.notes("worker") if "damaged" in each]
    assert note.startswith("2 originals of worker were missing, damaged or not an image")
    assert all((image.sha256 or "")[:8] in note for image in made[1:])
    for image, data in zip(made[1:], whole[1:], strict=True):
        assert image.file is not None
        image.file.write_bytes(data)
    merged = await take(library, other.home)
    assert [image.data for image in merged.pictures] == whole[1:]
    assert [each.data for each in library.find(paid.fingerprint)] == whole
    assert costs(library) == 0.02
    before = rows_of(library.home)
    merged = await take(library, other.home)
    assert [len(merged.pictures), merged.present] == [0, 3]
    assert rows_of(library.home) == before


async def test_only_the_cost_of_deleted_pictures_is_taken(
    library: Library, other: Library, pay: Pay
) -> None:
    (made,) = other.add(pay("a secret"))
    other.annotations.delete([made.id or 0])
    merged = await take(library, other.home)
    assert merged.pictures == []
    assert costs(library) == 0.02
    assert "secret" not in str(rows_of(library.home))
    await take(library, other.home)
    assert costs(library) == 0.02


async def test_a_pending_picture_is_completed(
    library: Library, other: Library, pay: Pay, picture: NewJpeg
) -> None:
    (made,) = other.add(pay("a fox", ["https://imgen.x.ai/1"]))
    (pending,) = (await take(library, other.home)).pictures
    assert library.url_of(pending) == "https://imgen.x.ai/1"
    done = other.complete(made, picture())
    await take(library, other.home)
    (found,) = library.catalog.rows([pending.id or 0])
    assert (found.picture.status, found.picture.data) == ("ok", done.data)


async def test_rewritten_prompts_of_ones_own_library_are_used(
    library: Library, other: Library
) -> None:
    """They do not replace those that exist, because the pictures here were made from these."""
    for number, home in enumerate((other, library)):
        home.remember_rewrite("a" * 64, "fox", f"fox {number}", "grok", 0.5)
    other.remember_rewrite("b" * 64, "owl", "a large owl", "grok", 0.5)
    await take(library, other.home)
    assert library.rewrite_for("a" * 64) == "fox 1"
    assert library.rewrite_for("b" * 64) == "a large owl"
    assert costs(library) == 1.5


async def test_a_library_of_an_earlier_version_is_read(
    library: Library, picture: NewJpeg, make_old: MakeOld, tmp_path: Path
) -> None:
    """It is not upgraded."""
    data = picture()
    make_old(tmp_path / "old", data)
    before = (tmp_path / "old" / database.FILE).read_bytes()
    (found,) = (await take(library, tmp_path / "old")).pictures
    assert (found.data, found.prompt, found.created.year) == (data, "an old fox", 2023)
    assert (await take(library, tmp_path / "old")).pictures == []
    assert (tmp_path / "old" / database.FILE).read_bytes() == before


# Refused folders


async def test_a_folder_without_a_library_is_refused(library: Library, tmp_path: Path) -> None:
    """Nothing is created in it."""
    (tmp_path / "empty").mkdir()
    for folder in ("nowhere", "empty"):
        with pytest.raises(LibraryError, match="is not a library"):
            await take(library, tmp_path / folder)
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "empty").iterdir()) == []


async def test_the_library_itself_is_refused(library: Library, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(library.home)
    for folder in (library.home, tmp_path / "link"):
        with pytest.raises(LibraryError, match="library in use"):
            await take(library, folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("PRAGMA user_version = 99", "newer xai-notebook"),
        ("PRAGMA application_id = 7", "another program"),
        ("CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM requests; END", "schema"),
    ],
)
async def test_another_schema_is_refused(
    library: Library, other: Library, content: str, message: str, raw: Raw
) -> None:
    other.close()
    with raw(other.home) as connection:
        connection.execute(content)
    with pytest.raises(LibraryError, match=rf"Nothing was merged\. .*{message}"):
        await take(library, other.home)


async def test_a_damaged_database_is_refused(library: Library, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / database.FILE).write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(LibraryError, match=r"Nothing was merged\. .*damaged"):
        await take(library, tmp_path / "bad")


def test_rows_in_the_journal_of_a_read_only_copy_are_taken(
    library: Library, other: Library, pay: Pay, unprivileged_folder: Path
) -> None:
    """A copy made while the library was in use has its newest rows in a journal only."""
    other.add(pay())
    folder = unprivileged_folder / "copied"
    folder.mkdir()
    for end in ("", "-wal"):
        shutil.copy(other.home / f"{database.FILE}{end}", folder)
        (folder / f"{database.FILE}{end}").chmod(0o444)
    folder.chmod(0o555)
    with unprivileged():
        merging = merge.Merge(library, folder, None)
    assert [*merging.steps()]
    merging.close()
    folder.chmod(0o755)
    assert len(merging.result.refused) == 1  # its original was not copied
    assert costs(library) == 0.02


async def test_a_transaction_that_a_kill_has_cut_off_is_undone(
    library: Library, other: Library, pay: Pay, victims: Victims
) -> None:
    """Without a write-ahead log, as on some network file systems; the other library stays."""
    other.add(pay())
    other.close()
    with closing(sqlite3.connect(other.home / database.FILE)) as connection, connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    code = f"""if True:
        import os, signal, sqlite3
        connection = sqlite3.connect({str(other.home / database.FILE)!r})
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("UPDATE requests SET cost_usd = 500")
        connection.execute("CREATE TABLE filler AS SELECT hex(zeroblob(9000)) FROM sqlite_master")
        os.kill(os.getpid(), signal.SIGKILL)"""
    victims.start(code).wait()
    journal = other.home / f"{database.FILE}-journal"
    assert journal.stat().st_size
    (found,) = (await take(library, other.home)).pictures
    assert (found.cost_usd, costs(library)) == (None, 0.02)
    assert journal.stat().st_size


# Libraries of other computers


async def test_a_foreign_library_determines_nothing_that_is_sent(
    library: Library, other: Library, copied: Callable[[], Path], pay: Pay
) -> None:
    """Not the files of an edit, a prompt, a URL to fetch, nor which request a picture answers."""
    inputs = (InputImage("", "a" * 64, "/etc/passwd"),)
    edit, forged = (
        pay("a hat", inputs=inputs, share=30.0),
        replace(pay("a trap"), fingerprint="f" * 64),
    )
    other.add_replies([edit, forged, pay("a lure", ["http://169.254.169.254/"])])
    other.remember_rewrite("f" * 64, "fox", "an advertisement", "grok", 0.5)
    merged = await take(library, copied())
    assert [image.prompt for image in merged.pictures] == ["a hat", "a trap"]
    (hat,) = library.history("hat")
    assert "/etc/passwd" not in hat.cell
    assert "share" not in hat.cell
    assert library.find("f" * 64) == []
    assert library.rewrite_for("f" * 64) is None
    assert "advertisement" not in str(rows_of(library.home))
    assert "169.254" not in str(rows_of(library.home))
    assert any("rewritten prompt" in note for note in merged.notes("copied"))
    assert costs(library) == 0.56


def test_every_row_of_a_foreign_library_in_use_is_foreign(
    other: Library, copied: Callable[[], Path], pay: Pay, opens: Opens
) -> None:
    """Another process may add rows after the library was opened."""
    folder = copied()
    reading = database.Database(folder, to_read=True)
    with reading.reading():
        pass
    opens(folder).add(pay())
    assert reading.is_foreign_row(1)
    reading.close()


async def test_a_trusted_copy_gives_its_rewritten_prompts_later(
    library: Library, other: Library, copied: Callable[[], Path], opens: Opens
) -> None:
    other.remember_rewrite("f" * 64, "fox", "a large fox", "grok", 0.5)
    folder = copied()
    await take(library, folder)
    opens(folder).trust()
    await take(library, folder)
    assert library.rewrite_for("f" * 64) == "a large fox"
    assert costs(library) == 0.5


async def test_foreign_files_that_are_no_images_are_refused(
    library: Library, other: Library, copied: Callable[[], Path], pay: Pay
) -> None:
    huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0"
    other.add_replies([pay("a page", [b"<html>"]), pay("a bomb", [huge]), pay("a fox")])
    merged = await take(library, copied())
    assert [image.prompt for image in merged.pictures] == ["a fox"]
    assert len(merged.refused) == 2


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
async def test_links_in_a_foreign_library_are_refused(
    library: Library, other: Library, copied: Callable[[], Path], pay: Pay, tmp_path: Path
) -> None:
    (made,) = other.add(pay())
    assert made.file is not None
    folder = copied()
    file = folder / made.file.relative_to(other.home)
    file.rename(tmp_path / "moved.jpg")
    file.symlink_to(tmp_path / "moved.jpg")
    with pytest.raises(LibraryError, match="is a link"):
        await take(library, folder)
    assert rows_of(library.home)["images"] == []


async def test_odd_rows_are_skipped(
    library: Library, other: Library, copied: Callable[[], Path], pay: Pay, raw: Raw
) -> None:
    """The others are taken."""
    odd = (
        "created = 'never'", "created = 1e300", "place = -1", "place = 10000000000",
        "backend = 'x'", "model = x'00'", "inputs = '['", "inputs = '[{\"sha256\": \"../x\"}]'",
        "n = 99",
        "cost_usd = 1e9", "cost_usd = 'free'", "reply_id = 7", "notebook = 7", "host = 7",
        "start = 'x'", "prompt = 3",
    )  # fmt: skip
    other.add_replies([pay(f"fox {number}") for number in range(len(odd) + 1)])
    library.add(pay(f"fox {len(odd)}"))  # compared with rows of the same request
    folder = copied()
    with raw(folder) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for number, change in enumerate(odd, 1):
            connection.execute(f"UPDATE requests SET {change} WHERE id = ?", (number,))
        connection.execute(
            """INSERT INTO requests (fingerprint, backend, host, prompt, model, answered_by, n,
                inputs, image_format, start, created)
            SELECT fingerprint, backend, host, prompt, model, answered_by, n, inputs, image_format,
                start, x'00' FROM requests ORDER BY id DESC LIMIT 1"""
        )
    merged = await take(library, folder)
    assert merged.pictures[-1].prompt == f"fox {len(odd)}"
    assert len(merged.pictures) + len(merged.damaged) == len(odd) + 2
    assert len(merged.damaged) >= 8
    assert costs(library) <= 0.02 * (len(odd) + 2)
    assert all(2000 <= image.created.year <= 2200 for image in merged.pictures)
    again = await take(library, folder)
    assert [len(again.pictures), again.present] == [0, len(merged.pictures)]


# Large libraries and full disks


async def test_a_full_disk_leaves_whole_pictures_and_is_completed_later(
    other: Library, pay: Pay, opens: Opens, tmp_path: Path, picture: NewJpeg,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(merge, "_MAX_BYTES", 1 << 18)
    paid = [pay(f"fox {number}", [picture() + bytes(100_000)]) for number in range(40)]
    other.add_replies(paid)
    with small_disk_at(tmp_path / "disk", "3m") as disk:
        library = opens(disk / "home")
        with pytest.raises(LibraryError, match=r"disk .* full.* Merge the folder again"):
            await take(library, other.home)
        stored = library.history(limit=100)
        assert 0 < len(stored) < 40
        assert {image.data for image in stored} <= {each.payloads[0] for each in paid}
        assert costs(library) == round(0.02 * len(stored), 10)
        library.close()
        shutil.move(disk / "home", tmp_path / "larger")
    library = opens(tmp_path / "larger")
    merged = await take(library, other.home)
    assert len(merged.pictures) == 40 - len(stored)
    assert costs(library) == 0.8


def test_a_merge_that_stops_halfway_has_stored_whole_transactions(
    library: Library, other: Library, pay: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "_MAX_REPLIES", 10)
    monkeypatch.setattr(merge, "_MAX_SAVED", 5)
    other.add_replies([pay(f"fox {number}") for number in range(35)])
    merging = merge.Merge(library, other.home, None)
    steps = merging.steps()
    while not merging.result.pictures:
        next(steps)
    merging.close()
    stored = len(library.history(limit=100))
    assert stored == len(merging.result.pictures)
    assert 5 <= stored <= 20
    merging = merge.Merge(library, other.home, None)
    assert [*merging.steps()]
    merging.close()
    assert len(merging.result.pictures) == 35 - stored
    assert len(library.history(limit=100)) == 35


async def test_memory_does_not_grow_with_the_originals(
    library: Library, other: Library, pay: Pay, picture: NewJpeg
) -> None:
    import tracemalloc

    data = bytes(1 << 20)
    for _ in range(12):
        other.add_replies([pay("fox", [picture() + os.urandom(8) + data]) for _ in range(10)])
    tracemalloc.start()
    try:
        merged = await take(library, other.home)
        assert tracemalloc.get_traced_memory()[1] < 3 * merge._MAX_BYTES
    finally:
        tracemalloc.stop()
    assert merged.size > 120 << 20


async def test_a_journal_with_odd_entries_is_read(
    library: Library, other: Library, copied: Callable[[], Path], pay: Pay
) -> None:
    """A reply cannot answer a request of a job, nor one that it does not name."""
    good: dict[str, Any] = {
        "request": {"prompt": "a fox", "model": "grok", "n": 1, "inputs": []}, "missing": [0],
        "answer": {"backend": "xai", "host": "api.x.ai", "notebook": None, "fingerprint": "f" * 64,
                   "place": 0, "item": 1, "error": "x", "created": 5.0},
    }  # fmt: skip
    body = _reply_with(pay().payloads[0])
    other.spool.write(good, body)
    for change in (
        {"answer": {}}, {"request": []}, {"request": {**good["request"], "inputs": [7]}},
        {"missing": [-1]}, {"missing": "x"}, {"answer": {**good["answer"], "place": 1e9}},
    ):  # fmt: skip
        other.spool.write({**good, **change}, body)
    other.spool.write(good, b"\xff\xff\xff")
    other.spool.write(good, _reply_with("http://169.254.169.254/"))
    other.spool.write({"fetched": {"reply": "x", "position": "y"}}, b"data")
    folder = copied()
    merged = await take(library, folder)
    (found,) = merged.pictures
    assert (found.prompt, merged.spooled, library.find("f" * 64)) == ("a fox", 1, [])
    assert len(merged.damaged) >= 7
    assert "169.254" not in str(rows_of(library.home))
    assert (await take(library, folder)).pictures == []


def _reply_with(*originals: Any) -> bytes:
    """Return a reply of the server with these images."""
    import base64

    from xai_notebook.client import wire

    message = wire.ImageResponse(model="grok")
    for data in originals:
        image = message.images.add(respect_moderation=True)
        if isinstance(data, str):
            image.url = data
        else:
            image.base64 = base64.b64encode(data).decode()
    return bytes(message.SerializeToString())
