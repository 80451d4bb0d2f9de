"""The background loop: results, interrupts, cancellation, forks."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook.errors import ForkedProcessError, XaiError
from xai_notebook.generation.event_loop import BackgroundLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    yield loop
    loop.stop()


class Sleeper:
    """A coroutine that sleeps for long and remembers how it ended."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def sleep(self) -> None:
        """Sleep far longer than any test waits."""
        self.started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def thread_name() -> str:
    return threading.current_thread().name


def test_a_coroutine_runs_on_the_background_thread(loop: BackgroundLoop) -> None:
    """Its result comes back to the thread that waits."""
    assert loop.run(thread_name()) == "xai-notebook"


def test_nothing_starts_before_the_first_use() -> None:
    """Making a loop starts no thread."""
    before = threading.active_count()
    BackgroundLoop()
    assert threading.active_count() == before


def test_an_error_comes_back_as_itself(loop: BackgroundLoop) -> None:
    """What the coroutine raises, the caller catches."""

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        loop.run(fail())


def test_it_runs_inside_a_running_loop(loop: BackgroundLoop) -> None:
    """A kernel's own loop is already running: blocking on ours works there."""

    async def cell() -> str:
        return loop.run(thread_name())

    assert asyncio.run(cell()) == "xai-notebook"


def test_a_blocking_call_on_the_loop_itself_is_refused(loop: BackgroundLoop) -> None:
    """It would wait for itself for ever."""

    async def inner() -> None:
        loop.run(thread_name())

    with pytest.raises(XaiError, match="Use await there"):
        loop.run(inner())


def interrupt(after: threading.Event) -> threading.Thread:
    """Interrupt the main thread once `after` is set."""

    def act() -> None:
        after.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_an_interrupt_cancels_the_coroutine(loop: BackgroundLoop) -> None:
    """KeyboardInterrupt arrives long before the work ends, which has been cancelled by then."""
    sleeper = Sleeper()
    thread = interrupt(sleeper.started)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(sleeper.sleep())
    assert time.monotonic() - started < 15  # of 30
    assert sleeper.cancelled.is_set()
    thread.join()
    assert loop.run(thread_name()) == "xai-notebook"


def test_an_interrupt_works_whatever_handler_is_installed(loop: BackgroundLoop) -> None:
    """A handler like ipykernel's, for cells with `await`, gives way to ours and comes back."""
    sleeper = Sleeper()

    def handler(*_: object) -> None:
        """Do nothing, as ipykernel's does while the cell's task is blocked."""

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
    """There is no moment at which an interrupt would leave the work running."""
    sleeper = Sleeper()
    submit = loop.submit

    def interrupted(coroutine: Coroutine[Any, Any, None]) -> None:
        submit(coroutine)
        sleeper.started.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(sleeper.sleep())
    assert sleeper.cancelled.is_set()


def test_what_a_cancelled_coroutine_keeps_is_kept_before_the_interrupt_arrives(
    loop: BackgroundLoop,
) -> None:
    """It has a moment for saving what had arrived."""
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


def test_a_coroutine_that_will_not_end_does_not_hold_the_interrupt(loop: BackgroundLoop) -> None:
    """After the interrupt the user is free, whatever the work does."""
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
    """`tick` is called again and again where the cell runs, until the work has ended."""
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
    """`await` from another loop, cancelled, ends the work at once."""
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
    """`await` gives what the coroutine gave."""

    async def fail() -> None:
        raise KeyError("x")

    async def cell() -> None:
        assert await loop.wait(thread_name()) == "xai-notebook"
        with pytest.raises(KeyError):
            await loop.wait(fail())

    asyncio.run(cell())


def test_a_stopped_loop_ends_its_thread_and_starts_again(loop: BackgroundLoop) -> None:
    """Stopping cancels what runs; the next use is a new start; stopping twice is nothing."""
    sleeper = Sleeper()
    loop.submit(sleeper.sleep())
    sleeper.started.wait(10)
    thread = loop._thread
    assert thread is not None
    loop.stop()
    assert sleeper.cancelled.is_set()
    thread.join(10)  # stopping waits for two seconds
    assert not thread.is_alive()
    loop.stop()
    assert loop.run(thread_name()) == "xai-notebook"


def test_stopping_frees_whoever_waits(loop: BackgroundLoop) -> None:
    """A thread that waits for the loop is not left waiting when it stops."""
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
    """In a child of a process that used the loop, a call raises at once."""
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
