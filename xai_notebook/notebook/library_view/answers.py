"""Pictures as the browser is told of them: text that is shown literally there, and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from xai_notebook.pictures.cell import magic_cell
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.text import bounded, clean

if TYPE_CHECKING:
    from xai_notebook.library.shelf import Facets, Shelved
    from xai_notebook.pictures.picture import Picture

__all__ = ["choices_of", "describe", "facts_of", "shown_bytes", "thumbnail"]

SIDE: Final = 256
"""Pixels of a thumbnail's longer side."""
_THUMBNAIL: Final = 20_000
"""Bytes aimed at."""
_PROMPT: Final = 200
"""Characters of a prompt in the grid."""
_SHOWN: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
"""What every browser shows."""
_MOST: Final = 16 * 1024 * 1024
"""Bytes of an original that are sent whole; of a larger one, a large preview is."""


def thumbnail(data: bytes) -> bytes:
    """Return a small JPEG of an original.

    Raises:
        ReplyError: The bytes are no image.
    """
    return preview(data, side=SIDE, limit=_THUMBNAIL).data


def shown_bytes(picture: Picture) -> tuple[bytes, str]:
    """Return what a browser shows of a picture, and its media type.

    Raises:
        XaiError: There is no picture, or it is damaged.
    """
    data = picture.data
    if picture.media_type in _SHOWN and len(data) <= _MOST:
        return data, picture.media_type or ""
    return preview(data, side=2048, limit=2_000_000).data, "image/jpeg"


def describe(shelved: Shelved) -> dict[str, Any]:
    """Return a card of the grid."""
    picture, mark = shelved.picture, shelved.mark
    prompt = clean(picture.prompt)
    width, height = picture.size or (1, 1)
    return {
        "id": picture.id,
        "prompt": prompt if len(prompt) <= _PROMPT else prompt[: _PROMPT - 1] + "…",
        "width": width,
        "height": height,
        "status": picture.status,
        "starred": mark.starred,
        "tags": list(mark.tags),
        "deleted": mark.deleted,
        "cost_usd": picture.cost_usd,
        "model": clean(bounded(picture.model)),
        "created": picture.created.timestamp(),
    }


def facts_of(shelved: Shelved, ancestors: list[int], descendants: list[int]) -> dict[str, Any]:
    """Return all that the viewer says of a picture."""
    picture = shelved.picture
    rewritten = picture.rewritten_prompt
    return {
        **describe(shelved),
        "prompt": clean(picture.prompt),
        "rewritten": clean(rewritten) if rewritten else "",
        "rewritten_by": clean(bounded(picture.rewritten_by or "")),
        "backend": shelved.backend,
        "notebook": clean(shelved.notebook or ""),
        "size": list(picture.size or ()),
        "inputs": [clean(image.label) for image in picture.request.inputs],
        "cell": magic_cell(picture.request),
        "error": clean(bounded(picture.error or "")),
        "lineage": {"ancestors": ancestors, "descendants": descendants},
    }


def choices_of(facets: Facets) -> dict[str, Any]:
    """Return what the filters offer, the most common first."""
    return {
        name: [{"name": clean(key), "count": count} for key, count in found.items()]
        for name, found in facets._asdict().items()
    }
