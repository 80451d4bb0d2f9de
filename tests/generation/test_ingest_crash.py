"""`kill -9` at the instant at which a reply has arrived."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import select
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from harness import serve, settings_of, tiny, until, victims
from xai_notebook.generation.session import Session
from xai_notebook.library import Library

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served, Victims

TRIALS = 8
VICTIM = """
from xai_notebook import library
from xai_notebook.pictures import pixels
from xai_notebook.library.storage import spool

pipe = os.open({pipe!r}, os.O_WRONLY)

def tell(letter, function):
    def told(*arguments, **options):
        result = function(*arguments, **options)
        os.write(pipe, letter)
        return result
    return told

spool.Spool.write = tell(b"a", spool.Spool.write)  # the first thing that happens to a reply
library.Library.add_replies = tell(b"s", library.Library.add_replies)
library.Library.complete = tell(b"c", library.Library.complete)
pixels.preview = tell(b"p", pixels.preview)
session = Session()
batch = session.generate({prompt!r}, n=3, format={format!r})
batch._repr_mimebundle_()
time.sleep(60)
"""


def attempt(rig: Victims, folder: Path, served: Served, number: int, format_: str) -> str:
    """Kill a process after its reply came.

    Returns:
        A letter for each step it had done: reply arrived, saved, downloaded (c), previewed.
    """
    folder.mkdir()
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def read(seconds: float) -> str:
        ready, _, _ = select.select([reading], [], [], seconds)
        return os.read(reading, 1000).decode() if ready else ""

    try:
        victim = rig.start(
            VICTIM.format(pipe=str(pipe), prompt=f"fox {number}", format=format_),
            XAI_API_HOST=served.address,
            XAI_NOTEBOOK_HOME=str(folder / "home"),
        )
        letters = until(lambda: read(1))
        assert letters.startswith("a")
        time.sleep(random.Random(number).uniform(0, 0.05))
        rig.kill(victim)
        while more := read(0):
            letters += more
        return str(letters)
    finally:
        os.close(reading)


def check(home: Path, letters: str, sent: bytes) -> int:
    """Check the library of a killed process; return its number of pictures."""
    for file in (home / "images").glob("??/*"):
        assert file.read_bytes() == sent
        assert hashlib.sha256(sent).hexdigest() == file.stem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library = Library.open(home)
    with library.database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        rows = connection.execute("SELECT sha256, status, url FROM images").fetchall()
    found = library.history()
    assert {image.data for image in found} <= {sent}
    assert len(found) == sum(row["status"] == "ok" for row in rows)
    assert len(rows) in {0, 3}  # the whole reply, or none of it
    assert all(row["url"] for row in rows if row["status"] == "pending")
    if "s" in letters:
        assert len(rows) == 3
    if "p" in letters:  # an image is decoded after it was saved
        assert len(found) == 3
    assert letters.count("c") <= len(found)
    library.close()
    return len(rows)


@pytest.mark.timeout(300)
def test_a_kill_at_the_instant_of_the_reply(tmp_path: Path) -> None:
    """It leaves a whole reply in the library or none of it, and the next kernel shows the pictures.

    It sends nothing again, and adds no note.
    """
    kinds = list(itertools.islice(itertools.cycle(["base64", "url"]), TRIALS))
    with serve() as served, victims("import time") as rig:
        served.faults.garbage = sent = tiny(5) + bytes(300_000)

        outcomes = []
        for number in range(TRIALS):
            folder = tmp_path / f"{number}"
            letters = attempt(rig, folder, served, number, kinds[number])
            outcomes.append((letters, check(folder / "home", letters, sent)))
        until(lambda: all(call.ended for call in served.calls))
        for number in range(TRIALS):
            variables = {
                "XAI_API_HOST": served.address,
                "XAI_NOTEBOOK_HOME": str(tmp_path / f"{number}" / "home"),
            }
            calls = len(served.calls)
            session = Session(settings_of(**variables))
            batch: Any = session.generate(f"fox {number}", n=3, format=kinds[number])
            assert [image.data for image in batch] == [sent] * 3
            assert batch.notes == ()
            assert len(served.calls) == calls
            session.close()
    saved = [rows > 0 for _, rows in outcomes]
    assert any(saved), "every kill came before the library"
