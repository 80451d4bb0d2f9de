"""The spool: replies on disk that the library has not stored yet."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, fork, tiny, until
from xai_notebook.library import Library
from xai_notebook.library.storage import schema
from xai_notebook.library.storage.spool import LIMIT, Spool

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served, Victims
    from xai_notebook.generation.session import Session


def leave_in_spool(
    session: Session, monkeypatch: pytest.MonkeyPatch, prompt: str, **options: Any
) -> None:
    """Generate images as if the kernel was killed before the library stored them."""
    with monkeypatch.context() as patched:
        patched.setattr(
            Library, "add_replies", lambda _, replies: [[*reply.pictures] for reply in replies]
        )
        session.generate(prompt, **options)
    session.close()


def spooled_files(session: Session) -> list[Path]:
    """Close the session, and return the files in its spool."""
    home = session.library().home
    session.close()
    return list((home / "spool").iterdir())


@pytest.mark.parametrize("format_", ["base64", "url"])
def test_the_next_kernel_stores_the_spool(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """Nothing is requested again."""
    options: Any = {"n": 3, "format": format_, "aspect_ratio": "16:9", "resolution": "2k"}
    leave_in_spool(session, monkeypatch, "a fox", **options)
    calls = len(quick.calls)
    again: Any = session.generate("a fox", **options)
    assert [image.data for image in again] == [tiny()] * 3
    assert all(image.replayed for image in again)
    assert len(quick.calls) == calls
    request = session.history.search()[0].request
    assert (request.aspect_ratio, request.resolution, request.n) == ("16:9", "2k", 3)
    assert session.history.costs()[0].requests == 1
    assert spooled_files(session) == []


def test_a_spooled_reply_is_stored_once(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kernel may be killed before it removes a stored reply."""
    leave_in_spool(session, monkeypatch, "a fox", n=2)
    (file,) = (tmp_path / "home" / "spool").iterdir()
    data = file.read_bytes()
    assert len(session.history.search()) == 2
    session.close()
    file.write_bytes(data)
    assert len(session.history.search()) == 2
    assert spooled_files(session) == []


def test_files_of_earlier_versions_are_stored_once(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leave_in_spool(session, monkeypatch, "a fox", n=2)
    spool = Spool(tmp_path / "home" / "spool")
    ((spooled, about, body),) = spool.waiting()
    spool.remove(spooled)
    spool.close()
    del about["id"]
    text = json.dumps(about).encode()
    head = struct.pack(
        "<8sIQI", b"xaispl1\n", len(text), len(body), zlib.crc32(body, zlib.crc32(text))
    )
    file = spool.folder / "01795979724753127987-4711-3d4c5537.reply"
    for _ in range(2):
        file.write_bytes(head + text + body)
        assert len(session.history.search()) == 2
        assert spooled_files(session) == []
    with session.library().database.writing() as connection:
        connection.execute("UPDATE requests SET reply_id = NULL")
    session.close()
    file.write_bytes(head + text + body)
    assert len(session.history.search()) == 2


@pytest.mark.parametrize("step", [0.0, 0.0156])
def test_equal_prompts_at_the_same_time_are_different_replies(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + (step and time.monotonic() // step * step))
    counts = (1, 3, 2, 4, 1, 3, 2, 4)
    start = threading.Barrier(len(counts))

    def make(count: int) -> int:
        start.wait(30)
        return len(session.generate("a fox", n=count).ok)

    with ThreadPoolExecutor(len(counts)) as pool:
        assert list(pool.map(make, counts)) == [*counts]
    assert len(session.history.search(n=100)) == sum(counts)
    assert spooled_files(session) == []
    assert len(session.history.search(n=100)) == sum(counts)


def test_spooled_replies_of_the_same_time_are_all_stored(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    with monkeypatch.context() as patched:
        patched.setattr(
            Library, "add_replies", lambda _, replies: [[*reply.pictures] for reply in replies]
        )
        patched.setattr(Library, "settle", lambda _: None)
        for count in (1, 3, 2, 4):
            session.generate("a fox", n=count, fresh=True)
        session.close()
    assert len(session.history.search(n=100)) == 10
    assert spooled_files(session) == []


def test_stored_and_empty_replies_leave_the_spool(session: Session, quick: Served) -> None:
    session.generate(each=["a", "b", "c"])
    quick.faults.short = 1
    session.generate("a missing fox")
    assert spooled_files(session) == []


def test_a_damaged_entry_is_set_aside(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The entries before and after it are stored."""
    folder = tmp_path / "home" / "spool"
    entries = []
    for prompt in ("a fox", "a hare", "an owl"):
        leave_in_spool(session, monkeypatch, prompt)
        (file,) = folder.iterdir()
        _, head, entry = file.read_bytes().split(b"xaispl1\n")
        entries.append(b"xaispl1\n" + entry)
        file.unlink()
    fox, hare, owl = entries
    torn = hare[:-9] + b"?" + hare[-8:]
    (folder / "1.journal").write_bytes(
        b"xaispl1\n" + head + fox + torn + owl + hare[: len(hare) // 2]
    )
    assert {image.prompt for image in session.history.search()} == {"a fox", "an owl"}
    parts = [file.read_bytes() for file in spooled_files(session)]
    assert sorted(parts) == sorted([torn, hare[: len(hare) // 2]])


def test_an_incomplete_file_is_set_aside(session: Session, quick: Served, tmp_path: Path) -> None:
    """A recent file is left, because an earlier version may still be writing it."""
    session.generate("a fox")
    folder = tmp_path / "home" / "spool"
    for name in ("half", "young"):
        (folder / f"{name}.reply").write_bytes(b"xaispl1\n")
    os.utime(folder / "half.reply", (time.time() - 3600,) * 2)
    session.close()
    assert [image.prompt for image in session.history.search()] == ["a fox"]
    assert {file.name for file in spooled_files(session)} == {"half.unreadable", "young.reply"}


def test_an_unknown_reply_is_set_aside(session: Session, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "home" / "spool")
    spool.write({"request": {"planet": "Mars"}, "missing": [0], "answer": {}}, b"")
    spool.write({}, b"")
    spool.write({"request": {}}, b"\xff" * 20)
    spool.close()
    assert list(session.history.search()) == []
    assert {file.suffix for file in spooled_files(session)} == {".unreadable"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request", 3),
        ("answer", "x"),
        ("missing", None),
        ("prompt", {"a": 1}),
        ("prompt", None),
        ("n", 10**30),
        ("inputs", [3]),
        ("host", ["x"]),
        ("place", 1.5e300),
        ("fingerprint", None),
    ],
)
def test_a_forged_reply_blocks_no_other(
    session: Session,
    quick: Served,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    field: str,
    value: object,
) -> None:
    leave_in_spool(session, monkeypatch, "an owl")
    spool = Spool(tmp_path / "home" / "spool")
    ((_, about, body),) = spool.waiting()
    changed = json.loads(json.dumps(about))
    for part in (changed, changed["request"], changed["answer"]):
        if field in part:
            part[field] = value
            break
    other = Spool(tmp_path / "other")
    assert other.write(changed, body).source
    spool.close()
    other.close()
    (file,) = other.folder.iterdir()
    file.replace(spool.folder / "0.journal")  # the first to be read
    images = session.history.search()
    assert "an owl" in [image.prompt for image in images]
    assert images._repr_mimebundle_()
    session.close()
    assert not list(spool.waiting())


def test_the_spool_contains_no_key_and_no_input(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(tiny(77))
    leave_in_spool(session, monkeypatch, "a fox", image=[str(photo)])
    (file,) = (tmp_path / "home" / "spool").iterdir()
    assert KEY.encode() not in file.read_bytes()
    assert b"base64," not in file.read_bytes().partition(b'"missing"')[0]
    if os.name != "nt":
        assert file.stat().st_mode & 0o77 == 0
    (image,) = session.history.search()
    assert image.request.inputs[0].sha256 == hashlib.sha256(tiny(77)).hexdigest()


def test_a_locked_library_stores_the_reply_later(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT", 0.2)
    session.generate("before")
    other = schema.connect(session.library().home / "library.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    batch: Any = session.generate("a fox")
    assert batch[0].data == tiny()
    assert len(batch.notes) == 1
    assert "not in the library yet" in batch.notes[0]
    assert "keeps the library" in batch.notes[0]
    other.execute("ROLLBACK")
    other.close()
    assert [image.prompt for image in session.history.search()] == ["a fox", "before"]
    assert spooled_files(session) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupt_while_locked_loses_no_reply(session: Session, quick: Served) -> None:
    """The reply is stored later."""
    session.generate("before")
    library = session.library()
    library.settle()
    other = schema.connect(library.home / "library.sqlite3")
    other.execute("BEGIN IMMEDIATE")

    def interrupt() -> None:
        until(lambda: library.spool.is_empty() is False)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        session.generate("a fox")
    assert time.monotonic() - begun < schema.BUSY_TIMEOUT / 2
    thread.join()
    other.execute("ROLLBACK")
    other.close()
    until(lambda: len(session.history.search()) == 2)
    assert [image.prompt for image in session.history.search()] == ["a fox", "before"]


def test_a_full_disk_leaves_no_partial_entry(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool")
    assert spool.write({}, b"small").source
    (file,) = (small_disk / "spool").iterdir()
    size = file.stat().st_size
    assert spool.write({}, bytes(4 << 20)).source is None
    assert file.stat().st_size == size
    assert spool.write({}, b"small").source
    assert [body for _, _, body in spool.waiting()] == [b"small"] * 2


def test_a_full_journal_is_replaced(tmp_path: Path) -> None:
    """A replaced journal is deleted as soon as its replies are removed."""
    spool = Spool(tmp_path)
    first = spool.write({}, b"first")
    (file,) = tmp_path.iterdir()
    start = file.stat().st_size
    second = spool.write({}, bytes(LIMIT))
    assert min(path.name for path in tmp_path.iterdir()) == file.name
    spool.remove(first)
    assert not file.exists()
    third = spool.write({}, b"third")
    assert [spooled for spooled, _, _ in spool.waiting()] == [second, third]
    spool.sync([second, third])
    spool.remove(second, third)
    assert spool.is_empty()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * start


def test_a_kill_during_the_check_of_the_disk_leaves_only_the_replies(
    tmp_path: Path, victims: Victims
) -> None:
    """The zeros that the check wrote are not kept as an unreadable reply."""
    victims.start(f"""
from xai_notebook.library.storage.spool import Spool
spool = Spool(Path({str(tmp_path)!r}))
spool.write({{}}, b"paid for")
spool.failed = True
os.ftruncate = lambda *_: os._exit(9)
spool.check(100_000)
""").wait()
    assert max(path.stat().st_size for path in tmp_path.iterdir()) > 100_000
    spool = Spool(tmp_path)
    assert [body for _, _, body in spool.waiting()] == [b"paid for"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".journal"]


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_a_spool_that_cannot_be_listed_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The folder may be on a network share that is out of order."""

    def fail(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "scandir", fail)
    monkeypatch.setattr(os, "listdir", fail)
    spool = Spool(tmp_path)
    assert spool.is_empty()
    assert list(spool.waiting()) == []


def test_a_journal_is_inherited_when_its_process_dies(tmp_path: Path, victims: Victims) -> None:
    """The inheriting process may have started earlier."""
    spool = Spool(tmp_path)
    assert spool.is_empty()
    victim = victims.start(f"""
from xai_notebook.library.storage.spool import Spool
spool = Spool(Path({str(tmp_path)!r}))
report(str(spool.write({{}}, b"paid for").source is not None))
time.sleep(60)
""")
    assert victim.reports.read(4) == b"True"
    assert spool.is_empty()
    assert list(spool.waiting()) == []
    victim.kill()
    assert spool.adopt()
    ((spooled, _, body),) = spool.waiting()
    assert body == b"paid for"
    spool.remove(spooled)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_has_its_own_journal(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    mine = spool.write({}, b"parent")
    child = fork()
    if child == 0:
        spool.write({}, b"child")
        spool.remove(mine)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(body for _, _, body in spool.waiting()) == [b"child", b"parent"]


def test_threads_write_concurrently(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    bodies = [bytes([number]) * 100_000 for number in range(32)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda body: spool.write({}, body), bodies))
    assert len({reply.id for reply in written}) == len(bodies)
    spool.close()
    assert sorted(body for _, _, body in Spool(tmp_path).waiting()) == bodies


def test_replies_are_saved_when_no_thread_can_start(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.generate("the connection is open")
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(("xai-notebook-worker", "xai-notebook-disk", "ThreadPool")):
            raise RuntimeError("can't start new thread")
        start(thread)

    session.close()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    batch: Any = session.generate("a fox", n=3)
    url: Any = session.generate(each=["a hare", "an owl"], format="url")
    assert [image.data for image in [*batch, *url]] == [tiny()] * 5
    assert (batch.notes, len(session.history.search())) == ((), 6)
