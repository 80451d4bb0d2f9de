"""Pictures as the browser is told of them: text that is shown literally there, and bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.arguments.options import OPTIONS
from xai_notebook.errors import XaiError
from xai_notebook.frontend import is_for_visitors
from xai_notebook.pictures.magic_source import magic_cell
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.render.cards import alt_text
from xai_notebook.pictures.render.text import bounded, clean, dollars

if TYPE_CHECKING:
    from xai_notebook.library.catalog import Facets, Shelved
    from xai_notebook.pictures.picture import Picture

__all__ = [
    "choices_of",
    "describe",
    "details_of",
    "explain",
    "facts_of",
    "for_visitors",
    "shown_bytes",
    "thumbnail",
]

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
GONE: Final = {
    "alt": "",
    "prompt": "",
    "size": [],
    "status": "gone",
    "starred": False,
    "tags": [],
    "deleted": True,
    "facts": [],
}
"""A picture of a grid that is not there any more."""
_LABELS: Final = {
    name: row.label for row in OPTIONS if row.label for name in ("/".join(row.flags), *row.flags)
}
_PATH: Final = re.compile(
    r"""(?P<quote>['"])(?:[A-Za-z]:)?[\\/].*?(?P=quote)"""
    r"""|(?<![\w:/.<])(?:[A-Za-z]:[\\/]|[\\/](?=[\w.~-]))[^\s'",;)]*""",
    re.DOTALL,
)
"""A path from the root, in a sentence."""
_FLAG: Final = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(map(re.escape, _LABELS), key=len, reverse=True))})(?![\w=-])"
)


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
    """Return a picture of a grid."""
    picture, mark = shelved.picture, shelved.mark
    prompt = clean(picture.prompt)
    return {
        "id": picture.id,
        "alt": alt_text(picture),
        "prompt": prompt if len(prompt) <= _PROMPT else prompt[: _PROMPT - 1] + "…",
        "size": list(picture.size or ()),
        "status": picture.status,
        "starred": mark.starred,
        "tags": list(mark.tags),
        "deleted": mark.deleted,
        "facts": details_of(picture),
    }


def details_of(picture: Picture) -> list[str]:
    """Return model, who rewrote the prompt, size and cost, where known."""
    items = [clean(bounded(picture.model))] if picture.model else []
    if picture.rewritten_by and picture.rewritten_prompt:
        items.append(f"rewritten by {clean(bounded(picture.rewritten_by))}")
    if picture.size:
        items.append(f"{picture.size[0]} × {picture.size[1]}")
    if picture.cost_usd:
        cost = dollars(picture.cost_usd)
        items.append(f"made for {cost}" if picture.replayed else cost)
    if picture.request.inputs:
        count = len(picture.request.inputs)
        items.append("an edit" if count == 1 else f"an edit of {count} images")
    return items


def facts_of(shelved: Shelved, ancestors: list[int], descendants: list[int]) -> dict[str, Any]:
    """Return all that the viewer says of a picture.

    Args:
        shelved: The picture.
        ancestors: Rows of what it was made from, the oldest first.
        descendants: Rows of what was made from it.
    """
    picture = shelved.picture
    rewritten = picture.rewritten_prompt
    details = details_of(picture)
    if shelved.notebook:
        details.append(clean(bounded(Path(shelved.notebook).name)))
    return {
        **describe(shelved),
        "prompt": clean(picture.prompt),
        "rewritten": clean(rewritten) if rewritten else "",
        "facts": details,
        "created": picture.created.timestamp(),
        "inputs": [clean(image.label) for image in picture.request.inputs],
        "cell": "" if is_for_visitors() else magic_cell(picture.request),
        "error": clean(bounded(picture.error or "")),
        "lineage": {"ancestors": ancestors, "descendants": descendants},
    }


def choices_of(facets: Facets) -> dict[str, Any]:
    """Return what the filters offer, the most common first."""
    return {
        name: [{"name": clean(key), "count": count} for key, count in found.items()]
        for name, found in facets._asdict().items()
    }


def for_visitors(said: str) -> str:
    """Return a sentence; for visitors of an app, without paths of the machine that it runs on."""
    return _PATH.sub("a file of this app", said) if is_for_visitors() else said


def explain(error: BaseException) -> str:
    """Return an error as a line or two: cause and cure, with fields by their names."""
    if isinstance(error, XaiError):
        return for_visitors(clean(_FLAG.sub(lambda found: _LABELS[found[0]], str(error))))
    if isinstance(error, RuntimeError) and "interpreter shutdown" in str(error):
        return "The kernel has stopped. Run this cell again: what was made is in the library."
    if is_for_visitors():
        return "Something went wrong, and nothing more is known here. Try again later."
    return clean(
        f"{type(error).__name__}: {error}. Please report this to the makers of xai-notebook."
    )
