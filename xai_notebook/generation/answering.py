"""A prepared call answered, on the background loop."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from xai_notebook.frontend import notebook_name
from xai_notebook.generation.call import check_redo
from xai_notebook.generation.generator import Generator
from xai_notebook.generation.keeping import Keeper
from xai_notebook.generation.many import generate_each
from xai_notebook.generation.prices import Kind
from xai_notebook.generation.redoing import redo as make_anew
from xai_notebook.library import Wanted
from xai_notebook.library.spending import TICKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.budget import Limits
    from xai_notebook.generation.bundling import Beside
    from xai_notebook.generation.call import Call
    from xai_notebook.generation.claims import Asking
    from xai_notebook.generation.generator import Placed
    from xai_notebook.generation.peer import Peer
    from xai_notebook.library import Library

__all__ = ["Known", "answer", "expected_costs", "generator_of", "look_up_each"]


async def answer(call: Call, generator: Generator) -> None:
    """Answer the requests of a call, from the library or the server. `call.progress` has it all.

    Args:
        call: What to answer.
        generator: Of the call; see `generator_of`.

    Raises:
        XaiError: A request failed; of many, what no other could escape.
    """
    asking = generator.asking
    await asking.wait_turn()
    try:
        await _answer(call, generator)
    finally:
        await generator.keeper.remember_shown()
    asking.complete = call.progress.complete


async def _answer(call: Call, generator: Generator) -> None:
    asking = generator.asking
    if call.many:
        asking.leave_turn()  # reading its requests can take long, and runs the user's code
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
        placed = await generator.place(next(call.requests))
        call.progress.answered(0, await generator.answer(placed))
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
    for index, picture in (await make_anew(chosen, generator)).items():
        number, at = where[index]
        if not picture.replayed and all(each.replayed for each in results[number]):
            call.progress.replayed -= 1
        results[number] = [*results[number][:at], picture, *results[number][at + 1 :]]
    call.progress.changed()


class Known(NamedTuple):
    """What the library knows of a request.

    Attributes:
        stored: How many of its images answer it.
        rewritten: Whether its prompt was rewritten before, or needs no rewriting.
        placed: The request at its place; None: it has none before its prompt is rewritten.
        ordered: How many of its other images are in a job that has not ended.
    """

    stored: int
    rewritten: bool
    placed: Placed | None = None
    ordered: int = 0


async def look_up_each(
    generator: Generator,
    requests: Sequence[ImageRequest],
    *,
    redo: Sequence[int] = (),
    batch: bool = False,
) -> list[Known]:
    """Return what the library would answer. Nothing is sent.

    Args:
        generator: Of the call; its claims are for looking only, and have to be withdrawn.
        requests: As the user wrote them.
        redo: Images of them all that are to be made anew.
        batch: They are a job: running its cell again makes new images only with `fresh`.
    """
    all_placed: list[Placed | None] = []
    wanted: dict[int, Wanted] = {}
    made: dict[str, int] = {}
    repeated: dict[int, int] = {}
    stored_answers = generator.only_stored or (batch and not generator.fresh)
    for number, request in enumerate(requests):
        placed = (await generator.look(request)).placed
        all_placed.append(placed)
        if placed is None:
            continue
        if not (claim := placed.claim).anew or stored_answers:
            if generator.reuse:  # what an equal request before it has made is stored by then
                repeated[number] = made.get(placed.fingerprint, 0)
                made[placed.fingerprint] = max(repeated[number], request.n)
            wanted[number] = Wanted(
                placed.fingerprint,
                None if generator.reuse else claim.place,
                request.n,
                claim.after,
                notebook=generator.keeper.notebook,
            )
    counts = dict.fromkeys(range(len(requests)), 0)
    for number, count in (await _count_stored(generator, all_placed, wanted)).items():
        counts[number] = min(max(count, repeated.get(number, 0)), requests[number].n)
    if generator.only_stored:  # where its own place has too few, another has enough, or none
        short = [at for at in wanted if counts[at] < requests[at].n]
        anywhere = {at: replace(wanted[at], place=None) for at in short}
        counts |= await _count_stored(generator, all_placed, anywhere)
    width = requests[0].n if requests else 1
    for number in (index // width for index in redo):
        counts[number] -= 1 if counts[number] else 0
    return [
        Known(counts[number], placed is not None, placed)
        for number, placed in enumerate(all_placed)
    ]


async def _count_stored(
    generator: Generator, all_placed: Sequence[Placed | None], wanted: Mapping[int, Wanted]
) -> dict[int, int]:
    """Return how many images the library and the bundles have of each request that is wanted."""
    library = generator.keeper.library
    counts: dict[int, int] = {}
    if library is None:
        return counts
    found = await asyncio.to_thread(library.find_each, list(wanted.values()))
    for (number, one), pictures in zip(wanted.items(), found, strict=True):
        placed = all_placed[number]
        if placed is not None:
            pictures = await generator.fill(pictures, placed, one.place)  # noqa: PLW2901
        counts[number] = len(pictures)
    return counts


async def expected_costs(
    generator: Generator,
    requests: Sequence[ImageRequest],
    found: Sequence[Known] | None,
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
    prices, library, rewriter = generator.peer.prices, generator.keeper.library, generator.rewriter
    rewrite = None if rewriter is None else await prices.rewrite(rewriter.model, library)
    known: dict[tuple[Kind, int], float | None] = {}
    rewritten: set[str] = set()
    costs: list[float | None] = []
    for number, request in enumerate(requests):
        have = Known(0, rewriter is None) if found is None else found[number]
        count = request.n - have.stored - have.ordered
        if not count:
            costs.append(0.0)
            continue
        together = 1 if one_by_one else count
        kind = Kind.of(request), together
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
    asking: Asking,
    peer: Peer,
    home: Library,
    limits: Limits,
    beside: Beside,
    recover: Callable[[], object],
) -> Generator:
    """Return what answers the requests of a call.

    Args:
        call: What to answer.
        asking: Its places.
        peer: The server of its route.
        home: Where everything is kept, though its database may not be open.
        limits: What it may spend.
        beside: The bundles beside the notebook, which answer after the library.
        recover: Puts into the library what another process received before it died.
    """
    options, progress = call.options, call.progress
    library = home if home.failure is None else None
    return Generator(
        peer,
        Keeper(home, peer, progress, options.timeout, notebook_name()),
        asking,
        limits=limits,
        progress=progress,
        fresh=(options.fresh or not call.configuration.replay) and not options.redo,
        keep=bool(options.redo),
        only_stored=options.replay,
        timeout=options.timeout,
        rewriter=peer.rewriter(options, library, progress),
        uploads=library.uploads if call.many and library is not None else None,
        beside=beside,
        reuse=options.reuse,
        recover=recover,
    )
