"""`AsyncClient`: a channel and its sub-clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xai_notebook import settings
from xai_notebook.client.auth import AuthClient
from xai_notebook.client.batch import BatchClient
from xai_notebook.client.chat import ChatClient
from xai_notebook.client.connection import Connection
from xai_notebook.client.download import Downloader
from xai_notebook.client.endpoint import Endpoint
from xai_notebook.client.files import FilesClient
from xai_notebook.client.image import ImageClient
from xai_notebook.client.interceptors import call_metadata
from xai_notebook.client.models import ModelsClient
from xai_notebook.client.retry import MAX_ATTEMPTS, Attempt
from xai_notebook.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from xai_notebook.settings import ApiKey

__all__ = ["AsyncClient"]


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
