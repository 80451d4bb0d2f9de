"""Many prompts: rate limits, kills, memory and size."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from harness import CENT, start_kernel, tiny, until
from xai_notebook import errors
from xai_notebook.client.request import ImageRequest
from xai_notebook.client.transport import retry
from xai_notebook.generation import call as calls
from xai_notebook.generation import generator
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import ImageBatch
from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Served
    from xai_notebook.generation.session import Session

FAST = {"rate": 0, "concurrency": 10}


def seen(server: Served) -> Counter[str]:
    """Return how often the server was asked for each prompt."""
    return Counter(call.message.prompt for call in server.calls)


# Failures


def test_a_rate_limit_holds_all_back(session: Session, quick: Served) -> None:
    """One refusal pauses every worker, and every prompt is answered in the end."""
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    quick.faults.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    quick.faults.delay = 0.02
    batch = session.generate(each=[f"p{i}" for i in range(30)])
    assert isinstance(batch, ImageBatch)
    assert len(batch.ok) == 30
    refused = next(call.ended for call in quick.calls if call.status == "RESOURCE_EXHAUSTED")
    assert refused is not None
    waits = [call.started - refused for call in quick.calls]
    # The call's own second attempt comes after half a second; the others wait for a whole one.
    assert sum(0.3 < wait < 0.8 for wait in waits) <= 1
    assert max(waits) > 0.8


def test_a_used_up_quota_ends_the_run(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends if a rate limit lets nothing through."""
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


# Kills and interrupts


def test_a_killed_run_goes_on_where_it_was(quick: Served, tmp_path: Path) -> None:
    """Killed after 40 of 100 prompts and run again: only requests under way are sent twice."""
    quick.faults.delay = 0.05
    variables = {"XAI_API_HOST": quick.address}
    load = (
        "%load_ext xai_notebook\n%config XaiImage.rate = 0\nprompts = [f'p{i}' for i in range(100)]"
    )
    with start_kernel(tmp_path / "k", **variables) as kernel:
        kernel.run(load)
        kernel.start("%xai_image --each prompts")
        until(lambda: len(quick.calls) >= 40, 30)
        kernel.kill()
        until(lambda: all(call.ended for call in quick.calls))
        at_kill = len(quick.calls)
    with start_kernel(tmp_path / "k", **variables) as kernel:
        kernel.run(load)
        outcome = kernel.run("%xai_image --each prompts --as foxes")
        assert outcome.error is None
        assert outcome.stderr == ""
        assert "100 of 100 prompts" in outcome.html[-1]
        replayed = int(kernel.run("sum(i.replayed for i in foxes)").text[0])
    counts = seen(quick)
    twice = [prompt for prompt, count in counts.items() if count > 1]
    assert set(counts) == {f"p{i}" for i in range(100)}
    assert max(counts.values()) <= 2
    assert len(twice) <= 8  # four under way at the server, four on their way to the disk
    assert replayed == 100 - (sum(counts.values()) - at_kill)


# Size


def test_memory_stays_flat(session: Session, quick: Served) -> None:
    """Images are on disk, not in memory."""
    import tracemalloc

    session.configured = lambda: {"rate": 0, "concurrency": 8}
    quick.faults.min_bytes = 400_000
    call = session.prepare(None, {"each": [f"p{i}" for i in range(60)]})
    marks: dict[int, int] = {}

    class Results(dict[int, Any]):
        def __setitem__(self, number: int, pictures: Any) -> None:
            super().__setitem__(number, pictures)
            marks[len(self)] = tracemalloc.get_traced_memory()[0]

    call.progress.results = Results()
    tracemalloc.start()
    try:
        session.loop.run(session.run(call))
    finally:
        tracemalloc.stop()
    assert marks[60] - marks[30] < 4_000_000
    assert all(image.cached is None for image in call.progress.collected())


def test_ten_thousand_prompts_fit_in_a_notebook(
    session: Session, quick: Served, tmp_path: Path
) -> None:
    """They are replayed in seconds, shown as 24 cards and a count."""
    prompts = [f"a fox in field {i}" for i in range(10_000)]
    session.configured = lambda: {"rate": 0, "concurrency": 32}
    session.generate(each=prompts[:1])
    with sqlite3.connect(session.library().home / "library.sqlite3") as connection:
        _multiply(connection, prompts)
    connection.close()
    started = time.monotonic()
    batch = session.generate(each=prompts)
    bundle = batch._repr_mimebundle_()
    seconds = time.monotonic() - started
    assert isinstance(batch, ImageBatch)
    assert len(batch.ok) == 10_000
    assert len(quick.calls) == 2  # the first prompt was made in this kernel before
    html = bundle["text/html"]
    assert html.count("<img") == 24
    assert "and 9,976 more" in html
    assert "10000 of 10000 prompts" in html
    assert len(html) < 100_000
    assert seconds < 30
    assert len(batch.to_frame()) == 10_000


def _multiply(connection: sqlite3.Connection, prompts: Sequence[str]) -> None:
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
    """Failures have their cause."""
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    quick.faults.cost_ticks = 7 * CENT
    quick.faults.failures = [None, (grpc.StatusCode.INVALID_ARGUMENT, "not this one")]
    batch = session.generate(each=["a", "b", "c"])
    assert isinstance(batch, ImageBatch)
    frame = batch.to_frame()
    assert sorted(frame["status"]) == ["failed", "ok", "ok"]
    assert list(frame["prompt"]) == ["a", "b", "c"]
    assert list(frame["cost_usd"].dropna()) == [0.07, 0.07]
    assert "not this one" in frame["error"][frame["status"] == "failed"].item()
    assert all(Path(path).read_bytes() == tiny() for path in frame["path"].dropna())


def test_one_bad_reply_does_not_spoil_the_others(session: Session, quick: Served) -> None:
    """A reply whose file cannot be written fails; those saved with it are stored."""
    from xai_notebook.library import Reply

    library = session.library()
    good, bad = tiny(1), tiny(2)
    blocked = library.blobs.path(hashlib.sha256(bad).hexdigest(), "image/jpeg")
    blocked.mkdir(parents=True)  # a folder stands where the file should
    replies = []
    for number, data in enumerate([good, bad]):
        request = ImageRequest(f"p{number}", "m")
        replies.append(
            Reply(
                request, [Picture(request=request)], [data], fingerprint=f"{number}",
                backend="xai", host="h", notebook=None, cost_usd=None, model="m",
            )
        )  # fmt: skip
    first, second = library.add_replies(replies)
    assert not isinstance(first, errors.LibraryError)
    assert isinstance(second, errors.LibraryError)
    assert [image.data for image in library.find("0")] == [good]
    assert library.find("1") == []
