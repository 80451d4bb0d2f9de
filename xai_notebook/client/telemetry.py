"""OpenTelemetry spans of the client's calls, if the user traces.

Tracing is on if `opentelemetry.trace` is already imported: setting up a tracer provider imports it.
Without tracing, the 15 ms of its import are saved; this module never sets a provider. Image data is
never an attribute.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.errors import ApiError, XaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Attributes = dict[str, str | bool | int | float]

__all__ = ["CallSpan", "ImageSpan", "call_span", "image_span"]

_Span = TypeVar("_Span", bound="CallSpan")


class CallSpan:
    """The span of one call; without tracing, it does nothing."""

    def __init__(self, span: Any = None, *, sensitive: bool = False) -> None:
        """Wrap an OpenTelemetry span, or None."""
        self._span = span
        self._sensitive = sensitive

    def add(self, attributes: Attributes) -> None:
        """Add attributes of the reply, unless sensitive attributes are disabled."""
        if self._span is not None and self._sensitive:
            self._span.set_attributes(attributes)

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed. Only our own messages are added: they hold no key."""
        if self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415  # already imported

        own = self._sensitive and isinstance(error, XaiError)
        description = f"{type(error).__name__}: {error}" if own else type(error).__name__
        self._span.set_status(Status(StatusCode.ERROR, description))
        self._span.set_attribute(
            "error.type", error.code if isinstance(error, ApiError) else type(error).__name__
        )


class ImageSpan(CallSpan):
    """The span of one request for images."""

    def record(self, request: wire.GenerateImageRequest, reply: wire.ImageResponse) -> None:
        """Add the attributes of the reply."""
        if self._span is None or not self._span.is_recording():
            return
        attributes: Attributes = {"gen_ai.response.model": reply.model or request.model}
        if self._sensitive:
            attributes |= _usage_attributes(reply.usage)
            attributes["gen_ai.response.image.format"] = _lower(
                wire.ImageFormat.Name(request.format)
            )
            for index, image in enumerate(reply.images):
                attributes |= _image_attributes(f"gen_ai.response.{index}.image", image)
        self._span.set_attributes(attributes)


@contextmanager
def image_span(operation: str, request: wire.GenerateImageRequest) -> Iterator[ImageSpan]:
    """Open the span of one request.

    Args:
        operation: `image.sample` or `image.sample_batch`.
        request: The request to send.

    Yields:
        The span, to which the reply is added.
    """
    with _open(
        ImageSpan,
        f"{operation} {request.model}",
        lambda sensitive: _request_attributes(request, sensitive=sensitive),
    ) as span:
        yield span


@contextmanager
def call_span(name: str, operation: str | None = None) -> Iterator[CallSpan]:
    """Open the span of a call about files or the key, named as in xAI's SDK.

    Args:
        name: Such as `file.upload`.
        operation: The SDK's `operation.name`, if the span has one.

    Yields:
        The span.
    """
    attributes: Attributes = {}
    if operation:
        attributes = {"operation.name": operation, "provider.name": "xai"}
    with _open(CallSpan, name, lambda _: attributes) as span:
        yield span


@contextmanager
def _open(
    kind: type[_Span], name: str, attributes: Callable[[bool], Attributes]
) -> Iterator[_Span]:
    """Open a span; `attributes` is called with whether sensitive attributes are enabled."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or settings.switched_on("XAI_SDK_DISABLE_TRACING"):
        yield kind()
        return
    sensitive = not settings.switched_on("XAI_SDK_DISABLE_SENSITIVE_TELEMETRY_ATTRIBUTES")
    tracer = trace.get_tracer("xai_notebook", settings.package_version())
    with tracer.start_as_current_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes=attributes(sensitive),
        # A recorded exception brings its whole traceback along.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        recorder = kind(span, sensitive=sensitive)
        try:
            yield recorder
        except BaseException as error:
            recorder.fail(error)
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
        attributes |= _storage_attributes(request.storage_options)
    if request.user:
        attributes["user_id"] = request.user
    return attributes


def _storage_attributes(options: wire.StorageOptions) -> Attributes:
    prefix = "gen_ai.request.storage"
    attributes: Attributes = {prefix: True, f"{prefix}.filename": options.filename}
    if options.HasField("expires_after"):
        attributes[f"{prefix}.expires_after"] = options.expires_after
    if options.HasField("public_url"):
        attributes[f"{prefix}.public_url"] = True
    return attributes


def _lower(name: str) -> str:
    """Return the value at the end of an enum's name: `IMG_RESOLUTION_2K` -> `2k`."""
    return name.rpartition("_")[2].lower()


def _usage_attributes(usage: wire.SamplingUsage) -> Attributes:
    attributes: Attributes = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.total_tokens": usage.total_tokens,
        "gen_ai.usage.reasoning_tokens": usage.reasoning_tokens,
        "gen_ai.usage.cached_prompt_text_tokens": usage.cached_prompt_text_tokens,
        "gen_ai.usage.prompt_text_tokens": usage.prompt_text_tokens,
        "gen_ai.usage.prompt_image_tokens": usage.prompt_image_tokens,
    }
    if usage.HasField("cost_in_usd_ticks"):
        attributes["gen_ai.usage.cost_in_usd_ticks"] = usage.cost_in_usd_ticks
    return attributes


def _image_attributes(prefix: str, image: wire.GeneratedImage) -> Attributes:
    attributes: Attributes = {f"{prefix}.respect_moderation": image.respect_moderation}
    if image.up_sampled_prompt:
        attributes[f"{prefix}.up_sampled_prompt"] = image.up_sampled_prompt
    if image.url.startswith(("https://", "http://")):  # never a data URI
        attributes[f"{prefix}.url"] = image.url
    stored = image.file_output
    for name, value in (
        ("file_id", stored.file_id),
        ("public_url", stored.public_url),
        ("public_url_error", stored.public_url_error),
        ("storage_error", image.storage_error),
    ):
        if value:
            attributes[f"{prefix}.{name}"] = value
    return attributes
