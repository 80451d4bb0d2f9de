"""What a card shows: words about an image, a preview of it, its original, its file."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.errors import XaiError
from xai_notebook.frontend import notebook_folder
from xai_notebook.pictures.cards import TITLES, alt_text
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.text import bounded, clean, dollars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

__all__ = ["Album", "describe_card", "preview_of"]


class Saved(NamedTuple):
    """What became of files to write.

    Attributes:
        changes: Of cards, by their keys.
        note: What stands beside the button that saves everything.
        said: For screen readers.
    """

    changes: dict[str, dict[str, str]]
    note: str
    said: str


_SIDE: Final = 768
_LIMIT: Final = 110_000


class Album:
    """What a panel has to show, by the keys of its cards, oldest first."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.images: dict[str, GeneratedImage] = {}
        self._groups = count(1)

    def add(self, batch: ImageBatch) -> list[dict[str, Any]]:
        """Take images that were made together, and return their cards."""
        group, cards = next(self._groups), []
        for number, image in enumerate(batch, 1):
            key = f"image{len(self.images) + 1}"
            self.images[key] = image
            cards.append(
                describe_card(image, key=key, group=group, number=number, total=len(batch))
            )
        return cards

    def save(self, keys: Sequence[str], *, metadata: bool) -> Saved:
        """Write images into the notebook's folder; what cannot be written says why."""
        paths, changes = [], {}
        for key in keys:
            try:
                path = self.images[key].export(metadata=metadata)
            except XaiError as error:
                changes[key] = {"trouble": clean(str(error))}
            else:
                paths.append(path)
                changes[key] = {"trouble": "", "saved": name_of(path)}
        note = f"{len(paths)} saved in {folder_of(paths)}" if paths and len(keys) > 1 else ""
        where = paths[0].name if len(paths) == 1 else f"{len(paths)} images"
        said = f"Saved {where} in {notebook_folder()}." if paths else "Nothing was saved."
        return Saved(changes, note, said)


def describe_card(
    image: GeneratedImage, *, key: str, group: int, number: int, total: int
) -> dict[str, Any]:
    """Return a card for the browser: text only, shown literally there.

    Args:
        image: What it shows.
        key: Names the card.
        group: Names its generation.
        number: Place among the images of its generation, from 1.
        total: How many these are.
    """
    rewritten = image.rewritten_prompt
    ok = image.status == "ok"
    return {
        "id": key,
        "group": group,
        "name": f"image {number} of {total}" if total > 1 else "image",
        "ok": ok,
        "title": "" if ok else TITLES.get(image.status, "Failed"),
        "error": "" if ok else clean(bounded(image.error or "")),
        "alt": alt_text(image, number, total),
        "label": "Rewritten prompt" if rewritten else "Prompt",
        "asked": clean(image.prompt),  # what the pictures of a group have in common
        "prompt": clean(rewritten or image.prompt),
        "written": bool(rewritten),
        "facts": details_of(image),
        "replayed": image.replayed,
        "size": list(image.size or ()),
        "saved": "" if image.exported is None else name_of(image.exported),
        "trouble": "",
    }


def details_of(image: GeneratedImage) -> list[str]:
    """Return model, who rewrote the prompt, size and cost, where known."""
    items = [clean(bounded(image.model))] if image.model else []
    if image.rewritten_by and image.rewritten_prompt:
        items.append(f"rewritten by {clean(bounded(image.rewritten_by))}")
    if image.size:
        items.append(f"{image.size[0]} × {image.size[1]}")
    if image.cost_usd:
        items.append(dollars(image.cost_usd))
    if image.request.inputs:
        count = len(image.request.inputs)
        items.append("an edit" if count == 1 else f"an edit of {count} images")
    return items


def preview_of(data: bytes) -> bytes:
    """Return a JPEG for a card.

    Raises:
        ReplyError: The bytes are no image.
    """
    return preview(data, side=_SIDE, limit=_LIMIT).data


def name_of(path: Path) -> str:
    """Return a path relative to the notebook's folder when it is inside."""
    try:
        return str(path.relative_to(notebook_folder()))
    except (ValueError, OSError):
        return str(path)


def folder_of(paths: list[Path]) -> str:
    """Return where saved files are, in words."""
    folders = {path.parent for path in paths}
    return str(folders.pop()) if len(folders) == 1 else "several folders"
