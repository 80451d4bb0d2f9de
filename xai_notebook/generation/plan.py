"""What a call would send and cost, and what is there. Only prices are asked for."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from xai_notebook.pictures.tables import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.call import Call

__all__ = ["plan"]

_MOST: Final = 100_000
"""Requests that a dry run looks at; of a generator, which may be slow, fewer."""
_MOST_LAZY: Final = 100
_MOST_LOOKED_UP: Final = 2_000
"""Requests that the library is asked about: a second or so."""


def plan(
    call: Call,
    price: Callable[[str], float | None],
    stored: Callable[[Sequence[ImageRequest]], Sequence[int] | None],
) -> Plan:
    """Return the plan of a call, which can still be run. A source without an end is no trouble.

    Args:
        call: Of which requests are read, in the thread of the user's code.
        price: Returns the list price in US dollars of a model's image, or None.
        stored: Returns how many images of each request the library has, or None.

    Raises:
        XaiError: The server cannot be asked for prices.
    """
    requests, more = _first_requests(call)
    models = dict.fromkeys(request.model for request in requests)
    return Plan(
        requests=requests,
        backend=call.route.backend,
        host=call.route.host,
        prices={model: price(model) for model in models},
        stored=None if more or len(requests) > _MOST_LOOKED_UP else stored(requests),
        rewriter=call.options.rewrite or None,
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
