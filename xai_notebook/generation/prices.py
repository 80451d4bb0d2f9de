"""What requests are expected to cost: list prices, and what the server reported before.

A request is expected to cost what the list says, or what such a request cost last, whichever is
more. The list is read again when a report differs from what was expected, and after ten minutes.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from xai_notebook import settings
from xai_notebook.client.image import image_price_usd
from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.generation.budget import FREE, is_amount, to_ticks
from xai_notebook.library.spending import TICKS, Amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xai_notebook.client import AsyncClient
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.library import Library

__all__ = ["Kind", "Prices", "total"]

_OLD: Final = 600.0
"""Seconds after which the list is read again."""


class Kind(NamedTuple):
    """Requests of one kind cost the same for each image.

    Attributes:
        model: As asked for.
        resolution: `"1k"`, `"2k"` or None.
        quality: `"low"`, `"medium"` or None.
        inputs: Number of images to edit.
    """

    model: str
    resolution: str | None
    quality: str | None
    inputs: int

    @classmethod
    def of(cls, request: ImageRequest) -> Kind:
        """Return the kind of a request."""
        return cls(request.model, request.resolution, request.quality, len(request.inputs))

    def list_usd(self, price_usd: float, count: int) -> float:
        """Return what `count` images cost where the list says `price_usd` for one."""
        if not price_usd:
            return 0.0
        model = self.model.removesuffix("-latest")
        quality, resolution = self.quality or "medium", self.resolution or "1k"
        relative = settings.RELATIVE_PRICES.get(model, {}).get((quality, resolution), 1.0)
        each_input = settings.INPUT_USD.get(model, settings.OTHER_INPUT_USD)
        return count * price_usd * relative + self.inputs * each_input


class Prices:
    """What one server's images and rewrites cost. Lives on the background loop."""

    def __init__(self, client: AsyncClient, backend: str, host: str, *, free: bool) -> None:
        """Ask for nothing yet.

        Args:
            client: Of the server.
            backend: `"xai"` or `"local"`.
            host: What tells the server from others in the library.
            free: A price of 0 is one: a server that says nothing of prices says 0, too.
        """
        self._client = client
        self._backend = backend
        self._host = host
        self._free = free
        self._list: dict[str, float] | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()
        self._reported: dict[Kind, float] = {}
        self._factors: dict[tuple[str, bool], float] = {}
        self._unreported: set[Kind] = set()
        self._rewrites: dict[str, float] = {}
        self._seeded = False

    async def list_usd(self, model: str) -> float | None:
        """Return the list price of an image in US dollars; None: the server names none.

        Raises:
            XaiError: The server cannot be asked, and has not been before.
        """
        async with self._lock:
            if self._list is None:
                self._list = await self._read()
            elif time.monotonic() - self._read_at > _OLD:
                with suppress(XaiError):
                    self._list = await self._read()
        return self._list.get(model)

    async def _read(self) -> dict[str, float]:
        self._read_at = time.monotonic()
        prices: dict[str, float] = {}
        for known in await self._client.models.list_image_generation_models():
            usd = image_price_usd(known)
            # 0 is also what a server says that says nothing.
            if usd is not None and (usd or self._free):
                prices.update(dict.fromkeys((known.name, *known.aliases), usd))
        return prices

    async def image(
        self, request: ImageRequest, count: int, library: Library | None = None
    ) -> Amount | None:
        """Return what images of a request are expected to cost; None: the price is unknown.

        Args:
            request: What is asked for.
            count: How many images of it.
            library: Knows what requests cost before this process began.

        Raises:
            XaiError: The server cannot be asked for its prices.
        """
        await self._look_up(library)
        kind = Kind.of(request)
        price = await self.list_usd(request.model)
        reported = self._reported.get(kind)
        if price is None and reported is None:
            return None
        listed = kind.list_usd(price or 0.0, count)
        if price == 0 and reported is None and self._free:
            return FREE
        if reported is not None:
            usd = max(listed, reported * count)
        else:
            usd = listed * max(self._factors.get((kind.model, kind.inputs > 0), 1.0), 1.0)
        ticks = to_ticks(usd)
        return Amount(ticks, reported is not None or kind in self._unreported or not ticks)

    async def images(
        self, wanted: Iterable[tuple[ImageRequest, int]], library: Library | None = None
    ) -> Amount | None:
        """Return what many images are expected to cost that are asked for one by one, as in a job.

        Args:
            wanted: Requests, each with the number of its images.
            library: As in `image`.

        Returns:
            The sum; None: a price is unknown.

        Raises:
            XaiError: The server cannot be asked for its prices.
        """
        kinds: dict[Kind, tuple[ImageRequest, int]] = {}
        for request, count in wanted:
            kind = Kind.of(request)
            kinds[kind] = request, count + (kinds[kind][1] if kind in kinds else 0)
        amounts: list[Amount | None] = []
        for request, count in kinds.values():
            one = await self.image(request, 1, library)
            amounts.append(one and Amount(one.ticks * count, one.confirmed))
        return total(amounts)

    async def image_usd(
        self, request: ImageRequest, count: int, library: Library | None = None
    ) -> float | None:
        """Return the same in US dollars."""
        amount = await self.image(request, count, library)
        return None if amount is None else amount.ticks / TICKS

    async def rewrite(self, model: str, library: Library | None = None) -> Amount:
        """Return what a rewrite by a chat model is expected to cost.

        Where images are free, rewrites are.
        """
        if self._free:
            with suppress(XaiError):
                await self.list_usd("")
            if self._list is not None and not any(self._list.values()):
                return FREE
        if model not in self._rewrites and library is not None:
            with suppress(LibraryError):
                usd = await asyncio.to_thread(library.spending.last_rewrite, self._backend)
                if is_amount(usd):
                    self._rewrites[model] = usd
        known = self._rewrites.get(model)
        return Amount(to_ticks(max(known or 0.0, settings.REWRITE_USD)), known is not None)

    def note_image(self, request: ImageRequest, count: int, cost_usd: float | None) -> None:
        """Remember what images of a request cost.

        Args:
            request: What was asked for.
            count: How many images of it.
            cost_usd: As reported; None: the server did not say.
        """
        kind = Kind.of(request)
        if not is_amount(cost_usd) or not count:
            self._unreported.add(kind)
            return
        before, each = self._reported.get(kind), cost_usd / count
        self._reported[kind] = each
        listed = kind.list_usd((self._list or {}).get(kind.model, 0.0), count)
        if listed:
            self._factors[kind.model, kind.inputs > 0] = cost_usd / listed
        expected = listed / count if before is None else before
        if abs(each - expected) * TICKS >= 1:
            self._read_at = -_OLD  # prices have changed

    def note_rewrite(self, model: str, cost_usd: float | None) -> None:
        """Remember what a rewrite cost; None: the server did not say."""
        self._rewrites[model] = cost_usd if is_amount(cost_usd) else settings.REWRITE_USD

    async def _look_up(self, library: Library | None) -> None:
        """Learn once from the library what requests cost before this process began."""
        if self._seeded or library is None:
            return
        self._seeded = True
        with suppress(LibraryError):
            for kind, each in await asyncio.to_thread(library.spending.last_costs, self._host):
                if is_amount(each):
                    self._reported.setdefault(Kind(*kind), each)


def total(amounts: Sequence[Amount | None]) -> Amount | None:
    """Return the sum of amounts; None: one of them is unknown."""
    known = [amount for amount in amounts if amount is not None]
    if len(known) < len(amounts):
        return None
    ticks = sum(amount.ticks for amount in known)
    return Amount(ticks, all(amount.confirmed for amount in known))
