"""The way of a call through one kernel; the magic, the panel and `generate()` share its session.

prepare(prompt, options)  checks everything, sends nothing
run(call)                 on the background loop: library, then server
collect(call)             what arrived, as users hold it
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from xai_notebook import frontend
from xai_notebook.errors import LibraryError
from xai_notebook.generation.budget import Budget
from xai_notebook.generation.call import Call, prepare_call, summarize
from xai_notebook.generation.cells import Cells
from xai_notebook.generation.connections import Connections
from xai_notebook.generation.loop import BackgroundLoop
from xai_notebook.generation.plan import plan
from xai_notebook.generation.routing import choose_route
from xai_notebook.library.marks import Mark
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.pictures.tables import CostTable
from xai_notebook.settings import Configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from xai_notebook.client.wire import ImageGenerationModel
    from xai_notebook.generation.claims import Asking
    from xai_notebook.library import Library
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.tables import Plan

__all__ = ["Call", "Session", "current_session"]

NOTICE: Final = (
    "No XAI_API_KEY is set, so these are local previews, drawn offline and for free by the "
    "embedded server."
)
ENGINE_NOTICE: Final = "No XAI_API_KEY is set: pictures come from {}."


class Session:
    """Everything one kernel shares between its calls."""

    def __init__(self, settings: Configuration | None = None) -> None:
        """Start nothing: the loop, the server and the library start when first needed.

        Args:
            settings: Default: what the environment says when a call is made.
        """
        self.loop = BackgroundLoop()
        self.configured: Callable[[], Mapping[str, Any]] = frontend.configured
        self.connections = Connections(self.loop)
        self._given = settings
        self._budget = Budget(limit=None, name="XaiImage.budget_usd")
        self._noticed: set[str] = set()
        self._cells = Cells()

    # What users call

    @overload
    def generate(
        self, prompt: str | None = None, *, dry_run: Literal[True], **given: Any
    ) -> Plan: ...
    @overload
    def generate(self, prompt: str | None = None, **given: Any) -> ImageBatch: ...
    def generate(self, prompt: str | None = None, **given: Any) -> ImageBatch | Plan:
        """Make images and wait for them; see `xai_notebook.generate`."""
        with self.ask() as asking:
            call = self.prepare(prompt, given)
            if call.options.dry_run:
                return self.plan(call)
            self.loop.run(self.run(call, asking))
            return self.finish(call)

    @overload
    async def agenerate(
        self, prompt: str | None = None, *, dry_run: Literal[True], **given: Any
    ) -> Plan: ...
    @overload
    async def agenerate(self, prompt: str | None = None, **given: Any) -> ImageBatch: ...
    async def agenerate(self, prompt: str | None = None, **given: Any) -> ImageBatch | Plan:
        """Make images without blocking the caller's event loop; see `xai_notebook.agenerate`."""
        with self._cells.ask(in_turn=True) as asking:  # before anything is awaited
            call = await asyncio.to_thread(self.prepare, prompt, given)
            if call.options.dry_run:
                return await asyncio.to_thread(self.plan, call)
            await self.loop.wait(self.run(call, asking))
            return await asyncio.to_thread(self.finish, call)

    def history(self, words: str = "", n: int = 24) -> ImageBatch:
        """Return past images, newest first.

        Args:
            words: Only images whose prompts hold all of these words.
            n: At most so many.

        Raises:
            LibraryError: The library cannot be opened.
        """
        found = self.as_batch(self.library().history(words, n))
        summary = None
        if not found:
            summary = (
                f"Nothing in the library has all of these words: {words.strip()}"
                if words.strip()
                else "The library is empty. What you make with %xai_image will appear here."
            )
        return ImageBatch(found, cells=True, limit=n, summary=summary)

    def lineage(self, image: GeneratedImage) -> ImageBatch:
        """Return the images that `image` was made from, oldest first, and itself at the end.

        Raises:
            LibraryError: The library cannot be opened.
        """
        if image.sha256 is None:
            return ImageBatch([image])
        return self.as_batch(self.library().shelf.lineage(image.sha256)) or ImageBatch([image])

    def mark(
        self,
        images: Sequence[GeneratedImage],
        *,
        starred: bool | None = None,
        tag: str | None = None,
        untag: str | None = None,
        deleted: bool | None = None,
    ) -> None:
        """Give images stars and tags, or put them into the trash; None leaves it as it is.

        Raises:
            OptionError: A tag is none.
            LibraryError: An image is in no library, or the library cannot be written to.
        """
        ids, marks = [_row_of(image) for image in images], self.library().marks
        if starred is not None:
            marks.star(ids, value=starred)
        if tag is not None:
            marks.tag(ids, tag)
        if untag is not None:
            marks.untag(ids, untag)
        if deleted is not None:
            (marks.delete if deleted else marks.restore)(ids)

    def starred(self, image: GeneratedImage) -> bool:
        """Tell whether an image has a star; see `mark`."""
        return self._mark_of(image).starred

    def tags(self, image: GeneratedImage) -> tuple[str, ...]:
        """Return the tags of an image; see `mark`."""
        return self._mark_of(image).tags

    def _mark_of(self, image: GeneratedImage) -> Mark:
        row = _row_of(image)
        return self.library().marks.of([row]).get(row) or Mark()

    def empty_trash(self) -> int:
        """Remove deleted images for good; see `xai_notebook.empty_trash`."""
        return self.library().marks.empty_trash()

    def as_batch(self, pictures: Sequence[Picture]) -> ImageBatch:
        """Return pictures of the library as users hold them."""
        return ImageBatch(
            GeneratedImage.of(picture, index=picture.position, replayed=True, maker=self)
            for picture in pictures
        )

    def costs(self) -> CostTable:
        """Return what the library knows was spent, by day and model.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return CostTable(self.library().costs())

    def models(self, *, local: bool = False) -> list[ImageGenerationModel]:
        """Return the image models of the server that a call would go to.

        Raises:
            XaiError: The server cannot be asked.
        """
        return self.loop.run(self.list_models(local=local))

    async def list_models(self, *, local: bool = False) -> list[ImageGenerationModel]:
        """As `models`, on the background loop."""
        peer = await self.connections.peer(choose_route(self._configuration(), local=local))
        return list(await peer.client.models.list_image_generation_models())

    def close(self) -> None:
        """Close channels, stop the embedded server and the loop, close the library."""
        self._cells.close()
        self._cells = Cells()
        self.connections.close()
        self.loop.stop()

    # The way of a call

    def prepare(
        self,
        prompt: str | None,
        given: Mapping[str, Any],
        namespace: Mapping[str, Any] | None = None,
        *,
        typed: bool = False,
    ) -> Call:
        """Check options, prompt and input images. Nothing is sent.

        Args:
            prompt: As written; with `each`, the prompts, one per line.
            given: Options by the names of the table.
            namespace: Variables, for `{{ … }}`, `--image` and `--each`.
            typed: The user typed the prompt: `{{ … }}` in it is filled. Any other is literal.

        Raises:
            OptionError: Something is wrong; the message names it.
            ConfigurationError: A variable or a configured value means nothing, or a key is missing.
        """
        return prepare_call(
            prompt, given, self.configured(), namespace or {}, typed=typed, settings=self._given
        )

    def ask(self, *, apart: Hashable = None) -> Asking:
        """Return the places of a call, which counts when this context ends well.

        Calls with the same `apart` are one cell that is run again, outside of the notebook's pass.
        """
        return self._cells.ask() if apart is None else self._cells.ask_apart(apart)

    async def run(self, call: Call, asking: Asking | None = None) -> None:
        """Answer a prepared call, on the background loop. Results are in `call.progress`.

        Without `asking`, from `ask`, the call counts as soon as it is answered.
        """
        with self.ask() if asking is None else nullcontext(asking) as asked:
            await self._answer(call, asked)

    async def _answer(self, call: Call, asking: Asking) -> None:
        from xai_notebook.generation.answering import answer  # noqa: PLC0415  # grpc

        call.spoil = asking.spoil
        self._budget.limit = call.configuration.budget_usd
        peer = await self.connections.peer(call.route)
        await self._announce_source(call)
        library = await asyncio.to_thread(self._library_or_none, call)
        await answer(call, asking, peer=peer, library=library, budget=self._budget)

    async def _announce_source(self, call: Call) -> None:
        """Say where pictures come from when there is no key."""
        route = call.route
        if route.automatic and route.painted:
            self._announce(call, NOTICE)
        elif route.automatic:
            source = await self.connections.source(route, call.options.model[0])
            self._announce(call, ENGINE_NOTICE.format(source))

    def collect(self, call: Call) -> ImageBatch:
        """Return what arrived so far as a batch. Nothing can go wrong here."""
        progress = call.progress
        labels = call.labels
        images = [
            GeneratedImage.of(
                picture, index=index, label=labels[number] if labels else None, maker=self
            )
            for number, pictures in sorted(progress.results.items())
            for index, picture in enumerate(pictures)
        ]
        return ImageBatch(
            images,
            compare=call.options.compare,
            columns=call.options.columns,
            full=call.options.full,
            notes=[*call.announced, *progress.notes],
            summary=summarize(call) if call.many else None,
            undrawn=call.spoil,
        )

    def finish(self, call: Call) -> ImageBatch:
        """Return what arrived as a batch, exported if that was asked for.

        Raises:
            ExportError: A file cannot be written. The images are in the library.
        """
        batch = self.collect(call)
        call.export(batch)
        return batch

    def plan(self, call: Call) -> Plan:
        """Return what a call would send and cost; see `plan`."""
        return plan(call, lambda model: self.loop.run(self._price(call, model)))

    async def _price(self, call: Call, model: str) -> float | None:
        return await (await self.connections.peer(call.route)).price(model)

    def library(self) -> Library:
        """Return the open library.

        Raises:
            LibraryError: It cannot be opened.
        """
        return self.connections.library(self._configuration())

    def _configuration(self) -> Configuration:
        return Configuration.read(self._given, self.configured())

    def _library_or_none(self, call: Call) -> Library | None:
        """Return the library, or None with one warning a kernel when it cannot be opened."""
        try:
            return self.connections.library(call.configuration)
        except LibraryError as error:
            if call.options.replay:
                raise
            self._announce(call, f"Images are not kept: {error}")
            return None

    def _announce(self, call: Call, line: str) -> None:
        """Put a line under the pictures of a call, once in a kernel's life."""
        if line not in self._noticed:
            self._noticed.add(line)
            call.announced.append(line)


def _row_of(image: GeneratedImage) -> int:
    if image.id is None:
        raise LibraryError("This image is not in the library: it can have no star and no tag.")
    return image.id


_session: Session | None = None
_session_lock = threading.Lock()


def current_session() -> Session:
    """Return the kernel's session, made by its first use."""
    global _session  # noqa: PLW0603  # one session a process, and only this function makes it
    with _session_lock:
        if _session is None:
            _session = Session()
        return _session


def close_session() -> None:
    """Close the kernel's session; the next call starts a new one."""
    global _session  # the other half of current_session
    with _session_lock:
        session, _session = _session, None
    if session is not None:
        session.close()
