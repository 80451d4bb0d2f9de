"""`kill -9` at the instant at which a reply has arrived."""

from __future__ import annotations

import hashlib
import random
import time
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from harness import tiny, until
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

def reporting(letter, function):
    def wrapper(*arguments, **options):
        result = function(*arguments, **options)
        report(letter)
        return result
    return wrapper

spool.Spool.write = reporting("a", spool.Spool.write)  # the first step after a reply has arrived
library.Library.add_replies = reporting("s", library.Library.add_replies)
library.Library.complete = reporting("c", library.Library.complete)
pixels.preview = reporting("p", pixels.preview)
Session().generate({prompt!r}, n=3, format={format!r})._repr_mimebundle_()
time.sleep(60)
"""


def check(home: Path, letters: str, sent: bytes) -> int:
    """Check the library of a killed process; return its number of pictures.

    Args:
        home: The folder of the library.
        letters: A letter for each completed step: (a)rrived, (s)aved, (c)ompleted by a download,
            (p)reviewed.
        sent: The bytes of each picture.
    """
    for file in (home / "images").glob("??/*"):
        assert file.read_bytes() == sent
        assert hashlib.sha256(sent).hexdigest() == file.stem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library = Library.open(home)
    with library.database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        rows = connection.execute("SELECT sha256, status, url FROM images").fetchall()
    pictures = library.history()
    assert {picture.data for picture in pictures} <= {sent}
    assert len(pictures) == sum(row["status"] == "ok" for row in rows)
    assert len(rows) in {0, 3}  # the whole reply or nothing
    assert all(row["url"] for row in rows if row["status"] == "pending")
    if "s" in letters:
        assert len(rows) == 3
    if "p" in letters:  # an image is decoded after it was saved
        assert len(pictures) == 3
    assert letters.count("c") <= len(pictures)
    library.close()
    return len(rows)


@pytest.mark.timeout(300)
def test_a_kill_when_a_reply_arrives_loses_no_picture(
    keyed: Served, victims: Victims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library then has the whole reply or nothing of it; the next kernel shows the pictures.

    The next kernel sends nothing again, and adds no note.
    """
    keyed.faults.garbage = sent = tiny(5) + bytes(300_000)
    trials = [(f"fox {number}", ("base64", "url")[number % 2]) for number in range(TRIALS)]
    rows = []
    for prompt, format_ in trials:
        home = tmp_path / prompt
        victim = victims.start(
            VICTIM.format(prompt=prompt, format=format_), XAI_NOTEBOOK_HOME=str(home)
        )
        letters = victim.reports.read(1).decode()
        assert letters == "a"
        time.sleep(random.Random(prompt).uniform(0, 0.05))
        victim.kill()
        rows.append(check(home, letters + victim.wait(), sent))
    assert any(rows), "every kill came before the reply was stored"
    until(lambda: all(call.ended for call in keyed.calls))
    for prompt, format_ in trials:
        monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / prompt))
        with closing(Session()) as session:
            batch: Any = session.generate(prompt, n=3, format=format_)
        assert [image.data for image in batch] == [sent] * 3
        assert batch.notes == ()
    assert len(keyed.calls) == TRIALS
