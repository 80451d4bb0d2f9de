"""The session: state that all calls of a kernel share. Magics, panels and `generate` use it.

prepare(prompt, options)  checks everything, sends nothing
run(call)                 gets the images on the background loop: library, then server
finish(call)              returns the images that have arrived as a batch
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from xai_notebook import frontend
from xai_notebook.arguments.options import resolve
from xai_notebook.arguments.templates import fill_options
from xai_notebook.client.request import InputImage
from xai_notebook.errors import LibraryError, OptionError, XaiError, shorten
from xai_notebook.generation.backends import (
    Backends,
    PromptRewriter,
    choose_route,
    refuse_blocked_server,
)
from xai_notebook.generation.budget import Counter, Limits, SharedBudget
from xai_notebook.generation.bundles import BundleLookup
from xai_notebook.generation.call import Call, Item, check_redo, prepare_call
from xai_notebook.generation.current import CurrentSession
from xai_notebook.generation.event_loop import BackgroundLoop
from xai_notebook.generation.generator import Generator
from xai_notebook.generation.history import History
from xai_notebook.generation.ingest import Ingest
from xai_notebook.generation.jobs.job import JobList
from xai_notebook.generation.jobs.manager import JobManager
from xai_notebook.generation.progress import Progress, Reporter, check_function
from xai_notebook.generation.replay import CellTracker
from xai_notebook.generation.stream import ImageStream
from xai_notebook.library.bundles import BundleFolder
from xai_notebook.library.merge import merge
from xai_notebook.library.spending import TICKS, period_start
from xai_notebook.pictures.picture import HIDDEN
from xai_notebook.pictures.render.tables import BudgetState
from xai_notebook.pictures.render.text import counted, dollars
from xai_notebook.pictures.results import RETRIED, ImageBatch
from xai_notebook.settings import MAX_IMAGES, Configuration, home_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from xai_notebook.arguments.options import Options
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.wire import ImageGenerationModel
    from xai_notebook.generation.backends import Backend, Route
    from xai_notebook.generation.jobs.job import BatchJob
    from xai_notebook.generation.jobs.poller import JobPoller
    from xai_notebook.generation.progress import ProgressReport
    from xai_notebook.generation.replay import SlotClaims
    from xai_notebook.library import Library
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.render.tables import Plan
    from xai_notebook.pictures.results import GeneratedImage
    from xai_notebook.settings import BudgetLimit

    _Report = Callable[[ProgressReport], object]

NOTICE: Final = (
    "No XAI_API_KEY is set, so these are local previews, drawn offline and for free by the "
    "embedded server."
)
ENGINE_NOTICE: Final = "No XAI_API_KEY is set: pictures come from {}."
_BUDGET: Final = "XaiImage.budget"
_MERGING: Final = "what was copied is in the library; merge the folder again for the rest."


class Session:
    """State shared by all calls of one kernel.

    Attributes:
        loop: The background event loop, on which calls run.
        configured: Returns the defaults of `%config XaiImage` or `xai.configure`.
        backends: The servers and the library.
        cells: Tracks the running cells and the slots of their calls; see `replay`.
        history: Past images from the library.
    """

    def __init__(self, settings: Configuration | None = None) -> None:
        """Start nothing; the loop, the server and the library start on first use.

        Args:
            settings: Fixed configuration; default: read from the environment for each call.
        """
        self.loop = BackgroundLoop()
        self.configured: Callable[[], Mapping[str, Any]] = frontend.configured
        self.backends = Backends(self.loop)
        self.cells = CellTracker()
        self._settings = settings
        self._kernel = Counter(None, _BUDGET)
        self._shared: tuple[BudgetLimit, Library, SharedBudget] | None = None
        self._noticed: set[str] = set()
        self._generators: dict[tuple[Route, Library], Generator] = {}
        self._manager: JobManager | None = None
        self._retrying = threading.Lock()  # a second retry finds what the first has made
        self._last: Call | ImageBatch | None = None
        self._bundles = BundleFolder()
        self._shown: dict[Path, set[int]] = {}
        self._shown_from_bundles: set[str] = set()
        self._own_job_names: set[str] = set()
        # Calls must claim their slots in the order in which they were made. Therefore these locks
        # serialize the steps before the first claim: in each caller's loop, in the background loop.
        self._preparing = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]()
        self._opening = asyncio.Lock()
        self.history = History(
            self.library, self._shown, self._shown_from_bundles, self._bundles, maker=self
        )

    # For users; the overloads are in `api`

    def generate(
        self,
        prompt: str | None = None,
        *,
        template: bool = False,
        progress: Any = None,
        **given: Any,
    ) -> Any:
        """Generate images and wait for them; see `xai_notebook.generate`."""
        check_function(progress)
        with self.cells.claims_for_call() as claims:
            call = self.prepare(prompt, _filled(given, template=template), template=template)
            if call.options.dry_run:
                return self.plan(call)
            if call.options.batch:
                job = self.loop.run(self.prepare_job(call, claims))
                self.loop.run(job.submit())
                return job.finish_if_done()
            reporter = self.reporter(call, progress)
            try:
                self.loop.run(self.run(call, claims), tick=reporter.tick)
            except KeyboardInterrupt as interrupt:
                self.explain(interrupt, call)
                raise
            finally:
                reporter.close()
            reporter.end()
            return self.finish(call)

    async def agenerate(
        self,
        prompt: str | None = None,
        *,
        template: bool = False,
        progress: Any = None,
        **given: Any,
    ) -> Any:
        """Generate images without blocking the caller's loop; see `xai_notebook.agenerate`."""
        check_function(progress)
        with self.cells.claims_for_call() as claims:
            async with self.preparing():
                call = await asyncio.to_thread(
                    self.prepare,
                    prompt,
                    _filled(given, template=template),
                    template=template,
                    reruns=frontend.reruns_by_itself(),
                )
            if call.options.dry_run:
                return await asyncio.to_thread(self.plan, call)
            if call.options.batch:
                job = await self.loop.wait(self.prepare_job(call, claims))
                await self.loop.wait(job.submit())
                return await asyncio.to_thread(job.finish_if_done)
            reporter = self.reporter(call, progress)
            try:
                await self.loop.wait(self.run(call, claims), tick=reporter.tick)
            except asyncio.CancelledError as cancelled:
                self.explain(cancelled, call)
                raise
            finally:
                reporter.close()
            reporter.end()
            return await asyncio.to_thread(self.finish, call)

    def stream(
        self,
        prompt: str | None = None,
        *,
        template: bool = False,
        progress: Any = None,
        **given: Any,
    ) -> ImageStream:
        """Return the images in order of arrival; see `xai_notebook.stream`."""
        filled = _filled(given, template=template)
        return ImageStream(self, prompt, filled, progress, template=template)

    def last_batch(self, words: str = "") -> ImageBatch:
        """Return what the last call of this process has made so far.

        Raises:
            OptionError: There was no call yet, or `words` are given.
        """
        if words:
            raise OptionError(
                f"history(last=True) returns the last call, and cannot look for {words!r}. Leave "
                "one of them out."
            )
        if self._last is None:
            raise OptionError(
                "history(last=True): this process has made no call yet. Use history() for the "
                "images in the library."
            )
        last = self._last
        return last if isinstance(last, ImageBatch) else last.collect(self)

    def jobs(self, n: int = 24) -> JobList:
        """Return the jobs in the library, newest first, with their current state.

        Args:
            n: Maximum number of jobs.

        Raises:
            LibraryError: The library cannot be opened.
        """
        library = self.library()
        found = self.loop.run(self._jobs().newest(library, n))
        if not frontend.is_for_visitors():
            return found
        return JobList([job for job in found if job.name in self._own_job_names])

    def merge(self, home: str | Path) -> ImageBatch:
        """Take the pictures of another library into this one; see `xai_notebook.merge`."""
        configuration = self._configuration()
        library, other = self.backends.library(configuration), home_folder(f"{home}" or ".")
        merging = merge(library, other, configuration.api_key)
        return self.history.merged(self.loop.run(merging, interrupted=_MERGING), other)

    def pollers_of(self, names: Sequence[str]) -> list[JobPoller]:
        """Return the pollers of jobs by name; an empty list if the library lacks one of them.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return self._jobs().find(self.library(), names)

    async def list_models(self, *, local: bool = False) -> list[ImageGenerationModel]:
        """Return the image models of the server that calls go to. Await on the background loop.

        Raises:
            XaiError: The request to the server failed.
        """
        backend = await self.backends.connect(choose_route(self._configuration(), local=local))
        return list(await backend.client.models.list_image_generation_models())

    def close(self) -> None:
        """Cancel calls, save images that have arrived, then close servers, loop and library."""
        self.loop.cancel()
        self.cells.close()
        self.cells = CellTracker()
        manager, self._manager = self._manager, None
        if manager is not None:
            self.loop.run(manager.close())
        self._generators.clear()
        self.backends.close()
        self.loop.stop()
        self._opening = asyncio.Lock()  # the old lock belongs to the loop that has ended

    def __reduce__(self) -> tuple[Any, ...]:
        return CurrentSession, ()  # the session of the process that opens the pickle

    # Calls

    def preparing(self) -> asyncio.Lock:
        """Return the lock to hold in the running loop while a call is prepared in a thread."""
        return self._preparing.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def reporter(self, call: Call, function: _Report | None = None) -> Reporter:
        """Return what reports the progress of a call; `function` is the user's."""
        if not call.many and not call.route.painted and frontend.marimo_notebook() is not None:
            self.ask_price(call)
        return Reporter(call.progress, function, many=call.many, patience=call.patience)

    def explain(self, error: BaseException, call: Call) -> None:
        """Let an interrupt or a cancellation of many prompts say what is kept and how to go on."""
        if not isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            return
        call.interrupted = True
        if not call.many:
            return
        progress = call.progress
        stored = counted(progress.stored, "prompt")
        if progress.expected is not None:
            stored = f"{progress.stored:,} of {counted(progress.expected, 'prompt')}"
        cost = f"{dollars(progress.cost_usd)} spent"
        if progress.unpriced:
            cost += f", the cost of {progress.unpriced:,} unknown"
        line = (
            f"{stored} are in the library, {cost}. Run it again to make the rest: stored images "
            "answer. Outside of a notebook, give reuse=True for that. "
            "xai.history(last=True) returns this batch."
        )
        shorten(error, line)

    def prepare(
        self,
        prompt: str | None,
        given: Mapping[str, Any],
        namespace: Mapping[str, Any] | None = None,
        *,
        template: bool = False,
        reruns: bool | None = None,
    ) -> Call:
        """Check options, prompt and input images without sending; see `prepare_call`."""
        return prepare_call(
            prompt, given, self.configured(), namespace or {}, template=template,
            settings=self._settings, find_by_id=self.history.find_by_digest, reruns=reruns,
        )  # fmt: skip

    async def run(self, call: Call, claims: SlotClaims | None = None) -> None:
        """Run a prepared call on the background loop. Results are in `call.progress`.

        `claims` come from `cells.claims_for_call`, and the caller closes them when it has shown the
        images. Without `claims`, this method claims the slots and closes the claims at its end.
        """
        self._last = call
        with self.cells.claims_for_call() if claims is None else nullcontext(claims) as slots:
            generator = await self._open(call, slots)
            try:
                await generator.answer(call)
            except asyncio.CancelledError:
                call.interrupted = True
                raise
            finally:
                call.over = True
                pictures = call.progress.collect_pictures()
                self._note_shown(call, pictures)
                new = any(picture.bundle is None for picture in pictures)
                await self._announce(call, generator.storage, new=new)

    def _note_shown(self, call: Call, pictures: Iterable[Picture]) -> None:
        """Remember the pictures that a call returns, for `pack`."""
        shown = self._shown.setdefault(call.configuration.home, set())
        for picture in pictures:
            if picture.id is not None:
                shown.add(picture.id)
            elif picture.bundle is not None and picture.sha256:
                self._shown_from_bundles.add(picture.sha256)

    async def _open(self, call: Call, claims: SlotClaims, *, spends: bool = True) -> Generator:
        """Connect to the server of a call, open its library, and return the generator for both.

        `claims` claims the slots of the call; `spends` tells whether the limits apply.

        Raises:
            LibraryError: The call has `replay`, and the library cannot be opened.
        """
        async with self._opening:
            route, configuration, options = call.route, call.configuration, call.options
            library = await self.backends.open_library(configuration)
            if library.failure is not None and options.replay:
                raise library.failure
            refuse_blocked_server(route.backend, route.host)
            if (backend := self.backends.connected.get(route)) is None:
                backend = await self.backends.connect(route)
            if (generator := self._generators.get((route, library))) is None:
                generator = Generator(backend, library, self.backends.open_library)
                self._generators[route, library] = generator
            call.limits = Limits(())
            if spends:
                free = route.painted
                call.limits = self._limits(configuration, library, options.max_cost, free=free)
            progress, timeout = call.progress, options.timeout
            call.ingest = Ingest(library, backend, progress, timeout, frontend.notebook_name())
            if (model := options.rewrite) is not None:
                rewrites = call.ingest.library
                call.rewriter = PromptRewriter(backend, model, rewrites, progress, timeout)
            call.claims, call.mark_unshown = claims, claims.mark_unshown
            call.bundles = BundleLookup(self._bundles)
            return generator

    async def _announce(self, call: Call, library: Library, *, new: bool) -> None:
        """Add notes about the library and the server to a call, each once per kernel.

        The server is named if no key is set and the call has `new` images.
        """
        lines, route = library.notices, call.route
        if new and route.automatic:
            source = NOTICE
            if not route.painted:
                model = call.options.model[0]
                source = ENGINE_NOTICE.format(await self.backends.source(route, model))
            lines = [*lines, source]
        for line in lines:
            if line not in self._noticed:
                self._noticed.add(line)
                call.announced.append(line)

    async def prepare_job(self, call: Call, claims: SlotClaims) -> BatchJob:
        """Return the job of a call, on the background loop; `submit` sends its new requests.

        Raises:
            BudgetError: The job would cost more than a limit allows.
            LibraryError: The job cannot be recorded.
        """
        generator = await self._open(call, claims)
        await self._announce(call, generator.storage, new=True)
        job = await self._jobs().prepare(call, generator)
        self._own_job_names.add(job.name)
        return job

    def budget(self, configuration: Configuration | None = None) -> BudgetState | None:
        """Return the budget and how much of it is spent.

        Args:
            configuration: Configuration of a call; default: the current one.

        Returns:
            None if no budget is set, or if the library that tracks the spending cannot be used.
        """
        configuration = configuration or self._configuration()
        limit = configuration.budget
        if limit is None:
            return None
        totals = self._kernel.totals
        if limit.shared:
            try:
                spending = self.backends.library(configuration).spending
                totals = spending.totals(period_start(limit.period))
            except LibraryError:
                return None
        return BudgetState(str(limit), limit.usd, (totals.spent + totals.open) / TICKS)

    def _jobs(self) -> JobManager:
        if self._manager is None:
            self._manager = JobManager(self._connect, self, self._job_limits)
        return self._manager

    async def _connect(self, backend: str) -> Backend:
        """Return the server of a kind (`"xai"` or `"local"`) in the current configuration."""
        route = choose_route(self._configuration(), local=backend == "local")
        return await self.backends.connect(route)

    def finish(self, call: Call) -> ImageBatch:
        """Return the images that have arrived as a batch; export them if `--export` is set.

        Raises:
            ExportError: A file cannot be written. The images are in the library.
        """
        batch = call.collect(self)
        call.export(batch)
        return batch

    def redo(self, batch: ImageBatch, indices: Sequence[int]) -> ImageBatch:
        """Return a batch with some of its images regenerated; see `ImageBatch.redo`."""
        check_redo(indices, len(batch))
        pictures = [batch[index].picture for index in indices]
        for index, picture in zip(indices, pictures, strict=True):
            if picture.status in HIDDEN:
                cure = "Use retry()." if picture.status == "unsent" else "Fill in its row first."
                raise OptionError(f"Image {index} was not requested. {picture.error} {cure}")
        rows = self.library().catalog.find_rows(pictures)
        chosen = {
            index: replace(picture, id=row)
            for index, picture, row in zip(indices, pictures, rows, strict=True)
        }
        slots = [self.library().slot_of(image.id or 0) for image in chosen.values()]
        local = any(slot is not None and slot.backend == "local" for slot in slots)
        defaults = self.configured()
        # The library stores the prompt that was sent, so it must not be rewritten again.
        options = replace(resolve({}, defaults), rewrite=None, reuse=False)
        configuration = Configuration.for_call(self._settings, defaults)
        route = choose_route(configuration, local=local)
        call = Call(options, configuration, route, iter(()), Progress(images=len(batch)))
        with self.cells.claims_for_call() as claims:
            regenerated = self.loop.run(self._redo(call, claims, chosen))
        self._note_shown(call, regenerated.values())
        images = (
            replace(image, picture=regenerated[index], exported=None, maker=self)
            if index in regenerated
            else image
            for index, image in enumerate(batch)
        )
        return batch.shown(images, notes=dict.fromkeys((*batch.notes, *call.progress.notes)))

    def retry(self, batch: ImageBatch) -> ImageBatch:
        """Return a batch with its failed images requested again; see `ImageBatch.retry`."""
        groups: dict[Any, dict[int, Item]] = {}
        for image in batch.failed:
            item = image.item
            if not isinstance(item, Item):
                raise OptionError(
                    "These images cannot be requested again: they come from a pickle, a job or the "
                    "library. Call generate() again, with reuse=True to keep the stored images."
                )
            of_call = tuple(getattr(item.options, name) for name in _RETRY_OPTIONS)
            groups.setdefault(of_call, {})[id(item)] = item
        notes: list[str] = []
        for items in groups.values():  # several if batches of different calls were added
            call = self._prepare_retry(list(items.values()))
            try:
                with self._retrying, self.cells.claims_for_call() as claims:
                    self.loop.run(self.run(call, claims))
            except BaseException as error:
                self.explain(error, call)
                raise
            finally:
                made = call.collect(self)
                notes += made.notes
                batch = _merge_retried(batch, made, items.keys(), notes)
                self._last = batch
        return batch

    def _prepare_retry(self, items: Sequence[Item]) -> Call:
        options = replace(items[0].options, export=None, redo=(), fresh=False)
        configuration = Configuration.for_call(self._settings, self.configured())
        route = choose_route(configuration, local=options.local)
        progress = Progress(expected=len(items), images=sum(item.request.n for item in items))
        loads = any(item.load is not None for item in items)
        return Call(
            options, configuration, route, iter(items), progress, loads=loads, many=True,
            ahead=items,
        )  # fmt: skip

    async def _redo(
        self, call: Call, claims: SlotClaims, chosen: Mapping[int, Picture]
    ) -> dict[int, Picture]:
        generator = await self._open(call, claims)
        regenerated = await generator.redo(call, chosen)
        claims.complete = True
        return regenerated

    def plan(self, call: Call) -> Plan:
        """Return the requests that a call would send and their cost; the call can still be run.

        Raises:
            XaiError: The prices cannot be read from the server.
        """
        claims = self.cells.claims_for_call()  # must be called in the thread of the cell
        try:
            requests, more = call.peek_planned()
            return self.loop.run(self._plan(call, claims, requests, more=more))
        finally:
            claims.close(succeeded=False)

    async def _plan(
        self, call: Call, claims: SlotClaims, requests: Sequence[ImageRequest], *, more: bool
    ) -> Plan:
        generator = await self._open(call, claims, spends=False)
        budget = None
        if not call.route.painted:
            budget = await asyncio.to_thread(self.budget, call.configuration)
        count = partial(self._jobs().count_ordered, call) if call.options.batch else None
        return await generator.plan(call, requests, more=more, budget=budget, count_ordered=count)

    def _job_limits(self, library: Library) -> Limits:
        """Return the limits of a job that is resumed without a call."""
        return self._limits(Configuration.for_call(self._settings, self.configured()), library)

    def _limits(
        self,
        configuration: Configuration,
        library: Library,
        max_cost: float | None = None,
        *,
        free: bool = False,
    ) -> Limits:
        """Return the limits of a call; if `free`, the budget of all processes does not apply."""
        limit = configuration.budget
        self._kernel.limit_usd = None if limit is None or limit.shared else limit.usd
        counters = (Counter(max_cost, "--max-cost"), self._kernel)
        if limit is None or not limit.shared or free:
            return Limits(counters)
        if self._shared is None or self._shared[:2] != (limit, library):
            self._shared = limit, library, SharedBudget(limit, _BUDGET, library.spending)
        return Limits(counters, self._shared[2])

    def ask_price(self, call: Call) -> None:
        """Look up the price of a call with one request in the background, for its progress."""
        request = call.peek(1)[0].request

        async def look_up() -> None:
            with suppress(XaiError):
                backend = await self.backends.connect(call.route)
                library = await self.backends.library_or_none(call.configuration)
                for count in range(1, request.n + 1):
                    usd = await backend.prices.image_usd(request, count, library)
                    if usd is not None:
                        call.progress.expected_usd[count] = usd
                call.progress.budget = await asyncio.to_thread(self.budget, call.configuration)

        self.loop.submit(look_up())

    async def expected_usd(self, options: Options, inputs: int) -> list[float | None]:
        """Return the expected costs of 1, 2, … 10 new images in US dollars, on the background loop.

        Args:
            options: Options of a call with one prompt.
            inputs: Number of images to edit.

        Raises:
            XaiError: The prices cannot be read from the server.
        """
        configuration = self._configuration()
        backend = await self.backends.connect(choose_route(configuration, local=options.local))
        library = await self.backends.library_or_none(configuration)
        images = (InputImage(url="", sha256="", label=""),) * inputs
        request = options.request("?", options.model[0], images)
        rewrite = 0.0
        if options.rewrite is not None:
            rewrite = (await backend.prices.rewrite(options.rewrite, library)).ticks / TICKS
        costs = [
            await backend.prices.image_usd(request, count, library)
            for count in range(1, MAX_IMAGES + 1)
        ]
        return [None if usd is None else usd + rewrite for usd in costs]

    def library(self) -> Library:
        """Return the open library.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return self.backends.library(self._configuration())

    def _configuration(self) -> Configuration:
        return Configuration.for_call(self._settings, self.configured(), spends=False)


_RETRY_OPTIONS: Final = (
    "local", "rewrite", "reuse", "replay", "max_cost", "timeout", "format", "share",
)  # fmt: skip
"""Options that requests must share to be retried together."""


def _merge_retried(
    batch: ImageBatch, made: ImageBatch, items: Collection[int], notes: Sequence[str]
) -> ImageBatch:
    """Return a batch with the images of retried items; images that it had already stay the same.

    Args:
        batch: The batch.
        made: The images of the retried items.
        items: Identities of the retried items.
        notes: Notes of the new batch.
    """
    by_item: dict[int, list[GeneratedImage]] = {}
    for image in made:
        by_item.setdefault(id(image.item), []).append(image)
    merged: list[GeneratedImage] = []
    for image in batch:
        if id(image.item) not in items or image.status not in RETRIED:
            merged.append(image)
            continue
        new = by_item.get(id(image.item), [image])
        if image.status == "missing":  # the other images of the reply have cards of their own
            arrived = (each for each in new if each.index == image.index)
            new = [next((each for each in arrived if each.status != "failed"), image)]
        merged += [replace(each, chosen=image.chosen) for each in new]
    return batch.shown(merged, notes=notes, name=batch.name)


def _filled(given: Mapping[str, Any], *, template: bool) -> Mapping[str, Any]:
    """Return the options of `generate`, of which those that read `row` are marked as templates.

    Raises:
        OptionError: There is no table, or a template is invalid.
    """
    if not template:
        return given
    if given.get("each") is None or isinstance(given["each"], bool):
        raise OptionError(
            "template=True fills in the prompt for each row of a table. Give the table: each=df."
        )
    # The table is data. Text in its place only says that there is one.
    return fill_options({**given, "each": "table"}, {}) | {"each": given["each"]}


_session: Session | None = None
_session_lock = threading.Lock()


def current_session() -> Session:
    """Return the kernel's session, created by its first use."""
    global _session  # noqa: PLW0603  # one session per process
    with _session_lock:
        if _session is None:
            _session = Session()
        return _session


def replace_session(session: Session | None) -> Session | None:
    """Make another session the kernel's, and return the former one, which stays open.

    Args:
        session: The new session; None: the next call starts one.
    """
    global _session  # set by current_session, too
    with _session_lock:
        _session, former = session, _session
    return former


def close_session() -> None:
    """Close the kernel's session; the next call starts a new one."""
    global _session  # set by current_session
    with _session_lock:
        session, _session = _session, None
    if session is not None:
        session.close()
