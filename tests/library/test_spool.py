"""Replies on disk until the library has them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, tiny
from xai_notebook.library import Library, schema
from xai_notebook.library.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served
    from xai_notebook.generation.session import Session


def leave(session: Session, monkeypatch: pytest.MonkeyPatch, prompt: str, **options: Any) -> Any:
    """Make images, and be killed, in effect, before the library is asked to keep them."""
    with monkeypatch.context() as patched:
        patched.setattr(
            Library, "add_replies", lambda _, replies: [[*reply.pictures] for reply in replies]
        )
        batch = session.generate(prompt, **options)
    session.close()
    return batch


def waiting(session: Session) -> list[Path]:
    return list((session.library().home / "spool").iterdir())


@pytest.mark.parametrize("format_", ["base64", "url"])
def test_what_was_left_is_put_in(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """The next kernel has the pictures that one left in the spool, and nothing is asked again."""
    options = {"n": 3, "format": format_, "aspect_ratio": "16:9", "resolution": "2k"}
    leave(session, monkeypatch, "a fox", **options)
    calls = len(quick.calls)
    again: Any = session.generate("a fox", **options)
    assert [image.data for image in again] == [tiny()] * 3
    assert all(image.replayed for image in again)
    assert len(quick.calls) == calls
    request = session.history()[0].request
    assert (request.aspect_ratio, request.resolution, request.n) == ("16:9", "2k", 3)
    assert waiting(session) == []
    assert session.costs()[0].requests == 1


def test_history_has_it_as_well(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking back is enough to have it put in."""
    leave(session, monkeypatch, "a fox")
    assert [image.prompt for image in session.history()] == ["a fox"]


def test_it_is_put_in_once(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kernel killed between the row and the removal leaves a reply that is there already."""
    leave(session, monkeypatch, "a fox", n=2)
    spool = tmp_path / "home" / "spool"
    (file,) = spool.iterdir()
    data = file.read_bytes()
    assert len(session.history()) == 2
    session.close()
    file.write_bytes(data)
    assert len(session.history()) == 2
    assert waiting(session) == []


def test_it_is_gone_once_the_library_has_it(session: Session, quick: Served) -> None:
    """What was saved leaves nothing behind, nor does a reply that holds nothing."""
    session.generate(each=["a", "b", "c"])
    quick.faults.short = 1
    session.generate("nothing comes")
    assert waiting(session) == []


def test_an_unfinished_file_is_set_aside(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half a file is not deleted, and not taken for a reply; nor is one with a wrong byte."""
    leave(session, monkeypatch, "a fox")
    (whole,) = (tmp_path / "home" / "spool").iterdir()
    data = whole.read_bytes()
    for name, content in {
        "half": data[: len(data) // 2],
        "wrong": data[:-9] + b"?" + data[-8:],
        "empty": b"",
    }.items():
        file = whole.with_name(f"{name}.reply")
        file.write_bytes(content)
        os.utime(file, (time.time() - 3600,) * 2)
    young = whole.with_name("young.reply")
    young.write_bytes(data[:50])
    assert [image.prompt for image in session.history()] == ["a fox"]
    names = {file.name for file in waiting(session)}
    assert names == {"half.unreadable", "wrong.unreadable", "empty.unreadable", "young.reply"}


def test_a_reply_of_another_shape_is_set_aside(session: Session, tmp_path: Path) -> None:
    """What is whole and makes no sense, such as a later version's, hinders nothing."""
    spool = Spool(tmp_path / "home" / "spool")
    spool.write({"request": {"planet": "Mars"}, "missing": [0], "answer": {}}, b"")
    spool.write({}, b"")
    spool.write({"request": {}}, b"\xff" * 20)
    assert list(session.history()) == []
    assert {file.suffix for file in waiting(session)} == {".unreadable"}


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
def test_what_nobody_of_ours_wrote_hinders_nothing(
    session: Session,
    quick: Served,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    field: str,
    value: object,
) -> None:
    """A reply that was tampered with keeps neither the library closed nor those behind it out."""
    leave(session, monkeypatch, "an owl")
    spool = Spool(tmp_path / "home" / "spool")
    ((spooled, about, body),) = spool.waiting()
    assert spooled.file
    changed = json.loads(json.dumps(about))
    for part in (changed, changed["request"], changed["answer"]):
        if field in part:
            part[field] = value
            break
    odd = spool.write(changed, body)
    assert odd.file
    odd.file.replace(odd.file.with_name("0.reply"))  # it is the first to be looked at
    images = session.history()
    assert "an owl" in [image.prompt for image in images]
    assert images._repr_mimebundle_()
    assert not list(spool.waiting())


def test_it_holds_no_key_and_no_input(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the user can read it; neither the key nor the images sent are in it."""
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(tiny(77))
    leave(session, monkeypatch, "a fox", image=[str(photo)])
    (file,) = (tmp_path / "home" / "spool").iterdir()
    assert KEY.encode() not in file.read_bytes()
    assert b"base64," not in file.read_bytes().partition(b'"missing"')[0]
    if os.name != "nt":
        assert file.stat().st_mode & 0o77 == 0
    (image,) = session.history()
    assert image.request.inputs[0].sha256 == hashlib.sha256(tiny(77)).hexdigest()


def test_a_library_locked_for_long_has_it_in_the_end(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply waits on disk, its card says so, and the next call puts it in."""
    monkeypatch.setattr(schema, "BUSY_TIMEOUT", 0.2)
    session.generate("before")
    other = schema.connect(session.library().home / "library.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    batch: Any = session.generate("a fox")
    assert batch[0].data == tiny()
    assert len(batch.notes) == 1
    assert "Not in the library yet" in batch.notes[0]
    assert "keeps the library" in batch.notes[0]
    other.execute("ROLLBACK")
    other.close()
    assert [image.prompt for image in session.history()] == ["a fox", "before"]
    assert waiting(session) == []


def test_a_full_disk_leaves_no_half_file(small_disk: Path) -> None:
    """A reply that has no room is not written at all."""
    spool = Spool(small_disk / "spool")
    assert spool.write({}, bytes(4 << 20)).file is None
    assert list((small_disk / "spool").iterdir()) == []


def test_no_new_threads(session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, replies are saved by the one that is there."""
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
    assert (batch.notes, len(session.history())) == ((), 6)
