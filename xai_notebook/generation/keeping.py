"""What has arrived, into the library and out of it again.

Its order is the promise: what arrived is in the library before it is looked at.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import DownloadError, LibraryError, ReplyError
from xai_notebook.generation.arrival import Arrival
from xai_notebook.generation.batching import Batched
from xai_notebook.generation.replies import absent, look_at, reply_of
from xai_notebook.generation.sharing import share_late
from xai_notebook.library import Found, Shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.generation.peer import Peer
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library import Library, Reply, Wanted
    from xai_notebook.library.spool import Spooled
    from xai_notebook.pictures.picture import Picture

__all__ = ["Keeper"]

_LIFETIME: Final = timedelta(hours=1)
"""How long the server keeps an image at its URL."""
_SHOWN_AT_ONCE: Final = 1_000
"""Pictures of one transaction that notes what a notebook shows."""
_NOTING: Final = 1.0
"""Seconds that a call waits for such a transaction, which a locked library can delay."""


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
    _look_up: Batched[Wanted, Found] = field(init=False, repr=False)
    _save: Batched[Reply, list[Picture] | LibraryError] = field(init=False, repr=False)
    _sync: Batched[Spooled, None] | None = field(default=None, init=False, repr=False)
    _newest: int | None = field(default=None, init=False, repr=False)
    _shown: list[Shown] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Let what comes at the same time go to the library together."""
        if self.library is not None:
            self._look_up = Batched(self.library.look_up)
            self._save = Batched(self.library.add_replies)
            self._sync = Batched(self.library.spool.sync)

    async def newest(self) -> int:
        """Return the `id` of the image that was stored last when the call first asked."""
        if self._newest is None and self.library is not None:
            self._newest = await asyncio.to_thread(self.library.newest)
        return self._newest or 0

    async def find(self, wanted: Wanted, request: ImageRequest) -> Found:
        """Return what the library has of a request; what waits at a URL is fetched first.

        Args:
            wanted: What to look for.
            request: The request that they answer.
        """
        if self.library is None:
            return Found([])
        found, fetched = await self._fetched(wanted)
        if None in fetched:
            found, fetched = await self._fetched(wanted)
        pictures = await look_at(
            [
                replace(
                    picture,
                    request=replace(picture.request, inputs=request.inputs, n=request.n),
                    replayed=True,
                )
                for picture in fetched
                if picture is not None and picture.status != "failed"  # it has to be made again
            ]
        )
        return found._replace(pictures=pictures)

    async def _fetched(self, wanted: Wanted) -> tuple[Found, list[Picture | None]]:
        found = await self._look_up(wanted)
        return found, await asyncio.gather(*map(self._fetch_late, found.pictures))

    async def showed(self, wanted: Wanted, pictures: Iterable[Picture]) -> None:
        """Note that the notebook shows pictures at a place that it has not made itself."""
        if self.library is None or self.library.read_only:
            return
        if wanted.notebook is None or wanted.place is None:
            return
        slot = (wanted.notebook, wanted.fingerprint, wanted.place)
        self._shown += [Shown(*slot, one.position, one.id) for one in pictures if one.id]
        if len(self._shown) >= _SHOWN_AT_ONCE:
            await self.remember_shown()

    async def remember_shown(self) -> None:
        """Store what `showed` has noted. A library that cannot take it now is no error."""
        shown, self._shown = self._shown, []
        if self.library is None or not shown:
            return

        async def remember(library: Library) -> None:
            with suppress(LibraryError):
                await asyncio.to_thread(library.remember_shown, shown)

        await asyncio.wait({asyncio.ensure_future(remember(self.library))}, timeout=_NOTING)

    async def share(self, stored: Sequence[Picture], days: float) -> list[Picture]:
        """Return stored pictures with a public link each, which costs no image anew."""
        files, library = self.peer.client.files, self.library
        return [*await asyncio.gather(*(share_late(one, days, files, library) for one in stored))]

    def expect(
        self, request: ImageRequest, missing: Sequence[int], place: Mapping[str, Any]
    ) -> Arrival:
        """Return what writes the reply to a request down as it comes.

        Args:
            request: As it will be sent.
            missing: The indices of its images.
            place: The fields of `Reply` that say where it belongs.
        """
        answer = {
            "backend": self.peer.backend,
            "host": self.peer.host,
            "notebook": self.notebook,
            **place,
        }
        return Arrival(self.library, request, missing, answer, self._sync)

    async def keep(
        self, responses: Sequence[ImageResponse], missing: Sequence[int], arrival: Arrival
    ) -> list[Picture]:
        """Store a reply, then fetch what came as URLs, then look at the bytes.

        Args:
            responses: What came and is kept.
            missing: The positions of the images that were asked for.
            arrival: Of the reply.
        """
        request = arrival.request
        reply = await reply_of(
            request, responses, missing, spooled=arrival.spooled, **arrival.answer
        )
        pictures = await self._store(reply, arrival)
        arrived = await asyncio.gather(*map(self._fetch_new, pictures, responses))
        return await look_at([*arrived, *absent(request, responses, missing)])

    async def _store(self, reply: Reply, arrival: Arrival) -> list[Picture]:
        """Return the pictures of a reply; where the library cannot take it, with their bytes."""
        if not reply.pictures:
            arrival.forget()
            return []
        if self.library is not None:
            try:
                saved = await self._save(reply)
            except LibraryError as error:
                saved = error
            if not isinstance(saved, LibraryError):
                return saved
            self.progress.note(f"{arrival.not_kept}: {saved}")
        return [
            replace(picture, cached=payload if isinstance(payload, bytes) else None)
            for picture, payload in zip(reply.pictures, reply.payloads, strict=True)
        ]

    async def _fetch_new(self, picture: Picture, response: ImageResponse) -> Picture:
        """Download an image whose reply has just come, if it came as a URL."""
        if picture.status != "pending":
            return picture
        return await self._fetch(picture, response.image)

    async def _fetch_late(self, picture: Picture) -> Picture | None:
        """Download a stored image that could not be fetched when its reply came.

        Returns:
            None if it waits no more: another kernel has fetched it by now, or given it up.
        """
        if picture.status != "pending" or self.library is None:
            return picture
        url = await asyncio.to_thread(self.library.url_of, picture)
        if url is None:
            return None
        download = self.peer.client.download(url, timeout=self.timeout)
        return await self._fetch(picture, download)

    async def _fetch(self, picture: Picture, download: Awaitable[bytes]) -> Picture:
        """Return a pending picture with its bytes, or as it still waits, or as it has failed."""
        try:
            data = await download
        except ReplyError as error:
            return await self._wait(picture, error)
        if self.library is not None and picture.id is not None:
            try:
                return await asyncio.to_thread(self.library.complete, picture, data)
            except LibraryError as error:
                self.progress.note(f"Not kept in the library: {error}")
        return replace(picture, status="ok", cached=data)

    async def _wait(self, picture: Picture, error: ReplyError) -> Picture:
        """Return a picture that could not be fetched: it may still be, or has failed for good.

        While its hour lasts it may: it has been paid for, and its host may come back.
        """
        failed = replace(picture, status="failed", error=str(error))
        if self.library is None or picture.id is None:
            return failed
        until = picture.created + _LIFETIME
        gone = isinstance(error, DownloadError) and error.gone
        if gone or datetime.now(timezone.utc) > until:
            with suppress(LibraryError):  # then it is tried once more the next time
                await asyncio.to_thread(self.library.fail, picture, str(error))
            return failed
        waits = (
            f"{error} It has been paid for and waits there until {until.astimezone():%H:%M}: "
            "run again to fetch it."
        )
        return replace(picture, error=waits)
