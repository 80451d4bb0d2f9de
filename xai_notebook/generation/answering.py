"""A prepared call answered, on the background loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from xai_notebook.frontend import notebook_name
from xai_notebook.generation.budget import Budget
from xai_notebook.generation.call import check_redo
from xai_notebook.generation.generator import Generator
from xai_notebook.generation.keeping import Keeper
from xai_notebook.generation.many import generate_each
from xai_notebook.generation.redoing import redo as make_anew
from xai_notebook.library import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.bundling import Beside
    from xai_notebook.generation.call import Call
    from xai_notebook.generation.claims import Asking
    from xai_notebook.generation.peer import Peer
    from xai_notebook.library import Library

__all__ = ["answer", "count_stored", "generator_of"]


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
    asking.complete = call.progress.complete


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


async def count_stored(
    generator: Generator, requests: Sequence[ImageRequest], *, redo: Sequence[int] = ()
) -> list[int]:
    """Return how many images of each request the library would answer. Nothing is sent.

    Args:
        generator: Of the call; its claims are for looking only, and have to be withdrawn.
        requests: As the user wrote them.
        redo: Images of them all that are to be made anew.
    """
    library, rewriter = generator.keeper.library, generator.rewriter
    if library is None:
        return [0] * len(requests)
    if generator.only_stored:  # or it fails, before anything is sent
        return [request.n for request in requests]
    wanted = {}
    for number, request in enumerate(requests):
        known = request if rewriter is None else await rewriter.recall(request)
        if known is not None and not (placed := generator.claim(known)).claim.anew:
            claim = placed.claim
            wanted[number] = Wanted(placed.fingerprint, claim.place, request.n, claim.after)
    found = await asyncio.to_thread(library.find_each, list(wanted.values()))
    counts = {}
    for (number, one), pictures in zip(wanted.items(), found, strict=True):
        if generator.beside is not None:
            pictures = await generator.beside.fill(  # noqa: PLW2901
                pictures, requests[number], one.place, generator.progress
            )
        counts[number] = len(pictures)
    stored = [counts.get(number, 0) for number in range(len(requests))]
    width = requests[0].n if requests else 1
    for number in (index // width for index in redo):
        stored[number] -= 1 if stored[number] else 0
    return stored


def generator_of(
    call: Call,
    asking: Asking,
    peer: Peer,
    home: Library,
    budget: Budget,
    beside: Beside,
) -> Generator:
    """Return what answers the requests of a call.

    Args:
        call: What to answer.
        asking: Its places.
        peer: The server of its route.
        home: Where everything is kept, though its database may not be open.
        budget: The kernel's.
        beside: The bundles beside the notebook, which answer after the library.
    """
    options, progress = call.options, call.progress
    library = home if home.failure is None else None
    return Generator(
        peer,
        Keeper(home, peer, progress, options.timeout, notebook_name()),
        asking,
        budgets=(Budget(limit=options.max_cost, name="--max-cost"), budget),
        progress=progress,
        fresh=(options.fresh or not call.configuration.replay) and not options.redo,
        keep=bool(options.redo),
        only_stored=options.replay,
        timeout=options.timeout,
        rewriter=peer.rewriter(options, library, progress, beside),
        uploads=library.uploads if call.many and library is not None else None,
        beside=beside,
    )
