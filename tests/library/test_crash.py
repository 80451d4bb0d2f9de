"""Kills, concurrent kernels, forks, full disks, damaged databases and migrations."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from harness import fork
from xai_notebook.errors import LibraryError
from xai_notebook.library import Library
from xai_notebook.library.storage import database, schema

if TYPE_CHECKING:
    from pathlib import Path

    from harness import MakeOld, NewJpeg, Opens, Raw, Save, Victims


WRITER = """
from xai_notebook.library import Library, Reply
from xai_notebook.client.request import ImageRequest
from xai_notebook.pictures.picture import Picture

def save(library, name, count=1, size=40_000):
    request = ImageRequest(prompt=f"prompt {name}", model="grok", n=count)
    pictures = [Picture(request=request, position=place) for place in range(count)]
    payloads = [b"\\xff\\xd8\\xff" + os.urandom(size) for _ in pictures]
    return library.add(Reply(
        request, pictures, payloads, fingerprint=f"f {name}", backend="xai", host="h",
        notebook=None, cost_usd=0.02, model="grok",
    ))

library = Library.open(Path(os.environ["XAI_NOTEBOOK_HOME"]))
"""
"""Opens the library of the test, and defines `save`."""


def originals(home: Path) -> list[Path]:
    return [file for file in (home / "images").glob("??/*") if file.is_file()]


@pytest.mark.parametrize("attempt", range(20))
def test_a_kill_leaves_no_partial_file_or_row(home: Path, victims: Victims, attempt: int) -> None:
    """Every reply that was reported as saved is complete."""
    code = """
report(" ")
while True:
    for image in save(library, 1, 2): report(f"{image.sha256} ")
"""
    victim = victims.start(WRITER + code)
    victim.reports.read(1)
    time.sleep(random.Random(attempt).uniform(0, 0.06))
    victim.kill()
    saved = victim.wait().split()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library = Library.open(home)
    stored = library.history(limit=100_000)
    assert set(saved) <= {image.sha256 for image in stored}
    with library.database.reading() as connection:
        (rows,) = connection.execute("SELECT count(*) FROM images").fetchone()
    assert len(stored) == rows
    for file in originals(home):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
    library.close()


@pytest.mark.parametrize(("kernels", "replies"), [(2, 500), (6, 1)])
def test_kernels_write_concurrently(
    home: Path, opens: Opens, victims: Victims, kernels: int, replies: int
) -> None:
    """The kernels also create the library concurrently."""
    code = f"for i in range({replies}): save(library, f'{{os.getpid()}} {{i}}', size=500)"
    started = [victims.start(WRITER + code) for _ in range(kernels)]
    assert [victim.wait() for victim in started] == [""] * kernels
    library = opens(home)
    assert len(library.history(limit=2000)) == len(originals(home)) == kernels * replies


def test_parent_and_child_save_after_a_fork_during_a_read(
    home: Path, opens: Opens, victims: Victims
) -> None:
    code = """
import threading
held, release = threading.Event(), threading.Event()
def hold():
    with library.database.reading():
        held.set()
        release.wait()
save(library, "before")
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    save(library, "child")
    os._exit(7)
release.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
save(library, "parent")
"""
    assert victims.start(WRITER + code).wait() == ""
    prompts = {image.request.prompt for image in opens(home).history()}
    assert prompts == {"prompt before", "prompt child", "prompt parent"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_fork_waits_for_a_writing_thread(library: Library) -> None:
    """Otherwise the child would inherit SQLite's locks as held."""
    inside, leave = threading.Event(), threading.Event()
    finished = False

    def work() -> None:
        nonlocal finished
        with library.database.writing() as connection:
            # The statement waits inside SQLite.
            connection.create_function("wait", 0, lambda: inside.set() or leave.wait(30))  # type: ignore[func-returns-value]
            connection.execute("SELECT wait()")
        finished = True

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(30)
    threading.Timer(0.2, leave.set).start()
    child = fork()
    if child == 0:
        os._exit(0 if finished and library.history() == [] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join()
    assert library.history() == []


LOCKED = """
import threading
from xai_notebook.library.storage import schema
signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes ignore SIGINT
save(library, "before")
library.close()
connection = schema.connect(library.home / "library.sqlite3")
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
library = Library(library.home)
def interrupt():
    time.sleep(0.5)  # until the main thread waits
    os.kill(os.getpid(), 2)
threading.Thread(target=interrupt).start()
begun = time.monotonic()
try:
    ACTION
except KeyboardInterrupt as error:
    (line,) = error._render_traceback_()
    report(f"{line} {time.monotonic() - begun < schema.BUSY_TIMEOUT / 2}")
"""


@pytest.mark.parametrize(
    "action", ["save(library, 'new')", "library.history()", "library.spending.costs()"]
)
def test_waiting_for_a_lock_can_be_interrupted(victims: Victims, action: str) -> None:
    """The traceback is one line: IPython takes seconds to render a long one."""
    output = "KeyboardInterrupt: stopped waiting for the library; nothing in it is lost. True"
    assert victims.start(WRITER + LOCKED.replace("ACTION", action)).wait() == output


def test_a_deleted_library_is_created_again(
    library: Library, save: Save, picture: NewJpeg, home: Path
) -> None:
    save("old", [picture()])
    shutil.rmtree(home)
    (image,) = save("new", [data := picture()])
    assert image.data == data
    with contextlib.closing(Library.open(home)) as other:
        assert [image.request.prompt for image in other.history()] == ["new"]
    assert [image.request.prompt for image in library.history()] == ["new"]


def test_the_order_of_history_ignores_the_clock(
    save: Save, library: Library, picture: NewJpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (3, 1, 2):
        monkeypatch.setattr(time, "time", lambda day=day: day * 86400.0)
        save(f"day {day}", [picture()])
    assert [image.request.prompt for image in library.history()] == ["day 2", "day 1", "day 3"]


def test_old_temporary_files_are_removed(home: Path) -> None:
    """Another process may still be writing recent ones."""
    Library.open(home).close()
    folder = home / "images" / ".tmp"
    old, new = folder / f"17-{'0' * 16}-1", folder / f"17-{'0' * 16}-2"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    Library.open(home).close()
    assert (old.exists(), new.exists()) == (False, True)


def test_a_file_instead_of_a_home_is_refused(home: Path) -> None:
    home.write_text("I am a file")
    with pytest.raises(LibraryError, match=r"not a folder.*XAI_NOTEBOOK_HOME"):
        Library.open(home)
    assert home.read_text() == "I am a file"


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_a_damaged_database_is_left_unchanged(
    home: Path, library: Library, save: Save, picture: NewJpeg, content: bytes | None
) -> None:
    for number in range(50):
        save(f"prompt {number}", [picture()])
    library.close()
    file = home / database.FILE
    if content is None:  # a valid header with garbage behind it
        size = file.stat().st_size
        content = file.read_bytes()[:100] + bytes(range(256)) * (size // 256)
    file.write_bytes(content)
    with pytest.raises(LibraryError, match=r"damaged.*images.*Move the file away"):
        Library.open(home)
    assert file.read_bytes() == content


def test_a_database_of_another_program_is_left_unchanged(home: Path) -> None:
    home.mkdir()
    file = home / database.FILE
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = file.read_bytes()
    with pytest.raises(LibraryError, match=r"another program's.*XAI_NOTEBOOK_HOME"):
        Library.open(home)
    assert file.read_bytes() == before
    assert [file.name for file in home.iterdir() if file.is_file()] == [database.FILE]


def test_a_newer_library_is_left_unchanged(home: Path) -> None:
    Library.open(home).close()
    file = home / database.FILE
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = file.read_bytes()
    with pytest.raises(LibraryError, match=r"newer xai-notebook.*Upgrade"):
        Library.open(home)
    assert file.read_bytes() == before


def test_version_1_is_migrated(home: Path, picture: NewJpeg, make_old: MakeOld, raw: Raw) -> None:
    make_old(home, data := picture())
    library = Library.open(home)
    assert [image.data for image in library.find("f")] == [data]
    assert [image.data for image in library.history("old fo")] == [data]
    library.trust()  # version 1 has no id, so it is foreign
    library.remember_rewrite("key", "fox", "a fox", "grok", None)
    assert library.rewrite_for("key") == "a fox"
    library.close()
    with raw(home) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)


def test_images_of_version_2_keep_their_places(
    home: Path, library: Library, save: Save, opens: Opens, raw: Raw
) -> None:
    """Version 2 stored the number of a reply's first image instead of a place."""
    # Three equal prompts of one image, two images that became four, and two equal prompts of two
    # images, the second of which was completed later.
    fox = [save(payloads=[data], n=1) for data in (b"0", b"1", b"2")]
    owl = [save("owl", [b"3", b"4"]), save("owl", [b"5", b"6"], n=4)]
    elk = [save("elk", [b"7", b"8"]), save("elk", [b"9"], n=2), save("elk", [b"10"], n=2)]
    save("newt", [b"11", b"12"])
    save("newt", [b"13"])
    library.close()
    with raw(home) as connection:
        for images, starts in ((fox, (0, 1, 2)), (owl, (0, 2)), (elk, (0, 2, 3))):
            for reply, start in zip(images, starts, strict=True):
                for index, image in enumerate(reply, start):
                    connection.execute(
                        "UPDATE images SET position = ? WHERE id = ?", (index, image.id)
                    )
                connection.execute(
                    "UPDATE requests SET start = ? WHERE id = "
                    "(SELECT request_id FROM images WHERE id = ?)",
                    (start, reply[0].id),
                )
        connection.execute("DROP INDEX requests_by_place")
        connection.execute("ALTER TABLE requests DROP COLUMN place")
        connection.execute("CREATE INDEX requests_by_fingerprint ON requests (fingerprint)")
        for table in ("shown", "uploads", "job_requests", "jobs", "panel_images", "panels"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("DROP TABLE charges")
        connection.execute("DROP TABLE identity")
        for old in ("requests_by_time", "rewrites_by_time", "requests_by_reply"):
            connection.execute(f"DROP INDEX {old}")
        for column in ("share", "redo", "reply_id"):
            connection.execute(f"ALTER TABLE requests DROP COLUMN {column}")
        connection.execute("DROP TABLE tags")
        for old in ("images_in_trash", "images_unmeasured", "images_on_shelf"):
            connection.execute(f"DROP INDEX {old}")
        for column in ("public_url", "public_url_expires", "starred", "deleted", "size"):
            connection.execute(f"ALTER TABLE images DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 2")
    library = opens(home)

    def stored(prompt: str, place: int) -> list[bytes]:
        return [image.data for image in library.find(f"fingerprint of {prompt}", place=place)]

    assert [stored("a red fox", place) for place in range(4)] == [[b"0"], [b"1"], [b"2"], []]
    assert [stored("owl", place) for place in range(2)] == [[b"3", b"4", b"5", b"6"], []]
    assert [stored("elk", place) for place in range(3)] == [[b"7", b"8"], [b"9", b"10"], []]
    # The last reply answers first, the one before it at the next place.
    assert [stored("newt", place) for place in range(3)] == [[b"13"], [b"11", b"12"], []]


def test_a_file_beyond_a_limit_leaves_no_trace(home: Path, opens: Opens, victims: Victims) -> None:
    code = """
import resource
from xai_notebook.errors import LibraryError
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    save(library, "large", size=400_000)
except LibraryError as error:
    assert "is full. Free some space" in str(error)
    report("refused")
save(library, "small", size=1000)
"""
    assert victims.start(WRITER + code).wait() == "refused"
    library = opens(home)
    assert [image.request.prompt for image in library.history()] == ["prompt small"]
    assert len(originals(home)) == 1
    assert list((home / "images" / ".tmp").iterdir()) == []


def test_saving_works_again_after_a_full_disk(
    small_disk: Path, save: Save, picture: NewJpeg, opens: Opens
) -> None:
    library = opens(small_disk / "home")
    save("first", [picture()], to=library)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"0" * 512)
    with pytest.raises(LibraryError, match=r"full.*Free some space"):
        save("second", [picture() + b"0" * 9000], to=library)
    assert [image.request.prompt for image in library.history()] == ["first"]
    filler.unlink()
    save("third", [picture()], to=library)
    assert [image.request.prompt for image in library.history()] == ["third", "first"]


def test_a_home_with_special_characters_works(
    tmp_path: Path, save: Save, picture: NewJpeg, opens: Opens
) -> None:
    library = opens(tmp_path / "my ?mode=ro #1 %41 bücher")
    (image,) = save("fox", [picture()], to=library)
    assert [stored.file for stored in library.history()] == [image.file]


@pytest.mark.parametrize(
    "damaged", [b"", b"half", b"zero"], ids=["nothing", "a part", "other bytes"]
)
def test_a_damaged_original_is_written_again(library: Library, save: Save, damaged: bytes) -> None:
    """A kill leaves a partial file, a power cut other bytes."""
    data = b"\xff\xd8\xff" + bytes(range(256))
    (picture,) = save("a fox", [data])
    file = picture.file
    assert file is not None
    file.write_bytes(bytes(len(data)) if damaged == b"zero" else damaged)
    (again,) = save("an owl", [data])
    assert again.file == file
    assert file.read_bytes() == data
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_only_durable_transactions_are_synced(library: Library) -> None:
    """Level 1 syncs the write-ahead log only at checkpoints; level 2 also at each commit."""
    levels = []
    for durable in (True, False, False, True):
        with library.database.writing(durable=durable) as connection:
            levels += connection.execute("PRAGMA synchronous").fetchone()
    assert levels == [2, 1, 1, 2]
