"""`--reuse`: any stored image of an equal request answers, and missing ones are made once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import xai_notebook as xai
from harness import until
from numbering_server import reuse
from xai_notebook.arguments.options import resolve
from xai_notebook.errors import JobError, LibraryError, OptionError
from xai_notebook.generation.session import Session, close_session, current_session
from xai_notebook.library import Library
from xai_notebook.library.storage.database import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Kernels, Served, Victims
    from numbering_server import Notebooks, NumberingServer

PROMPTS = ["a fox", "an owl", "a hare"]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the session of this process, which these tests use as programs do."""
    yield
    close_session()


def digests(batch: Any) -> list[str | None]:
    return [image.sha256 for image in batch]


# Other notebooks and slots


def test_any_stored_picture_answers(
    notebook: Notebooks, image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be from another notebook and slot, and also answers when the cell runs again."""
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    book = notebook("xai.generate('a fox')", "shown += xai.generate('a fox')")
    (second,) = book.run()
    monkeypatch.setenv("JPY_SESSION_NAME", "b.ipynb")
    other = notebook("shown += xai.generate('a fox', reuse=True)")
    assert other.rerun() == other.run() == other.run() == [second]
    magic = notebook("%xai_image --reuse --as fox a fox\nshown += fox")
    assert magic.rerun() == magic.run() == [second]
    assert magic.shell.user_ns["fox"][0].replayed
    assert image_server.image_counts == [1, 1]


def test_reuse_takes_no_slot(notebook: Notebooks, image_server: NumberingServer) -> None:
    call = "shown += xai.generate('a fox'{})"
    book = notebook(call.format(""), call.format(""))
    first, second = book.run()
    book.cells.insert(1, call.format(", reuse=True"))
    assert book.rerun() == [first, second, second]
    assert image_server.image_counts == [1, 1]


def test_only_missing_images_are_made(notebook: Notebooks, image_server: NumberingServer) -> None:
    """Two of four are stored in two slots; later the same four answer."""
    book = notebook(*["shown += xai.generate('a fox')"] * 2)
    two = book.run()
    four = notebook("shown += xai.generate('a fox', n=4, reuse=True)")
    images = four.rerun()
    assert {*two} < {*images}
    assert len({*images}) == 4
    assert four.run() == four.rerun() == images
    assert book.rerun() == two
    assert image_server.image_counts == [1, 1, 2]


def test_replaced_images_answer(notebook: Notebooks, image_server: NumberingServer) -> None:
    book = notebook("shown += xai.generate('a fox')")
    first, second = book.run(), book.run()
    assert digests(xai.generate("a fox", n=2, reuse=True)) == second + first
    assert image_server.image_counts == [1, 1]


def test_images_in_the_trash_do_not_answer(image_server: NumberingServer) -> None:
    first = xai.generate("a fox", reuse=True)
    first.delete()
    second, third = (xai.generate("a fox", reuse=True) for _ in range(2))
    assert digests(first) != digests(second) == digests(third)
    assert image_server.image_counts == [1, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"each": ["a fox", "an owl", "a fox", "a fox", "an owl"]},
        {"prompt": "a {fox|owl|fox}", "matrix": True},
        {"prompt": "a fox", "model": ["one", "two", "one"]},
    ],
    ids=["each", "matrix", "models"],
)
def test_equal_requests_of_one_call_are_made_once(
    image_server: NumberingServer, options: dict[str, Any]
) -> None:
    """Each distinct request is sent once; equal ones show the same picture."""
    current_session().configured = lambda: {"rate": 0}
    first = xai.generate(reuse=True, **options)
    distinct = len({(image.prompt, image.request.model) for image in first})
    assert distinct == len({*digests(first)}) == len(image_server.image_counts)
    assert digests(xai.generate(reuse=True, **options)) == digests(first)
    assert len(image_server.image_counts) == distinct


def test_an_edit_is_made_once(image_server: NumberingServer) -> None:
    fox = xai.generate("a fox", reuse=True)[0]
    hats = [fox.edit("a hat", reuse=True) for _ in range(3)]
    assert len({*map(str, map(digests, hats))}) == 1
    assert image_server.image_counts == [1, 1]


# Concurrent calls


def release_the_first_call(image_server: NumberingServer) -> None:
    """Wait for the first call, then let the server reply."""
    until(lambda: image_server.waiting_calls == 1)
    image_server.replies_left = None


def generate_together(image_server: NumberingServer, count: int) -> list[Any]:
    """Make the same call in `count` tasks; the server replies once the first call has arrived."""
    image_server.replies_left = 0

    async def generate() -> list[Any]:
        batches = asyncio.gather(*(xai.agenerate("a fox", reuse=True) for _ in range(count)))
        await asyncio.to_thread(release_the_first_call, image_server)
        return list(await batches)

    return asyncio.run(generate())


def test_threads_share_an_image(image_server: NumberingServer) -> None:
    image_server.replies_left = 0
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(reuse, PROMPTS) for _ in range(8)]
        release_the_first_call(image_server)
        assert len({tuple(future.result()) for future in futures}) == 1
    assert image_server.image_counts == [1] * 3


def test_tasks_share_an_image(image_server: NumberingServer) -> None:
    """Tasks that waited for the image get it marked as replayed."""
    batches = generate_together(image_server, 20)
    assert len({batch[0].sha256 for batch in batches}) == 1
    assert sum(batch[0].replayed for batch in batches) == 19
    assert image_server.image_counts == [1]


def test_processes_share_an_image(image_server: NumberingServer, tmp_path: Path) -> None:
    """Four spawned processes, as with Dask and Ray; they leave no lock behind."""
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        shown = list(pool.map(reuse, [PROMPTS, PROMPTS[::-1], PROMPTS, PROMPTS[::-1]]))
    assert shown[0] == shown[1][::-1] == shown[2] == shown[3][::-1]
    assert image_server.image_counts == [1] * 3
    assert [*(tmp_path / "home" / "locks").iterdir()] == []


GENERATE = 'import xai_notebook as xai; xai.generate("a fox", reuse=True)'
STOP_AT_THE_REPLY = """
def save(self, replies):
    report("arrived")
    time.sleep(600)
xai_notebook.library.Library.add_replies = save
"""


@pytest.mark.parametrize("when", ["requested", "arrived"])
def test_a_waiting_call_takes_over_from_a_killed_one(
    image_server: NumberingServer, victims: Victims, when: str
) -> None:
    """The waiting call requests the image, unless the image had arrived before the kill."""
    current_session().library()  # opening a library imports replies of killed processes
    image_server.replies_left = 1 if when == "arrived" else 0
    with ThreadPoolExecutor(1) as pool:
        if when == "arrived":
            victim = victims.start(STOP_AT_THE_REPLY + GENERATE)
            assert victim.reports.read(7) == b"arrived"
        else:
            victim = victims.start(GENERATE)
            until(lambda: image_server.waiting_calls == 1)
        waiting = pool.submit(reuse, ["a fox"])
        assert wait([waiting], 0.3).not_done
        victim.kill()
        image_server.replies_left = None
        assert waiting.result(60) is not None
    # A server may continue the request of a killed client.
    assert len(image_server.image_counts) <= (2 if when == "requested" else 1)


MANY = """
import xai_notebook as xai
xai.configure(rate=0, concurrency=24)
xai.generate(each=[f"fox {number}" for number in range(48)], reuse=True)
"""


def test_many_requests_of_a_killed_process_are_taken_over(
    image_server: NumberingServer, victims: Victims
) -> None:
    """More of them than threads: each waits until the dead process' replies are stored."""
    image_server.replies_left = 12
    victim = victims.start(MANY)
    until(lambda: image_server.waiting_calls == 24)
    victim.kill()
    image_server.replies_left = None
    assert victims.start(MANY).wait() == ""
    assert len(xai.history(n=None)) == 48
    # A server may continue the requests of a killed client.
    assert 48 <= len(image_server.image_counts) <= 48 + 24


def test_a_waiting_call_takes_over_from_a_failed_one(image_server: NumberingServer) -> None:
    """The first call raises, the second makes the picture, the third replays it."""
    image_server.failures = [grpc.StatusCode.INVALID_ARGUMENT]

    async def generate() -> list[Any]:
        calls = (xai.agenerate("a fox", reuse=True) for _ in range(3))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    results = asyncio.run(generate())
    assert sum(isinstance(result, Exception) for result in results) == 1
    assert image_server.image_counts == [1]


def test_waiting_for_another_process_can_be_interrupted(
    image_server: NumberingServer, victims: Victims
) -> None:
    """The kernel is free at once, and the other process continues."""
    image_server.replies_left = 0
    process = victims.start(GENERATE)
    until(lambda: image_server.waiting_calls == 1)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        xai.generate("a fox", reuse=True)
    assert image_server.image_counts == []
    image_server.replies_left = None
    assert process.wait() == ""
    assert xai.generate("a fox", reuse=True)[0].replayed
    assert image_server.image_counts == [1]


def test_a_prompt_is_rewritten_once(keyed: Served, victims: Victims) -> None:
    """This holds for tasks and for processes. The picture is made once, too."""
    code = GENERATE.replace("reuse", "rewrite='chat', reuse")
    processes = [victims.start(code) for _ in range(3)]

    async def tasks() -> None:
        calls = (xai.agenerate("a fox", rewrite="chat", reuse=True) for _ in range(4))
        await asyncio.gather(*calls)

    asyncio.run(tasks())
    assert [process.wait() for process in processes] == [""] * 3
    rewrites = [call for call in keyed.server.requests if "Chat" in call.method]
    assert (len(rewrites), len(keyed.calls)) == (1, 1)


# Without a library


@pytest.mark.parametrize("library", ["damaged", "unavailable"])
def test_tasks_share_an_image_without_a_library(
    image_server: NumberingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """A note says that the image is not in the library."""
    if library == "damaged":
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / FILE).write_bytes(b"no database" * 1000)
    else:
        broken = LibraryError("The disk is gone. Bring it back.")

        def fail(*_: Any) -> None:
            raise broken

        monkeypatch.setattr(Library, "add_replies", fail)
        monkeypatch.setattr(Library, "look_up", fail)
    batches = generate_together(image_server, 5)
    assert len({batch[0].data for batch in batches}) == 1
    notes = [" ".join(batch.notes) for batch in batches]
    assert sum("equal request" in note for note in notes) == 4
    assert sum("library" in note for note in notes) == 5
    xai.generate("a fox", reuse=True)
    assert image_server.image_counts == [1]  # this process remembers the image


# Jobs and plans


def test_jobs_of_two_notebooks_submit_a_request_once(
    keyed: Served, monkeypatch: pytest.MonkeyPatch, kernels: Kernels
) -> None:
    """Both jobs use stored images and the requests of open jobs."""
    sessions = [kernels(), kernels()]
    stored = sessions[0].generate("a fox")
    monkeypatch.setenv("JPY_SESSION_NAME", "b.ipynb")
    request: dict[str, Any] = {"each": ["a fox", "an owl", "an owl"], "reuse": True}
    keyed.faults.delay = 0.5
    first = sessions[0].generate("an owl", batch=True)
    jobs = [session.generate(batch=True, **request) for session in sessions]
    ids, other_ids = [[image.id for image in job.wait()] for job in jobs]
    assert ids == other_ids
    assert [image.id for image in first.wait()] == ids[1:2]
    assert ids[0] == stored[0].id
    assert ids[1] == ids[2] != stored[0].id
    assert [image.id for image in sessions[0].generate(**request)] == ids
    (added,) = [
        call.message for call in keyed.server.requests if call.method.endswith("AddBatchRequests")
    ]
    assert len(added.batch_requests) == 1


def test_cancelling_a_job_leaves_the_requests_of_others(session: Session, keyed: Served) -> None:
    """A job that shares images with another cancels only those it submitted itself."""
    keyed.faults.batches.pace = 0.001
    first: Any = session.generate(each=["a fox", "an owl"], batch=True)
    second: Any = session.generate(each=["an owl", "an elk"], batch=True, reuse=True)
    third: Any = session.generate(each=["an owl"], batch=True, reuse=True)
    with pytest.raises(JobError, match="requests of another call"):
        third.cancel()
    second.cancel()
    assert first.refresh().state == "running"
    assert first.counts.pending == 2
    first.cancel()
    assert first.state == "cancelled"


def test_a_plan_counts_equal_requests_once(keyed: Served) -> None:
    """The images of the first request answer the others."""
    xai.generate("a fox")
    prompts = ["a fox", "an owl", "an owl", "a fox"]
    plan = xai.generate(each=prompts, n=2, reuse=True, dry_run=True)
    assert plan.stored == [1, 0, 2, 2]
    xai.generate(each=prompts, n=2, reuse=True)
    assert sorted(call.message.n for call in keyed.calls) == [1, 1, 2]


# Options


@pytest.mark.parametrize(
    ("other", "name"),
    [({"fresh": True}, "fresh=True"), ({"replay": True}, "replay=True"), ({"redo": [0]}, "redo=")],
    ids=str,
)
def test_contradictions_are_refused(
    image_server: NumberingServer, other: dict[str, Any], name: str
) -> None:
    """If `reuse` is only the default, the other option overrides it."""
    with pytest.raises(OptionError, match=f"reuse=True and {name} contradict"):
        xai.generate("a fox", reuse=True, **other)
    assert not resolve(other, {"reuse": True}).reuse
    assert resolve({}, {"reuse": True}).reuse
    assert image_server.image_counts == []


def test_the_default_can_be_configured(notebook: Notebooks, image_server: NumberingServer) -> None:
    book = notebook(
        "%config XaiImage.reuse = True\nshown += xai.generate('a fox')",
        "%xai_image --as one a fox\nshown += one",
        "shown += xai.generate('a fox', reuse=False)",
    )
    first, second, third = book.run()
    assert first == second == third
    assert book.run(2) != [third]
    book.cells[2] = "shown += xai.generate('a fox', fresh=True)"
    assert book.run(2) not in ([first], [third])


def test_replay_takes_images_of_several_slots(image_server: NumberingServer) -> None:
    session = current_session()
    two = [session.generate("a fox") for _ in range(2)]
    both = session.generate("a fox", n=2, replay=True)
    assert {*digests(both)} == {*digests(two[0]), *digests(two[1])}
    assert image_server.image_counts == [1, 1]
