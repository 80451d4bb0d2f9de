"""Answers the calls: images, models, chat, the key; and says who answers the others."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.server import catalog, chat, inputs, painting, validation
from xai_notebook.server.batches import Batches
from xai_notebook.server.methods import Methods
from xai_notebook.server.stored import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import grpc

    from xai_notebook.server.calls import CallLog, SeenCall
    from xai_notebook.server.faults import Faults
    from xai_notebook.server.files import FileServer
    from xai_notebook.settings import ApiKey

__all__ = ["Service"]

_WORKERS: Final = 2
_PREFIX: Final = "data:image/jpeg;base64,"
_COMMENT_BYTES: Final = 65_533
"""What one JPEG comment segment can hold."""

_T = TypeVar("_T")


class Service:
    """The methods of the wire, on one event loop; pictures are painted on worker threads."""

    def __init__(
        self,
        *,
        files: FileServer,
        log: CallLog,
        faults: Faults,
        api_key: ApiKey | None,
        rewrites: bool,
        keep_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        """Start nothing yet.

        Args:
            files: Where pictures in the `url` format go.
            log: Remembers every call.
            faults: What goes wrong on purpose.
            api_key: The only key accepted; None accepts any, and none.
            rewrites: Fill `up_sampled_prompt`.
            keep_bytes: Of stored files, and of the requests of batches.
            clock: Seconds since 1970.
        """
        self.painted = 0
        self._files = files
        self._log = log
        self._faults = faults
        self._api_key = api_key
        self._rewrites = rewrites
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="xai-notebook-painter")
        # Only as many pictures as there are workers are ever queued: a cancelled
        # call, or a process that exits, waits for one picture and not for ten.
        self._slots = asyncio.Semaphore(_WORKERS)
        self._decoding = asyncio.Lock()
        self._stored = FileStore(files, faults, keep_bytes=keep_bytes, clock=clock)
        self._batches = Batches(self._answer, faults, keep_bytes=keep_bytes, clock=clock)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers to register, one for each service of the API."""
        methods = Methods(self._log, self._api_key)
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
        return methods.handlers()

    def close(self) -> None:
        """Let the worker threads end; what they have not begun is dropped."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def generate_image(
        self, request: wire.GenerateImageRequest, call: SeenCall
    ) -> wire.ImageResponse:
        """Paint the pictures of one request.

        Raises:
            Refusal: The request is wrong, or a fault was injected.
        """
        failure = self._faults.next_failure(request, call.number)
        if not self._faults.after_work:
            self._faults.strike(failure)
        order = validation.check(request)
        await self._faults.wait(request)
        reply = await self._fulfil(order)
        if self._faults.after_work:
            self._faults.strike(failure)
        return reply

    async def _answer(self, request: wire.GenerateImageRequest) -> wire.ImageResponse:
        """Paint the pictures of a request that came in a batch."""
        return await self._fulfil(validation.check(request))

    async def _fulfil(self, order: validation.ImageOrder) -> wire.ImageResponse:
        references = await self._references(order.inputs)
        indices = range(max(0, order.count - self._faults.short))
        paintings = [asyncio.ensure_future(self._image(order, i, references)) for i in indices]
        try:
            images = await asyncio.gather(*paintings)
        finally:
            for painting in paintings:  # one failed: the others are painted for nobody
                painting.cancel()
        return wire.ImageResponse(
            images=images,
            model=self._faults.model_name or settings.LOCAL_MODEL,
            usage=self._usage(order.prompt, images=len(images), inputs=len(references)),
        )

    async def list_models(
        self, _request: wire.Empty, _call: SeenCall
    ) -> wire.ListImageGenerationModelsResponse:
        """List every model."""
        self._faults.strike(self._faults.models_failure)
        return wire.ListImageGenerationModelsResponse(
            models=[model.to_message(self._faults) for model in catalog.list_all()]
        )

    async def get_model(
        self, request: wire.GetModelRequest, _call: SeenCall
    ) -> wire.ImageGenerationModel:
        """Describe one model."""
        self._faults.strike(self._faults.models_failure)
        return catalog.find(request.name).to_message(self._faults)

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

    async def _references(self, sources: Sequence[wire.ImageUrlContent]) -> list[Any]:
        """Read the input images, one at a time among all calls: decoded they can be large."""
        references = []
        for source in sources:
            async with self._decoding:
                references.append(await self._work(functools.partial(self._reference, source)))
        return references

    def _reference(self, source: wire.ImageUrlContent) -> Any:
        """Return a decoded input image; on a worker thread."""
        if source.HasField("file_id"):
            return inputs.decode(self._stored.read(source.file_id))
        return inputs.decode(inputs.read(source.image_url, self._files))

    async def _image(self, order: validation.ImageOrder, index: int, references: list[Any]) -> Any:
        """Paint image `index` and hand it over in the format asked for."""
        image = wire.GeneratedImage(respect_moderation=index not in order.withheld)
        if self._rewrites and self._faults.up_sampled:
            edit = bool(references)
            image.up_sampled_prompt = painting.rewrite(order.prompt, index, order.model, edit=edit)
        if not image.respect_moderation or self._faults.empty:
            return image
        data = self._faults.garbage
        if data is None:
            data = await self._work(functools.partial(_paint, order, index, references))
            self.painted += 1
        if self._faults.min_bytes:
            data = _padded(data, self._faults.min_bytes)
        if order.storage is not None:
            self._stored.keep(image, data, order.storage)
        if order.as_url:
            image.url = self._files.put(data)
        else:
            prefix = "" if self._faults.no_prefix else _PREFIX
            image.base64 = prefix + base64.b64encode(data).decode("ascii")
        return image

    async def _work(self, function: Callable[[], _T]) -> _T:
        async with self._slots:
            return await asyncio.get_running_loop().run_in_executor(self._workers, function)

    def _usage(self, prompt: str, *, images: int = 0, inputs: int = 0) -> wire.SamplingUsage:
        """Return a usage whose tokens are words: nobody pays for these."""
        words = len(prompt.split())
        usage = wire.SamplingUsage(
            prompt_tokens=words + inputs,
            total_tokens=words + inputs,
            prompt_text_tokens=words,
            prompt_image_tokens=inputs,
        )
        if self._faults.cost_ticks is not None:
            usage.cost_in_usd_ticks = self._faults.cost_ticks * images
        return usage


def _paint(order: validation.ImageOrder, index: int, references: Sequence[Any]) -> bytes:
    """Paint one picture; on a worker thread, so that Pillow is imported there."""
    return painting.paint(
        order.prompt,
        index=index,
        aspect_ratio=order.aspect_ratio,
        resolution=order.resolution,
        quality=order.quality,
        model=order.model,
        inputs=references,
    )


def _padded(jpeg: bytes, size: int) -> bytes:
    """Return the same JPEG with comments in front, at least `size` bytes long."""
    missing = size - len(jpeg)
    if missing <= 0:
        return jpeg
    segment = b"\xff\xfe\xff\xff" + bytes(_COMMENT_BYTES)
    return jpeg[:2] + segment * -(-missing // len(segment)) + jpeg[2:]
