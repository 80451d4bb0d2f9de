"""One channel on one event loop, and the way every call takes through it."""

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
from xai_notebook.client.transport.channel import open_channel, retries_itself
from xai_notebook.client.transport.retry import MAX_ATTEMPTS, Retries, RetryPolicy
from xai_notebook.client.transport.scrubbing import scrub_message
from xai_notebook.client.transport.status import CallInfo, scrubbed, translate
from xai_notebook.errors import (
    CallCancelledError,
    ConfigurationError,
    DownloadError,
    ForkedProcessError,
    ReplyError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from xai_notebook.client.addresses import Endpoint
    from xai_notebook.client.transport.retry import OnAttempt
    from xai_notebook.settings import ApiKey

__all__ = ["Connection", "OnReply"]

Reply = TypeVar("Reply", bound=Message)
_T = TypeVar("_T")
OnReply: TypeAlias = "Callable[[bytes], object]"

_started_in: int | None = None
"""The process in which a channel was first opened: gRPC's threads do not survive a fork."""


class Connection:
    """Sends requests and receives replies, with retries and one deadline over all of them.

    The channel is opened by the first call, on its event loop: everything of grpc.aio belongs
    to the loop it was made on.
    """

    def __init__(  # it is what AsyncClient takes
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
        """Keep what calls need; nothing is opened."""
        self.endpoint = endpoint
        self._title = title or str(endpoint)
        self._key = key
        self._timeout = settings.DEFAULT_TIMEOUT if timeout is None else timeout
        Deadline.after(self._timeout)  # a bad default is better refused before the first call
        self._metadata = metadata
        self._channel_options = tuple(channel_options)
        self._on_attempt = on_attempt
        RetryPolicy(max_attempts)
        # Attempts of gRPC's core and ours would multiply: five times five.
        self._max_attempts = 1 if retries_itself(self._channel_options) else max_attempts
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Return where it goes, and no key."""
        return f"Connection({self.endpoint})"

    @property
    def timeout(self) -> float:
        """Deadline in seconds of a call that names none."""
        return self._timeout

    async def unary(  # noqa: PLR0913  # one call has that many sides
        self,
        method: str,
        request: Message,
        reply: type[Reply],
        *,
        model: str = "",
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        idempotent: bool = False,
        only_unsent: bool = False,
        on_reply: OnReply | None = None,
    ) -> Reply:
        """Send `request`, return the reply.

        Args:
            method: Path of the method.
            request: The message.
            reply: The class of the answer.
            model: What to call the model in an error.
            timeout: Deadline in seconds over all attempts; default: the client's.
            on_attempt: Hears of each failed attempt that is made again, after the client's own.
            idempotent: Asking twice costs nothing: try again also where no refusal is proven.
            only_unsent: Arriving twice would order twice: try again only if it never left.
            on_reply: Given the bytes of the reply, before anything looks at them.

        Raises:
            ApiError: The server answered with a status other than OK, or not at all.
            ReplyError: The answer is no such message. What it was for may have been billed.
            ConfigurationError: The client is closed or belongs to another event loop.
            ForkedProcessError: gRPC was used before this process was forked.
        """
        send: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.open().stream_stream(method)
        payload = request.SerializeToString()
        data = await self._call(
            method,
            lambda **options: exchange(send(**options), _alone(payload)),
            model=model,
            timeout=timeout,
            on_attempt=on_attempt,
            idempotent=idempotent,
            only_unsent=only_unsent,
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
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        max_attempts: int | None = None,
    ) -> Reply:
        """Send a stream of messages, return the reply.

        Args:
            method: Path of the method.
            messages: Called for each attempt; gives them from the first one on.
            reply: The class of the answer.
            timeout: As in `unary`.
            on_attempt: As in `unary`.
            max_attempts: 1: `messages` can be had only once. Default: the client's.

        Raises:
            XaiError: As in `unary`.
            Exception: What `messages` raises. The call is cancelled then.
        """
        send: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.open().stream_stream(method)

        async def pieces() -> AsyncGenerator[bytes]:
            async with aclosing(messages()) as given:
                async for message in given:
                    yield message.SerializeToString()

        data = await self._call(
            method,
            lambda **options: exchange(send(**options), pieces()),
            timeout=timeout,
            on_attempt=on_attempt,
            max_attempts=max_attempts,
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
        on_attempt: OnAttempt | None = None,
    ) -> list[Reply]:
        """Send `request`, return all messages of the answer, which costs nothing to ask for twice.

        Args:
            method: Path of the method.
            request: The message.
            reply: The class of the answer's messages.
            max_bytes: That they may have together.
            timeout: As in `unary`.
            on_attempt: As in `unary`.

        Raises:
            XaiError: As in `unary`.
            DownloadError: The answer is longer than `max_bytes`.
        """
        send: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.open().unary_stream(method)
        payload = request.SerializeToString()
        try:
            parts = await self._call(
                method,
                lambda **options: receive_all(send(payload, **options), max_bytes),
                timeout=timeout,
                on_attempt=on_attempt,
                idempotent=True,
            )
        except TooLongError as error:
            raise DownloadError(
                f"{self._title} sent more than {max_bytes:,} bytes. Raise max_bytes."
            ) from error
        return [self._parse(reply, part) for part in parts]

    async def _call(
        self,
        method: str,
        begin: Callable[..., Awaitable[_T]],
        *,
        model: str = "",
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        idempotent: bool = False,
        only_unsent: bool = False,
        max_attempts: int | None = None,
    ) -> _T:
        """Return what `begin` returns, called for each attempt with the options of a gRPC call."""
        error: Exception
        deadline = Deadline.after(self._timeout if timeout is None else timeout)
        callbacks = [one for one in (self._on_attempt, on_attempt) if one is not None]
        policy = RetryPolicy(
            max_attempts or self._max_attempts, idempotent=idempotent, only_unsent=only_unsent
        )
        retries = Retries(method, deadline, policy, callbacks)

        async def attempt() -> _T:
            left = max(deadline.remaining(), 0.001)
            return await self._scrubbed(begin(timeout=left, metadata=self._metadata))

        try:
            return await retries.run(attempt)
        except Failure as failure:
            error, fate = failure.error, failure.fate
            if idempotent and fate is FailureKind.UNPROVEN:
                fate = FailureKind.REFUSED  # nothing is billed either way
        except grpc.aio.BaseError as raised:
            error, fate = raised, FailureKind.LOST
        except asyncio.CancelledError:
            self._raise_if_closed_meanwhile()
            raise
        spent = (deadline.timeout, retries.sent, deadline.elapsed())
        call = CallInfo(self._title, self._key, model, *spent, method, self.endpoint.loopback)
        raise translate(error, call, fate) from error

    async def _scrubbed(self, receiving: Awaitable[_T]) -> _T:
        """Return what is being received, or fail without the key in the failure.

        Raises:
            Failure: There is none.
            ReplyError: There is none, and the server says that all is well.
        """
        try:
            return await receiving
        except Failure as failure:
            # Its frames hold the task that it is the result of: itself, and the call.
            error, fate = failure.with_traceback(None).error, failure.fate
        except NoMessageError as none:
            raise ReplyError(self._broken("ended early")) from none.with_traceback(None)
        # Outside of the handler: an echoed key would stay as its context.
        raise Failure(scrubbed(error, self._key), fate)

    def _parse(self, kind: type[Reply], data: bytes) -> Reply:
        try:
            # Parsed here and not by gRPC, which logs a broken reply and returns None.
            message = parse_reply(kind, data)
        except DecodeError as error:
            raise ReplyError(self._broken("cannot be read")) from error
        scrub_message(message, self._key)
        return message

    def _broken(self, how: str) -> str:
        return (
            f"The reply of {self._title} {how}; what was asked for may have been billed."
            " Check XAI_API_HOST."
        )

    def open(self) -> grpc.aio.Channel:
        """Return the channel, opened if need be. Call it on the event loop that will use it."""
        global _started_in  # noqa: PLW0603  # it is a fact about the process
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
        """Close the channel; calls under way are cancelled. May be called again."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None and self._loop is asyncio.get_running_loop():
            await channel.close()

    def _raise_if_closed_meanwhile(self) -> None:
        """Tell a call cut short by close() from a task that was itself cancelled."""
        task = asyncio.current_task()
        # Python 3.10 cannot tell; there the cancellation stands.
        cancelling = getattr(task, "cancelling", None)
        if self._closed and cancelling is not None and not cancelling():
            raise CallCancelledError(
                "The client was closed while a call was under way.", code="CANCELLED"
            )


async def _alone(message: bytes) -> AsyncGenerator[bytes]:
    """Give the only message of a request."""
    yield message
