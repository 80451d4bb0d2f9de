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
from press import reuse
from xai_notebook.arguments.options import resolve
from xai_notebook.errors import JobError, LibraryError, OptionError
from xai_notebook.generation.session import Session, close_session, current_session
from xai_notebook.library import Library
from xai_notebook.library.storage.database import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Kernels, Served, Victims
    from press import Notebooks, Press

PROMPTS = ["a fox", "an owl", "a hare"]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the session of this process, which these tests use as programs do."""
    yield
    close_session()


def digests(batch: Any) -> list[str | None]:
    return [image.sha256 for image in batch]


# Who made it, and where, does not matter


def test_any_stored_picture_answers(
    notebook: Notebooks, orders: Press, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another notebook's picture at another place; also when the cell is run again."""
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    made = notebook("xai.generate('a fox')", "shown += xai.generate('a fox')")
    (second,) = made.run()
    monkeypatch.setenv("JPY_SESSION_NAME", "b.ipynb")
    other = notebook("shown += xai.generate('a fox', reuse=True)")
    assert other.rerun() == other.run() == other.run() == [second]
    magic = notebook("%xai_image --reuse --as fox a fox\nshown += fox")
    assert magic.rerun() == magic.run() == [second]
    assert magic.shell.user_ns["fox"][0].replayed
    assert orders.orders == [1, 1]


def test_it_takes_no_place_in_the_pass(notebook: Notebooks, orders: Press) -> None:
    """Cells around it show the same as without it."""
    ask = "shown += xai.generate('a fox'{})"
    made = notebook(ask.format(""), ask.format(""))
    first, second = made.run()
    made.cells.insert(1, ask.format(", reuse=True"))
    assert made.rerun() == [first, second, second]
    assert orders.orders == [1, 1]


def test_what_is_missing_is_made_and_displaces_nothing(notebook: Notebooks, orders: Press) -> None:
    """Two of four are stored in two slots: two are made, and the same four answer again."""
    made = notebook(*["shown += xai.generate('a fox')"] * 2)
    two = made.run()
    four = notebook("shown += xai.generate('a fox', n=4, reuse=True)")
    found = four.rerun()
    assert {*two} < {*found}
    assert len({*found}) == 4
    assert four.run() == four.rerun() == found
    assert made.rerun() == two
    assert orders.orders == [1, 1, 2]


def test_what_was_replaced_answers_too(notebook: Notebooks, orders: Press) -> None:
    """Nothing is made while enough images are stored."""
    made = notebook("shown += xai.generate('a fox')")
    first, second = made.run(), made.run()
    assert digests(xai.generate("a fox", n=2, reuse=True)) == second + first
    assert orders.orders == [1, 1]


def test_what_is_in_the_trash_does_not_answer(orders: Press) -> None:
    """It is made again, once."""
    first = xai.generate("a fox", reuse=True)
    first.delete()
    second, third = (xai.generate("a fox", reuse=True) for _ in range(2))
    assert digests(first) != digests(second) == digests(third)
    assert orders.orders == [1, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"each": ["a fox", "an owl", "a fox", "a fox", "an owl"]},
        {"prompt": "a {fox|owl|fox}", "matrix": True},
        {"prompt": "a fox", "model": ["one", "two", "one"]},
    ],
    ids=["each", "matrix", "models"],
)
def test_equal_requests_of_one_call_are_made_once(orders: Press, options: dict[str, Any]) -> None:
    """Each distinct request is sent once; equal ones show the same picture."""
    current_session().configured = lambda: {"rate": 0}
    first = xai.generate(reuse=True, **options)
    distinct = len({(image.prompt, image.request.model) for image in first})
    assert distinct == len({*digests(first)}) == len(orders.orders)
    assert digests(xai.generate(reuse=True, **options)) == digests(first)
    assert len(orders.orders) == distinct


def test_an_edit_is_made_once(orders: Press) -> None:
    fox = xai.generate("a fox", reuse=True)[0]
    hats = [fox.edit("a hat", reuse=True) for _ in range(3)]
    assert len({*map(str, map(digests, hats))}) == 1
    assert orders.orders == [1, 1]


# At the same moment


def answer_once_one_waits(orders: Press) -> None:
    """Let the server answer once a call waits; any other call would have come by then."""
    until(lambda: orders.waiting == 1)
    orders.left = None


def test_threads_make_it_once(orders: Press) -> None:
    orders.left = 0
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(reuse, PROMPTS) for _ in range(8)]
        answer_once_one_waits(orders)
        assert len({tuple(one.result()) for one in found}) == 1
    assert orders.orders == [1] * 3


def test_tasks_make_it_once(orders: Press) -> None:
    """The tasks that waited count as replayed."""
    orders.left = 0

    async def ask() -> list[Any]:
        found = asyncio.gather(*(xai.agenerate("a fox", reuse=True) for _ in range(20)))
        await asyncio.to_thread(answer_once_one_waits, orders)
        return list(await found)

    found = asyncio.run(ask())
    assert len({batch[0].sha256 for batch in found}) == 1
    assert sum(batch[0].replayed for batch in found) == 19
    assert orders.orders == [1]


def test_processes_of_a_home_make_it_once(orders: Press, tmp_path: Path) -> None:
    """Four spawned processes, as with Dask and Ray; they leave no lock behind."""
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(reuse, [PROMPTS, PROMPTS[::-1], PROMPTS, PROMPTS[::-1]]))
    assert found[0] == found[1][::-1] == found[2] == found[3][::-1]
    assert orders.orders == [1] * 3
    assert [*(tmp_path / "home" / "locks").iterdir()] == []


GENERATE = 'import xai_notebook as xai; xai.generate("a fox", reuse=True)'
STOP_AT_THE_REPLY = """
def save(self, replies):
    report("arrived")
    time.sleep(600)
xai_notebook.library.Library.add_replies = save
"""


@pytest.mark.parametrize("when", ["requested", "arrived"])
def test_a_waiting_call_continues_for_a_killed_one(
    orders: Press, victims: Victims, when: str
) -> None:
    """It makes the image; if the image had arrived, it is not requested again."""
    current_session().library()  # opening a library imports replies of killed processes
    orders.left = 1 if when == "arrived" else 0
    with ThreadPoolExecutor(1) as pool:
        if when == "arrived":
            victim = victims.start(STOP_AT_THE_REPLY + GENERATE)
            assert victim.reports.read(7) == b"arrived"
        else:
            victim = victims.start(GENERATE)
            until(lambda: orders.waiting == 1)
        waiting = pool.submit(reuse, ["a fox"])
        assert wait([waiting], 0.3).not_done
        victim.kill()
        orders.left = None
        assert waiting.result(60) is not None
    # A server may continue the request of a killed client.
    assert len(orders.orders) <= (2 if when == "requested" else 1)


def test_a_maker_that_fails_is_followed_by_the_next(orders: Press) -> None:
    """The first call raises, the second makes the picture, the third replays it."""
    orders.failures = [grpc.StatusCode.INVALID_ARGUMENT]

    async def ask() -> list[Any]:
        calls = (xai.agenerate("a fox", reuse=True) for _ in range(3))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    found = asyncio.run(ask())
    assert sum(isinstance(one, Exception) for one in found) == 1
    assert orders.orders == [1]


def test_waiting_for_another_process_can_be_interrupted(orders: Press, victims: Victims) -> None:
    """The kernel is free at once, and the other process continues."""
    orders.left = 0
    process = victims.start(GENERATE)
    until(lambda: orders.waiting == 1)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        xai.generate("a fox", reuse=True)
    assert orders.orders == []
    orders.left = None
    assert process.wait() == ""
    assert xai.generate("a fox", reuse=True)[0].replayed
    assert orders.orders == [1]


def test_a_prompt_is_rewritten_once(keyed: Served, victims: Victims) -> None:
    """In tasks and in processes; its picture is made once, too."""
    code = GENERATE.replace("reuse", "rewrite='chat', reuse")
    processes = [victims.start(code) for _ in range(3)]

    async def tasks() -> None:
        calls = (xai.agenerate("a fox", rewrite="chat", reuse=True) for _ in range(4))
        await asyncio.gather(*calls)

    asyncio.run(tasks())
    assert [process.wait() for process in processes] == [""] * 3
    rewrites = [call for call in keyed.server.requests if "Chat" in call.method]
    assert (len(rewrites), len(keyed.calls)) == (1, 1)


# A library that cannot be had


@pytest.mark.parametrize("trouble", ["it is damaged", "it cannot be read or written"])
def test_without_a_library_it_is_made_once_at_a_time(
    orders: Press, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Waiting calls get the maker's picture, with a note that it is not in the library."""
    if trouble == "it is damaged":
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / FILE).write_bytes(b"no database" * 1000)
    else:
        broken = LibraryError("The disk is gone. Bring it back.")

        def fail(*_: Any) -> None:
            raise broken

        monkeypatch.setattr(Library, "add_replies", fail)
        monkeypatch.setattr(Library, "look_up", fail)
    orders.left = 0

    async def ask() -> list[Any]:
        found = asyncio.gather(*(xai.agenerate("a fox", reuse=True) for _ in range(5)))
        await asyncio.to_thread(answer_once_one_waits, orders)
        return list(await found)

    found = asyncio.run(ask())
    assert len({batch[0].data for batch in found}) == 1
    said = [" ".join(batch.notes) for batch in found]
    assert sum("equal request" in line for line in said) == 4
    assert sum("library" in line for line in said) == 5
    assert orders.orders == [1]
    xai.generate("a fox", reuse=True)
    assert orders.orders == [1]  # this process remembers it


# Jobs and plans


def test_a_job_takes_what_is_stored_and_follows_what_is_open(
    keyed: Served, monkeypatch: pytest.MonkeyPatch, new_session: Kernels
) -> None:
    """Each distinct request is submitted once, by whichever notebook."""
    sessions = [new_session(), new_session()]
    stored = sessions[0].generate("a fox")
    monkeypatch.setenv("JPY_SESSION_NAME", "b.ipynb")
    asks: dict[str, Any] = {"each": ["a fox", "an owl", "an owl"], "reuse": True}
    keyed.faults.delay = 0.5
    first = sessions[0].generate("an owl", batch=True)
    jobs = [session.generate(batch=True, **asks) for session in sessions]
    found = [[image.id for image in job.wait()] for job in jobs]
    assert found[0] == found[1]
    assert [image.id for image in first.wait()] == found[0][1:2]
    assert found[0][0] == stored[0].id
    assert found[0][1] == found[0][2] != stored[0].id
    assert [image.id for image in sessions[0].generate(**asks)] == found[0]
    handed = [
        request.batch_request_id
        for call in keyed.server.requests
        if call.method.endswith("AddBatchRequests")
        for request in call.message.batch_requests
    ]
    assert len(handed) == 1


def test_cancelling_leaves_the_job_of_others_alone(session: Session, keyed: Served) -> None:
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
    """The images of the first answer the others."""
    xai.generate("a fox")
    asks: dict[str, Any] = {"each": ["a fox", "an owl", "an owl", "a fox"], "n": 2, "reuse": True}
    plan = xai.generate(dry_run=True, **asks)
    assert plan.stored == [1, 0, 2, 2]
    xai.generate(**asks)
    assert sorted(call.message.n for call in keyed.calls) == [1, 1, 2]


# What cannot be meant


@pytest.mark.parametrize("other", [{"fresh": True}, {"replay": True}, {"redo": [0]}], ids=str)
def test_contradictions_are_refused(orders: Press, other: dict[str, Any]) -> None:
    """Unless `reuse` is only the default."""
    with pytest.raises(OptionError, match=f"--reuse and --{next(iter(other))} contradict"):
        xai.generate("a fox", reuse=True, **other)
    assert not resolve(other, {"reuse": True}).reuse
    assert resolve({}, {"reuse": True}).reuse
    assert orders.orders == []


def test_the_default_can_be_configured(notebook: Notebooks, orders: Press) -> None:
    made = notebook(
        "%config XaiImage.reuse = True\nshown += xai.generate('a fox')",
        "%xai_image --as one a fox\nshown += one",
        "shown += xai.generate('a fox', reuse=False)",
    )
    first, second, third = made.run()
    assert first == second == third
    assert made.run(2) != [third]
    made.cells[2] = "shown += xai.generate('a fox', fresh=True)"
    assert made.run(2) not in ([first], [third])


def test_replay_of_more_than_a_place_holds_sends_nothing(orders: Press) -> None:
    """Two slots with one picture each have two pictures."""
    session = current_session()
    two = [session.generate("a fox") for _ in range(2)]
    found = session.generate("a fox", n=2, replay=True)
    assert {*digests(found)} == {*digests(two[0]), *digests(two[1])}
    assert orders.orders == [1, 1]
