"""Frozen dataclasses: one image of a reply, its card in a batch, and the grid of a batch.

This module renders nothing; `render/` turns a `Grid` into HTML and text.
"""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime, time, timezone
from functools import partial
from numbers import Number
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar

from xai_notebook.errors import MissingImageError, ModeratedError, ReplyError
from xai_notebook.frontend import SavedPath
from xai_notebook.pictures.files import read_bounded
from xai_notebook.pictures.magic_source import magic_cell
from xai_notebook.settings import MAX_RECEIVE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from xai_notebook.client.request import ImageRequest

T = TypeVar("T")

Status = Literal["ok", "moderated", "missing", "failed", "pending", "unsent", "skipped", "damaged"]
"""Outcome of one image. `pending`: recorded in the library, but not downloaded yet. `unsent`: never
requested, because of a limit or an interrupt. `skipped`: the row of the table is blank. `damaged`:
the row in the library cannot be read."""
HIDDEN: Final = frozenset({"unsent", "skipped"})
"""Statuses that grids leave out."""
SHOWN: Final = 24
"""Default number of cards in a grid."""
WITHHELD: Final = "The image was withheld by moderation. Change the prompt."


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Picture:
    """One image of a reply, or the reason why it is missing.

    Attributes:
        request: The request that the image answers.
        position: Index among the images of the request, as the library counts them.
        status: `"ok"`, or why the picture is missing.
        model: The model as the server named it.
        rewritten_prompt: The prompt as rewritten by the server or by a chat model.
        rewritten_by: The chat model that rewrote the prompt; None if the image server did.
        cost_usd: This image's share of the reported cost in US dollars; None if not reported.
        media_type: Media type, such as `"image/jpeg"`, detected from the bytes.
        size: Width and height in pixels.
        created: Time at which the reply arrived, in UTC.
        replayed: Whether the image was loaded from the library instead of the server.
        error: Why the picture is missing, in one line.
        sha256: Hex digest of the original bytes.
        file: The original file in the library.
        id: The number of the row in the library.
        notes: Notes for the user, one line each.
        cached: The original bytes, if no library stores them.
        held: Function that reads the original from inside another file, such as a bundle.
        public_url: Public link to the image.
        public_url_expires: Time at which the link expires, in UTC; None if it works until the
            server deletes the file.
        bundle: Name of the bundle that contains the image.
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
    created: datetime = field(default_factory=partial(datetime.now, timezone.utc))
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
        """Whether the outcome is final and paid for, because the image arrived or was withheld."""
        return self.status in {"ok", "moderated"} or bool(self.sha256 or self.cached)

    @property
    def is_public(self) -> bool:
        """Whether the image has a public link that has not expired."""
        expires = self.public_url_expires
        return self.public_url is not None and (
            expires is None or expires > datetime.now(timezone.utc)
        )

    @property
    def prompt(self) -> str:
        """The prompt as the user wrote it, with templates filled in."""
        return self.request.original_prompt or self.request.prompt

    @property
    def caption(self) -> str:
        """The prompt that made the image, as plain text with a label."""
        if self.rewritten_prompt:
            return f"Rewritten prompt: {self.rewritten_prompt}"
        return f"Prompt: {self.prompt}"

    @property
    def cell(self) -> str:
        """The `%%xai_image` cell that requests the image again."""
        return magic_cell(self.request)

    @property
    def data(self) -> bytes:
        """The original bytes, as the server sent them.

        Raises:
            ModeratedError: The image was withheld by moderation.
            MissingImageError: The reply did not contain the image, or its file has been deleted,
                replaced or damaged.
            ReplyError: The request failed; the message says why.
        """
        if self.cached is not None:
            return self.cached
        if self.held is not None:
            return self.held()
        if self.file is not None:
            return self._read(self.file)
        reason = self.error or "The image is missing."
        if self.status == "moderated":
            raise ModeratedError(reason)
        if self.status == "missing":
            raise MissingImageError(reason)
        raise ReplyError(reason)

    def _read(self, file: Path) -> bytes:
        """Read the original from its file and compare its digest with the stored one."""
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


def label_text(label: Any) -> str:
    """Return the label of a row as text: dates without a time of 0:00, levels with commas."""
    if isinstance(label, tuple):
        return ", ".join(map(label_text, label))
    if isinstance(label, datetime) and label.time() == time():
        return label.date().isoformat()
    return str(label)


def blank_card(request: ImageRequest, reason: str | None = None) -> Picture:
    """Return the picture that stands for a blank row of a table."""
    return Picture(
        request=replace(request, inputs=()),
        status="skipped",
        error=reason or "Skipped: the prompt is blank.",
        model=request.model,
        cost_usd=0.0,
    )


class _FromPicture(property, Generic[T]):
    """Attribute of a card that forwards to the same attribute of its picture."""

    def __set_name__(self, owner: type, name: str) -> None:
        super().__init__(attrgetter(f"picture.{name}"))  # runs in C: a grid reads thousands
        self.__doc__ = getattr(Picture, name).__doc__

    if TYPE_CHECKING:

        def __get__(self, card: object, owner: type | None = None) -> T: ...  # type: ignore[override]


@dataclass(frozen=True, eq=False, repr=False)
class Card:
    """A picture in a batch, with all attributes of the picture.

    Attributes:
        picture: The image, from a reply or from the library.
        index: Index among the images of the same request in this batch.
        chosen: The value of each axis of a comparison for this image.
        row: With `each`, the label of the row in the index of its table, or its position from 0.
        key: With `key`, the row's value in that column.
        exported: The file that the last export wrote.
    """

    picture: Picture
    _: KW_ONLY
    index: int = 0
    chosen: tuple[str, ...] = ()
    row: Any = None
    key: Any = None
    exported: Path | None = None

    request = _FromPicture["ImageRequest"]()
    position = _FromPicture[int]()
    status = _FromPicture[Status]()
    model = _FromPicture[str]()
    rewritten_prompt = _FromPicture[str | None]()
    rewritten_by = _FromPicture[str | None]()
    cost_usd = _FromPicture[float | None]()
    media_type = _FromPicture[str | None]()
    size = _FromPicture[tuple[int, int] | None]()
    created = _FromPicture[datetime]()
    replayed = _FromPicture[bool]()
    error = _FromPicture[str | None]()
    sha256 = _FromPicture[str | None]()
    id = _FromPicture[int | None]()
    notes = _FromPicture[tuple[str, ...]]()
    cached = _FromPicture[bytes | None]()
    held = _FromPicture["Callable[[], bytes] | None"]()
    public_url = _FromPicture[str | None]()
    public_url_expires = _FromPicture[datetime | None]()
    bundle = _FromPicture[str | None]()
    settled = _FromPicture[bool]()
    is_public = _FromPicture[bool]()
    prompt = _FromPicture[str]()
    caption = _FromPicture[str]()
    cell = _FromPicture[str]()
    data = _FromPicture[bytes]()

    @property
    def label(self) -> str | None:
        """The values of the axes of a comparison, in one line, or the key of the row."""
        return " · ".join(self.chosen) or (None if self.key is None else str(self.key))

    @property
    def path(self) -> Path | None:
        """The original in the library; None if no library stores it. See also `exported`."""
        return self.file

    @property
    def file(self) -> Path | None:
        """The same as `path`."""
        file = self.picture.file
        return None if file is None else SavedPath(file)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Grid:
    """Cards and the settings that show them.

    Attributes:
        images: The cards, in the order of their requests and indices.
        name: Name of the variable that holds the batch, if known.
        columns: Cards per row; None chooses by the number of cards.
        captions: `"full"`, `"short"` or `"none"`; None folds only long prompts.
        full: Show originals instead of previews.
        compare: Show the input images before their edits.
        cells: Show the creation time and the magic that requests the image again.
        limit: Maximum number of cards to show; a line counts the others.
        notes: Notes for the user, one line each.
        summary: A summary line below the grid, for many prompts.
        index_names: Names of the levels of the index from which the rows' labels come.
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
    index_names: tuple[Any, ...] = ()


_Card = TypeVar("_Card", bound="Card")


class Row(NamedTuple):
    """A row of a matrix.

    Attributes:
        name: The value that the pictures of the row share.
        cells: For each column, the indices of the cards in the grid.
    """

    name: str
    cells: tuple[tuple[int, ...], ...]


class Section(NamedTuple):
    """Rows with the same values of the outer axes. The name lists these values; it can be empty."""

    name: str
    rows: list[Row]


class Matrix(NamedTuple):
    """Layout of a comparison: the last axis gives the columns, the axis before it the rows.

    Attributes:
        columns: Names of the columns.
        sections: The sections, from top to bottom.
    """

    columns: tuple[str, ...]
    sections: list[Section]


def matrix_of(cards: Sequence[Card]) -> Matrix | None:
    """Return the layout of a comparison; None if it has one row or column or is no comparison."""
    chosen = [card.chosen for card in cards]
    depth = len(chosen[0]) if chosen else 0
    if depth < 2 or any(len(values) != depth for values in chosen):  # noqa: PLR2004  # rows, columns
        return None
    columns = tuple(dict.fromkeys(values[-1] for values in chosen))
    rows: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for index, values in enumerate(chosen):
        rows.setdefault(values[:-1], {}).setdefault(values[-1], []).append(index)
    if len(columns) < 2 or len(rows) < 2:  # noqa: PLR2004
        return None
    sections: dict[tuple[str, ...], Section] = {}
    for (*outer, name), cells in rows.items():
        section = sections.setdefault(tuple(outer), Section(" · ".join(outer), []))
        section.rows.append(Row(name, tuple(tuple(cells.get(column, ())) for column in columns)))
    return Matrix(columns, list(sections.values()))


def first_cards(cards: Sequence[_Card], limit: int) -> Sequence[_Card]:
    """Return at most `limit` cards; a matrix ends with a complete row, if one fits."""
    first = cards[:limit]
    if len(cards) <= limit or matrix_of(first) is None:
        return first
    cut_row = cards[limit].chosen[:-1]
    return [card for card in first if card.chosen[:-1] != cut_row] or first


def is_missing(value: Any) -> bool:
    """Tell whether a cell of a table is empty: None, NaN, NaT, `pd.NA` or a masked element."""
    kind = type(value).__name__
    if value is None or kind in {"NAType", "NaTType", "MaskedConstant"}:
        return True
    return (isinstance(value, Number) or kind == "datetime64") and bool(value != value)  # noqa: PLR0124
