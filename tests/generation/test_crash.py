"""`kill -9` of a real kernel at the instant the reply has arrived."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import select
import signal
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from harness import serve, settings_of, start_kernel, tiny, until
from xai_notebook.generation.session import Session
from xai_notebook.library import Library

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Kernel, Served

TRIALS = 8
WATCHED = """
import os
%load_ext xai_notebook
import xai_notebook as xai
from xai_notebook import library
from xai_notebook.pictures import pixels
from xai_notebook.library.storage import spool
from xai_notebook.generation.session import current_session

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
current_session().models()  # the connection is open
current_session().library()
"""


class Victim:
    """A kernel that writes a letter into a pipe when a reply arrives, is saved, is previewed."""

    def __init__(self, kernel: Kernel, pipe: int) -> None:
        """Listen."""
        self.kernel = kernel
        self._pipe = pipe

    def heard(self, seconds: float) -> str:
        """Return the letters that come, at the latest after `seconds`."""
        ready, _, _ = select.select([self._pipe], [], [], seconds)
        return os.read(self._pipe, 1000).decode() if ready else ""

    def kill(self) -> str:
        """End it as the kernel of the machine does, and return its last letters."""
        provisioner: Any = self.kernel.manager.provisioner
        os.kill(provisioner.pid, signal.SIGKILL)
        until(lambda: provisioner.process.poll() is not None)
        last = ""
        while letters := self.heard(0.0):
            last += letters
        return last


def attempt(folder: Path, served: Served, number: int, format_: str) -> str:
    """Kill a kernel after its reply came; return how far it had got, in letters."""
    folder.mkdir()
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    variables = {"XAI_API_HOST": served.address, "XAI_NOTEBOOK_HOME": str(folder / "home")}
    try:
        with start_kernel(folder / "k", **variables) as kernel:
            outcome = kernel.run(WATCHED.format(pipe=str(pipe)))
            assert outcome.error is None, outcome.traceback
            victim = Victim(kernel, reading)
            kernel.start(f"%xai_image --format {format_} -n 3 fox {number}")
            letters = victim.heard(30)
            assert letters.startswith("a")
            time.sleep(random.Random(number).uniform(0, 0.05))
            return letters + victim.kill()
    finally:
        os.close(reading)


def check(home: Path, letters: str, sent: bytes) -> int:
    """Look at what a killed kernel left; return how many pictures its library has."""
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
    assert len(rows) in {0, 3}  # the whole reply, or nothing of it
    assert all(row["url"] for row in rows if row["status"] == "pending")
    if "s" in letters:
        assert len(rows) == 3
    if "p" in letters:  # nothing is looked at before it is saved
        assert len(found) == 3
    assert letters.count("c") <= len(found)
    library.close()
    return len(rows)


@pytest.mark.timeout(300)
def test_a_kill_at_the_instant_of_the_reply(tmp_path: Path) -> None:
    """Kernels that are killed at random moments behind a reply leave whole rows or none.

    The next one goes on without a word, has the pictures, and asks for none of them again.
    """
    kinds = list(itertools.islice(itertools.cycle(["base64", "url"]), TRIALS))
    with serve() as served:
        served.faults.garbage = sent = tiny(5) + bytes(300_000)

        outcomes = []
        for number in range(TRIALS):
            folder = tmp_path / f"{number}"
            letters = attempt(folder, served, number, kinds[number])
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
