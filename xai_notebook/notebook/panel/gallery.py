"""What a card shows: words about an image, a preview of it, its original, its file."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.frontend import notebook_folder
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import Mark
from xai_notebook.notebook.viewing.answers import details_of
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.render.cards import TITLES, alt_text
from xai_notebook.pictures.render.text import bounded, clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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
        """Take images that were made together, and return their cards; blocks for milliseconds."""
        group, cards = next(self._groups), []
        marks = self._marks(batch)
        for number, image in enumerate(batch, 1):
            key = f"image{len(self.images) + 1}"
            self.images[key] = image
            card = describe_card(image, key=key, group=group, number=number, total=len(batch))
            cards.append(card | marks[number - 1])
        return cards

    def marked(self, cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return cards with what is said of their images now; blocks for milliseconds."""
        marks = self._marks([self.images[card["id"]] for card in cards])
        return [card | mark for card, mark in zip(cards, marks, strict=True)]

    @staticmethod
    def _marks(images: Iterable[GeneratedImage]) -> list[dict[str, Any]]:
        """Return star and tags of images; none where no library has them."""
        ids = [image.id for image in images]
        found: dict[int, Mark] = {}
        with suppress(LibraryError):
            found = current_session().library().marks.of(i for i in ids if i is not None)
        marks = [found.get(i or 0, Mark()) for i in ids]
        return [{"starred": mark.starred, "tags": list(mark.tags)} for mark in marks]

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
        "picture": image.id,
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
    if folders == {notebook_folder()}:
        return "the notebook's folder"
    return str(folders.pop()) if len(folders) == 1 else "several folders"
