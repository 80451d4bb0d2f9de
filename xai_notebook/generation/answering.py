"""A prepared call answered, on the background loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_notebook.frontend import notebook_name
from xai_notebook.generation.budget import Budget
from xai_notebook.generation.generator import Generator
from xai_notebook.generation.keeping import Keeper
from xai_notebook.generation.many import generate_each

if TYPE_CHECKING:
    from xai_notebook.generation.call import Call
    from xai_notebook.generation.claims import Asking
    from xai_notebook.generation.peer import Peer
    from xai_notebook.library import Library

__all__ = ["answer", "generator_of"]


async def answer(
    call: Call, asking: Asking, *, peer: Peer, library: Library | None, budget: Budget
) -> None:
    """Answer the requests of a call, from the library or the server. `call.progress` has it all.

    Args:
        call: What to answer.
        asking: Its places.
        peer: The server of its route.
        library: Where everything is kept; None: it could not be opened.
        budget: The kernel's.

    Raises:
        XaiError: A request failed; of many, what no other could escape.
    """
    generator = generator_of(call, asking, peer, library, budget)
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
    asking.complete = call.progress.complete


def generator_of(
    call: Call, asking: Asking, peer: Peer, library: Library | None, budget: Budget
) -> Generator:
    """Return what answers the requests of a call; see `answer`."""
    options, progress = call.options, call.progress
    return Generator(
        peer,
        Keeper(library, peer, progress, options.timeout, notebook_name()),
        asking,
        budgets=(Budget(limit=options.max_cost, name="--max-cost"), budget),
        progress=progress,
        fresh=options.fresh or not call.configuration.replay,
        only_stored=options.replay,
        timeout=options.timeout,
        rewriter=peer.rewriter(options, library, progress),
        uploads=library.uploads if call.many and library is not None else None,
    )
