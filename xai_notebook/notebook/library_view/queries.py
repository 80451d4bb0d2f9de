"""Filters as users and the browser give them, and as the shelf takes them."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import OptionError
from xai_notebook.frontend import notebook_name
from xai_notebook.library.catalog import Query

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["filters_of", "query_of"]

NAMES: Final = tuple(field.name for field in fields(Query) if field.name != "words")
_TEXTS: Final = ("model", "tag", "backend")
NO_NOTEBOOK: Final = ""
"""Matches nothing: nobody says which notebook this is."""


def query_of(words: str, filters: Mapping[str, Any]) -> Query:
    """Return what to look for; empty values count as left out.

    Raises:
        OptionError: A filter is none, or its value means nothing.
    """
    unknown = [name for name in filters if name not in NAMES]
    if unknown:
        raise OptionError(f"{unknown[0]}: there is no such filter. There are {', '.join(NAMES)}.")
    given = {name: value for name, value in filters.items() if value not in (None, "", False)}
    values: dict[str, Any] = {name: str(given[name]) for name in _TEXTS if name in given}
    values |= {name: _seconds(name, given[name]) for name in ("since", "until") if name in given}
    if "notebook" in given:
        own = given["notebook"] is True
        values["notebook"] = (notebook_name() or NO_NOTEBOOK) if own else str(given["notebook"])
    query = Query(
        words=str(words),
        order=str(given.get("order", "newest")),
        status=str(given.get("status", "ok")),
        starred=bool(given.get("starred")) or None,
        **values,
    )
    query.check()
    return query


def filters_of(query: Query) -> dict[str, Any]:
    """Return a query as the browser's fields show it."""
    shown = {
        name: getattr(query, name) for name in (*_TEXTS, "since", "until", "starred", "status")
    }
    return {**shown, "notebook": query.notebook is not None}


def _seconds(name: str, value: Any) -> float:
    """Return a time in seconds since 1970, UTC; one without a zone is local.

    Raises:
        OptionError: It is no time.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        return float(value.timestamp())
    except (AttributeError, OSError, OverflowError, ValueError) as error:
        raise OptionError(f"{name}: {value!r} is no time. Write 2026-11-24, say.") from error
