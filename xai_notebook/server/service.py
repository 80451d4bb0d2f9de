"""The gRPC methods for image generation, models, prompt rewriting by chat, and the API key.

`Service` also registers the methods for batches and files. The functions below the class read input
images (`read_input`, `decode_input`) and chat messages (`read_chat`).

Separate because `runner` handles ports, keys, and starting and stopping the server.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import inspect
import io
import math
import re
from collections import Counter
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.client.media import check_structure, make_readable, media_type
from xai_notebook.server import painting
from xai_notebook.server.batches import Batches
from xai_notebook.server.dispatch import Methods
from xai_notebook.server.engine import EngineInput, EnginePool, EngineResult
from xai_notebook.server.faults import Refusal
from xai_notebook.server.file_store import FileStore
from xai_notebook.server.validation import check_request, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message
    from PIL import Image

    from xai_notebook.server.dispatch import CallLog
    from xai_notebook.server.engine import Engine
    from xai_notebook.server.faults import Faults
    from xai_notebook.server.file_store import FileServer
    from xai_notebook.server.validation import ImageOrder

_COMMENT_BYTES: Final = 65_533
"""Capacity of a JPEG comment segment."""
_MODERATED: Final = re.compile(r"\[moderated(?::\s*(\d{1,2}))?\]", re.IGNORECASE)
"""Matches a mark that withholds all images, or only the image with the number in the mark."""


class Service:
    """The gRPC methods of the server, on one event loop. An engine makes the pictures.

    Attributes:
        files: The file store.
    """

    def __init__(
        self,
        *,
        files: FileServer,
        log: CallLog,
        faults: Faults,
        engine: Engine,
        rewrites: bool,
        repeats: bool,
        keep_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        """Create the service without starting threads or the engine.

        `EmbeddedServer` describes the options. `files` serves pictures in the `url` format.
        """
        self._files, self._log, self._faults = files, log, faults
        self._engine, self._rewrites = engine, rewrites
        # Numbers of pictures of earlier requests, by a hash of the request without `n`.
        self._made: Counter[int] | None = None if repeats else Counter()
        self._pool = EnginePool()
        self._decoding = asyncio.Lock()
        self.files = FileStore(files, faults, keep_bytes=keep_bytes, clock=clock)
        self._batches = Batches(
            self._make_batched,
            functools.partial(check_request, find=engine.find),
            faults,
            repeatable=engine.previews,
            keep_bytes=keep_bytes,
            clock=clock,
        )

    def methods(self) -> Methods:
        """Return the methods to register."""
        methods = Methods(self._log, self._faults)
        batches, stored = self._batches, self.files
        for path, method, kind in (
            (wire.GENERATE_IMAGE, self.generate_image, wire.GenerateImageRequest),
            (wire.LIST_IMAGE_GENERATION_MODELS, self.list_models, wire.Empty),
            (wire.GET_IMAGE_GENERATION_MODEL, self.get_model, wire.GetModelRequest),
            (wire.GET_COMPLETION, self.complete, wire.GetCompletionsRequest),
            (wire.GET_API_KEY_INFO, self.key_info, wire.Empty),
            (wire.CREATE_BATCH, batches.create, wire.CreateBatchRequest),
            (wire.ADD_BATCH_REQUESTS, batches.add, wire.AddBatchRequestsRequest),
            (wire.GET_BATCH, batches.get, wire.GetBatchRequest),
            (wire.CANCEL_BATCH, batches.cancel, wire.CancelBatchRequest),
            (wire.LIST_BATCHES, batches.list_all, wire.ListBatchesRequest),
            (
                wire.LIST_BATCH_REQUEST_METADATA,
                batches.list_requests,
                wire.ListBatchRequestMetadataRequest,
            ),
            (wire.LIST_BATCH_RESULTS, batches.list_results, wire.ListBatchResultsRequest),
            (wire.GET_BATCH_REQUEST_RESULT, batches.get_result, wire.GetBatchRequestResultRequest),
            (wire.LIST_FILES, stored.list_all, wire.ListFilesRequest),
            (wire.RETRIEVE_FILE, stored.get, wire.RetrieveFileRequest),
            (wire.DELETE_FILE, stored.delete, wire.DeleteFileRequest),
            (wire.CREATE_PUBLIC_URL, stored.create_public_url, wire.CreatePublicUrlRequest),
            (wire.REVOKE_PUBLIC_URL, stored.revoke_public_url, wire.RevokePublicUrlRequest),
        ):
            methods.add(path, cast("Any", method), kind)
        methods.add_upload(wire.UPLOAD_FILE, stored.upload, wire.UploadFileChunk)
        methods.add_download(
            wire.RETRIEVE_FILE_CONTENT, stored.content, wire.RetrieveFileContentRequest
        )
        return methods

    def close(self) -> None:
        """Stop the threads, and cancel the work for batches."""
        self._pool.close()
        self._batches.close()

    async def generate_image(self, request: wire.GenerateImageRequest) -> wire.ImageResponse:
        """Make the pictures of a request.

        Raises:
            Refusal: The request is invalid, the engine failed, or a fault was injected.
        """
        faults = self._faults
        fault = faults.next_failure(request, self._log.counts[wire.GENERATE_IMAGE])
        if fault and not faults.after_work:
            raise Refusal.of(fault)
        order = await check_request(request, self._engine.find)
        delay = faults.delay(request) if callable(faults.delay) else faults.delay
        seconds = await delay if inspect.isawaitable(delay) else delay
        if seconds is not None and seconds > 0:
            await asyncio.sleep(seconds)
        first_index = 0
        if self._made is not None:
            alike = wire.GenerateImageRequest()
            alike.CopyFrom(request)
            alike.ClearField("n")
            key = hash(alike.SerializeToString(deterministic=True))
            first_index = self._made[key]
            self._made[key] += request.n or 1
        reply = await self._make(request, order, first_index)
        if fault and faults.after_work:
            raise Refusal.of(fault)
        return reply

    async def _make_batched(
        self, request: wire.GenerateImageRequest, first_index: int
    ) -> wire.ImageResponse:
        order = await check_request(request, self._engine.find)
        return await self._make(request, order, first_index)

    async def _make(
        self, request: wire.GenerateImageRequest, order: ImageOrder, first_index: int
    ) -> wire.ImageResponse:
        """Make the pictures of a checked request, numbered from `first_index`."""
        inputs = []
        for source in [request.image] if request.HasField("image") else request.images:
            async with self._decoding:  # one at a time in all calls: images can be large
                inputs.append(await self._pool.run(functools.partial(self._read_input, source)))
        results = await self._run_engine(request, order, first_index, inputs)
        model = settings.LOCAL_MODEL if self._engine.previews else order.model
        edit = bool(inputs)
        return wire.ImageResponse(
            images=[
                self._image(request, order, first_index + index, result, edit=edit)
                for index, result in sorted(results.items())
            ],
            model=self._faults.model_name or model,
            usage=self._usage(order.prompt, list(results.values()), inputs=len(inputs)),
        )

    async def _run_engine(
        self,
        request: wire.GenerateImageRequest,
        order: ImageOrder,
        first_index: int,
        inputs: list[EngineInput],
    ) -> dict[int, EngineResult | None]:
        """Return the results by their position in the reply. With `Faults.empty`, they are None.

        Raises:
            Refusal: The engine made no picture.
        """
        requested = request.n or 1
        indices = range(max(0, requested - self._faults.short))
        withheld: set[int] = set()
        if self._engine.previews:  # other engines have their own moderation
            for mark in _MODERATED.finditer(request.prompt):
                withheld |= {int(mark[1]) - 1} if mark[1] else {*indices}
        results: dict[int, EngineResult | None] = {
            index: EngineResult(None) for index in indices if index in withheld
        }
        wanted = [index for index in indices if index not in withheld]
        pictures: Sequence[EngineResult | None] = []
        if self._faults.empty:
            pictures = [None] * len(wanted)
        elif self._faults.garbage is not None:
            pictures = [EngineResult(self._faults.garbage)] * len(wanted)
        elif wanted:
            numbers = [first_index + index for index in wanted]
            pictures = await self._engine.make_each(order, numbers, inputs)
        # An engine can return fewer pictures than requested, or more.
        results.update(zip(chain(wanted, count(requested)), pictures, strict=False))
        return results

    def _read_input(self, source: wire.ImageUrlContent) -> EngineInput:
        if source.HasField("file_id"):
            data = self.files.find(source.file_id).data
        else:
            data = read_input(source.image_url, self._files)
        return EngineInput(data, decode_input(data))

    def _image(
        self,
        request: wire.GenerateImageRequest,
        order: ImageOrder,
        index: int,
        result: EngineResult | None,
        *,
        edit: bool,
    ) -> wire.GeneratedImage:
        """Return a result in the requested format; store it if the request has storage options."""
        data = result.data if result else None
        image = wire.GeneratedImage(respect_moderation=result is None or data is not None)
        if not self._engine.previews:
            image.up_sampled_prompt = result.rewritten if result else ""
        elif self._rewrites and self._faults.up_sampled:
            image.up_sampled_prompt = painting.rewrite(order.prompt, index, order.model, edit=edit)
        if result is None or data is None:
            return image
        if self._faults.min_bytes:
            data = _padded(data, self._faults.min_bytes)
        if request.HasField("storage_options"):
            self.files.store_image(image, data, request.storage_options)
        if request.format != wire.ImageFormat.IMG_FORMAT_BASE64:  # also if the field is unset
            image.url = self._files.put(data, result.media_type)
        else:
            prefix = "" if self._faults.no_prefix else f"data:{result.media_type};base64,"
            image.base64 = prefix + base64.b64encode(data).decode("ascii")
        return image

    def _usage(
        self, prompt: str, results: Sequence[EngineResult | None] = (), *, inputs: int = 0
    ) -> wire.SamplingUsage:
        """Return the usage, counting words as tokens. An unknown cost is omitted."""
        words = len(prompt.split())
        usage = wire.SamplingUsage(
            prompt_tokens=words + inputs,
            total_tokens=words + inputs,
            prompt_text_tokens=words,
            prompt_image_tokens=inputs,
        )
        if self._engine.previews:
            if self._faults.cost_ticks is not None:
                cost = self._faults.cost_ticks * len(results) + self._faults.input_ticks * inputs
                usage.cost_in_usd_ticks = cost
            return usage
        costs = [result.cost_ticks for result in results if result is not None]
        known = [cost for cost in costs if cost is not None]
        if len(known) == len(costs):
            usage.cost_in_usd_ticks = sum(known)
        return usage

    async def list_models(self, _request: wire.Empty) -> wire.ListImageGenerationModelsResponse:
        """List every model."""
        return wire.ListImageGenerationModelsResponse(
            models=[model.to_message(self._faults) for model in await self._engine.models()]
        )

    async def get_model(self, request: wire.GetModelRequest) -> wire.ImageGenerationModel:
        """Describe one model."""
        return (await self._engine.find(request.name)).to_message(self._faults)

    async def key_info(self, _request: wire.Empty) -> wire.ApiKey:
        """Describe the API key. The reply is the same for every key."""
        return wire.ApiKey(
            redacted_api_key="***",
            user_id="local",
            name=settings.LOCAL_MODEL,
            team_id="local",
            acls=["api-key:endpoint:*", "api-key:model:*"],
            api_key_id="local",
        )

    async def complete(self, request: wire.GetCompletionsRequest) -> wire.GetChatCompletionResponse:
        """Rewrite the last user message as a prompt."""
        system, prompt = read_chat(request)
        reply = self._faults.chat_text
        if reply is None:
            reply = painting.rewrite(prompt, edit="editing" in system.lower())
        usage = self._usage(prompt)
        usage.ClearField("cost_in_usd_ticks")
        if self._faults.chat_ticks is not None:
            usage.cost_in_usd_ticks = self._faults.chat_ticks
        usage.completion_tokens = len(reply.split())
        usage.total_tokens += usage.completion_tokens
        digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        message = {"content": reply, "role": wire.MessageRole.ROLE_ASSISTANT}
        return wire.GetChatCompletionResponse(
            id=f"local-{digest[:16]}",
            outputs=[{"finish_reason": 1, "index": 0, "message": message}],  # 1: complete
            model=self._faults.model_name or settings.LOCAL_MODEL,
            usage=usage,
        )


def _padded(jpeg: bytes, size: int) -> bytes:
    """Return the JPEG, padded with comments to at least `size` bytes."""
    missing = size - len(jpeg)
    if missing <= 0:
        return jpeg
    segment = b"\xff\xfe\xff\xff" + bytes(_COMMENT_BYTES)
    return jpeg[:2] + segment * -(-missing // len(segment)) + jpeg[2:]


_DATA_URI: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[^,;]*)*),", re.IGNORECASE)
_MAX_PREFIX: Final = 256
"""Maximum characters of a data URI before its base64."""
_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp"})
_MAX_PIXELS: Final = {
    "PNG": settings.MAX_IMAGE_PIXELS,
    "JPEG": settings.MAX_IMAGE_PIXELS,
    "WEBP": settings.MAX_IMAGE_PIXELS // 2,  # its decoder uses three times the memory
}
_MAX_SIDE: Final = 2896
"""Maximum side of a decoded input, in pixels. Generated pictures are never larger."""
_STRIP: Final = 256
"""Rows of the reduced image in each strip."""
_ORIENTATION: Final = 0x0112
_MAX_EXIF: Final = 1 << 16
"""Maximum bytes of EXIF data. Pillow takes seconds to parse a megabyte."""


def read_input(url: str, files: FileServer) -> bytes:
    """Return the file of an input image: a data URI, base64 or a URL of this server's `files`.

    Raises:
        Refusal: INVALID_ARGUMENT if `url` has another form, or the file is too large.
    """
    limit = settings.MAX_INPUT_IMAGE_BYTES
    too_large = invalid(f"An input image must have at most {limit // settings.MIB} MiB.")
    if len(url) > limit * 4 // 3 + _MAX_PREFIX:
        raise too_large
    data: bytes | None
    if url[:5].lower() == "data:":
        data = _data_uri(url)
    elif re.match(r"https?://", url, re.IGNORECASE):
        data = files.get(url)
        if data is None:
            raise invalid(
                "The embedded server fetches nothing from the network. "
                "Send the image as a data URI, or use one of this server's own URLs."
            )
    else:
        data = _base64(url)
        if data is None or media_type(data) not in _MEDIA_TYPES:
            raise invalid(
                "An input image must be a PNG, JPEG or WebP image, as a URL, a data URI or base64."
            )
    if len(data) > limit:
        raise too_large
    return data


def decode_input(data: bytes) -> Image.Image:
    """Return the image upright, in RGB, with a longer side of at most 2896 pixels.

    Only one full-size copy is in memory: 64 megapixels with transparency need 256 MB.

    Raises:
        Refusal: INVALID_ARGUMENT if `data` is not a PNG, JPEG or WebP image, is damaged, or has too
            many pixels.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  # loaded on a thread, not at startup

    try:
        check_structure(data)
        with Image.open(io.BytesIO(make_readable(data)), formats=tuple(_MAX_PIXELS)) as opened:
            if opened.width * opened.height > _MAX_PIXELS[opened.format or "WEBP"]:
                raise invalid(
                    f"An input image of {opened.width} x {opened.height} pixels is too large."
                )
            opened.draft("RGB", (_MAX_SIDE, _MAX_SIDE))  # decodes a large JPEG at a smaller size
            image = _reduced(opened)
            if len(opened.info.get("exif", b"")) > _MAX_EXIF:
                del opened.info["exif"]
            image.getexif()[_ORIENTATION] = opened.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise invalid("An input image is not a readable PNG, JPEG or WebP image.") from error
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return ImageOps.exif_transpose(image)


def _reduced(image: Image.Image) -> Image.Image:
    """Return `image` in RGB on white, reduced in strips to sides of at most twice `_MAX_SIDE`."""
    from PIL import Image  # noqa: PLC0415

    factor = max(1, max(image.size) // _MAX_SIDE)
    size = [math.ceil(length / factor) for length in image.size]
    result = Image.new("RGB", (size[0], size[1]), "white")
    for top in range(0, image.height, _STRIP * factor):
        bottom = min(top + _STRIP * factor, image.height)
        strip = image.crop((0, top, image.width, bottom))
        if strip.mode.startswith("I;16"):  # Pillow would clip the values
            strip = strip.point(lambda value: value / 257).convert("L")
        if strip.has_transparency_data:
            strip = strip.convert("RGBA").reduce(factor)
            result.paste(strip, (0, top // factor), mask=strip)
        else:
            result.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    return result


def _data_uri(uri: str) -> bytes:
    match = _DATA_URI.match(uri[:_MAX_PREFIX])
    if match is None or not match[2].lower().endswith(";base64"):
        raise invalid("A data URI must look like data:image/png;base64,...")
    if match[1].lower() not in _MEDIA_TYPES:
        raise invalid(f"An input image must be PNG, JPEG or WebP, not {match[1]}.")
    encoded = uri[match.end() :]
    data = _base64(encoded)
    if data is None:
        raise invalid("The base64 of an input image is damaged.")
    return data


def _base64(encoded: str) -> bytes | None:
    """Decode base64. Return None if it is damaged."""
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:  # includes errors for characters that are not ASCII
        return None


_FEATURES: Final = {
    "GetCompletionsRequest": {
        5: "logprobs", 6: "top_logprobs", 8: "n", 10: "response_format", 12: "stop", 17: "tools",
        18: "tool_choice", 20: "search_parameters", 22: "previous_response_id",
        23: "store_messages", 24: "use_encrypted_content", 25: "max_turns", 26: "include",
        29: "agent_count",
    },
    "Message": {4: "tool_calls", 5: "reasoning_content", 6: "encrypted_content", 7: "tool_call_id"},
    "Content": {2: "image_url", 3: "file"},
}  # fmt: skip
"""Numbers and SDK names of fields that request more than a text. The server refuses them."""

_HINTS: Final = {
    "GetCompletionsRequest": {3, 9, 11, 15, 19, 21, 31, 34},
    "Message": {3},
    "Content": set[int](),
}
"""Numbers of fields that the server ignores, such as penalties, seed, top_p, tier and ids."""

_VARINT: Final = 0
"""Wire type of numbers and booleans."""
_N: Final = 8
"""Field number of `n`."""


def read_chat(request: wire.GetCompletionsRequest) -> tuple[str, str]:
    """Return the joined system messages and the last user message.

    Raises:
        Refusal: UNIMPLEMENTED if the request uses features that this server lacks,
            INVALID_ARGUMENT if it has no user message with text.
    """
    _refuse_features(request)
    for message in request.messages:
        _refuse_features(message)
        for content in message.content:
            _refuse_features(content)
    prompts = _texts(request, wire.MessageRole.ROLE_USER)
    if not prompts or not prompts[-1].strip():
        raise invalid("Messages must hold a user message with text.")
    return " ".join(_texts(request, wire.MessageRole.ROLE_SYSTEM)), prompts[-1]


def _refuse_features(message: Message) -> None:
    kind, fields = message.DESCRIPTOR.name, UnknownFieldSet(message)
    for field in (fields[index] for index in range(len(fields))):
        number, is_zero = field.field_number, field.wire_type == _VARINT and field.data == 0
        if is_zero or number in _HINTS[kind]:
            continue
        if number == _N and kind == "GetCompletionsRequest" and field.data == 1:
            continue  # xAI's SDK sends n=1
        name = _FEATURES[kind].get(number, f"field {number} of {kind}")
        raise Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"The embedded server only rewrites prompts: it does not support {name}.",
        )


def _texts(request: wire.GetCompletionsRequest, role: int) -> list[str]:
    """Return the text of each message with this role."""
    return [
        "".join(content.text for content in message.content)
        for message in request.messages
        if message.role == role
    ]
