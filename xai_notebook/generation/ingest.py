"""Save replies to the library; load stored images.

A reply is saved in the library before its images are decoded, so that no paid image is lost if
decoding fails.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.errors import DownloadError, LibraryError, NotKeptError, ReplyError, XaiError
from xai_notebook.generation.event_loop import Batched
from xai_notebook.library import ImageSlot, ShownImage, StoredImages
from xai_notebook.library.replies import (
    ReplyWriter,
    build_reply,
    inspect_pictures,
    missing_pictures,
    read_time,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from xai_notebook.client.files import FilesClient
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.generation.backends import Backend
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library import Library, Reply, SlotQuery
    from xai_notebook.library.storage.spool import SpooledReply
    from xai_notebook.pictures.picture import Picture

_LINGER: Final = 0.01
"""Seconds to wait for further replies, to save them in one transaction."""
_SETTLE_SECONDS: Final = 0.5
"""Seconds after the last reply until saved originals are synced and removed from the spool."""
_MAX_UNSETTLED: Final = 512
"""Number of saved replies that ends this pause early."""
_MAX_UNSAVED: Final = 64 << 20
"""Maximum bytes of images being saved; above this, no more images are requested."""
_ROOM_INTERVAL: Final = 0.05
"""Seconds between two checks of disk space while replies are in flight."""
_LIFETIME: Final = timedelta(hours=1)
"""Time for which the server keeps an image at its URL."""
_MAX_SHOWN: Final = 1_000
"""Maximum shown pictures that are recorded in one transaction."""
_SHOWN_SECONDS: Final = 1.0
"""Maximum seconds that a call waits for this transaction, which a locked library can delay."""


@dataclass(slots=True)
class Ingest:
    """Saves and loads the images of one call.

    Attributes:
        storage: The library, even if its database cannot be opened. Replies and originals are then
            saved in its folder, and imported into the database later.
        backend: The server that generates the images.
        progress: Receives notes for the user.
        timeout: Deadline of a download in seconds.
        notebook: Name of the notebook; None: unknown.
        refusal: Error to raise before further requests, set when a reply could not be saved.
        shown: Pictures of other notebooks that this call shows; emptied when this is recorded.
    """

    storage: Library
    backend: Backend
    progress: Progress
    timeout: float
    notebook: str | None = None
    refusal: NotKeptError | None = None
    shown: list[ShownImage] = field(default_factory=list)
    _look_up: Batched[SlotQuery, StoredImages] = field(init=False, repr=False)
    _save: Batched[Reply, list[Picture] | LibraryError] = field(init=False, repr=False)
    _sync: Batched[SpooledReply, None] = field(init=False, repr=False)
    _settling: asyncio.TimerHandle | None = field(default=None, init=False, repr=False)
    _newest: int | None = field(default=None, init=False, repr=False)
    _saving: dict[asyncio.Future[Any], int] = field(default_factory=dict, init=False, repr=False)
    """Bytes of the images being saved."""
    _checked: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        """Batch concurrent accesses to the library."""
        self._look_up = Batched(self.storage.look_up, linger=_LINGER)
        self._save = Batched(self.storage.add_replies, linger=_LINGER)
        self._sync = Batched(self.storage.spool.sync)

    @property
    def library(self) -> Library | None:
        """The library, or None if its database cannot be opened."""
        return self.storage if self.storage.failure is None else None

    async def check_room(self, writer: ReplyWriter) -> None:
        """Reserve disk space for a reply, unless its images are free of charge.

        Raises:
            NotKeptError: Disk space is too low, or the last reply of this call could not be saved.
        """
        while sum(self._saving.values()) > _MAX_UNSAVED:  # the disk is slower than the server
            await asyncio.wait({*self._saving}, return_when=asyncio.FIRST_COMPLETED)
        if self.backend.free:
            return
        if self.refusal is not None:
            raise self.refusal
        if self.storage.database.read_only:
            raise NotKeptError(
                f"The library in {self.storage.home} is read-only, so images could not be stored. "
                "Nothing was sent. Set XAI_NOTEBOOK_HOME to a folder you can write to.",
                reason="the library is read-only",
            )
        room, request = self.storage.disk_space, writer.request
        while writer.reservation is None:
            in_flight = room.reserved
            try:
                writer.reservation = room.reserve(request.resolution, len(writer.missing))
            except NotKeptError:
                if not in_flight:
                    raise
                # Replies in flight may be smaller than reserved, and then leave more room.
                await asyncio.sleep(_ROOM_INTERVAL)
        if not self._checked or self.storage.spool.failed:
            try:
                await asyncio.to_thread(self.storage.spool.check, writer.reservation.size)
            except OSError as error:
                raise NotKeptError(
                    f"{self.storage.database.explain(error)} Nothing was sent.",
                    reason="the library's folder cannot be written to",
                ) from error
            self._checked = True

    def check_kept(self) -> None:
        """Check that the last reply could be saved.

        Raises:
            NotKeptError: The last reply could not be saved.
        """
        if self.refusal is not None:
            raise self.refusal
        if self.storage.spool.failed and not (self.storage.database.read_only or self.backend.free):
            raise NotKeptError(
                f"The last reply could not be written to {self.storage.home}, so nothing more was "
                "sent. Free some space, or set XAI_NOTEBOOK_HOME to a folder on another disk.",
                reason="the last reply could not be written",
            )

    async def newest(self) -> int:
        """Return the `id` of the newest image in the library, as of the first use in this call."""
        if self._newest is None and self.library is not None:
            self._newest = await asyncio.to_thread(self.library.newest)
        return self._newest or 0

    async def find(self, wanted: SlotQuery, request: ImageRequest) -> StoredImages:
        """Return the stored images of a request; download images that are still at a URL.

        Args:
            wanted: The query.
            request: The request that the images answer.
        """
        if self.storage.failure is not None:
            return StoredImages([])
        for _ in range(2):  # another kernel may download an image at the same time
            found = await self._look_up(wanted)
            fetched: list[Picture | None] = [*found.pictures]
            if any(picture.status == "pending" for picture in found.pictures):
                fetched = await asyncio.gather(*map(self._fetch_late, found.pictures))
            if None not in fetched:
                break
        pictures = await inspect_pictures(
            [
                replace(
                    picture,
                    request=replace(picture.request, inputs=request.inputs, n=request.n),
                    replayed=True,
                )
                for picture in fetched
                if picture is not None and picture.status != "failed"  # generated again
            ]
        )
        return found._replace(pictures=pictures)

    async def note_shown(
        self, query: SlotQuery, found: StoredImages, pictures: Iterable[Picture]
    ) -> None:
        """Note pictures of other notebooks that this notebook shows in a slot.

        They answer this slot from now on.
        """
        if self.library is None or self.library.database.read_only:
            return
        if query.notebook is None or query.place is None:
            return
        backend = self.backend
        slot = ImageSlot(
            query.fingerprint, query.place, 0, backend.host, backend.kind, query.notebook
        )
        self.shown += [
            ShownImage(slot._replace(position=picture.position), picture.id)
            for picture in pictures
            if picture.id and picture.id in found.elsewhere
        ]
        if len(self.shown) >= _MAX_SHOWN:
            await self.remember_shown()

    async def remember_shown(self) -> None:
        """Record the pictures in `shown`, unless the library cannot be written to now."""
        shown, self.shown = self.shown, []
        if self.library is None:
            return

        async def remember(library: Library) -> None:
            with suppress(LibraryError):
                await asyncio.to_thread(library.remember_shown, shown)

        await asyncio.wait({asyncio.ensure_future(remember(self.library))}, timeout=_SHOWN_SECONDS)

    async def share(self, picture: Picture, days: float) -> Picture:
        """Return a stored picture with a public link that is valid for `days`.

        The original of a picture without a link is uploaded; if that fails, the picture gets a
        note.
        """
        if picture.status != "ok" or picture.is_public:
            return picture
        files: FilesClient = self.backend.client.files
        lifetime = int(days * 24 * 3600)
        kind = (picture.media_type or "image/jpeg").rpartition("/")[2]
        try:
            data = await asyncio.to_thread(lambda: picture.data)
            name = f"{(picture.sha256 or 'image')[:16]}.{kind}"
            stored = await files.upload(data, filename=name, expires_after=lifetime)
            public = await files.create_public_url(stored.id)  # expires with the file
        except XaiError as error:
            return replace(picture, notes=(*picture.notes, f"Not shared: {error}"))
        if (link := bounds.link(public.public_url)) is None:
            return replace(picture, notes=(*picture.notes, "Not shared: the server sent no link."))
        expires = read_time(public, "expires_at") or read_time(stored, "expires_at")
        shared = replace(picture, public_url=link, public_url_expires=expires)
        if self.library is not None and picture.id is not None:
            try:
                await asyncio.to_thread(self.library.store_link, shared)
            except LibraryError as error:
                return replace(shared, notes=(*shared.notes, f"The link is not stored: {error}"))
        return shared

    def expect(
        self, request: ImageRequest, missing: Sequence[int], slot: Mapping[str, Any]
    ) -> ReplyWriter:
        """Return a writer that saves the reply to a request as it arrives.

        Args:
            request: The request as it will be sent.
            missing: Positions of the requested images.
            slot: The fields `fingerprint`, `place` and `redo` of the `Reply`.
        """
        kind, host = self.backend.kind, self.backend.host
        answer = {"backend": kind, "host": host, "notebook": self.notebook, **slot}
        return ReplyWriter(self.storage, request, missing, answer, self._begin_sync)

    def _begin_sync(self, spooled: SpooledReply) -> None:
        """Sync a reply to disk, unless the library is about to do so."""
        if not self._save.busy:
            self._sync(spooled)

    async def keep(self, responses: Sequence[ImageResponse], writer: ReplyWriter) -> list[Picture]:
        """Store the images of a reply, then download those that came as URLs, then decode all."""
        request, missing = writer.request, writer.missing
        try:
            reply = await build_reply(
                request, responses, missing, spooled=writer.spooled, **writer.answer
            )
            if not reply.pictures:
                reply = replace(reply, cost_usd=writer.cost_usd, model=writer.model)
            pictures = await self._store(reply, writer)
            pending = [i for i, picture in enumerate(pictures) if picture.status == "pending"]
            fetching = (self._fetch(pictures[i], responses[i].image, writer) for i in pending)
            for i, picture in zip(pending, await asyncio.gather(*fetching), strict=True):
                pictures[i] = picture
            if len(responses) < len(missing):
                pictures += missing_pictures(request, responses, missing)
            return await inspect_pictures(pictures)
        finally:
            if writer.reservation is not None:
                writer.reservation.release()

    async def _store(self, reply: Reply, writer: ReplyWriter) -> list[Picture]:
        """Save a reply in the library, the spool or memory, and return its pictures."""
        if not reply.pictures and not reply.cost_usd:
            if reply.spooled is not None:
                self.storage.spool.remove(reply.spooled)
            return []
        error = self.storage.failure
        if error is None:
            saving = self._save(reply)
            payloads = (payload for payload in reply.payloads if isinstance(payload, bytes))
            self._saving[saving] = sum(map(len, payloads))
            try:
                saved = await saving
            except LibraryError as failure:
                error = failure
            else:
                if not isinstance(saved, LibraryError):
                    if self.storage.unsettled:
                        self._settle_soon()
                    return saved
                error = saved
            finally:
                del self._saving[saving]
        if writer.in_spool:
            self.storage.overdue = True
            self._note_unsaved(error)
            with suppress(LibraryError):  # the spool has the originals
                return await asyncio.to_thread(self.storage.keep_originals, reply)
        else:
            self._refuse(error)
        return [
            replace(picture, cached=payload if isinstance(payload, bytes) else None)
            for picture, payload in zip(reply.pictures, reply.payloads, strict=True)
        ]

    def _note_unsaved(self, error: LibraryError) -> None:
        self.progress.note(
            f"The images are not in the library yet, only in its spool: {error} "
            "They are added to the library when it can be used again."
        )

    def _refuse(self, error: LibraryError) -> None:
        """Note that images could not be saved, and stop further requests."""
        self.progress.note(f"Not stored anywhere: {error} Meanwhile, --export saves pictures.")
        if not self.backend.free:
            self.refusal = NotKeptError(
                f"{error} The last images could not be stored, so nothing more was sent.",
                reason="the last images could not be stored",
            )

    def _settle_soon(self) -> None:
        """Clear the spool of saved replies after a pause, or now if there are many."""
        loop = asyncio.get_running_loop()
        if self._settling is not None:
            if len(self.storage.unsettled) < _MAX_UNSETTLED and loop.time() < self._settling.when():
                return
            self._settling.cancel()
        pause = 0.0 if len(self.storage.unsettled) >= _MAX_UNSETTLED else _SETTLE_SECONDS

        def settle() -> None:
            self._settling = None
            with suppress(RuntimeError):  # the loop is closing; closing the library settles too
                loop.run_in_executor(None, self.storage.settle)

        self._settling = loop.call_later(pause, settle)

    async def _fetch_late(self, picture: Picture) -> Picture | None:
        """Download a stored image that could not be downloaded when its reply arrived.

        Returns:
            The picture, or None if another kernel has downloaded it or marked it as failed.
        """
        if picture.status != "pending" or self.library is None:
            return picture
        url = await asyncio.to_thread(self.library.url_of, picture)
        if url is None:
            return None
        download = self.backend.client.download(url, timeout=self.timeout)
        return await self._fetch(picture, download)

    async def _fetch(
        self, picture: Picture, download: Awaitable[bytes], writer: ReplyWriter | None = None
    ) -> Picture:
        """Download a pending picture; return it as ok, still pending or failed.

        Args:
            picture: The picture.
            download: Awaitable that returns the bytes.
            writer: Writer of the reply, if the reply is new.
        """
        try:
            data = await download
        except ReplyError as error:
            return await self._pending_or_failed(picture, error)
        cause = self.storage.failure
        if cause is None and picture.id is not None:
            try:
                return await asyncio.to_thread(self.storage.complete, picture, data)
            except LibraryError as failure:
                cause = failure
        if cause is not None:
            if writer is not None and writer.write_fetched(picture.position, data):
                self._note_unsaved(cause)
            else:
                self._refuse(cause)
        return replace(picture, status="ok", cached=data)

    async def _pending_or_failed(self, picture: Picture, error: ReplyError) -> Picture:
        """Return a picture whose download failed: pending until its URL expires, then failed."""
        failed = replace(picture, status="failed", error=str(error))
        if self.library is None or picture.id is None:
            return failed
        until = picture.created + _LIFETIME
        gone = isinstance(error, DownloadError) and error.gone
        if gone or datetime.now(timezone.utc) > until:
            with suppress(LibraryError):  # the next call tries the download again
                await asyncio.to_thread(self.library.fail, picture, str(error))
            return failed
        cure = (
            f"The image has been paid for, and the server keeps it until {until.astimezone():%H:%M}"
            ": run the cell again to download it."
        )
        return replace(picture, error=f"{error} {cure}")
