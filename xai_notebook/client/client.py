"""`AsyncClient`: a channel and its sub-clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_notebook import settings
from xai_notebook.client import bounds, wire
from xai_notebook.client.addresses import Endpoint
from xai_notebook.client.batch import BatchClient
from xai_notebook.client.files import FilesClient
from xai_notebook.client.http import Downloader
from xai_notebook.client.image import ImageClient, ModelsClient
from xai_notebook.client.response import cost_usd
from xai_notebook.client.telemetry import call_span
from xai_notebook.client.transport.channel import call_metadata
from xai_notebook.client.transport.connection import Connection
from xai_notebook.client.transport.retry import MAX_ATTEMPTS, Attempt
from xai_notebook.errors import ConfigurationError, OptionError, ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from xai_notebook.client.transport.retry import OnAttempt
    from xai_notebook.settings import ApiKey

__all__ = ["AsyncClient", "AuthClient", "ChatClient", "ChatResponse"]


class AuthClient:
    """Asks about the key."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def get_api_key_info(self, *, timeout: float | None = None) -> wire.ApiKey:
        """Return the key's name, owner and permissions, and whether it is blocked. Costs nothing.

        Args:
            timeout: Deadline in seconds over all attempts; default: the client's.

        Raises:
            ApiError: The server answered with a status other than OK.
        """
        with call_span("get_api_key_info"):
            return await self._connection.unary(
                wire.GET_API_KEY_INFO,
                wire.Empty(),
                wire.ApiKey,
                timeout=timeout,
                idempotent=True,
            )


class AsyncClient:
    """A channel and its sub-clients.

    Making one opens nothing and needs no event loop. The first call opens the channel on its
    loop, and every later call must be on the same one.

    Attributes:
        image: Makes images.
        models: Asks about models.
        chat: Rewrites prompts.
        batch: Hands over requests as one job.
        files: Stores files.
        auth: Asks about the key.
    """

    def __init__(  # named as in xAI's SDK
        self,
        api_key: str | ApiKey | None = None,
        *,
        api_host: str | None = None,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        channel_options: Sequence[tuple[str, Any]] | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
        title: str | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        """Check the options.

        Args:
            api_key: Default: `XAI_API_KEY`. A server on loopback needs none, and `""` sends none.
            api_host: `host`, `host:port` or `localhost:port`; default: `XAI_API_HOST`, `api.x.ai`.
            timeout: Deadline of a call in seconds, over all attempts; default: 1620.
            metadata: Sent with every call: pairs of a name and its text; bytes where the name ends
                with `-bin`.
            channel_options: gRPC channel options; they win over ours. With `grpc.enable_retries`
                and a service config with a retryPolicy, gRPC's core sends calls again by that
                policy, unseen and also where the connection broke; then nothing else does.
            on_attempt: Called on the event loop with each failed attempt that is made again,
                before the wait. What it raises is logged.
            title: What messages call the server; default: its host.
            max_attempts: How often a call is sent at most. Sent again is only what no server has
                begun to answer; 1: never again.

        Raises:
            ConfigurationError: There is no key, or key, host or metadata cannot be used.
            OptionError: The timeout is no positive number, or max_attempts no whole one.
        """
        # The plain text leaves this frame before anything can fail: tracebacks may show locals.
        given, extra = [api_key], [metadata or ()]
        del api_key, metadata
        key = settings.environment_key() if given[0] is None else settings.take_key(given)
        headers = call_metadata(extra.pop())
        endpoint = Endpoint.parse(
            api_host or settings.variable("XAI_API_HOST") or settings.DEFAULT_API_HOST
        )
        if key is None and not endpoint.loopback:
            raise ConfigurationError(
                f"No API key for {endpoint}. Set XAI_API_KEY; console.x.ai makes one."
            )
        self._connection = Connection(
            endpoint,
            key,
            timeout=timeout,
            metadata=headers,
            channel_options=channel_options or (),
            on_attempt=on_attempt,
            title=title,
            max_attempts=max_attempts,
        )
        self._downloader = Downloader(allow_loopback=endpoint.loopback)
        self.image = ImageClient(self._connection, self._downloader)
        self.models = ModelsClient(self._connection)
        self.chat = ChatClient(self._connection)
        self.batch = BatchClient(self._connection, self._downloader)
        self.files = FilesClient(self._connection)
        self.auth = AuthClient(self._connection)

    def __repr__(self) -> str:
        """Return where it goes, and no key."""
        # A traceback may print a client whose options were refused half way through.
        connection = vars(self).get("_connection")
        return (
            f"AsyncClient(api_host={str(connection.endpoint)!r})" if connection else "AsyncClient()"
        )

    async def __aenter__(self) -> Self:
        """Open the channel on the running event loop."""
        self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def download(self, url: str, *, timeout: float | None = None) -> bytes:
        """Return the image at a URL that an earlier reply gave.

        Args:
            url: As the reply named it.
            timeout: Seconds; default: two minutes, which also hold when more is given.

        Raises:
            DownloadError: The URL is not allowed, has expired, or holds no image.
        """
        return (await self._downloader.fetch(url, timeout=timeout))[0]

    async def close(self) -> None:
        """Close the channel. Calls under way are cancelled; images already replied stay usable."""
        await self._connection.close()
        self._downloader.close()


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """What the chat model answered.

    Attributes:
        content: Its text.
        model: The model that answered, aliases resolved.
        usage: Tokens.
        cost_usd: US dollars, or None if the server did not say.
    """

    content: str
    model: str
    usage: wire.SamplingUsage
    cost_usd: float | None


class ChatClient:
    """Asks a chat model for one answer."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def complete(  # the options of the wire
        self,
        prompt: str,
        model: str,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        user: str | None = None,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> ChatResponse:
        """Return the answer to one message.

        Args:
            prompt: What the user says.
            model: Name of a chat model.
            system: What the model is told before.
            max_tokens: Length limit of the answer, in tokens.
            temperature: 0 to 2; the server's default when not given.
            user: Opaque id of the end user.
            timeout: Deadline in seconds over all attempts; default: the client's.
            on_attempt: Hears of each failed attempt that is made again.

        Raises:
            OptionError: A value cannot be sent. Nothing was.
            ApiError: The server answered with a status other than OK.
            ReplyError: The answer holds no text.
        """
        options = {"model": model, "user": user or "", "max_tokens": max_tokens}
        request = _request(prompt, system, **options, temperature=temperature)
        reply = await self._connection.unary(
            wire.GET_COMPLETION,
            request,
            wire.GetChatCompletionResponse,
            model=model,
            timeout=timeout,
            on_attempt=on_attempt,
        )
        return _answer(reply, model)


def _request(prompt: str, system: str | None, **options: Any) -> wire.GetCompletionsRequest:
    """Return the request; options that are None stay absent."""
    try:
        request = wire.GetCompletionsRequest(**options)
        if system is not None:
            request.messages.add(role=wire.MessageRole.ROLE_SYSTEM).content.add(text=system)
        request.messages.add(role=wire.MessageRole.ROLE_USER).content.add(text=prompt)
    except (TypeError, ValueError) as error:
        raise OptionError(f"An option of the chat request cannot be sent: {error}") from error
    return request


def _answer(reply: wire.GetChatCompletionResponse, model: str) -> ChatResponse:
    content = next((one.message.content for one in reply.outputs if one.message.content), "")
    if not content.strip():
        error = ReplyError(f"The chat model {model!r} gave no text. Try again, or another model.")
        error.cost_usd = cost_usd(reply.usage)
        raise error
    model = bounds.line(reply.model)
    return ChatResponse(bounds.text(content), model, reply.usage, cost_usd(reply.usage))
