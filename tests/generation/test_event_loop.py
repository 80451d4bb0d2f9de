"""The background loop (results, interrupts, cancellation, forks) and batched work on it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook.errors import ForkedProcessError, LibraryError, XaiError
from xai_notebook.generation.event_loop import MAX_BATCH, BackgroundLoop, Batched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    yield loop
    loop.stop()


class Sleeper:
    """A long sleep that records its start and its cancellation."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def sleep(self) -> None:
        """Sleep longer than any test waits."""
        self.started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def thread_name() -> str:
    return threading.current_thread().name


def test_a_coroutine_runs_on_the_background_thread(loop: BackgroundLoop) -> None:
    assert loop.run(thread_name()) == "xai-notebook"


def test_nothing_starts_before_the_first_use() -> None:
    before = threading.active_count()
    BackgroundLoop()
    assert threading.active_count() == before


def test_errors_are_raised_unchanged(loop: BackgroundLoop) -> None:

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        loop.run(fail())


def test_a_coroutine_runs_while_another_loop_runs(loop: BackgroundLoop) -> None:
    """While a cell runs, the kernel's own loop is running."""

    async def cell() -> str:
        return loop.run(thread_name())

    assert asyncio.run(cell()) == "xai-notebook"


def test_a_blocking_call_on_the_loop_itself_is_refused(loop: BackgroundLoop) -> None:

    async def inner() -> None:
        loop.run(thread_name())

    with pytest.raises(XaiError, match="Use await there"):
        loop.run(inner())


def interrupt(after: threading.Event) -> threading.Thread:
    def act() -> None:
        after.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_an_interrupt_cancels_the_coroutine(loop: BackgroundLoop) -> None:
    """When KeyboardInterrupt is raised, the coroutine has been cancelled."""
    sleeper = Sleeper()
    thread = interrupt(sleeper.started)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(sleeper.sleep())
    assert time.monotonic() - started < 15  # the sleep takes 30 s
    assert sleeper.cancelled.is_set()
    thread.join()
    assert loop.run(thread_name()) == "xai-notebook"


def test_an_interrupt_works_despite_another_handler(loop: BackgroundLoop) -> None:
    """A handler like ipykernel's for cells with `await` is replaced and put back."""
    sleeper = Sleeper()

    def handler(*_: object) -> None:
        """Do nothing, like ipykernel's while the cell's task is blocked."""

    previous = signal.signal(signal.SIGINT, handler)
    try:
        thread = interrupt(sleeper.started)
        with pytest.raises(KeyboardInterrupt):
            loop.run(sleeper.sleep())
        thread.join()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, previous)


def test_an_interrupt_while_submitting_cancels_too(
    loop: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt between submission and wait leaves no work running."""
    sleeper = Sleeper()
    submit = asyncio.run_coroutine_threadsafe

    def submit_and_interrupt(*arguments: Any) -> None:
        submit(*arguments)
        sleeper.started.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", submit_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run(sleeper.sleep())
    assert sleeper.cancelled.is_set()


def test_a_cancelled_coroutine_saves_before_the_interrupt_is_raised(
    loop: BackgroundLoop,
) -> None:
    sleeper, saved = Sleeper(), []

    async def save() -> None:
        try:
            await sleeper.sleep()
        finally:
            await asyncio.sleep(0.05)
            saved.append(1)

    thread = interrupt(sleeper.started)
    with pytest.raises(KeyboardInterrupt):
        loop.run(save())
    assert saved == [1]
    thread.join()


def test_a_coroutine_that_ignores_its_cancellation_does_not_delay_the_interrupt(
    loop: BackgroundLoop,
) -> None:
    sleeper, ended, free = Sleeper(), threading.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await sleeper.sleep()
        finally:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(free.wait(), 20)
            ended.set()

    async def set_free() -> None:
        free.set()

    thread = interrupt(sleeper.started)
    with pytest.raises(KeyboardInterrupt):
        loop.run(stubborn())
    assert not ended.is_set()
    loop.run(set_free())
    assert ended.wait(20)
    thread.join()


def test_progress_ticks_in_the_waiting_thread(loop: BackgroundLoop) -> None:
    ticks: list[str] = []
    enough = threading.Event()

    def tick() -> None:
        ticks.append(threading.current_thread().name)
        if len(ticks) == 3:
            enough.set()

    loop.run(asyncio.to_thread(enough.wait, 20), tick=tick)
    assert 3 <= len(ticks) <= 4
    assert set(ticks) == {threading.current_thread().name}


def test_cancelling_a_wait_cancels_the_coroutine(loop: BackgroundLoop) -> None:
    sleeper = Sleeper()

    async def cell() -> None:
        task = asyncio.create_task(loop.wait(sleeper.sleep()))
        await asyncio.to_thread(sleeper.started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(sleeper.cancelled.wait, 10)

    asyncio.run(cell())


def test_a_wait_returns_results_and_errors(loop: BackgroundLoop) -> None:
    async def fail() -> None:
        raise KeyError("x")

    async def cell() -> None:
        assert await loop.wait(thread_name()) == "xai-notebook"
        with pytest.raises(KeyError):
            await loop.wait(fail())

    asyncio.run(cell())


def test_a_stopped_loop_ends_its_thread_and_starts_again(loop: BackgroundLoop) -> None:
    """Stopping cancels running coroutines, and may be repeated; the next use starts a new loop."""
    sleeper = Sleeper()
    loop.submit(sleeper.sleep())
    sleeper.started.wait(10)
    thread = loop._thread
    assert thread is not None
    loop.stop()
    assert sleeper.cancelled.is_set()
    thread.join(10)  # `stop` waits for two seconds only
    assert not thread.is_alive()
    loop.stop()
    assert loop.run(thread_name()) == "xai-notebook"


def test_stopping_ends_the_wait_of_a_thread(loop: BackgroundLoop) -> None:
    sleeper, ended = Sleeper(), threading.Event()

    def wait() -> None:
        try:
            loop.run(sleeper.sleep())
        except BaseException:  # noqa: BLE001  # that it ends is the point
            ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    sleeper.started.wait(10)
    loop.stop()
    assert ended.wait(2)
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_gets_an_error_instead_of_a_hang(loop: BackgroundLoop) -> None:
    loop.run(thread_name())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            loop.run(thread_name())
        except ForkedProcessError:
            code = 42
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert loop.run(thread_name()) == "xai-notebook"


def test_waiting_items_are_one_batch(loop: BackgroundLoop) -> None:
    """Items that arrive while the function runs are passed to its next call."""
    sizes = []
    entered, gate = threading.Semaphore(0), threading.Event()

    def double(numbers: Sequence[int]) -> list[int]:
        sizes.append(len(numbers))
        entered.release()
        gate.wait(10)
        return [2 * number for number in numbers]

    async def main() -> list[int]:
        batched = Batched(double)
        tasks = [asyncio.ensure_future(batched(number)) for number in range(100)]
        await asyncio.to_thread(entered.acquire)  # by then all tasks have started
        gate.set()
        return await asyncio.gather(*tasks)

    assert loop.run(main()) == [2 * number for number in range(100)]
    assert max(sizes) == MAX_BATCH
    assert len(sizes) <= 6


def test_an_item_that_arrives_when_a_batch_ends_is_handled(loop: BackgroundLoop) -> None:
    entered, gate, leaving = threading.Event(), threading.Event(), threading.Event()

    def wait_at_0(numbers: Sequence[int]) -> list[int]:
        if 0 in numbers:
            entered.set()
            gate.wait(10)
            leaving.set()
        return list(numbers)

    async def main() -> int:
        batched = Batched(wait_at_0)

        async def one_after_the_other() -> int:
            return await batched(0) + await batched(1)

        task = asyncio.ensure_future(one_after_the_other())
        await asyncio.to_thread(entered.wait, 10)
        gate.set()
        leaving.wait(10)  # the loop is blocked when the batch ends
        return await task

    assert loop.submit(main()).result(timeout=10) == 1


def test_an_error_is_raised_for_its_batch_only(loop: BackgroundLoop) -> None:
    def fail(numbers: Sequence[int]) -> list[int]:
        if 1 in numbers:
            raise LibraryError("no")
        return list(numbers)

    async def main() -> list[Any]:
        batched = Batched(fail)
        first = await asyncio.gather(batched(1), return_exceptions=True)
        return [*first, await batched(2)]

    error, number = loop.run(main())
    assert isinstance(error, LibraryError)
    assert number == 2
