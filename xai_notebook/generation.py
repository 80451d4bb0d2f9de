"""One request answered: from the library, from the server, or from both.

Its order is the promise: what arrived is in the library before it is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from itertools import compress
from typing import TYPE_CHECKING, Any

from xai_notebook.batching import Batched
from xai_notebook.budget import Budget, reserve, to_ticks
from xai_notebook.errors import (
    ApiError,
    CallCancelledError,
    DeadlineExceededError,
    DownloadError,
    LibraryError,
    OptionError,
    ReplyError,
    ReplyTooLargeError,
    ServerError,
)
from xai_notebook.library import Reply
from xai_notebook.replies import add, describe, kept, look_at, payload_of, share

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from xai_notebook.client import AsyncClient
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.client.retry import Attempt
    from xai_notebook.library import Library
    from xai_notebook.progress import Progress
    from xai_notebook.results import GeneratedImage, ImageRequest
    from xai_notebook.rewriting import Rewriter

__all__ = ["Connection", "Generator"]

_MAYBE_BILLED = (DeadlineExceededError, ReplyTooLargeError, CallCancelledError, ServerError)

_URL_LIFETIME = timedelta(hours=1)


@dataclass(slots=True)
class Connection:
    """A server, and what a kernel remembers about it.

    Attributes:
        client: Connected to `host`.
        backend: `"xai"` or `"local"`.
        host: What tells its images from those of other hosts.
        asked: Fingerprints of the requests that earlier calls of this kernel completed.
        rewrites: Prompts rewritten in this kernel.
        prices: List prices in US dollars per image by model name, once asked for.
        asking: Held while prices are asked for: many requests at once ask one question.
    """

    client: AsyncClient
    backend: str
    host: str
    asked: set[str] = field(default_factory=set)
    rewrites: dict[str, str] = field(default_factory=dict)
    prices: dict[str, float] | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def price(self, model: str) -> float | None:
        """Return the list price of an image in US dollars; None: the server names none."""
        async with self.asking:
            if self.prices is None:
                prices: dict[str, float] = {}
                for known in await self.client.models.list_image_generation_models():
                    for name in (known.name, *known.aliases):
                        prices[name] = known.image_price / 100
                self.prices = prices
        return self.prices.get(model)


@dataclass(slots=True)
class Generator:
    """Answers requests under the options of one call.

    Attributes:
        connection: Where to send what is missing.
        library: Where everything is kept; None: it could not be opened.
        budgets: Limits that all must hold.
        progress: Where what happens is counted.
        automatic: The library answers a request that this kernel makes for the first time.
        fresh: The library never answers.
        only_stored: The server is never asked.
        timeout: Seconds for a whole call.
        notebook: The notebook the images are for.
        rewriter: Rewrites prompts first, if that was asked for.
        claimed: How many images of each request this call has answered or is about to.
        waiting: Fingerprints of requests with an image that has been paid for and could not be
            fetched yet.
        slots: Limits how many requests are under way at the server at once.
        before_send: Awaited before each request that the library cannot answer.
        on_attempt: Hears of failed attempts that are made again, after `progress`.
    """

    connection: Connection
    library: Library | None
    budgets: Sequence[Budget]
    progress: Progress
    automatic: bool
    fresh: bool
    only_stored: bool
    timeout: float
    notebook: str | None = None
    rewriter: Rewriter | None = None
    claimed: Counter[str] = field(default_factory=Counter)
    waiting: set[str] = field(default_factory=set)
    slots: asyncio.Semaphore | None = None
    before_send: Callable[[], Awaitable[None]] | None = None
    on_attempt: Callable[[Attempt], None] | None = None
    _find: Batched[tuple[str, int | None], list[GeneratedImage]] = field(init=False, repr=False)
    _save: Batched[Reply, LibraryError | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Let what comes at the same time go to the library together."""
        if self.library is not None:
            self._find = Batched(self.library.find_each)
            self._save = Batched(self.library.add_replies)

    async def generate(self, request: ImageRequest) -> list[GeneratedImage]:
        """Return `request.n` images, or cards that say why one is not there.

        Raises:
            XaiError: The request failed as a whole.
        """
        extra: float | None = 0.0
        if self.rewriter is not None:
            request, extra = await self.rewriter.rewrite(request)
            if extra != 0:
                self._charge(extra)
        fingerprint = request.fingerprint(self.connection.backend, self.connection.host)
        # The same prompt twice in one call is two requests: each has images of its own.
        skip = self.claimed[fingerprint]
        self.claimed[fingerprint] += request.n
        try:
            images = await self._stored(request, fingerprint, skip)
            if len(images) < request.n:
                made = await self._ask(request, fingerprint, skip, len(images))
                for image in made:
                    image.cost_usd = add(image.cost_usd, share(extra, len(made)))
                images += made
        except BaseException:
            self.claimed[fingerprint] -= request.n
            raise
        return images

    def complete(self) -> None:
        """Note that the call has all it asked for: making its requests again makes new images.

        A call that was interrupted or partly failed is not noted, so that running it again is
        answered by what came, and sends only what is missing; nor is what still waits at a URL.
        """
        self.connection.asked.update(self.claimed.keys() - self.waiting)

    def _charge(self, cost_usd: float | None) -> None:
        """Count what a rewrite cost; no list price is known for it beforehand."""
        self.progress.charged(cost_usd)
        for budget in self.budgets:
            budget.spent += to_ticks(cost_usd or 0.0)

    async def _stored(
        self, request: ImageRequest, fingerprint: str, skip: int
    ) -> list[GeneratedImage]:
        """Return what the library has of this request, if it may answer.

        Raises:
            LibraryError: It does not have all, and nothing else may answer.
        """
        first = fingerprint not in self.connection.asked
        if self.library is None or self.fresh:
            return []
        if not (self.only_stored or (first and self.automatic)):
            return []
        found = (await self._find((fingerprint, skip + request.n)))[skip:]
        there = await asyncio.gather(*(self._fetch_late(image, fingerprint) for image in found))
        images: list[GeneratedImage] = []
        for image in compress(found, there):
            image.request = replace(image.request, inputs=request.inputs, n=request.n)
            image.index = len(images)
            image.replayed = True
            images.append(image)
        if self.only_stored and len(images) < request.n:
            raise LibraryError(
                f"The library holds {len(images)} of the {request.n} images asked for with "
                "--replay. Leave it out to have the rest made."
            )
        await look_at(images)
        return images

    async def _fetch_late(self, image: GeneratedImage, fingerprint: str) -> bool:
        """Download a stored image that could not be fetched when its reply came.

        Returns:
            Whether it answers its request: what is gone must be made again. What may come yet has
            been paid for, and stays where it is until its URL has expired.
        """
        if image.status != "pending" or self.library is None:
            return True
        url = await asyncio.to_thread(self.library.url_of, image)
        if url is None:
            return False
        try:
            data = await self.connection.client.download(url, timeout=self.timeout)
        except ReplyError as error:
            age = datetime.now(timezone.utc) - image.created
            if age > _URL_LIFETIME or (isinstance(error, DownloadError) and error.gone):
                await asyncio.to_thread(self.library.fail, image, str(error))
                return False
            self._note_waiting(image, error, fingerprint)
            return True
        await self._complete(self.library, image, data)
        return True

    async def _ask(
        self, request: ImageRequest, fingerprint: str, skip: int, stored: int
    ) -> list[GeneratedImage]:
        """Have the images made that are not stored, and keep them.

        Args:
            request: As the user made it.
            fingerprint: Of the request.
            skip: Images of the same request that this call has answered already.
            stored: Images of this request that the library had.
        """
        missing = request.n - stored
        price = None
        if any(budget.limit is not None for budget in self.budgets):
            price = await self.connection.price(request.model)
        async with reserve(self.budgets, price, missing) as reservation:
            try:
                sent = await self._send(request, missing)
            except (ApiError, OptionError) as error:
                if not isinstance(error, _MAYBE_BILLED):
                    reservation.waive()
                raise
            cost = sent[0].cost_usd if sent else None
            reservation.settle(cost)
        self.progress.charged(cost)
        responses = kept(sent, missing)
        if len(sent) > missing:
            self.progress.note(
                f"The server sent {len(sent):,} images where {missing} were asked for;"
                f" {len(responses)} are kept."
            )
        # In the library, indices go on from call to call of one request, so that they replay in
        # this order; for the user each request begins at 0.
        images = [
            describe(request, skip + stored + position, responses, position, missing)
            for position in range(max(missing, len(responses)))
        ]
        # What has arrived is kept, even when the call is cancelled at this very moment.
        await _finish(self._keep(images, responses, fingerprint))
        for image in images:
            image.index -= skip
        return images

    async def _send(self, request: ImageRequest, n: int) -> Sequence[ImageResponse]:
        # Only while it is at the server: the next request need not wait for this one's files.
        async with self.slots or contextlib.nullcontext():
            if self.before_send is not None:
                await self.before_send()
            return await self._sample(request, n)

    async def _sample(self, request: ImageRequest, n: int) -> Sequence[ImageResponse]:
        urls = [image.url for image in request.inputs]
        edits: dict[str, Any] = {}
        if len(urls) == 1:
            edits["image_url"] = urls[0]
        elif urls:
            edits["image_urls"] = urls
        return await self.connection.client.image.sample_batch(
            request.prompt,
            request.model,
            n,
            image_format=request.image_format,
            user=request.user,
            aspect_ratio=request.aspect_ratio,
            resolution=request.resolution,
            quality=request.quality,
            timeout=self.timeout,
            on_attempt=self._note_attempt,
            **edits,
        )

    def _note_attempt(self, attempt: Attempt) -> None:
        self.progress.on_attempt(attempt)
        if self.on_attempt is not None:
            self.on_attempt(attempt)

    async def _keep(
        self,
        images: list[GeneratedImage],
        responses: Sequence[ImageResponse],
        fingerprint: str,
    ) -> None:
        """Store a reply, then fetch what came as URLs, then look at the bytes."""
        payloads = [await payload_of(image, response) for image, response in
                    zip(images, responses, strict=False)]  # fmt: skip
        arrived = images[: len(payloads)]
        if not (arrived and await self._store(arrived, payloads, fingerprint, responses[0])):
            for image, payload in zip(arrived, payloads, strict=True):
                image.cached = payload if isinstance(payload, bytes) else None
        await asyncio.gather(
            *(
                self._download(image, response, fingerprint)
                for image, response, payload in zip(arrived, responses, payloads, strict=False)
                if isinstance(payload, str)
            )
        )
        await look_at(images)

    async def _store(
        self,
        images: Sequence[GeneratedImage],
        payloads: Sequence[bytes | str | None],
        fingerprint: str,
        response: ImageResponse,
    ) -> bool:
        """Tell whether the library took the reply; if it cannot, the images stay in memory."""
        if self.library is None:
            return False
        reply = Reply(
            images[0].request,
            images,
            payloads,
            fingerprint=fingerprint,
            backend=self.connection.backend,
            host=self.connection.host,
            notebook=self.notebook,
            cost_usd=response.cost_usd,
            model=response.model,
        )
        try:
            error = await self._save(reply)
        except LibraryError as raised:
            error = raised
        if error is not None:
            self.progress.note(f"Not kept in the library: {error}")
        return error is None

    async def _download(
        self, image: GeneratedImage, response: ImageResponse, fingerprint: str
    ) -> None:
        try:
            data = await response.image
        except ReplyError as error:
            self._note_waiting(image, error, fingerprint)
            return
        if self.library is None or image.id is None:
            image.status, image.cached = "ok", data
        else:
            await self._complete(self.library, image, data)

    async def _complete(self, library: Library, image: GeneratedImage, data: bytes) -> None:
        """Keep the bytes of a pending image; if the library cannot, they stay in memory."""
        try:
            await asyncio.to_thread(library.complete, image, data)
        except LibraryError as error:
            self.progress.note(f"Not kept in the library: {error}")
            image.status, image.cached = "ok", data

    def _note_waiting(self, image: GeneratedImage, error: ReplyError, fingerprint: str) -> None:
        """Say why there is no picture yet. The library keeps the URL: the next run fetches it."""
        image.status, image.error = "failed", str(error)
        if image.id is not None:
            self.waiting.add(fingerprint)


async def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Await a coroutine to its end even when this task is cancelled meanwhile."""
    task = asyncio.ensure_future(coroutine)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
