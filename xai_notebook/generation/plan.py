"""What a call would send and cost, and what is there. Only prices are asked for."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Protocol

from xai_notebook.pictures.tables import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.call import Call
    from xai_notebook.pictures.tables import BudgetState

    class Examine(Protocol):
        """Returns how many images of each request are stored, and what the others will cost."""

        def __call__(
            self, requests: Sequence[ImageRequest], /, *, look_up: bool
        ) -> tuple[list[int] | None, list[float | None]]:
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
        examine: Given requests and whether to look for them in the library, returns how many
            images of each it has, or None, and what making the others is expected to cost.
        budget: The budget that holds; None: no budget is set.

    Raises:
        XaiError: The server cannot be asked for prices.
    """
    requests, more = _first_requests(call)
    models = dict.fromkeys(request.model for request in requests)
    stored, expected = examine(requests, look_up=not more and len(requests) <= _MOST_LOOKED_UP)
    return Plan(
        requests=requests,
        backend=call.route.backend,
        host=call.route.host,
        prices={model: price(model) for model in models},
        expected=expected,
        stored=stored,
        rewriter=call.options.rewrite or None,
        budget=budget,
        notes=tuple(call.progress.notes),
        more=more,
    )


def _first_requests(call: Call) -> tuple[tuple[ImageRequest, ...], bool]:
    """Return the requests, and whether there are more."""
    requests = tuple(islice(call.requests, _MOST_LAZY if call.lazy else _MOST))
    following = tuple(islice(call.requests, 1))
    call.requests = chain(requests, following, call.requests)
    if call.lazy:
        call.progress.note("A generator has been read for this: make it again before a run.")
    return requests, bool(following)
