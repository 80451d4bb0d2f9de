"""A comparison as a matrix: its last axis gives the columns, the one before the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.pictures.picture import Card

__all__ = ["Matrix", "Row", "Section", "first_cards", "matrix_of"]


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
