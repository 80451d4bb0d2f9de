"""What the world can do to a library: kills, other kernels, forks, full disks, foreign files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from harness import fork
from xai_notebook.errors import LibraryError
from xai_notebook.library import Library
from xai_notebook.library.storage import database, schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Save = Callable[..., list[Any]]
    Picture = Callable[[], bytes]

WRITER = """
import os, sys
from pathlib import Path
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

library = Library.open(Path(sys.argv[1]))
print("ready", flush=True)
"""


def run(code: str, home: Path, **options: Any) -> subprocess.Popen[str]:
    """Start a process that has the library open, and waits for a line before it goes on."""
    command = [sys.executable, "-c", WRITER + code, str(home)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def rest(process: subprocess.Popen[str]) -> str:
    """Return what a process still writes, to its end.

    `communicate` would miss what was read together with the first line.
    """
    with process:
        assert process.stdout
        return process.stdout.read()


def originals(home: Path) -> list[Path]:
    return [file for file in (home / "images").glob("??/*") if file.is_file()]


@pytest.mark.parametrize("attempt", range(20))
def test_kill_leaves_nothing_half(home: Path, attempt: int) -> None:
    """After SIGKILL every reply reported as saved is whole, and there is no half file or row."""
    process = run(
        "while True:\n  for image in save(library, 1, 2): print(image.sha256, flush=True)", home
    )
    time.sleep(random.Random(attempt).uniform(0, 0.06))
    process.send_signal(signal.SIGKILL)
    reported = rest(process)
    # The last line can itself be cut short; output is a pipe's worth behind, never ahead.
    complete = [line for line in reported.splitlines(keepends=True) if line.endswith("\n")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library = Library.open(home)
    stored = library.history(limit=100_000)
    assert {line.strip() for line in complete} <= {image.sha256 for image in stored}
    with library._database.reading() as connection:
        (rows,) = connection.execute("SELECT count(*) FROM images").fetchone()
    assert len(stored) == rows
    for file in originals(home):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
    library.close()


def test_two_kernels_write_at_once(home: Path) -> None:
    """Two processes that save 500 images each at the same time make 1,000 rows without an error."""
    code = (
        "sys.stdin.readline()\nfor i in range(500): save(library, f'{os.getpid()} {i}', size=500)"
    )
    processes = [run(code, home), run(code, home)]
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    library = Library.open(home)
    assert len(library.history(limit=2000)) == len(originals(home)) == 1000
    library.close()


def test_many_kernels_create_a_library_at_once(home: Path) -> None:
    """Six processes that open a new home at the same moment all succeed."""
    command = [sys.executable, "-c", WRITER + "save(library, os.getpid())", str(home)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(6)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 6
    library = Library.open(home)
    assert len(library.history()) == 6
    library.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_fork(home: Path) -> None:
    """A forked child and its parent both save, even when a thread held the lock at the fork."""
    code = """
import threading
held, release = threading.Event(), threading.Event()
def hold():
    with library._database.reading():
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
    process = run(code, home)
    process.communicate(timeout=30)
    assert process.returncode == 0
    library = Library.open(home)
    prompts = {image.request.prompt for image in library.history()}
    assert prompts == {"prompt before", "prompt child", "prompt parent"}
    library.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_fork_waits_for_the_thread_inside(library: Library) -> None:
    """A fork comes when no thread is in SQLite, whose own locks the child would inherit held."""
    inside, leave = threading.Event(), threading.Event()
    left = False

    def work() -> None:
        nonlocal left
        with library._database.writing() as connection:
            # As a statement of another thread: what it calls waits inside SQLite.
            connection.create_function("wait", 0, lambda: inside.set() or leave.wait(30))  # type: ignore[func-returns-value]
            connection.execute("SELECT wait()")
        left = True

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(30)
    threading.Timer(0.2, leave.set).start()
    child = fork()
    if child == 0:
        os._exit(0 if left and library.history() == [] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join()
    assert library.history() == []


LOCKED = """
import signal, threading, time
from xai_notebook.library.storage import schema
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
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
    print(*error._render_traceback_(), time.monotonic() - begun < schema.BUSY_TIMEOUT / 2)
except BaseException as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("action", ["save(library, 'new')", "library.history()", "library.costs()"])
def test_waiting_for_a_lock_is_interrupted(home: Path, action: str) -> None:
    """Ctrl-C ends the wait for another program's lock at once, not when the wait is over.

    It is one line: IPython takes seconds to render a chain of calls.
    """
    process = run(LOCKED.replace("ACTION", action), home)
    said = "KeyboardInterrupt: the library was being waited for; nothing in it is lost. True\n"
    assert rest(process) == said


def test_library_deleted_under_a_kernel(
    library: Library, save: Save, picture: Picture, home: Path
) -> None:
    """A library whose folder vanishes is made anew by the next reply, which is in it."""
    save("old", [picture()])
    shutil.rmtree(home)
    (image,) = save("new", [data := picture()])
    assert image.data == data
    with contextlib.closing(Library.open(home)) as other:
        assert [found.request.prompt for found in other.history()] == ["new"]
    assert [found.request.prompt for found in library.history()] == ["new"]


def test_clock_that_jumps(
    save: Save, library: Library, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History goes by the order of arrival, whatever the clock says."""
    for day in (3, 1, 2):
        monkeypatch.setattr(time, "time", lambda day=day: day * 86400.0)
        save(f"day {day}", [picture()])
    assert [image.request.prompt for image in library.history()] == ["day 2", "day 1", "day 3"]


def test_old_leftovers_are_removed(home: Path) -> None:
    """Temporary files of kernels killed long ago go; those that may still be written stay."""
    Library.open(home).close()
    folder = home / "images" / ".tmp"
    old, new = folder / f"17-{'0' * 16}-1", folder / f"17-{'0' * 16}-2"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    Library.open(home).close()
    assert (old.exists(), new.exists()) == (False, True)


def test_file_instead_of_a_home(home: Path) -> None:
    """A home that is a file is named, with the variable to change."""
    home.write_text("I am a file")
    with pytest.raises(LibraryError, match=r"no folder.*XAI_NOTEBOOK_HOME"):
        Library.open(home)
    assert home.read_text() == "I am a file"


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_corrupt_file_is_left_alone(
    home: Path, library: Library, save: Save, picture: Picture, content: bytes | None
) -> None:
    """A damaged library is named, its pictures pointed to, and not a byte of it is changed."""
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


def test_foreign_database_is_left_alone(home: Path) -> None:
    """Another program's SQLite file is recognised and not a byte of it is changed."""
    home.mkdir()
    file = home / database.FILE
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = file.read_bytes()
    with pytest.raises(LibraryError, match=r"another program's.*XAI_NOTEBOOK_HOME"):
        Library.open(home)
    assert file.read_bytes() == before
    assert [each.name for each in home.iterdir() if each.is_file()] == [database.FILE]


def test_newer_library_is_left_alone(home: Path) -> None:
    """A library of a newer version asks for an upgrade and is not touched."""
    Library.open(home).close()
    file = home / database.FILE
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = file.read_bytes()
    with pytest.raises(LibraryError, match=r"newer xai-notebook.*Upgrade"):
        Library.open(home)
    assert file.read_bytes() == before


def test_version_1_is_migrated(
    home: Path, picture: Picture, make_old: Callable[[Path, bytes], None]
) -> None:
    """A library of version 1 keeps its images, and gets what later versions brought."""
    make_old(home, data := picture())
    library = Library.open(home)
    assert [image.data for image in library.find("f")] == [data]
    assert [image.data for image in library.history("old fo")] == [data]
    library.trust()  # nothing tells it from a copy of somebody else's
    library.remember_rewrite("key", "fox", "a fox", "grok", None)
    assert library.rewrite_for("key") == "a fox"
    library.close()
    with contextlib.closing(sqlite3.connect(home / database.FILE)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)


def test_version_2_replays_the_same(home: Path, library: Library, save: Save) -> None:
    """Images of a library without places get those at which they answered before."""
    # What one call after the other stored: three equal prompts of one image, two images that
    # became four, and two equal prompts of two images, the second of which was completed later.
    fox = [save(payloads=[data], n=1) for data in (b"0", b"1", b"2")]
    owl = [save("owl", [b"3", b"4"]), save("owl", [b"5", b"6"], n=4)]
    elk = [save("elk", [b"7", b"8"]), save("elk", [b"9"], n=2), save("elk", [b"10"], n=2)]
    save("newt", [b"11", b"12"])
    save("newt", [b"13"])
    library.close()
    with contextlib.closing(sqlite3.connect(home / database.FILE)) as connection, connection:
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
    library = Library.open(home)

    def stored(prompt: str, place: int) -> list[bytes]:
        return [image.data for image in library.find(f"fingerprint of {prompt}", place=place)]

    assert [stored("a red fox", place) for place in range(4)] == [[b"0"], [b"1"], [b"2"], []]
    assert [stored("owl", place) for place in range(2)] == [[b"3", b"4", b"5", b"6"], []]
    assert [stored("elk", place) for place in range(3)] == [[b"7", b"8"], [b"9", b"10"], []]
    # What was made last answers first, what was made before it at the next place.
    assert [stored("newt", place) for place in range(3)] == [[b"13"], [b"11", b"12"], []]
    library.close()


def test_file_system_without_shared_memory(
    home: Path, save: Save, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a write-ahead log cannot work, SQLite's own journal does, without a word."""

    def connect(file: Path) -> sqlite3.Connection:
        # This variant of SQLite's file layer has no shared memory, like some network shares.
        return sqlite3.connect(
            f"{file.as_uri()}?vfs=unix-dotfile", uri=True, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip

    monkeypatch.setattr(schema, "_open", connect)
    other = Library.open(home.parent / "share")
    (image,) = save("a fox", [picture()], to=other)
    assert [found.id for found in other.history("fox")] == [image.id]
    with other._database.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    other.close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_file_size_limit(home: Path) -> None:
    """A file that cannot be written to its end leaves no trace, and the library goes on."""
    code = """
import resource
from xai_notebook.errors import LibraryError
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    save(library, "large", size=400_000)
except LibraryError as error:
    print(error)
save(library, "small", size=1000)
"""
    process = run(code, home)
    output = rest(process)
    assert process.returncode == 0
    assert "is full. Free some space" in output
    library = Library.open(home)
    assert [image.request.prompt for image in library.history()] == ["prompt small"]
    assert len(originals(home)) == 1
    assert list((home / "images" / ".tmp").iterdir()) == []
    library.close()


def test_full_disk(small_disk: Path, save: Save, picture: Picture) -> None:
    """On a full disk the error says so, what was saved stays, and room makes it work again."""
    library = Library.open(small_disk / "home")
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
    library.close()


def test_home_with_odd_name(tmp_path: Path, save: Save, picture: Picture) -> None:
    """Spaces, question marks, percent signs and umlauts in the path are only characters."""
    library = Library.open(tmp_path / "my ?mode=ro #1 %41 bücher")
    (image,) = save("fox", [picture()], to=library)
    assert [found.file for found in library.history()] == [image.file]
    library.close()


@pytest.mark.parametrize("left", [b"", b"half", b"zero"], ids=["nothing", "a part", "other bytes"])
def test_a_spoilt_original_is_written_anew(library: Library, save: Save, left: bytes) -> None:
    """A kill leaves a part of a file that no row names, and a power cut other bytes in it."""
    data = b"\xff\xd8\xff" + bytes(range(256))
    (picture,) = save("a fox", [data])
    file = picture.file
    assert file is not None
    file.write_bytes(bytes(len(data)) if left == b"zero" else left)
    (again,) = save("an owl", [data])
    assert again.file == file
    assert file.read_bytes() == data
    assert [one.name for one in file.parent.iterdir()] == [file.name]
