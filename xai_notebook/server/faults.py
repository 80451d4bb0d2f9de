"""Fault injection: what a test can make the embedded server do wrong; and refusals of calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from xai_notebook.client import wire

Fault = (
    grpc.StatusCode
    | tuple[grpc.StatusCode, str]
    | tuple[grpc.StatusCode, str, Sequence[tuple[str, str | bytes]]]
)
"""A status, optionally with details and trailing metadata."""


class Refusal(Exception):  # noqa: N818  # a reply, not an error
    """Ends a call with a status.

    Args:
        code: The status.
        details: The message for the user.
        trailing: Trailing metadata.
        begun: Send initial metadata first, as if a reply had begun.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing: Sequence[tuple[str, str | bytes]] = (),
        *,
        begun: bool = False,
    ) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing = tuple(trailing)
        self.begun = begun


@dataclass(kw_only=True)
class BatchFaults:
    """Faults of batches.

    Attributes:
        pace: Requests completed per second; applies to requests added later.
        lifetime: Seconds until a batch expires and its results are gone.
        lost_creates: The next N calls create the batch, but their reply is lost.
        lost_adds: The next N calls add their requests, but their reply is lost.
        cancelled: The service cancels every running batch, for this reason.
        stateless: Batches come without their state.
        repeat_token: Every page has the same token of a next page, without end.
        neither: Ids of requests whose result has neither a response nor an error.
        unbatchable: Models that cannot be batched.
        failure: Every batch call fails with this.
    """

    pace: float = 25.0
    lifetime: float = 24 * 3600.0
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
    """Faults of the file store.

    Attributes:
        failure: Every file call fails with this.
        chunk_delay: Seconds before each piece of a file's content.
        storage_error: No picture is stored, for this reason.
        public_url_error: No stored file gets a public link, for this reason.
    """

    failure: Fault | None = None
    chunk_delay: float = 0.0
    storage_error: str = ""
    public_url_error: str = ""


@dataclass(kw_only=True)
class Faults:
    """Faults to inject. All can be changed while the server runs.

    Attributes:
        failures: One for each of the next image calls; None lets a call succeed.
        fail_when: Called with the image request and the number of the call, from 1; returns a
            failure or None.
        after_work: `failures` and `fail_when` apply after the pictures were made, not before.
        delay: Seconds that an image call takes longer, or a function of the request.
        short: Number of images missing in each reply.
        garbage: Bytes returned instead of every image.
        empty: Images come without data, though moderation passed them.
        no_prefix: base64 lacks its `data:image/jpeg;base64,`.
        min_bytes: Every image is padded to this many bytes, and is still a valid JPEG.
        up_sampled: False leaves `up_sampled_prompt` empty, as today's servers do.
        model_name: Reported as the model, instead of `local-preview`.
        cost_ticks: Cost per image in ticks of 1e-10 USD; None: not reported.
        input_ticks: Cost per input image, in ticks.
        chat_ticks: Cost of a chat call, in ticks; None: not reported.
        image_price: List price per image of every model, in ticks.
        models_failure: Every model call fails with this.
        chat_failure: Every chat call fails with this.
        chat_text: Reply of every chat call, instead of a rewritten prompt; may be empty.
        download_delay: Seconds before the URL of an image replies.
        download_status: HTTP status of every image URL, such as 404 or 503.
        download_short: Number of bytes missing at the end of every download.
        batches: Faults of batches.
        files: Faults of the file store.
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
        """Return the failure of this image call, if any, and consume it."""
        if self.failures is not self._source:  # set or replaced since the last call
            self._source = self.failures
            self._left = deque(self.failures)
        failure = self._left.popleft() if self._left else None
        if failure is None and self.fail_when is not None:
            failure = self.fail_when(request, number)
        return failure

    def failure_of(self, path: str) -> Fault | None:
        """Return the failure of every call of the service that has this method."""
        return {
            "Models": self.models_failure,
            "Chat": self.chat_failure,
            "BatchMgmt": self.batches.failure,
            "Files": self.files.failure,
        }.get(path.split("/")[1].removeprefix("xai_api."))

    async def wait(self, request: wire.GenerateImageRequest) -> None:
        """Sleep for `delay`."""
        seconds = self.delay(request) if callable(self.delay) else self.delay
        if seconds > 0:
            await asyncio.sleep(seconds)

    @staticmethod
    def strike(failure: Fault | None) -> None:
        """Raise `failure` as a `Refusal`, unless it is None."""
        if failure is None:
            return
        if isinstance(failure, grpc.StatusCode):
            raise Refusal(failure, "injected fault")
        raise Refusal(*failure)
