"""`xai.merge`: the pictures that other processes paid for answer here, and are counted once."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import xai_notebook as xai
from harness import unprivileged, until
from xai_notebook.errors import LibraryError
from xai_notebook.generation.session import close_session, current_session
from xai_notebook.library import Library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Victims
    from numbering_server import NumberingServer

WORKER = """
import xai_notebook as xai
for number in range({count}):
    xai.generate(f"fox {{number}}", reuse=True)
report("done")
import time; time.sleep(60)
"""


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    yield
    xai.configure(home=None)
    close_session()


def in_home(home: Path, *prompts: str, **options: Any) -> list[Any]:
    """Generate images in another library."""
    xai.configure(home=str(home))
    images = [image for prompt in prompts for image in xai.generate(prompt, **options)]
    xai.configure(home=None)
    return images


def spent() -> float:
    return round(sum(row.cost_usd for row in current_session().library().spending.costs()), 10)


def test_merged_pictures_answer_requests(image_server: NumberingServer, tmp_path: Path) -> None:
    """With `reuse`, nothing that a worker has made is sent again; costs are counted once."""
    first = in_home(tmp_path / "a", "a fox", "an owl", reuse=True)
    second = in_home(tmp_path / "b", "a bear", n=2, reuse=True)
    merged = [*xai.merge(tmp_path / "a"), *xai.merge(str(tmp_path / "b"))]
    assert [image.sha256 for image in merged] == [image.sha256 for image in first + second]
    paid = len(image_server.image_counts)
    found = [*xai.generate(each=["a fox", "an owl"], reuse=True)]
    found += xai.generate("a bear", n=2, reuse=True)
    assert [image.sha256 for image in found] == [image.sha256 for image in merged]
    assert all(image.replayed for image in found)
    assert len(image_server.image_counts) == paid
    assert spent() == 0.08
    again = xai.merge(tmp_path / "a")
    assert len(again) == 0
    assert again.notes == ("2 pictures of a were here already.",)
    assert again.summary == "The library already has all pictures of a."
    assert spent() == 0.08


def test_an_edit_keeps_its_lineage(image_server: NumberingServer, tmp_path: Path) -> None:
    (fox,) = in_home(tmp_path / "a", "a fox")
    in_home(tmp_path / "a", "a hat", image=fox)
    xai.merge(tmp_path / "a")
    (hat,) = xai.history("hat")
    assert [image.sha256 for image in hat.lineage] == [fox.sha256, hat.sha256]


def test_replies_of_a_killed_worker_are_taken_from_its_spool(
    image_server: NumberingServer, victims: Victims, tmp_path: Path
) -> None:
    """A reply that was received and not stored is not ordered again."""
    home = tmp_path / "worker"
    setup = (
        "from xai_notebook.library import Library\nLibrary.add_replies = lambda *_: time.sleep(60)"
    )
    worker = victims.start(
        f"import time\n{setup}\n{WORKER.format(count=1)}", XAI_NOTEBOOK_HOME=str(home)
    )
    until(lambda: any(file.stat().st_size > 500 for file in home.glob("spool/*.journal")))
    alive = xai.merge(home)
    assert [image.prompt for image in alive] == ["fox 0"]
    assert any("Another process uses worker" in note for note in alive.notes)
    assert any("Taken from the spool of worker" in note for note in alive.notes)
    worker.kill()
    again = xai.merge(home)
    assert not again
    assert not any("Another process" in note for note in again.notes)
    (found,) = xai.generate("fox 0", reuse=True)
    assert found.replayed
    assert image_server.image_counts == [1]
    xai.configure(home=str(home))
    assert [image.sha256 for image in xai.history()] == [found.sha256]  # its spool is complete
    xai.configure(home=None)
    assert not xai.merge(home)
    assert spent() == 0.02


def test_a_home_is_merged_while_a_worker_fills_it(
    image_server: NumberingServer, victims: Victims, tmp_path: Path
) -> None:
    home = tmp_path / "worker"
    worker = victims.start(WORKER.format(count=40), XAI_NOTEBOOK_HOME=str(home))
    until(lambda: len(image_server.image_counts) > 5)
    taken = [len(xai.merge(home)) for _ in range(5)]
    assert worker.reports.read(4) == b"done"
    taken.append(len(xai.merge(home)))
    assert sum(taken) == 40
    assert taken[0] > 0
    assert len({image.prompt for image in xai.history(n=100)}) == 40
    assert spent() == 0.8


def test_an_interrupted_merge_is_completed(
    image_server: NumberingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt raises at once, also while a transaction waits for the disk."""
    in_home(tmp_path / "a", *(f"fox {number}" for number in range(6)))
    reached, go_on = threading.Event(), threading.Event()
    add = Library.add_replies

    def slow(library: Library, replies: Any) -> Any:
        reached.set()
        go_on.wait(30)
        return add(library, replies)

    monkeypatch.setattr(Library, "add_replies", slow)
    sent: list[float] = []

    def interrupt() -> None:
        reached.wait(30)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        xai.merge(tmp_path / "a")
    assert time.monotonic() - sent[0] < 0.5
    go_on.set()
    until(lambda: len(xai.history()) == 6)  # the transaction that had begun
    assert len(xai.merge(tmp_path / "a")) == 0
    assert len(xai.history()) == 6


def test_a_wrong_folder_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("", "worker", "~/no such folder", "\0"):
        with pytest.raises(LibraryError, match="is not a library"):
            xai.merge(name)
    with pytest.raises(LibraryError, match="library in use"):
        xai.merge(tmp_path / "home")
    assert not (tmp_path / "worker").exists()


def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    xai.history()
    cut_off, private = tmp_path / "cut off", tmp_path / "private"
    for folder in (cut_off, private):
        folder.mkdir(0o700)
        (folder / "library.sqlite3").write_bytes(b"")
    with pytest.raises(LibraryError, match="is empty, as after a copy that was cut off"):
        xai.merge(cut_off)
    private.chmod(0)
    with unprivileged(), pytest.raises(LibraryError, match="belongs to another user"):
        xai.merge(private)


def test_concurrent_merges_of_one_home_double_nothing(
    image_server: NumberingServer, victims: Victims, tmp_path: Path
) -> None:
    in_home(tmp_path / "a", *(f"fox {number}" for number in range(30)))
    code = f"import xai_notebook as xai\nxai.merge({str(tmp_path / 'a')!r})\nreport('merged')"
    started = [victims.start(code) for _ in range(3)]
    assert [each.wait() for each in started] == ["merged"] * 3
    with closing(sqlite3.connect(tmp_path / "home" / "library.sqlite3")) as connection, connection:
        query = "SELECT count(*), count(DISTINCT prompt) FROM requests"
        assert connection.execute(query).fetchone() == (30, 30)
    assert spent() == 0.6
