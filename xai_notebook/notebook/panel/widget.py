"""The widget: what it shares with the browser, and what it does when it is told something.

Shared traits hold text alone, and little of it: widget state may be saved in the notebook.
Pictures travel as messages. Everything the browser says is handed to the background loop, the
only place where traits are set: the kernel stays free, and a picture never races with a click.

    browser -> kernel   form, generate, hand_over, more, again, cancel, dismiss, models,
                        upload, edit, take, use, save, previews; and what every viewer asks
    kernel -> browser   preview, input, take, fill; and what every viewer is told
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from traitlets import Bool, Dict, Int, List, Unicode

from xai_notebook.arguments import options as arguments
from xai_notebook.arguments.templates import fill
from xai_notebook.errors import (
    InputImageError,
    LibraryError,
    MetadataError,
    MissingImageError,
    OptionError,
    XaiError,
)
from xai_notebook.frontend import cell_identity, is_for_visitors, notebook_folder
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import Annotation, CatalogEntry
from xai_notebook.notebook import messages
from xai_notebook.notebook.panel import inputs
from xai_notebook.notebook.panel.form import (
    Form,
    choices,
    describe_models,
    known_models,
    like,
    takes_images,
)
from xai_notebook.notebook.panel.inputs import UploadBuffer
from xai_notebook.notebook.panel.queue import Generation, Queue
from xai_notebook.notebook.panel.restore import PanelRestore
from xai_notebook.notebook.picture_widget import (
    PictureWidget,
    details_of,
    explain,
    for_visitors,
    image_of,
)
from xai_notebook.notebook.progress import JobDisplay
from xai_notebook.notebook.publisher import Publisher, note_bundle
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.render.cards import TITLES, alt_text
from xai_notebook.pictures.render.text import bounded, clean, dollars
from xai_notebook.pictures.results import ImageBatch
from xai_notebook.pictures.xmp import read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.session import Call
    from xai_notebook.pictures.results import GeneratedImage

__all__ = ["Album", "Panel", "PanelTraits", "Pictures", "describe_card", "preview_of"]


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
        found: dict[int, Annotation] = {}
        with suppress(LibraryError):
            found = current_session().library().annotations.of(i for i in ids if i is not None)
        marks = [found.get(i or 0, Annotation()) for i in ids]
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


_STATIC: Final = Path(__file__).parent.parent / "static"


class PanelTraits(PictureWidget):
    """A panel without its work. All of its state is set on the background loop."""

    _esm = (_STATIC / "panel.js").read_text(encoding="utf-8")
    _css = (_STATIC / "panel.css").read_text(encoding="utf-8")

    form = Dict(help="Values of the fields; the browser's word counts.").tag(sync=True)
    choices = Dict(help="What the fields offer.").tag(sync=True)
    models: List[dict[str, Any]] = List(help="Models with prices and abilities.").tag(sync=True)
    asking = Bool(default_value=True, help="The server is asked for its models.").tag(sync=True)
    models_note = Unicode(help="Why the models are not the server's.").tag(sync=True)
    place = Unicode(help="Where requests go, in words.").tag(sync=True)
    jobs: List[dict[str, Any]] = List(help="Generations that wait, run or failed.").tag(sync=True)
    cards: List[dict[str, Any]] = List(help="What has come, oldest first.").tag(sync=True)
    prompts: List[str] = List(help="Prompts as they were typed, oldest first.").tag(sync=True)
    cell = Unicode(help="The equivalent cell.").tag(sync=True)
    cell_note = Unicode(help="What running it does, or why there is none.").tag(sync=True)
    cell_id = Unicode(help="Of the notebook's cell that shows it, where known.").tag(sync=True)
    earlier = Int(help="Older pictures, which are not shown.").tag(sync=True)
    expected: List[float | None] = List(
        help="What 1, 2, … images as the form stands are expected to cost, in US dollars."
    ).tag(sync=True)
    spent = Unicode(help="Cost so far, in words.").tag(sync=True)
    saved = Unicode(help="What the last save of everything did.").tag(sync=True)
    trouble = Unicode(help="What went wrong outside any generation.").tag(sync=True)
    notice = Unicode(help="What the user should know before the first picture.").tag(sync=True)
    said = Dict(help="What a screen reader should say now.").tag(sync=True)
    local = Bool(help="Requests go to the embedded server.").tag(sync=True)

    # What becomes of a message that is no question: see `trouble` and `said`

    def _say(self, text: str) -> None:
        """Have a screen reader say something."""
        raise NotImplementedError

    def _told(self, content: Mapping[str, Any], said: str) -> None:
        if content.get("request") is None:
            self._say(said)
        else:
            super()._told(content, said)

    def _failed(self, content: Mapping[str, Any], said: str) -> None:
        if content.get("request") is None:
            self.trouble = ""  # the same trouble again is news
            self.trouble = said
        else:
            super()._failed(content, said)


TAKEN: Final = "a picture from the library"


class Pictures(PanelTraits):
    """A panel without its generations."""

    _form: Form
    _album: Album
    _tray: inputs.Tray
    _uploads: UploadBuffer

    def _write_cell(self) -> None:
        """Keep the equivalent cell current."""
        raise NotImplementedError

    async def _on_upload(self, content: Mapping[str, Any], part: bytes) -> None:
        """Take a part of a file; what was dropped beside the inputs may bring its request."""
        key, name = content["id"], content["name"]
        reply = {"kind": "input", "id": key, "error": "", "note": ""}
        try:
            data = self._uploads.add(key, part, content["parts"])
            if data is None:
                return
            used = {item["id"] for item in self.form["inputs"]}
            reply["note"] = await asyncio.to_thread(self._tray.upload, key, name, data, used)
        except XaiError as error:
            reply["error"] = explain(error)
        self.send(reply)
        if content["restore"] and not reply["error"]:
            await self._restore(key, name)
        self._write_cell()

    async def _restore(self, key: str, name: str) -> None:
        """Fill the form with the request that an exported file tells of, if it does."""
        file = self._tray.sources[key].file
        try:
            found = None if file is None else await asyncio.to_thread(read_metadata, file)
        except MetadataError:
            return
        if found is not None:
            note = f"The form asks for what made {name}."
            await self._fill(found.request, note, trusted=False, upload=key)

    async def _on_use(self, content: Mapping[str, Any]) -> None:
        """Fill the form with what made a picture; `words`: with its rewritten prompt, as text."""
        image = self._image(content["id"])
        words = image.rewritten_prompt if content["words"] else None
        note = f"The form asks for {'the rewritten words' if words else 'what made this picture'}."
        await self._fill(image.request, note, words=words)

    def _image(self, key: str) -> GeneratedImage:
        """Return the picture of a card.

        Raises:
            MissingImageError: There is no such card.
        """
        image = self._album.images.get(key)
        if image is None:
            raise MissingImageError("This picture is not in the panel. Run the panel's cell again.")
        return image

    async def _fill(
        self,
        request: ImageRequest,
        note: str,
        *,
        words: str | None = None,
        trusted: bool = True,
        **more: Any,
    ) -> None:
        """Send the form what asks for a request again, and a sentence about it."""
        values, lost = await self._like(request, words, trusted=trusted)
        self.send({"kind": "fill", "form": values, "note": f"{note} {lost}".strip(), **more})

    async def _like(
        self, request: ImageRequest, words: str | None = None, *, trusted: bool = True
    ) -> tuple[dict[str, Any], str]:
        """Return the fields that ask for a request again, and a sentence about what is lost."""
        values = like(request, words, literal=is_for_visitors())
        values["inputs"], lost = await asyncio.to_thread(
            self._tray.like, request.inputs, trusted=trusted
        )
        if not any(model["name"] == request.model for model in self.models):
            model = {"name": request.model, "price": None, "edits": True, "quality": True}
            self.models = [*self.models, model | {"unknown": True}]
        return values, lost

    async def _on_edit(self, content: Mapping[str, Any]) -> None:
        """Make a card's image one to edit, under the name of the card."""
        key, name = content["id"], content["name"]
        if (image := self._album.images.get(key)) is not None:
            self._tray.sources[key] = await asyncio.to_thread(inputs.from_image, image, name)
        self._write_cell()

    async def _on_take(self, content: Mapping[str, Any]) -> None:
        """Make a picture of the library the one to edit."""
        image = await asyncio.to_thread(image_of, content["id"])
        await asyncio.to_thread(self.take, image)

    def take(self, image: GeneratedImage) -> None:
        """Make an image of the library the one to edit, from any thread."""
        source = replace(inputs.from_image(image, TAKEN), data=image.data)
        self.send({"kind": "take", **self._tray.put(source)})

    async def _on_previews(self, content: Mapping[str, Any]) -> None:
        for key in content["ids"]:
            await self._send_preview(key)

    async def _send_preview(self, key: str) -> None:
        """Send a preview; a card without one shows its words."""
        image, source = self._album.images.get(key), self._tray.sources.get(key)
        try:
            if image is not None and image.status == "ok":
                data = await asyncio.to_thread(lambda: preview_of(image.data))
            elif source is not None and (whole := await asyncio.to_thread(source.preview)):
                data = await asyncio.to_thread(preview_of, whole)
            else:
                return
        except XaiError:
            return
        self.send({"kind": "preview", "id": key}, [data])

    def _shelved(self, content: Mapping[str, Any]) -> CatalogEntry:
        """Return a picture of the library, or that of a card, which may be in none."""
        if content.get("card") is None:
            return super()._shelved({"id": content["id"] or 0})
        image = self._image(content["card"])
        if image.id is not None:
            with suppress(XaiError):
                return super()._shelved({"id": image.id})
        return CatalogEntry(image, Annotation(), "", None)

    async def _tell(self, ids: list[int]) -> None:
        """Pass on what was said of pictures; cards show it, too."""
        await super()._tell(ids)
        self.cards = await asyncio.to_thread(self._album.marked, self.cards)

    async def _on_save(self, content: Mapping[str, Any]) -> None:
        """Write images into the notebook's folder."""
        metadata = self._form.hidden.get("metadata", self._form.configured.get("metadata", True))
        keys = [key for key in content["ids"] if key in self._album.images]
        done = await asyncio.to_thread(self._album.save, keys, metadata=metadata)
        self.cards = [card | done.changes.get(card["id"], {}) for card in self.cards]
        self.saved = done.note
        self._say(done.said)


MOST_WAITING: Final = 50
"""Generations that can be in the queue."""
MOST_PROMPTS: Final = 50
"""Prompts that the field can bring back, the last."""


class Panel(Pictures):
    """A form, its queue and its gallery. Made by `show_panel`.

    Attributes:
        seen: The one that a browser has shown last.
    """

    seen: ClassVar[weakref.ref[Panel] | None] = None
    _messages: ClassVar[Mapping[str, messages.Shape]] = messages.PANEL

    def __init__(self, prompt: str, options: Mapping[str, Any], shell: Any) -> None:
        """Fill the fields.

        Args:
            prompt: As the user wrote it.
            options: By the names of the option table.
            shell: The running IPython.

        Raises:
            OptionError: An option is wrong, or none that a form can have.
        """
        session = current_session()
        configured = session.configured()
        given = {arguments.ALIASES.get(name, name): value for name, value in options.items()}
        visitors = is_for_visitors()
        if visitors:  # what the author typed is filled here; what a visitor types is sent as it is
            prompt = fill(prompt, shell.user_ns)
        self._form, values, images = Form.from_options(prompt, given, configured, visitors=visitors)
        self._namespace = shell.user_ns
        self._tray = inputs.Tray(shell.user_ns)
        self._uploads = UploadBuffer()
        self._album = Album()
        self._numbers = count(1)
        self._cost = self._unpriced = 0.0
        self._queue = Queue(self._show_jobs, self._say, self._take)
        self._publisher = Publisher(shell)
        self._shell = shell
        self._shown_at: int | None = None
        sources = inputs.from_given(images, self._namespace, named=not visitors)
        lost = self._recall(values, sources)
        super().__init__(
            visitors=visitors,
            form=values,
            choices=choices(configured, fixed=self._form.fixed),
            models=known_models(values["model"]),
            cards=[card for batch in self._memory.batches for card in self._album.add(batch)],
            trouble=lost,
            notice=self._memory.notice,
            earlier=self._memory.left_out,
            prompts=self._memory.prompts,
            cell_id=str(cell_identity(shell, object()) or ""),
        )
        self._write_cell()
        self._attend()

    def _recall(self, values: dict[str, Any], sources: list[inputs.TrayImage]) -> str:
        """Change first values to what they were when the cell ran last, if it asks for the same.

        Returns:
            What is not there any more, in a sentence; empty: nothing is missing.
        """
        asked, lost = values | {"inputs": [source.label for source in sources]}, ""
        self._memory = PanelRestore(current_session(), self._shell, asked)
        self._keeping = asyncio.Lock()
        if form := self._memory.form:
            values |= {name: form[name] for name in values.keys() & form}
            values["inputs"], lost = self._tray.again(form.get("inputs", ()))
        else:
            values["inputs"] = [self._tray.put(source) for source in sources]
        return lost

    # What users hold

    @property
    def images(self) -> ImageBatch:
        """What the panel has made, also when its cell ran before, oldest first."""
        return ImageBatch(self._album.images.values())

    def show(self) -> None:
        """Display the panel under the running cell with what it made before; ask for the models."""
        self._publisher.publish(*self._repr_mimebundle_())
        self._publisher.publish(note_bundle())
        for batch in self._memory.batches:
            self._publisher.publish_batch(batch)
        for job in self._memory.handed_over():
            JobDisplay(self._publisher, job)
        self._shown_at = self._shell.execution_count
        self._submit(self._ask_models())

    def _ipython_display_(self) -> None:
        """Show nothing when the panel is the value of the cell that has just shown it."""
        shown_at, self._shown_at = self._shown_at, None
        if shown_at != self._shell.execution_count:
            raise NotImplementedError  # IPython goes on to _repr_mimebundle_

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget, with words for where it cannot be shown."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": "xAI image panel"}, metadata

    # From the browser

    async def _on_hello(self, content: Mapping[str, Any]) -> None:
        Panel.seen = weakref.ref(self)
        await super()._on_hello(content)

    async def _on_models(self, _: Mapping[str, Any]) -> None:
        await self._ask_models()

    async def _on_cancel(self, content: Mapping[str, Any]) -> None:
        self._queue.cancel(content["id"])

    async def _on_dismiss(self, content: Mapping[str, Any]) -> None:
        self._queue.dismiss(content["id"])

    async def _on_form(self, content: Mapping[str, Any]) -> None:
        self.form = content["form"]
        self._write_cell()
        await self._remember()
        await self._estimate()

    async def _on_generate(self, content: Mapping[str, Any]) -> None:
        self._take_form(content)
        await self._generate(self.form)

    async def _on_more(self, content: Mapping[str, Any]) -> None:
        """Ask once more for what made a picture; the form stays as it is."""
        values, lost = await self._like(self._image(content["id"]).request)
        if lost:
            raise InputImageError(lost)
        await self._generate({**self.form, **values})

    async def _on_again(self, content: Mapping[str, Any]) -> None:
        """Try a generation again that has failed."""
        job = self._queue.dismiss(content["id"])
        if job is not None:
            await self._generate(job.values)

    def _take_form(self, content: Mapping[str, Any]) -> None:
        """Note what the form is, and that its prompt was used as it was typed."""
        self.form = content["form"]
        self.trouble = self.notice = ""
        prompt = self.form["prompt"]
        self.prompts = [*(one for one in self.prompts if one != prompt), prompt][-MOST_PROMPTS:]
        self._write_cell()

    async def _generate(self, values: Mapping[str, Any]) -> None:
        """Check values of the form, and put a generation into the queue."""
        call = await asyncio.to_thread(self._prepare, values)
        if sum(not job.ended for job in self._queue.jobs) >= MOST_WAITING:
            raise OptionError(
                f"{MOST_WAITING} generations wait already. Cancel some, or wait until they have "
                "ended."
            )
        self._queue.add(
            Generation(
                key=f"job{next(self._numbers)}",
                prompt=str(values["prompt"]),
                values=dict(values),
                call=call,
                session=current_session(),
                cell=self._cell(values),
                n=call.options.n,
                shape=call.options.shape,
            )
        )

    async def _on_hand_over(self, content: Mapping[str, Any]) -> None:
        """Check the form, and hand it over as a job, whose card stands under the panel's cell."""
        self._take_form(content)
        call = await asyncio.to_thread(self._prepare, dict(self.form), batch=True)
        session = current_session()
        with session.cells.ask(self._queue) as asking:
            job = await session.prepare_job(call, asking)
            JobDisplay(self._publisher, job)
            self._memory.jobs.append(job.name)
            await self._remember()
            await job.hand_over()
            await asyncio.to_thread(job.concluded)
        self._say(f"Handed over as {job.name}. It goes on without this kernel: see %xai_jobs.")

    def _prepare(self, values: Mapping[str, Any], **more: Any) -> Call:
        """Return the call that the fields stand for, in a worker thread.

        Args:
            values: Of the fields.
            **more: Options that have no field.

        Raises:
            OptionError: Something is wrong; the message names it.
        """
        sources = self._tray.chosen(values.get("inputs", ()))
        if sources and not takes_images(self.models, values.get("model")):
            raise OptionError(
                f"{values.get('model')} takes no input images. Remove them, or choose another "
                "model."
            )
        images = {"image": [source.value for source in sources]}
        # Whatever is configured: who presses Generate again wants another picture.
        given = self._form.given(values) | images | {"reuse": False} | more
        prompt = str(values.get("prompt") or "")
        typed = not is_for_visitors()
        call = current_session().prepare(prompt, given, self._namespace, typed=typed)
        return inputs.named(call, [source.label for source in sources])

    # To the browser

    async def _ask_models(self) -> None:
        """Fill the dropdown from the server; keep the known names when it does not answer."""
        session = current_session()
        selected = str(self.form["model"])
        self.asking, self.models_note = True, ""
        try:
            probe = await asyncio.to_thread(session.prepare, "?", dict(self._form.hidden))
            self.local = probe.route.painted
            self.place = probe.route.label if self.local or not self.visitors else ""
            listed = await session.list_models(local=probe.options.local)
        except XaiError as error:
            self.models_note = f"These are the names known here. {explain(error)}"
        else:
            self.models = describe_models(listed, selected, local=self.local)
            await self._estimate()
            await self._count_cost()
        finally:
            self.asking = False

    async def _estimate(self) -> None:
        """Show what the form would cost as it stands; nothing, where that is not known."""
        form = self.form
        try:
            options = arguments.resolve(self._form.given(form), self._form.configured)
            inputs = len(form.get("inputs", ()))
            self.expected = await current_session().expected_usd(options, inputs)
        except XaiError:
            self.expected = []

    def _show_jobs(self) -> None:
        self.jobs = [job.to_dict() for job in self._queue.jobs]

    def _say(self, text: str) -> None:
        self.said = {"number": next(self._numbers), "text": text}

    async def _take(self, job: Generation) -> None:
        """Show what a job has brought: cards, then real outputs under the cell."""
        batch = job.batch
        if batch is None:
            return
        fresh = await asyncio.to_thread(self._album.add, batch)
        if all(image.status in {"ok", "moderated"} for image in batch):
            self._memory.done.append(job.cell)
        await self._remember(batch.images)
        for card in fresh:
            await self._send_preview(card["id"])
        await self._count_cost(job.call)
        await self._estimate()
        self._write_cell()
        self.cards, self.saved = [*self.cards, *fresh], ""
        if is_for_visitors():
            batch = batch.shown(notes=[for_visitors(note) for note in batch.notes])
        await asyncio.to_thread(self._publisher.publish_batch, batch)

    async def _remember(self, images: Sequence[GeneratedImage] = ()) -> None:
        """Have the library know what the panel is now, for the next run of its cell."""
        async with self._keeping:
            self._memory.prompts = self.prompts
            self._memory.form = {
                **self.form, "inputs": self._tray.labels(self.form.get("inputs", ()))
            }  # fmt: skip
            write = self._memory.keep if not images else partial(self._memory.add, images)
            await asyncio.to_thread(write)

    async def _count_cost(self, call: Call | None = None) -> None:
        """Show what the panel has cost so far, or what is left of a budget."""
        if call is not None:
            self._cost += call.progress.cost_usd
            self._unpriced += call.progress.unpriced
        parts = [f"{dollars(self._cost)} so far"] if self._cost else []
        budget = None if self.local else await asyncio.to_thread(current_session().budget)
        if budget is not None:  # everything counts that this kernel, or all of them, have spent
            parts = [str(budget)]
        if self._unpriced and not self.local:
            parts.append(f"{self._unpriced:.0f} without a reported cost")
        self.spent = ", ".join(parts)

    def _write_cell(self) -> None:
        """Keep the equivalent cell current; visitors of an app have no notebook for it."""
        if self.visitors:
            return
        try:
            plain = self._cell(self.form)
            done = plain in self._memory.done
            self.cell = self._cell(self.form, replay=True) if done else plain
            self.cell_note = "Shows the same pictures again, at no cost." if done else ""
        except XaiError as error:
            self.cell, self.cell_note = "", explain(error)

    def _cell(self, values: Mapping[str, Any], *, replay: bool = False) -> str:
        labels = self._tray.labels(values.get("inputs", ()))
        return self._form.cell(values, labels, replay=replay)
