"""Counters and limits: money is reserved before a call and settled after it."""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_notebook.errors import BudgetError
from xai_notebook.generation.budget import MARGIN, Counter, Limits, to_ticks
from xai_notebook.library.spending import TICKS, Amount
from xai_notebook.settings import BudgetLimit

if TYPE_CHECKING:
    from collections.abc import Sequence


def amounts(*each: Amount | None) -> Any:
    """Return an estimator that always returns these amounts."""

    async def estimate() -> list[Amount | None]:
        return [*each]

    return estimate


def usd(amount: float, *, confirmed: bool = True) -> Amount:
    """Return an expected cost, given in US dollars."""
    return Amount(to_ticks(amount), confirmed)


async def pay(*counters: Counter, price: float | None = 0.07, cost: float | None = None) -> None:
    """Make a call with this expected price and this reported cost, in US dollars."""
    amount = None if price is None else usd(price)
    async with Limits(counters).reserved(amounts(amount)) as (reservation,):
        reservation.settle(cost)


async def idle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_call_waits_for_money_that_others_may_leave() -> None:
    """The waiting call is sent when the call in flight turns out cheaper."""

    async def main() -> None:
        counter = Counter(0.10, "--max-cost")
        async with Limits([counter]).reserved(amounts(usd(0.07))) as (first,):
            second = asyncio.create_task(pay(counter, cost=0.07))
            await idle()
            assert not second.done()
            assert counter.totals.open == to_ticks(0.07)
            first.settle(0.02)
        await second
        assert counter.spent == to_ticks(0.09)
        assert counter.totals.open == 0

    asyncio.run(main())


def test_a_call_that_cannot_fit_is_refused_at_once() -> None:

    async def main() -> None:
        counter = Counter(0.10, "--max-cost")
        async with Limits([counter]).reserved(amounts(usd(0.07))):
            with pytest.raises(BudgetError, match=re.escape("expected to cost $0.14, and $0.10")):
                await pay(counter, price=0.14)

    asyncio.run(main())


def test_a_waiting_call_is_refused_when_the_money_is_gone() -> None:
    """The call in flight cost what was expected."""

    async def main() -> None:
        counter = Counter(0.10, "--max-cost")
        async with Limits([counter]).reserved(amounts(usd(0.07))):
            second = asyncio.create_task(pay(counter))
            await idle()
        with pytest.raises(BudgetError):
            await second

    asyncio.run(main())


def test_near_the_limit_fewer_calls_are_sent_at_once() -> None:
    """Each call in flight counts four times."""

    async def main() -> int:
        counter, in_flight, most = Counter(1.0, "x"), 0, 0

        async def send() -> None:
            nonlocal in_flight, most
            async with Limits([counter]).reserved(amounts(usd(0.05))) as (reservation,):
                in_flight += 1
                most = max(most, in_flight)
                await asyncio.sleep(0)
                in_flight -= 1
                reservation.settle(0.05)

        await asyncio.gather(*(send() for _ in range(20)))
        assert counter.spent == to_ticks(1.0)
        return most

    assert asyncio.run(main()) == 1 + math.floor((1.0 - 0.05) / (MARGIN * 0.05))


def test_a_call_with_an_unconfirmed_price_is_sent_alone() -> None:
    """Other calls wait until its cost is known."""

    async def main() -> None:
        counter = Counter(10.0, "x")
        async with Limits([counter]).reserved(amounts(usd(0.01, confirmed=False))) as (first,):
            second = asyncio.create_task(pay(counter))
            await idle()
            assert not second.done()
            first.settle(5.0)
        await second

    asyncio.run(main())


def test_the_reported_cost_replaces_the_expected_cost() -> None:
    """Without a report, the expected cost remains."""
    reported, unreported = Counter(1.0, "x"), Counter(1.0, "x")
    asyncio.run(pay(reported, price=0.14, cost=0.05))
    asyncio.run(pay(unreported, price=0.14))
    assert reported.spent == to_ticks(0.05)
    assert unreported.spent == to_ticks(0.14)


@pytest.mark.parametrize("cost", [-0.02, -1e9, math.nan, math.inf])
def test_an_invalid_cost_leaves_the_expected_cost(cost: float) -> None:
    """A negative cost would raise the budget."""
    counter = Counter(1.0, "x")
    asyncio.run(pay(counter, cost=cost))
    assert counter.spent == to_ticks(0.07)


def test_a_failure_that_may_have_been_billed_counts() -> None:
    """A waived failure does not count. Nothing stays reserved after a failure."""

    async def fail(counter: Counter, *, waived: bool) -> None:
        async with Limits([counter]).reserved(amounts(usd(0.07))) as (reservation,):
            if waived:
                reservation.waive()
            raise TimeoutError

    for waived, spent in ((False, 0.07), (True, 0.0)):
        counter = Counter(1.0, "x")
        with pytest.raises(TimeoutError):
            asyncio.run(fail(counter, waived=waived))
        assert counter.spent == to_ticks(spent)
        assert counter.totals.open == 0


def test_every_limit_must_hold() -> None:
    """If one limit refuses, nothing is reserved under another."""
    wide, narrow = Counter(9.0, "a"), Counter(0.01, "b")
    with pytest.raises(BudgetError, match=re.escape("b $0.01")):
        asyncio.run(pay(wide, narrow))
    assert wide.totals.open == wide.spent == 0


def test_amounts_are_reserved_together_or_not_at_all() -> None:
    """Nothing is reserved for a rewrite if its image does not fit."""

    async def main() -> None:
        counter = Counter(0.02, "--max-cost")
        with pytest.raises(BudgetError):
            await Limits([counter]).reserve(amounts(usd(0.001), usd(0.02)))
        assert counter.totals.open == 0

    asyncio.run(main())


def test_an_unknown_price_matters_only_under_a_limit() -> None:
    asyncio.run(pay(Counter(None, "a"), price=None))
    with pytest.raises(BudgetError, match="has no list price for this model, so --max-cost cannot"):
        asyncio.run(pay(Counter(1.0, "--max-cost"), price=None))


def test_exactly_the_limit_is_allowed() -> None:
    """Ten images at 7 cents fit into 70 cents, despite float rounding; one more does not."""

    async def main() -> None:
        counter = Counter(0.70, "x")
        for _ in range(10):
            await pay(counter)
        with pytest.raises(BudgetError):
            await pay(counter)

    asyncio.run(main())


def test_free_images_fit_into_an_empty_budget() -> None:
    asyncio.run(pay(Counter(0.0, "x"), price=0.0))


def spend(
    requests: Sequence[tuple[float, float]], concurrency: int, limit: float
) -> tuple[float, float]:
    """Send calls, given as expected and final costs, under a limit.

    Returns:
        The total cost, and the largest excess of a call over its expected cost, in US dollars.
    """
    counter, excesses = Counter(limit, "x"), [0.0]

    async def main() -> None:
        semaphore = asyncio.Semaphore(concurrency)

        async def send(expected: float, cost: float) -> None:
            async with semaphore:
                try:
                    async with Limits([counter]).reserved(amounts(usd(expected))) as (reservation,):
                        excesses.append(cost - expected)
                        await asyncio.sleep(0)
                        reservation.settle(cost)
                except BudgetError:
                    return

        await asyncio.wait_for(asyncio.gather(*(send(*request) for request in requests)), 5)
        assert counter.totals.open == 0

    asyncio.run(main())
    return counter.spent / TICKS, max(excesses)


@given(
    st.lists(st.tuples(st.floats(0.001, 0.4), st.floats(0, MARGIN)), max_size=12),
    st.integers(1, 12),
)
def test_a_limit_is_exceeded_by_the_excess_of_one_call_at_most(
    requests: list[tuple[float, float]], concurrency: int
) -> None:
    """This holds at any concurrency, if each call costs up to four times the expected cost."""
    sent = [(expected, expected * factor) for expected, factor in requests]
    spent, excess = spend(sent, concurrency, 1.0)
    assert spent <= 1.0 + excess + 1e-9


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (5, BudgetLimit(5.0), "$5"),
        ("$0.50", BudgetLimit(0.5), "$0.50"),
        ("5/day", BudgetLimit(5.0, "day"), "$5/day"),
        (" 50 / Month ", BudgetLimit(50.0, "month"), "$50/month"),
        ("100/total", BudgetLimit(100.0, "total"), "$100/total"),
        (1e-7, BudgetLimit(1e-7), "$1e-07"),
        (0, BudgetLimit(0.0), "$0"),
    ],
)
def test_a_budget_has_an_amount_and_may_have_a_period(
    value: object, limit: BudgetLimit, text: str
) -> None:
    assert BudgetLimit.parse(value) == limit
    assert str(limit) == text


@pytest.mark.parametrize("value", [True, "", "five", "-5", "5/week", "5/", math.nan, "5,50"])
def test_an_invalid_budget_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"is not a budget|names no period"):
        BudgetLimit.parse(value)
