"""Many prompts: bounded concurrency and rate, one failure stops nothing, memory stays flat."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import (
    AuthenticationError,
    BudgetError,
    NotKeptError,
    OptionError,
    PermissionDeniedError,
    RateLimitError,
    XaiError,
)
from xai_notebook.pictures.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiolimiter import AsyncLimiter

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.transport.retry import Attempt
    from xai_notebook.generation.generator import Generator
    from xai_notebook.generation.progress import Progress
    from xai_notebook.pictures.picture import Status

__all__ = ["generate_each"]

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_ROUNDS: Final = 8
"""How often a prompt comes back after the server said "too many requests"."""
_HOPELESS: Final = (AuthenticationError, PermissionDeniedError)
"""Failures that every further prompt would share."""


@dataclass(slots=True)
class _Pace:
    """When the next request may go out: the user's rate, and pauses the server asked for.

    Attributes:
        limiter: The user's rate; None: no limit.
        pause: Seconds of the last pause, 0 since a request succeeded.
        resume: When it ends, on the monotonic clock.
        answered: Requests that succeeded.
        failure: What no further request could escape.
        refused: Why the first request was not sent that a budget or the disk refused.
    """

    limiter: AsyncLimiter | None
    pause: float = 0.0
    resume: float = 0.0
    answered: int = 0
    failure: XaiError | None = None
    refused: BudgetError | NotKeptError | None = None

    async def wait(self) -> None:
        if self.failure is not None:
            raise self.failure
        # `resume` may be put off meanwhile, which no event would tell.
        while (delay := self.resume - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(delay)
        if self.limiter is not None:
            await self.limiter.acquire()

    def on_attempt(self, attempt: Attempt) -> None:
        """Hold the others back too, as soon as one of them hears of the limit."""
        if attempt.error_code == "RESOURCE_EXHAUSTED":
            self.slow_down()

    def slow_down(self) -> None:
        """Hold every worker back, longer each time the server complains again."""
        now = time.monotonic()
        if now >= self.resume:  # several workers hit the same limit at once: count it once
            self.pause = min(max(self.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            self.resume = now + self.pause

    def speed_up(self) -> None:
        self.pause = 0.0
        self.answered += 1


@dataclass(slots=True)
class _Source:
    """The requests, taken one at a time.

    Attributes:
        numbered: Each with its number, from 0.
        lazy: Reading them runs the user's own code, which may take its time.
        failure: Why they ended before their end; what is under way is answered all the same.
    """

    numbered: Iterator[tuple[int, ImageRequest]]
    lazy: bool
    failure: OptionError | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self) -> tuple[int, ImageRequest] | None:
        """Return the next request; None: there is none."""
        try:
            if not self.lazy:
                return next(self.numbered, None)
            async with self._turn:  # a generator cannot be entered twice
                return await asyncio.to_thread(next, self.numbered, None)
        except OptionError as error:
            self.failure = error
            return None


async def generate_each(
    generator: Generator,
    requests: Iterator[ImageRequest],
    progress: Progress,
    *,
    concurrency: int,
    rate: float | None,
    lazy: bool = False,
) -> None:
    """Answer every request; results are in `progress`, complete or as far as it came.

    Args:
        generator: Answers one request.
        requests: Read one at a time, as workers become free.
        progress: Takes images and counts.
        concurrency: Requests under way at the server at the same time.
        rate: Requests per second; None or 0: no limit.
        lazy: Reading `requests` runs the user's own generator, which may take its time.

    Raises:
        XaiError: The key is refused, the limit allows not even one request, or the server's rate
            limit lets nothing through: no further prompt could succeed. Or `requests` failed.
    """
    from aiolimiter import AsyncLimiter  # noqa: PLC0415  # 20 ms that one image need not pay

    # A bucket of one: requests go out evenly, as the server counts them.
    pace = _Pace(AsyncLimiter(1, 1 / rate) if rate else None)
    slots = asyncio.Semaphore(concurrency)
    keeper = generator.keeper

    async def before_send() -> None:
        await pace.wait()
        keeper.check_kept()

    generator = replace(generator, slots=slots, before_send=before_send, on_attempt=pace.on_attempt)
    source = _Source(enumerate(requests), lazy=lazy)

    # Twice as many: while one's reply is being saved, another's request is under way.
    workers = [
        asyncio.ensure_future(_work(generator, source, pace, progress))
        for _ in range(2 * concurrency)
    ]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if source.failure is not None:
        raise XaiError(f"{source.failure} What came before is kept.") from source.failure
    if pace.refused is not None and not progress.done:
        raise pace.refused


async def _work(generator: Generator, source: _Source, pace: _Pace, progress: Progress) -> None:
    """Answer one request after the other, until there are none or the limit is reached."""
    while not (source.lazy and progress.unsent) and (taken := await source.take()) is not None:
        number, request = taken
        try:
            images, failed = await _answer(generator, request, pace)
        except (BudgetError, NotKeptError) as error:
            pace.refused = pace.refused or error
            if isinstance(error, NotKeptError):
                progress.unsent_cure = error.cure
            progress.refused(number, [_card(request, error, "unsent")], error.reason)
        else:
            progress.answered(number, images, failed=failed)


async def _answer(
    generator: Generator, request: ImageRequest, pace: _Pace
) -> tuple[list[Picture], bool]:
    """Return the images of one request, or one card with the cause of its failure."""
    failure: XaiError | None = None
    placed = await generator.place(request)
    answered = pace.answered
    for _ in range(_ROUNDS):
        try:
            images = await generator.answer(placed)
        except RateLimitError as error:
            failure = error
            pace.slow_down()
            if error.maybe_billed:  # it is an error that says so, and never sent again
                return [_card(request, failure)], True
        except _HOPELESS as error:
            pace.failure = error
            raise
        except (BudgetError, NotKeptError):
            raise
        except XaiError as error:
            failure = error
            break
        else:
            pace.speed_up()
            return images, False
    if isinstance(failure, RateLimitError) and pace.answered == answered:
        pace.failure = failure
        raise failure  # minutes without a single success: the quota is used up
    return [_card(request, failure)], True


def _card(request: ImageRequest, error: XaiError | None, status: Status = "failed") -> Picture:
    return Picture(
        request=replace(request, inputs=()), status=status, error=f"{error}", model=request.model
    )
