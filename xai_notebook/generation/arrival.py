"""Replies on their way into the library: written down as they come, and put in.

What a killed kernel wrote down is put in by the next one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, cast

from xai_notebook.client import bounds, wire
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.client.response import ImageResponse, cost_usd, parse_reply
from xai_notebook.client.transport.scrubbing import scrub_message
from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.generation.replies import kept, reply_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xai_notebook.client.http import Downloader
    from xai_notebook.library import Library, Reply
    from xai_notebook.library.room import Reservation
    from xai_notebook.library.spool import Spooled
    from xai_notebook.settings import ApiKey

__all__ = ["Arrival", "recover"]

_UNSTORABLE: Final = (
    sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError,
    OverflowError,
)  # fmt: skip
"""What SQLite says of values, and not of itself or the disk."""
_NAMES: Final = tuple(one.name for one in fields(ImageRequest) if one.name != "inputs")
_NO_IMAGE: Final = 1000
"""Bytes: a shorter reply may hold no image."""
_LARGE: Final = 1 << 20
"""Bytes whose parsing keeps the interpreter for so long that no other thread can begin."""
_START: Final = 0.0002
"""Seconds in which a thread can begin."""


@dataclass(slots=True)
class Arrival:
    """What writes a reply down as it comes. Call it with the bytes.

    Attributes:
        library: Where the reply will be kept.
        request: As sent.
        missing: The indices that its images will have.
        answer: Fields of `Reply` that are known before it comes.
        sync: Begins to make the reply durable.
        reservation: The room that it needs on the disk.
        spooled: The reply on disk, once it came.
        cost_usd: What it cost, in US dollars, though it holds no image; None: not reported.
        model: As the server named it, likewise.
        sent: The request has been sent, or is about to be.
    """

    library: Library
    request: ImageRequest
    missing: Sequence[int]
    answer: dict[str, Any]
    sync: Callable[[Spooled], object]
    reservation: Reservation | None = None
    spooled: Spooled | None = None
    cost_usd: float | None = None
    model: str = ""
    sent: bool = False

    def __call__(self, body: bytes) -> None:
        """Write the reply. When this returns, it outlives a kill; a power cut a moment later."""
        if not self.library.read_only:
            self.spooled = self.library.spool.write(self._about(), body)
            if self.spooled.kept:
                self.sync(self.spooled)
        if len(body) > _LARGE:
            time.sleep(_START)
        elif len(body) < _NO_IMAGE:
            self._read_cost(body)

    def _about(self) -> dict[str, Any]:
        request = {name: getattr(self.request, name) for name in _NAMES}
        inputs = [asdict(replace(image, url="")) for image in self.request.inputs]
        return {
            "request": {**request, "inputs": inputs},
            "missing": [*self.missing],
            "answer": self.answer,
        }

    def _read_cost(self, body: bytes) -> None:
        """Read what a reply cost that holds no image: images tell it otherwise."""
        with suppress(XaiError):
            message = parse_reply(wire.ImageResponse, body)
            self.cost_usd, self.model = cost_usd(message.usage), bounds.line(message.model)

    @property
    def reply_id(self) -> str | None:
        """What tells the reply from every other; None: it is not written down."""
        return None if self.spooled is None else self.spooled.id

    @property
    def kept(self) -> bool:
        """Whether the reply is on disk, to be put into the library."""
        return self.spooled is not None and self.spooled.kept

    def keep_fetched(self, position: int, data: bytes) -> bool:
        """Write down what was fetched for an image of the reply; return whether that worked.

        Args:
            position: Of the image.
            data: Its bytes.
        """
        if self.spooled is None or not self.kept:
            return False
        about = {"fetched": {"reply": self.spooled.id, "position": position}}
        spooled = self.library.spool.write(about, data)
        if spooled.kept:
            self.library.overdue = True
            self.sync(spooled)
        return spooled.kept

    def abandon(self) -> None:
        """Leave a reply that is not looked at, as its call was interrupted, to the next call."""
        if self.kept:
            self.library.overdue = True
        self.release()

    def release(self) -> None:
        """Give up the room that was reserved for the reply."""
        if self.reservation is not None:
            self.reservation.release()
            self.reservation = None


async def recover(library: Library, key: ApiKey | None) -> None:
    """Put what waits in the spool into the library. What is there already is not added again.

    Args:
        library: Into which.
        key: Not to be kept, should a server have said it.

    Raises:
        LibraryError: The library cannot be written to; the replies wait on.
    """
    library.overdue = False
    await asyncio.to_thread(library.settle)
    for spooled, about, body in library.spool.waiting():
        try:
            if isinstance(fetched := about.get("fetched"), dict):
                found = await asyncio.to_thread(
                    library.complete_spooled,
                    str(fetched["reply"]),
                    int(fetched["position"]),
                    body,
                )
                if found:
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
        except Exception:  # noqa: BLE001  # whatever it holds must not keep out those behind it
            library.spool.set_aside(spooled)


async def _read(spooled: Spooled, about: dict[str, Any], body: bytes, key: ApiKey | None) -> Reply:
    options = about["request"]
    inputs = tuple(InputImage(**image) for image in options.pop("inputs"))
    request = ImageRequest(**options, inputs=inputs)
    message = parse_reply(wire.ImageResponse, body)
    scrub_message(message, key)
    downloader = cast("Downloader", None)  # what waits at a URL is fetched by who asks for it
    sent = [ImageResponse(message, index, downloader) for index in range(len(message.images))]
    missing = about["missing"]
    responses = kept(sent, len(missing))
    reply = await reply_of(request, responses, missing, spooled=spooled, **about["answer"])
    if not responses:
        reply = replace(reply, cost_usd=cost_usd(message.usage), model=bounds.line(message.model))
    return reply
