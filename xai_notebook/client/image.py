"""Image generation and editing: sample one, sample a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.client import wire
from xai_notebook.client.encoding import build_request, encode, message
from xai_notebook.client.response import ImageResponse
from xai_notebook.client.telemetry import image_span
from xai_notebook.client.transport.call import Deadline
from xai_notebook.client.transport.status import one_line
from xai_notebook.errors import MissingImageError, NotFoundError, XaiError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from xai_notebook.client.http import Downloader
    from xai_notebook.client.request import ImageOptions, ImageRequest
    from xai_notebook.client.transport.connection import Connection, OnReply
    from xai_notebook.client.transport.retry import OnAttempt

__all__ = ["ImageClient", "ModelsClient", "image_price_usd"]

_LEAST_TICKS: Final = 100_000
"""From here on `image_price` is ticks; in US cents it would be $1,000 an image."""
_CENTS_PER_USD: Final = 100
_MOST_USD: Final = 100
"""A list price above this is no price."""


def image_price_usd(model: wire.ImageGenerationModel) -> float | None:
    """Return the list price of an image in US dollars; None: none that makes sense.

    The comment in xAI's public protos says that `image_price` is in US cents; wherever a real one
    was seen, it was in ticks of 1e-10 USD, 200000000 for $0.02. What one can mean the other cannot.
    """
    price = model.image_price
    usd = price / (wire.TICKS_PER_USD if price >= _LEAST_TICKS else _CENTS_PER_USD)
    return usd if 0 <= usd <= _MOST_USD else None


class ModelsClient:
    """Asks about models."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def list_image_generation_models(
        self, *, timeout: float | None = None
    ) -> list[wire.ImageGenerationModel]:
        """Return the image models the key may use; see `image_price_usd` for their prices.

        Args:
            timeout: Deadline in seconds; default: the client's.

        Raises:
            ApiError: The server answered with a status other than OK.
        """
        reply = await self._connection.unary(
            wire.LIST_IMAGE_GENERATION_MODELS,
            wire.Empty(),
            wire.ListImageGenerationModelsResponse,
            timeout=timeout,
            idempotent=True,
        )
        return list(reply.models)

    async def get_image_generation_model(
        self, name: str, *, timeout: float | None = None
    ) -> wire.ImageGenerationModel:
        """Return one model by its name or an alias.

        Args:
            name: Such as `grok-imagine-image`.
            timeout: Deadline in seconds; default: the client's.

        Raises:
            NotFoundError: There is no such model.
            ApiError: The server answered with another status.
        """
        return await self._connection.unary(
            wire.GET_IMAGE_GENERATION_MODEL,
            wire.GetModelRequest(name=name),
            wire.ImageGenerationModel,
            model=name,
            timeout=timeout,
            idempotent=True,
        )


class ImageClient:
    """Makes images."""

    def __init__(self, connection: Connection, downloader: Downloader) -> None:
        """Use `connection` for calls and `downloader` for images that come as URLs."""
        self._connection = connection
        self._downloader = downloader

    async def sample(
        self,
        prompt: str,
        model: str,
        *,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        **options: Unpack[ImageOptions],
    ) -> ImageResponse:
        """Make one image.

        Args:
            prompt: What it shows.
            model: Such as `grok-imagine-image`.
            timeout: Deadline in seconds over all attempts; default: the client's. What is left of
                it when the reply has come is what awaiting its images may take.
            on_attempt: Hears of each failed attempt that is made again.
            **options: `aspect_ratio`, `resolution`, `image_url` and so on; see `ImageOptions`.

        Raises:
            OptionError: A value is wrong. Nothing was sent.
            ApiError: The server answered with a status other than OK.
            MissingImageError: The reply holds no image.
        """
        request = build_request(prompt, model, 1, **options)
        responses = await self._generate("image.sample", request, timeout, on_attempt)
        if not responses:
            raise MissingImageError("The reply holds no image. Ask again, or change the prompt.")
        return responses[0]

    async def sample_batch(
        self,
        prompt: str,
        model: str,
        n: int,
        *,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        **options: Unpack[ImageOptions],
    ) -> list[ImageResponse]:
        """Make `n` images in one request.

        Args:
            prompt: What they show.
            model: Such as `grok-imagine-image`.
            n: How many, 1 to 10.
            timeout: As in `sample`, like all that follow.
            on_attempt: As in `sample`.
            **options: As in `sample`.

        Returns:
            As many as the server sent: fewer than `n`, or none, is no error. Nothing is decoded
            or downloaded yet; `await response.image` does.

        Raises:
            OptionError: A value is wrong. Nothing was sent.
            ApiError: The server answered with a status other than OK.
        """
        request = build_request(prompt, model, n, **options)
        return await self._generate("image.sample_batch", request, timeout, on_attempt)

    async def send(
        self,
        request: ImageRequest,
        *,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        on_reply: OnReply | None = None,
    ) -> list[ImageResponse]:
        """Make the images of a request; see `sample_batch`.

        Args:
            request: What to make.
            timeout: As in `sample`.
            on_attempt: As in `sample`.
            on_reply: Given the reply's bytes as they came, before anything looks at them.
        """
        encoded = encode(request)
        return await self._generate("image.sample_batch", encoded, timeout, on_attempt, on_reply)

    def prepare(
        self,
        prompt: str,
        model: str,
        *,
        batch_request_id: str | None = None,
        **options: Unpack[ImageOptions],
    ) -> wire.BatchRequest:
        """Return a request for one image that can be added to a batch. Nothing is sent.

        Args:
            prompt: What it shows.
            model: Such as `grok-imagine-image`.
            batch_request_id: What its result will be found by, unique in the batch; default: the
                service chooses one.
            **options: As in `sample`. URLs in results die an hour after the image was made:
                `image_format="base64"` lives as long as the batch.

        Raises:
            OptionError: A value is wrong.
        """
        return message(
            wire.BatchRequest,
            batch_request_id=batch_request_id,
            image_request=build_request(prompt, model, 1, **options),
        )

    async def _generate(
        self,
        operation: str,
        request: wire.GenerateImageRequest,
        timeout: float | None,
        on_attempt: OnAttempt | None,
        on_reply: OnReply | None = None,
    ) -> list[ImageResponse]:
        deadline = Deadline.after(self._connection.timeout if timeout is None else timeout)
        with image_span(operation, request) as span:
            try:
                reply = await self._connection.unary(
                    wire.GENERATE_IMAGE,
                    request,
                    wire.ImageResponse,
                    model=request.model,
                    timeout=timeout,
                    on_attempt=on_attempt,
                    on_reply=on_reply,
                )
            except NotFoundError as error:
                await self._name_models(error, request.model)
                raise
            span.record(request, reply)
        left = deadline.remaining()
        return [
            ImageResponse(reply, index, self._downloader, timeout=left)
            for index in range(len(reply.images))
        ]

    async def _name_models(self, error: NotFoundError, model: str) -> None:
        """Add the models that exist to the message, if the server tells them quickly."""
        try:
            models = await ModelsClient(self._connection).list_image_generation_models(timeout=3)
        except XaiError:
            return
        if any(model in {one.name, *one.aliases} for one in models):
            said = one_line(error.details)
            error.args = (f"The server did not find an input image or file.\nDetails: {said}",)
            return
        if all(one.name in error.details for one in models):
            return  # the server said so itself
        names = ", ".join(one_line(one.name) for one in models[:20])
        if names:
            error.args = (f"{error}\nModels that exist: {names}",)
