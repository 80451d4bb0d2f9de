"""A public link for a picture that is in the library already."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from xai_notebook.client import bounds
from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.library.replies import moment

if TYPE_CHECKING:
    from xai_notebook.client.files import FilesClient
    from xai_notebook.library import Library
    from xai_notebook.pictures.picture import Picture

__all__ = ["share_late"]


async def share_late(
    picture: Picture, days: float, files: FilesClient, library: Library | None
) -> Picture:
    """Return a picture with a link: the one that it has, or that of an upload of the original.

    A failure is a note on the picture.

    Args:
        picture: From the library.
        days: For which the server keeps the file and the link.
        files: The server's store.
        library: Remembers the link.
    """
    if picture.status != "ok" or picture.is_public:
        return picture
    lifetime = int(days * 24 * 3600)
    kind = (picture.media_type or "image/jpeg").rpartition("/")[2]
    try:
        data = await asyncio.to_thread(lambda: picture.data)
        name = f"{(picture.sha256 or 'image')[:16]}.{kind}"
        stored = await files.upload(data, filename=name, expires_after=lifetime)
        made = await files.create_public_url(stored.id)  # which ends with the file
    except XaiError as error:
        return replace(picture, notes=(*picture.notes, f"Not shared: {error}"))
    if (link := bounds.link(made.public_url)) is None:
        return replace(picture, notes=(*picture.notes, "Not shared: the server sent no link."))
    expires = moment(made, "expires_at") or moment(stored, "expires_at")
    shared = replace(picture, public_url=link, public_url_expires=expires)
    if library is not None and picture.id is not None:
        try:
            await asyncio.to_thread(library.share, shared)
        except LibraryError as error:
            return replace(shared, notes=(*shared.notes, f"The link is not kept: {error}"))
    return shared
