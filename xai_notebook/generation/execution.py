"""A prepared call answered, on the background loop.

Separate because the session holds state and this module has none.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from xai_notebook.errors import (
    AuthenticationError,
    BudgetError,
    NotKeptError,
    OptionError,
    PermissionDeniedError,
    RateLimitError,
    XaiError,
)
from xai_notebook.frontend import notebook_name
from xai_notebook.generation.budget import PriceKey, to_ticks
from xai_notebook.generation.call import check_redo
from xai_notebook.generation.generator import ClaimedRequest, Generator
from xai_notebook.generation.ingest import Ingest
from xai_notebook.generation.replay import Claim
from xai_notebook.library import SlotQuery
from xai_notebook.library.spending import TICKS
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.render.tables import Plan
from xai_notebook.pictures.render.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aiolimiter import AsyncLimiter

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.transport.retry import Attempt
    from xai_notebook.generation.backends import Backend
    from xai_notebook.generation.budget import Limits
    from xai_notebook.generation.bundles import BundleLookup
    from xai_notebook.generation.call import Call
    from xai_notebook.generation.progress import Progress
    from xai_notebook.generation.replay import SlotClaims
    from xai_notebook.library import Library
    from xai_notebook.library.records import Slot
    from xai_notebook.pictures.picture import Status

__all__ = [
    "Availability",
    "answer",
    "expected_costs",
    "generate_each",
    "generator_of",
    "look_up_each",
    "plan",
    "redo",
]

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_ROUNDS: Final = 8
"""How often a prompt comes back after the server said "too many requests"."""
_HOPELESS: Final = (AuthenticationError, PermissionDeniedError)
"""Failures that every further prompt would share."""


@dataclass(slots=True)
class _Pace:
    """When the next request may go out: the user's rate, and pauses the server asked for.

    Attributes:
        limiter: The user's rate; None: no limit.
        pause: Seconds of the last pause, 0 since a request succeeded.
        resume: When it ends, on the monotonic clock.
        answered: Requests that succeeded.
        failure: What no further request could escape.
        refused: Why the first request was not sent that a budget or the disk refused.
    """

    limiter: AsyncLimiter | None
    pause: float = 0.0
    resume: float = 0.0
    answered: int = 0
    failure: XaiError | None = None
    refused: BudgetError | NotKeptError | None = None

    async def wait(self) -> None:
        if self.failure is not None:
            raise self.failure
        # `resume` may be put off meanwhile, which no event would tell.
        while (delay := self.resume - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(delay)
        if self.limiter is not None:
            await self.limiter.acquire()

    def on_attempt(self, attempt: Attempt) -> None:
        """Hold the others back too, as soon as one of them hears of the limit."""
        if attempt.error_code == "RESOURCE_EXHAUSTED":
            self.slow_down()

    def slow_down(self) -> None:
        """Hold every worker back, longer each time the server complains again."""
        now = time.monotonic()
        if now >= self.resume:  # several workers hit the same limit at once: count it once
            self.pause = min(max(self.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            self.resume = now + self.pause

    def speed_up(self) -> None:
        self.pause = 0.0
        self.answered += 1


@dataclass(slots=True)
class _Source:
    """The requests, taken one at a time.

    Attributes:
        numbered: Each with its number, from 0.
        lazy: Reading them runs the user's own code, which may take its time.
        failure: Why they ended before their end; what is under way is answered all the same.
    """

    numbered: Iterator[tuple[int, ImageRequest]]
    lazy: bool
    failure: OptionError | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self) -> tuple[int, ImageRequest] | None:
        """Return the next request; None: there is none."""
        try:
            if not self.lazy:
                return next(self.numbered, None)
            async with self._turn:  # a generator cannot be entered twice
                return await asyncio.to_thread(next, self.numbered, None)
        except OptionError as error:
            self.failure = error
            return None


async def generate_each(
    generator: Generator,
    requests: Iterator[ImageRequest],
    progress: Progress,
    *,
    concurrency: int,
    rate: float | None,
    lazy: bool = False,
) -> None:
    """Answer every request; results are in `progress`, complete or as far as it came.

    Args:
        generator: Answers one request.
        requests: Read one at a time, as workers become free.
        progress: Takes images and counts.
        concurrency: Requests under way at the server at the same time.
        rate: Requests per second; None or 0: no limit.
        lazy: Reading `requests` runs the user's own generator, which may take its time.

    Raises:
        XaiError: The key is refused, the limit allows not even one request, or the server's rate
            limit lets nothing through: no further prompt could succeed. Or `requests` failed.
    """
    from aiolimiter import AsyncLimiter  # noqa: PLC0415  # 20 ms that one image need not pay

    # A bucket of one: requests go out evenly, as the server counts them.
    pace = _Pace(AsyncLimiter(1, 1 / rate) if rate else None)
    slots = asyncio.Semaphore(concurrency)
    ingest = generator.ingest

    async def before_send() -> None:
        await pace.wait()
        ingest.check_kept()

    generator = replace(generator, slots=slots, before_send=before_send, on_attempt=pace.on_attempt)
    source = _Source(enumerate(requests), lazy=lazy)

    # Twice as many: while one's reply is being saved, another's request is under way.
    workers = [
        asyncio.ensure_future(_work(generator, source, pace, progress))
        for _ in range(2 * concurrency)
    ]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if source.failure is not None:
        raise XaiError(f"{source.failure} What came before is kept.") from source.failure
    if pace.refused is not None and not progress.done:
        raise pace.refused


async def _work(generator: Generator, source: _Source, pace: _Pace, progress: Progress) -> None:
    """Answer one request after the other, until there are none or the limit is reached."""
    while not (source.lazy and progress.unsent) and (taken := await source.take()) is not None:
        number, request = taken
        try:
            images, failed = await _answer_one(generator, request, pace)
        except (BudgetError, NotKeptError) as error:
            pace.refused = pace.refused or error
            if isinstance(error, NotKeptError):
                progress.unsent_cure = error.cure
            progress.refused(number, [_card(request, error, "unsent")], error.reason)
        else:
            progress.answered(number, images, failed=failed)


async def _answer_one(
    generator: Generator, request: ImageRequest, pace: _Pace
) -> tuple[list[Picture], bool]:
    """Return the images of one request, or one card with the cause of its failure."""
    failure: XaiError | None = None
    claimed = await generator.place(request)
    answered = pace.answered
    for _ in range(_ROUNDS):
        try:
            images = await generator.answer(claimed)
        except RateLimitError as error:
            failure = error
            pace.slow_down()
            if error.maybe_billed:  # it is an error that says so, and never sent again
                return [_card(request, failure)], True
        except _HOPELESS as error:
            pace.failure = error
            raise
        except (BudgetError, NotKeptError):
            raise
        except XaiError as error:
            failure = error
            break
        else:
            pace.speed_up()
            return images, False
    if isinstance(failure, RateLimitError) and pace.answered == answered:
        pace.failure = failure
        raise failure  # minutes without a single success: the quota is used up
    return [_card(request, failure)], True


def _card(request: ImageRequest, error: XaiError | None, status: Status = "failed") -> Picture:
    return Picture(
        request=replace(request, inputs=()), status=status, error=f"{error}", model=request.model
    )


async def answer(call: Call, generator: Generator) -> None:
    """Answer the requests of a call, from the library or the server. `call.progress` has it all.

    Args:
        call: What to answer.
        generator: Of the call; see `generator_of`.

    Raises:
        XaiError: A request failed; of many, what no other could escape.
    """
    claims = generator.claims
    await claims.wait_turn()
    try:
        await _answer(call, generator)
    finally:
        await generator.ingest.remember_shown()
    claims.complete = call.progress.complete


async def _answer(call: Call, generator: Generator) -> None:
    claims = generator.claims
    if call.many:
        claims.leave_turn()  # reading its requests can take long, and runs the user's code
        configuration = call.configuration
        await generate_each(
            generator,
            call.requests,
            call.progress,
            concurrency=configuration.concurrency,
            rate=configuration.rate,
            lazy=call.lazy,
        )
    else:
        claimed = await generator.place(next(call.requests))
        call.progress.answered(0, await generator.answer(claimed))
    if call.options.redo:
        await _redo(call, generator)


async def _redo(call: Call, generator: Generator) -> None:
    """Make single images of an answered call anew."""
    results = call.progress.results
    where = [(number, at) for number in sorted(results) for at in range(len(results[number]))]
    check_redo(call.options.redo, len(where))
    chosen = {}
    for index in call.options.redo:
        number, at = where[index]
        if results[number][at].replayed:  # what has just been made is new
            chosen[index] = results[number][at]
    for index, picture in (await redo(chosen, generator)).items():
        number, at = where[index]
        if not picture.replayed and all(each.replayed for each in results[number]):
            call.progress.replayed -= 1
        results[number] = [*results[number][:at], picture, *results[number][at + 1 :]]
    call.progress.changed()


class Availability(NamedTuple):
    """What the library knows of a request.

    Attributes:
        stored: How many of its images answer it.
        rewritten: Whether its prompt was rewritten before, or needs no rewriting.
        claimed: The request at its place; None: it has none before its prompt is rewritten.
        ordered: How many of its other images are in a job that has not ended.
    """

    stored: int
    rewritten: bool
    claimed: ClaimedRequest | None = None
    ordered: int = 0


async def look_up_each(
    generator: Generator,
    requests: Sequence[ImageRequest],
    *,
    redo: Sequence[int] = (),
    batch: bool = False,
) -> list[Availability]:
    """Return what the library would answer. Nothing is sent.

    Args:
        generator: Of the call; its claims are for looking only, and have to be withdrawn.
        requests: As the user wrote them.
        redo: Images of them all that are to be made anew.
        batch: They are a job: running its cell again makes new images only with `fresh`.
    """
    all_claimed: list[ClaimedRequest | None] = []
    wanted: dict[int, SlotQuery] = {}
    made: dict[str, int] = {}
    repeated: dict[int, int] = {}
    stored_answers = generator.only_stored or (batch and not generator.fresh)
    for number, request in enumerate(requests):
        claimed = (await generator.look(request)).claimed
        all_claimed.append(claimed)
        if claimed is None:
            continue
        if not (claim := claimed.claim).anew or stored_answers:
            if generator.reuse:  # what an equal request before it has made is stored by then
                repeated[number] = made.get(claimed.fingerprint, 0)
                made[claimed.fingerprint] = max(repeated[number], request.n)
            wanted[number] = SlotQuery(
                claimed.fingerprint,
                None if generator.reuse else claim.place,
                request.n,
                claim.after,
                notebook=generator.ingest.notebook,
            )
    counts = dict.fromkeys(range(len(requests)), 0)
    for number, count in (await _count_stored(generator, all_claimed, wanted)).items():
        counts[number] = min(max(count, repeated.get(number, 0)), requests[number].n)
    if generator.only_stored:  # where its own place has too few, another has enough, or none
        short = [at for at in wanted if counts[at] < requests[at].n]
        anywhere = {at: replace(wanted[at], place=None) for at in short}
        counts |= await _count_stored(generator, all_claimed, anywhere)
    width = requests[0].n if requests else 1
    for number in (index // width for index in redo):
        counts[number] -= 1 if counts[number] else 0
    return [
        Availability(counts[number], claimed is not None, claimed)
        for number, claimed in enumerate(all_claimed)
    ]


async def _count_stored(
    generator: Generator,
    all_claimed: Sequence[ClaimedRequest | None],
    wanted: Mapping[int, SlotQuery],
) -> dict[int, int]:
    """Return how many images the library and the bundles have of each request that is wanted."""
    library = generator.ingest.library
    counts: dict[int, int] = {}
    if library is None:
        return counts
    found = await asyncio.to_thread(library.look_up, list(wanted.values()))
    for (number, one), stored in zip(wanted.items(), found, strict=True):
        claimed, pictures = all_claimed[number], stored.pictures
        if claimed is not None:
            pictures = await generator.fill(pictures, claimed, one.place)
        counts[number] = len(pictures)
    return counts


async def expected_costs(
    generator: Generator,
    requests: Sequence[ImageRequest],
    found: Sequence[Availability] | None,
    *,
    one_by_one: bool,
) -> list[float | None]:
    """Return what each request is expected to cost in US dollars; None: the price is unknown.

    Args:
        generator: Of the call.
        requests: As the user wrote them.
        found: What the library has of them; None: that was not looked up.
        one_by_one: Each image is asked for on its own, with all input images, as in a job.
    """
    prices, library, rewriter = (
        generator.backend.prices,
        generator.ingest.library,
        generator.rewriter,
    )
    rewrite = None if rewriter is None else await prices.rewrite(rewriter.model, library)
    known: dict[tuple[PriceKey, int], float | None] = {}
    rewritten: set[str] = set()
    costs: list[float | None] = []
    for number, request in enumerate(requests):
        have = Availability(0, rewriter is None) if found is None else found[number]
        count = request.n - have.stored - have.ordered
        if not count:
            costs.append(0.0)
            continue
        together = 1 if one_by_one else count
        kind = PriceKey.of(request), together
        if kind not in known:
            known[kind] = await prices.image_usd(request, together, library)
        cost = known[kind]
        if cost is not None:
            cost *= count // together
            if rewrite is not None and not have.rewritten and request.prompt not in rewritten:
                rewritten.add(request.prompt)  # equal prompts are rewritten once
                cost += rewrite.ticks / TICKS
        costs.append(cost)
    return costs


def generator_of(
    call: Call,
    claims: SlotClaims,
    backend: Backend,
    home: Library,
    limits: Limits,
    bundle_lookup: BundleLookup,
    recover: Callable[[], object],
) -> Generator:
    """Return what answers the requests of a call.

    Args:
        call: What to answer.
        claims: Its places.
        backend: The server of its route.
        home: Where everything is kept, though its database may not be open.
        limits: What it may spend.
        bundle_lookup: The bundles beside the notebook, which answer after the library.
        recover: Puts into the library what another process received before it died.
    """
    options, progress = call.options, call.progress
    library = home if home.failure is None else None
    return Generator(
        backend,
        Ingest(home, backend, progress, options.timeout, notebook_name()),
        claims,
        limits=limits,
        progress=progress,
        fresh=(options.fresh or not call.configuration.replay) and not options.redo,
        keep=bool(options.redo),
        only_stored=options.replay,
        timeout=options.timeout,
        rewriter=backend.rewriter(options, library, progress),
        uploads=library.uploads if call.many and library is not None else None,
        bundle_lookup=bundle_lookup,
        reuse=options.reuse,
        recover=recover,
    )


class _Anew(NamedTuple):
    """A picture to be made anew.

    Attributes:
        number: In the user's batch.
        picture: The one before it.
        slot: Their place.
    """

    number: int
    picture: Picture
    slot: Slot


async def redo(pictures: Mapping[int, Picture], generator: Generator) -> dict[int, Picture]:
    """Make pictures anew and return them, or what has been made anew for this pass before.

    Args:
        pictures: By their indices in the user's batch.
        generator: Of the call.

    Raises:
        OptionError: One is not in the library, or was made elsewhere.
        XaiError: A request failed. What others brought is in the library.
    """
    library = generator.ingest.library
    if library is None:
        raise OptionError("A picture can be made anew only with a library, which knows its place.")
    chosen = await asyncio.to_thread(_find_slots, pictures, generator, library)
    missing: dict[tuple[str, int], list[_Anew]] = {}
    done = {}
    for one in chosen:
        if await _has_to_be_made(one, generator, library):
            missing.setdefault((one.slot.fingerprint, one.slot.place), []).append(one)
        else:
            done[one.number] = one.picture
    made = await asyncio.gather(
        *(_make(group, generator) for group in missing.values()), return_exceptions=True
    )
    for found in made:
        if isinstance(found, BaseException):
            raise found
        done |= found
    return done


def _find_slots(
    pictures: Mapping[int, Picture], generator: Generator, library: Library
) -> list[_Anew]:
    """Return where pictures belong.

    Raises:
        OptionError: One is not in the library, or was made elsewhere.
    """
    backend = generator.backend
    found = []
    for index, picture in pictures.items():
        slot = None if picture.id is None else library.slot_of(picture.id)
        if slot is None:
            raise OptionError(
                f"Image {index} is not in the library, so nothing can take its place. "
                "Run its cell again: it makes what is missing."
            )
        if picture.request.fingerprint(backend.kind, backend.host) != slot.fingerprint:
            raise OptionError(
                f"Image {index} was asked of {slot.host} with all its input images. "
                "Run its cell with --redo instead."
            )
        found.append(_Anew(index, picture, slot))
    return found


async def _has_to_be_made(one: _Anew, generator: Generator, library: Library) -> bool:
    """Claim the right to have a picture made anew; False: it has been, in a pass before."""
    slot = one.slot
    key = f"redo {slot.fingerprint} {slot.place} {slot.position}"
    claim = generator.claims.claim(hashlib.sha256(key.encode()).hexdigest(), 1, fresh=False)
    if claim.anew:
        generator.claims.begin(claim, await asyncio.to_thread(library.newest))
        return True
    before = await asyncio.to_thread(
        library.redone, slot, notebook=generator.ingest.notebook, image_id=one.picture.id or 0
    )
    return len(before) <= claim.place or before[-1] <= claim.after


async def _make(group: list[_Anew], generator: Generator) -> dict[int, Picture]:
    """Have images of one request made anew, by one request."""
    group = sorted(group, key=lambda one: one.slot.position)
    slot, request = group[0].slot, group[0].picture.request
    claim = Claim(
        (bytes.fromhex(slot.fingerprint)[:16], slot.place), 0, request.n,
        anew=True, after=0, before=None,
    )  # fmt: skip
    claimed = ClaimedRequest(request, slot.fingerprint, claim)
    made = await generator.make_anew(claimed, [one.slot.position for one in group])
    return {one.number: replace(new, replayed=False) for one, new in zip(group, made, strict=True)}


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.call import Call
    from xai_notebook.pictures.render.tables import BudgetState

    class Examine(Protocol):
        """Returns what is there of each request, and what its other images will cost."""

        def __call__(
            self, requests: Sequence[ImageRequest], /, *, look_up: bool
        ) -> tuple[list[Availability] | None, list[float | None]]:
            """Look, and ask for prices; with `look_up` the library is asked."""


_MOST: Final = 100_000
"""Requests that a dry run looks at; of a generator, which may be slow, fewer."""
_MOST_LAZY: Final = 100
_MOST_LOOKED_UP: Final = 2_000
"""Requests that the library is asked about: a second or so."""


def plan(
    call: Call,
    price: Callable[[str], float | None],
    examine: Examine,
    budget: BudgetState | None,
) -> Plan:
    """Return the plan of a call, which can still be run. A source without an end is no trouble.

    Args:
        call: Of which requests are read, in the thread of the user's code.
        price: Returns the list price in US dollars of a model's image, or None.
        examine: Given requests and whether to look for them in the library, returns what is there
            of each, or None, and what making the other images is expected to cost.
        budget: The budget that holds; None: no budget is set.

    Raises:
        XaiError: The server cannot be asked for prices.
    """
    requests, more = _first_requests(call)
    models = dict.fromkeys(request.model for request in requests)
    found, expected = examine(requests, look_up=not more and len(requests) <= _MOST_LOOKED_UP)
    images = sum(request.n for request in requests)
    there = sum(one.stored + one.ordered for one in found or ())
    nothing_to_make = call.options.replay or (there == images and not more)

    def listed(model: str) -> float | None:
        try:
            return price(model)
        except XaiError:
            if nothing_to_make:
                return None
            raise

    plan = Plan(
        requests=requests,
        backend=call.route.backend,
        host=call.route.host,
        prices={model: listed(model) for model in models},
        expected=expected,
        stored=None if found is None else [one.stored for one in found],
        ordered=sum(one.ordered for one in found or ()),
        rewriter=call.options.rewrite or None,
        budget=budget,
        notes=tuple(call.progress.notes),
        more=more,
    )
    return replace(plan, notes=(*plan.notes, *_refusals(call, plan)))


def _refusals(call: Call, plan: Plan) -> Iterator[str]:
    """Say why the call would be refused, or stop before its end."""
    if call.options.replay and plan.stored is not None and plan.new:
        yield f"--replay would fail: {plan.new:,} of {plan.images:,} images are not stored."
    counted = call.configuration.budget
    if counted is not None and counted.shared and plan.budget is None and not call.route.painted:
        yield f"The library that counts the budget {counted} cannot be used: nothing would be sent."
    limit, budget, cost = call.options.max_cost, plan.budget, plan.cost_usd
    if cost is None:
        if limit is not None or budget is not None:
            yield "The server names no price, so no limit can be kept: nothing would be sent."
        return
    together = call.options.batch or len(plan.requests) == 1
    outcome = "nothing would be sent" if together else "it would stop when the limit is reached"
    if limit is not None and to_ticks(cost) > to_ticks(limit):
        yield f"The expected cost exceeds --max-cost {dollars(limit)}: {outcome}."
    if budget is not None and to_ticks(cost) > to_ticks(budget.left_usd):
        yield f"The expected cost exceeds the budget ({budget}): {outcome}."


def _first_requests(call: Call) -> tuple[tuple[ImageRequest, ...], bool]:
    """Return the requests, and whether there are more."""
    requests = tuple(islice(call.requests, _MOST_LAZY if call.lazy else _MOST))
    following = tuple(islice(call.requests, 1))
    call.requests = chain(requests, following, call.requests)
    if call.lazy:
        call.progress.note("A generator has been read for this: make it again before a run.")
    return requests, bool(following)
