"""Image generation and editing: sample one, sample a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from xai_notebook.client import wire
from xai_notebook.client.encoding import build_request
from xai_notebook.client.interceptors import Deadline
from xai_notebook.client.models import ModelsClient
from xai_notebook.client.response import ImageResponse
from xai_notebook.client.status import clean
from xai_notebook.client.telemetry import image_span
from xai_notebook.errors import (
    MissingImageError,
    NotFoundError,
    XaiError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

    from xai_notebook.client.connection import Connection, OnReply
    from xai_notebook.client.download import Downloader
    from xai_notebook.client.retry import OnAttempt

__all__ = ["ImageClient"]


class ImageClient:
    """Makes images."""

    def __init__(self, connection: Connection, downloader: Downloader) -> None:
        """Use `connection` for calls and `downloader` for images that come as URLs."""
        self._connection = connection
        self._downloader = downloader

    async def sample(  # noqa: PLR0913  # the options of the wire, named as in xAI's SDK
        self,
        prompt: str,
        model: str,
        *,
        image_url: str | None = None,
        image_file_id: str | None = None,
        image_urls: Sequence[str] | None = None,
        image_file_ids: Sequence[str] | None = None,
        user: str | None = None,
        image_format: Literal["base64", "url"] | str | None = None,  # noqa: PYI051
        aspect_ratio: str | None = None,
        resolution: str | None = None,
        quality: str | None = None,
        storage_options: Mapping[str, Any] | Message | None = None,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> ImageResponse:
        """Make one image.

        Args:
            prompt: What it shows.
            model: Such as `grok-imagine-image`.
            image_url: URL, data URI or base64 of an image to edit.
            image_file_id: An image to edit, in the provider's file store.
            image_urls: Several reference images, after `image_file_ids`.
            image_file_ids: Several reference images in the provider's file store.
            user: Opaque id of the end user, for abuse monitoring.
            image_format: `"url"` (default) or `"base64"`.
            aspect_ratio: `"16:9"` and so on.
            resolution: `"1k"` or `"2k"`.
            quality: `"low"` or `"medium"`.
            storage_options: Keep the result: `filename`, `expires_after` (seconds or timedelta),
                `public_url` (bool or `{"expires_after": …}`); or a `StorageOptions` message.
            timeout: Deadline in seconds over all attempts; default: the client's. What is left of
                it when the reply has come is what awaiting its images may take.
            on_attempt: Hears of each failed attempt that is made again.

        Raises:
            OptionError: A value is wrong. Nothing was sent.
            ApiError: The server answered with a status other than OK.
            MissingImageError: The reply holds no image.
        """
        request = build_request(
            prompt, model, 1,
            image_url=image_url, image_file_id=image_file_id, image_urls=image_urls,
            image_file_ids=image_file_ids, user=user, image_format=image_format,
            aspect_ratio=aspect_ratio, resolution=resolution, quality=quality,
            storage_options=storage_options,
        )  # fmt: skip
        responses = await self._generate("image.sample", request, timeout, on_attempt)
        if not responses:
            raise MissingImageError("The reply holds no image. Ask again, or change the prompt.")
        return responses[0]

    async def sample_batch(  # noqa: PLR0913
        self,
        prompt: str,
        model: str,
        n: int,
        *,
        image_url: str | None = None,
        image_file_id: str | None = None,
        image_urls: Sequence[str] | None = None,
        image_file_ids: Sequence[str] | None = None,
        user: str | None = None,
        image_format: Literal["base64", "url"] | str | None = None,  # noqa: PYI051
        aspect_ratio: str | None = None,
        resolution: str | None = None,
        quality: str | None = None,
        storage_options: Mapping[str, Any] | Message | None = None,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        on_reply: OnReply | None = None,
    ) -> list[ImageResponse]:
        """Make up to `n` images with one request.

        Args:
            prompt: What they show.
            model: Such as `grok-imagine-image`.
            n: How many, 1 to 10.
            image_url: As in `sample`, like all that follow.
            image_file_id: As in `sample`.
            image_urls: As in `sample`.
            image_file_ids: As in `sample`.
            user: As in `sample`.
            image_format: As in `sample`.
            aspect_ratio: As in `sample`.
            resolution: As in `sample`.
            quality: As in `sample`.
            storage_options: As in `sample`.
            timeout: As in `sample`.
            on_attempt: As in `sample`.
            on_reply: Given the reply's bytes as they came, before anything looks at them.

        Returns:
            As many as the server sent: fewer than `n`, or none, is no error. Nothing is decoded
            or downloaded yet; `await response.image` does.

        Raises:
            OptionError: A value is wrong. Nothing was sent.
            ApiError: The server answered with a status other than OK.
        """
        request = build_request(
            prompt, model, n,
            image_url=image_url, image_file_id=image_file_id, image_urls=image_urls,
            image_file_ids=image_file_ids, user=user, image_format=image_format,
            aspect_ratio=aspect_ratio, resolution=resolution, quality=quality,
            storage_options=storage_options,
        )  # fmt: skip
        return await self._generate("image.sample_batch", request, timeout, on_attempt, on_reply)

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
            said = clean(error.details)
            error.args = (f"The server did not find an input image or file.\nDetails: {said}",)
            return
        if all(one.name in error.details for one in models):
            return  # the server said so itself
        names = ", ".join(clean(one.name) for one in models[:20])
        if names:
            error.args = (f"{error}\nModels that exist: {names}",)
