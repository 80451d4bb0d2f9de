"""Many prompts: rate limits, memory and size."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from harness import CENT, tiny
from xai_notebook import errors
from xai_notebook.client.request import ImageRequest
from xai_notebook.client.transport import retry
from xai_notebook.generation import call as calls
from xai_notebook.generation import generator
from xai_notebook.pictures.results import ImageBatch
from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Served
    from xai_notebook.generation.session import Session


# Failures


def test_a_rate_limit_pauses_all_workers(session: Session, quick: Served) -> None:
    """Every prompt is answered in the end."""
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    quick.faults.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    quick.faults.delay = 0.02
    batch = session.generate(each=[f"p{i}" for i in range(30)])
    assert isinstance(batch, ImageBatch)
    assert len(batch.ok) == 30
    refused_at = next(call.ended for call in quick.calls if call.status == "RESOURCE_EXHAUSTED")
    assert refused_at is not None
    waits = [call.started - refused_at for call in quick.calls]
    # The call's own second attempt comes after half a second; the others wait for a whole second.
    assert sum(0.3 < wait < 0.8 for wait in waits) <= 1
    assert max(waits) > 0.8


def test_a_rate_limit_without_any_success_ends_the_run(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(calls, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(generator, "_ROUNDS", 2)
    backoff = {grpc.StatusCode.RESOURCE_EXHAUSTED: retry.Backoff(0.01, 0.01)}
    monkeypatch.setattr(retry, "_BACKOFF", backoff)
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    quick.faults.fail_when = lambda *_: (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota used up")
    with pytest.raises(errors.RateLimitError, match="quota used up"):
        session.generate(each=[f"p{i}" for i in range(100)])
    assert len(quick.calls) < 50


# Size


def test_memory_stays_flat(session: Session, quick: Served) -> None:
    """Images are on disk, not in memory."""
    import tracemalloc

    session.configured = lambda: {"rate": 0, "concurrency": 8}
    quick.faults.min_bytes = 400_000
    call = session.prepare(None, {"each": [f"p{i}" for i in range(60)]})
    memory: dict[int, int] = {}

    class Results(dict[int, Any]):
        def __setitem__(self, number: int, pictures: Any) -> None:
            super().__setitem__(number, pictures)
            memory[len(self)] = tracemalloc.get_traced_memory()[0]

    call.progress.results = Results()
    tracemalloc.start()
    try:
        session.loop.run(session.run(call))
    finally:
        tracemalloc.stop()
    assert memory[60] - memory[30] < 4_000_000
    assert all(image.cached is None for image in call.progress.collect_pictures())


def test_10_000_prompts_fit_in_a_notebook(session: Session, quick: Served, tmp_path: Path) -> None:
    """They are replayed in seconds, and shown as 24 cards and the number of the others."""
    prompts = [f"a fox in field {i}" for i in range(10_000)]
    session.configured = lambda: {"rate": 0, "concurrency": 32}
    session.generate(each=prompts[:1])
    with sqlite3.connect(session.library().home / "library.sqlite3") as connection:
        copy_first_answer(connection, prompts)
    connection.close()
    started = time.monotonic()
    batch = session.generate(each=prompts)
    bundle = batch._repr_mimebundle_()
    seconds = time.monotonic() - started
    assert isinstance(batch, ImageBatch)
    assert len(batch.ok) == 10_000
    assert len(quick.calls) == 2  # the first prompt takes its second slot in this kernel
    html = bundle["text/html"]
    assert html.count("<img") == 24
    assert "and 9,976 more" in html
    assert "10000 of 10000 prompts" in html
    assert len(html) < 100_000
    assert seconds < 30
    assert len(batch.to_frame()) == 10_000


def copy_first_answer(connection: sqlite3.Connection, prompts: Sequence[str]) -> None:
    """Copy the first answer to all other prompts."""
    host = connection.execute("SELECT host FROM requests").fetchone()[0]
    for table, changed in (
        ("requests", {"id", "fingerprint", "prompt"}),
        ("images", {"id", "request_id"}),
    ):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        kept = [name for name in columns if name not in {*changed, "reply_id"}]
        rows = (
            (number, ImageRequest(prompt, DEFAULT_MODEL).fingerprint("xai", host), prompt)
            if table == "requests"
            else (number, number)
            for number, prompt in enumerate(prompts[1:], 2)
        )
        names = ["id", "fingerprint", "prompt"] if table == "requests" else ["id", "request_id"]
        connection.executemany(
            f"INSERT INTO {table} ({', '.join([*names, *kept])}) "
            f"SELECT {', '.join('?' for _ in names)}, {', '.join(kept)} FROM {table} WHERE id = 1",
            rows,
        )


# Results


def test_a_frame_has_a_row_for_each_image(session: Session, quick: Served) -> None:
    """The row of a failure contains its cause."""
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    quick.faults.cost_ticks = 7 * CENT
    quick.faults.failures = [None, (grpc.StatusCode.INVALID_ARGUMENT, "not this one")]
    batch = session.generate(each=["a", "b", "c"])
    assert isinstance(batch, ImageBatch)
    frame = batch.to_frame()
    assert sorted(frame["status"]) == ["failed", "ok", "ok"]
    assert list(frame["prompt"]) == ["a", "b", "c"]
    assert sorted(frame["cost_usd"]) == [0.0, 0.07, 0.07]
    assert "not this one" in frame["error"][frame["status"] == "failed"].item()
    assert all(Path(path).read_bytes() == tiny() for path in frame["path"].dropna())
