"""The library widget of `%xai_library` and `xai_notebook.library()`: search, select, organize.

The page only holds visible pictures; it requests rows by position and thumbnails by id, with
messages. The browser code is built from `notebook/browser`.

    browser -> kernel   query, rows, ids, select, edit; and the messages of PictureWidget
    kernel -> browser   query, glance, choices, rows, ids; and the messages of PictureWidget
"""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import fields
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from traitlets import Dict, Unicode

from xai_notebook.client.bounds import clean
from xai_notebook.errors import OptionError
from xai_notebook.frontend import in_kernel, is_for_visitors, notebook_name, running_shell
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import Query, SearchResult
from xai_notebook.notebook import messages
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.notebook.picture_widget import (
    STATIC,
    PictureWidget,
    batch_of,
    describe,
    entries_of,
    image_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xai_notebook.library import Library
    from xai_notebook.library.catalog import CatalogEntry
    from xai_notebook.pictures.results import ImageBatch


def library(words: str = "", **filters: Any) -> LibraryWidget:
    """Show all stored images, to search, view, compare, star, tag, delete and export them.

    In Jupyter the library appears under the running cell, once. In marimo and Solara it is a
    widget to place: `mo.ui.anywidget(xai.library())`, `solara.display(library)`.

    Args:
        words: Initial text of the search field. Every word must occur in the prompts, the model's
            name or the notebook's name; the last word may be incomplete.
        **filters: `order` ("newest", "cost" or "model"); `model`; `since` and `until` (a date, a
            datetime or an ISO string); `notebook=True` (images of this notebook); `starred=True`;
            `tag`; `status` ("ok", "moderated", "pending", "failed", "trash", "all"); `backend`
            ("xai", "local").

    Returns:
        The widget, an anywidget. Its `selected` are the images selected in it.

    Raises:
        OptionError: A filter does not exist, or its value is invalid.
        LibraryError: The library cannot be opened.
    """
    query = query_of(words, filters)
    shell = running_shell()
    shown = LibraryWidget(query, shell if in_kernel(shell) else None)
    shown.show()
    return shown


_FILTERS: Final = tuple(field.name for field in fields(Query) if field.name != "words")
_TEXT_FILTERS: Final = ("model", "tag", "backend")


def query_of(words: str, filters: Mapping[str, Any]) -> Query:
    """Return the catalog query for filters from a user or the browser; ignore empty values."""
    unknown = [name for name in filters if name not in _FILTERS]
    if unknown:
        raise OptionError(f"{unknown[0]} is not a filter. The filters are {', '.join(_FILTERS)}.")
    given = {name: value for name, value in filters.items() if value not in (None, "", False)}
    values: dict[str, Any] = {name: str(given[name]) for name in _TEXT_FILTERS if name in given}
    values |= {name: _seconds(name, given[name]) for name in ("since", "until") if name in given}
    if "notebook" in given:
        own = given["notebook"] is True
        # If the notebook's name is unknown, use "", which matches nothing.
        values["notebook"] = (notebook_name() or "") if own else str(given["notebook"])
    query = Query(
        words=str(words),
        order=str(given.get("order", "newest")),
        status=str(given.get("status", "ok")),
        starred=bool(given.get("starred")) or None,
        **values,
    )
    query.check()
    return query


def _seconds(name: str, value: Any) -> float:
    """Return a time as a Unix timestamp; a time without a time zone is in local time."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        return float(value.timestamp())
    except (AttributeError, OSError, OverflowError, ValueError) as error:
        raise OptionError(f"{name}: {value!r} is not a time. Write it like 2026-11-24.") from error


_FIRST_SCREENFUL: Final = (100, 36)
"""Approximate numbers of rows and thumbnails that the browser requests first."""
_DELETED: Final = {
    "alt": "", "prompt": "", "size": [], "status": "gone", "starred": False, "tags": [],
    "deleted": True, "facts": [],
}  # fmt: skip
"""The row of a picture that was deleted after the search found it."""


class LibraryWidget(PictureWidget):
    """A grid of all images of the library. Created by `xai_notebook.library()`."""

    _esm = (STATIC / "library.js").read_text(encoding="utf-8")
    _css = (STATIC / "library.css").read_text(encoding="utf-8")
    _title = "The xAI image library works while its kernel runs: run this cell again to open it."
    _name = "The library"
    _instead = ("%xai_history WORDS", "xai_notebook.history(WORDS)")
    _messages: ClassVar[Mapping[str, messages.Shape]] = messages.LIBRARY

    words = Unicode(help="Initial text of the search field.").tag(sync=True)
    order = Unicode(help="Initial sort order.").tag(sync=True)
    filters = Dict(help="Initial filters.").tag(sync=True)

    def __init__(self, query: Query, shell: Any) -> None:
        self._query = query
        self._latest_request = 0
        self._found: array[int] | None = None
        self._chosen: list[int] = []
        names = (*_TEXT_FILTERS, "since", "until", "starred", "status")
        filters = {name: getattr(query, name) for name in names}
        filters["notebook"] = query.notebook is not None
        names = {} if shell is None else shell.user_ns
        super().__init__(shell, names, words=query.words, order=query.order, filters=filters)

    @property
    def selected(self) -> ImageBatch:
        """The images that are selected in the grid, in the order of selection.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return batch_of(self._chosen)

    def _start(self) -> None:
        """Read the first screenful into caches while the browser loads the widget."""
        self._submit(asyncio.to_thread(self._glance, self._query, *_FIRST_SCREENFUL))
        self._submit(self._measure())

    async def _measure(self) -> None:
        """Add image sizes that older versions did not store."""
        library = await asyncio.to_thread(_library)
        while await asyncio.to_thread(library.catalog.measure):
            pass

    # Searching

    def _receive(self, widget: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Receive a message. Of several searches, only the latest is answered."""
        if isinstance(content, dict) and content.get("kind") == "query":
            self._latest_request = messages.request_of(content).get("request", 0)
        super()._receive(widget, content, buffers)

    async def _on_query(self, message: Mapping[str, Any]) -> None:
        request = message.get("request", 0)
        if request != self._latest_request:
            return
        query = query_of(message["words"], {**message["filters"], "order": message["order"]})
        rows = min(message["rows"], messages.MAX_ROWS)
        thumbnails = message["thumbnails"]
        library = await asyncio.to_thread(_library)
        if self._found is None and not query.words.strip():
            first, small = await asyncio.to_thread(self._glance, query, rows, thumbnails)
            self.send({"kind": "glance", **first}, small)
            thumbnails = 0  # already sent
        result = await asyncio.to_thread(self._find, query)
        if request != self._latest_request:
            return
        ids = result.ids[:rows].tolist()
        first, small = await asyncio.to_thread(self._screenful, ids, thumbnails)
        if request != self._latest_request:
            return
        self._query, self._found = query, result.ids
        notice = "" if is_for_visitors() else str(library.distrust or "")
        counts = {"count": len(result.ids), "bytes": result.size, "notice": notice}
        self._reply(message, small, **counts, **first)
        if is_for_visitors():
            return  # the counts would include images of other users
        # After the images, because counting takes as long as searching in a large library.
        facets = await asyncio.to_thread(library.catalog.facets)
        if request == self._latest_request:  # values for the filters, most common first
            choices = {
                name: [{"name": clean(value), "count": count} for value, count in counts.items()]
                for name, counts in facets._asdict().items()
            }
            self.send({"kind": "choices"} | choices)

    @staticmethod
    def _find(query: Query) -> SearchResult:
        """Return the visible results of a query; blocks."""
        result = _library().catalog.find(query)
        if not is_for_visitors():
            return result
        return SearchResult(array("q", current_session().history.visible(result.ids)), 0)

    def _glance(
        self, query: Query, rows: int, thumbnails: int
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Return the first screenful, before all results are counted; blocks."""
        ids = _library().catalog.first(query, rows)
        return self._screenful(current_session().history.visible(ids), thumbnails)

    def _screenful(self, ids: Sequence[int], thumbnails: int) -> tuple[dict[str, Any], list[bytes]]:
        """Return the first rows of a grid, and cached thumbnails for some of them; blocks.

        Returns:
            A dict with the `rows` and the `ids` of the thumbnails; and the thumbnails as JPEGs.
        """
        entries = entries_of(ids)
        small = {
            entry.picture.id: data
            for entry in entries[:thumbnails]
            if (data := self._thumbnail(entry, make=False))
        }
        return {"rows": _rows(ids, entries), "ids": list(small)}, list(small.values())

    async def _on_rows(self, message: Mapping[str, Any]) -> None:
        ids = self._slice(message, messages.MAX_ROWS)
        self._reply(message, rows=_rows(ids, await asyncio.to_thread(entries_of, ids)))

    async def _on_ids(self, message: Mapping[str, Any]) -> None:
        self._reply(message, ids=self._slice(message, messages.MAX_CHOSEN))

    def _slice(self, message: Mapping[str, Any], most: int) -> list[int]:
        """Return the ids of the results from `start` to `stop`, at most `most`."""
        start, found = message["start"], self._found or array("q")
        return found[start : min(message["stop"], start + most)].tolist()

    # Chosen pictures

    async def _on_select(self, message: Mapping[str, Any]) -> None:
        self._chosen = message["ids"]
        self.revision += 1

    async def _on_edit(self, message: Mapping[str, Any]) -> None:
        """Add a picture as an input image to the latest panel, or to a new panel."""
        image = await asyncio.to_thread(image_of, message["id"])
        panel = Panel.latest() if Panel.latest is not None else None
        if panel is not None and panel.connected and panel.page == self.page:
            await asyncio.to_thread(panel.take, image)
            sentence = "Added to the panel of this notebook."
        elif self._shell is None:
            raise OptionError("This page has no panel. Show xai.panel() first.")
        else:
            panel = Panel("", {"image": [image]}, self._shell)
            self._publisher.publish(*panel._repr_mimebundle_())  # as IPython does
            sentence = "Added to a new panel below this library."
        self._send_done(message, sentence)


def _library() -> Library:
    return current_session().library()


def _rows(ids: Sequence[int], entries: Sequence[CatalogEntry]) -> list[dict[str, Any]]:
    """Return a row of the grid for each id; deleted pictures get a placeholder row."""
    rows = {entry.picture.id: describe(entry) for entry in entries}
    return [rows.get(each) or {**_DELETED, "id": each} for each in ids]
