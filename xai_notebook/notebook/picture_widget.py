"""Base class of panel and library: message dispatch, actions on pictures, thumbnails, viewer.

A message never blocks the kernel's thread: it is handled on the background loop, and blocking work
runs in worker threads. `messages.py` declares the schema of every kind of message. The method
`_on_<kind>`, or else an entry of ACTIONS, handles a kind. A reply repeats the `request` number of
its message. Browsers cannot set traits.

    browser -> kernel   hello, thumbnails, picture; and the kinds of ACTIONS
    kernel -> browser   ready, thumbnails, picture, done, error, changed
"""

from __future__ import annotations

import asyncio
import builtins
import keyword
import re
import sys
import threading
import weakref
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anywidget
from traitlets import Bool, Int

from xai_notebook.arguments.options import OPTIONS
from xai_notebook.client.bounds import clean
from xai_notebook.client.workers import FallbackThreadPool
from xai_notebook.errors import MissingImageError, OptionError, XaiError
from xai_notebook.frontend import has_magics, is_for_visitors, page_context, short_path
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import listen
from xai_notebook.library.thumbnails import Thumbnails
from xai_notebook.notebook import messages
from xai_notebook.notebook.publisher import Publisher
from xai_notebook.pictures.magic_source import magic_cell, python_call
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.render.cards import alt_text
from xai_notebook.pictures.render.text import bounded, counted, dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
    from concurrent.futures import Future

    from xai_notebook.library.catalog import CatalogEntry
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

STATIC: Final = Path(__file__).parent / "static"
"""The bundles built from `browser/`."""


# Pictures by their ids


def entries_of(ids: Sequence[int]) -> list[CatalogEntry]:
    """Return the visible catalog entries; blocks."""
    session = current_session()
    return session.library().catalog.rows(session.history.visible(ids))


def batch_of(ids: Sequence[int]) -> ImageBatch:
    """Return pictures as an `ImageBatch`; blocks."""
    return current_session().history.as_batch([entry.picture for entry in entries_of(ids)])


def image_of(image_id: int) -> GeneratedImage:
    """Return one picture; blocks. A deleted or invisible picture raises a MissingImageError."""
    for image in batch_of([image_id]):
        return image
    raise _missing_error()


def _missing_error() -> MissingImageError:
    return MissingImageError("This picture is gone: its original has been deleted.")


# Actions on selected pictures. Each action returns a sentence for the user.


def star(ids: Sequence[int], message: Mapping[str, Any], _: Any) -> str:
    """Star pictures, or remove the star."""
    value = message["value"]
    current_session().library().annotations.star(ids, value=value)
    return f"{_pictures(ids)} {'starred' if value else 'without a star'}."


def tag(ids: Sequence[int], message: Mapping[str, Any], _: Any) -> str:
    """Tag pictures, or remove the tag."""
    annotations, word = current_session().library().annotations, message["tag"]
    value = message["value"]
    (annotations.tag if value else annotations.untag)(ids, word)
    return f"{_pictures(ids)} {'tagged' if value else 'no longer tagged'} {word.strip()}."


def delete(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Move pictures to the trash."""
    current_session().library().annotations.delete(ids)
    return f"Moved {_pictures(ids)} to the trash, which keeps pictures for 30 days."


def restore(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Restore pictures from the trash."""
    current_session().library().annotations.restore(ids)
    return f"{_pictures(ids)} brought back."


def export(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Write the originals into the notebook's folder."""
    paths = batch_of(ids).export()
    if not paths:
        raise OptionError("Nothing was saved: none of the entries has a picture.")
    files = paths[0].name if len(paths) == 1 else _pictures(paths)
    return f"Saved {files} in {short_path(paths[0].parent)}."


def sheet(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Write a contact sheet into the notebook's folder."""
    path = batch_of(ids).export_sheet()
    return f"Saved the contact sheet {path.name} in {short_path(path.parent)}."


def use(ids: Sequence[int], message: Mapping[str, Any], namespace: Any) -> str:
    """Assign the pictures to a new variable of the user."""
    name = check_name(message["name"], namespace)
    namespace[name] = batch_of(ids)
    return f"{name} is now an ImageBatch of {_pictures(ids)}."


def check_name(name: str, namespace: Mapping[str, Any]) -> str:
    """Return a name for a new variable; refuse a name that is invalid or in use."""
    name = name.strip()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise OptionError(f"{name!r} cannot name a variable. Write letters, digits and _.")
    if name in namespace or hasattr(builtins, name):
        raise OptionError(f"The name {name} is already in use. Choose another name.")
    return name


def _pictures(ids: Sequence[Any]) -> str:
    return counted(len(ids), "picture")


ACTIONS: Final[
    Mapping[str, Callable[[Sequence[int], Mapping[str, Any], MutableMapping[str, Any]], str]]
] = {action.__name__: action for action in (star, tag, delete, restore, export, sheet, use)}
"""Actions by kind of message. Arguments: picture ids, message, the user's namespace."""


# How pictures are described to the browser

_PROMPT_LENGTH: Final = 200
"""Maximum characters of a prompt in the grid."""
_BROWSER_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
"""Media types that every browser shows."""
_MAX_ORIGINAL: Final = 16 * 1024 * 1024
"""Maximum bytes of an original in the viewer; for larger originals it shows a preview."""


def thumbnail(data: bytes) -> bytes:
    """Return a small JPEG of an original."""
    return preview(data, side=256, limit=20_000).data


def describe(entry: CatalogEntry) -> dict[str, Any]:
    """Return a row of the grid."""
    picture, mark = entry.picture, entry.annotation
    prompt = clean(picture.prompt)
    return {
        "id": picture.id,
        "alt": alt_text(picture),
        "prompt": prompt if len(prompt) <= _PROMPT_LENGTH else prompt[: _PROMPT_LENGTH - 1] + "…",
        "size": list(picture.size or ()),
        "status": picture.status,
        "starred": mark.starred,
        "tags": list(mark.tags),
        "deleted": mark.deleted,
        "facts": details_of(picture),
    }


def details_of(picture: Picture) -> list[str]:
    """Return the known facts: model, rewriting model, size, cost and input images."""
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


def facts_of(
    entry: CatalogEntry, ancestors: list[int], descendants: list[int], code: str = ""
) -> dict[str, Any]:
    """Return all facts about a picture for the viewer, with the ids of its relatives.

    `code` is the cell or the call that makes the picture.
    """
    picture = entry.picture
    rewritten = picture.rewritten_prompt
    details = details_of(picture)
    if entry.notebook:
        details.append(clean(bounded(Path(entry.notebook).name)))
    return {
        **describe(entry),
        "prompt": clean(picture.prompt),
        "rewritten": clean(rewritten) if rewritten else "",
        "facts": details,
        "created": picture.created.timestamp(),
        "inputs": [clean(image.label) for image in picture.request.inputs],
        "cell": code,
        "error": clean(bounded(picture.error or "")),
        "lineage": {"ancestors": ancestors, "descendants": descendants},
    }


# How errors are described to the browser

_LABELS: Final = {
    name: row.label for row in OPTIONS if row.label for name in ("/".join(row.flags), *row.flags)
}
"""Labels of the form's fields, by the flags that occur in error messages."""
_FLAG: Final = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(map(re.escape, _LABELS), key=len, reverse=True))})(?![\w=-])"
)
_PATH: Final = re.compile(
    r"""(?P<quote>['"])(?:[A-Za-z]:)?[\\/].*?(?P=quote)"""
    r"""|(?<![\w:/.<])(?:[A-Za-z]:[\\/]|[\\/](?=[\w.~-]))[^\s'",;)]*""",
    re.DOTALL,
)
"""Matches an absolute path in a sentence."""


def without_paths(sentence: str) -> str:
    """Return a sentence; for visitors of an app, without paths of the server."""
    return _PATH.sub("a file of this app", sentence) if is_for_visitors() else sentence


def explain(error: BaseException) -> str:
    """Return the message of an error, with the form's labels instead of flags."""
    if isinstance(error, XaiError):
        return without_paths(clean(_FLAG.sub(lambda match: _LABELS[match[0]], str(error))))
    if isinstance(error, RuntimeError) and "interpreter shutdown" in str(error):
        return "The kernel has stopped. Run this cell again: your pictures are in the library."
    if is_for_visitors():
        return "Something went wrong. Try again later."
    return clean(
        f"{type(error).__name__}: {error}. Please report this to the makers of xai-notebook."
    )


_MAX_CHANGED: Final = 1_000
"""Maximum changed pictures in a message; if there are more, the browser reloads its view."""
_THUMBNAIL_THREADS: Final = 2
"""Worker threads for thumbnails; few, because saving pictures needs the other cores."""
_AUTHORS_ONLY: Final = frozenset({*ACTIONS, "save", "submit"})
"""Messages that write files, set variables, change the library or submit a job."""


_LOCK: Final = threading.Lock()
_OUTSIDE_JUPYTER: Final[weakref.WeakSet[PictureWidget]] = weakref.WeakSet()
"""The widgets of marimo, Solara and scripts that are not closed."""


def this_page() -> object:
    """Return an object that identifies the page which runs this code, outside Jupyter.

    Solara and `marimo run` serve several pages from one process; marimo uses a thread for each.
    """
    context = page_context()
    return threading.current_thread() if context is None else context.id


class PictureWidget(anywidget.AnyWidget):
    """Base class of panel and library. Subclasses add `_on_<kind>` methods for messages."""

    visitors = Bool(help="Hide the actions that visitors may not use.").tag(sync=True)
    cells = Bool(help="IPython runs the cells: there are outputs and magics.").tag(sync=True)
    revision = Int(help="Number of changes that other cells of marimo can see.").tag(sync=True)

    _messages: ClassVar[Mapping[str, messages.Shape]]
    _title: ClassVar[str]
    """Text that is shown if the frontend cannot show widgets."""
    _name: ClassVar[str]
    _instead: ClassVar[tuple[str, str]]
    """The magic and the function to use in scripts and terminals, which cannot show widgets."""

    def __init__(self, shell: Any, namespace: MutableMapping[str, Any], **traits: Any) -> None:
        """Listen to messages of the browser, and to changes of stars, tags and the trash.

        Args:
            shell: IPython of the kernel that runs the cell; None in marimo, Solara and scripts.
            namespace: The user's variables.
            **traits: Values of the subclass's traits.
        """
        self._shell = shell
        self._namespace = namespace
        self._publisher = Publisher(shell)
        self._shown_in: int | None = None
        self._context = page_context()
        self.page = None if shell is not None else this_page()
        super().__init__(
            visitors=is_for_visitors(),
            cells=shell is not None,
            **traits,
        )
        listen(self._annotations_changed)
        self.on_msg(self._receive)
        if shell is None:
            self._close_ended()

    def _close_ended(self) -> None:
        """Close the widgets whose page has ended; ipywidgets keeps each widget until it is closed.

        Running requests are not cancelled.
        """
        with _LOCK:
            ended = [other for other in _OUTSIDE_JUPYTER if not other.connected]
            _OUTSIDE_JUPYTER.difference_update(ended)
            _OUTSIDE_JUPYTER.add(self)
        for other in ended:
            other.close()

    @property
    def connected(self) -> bool:
        """Whether a page can show the widget: not in scripts and terminals, or after its end."""
        channel: Any = self.comm
        if channel is None or self._shell is not None:
            return channel is not None
        if getattr(channel, "_closed", False):  # by marimo, when the cell ran again
            return False
        if type(channel).__module__.startswith("ipykernel."):  # sends only where a kernel runs
            kernels = sys.modules.get("ipykernel.kernelbase")
            return kernels is not None and bool(kernels.Kernel.initialized())
        return type(channel).__name__ != "DummyComm"  # of `comm`, and of Solara while it starts

    def _send(self, msg: Any, buffers: Any = None) -> None:
        """Send to the page in which the widget was made, from any thread."""
        with self._context or nullcontext():
            super()._send(msg, buffers)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Ignore state from a browser, because any page or saved notebook can send it."""

    # Display

    def show(self) -> None:
        """Display the widget under the running cell; elsewhere, the user's code places it."""
        if self._shell is not None:
            self._publisher.publish(*self._repr_mimebundle_())
            self._shown_in = self._shell.execution_count
        if self.connected:
            self._start()
        else:
            magic, function = self._instead
            use = f"{magic}, or {function}" if has_magics() else function
            sys.stdout.write(
                f"{self._name} needs a notebook or an app (JupyterLab, Notebook 7, VS Code, Colab, "
                f"marimo, Voila or Solara). Here, use {use}.\n"
            )

    def _start(self) -> None:
        """Start background work after the widget is displayed."""

    def _ipython_display_(self) -> None:
        """Display nothing if the widget is the value of the cell that has just displayed it."""
        shown_in, self._shown_in = self._shown_in, None
        if shown_in is None or shown_in != self._shell.execution_count:
            raise NotImplementedError  # IPython's protocol: fall back to _repr_mimebundle_

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget, with a title for frontends that cannot show widgets."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": self._title}, metadata

    # Dispatch

    def _receive(self, _: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Pass a message to the background loop; runs on the kernel's thread."""
        if isinstance(content, dict):
            self._submit(self._process(content, list(buffers or ())))

    @staticmethod
    def _submit(coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return current_session().loop.submit(coroutine)

    async def _process(self, content: Mapping[str, Any], parts: list[Any]) -> None:
        try:
            message = messages.read(self._messages, content, parts)
            if message is not None:
                await self._dispatch(message, [bytes(part) for part in parts])
        except Exception as error:  # noqa: BLE001  # the browser is the only place to report it
            self._send_error(messages.request_of(content), explain(error))

    async def _dispatch(self, message: Mapping[str, Any], parts: list[bytes]) -> None:
        """Call the handler of a message, if visitors of an app may send it."""
        kind = message["kind"]
        handler = getattr(self, f"_on_{kind}", None)
        if kind == "use" and handler is None and not self.cells:
            raise OptionError(
                "Only cells of a Jupyter notebook can get a variable from here. Use the widget's "
                "attribute `selected`."
            )
        # The panel has its own handler of "use", which only fills the form.
        if is_for_visitors() and (handler is None or kind in _AUTHORS_ONLY - {"use"}):
            raise OptionError("Visitors of this page can only make and view pictures.")
        if handler is not None:
            await handler(message, *parts)
        else:
            self._send_done(message, await asyncio.to_thread(self._act, message))

    def _act(self, message: Mapping[str, Any]) -> str:
        """Apply one of ACTIONS to the selected pictures that still exist; blocks."""
        existing = current_session().library().annotations.of(message["ids"])
        ids = [each for each in message["ids"] if each in existing]
        if not ids:
            raise _missing_error()
        return ACTIONS[message["kind"]](ids, message, self._namespace)

    # Replies

    def _reply(
        self, message: Mapping[str, Any], buffers: Sequence[bytes] = (), **values: Any
    ) -> None:
        """Reply with the kind and request number of a message; `values` can set another kind."""
        reply = {"kind": message.get("kind"), "request": message.get("request")}
        self.send(reply | values, list(buffers))

    def _send_done(self, message: Mapping[str, Any], sentence: str) -> None:
        self._reply(message, kind="done", said=sentence)

    def _send_error(self, message: Mapping[str, Any], sentence: str) -> None:
        self._reply(message, kind="error", said=sentence)

    # Messages of both panel and library

    async def _on_hello(self, _: Mapping[str, Any]) -> None:
        self.send({"kind": "ready"})

    async def _on_thumbnails(self, message: Mapping[str, Any]) -> None:
        ids = message["ids"]
        loop = asyncio.get_running_loop()
        entries = await asyncio.to_thread(entries_of, ids)
        thumbnails = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._thumbnail, entry) for entry in entries)
        )
        small = {
            entry.picture.id: data for entry, data in zip(entries, thumbnails, strict=True) if data
        }
        ready, missing = [i for i in ids if i in small], [i for i in ids if i not in small]
        self._reply(message, [small[i] for i in ready], ids=ready, missing=missing)

    @cached_property
    def _threads(self) -> FallbackThreadPool:
        return FallbackThreadPool(_THUMBNAIL_THREADS, thread_name_prefix="xai-notebook-thumbnails")

    @cached_property
    def _thumbnails(self) -> Thumbnails:
        return Thumbnails(current_session().library().home / "cache" / "thumbnails", thumbnail)

    def _thumbnail(self, entry: CatalogEntry, *, make: bool = True) -> bytes | None:
        """Return a picture's cached thumbnail; else make it, if `make` is true. Blocks."""
        picture = entry.picture
        if picture.sha256 is None or picture.file is None:
            return None
        try:
            return self._thumbnails.get(picture.sha256, (lambda: picture.data) if make else None)
        except Exception:  # noqa: BLE001  # other thumbnails are still sent
            return None

    async def _on_picture(self, message: Mapping[str, Any]) -> None:
        facts, data = await asyncio.to_thread(self._picture, message)
        self._reply(message, [data], **facts)

    def _picture(self, message: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the facts and the image for the viewer; blocks."""
        entry = self._entry(message)
        ancestors: list[int] = []
        descendants: list[int] = []
        if entry.picture.id is not None and (sha256 := entry.picture.sha256) is not None:
            catalog = current_session().library().catalog
            visible = current_session().history.visible
            ids = [each.id for each in catalog.lineage(sha256)[:-1] if each.id is not None]
            ancestors, descendants = list(visible(ids)), list(visible(catalog.edits_of(sha256)))
        data, media_type = entry.picture.data, entry.picture.media_type
        if media_type not in _BROWSER_TYPES or len(data) > _MAX_ORIGINAL:
            data, media_type = preview(data, side=2048, limit=2_000_000).data, "image/jpeg"
        request = entry.picture.request
        code = magic_cell(request) if self._shell is not None else python_call(request)
        facts = facts_of(entry, ancestors, descendants, "" if is_for_visitors() else code)
        return {**facts, "media_type": media_type}, data

    def _entry(self, message: Mapping[str, Any]) -> CatalogEntry:
        """Return the picture that a message refers to; blocks."""
        for entry in entries_of([message["id"]]):
            return entry
        raise _missing_error()

    # Changes of stars, tags and the trash, in any widget or cell

    def _annotations_changed(self, ids: Sequence[int]) -> None:
        self._submit(self._send_changed(list(ids) if len(ids) <= _MAX_CHANGED else []))

    async def _send_changed(self, ids: list[int]) -> None:
        entries = await asyncio.to_thread(entries_of, ids)
        self.send({"kind": "changed", "ids": ids, "rows": [describe(each) for each in entries]})
