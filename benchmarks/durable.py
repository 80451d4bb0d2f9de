"""Time from the last byte of a reply to durable storage, compared with one write and fsync."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import catalog
import stub
from bench import Row, versus

if TYPE_CHECKING:
    from bench import Plan
    from xai_notebook.library import Library

__all__ = ["durable"]

_LIMIT = 3.0
_REPLIES = ((1, 300_000), (10, 300_000), (1, 8_000_000), (10, 8_000_000))
"""Number of images in a reply, and bytes of each image."""


class StorageTimer:
    """Times two ways to store a reply: as a session does, and with one write and fsync."""

    def __init__(self, library: Library, folder: Path, images: int, size: int) -> None:
        from xai_notebook.client.request import ImageRequest
        from xai_notebook.generation.backends import Backend
        from xai_notebook.generation.ingest import Ingest
        from xai_notebook.generation.progress import Progress

        self.sync = library.spool.sync
        library.spool.sync = self._note_sync  # type: ignore[method-assign]
        client: Any = SimpleNamespace(files=None)  # never called
        backend = Backend(client, "xai", "api.x.ai")
        self.ingest = Ingest(library, backend, Progress(), timeout=60)
        self.request = ImageRequest(prompt="a red fox", model="m", n=images)
        self.folder = folder
        self.images = images
        self.size = size
        self.numbers = itertools.count()
        self.survives_kill: list[float] = []
        self.durable: list[float] = []
        self.kept: list[float] = []
        self.plain: list[float] = []
        self.synced = 0.0

    def pictures(self) -> list[bytes]:
        """Return pictures that differ from all earlier ones."""
        picture = stub.picture.__wrapped__  # uncached: pictures are large, and used once
        return [picture(next(self.numbers), size=self.size) for _ in range(self.images)]

    def reply(self) -> bytes:
        """Return a reply with new pictures."""
        import pybase64

        from xai_notebook.client import wire

        images = [
            wire.GeneratedImage(base64=pybase64.b64encode_as_string(data), respect_moderation=True)
            for data in self.pictures()
        ]
        return wire.ImageResponse(images=images, model="prepared").SerializeToString()

    async def keep(self, body: bytes) -> None:
        """Store a reply as the session does, and record the times."""
        from xai_notebook.client import wire
        from xai_notebook.client.response import ImageResponse, parse_reply

        missing = range(self.images)
        arrival = self.ingest.expect(self.request, missing, {"fingerprint": "ab" * 32})
        self.synced = 0.0
        begun = time.perf_counter()
        arrival(body)
        self.survives_kill.append(time.perf_counter() - begun)
        message = parse_reply(wire.ImageResponse, body)
        sent = [ImageResponse(message, index, cast("Any", None)) for index in missing]
        await self.ingest.keep(sent, arrival)
        self.kept.append(time.perf_counter() - begun)
        self.durable.append(self.synced - begun)

    def _note_sync(self, replies: Any) -> Any:
        """Sync the spool, and record the time of the first sync."""
        done = self.sync(replies)
        self.synced = self.synced or time.perf_counter()
        return done

    async def write(self, data: bytes) -> None:
        """Write and fsync once."""
        begun = time.perf_counter()
        file = os.open(self.folder / f"{next(self.numbers)}", os.O_CREAT | os.O_WRONLY)
        os.write(file, data)
        os.fsync(file)
        os.close(file)
        self.plain.append(time.perf_counter() - begun)

    async def measure(self, rounds: int) -> None:
        """Measure both alternately. The first round creates folders and is not counted."""
        for number in range(rounds + 1):
            body, plain = self.reply(), b"".join(self.pictures())
            for ours in (True, False)[:: 1 if number % 2 else -1]:
                os.sync()  # so that neither waits for the other's writes
                await (self.keep(body) if ours else self.write(plain))
        for times in (self.survives_kill, self.durable, self.kept, self.plain):
            del times[0]


def durable(plan: Plan) -> list[Row]:
    """Small and large replies, with one image and with ten."""
    rows = []
    for images, size in _REPLIES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            with catalog.open_library(path / "home") as library:
                timer = StorageTimer(library, path, images, size)
                rounds = plan.at_most(5) if images * size > 10**7 else plan.rounds * 2
                asyncio.run(timer.measure(rounds))
        work = f"last byte of a reply of {images} × {size // 1000:,} kB"
        rival = "one write and fsync of the same bytes"
        rows += [
            versus(f"{work} to safe from a kill", rival, timer.survives_kill, timer.plain),
            versus(f"{work} to durable on disk", rival, timer.durable, timer.plain, limit=_LIMIT),
            versus(f"{work} to its row in the library", rival, timer.kept, timer.plain),
        ]
    return rows
