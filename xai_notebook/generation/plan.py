"""What a call would send and cost, and what is there. Only prices are asked for."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Protocol

from xai_notebook.errors import XaiError
from xai_notebook.generation.budget import to_ticks
from xai_notebook.pictures.render.tables import Plan
from xai_notebook.pictures.render.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.answering import Known
    from xai_notebook.generation.call import Call
    from xai_notebook.pictures.render.tables import BudgetState

    class Examine(Protocol):
        """Returns what is there of each request, and what its other images will cost."""

        def __call__(
            self, requests: Sequence[ImageRequest], /, *, look_up: bool
        ) -> tuple[list[Known] | None, list[float | None]]:
            """Look, and ask for prices; with `look_up` the library is asked."""


__all__ = ["plan"]

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
