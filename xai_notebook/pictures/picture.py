"""Pictures as data: what a reply or the library says of one, and how a batch of them is shown.

All of it is frozen: a change is a new value.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

from xai_notebook.errors import MissingImageError, ModeratedError, ReplyError
from xai_notebook.pictures.files import read_bounded
from xai_notebook.pictures.magic_source import magic_cell
from xai_notebook.settings import MAX_RECEIVE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from xai_notebook.client.request import ImageRequest

__all__ = [
    "SHOWN",
    "WITHHELD",
    "Card",
    "Grid",
    "Matrix",
    "Picture",
    "Row",
    "Section",
    "Status",
    "first_cards",
    "matrix_of",
]

Status = Literal["ok", "moderated", "missing", "failed", "pending", "unsent", "damaged"]
"""What became of an image: `pending` is known to the library, but not downloaded yet; `unsent` was
never asked for, because a budget did not allow it; the library's row of a `damaged` one is."""

SHOWN: Final = 24
"""Cards of a grid, unless more are asked for."""
WITHHELD: Final = "The image was withheld by moderation. Change the prompt."


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Picture:
    """One image of a reply, or the reason why there is none.

    Attributes:
        request: What was asked.
        position: Place in the library: among the images of its request, from 0.
        status: `"ok"`, or why there is no picture.
        model: The model as the server named it.
        rewritten_prompt: The prompt as rewritten by the server, or by a chat model for us.
        rewritten_by: The chat model, or None when the image server rewrote the prompt itself.
        cost_usd: This image's share of what the request cost in US dollars; None: not reported.
        media_type: Such as `"image/jpeg"`, by the bytes.
        size: Width and height in pixels.
        created: When the reply came, in UTC.
        replayed: It came from the library, not from the server.
        error: Why there is no picture, in a line.
        sha256: Hex digest of the original bytes.
        file: The original in the library.
        id: The row in the library.
        notes: What the user should know about it.
        cached: The original bytes, where no library has them.
        held: Reads the original where it is part of another file, such as a bundle.
        public_url: Where everybody who has the link may see it.
        public_url_expires: When that ends, in UTC; None: with the file at the server.
        bundle: Name of the bundle that it comes from.
    """

    request: ImageRequest
    position: int = 0
    status: Status = "ok"
    model: str = ""
    rewritten_prompt: str | None = None
    rewritten_by: str | None = None
    cost_usd: float | None = None
    media_type: str | None = None
    size: tuple[int, int] | None = None
    created: datetime = field(default_factory=_now)
    replayed: bool = False
    error: str | None = None
    sha256: str | None = None
    file: Path | None = None
    id: int | None = None
    notes: tuple[str, ...] = ()
    cached: bytes | None = None
    held: Callable[[], bytes] | None = None
    public_url: str | None = None
    public_url_expires: datetime | None = None
    bundle: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it: it is here, or was withheld, and was paid for."""
        return self.status in {"ok", "moderated"} or bool(self.sha256 or self.cached)

    @property
    def is_public(self) -> bool:
        """Whether there is a public link that has not expired."""
        expires = self.public_url_expires
        return self.public_url is not None and (expires is None or expires > _now())

    @property
    def prompt(self) -> str:
        """The prompt as the user wrote it, templates filled."""
        return self.request.original_prompt or self.request.prompt

    @property
    def caption(self) -> str:
        """The prompt that made the image, labelled honestly, as one plain text."""
        if self.rewritten_prompt:
            return f"Rewritten prompt: {self.rewritten_prompt}"
        return f"Prompt: {self.prompt}"

    @property
    def cell(self) -> str:
        """The `%%xai_image` cell that asks for the image again."""
        return magic_cell(self.request)

    @property
    def data(self) -> bytes:
        """The original bytes, as the server sent them.

        Raises:
            ModeratedError: The image was withheld by moderation.
            MissingImageError: The reply held no such image, or its file has been deleted,
                replaced or damaged.
            ReplyError: The request failed; the message says why.
        """
        if self.cached is not None:
            return self.cached
        if self.held is not None:
            return self.held()
        if self.file is not None:
            return self._read(self.file)
        reason = self.error or "There is no image."
        if self.status == "moderated":
            raise ModeratedError(reason)
        if self.status == "missing":
            raise MissingImageError(reason)
        raise ReplyError(reason)

    def _read(self, file: Path) -> bytes:
        """Return the original from its file; its digest says whether it is what was stored."""
        try:
            data = read_bounded(file, MAX_RECEIVE_BYTES, links=False)
        except OSError as error:
            raise MissingImageError(
                f"The original of image {self.position + 1} is gone from the library "
                f"({error.strerror}). Ask again with --fresh."
            ) from error
        if self.sha256 is not None and hashlib.sha256(data).hexdigest() != self.sha256:
            raise MissingImageError(
                f"The original of image {self.position + 1} in the library is damaged or was "
                "replaced, and was not used. Ask again with --fresh."
            )
        return data


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Card(Picture):
    """A picture in a user's batch.

    Attributes:
        index: Place in the batch: among the images of its request, from 0.
        chosen: What tells it from the others of a comparison: its value on each axis.
        exported: The file written by the last export.
    """

    index: int = 0
    chosen: tuple[str, ...] = ()
    exported: Path | None = None

    @property
    def label(self) -> str | None:
        """What tells it from the others of a comparison, in a line."""
        return " · ".join(self.chosen) or None

    @property
    def path(self) -> Path | None:
        """Where the original is on disk: the exported file, else the library's; None: nowhere."""
        return self.exported or self.file


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Grid:
    """Cards, and how they are shown.

    Attributes:
        images: In the order of their requests and indices.
        name: Of the variable that holds them, if that is known.
        columns: Width of the grid; None: by count.
        captions: `"full"`, `"short"` or `"none"`; None: what is long is folded.
        full: Show originals instead of previews.
        compare: Show the images that edits were made from before them.
        cells: Show with each image when it was made and the magic that asks for it again.
        limit: Cards of the grid; the rest is counted.
        notes: What the user should know, a line each.
        summary: A line that ends the grid of many prompts.
    """

    images: Sequence[Card] = ()
    name: str | None = None
    columns: int | None = None
    captions: str | None = None
    full: bool = False
    compare: bool = False
    cells: bool = False
    limit: int = SHOWN
    notes: tuple[str, ...] = ()
    summary: str | None = None


_Card = TypeVar("_Card", bound="Card")


class Row(NamedTuple):
    """A row of a matrix.

    Attributes:
        name: What its pictures have in common.
        cells: The places of the cards in their grid, for each column.
    """

    name: str
    cells: tuple[tuple[int, ...], ...]


class Section(NamedTuple):
    """Rows that have further axes in common, whose values are its name; it may have none."""

    name: str
    rows: list[Row]


class Matrix(NamedTuple):
    """Where the cards of a grid stand.

    Attributes:
        columns: Their names.
        sections: One above the other.
    """

    columns: tuple[str, ...]
    sections: list[Section]


def matrix_of(cards: Sequence[Card]) -> Matrix | None:
    """Return where the cards of a comparison stand; None: they are none, or make a single row."""
    chosen = [card.chosen for card in cards]
    depth = len(chosen[0]) if chosen else 0
    if depth < 2 or any(len(each) != depth for each in chosen):  # noqa: PLR2004  # rows and columns
        return None
    columns = tuple(dict.fromkeys(each[-1] for each in chosen))
    places: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for place, each in enumerate(chosen):
        places.setdefault(each[:-1], {}).setdefault(each[-1], []).append(place)
    if len(columns) < 2 or len(places) < 2:  # noqa: PLR2004
        return None
    sections: dict[tuple[str, ...], Section] = {}
    for (*further, name), row in places.items():
        section = sections.setdefault(tuple(further), Section(" · ".join(further), []))
        section.rows.append(Row(name, tuple(tuple(row.get(column, ())) for column in columns)))
    return Matrix(columns, list(sections.values()))


def first_cards(cards: Sequence[_Card], limit: int) -> Sequence[_Card]:
    """Return at most `limit` cards; of a matrix, those of whole rows, if that is one at least."""
    first = cards[:limit]
    if len(cards) <= limit or matrix_of(first) is None:
        return first
    begun = cards[limit].chosen[:-1]
    return [card for card in first if card.chosen[:-1] != begun] or first
