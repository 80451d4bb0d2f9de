"""Work collected while a thread is busy."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from xai_notebook import errors
from xai_notebook.generation.event_loop import MAX_BATCH, BackgroundLoop, Batched

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_work_that_waits_goes_together() -> None:
    """While the function runs, what comes is collected and goes with the next run."""
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
        await asyncio.to_thread(entered.acquire)  # by then all tasks have had their turn
        gate.set()
        return await asyncio.gather(*tasks)

    loop = BackgroundLoop()
    try:
        assert loop.run(main()) == [2 * number for number in range(100)]
    finally:
        loop.stop()
    assert max(sizes) == MAX_BATCH
    assert len(sizes) <= 6


def test_work_that_comes_as_a_batch_ends_is_done() -> None:
    """There is no moment at which new work would find nobody."""
    entered, gate, left = threading.Event(), threading.Event(), threading.Event()

    def first_wait(numbers: Sequence[int]) -> list[int]:
        if 0 in numbers:
            entered.set()
            gate.wait(10)
            left.set()
        return list(numbers)

    async def main() -> int:
        batched = Batched(first_wait)

        async def two() -> int:
            return await batched(0) + await batched(1)

        task = asyncio.ensure_future(two())
        await asyncio.to_thread(entered.wait, 10)
        gate.set()
        left.wait(10)  # the loop stands still meanwhile, and hears of the end only now
        return await task

    loop = BackgroundLoop()
    try:
        assert loop.submit(main()).result(timeout=10) == 1
    finally:
        loop.stop()


def test_an_error_belongs_to_its_batch() -> None:
    """All pieces of a run raise what it raised; the next run is as if nothing happened."""

    def fail(numbers: Sequence[int]) -> list[int]:
        if 1 in numbers:
            raise errors.LibraryError("no")
        return list(numbers)

    async def main() -> list[Any]:
        batched = Batched(fail)
        first = await asyncio.gather(batched(1), return_exceptions=True)
        return [*first, await batched(2)]

    loop = BackgroundLoop()
    try:
        error, number = loop.run(main())
    finally:
        loop.stop()
    assert isinstance(error, errors.LibraryError)
    assert number == 2
