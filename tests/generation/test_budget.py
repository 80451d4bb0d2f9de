"""Money: set aside before sending, settled after."""

from __future__ import annotations

import asyncio
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_notebook.errors import BudgetError
from xai_notebook.generation.budget import Budget, reserve, to_ticks

UNREPORTED = None


async def ask(
    *budgets: Budget, price: float | None = 0.07, images: int = 1, cost: float | None = UNREPORTED
) -> None:
    """Make one request that ends well."""
    async with reserve(budgets, price, images) as reservation:
        reservation.settle(cost)


def test_a_request_waits_for_what_others_may_leave() -> None:
    """What is under way counts at list price until it is settled; then the rest may go."""

    async def main() -> None:
        budget = Budget(limit=0.10, name="--max-cost")
        async with reserve([budget], 0.07, 1) as first:
            second = asyncio.create_task(ask(budget, cost=0.07))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not second.done()
            assert budget.reserved == to_ticks(0.07)
            first.settle(0.02)
        await second
        assert budget.spent_usd == pytest.approx(0.09)
        assert budget.reserved == 0

    asyncio.run(main())


def test_a_request_that_cannot_fit_is_refused_at_once() -> None:
    """It does not wait for what cannot help."""

    async def main() -> None:
        budget = Budget(limit=0.10, name="--max-cost")
        async with reserve([budget], 0.07, 1):
            with pytest.raises(BudgetError, match=re.escape("cost $0.14 at list price")):
                await ask(budget, images=2)

    asyncio.run(main())


def test_a_waiting_request_is_refused_when_the_money_is_gone() -> None:
    """It waited for change, and there was none."""

    async def main() -> None:
        budget = Budget(limit=0.10, name="--max-cost")
        async with reserve([budget], 0.07, 1):
            second = asyncio.create_task(ask(budget))
            await asyncio.sleep(0)
        with pytest.raises(BudgetError):
            await second

    asyncio.run(main())


def test_what_the_server_reports_counts_in_the_end() -> None:
    """Less or more than the list price; not reported, the list price stands."""
    reported, unreported = Budget(limit=1.0, name="x"), Budget(limit=1.0, name="x")
    asyncio.run(ask(reported, images=2, cost=0.05))
    asyncio.run(ask(unreported, images=2))
    assert reported.spent_usd == pytest.approx(0.05)
    assert unreported.spent_usd == pytest.approx(0.14)


@pytest.mark.parametrize("cost", [-0.02, -1e9, math.nan, math.inf])
def test_a_cost_that_is_none_leaves_the_list_price(cost: float) -> None:
    """A negative cost would make the budget endless."""
    budget = Budget(limit=1.0, name="x")
    asyncio.run(ask(budget, cost=cost))
    assert budget.spent_usd == pytest.approx(0.07)


@pytest.mark.parametrize("price", [-0.02, math.nan, math.inf])
def test_a_list_price_that_is_none_is_unknown(price: float) -> None:
    """A limit cannot be kept with it."""
    with pytest.raises(BudgetError, match="names no price"):
        asyncio.run(ask(Budget(limit=1.0, name="x"), price=price))


def test_a_failure_that_may_have_been_billed_counts() -> None:
    """Only what surely was not made is waived; either way nothing stays set aside."""

    async def fail(budget: Budget, *, waived: bool) -> None:
        async with reserve([budget], 0.07, 1) as reservation:
            if waived:
                reservation.waive()
            raise TimeoutError

    for waived, spent in ((False, 0.07), (True, 0.0)):
        budget = Budget(limit=1.0, name="x")
        with pytest.raises(TimeoutError):
            asyncio.run(fail(budget, waived=waived))
        assert budget.spent_usd == pytest.approx(spent)
        assert budget.reserved == 0


def test_every_limit_must_hold() -> None:
    """Nothing is set aside under one limit when another refuses."""
    wide, narrow = Budget(limit=9.0, name="a"), Budget(limit=0.01, name="b")
    with pytest.raises(BudgetError, match=re.escape("b $0.01")):
        asyncio.run(ask(wide, narrow))
    assert wide.reserved == wide.spent == 0


def test_an_unknown_price_matters_only_under_a_limit() -> None:
    """A limit that cannot be kept is an error that says so."""
    asyncio.run(ask(Budget(limit=None, name="a"), price=None))
    with pytest.raises(BudgetError, match="names no price for this model, so --max-cost cannot"):
        asyncio.run(ask(Budget(limit=1.0, name="--max-cost"), price=None))


def test_exactly_the_limit_is_allowed() -> None:
    """Ten images at 7 cents fit into 70 cents, whatever floats make of it; not one more."""

    async def main() -> None:
        budget = Budget(limit=0.70, name="x")
        for _ in range(10):
            await ask(budget)
        with pytest.raises(BudgetError):
            await ask(budget)

    asyncio.run(main())


def test_free_images_fit_into_an_empty_budget() -> None:
    """The embedded server's pictures cost nothing: a limit of zero lets them through."""
    asyncio.run(ask(Budget(limit=0.0, name="x"), price=0.0, images=10))


@given(st.lists(st.tuples(st.floats(0, 0.4), st.integers(1, 3), st.floats(0, 1)), max_size=12))
def test_what_is_under_way_never_goes_over_the_limit(
    requests: list[tuple[float, int, float]],
) -> None:
    """Every request of many at once ends; none is sent that could pass the limit at list price."""

    async def one(budget: Budget, price: float, images: int, share: float) -> None:
        try:
            async with reserve([budget], price, images) as reservation:
                assert budget.spent + budget.reserved <= to_ticks(1.0)
                await asyncio.sleep(0)
                reservation.settle(price * images * share)
        except BudgetError:
            return

    async def main() -> None:
        budget = Budget(limit=1.0, name="x")
        every = asyncio.gather(*(one(budget, *request) for request in requests))
        await asyncio.wait_for(every, 5)
        assert budget.reserved == 0
        assert budget.spent <= to_ticks(1.0)

    asyncio.run(main())
