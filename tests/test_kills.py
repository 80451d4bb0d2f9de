"""`kill -9` at any moment: no picture is missing whose last byte came before.

On a quiet machine that holds for what came 20 ms before, and `KILLS=300 GRACE=0.02 pytest
tests/test_kills.py` says so. On a busy one a process may not run at all for longer than that.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, serve, tiny, until
from xai_notebook.generation.session import Session
from xai_notebook.library.storage.lock import is_alive
from xai_notebook.library.storage.spool import Spool
from xai_notebook.server import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Served

KILLS = int(os.environ.get("KILLS", "20"))
GRACE = float(os.environ.get("GRACE", "0.3"))
"""Seconds between the last byte of a reply and the kill."""
SIZE = 100_000
MODES = {
    "single": "for i in range(10_000): session.generate(f'{tag} {i}', n=2)",
    "each": "session.generate(each=prompts)",
    "url": "session.generate(each=prompts, format='url')",
    "rewrite": "session.generate(each=prompts, rewrite='chat')",
}
VICTIMS = """
import os, signal, sys
import grpc, requests, xai_notebook.library, xai_notebook.pictures.pixels, xai_notebook.client
import xai_notebook.generation.generator
import xai_notebook.arguments.options, xai_notebook.generation.backends
from xai_notebook.generation.session import Session

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a victim that has ended leaves no zombie
for line in sys.stdin:
    tag, home, code = line.rstrip().split("|")
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ["XAI_NOTEBOOK_HOME"] = home
    session = Session()
    session.configured = lambda: {"rate": 0}
    prompts = [f"{tag} {i}" for i in range(2000)]
    exec(code)
    os._exit(0)
"""
"""Forks before gRPC is used: a victim is there in milliseconds."""


@dataclass
class Numbered(Faults):
    """Every picture is another one."""

    garbage: Any = field(init=False, default=None)
    sent: set[str] = field(init=False, default_factory=set)

    def __getattribute__(self, name: str) -> Any:
        """Return a new picture each time."""
        if name != "garbage":
            return super().__getattribute__(name)
        data = tiny() + os.urandom(SIZE)
        self.sent.add(hashlib.sha256(data).hexdigest())
        return data


@contextlib.contextmanager
def victims() -> Iterator[subprocess.Popen[str]]:
    """Run the process whose children are killed."""
    command = [sys.executable, "-W", "ignore", "-c", VICTIMS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def kill(process: subprocess.Popen[str], served: Served, line: str, seconds: float) -> float:
    """Start a victim, kill it so long after its first call; return when, on the monotonic clock."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(line + "\n")
    process.stdin.flush()
    child = int(process.stdout.readline())
    tag = line.partition("|")[0]
    until(lambda: any(of(call, tag) for call in served.calls), 60)
    time.sleep(seconds)
    killed = time.monotonic()
    os.kill(child, signal.SIGKILL)
    until(lambda: not is_alive(child))  # a write to the disk is finished first
    return killed


def of(call: Any, tag: str) -> bool:
    return f"{tag} " in call.message.prompt


def stored(session: Session) -> Counter[str]:
    """Return how many pictures the library has of each prompt, or can still fetch."""
    session.history.search()
    with session.library()._database.reading() as connection:
        rows = connection.execute(
            "SELECT prompt FROM requests JOIN images ON request_id = requests.id "
            "WHERE status IN ('ok', 'pending')"
        )
        return Counter(prompt for (prompt,) in rows)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.timeout(30 * KILLS)
def test_nothing_that_came_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single calls, many prompts, URLs and rewrites, killed at random moments."""
    chance = random.Random(1)
    came, lost, early = 0, [], 0
    numbered = Numbered()
    with serve(faults=numbered) as served:
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", served.address)
        with victims() as process:
            for number, mode in zip(range(KILLS), itertools.cycle(MODES)):
                tag, home = f"Fox{number}", tmp_path / f"{number}"
                line = f"{tag}|{home}|{MODES[mode]}"
                killed = kill(process, served, line, chance.uniform(0, 0.6))
                until(lambda: all(call.ended for call in served.calls))
                calls = [call for call in served.calls if of(call, tag) and call.status == "OK"]
                monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
                with contextlib.closing(Session()) as session:
                    found = stored(session)
                    shown = {image.sha256 for image in session.history.search(n=100_000)}
                assert shown <= numbered.sent
                assert not list(Spool(home / "spool").waiting())  # what is left, is half a file
                for call in calls:
                    assert call.ended is not None
                    missing = call.message.n - found[call.message.prompt]
                    if call.ended <= killed - GRACE:
                        came += call.message.n
                        lost += [(mode, round(killed - call.ended, 3))] * missing
                    else:
                        early += missing
    print(f"{KILLS} kills: {came} pictures, lost: {lost}; {early} came too late to count")
    assert came >= KILLS
    assert lost == []
