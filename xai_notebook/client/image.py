"""The image and model methods of the client, named as in xAI's SDK.

The methods of `ImageClient` with keyword options create an `ImageRequest`, which `encoding` turns
into the protobuf message. The magic and the panel use the same path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from xai_notebook.client import encoding, wire
from xai_notebook.client.encoding import encode
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.client.response import ImageResponse
from xai_notebook.client.telemetry import call_span
from xai_notebook.client.transport.call import Deadline
from xai_notebook.client.transport.status import one_line
from xai_notebook.errors import MissingImageError, NotFoundError, OptionError, XaiError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message
    from typing_extensions import Unpack

    from xai_notebook.client.http import Downloader
    from xai_notebook.client.transport.connection import Connection, OnReply
    from xai_notebook.client.transport.retry import OnAttempt


class ImageOptions(TypedDict, total=False):
    """Keyword options of `ImageClient.sample`, named as in xAI's SDK; None means not given.

    Attributes:
        image_url: URL, data URI or base64 of an image to edit.
        image_file_id: Id of an image to edit in the server's file store.
        image_urls: URLs, data URIs or base64 of several images to edit. In the request, they follow
            the images of `image_file_ids`.
        image_file_ids: Ids of several images to edit in the server's file store.
        user: Opaque id of the end user, for abuse monitoring.
        image_format: Format of the reply, `"url"` (default) or `"base64"`.
        aspect_ratio: Width and height, such as `"16:9"`.
        resolution: `"1k"` or `"2k"`.
        quality: `"low"` or `"medium"`.
        storage_options: How the server stores the images: a mapping with `filename`,
            `expires_after` (seconds or timedelta) and `public_url` (bool or
            `{"expires_after": …}`), or a `StorageOptions` message.
    """

    image_url: str | None
    image_file_id: str | None
    image_urls: Sequence[str] | None
    image_file_ids: Sequence[str] | None
    user: str | None
    image_format: Literal["base64", "url"] | str | None  # noqa: PYI051
    aspect_ratio: str | None
    resolution: str | None
    quality: str | None
    storage_options: Mapping[str, Any] | Message | None


class ImageClient:
    """Generates and edits images."""

    def __init__(self, connection: Connection, downloader: Downloader) -> None:
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
        """Generate or edit one image.

        Args:
            prompt: Description of the image.
            model: Name of a model, such as `grok-imagine-image`.
            timeout: Deadline in seconds, over all attempts and the image's download; default: the
                client's.
            on_attempt: Called with each failed attempt that is retried.
            **options: `aspect_ratio`, `resolution`, `image_url` and so on; see `ImageOptions`.

        Raises:
            OptionError: A value is wrong. Nothing was sent.
            ApiError: The server sent a status other than OK, or did not answer.
            MissingImageError: The reply has no image.
        """
        request = _encode_options(prompt, model, 1, options)
        responses = await self.send(
            request, timeout=timeout, on_attempt=on_attempt, operation="image.sample"
        )
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
        """Generate `n` images (1 to 10) with one request; see `sample` for the other arguments.

        Returns:
            The images of the reply, which may be fewer than `n`, or none. `await response.image`
            decodes or downloads an image.

        Raises:
            OptionError: A value is wrong. Nothing was sent.
            ApiError: The server sent a status other than OK, or did not answer.
        """
        request = _encode_options(prompt, model, n, options)
        return await self.send(request, timeout=timeout, on_attempt=on_attempt)

    async def send(
        self,
        request: ImageRequest | wire.GenerateImageRequest,
        *,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
        on_reply: OnReply | None = None,
        operation: str = "image.sample_batch",
    ) -> list[ImageResponse]:
        """Send a request, which may already be encoded; works like `sample_batch`.

        `on_reply` is called with the reply's bytes before they are parsed. `operation` is the name
        of the span.
        """
        message = encode(request) if isinstance(request, ImageRequest) else request
        deadline = Deadline.after(self._connection.timeout if timeout is None else timeout)
        with call_span(f"{operation} {message.model}", request=message) as span:
            try:
                reply = await self._connection.unary(
                    wire.GENERATE_IMAGE,
                    message,
                    wire.ImageResponse,
                    model=message.model,
                    timeout=timeout,
                    on_attempt=on_attempt,
                    on_reply=on_reply,
                )
            except NotFoundError as error:
                await self._explain_not_found(error, message.model)
                raise
            if span:
                span.add_images(message, reply)
        left = deadline.remaining()
        return [
            ImageResponse(reply, index, self._downloader, timeout=left)
            for index in range(len(reply.images))
        ]

    def prepare(
        self,
        prompt: str,
        model: str,
        *,
        batch_request_id: str | None = None,
        **options: Unpack[ImageOptions],
    ) -> wire.BatchRequest:
        """Return a request for one image, to add to a batch. Nothing is sent.

        Args:
            prompt: Description of the image.
            model: Name of a model, such as `grok-imagine-image`.
            batch_request_id: Id of the request and its result, unique in the batch; default: the
                server chooses one.
            **options: As in `sample`. URLs in results expire an hour after the image is made;
                images in base64 are available as long as the batch.

        Raises:
            OptionError: A value is wrong.
        """
        return encoding.message(
            wire.BatchRequest,
            batch_request_id=batch_request_id,
            image_request=_encode_options(prompt, model, 1, options),
        )

    async def _explain_not_found(self, error: NotFoundError, model: str) -> None:
        """Explain the error, if the server lists its models within 3 s.

        If the model exists, an input image is missing; otherwise the message lists the models.
        """
        try:
            models = await ModelsClient(self._connection).list_image_generation_models(timeout=3)
        except XaiError:
            return
        if any(model in {known.name, *known.aliases} for known in models):
            details = one_line(error.details)
            error.args = (f"The server did not find an input image or file.\nDetails: {details}",)
        elif not all(known.name in error.details for known in models):
            names = ", ".join(one_line(known.name) for known in models[:20])
            error.args = (f"{error}\nModels that exist: {names}",)


def _encode_options(
    prompt: str, model: str, n: int, options: ImageOptions
) -> wire.GenerateImageRequest:
    """Create an `ImageRequest` from keyword options and encode it.

    Raises:
        OptionError: A value is wrong.
        TypeError: An option is unknown.
    """
    for name in options.keys() - ImageOptions.__annotations__.keys():
        raise TypeError(f"sample() got an unexpected keyword argument {name!r}")
    url, file_id = options.get("image_url"), options.get("image_file_id")
    urls, file_ids = options.get("image_urls"), options.get("image_file_ids")
    several = urls is not None or file_ids is not None
    if sum((url is not None, file_id is not None, several)) > 1:
        raise OptionError(
            "Give one image (image_url or image_file_id) or several (image_urls, image_file_ids),"
            " not both."
        )
    file_ids = [file_id] if file_id is not None else file_ids or ()
    urls = [url] if url is not None else urls or ()
    # File ids come first, as in xAI's SDK: prompts refer to images by their position. Digests and
    # labels stay empty: only the library uses them, and it does not store this request.
    inputs = [InputImage("", "", "", file_id=each) for each in file_ids]
    inputs += [InputImage(each, "", "") for each in urls]
    request = ImageRequest(
        prompt,
        model,
        n,
        aspect_ratio=options.get("aspect_ratio"),
        resolution=options.get("resolution"),
        quality=options.get("quality"),
        inputs=tuple(inputs),
        user=options.get("user"),
        image_format=options.get("image_format") or "url",
    )
    return encode(request, storage_options=options.get("storage_options"), as_list=several)


class ModelsClient:
    """Lists models and their prices.

    Every method accepts a `timeout` in seconds over all attempts; default: the client's. Every
    method raises an `ApiError` if the server sends a status other than OK or does not answer;
    `NotFoundError` means that the server does not know the model.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list_image_generation_models(
        self, *, timeout: float | None = None
    ) -> list[wire.ImageGenerationModel]:
        """Return the image models that the key permits; `image_price_usd` returns their prices."""
        method, kind = wire.LIST_IMAGE_GENERATION_MODELS, wire.ListImageGenerationModelsResponse
        reply = await self._connection.unary(method, wire.Empty(), kind, timeout=timeout)
        return list(reply.models)

    async def get_image_generation_model(
        self, name: str, *, timeout: float | None = None
    ) -> wire.ImageGenerationModel:
        """Return a model by its name or an alias."""
        method, request = wire.GET_IMAGE_GENERATION_MODEL, wire.GetModelRequest(name=name)
        return await self._connection.unary(
            method, request, wire.ImageGenerationModel, model=name, timeout=timeout
        )


_MIN_TICKS: Final = 100_000
"""An `image_price` below this is in US cents. In cents, this value would be $1,000 per image."""
_CENTS_PER_USD: Final = 100
_MAX_PRICE_USD: Final = 100
"""Highest plausible list price in US dollars."""


def image_price_usd(model: wire.ImageGenerationModel) -> float | None:
    """Return the list price of an image in US dollars; None if it is not plausible.

    xAI's public protos document `image_price` in US cents. The real service sends ticks of
    1e-10 USD, such as 200000000 for $0.02. The plausible ranges of the two units do not overlap.
    """
    price = model.image_price
    usd = price / (wire.TICKS_PER_USD if price >= _MIN_TICKS else _CENTS_PER_USD)
    return usd if 0 <= usd <= _MAX_PRICE_USD else None
