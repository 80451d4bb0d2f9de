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
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final

from xai_notebook.arguments import options as arguments
from xai_notebook.arguments.templates import fill
from xai_notebook.errors import InputImageError, OptionError, XaiError
from xai_notebook.frontend import cell_identity, is_for_visitors
from xai_notebook.generation.session import current_session
from xai_notebook.notebook.jobs import JobDisplay
from xai_notebook.notebook.panel import gallery, inputs
from xai_notebook.notebook.panel.form import (
    Form,
    choices,
    describe_models,
    known_models,
    takes_images,
)
from xai_notebook.notebook.panel.jobs import Job, Queue
from xai_notebook.notebook.panel.memory import Memory
from xai_notebook.notebook.panel.outputs import Publisher, note_bundle
from xai_notebook.notebook.panel.pictures import Pictures
from xai_notebook.notebook.panel.uploads import Uploads
from xai_notebook.notebook.viewing import messages
from xai_notebook.notebook.viewing.answers import explain, for_visitors
from xai_notebook.pictures.render.text import dollars
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xai_notebook.generation.session import Call
    from xai_notebook.pictures.results import GeneratedImage

__all__ = ["Panel"]

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
        self._uploads = Uploads()
        self._album = gallery.Album()
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

    def _recall(self, values: dict[str, Any], sources: list[inputs.Source]) -> str:
        """Change first values to what they were when the cell ran last, if it asks for the same.

        Returns:
            What is not there any more, in a sentence; empty: nothing is missing.
        """
        asked, lost = values | {"inputs": [source.label for source in sources]}, ""
        self._memory = Memory(current_session(), self._shell, asked)
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
            Job(
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
        with session.ask(apart=self._queue) as asking:
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
            self.place = probe.route.place if self.local or not self.visitors else ""
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

    async def _take(self, job: Job) -> None:
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
