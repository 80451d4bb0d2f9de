"""The interface for engines, which make the pictures, and the default engine, `PaintingEngine`.

    class MyEngine(Engine):
        async def models(self):
            return (Model("my-model", (), 0),)

        async def make(self, order, index, inputs):
            return await asyncio.to_thread(draw, order.prompt, index)

An engine that makes several pictures in one call overrides `make_each`.
"""

from __future__ import annotations

import asyncio
import functools
import io
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import grpc

from xai_notebook import settings
from xai_notebook.client import media
from xai_notebook.server import painting
from xai_notebook.server.faults import Refusal
from xai_notebook.server.validation import MODEL_NAMES, MODELS, Model, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from xai_notebook.server.validation import ImageOrder

_THREADS: Final = 2
_FORMATS: Final = ("PNG", "JPEG", "WEBP")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EngineInput:
    """An input image of an edit.

    Attributes:
        data: The file as received: PNG, JPEG or WebP, at most 10 MiB.
        image: The decoded image: upright, RGB, with a longer side of at most 2896 pixels.
    """

    data: bytes
    image: Image.Image


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One picture that an engine made or withheld.

    Attributes:
        data: The image file. None if the engine's moderation withheld the picture.
        media_type: Media type of `data`.
        rewritten: The rewritten prompt, if the engine reports one.
        cost_ticks: Cost in ticks of 1e-10 US dollars. None if it is unknown.
    """

    data: bytes | None
    media_type: str = "image/jpeg"
    rewritten: str = ""
    cost_ticks: int | None = 0


class Engine(ABC):
    """Makes pictures for checked requests.

    If a method raises a `Refusal`, the call ends with the status of the `Refusal`. Any other
    exception ends the call with INTERNAL. If the client cancels a call, `make` is cancelled too.

    Attributes:
        location: Host and port, or the name of the entry point, for messages. `""` for the painter.
        previews: Whether the pictures are previews. `[moderated]` marks in a prompt withhold only
            previews. True only for the painter.
        free: Whether the pictures cost no money.
    """

    location: str = ""
    previews: bool = False
    free: bool = True

    async def start(self) -> None:  # noqa: B027  # most engines need no preparation
        """Prepare. Called once, on the event loop that runs all later calls."""

    async def close(self) -> None:  # noqa: B027
        """Release all resources."""

    @abstractmethod
    async def models(self) -> Sequence[Model]:
        """Return the models, with the default first.

        Raises:
            Refusal: The list is not available.
        """

    async def find(self, name: str) -> Model:
        """Return the model with that name or alias.

        The name of an xAI model that the engine does not have selects the default model.

        Raises:
            Refusal: INVALID_ARGUMENT if the name is empty, NOT_FOUND if no model has that name.
        """
        models = await self.models()
        if not name.strip():
            raise invalid("Model must not be empty.")
        for model in models:
            if name == model.name or name in model.aliases:
                return model
        if models and name in MODEL_NAMES:
            return models[0]
        existing = ", ".join(model.name for model in models)
        raise Refusal(
            grpc.StatusCode.NOT_FOUND,
            f"The model {name!r} does not exist. Existing models: {existing}.",
        )

    async def source(self, name: str) -> str:
        """Name the model and the server that make the pictures, as "MODEL at LOCATION"."""
        try:
            model = (await self.find(name)).name
        except Refusal:
            return self.location
        return f"{model} at {self.location}" if self.location else model

    @abstractmethod
    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        """Return picture `index` of a request, as a PNG, JPEG or WebP file.

        Args:
            order: The request. Its `model` is the name of one of the `models`.
            index: Number of the picture, from 0. Each number gets a different picture.
            inputs: The images to edit, if any.

        Raises:
            Refusal: The picture cannot be made.
        """

    async def make_each(
        self, order: ImageOrder, indices: Sequence[int], inputs: Sequence[EngineInput]
    ) -> list[EngineResult]:
        """Return the pictures of a request, or fewer if the engine cannot make all of them.

        The default calls `make` for all of them concurrently.
        """
        tasks = [asyncio.ensure_future(self._make_one(order, index, inputs)) for index in indices]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:  # after a failure, the other pictures would be discarded
                task.cancel()

    async def _make_one(
        self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]
    ) -> EngineResult:
        """Make one picture, and check it unless it is a preview.

        Raises:
            Refusal: The picture cannot be used.
        """
        data = await self.make(order, index, inputs)
        if self.previews:
            return EngineResult(data)
        try:
            return EngineResult(data, await asyncio.to_thread(check_picture, data))
        except ValueError as error:
            msg = f"{order.model} made a picture that cannot be used: {error}."
            raise Refusal(grpc.StatusCode.INTERNAL, msg) from error


class EnginePool:
    """A pool of two threads with a queue on the event loop.

    A function leaves the queue only when a thread is free. So after a cancelled call or at exit, at
    most two functions are still running.
    """

    def __init__(self) -> None:
        """Create the pool. The threads start with the first call."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="xai-notebook-painter")
        self._slots = asyncio.Semaphore(_THREADS)

    async def run(self, function: Callable[[], _T]) -> _T:
        """Call `function` on a thread of the pool and return its result."""
        async with self._slots:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        """Let the threads end after their current function."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PaintingEngine(Engine):
    """Paints previews from the words of the prompt: offline, free and reproducible.

    Attributes:
        painted: Number of pictures painted since `start`.
    """

    previews = True

    def __init__(self) -> None:
        """Create the engine. Pillow and the figures are loaded with the first picture."""
        self.painted = 0
        self._pool: EnginePool | None = None

    async def start(self) -> None:
        """Create the pool of painting threads."""
        self.painted = 0
        self._pool = EnginePool()

    async def close(self) -> None:
        """Stop painting."""
        if self._pool is not None:
            self._pool.close()

    async def models(self) -> Sequence[Model]:
        """Return xAI's models."""
        return MODELS

    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        """Paint one picture on a thread of the pool. The first picture imports Pillow there."""
        if self._pool is None:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "The painter was not started.")
        paint = functools.partial(
            painting.paint,
            order.prompt,
            index=index,
            aspect_ratio=order.aspect_ratio,
            resolution=order.resolution,
            quality=order.quality,
            model=order.model,
            inputs=[source.image for source in inputs],
        )
        data = await self._pool.run(paint)
        self.painted += 1
        return data


def check_picture(data: bytes) -> str:
    """Check a picture by decoding it completely. This is slow: call it on a thread.

    Returns:
        The media type.

    Raises:
        ValueError: `data` is not a PNG, JPEG or WebP image, is damaged, or has too many pixels.
    """
    from PIL import Image  # noqa: PLC0415

    width, height = media.dimensions(data) or (0, 0)
    if width * height > settings.MAX_IMAGE_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, which is too many")
    try:
        media.check_structure(data)
    except ValueError as error:
        raise ValueError(f"its file has {error}") from error
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > settings.MAX_IMAGE_PIXELS:
                raise ValueError("it has too many pixels")
            image.load()
            return str(Image.MIME[str(image.format)])
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("it is not a readable PNG, JPEG or WebP image") from error
