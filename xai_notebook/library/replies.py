"""Convert replies to pictures, write replies to the spool, and store spooled replies."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, Final, cast

from xai_notebook.client import bounds, wire
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.client.response import ImageResponse, cost_usd, parse_reply
from xai_notebook.client.transport.scrubbing import scrub_message
from xai_notebook.client.transport.status import one_line
from xai_notebook.errors import LibraryError, ReplyError, XaiError
from xai_notebook.library import Reply
from xai_notebook.pictures.picture import WITHHELD, Picture
from xai_notebook.settings import LOCAL_MODEL, LOCAL_REWRITER, MAX_IMAGE_PIXELS, MAX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from xai_notebook.client.http import Downloader
    from xai_notebook.library import Library
    from xai_notebook.library.storage.blobs import SpaceReservation
    from xai_notebook.library.storage.spool import SpooledReply
    from xai_notebook.settings import ApiKey

_MAX_EXTRA: Final = 4 * MAX_IMAGES
"""Maximum number of images that are kept beyond those requested."""
_UNSTORABLE: Final = (
    sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError,
    OverflowError,
)  # fmt: skip
"""SQLite errors caused by values, not by the file or the disk."""
_REQUEST_FIELDS: Final = tuple(
    field.name for field in fields(ImageRequest) if field.name != "inputs"
)
_NO_IMAGE: Final = 1000
"""Size in bytes; a smaller reply may contain no image."""
_LARGE: Final = 1 << 20
"""Size in bytes; parsing a larger reply would delay the start of the syncing thread."""
_SYNC_START: Final = 0.0002
"""Seconds that the syncing thread needs to start."""


def drop_excess(responses: Sequence[ImageResponse], requested: int) -> list[ImageResponse]:
    """Return the requested images of a reply, and a limited number of usable additional images.

    Args:
        responses: All images of the reply; there may be many or none.
        requested: Number of requested images.
    """
    extra = (
        response
        for response in responses[requested:]
        if response.respect_moderation and response.holds_image
    )
    return [*responses[:requested], *islice(extra, _MAX_EXTRA)]


async def build_reply(
    request: ImageRequest,
    responses: Sequence[ImageResponse],
    missing: Sequence[int],
    *,
    backend: str,
    **answer: Any,
) -> Reply:
    """Return a reply that the library can save.

    Args:
        request: The request as sent.
        responses: The images of the reply; see `drop_excess`.
        missing: Positions of the requested images; additional images come last.
        backend: `"xai"` or `"local"`.
        **answer: The other fields of `Reply` that do not come from the server.
    """
    cost_usd = responses[0].cost_usd if responses else None
    each_usd = None if cost_usd is None else cost_usd / len(responses)
    pictures: list[Picture] = []
    payloads: list[bytes | str | None] = []
    positions = [*missing, *range(request.n, request.n + len(responses) - len(missing))]
    for position, response in zip(positions, responses, strict=False):
        picture = _picture(request, position, response, each_usd, backend)
        payload: bytes | str | None = None
        if picture.status == "ok":
            try:
                if (payload := response.waits_at) is None:
                    payload = await response.image
                else:
                    picture = replace(picture, status="pending")
            except ReplyError as error:
                picture = replace(picture, status="missing", error=str(error))
        pictures.append(picture)
        payloads.append(payload)
    return Reply(
        request,
        pictures,
        payloads,
        cost_usd=cost_usd,
        model=responses[0].model if responses else "",
        backend=backend,
        **answer,
    )


def missing_pictures(
    request: ImageRequest, responses: Sequence[ImageResponse], missing: Sequence[int]
) -> list[Picture]:
    """Return a picture with an error for each requested image that is not in the reply."""
    return [
        Picture(
            request=request,
            position=position,
            status="missing",
            model=responses[0].model if responses else "",
            error=f"The server sent {len(responses)} of {len(missing)} images.",
        )
        for position in missing[len(responses) :]
    ]


def _picture(
    request: ImageRequest,
    position: int,
    response: ImageResponse,
    cost_usd: float | None,
    backend: str,
) -> Picture:
    """Return the picture of an image, before decoding its bytes."""
    rewritten = response.prompt.strip()
    rewriter = None
    if rewritten in {"", request.prompt}:  # not rewritten by the image server
        rewritten = "" if request.original_prompt is None else request.prompt
        rewriter = None if request.original_prompt is None else request.rewrite_model
        if rewriter is not None and backend == "local":  # the embedded server uses no chat model
            rewriter = LOCAL_MODEL if response.model == LOCAL_MODEL else LOCAL_REWRITER
    moderated = not response.respect_moderation
    return Picture(
        request=request,
        position=position,
        status="moderated" if moderated else "ok",
        model=response.model or request.model,
        rewritten_prompt=rewritten or None,
        rewritten_by=rewriter,
        cost_usd=cost_usd,
        error=WITHHELD if moderated else None,
        **({} if request.share is None or moderated else _link_fields(response)),
    )


def _link_fields(response: ImageResponse) -> dict[str, Any]:
    """Return the fields of a picture's public link, or a note that says why there is none."""
    url, stored = bounds.link(response.public_url), response.file_output
    if url is None or stored is None:
        reason = response.storage_error or response.public_url_error or "the server gave no reason"
        return {"notes": (f"Not shared: {one_line(reason)}",)}
    expires = read_time(stored, "public_url_expires_at")
    return {"public_url": url, "public_url_expires": expires}


def read_time(message: Any, field: str) -> datetime | None:
    """Return the time in a field of a message; None if it is missing or out of bounds."""
    return bounds.moment(getattr(message, field).seconds) if message.HasField(field) else None


async def inspect_pictures(pictures: Iterable[Picture]) -> list[Picture]:
    """Return pictures with media type and size; unreadable pictures get the status `"failed"`."""
    inspected = list(pictures)
    for index, picture in enumerate(inspected):
        size = picture.size
        measured = picture.media_type and size and prod(size) <= MAX_IMAGE_PIXELS
        if picture.status == "ok" and not measured:
            inspected[index] = await asyncio.to_thread(_inspect, picture)
    return inspected


def _inspect(picture: Picture) -> Picture:
    from xai_notebook.pictures.pixels import inspect  # noqa: PLC0415  # Pillow loads slowly

    try:
        media_type, size = inspect(picture.data)
    except ReplyError as error:
        return replace(picture, status="failed", error=str(error))
    return replace(picture, media_type=media_type, size=size)


@dataclass(slots=True)
class ReplyWriter:
    """Writes a reply to the spool on arrival. Call the writer with the bytes of the reply.

    Attributes:
        library: The library that stores the reply later.
        request: The request as sent.
        missing: Positions of the requested images.
        answer: Fields of `Reply` that are known before the reply arrives.
        sync: Function that starts to make the reply durable.
        reservation: Disk space reserved for the reply.
        spooled: The reply in the spool; None until the reply has arrived.
        reply_id: Id of the spooled reply; None until it has arrived.
        cost_usd: Cost of a reply without images in US dollars; None if not reported.
        model: Name of the model in a reply without images.
        sent: Whether the request has been sent or is about to be sent.
    """

    library: Library
    request: ImageRequest
    missing: Sequence[int]
    answer: dict[str, Any]
    sync: Callable[[SpooledReply], object]
    reservation: SpaceReservation | None = None
    spooled: SpooledReply | None = None
    reply_id: str | None = None
    cost_usd: float | None = None
    model: str = ""
    sent: bool = False

    def __call__(self, body: bytes) -> None:
        """Write the reply. On return, it survives a kill; soon after, also a power cut."""
        if not self.library.database.read_only:
            request: dict[str, Any] = {
                name: getattr(self.request, name) for name in _REQUEST_FIELDS
            }
            request["inputs"] = [asdict(replace(image, url="")) for image in self.request.inputs]
            about = {"request": request, "missing": [*self.missing], "answer": self.answer}
            self.spooled = self.library.spool.write(about, body)
            self.reply_id = self.spooled.id
            if self.spooled.source is not None:
                self.sync(self.spooled)
        if len(body) > _LARGE:
            time.sleep(_SYNC_START)
        elif len(body) < _NO_IMAGE:  # the cost of a larger reply is read from its images
            with suppress(XaiError):
                message = parse_reply(wire.ImageResponse, body)
                self.cost_usd, self.model = cost_usd(message.usage), bounds.line(message.model)

    @property
    def in_spool(self) -> bool:
        """Whether the reply is in the spool."""
        return self.spooled is not None and self.spooled.source is not None

    def write_fetched(self, position: int, data: bytes) -> bool:
        """Write the fetched bytes of an image of the reply to the spool.

        Args:
            position: Position of the image.
            data: The bytes of the image.

        Returns:
            Whether the bytes were written.
        """
        if not self.in_spool:
            return False
        about = {"fetched": {"reply": self.reply_id, "position": position}}
        spooled = self.library.spool.write(about, data)
        if spooled.source is None:
            return False
        self.library.overdue = True
        self.sync(spooled)
        return True

    def abandon(self) -> None:
        """Leave the reply of an interrupted call in the spool; the next call stores it."""
        if self.in_spool:
            self.library.overdue = True
        if self.reservation is not None:
            self.reservation.release()


async def recover(library: Library, key: ApiKey | None) -> None:
    """Store the spooled replies in the library, except those that it holds already.

    Args:
        library: The library.
        key: API key, which is removed from the server's texts.

    Raises:
        LibraryError: The library cannot be written to; the replies stay in the spool.
    """
    library.overdue = False
    await asyncio.to_thread(library.settle)
    for spooled, about, body in library.spool.waiting():
        try:
            if isinstance(fetched := about.get("fetched"), dict):
                completed = await asyncio.to_thread(
                    library.complete_spooled,
                    str(fetched["reply"]),
                    int(fetched["position"]),
                    body,
                )
                if completed:
                    library.spool.remove(spooled)
                continue
            reply = await _read(spooled, about, body, key)
            if reply.pictures or reply.cost_usd:
                await asyncio.to_thread(library.add, reply)
            else:
                library.spool.remove(spooled)
        except LibraryError as error:
            if not isinstance(error.__cause__, _UNSTORABLE):
                raise
            library.spool.set_aside(spooled)
        except Exception:  # noqa: BLE001  # one bad reply must not block those after it
            library.spool.set_aside(spooled)


async def _read(
    spooled: SpooledReply, about: dict[str, Any], body: bytes, key: ApiKey | None
) -> Reply:
    options = about["request"]
    inputs = tuple(InputImage(**image) for image in options.pop("inputs"))
    request = ImageRequest(**options, inputs=inputs)
    return await decode_reply(
        request, body, about["missing"], key, spooled=spooled, **about["answer"]
    )


async def decode_reply(
    request: ImageRequest, body: bytes, missing: Sequence[int], key: ApiKey | None, **answer: Any
) -> Reply:
    """Return a spooled reply as it will be saved.

    Args:
        request: The request as sent.
        body: The bytes of the reply.
        missing: Positions of the requested images.
        key: API key, which is removed from the server's texts.
        **answer: The other fields of `Reply` that do not come from the server.
    """
    message = parse_reply(wire.ImageResponse, body)
    scrub_message(message, key)
    downloader = cast("Downloader", None)  # pending images are fetched when they are requested
    sent = [ImageResponse(message, index, downloader) for index in range(len(message.images))]
    responses = drop_excess(sent, len(missing))
    reply = await build_reply(request, responses, missing, **answer)
    if not responses:
        reply = replace(reply, cost_usd=cost_usd(message.usage), model=bounds.line(message.model))
    return reply
