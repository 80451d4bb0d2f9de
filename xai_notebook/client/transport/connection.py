"""A client's gRPC channel, and calls with retries, a deadline and translated errors."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc.aio
from google.protobuf.message import DecodeError, Message

from xai_notebook import settings
from xai_notebook.client.response import parse_reply
from xai_notebook.client.transport.call import (
    Deadline,
    Failure,
    FailureKind,
    NoMessageError,
    TooLongError,
    exchange,
    receive_all,
)
from xai_notebook.client.transport.channel import core_retries, open_channel
from xai_notebook.client.transport.retry import (
    IDEMPOTENT,
    MAX_ATTEMPTS,
    Attempt,
    notify,
    wait_before_retry,
)
from xai_notebook.client.transport.scrubbing import scrub_message
from xai_notebook.client.transport.status import CallInfo, scrub_error, translate
from xai_notebook.errors import (
    CallCancelledError,
    ConfigurationError,
    DownloadError,
    ForkedProcessError,
    OptionError,
    ReplyError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from xai_notebook.client.addresses import Endpoint
    from xai_notebook.client.transport.retry import OnAttempt
    from xai_notebook.settings import ApiKey

Reply = TypeVar("Reply", bound=Message)
_T = TypeVar("_T")
OnReply: TypeAlias = "Callable[[bytes], object]"

_started_in: int | None = None
"""Id of the process that first opened a channel; gRPC does not work in a fork of it."""


class Connection:
    """Sends requests and returns replies, with retries and one deadline over all attempts.

    The first call opens the channel on the running event loop. Later calls must use the same loop,
    because grpc.aio's objects are tied to it.

    Attributes:
        endpoint: Host and port of the server.
        timeout: Default deadline of a call, in seconds.
    """

    def __init__(  # the options of AsyncClient
        self,
        endpoint: Endpoint,
        key: ApiKey | None,
        *,
        timeout: float | None,
        metadata: grpc.aio.Metadata,
        channel_options: Sequence[tuple[str, Any]],
        on_attempt: OnAttempt | None,
        title: str | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self.endpoint = endpoint
        self.timeout = settings.DEFAULT_TIMEOUT if timeout is None else timeout
        Deadline.after(self.timeout)  # rejects an invalid default before the first call
        self._title = title or str(endpoint)
        self._key = key
        self._metadata = metadata
        self._channel_options = tuple(channel_options)
        self._on_attempt = on_attempt
        if not isinstance(max_attempts, int) or max_attempts < 1:
            raise OptionError(f"max_attempts is {max_attempts!r}. Give a positive whole number.")
        # If gRPC's core retries, each of our attempts would consist of several of its attempts.
        self._max_attempts = 1 if core_retries(self._channel_options) else max_attempts
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def unary(
        self,
        method: str,
        request: Message,
        reply: type[Reply],
        *,
        model: str = "",
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        on_reply: OnReply | None = None,
    ) -> Reply:
        """Send `request` and return the reply, a message of the class `reply`.

        `timeout` is in seconds, over all attempts; default: the client's. Error messages name the
        `model`. `on_attempt` is called with each failed attempt that is retried, after the client's
        own callback, and `on_reply` with the bytes of the reply before they are parsed.

        Raises:
            ApiError: The server sent a status other than OK, or did not answer.
            ReplyError: The reply cannot be parsed. The work may have been billed.
            ConfigurationError: The client is closed or belongs to another event loop.
            ForkedProcessError: gRPC was used before this process was forked.
        """
        send: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.open().stream_stream(method)
        payload = request.SerializeToString()
        data = await self._call(
            method,
            lambda **options: exchange(send(**options), payload),
            model=model,
            timeout=timeout,
            on_attempt=on_attempt,
        )
        if on_reply is not None:
            on_reply(data)
        return self._parse(reply, data)

    async def stream_unary(
        self,
        method: str,
        messages: Callable[[], AsyncGenerator[Message]],
        reply: type[Reply],
        *,
        repeatable: bool,
        timeout: float | None = None,
    ) -> Reply:
        """Send a stream of messages and return the reply; works like `unary`.

        `messages` is called for each attempt. There is only one attempt unless `repeatable` is
        true. If `messages` raises an exception, the call is cancelled.
        """
        send: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.open().stream_stream(method)

        async def payloads() -> AsyncGenerator[bytes]:
            async with aclosing(messages()) as stream:
                async for message in stream:
                    yield message.SerializeToString()

        data = await self._call(
            method,
            lambda **options: exchange(send(**options), payloads()),
            timeout=timeout,
            max_attempts=self._max_attempts if repeatable else 1,
        )
        return self._parse(reply, data)

    async def unary_stream(
        self,
        method: str,
        request: Message,
        reply: type[Reply],
        *,
        max_bytes: int,
        timeout: float | None = None,
    ) -> list[Reply]:
        """Send a request and return all messages of the reply; works like `unary`.

        Raises:
            DownloadError: The messages together have more than `max_bytes`.
        """
        send: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.open().unary_stream(method)
        payload = request.SerializeToString()
        try:
            parts = await self._call(
                method,
                lambda **options: receive_all(send(payload, **options), max_bytes),
                timeout=timeout,
            )
        except TooLongError as error:
            raise DownloadError(
                f"{self._title} sent more than {max_bytes:,} bytes. Raise max_bytes."
            ) from error
        return [self._parse(reply, part) for part in parts]

    async def _call(
        self,
        method: str,
        make_attempt: Callable[..., Awaitable[_T]],
        *,
        model: str = "",
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        max_attempts: int | None = None,
    ) -> _T:
        """Make attempts until one succeeds, and return its result; works like `unary`.

        `make_attempt` is called with the options `timeout` and `metadata` of a gRPC call.
        """
        error: Exception
        deadline = Deadline.after(self.timeout if timeout is None else timeout)
        max_attempts = max_attempts or self._max_attempts
        attempts = 0
        while True:
            attempts += 1
            left = max(deadline.remaining(), 0.001)
            try:
                return await make_attempt(timeout=left, metadata=self._metadata)
            except Failure as failure:
                # Drop the traceback: its frames refer to the task, which refers to this exception.
                rpc_error, kind = failure.with_traceback(None).error, failure.kind
            except NoMessageError as cause:
                raise ReplyError(self._broken_reply("ended early")) from cause.with_traceback(None)
            except grpc.aio.BaseError as raised:
                error, kind = raised, FailureKind.LOST
                break
            except asyncio.CancelledError:
                self._raise_if_closed_meanwhile()
                raise
            # Not in the handler: `__context__` would keep the original error, perhaps with the key.
            error = rpc_error = scrub_error(rpc_error, self._key)
            wait = wait_before_retry(method, rpc_error, kind, attempts)
            if attempts >= max_attempts or wait is None or wait >= deadline.remaining():
                break
            attempt = Attempt(
                number=attempts,
                of=max_attempts,
                method=method,
                error_code=rpc_error.code().name,
                wait=wait,
                elapsed=deadline.elapsed(),
            )
            notify((self._on_attempt, on_attempt), attempt)
            await asyncio.sleep(wait)
        if method in IDEMPOTENT and kind is FailureKind.UNPROVEN:
            kind = FailureKind.REFUSED  # an idempotent call cannot have been billed
        call = CallInfo(
            self._title,
            self._key,
            model,
            deadline.timeout,
            attempts=attempts,
            elapsed=deadline.elapsed(),
            method=method,
            loopback=self.endpoint.loopback,
        )
        raise translate(error, call, kind) from error

    def _parse(self, kind: type[Reply], data: bytes) -> Reply:
        try:
            # Not by gRPC, which would log an error about an invalid reply and return None.
            message = parse_reply(kind, data)
        except DecodeError as error:
            raise ReplyError(self._broken_reply("cannot be read")) from error
        scrub_message(message, self._key)
        return message

    def _broken_reply(self, problem: str) -> str:
        return (
            f"The reply of {self._title} {problem}; the request may have been billed."
            " Check XAI_API_HOST."
        )

    def open(self) -> grpc.aio.Channel:
        """Return the channel; the first call opens it on the running event loop.

        Raises:
            ConfigurationError: The client is closed or belongs to another event loop.
            ForkedProcessError: gRPC was used before this process was forked.
        """
        global _started_in  # noqa: PLW0603  # one value per process
        if _started_in not in {None, os.getpid()}:
            raise ForkedProcessError(
                "gRPC was used before this process was forked, and cannot be used in the child."
                ' Start processes with multiprocessing.get_context("spawn").'
            )
        if self._closed:
            raise ConfigurationError("This AsyncClient is closed. Make a new one.")
        loop = asyncio.get_running_loop()
        if self._channel is None:
            _started_in = os.getpid()
            self._channel = open_channel(self.endpoint, self._key, self._channel_options)
            self._loop = loop
        elif loop is not self._loop:
            raise ConfigurationError(
                "This AsyncClient belongs to another event loop. Make one client for each loop."
            )
        return self._channel

    async def close(self) -> None:
        """Close the channel and cancel its calls; on another event loop, only drop the channel."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None and self._loop is asyncio.get_running_loop():
            await channel.close()

    def _raise_if_closed_meanwhile(self) -> None:
        """Raise an error if `close`, and not the cancellation of a task, ended the call."""
        task = asyncio.current_task()
        # Python 3.10 cannot distinguish the two, so it raises the CancelledError.
        cancelling = getattr(task, "cancelling", None)
        if self._closed and cancelling is not None and not cancelling():
            raise CallCancelledError("The client was closed during a call.", code="CANCELLED")
