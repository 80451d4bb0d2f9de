"""The panel's widget: cards, synced traits and messages.

Synced traits only contain short text, because widget state may be saved in the notebook. Pictures
are sent as messages. Messages are handled on the background loop, and traits only change there, so
the kernel's thread stays free and handlers do not race with each other.

    browser -> kernel   form, generate, submit, more, again, cancel, dismiss, models,
                        upload, edit, take, use, save, previews; and the messages of PictureWidget
    kernel -> browser   preview, input, take, fill; and the messages of PictureWidget
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final

from traitlets import Bool, Dict, Int, List, Unicode

from xai_notebook.arguments import options as arguments
from xai_notebook.arguments.templates import fill
from xai_notebook.client.bounds import clean
from xai_notebook.errors import (
    InputImageError,
    LibraryError,
    MetadataError,
    MissingImageError,
    OptionError,
    XaiError,
)
from xai_notebook.frontend import cell_identity, is_for_visitors, short_path
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import Annotation, CatalogEntry
from xai_notebook.notebook import messages
from xai_notebook.notebook.panel.form import (
    Form,
    choices,
    describe_models,
    known_models,
    takes_images,
    unlisted_model,
    values_of,
)
from xai_notebook.notebook.panel.inputs import Tray, TrayImage, from_image, from_values, relabel
from xai_notebook.notebook.panel.queue import Generation, Queue
from xai_notebook.notebook.panel.restore import PanelRestore
from xai_notebook.notebook.picture_widget import (
    STATIC,
    PictureWidget,
    details_of,
    explain,
    image_of,
    this_page,
    without_paths,
)
from xai_notebook.notebook.progress import JobDisplay
from xai_notebook.pictures.pixels import preview
from xai_notebook.pictures.render.cards import TITLES, alt_text
from xai_notebook.pictures.render.text import bounded, dollars
from xai_notebook.pictures.results import ImageBatch
from xai_notebook.pictures.xmp import read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.call import Call
    from xai_notebook.library.panels import PanelLocation
    from xai_notebook.pictures.results import GeneratedImage


class Album:
    """The images of a panel and their cards.

    Attributes:
        images: Images by the keys of their cards, oldest first.
    """

    def __init__(self) -> None:
        self.images: dict[str, GeneratedImage] = {}
        self._groups = count(1)

    def add(self, batch: ImageBatch) -> list[dict[str, Any]]:
        """Add the images of one generation and return their cards; blocks for milliseconds."""
        group, cards = next(self._groups), []
        for number, image in enumerate(batch, 1):
            key = f"image{len(self.images) + 1}"
            self.images[key] = image
            cards.append(
                describe_card(image, key=key, group=group, number=number, total=len(batch))
            )
        return self.annotated(cards)

    def annotated(self, cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return cards with the current stars and tags; blocks for milliseconds."""
        ids = [self.images[card["id"]].id for card in cards]
        stored: dict[int, Annotation] = {}
        with suppress(LibraryError):
            stored = current_session().library().annotations.of(i for i in ids if i is not None)
        annotations = [stored.get(i or 0, Annotation()) for i in ids]
        return [
            card | {"starred": annotation.starred, "tags": list(annotation.tags)}
            for card, annotation in zip(cards, annotations, strict=True)
        ]

    def save(
        self, keys: Iterable[str], *, metadata: bool
    ) -> tuple[dict[str, dict[str, str]], str, str]:
        """Write images into the notebook's folder.

        Returns:
            Changes of the cards by key, including errors; a note on several images; a sentence for
            screen readers.
        """
        paths, changes = [], {}
        for key in keys:
            try:
                path = self.images[key].export(metadata=metadata)
            except XaiError as error:
                changes[key] = {"trouble": clean(str(error))}
            else:
                paths.append(path)
                changes[key] = {"trouble": "", "saved": short_path(path)}
        folders = {path.parent for path in paths}
        folder = short_path(folders.pop()) if len(folders) == 1 else "several folders"
        note = f"{len(paths)} saved in {folder}" if paths and len(changes) > 1 else ""
        files = paths[0].name if len(paths) == 1 else f"{len(paths)} images"
        sentence = f"Saved {files} in {folder}." if paths else "Nothing was saved."
        return changes, note, sentence


def describe_card(
    image: GeneratedImage, *, key: str, group: int, number: int, total: int
) -> dict[str, Any]:
    """Return a card for the browser, which shows the text literally.

    The image is number `number` of `total` in the generation with the number `group`.
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
        "alt": alt_text(image.picture, number, total),
        "label": "Rewritten prompt" if rewritten else "Prompt",
        "asked": clean(image.prompt),  # the same for all pictures of a group
        "prompt": clean(rewritten or image.prompt),
        "written": bool(rewritten),
        "facts": details_of(image.picture),
        "replayed": image.replayed,
        "size": list(image.size or ()),
        "saved": "" if image.exported is None else short_path(image.exported),
        "trouble": "",
    }


def preview_of(data: bytes) -> bytes:
    """Return a JPEG for a card."""
    return preview(data, side=768, limit=110_000).data


_MAX_PROMPTS: Final = 50
"""Maximum earlier prompts that the field offers; the newest are kept."""


class Panel(PictureWidget):
    """A form, a queue of generations and their pictures. Created by `show_panel`.

    Attributes:
        latest: The panel that a browser has displayed last.
    """

    latest: ClassVar[weakref.ref[Panel] | None] = None
    _placed: ClassVar[weakref.WeakValueDictionary[Any, Panel]] = weakref.WeakValueDictionary()
    """The newest panel of each place outside Jupyter."""
    _esm = (STATIC / "panel.js").read_text(encoding="utf-8")
    _css = (STATIC / "panel.css").read_text(encoding="utf-8")
    _title = "xAI image panel"
    _name = "The panel"
    _instead = ("%xai_image PROMPT", "xai_notebook.generate(PROMPT)")
    _messages: ClassVar[Mapping[str, messages.Shape]] = messages.PANEL

    # The form
    form = Dict(help="Values of the fields, as the browser sent them.").tag(sync=True)
    choices = Dict(help="What the fields offer.").tag(sync=True)
    models: List[dict[str, Any]] = List(help="Models with prices and abilities.").tag(sync=True)
    models_note = Unicode(help="Why the list is not from the server.").tag(sync=True)
    asking = Bool(default_value=True, help="The list of models is being requested.").tag(sync=True)
    prompts: List[str] = List(help="Prompts as they were typed, oldest first.").tag(sync=True)
    cell = Unicode(help="The equivalent cell.").tag(sync=True)
    cell_note = Unicode(help="What the cell does, or why it is empty.").tag(sync=True)
    cell_id = Unicode(help="Id of the notebook's cell with the panel, if known.").tag(sync=True)
    # Servers and costs
    destination = Unicode(help="Where requests go.").tag(sync=True)
    local = Bool(help="Requests go to the embedded server.").tag(sync=True)
    expected: List[float | None] = List(
        help="Expected cost of 1, 2, … images with the form's values, in US dollars."
    ).tag(sync=True)
    spent = Unicode(help="Cost so far, or what is left of a budget.").tag(sync=True)
    # Generations and pictures
    jobs: List[dict[str, Any]] = List(help="Queued, running and failed generations.").tag(sync=True)
    cards: List[dict[str, Any]] = List(help="Pictures, oldest first.").tag(sync=True)
    earlier = Int(help="Number of older pictures that are not shown.").tag(sync=True)
    saved = Unicode(help="Result of the last save of all pictures.").tag(sync=True)
    # Messages for the user
    trouble = Unicode(help="An error that belongs to no generation.").tag(sync=True)
    notice = Unicode(help="A notice to show before the first picture.").tag(sync=True)
    said = Dict(help="The newest sentence for screen readers.").tag(sync=True)

    def __init__(
        self,
        prompt: str,
        options: Mapping[str, Any],
        shell: Any,
        namespace: dict[str, Any] | None = None,
        location: PanelLocation | None = None,
    ) -> None:
        """Fill the fields, and restore the state from the last run of the panel's cell.

        Args:
            prompt: Initial text of the prompt field.
            options: Initial values of the other fields.
            shell: IPython of the kernel that runs the cell; None in marimo, Solara and scripts.
            namespace: Variables for templates; None: those of `shell`.
            location: Location of the panel if `shell` is None.

        Raises:
            OptionError: An option is invalid, or the form does not support it.
        """
        session = current_session()
        configured = session.configured()
        given = {arguments.ALIASES.get(name, name): value for name, value in options.items()}
        visitors = is_for_visitors()
        names = shell.user_ns if namespace is None else namespace
        if visitors:  # fill the author's template; prompts of visitors are sent literally
            prompt = fill(prompt, names)
        self._form, values, images = Form.from_options(prompt, given, configured, visitors=visitors)
        self._tray = Tray(names)
        self._album = Album()
        self._queue = Queue(self._show_jobs, self._say, self._finish)
        self._numbers = count(1)
        self._cost = 0.0
        self._unpriced = 0
        inputs = from_values(images, names, named=not visitors)
        first_values = values | {"inputs": [image.label for image in inputs]}
        self._stored = PanelRestore(session, shell, first_values, location)
        self._state_lock = asyncio.Lock()
        missing = ""
        place = None if location is None or visitors else (this_page(), location)
        previous = None if place is None else self._placed.get(place)
        if place is not None:
            self._placed[place] = self
        replaces = previous is not None and not previous.connected
        if previous is not None and replaces and (form := self._replace(previous)):
            values |= form
        elif form := self._stored.form:
            values |= {name: form[name] for name in values.keys() & form}
            values["inputs"], missing = self._tray.put_labelled(form.get("inputs", ()))
        else:
            values["inputs"] = [self._tray.put(image) for image in inputs]
        super().__init__(
            shell,
            names,
            form=values,
            choices=choices(configured, fixed=self._form.fixed),
            models=known_models(values["model"]),
            cards=[card for batch in self._stored.batches for card in self._album.add(batch)],
            trouble=missing,
            notice=self._stored.notice,
            earlier=self._stored.left_out,
            prompts=self._stored.prompts,
            cell_id="" if shell is None else str(cell_identity(shell, object()) or ""),
            jobs=[generation.to_dict() for generation in self._queue.jobs],
        )
        self._write_cell()

    def _replace(self, previous: Panel) -> Mapping[str, Any]:
        """Take over from the panel of the cell's last run, which has no page any more.

        Returns its form, which is newer than the stored one; empty if the cell sets other values.
        """
        self._queue, self._tray, self._numbers = previous._queue, previous._tray, previous._numbers
        self._cost, self._unpriced = previous._cost, previous._unpriced
        self._stored.prompts = previous.prompts
        self._queue.move(self._show_jobs, self._say, self._finish)
        previous.close()
        same = previous._stored.first_values == self._stored.first_values
        return previous.form if same else {}

    @property
    def images(self) -> ImageBatch:
        """The panel's images, including those of earlier runs of its cell, oldest first."""
        return ImageBatch(self._album.images.values())

    def _start(self) -> None:
        """Show earlier pictures and jobs under the cell, and request the models."""
        self._publisher.publish_note()
        for batch in self._stored.batches:
            self._publisher.publish_batch(batch)
        for job in self._stored.submitted_jobs():
            JobDisplay(self._publisher, job)
        self._submit(self._on_models({}))

    async def _on_hello(self, message: Mapping[str, Any]) -> None:
        Panel.latest = weakref.ref(self)
        await super()._on_hello(message)

    # The form

    async def _on_form(self, message: Mapping[str, Any]) -> None:
        self.form = message["form"]
        self._write_cell()
        await self._save_state()
        await self._estimate()

    def _write_cell(self) -> None:
        """Update the equivalent cell; visitors of an app have no notebook for it."""
        if self.visitors:
            return
        try:
            cell, note = self._cell(self.form), ""
            if cell in self._stored.done:
                cell = self._cell(self.form, replay=True)
                note = "Shows the same pictures again, at no cost."
        except XaiError as error:
            cell, note = "", explain(error)
        self.cell, self.cell_note = cell, note

    def _cell(self, values: Mapping[str, Any], *, replay: bool = False) -> str:
        labels = self._tray.labels(values.get("inputs", ()))
        if self._shell is not None:
            return self._form.cell(values, labels, replay=replay)
        prompt = fill(str(values.get("prompt") or "").strip(), self._namespace)
        return self._form.call(values, prompt, labels, replay=replay)

    async def _save_state(self, images: Sequence[GeneratedImage] = ()) -> None:
        """Store the state of the panel, and its new pictures, for the next run of its cell."""
        async with self._state_lock:
            self._stored.prompts = self.prompts
            labels = self._tray.labels(self.form.get("inputs", ()))
            self._stored.form = {**self.form, "inputs": labels}
            await asyncio.to_thread(self._stored.save, images)

    async def _on_models(self, _: Mapping[str, Any]) -> None:
        """Request the server's models; keep the known names if that fails."""
        session = current_session()
        selected = str(self.form["model"])
        self.asking, self.models_note = True, ""
        try:
            probe = await asyncio.to_thread(session.prepare, "?", dict(self._form.hidden))
            self.local = probe.route.painted
            self.destination = probe.route.label if self.local or not self.visitors else ""
            listed = await session.list_models(local=probe.options.local)
        except XaiError as error:
            self.models_note = f"These are the known names. {explain(error)}"
        else:
            self.models = describe_models(listed, selected, local=self.local)
            await self._estimate()
            await self._count_cost()
        finally:
            self.asking = False

    async def _estimate(self) -> None:
        """Update the expected cost; the list is empty while the cost is unknown."""
        try:
            options = arguments.resolve(self._form.options(self.form), self._form.configured)
            inputs = len(self.form.get("inputs", ()))
            self.expected = await current_session().expected_usd(options, inputs)
        except XaiError:
            self.expected = []

    async def _on_use(self, message: Mapping[str, Any]) -> None:
        """Fill the form with a picture's request; `words` selects its rewritten prompt."""
        image = self._image(message["id"])
        prompt = image.rewritten_prompt if message["words"] else None
        taken = "the rewritten prompt" if prompt else "the prompt and options"
        note = f"The form now has {taken} of this picture."
        await self._fill(image.request, note, prompt=prompt)

    async def _fill(
        self,
        request: ImageRequest,
        note: str,
        *,
        prompt: str | None = None,
        trusted: bool = True,
        **more: Any,
    ) -> None:
        """Send the form values that repeat a request, with a note."""
        values, missing = await self._values_of(request, prompt, trusted=trusted)
        self.send({"kind": "fill", "form": values, "note": f"{note} {missing}".strip(), **more})

    async def _values_of(
        self, request: ImageRequest, prompt: str | None = None, *, trusted: bool = True
    ) -> tuple[dict[str, Any], str]:
        """Return the form values that repeat a request, and a sentence on missing inputs."""
        values = values_of(request, prompt, literal=is_for_visitors())
        values["inputs"], missing = await asyncio.to_thread(
            self._tray.put_inputs, request.inputs, trusted=trusted
        )
        if not any(model["name"] == request.model for model in self.models):
            self.models = [*self.models, unlisted_model(request.model)]
        return values, missing

    # Generations

    async def _on_generate(self, message: Mapping[str, Any]) -> None:
        self._take_form(message)
        await self._generate(self.form)

    async def _on_more(self, message: Mapping[str, Any]) -> None:
        """Repeat a picture's request; the form does not change."""
        values, missing = await self._values_of(self._image(message["id"]).request)
        if missing:
            raise InputImageError(missing)
        await self._generate({**self.form, **values})

    async def _on_again(self, message: Mapping[str, Any]) -> None:
        """Repeat a generation that has failed."""
        failed = self._queue.dismiss(message["id"])
        if failed is not None:
            await self._generate(failed.values)

    async def _on_cancel(self, message: Mapping[str, Any]) -> None:
        self._queue.cancel(message["id"])

    async def _on_dismiss(self, message: Mapping[str, Any]) -> None:
        self._queue.dismiss(message["id"])

    def _take_form(self, message: Mapping[str, Any]) -> None:
        """Store the form's values, and add its prompt to the earlier prompts."""
        self.form = message["form"]
        self.trouble = self.notice = ""
        prompt = self.form["prompt"]
        self.prompts = [*(each for each in self.prompts if each != prompt), prompt][-_MAX_PROMPTS:]
        self._write_cell()

    async def _generate(self, values: Mapping[str, Any]) -> None:
        """Check the form's values and add a generation to the queue."""
        call = await asyncio.to_thread(self._prepare, values)
        key = f"job{next(self._numbers)}"
        cell = self._cell(values)
        self._queue.add(Generation(key, dict(values), call, current_session(), cell))

    async def _on_submit(self, message: Mapping[str, Any]) -> None:
        """Submit the form's request as a job; show its card under the panel's cell."""
        self._take_form(message)
        call = await asyncio.to_thread(self._prepare, dict(self.form), batch=True)
        session = current_session()
        with session.cells.claims_for_call(self._queue) as claims:
            job = await session.prepare_job(call, claims)
            JobDisplay(self._publisher, job)
            self._stored.jobs.append(job.name)
            await self._save_state()
            await job.submit()
            await asyncio.to_thread(job.finish_if_done)
        jobs = "xai.jobs()" if self._shell is None else "%xai_jobs"
        sentence = f"Submitted as {job.name}. The job continues without this kernel: see {jobs}."
        if not job.name:
            sentence = "No job was submitted: the library has the pictures of this request."
        self._say(sentence)
        if self._shell is None:  # without an output that shows the job's card
            self.notice = sentence

    def _prepare(self, values: Mapping[str, Any], **more: Any) -> Call:
        """Return the prepared call for the form's values; blocks."""
        images = self._tray.chosen(values.get("inputs", ()))
        if images and not takes_images(self.models, values.get("model")):
            raise OptionError(
                f"{values.get('model')} takes no input images. Remove them, or choose another "
                "model."
            )
        inputs = {"image": [image.value for image in images]}
        # No reuse: a user who presses Generate again wants a new picture.
        given = self._form.options(values) | inputs | {"reuse": False} | more
        prompt = str(values.get("prompt") or "")
        template = not is_for_visitors()
        call = current_session().prepare(prompt, given, self._namespace, template=template)
        return relabel(call, [image.label for image in images])

    def _show_jobs(self) -> None:
        self.jobs = [generation.to_dict() for generation in self._queue.jobs]

    async def _finish(self, generation: Generation) -> None:
        """Show the images of a generation as cards, then as outputs under the cell."""
        batch = generation.batch
        if batch is None:
            return
        cards = await asyncio.to_thread(self._album.add, batch)
        if all(image.status in {"ok", "moderated"} for image in batch):
            self._stored.done.append(generation.cell)
        await self._save_state(batch.images)
        for card in cards:
            await self._send_preview(card["id"])
        await self._count_cost(generation.call)
        await self._estimate()
        self._write_cell()
        self.cards, self.saved = [*self.cards, *cards], ""
        self.revision += 1
        if is_for_visitors():
            batch = batch.shown(notes=[without_paths(note) for note in batch.notes])
        await asyncio.to_thread(self._publisher.publish_batch, batch)

    async def _count_cost(self, call: Call | None = None) -> None:
        """Add the cost of a call, and update the panel's text on costs or the budget."""
        if call is not None:
            self._cost += call.progress.cost_usd
            self._unpriced += call.progress.unpriced
        parts = [f"{dollars(self._cost)} so far"] if self._cost else []
        budget = None if self.local else await asyncio.to_thread(current_session().budget)
        if budget is not None:  # the budget counts more than this panel, so show it instead
            parts = [str(budget)]
        if self._unpriced and not self.local:
            parts.append(f"{self._unpriced} without a reported cost")
        self.spent = ", ".join(parts)

    # Input images

    async def _on_upload(self, message: Mapping[str, Any], part: bytes) -> None:
        """Receive a part of a file; if `restore` is true, fill the form from its metadata."""
        key, name = message["id"], message["name"]
        reply = {"kind": "input", "id": key, "error": "", "note": ""}
        try:
            data = self._tray.uploads.add(key, part, message["parts"])
            if data is None:
                return
            used = {item["id"] for item in self.form["inputs"]}
            reply["note"] = await asyncio.to_thread(self._tray.upload, key, name, data, used)
        except XaiError as error:
            reply["error"] = explain(error)
        self.send(reply)
        if message["restore"] and not reply["error"]:
            await self._fill_from_file(key, name)
        self._write_cell()

    async def _fill_from_file(self, key: str, name: str) -> None:
        file = self._tray.images[key].file
        try:
            metadata = None if file is None else await asyncio.to_thread(read_metadata, file)
        except MetadataError:
            return
        if metadata is not None:
            note = f"The form now has the prompt and options of {name}."
            await self._fill(metadata.request, note, trusted=False, upload=key)

    async def _on_edit(self, message: Mapping[str, Any]) -> None:
        """Add a card's picture as an input image, with the key of the card."""
        key, name = message["id"], message["name"]
        if (image := self._album.images.get(key)) is not None:
            self._tray.images[key] = await asyncio.to_thread(from_image, image, name)
        self._write_cell()

    async def _on_take(self, message: Mapping[str, Any]) -> None:
        """Add a picture of the library as an input image."""
        image = await asyncio.to_thread(image_of, message["id"])
        await asyncio.to_thread(self.take, image)

    def take(self, image: GeneratedImage) -> None:
        """Add a picture of the library as an input image, from any thread; blocks."""
        source: TrayImage = replace(
            from_image(image, "a picture from the library"), data=image.data
        )
        self.send({"kind": "take", **self._tray.put(source)})

    # Cards

    async def _on_previews(self, message: Mapping[str, Any]) -> None:
        for key in message["ids"]:
            await self._send_preview(key)

    async def _send_preview(self, key: str) -> None:
        """Send the preview of a card or input image; without it, the browser shows text."""
        image, source = self._album.images.get(key), self._tray.images.get(key)
        try:
            if image is not None and image.status == "ok":
                data = await asyncio.to_thread(lambda: preview_of(image.data))
            elif source is not None and (original := await asyncio.to_thread(source.preview)):
                data = await asyncio.to_thread(preview_of, original)
            else:
                return
        except XaiError:
            return
        self.send({"kind": "preview", "id": key}, [data])

    def _image(self, key: str) -> GeneratedImage:
        """Return the picture of a card; raise an error if the panel has no such card."""
        image = self._album.images.get(key)
        if image is None:
            raise MissingImageError("This picture is not in the panel. Run the panel's cell again.")
        return image

    def _entry(self, message: Mapping[str, Any]) -> CatalogEntry:
        """Return a picture of the library, or of a card, even if the library does not have it."""
        if message.get("card") is None:
            return super()._entry({"id": message["id"] or 0})
        image = self._image(message["card"])
        if image.id is not None:
            with suppress(XaiError):
                return super()._entry({"id": image.id})
        return CatalogEntry(image.picture, Annotation(), "", None)

    async def _send_changed(self, ids: list[int]) -> None:
        await super()._send_changed(ids)
        self.cards = await asyncio.to_thread(self._album.annotated, self.cards)

    async def _on_save(self, message: Mapping[str, Any]) -> None:
        metadata = self._form.hidden.get("metadata", self._form.configured.get("metadata", True))
        keys = [key for key in message["ids"] if key in self._album.images]
        changes, note, sentence = await asyncio.to_thread(self._album.save, keys, metadata=metadata)
        self.cards = [card | changes.get(card["id"], {}) for card in self.cards]
        self.saved = note
        self._say(sentence)

    # Replies to messages without a `request` number

    def _say(self, sentence: str) -> None:
        """Announce a sentence to screen readers."""
        self.said = {"number": next(self._numbers), "text": sentence}

    def _send_done(self, message: Mapping[str, Any], sentence: str) -> None:
        if message.get("request") is None:
            self._say(sentence)
        else:
            super()._send_done(message, sentence)

    def _send_error(self, message: Mapping[str, Any], sentence: str) -> None:
        if message.get("request") is None:
            self.trouble = ""  # so that a repeated error is still a change
            self.trouble = sentence
        else:
            super()._send_error(message, sentence)
