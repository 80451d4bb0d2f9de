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
import builtins
import keyword
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anywidget
from traitlets import Bool

from xai_notebook.arguments.options import OPTIONS
from xai_notebook.client.workers import Workers
from xai_notebook.errors import MissingImageError, OptionError, XaiError
from xai_notebook.frontend import is_for_visitors
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import listen
from xai_notebook.library.thumbnails import Thumbnails
from xai_notebook.notebook import messages
from xai_notebook.pictures.magic_source import magic_cell
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.render.cards import alt_text
from xai_notebook.pictures.render.text import bounded, clean, dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
    from concurrent.futures import Future

    from xai_notebook.library.catalog import CatalogEntry, Facets
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

__all__ = [
    "ACTIONS",
    "PictureWidget",
    "batch_of",
    "check_name",
    "choices_of",
    "describe",
    "details_of",
    "explain",
    "facts_of",
    "for_visitors",
    "gone",
    "image_of",
    "rows_of",
    "shown_bytes",
    "thumbnail",
]


def rows_of(ids: Sequence[int]) -> list[CatalogEntry]:
    """Return pictures of the library that may be seen here, in a worker thread.

    Raises:
        LibraryError: The library cannot be opened.
    """
    session = current_session()
    return session.library().catalog.rows(session.history.visible(ids))


def batch_of(ids: Sequence[int]) -> ImageBatch:
    """Return pictures as users hold them.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().history.as_batch([row.picture for row in rows_of(ids)])


def image_of(image_id: int) -> GeneratedImage:
    """Return one picture as users hold it.

    Raises:
        LibraryError: The library cannot be opened.
        MissingImageError: The picture is gone.
    """
    for image in batch_of([image_id]):
        return image
    raise gone()


def gone() -> MissingImageError:
    """Return what says that a picture is not in the library, or not to be seen here."""
    return MissingImageError("This picture is gone: its original has been deleted.")


def star(ids: Sequence[int], content: Mapping[str, Any], _: Any) -> str:
    """Give stars, or take them away."""
    value = content["value"]
    current_session().library().annotations.star(ids, value=value)
    return f"{_count(ids)} {'starred' if value else 'without a star'}."


def tag(ids: Sequence[int], content: Mapping[str, Any], _: Any) -> str:
    """Give a tag, or take it away."""
    marks, word = current_session().library().annotations, content["tag"]
    value = content["value"]
    (marks.tag if value else marks.untag)(ids, word)
    return f"{_count(ids)} {'tagged' if value else 'no longer tagged'} {word.strip()}."


def delete(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Put into the trash."""
    current_session().library().annotations.delete(ids)
    return f"{_count(ids)} in the trash, for 30 days."


def restore(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Take out of the trash."""
    current_session().library().annotations.restore(ids)
    return f"{_count(ids)} brought back."


def export(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Write the originals into the notebook's folder."""
    paths = batch_of(ids).export()
    if not paths:
        raise OptionError("None of them is a picture: nothing was saved.")
    where = paths[0].name if len(paths) == 1 else f"{len(paths)} pictures"
    return f"Saved {where} in {paths[0].parent}."


def sheet(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Write a contact sheet into the notebook's folder."""
    path = batch_of(ids).export_sheet()
    return f"Saved the contact sheet {path.name} in {path.parent}."


def use(ids: Sequence[int], content: Mapping[str, Any], namespace: Any) -> str:
    """Put the pictures into the user's namespace, under a name that is free."""
    name = check_name(content["name"], namespace)
    namespace[name] = batch_of(ids)
    return f"{name} is now an ImageBatch of {_count(ids)}."


def check_name(name: str, namespace: Mapping[str, Any]) -> str:
    """Return a name for a variable.

    Raises:
        OptionError: It is none, or something else has it.
    """
    name = name.strip()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise OptionError(f"{name!r} is no name for a variable. Write letters, digits and _.")
    if name in namespace or hasattr(builtins, name):
        raise OptionError(f"{name} is taken: it would be overwritten. Choose another name.")
    return name


def _count(ids: Sequence[int]) -> str:
    return "1 picture" if len(ids) == 1 else f"{len(ids):,} pictures"


ACTIONS: Mapping[
    str, Callable[[Sequence[int], Mapping[str, Any], MutableMapping[str, Any]], str]
] = {
    "star": star,
    "tag": tag,
    "delete": delete,
    "restore": restore,
    "export": export,
    "sheet": sheet,
    "use": use,
}
"""By the messages that ask for them."""


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


def describe(shelved: CatalogEntry) -> dict[str, Any]:
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


def facts_of(shelved: CatalogEntry, ancestors: list[int], descendants: list[int]) -> dict[str, Any]:
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


_MOST_TOLD: Final = 1_000
"""Changed pictures that are named one by one."""
_MAKERS: Final = 2
"""Threads that make thumbnails: saving pictures needs the others."""
_OF_AUTHORS: Final = frozenset({*ACTIONS, "save", "hand_over"})
"""Messages that write files, change the library or leave a job behind: not for visitors."""


class PictureWidget(anywidget.AnyWidget):
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
            self._failed(messages.request_of(content), explain(error))

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
        known = current_session().library().annotations.of(message["ids"])
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

    def _thumbnail(self, row: CatalogEntry, *, make: bool = True) -> bytes | None:
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
            self._thumbnails = Thumbnails(folder, thumbnail)
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
            catalog = current_session().library().catalog
            visible = current_session().history.visible
            ids = [each.id for each in catalog.lineage(sha256)[:-1] if each.id is not None]
            ancestors, descendants = list(visible(ids)), list(visible(catalog.descendants(sha256)))
        data, media_type = shown_bytes(row.picture)
        return {**facts_of(row, ancestors, descendants), "media_type": media_type}, data

    def _shelved(self, content: Mapping[str, Any]) -> CatalogEntry:
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
        told = [describe(row) for row in rows]
        self.send({"kind": "changed", "ids": ids, "rows": told})
