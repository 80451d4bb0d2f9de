"""`AsyncClient`, with the sub-clients for chat and for the API key.

The modules `image`, `batch` and `files` contain the other sub-clients.
"""

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


class AsyncClient:
    """An asynchronous client for xAI's API.

    The constructor opens no connection and needs no event loop. The first call opens the gRPC
    channel on the running event loop; all later calls must use the same loop.

    Attributes:
        image: Generates and edits images.
        models: Lists models and their prices.
        chat: Sends messages to a chat model.
        batch: Submits many requests as one job.
        files: Stores and shares files.
        auth: Describes the API key.
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
            api_key: API key; default: `XAI_API_KEY`. `""` sends no key, which is only possible
                with a loopback host.
            api_host: `host`, `host:port` or `localhost:port`; default: `XAI_API_HOST`, or
                `api.x.ai` if that is not set.
            timeout: Deadline of a call in seconds, over all attempts; default: 1620.
            metadata: Headers of every call, as pairs of a name and a string, or of a name that ends
                with `-bin` and bytes.
            channel_options: gRPC channel options; they override the client's. With
                `grpc.enable_retries` and a service config with a retryPolicy, gRPC's core retries
                calls by that policy, also if the connection broke, and does not report its
                retries. The client itself then does not retry.
            on_attempt: Called on the event loop with each failed attempt that is retried, before
                the wait. Its exceptions are logged.
            title: The server's name in error messages; default: its host.
            max_attempts: Maximum number of attempts of a call. A call that costs money is only
                retried if the server did not begin to serve it.

        Raises:
            ConfigurationError: The API key is missing, or the key, host or metadata is invalid.
            OptionError: `timeout` is not a positive number, or `max_attempts` is not a positive
                integer.
        """
        # Tracebacks may show local variables: remove the plain text before anything can fail.
        given, extra = [api_key], [metadata or ()]
        del api_key, metadata
        key = (
            settings.environment_key("XAI_API_KEY")
            if given[0] is None
            else settings.take_key(given)
        )
        headers = call_metadata(extra.pop())
        endpoint = Endpoint.parse(
            api_host or settings.variable("XAI_API_HOST") or settings.DEFAULT_API_HOST
        )
        if key is None and not endpoint.loopback:
            raise ConfigurationError(
                f"There is no API key for {endpoint}. Set XAI_API_KEY to a key from console.x.ai."
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
        # A traceback may print a client whose constructor failed.
        connection = vars(self).get("_connection")
        return (
            f"AsyncClient(api_host={str(connection.endpoint)!r})" if connection else "AsyncClient()"
        )

    async def __aenter__(self) -> Self:
        self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def download(self, url: str, *, timeout: float | None = None) -> bytes:
        """Download an image from a URL of an earlier reply.

        `timeout` is in seconds; the default and maximum is two minutes.

        Raises:
            DownloadError: The URL is not allowed, has expired, or is not an image.
        """
        return (await self._downloader.fetch(url, timeout=timeout))[0]

    async def close(self) -> None:
        """Close the channel and cancel its calls. Images of earlier replies can still be read."""
        await self._connection.close()
        self._downloader.close()


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """The answer of a chat model.

    Attributes:
        content: Text of the answer.
        model: Name of the model that answered, with aliases resolved.
        usage: Numbers of tokens, and the cost.
        cost_usd: Cost in US dollars; None if not reported.
    """

    content: str
    model: str
    usage: wire.SamplingUsage
    cost_usd: float | None


class ChatClient:
    """Sends messages to a chat model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def complete(  # the options of the API's message
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
            prompt: The user's message.
            model: Name of a chat model.
            system: The system message.
            max_tokens: Length limit of the answer, in tokens.
            temperature: Sampling temperature, 0 to 2; default: the server's.
            user: Opaque id of the end user.
            timeout: Deadline in seconds over all attempts; default: the client's.
            on_attempt: Called with each failed attempt that is retried.

        Raises:
            OptionError: A value cannot be sent. Nothing was sent.
            ApiError: The server sent a status other than OK, or did not answer.
            ReplyError: The answer has no text.
        """
        try:
            request = wire.GetCompletionsRequest(
                model=model, user=user or "", max_tokens=max_tokens, temperature=temperature
            )
            if system is not None:
                request.messages.add(role=wire.MessageRole.ROLE_SYSTEM).content.add(text=system)
            request.messages.add(role=wire.MessageRole.ROLE_USER).content.add(text=prompt)
        except (TypeError, ValueError) as error:
            raise OptionError(f"An option of the chat request cannot be sent: {error}") from error
        reply = await self._connection.unary(
            wire.GET_COMPLETION,
            request,
            wire.GetChatCompletionResponse,
            model=model,
            timeout=timeout,
            on_attempt=on_attempt,
        )
        texts = (output.message.content for output in reply.outputs if output.message.content)
        content = next(texts, "")
        if not content.strip():
            failure = ReplyError(
                f"The chat model {model!r} gave no text. Try again, or another model."
            )
            failure.cost_usd = cost_usd(reply.usage)
            raise failure
        return ChatResponse(
            bounds.text(content), bounds.line(reply.model), reply.usage, cost_usd(reply.usage)
        )


class AuthClient:
    """Describes the API key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get_api_key_info(self, *, timeout: float | None = None) -> wire.ApiKey:
        """Return the key's name, owner and permissions, and whether it is blocked; free of charge.

        Raises:
            ApiError: The server sent a status other than OK, or did not answer.
        """
        with call_span("get_api_key_info"):
            return await self._connection.unary(
                wire.GET_API_KEY_INFO, wire.Empty(), wire.ApiKey, timeout=timeout
            )
