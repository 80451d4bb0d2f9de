"""Answers the calls: images, models, chat, the key; and says who answers the others."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
from collections import Counter
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final, cast

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.server import chat, inputs, painting, validation
from xai_notebook.server.batches import Batches
from xai_notebook.server.engine import Input, Made, Workers
from xai_notebook.server.methods import Methods
from xai_notebook.server.stored import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xai_notebook.server.calls import CallLog, SeenCall
    from xai_notebook.server.engine import Engine
    from xai_notebook.server.faults import Faults
    from xai_notebook.server.files import FileServer

__all__ = ["Service"]

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
        self._workers = Workers()
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
        system, prompt = chat.read(request)
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

    async def _references(self, sources: Sequence[wire.ImageUrlContent]) -> list[Input]:
        """Read the input images, one at a time among all calls: decoded they can be large."""
        references = []
        for source in sources:
            async with self._decoding:
                read = functools.partial(self._reference, source)
                references.append(await self._workers.run(read))
        return references

    def _reference(self, source: wire.ImageUrlContent) -> Input:
        """Return an input image, read and decoded; on a worker thread."""
        if source.HasField("file_id"):
            data = self._stored.read(source.file_id)
        else:
            data = inputs.read(source.image_url, self._files)
        return Input(data, inputs.decode(data))

    async def _made(
        self, order: validation.ImageOrder, references: list[Input]
    ) -> list[tuple[int, Made | None]]:
        """Return what became of each picture, by its index; None: nothing, as the faults want it.

        Raises:
            Refusal: The engine made none.
        """
        indices = range(max(0, order.count - self._faults.short))
        if self._faults.empty:
            return [(i, Made(None) if i in order.withheld else None) for i in indices]
        wanted = [i for i in indices if i not in order.withheld]
        made: list[Made] = []
        if self._faults.garbage is not None:
            made = [Made(self._faults.garbage) for _ in wanted]
        elif wanted:
            takes = [order.first + index for index in wanted]
            made = await self._engine.make_each(order, takes, references)
        outcomes: dict[int, Made | None] = {i: Made(None) for i in order.withheld if i in indices}
        # An engine may have made fewer than asked for, or more.
        outcomes.update(zip(chain(wanted, count(order.count)), made, strict=False))
        return sorted(outcomes.items())

    def _image(
        self, order: validation.ImageOrder, index: int, made: Made | None, *, edit: bool
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
        self, prompt: str, made: Sequence[Made | None] = (), *, inputs: int = 0
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
