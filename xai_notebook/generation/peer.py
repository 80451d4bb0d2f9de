"""A server, and what a kernel remembers about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from xai_notebook.client.addresses import Endpoint
from xai_notebook.generation.prices import Prices
from xai_notebook.generation.rewriting import Rewriter
from xai_notebook.generation.singleflight import SingleFlight
from xai_notebook.generation.uploads import InputStore

if TYPE_CHECKING:
    import asyncio

    from xai_notebook.arguments.options import Options
    from xai_notebook.client import AsyncClient
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library import Library
    from xai_notebook.pictures.picture import Picture

__all__ = ["Peer"]


@dataclass(slots=True)
class Peer:
    """A server, and what a kernel remembers about it.

    Attributes:
        client: Connected to `host`.
        backend: `"xai"` or `"local"`.
        host: What tells its images from those of other hosts.
        free: A price of 0 is one: a server that says nothing of prices says 0, too.
        rewrites: Prompts rewritten in this kernel.
        rewriting: Held while a prompt is rewritten: equal ones are one question, in their order.
        keeping: Replies that are being stored, by fingerprint and place: a cell that was
            interrupted may be back before they are.
        prices: What its images and rewrites cost.
        inputs: Its file store, as far as input images are in it.
        flights: Held while a picture to be reused is made: equal requests make it once.
    """

    client: AsyncClient
    backend: str
    host: str
    free: bool = False
    rewrites: dict[str, str] = field(default_factory=dict)
    rewriting: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    keeping: dict[tuple[str, int], asyncio.Task[list[Picture]]] = field(default_factory=dict)
    prices: Prices = field(init=False)
    inputs: InputStore = field(init=False)
    flights: SingleFlight = field(default_factory=SingleFlight)

    def __post_init__(self) -> None:
        """Ask for prices, and look into the server's file store, when that is first needed."""
        free = self.free or (self.backend == "xai" and Endpoint.parse(self.host).loopback)
        self.prices = Prices(self.client, self.backend, self.host, free=free)
        self.inputs = InputStore(self.client.files, self.backend, self.host)

    def rewriter(
        self,
        options: Options,
        library: Library | None,
        progress: Progress,
    ) -> Rewriter | None:
        """Return what rewrites the prompts of a call, or None when they are sent as written."""
        if options.rewrite is None:
            return None
        return Rewriter(
            client=self.client,
            model=options.rewrite,
            backend=self.backend,
            host=self.host,
            remembered=self.rewrites,
            library=library,
            progress=progress,
            timeout=options.timeout,
        )
