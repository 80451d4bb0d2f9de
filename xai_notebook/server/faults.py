"""Fault injection for the embedded server, and `Refusal`, which ends a call with a status."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
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

    @classmethod
    def of(cls, fault: Fault) -> Refusal:
        """Return the refusal for an injected fault."""
        return cls(fault, "injected fault") if isinstance(fault, grpc.StatusCode) else cls(*fault)


@dataclass(kw_only=True)
class BatchFaults:
    """Faults of batches.

    Attributes:
        pace: Requests completed per second. A change applies to requests added later.
        lifetime: Seconds until a batch expires and its results are gone.
        lost_creates: The next N calls create the batch, but their reply is lost.
        lost_adds: The next N calls add their requests, but their reply is lost.
        cancelled: If set, the service cancels every running batch and gives this reason.
        stateless: Omit the state of a batch in replies.
        repeat_token: Every page has the same token for the next page, so the list never ends.
        neither: Ids of requests whose result has neither a response nor an error.
        unbatchable: Models that do not support batch requests.
        failure: If set, every batch call fails with this status.
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
        failure: If set, every file call fails with this status.
        chunk_delay: Seconds before each chunk of a file's content.
        storage_error: If set, no picture is stored, and replies give this reason.
        public_url_error: If set, no stored file gets a public link, and replies give this reason.
    """

    failure: Fault | None = None
    chunk_delay: float = 0.0
    storage_error: str = ""
    public_url_error: str = ""


@dataclass(kw_only=True)
class Faults:
    """Faults to inject. Each can be changed while the server runs.

    A failure is a `grpc.StatusCode`, or a tuple of it, the message and optionally trailing
    metadata. A request is the protobuf message, with fields such as `prompt` and `n`.

    Attributes:
        failures: Failures of the next image calls, in order. None lets a call succeed.
        fail_when: A function of the image request and the number of the call; the first call is 1.
            It returns a failure or None.
        after_work: `failures` and `fail_when` apply after the pictures were made, not before.
        delay: Seconds to wait before each image reply, or a function of the request that returns
            them. With a coroutine function, the reply waits until it has finished, and then for the
            seconds that it returns, if any. Calls that fail before the work are not delayed.
        short: Number of images missing in each reply.
        garbage: Bytes returned in place of each image file.
        empty: Images have no data, although moderation passed them.
        no_prefix: Omit the prefix `data:image/jpeg;base64,` of base64 images.
        min_bytes: Minimum size of each image, in bytes. Smaller JPEG files are padded and remain
            valid.
        up_sampled: False leaves `up_sampled_prompt` empty, like xAI's servers.
        model_name: Model name in replies, instead of `local-preview`.
        cost_ticks: Cost per image in ticks of 1e-10 USD. None reports no cost.
        input_ticks: Cost per input image, in ticks.
        chat_ticks: Cost of a chat call, in ticks. None reports no cost.
        image_price: List price per image of every model, in ticks.
        models_failure: If set, every call that lists models fails with this status.
        chat_failure: If set, every chat call fails with this status.
        chat_text: Reply to every chat call, instead of a rewritten prompt. Can be empty.
        download_delay: Seconds before each download of an image is answered.
        download_status: HTTP status of every image URL, such as 404 or 503.
        download_short: Number of bytes missing at the end of every download.
        batches: Faults of batches.
        files: Faults of the file store.
    """

    failures: Iterable[Fault | None] = ()
    fail_when: Callable[[wire.GenerateImageRequest, int], Fault | None] | None = None
    after_work: bool = False
    delay: float | Callable[[wire.GenerateImageRequest], float | Awaitable[float | None]] = 0.0
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
        """Return the failure for this image call, if any, and remove it from the queue."""
        self._read_failures()
        failure = self._left.popleft() if self._left else None
        if failure is None and self.fail_when is not None:
            failure = self.fail_when(request, number)
        return failure

    def add_failures(self, *failures: Fault | None) -> None:
        """Add failures of image calls after those in `failures`; None lets a call succeed."""
        self._read_failures()
        self._left.extend(failures)

    def _read_failures(self) -> None:
        if self.failures is not self._source:  # set or replaced since the last call
            self._source = self.failures
            self._left = deque(self.failures)

    def failure_of(self, path: str) -> Fault | None:
        """Return the failure set for the service that has this method, or None."""
        return {
            "Models": self.models_failure,
            "Chat": self.chat_failure,
            "BatchMgmt": self.batches.failure,
            "Files": self.files.failure,
        }.get(path.split("/")[1].removeprefix("xai_api."))
