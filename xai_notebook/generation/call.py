"""One call: prepare it from the user's input, pace its requests, collect its images.

Nothing is sent here. A `Call` holds the whole state of a call: its options and requests, and its
slots, limits, bundles and ingest, which the session sets when it opens the call.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count, islice, product
from math import prod
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.arguments import options as arguments
from xai_notebook.arguments import tables
from xai_notebook.arguments.inputs import Inputs, load_inputs
from xai_notebook.arguments.options import parse_axes
from xai_notebook.arguments.tables import MAX_VARIANTS, Variant, expand_variants
from xai_notebook.arguments.templates import DataText, fill
from xai_notebook.client.request import ImageRequest, is_blank
from xai_notebook.errors import BudgetError, NotKeptError, OptionError, XaiError
from xai_notebook.frontend import reruns_by_itself
from xai_notebook.generation.backends import choose_route
from xai_notebook.generation.progress import Progress
from xai_notebook.pictures.picture import SHOWN, Picture, first_cards
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
    from xai_notebook.generation.budget import Limits
    from xai_notebook.generation.bundles import BundleLookup
    from xai_notebook.generation.ingest import Ingest
    from xai_notebook.generation.replay import SlotClaims
    from xai_notebook.pictures.results import Maker

    _Make = Callable[..., "Call"]

_READ_AHEAD: Final = 10_000
"""Prompts of a list or a file that are read before anything is sent."""
_MAX_PLANNED: Final = 100_000
"""Maximum requests that a dry run reads."""
_MAX_PLANNED_LAZY: Final = 100
"""The same limit for a generator, which may be slow."""
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

    async def take(self, call: Call) -> tuple[int, ImageRequest] | None:
        """Return the next request of a call and its number, from 0; None after the last."""
        try:
            if call.lazy:
                async with self._reading:  # a generator cannot run in two threads at once
                    request = await asyncio.to_thread(next, call.requests, None)
            else:
                request = next(call.requests, None)
        except OptionError as error:
            self.read_error = error
            return None
        return None if request is None else (next(self._numbers), request)

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
        requests: Iterator of one request per prompt.
        progress: Counters and results.
        fresh: Whether to generate new images; stored ones then only complete an earlier call.
        lazy: Whether `requests` runs user code, such as a generator, which may never end.
        many: Whether the call has several requests; failures are then shown as cards instead of
            raised.
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
        window: Limits the requests ahead of the consumer of a stream; None: the call is no stream.
    """

    options: Options
    configuration: Configuration
    route: Route
    requests: Iterator[ImageRequest]
    progress: Progress
    fresh: bool = False
    lazy: bool = False
    many: bool = False
    interrupted: bool = False
    chosen: tuple[tuple[str, ...], ...] = ()
    announced: list[str] = field(default_factory=list)
    mark_unshown: Callable[[], None] | None = None
    claims: SlotClaims = field(init=False, repr=False)
    limits: Limits = field(init=False, repr=False)
    bundles: BundleLookup = field(init=False, repr=False)
    ingest: Ingest = field(init=False, repr=False)
    rewriter: PromptRewriter | None = field(default=None, init=False, repr=False)
    pace: Pace | None = field(default=None, init=False, repr=False)
    window: Window | None = field(default=None, init=False, repr=False)

    def peek(self, most: int) -> tuple[ImageRequest, ...]:
        """Return the first requests without consuming them.

        Raises:
            OptionError: A request is invalid.
        """
        first = tuple(islice(self.requests, most))
        self.requests = chain(first, self.requests)
        return first

    def peek_planned(self) -> tuple[tuple[ImageRequest, ...], bool]:
        """Return the requests that a dry run reads, and whether there are more.

        Raises:
            OptionError: A request is invalid.
        """
        most = _MAX_PLANNED_LAZY if self.lazy else _MAX_PLANNED
        requests = self.peek(most + 1)
        if self.lazy:
            self.progress.note("The plan has read the generator: create it again before a run.")
        return requests[:most], len(requests) > most

    def so_far(self) -> Callable[[], ImageBatch]:
        """Return a function that returns the first cards, with placeholders for missing images.

        A generator is not read ahead, so its prompts have no placeholders.

        Raises:
            OptionError: A request is invalid.
        """
        return partial(self._first_cards, () if self.lazy else self.peek(SHOWN + 1))

    def _first_cards(self, requests: Sequence[ImageRequest]) -> ImageBatch:
        results = self.progress.results
        shown = []
        for number in range(len(requests) or SHOWN + 1):
            pictures = results.get(number)
            if pictures is None and requests:
                request = requests[number]
                pictures = [Picture(request=request, status="pending")] * request.n
            shown.append((number, pictures or []))
        return self._batch(shown, most=SHOWN)

    def collect(self, maker: Maker) -> ImageBatch:
        """Return the images that have arrived as a batch. Never raises.

        Args:
            maker: The session, for methods of the images such as `edit`.
        """
        progress, summary = self.progress, None
        if self.many:
            summary = self._summary()
        elif progress.cost_usd and progress.images > 1:
            summary = f"{dollars(progress.cost_usd)} spent."
        return self._batch(
            sorted(progress.results.copy().items()),  # the call may still be running
            maker,
            notes=[*self.announced, *progress.notes],
            summary=summary,
            undrawn=self.mark_unshown,
        )

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
        if progress.failed:
            parts.append(f"{progress.failed} failed")
        if progress.unsent:
            parts.append(f"{progress.unsent} not sent: {progress.unsent_because}")
            parts[-1] += f". {progress.unsent_cure} and run the cell again to generate the rest"
        elif self.interrupted:
            parts.append("interrupted: run the cell again to generate the rest")
        return ", ".join(parts) + "."

    def export(self, batch: ImageBatch) -> None:
        """Export the images of the call, if `--export` is set.

        Raises:
            ExportError: A file cannot be written. The images are in the library.
        """
        if self.options.export is not None:
            batch.export(self.options.export or None, metadata=self.options.metadata)

    def _batch(
        self,
        results: Iterable[tuple[int, list[Picture]]],
        maker: Maker | None = None,
        *,
        most: int | None = None,
        **parts: Any,
    ) -> ImageBatch:
        """Return the pictures of requests as a batch with the display options of the call.

        `most` is the maximum number of cards; `parts` are other arguments of `ImageBatch`.
        """
        chosen, options = self.chosen, self.options
        images = [
            GeneratedImage(
                picture, index=index, chosen=chosen[number] if chosen else (), maker=maker
            )
            for number, pictures in results
            for index, picture in enumerate(pictures)
        ]
        return ImageBatch(
            images if most is None else first_cards(images, most),
            name=options.as_,
            columns=options.columns,
            captions=options.captions,
            full=options.full,
            compare=options.compare,
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
) -> Call:
    """Check options, prompt and input images.

    Args:
        prompt: The prompt as written; with `each`, the prompts, one per line.
        given: Options by their names in the option table.
        defaults: Values of `%config XaiImage`.
        namespace: Variables for `{{ … }}`, `--image` and `--each`.
        template: Whether the prompt is a template with `{{ … }}`. Otherwise it is sent unchanged.
        settings: Configuration; default: the environment.
        find_by_id: Finds images of the library by their ids.

    Raises:
        OptionError: An option, the prompt or an input image is invalid.
        ConfigurationError: An environment variable or a configured value is invalid, or the server
            needs a key.
    """
    if reruns_by_itself():
        defaults = {"reuse": True, **defaults}
    options = arguments.resolve(given, defaults)
    configuration = Configuration.for_call(settings, defaults)
    route = choose_route(configuration, local=options.local)  # raises now if the key is missing
    fresh = (options.fresh or not configuration.replay) and not options.redo
    make = partial(Call, options, configuration, route, fresh=fresh)
    inputs = load_inputs(options.image, namespace, find_by_id) if options.image else Inputs()
    if options.each is not None and options.each is not False:
        call = _prepare_each(make, prompt, options, inputs, namespace, template=template)
    else:
        call = _prepare_one(make, prompt, options, inputs, namespace if template else None)
    for note in inputs.notes:
        call.progress.note(note)
    if options.redo and call.progress.expected is not None:
        check_redo(options.redo, call.progress.images)
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
    requests, chosen = [], []
    for variant, values, model in product(variants, product(*axes.values()), models):
        changes: dict[str, Any] = dict(zip(axes, values, strict=True))
        requests.append(_request(variant.prompt, model, replace(options, **changes), inputs))
        labels = [f"{name.replace('_', ' ')} {value}" for name, value in changes.items()]
        chosen.append((*variant.chosen, *labels, *([model] if len(models) > 1 else [])))
    if len(requests) == 1:
        return make(iter(requests), Progress(images=options.n))
    progress = Progress(expected=len(requests), images=options.n * len(requests))
    return make(iter(requests), progress, many=True, chosen=tuple(chosen))


def _prepare_each(
    make: _Make,
    prompt: str | None,
    options: Options,
    inputs: Inputs,
    namespace: Mapping[str, Any],
    *,
    template: bool,
) -> Call:
    """Return the call for `--each`; the prompts are in its value, or are the lines of the body.

    Only the lines of a body are templates; the prompts of a variable or a file are data.
    """
    source = options.each
    templates = template and source is True
    if source is True:
        if prompt is None or is_blank(prompt):
            raise OptionError(
                "--each: the cell has no prompts. Write one per line, or name a variable."
            )
        source = tables.split_lines(prompt)
    elif prompt is not None and prompt.strip():
        raise OptionError("--each NAME brings its own prompts. Leave the body empty.")
    if len(options.model) > 1 or options.matrix is not None:
        raise OptionError("--each takes one --model and no --matrix. Compare with one prompt.")
    prompts = tables.read_prompts(source, {} if isinstance(source, DataText) else namespace)
    texts: Iterator[str] = prompts
    if templates:
        texts = (fill(text, namespace) for text in texts)
    # Find errors in a list or file of usual size before anything is sent.
    ahead = [] if prompts.lazy else list(islice(texts, _READ_AHEAD))
    expected = len(ahead) if 0 < len(ahead) < _READ_AHEAD else prompts.length
    progress = Progress(expected=expected, images=options.n * (expected or 1))
    for note in prompts.notes:
        progress.note(note)
    texts = _counted(chain(ahead, texts), progress)
    requests = (_request(text, options.model[0], options, inputs) for text in texts)
    return make(requests, progress, lazy=prompts.lazy, many=True)


def _counted(texts: Iterable[str], progress: Progress) -> Iterator[str]:
    """Yield the prompts, then set `progress.expected` to their number."""
    number = 0
    for number, text in enumerate(texts, 1):  # noqa: B007  # used after the loop
        yield text
    progress.expected = number
