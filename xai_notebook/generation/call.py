"""One call: prepare it from the user's input, pace its requests, collect its images.

Nothing is sent here. A `Call` holds the whole state of a call: its options and requests, and its
slots, limits, bundles and ingest, which the session sets when it opens the call.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count, islice, product
from math import prod
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.arguments import options as arguments
from xai_notebook.arguments import tables
from xai_notebook.arguments.inputs import Inputs, check_file, load_inputs
from xai_notebook.arguments.options import parse_axes
from xai_notebook.arguments.tables import MAX_VARIANTS, Variant, expand_variants
from xai_notebook.arguments.templates import (
    DataText,
    MissingCellError,
    RowTemplate,
    fill,
    fill_row,
    row_columns,
)
from xai_notebook.client.request import ImageRequest, is_blank
from xai_notebook.errors import (
    BudgetError,
    NotKeptError,
    OptionError,
    XaiError,
)
from xai_notebook.frontend import reruns_by_itself
from xai_notebook.generation.backends import choose_route
from xai_notebook.generation.progress import LOCAL_PATIENCE, PATIENCE, Progress
from xai_notebook.pictures.export import NamePattern, plan_names
from xai_notebook.pictures.picture import SHOWN, Card, Picture, blank_card, first_cards
from xai_notebook.pictures.render.text import dollars
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.settings import Configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aiolimiter import AsyncLimiter

    from xai_notebook.arguments.inputs import PictureFinder
    from xai_notebook.arguments.options import Options
    from xai_notebook.client.transport.retry import Attempt
    from xai_notebook.generation.backends import PromptRewriter, Route
    from xai_notebook.generation.budget import Limits, Reservation
    from xai_notebook.generation.bundles import BundleLookup
    from xai_notebook.generation.ingest import Ingest
    from xai_notebook.generation.replay import CellRun, Claim, Slot, SlotClaims
    from xai_notebook.pictures.results import Maker

    _Make = Callable[..., "Call"]

_READ_AHEAD_IMAGES: Final = 100
"""Rows that are read before anything is sent if each has input images of its own."""
_CHECKED: Final = 100_000
"""Rows of a table whose templates are checked before anything is sent."""
_READ_AHEAD: Final = 10_000
"""Prompts of a list or a file that are read before anything is sent."""
_MAX_PLANNED: Final = 100_000
"""Maximum requests that a dry run reads."""
MAX_LOOKED_UP: Final = 2_000
"""Maximum requests of a plan that are looked up in the library; takes about a second."""
_MAX_PLANNED_LAZY: Final = 100
"""Maximum requests of a generator, which may be slow, that a dry run reads."""
_FIRST_PAUSE: Final = 1.0
"""Seconds that all requests wait after the server first answers "too many requests"."""
_LONGEST_PAUSE: Final = 30.0


@dataclass(slots=True)
class Pace:
    """Decides when the next of many requests is sent: concurrency, user's rate, server's limit.

    Attributes:
        semaphore: Semaphore for the number of concurrent requests at the server.
        limiter: Limiter for the user's rate; None: no limit.
        pause: Seconds of the last pause; 0 after a request has succeeded.
        resume: End of the pause on the monotonic clock.
        succeeded: Number of requests that succeeded.
        failure: Error that would also fail every further request.
        first_refusal: First error that kept a request from being sent: a limit, or no disk space.
        read_error: Error in a prompt that ended the reading; requests in flight are completed.
        stopped: Whether the workers are cancelled, so that no further request is taken.
    """

    semaphore: asyncio.Semaphore
    limiter: AsyncLimiter | None
    pause: float = 0.0
    resume: float = 0.0
    succeeded: int = 0
    failure: XaiError | None = None
    first_refusal: BudgetError | NotKeptError | None = None
    read_error: OptionError | None = None
    stopped: bool = False
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def of(cls, configuration: Configuration) -> Pace:
        """Create the pace for a configuration."""
        from aiolimiter import AsyncLimiter  # noqa: PLC0415  # 20 ms, not needed for one image

        # A capacity of 1 spaces the requests evenly, because the server counts them that way.
        rate = configuration.rate
        limiter = AsyncLimiter(1, 1 / rate) if rate else None
        return cls(asyncio.Semaphore(configuration.concurrency), limiter)

    async def take(self, call: Call) -> tuple[int, Item, ImageRequest] | None:
        """Return the next item of a call with its number, from 0, and its request.

        Input images of a row are loaded here, in order, because a slot depends on them. Returns
        None after the last item.
        """
        try:
            if call.lazy or call.loads:
                async with self._reading:  # a generator cannot run in two threads at once
                    item = await asyncio.to_thread(_next_item, call.items)
                    request = None
                    if item is not None and item.load is not None:
                        request = await asyncio.to_thread(item.load_inputs)
            else:
                item, request = next(call.items, None), None
        except OptionError as error:
            self.read_error = error
            return None
        if item is None:
            return None
        number = next(self._numbers)
        call.taken[number] = item
        return number, item, request or item.request

    async def wait(self) -> None:
        """Wait until the next request may be sent.

        Raises:
            XaiError: `failure` is set, so the request would fail too.
        """
        if self.failure is not None:
            raise self.failure
        # Check again after the sleep: `slow_down` may have moved `resume` meanwhile.
        while (delay := self.resume - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(delay)
        if self.limiter is not None:
            await self.limiter.acquire()

    def on_attempt(self, attempt: Attempt) -> None:
        """Pause all requests as soon as an attempt hits the server's rate limit."""
        if attempt.error_code == "RESOURCE_EXHAUSTED":
            self.slow_down()

    def slow_down(self) -> None:
        """Pause all requests; the pause doubles each time the rate limit is hit again."""
        now = time.monotonic()
        if now >= self.resume:  # several requests hit the same limit: count it once
            self.pause = min(max(self.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            self.resume = now + self.pause

    def speed_up(self) -> None:
        """Count a request that succeeded."""
        self.pause = 0.0
        self.succeeded += 1


@dataclass(frozen=True, slots=True)
class ClaimedRequest:
    """A request and its slot in this pass through the notebook; see `replay`.

    Attributes:
        request: The request as it will be sent.
        fingerprint: Fingerprint of the request.
        claim: Slot of the request.
        rewrite_usd: Cost of rewriting the prompt in this call, in US dollars; None: not reported.
        reserved: Money reserved for the images before the prompt was rewritten.
        packed: Pictures from bundles and from an untrusted library, if the prompt was rewritten
            elsewhere. None: bundles are searched after the library.
    """

    request: ImageRequest
    fingerprint: str
    claim: Claim
    rewrite_usd: float | None = 0.0
    reserved: list[Reservation] = field(default_factory=list)
    packed: list[Picture] | None = None


@dataclass(slots=True, eq=False)
class Origin:
    """What a retry needs to know about the call of its requests.

    Attributes:
        run: The run of the cell that made the call.
        places: The places that its requests have claimed, by the key of their slots.
    """

    run: CellRun
    places: dict[bytes, set[int]] = field(default_factory=dict)

    def add(self, slot: Slot) -> None:
        """Note a slot that a request of the call has claimed."""
        self.places.setdefault(slot.key, set()).add(slot.place)

    def next_place(self, key: bytes) -> int:
        """Return the place that the next request with this key claims."""
        taken = self.places.get(key, set())
        return next(place for place in count() if place not in taken)


@dataclass(slots=True, eq=False)
class Item:
    """One request of a call. With a table, the request of one row.

    Attributes:
        request: The request; its prompt is empty if the row is blank.
        options: The options of the call, with the values of the row.
        row: Label of the row; see `Card.row`.
        key: Key of the row.
        reason: Why the row counts as blank; None if it has no prompt.
        load: Loads the input images of the row; None: the request has all images.
        failure: Why these images cannot be loaded.
        notes: Changes to these images, one line each.
        claimed: The request with its slot, once it has one.
        origin: The run and the slots of the call; all items of a call share it.
    """

    request: ImageRequest
    options: Options
    row: Any = None
    key: Any = None
    reason: str | None = None
    load: Callable[[], Inputs] | None = None
    failure: XaiError | None = None
    notes: tuple[str, ...] = ()
    claimed: ClaimedRequest | None = None
    origin: Origin | None = None

    @property
    def blank(self) -> bool:
        """Whether the row is blank; nothing is sent for it."""
        return not self.request.prompt

    def release(self, request: ImageRequest) -> None:
        """Drop the data of the row's input images, once the images of `request` have arrived."""
        if self.load is not None:
            self.load = None
            self.options = replace(self.options, image=())
            self.request = _without_data(request)

    def identify(self) -> ImageRequest:
        """Return the request with the digests of its row's input images, without their data."""
        return self.request if self.load is None else _without_data(self.load_inputs())

    def load_inputs(self) -> ImageRequest:
        """Return the request with the input images of its row, which are read from their files.

        If they cannot be read, `failure` is set.
        """
        if self.load is None:
            return self.request
        self.failure = None
        try:
            loaded = self.load()
        except XaiError as error:
            self.failure = error
            return self.request
        except BaseException as error:  # noqa: BLE001  # it would end the background loop
            self.failure = OptionError(f"--image: {type(error).__name__}: {error}.")
            return self.request
        self.notes = loaded.notes
        return replace(self.request, inputs=loaded.images)

    def without_inputs(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Return pictures of the row without the data of its input images, to save memory."""
        if self.load is None:
            return [*pictures]
        requests = {id(picture.request): picture.request for picture in pictures}
        slim = {key: _without_data(request) for key, request in requests.items()}
        return [
            replace(picture, request=slim[id(picture.request)], notes=(*picture.notes, *self.notes))
            for picture in pictures
        ]


class Window:
    """Limits how far the requests of a stream run ahead of its consumer, on the background loop."""

    def __init__(self, size: int) -> None:
        """Let `size` requests start before the consumer takes an answer."""
        self._places = asyncio.Semaphore(size)
        self._lookups: set[asyncio.Future[None]] = set()
        self._any_stored = False
        self._any_taken = False
        self._stored_unread = 0
        self._may_order = asyncio.Event()
        self._may_order.set()

    async def admit(self) -> None:
        """Wait until another request may start; call `release` when its answer was taken."""
        await self._places.acquire()

    def release(self) -> None:
        """Let another request start."""
        self._places.release()

    @contextmanager
    def looking_up(self) -> Iterator[None]:
        """Mark the block as the search for stored images of a request."""
        found = asyncio.get_running_loop().create_future()
        self._lookups.add(found)
        try:
            yield
        finally:
            self._lookups.discard(found)
            found.set_result(None)

    async def before_order(self) -> None:
        """Wait until the consumer has used all stored images that answer other requests.

        A consumer that stops early, in a cell that is run again, then orders nothing. Call it
        without a lock or reserved money, for which the consumer may wait in another call.
        """
        while True:
            await self._may_order.wait()
            if self._lookups and (self._any_stored or not self._any_taken):
                await asyncio.wait({*self._lookups})
            if self._may_order.is_set():
                return

    def add(self, *, stored: bool) -> None:
        """Note an answer, from the library if `stored`."""
        if stored:
            self._any_stored = True
            self._stored_unread += 1
            self._may_order.clear()

    def take(self, *, stored: bool) -> None:
        """Note that the consumer takes an answer."""
        self._any_taken = True
        self._stored_unread -= stored
        self.release()

    def returned(self) -> None:
        """Note that the consumer has used the images that it took, and asks for more."""
        if not self._stored_unread:
            self._may_order.set()


@dataclass(slots=True)
class Call:
    """One call, checked and ready to run.

    Attributes:
        options: All options of the call.
        configuration: The configuration at the time of the call.
        route: The server that the call uses.
        items: Iterator of one item per prompt, and of the blank rows between them.
        progress: Counters and results.
        fresh: Whether to generate new images; stored ones then only complete an earlier call.
        lazy: Whether `items` runs user code, such as a generator, which may never end.
        loads: Whether rows have input images of their own, which are loaded before they are sent.
        many: Whether the call has several requests; failures are then shown as cards instead of
            raised.
        over: Whether the call has ended.
        interrupted: Whether the user interrupted the call. Images that have arrived are kept.
        chosen: For each request of a comparison, its value on every axis.
        announced: Notes that are shown once per kernel.
        mark_unshown: Function to call if the images cannot be shown.
        claims: Claims the slots of the call.
        limits: Spending limits of the call.
        bundles: The bundles in the notebook's folder, which are searched after the library.
        ingest: Saves the replies and loads stored images.
        rewriter: Rewrites the prompts; None: they are sent as the user wrote them.
        pace: Pace of the requests, while many are running.
        index_names: Names of the levels of the table's index.
        ahead: The items that were read before anything is sent.
        taken: The items whose requests were begun, by number.
        origin: See `Item.origin`.
        window: Limits the requests ahead of the consumer of a stream; None: the call is no stream.
        blank_rows: Number of blank rows that a dry run has found.
    """

    options: Options
    configuration: Configuration
    route: Route
    items: Iterator[Item]
    progress: Progress
    fresh: bool = False
    lazy: bool = False
    loads: bool = False
    many: bool = False
    over: bool = False
    interrupted: bool = False
    chosen: tuple[tuple[str, ...], ...] = ()
    index_names: tuple[Any, ...] = ()
    ahead: Sequence[Item] = ()
    announced: list[str] = field(default_factory=list)
    mark_unshown: Callable[[], None] | None = None
    claims: SlotClaims = field(init=False, repr=False)
    limits: Limits = field(init=False, repr=False)
    bundles: BundleLookup = field(init=False, repr=False)
    ingest: Ingest = field(init=False, repr=False)
    rewriter: PromptRewriter | None = field(default=None, init=False, repr=False)
    pace: Pace | None = field(default=None, init=False, repr=False)
    taken: dict[int, Item] = field(default_factory=dict, init=False, repr=False)
    origin: Origin | None = field(default=None, init=False, repr=False)
    window: Window | None = field(default=None, init=False, repr=False)
    blank_rows: int = field(default=0, init=False, repr=False)

    @property
    def patience(self) -> float:
        """Seconds before the progress of the call is shown."""
        if self.configuration.patience is not None:
            return self.configuration.patience
        return LOCAL_PATIENCE if self.route.painted else PATIENCE

    def peek(self, most: int) -> tuple[Item, ...]:
        """Return the first items without consuming them.

        Raises:
            OptionError: A row is invalid.
        """
        first = tuple(islice(self.items, most))
        self.items = chain(first, self.items)
        return first

    def peek_planned(self) -> tuple[tuple[ImageRequest, ...], bool]:
        """Return the requests that a dry run reads, and whether there are more.

        The input images of rows are read only if the plan looks the requests up in the library.

        Raises:
            OptionError: A row is invalid.
        """
        most = _MAX_PLANNED_LAZY if self.lazy else _MAX_PLANNED
        items = self.peek(most + 1)
        if self.lazy:
            self.progress.note("The plan has read the generator: create it again before a run.")
        planned = [item for item in items[:most] if not item.blank]
        self.blank_rows = len(items[:most]) - len(planned)
        looked_up = len(planned) <= MAX_LOOKED_UP
        requests = tuple(item.identify() if looked_up else item.request for item in planned)
        return requests, len(items) > most

    def so_far(self) -> Callable[[], ImageBatch]:
        """Return a function that returns the first cards, with placeholders for missing images.

        A generator is not read ahead, so its prompts have no placeholders.

        Raises:
            OptionError: A request is invalid.
        """
        return partial(self._first_cards, () if self.lazy else self.peek(SHOWN + 1))

    def _first_cards(self, items: Sequence[Item]) -> ImageBatch:
        results = self.progress.results
        shown = []
        for number in range(len(items) or SHOWN + 1):
            pictures = results.get(number)
            if pictures is None and items and not items[number].blank:
                request = items[number].request
                pictures = [Picture(request=request, status="pending")] * request.n
            shown.append((number, pictures or []))
        return self._batch(shown, most=SHOWN)

    def collect(self, maker: Maker) -> ImageBatch:
        """Return the images that have arrived as a batch. Never raises.

        After the end of a call with a table, the batch also has a card for each row that was not
        sent, of at most 100,000 rows that were not read.

        Args:
            maker: The session, for methods of the images such as `edit`.
        """
        progress, summary = self.progress, None
        if self.many:
            summary = arguments.as_called(self._summary())
        elif progress.cost_usd and progress.images > 1:
            summary = f"{dollars(progress.cost_usd)} spent."
        results, items = dict(progress.results), dict(self.taken)
        of_table = self.many and not self.chosen and self.options.each is not True
        if self.over and of_table:  # the batch has every row
            items = dict(enumerate(self.ahead)) | self._unread() | items
            for number in items.keys() - results.keys():
                results[number] = [unsent_card(items[number])]
                items[number].origin = items[number].origin or self.origin
        return self._batch(
            sorted(results.items()),
            maker,
            notes=map(arguments.as_called, [*self.announced, *progress.notes]),
            items=items,
            summary=summary,
            undrawn=self.mark_unshown,
        )

    def _unread(self) -> dict[int, Item]:
        """Return items that were not taken by a call that has ended, by number."""
        if self.lazy:
            return {}
        with suppress(OptionError, ValueError):  # ValueError: a cancelled thread still reads
            return dict(enumerate(self.peek(_CHECKED), len(self.taken)))
        return {}

    def images_of(
        self, number: int, pictures: list[Picture], maker: Maker
    ) -> tuple[GeneratedImage, ...]:
        """Return the images of request `number`, for a stream."""
        return self._batch([(number, pictures)], maker).images

    def _summary(self) -> str:
        """Return the last line of a grid with many prompts: counts and the cost."""
        progress = self.progress
        noun = "requests" if self.chosen else "prompts"
        parts = [f"{progress.done} of {progress.expected or progress.done} {noun}"]
        if progress.replayed:
            parts.append(f"{progress.replayed} from your library")
        if progress.cost_usd:
            parts.append(f"{dollars(progress.cost_usd)} spent")
        elif progress.replayed and not progress.unpriced:
            parts.append("nothing spent")
        if progress.unpriced:
            parts.append(f"the cost of {progress.unpriced} unknown")
        if progress.skipped:
            noun = "row" if progress.skipped == 1 else "rows"
            parts.append(f"{progress.skipped:,} blank {noun} skipped")
        if progress.failed:
            parts.append(f"{progress.failed} failed")
        if progress.unsent:
            parts.append(f"{progress.unsent} not sent: {progress.unsent_because}")
            parts[-1] += f". {progress.unsent_cure} and run the cell again to generate the rest"
        elif self.interrupted and progress.done != progress.expected:
            parts.append("interrupted: run the cell again to generate the rest")
        return ", ".join(parts) + "."

    def export(self, batch: ImageBatch) -> None:
        """Export the images of the call, if `--export` is set.

        Raises:
            ExportError: A file cannot be written. The images are in the library.
        """
        if self.options.export is not None:
            batch.export(
                self.options.export or None,
                metadata=self.options.metadata,
                name=self.options.name,
            )

    def _batch(
        self,
        results: Iterable[tuple[int, list[Picture]]],
        maker: Maker | None = None,
        *,
        items: Mapping[int, Item] | None = None,
        most: int | None = None,
        **parts: Any,
    ) -> ImageBatch:
        """Return the pictures of requests as a batch with the display options of the call.

        Args:
            results: Numbers of requests and their pictures.
            maker: See `collect`.
            items: The items by number; default: those taken.
            most: Maximum number of cards.
            **parts: Other arguments of `ImageBatch`.
        """
        chosen, options = self.chosen, self.options
        items = self.taken if items is None else items
        images: list[GeneratedImage] = []
        for number, pictures in results:
            item = items.get(number)
            images += [
                GeneratedImage(
                    picture,
                    index=index,
                    chosen=chosen[number] if chosen else (),
                    row=None if item is None else item.row,
                    key=None if item is None else item.key,
                    maker=maker,
                    item=item,
                )
                for index, picture in enumerate(pictures)
            ]
        return ImageBatch(
            images if most is None else first_cards(images, most),
            name=options.as_,
            columns=options.columns,
            captions=options.captions,
            full=options.full,
            compare=options.compare,
            index_names=self.index_names,
            **parts,
        )


def prepare_call(
    prompt: str | None,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    namespace: Mapping[str, Any],
    *,
    template: bool = False,
    settings: Configuration | None = None,
    find_by_id: PictureFinder | None = None,
    reruns: bool | None = None,
) -> Call:
    """Check options, prompt and input images.

    Args:
        prompt: The prompt as written; with `each`, the prompts, one per line.
        given: Options by their names in the option table.
        defaults: Values of `%config XaiImage`.
        namespace: Variables for `{{ … }}`, `--image` and `--each`.
        template: Whether the prompt is a template with `{{ … }}`. Otherwise it is sent unchanged.
            Options that are templates of a row come as `RowTemplate`; see `fill_options`.
        settings: Configuration; default: the environment.
        find_by_id: Finds images of the library by their ids.
        reruns: Whether the caller's code is rerun automatically; None finds out in this thread.

    Raises:
        OptionError: An option, the prompt or an input image is invalid.
        ConfigurationError: An environment variable or a configured value is invalid, or the server
            needs a key.
    """
    if reruns_by_itself() if reruns is None else reruns:
        defaults = {"reuse": True, **defaults}
    given = {
        arguments.ALIASES.get(name, name): value
        for name, value in given.items()
        if value is not None
    }
    per_row = {name: value for name, value in given.items() if reads_row(value)}
    fixed = {name: value for name, value in given.items() if name not in per_row}
    options = arguments.resolve(fixed, defaults)
    configuration = Configuration.for_call(settings, defaults)
    route = choose_route(configuration, local=options.local)  # raises now if the key is missing
    fresh = (options.fresh or not configuration.replay) and not options.redo
    make = partial(Call, options, configuration, route, fresh=fresh)
    inputs = load_inputs(options.image, namespace, find_by_id) if options.image else Inputs()
    if options.each is not None and options.each is not False:
        table = _Table(prompt, options, inputs, namespace, per_row, fixed, defaults, find_by_id)
        call = table.call(make, template=template)
    else:
        if options.key is not None:
            raise OptionError("--key names a column of a table. Give the table: --each TABLE.")
        call = _prepare_one(make, prompt, options, inputs, namespace if template else None)
    for note in inputs.notes:
        call.progress.note(note)
    if options.redo and call.progress.expected is not None:
        items = call.ahead or call.peek(MAX_VARIANTS)
        check_redo(options.redo, sum(1 if item.blank else item.request.n for item in items))
    return call


def check_redo(indices: Sequence[int], total: int) -> None:
    """Check the indices of images to be regenerated.

    Args:
        indices: Indices in the batch, from 0.
        total: Number of images in the batch.

    Raises:
        OptionError: An index is out of range.
    """
    for index in indices:
        if not 0 <= index < total:
            valid = f"0 to {total - 1}" if total > 1 else "only 0"
            raise OptionError(f"--redo: image {index} does not exist. Give {valid}.")


def _request(prompt: str, model: str, options: Options, inputs: Inputs) -> ImageRequest:
    """Return the request for a prompt, after removing the white space around the prompt."""
    prompt = prompt.strip()
    if is_blank(prompt):
        raise OptionError("The prompt is empty. Write what the image should show.")
    return options.request(prompt, model, inputs.images)


def _prepare_one(
    make: _Make,
    prompt: object,
    options: Options,
    inputs: Inputs,
    namespace: Mapping[str, Any] | None,
) -> Call:
    """Return the call for one prompt; a comparison of models or wordings has several requests.

    The prompt is a template if a namespace is given.
    """
    if prompt is None:
        hint = f" (--export took {options.export!r} for its folder.)" if options.export else ""
        raise OptionError(f"The prompt is missing. Write what the image should show.{hint}")
    if not isinstance(prompt, str):
        raise OptionError(
            f"The prompt is a {type(prompt).__name__}, not text. Prompts of a list go into each=."
        )
    if namespace is not None:
        prompt = fill(prompt, namespace)
    axes: dict[str, Any] = {}
    variants = [Variant(prompt, ())]
    if options.matrix is not None:
        axes = parse_axes(options.matrix)
        variants = expand_variants(prompt, needed=not axes)
    models = axes.pop("model", options.model)
    most = len(variants) * prod(map(len, axes.values())) * len(models)
    if most > MAX_VARIANTS:
        raise OptionError(f"--matrix: {most:,} combinations are more than {MAX_VARIANTS}.")
    items, chosen = [], []
    for variant, values, model in product(variants, product(*axes.values()), models):
        changes: dict[str, Any] = dict(zip(axes, values, strict=True))
        own = replace(options, **changes)
        items.append(Item(_request(variant.prompt, model, own, inputs), own))
        labels = [f"{name.replace('_', ' ')} {value}" for name, value in changes.items()]
        chosen.append((*variant.chosen, *labels, *([model] if len(models) > 1 else [])))
    if len(items) == 1:
        return make(iter(items), Progress(images=options.n))
    progress = Progress(expected=len(items), images=options.n * len(items))
    return make(iter(items), progress, many=True, chosen=tuple(chosen))


PER_ROW: Final = frozenset({"aspect_ratio", "image", "model", "n", "quality", "resolution", "user"})
"""Options that can differ between the rows of a table."""
UNSENT: Final = "Not sent: the call ended before."


def reads_row(value: Any) -> bool:
    """Tell whether the value of an option is a template of a row."""
    parts = value if isinstance(value, list) else [value]
    return any(isinstance(part, RowTemplate) for part in parts)


def unsent_card(item: Item) -> Picture:
    """Return the card of an item that was not sent because the call ended, or that is blank."""
    if item.blank:
        return blank_card(item.request, item.reason)
    request = replace(item.request, inputs=())
    model = item.request.model
    return Picture(request=request, status="unsent", error=UNSENT, model=model, cost_usd=0.0)


@dataclass(slots=True)
class _Table:
    """The requests of `--each`.

    The prompts come from a column, from the lines of the body, or from a template that is filled in
    for each row. Only what the user typed is a template; rows are data.

    Attributes:
        prompt: The prompt or the body of the cell, as written.
        options: The options of the call.
        inputs: Input images of all rows.
        namespace: The user's variables by name.
        per_row: Options whose values are templates of a row.
        fixed: The other given options.
        defaults: Values of `%config XaiImage`.
        find_by_id: Finds images of the library by their ids.
    """

    prompt: str | None
    options: Options
    inputs: Inputs
    namespace: Mapping[str, Any]
    per_row: Mapping[str, Any]
    fixed: Mapping[str, Any]
    defaults: Mapping[str, Any]
    find_by_id: PictureFinder | None
    _resolved: dict[Any, Options] = field(default_factory=dict)
    _base: Options = field(init=False)

    def __post_init__(self) -> None:
        """Omit the table from the options of rows, so that results do not keep it in memory."""
        self._base = replace(self.options, each=None)

    def call(self, make: _Make, *, template: bool) -> Call:
        """Return the call; see `prepare_call`."""
        options, prompt = self.options, self.prompt
        source = options.each
        by_row: str | None = None
        if source is True:
            if prompt is None or is_blank(prompt):
                raise OptionError(
                    "--each: the cell has no prompts. Write one per line, or name a variable."
                )
            source = tables.split_lines(prompt)
        elif prompt is not None and not is_blank(prompt):
            by_row = prompt
        if len(options.model) > 1 or options.matrix is not None:
            raise OptionError(
                "--each takes one --model and no --matrix. Omit --each to compare models or "
                "wordings."
            )
        columns = self._columns(by_row, template=template)
        namespace = {} if isinstance(source, DataText) else self.namespace
        rows = tables.read_rows(source, namespace, columns)
        lines = template and options.each is True
        items = self._items(rows, by_row, columns, lines=lines)
        # Find errors in a list or file of usual size before anything is sent.
        loads = "image" in self.per_row
        most = _READ_AHEAD_IMAGES if loads else _READ_AHEAD
        ahead = [] if rows.lazy else list(islice(items, most))
        checked: Iterable[Item] = ahead
        names = options.name is not None and options.export is not None
        if len(ahead) == most and rows.again is not None and (columns.named or names):
            again = replace(rows, rows=rows.again())
            checked = islice(self._items(again, by_row, columns, lines=lines), _CHECKED)
        if names:
            _check_names(options, (item for item in checked if not item.blank))
        for _ in checked:  # further rows are checked and not kept
            pass
        prompts = [item for item in ahead if not item.blank]
        if ahead and not prompts and len(ahead) < most:
            reason = (ahead[0].reason or "").removeprefix("Skipped: ")
            raise OptionError(
                f"{rows.source.where}: all prompts are blank. "
                f"{reason or 'Check the template and the rows.'}"
            )
        known = 0 < len(ahead) < most
        images = sum(item.request.n for item in prompts)
        expected = len(prompts) if known else rows.length
        progress = Progress(
            expected=expected, images=images if known else options.n * (expected or 1)
        )
        for note in rows.notes:
            progress.note(note)
        items = _counted(chain(ahead, items), progress)
        return make(
            items, progress, lazy=rows.lazy, loads=loads, many=True, ahead=ahead,
            index_names=rows.index_names,
        )  # fmt: skip

    def _columns(self, by_row: str | None, *, template: bool) -> tables.Columns:
        """Return the columns that the call reads.

        Raises:
            OptionError: The template does not read the row, or an option cannot depend on it.
        """
        options = self.options
        if others := sorted(self.per_row.keys() - PER_ROW):
            flags = ", ".join(f"--{name.strip('_').replace('_', '-')}" for name in others)
            raise OptionError(
                f"{flags}: the value is one for the whole call, so it cannot read `row`. Options "
                f"that can: {', '.join(sorted(PER_ROW))}."
            )
        if options.batch and "image" in self.per_row:
            raise OptionError(
                "--batch sends the same input images with every request, so --image cannot read "
                "`row`. Omit --batch."
            )
        if options.key is not None and options.each is True:
            raise OptionError("--key names a column, but the lines of a cell have no columns.")
        if by_row is not None and not template:
            raise OptionError(
                "each= has prompts of its own. To fill in the prompt for each row, write "
                "{{ row.column }} in it and add template=True. Otherwise, leave the prompt empty."
            )
        of_prompt = row_columns([by_row or ""])
        of_options = {
            column
            for value in self.per_row.values()
            for column in row_columns(value if isinstance(value, list) else [value])
        }
        if by_row is not None and not of_prompt and not of_options:
            fill(by_row, self.namespace)  # which refuses misspelt names
            raise OptionError(
                "--each: the prompt is the same for every row. Read the row in it, such as "
                "{{ row.column }}. For prompts in a column, omit the prompt: --each TABLE."
            )
        return tables.Columns(by_row is None, of_prompt | of_options, options.key)

    def _items(
        self, rows: tables.Rows, by_row: str | None, columns: tables.Columns, *, lines: bool
    ) -> Iterator[Item]:
        """Yield an item for each row.

        Args:
            rows: The rows.
            by_row: The template of the prompt; None: the rows contain the prompts.
            columns: The columns that the call reads.
            lines: Whether the rows are lines of a cell, each of which is a template.
        """
        for row in rows:
            prompt, options, reason = row.prompt or "", self._base, None
            if lines:
                prompt = fill(prompt, self.namespace)
            elif columns.named and (prompt or by_row is not None):
                prompt, options, reason = self._filled(rows, row, by_row)
            prompt = "" if is_blank(prompt) else prompt.strip()
            if prompt and options.key is not None and row.key is None:
                raise OptionError(
                    f"{rows.locate(row)}: the key is missing. Fill in the column {options.key!r}, "
                    "or name another column."
                )
            request = options.request(prompt, options.model[0], self.inputs.images)
            item = Item(request, options, row.label, row.key, reason)
            if prompt and "image" in self.per_row:
                item.load = partial(load_inputs, options.image, self.namespace, self.find_by_id)
            yield item

    def _filled(
        self, rows: tables.Rows, row: tables.Row, by_row: str | None
    ) -> tuple[str, Options, str | None]:
        """Return the prompt and the options of a row.

        If a cell that is read is blank, the prompt is empty, and the reason is returned as well.
        """
        try:
            prompt, values = fill_row(by_row or "", self.per_row, row.fields, self.namespace)
            options = self._options(values)
            for value in options.image if "image" in self.per_row else ():
                check_file(value)
        except MissingCellError as error:
            return "", self._base, f"Skipped: {error}"
        except OptionError as error:
            raise OptionError(f"{rows.locate(row)}: {error}") from error
        return (row.prompt or "") if by_row is None else prompt, options, None

    def _options(self, values: Mapping[str, Any]) -> Options:
        """Return the options of a row with the given values; equal values share the result."""
        if not values:
            return self._base
        try:
            known = self._resolved.get(key := tuple(map(_as_key, values.items())))
        except Exception:  # noqa: BLE001  # an image without a hash, or whose comparison fails
            known = key = None
        if known is not None:
            return known
        given = {**self.fixed, **values, "each": None}
        options = replace(arguments.resolve(given, self.defaults), key=self.options.key)
        if len(options.model) > 1:
            raise OptionError("--model: a row takes one model.")
        if key is not None and len(self._resolved) < _MAX_RESOLVED:
            self._resolved[key] = options
        return options


_MAX_RESOLVED: Final = 1_000
"""Different options of rows that are remembered."""


def _as_key(pair: tuple[str, Any]) -> tuple[str, Any]:
    name, value = pair
    value = tuple(value) if isinstance(value, list) else value
    return name, (type(value), value)


def _check_names(options: Options, items: Iterable[Item]) -> None:
    """Check the names that the export gives to the images of a table, before they are made.

    Raises:
        ExportError: A name is invalid, or two images have the same name.
    """
    cards = [
        Card(
            Picture(request=item.request, sha256=f"{number:08}"),  # all digests differ
            index=index,
            row=item.row,
            key=item.key,
        )
        for number, (item, index) in enumerate(
            (item, index) for item in items for index in range(item.request.n)
        )
    ]
    plan_names(cards, NamePattern.parse(options.name or ""), every=cards)


def _next_item(items: Iterator[Item]) -> Item | None:
    """Return the next item; None after the last. Runs the user's code in a worker thread.

    Raises:
        OptionError: The source called `sys.exit()`, which would end the background loop.
    """
    try:
        return next(items, None)
    except Exception:
        raise
    except BaseException as error:
        raise OptionError(f"--each: {type(error).__name__}: {error}.") from error


def _without_data(request: ImageRequest) -> ImageRequest:
    """Return a request without the data of its input images; it keeps their digests."""
    return replace(request, inputs=tuple(replace(image, url="") for image in request.inputs))


def _counted(items: Iterable[Item], progress: Progress) -> Iterator[Item]:
    """Yield the items, then set `progress.expected` to the number of prompts."""
    number = 0
    for item in items:
        number += not item.blank
        yield item
    progress.expected = number
