"""Answers the calls: images, models, chat."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.server import catalog, chat, inputs, painting, validation
from xai_notebook.server.faults import Faults, Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.server.calls import CallLog, SeenCall
    from xai_notebook.server.faults import Fault
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
    ) -> None:
        """Start nothing yet.

        Args:
            files: Where pictures in the `url` format go.
            log: Remembers every call.
            faults: What goes wrong on purpose.
            api_key: The only key accepted; None accepts any, and none.
            rewrites: Fill `up_sampled_prompt`.
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

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers to register, one for each service of the API."""
        methods: dict[str, tuple[Callable[[Any, SeenCall], Awaitable[Any]], Any, Any]] = {
            wire.GENERATE_IMAGE: (
                self.generate_image,
                wire.GenerateImageRequest,
                wire.ImageResponse,
            ),
            wire.LIST_IMAGE_GENERATION_MODELS: (
                self.list_models,
                wire.Empty,
                wire.ListImageGenerationModelsResponse,
            ),
            wire.GET_IMAGE_GENERATION_MODEL: (
                self.get_model,
                wire.GetModelRequest,
                wire.ImageGenerationModel,
            ),
            wire.GET_COMPLETION: (
                self.complete,
                wire.GetCompletionsRequest,
                wire.GetChatCompletionResponse,
            ),
        }
        services: dict[str, dict[str, Any]] = {}
        for path, (answer, request, response) in methods.items():
            service, method = path.lstrip("/").split("/")
            services.setdefault(service, {})[method] = grpc.unary_unary_rpc_method_handler(
                # Parsed there and not by gRPC, which answers garbage with the name of a class.
                self._guarded(path, answer, request),
                response_serializer=response.SerializeToString,
            )
        return [grpc.method_handlers_generic_handler(*item) for item in services.items()]

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
        references = await self._references(order.image_urls)
        indices = range(max(0, order.count - self._faults.short))
        paintings = [asyncio.ensure_future(self._image(order, i, references)) for i in indices]
        try:
            images = await asyncio.gather(*paintings)
        finally:
            for painting in paintings:  # one failed: the others are painted for nobody
                painting.cancel()
        if self._faults.after_work:
            self._faults.strike(failure)
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

    def _guarded(
        self, path: str, answer: Callable[[Any, SeenCall], Awaitable[_T]], kind: type[Message]
    ) -> Callable[[bytes, Any], Awaitable[_T]]:
        """Wrap a method: check the key, remember the call, turn refusals into statuses."""

        async def handle(data: bytes, context: Any) -> _T:
            metadata = [(name, value) for name, value in context.invocation_metadata() or ()]
            request, garbage = _parsed(data, kind)
            call = self._log.open(path, request, metadata)
            status: str | None = None
            refusal: Refusal | None = None
            try:
                self._authenticate(dict(metadata).get("authorization"))
                Faults.strike(garbage)
                reply = await answer(request, call)
                status = "OK"
            except Refusal as refused:
                refusal = refused
            except Exception as error:  # noqa: BLE001  # gRPC would print a traceback
                refusal = Refusal(
                    grpc.StatusCode.INTERNAL,
                    f"The embedded server failed: {type(error).__name__}: {error}",
                )
            finally:
                status = status or (refusal.code.name if refusal else None)
                self._log.close(call, status)
            if refusal is not None:
                await context.abort(refusal.code, refusal.details, refusal.trailing)
            return reply

        return handle

    def _authenticate(self, header: str | bytes | None) -> None:
        if self._api_key is None:
            return
        if header is None:
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "No API key was sent.")
        value = header if isinstance(header, bytes) else header.encode()
        if not hmac.compare_digest(value, f"Bearer {self._api_key.reveal()}".encode()):
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "The API key is wrong.")

    async def _references(self, urls: Sequence[str]) -> list[Any]:
        """Read the input images, one at a time among all calls: decoded they can be large."""
        references = []
        for url in urls:
            async with self._decoding:
                references.append(await self._work(functools.partial(_reference, url, self._files)))
        return references

    async def _image(self, order: validation.ImageOrder, index: int, references: list[Any]) -> Any:
        """Paint image `index` and hand it over in the format asked for."""
        image = wire.GeneratedImage(respect_moderation=index not in order.withheld)
        if self._rewrites and self._faults.up_sampled:
            edit = bool(references)
            image.up_sampled_prompt = painting.rewrite(order.prompt, index, order.model, edit=edit)
        if order.stores:
            image.storage_error = "The embedded server has no file store."
        if not image.respect_moderation or self._faults.empty:
            return image
        data = self._faults.garbage
        if data is None:
            data = await self._work(functools.partial(_paint, order, index, references))
            self.painted += 1
        if self._faults.min_bytes:
            data = _padded(data, self._faults.min_bytes)
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


def _parsed(data: bytes, kind: type[Message]) -> tuple[Message, Fault | None]:
    """Return a request, and what to refuse the call with if it is none."""
    try:
        return kind.FromString(data), None
    except DecodeError:
        return kind(), (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"The request is no {kind.DESCRIPTOR.name} message.",
        )


def _reference(url: str, files: FileServer) -> Any:
    """Return the decoded input image behind `url`; on a worker thread."""
    return inputs.decode(inputs.read(url, files))


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
