"""Without a usable library, images are only shown, spooled or not requested; a note says why."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from harness import small_disk_at, tiny, unprivileged
from xai_notebook.errors import LibraryError, NotKeptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Kernels, Served
    from xai_notebook.generation.session import Session


def test_previews_work_without_a_home(
    new_session: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch has a note; pictures are shown and exported."""
    home = tmp_path / "file"
    home.write_text("I am a file")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    session = new_session()
    for prompt, options in (("a fox", {"n": 2}), ("a hare", {"export": tmp_path / "exported"})):
        batch: Any = session.generate(prompt, **options)
        html = batch._repr_mimebundle_()["text/html"]
        assert html.count("Not stored anywhere") == 1
        assert "XAI_NOTEBOOK_HOME" in html
        assert html.count("<img") == len(batch) == options.get("n", 1)
        assert all(len(image.data) > 99 for image in batch)
    assert batch[0].exported.suffix == ".jpg"
    assert home.read_text() == "I am a file"


def test_nothing_is_requested_without_a_home(
    session: Session, quick: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that cost money and cannot be saved are not requested."""
    home = tmp_path / "file"
    home.write_text("x")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    with pytest.raises(NotKeptError, match=r"XAI_NOTEBOOK_HOME.*Nothing was sent"):
        session.generate("a fox")
    with pytest.raises(NotKeptError, match="XAI_NOTEBOOK_HOME"):
        session.generate(each=["a fox", "a hare"])
    assert quick.calls == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of eight megabytes."""
    with small_disk_at(tmp_path / "disk", "8m") as folder:
        yield folder


def fill(disk: Path, left: int) -> Path:
    """Fill a disk until at most `left` bytes are free; return the file that fills it."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while shutil.disk_usage(disk).free > left:
            stream.write(bytes(4096))
    return filler


@pytest.mark.parametrize("format_", ["base64", "url"])
def test_only_images_that_fit_on_the_disk_are_requested(
    session: Session, quick: Served, disk: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """After space is freed, more images are requested."""
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(disk / "home"))
    session.configured = lambda: {"rate": 0, "concurrency": 16}
    session.generate("first", format=format_)
    filler = fill(disk, 5 << 20)
    quick.faults.garbage = tiny(1) + bytes(1_000_000)
    with pytest.raises(NotKeptError, match=r"less than 6 MB left.*nothing was sent. Free some"):
        session.generate("too much", n=2, format=format_, resolution="1k")
    prompts = [f"p{i}" for i in range(16)]
    batch: Any = session.generate(each=prompts, format=format_)
    assert len(quick.calls) - 1 == len(batch.ok) > 0
    assert {image.status for image in batch} == {"ok", "unsent"}
    assert "Make room for them and run the cell again" in batch._repr_mimebundle_()["text/plain"]
    assert kept(session) == 1 + len(batch.ok)
    session.close()
    again: Any = session.generate(each=[image.prompt for image in batch.ok], format=format_)
    assert all(image.replayed for image in again)
    with contextlib.suppress(NotKeptError):
        session.generate(each=prompts, format=format_)
    assert kept(session) == len(quick.calls)
    filler.unlink()
    more: Any = session.generate(each=prompts, format=format_)
    assert len(more.ok) > len(batch.ok)
    assert kept(session) == len(quick.calls)


def test_an_entirely_full_disk_is_reported_as_full(
    session: Session, quick: Served, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite reports an I/O error, because it cannot create its files."""
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(disk / "home"))
    session.generate("first")
    session.close()
    fill(disk, 0)
    for options in ({"replay": True}, {"batch": True}):
        with pytest.raises(LibraryError, match=r"disk of the library .* is full. Free some"):
            session.generate("first", **options)
    assert len(quick.calls) == 1


def kept(session: Session) -> int:
    """Return the number of pictures in the library and the spool."""
    session.close()
    return len(session.history.search(n=100))


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
@pytest.mark.parametrize("format_", ["base64", "url"])
def test_no_image_is_requested_after_one_could_not_be_saved(
    session: Session, quick: Served, format_: str
) -> None:
    """A quota is reached, which the free space does not show; later calls are refused, too."""
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    session.generate("first", format=format_)
    quick.faults.garbage = tiny(1) + bytes(1_000_000)
    with limited(900_000):
        batch: Any = session.generate(each=[f"p{i}" for i in range(9)], format=format_)
        assert [image.data for image in batch.ok] == [quick.faults.garbage] * len(batch.ok)
        assert len(batch.ok) <= 3  # others are in flight while the first is saved
        assert len(quick.calls) == 1 + len(batch.ok)
        assert len(batch.notes) == 1
        assert "Not stored anywhere" in batch.notes[0]
        assert "full. Free some space" in batch.notes[0]
        assert batch._repr_mimebundle_()["text/html"].count("<img") == len(batch.ok)
        for _ in range(2):
            with pytest.raises(NotKeptError, match=r"full. Free some space.*Nothing was sent"):
                session.generate("one more", format=format_)
        assert len(quick.calls) == 1 + len(batch.ok)
    third: Any = session.generate("third")
    assert third.notes == ()
    assert {image.prompt for image in session.history.search()} >= {"first", "third"}


@contextlib.contextmanager
def limited(size: int) -> Iterator[None]:
    """Limit the size of every file that this process writes."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def damage(home: Path) -> bytes:
    content = b"not a database at all" * 100
    (home / "library.sqlite3").write_bytes(content)
    for name in ("-wal", "-shm"):
        (home / f"library.sqlite3{name}").unlink(missing_ok=True)
    return content


def make_newer(home: Path) -> bytes:
    with contextlib.closing(sqlite3.connect(home / "library.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 99")
    return (home / "library.sqlite3").read_bytes()


@pytest.mark.parametrize(
    ("alter", "cause"),
    [(damage, "is damaged and was not changed"), (make_newer, "newer xai-notebook")],
)
@pytest.mark.parametrize("format_", ["base64", "url"])
def test_a_library_that_cannot_be_opened_is_left_unchanged(
    session: Session, quick: Served, alter: Callable[[Path], bytes], cause: str, format_: str
) -> None:
    """Each batch has a note, and new images are stored when the library can be opened again."""
    home = session.library().home
    session.close()
    file = home / "library.sqlite3"
    good = file.read_bytes()
    content = alter(home)
    for prompt in ("a fox", "a hare"):
        batch: Any = session.generate(prompt, n=2, format=format_)
        assert [image.data for image in batch] == [tiny()] * 2
        assert len(batch.notes) == 1
        assert cause in batch.notes[0]
        assert "only in its spool" in batch.notes[0]
    many: Any = session.generate(each=["p1", "p2", "p3"], format=format_)
    assert (len(many.ok), len(many.notes)) == (3, 1)
    with pytest.raises(LibraryError, match=cause):
        session.generate("a fox", replay=True)
    with pytest.raises(LibraryError, match=cause):
        session.history.search()
    assert file.read_bytes() == content
    session.close()
    file.write_bytes(good)
    calls = len(quick.calls)
    known: Any = session.generate("a fox", n=2, format=format_)
    assert [image.data for image in known] == [tiny()] * 2
    assert known.notes == ()
    assert len(quick.calls) == calls
    assert len(session.history.search(n=100)) == 7
    assert kept(session) == 7


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_library_stores_nothing(
    session: Session, quick: Served, unprivileged_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored images answer; paid images are not requested, and previews have a note."""
    home = unprivileged_folder / "course"
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    session.generate("a fox", n=2)
    session.close()
    subprocess.run(["chmod", "-R", "a-w,a+rX", home], check=True)
    calls = len(quick.calls)
    with unprivileged():
        known: Any = session.generate("a fox", n=2)
        assert [image.data for image in known] == [tiny()] * 2
        assert (known.notes, len(quick.calls)) == ((), calls)
        with pytest.raises(NotKeptError, match=r"read-only.*XAI_NOTEBOOK_HOME"):
            session.generate("a hare")
        assert len(quick.calls) == calls
        free: Any = session.generate("a hare", local=True)
        assert len(free.ok) == len(free.notes) == 1
        assert (
            "is read-only: its pictures are shown, but new pictures are not stored" in free.notes[0]
        )
        assert [image.prompt for image in session.history.search()] == ["a fox"] * 2
        session.close()
