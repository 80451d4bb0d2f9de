"""Limits on spending, and money set aside before anything is sent.

A call is sent when it fits under every limit beside the calls under way. What those will really
cost is not sure: a price may have risen. So each of them counts `MARGIN` times, and while one is
under way whose price the server has never confirmed, no other begins. Near a limit calls go out
one after the other, and a limit is passed at most by what one call cost more than expected.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from xai_notebook import settings
from xai_notebook.client.image import image_price_usd
from xai_notebook.errors import BudgetError, LibraryError, XaiError
from xai_notebook.generation.event_loop import Batched
from xai_notebook.library.spending import TICKS, Amount, Totals, period_start
from xai_notebook.pictures.render.text import dollars

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xai_notebook.client import AsyncClient
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.library import Library

__all__ = [
    "FREE",
    "MARGIN",
    "Counter",
    "Limits",
    "PriceKey",
    "Prices",
    "Reservation",
    "SharedBudget",
    "is_amount",
    "to_ticks",
    "total",
]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from typing import TypeGuard

    from xai_notebook.library.spending import Spending
    from xai_notebook.settings import BudgetLimit

    Estimate = Callable[[], Awaitable[Sequence[Amount | None]]]


MARGIN: Final = 4
"""How much higher than expected the cost of calls under way may turn out."""
FREE: Final = Amount(0)
_RETRY: Final = 2.0
"""Seconds until the end of a call is written again that the library could not take."""
_LOOK: Final = 0.25
"""Seconds between two looks at what other processes have released."""


def to_ticks(usd: float) -> int:
    """Return an amount in ticks of 1e-10 USD."""
    return round(usd * TICKS)


def is_amount(usd: float | None) -> TypeGuard[float]:
    """Tell whether a server's amount can be counted: a negative one would add to a budget."""
    return usd is not None and 0 <= usd < math.inf


def fits(limit: int, totals: Totals, amounts: Sequence[Amount]) -> bool:
    """Tell whether calls fit under a limit now, although the calls under way may cost more.

    Args:
        limit: In ticks.
        totals: What counts against it.
        amounts: What the calls are expected to cost.
    """
    wanted = sum(amount.ticks for amount in amounts)
    if totals.unconfirmed and wanted:
        return False
    return totals.spent + MARGIN * totals.open + wanted <= limit


def refusal(name: str, limit: int, totals: Totals, amounts: Sequence[Amount]) -> BudgetError | None:
    """Return why calls are not sent; None: they fit as soon as the calls under way have ended.

    Args:
        name: Of the limit, with its amount.
        limit: In ticks.
        totals: What counts against it.
        amounts: What the calls are expected to cost.
    """
    wanted = sum(amount.ticks for amount in amounts)
    left = max(limit - totals.spent, 0)
    if wanted <= left:
        return None
    return BudgetError(
        f"This is expected to cost {dollars(wanted / TICKS)}, and {dollars(left / TICKS)} of {name}"
        " is left. It was not sent. Ask for less, or raise the limit.",
        reason=f"{name} allows no more",
    )


class Reservation:
    """Money set aside for one call, under every limit there is.

    Attributes:
        amount: What the call is expected to cost.
        charged: What counts in the end, in ticks: the expected cost, until the server reports
            another one, or it is sure that nothing was made. A lost reply may have been billed.
        reply_id: The reply that reported the cost. Its row in the library counts, once it is there.
        in_ledger: A row of the library counts already.
    """

    def __init__(self, amount: Amount, limits: Limits) -> None:
        """Expect the call to cost what is set aside."""
        self.amount = amount
        self.charged = amount.ticks
        self.reply_id: str | None = None
        self.in_ledger = False
        self._limits = limits
        self._closed = False

    def settle(self, cost_usd: float | None, reply_id: str | None = None) -> None:
        """Note what the server reported; without a report the expected cost stands."""
        if is_amount(cost_usd):
            self.charged = to_ticks(cost_usd)
        self.reply_id = reply_id

    def waive(self) -> None:
        """Note that nothing was made, so nothing is billed."""
        self.charged = 0

    async def close(self) -> None:
        """Count what was charged in place of what was set aside; more than once does no harm."""
        if not self._closed:
            self._closed = True
            await self._limits.settle(self)


class Counter:
    """Counts what one process, or one call, spends; all methods run on the background loop.

    Attributes:
        limit_usd: US dollars; None: no limit.
        name: What sets the limit.
        spent: Ticks.
    """

    def __init__(self, limit_usd: float | None, name: str) -> None:
        """Count from zero."""
        self.limit_usd = limit_usd
        self.name = name
        self.spent = 0
        self._open: set[Reservation] = set()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def spent_usd(self) -> float:
        """What has been spent, in US dollars."""
        return self.spent / TICKS

    @property
    def totals(self) -> Totals:
        """What counts against the limit."""
        reserved = sum(one.amount.ticks for one in self._open)
        return Totals(self.spent, reserved, not all(one.amount.confirmed for one in self._open))

    def allows(self, amounts: Sequence[Amount]) -> bool:
        """Tell whether calls fit now; False: only when some of the calls under way have ended.

        Raises:
            BudgetError: They cost more than is left, even if the calls under way turn out free.
        """
        if self.limit_usd is None:
            return True
        limit, totals = to_ticks(self.limit_usd), self.totals
        if refused := refusal(f"{self.name} {dollars(self.limit_usd)}", limit, totals, amounts):
            raise refused
        return fits(limit, totals, amounts)

    def open(self, reservations: Sequence[Reservation]) -> None:
        """Set money aside; without a limit there is nothing to keep it for."""
        if self.limit_usd is not None:
            self._open.update(reservations)

    def drop(self, reservations: Sequence[Reservation]) -> None:
        """Free what was set aside for calls that were not sent."""
        if self._open:
            self._open.difference_update(reservations)
            self._wake()

    def settle(self, reservation: Reservation) -> None:
        """Count a call that has ended."""
        self.spent += reservation.charged
        self.drop([reservation])

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def changed(self) -> None:
        """Wait until something that was set aside has been settled."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class SharedBudget:
    """A limit over all processes that use a library, such as `5/day`."""

    def __init__(self, limit: BudgetLimit, name: str, spending: Spending) -> None:
        """Count in the library.

        Args:
            limit: With a period.
            name: What sets the limit.
            spending: Of the library.
        """
        self.name = f"{name} {limit}"
        self._limit = limit
        self._spending = spending
        self._charges: dict[Reservation, int] = {}
        self._ended: dict[int, tuple[int, int, str | None]] = {}
        self._reserve = Batched(self._reserve_each)
        self._settle = Batched(self._settle_each)
        self._settled = asyncio.Event()
        self._writing = threading.Lock()

    async def open(self, reservations: Sequence[Reservation]) -> bool:
        """Set money aside; False: it fits only when some of the calls under way have ended.

        Raises:
            BudgetError: It costs more than is left, or the library cannot be used.
        """
        amounts = [one.amount for one in reservations]
        reserving = self._reserve(amounts)
        try:
            found = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reserving.add_done_callback(self._give_back)
            raise
        except LibraryError as error:
            raise BudgetError(
                f"{self.name} is counted in the library. {error} Nothing was sent.",
                reason=f"{self.name} cannot be counted without the library",
            ) from error
        if isinstance(found, Totals):
            if refused := refusal(self.name, to_ticks(self._limit.usd), found, amounts):
                raise refused
            return False
        self._charges.update(zip(reservations, found, strict=True))
        return True

    async def allow_recorded(self, amount: Amount, job_id: int) -> None:
        """See that a job fits beside everything else that counts.

        Raises:
            BudgetError: It does not.
        """
        since = period_start(self._limit.period)
        others = await asyncio.to_thread(partial(self._spending.totals, since, without=job_id))
        if refused := refusal(self.name, to_ticks(self._limit.usd), others, [amount]):
            raise refused

    def _give_back(self, reserving: asyncio.Future[list[int] | Totals]) -> None:
        """Free what was set aside for calls that were cancelled meanwhile."""
        found = None if reserving.cancelled() or reserving.exception() else reserving.result()
        for charge in found if isinstance(found, list) else ():
            self._settle((charge, 0, None))

    def _reserve_each(self, wanted: Sequence[Sequence[Amount]]) -> list[list[int] | Totals]:
        limit = to_ticks(self._limit.usd)
        self._settle_each(())  # what could not be written when its call ended
        return self._spending.reserve(
            wanted,
            period_start(self._limit.period),
            lambda totals, amounts: fits(limit, totals, amounts),
        )

    async def settle(self, reservation: Reservation) -> None:
        """Count a call that has ended; if that cannot be written now, it is with the next call."""
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
        """Try again in a while: other processes wait for this money."""
        loop = asyncio.get_running_loop()

        async def settle() -> None:
            try:
                await asyncio.to_thread(self._settle_each, ())
            except LibraryError:
                self._settle_later()

        loop.call_later(_RETRY, lambda: loop.create_task(settle()))

    def _settle_each(self, ended: Sequence[tuple[int, int, str | None]]) -> list[None]:
        """Write how calls ended, with those before them that could not be written."""
        with self._writing:
            self._ended.update((one[0], one) for one in ended)
            if self._ended:
                self._spending.settle([*self._ended.values()])
                self._ended.clear()
        return [None] * len(ended)

    async def changed(self) -> None:
        """Wait for a call of this process, or for a moment in which another's may have ended."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._settled.wait(), _LOOK)


class Limits:
    """The limits of one call, which must all hold."""

    def __init__(self, counters: Sequence[Counter], shared: SharedBudget | None = None) -> None:
        """Ask the counters first, then the library.

        Args:
            counters: In memory; also those without a limit, which only count.
            shared: Over all processes.
        """
        self._counters = counters
        self._shared = shared

    @property
    def kernel(self) -> Counter:
        """What counts everything that this process spends."""
        return self._counters[-1]

    @property
    def name(self) -> str | None:
        """What sets a limit, one of several; None: nothing does."""
        names = [each.name for each in self._counters if each.limit_usd is not None]
        if self._shared is not None:
            names.append(self._shared.name)
        return names[0] if names else None

    async def reserve(self, estimate: Estimate) -> list[Reservation]:
        """Set money aside for calls, all of it or nothing; wait for money that may be freed.

        Args:
            estimate: Returns what each call is expected to cost; None: the server names no price.
                It is asked again after each wait: prices may have changed.

        Returns:
            A reservation for each call, to be settled or waived, and closed in any case.

        Raises:
            BudgetError: A limit would be passed, or there is one and a price is unknown.
        """
        while True:
            amounts = await estimate()
            known = [amount or FREE for amount in amounts]
            self._check_priced(amounts)
            full = next((each for each in self._counters if not each.allows(known)), None)
            if full is not None:
                await full.changed()
            elif (reservations := await self._take(known)) is not None:
                return reservations
            elif self._shared is not None:
                await self._shared.changed()

    async def _take(self, amounts: Sequence[Amount]) -> list[Reservation] | None:
        """Set amounts aside that the counters allow; None: other processes have to end first."""
        reservations = [Reservation(amount, self) for amount in amounts]
        for counter in self._counters:
            counter.open(reservations)
        held = False
        try:
            held = self._shared is None or await self._shared.open(reservations)
        finally:
            if not held:
                for counter in self._counters:
                    counter.drop(reservations)
        return reservations if held else None

    async def allow_recorded(self, amount: Amount | None, job_id: int) -> None:
        """Count a job that the library has recorded, and that is about to be handed over.

        Args:
            amount: What is left of it is expected to cost; None: the server names no price. A
                budget of all processes counts it already.
            job_id: Its row.

        Raises:
            BudgetError: It would pass a limit, or there is one and the price is unknown.
        """
        if amount is None:
            self._check_priced([amount])
            return
        for counter in self._counters:
            counter.allows([amount])
        if self._shared is not None:
            await self._shared.allow_recorded(amount, job_id)
        for counter in self._counters:
            counter.spent += amount.ticks

    def _check_priced(self, amounts: Sequence[Amount | None]) -> None:
        """Raise if there is a limit, and a price is unknown.

        Raises:
            BudgetError: It cannot be kept.
        """
        if self.name is not None and None in amounts:
            raise BudgetError(
                f"The server names no price for this model, so {self.name} cannot be kept. "
                "Choose another model or drop the limit. Nothing was sent.",
                reason=f"{self.name} cannot be kept without a list price",
            )

    @asynccontextmanager
    async def reserved(self, estimate: Estimate) -> AsyncIterator[list[Reservation]]:
        """Set money aside while the block runs; see `reserve`."""
        reservations = await self.reserve(estimate)
        try:
            yield reservations
        finally:
            for reservation in reservations:
                await reservation.close()

    async def settle(self, reservation: Reservation) -> None:
        """Count a call that has ended, under every limit."""
        for counter in self._counters:
            counter.settle(reservation)
        if self._shared is not None:
            await asyncio.shield(self._shared.settle(reservation))


_OLD: Final = 600.0
"""Seconds after which the list is read again."""


class PriceKey(NamedTuple):
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
    def of(cls, request: ImageRequest) -> PriceKey:
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
        self._reported: dict[PriceKey, float] = {}
        self._factors: dict[tuple[str, bool], float] = {}
        self._unreported: set[PriceKey] = set()
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
        kind = PriceKey.of(request)
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
        kinds: dict[PriceKey, tuple[ImageRequest, int]] = {}
        for request, count in wanted:
            kind = PriceKey.of(request)
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
        kind = PriceKey.of(request)
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
                    self._reported.setdefault(PriceKey(*kind), each)


def total(amounts: Sequence[Amount | None]) -> Amount | None:
    """Return the sum of amounts; None: one of them is unknown."""
    known = [amount for amount in amounts if amount is not None]
    if len(known) < len(amounts):
        return None
    ticks = sum(amount.ticks for amount in known)
    return Amount(ticks, all(amount.confirmed for amount in known))
