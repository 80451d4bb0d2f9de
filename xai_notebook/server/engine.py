"""What makes the pictures behind the protocol: the painter, or an engine that somebody runs.

    class Mine(Engine):
        async def models(self): return (Model("my-model", (), 0),)
        async def make(self, order, index, inputs):
            return await to_thread(draw, order.prompt, index)

An engine that makes several pictures at once has a `make_each` of its own.
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
from xai_notebook.server.validation import Model, find_model, list_models, model_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from xai_notebook.server.validation import ImageOrder

__all__ = ["Engine", "EngineInput", "EnginePool", "EngineResult", "PaintingEngine", "checked"]

_WORKERS: Final = 2
_FORMATS: Final = ("PNG", "JPEG", "WEBP")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EngineInput:
    """An input image of an edit.

    Attributes:
        data: The file as sent: PNG, JPEG or WebP, of at most 10 MiB.
        image: The same, decoded: upright, in RGB, its longer side at most 2896 pixels.
    """

    data: bytes
    image: Image.Image


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What became of one picture.

    Attributes:
        data: The file; None: withheld by the engine's moderation.
        media_type: Of `data`.
        rewritten: The prompt that made it, where the engine says that it was another one.
        cost_ticks: What it cost, in ticks of 1e-10 US dollars; None: not known.
    """

    data: bytes | None
    media_type: str = "image/jpeg"
    rewritten: str = ""
    cost_ticks: int | None = 0


class Engine(ABC):
    """Makes pictures of requests that were checked.

    What it raises ends the call: a `Refusal` with its status, anything else as INTERNAL. A call
    that is cancelled cancels `make`.

    Attributes:
        place: Where it is, as a sentence names it; `""`: in this process.
        previews: It only sketches, and obeys the marks that rehearse moderation: the painter.
        free: Nobody is paid for its pictures.
    """

    place: str = ""
    previews: bool = False
    free: bool = True

    async def start(self) -> None:  # noqa: B027  # most need nothing
        """Get ready; called once, on the event loop of all later calls."""

    async def close(self) -> None:  # noqa: B027
        """Let go of everything."""

    @abstractmethod
    async def models(self) -> Sequence[Model]:
        """Return the models there are, the default first.

        Raises:
            Refusal: They cannot be found out.
        """

    async def find(self, name: str) -> Model:
        """Return the model of that name or alias. The names of xAI's models mean the default.

        Raises:
            Refusal: INVALID_ARGUMENT without a name, NOT_FOUND for one that does not exist.
        """
        models = await self.models()
        served = {each for model in models for each in (model.name, *model.aliases)}
        if models and name not in served and name in model_names():
            return models[0]
        return find_model(name, models)

    async def source(self, name: str) -> str:
        """Return where pictures of a model come from, as a sentence says it: "MODEL at PLACE"."""
        try:
            model = (await self.find(name)).name
        except Refusal:
            return self.place
        return f"{model} at {self.place}" if self.place else model

    @abstractmethod
    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        """Return picture `index` of a request, as a PNG, JPEG or WebP file.

        Args:
            order: The request; its `model` is the name of one of `models`.
            index: Which picture, from 0: each is another take.
            inputs: The images to edit, if any.

        Raises:
            Refusal: It cannot be made.
        """

    async def make_each(
        self, order: ImageOrder, indices: Sequence[int], inputs: Sequence[EngineInput]
    ) -> list[EngineResult]:
        """Return the pictures of a request, fewer when the engine has no more to give.

        By default each is made by a `make` of its own, all at the same time.
        """
        making = [asyncio.ensure_future(self._made(order, index, inputs)) for index in indices]
        try:
            return list(await asyncio.gather(*making))
        finally:
            for one in making:  # one failed: the others are made for nobody
                one.cancel()

    async def _made(
        self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]
    ) -> EngineResult:
        """Make one picture, and look at what others than we made.

        Raises:
            Refusal: It is no picture.
        """
        data = await self.make(order, index, inputs)
        if self.previews:
            return EngineResult(data)
        try:
            return EngineResult(data, await asyncio.to_thread(checked, data))
        except ValueError as error:
            msg = f"{order.model} made a picture that cannot be used: {error}."
            raise Refusal(grpc.StatusCode.INTERNAL, msg) from error


class EnginePool:
    """Two threads, with no more waiting for them than that.

    A cancelled call, or a process that exits, waits for one picture and not for ten.
    """

    def __init__(self) -> None:
        """Start no thread yet."""
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="xai-notebook-painter")
        self._slots = asyncio.Semaphore(_WORKERS)

    async def run(self, function: Callable[[], _T]) -> _T:
        """Return what `function` returns on a worker thread."""
        async with self._slots:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        """Let the threads end; what they have not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PaintingEngine(Engine):
    """Paints from the words of the prompt: offline, free, the same for the same request.

    Attributes:
        painted: How many pictures since `start`.
    """

    previews = True

    def __init__(self) -> None:
        """Load nothing yet."""
        self.painted = 0
        self._workers: EnginePool | None = None

    async def start(self) -> None:
        """Have threads to paint on."""
        self.painted = 0
        self._workers = EnginePool()

    async def close(self) -> None:
        """Stop painting."""
        if self._workers is not None:
            self._workers.close()

    async def models(self) -> Sequence[Model]:
        """Return the names of the real ones."""
        return list_models()

    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        """Paint one picture on a worker thread, so that Pillow is imported there."""
        if self._workers is None:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "The painter was not started.")
        paint = functools.partial(
            painting.paint,
            order.prompt,
            index=index,
            aspect_ratio=order.aspect_ratio,
            resolution=order.resolution,
            quality=order.quality,
            model=order.model,
            inputs=[one.image for one in inputs],
        )
        data = await self._workers.run(paint)
        self.painted += 1
        return data


def checked(data: bytes) -> str:
    """Return the media type of a picture, decoded whole to be sure; on a worker thread.

    Raises:
        ValueError: It is no PNG, JPEG or WebP, is damaged, or has too many pixels.
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
        raise ValueError("it is no readable PNG, JPEG or WebP image") from error
