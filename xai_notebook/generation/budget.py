"""What requests may cost: list prices, limits, and money set aside before sending."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import BudgetError
from xai_notebook.pictures.text import dollars

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from typing import TypeGuard

__all__ = ["Budget", "Reservation", "reserve", "to_ticks"]

_TICKS: Final = 10**10
"""Ticks per US dollar, as on the wire: whole numbers add up exactly."""


def to_ticks(usd: float) -> int:
    """Return an amount in ticks of 1e-10 USD."""
    return round(usd * _TICKS)


def _is_amount(usd: float | None) -> TypeGuard[float]:
    """Tell whether a server's amount can be counted: a negative one would add to a budget."""
    return usd is not None and 0 <= usd < math.inf


@dataclass(slots=True)
class Reservation:
    """Money set aside for one request.

    Attributes:
        ticks: What the list price says it will cost.
        charged: What counts as spent in the end. The list price, until somebody knows better: a
            request whose reply was lost may have been billed.
    """

    ticks: int
    charged: int = 0

    def __post_init__(self) -> None:
        """Expect the list price."""
        self.charged = self.ticks

    def settle(self, cost_usd: float | None) -> None:
        """Note what the server reported; what is no cost leaves the list price standing."""
        if _is_amount(cost_usd):
            self.charged = to_ticks(cost_usd)

    def waive(self) -> None:
        """Note that nothing was made, so nothing is billed."""
        self.charged = 0


@dataclass(slots=True)
class Budget:
    """A limit and what has been spent under it.

    All methods are called on the background loop: one thread, so that looking and setting aside
    are one step even with many requests under way.

    Attributes:
        limit: US dollars; None is no limit.
        name: What sets the limit, for the message.
    """

    limit: float | None
    name: str
    spent: int = 0
    reserved: int = 0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list, repr=False)

    @property
    def spent_usd(self) -> float:
        """What has been spent, in US dollars."""
        return self.spent / _TICKS

    def allows(self, ticks: int) -> bool:
        """Tell whether a request fits beside those under way; False: only if they cost less.

        Raises:
            BudgetError: It would cost more than is left, whatever becomes of the others.
        """
        if self.limit is None:
            return True
        if self.spent + ticks > to_ticks(self.limit):
            raise BudgetError(
                f"This would cost {dollars(ticks / _TICKS)} at list price, and "
                f"{dollars(self.spent_usd)} of {self.name} {dollars(self.limit)} is spent. "
                "It was not sent; raise the limit.",
                reason=f"{self.name} {dollars(self.limit)} allows no more",
            )
        return self.spent + self.reserved + ticks <= to_ticks(self.limit)

    async def settled(self) -> None:
        """Wait until a request under way has its cost."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def release(self, reservation: Reservation) -> None:
        """Count a request that has ended, and let those that wait for it look again."""
        self.reserved -= reservation.ticks
        self.spent += reservation.charged
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


@asynccontextmanager
async def reserve(
    budgets: Sequence[Budget], price_usd: float | None, images: int
) -> AsyncIterator[Reservation]:
    """Set money aside while a request is under way, under every limit there is.

    A request that fits only if others under way turn out cheaper waits for them.

    Args:
        budgets: Limits that all must hold.
        price_usd: List price of an image in US dollars; None: unknown.
        images: How many are asked for.

    Raises:
        BudgetError: A limit would be passed, or there is one and the price is unknown.
    """
    limited = [budget.name for budget in budgets if budget.limit is not None]
    price_usd = price_usd if _is_amount(price_usd) else None
    if price_usd is None and limited:
        raise BudgetError(
            f"The server names no price for this model, so {limited[0]} cannot be kept. "
            "Choose another model or drop the limit. Nothing was sent.",
            reason=f"{limited[0]} cannot be kept without a list price",
        )
    reservation = Reservation(to_ticks((price_usd or 0.0) * images))
    while full := [budget for budget in budgets if not budget.allows(reservation.ticks)]:
        await full[0].settled()
    for budget in budgets:
        budget.reserved += reservation.ticks
    try:
        yield reservation
    finally:
        for budget in budgets:
            budget.release(reservation)
