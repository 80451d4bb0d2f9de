"""The widget: what the browser asks, and what it is told.

Nothing waits on the kernel's thread: a message is handed to the background loop at once, and what
blocks is done in worker threads. Every request has a number that its reply repeats.

    browser -> kernel   query, rows, thumbnails, picture, select, edit; and every one of ACTIONS
    kernel -> browser   result, rows, thumbnails, picture, done, error, changed
"""

from __future__ import annotations

import asyncio
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
from traitlets import Dict, Unicode

from xai_notebook.client.workers import Workers
from xai_notebook.errors import MissingImageError, XaiError
from xai_notebook.generation.session import current_session
from xai_notebook.library.marks import listen
from xai_notebook.library.thumbnails import Thumbnails
from xai_notebook.notebook.library_view import answers
from xai_notebook.notebook.library_view.actions import ACTIONS, batch_of
from xai_notebook.notebook.library_view.queries import filters_of, query_of
from xai_notebook.notebook.panel.jobs import explain
from xai_notebook.notebook.panel.outputs import Publisher
from xai_notebook.notebook.panel.widget import Panel

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from xai_notebook.library import Library
    from xai_notebook.library.shelf import Query, Shelved
    from xai_notebook.pictures.results import ImageBatch

__all__ = ["Place"]

_STATIC: Final = Path(__file__).parent.parent / "static"
_MOST_ROWS: Final = 400
"""Rows, or thumbnails, of one request."""
_MOST_CHOSEN: Final = 10_000
_MOST_TOLD: Final = 1_000
"""Changed pictures that are named one by one."""
_MAKERS: Final = 2
"""Threads that make thumbnails: saving pictures needs the others."""


class Place(anywidget.AnyWidget):
    """Every picture of the library, in a grid. Made by `xai_notebook.library()`."""

    _esm = (_STATIC / "library.js").read_text(encoding="utf-8")
    _css = (_STATIC / "library.css").read_text(encoding="utf-8")

    words = Unicode(help="What stands in the search field at first.").tag(sync=True)
    order = Unicode(help="The order at first.").tag(sync=True)
    filters = Dict(help="The filters at first.").tag(sync=True)

    def __init__(self, query: Query, shell: Any) -> None:
        """Show what a query finds.

        Args:
            query: What to look for at first.
            shell: The running IPython.
        """
        self._query = query
        self._namespace: Any = shell.user_ns
        self._shell = shell
        self._publisher = Publisher(shell)
        self._asked = 0
        self._found = array("q")
        self._chosen: list[int] = []
        self._thumbnails: Thumbnails | None = None
        self._makers = Workers(_MAKERS, thread_name_prefix="xai-notebook-thumbnails")
        self._shown_at: int | None = None
        super().__init__(words=query.words, order=query.order, filters=filters_of(query))
        listen(self._hear)
        self.on_msg(self._receive)

    # What users hold

    @property
    def selected(self) -> ImageBatch:
        """The pictures that are chosen in the grid now, in the order of the choice.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return batch_of(self._chosen)

    def show(self) -> None:
        """Display the place under the running cell."""
        self._publisher.publish(*self._repr_mimebundle_())
        self._shown_at = self._shell.execution_count
        self._submit(self._measure())

    def _ipython_display_(self) -> None:
        """Show nothing when the place is the value of the cell that has just shown it."""
        shown_at, self._shown_at = self._shown_at, None
        if shown_at != self._shell.execution_count:
            raise NotImplementedError  # IPython goes on to _repr_mimebundle_

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget, with words for where it cannot be shown."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": "xAI image library"}, metadata

    # From the browser

    def _receive(self, _: Any, content: Any, __: Sequence[Any]) -> None:
        """Take a message: on the kernel's thread, so hand it over at once."""
        if isinstance(content, dict):
            if content.get("type") == "query":
                self._asked = content.get("request", 0)  # what was asked before counts no more
            self._submit(self._answer(content))

    @staticmethod
    def _submit(coroutine: Coroutine[Any, Any, None]) -> None:
        current_session().loop.submit(coroutine)

    async def _answer(self, content: Mapping[str, Any]) -> None:
        kind, request = str(content.get("type")), content.get("request")
        try:
            if kind in ACTIONS:
                ids = _ids(content, _MOST_CHOSEN)
                said = await asyncio.to_thread(ACTIONS[kind], ids, content, self._namespace)
                self.send({"type": "done", "request": request, "said": said})
            elif (handler := getattr(self, f"_on_{kind}", None)) is not None:
                await handler(content)
        except Exception as error:  # noqa: BLE001  # nowhere else would anybody see it
            self.send({"type": "error", "request": request, "said": explain(error)})

    async def _on_query(self, content: Mapping[str, Any]) -> None:
        request = content.get("request", 0)
        if request != self._asked:
            return  # the user has typed on
        filters = {**content.get("filters", {}), "order": content.get("order")}
        query = query_of(str(content.get("words", "")), filters)
        library = await asyncio.to_thread(_library)
        found = await asyncio.to_thread(library.shelf.find, query)
        if request != self._asked:
            return
        self._query, self._found = query, found.ids
        reply = {"type": "result", "request": request, "count": len(found.ids)}
        choices = answers.choices_of(await asyncio.to_thread(library.shelf.facets))
        self.send({**reply, "bytes": found.size, "read_only": library.read_only, **choices})

    async def _on_rows(self, content: Mapping[str, Any]) -> None:
        start = max(int(content["start"]), 0)
        ids = self._found[start : min(int(content["stop"]), start + _MOST_ROWS)].tolist()
        found = {row.picture.id: row for row in await asyncio.to_thread(_rows, ids)}
        gone = {"prompt": "", "status": "gone", "width": 1, "height": 1, "tags": []}
        rows = [
            answers.describe(found[each]) if each in found else {**gone, "id": each} for each in ids
        ]
        reply = {"type": "rows", "request": content.get("request"), "start": start}
        self.send({**reply, "rows": rows})

    async def _on_thumbnails(self, content: Mapping[str, Any]) -> None:
        ids = _ids(content, _MOST_ROWS)
        loop = asyncio.get_running_loop()
        rows = await asyncio.to_thread(_rows, ids)
        made = await asyncio.gather(
            *(loop.run_in_executor(self._makers, self._thumbnail, row) for row in rows)
        )
        small = {row.picture.id: data for row, data in zip(rows, made, strict=True) if data}
        here, missing = [i for i in ids if i in small], [i for i in ids if i not in small]
        reply = {"type": "thumbnails", "request": content.get("request")}
        self.send({**reply, "ids": here, "missing": missing}, [small[i] for i in here])

    def _thumbnail(self, row: Shelved) -> bytes | None:
        """Return a thumbnail, in a worker thread; None: there is no picture."""
        picture = row.picture
        if picture.sha256 is None or picture.file is None:
            return None
        if self._thumbnails is None:
            folder = _library().home / "cache" / "thumbnails"
            self._thumbnails = Thumbnails(folder, answers.thumbnail)
        try:
            return self._thumbnails.get(picture.sha256, picture.file)
        except XaiError:
            return None

    async def _on_picture(self, content: Mapping[str, Any]) -> None:
        facts, data = await asyncio.to_thread(_picture, int(content["id"]))
        reply = {"type": "picture", "request": content.get("request")}
        self.send({**reply, **facts}, [data])

    async def _on_select(self, content: Mapping[str, Any]) -> None:
        self._chosen = _ids(content, _MOST_CHOSEN)

    async def _on_edit(self, content: Mapping[str, Any]) -> None:
        (image,) = await asyncio.to_thread(batch_of, [int(content["id"])])
        panel = Panel.seen() if Panel.seen is not None else None
        if panel is not None and panel.comm is not None:
            await asyncio.to_thread(panel.take, image)
            said = "The panel of this notebook has it."
        else:
            panel = Panel("", {"image": [image]}, self._shell)
            self._publisher.publish(*panel._repr_mimebundle_())  # as IPython does
            said = "A panel below this library has it."
        self.send({"type": "done", "request": content.get("request"), "said": said})

    # To the browser

    def _hear(self, ids: Sequence[int]) -> None:
        """Pass on what was said of pictures, here, in a panel, or in a cell."""
        self._submit(self._tell(list(ids[:_MOST_TOLD]) if len(ids) <= _MOST_TOLD else []))

    async def _tell(self, ids: list[int]) -> None:
        rows = await asyncio.to_thread(_rows, ids)
        self.send({"type": "changed", "ids": ids, "rows": [answers.describe(row) for row in rows]})

    async def _measure(self) -> None:
        """Look up the sizes that an older version did not store."""
        library = await asyncio.to_thread(_library)
        while await asyncio.to_thread(library.shelf.measure):
            pass


def _library() -> Library:
    return current_session().library()


def _rows(ids: Sequence[int]) -> list[Shelved]:
    return _library().shelf.rows(ids)


def _picture(image_id: int) -> tuple[dict[str, Any], bytes]:
    """Return what the viewer shows of a picture, in a worker thread.

    Raises:
        XaiError: It is gone, or damaged.
    """
    shelf = _library().shelf
    rows = shelf.rows([image_id])
    if not rows:
        raise MissingImageError("This picture is gone: its original has been deleted.")
    (row,) = rows
    ancestors: list[int] = []
    descendants: list[int] = []
    if (sha256 := row.picture.sha256) is not None:
        ancestors = [each.id for each in shelf.lineage(sha256)[:-1] if each.id is not None]
        descendants = shelf.descendants(sha256)
    data, media_type = answers.shown_bytes(row.picture)
    return {**answers.facts_of(row, ancestors, descendants), "media_type": media_type}, data


def _ids(content: Mapping[str, Any], most: int) -> list[int]:
    return [int(value) for value in content.get("ids", ())[:most]]
