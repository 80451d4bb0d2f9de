"""Money: set aside before sending, settled after, within every limit."""

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
from xai_notebook.library.spending import Amount
from xai_notebook.settings import BudgetLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

UNREPORTED = None


def amounts(*each: Amount | None) -> Any:
    """Return an estimate that never changes."""

    async def estimate() -> list[Amount | None]:
        return [*each]

    return estimate


def usd(amount: float, *, confirmed: bool = True) -> Amount:
    """Return what a call is expected to cost, in US dollars."""
    return Amount(to_ticks(amount), confirmed)


async def ask(*counters: Counter, price: float | None = 0.07, cost: float | None = None) -> None:
    """Make one call that ends well."""
    amount = None if price is None else usd(price)
    async with Limits(counters).reserved(amounts(amount)) as (reservation,):
        reservation.settle(cost)


async def idle() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_call_waits_for_money_that_others_may_leave() -> None:
    """It is sent when the call under way has turned out cheaper."""

    async def main() -> None:
        counter = Counter(0.10, "--max-cost")
        async with Limits([counter]).reserved(amounts(usd(0.07))) as (first,):
            second = asyncio.create_task(ask(counter, cost=0.07))
            await idle()
            assert not second.done()
            assert counter.totals.open == to_ticks(0.07)
            first.settle(0.02)
        await second
        assert counter.spent_usd == pytest.approx(0.09)
        assert counter.totals.open == 0

    asyncio.run(main())


def test_a_call_that_cannot_fit_is_refused_at_once() -> None:
    """Whatever becomes of the calls under way."""

    async def main() -> None:
        counter = Counter(0.10, "--max-cost")
        async with Limits([counter]).reserved(amounts(usd(0.07))):
            with pytest.raises(BudgetError, match=re.escape("expected to cost $0.14, and $0.10")):
                await ask(counter, price=0.14)

    asyncio.run(main())


def test_a_waiting_call_is_refused_when_the_money_is_gone() -> None:
    """The call under way cost what was expected."""

    async def main() -> None:
        counter = Counter(0.10, "--max-cost")
        async with Limits([counter]).reserved(amounts(usd(0.07))):
            second = asyncio.create_task(ask(counter))
            await idle()
        with pytest.raises(BudgetError):
            await second

    asyncio.run(main())


def test_near_the_limit_calls_go_out_one_after_the_other() -> None:
    """Each call under way may cost four times what is expected: only what fits then is sent."""

    async def main() -> int:
        counter, under_way, most = Counter(1.0, "x"), 0, 0

        async def one() -> None:
            nonlocal under_way, most
            async with Limits([counter]).reserved(amounts(usd(0.05))) as (reservation,):
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0)
                under_way -= 1
                reservation.settle(0.05)

        await asyncio.gather(*(one() for _ in range(20)))
        assert counter.spent_usd == pytest.approx(1.0)
        return most

    assert asyncio.run(main()) == 1 + math.floor((1.0 - 0.05) / (MARGIN * 0.05))


def test_a_price_that_was_never_confirmed_goes_alone() -> None:
    """The others wait until it is known what such a call costs."""

    async def main() -> None:
        counter = Counter(10.0, "x")
        async with Limits([counter]).reserved(amounts(usd(0.01, confirmed=False))) as (first,):
            second = asyncio.create_task(ask(counter))
            await idle()
            assert not second.done()
            first.settle(5.0)
        await second

    asyncio.run(main())


def test_what_the_server_reports_counts_in_the_end() -> None:
    """Less or more than expected; without a report what was expected stands."""
    reported, unreported = Counter(1.0, "x"), Counter(1.0, "x")
    asyncio.run(ask(reported, price=0.14, cost=0.05))
    asyncio.run(ask(unreported, price=0.14))
    assert reported.spent_usd == pytest.approx(0.05)
    assert unreported.spent_usd == pytest.approx(0.14)


@pytest.mark.parametrize("cost", [-0.02, -1e9, math.nan, math.inf])
def test_a_cost_that_makes_no_sense_leaves_what_was_expected(cost: float) -> None:
    """A negative cost would make the budget endless."""
    counter = Counter(1.0, "x")
    asyncio.run(ask(counter, cost=cost))
    assert counter.spent_usd == pytest.approx(0.07)


def test_a_failure_that_may_have_been_billed_counts() -> None:
    """Only what surely was not made is waived; either way nothing stays set aside."""

    async def fail(counter: Counter, *, waived: bool) -> None:
        async with Limits([counter]).reserved(amounts(usd(0.07))) as (reservation,):
            if waived:
                reservation.waive()
            raise TimeoutError

    for waived, spent in ((False, 0.07), (True, 0.0)):
        counter = Counter(1.0, "x")
        with pytest.raises(TimeoutError):
            asyncio.run(fail(counter, waived=waived))
        assert counter.spent_usd == pytest.approx(spent)
        assert counter.totals.open == 0


def test_every_limit_must_hold() -> None:
    """Nothing is set aside under one limit when another refuses."""
    wide, narrow = Counter(9.0, "a"), Counter(0.01, "b")
    with pytest.raises(BudgetError, match=re.escape("b $0.01")):
        asyncio.run(ask(wide, narrow))
    assert wide.totals.open == wide.spent == 0


def test_amounts_are_set_aside_together_or_not_at_all() -> None:
    """A rewrite that fits is not paid when its image does not."""

    async def main() -> None:
        counter = Counter(0.02, "--max-cost")
        with pytest.raises(BudgetError):
            await Limits([counter]).reserve(amounts(usd(0.001), usd(0.02)))
        assert counter.totals.open == 0

    asyncio.run(main())


def test_an_unknown_price_matters_only_under_a_limit() -> None:
    """A limit that cannot be kept is an error that says so."""
    asyncio.run(ask(Counter(None, "a"), price=None))
    with pytest.raises(BudgetError, match="names no price for this model, so --max-cost cannot"):
        asyncio.run(ask(Counter(1.0, "--max-cost"), price=None))


def test_exactly_the_limit_is_allowed() -> None:
    """Ten images at 7 cents fit into 70 cents, whatever floats make of it; not one more."""

    async def main() -> None:
        counter = Counter(0.70, "x")
        for _ in range(10):
            await ask(counter)
        with pytest.raises(BudgetError):
            await ask(counter)

    asyncio.run(main())


def test_free_images_fit_into_an_empty_budget() -> None:
    """The embedded server's pictures cost nothing: a limit of zero lets them through."""
    asyncio.run(ask(Counter(0.0, "x"), price=0.0))


def play(
    requests: Sequence[tuple[float, float]], concurrency: int, limit: float
) -> tuple[float, float]:
    """Send calls under a limit; each is expected to cost one amount, and costs another.

    Returns:
        What was spent, and the largest difference of a call that was sent, in US dollars.
    """
    counter, differences = Counter(limit, "x"), [0.0]

    async def main() -> None:
        slots = asyncio.Semaphore(concurrency)

        async def one(expected: float, cost: float) -> None:
            async with slots:
                try:
                    async with Limits([counter]).reserved(amounts(usd(expected))) as (reservation,):
                        differences.append(cost - expected)
                        await asyncio.sleep(0)
                        reservation.settle(cost)
                except BudgetError:
                    return

        await asyncio.wait_for(asyncio.gather(*(one(*request) for request in requests)), 5)
        assert counter.totals.open == 0

    asyncio.run(main())
    return counter.spent_usd, max(differences)


@given(
    st.lists(st.tuples(st.floats(0.001, 0.4), st.floats(0, MARGIN)), max_size=12),
    st.integers(1, 12),
)
def test_a_limit_is_passed_by_one_difference_at_most(
    requests: list[tuple[float, float]], concurrency: int
) -> None:
    """However many calls are under way, though each costs up to four times what is expected."""
    sent = [(expected, expected * factor) for expected, factor in requests]
    spent, difference = play(sent, concurrency, 1.0)
    assert spent <= 1.0 + difference + 1e-9


@pytest.mark.parametrize(
    ("given", "limit", "text"),
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
def test_forms_of_a_budget(given: object, limit: BudgetLimit, text: str) -> None:
    """A number is for this process; a period is for all that use the library."""
    assert BudgetLimit.parse(given) == limit
    assert str(limit) == text


@pytest.mark.parametrize("given", [True, "", "five", "-5", "5/week", "5/", math.nan, "5,50"])
def test_what_is_no_budget_is_refused(given: object) -> None:
    """A limit that was misread would be no limit."""
    with pytest.raises(ValueError, match=r"is not a budget|names no period"):
        BudgetLimit.parse(given)
