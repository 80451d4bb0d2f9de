"""Input images at the server's file store: each is uploaded once, and named from then on."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import pybase64

from xai_notebook.errors import ApiError, LibraryError, NotFoundError
from xai_notebook.library.inputs import Upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.client.files import FilesClient
    from xai_notebook.client.request import ImageRequest, InputImage
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.library.inputs import Uploads

__all__ = ["InputStore"]

_LIFETIME: Final = 3 * 24 * 3600
"""Seconds after which the server deletes what was uploaded."""
_HOUR: Final = 3600.0
_SHORT: Final = 2048
"""Characters of a data URI that are sent as they are: naming a file takes a call and its id."""


@dataclass(slots=True)
class InputStore:
    """A server's file store, as far as input images are in it.

    Attributes:
        files: The store.
        backend: `"xai"` or `"local"`.
        host: What tells the server from others.
    """

    files: FilesClient
    backend: str
    host: str
    _seen: dict[str, Upload] = field(default_factory=dict)
    """What this kernel knows to be there, by the image's digest."""
    _refused: set[str] = field(default_factory=set)
    """What the store did not take: it is not asked twice."""
    _busy: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def send(
        self,
        request: ImageRequest,
        send: Callable[[ImageRequest], Awaitable[Sequence[ImageResponse]]],
        uploads: Uploads,
    ) -> Sequence[ImageResponse]:
        """Send a request that names its images; with the images in it where they can't be stored.

        What the store has lost meanwhile is uploaded and the request, which was refused, sent once
        more.
        """
        if self._refused.intersection(image.sha256 for image in request.inputs):
            return await send(request)
        try:
            named = await self.name(request, uploads)
        except ApiError:
            self._refused.update(image.sha256 for image in request.inputs)
            return await send(request)
        try:
            return await send(named)
        except NotFoundError:
            if not await self._forget_lost(named.inputs):
                raise
        return await send(await self.name(request, uploads))

    async def name(
        self, request: ImageRequest, uploads: Uploads, *, lasting: float = _HOUR
    ) -> ImageRequest:
        """Return a request whose images are in the store and named by their ids.

        URLs stay: the server fetches them itself. The request's fingerprint stays the same, too.

        Args:
            request: With the images in it.
            uploads: Where it is remembered what was stored, from kernel to kernel.
            lasting: Seconds for which the images must stay there at least.

        Raises:
            ApiError: An image cannot be stored.
        """
        inputs = [await self._stored(image, uploads, lasting) for image in request.inputs]
        return replace(request, inputs=tuple(inputs))

    async def _stored(self, image: InputImage, uploads: Uploads, lasting: float) -> InputImage:
        if not image.url.startswith("data:") or len(image.url) < _SHORT:
            return image
        async with self._busy.setdefault(image.sha256, asyncio.Lock()):
            # An answer would say at once that it is gone; a job says so when it is over.
            upload = self._seen.get(image.sha256) if lasting <= _HOUR else None
            upload = upload or await self._remembered(image, uploads)
            if upload is None or upload.expires < time.time() + lasting:
                upload = await self._upload(image, uploads)
            self._seen[image.sha256] = upload
        return replace(image, file_id=upload.file_id)

    async def _remembered(self, image: InputImage, uploads: Uploads) -> Upload | None:
        """Return where another kernel put an image, if it is still there."""
        known = (self.backend, self.host, image.sha256)
        with suppress(LibraryError):
            upload = await asyncio.to_thread(uploads.find, *known)
            if upload is not None and await self._is_there(upload):
                return upload
        return None

    async def _is_there(self, upload: Upload) -> bool:
        """Tell whether the server still has a file; under another key it never had it."""
        try:
            await self.files.get(upload.file_id)
        except ApiError:
            return False
        return True

    async def _upload(self, image: InputImage, uploads: Uploads) -> Upload:
        head, _, body = image.url.partition(",")
        data = await asyncio.to_thread(pybase64.b64decode, body)
        kind = head.removeprefix("data:image/").partition(";")[0]
        stored = await self.files.upload(
            data, filename=f"{image.sha256[:16]}.{kind}", expires_after=_LIFETIME
        )
        expires = time.time() + _LIFETIME
        if stored.HasField("expires_at"):
            expires = min(expires, float(stored.expires_at.seconds))
        upload = Upload(stored.id, expires)
        with suppress(LibraryError):  # another kernel uploads it again, and no more is lost
            await asyncio.to_thread(uploads.remember, self.backend, self.host, image.sha256, upload)
        return upload

    async def _forget_lost(self, inputs: Sequence[InputImage]) -> bool:
        """Forget the images that the store has lost; tell whether there are any."""
        lost = False
        for image in inputs:
            upload = self._seen.get(image.sha256)
            if image.file_id is None or upload is None:
                continue
            if upload.file_id == image.file_id and not await self._is_there(upload):
                del self._seen[image.sha256]
            lost |= self._seen.get(image.sha256) is not upload
        return lost
