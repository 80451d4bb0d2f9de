"""Everything that can be made to go wrong on purpose."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from xai_notebook.client import wire

__all__ = ["BatchFaults", "Fault", "Faults", "FileFaults", "Refusal"]

Fault = (
    grpc.StatusCode
    | tuple[grpc.StatusCode, str]
    | tuple[grpc.StatusCode, str, Sequence[tuple[str, str | bytes]]]
)
"""A status, with details and trailing metadata when wanted."""


class Refusal(Exception):  # noqa: N818  # not an error of ours: an answer to the client
    """Ends a call with a status."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing: Sequence[tuple[str, str | bytes]] = (),
        *,
        begun: bool = False,
    ) -> None:
        """Keep what `context.abort` wants, and whether a reply is to begin before that."""
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing = tuple(trailing)
        self.begun = begun


PACE = 25.0
"""Requests of a batch done in a second."""
LIFETIME = 24 * 3600.0
"""Seconds after which a batch's results cannot be read any more."""


@dataclass(kw_only=True)
class BatchFaults:
    """What batches can be made to do wrong.

    Attributes:
        pace: Requests done in a second; counts for what is added from then on.
        lifetime: Seconds until a batch expires.
        lost_creates: Of so many calls to come the batch is made, and the reply breaks off.
        lost_adds: Of so many calls to come the requests are added, and the reply breaks off.
        cancelled: The service cancels every batch that has not ended, with this for its reason.
        stateless: Batches come without their state.
        repeat_token: Every page names the same next one, for ever.
        neither: Ids of requests whose result has neither an answer nor an error.
        unbatchable: Models that cannot be batched.
        failure: Every call about batches fails with this.
    """

    pace: float = PACE
    lifetime: float = LIFETIME
    lost_creates: int = 0
    lost_adds: int = 0
    cancelled: str = ""
    stateless: bool = False
    repeat_token: bool = False
    neither: frozenset[str] = frozenset()
    unbatchable: frozenset[str] = frozenset()
    failure: Fault | None = None


@dataclass(kw_only=True)
class FileFaults:
    """What the file store can be made to do wrong.

    Attributes:
        failure: Every call about files fails with this.
        chunk_delay: Seconds before each piece of a file's content.
        storage_error: Why pictures are not stored, though that is asked for.
        public_url_error: Why nothing stored gets a public link.
    """

    failure: Fault | None = None
    chunk_delay: float = 0.0
    storage_error: str = ""
    public_url_error: str = ""


@dataclass(kw_only=True)
class Faults:
    """Faults to inject. All can be changed while the server runs.

    Attributes:
        failures: Consumed by the next image calls, one each; None lets a call succeed.
        fail_when: Called with the image request and the call's number (from 1); a failure or None.
        after_work: The two above strike after the pictures were painted, not before.
        delay: Seconds an image call takes longer, or a function of the request that says so.
        short: How many images fewer than asked are returned.
        garbage: Bytes returned instead of every image.
        empty: The image field is left out, though moderation had nothing against it.
        no_prefix: base64 comes without its `data:image/jpeg;base64,`.
        min_bytes: Every image is padded to this many bytes, and is still a good JPEG.
        up_sampled: False leaves `up_sampled_prompt` empty, as today's servers do.
        model_name: Reported as the model that answered, instead of `local-preview`.
        cost_ticks: Cost per image in ticks of 1e-10 USD; None: not reported at all.
        input_ticks: What each input image adds to the cost of a request, in the same ticks.
        chat_ticks: Cost of a chat call, in the same ticks; None: not reported at all.
        image_price: List price of every model, in ticks of 1e-10 USD per image.
        models_failure: Every call about models fails with this.
        chat_failure: Every chat call fails with this.
        chat_text: Answer of every chat call, instead of a rewritten prompt; may be empty.
        download_delay: Seconds before an image's URL answers.
        download_status: HTTP status of every image's URL, such as 404 or 503.
        download_short: Bytes that are missing at the end of every download.
        batches: What batches do wrong.
        files: What the file store does wrong.
    """

    failures: Iterable[Fault | None] = ()
    fail_when: Callable[[wire.GenerateImageRequest, int], Fault | None] | None = None
    after_work: bool = False
    delay: float | Callable[[wire.GenerateImageRequest], float] = 0.0
    short: int = 0
    garbage: bytes | None = None
    empty: bool = False
    no_prefix: bool = False
    min_bytes: int = 0
    up_sampled: bool = True
    model_name: str | None = None
    cost_ticks: int | None = 0
    input_ticks: int = 0
    chat_ticks: int | None = 0
    image_price: int = 0
    models_failure: Fault | None = None
    chat_failure: Fault | None = None
    chat_text: str | None = None
    download_delay: float = 0.0
    download_status: int = 200
    download_short: int = 0
    batches: BatchFaults = field(default_factory=BatchFaults)
    files: FileFaults = field(default_factory=FileFaults)
    _left: deque[Fault | None] = field(default_factory=deque, init=False, repr=False)
    _source: Any = field(default=None, init=False, repr=False)

    def next_failure(self, request: wire.GenerateImageRequest, number: int) -> Fault | None:
        """Return what this image call shall fail with, and use it up."""
        if self.failures is not self._source:  # set or replaced since the last call
            self._source = self.failures
            self._left = deque(self.failures)
        failure = self._left.popleft() if self._left else None
        if failure is None and self.fail_when is not None:
            failure = self.fail_when(request, number)
        return failure

    async def wait(self, request: wire.GenerateImageRequest) -> None:
        """Sleep for `delay`; a cancelled call wakes up at once."""
        seconds = self.delay(request) if callable(self.delay) else self.delay
        if seconds > 0:
            await asyncio.sleep(seconds)

    @staticmethod
    def strike(failure: Fault | None) -> None:
        """End the call with `failure`, if there is one.

        Raises:
            Refusal: There is one.
        """
        if failure is None:
            return
        if isinstance(failure, grpc.StatusCode):
            raise Refusal(failure, "injected fault")
        raise Refusal(*failure)
