"""Answers the calls: images, models, chat, the key; and says who answers the others.

Separate because `runner` starts and stops any service, whatever its methods.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import io
import math
import re
from collections import Counter
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.client.media import check_structure, media_type, readable
from xai_notebook.server import painting, validation
from xai_notebook.server.batches import Batches
from xai_notebook.server.dispatch import Methods
from xai_notebook.server.engine import EngineInput, EnginePool, EngineResult
from xai_notebook.server.faults import Refusal
from xai_notebook.server.file_store import FileStore
from xai_notebook.server.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message
    from PIL import Image

    from xai_notebook.server.dispatch import CallLog, SeenCall
    from xai_notebook.server.engine import Engine
    from xai_notebook.server.faults import Faults
    from xai_notebook.server.file_store import FileServer

__all__ = ["Service", "decode_input", "read_chat", "read_input"]

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
"""Fields of the wire that ask for something else than a text, by the names xAI's SDK gives them."""

_HINTS: Final = {
    "GetCompletionsRequest": {3, 9, 11, 15, 19, 21, 31, 34},
    "Message": {3},
    "Content": set[int](),
}
"""Fields that only tune an answer: penalties, seed, top_p, effort, tier, ids. Nothing to tune."""

_VARINT: Final = 0
"""The wire type of numbers and switches."""
_N: Final = 8


def read_chat(request: wire.GetCompletionsRequest) -> tuple[str, str]:
    """Return the system text, in one, and the last message of the user.

    Raises:
        Refusal: UNIMPLEMENTED: the request asks for something that this server cannot do.
            INVALID_ARGUMENT: it holds no message of the user.
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
        number, off = field.field_number, field.wire_type == _VARINT and field.data == 0
        if off or number in _HINTS[kind]:
            continue
        if number == _N and kind == "GetCompletionsRequest" and field.data == 1:
            continue  # what xAI's SDK says for one answer
        name = _FEATURES[kind].get(number, f"field {number} of {kind}")
        raise Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"The embedded server only rewrites prompts: it does not support {name}.",
        )


def _texts(request: wire.GetCompletionsRequest, role: int) -> list[str]:
    """Return the messages of one role."""
    return [
        "".join(content.text for content in message.content)
        for message in request.messages
        if message.role == role
    ]


_COMMENT_BYTES: Final = 65_533
"""What one JPEG comment segment can hold."""


class Service:
    """The methods of the wire, on one event loop; an engine makes the pictures."""

    def __init__(  # independent options, keyword-only
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
        """Start nothing yet.

        Args:
            files: Where pictures in the `url` format go.
            log: Remembers every call.
            faults: What goes wrong on purpose.
            engine: Makes the pictures.
            rewrites: Fill `up_sampled_prompt`.
            repeats: Equal requests get equal pictures.
            keep_bytes: Of stored files, and of the requests of batches.
            clock: Seconds since 1970.
        """
        self._files, self._log, self._faults = files, log, faults
        self._engine, self._rewrites = engine, rewrites
        self._taken: Counter[int] | None = None if repeats else Counter()
        self._workers = EnginePool()
        self._decoding = asyncio.Lock()
        self._stored = FileStore(files, faults, keep_bytes=keep_bytes, clock=clock)
        self._batches = Batches(
            self._answer,
            self._order,
            faults,
            repeatable=engine.previews,
            keep_bytes=keep_bytes,
            clock=clock,
        )

    def methods(self) -> Methods:
        """Return the methods to register."""
        methods = Methods(self._log)
        batches, stored = self._batches, self._stored
        for path, answer, kind in (
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
            methods.add(path, cast("Any", answer), kind)
        methods.add_upload(wire.UPLOAD_FILE, stored.upload, wire.UploadFileChunk)
        methods.add_download(
            wire.RETRIEVE_FILE_CONTENT, stored.content, wire.RetrieveFileContentRequest
        )
        return methods

    def close(self) -> None:
        """Let the worker threads end; what they have not begun is dropped."""
        self._workers.close()
        self._batches.close()

    async def generate_image(
        self, request: wire.GenerateImageRequest, call: SeenCall
    ) -> wire.ImageResponse:
        """Have the pictures of one request made.

        Raises:
            Refusal: The request is wrong, or a fault was injected.
        """
        failure = self._faults.next_failure(request, call.number)
        if not self._faults.after_work:
            self._faults.strike(failure)
        order = await self._order(request)
        await self._faults.wait(request)
        reply = await self._fulfil(replace(order, first=self._first_take(request)))
        if self._faults.after_work:
            self._faults.strike(failure)
        return reply

    async def _answer(self, request: wire.GenerateImageRequest, take: int) -> wire.ImageResponse:
        """Have the pictures of a request made that came in a batch."""
        return await self._fulfil(replace(await self._order(request), first=take))

    def _first_take(self, request: wire.GenerateImageRequest) -> int:
        """Return how many pictures equal requests have had, whatever their counts."""
        if self._taken is None:
            return 0
        alike = wire.GenerateImageRequest()
        alike.CopyFrom(request)
        alike.ClearField("n")
        key = hash(alike.SerializeToString(deterministic=True))
        first = self._taken[key]
        self._taken[key] += request.n or 1
        return first

    async def _order(self, request: wire.GenerateImageRequest) -> validation.ImageOrder:
        """Return a request as an order for the engine.

        Raises:
            Refusal: It is wrong, or its model is not there.
        """
        order = validation.check(request, await self._engine.find(request.model))
        # What moderates behind another engine knows no marks.
        return order if self._engine.previews else replace(order, withheld=frozenset())

    async def _fulfil(self, order: validation.ImageOrder) -> wire.ImageResponse:
        references = await self._references(order.inputs)
        made = await self._made(order, references)
        edit = bool(references)
        own = settings.LOCAL_MODEL if self._engine.previews else order.model
        return wire.ImageResponse(
            images=[self._image(order, index, each, edit=edit) for index, each in made],
            model=self._faults.model_name or own,
            usage=self._usage(order.prompt, [each for _, each in made], inputs=len(references)),
        )

    async def list_models(
        self, _request: wire.Empty, _call: SeenCall
    ) -> wire.ListImageGenerationModelsResponse:
        """List every model."""
        self._faults.strike(self._faults.models_failure)
        return wire.ListImageGenerationModelsResponse(
            models=[model.to_message(self._faults) for model in await self._engine.models()]
        )

    async def get_model(
        self, request: wire.GetModelRequest, _call: SeenCall
    ) -> wire.ImageGenerationModel:
        """Describe one model."""
        self._faults.strike(self._faults.models_failure)
        return (await self._engine.find(request.name)).to_message(self._faults)

    async def key_info(self, _request: wire.Empty, _call: SeenCall) -> wire.ApiKey:
        """Describe the key, whichever it was."""
        return wire.ApiKey(
            redacted_api_key="***",
            user_id="local",
            name=settings.LOCAL_MODEL,
            team_id="local",
            acls=["api-key:endpoint:*", "api-key:model:*"],
            api_key_id="local",
        )

    async def complete(
        self, request: wire.GetCompletionsRequest, _call: SeenCall
    ) -> wire.GetChatCompletionResponse:
        """Answer the last user message with the rewritten prompt."""
        self._faults.strike(self._faults.chat_failure)
        system, prompt = read_chat(request)
        answer = self._faults.chat_text
        if answer is None:
            answer = painting.rewrite(prompt, edit="editing" in system.lower())
        usage = self._usage(prompt)
        usage.ClearField("cost_in_usd_ticks")
        if self._faults.chat_ticks is not None:
            usage.cost_in_usd_ticks = self._faults.chat_ticks
        usage.completion_tokens = len(answer.split())
        usage.total_tokens += usage.completion_tokens
        digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        message = {"content": answer, "role": wire.MessageRole.ROLE_ASSISTANT}
        return wire.GetChatCompletionResponse(
            id=f"local-{digest[:16]}",
            outputs=[{"finish_reason": 1, "index": 0, "message": message}],  # 1: it was finished
            model=self._faults.model_name or settings.LOCAL_MODEL,
            usage=usage,
        )

    async def _references(self, sources: Sequence[wire.ImageUrlContent]) -> list[EngineInput]:
        """Read the input images, one at a time among all calls: decoded they can be large."""
        references = []
        for source in sources:
            async with self._decoding:
                read = functools.partial(self._reference, source)
                references.append(await self._workers.run(read))
        return references

    def _reference(self, source: wire.ImageUrlContent) -> EngineInput:
        """Return an input image, read and decoded; on a worker thread."""
        if source.HasField("file_id"):
            data = self._stored.read(source.file_id)
        else:
            data = read_input(source.image_url, self._files)
        return EngineInput(data, decode_input(data))

    async def _made(
        self, order: validation.ImageOrder, references: list[EngineInput]
    ) -> list[tuple[int, EngineResult | None]]:
        """Return what became of each picture, by its index; None: nothing, as the faults want it.

        Raises:
            Refusal: The engine made none.
        """
        indices = range(max(0, order.count - self._faults.short))
        if self._faults.empty:
            return [(i, EngineResult(None) if i in order.withheld else None) for i in indices]
        wanted = [i for i in indices if i not in order.withheld]
        made: list[EngineResult] = []
        if self._faults.garbage is not None:
            made = [EngineResult(self._faults.garbage) for _ in wanted]
        elif wanted:
            takes = [order.first + index for index in wanted]
            made = await self._engine.make_each(order, takes, references)
        outcomes: dict[int, EngineResult | None] = {
            i: EngineResult(None) for i in order.withheld if i in indices
        }
        # An engine may have made fewer than asked for, or more.
        outcomes.update(zip(chain(wanted, count(order.count)), made, strict=False))
        return sorted(outcomes.items())

    def _image(
        self, order: validation.ImageOrder, index: int, made: EngineResult | None, *, edit: bool
    ) -> wire.GeneratedImage:
        """Hand image `index` over in the format asked for."""
        withheld = made is not None and made.data is None
        image = wire.GeneratedImage(respect_moderation=not withheld)
        if not self._engine.previews:
            image.up_sampled_prompt = made.rewritten if made else ""
        elif self._rewrites and self._faults.up_sampled:
            take = order.first + index
            image.up_sampled_prompt = painting.rewrite(order.prompt, take, order.model, edit=edit)
        if made is None or made.data is None:
            return image
        data = made.data
        if self._faults.min_bytes:
            data = _padded(data, self._faults.min_bytes)
        if order.storage is not None:
            self._stored.keep(image, data, order.storage)
        if order.as_url:
            image.url = self._files.put(data, made.media_type)
        else:
            prefix = "" if self._faults.no_prefix else f"data:{made.media_type};base64,"
            image.base64 = prefix + base64.b64encode(data).decode("ascii")
        return image

    def _usage(
        self, prompt: str, made: Sequence[EngineResult | None] = (), *, inputs: int = 0
    ) -> wire.SamplingUsage:
        """Return a usage whose tokens are words, and whose cost is what the engine knows."""
        words = len(prompt.split())
        usage = wire.SamplingUsage(
            prompt_tokens=words + inputs,
            total_tokens=words + inputs,
            prompt_text_tokens=words,
            prompt_image_tokens=inputs,
        )
        if self._engine.previews:
            if self._faults.cost_ticks is not None:
                cost = self._faults.cost_ticks * len(made) + self._faults.input_ticks * inputs
                usage.cost_in_usd_ticks = cost
            return usage
        costs = [each.cost_ticks for each in made if each is not None]
        known = [cost for cost in costs if cost is not None]
        if len(known) == len(costs):
            usage.cost_in_usd_ticks = sum(known)
        return usage


def _padded(jpeg: bytes, size: int) -> bytes:
    """Return the same JPEG with comments in front, at least `size` bytes long."""
    missing = size - len(jpeg)
    if missing <= 0:
        return jpeg
    segment = b"\xff\xfe\xff\xff" + bytes(_COMMENT_BYTES)
    return jpeg[:2] + segment * -(-missing // len(segment)) + jpeg[2:]


_DATA_URI: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[^,;]*)*),", re.IGNORECASE)
_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp"})
_MAX_PIXELS: Final = {
    "PNG": settings.MAX_IMAGE_PIXELS,
    "JPEG": settings.MAX_IMAGE_PIXELS,
    "WEBP": settings.MAX_IMAGE_PIXELS // 2,  # its decoder holds every pixel three times over
}
_MAX_SIDE: Final = 2896
"""Pixels. Pictures are never larger, so inputs are shrunk once instead of in every painting."""
_STRIP: Final = 256
"""Rows of the reduced image that are made at a time."""
_ORIENTATION: Final = 0x0112
_MAX_EXIF: Final = 1 << 16
"""Bytes. Pillow takes seconds for the entries that fit into a megabyte."""


def read_input(url: str, files: FileServer) -> bytes:
    """Return the bytes of the image behind `url`, not decoded.

    Raises:
        Refusal: INVALID_ARGUMENT: no data URI, not base64, not one of our own URLs, or too large.
    """
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
                "An input image must be a URL, a data URI or base64: of a PNG, JPEG or WebP image."
            )
    if len(data) > settings.MAX_INPUT_IMAGE_BYTES:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        raise invalid(
            f"An input image must have at most {limit} MiB, this one has {len(data)} bytes."
        )
    return data


def decode_input(data: bytes) -> Image.Image:
    """Return the image upright, in RGB, its longer side at most 2896 pixels.

    What is decoded is held once: 64 megapixels with transparency are 256 MB.

    Raises:
        Refusal: INVALID_ARGUMENT: not a PNG, JPEG or WebP, damaged, or with too many pixels.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  # on a worker thread, never at start

    try:
        check_structure(data)
        with Image.open(io.BytesIO(readable(data)), formats=tuple(_MAX_PIXELS)) as opened:
            if opened.width * opened.height > _MAX_PIXELS[opened.format or "WEBP"]:
                raise invalid(
                    f"An input image of {opened.width} x {opened.height} pixels is too large."
                )
            opened.draft("RGB", (_MAX_SIDE, _MAX_SIDE))  # a JPEG is decoded smaller at once
            image = _reduced(opened)
            if len(opened.info.get("exif", b"")) > _MAX_EXIF:
                del opened.info["exif"]
            image.getexif()[_ORIENTATION] = opened.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise invalid("An input image is not a readable PNG, JPEG or WebP image.") from error
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return ImageOps.exif_transpose(image)


def _reduced(image: Image.Image) -> Image.Image:
    """Return `image` in RGB, on white and at most twice `_MAX_SIDE` a side, made strip by strip."""
    from PIL import Image  # noqa: PLC0415

    factor = max(1, max(image.size) // _MAX_SIDE)
    size = [math.ceil(length / factor) for length in image.size]
    result = Image.new("RGB", (size[0], size[1]), "white")
    for top in range(0, image.height, _STRIP * factor):
        bottom = min(top + _STRIP * factor, image.height)
        strip = image.crop((0, top, image.width, bottom))
        if strip.mode.startswith("I;16"):  # which Pillow would clip
            strip = strip.point(lambda value: value / 257).convert("L")
        if strip.has_transparency_data:
            strip = strip.convert("RGBA").reduce(factor)
            result.paste(strip, (0, top // factor), mask=strip)
        else:
            result.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    return result


def _data_uri(uri: str) -> bytes:
    match = _DATA_URI.match(uri[:256])
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
    """Return the bytes of base64; None: it is none.

    Raises:
        Refusal: INVALID_ARGUMENT: too large.
    """
    if len(encoded) > settings.MAX_INPUT_IMAGE_BYTES * 4 // 3 + 4:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        raise invalid(f"An input image must have at most {limit} MiB.")
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:  # a character that is not ASCII too
        return None
