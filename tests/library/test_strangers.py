"""Libraries of strangers: what is in them can be looked at, and does nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook.client.request import InputImage
from xai_notebook.errors import LibraryError, MissingImageError
from xai_notebook.library import Library
from xai_notebook.library.inputs import CachedUpload
from xai_notebook.library.spending import Amount
from xai_notebook.library.storage import database, schema, spool
from xai_notebook.library.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Save = Callable[..., list[Any]]
    Picture = Callable[[], bytes]

OBJECTS = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM requests; END",
    "view": "CREATE VIEW v AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) "
    "SELECT n FROM r",
    "column": "ALTER TABLE images ADD COLUMN more TEXT AS (upper(model))",
    "expression": "CREATE INDEX i ON images (upper(model))",
    "table": "CREATE TABLE more (id INTEGER)",
}
"""What an SQLite file can hold that runs, or that no library has."""


@contextlib.contextmanager
def opened(home: Path) -> Iterator[sqlite3.Connection]:
    """Change a library behind its back."""
    with contextlib.closing(sqlite3.connect(home / database.FILE)) as connection, connection:
        yield connection


def reopened(home: Path) -> None:
    Library.open(home).close()


@pytest.fixture
def copied(home: Path, library: Library, save: Save, picture: Picture, tmp_path: Path) -> Path:
    """The folder of a library with a picture that was copied from somewhere else."""
    save("a fox", [picture()])
    library.remember_rewrite("key", "fox", "an advertisement", "grok", 0.5)
    library.uploads.remember("xai", "api.x.ai", "0" * 64, CachedUpload("theirs", 9e9))
    library.close()
    return shutil.copytree(home, tmp_path / "copied")


# What runs


@pytest.mark.parametrize("version", [1, len(schema.MIGRATIONS)])
@pytest.mark.parametrize("kind", OBJECTS)
def test_what_an_sqlite_file_can_run_is_not_run(
    home: Path,
    picture: Picture,
    make_old: Callable[[Path, bytes], None],
    kind: str,
    version: int,
) -> None:
    """Not by the steps that bring an old library up to date, either."""
    make_old(home, picture())
    if version > 1:
        reopened(home)
    with opened(home) as connection:
        connection.execute(OBJECTS[kind])
    before = (home / database.FILE).read_bytes()
    with pytest.raises(LibraryError, match="differs from what xai-notebook makes"):
        Library.open(home)
    assert (home / database.FILE).read_bytes() == before


def test_a_table_that_is_another_one_is_refused(home: Path) -> None:
    reopened(home)
    with opened(home) as connection:
        connection.execute("DROP TABLE identity")
        connection.execute("CREATE VIEW identity AS SELECT 'x' AS id")
    with pytest.raises(LibraryError, match="the view 'identity'"):
        Library.open(home)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER shown BEFORE INSERT ON images BEGIN SELECT RAISE(IGNORE); END",
        "CREATE INDEX shown ON images (upper(model))",
    ],
)
def test_a_trigger_with_the_name_of_a_table_is_refused(home: Path, sql: str) -> None:
    """SQLite keeps both, in whatever order."""
    reopened(home)
    kind = sql.split()[1].lower()
    with opened(home) as connection:
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


def test_a_name_that_is_no_text_is_refused(home: Path) -> None:
    reopened(home)
    with opened(home) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master VALUES ('table', CAST(x'61ff' AS TEXT), 'x', 0, NULL)"
        )
    with pytest.raises(LibraryError):
        Library.open(home)


@pytest.mark.parametrize("table", ["requests", "images"])
def test_a_row_after_which_no_other_can_come_is_damage(
    home: Path, library: Library, save: Save, picture: Picture, table: str
) -> None:
    """Found before anything is sent: what came could not be inserted."""
    save("a fox", [picture()])
    library.close()
    with opened(home) as connection:
        connection.execute(f"UPDATE {table} SET id = 9223372036854775807")
    with pytest.raises(LibraryError, match="damaged"):
        Library.open(home)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
def test_a_pipe_in_place_of_a_database_file_is_refused(home: Path, end: str) -> None:
    if end:
        reopened(home)
    home.mkdir(exist_ok=True)
    (home / f"{database.FILE}{end}").unlink(missing_ok=True)
    os.mkfifo(home / f"{database.FILE}{end}")
    with pytest.raises(LibraryError, match="not a regular file"):
        Library.open(home)


def test_what_sqlite_itself_adds_is_no_reason_to_refuse(home: Path, library: Library) -> None:
    library.close()
    with opened(home) as connection:
        connection.execute("ANALYZE")
    reopened(home)


def test_a_trigger_that_comes_later_writes_nothing(library: Library) -> None:
    """While the library is open, the check of its schema is over."""
    with library._database.reading():
        pass
    with opened(library.home) as connection:
        connection.execute(
            "CREATE TRIGGER t AFTER INSERT ON rewrites BEGIN UPDATE rewrites SET text = 'x'; END"
        )
    with contextlib.suppress(LibraryError):  # from Python 3.12 on, triggers are just not run
        library.remember_rewrite("key", "fox", "a fox", "grok", None)
    assert library.rewrite_for("key") in {None, "a fox"}


@pytest.mark.parametrize(
    "statement", ["ATTACH ':memory:' AS other", "CREATE TEMP VIEW v AS SELECT 1"]
)
def test_no_statement_leaves_the_library(library: Library, statement: str) -> None:
    with (
        pytest.raises((LibraryError, sqlite3.DatabaseError)),
        library._database.reading() as connection,
    ):
        connection.execute(statement)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 sets no limits of SQLite")
def test_no_value_is_longer_than_the_limit(library: Library) -> None:
    with (
        pytest.raises(LibraryError, match="too big"),
        library._database.reading() as connection,
    ):
        connection.execute("SELECT length(hex(zeroblob(?)))", (40 << 20,)).fetchone()


def test_a_journal_deletes_no_file(home: Path, tmp_path: Path) -> None:
    """SQLite deletes the file that such a journal names, if no journal named in that is there."""
    reopened(home)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious\0")
    name = os.fsencode(victim)
    checksum = sum(name) & 0xFFFFFFFF
    tail = name + len(name).to_bytes(4, "big") + checksum.to_bytes(4, "big")
    header = bytes.fromhex("d9d505f920a163d7") + (0).to_bytes(4, "big") + bytes(8)
    header += (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    journal = home / f"{database.FILE}-journal"
    # The page number that no page has stands before the name.
    pointer = (2**30 // 4096 + 1).to_bytes(4, "big") + tail + bytes.fromhex("d9d505f920a163d7")
    journal.write_bytes(header.ljust(512, b"\0") + pointer)
    with pytest.raises(LibraryError, match=r"-journal was not written by xai-notebook.*Delete"):
        Library.open(home)
    assert victim.exists()
    journal.unlink()
    reopened(home)


# Names that become paths


def test_a_process_that_is_none_names_no_file(home: Path, library: Library, tmp_path: Path) -> None:
    """A charge names the process that made it, and its lock is removed once it is dead."""
    victim = tmp_path / "victim.lock"
    victim.write_text("held")
    with library._database.writing() as connection:
        connection.execute(
            "INSERT INTO charges (process, created, ticks, open) VALUES ('../../victim', 1, 1, 1)"
        )
    library.spending.reserve([[Amount(1)]], 0.0, lambda *_: True)
    assert victim.read_text() == "held"
    assert home.is_dir()


def test_a_process_without_a_lock_is_dead(library: Library) -> None:
    """Whatever lies where its lock would be; and however many there are."""
    (library.home / "processes" / ("a" * 16 + ".lock")).mkdir(parents=True)
    rows = [(f"{number:016x}",) for number in range(20_000)] + [("a" * 16,)]
    with library._database.writing() as connection:
        connection.executemany(
            "INSERT INTO charges (process, created, ticks, open) VALUES (?, 1, 1, 2)", rows
        )
    (found,) = library.spending.reserve([[Amount(1)]], 0.0, lambda totals, _: not totals.open)
    assert isinstance(found, list)


def test_a_digest_that_is_none_deletes_no_file(
    home: Path, library: Library, save: Save, picture: Picture
) -> None:
    victim = home.parent / "victim.jpg"
    victim.write_text("precious")
    (image,) = save("a fox", [picture()])
    with library._database.writing() as connection:
        connection.execute("UPDATE images SET sha256 = '../victim', deleted = 1")
    assert library.annotations.empty_trash() == 1
    assert victim.read_text() == "precious"
    assert image.id == 1


def test_the_id_of_a_reply_names_no_file(home: Path, tmp_path: Path) -> None:
    """A reply that cannot be made sense of is put aside, in a file that is named by its id."""
    library = Library.open(home)
    (home / "spool").mkdir(exist_ok=True)
    file = home / "spool" / "00000000000000000001-1-00000000.journal"
    about, body = {"id": str(tmp_path / "victim"), "received": 1.0}, b"not a reply"
    file.write_bytes(spool._head({"received": 0.0}, b"") + spool._head(about, body) + body)
    for spooled, *_ in library.spool.waiting():
        library.spool.set_aside(spooled)
    assert [*tmp_path.glob("victim*")] == []
    assert len([*(home / "spool").glob("*.unreadable")]) == 1
    library.close()


# Links


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_an_original_that_is_a_link_is_not_read(
    library: Library, save: Save, picture: Picture, tmp_path: Path
) -> None:
    """Not even one that leads to the very same bytes."""
    (image,) = save("a fox", [data := picture()])
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.write_bytes(data)
    image.file.unlink()
    image.file.symlink_to(elsewhere)
    with pytest.raises(MissingImageError, match="gone from the library"):
        _ = image.data


def test_an_original_with_other_bytes_is_not_used(
    library: Library, save: Save, picture: Picture
) -> None:
    """Whoever replaced it: what is shown in full, sent or exported is what was stored."""
    (image,) = save("a fox", [picture()])
    image.file.write_bytes(picture())
    (found,) = library.history("fox")
    with pytest.raises(MissingImageError, match="damaged or was replaced"):
        _ = found.data


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_an_input_that_is_a_link_or_another_one_is_not_found(
    library: Library, picture: Picture, tmp_path: Path
) -> None:
    """`-i @id` would send it."""
    data, secret = picture(), tmp_path / "secret.jpg"
    secret.write_bytes(picture())
    digest = hashlib.sha256(data).hexdigest()
    folder = library.home / "inputs"
    folder.mkdir()
    (folder / f"{digest}.jpg").symlink_to(secret)
    assert library.given.find(digest[:8]) == {}
    assert library.given.keep(data) is None
    (folder / f"{digest}.jpg").unlink()
    (folder / f"{digest}.jpg").write_bytes(secret.read_bytes())
    assert library.given.find(digest[:8]) == {}
    assert library.given.keep(data) is None
    assert secret.exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_lock_that_is_a_link_is_not_written(library: Library, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (library.home / "jobs").mkdir()
    (library.home / "jobs" / "1.turn").symlink_to(victim)
    with pytest.raises(LibraryError, match="cannot be written"):
        library.jobs.turn(1).take()
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_journal_that_is_a_link_is_not_read(library: Library, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    library.spool.folder.mkdir(exist_ok=True)
    link = library.spool.folder / "00000000000000000001-1-00000000.journal"
    link.symlink_to(victim)
    assert library.spool.is_empty()
    assert victim.read_text() == "precious"
    assert [*library.spool.folder.glob("*.unreadable")] == []


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_cleaning_up_deletes_our_own_files_alone(
    home: Path, library: Library, tmp_path: Path
) -> None:
    """The folder of unfinished files may be a link to another one."""
    library.close()
    documents = tmp_path / "documents"
    documents.mkdir()
    victim = documents / "thesis.txt"
    victim.write_text("precious")
    os.utime(victim, (1, 1))
    shutil.rmtree(home / "images" / ".tmp")
    (home / "images" / ".tmp").symlink_to(documents)
    reopened(home)
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_database_that_is_a_link_is_not_opened(home: Path, tmp_path: Path) -> None:
    """SQLite would create the file that it leads to."""
    home.mkdir()
    (home / database.FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(LibraryError, match="is a link"):
        Library.open(home)
    assert not (tmp_path / "victim").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
@pytest.mark.parametrize("name", ["spool", "images", "images/ab", "cache", "jobs"])
def test_a_copy_does_not_lead_out_of_its_folder(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What is made would be written there. A library of the user's own may lie on two disks."""
    elsewhere = tmp_path / "elsewhere"
    if (copied / name).is_dir():
        (copied / name).rename(elsewhere)
    elsewhere.mkdir(exist_ok=True)
    (copied / name).symlink_to(elsewhere)
    with pytest.raises(LibraryError, match="is a link"):
        Library.open(copied)
    monkeypatch.setenv("XAI_NOTEBOOK_TRUSTED_HOME", str(copied))
    reopened(copied)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_cache_that_is_a_link_is_not_cleared_up(tmp_path: Path) -> None:
    """Originals of another library have the names of thumbnails."""
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
def test_a_reply_that_cannot_be_read_hides_no_other(home: Path, text: str, suffix: str) -> None:
    library = Library.open(home)
    (home / "spool").mkdir(exist_ok=True)
    body = text.encode()
    head = spool._HEAD.pack(spool._MAGIC, len(body), 0, zlib.crc32(body))
    (home / "spool" / f"00000000000000000001-1-00000000{suffix}").write_bytes(head + body)
    assert [*library.spool.waiting()] == []
    library.close()


def test_a_journal_that_is_too_large_is_not_read(home: Path) -> None:
    library = Library.open(home)
    (home / "spool").mkdir(exist_ok=True)
    file = home / "spool" / "00000000000000000001-1-00000000.journal"
    with file.open("wb") as stream:
        stream.truncate(1 << 30)
    assert library.spool.is_empty()
    assert [*(home / "spool").glob("*.unreadable")] == [file.with_suffix(".unreadable")]
    library.close()


# Whose it is


@pytest.mark.parametrize("name", ["spool", "images", "inputs"])
def test_a_home_without_its_database_is_not_the_users_own(home: Path, name: str) -> None:
    """It may have come from anybody: what waits in it is not taken for the user's."""
    (home / name).mkdir(parents=True)
    library = Library.open(home)
    assert library.foreign
    library.close()


def test_a_library_whose_database_was_moved_away_stays_the_users_own(home: Path) -> None:
    """As a message about a damaged one advises."""
    reopened(home)
    (home / "spool").mkdir(exist_ok=True)
    for file in home.glob("library.sqlite3*"):
        file.unlink()
    library = Library.open(home)
    assert not library.foreign
    library.close()


def test_a_library_that_is_replaced_while_it_is_open_says_nothing(
    home: Path, library: Library, copied: Path
) -> None:
    """Not even in the first call after that."""
    again = Library.open(home)
    again.remember_rewrite("other", "fox", "a fox", "grok", None)
    with opened(copied) as connection:
        connection.execute("UPDATE identity SET id = 'another'")
    (copied / database.FILE).replace(home / database.FILE)
    assert again.rewrite_for("key") is None
    assert again.uploads.find("xai", "api.x.ai", "0" * 64) is None
    assert again.spending.last_rewrite("xai") is None
    again.close()
    assert library.home == home


def test_a_strangers_picture_names_no_file_and_no_address(
    home: Path, library: Library, save: Save, picture: Picture, tmp_path: Path
) -> None:
    """Its cell asks for a choice; and what waits at an address of theirs is not there."""
    source = InputImage(url="", sha256="0" * 64, label="/home/me/passport.png")
    save("a fox", [picture()], inputs=(source,))
    (waits,) = save("an owl", ["http://127.0.0.1:1/beacon"], image={"status": "pending"})
    library.close()
    theirs = Library.open(shutil.copytree(home, tmp_path / "theirs"))
    (fox,) = theirs.history("fox")
    (found,) = theirs.catalog.rows([fox.id or 0])
    for one in (fox, found.picture):
        assert "passport" not in one.cell
        assert "choose:" in one.cell
    assert theirs.find("fingerprint of an owl") == []
    theirs.trust()
    assert "passport" in theirs.history("fox")[0].cell
    assert [one.id for one in theirs.find("fingerprint of an owl")] == [waits.id]
    theirs.close()


def test_a_library_that_was_made_here_is_the_users_own(home: Path, library: Library) -> None:
    assert not library.foreign
    library.close()
    again = Library.open(home)
    assert not again.foreign
    again.close()


def test_a_copy_shows_and_says_nothing_of_what_to_send(copied: Path) -> None:
    library = Library.open(copied)
    assert library.foreign
    assert [image.prompt for image in library.history()] == ["a fox"]
    assert library.rewrite_for("key") is None
    assert library.uploads.find("xai", "api.x.ai", "0" * 64) is None
    assert library.spending.last_rewrite("xai") is None
    assert library.spending.last_costs("api.x.ai") == []
    assert "xai_notebook.trust_library()" in library.notices[0]
    library.close()


def test_it_is_asked_once(copied: Path) -> None:
    """The answer holds in kernels that are open, and in later ones."""
    library, other = Library.open(copied), Library.open(copied)
    before = [library.foreign, other.foreign]
    library.trust()
    assert (before, [library.foreign, other.foreign]) == ([True, True], [False, False])
    assert other.rewrite_for("key") == "an advertisement"
    for each in (library, other):
        each.close()
    later = Library.open(copied)
    assert not later.foreign
    assert later.notices == []
    later.close()


def test_the_answer_holds_for_one_folder(copied: Path, tmp_path: Path) -> None:
    """What is copied over a library, or from it, is another one."""
    library = Library.open(copied)
    library.trust()
    library.close()
    elsewhere = Library.open(shutil.copytree(copied, tmp_path / "elsewhere"))
    assert elsewhere.foreign
    elsewhere.close()
    shutil.rmtree(copied)
    reopened(copied)
    with opened(copied) as connection:
        connection.execute("UPDATE identity SET id = 'another'")
    replaced = Library.open(copied)
    assert replaced.foreign
    replaced.close()


def test_a_container_names_its_library(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There nothing outlives the kernel but the library."""
    monkeypatch.setenv("XAI_NOTEBOOK_TRUSTED_HOME", str(copied))
    library = Library.open(copied)
    assert not library.foreign
    library.close()


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be made unwritable")
def test_where_nothing_can_be_remembered_it_holds_for_the_process(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    library = Library.open(copied)
    said = library.trust()
    assert not library.foreign
    assert "XAI_NOTEBOOK_TRUSTED_HOME" in said
    assert library.notices == [said]
    library.close()


def test_nothing_is_cleared_away_in_a_copy(copied: Path) -> None:
    with opened(copied) as connection:
        connection.execute("UPDATE images SET deleted = 1")
    library = Library.open(copied)
    assert len([*(copied / "images").glob("*/*.jpg")]) == 1
    library.trust()
    assert [*(copied / "images").glob("*/*.jpg")] == []
    library.close()


# Money


@pytest.mark.parametrize("cost", [-1e6, float("-inf"), float("inf"), "-5 dollars", b"x", 2**62])
def test_no_row_adds_to_a_budget(library: Library, save: Save, cost: object) -> None:
    """And none makes it impossible to count."""
    save("a fox", [None], cost_usd=0.25)
    save("an owl", [None], cost_usd=0.5)
    library.remember_rewrite("key", "fox", "a fox", "grok", 0.125)
    with library._database.writing() as connection:
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
    assert 0.375e10 <= totals.spent <= 3.1e16
    assert totals.open == 0


# Other users of the computer


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_whatever_the_umask_only_the_user_can_read_it(
    home: Path, picture: Picture, save: Save, umask: int
) -> None:
    before = os.umask(umask)
    try:
        library = Library.open(home)
        (image,) = save("a fox", [picture()], to=library)
        library.given.keep(picture())
        library.spool.write({}, b"a reply")
        library.jobs.turn(1).take()
        library.spending.reserve([[Amount(1)]], 0.0, lambda *_: True)
        assert image.data
        modes = {one: one.stat().st_mode & 0o777 for one in [home, *home.rglob("*")]}
        library.close()
    finally:
        os.umask(before)
    assert {mode for one, mode in modes.items() if one.is_dir()} == {0o700}
    assert {mode for one, mode in modes.items() if one.suffix not in ("", ".lock")} == {0o600}
