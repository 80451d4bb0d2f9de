"""What has arrived, into the library and out of it again.

Its order is the promise: what arrived is in the library before it is looked at.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from itertools import compress
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import DownloadError, LibraryError, ReplyError
from xai_notebook.generation.arrival import Arrival
from xai_notebook.generation.batching import Batched
from xai_notebook.generation.replies import look_at, payload_of
from xai_notebook.library import Reply, Wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from xai_notebook.client.response import ImageResponse
    from xai_notebook.generation.peer import Peer
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library import Library
    from xai_notebook.library.spool import Spooled
    from xai_notebook.pictures.results import GeneratedImage, ImageRequest

__all__ = ["Keeper"]

_LIFETIME: Final = timedelta(hours=1)
"""How long the server keeps an image at its URL."""


@dataclass(slots=True)
class Keeper:
    """Keeps the images of one call.

    Attributes:
        library: Where everything is kept; None: it could not be opened.
        peer: Where the images come from.
        progress: Takes notes.
        timeout: Seconds for a download.
        notebook: The notebook the images are for.
    """

    library: Library | None
    peer: Peer
    progress: Progress
    timeout: float
    notebook: str | None = None
    _find: Batched[Wanted, list[GeneratedImage]] = field(init=False, repr=False)
    _save: Batched[Reply, LibraryError | None] = field(init=False, repr=False)
    _sync: Batched[Spooled, None] | None = field(default=None, init=False, repr=False)
    _newest: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Let what comes at the same time go to the library together."""
        if self.library is not None:
            self._find = Batched(self.library.find_each)
            self._save = Batched(self.library.add_replies)
            self._sync = Batched(self.library.spool.sync)

    async def newest(self) -> int:
        """Return the `id` of the image that was stored last when the call first asked."""
        if self._newest is None and self.library is not None:
            self._newest = await asyncio.to_thread(self.library.newest)
        return self._newest or 0

    async def find(self, wanted: Wanted, request: ImageRequest) -> list[GeneratedImage]:
        """Return what the library has of a request; what waits at a URL is fetched first.

        Args:
            wanted: What to look for.
            request: The request that they answer.
        """
        if self.library is None:
            return []
        found = await self._find(wanted)
        there = await asyncio.gather(*(self._fetch_late(image) for image in found))
        images = list(compress(found, there))
        for image in images:
            image.request = replace(image.request, inputs=request.inputs, n=request.n)
            image.replayed = True
        await look_at(images)
        return images

    def expect(
        self, request: ImageRequest, missing: Sequence[int], fingerprint: str, place: int
    ) -> Arrival:
        """Return what writes the reply to a request down as it comes.

        Args:
            request: As it will be sent.
            missing: The indices of its images.
            fingerprint: Of the request.
            place: Of the request.
        """
        answer = {
            "fingerprint": fingerprint,
            "backend": self.peer.backend,
            "host": self.peer.host,
            "notebook": self.notebook,
            "place": place,
        }
        return Arrival(self.library, request, missing, answer, self._sync)

    async def keep(
        self, images: list[GeneratedImage], responses: Sequence[ImageResponse], arrival: Arrival
    ) -> None:
        """Store a reply, then fetch what came as URLs, then look at the bytes.

        Args:
            images: One for each response, and cards for those that are missing.
            responses: What came.
            arrival: Of the reply.
        """
        payloads = [await payload_of(image, response) for image, response in
                    zip(images, responses, strict=False)]  # fmt: skip
        arrived = images[: len(payloads)]
        if not arrived:
            arrival.forget()
        elif not await self._store(arrived, payloads, responses[0], arrival):
            for image, payload in zip(arrived, payloads, strict=True):
                image.cached = payload if isinstance(payload, bytes) else None
        await asyncio.gather(
            *(
                self._fetch(image, response.image)
                for image, response, payload in zip(arrived, responses, payloads, strict=False)
                if isinstance(payload, str)
            )
        )
        await look_at(images)

    async def _store(
        self,
        images: Sequence[GeneratedImage],
        payloads: Sequence[bytes | str | None],
        response: ImageResponse,
        arrival: Arrival,
    ) -> bool:
        """Tell whether the library took the reply; if it cannot, the images stay in memory."""
        if self.library is None:
            return False
        reply = Reply(
            images[0].request,
            images,
            payloads,
            cost_usd=response.cost_usd,
            model=response.model,
            spooled=arrival.spooled,
            **arrival.answer,
        )
        try:
            error = await self._save(reply)
        except LibraryError as raised:
            error = raised
        if error is not None:
            self.progress.note(f"{arrival.not_kept}: {error}")
        return error is None

    async def _fetch_late(self, image: GeneratedImage) -> bool:
        """Download a stored image that could not be fetched when its reply came.

        Returns:
            Whether it answers its request: what is gone has to be made again.
        """
        if image.status != "pending" or self.library is None:
            return True
        url = await asyncio.to_thread(self.library.url_of, image)
        if url is None:
            return False
        return await self._fetch(image, self.peer.client.download(url, timeout=self.timeout))

    async def _fetch(self, image: GeneratedImage, download: Awaitable[bytes]) -> bool:
        """Fetch an image from its URL; tell whether it is there, or still waits to be fetched."""
        try:
            data = await download
        except ReplyError as error:
            return await self._wait(image, error)
        image.status = "ok"
        if self.library is None or image.id is None:
            image.cached = data
            return True
        try:
            await asyncio.to_thread(self.library.complete, image, data)
        except LibraryError as error:
            self.progress.note(f"Not kept in the library: {error}")
            image.cached = data
        return True

    async def _wait(self, image: GeneratedImage, error: ReplyError) -> bool:
        """Tell whether an image that could not be fetched may still be, and say so on its card.

        While its hour lasts it may: it has been paid for, and its host may come back.
        """
        image.status, image.error = "failed", str(error)
        if self.library is None or image.id is None:
            return False
        until = image.created + _LIFETIME
        gone = isinstance(error, DownloadError) and error.gone
        if gone or datetime.now(timezone.utc) > until:
            with suppress(LibraryError):  # then it is tried once more the next time
                await asyncio.to_thread(self.library.fail, image, str(error))
            return False
        image.status = "pending"
        image.error = (
            f"{error} It has been paid for and waits there until {until.astimezone():%H:%M}: "
            "run again to fetch it."
        )
        return True
