"""Budgets: limits on spending, reservations made before a call is sent, and expected prices.

A call is sent only if its cost and the cost of all calls in flight are within every limit. The
final cost of a call in flight is uncertain, because its price may have risen, so `MARGIN` times its
expected cost is counted. While a call is in flight whose price the server has never reported, no
other call starts. Near a limit, calls therefore run one after the other, and a limit is exceeded by
at most the difference between the actual and the expected cost of one call.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from xai_notebook import settings
from xai_notebook.client.image import image_price_usd
from xai_notebook.errors import BudgetError, LibraryError, XaiError
from xai_notebook.generation.event_loop import Batched
from xai_notebook.library.spending import TICKS, Amount, Totals, period_start
from xai_notebook.pictures.render.text import dollars

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from typing import TypeGuard

    from xai_notebook.client import AsyncClient
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.library import Library
    from xai_notebook.library.spending import Spending
    from xai_notebook.settings import BudgetLimit

    Estimate = Callable[[], Awaitable[Sequence[Amount | None]]]

MARGIN: Final = 4
"""Factor by which calls in flight may cost more than expected."""
FREE: Final = Amount(0)
_RETRY_SECONDS: Final = 2.0
"""Seconds before a settlement that could not be written is retried."""
_POLL_SECONDS: Final = 0.25
"""Seconds between two checks for reservations that other processes have released."""
_LIST_SECONDS: Final = 600.0
"""Seconds after which the price list is read again."""


# Amounts


def to_ticks(usd: float) -> int:
    """Convert US dollars to ticks of 1e-10 USD."""
    return round(usd * TICKS)


def _is_amount(usd: float | None) -> TypeGuard[float]:
    """Tell whether a reported cost is valid; a negative cost would increase a budget."""
    return usd is not None and 0 <= usd < math.inf


def total(amounts: Sequence[Amount | None]) -> Amount | None:
    """Return the sum of amounts, or None if one of them is unknown."""
    known = [amount for amount in amounts if amount is not None]
    if len(known) < len(amounts):
        return None
    return Amount(sum(each.ticks for each in known), all(each.confirmed for each in known))


# Limits


def _fits(limit: int, totals: Totals, amounts: Sequence[Amount]) -> bool:
    """Tell whether calls fit now, even if calls in flight cost `MARGIN` times what is expected."""
    wanted = sum(amount.ticks for amount in amounts)
    if totals.unconfirmed and wanted:
        return False
    return totals.spent + MARGIN * totals.open + wanted <= limit


def _check(name: str, limit: int, totals: Totals, amounts: Sequence[Amount]) -> None:
    """Check that calls can fit after calls in flight have ended; `name` includes the amount.

    Raises:
        BudgetError: They cost more than is left, even if the calls in flight cost nothing.
    """
    wanted = sum(amount.ticks for amount in amounts)
    left = max(limit - totals.spent, 0)
    if wanted > left:
        raise BudgetError(
            f"This is expected to cost {dollars(wanted / TICKS)}, and {dollars(left / TICKS)} of "
            f"{name} is left. Nothing was sent. Request fewer images, or raise the limit.",
            reason=f"{name} would be exceeded",
        )


@dataclass(slots=True, eq=False)
class Reservation:
    """Money reserved for one call, under every limit.

    Attributes:
        amount: The expected cost of the call.
        limits: The limits of the call.
        charged: The final cost in ticks. Until the server reports a cost, or it is certain that no
            image was made, this is the expected cost, because a lost reply may have been billed.
        reply_id: The reply that reported the cost. Once the reply is in the library, its row counts
            instead of the charge.
        in_ledger: Whether a row of the library already counts the cost.
    """

    amount: Amount
    limits: Limits
    charged: int
    reply_id: str | None = None
    in_ledger: bool = False
    _closed: bool = False

    def settle(self, cost_usd: float | None, reply_id: str | None = None) -> None:
        """Charge the cost that the server reported; None: keep the expected cost."""
        if _is_amount(cost_usd):
            self.charged = to_ticks(cost_usd)
        self.reply_id = reply_id

    def waive(self) -> None:
        """Charge nothing, because nothing was made."""
        self.charged = 0

    async def close(self) -> None:
        """Replace the reserved amount by the charge under every limit. Can be called twice."""
        if self._closed:
            return
        self._closed = True
        for counter in self.limits.counters:
            counter.spent += self.charged
            if counter.reserved:
                counter.release([self])
        if self.limits.shared is not None:
            await asyncio.shield(self.limits.shared.settle(self))


@dataclass(slots=True, eq=False)
class Counter:
    """Counts the spending of this process, or of one call. Use on the background loop only.

    Attributes:
        limit_usd: The limit in US dollars; None: no limit.
        name: Name of the option or setting that sets the limit.
        spent: Amount spent, in ticks.
        reserved: The calls in flight that count against the limit.
    """

    limit_usd: float | None
    name: str
    spent: int = 0
    reserved: set[Reservation] = field(default_factory=set)
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def totals(self) -> Totals:
        """Everything that counts against the limit."""
        amounts = [reservation.amount for reservation in self.reserved]
        reserved = sum(amount.ticks for amount in amounts)
        return Totals(self.spent, reserved, not all(amount.confirmed for amount in amounts))

    def allows(self, amounts: Sequence[Amount]) -> bool:
        """Tell whether calls fit now; False: they may fit when calls in flight have ended.

        Raises:
            BudgetError: They cost more than is left, even if the calls in flight cost nothing.
        """
        if self.limit_usd is None:
            return True
        limit, totals = to_ticks(self.limit_usd), self.totals
        _check(f"{self.name} {dollars(self.limit_usd)}", limit, totals, amounts)
        return _fits(limit, totals, amounts)

    def release(self, reservations: Sequence[Reservation]) -> None:
        """Release the money of calls that have ended or were not sent."""
        self.reserved.difference_update(reservations)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait_for_release(self) -> None:
        """Wait until reserved money is released."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class SharedBudget:
    """A spending limit for all processes that use a library, such as `5/day`."""

    def __init__(self, limit: BudgetLimit, name: str, spending: Spending) -> None:
        """Create a limit that is tracked in the library.

        Args:
            limit: A limit with a period.
            name: Name of the setting that sets the limit.
            spending: The library's ledger.
        """
        self.name = f"{name} {limit}"
        self._limit = to_ticks(limit.usd)
        self._period = limit.period
        self._spending = spending
        self._charges: dict[Reservation, int] = {}
        self._unwritten: dict[int, tuple[int, int, str | None]] = {}
        self._reserve = Batched(self._reserve_each)
        self._settle = Batched(self._settle_each)
        self._settled = asyncio.Event()
        self._writing = threading.Lock()

    async def open(self, reservations: Sequence[Reservation]) -> bool:
        """Reserve money; False: nothing is reserved until other calls in flight have ended.

        Raises:
            BudgetError: The cost is more than is left, or the library cannot be used.
        """
        amounts = [reservation.amount for reservation in reservations]
        reserving = self._reserve(amounts)
        try:
            charges = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reserving.add_done_callback(self._release)
            raise
        except LibraryError as error:
            raise BudgetError(
                f"{self.name} is counted in the library. {error} Nothing was sent.",
                reason=f"{self.name} cannot be counted without the library",
            ) from error
        if isinstance(charges, Totals):
            _check(self.name, self._limit, charges, amounts)
            return False
        self._charges.update(zip(reservations, charges, strict=True))
        return True

    async def allow_recorded(self, amount: Amount, job_id: int) -> None:
        """Check that a recorded job fits in addition to all other spending.

        Raises:
            BudgetError: The job would exceed the limit.
        """
        others = await asyncio.to_thread(
            self._spending.totals, period_start(self._period), without=job_id
        )
        _check(self.name, self._limit, others, [amount])

    def _release(self, reserving: asyncio.Future[list[int] | Totals]) -> None:
        """Release money that was reserved for calls which were cancelled meanwhile."""
        failed = reserving.cancelled() or reserving.exception()
        if not failed and isinstance(charges := reserving.result(), list):
            for charge in charges:
                self._settle((charge, 0, None))

    def _reserve_each(self, wanted: Sequence[Sequence[Amount]]) -> list[list[int] | Totals]:
        self._settle_each(())  # retry earlier settlements
        return self._spending.reserve(
            wanted, period_start(self._period), partial(_fits, self._limit)
        )

    async def settle(self, reservation: Reservation) -> None:
        """Record the cost of a call that has ended; retry later if the library is not writable."""
        charge = self._charges.pop(reservation, None)
        if charge is not None:
            ticks = 0 if reservation.in_ledger else reservation.charged
            try:
                await self._settle((charge, ticks, reservation.reply_id))
            except LibraryError:
                self._settle_later()
        self._settled.set()
        self._settled = asyncio.Event()

    def _settle_later(self) -> None:
        """Retry after a short delay, because other processes may wait for this money."""
        loop = asyncio.get_running_loop()

        async def settle() -> None:
            try:
                await asyncio.to_thread(self._settle_each, ())
            except LibraryError:
                self._settle_later()

        loop.call_later(_RETRY_SECONDS, lambda: loop.create_task(settle()))

    def _settle_each(self, ended: Sequence[tuple[int, int, str | None]]) -> list[None]:
        """Write the costs of ended calls, and earlier costs that could not be written."""
        with self._writing:
            self._unwritten.update((settlement[0], settlement) for settlement in ended)
            if self._unwritten:
                self._spending.settle([*self._unwritten.values()])
                self._unwritten.clear()
        return [None] * len(ended)

    async def wait_for_release(self) -> None:
        """Wait until a call of this process has ended, but at most `_POLL_SECONDS`."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._settled.wait(), _POLL_SECONDS)


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """The limits of one call; all of them must hold.

    Attributes:
        counters: Counters in memory; the last is the kernel's. They may have no limit.
        shared: Limit for all processes.
    """

    counters: Sequence[Counter]
    shared: SharedBudget | None = None

    @property
    def kernel(self) -> Counter:
        """The counter of all spending of this process."""
        return self.counters[-1]

    @property
    def name(self) -> str | None:
        """The name of the first limit that is set, or None without a limit."""
        names = [counter.name for counter in self.counters if counter.limit_usd is not None]
        if self.shared is not None:
            names.append(self.shared.name)
        return names[0] if names else None

    async def reserve(self, estimate: Estimate) -> list[Reservation]:
        """Reserve money for all calls or for none; wait while calls in flight may release money.

        Args:
            estimate: Returns the expected cost of each call; None: the server lists no price. The
                function is called again after each wait, because prices may have changed.

        Returns:
            A reservation for each call. The caller settles or waives it, and always closes it.

        Raises:
            BudgetError: A limit would be exceeded, or a limit is set and a price is unknown.
        """
        while True:
            amounts = await estimate()
            if None in amounts:
                self._refuse_unpriced()
            known = [amount or FREE for amount in amounts]
            limited = [counter for counter in self.counters if counter.limit_usd is not None]
            full = next((counter for counter in limited if not counter.allows(known)), None)
            if full is not None:
                await full.wait_for_release()
                continue
            reservations = [Reservation(amount, self, amount.ticks) for amount in known]
            for counter in limited:
                counter.reserved.update(reservations)
            if self.shared is None:
                return reservations
            opened = False
            try:
                opened = await self.shared.open(reservations)
            finally:
                if not opened:
                    for counter in limited:
                        counter.release(reservations)
            if opened:
                return reservations
            await self.shared.wait_for_release()

    @asynccontextmanager
    async def reserved(self, estimate: Estimate) -> AsyncIterator[list[Reservation]]:
        """Reserve money while the block runs; see `reserve`."""
        reservations = await self.reserve(estimate)
        try:
            yield reservations
        finally:
            for reservation in reservations:
                await reservation.close()

    async def allow_recorded(self, amount: Amount | None, job_id: int) -> None:
        """Count a job that is recorded in the library and about to be submitted.

        Args:
            amount: Expected cost of the remaining requests; None: the server lists no price. A
                shared budget already counts the recorded price.
            job_id: The job's row in the library.

        Raises:
            BudgetError: A limit would be exceeded, or a limit is set and the price is unknown.
        """
        if amount is None:
            self._refuse_unpriced()
            return
        for counter in self.counters:
            counter.allows([amount])
        if self.shared is not None:
            await self.shared.allow_recorded(amount, job_id)
        for counter in self.counters:
            counter.spent += amount.ticks

    def _refuse_unpriced(self) -> None:
        """Refuse a call whose price is unknown if a limit is set, because it cannot be enforced.

        Raises:
            BudgetError: A limit is set.
        """
        if self.name is not None:
            raise BudgetError(
                f"The server has no list price for this model, so {self.name} cannot be enforced. "
                "Choose another model or drop the limit. Nothing was sent.",
                reason=f"{self.name} cannot be enforced without a list price",
            )


# Prices


class PriceKey(NamedTuple):
    """The properties of a request that determine the price of its images.

    Attributes:
        model: The requested model.
        resolution: `"1k"`, `"2k"` or None.
        quality: `"low"`, `"medium"` or None.
        inputs: Number of images to edit.
    """

    model: str
    resolution: str | None
    quality: str | None
    inputs: int

    @classmethod
    def of(cls, request: ImageRequest) -> PriceKey:
        """Return the key of a request."""
        return cls(request.model, request.resolution, request.quality, len(request.inputs))

    def list_usd(self, price_usd: float, count: int) -> float:
        """Return the price of `count` images of one request, given the model's list price."""
        model = self.model.removesuffix("-latest")
        quality, resolution = self.quality or "medium", self.resolution or "1k"
        relative = settings.RELATIVE_PRICES.get(model, {}).get((quality, resolution), 1.0)
        each_input = settings.INPUT_USD.get(model, settings.OTHER_INPUT_USD)
        return count * price_usd * relative + self.inputs * each_input


@dataclass(slots=True, eq=False)
class Prices:
    """Expected costs of one server's images and rewrites. Use on the background loop only.

    The expected cost is the list price or the last reported cost, whichever is higher.

    Attributes:
        client: Client of the server.
        backend: `"xai"` or `"local"`.
        host: Identifies the server in the library.
        free: Whether a list price of 0 means free. On other servers it means: no price is listed.
    """

    client: AsyncClient
    backend: str
    host: str
    free: bool
    _list: dict[str, float] | None = None
    _read_at: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _reported: dict[PriceKey, float] = field(default_factory=dict)
    _factors: dict[tuple[str, bool], float] = field(default_factory=dict)
    """Reported cost divided by list price, by model and by whether there are input images."""
    _unreported: set[PriceKey] = field(default_factory=set)
    _rewrites: dict[str, float] = field(default_factory=dict)
    _seeded: bool = False

    async def list_usd(self, model: str) -> float | None:
        """Return the list price of an image in US dollars; None: the server lists no price.

        Raises:
            XaiError: The price list cannot be read, and no earlier list is cached.
        """
        async with self._lock:
            if self._list is None:
                self._list = await self._read()
            elif time.monotonic() - self._read_at > _LIST_SECONDS:
                with suppress(XaiError):
                    self._list = await self._read()
        return self._list.get(model)

    async def _read(self) -> dict[str, float]:
        self._read_at = time.monotonic()
        prices: dict[str, float] = {}
        for model in await self.client.models.list_image_generation_models():
            usd = image_price_usd(model)
            if usd is not None and (usd or self.free):
                prices.update(dict.fromkeys((model.name, *model.aliases), usd))
        return prices

    async def image(
        self, request: ImageRequest, count: int, library: Library | None = None
    ) -> Amount | None:
        """Return the expected cost of a request; None: the price is unknown.

        Args:
            request: The request.
            count: Number of images, in place of `request.n`.
            library: Library with the costs that were reported to earlier processes.

        Raises:
            XaiError: The price list cannot be read.
        """
        await self._seed(library)
        key = PriceKey.of(request)
        price = await self.list_usd(request.model)
        reported = self._reported.get(key)
        if price is None and reported is None:
            return None
        if price == 0 and reported is None and self.free:
            return FREE
        usd = key.list_usd(price, count) if price else 0.0
        if reported is not None:
            usd = max(usd, reported * count)
        else:
            usd *= max(self._factors.get((key.model, key.inputs > 0), 1.0), 1.0)
        ticks = to_ticks(usd)
        return Amount(ticks, reported is not None or key in self._unreported or not ticks)

    async def images(
        self, wanted: Iterable[tuple[ImageRequest, int]], library: Library | None = None
    ) -> Amount | None:
        """Return the expected cost of images that are requested one by one, as in a job.

        Args:
            wanted: Requests, each with its number of images.
            library: See `image`.

        Returns:
            The sum; None if a price is unknown.

        Raises:
            XaiError: The price list cannot be read.
        """
        counts: dict[PriceKey, tuple[ImageRequest, int]] = {}
        for request, count in wanted:
            key = PriceKey.of(request)
            counts[key] = request, count + (counts[key][1] if key in counts else 0)
        amounts: list[Amount | None] = []
        for request, count in counts.values():
            single = await self.image(request, 1, library)
            amounts.append(single and Amount(single.ticks * count, single.confirmed))
        return total(amounts)

    async def image_usd(
        self, request: ImageRequest, count: int, library: Library | None = None
    ) -> float | None:
        """Return the result of `image` in US dollars."""
        amount = await self.image(request, count, library)
        return None if amount is None else amount.ticks / TICKS

    async def rewrite(self, model: str, library: Library | None = None) -> Amount:
        """Return the expected cost of a rewrite; rewrites are free if images are."""
        if self.free:
            with suppress(XaiError):
                await self.list_usd("")
            if self._list is not None and not any(self._list.values()):
                return FREE
        if model not in self._rewrites and library is not None:
            with suppress(LibraryError):
                usd = await asyncio.to_thread(library.spending.last_rewrite, self.backend)
                if _is_amount(usd):
                    self._rewrites[model] = usd
        reported = self._rewrites.get(model)
        return Amount(to_ticks(max(reported or 0.0, settings.REWRITE_USD)), reported is not None)

    def note_image(self, request: ImageRequest, count: int, cost_usd: float | None) -> None:
        """Remember the cost of a request.

        Args:
            request: The request.
            count: Number of images, in place of `request.n`.
            cost_usd: The reported cost; None: not reported.
        """
        key = PriceKey.of(request)
        if not _is_amount(cost_usd) or not count:
            self._unreported.add(key)
            return
        previous, each = self._reported.get(key), cost_usd / count
        self._reported[key] = each
        price = (self._list or {}).get(key.model)
        listed = key.list_usd(price, count) if price else 0.0
        if listed:
            self._factors[key.model, key.inputs > 0] = cost_usd / listed
        expected = listed / count if previous is None else previous
        if abs(each - expected) * TICKS >= 1:
            self._read_at = -_LIST_SECONDS  # the price has changed: read the list again

    def note_rewrite(self, model: str, cost_usd: float | None) -> None:
        """Remember the cost of a rewrite; None: not reported."""
        self._rewrites[model] = cost_usd if _is_amount(cost_usd) else settings.REWRITE_USD

    async def _seed(self, library: Library | None) -> None:
        """Read, once, the costs that were reported to earlier processes."""
        if self._seeded or library is None:
            return
        self._seeded = True
        with suppress(LibraryError):
            for key, each in await asyncio.to_thread(library.spending.last_costs, self.host):
                if _is_amount(each):
                    self._reported.setdefault(PriceKey(*key), each)
