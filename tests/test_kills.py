"""`kill -9` at any moment loses no picture that arrived at least `GRACE` seconds earlier.

On a quiet machine, 20 ms are enough: `KILLS=300 GRACE=0.02 pytest tests/test_kills.py`. On a busy
machine, a process may wait longer for the processor.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, serve, tiny, until
from xai_notebook.generation.session import Session
from xai_notebook.library.storage.spool import Spool
from xai_notebook.server import Faults

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Victims

KILLS = int(os.environ.get("KILLS", "20"))
GRACE = float(os.environ.get("GRACE", "0.3"))
"""Minimum seconds from the last byte of a reply to the kill, for a reply that counts."""
SIZE = 100_000
MODES = {
    "single": "for i in range(10_000): session.generate(f'{tag} {i}', n=2)",
    "each": "session.generate(each=prompts)",
    "url": "session.generate(each=prompts, format='url')",
    "rewrite": "session.generate(each=prompts, rewrite='chat')",
}
VICTIM = """
session = Session()
session.configured = lambda: {{'rate': 0}}
tag = {tag!r}
prompts = [f"{{tag}} {{i}}" for i in range(2000)]
{mode}
"""


@dataclass
class DifferentPictures(Faults):
    """Faults that make each picture different from all others."""

    garbage: Any = field(init=False, default=None)
    sent: set[str] = field(init=False, default_factory=set)

    def __getattribute__(self, name: str) -> Any:
        """Return a new picture each time."""
        if name != "garbage":
            return super().__getattribute__(name)
        data = tiny() + os.urandom(SIZE)
        self.sent.add(hashlib.sha256(data).hexdigest())
        return data


def has_tag(call: Any, tag: str) -> bool:
    return f"{tag} " in call.message.prompt


def count_stored(session: Session) -> Counter[str]:
    """Return the number of pictures of each prompt that the library has or can still download."""
    session.history.search()
    with session.library().database.reading() as connection:
        rows = connection.execute(
            "SELECT prompt FROM requests JOIN images ON request_id = requests.id "
            "WHERE status IN ('ok', 'pending')"
        )
        return Counter(prompt for (prompt,) in rows)


@pytest.mark.timeout(30 * KILLS)
def test_a_kill_loses_no_received_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victims: Victims
) -> None:
    """Single calls, many prompts, URLs and rewrites, killed at random moments."""
    chance = random.Random(1)
    received, lost, too_late = 0, [], 0
    faults = DifferentPictures()
    with serve(faults=faults) as served:
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", served.address)
        for number, mode in zip(range(KILLS), itertools.cycle(MODES)):
            tag, home = f"Fox{number}", tmp_path / f"{number}"
            monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
            victim = victims.start(VICTIM.format(tag=tag, mode=MODES[mode]))
            until(lambda tag=tag: any(has_tag(call, tag) for call in served.calls))  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.6))
            killed = victim.kill()
            until(lambda: all(call.ended for call in served.calls))
            calls = [call for call in served.calls if has_tag(call, tag) and call.status == "OK"]
            with contextlib.closing(Session()) as session:
                stored = count_stored(session)
                shown = {image.sha256 for image in session.history.search(n=100_000)}
            assert shown <= faults.sent
            assert not list(Spool(home / "spool").waiting())  # incomplete entries do not count
            for call in calls:
                assert call.ended is not None
                missing = call.message.n - stored[call.message.prompt]
                if call.ended <= killed - GRACE:
                    received += call.message.n
                    lost += [(mode, round(killed - call.ended, 3))] * missing
                else:
                    too_late += missing
    print(f"{KILLS} kills: {received} pictures, lost: {lost}; {too_late} came too late to count")
    assert received >= KILLS
    assert lost == []
