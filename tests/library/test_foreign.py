"""Foreign libraries: their pictures are shown, and they have no other effect."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from xai_notebook.client.request import InputImage
from xai_notebook.errors import LibraryError, MissingImageError
from xai_notebook.library import Library
from xai_notebook.library.inputs import CachedUpload
from xai_notebook.library.spending import Amount
from xai_notebook.library.storage import database, schema, spool
from xai_notebook.library.thumbnails import Thumbnails

if TYPE_CHECKING:
    from pathlib import Path

    from harness import MakeOld, NewJpeg, Opens, Raw, Save


LINKS = pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
OBJECTS = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM requests; END",
    "view": "CREATE VIEW v AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) "
    "SELECT n FROM r",
    "column": "ALTER TABLE images ADD COLUMN more TEXT AS (upper(model))",
    "expression": "CREATE INDEX i ON images (upper(model))",
    "table": "CREATE TABLE more (id INTEGER)",
    "view in place of a table": "DROP TABLE images; CREATE VIEW images AS SELECT 1 AS id",
}
"""SQL that adds objects that SQLite executes, or that no library has."""


def open_and_close(home: Path) -> None:
    Library.open(home).close()


@pytest.fixture
def journal(library: Library) -> Path:
    """The path of another process' journal in the spool of `library`."""
    library.spool.folder.mkdir()
    return library.spool.folder / "00000000000000000001-1-00000000.journal"


@pytest.fixture
def copied(home: Path, library: Library, save: Save, picture: NewJpeg, tmp_path: Path) -> Path:
    """The folder of a copied library with a picture."""
    save("a fox", [picture()])
    library.remember_rewrite("key", "fox", "an advertisement", "grok", 0.5)
    library.uploads.remember("xai", "api.x.ai", "0" * 64, CachedUpload("foreign", 9e9))
    library.close()
    return shutil.copytree(home, tmp_path / "copied")


# Schema


@pytest.mark.parametrize("version", [1, len(schema.MIGRATIONS)])
@pytest.mark.parametrize("kind", OBJECTS)
def test_unexpected_schema_objects_are_refused(
    home: Path,
    picture: NewJpeg,
    make_old: MakeOld,
    kind: str,
    version: int,
    raw: Raw,
) -> None:
    """Migrations do not execute them, either."""
    make_old(home, picture())
    if version > 1:
        open_and_close(home)
    with raw(home) as connection:
        connection.executescript(OBJECTS[kind])
    before = (home / database.FILE).read_bytes()
    with pytest.raises(LibraryError, match="has another schema than xai-notebook creates"):
        Library.open(home)
    assert (home / database.FILE).read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER shown BEFORE INSERT ON images BEGIN SELECT RAISE(IGNORE); END",
        "CREATE INDEX shown ON images (upper(model))",
    ],
)
def test_another_object_with_the_name_of_a_table_is_refused(home: Path, sql: str, raw: Raw) -> None:
    """SQLite accepts a table and a trigger or index with the same name."""
    open_and_close(home)
    kind = sql.split()[1].lower()
    with raw(home) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (table,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'shown'")
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'shown'")
        (page,) = root.fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'shown'")
        insert = "INSERT INTO sqlite_master VALUES (?, 'shown', ?, ?, ?)"
        connection.execute(insert, (kind, "images", 0, sql))
        connection.execute(insert, ("table", "shown", page, *table))
    with pytest.raises(LibraryError):
        Library.open(home)


def test_a_table_name_that_is_not_utf8_is_refused(home: Path, raw: Raw) -> None:
    open_and_close(home)
    with raw(home) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master VALUES ('table', CAST(x'61ff' AS TEXT), 'x', 0, NULL)"
        )
    with pytest.raises(LibraryError):
        Library.open(home)


@pytest.mark.parametrize("table", ["requests", "images"])
def test_the_largest_id_is_refused(
    home: Path, library: Library, save: Save, picture: NewJpeg, table: str, raw: Raw
) -> None:
    """No row could be inserted after it, so no reply could be stored."""
    save("a fox", [picture()])
    library.close()
    with raw(home) as connection:
        connection.execute(f"UPDATE {table} SET id = 9223372036854775807")
    with pytest.raises(LibraryError, match="damaged"):
        Library.open(home)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
def test_a_pipe_in_place_of_a_database_file_is_refused(home: Path, end: str) -> None:
    if end:
        open_and_close(home)
    home.mkdir(exist_ok=True)
    (home / f"{database.FILE}{end}").unlink(missing_ok=True)
    os.mkfifo(home / f"{database.FILE}{end}")
    with pytest.raises(LibraryError, match="not a regular file"):
        Library.open(home)


def test_tables_of_analyze_are_accepted(home: Path, library: Library, raw: Raw) -> None:
    library.close()
    with raw(home) as connection:
        connection.execute("ANALYZE")
    open_and_close(home)


def test_a_trigger_added_later_writes_nothing(library: Library, raw: Raw) -> None:
    """The schema is checked only when the library is opened."""
    with library.database.reading():
        pass
    with raw(library.home) as connection:
        connection.execute(
            "CREATE TRIGGER t AFTER INSERT ON rewrites BEGIN UPDATE rewrites SET text = 'x'; END"
        )
    with contextlib.suppress(LibraryError):  # from Python 3.12 on, triggers are ignored
        library.remember_rewrite("key", "fox", "a fox", "grok", None)
    assert library.rewrite_for("key") in {None, "a fox"}


@pytest.mark.parametrize(
    "statement", ["ATTACH ':memory:' AS other", "CREATE TEMP VIEW v AS SELECT 1"]
)
def test_statements_use_no_other_database(library: Library, statement: str) -> None:
    with (
        pytest.raises((LibraryError, sqlite3.DatabaseError)),
        library.database.reading() as connection,
    ):
        connection.execute(statement)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot set limits of SQLite")
def test_the_length_of_values_is_limited(library: Library) -> None:
    with (
        pytest.raises(LibraryError, match="too big"),
        library.database.reading() as connection,
    ):
        connection.execute("SELECT length(hex(zeroblob(?)))", (40 << 20,)).fetchone()


def test_a_forged_journal_deletes_no_file(home: Path, tmp_path: Path) -> None:
    """SQLite would delete the file that such a journal names."""
    open_and_close(home)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious\0")
    name = os.fsencode(victim)
    checksum = sum(name) & 0xFFFFFFFF
    tail = name + len(name).to_bytes(4, "big") + checksum.to_bytes(4, "big")
    header = bytes.fromhex("d9d505f920a163d7") + (0).to_bytes(4, "big") + bytes(8)
    header += (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    journal = home / f"{database.FILE}-journal"
    # An impossible page number comes before the name.
    pointer = (2**30 // 4096 + 1).to_bytes(4, "big") + tail + bytes.fromhex("d9d505f920a163d7")
    journal.write_bytes(header.ljust(512, b"\0") + pointer)
    with pytest.raises(LibraryError, match=r"-journal was not written by xai-notebook.*Delete"):
        Library.open(home)
    assert victim.exists()
    journal.unlink()
    open_and_close(home)


# Values used as paths


def test_forged_process_tokens_delete_no_file(home: Path, library: Library, tmp_path: Path) -> None:
    """The lock file of a dead process is named by its token, and deleted."""
    victim = tmp_path / "victim.lock"
    victim.write_text("held")
    with library.database.writing() as connection:
        connection.execute(
            "INSERT INTO charges (process, created, ticks, open) VALUES ('../../victim', 1, 1, 1)"
        )
    library.spending.reserve([[Amount(1)]], 0.0, lambda *_: True)
    assert victim.read_text() == "held"
    assert home.is_dir()


def test_a_process_without_a_lock_file_is_dead(library: Library) -> None:
    """Its reservations do not count, even if a folder has the name of its lock file."""
    (library.home / "processes" / ("a" * 16 + ".lock")).mkdir(parents=True)
    rows = [(f"{number:016x}",) for number in range(20_000)] + [("a" * 16,)]
    with library.database.writing() as connection:
        connection.executemany(
            "INSERT INTO charges (process, created, ticks, open) VALUES (?, 1, 1, 2)", rows
        )
    (reserved,) = library.spending.reserve([[Amount(1)]], 0.0, lambda totals, _: not totals.open)
    assert isinstance(reserved, list)


def test_a_forged_digest_deletes_no_file(
    home: Path, library: Library, save: Save, picture: NewJpeg
) -> None:
    victim = home.parent / "victim.jpg"
    victim.write_text("precious")
    (image,) = save("a fox", [picture()])
    with library.database.writing() as connection:
        connection.execute("UPDATE images SET sha256 = '../victim', deleted = 1")
    assert library.annotations.empty_trash() == 1
    assert victim.read_text() == "precious"
    assert image.id == 1


def test_a_forged_reply_id_writes_no_file(library: Library, journal: Path, tmp_path: Path) -> None:
    """A journal's unreadable reply is moved to a file named by the reply's id."""
    about = json.dumps({"id": str(tmp_path / "victim"), "received": 1.0}).encode()
    head = spool._HEAD.pack(spool._MAGIC, len(about), 0, zlib.crc32(about))
    journal.write_bytes(head + about)
    for spooled, *_ in library.spool.waiting():
        library.spool.set_aside(spooled)
    assert [*tmp_path.glob("victim*")] == []
    assert len([*journal.parent.glob("*.unreadable")]) == 1


# Links


@LINKS
def test_an_original_that_is_a_link_is_not_read(
    library: Library, save: Save, picture: NewJpeg, tmp_path: Path
) -> None:
    """Not even if the link leads to the same bytes."""
    (image,) = save("a fox", [data := picture()])
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.write_bytes(data)
    image.file.unlink()
    image.file.symlink_to(elsewhere)
    with pytest.raises(MissingImageError, match="gone from the library"):
        _ = image.data


def test_a_replaced_original_is_not_used(library: Library, save: Save, picture: NewJpeg) -> None:
    (image,) = save("a fox", [picture()])
    image.file.write_bytes(picture())
    (stored,) = library.history("fox")
    with pytest.raises(MissingImageError, match="damaged or was replaced"):
        _ = stored.data


@LINKS
def test_an_input_file_that_is_a_link_or_has_other_bytes_is_not_found(
    library: Library, picture: NewJpeg, tmp_path: Path
) -> None:
    """Otherwise `-i @id` would send it."""
    data, secret = picture(), tmp_path / "secret.jpg"
    secret.write_bytes(picture())
    digest = hashlib.sha256(data).hexdigest()
    folder = library.home / "inputs"
    folder.mkdir()
    (folder / f"{digest}.jpg").symlink_to(secret)
    assert library.input_files.find(digest[:8]) == {}
    assert library.input_files.keep(data) is None
    (folder / f"{digest}.jpg").unlink()
    (folder / f"{digest}.jpg").write_bytes(secret.read_bytes())
    assert library.input_files.find(digest[:8]) == {}
    assert library.input_files.keep(data) is None
    assert secret.exists()


@LINKS
def test_a_lock_that_is_a_link_is_not_written(library: Library, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (library.home / "jobs").mkdir()
    (library.home / "jobs" / "1.turn").symlink_to(victim)
    with pytest.raises(LibraryError, match="cannot be written"):
        library.jobs.submission_lock(1).acquire()
    assert victim.read_text() == "precious"


@LINKS
def test_a_linked_journal_is_not_read(library: Library, journal: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    journal.symlink_to(victim)
    assert library.spool.is_empty()
    assert victim.read_text() == "precious"
    assert [*journal.parent.glob("*.unreadable")] == []


@LINKS
def test_only_temporary_files_are_deleted(home: Path, library: Library, tmp_path: Path) -> None:
    """The folder of temporary files may be a link."""
    library.close()
    documents = tmp_path / "documents"
    documents.mkdir()
    victim = documents / "thesis.txt"
    victim.write_text("precious")
    os.utime(victim, (1, 1))
    shutil.rmtree(home / "images" / ".tmp")
    (home / "images" / ".tmp").symlink_to(documents)
    open_and_close(home)
    assert victim.read_text() == "precious"


@LINKS
def test_a_database_that_is_a_link_is_not_opened(home: Path, tmp_path: Path) -> None:
    """SQLite would create the target."""
    home.mkdir()
    (home / database.FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(LibraryError, match="is a link"):
        Library.open(home)
    assert not (tmp_path / "victim").exists()


@LINKS
@pytest.mark.parametrize("name", ["spool", "images", "images/ab", "cache", "jobs"])
def test_a_foreign_library_with_links_is_refused(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A trusted library may be spread over two disks."""
    elsewhere = tmp_path / "elsewhere"
    if (copied / name).is_dir():
        (copied / name).rename(elsewhere)
    elsewhere.mkdir(exist_ok=True)
    (copied / name).symlink_to(elsewhere)
    with pytest.raises(LibraryError, match="is a link"):
        Library.open(copied)
    monkeypatch.setenv("XAI_NOTEBOOK_TRUSTED_HOME", str(copied))
    open_and_close(copied)


@LINKS
def test_a_cache_that_is_a_link_is_not_cleaned_up(tmp_path: Path) -> None:
    """Originals have names like thumbnails."""
    victim = tmp_path / "other" / "ab" / f"{'ab' * 32}.jpg"
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"precious")
    (tmp_path / "cache").symlink_to(tmp_path / "other")
    Thumbnails(tmp_path / "cache", bytes, limit=1).clear_up()
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ab").symlink_to(tmp_path / "other" / "ab")
    Thumbnails(tmp_path / "cache", bytes, limit=1).clear_up()
    assert victim.exists()


@pytest.mark.parametrize("text", ['{"received": 1.0, "id": ' + "[" * 100_000, "[" * 100_000])
@pytest.mark.parametrize("suffix", [".journal", ".reply"])
def test_a_deeply_nested_reply_is_skipped(
    library: Library, journal: Path, text: str, suffix: str
) -> None:
    body = text.encode()
    head = spool._HEAD.pack(spool._MAGIC, len(body), 0, zlib.crc32(body))
    journal.with_suffix(suffix).write_bytes(head + body)
    assert [*library.spool.waiting()] == []


def test_a_journal_that_is_too_large_is_not_read(library: Library, journal: Path) -> None:
    with journal.open("wb") as stream:
        stream.truncate(1 << 30)
    assert library.spool.is_empty()
    assert [*journal.parent.glob("*.unreadable")] == [journal.with_suffix(".unreadable")]


# Ownership


@pytest.mark.parametrize("name", ["spool", "images", "inputs"])
def test_a_home_without_a_database_is_foreign(home: Path, name: str, opens: Opens) -> None:
    (home / name).mkdir(parents=True)
    assert opens(home).database.foreign


def test_a_library_whose_database_was_moved_away_is_not_foreign(home: Path, opens: Opens) -> None:
    """The error about a damaged database recommends moving it."""
    open_and_close(home)
    (home / "spool").mkdir(exist_ok=True)
    for file in home.glob("library.sqlite3*"):
        file.unlink()
    assert not opens(home).database.foreign


def test_a_library_replaced_while_open_is_foreign(
    home: Path, copied: Path, opens: Opens, raw: Raw
) -> None:
    library = opens(home)  # `copied` has closed it
    library.remember_rewrite("other", "fox", "a fox", "grok", None)
    with raw(copied) as connection:
        connection.execute("UPDATE identity SET id = 'another'")
    (copied / database.FILE).replace(home / database.FILE)
    assert library.rewrite_for("key") is None
    assert library.uploads.find("xai", "api.x.ai", "0" * 64) is None
    assert library.spending.last_rewrite("xai") is None


def test_a_foreign_picture_names_no_file_and_no_url(
    home: Path, library: Library, save: Save, picture: NewJpeg, tmp_path: Path, opens: Opens
) -> None:
    """Its cell asks the user to choose a file; pending images are left out."""
    source = InputImage(url="", sha256="0" * 64, label="/home/me/passport.png")
    save("a fox", [picture()], inputs=(source,))
    (pending,) = save("an owl", ["http://127.0.0.1:1/beacon"], image={"status": "pending"})
    library.close()
    foreign = opens(shutil.copytree(home, tmp_path / "copied"))
    (fox,) = foreign.history("fox")
    (row,) = foreign.catalog.rows([fox.id or 0])
    for shown in (fox, row.picture):
        assert "passport" not in shown.cell
        assert "choose:" in shown.cell
    assert foreign.find("fingerprint of an owl") == []
    foreign.trust()
    assert "passport" in foreign.history("fox")[0].cell
    assert [image.id for image in foreign.find("fingerprint of an owl")] == [pending.id]


def test_a_library_created_here_is_not_foreign(home: Path, library: Library, opens: Opens) -> None:
    assert not library.database.foreign
    library.close()
    assert not opens(home).database.foreign


def test_a_foreign_library_shows_pictures_only(copied: Path, opens: Opens) -> None:
    library = opens(copied)
    assert library.database.foreign
    assert [image.prompt for image in library.history()] == ["a fox"]
    assert library.rewrite_for("key") is None
    assert library.uploads.find("xai", "api.x.ai", "0" * 64) is None
    assert library.spending.last_rewrite("xai") is None
    assert library.spending.last_costs("api.x.ai") == []
    assert "xai_notebook.trust_library()" in library.notices[0]


def test_trust_holds_in_all_kernels(copied: Path, opens: Opens) -> None:
    library, other = opens(copied), opens(copied)
    before = [library.database.foreign, other.database.foreign]
    library.trust()
    assert (before, [library.database.foreign, other.database.foreign]) == (
        [True, True],
        [False, False],
    )
    assert other.rewrite_for("key") == "an advertisement"
    later = opens(copied)
    assert not later.database.foreign
    assert later.notices == []


def test_trust_is_limited_to_a_folder(copied: Path, tmp_path: Path, opens: Opens, raw: Raw) -> None:
    library = Library.open(copied)
    library.trust()
    library.close()
    assert opens(shutil.copytree(copied, tmp_path / "elsewhere")).database.foreign
    shutil.rmtree(copied)
    open_and_close(copied)
    with raw(copied) as connection:
        connection.execute("UPDATE identity SET id = 'another'")
    assert opens(copied).database.foreign


def test_a_variable_can_trust_a_library(
    copied: Path, monkeypatch: pytest.MonkeyPatch, opens: Opens
) -> None:
    monkeypatch.setenv("XAI_NOTEBOOK_TRUSTED_HOME", str(copied))
    assert not opens(copied).database.foreign


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be made unwritable")
def test_trust_that_cannot_be_stored_holds_for_the_process(
    copied: Path, monkeypatch: pytest.MonkeyPatch, opens: Opens
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    library = opens(copied)
    answer = library.trust()
    assert not library.database.foreign
    assert "XAI_NOTEBOOK_TRUSTED_HOME" in answer
    assert library.notices == [answer]


def test_trash_of_a_foreign_library_is_not_emptied(copied: Path, opens: Opens, raw: Raw) -> None:
    with raw(copied) as connection:
        connection.execute("UPDATE images SET deleted = 1")
    library = opens(copied)
    assert len([*(copied / "images").glob("*/*.jpg")]) == 1
    library.trust()
    assert [*(copied / "images").glob("*/*.jpg")] == []


# Money


@pytest.mark.parametrize("cost", [-1e6, float("-inf"), float("inf"), "-5 dollars", b"x", 2**62])
def test_amounts_out_of_bounds_add_nothing(library: Library, save: Save, cost: object) -> None:
    save("a fox", [None], cost_usd=0.25)
    save("an owl", [None], cost_usd=0.5)
    library.remember_rewrite("key", "fox", "a fox", "grok", 0.125)
    with library.database.writing() as connection:
        connection.execute("UPDATE requests SET cost_usd = ? WHERE id = 2", (cost,))
        connection.execute(
            "INSERT INTO charges (process, created, ticks, open) VALUES ('x', 1, ?, 0)", (cost,)
        )
        connection.execute(
            "INSERT INTO jobs (name, backend, host, state, price_usd, inputs, created, expires) "
            "VALUES ('job', 'xai', 'api.x.ai', 'running', ?, '{}', 1, 9e9)",
            (cost,),
        )
        connection.execute(
            "INSERT INTO job_requests (job_id, key, fingerprint, place, position, request) "
            "VALUES (1, 'key', 'f', 0, 0, '{}')"
        )
    totals = library.spending.totals(0.0)
    assert totals.spent == 0.375e10
    assert totals.open == 0


# Other users of the computer


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_files_are_private_with_any_umask(
    tmp_path: Path, picture: NewJpeg, save: Save, opens: Opens, umask: int
) -> None:
    """The home may be an existing folder that others can read."""
    home = tmp_path / "another home"
    if umask == 0o022:
        home.mkdir(0o755)
    before = os.umask(umask)
    try:
        library = opens(home)
        (image,) = save("a fox", [picture()], to=library)
        library.input_files.keep(picture())
        library.spool.write({}, b"a reply")
        library.jobs.submission_lock(1).acquire()
        library.spending.reserve([[Amount(1)]], 0.0, lambda *_: True)
        Thumbnails(home / "cache", bytes).get(image.sha256, lambda: image.data)
        modes = {path: path.stat().st_mode & 0o777 for path in home.rglob("*")}
    finally:
        os.umask(before)
    assert home.stat().st_mode & 0o777 == (0o755 if umask == 0o022 else 0o700)
    assert {path.name for path in modes} >= {"library.sqlite3", "library.sqlite3-wal", "cache"}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.suffix not in ("", ".lock")} == {0o600}
