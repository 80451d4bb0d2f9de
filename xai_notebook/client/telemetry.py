"""OpenTelemetry spans of the client's calls, if tracing is on.

Tracing is on if `opentelemetry.trace` is already imported, as it is after the user has set up a
tracer provider. Otherwise this module does not import it, which would take 15 ms. It never sets a
provider, and never adds image data as an attribute.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.errors import ApiError, XaiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Attributes = dict[str, str | bool | int | float]


class CallSpan:
    """The span of one call."""

    def __init__(self, span: Any, *, sensitive: bool) -> None:
        self._span = span
        self._sensitive = sensitive

    def add(self, attributes: Attributes) -> None:
        """Add attributes of the reply, unless sensitive attributes are disabled."""
        if self._sensitive:
            self._span.set_attributes(attributes)

    def add_images(self, request: wire.GenerateImageRequest, reply: wire.ImageResponse) -> None:
        """Add the attributes of a reply with images."""
        if not self._span.is_recording():
            return
        self._span.set_attribute("gen_ai.response.model", reply.model or request.model)
        if self._sensitive:
            self._span.set_attributes(_reply_attributes(request, reply))

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed. Only this package's messages are added: they contain no key."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415  # already imported

        own = self._sensitive and isinstance(error, XaiError)
        description = f"{type(error).__name__}: {error}" if own else type(error).__name__
        self._span.set_status(Status(StatusCode.ERROR, description))
        self._span.set_attribute(
            "error.type", error.code if isinstance(error, ApiError) else type(error).__name__
        )


def call_span(
    name: str, operation: str | None = None, request: wire.GenerateImageRequest | None = None
) -> AbstractContextManager[CallSpan | None]:
    """Open the span of a call, named as in xAI's SDK.

    Args:
        name: Name of the span, such as `file.upload` or `image.sample grok-imagine-image`.
        operation: Attribute `operation.name` of the SDK's span, if the SDK sets one.
        request: The request, if the call generates images.

    Returns:
        Context manager for the span, to which the caller adds the attributes of the reply. The span
        is None if tracing is off.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or settings.switched_on("XAI_SDK_DISABLE_TRACING"):
        return nullcontext()
    sensitive = not settings.switched_on("XAI_SDK_DISABLE_SENSITIVE_TELEMETRY_ATTRIBUTES")
    attributes: Attributes = {}
    if operation:
        attributes = {"operation.name": operation, "provider.name": "xai"}
    elif request is not None:
        attributes = _request_attributes(request, sensitive=sensitive)
    return _recorded(trace, name, attributes, sensitive=sensitive)


@contextmanager
def _recorded(
    trace: Any, name: str, attributes: Attributes, *, sensitive: bool
) -> Iterator[CallSpan]:
    tracer = trace.get_tracer("xai_notebook", settings.package_version())
    with tracer.start_as_current_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
        # A recorded exception would include its traceback.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        call = CallSpan(span, sensitive=sensitive)
        try:
            yield call
        except BaseException as error:
            call.fail(error)
            raise


def _request_attributes(request: wire.GenerateImageRequest, *, sensitive: bool) -> Attributes:
    attributes: Attributes = {
        "gen_ai.operation.name": "generate_image",
        "gen_ai.provider.name": "xai",
        "gen_ai.request.model": request.model,
        "gen_ai.output.type": "image",
    }
    if not sensitive:
        return attributes
    prefix = "gen_ai.request.image"
    attributes["gen_ai.prompt"] = request.prompt
    attributes[f"{prefix}.format"] = _lower(wire.ImageFormat.Name(request.format))
    if request.HasField("n"):
        attributes[f"{prefix}.count"] = request.n
    if request.HasField("aspect_ratio"):
        ratio = wire.ImageAspectRatio.Name(request.aspect_ratio)
        numbers = ratio.removeprefix("IMG_ASPECT_RATIO_").replace("19_5", "19.5")
        attributes[f"{prefix}.aspect_ratio"] = numbers.replace("_", ":")
    if request.HasField("resolution"):
        attributes[f"{prefix}.resolution"] = _lower(wire.ImageResolution.Name(request.resolution))
    if request.HasField("quality"):
        attributes[f"{prefix}.quality"] = _lower(wire.ImageQuality.Name(request.quality))
    if request.HasField("storage_options"):
        storage, prefix = request.storage_options, "gen_ai.request.storage"
        attributes |= {prefix: True, f"{prefix}.filename": storage.filename}
        if storage.HasField("expires_after"):
            attributes[f"{prefix}.expires_after"] = storage.expires_after
        if storage.HasField("public_url"):
            attributes[f"{prefix}.public_url"] = True
    if request.user:
        attributes["user_id"] = request.user
    return attributes


def _lower(name: str) -> str:
    """Return the last part of an enum value's name in lower case: `IMG_RESOLUTION_2K` -> `2k`."""
    return name.rpartition("_")[2].lower()


def _reply_attributes(request: wire.GenerateImageRequest, reply: wire.ImageResponse) -> Attributes:
    usage = reply.usage
    names = (
        "total_tokens", "reasoning_tokens", "cached_prompt_text_tokens", "prompt_text_tokens",
        "prompt_image_tokens",
    )  # fmt: skip
    attributes: Attributes = {f"gen_ai.usage.{name}": getattr(usage, name) for name in names}
    attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
    attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
    if usage.HasField("cost_in_usd_ticks"):
        attributes["gen_ai.usage.cost_in_usd_ticks"] = usage.cost_in_usd_ticks
    attributes["gen_ai.response.image.format"] = _lower(wire.ImageFormat.Name(request.format))
    for index, image in enumerate(reply.images):
        prefix, stored = f"gen_ai.response.{index}.image", image.file_output
        is_link = image.url.startswith(("https://", "http://"))  # not a data URI
        texts = {
            "up_sampled_prompt": image.up_sampled_prompt,
            "url": image.url if is_link else "",
            "file_id": stored.file_id,
            "public_url": stored.public_url,
            "public_url_error": stored.public_url_error,
            "storage_error": image.storage_error,
        }
        attributes |= {f"{prefix}.{name}": text for name, text in texts.items() if text}
        attributes[f"{prefix}.respect_moderation"] = image.respect_moderation
    return attributes
