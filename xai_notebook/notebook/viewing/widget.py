"""A widget that shows pictures of the library: what it is asked of them, and what it tells.

Nothing waits on the kernel's thread: a message is handed to the background loop at once, and what
blocks is done in worker threads. A message of some `kind`, in the shape that `messages.py` knows,
is answered by the method `_on_<kind>`, or is one of ACTIONS; where it has a number, as a `request`,
the reply repeats it. Messages are all that a browser can say: it sets no trait.

    browser -> kernel   hello, thumbnails, picture; and every one of ACTIONS
    kernel -> browser   ready, thumbnails, picture, done, error, changed
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anywidget
from traitlets import Bool

from xai_notebook.client.workers import Workers
from xai_notebook.errors import OptionError
from xai_notebook.frontend import is_for_visitors
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import listen
from xai_notebook.library.thumbnails import Thumbnails
from xai_notebook.notebook.viewing import answers, messages
from xai_notebook.notebook.viewing.actions import ACTIONS, gone, rows_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, MutableMapping, Sequence
    from concurrent.futures import Future

    from xai_notebook.library.catalog import Shelved

__all__ = ["Viewing"]

_MOST_TOLD: Final = 1_000
"""Changed pictures that are named one by one."""
_MAKERS: Final = 2
"""Threads that make thumbnails: saving pictures needs the others."""
_OF_AUTHORS: Final = frozenset({*ACTIONS, "save", "hand_over"})
"""Messages that write files, change the library or leave a job behind: not for visitors."""


class Viewing(anywidget.AnyWidget):
    """What panel and library have in common."""

    visitors = Bool(help="What visitors may not do is not offered.").tag(sync=True)

    _messages: ClassVar[Mapping[str, messages.Shape]]
    _namespace: MutableMapping[str, Any]
    _thumbnails: Thumbnails | None = None
    _makers: Workers | None = None

    def _attend(self) -> None:
        """Begin to listen to the browser, and to what is said of pictures."""
        listen(self._hear)
        self.on_msg(self._receive)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Ignore state from a browser: a page or a saved notebook may hold any."""

    # From the browser

    def _receive(self, _: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Take a message: on the kernel's thread, so hand it over at once."""
        if isinstance(content, dict):
            self._submit(self._answer(content, list(buffers or ())))

    @staticmethod
    def _submit(coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        return current_session().loop.submit(coroutine)

    async def _answer(self, content: Mapping[str, Any], parts: list[Any]) -> None:
        try:
            message = messages.read(self._messages, content, parts)
            if message is not None:
                await self._do(message, [bytes(part) for part in parts])
        except Exception as error:  # noqa: BLE001  # nowhere else would anybody see it
            self._failed(messages.request_of(content), answers.explain(error))

    async def _do(self, message: Mapping[str, Any], parts: list[bytes]) -> None:
        """Do what a message asks for.

        Raises:
            OptionError: It is not for visitors.
        """
        kind = message["kind"]
        handler = getattr(self, f"_on_{kind}", None)
        if is_for_visitors() and (handler is None or kind in _OF_AUTHORS - {"use"}):
            raise OptionError("Visitors of this page make pictures and look at them, no more.")
        if handler is not None:
            await handler(message, *parts)
        else:
            self._told(message, await asyncio.to_thread(self._act, message))

    def _act(self, message: Mapping[str, Any]) -> str:
        """Do one of ACTIONS with the chosen pictures, in a worker thread; return what was done.

        Raises:
            MissingImageError: None of them is in the library.
        """
        known = current_session().library().marks.of(message["ids"])
        ids = [each for each in message["ids"] if each in known]
        if not ids:
            raise gone()
        return ACTIONS[message["kind"]](ids, message, self._namespace)

    def _reply(
        self, content: Mapping[str, Any], buffers: Sequence[bytes] = (), **told: Any
    ) -> None:
        """Answer a message, with its kind unless told otherwise."""
        reply = {"kind": content.get("kind"), "request": content.get("request")}
        self.send(reply | told, list(buffers))

    def _told(self, content: Mapping[str, Any], said: str) -> None:
        """Say what was done."""
        self._reply(content, kind="done", said=said)

    def _failed(self, content: Mapping[str, Any], said: str) -> None:
        """Say why nothing was done."""
        self._reply(content, kind="error", said=said)

    async def _on_hello(self, _: Mapping[str, Any]) -> None:
        self.send({"kind": "ready"})

    async def _on_thumbnails(self, content: Mapping[str, Any]) -> None:
        ids = content["ids"]
        loop = asyncio.get_running_loop()
        rows = await asyncio.to_thread(rows_of, ids)
        if self._makers is None:
            self._makers = Workers(_MAKERS, thread_name_prefix="xai-notebook-thumbnails")
        made = await asyncio.gather(
            *(loop.run_in_executor(self._makers, self._thumbnail, row) for row in rows)
        )
        small = {row.picture.id: data for row, data in zip(rows, made, strict=True) if data}
        here, missing = [i for i in ids if i in small], [i for i in ids if i not in small]
        self._reply(content, [small[i] for i in here], ids=here, missing=missing)

    def _thumbnail(self, row: Shelved, *, make: bool = True) -> bytes | None:
        """Return a thumbnail, in a worker thread; None: there is no picture.

        Args:
            row: The picture.
            make: Make it if it has not been made before.
        """
        picture = row.picture
        if picture.sha256 is None or picture.file is None:
            return None
        if self._thumbnails is None:
            folder = current_session().library().home / "cache" / "thumbnails"
            self._thumbnails = Thumbnails(folder, answers.thumbnail)
        try:
            read = (lambda: picture.data) if make else None
            return self._thumbnails.get(picture.sha256, read)
        except Exception:  # noqa: BLE001  # one bad picture has no thumbnail, the others do
            return None

    async def _on_picture(self, content: Mapping[str, Any]) -> None:
        facts, data = await asyncio.to_thread(self._picture, content)
        self._reply(content, [data], **facts)

    def _picture(self, content: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return what the viewer shows of a picture, in a worker thread.

        Raises:
            XaiError: It is gone, or damaged.
        """
        row = self._shelved(content)
        ancestors: list[int] = []
        descendants: list[int] = []
        if row.picture.id is not None and (sha256 := row.picture.sha256) is not None:
            shelf = current_session().library().shelf
            visible = current_session().visible
            ids = [each.id for each in shelf.lineage(sha256)[:-1] if each.id is not None]
            ancestors, descendants = list(visible(ids)), list(visible(shelf.descendants(sha256)))
        data, media_type = answers.shown_bytes(row.picture)
        return {**answers.facts_of(row, ancestors, descendants), "media_type": media_type}, data

    def _shelved(self, content: Mapping[str, Any]) -> Shelved:
        """Return the picture that a message names.

        Raises:
            XaiError: It is gone.
        """
        rows = rows_of([content["id"]])
        if not rows:
            raise gone()
        return rows[0]

    # To the browser

    def _hear(self, ids: Sequence[int]) -> None:
        """Pass on what was said of pictures, here, in another widget, or in a cell."""
        self._submit(self._tell(list(ids[:_MOST_TOLD]) if len(ids) <= _MOST_TOLD else []))

    async def _tell(self, ids: list[int]) -> None:
        rows = await asyncio.to_thread(rows_of, ids)
        told = [answers.describe(row) for row in rows]
        self.send({"kind": "changed", "ids": ids, "rows": told})
