"""Replies on their way into the library: written down as they come, and put in.

What a killed kernel wrote down is put in by the next one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from xai_notebook.client import wire
from xai_notebook.client.parsing import parse_reply
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.client.response import ImageResponse
from xai_notebook.client.scrubbing import scrub_message
from xai_notebook.errors import LibraryError
from xai_notebook.generation.replies import kept, reply_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xai_notebook.client.download import Downloader
    from xai_notebook.library import Library, Reply
    from xai_notebook.library.spool import Spooled
    from xai_notebook.settings import ApiKey

__all__ = ["Arrival", "recover"]

_UNSTORABLE: Final = (
    sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError,
)  # fmt: skip
"""What SQLite says of values, and not of itself or the disk."""
_LARGE: Final = 1 << 20
"""Bytes whose parsing keeps the interpreter for so long that no other thread can begin."""
_START: Final = 0.0002
"""Seconds in which a thread can begin."""


@dataclass(slots=True)
class Arrival:
    """What writes a reply down as it comes. Call it with the bytes.

    Attributes:
        library: Where the reply will be kept; None: nowhere.
        request: As sent.
        missing: The indices that its images will have.
        answer: Fields of `Reply` that are known before it comes.
        sync: Begins to make the file durable.
        spooled: The reply on disk, once it came.
    """

    library: Library | None
    request: ImageRequest
    missing: Sequence[int]
    answer: dict[str, Any]
    sync: Callable[[Spooled], object] | None
    spooled: Spooled | None = None

    def __call__(self, body: bytes) -> None:
        """Write the reply. When this returns, it outlives a kill; a power cut a moment later."""
        if self.library is None or self.sync is None or self.library.read_only:
            return
        inputs = tuple(replace(image, url="") for image in self.request.inputs)
        request = asdict(replace(self.request, inputs=inputs))
        about = {"request": request, "missing": [*self.missing], "answer": self.answer}
        self.spooled = self.library.spool.write(about, body)
        self.sync(self.spooled)
        if len(body) > _LARGE:
            time.sleep(_START)

    @property
    def reply_id(self) -> str | None:
        """What tells the reply from every other; None: it is not written down."""
        return None if self.spooled is None else self.spooled.id

    @property
    def not_kept(self) -> str:
        """What to say when the library cannot take the reply."""
        if self.spooled is None or self.spooled.file is None:
            return "Not kept in the library"
        return f"Not in the library yet, only in {self.spooled.file.parent} and put in later"

    def forget(self) -> None:
        """Remove what was written: there is nothing in it to keep."""
        if self.library is not None and self.spooled is not None:
            self.library.spool.remove(self.spooled)


async def recover(library: Library, key: ApiKey | None) -> None:
    """Put what waits in the spool into the library. What is there already is not added again.

    Args:
        library: Into which.
        key: Not to be kept, should a server have said it.

    Raises:
        LibraryError: The library cannot be written to; the replies wait on.
    """
    library.overdue = False
    for spooled, about, body in library.spool.waiting():
        try:
            reply = await _read(spooled, about, body, key)
            if reply.pictures:
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
    return await reply_of(request, responses, missing, spooled=spooled, **about["answer"])
