"""Images as they arrive: order, errors, leaving the loop, replay, and `progress=`."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from harness import until
from numbering_server import reuse
from xai_notebook import errors
from xai_notebook.generation.session import close_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Kernels, Served
    from numbering_server import Notebook, Notebooks, NumberingServer
    from xai_notebook.generation.progress import ProgressReport
    from xai_notebook.generation.session import Session
    from xai_notebook.generation.stream import ImageStream

FOXES = [f"fox {number}" for number in range(40)]


@pytest.fixture
def numbering(image_server: NumberingServer, new_session: Kernels) -> Iterator[Session]:
    """A session that talks to the numbering server, two requests at once."""
    session = new_session()
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    yield session
    close_session()  # which `reuse` has opened


def use(stream: ImageStream, got: list[Any]) -> None:
    """Add each image to a list."""
    for image in stream:
        got.append(image)  # noqa: PERF402  # also before an error


def idle(server: NumberingServer) -> bool:
    """Tell whether no call waits at the server, within the half second of an interrupt."""
    return bool(until(lambda: not server.waiting_calls, 0.5) or True)


REFUSED = (grpc.StatusCode.UNAUTHENTICATED, "revoked")


# Order and errors


def test_images_come_in_the_order_of_arrival(session: Session, quick: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 4}
    quick.faults.delay = lambda request: 0.3 if request.prompt == "slow" else 0
    with session.stream(each=["slow", "a", "b"], n=2) as stream:
        got = [(picture.prompt, picture.index) for picture in stream]
    assert got[-2:] == [("slow", 0), ("slow", 1)]
    assert sorted(got[:4]) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [picture.prompt for picture in stream.batch][::2] == ["slow", "a", "b"]


def test_a_failed_request_gives_its_card(session: Session, quick: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    quick.faults.failures = [None, (grpc.StatusCode.INVALID_ARGUMENT, "not this one")]
    got = {picture.prompt: picture for picture in session.stream(each=["a", "b", "c"])}
    assert sorted(picture.status for picture in got.values()) == ["failed", "ok", "ok"]
    (failed,) = [picture for picture in got.values() if picture.status == "failed"]
    assert "not this one" in str(failed.error)


def test_a_refused_key_is_raised_after_what_has_arrived(session: Session, quick: Served) -> None:
    """Also after a picture that is just being stored."""
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    quick.faults.failures = [None, None, REFUSED, REFUSED, REFUSED]
    stream = session.stream(each=FOXES)
    got: list[Any] = []
    with pytest.raises(errors.AuthenticationError, match="revoked"):
        use(stream, got)
    assert [picture.status for picture in got] == ["ok"] * 2
    assert Counter(image.status for image in stream.batch) == {"ok": 2, "unsent": 38}
    assert list(stream) == []
    again = session.stream(each=FOXES[:2])
    assert [next(again).replayed, next(again).replayed] == [True, True]


def test_a_single_prompt_fails_as_in_generate(session: Session, quick: Served) -> None:
    quick.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "not this one")]
    stream = session.stream("a fox")
    with pytest.raises(errors.XaiError, match="not this one"):
        next(stream)
    assert [picture.status for picture in session.stream("a fox", n=3)] == ["ok"] * 3


def test_a_budget_that_lets_nothing_through_is_raised(session: Session, priced: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    cards: list[Any] = []
    with pytest.raises(errors.BudgetError):
        use(session.stream(each=FOXES, max_cost=0.01), cards)
    assert {picture.status for picture in cards} == {"unsent"}
    assert len(cards) == len(FOXES)
    assert not priced.calls


def test_a_prompt_that_cannot_be_read_is_raised_at_the_end(numbering: Session) -> None:
    def prompts() -> Any:
        yield "a fox"
        yield 7

    got: list[Any] = []
    with pytest.raises(errors.XaiError, match="Earlier prompts keep their pictures"):
        use(numbering.stream(each=prompts()), got)
    assert [picture.prompt for picture in got] == ["a fox"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dry_run": True}, "shows no plan"),
        ({"batch": True}, "Use generate.. for jobs"),
        ({"redo": 1}, "needs all images first"),
        ({"n": 99}, "-n/--count"),
        ({"progress": 3}, "progress= is a int, not a function"),
    ],
)
def test_wrong_options_are_refused_at_once(
    session: Session, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.OptionError, match=message):
        session.stream("a fox", **options)


def test_nothing_is_sent_before_the_first_image_is_asked_for(
    numbering: Session, image_server: NumberingServer
) -> None:
    stream = numbering.stream(each=FOXES)
    assert len(stream.batch) == 0
    stream.close()
    assert list(stream) == []
    assert image_server.image_counts == []


# Leaving the loop


def test_leaving_the_loop_cancels_the_rest(
    numbering: Session, image_server: NumberingServer
) -> None:
    image_server.replies_left = 3
    got = []
    for picture in numbering.stream(each=FOXES):
        got.append(picture.prompt)
        if len(got) == 3:
            break
    assert idle(image_server)
    assert len(image_server.image_counts) == 3
    assert sorted(image.prompt for image in numbering.history.search()) == sorted(got)


def test_a_stream_that_is_collected_as_garbage_is_cancelled(
    numbering: Session, image_server: NumberingServer
) -> None:
    image_server.replies_left = 1
    stream = numbering.stream(each=FOXES)
    circle = [stream]
    circle.append(circle)  # type: ignore[arg-type]
    next(stream)
    until(lambda: image_server.waiting_calls)
    del stream, circle
    gc.collect()
    assert idle(image_server)


def test_a_with_block_ends_the_stream(numbering: Session, image_server: NumberingServer) -> None:
    image_server.replies_left = 1
    stream = numbering.stream(each=FOXES)

    def fail() -> None:
        with stream:
            next(stream)
            1 / 0  # noqa: B018

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not image_server.waiting_calls or idle(image_server)
    assert list(stream) == []
    assert len(stream.batch.ok) == 1
    assert "interrupted" in str(stream.batch.summary)


def test_requests_are_made_at_most_twice_the_concurrency_ahead(
    numbering: Session, image_server: NumberingServer
) -> None:
    made = image_server.image_counts
    with numbering.stream(each=FOXES) as stream:
        for taken in range(1, 4):
            next(stream)
            until(lambda taken=taken: len(made) == taken + 4)  # type: ignore[misc]
        numbering.generate("another prompt")  # whatever was ready to be sent has been sent by now
        assert len(made) == 3 + 4 + 1
    assert len(made) == 8


def test_originals_stay_on_disk(session: Session, quick: Served) -> None:
    quick.faults.min_bytes = 400_000
    session.configured = lambda: {"rate": 0, "concurrency": 4}
    stream = session.stream(each=FOXES)
    sizes = [len(picture.data) for picture in stream]
    assert min(sizes) >= 400_000
    assert all(image.picture.cached is None for image in stream.batch)


def test_looking_at_the_batch_disturbs_no_request(numbering: Session) -> None:
    """The rest of the table has no cards while the call is running."""
    prompts = [f"owl {number}" for number in range(500)]
    table = [{"prompt": prompt, "name": prompt[4:]} for prompt in prompts]
    keys = {}
    for picture in (stream := numbering.stream(each=table, key="name")):
        keys[picture.prompt] = picture.key
        assert {image.status for image in stream.batch} == {"ok"}
    assert keys == {prompt: prompt[4:] for prompt in prompts}


async def test_a_task_can_leave_the_loop(numbering: Session, image_server: NumberingServer) -> None:
    image_server.replies_left = 2
    async with numbering.stream(each=FOXES) as stream:
        async for picture in stream:
            assert picture.status == "ok"
            break
    assert not image_server.waiting_calls or idle(image_server)
    assert [picture async for picture in stream] == []


async def test_cancelling_a_task_says_what_is_kept(
    numbering: Session, image_server: NumberingServer
) -> None:
    image_server.replies_left = 3
    got = []

    async def use() -> None:
        async for picture in numbering.stream(each=FOXES):
            got.append(picture)  # noqa: PERF401

    task = asyncio.create_task(use())
    await asyncio.to_thread(until, lambda: len(got) == 3 and image_server.waiting_calls == 2)
    task.cancel()
    message: str | None = r"3 of 40 prompts are in the library, \$0\.06"
    if sys.version_info < (3, 11):
        message = None  # a task of Python 3.10 drops it
    with pytest.raises(asyncio.CancelledError, match=message):
        await task
    assert not image_server.waiting_calls or idle(image_server)
    assert len(numbering.last_batch().ok) == 3


async def test_the_event_loop_is_free_while_images_are_made(
    numbering: Session, image_server: NumberingServer
) -> None:
    image_server.replies_left = 0
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while turns < 20:
            turns += 1
            await asyncio.sleep(0.01)
        image_server.replies_left = None

    counting = asyncio.create_task(count_turns())
    assert len([picture async for picture in numbering.stream(each=FOXES[:3])]) == 3
    assert turns == 20
    await counting


def test_two_loops_in_two_threads(numbering: Session) -> None:
    async def use(prompts: list[str]) -> list[str]:
        return sorted([picture.prompt async for picture in numbering.stream(each=prompts)])

    found: list[list[str]] = []
    other = threading.Thread(target=lambda: found.append(asyncio.run(use(FOXES[:10]))))
    other.start()
    found.append(asyncio.run(use(FOXES[10:20])))
    other.join()
    assert sorted(found) == sorted([sorted(FOXES[:10]), sorted(FOXES[10:20])])


def test_threads_can_share_a_stream(numbering: Session) -> None:
    stream, got = numbering.stream(each=FOXES), []

    def use() -> None:
        got.extend([picture.prompt for picture in stream])

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(FOXES)


# Replay and reuse


@pytest.fixture
def book_of(notebook: Notebooks, image_server: NumberingServer) -> Notebooks:
    """Make notebooks with 40 prompts; `use()` is called for each image."""

    def make(*cells: str, **options: Any) -> Notebook:
        book = notebook(*cells, **options)
        book.shell.run_line_magic("config", "XaiImage.rate = 0")

        def wait_after_3() -> None:
            if len(book.shell.user_ns["shown"]) == 3:
                until(lambda: image_server.waiting_calls == 4)

        book.shell.user_ns |= {"prompts": FOXES, "use": wait_after_3}
        return book

    return make


LOOP = "for picture in xai.stream(each=prompts):\n    shown.append(picture)"
FIRST_THREE = f"{LOOP}\n    use()\n    if len(shown) == 3:\n        break"


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_restart_and_run_all_shows_the_same_images(
    book_of: Notebooks, image_server: NumberingServer, *, ids: bool
) -> None:
    book = book_of(LOOP, "async " + LOOP, ids=ids)
    book.shell.user_ns["prompts"] = FOXES[:6]
    shown = book.run()
    assert book.errors == [None, None]
    assert len(set(shown)) == 12
    rerun = book.rerun()
    assert sorted(rerun[:6]) == sorted(shown[:6])
    assert sorted(rerun[6:]) == sorted(shown[6:])
    assert len(image_server.image_counts) == 12


def test_a_cell_that_runs_again_makes_new_images(
    book_of: Notebooks, image_server: NumberingServer
) -> None:
    book = book_of(LOOP)
    book.shell.user_ns["prompts"] = FOXES[:6]
    assert not {*book.run()} & {*book.run()}
    assert len(image_server.image_counts) == 12


def test_a_loop_that_ends_early_is_free_when_it_runs_again(
    book_of: Notebooks, image_server: NumberingServer
) -> None:
    """In the same kernel too, because the rest was not seen. Nothing is ordered meanwhile."""
    book = book_of(FIRST_THREE)
    image_server.replies_left = 3
    shown = book.run()
    assert book.errors == [None]
    assert idle(image_server)
    image_server.replies_left = None
    book.shell.user_ns["use"] = lambda: reuse(["any request that the server answers"])
    assert sorted(book.run()) == sorted(shown)
    assert len(image_server.image_counts) == 3 + 1
    assert sorted(book.rerun()) == sorted(shown)
    assert len(image_server.image_counts) == 3 + 1


def test_images_that_were_made_and_not_taken_answer_the_next_run(
    book_of: Notebooks, image_server: NumberingServer
) -> None:
    book = book_of("stream = xai.stream(each=prompts)\nshown.append(next(stream))\nuse()")
    book.shell.user_ns["prompts"] = FOXES[:3]
    book.shell.user_ns["use"] = lambda: until(lambda: book.shell.user_ns["stream"]._feed.ended)
    shown = book.run()
    book.run()
    assert book.errors == [None]
    assert len(shown) == 1
    assert len(image_server.image_counts) == 3


def test_a_cell_that_fails_cancels_the_rest(
    book_of: Notebooks, image_server: NumberingServer
) -> None:
    """Although a variable keeps the stream."""
    book = book_of(
        f"stream = xai.stream(each=prompts)\n{FIRST_THREE}".replace(
            "xai.stream(each=prompts):", "stream:"
        ).replace("break", "1 / 0")
    )
    image_server.replies_left = 3
    shown = book.run()
    assert isinstance(book.errors[0], ZeroDivisionError)
    assert idle(image_server)
    image_server.replies_left = None
    book.shell.user_ns["use"] = lambda: None
    assert sorted(book.run()) == sorted(shown)
    assert len(image_server.image_counts) == 3


def test_a_cell_that_fails_elsewhere_leaves_the_stream_open(
    book_of: Notebooks, image_server: NumberingServer
) -> None:
    book = book_of("stream = xai.stream(each=prompts)\nnext(stream)", "1 / 0", "shown += stream")
    shown = book.run()
    assert [type(error) for error in book.errors] == [type(None), ZeroDivisionError, type(None)]
    assert len(shown) == 39
    assert len(image_server.image_counts) == 40


def test_stored_images_answer_with_reuse(numbering: Session, image_server: NumberingServer) -> None:
    reuse(FOXES[:5])
    made = image_server.image_counts
    assert len(made) == 5
    got = list(numbering.stream(each=[*FOXES[:6], *FOXES[:6]], reuse=True))
    assert len(made) == 6
    assert len({picture.sha256 for picture in got}) == 6


def test_an_equal_request_in_the_loop_body_does_not_wait_for_the_stream(
    numbering: Session, image_server: NumberingServer
) -> None:
    reuse(FOXES[:1])
    for picture in numbering.stream(each=FOXES[:8], reuse=True):
        assert numbering.generate(FOXES[7], reuse=True)[0].status == "ok"
        assert picture.status == "ok"
    assert len(image_server.image_counts) == 8


async def test_leaving_a_loop_after_the_last_image_is_no_interrupt(numbering: Session) -> None:
    async with numbering.stream(each=FOXES[:2]) as stream:
        async for _ in stream:
            await asyncio.to_thread(until, lambda: len(stream.batch.ok) == 2)
            break
    assert stream.batch.summary == "2 of 2 prompts, $0.04 spent."


# progress=


def test_progress_is_reported_in_the_thread_of_the_caller(
    numbering: Session, image_server: NumberingServer
) -> None:
    reports: list[tuple[str, ProgressReport]] = []
    image_server.replies_left = 5

    def report(state: ProgressReport) -> None:
        reports.append((threading.current_thread().name, state))
        if state.done == 5:
            image_server.replies_left = None

    numbering.generate(each=FOXES[:8], progress=report)
    assert {name for name, _ in reports} == {threading.current_thread().name}
    last = reports[-1][1]
    assert 5 in {state.done for _, state in reports}
    assert (last.done, last.expected, last.failed, last.unsent, last.replayed) == (8, 8, 0, 0, 0)
    assert last.cost_usd == pytest.approx(0.16)
    assert last.elapsed > reports[0][1].elapsed > 0
    assert str(last) == "8 of 8 prompts, $0.16 spent"
    with pytest.raises(AttributeError):
        last.done = 9  # type: ignore[misc]


async def test_progress_is_reported_in_the_loop_of_the_caller(numbering: Session) -> None:
    loops = []

    def report(state: ProgressReport) -> None:
        loops.append((asyncio.get_running_loop(), state.done))

    await numbering.agenerate(each=FOXES[:8], progress=report)
    assert loops[-1] == (asyncio.get_running_loop(), 8)
    async for _ in numbering.stream(each=FOXES[8:16], progress=report):
        pass
    assert loops[-1] == (asyncio.get_running_loop(), 8)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("enough"), "enough"),
        (StopIteration(), "progress= raised StopIteration"),
        (StopAsyncIteration(), "progress= raised StopAsyncIteration"),
    ],
    ids=["error", "StopIteration", "StopAsyncIteration"],
)
@pytest.mark.parametrize("kind", ["generate", "agenerate", "stream", "astream"])
def test_an_error_of_progress_cancels_the_call(
    numbering: Session, image_server: NumberingServer, kind: str, error: Exception, message: str
) -> None:
    """An error that ends loops silently becomes one that does not, as in a generator."""
    image_server.replies_left = 5

    def fail_after_5(state: ProgressReport) -> None:
        if state.done == 5:
            raise error

    async def in_a_task() -> None:
        if kind == "agenerate":
            await numbering.agenerate(each=FOXES, progress=fail_after_5)
        async for _ in numbering.stream(each=FOXES, progress=fail_after_5):
            pass

    calls: dict[str, Callable[[], Any]] = {
        "generate": lambda: numbering.generate(each=FOXES, progress=fail_after_5),
        "stream": lambda: list(numbering.stream(each=FOXES, progress=fail_after_5)),
    }
    with pytest.raises(RuntimeError, match=message):
        calls.get(kind, lambda: asyncio.run(in_a_task()))()
    assert not image_server.waiting_calls or idle(image_server)
    assert len(numbering.last_batch().ok) == 5
    assert len(numbering.history.search()) == 5


def test_an_interrupt_counts_the_prompts_of_a_generator(
    numbering: Session, image_server: NumberingServer
) -> None:
    """Their number is unknown until all are read."""
    image_server.replies_left = 5

    def interrupt(state: ProgressReport) -> None:
        if state.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^5 prompts are in the library, \$0\.10 spent"):
        numbering.generate(each=iter(FOXES), progress=interrupt)


# The last batch


def test_the_last_batch_is_that_of_a_failed_call(session: Session, quick: Served) -> None:
    with pytest.raises(errors.OptionError, match="has made no call yet"):
        session.last_batch()
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "no")
    quick.faults.failures = [invalid, None, REFUSED, REFUSED, REFUSED]
    with pytest.raises(errors.AuthenticationError):
        session.generate(each=FOXES)
    statuses = Counter(image.status for image in session.last_batch())
    assert statuses == {"failed": 1, "ok": 1, "unsent": 38}
    with pytest.raises(errors.OptionError, match="cannot look for 'fox'"):
        session.last_batch("fox")
