"""Limits of calls with many prompts, and the ledger of costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from xai_sdk.proto import models_pb2

from harness import CENT, KEY, tiny
from raw_server import Call, raw_server
from xai_notebook import errors
from xai_notebook.generation.session import Session
from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served

FAST = {"rate": 0, "concurrency": 10}


# Limits


@pytest.mark.parametrize("reported", [2 * CENT, None], ids=["reported", "unreported"])
def test_max_cost_counts_what_is_under_way(
    session: Session, quick: Served, reported: int | None
) -> None:
    """Ten prompts at once, two cents each, ten cents allowed: exactly five requests."""
    session.configured = lambda: FAST
    quick.faults.image_price, quick.faults.cost_ticks, quick.faults.delay = 2 * CENT, reported, 0.1
    batch = session.generate(each=[f"p{i}" for i in range(10)], max_cost=0.10)
    assert len(quick.calls) == 5
    assert Counter(image.status for image in batch) == {"ok": 5, "unsent": 5}
    assert [image.prompt for image in batch] == [f"p{i}" for i in range(10)]


def test_free_failures_do_not_use_up_a_limit(session: Session, quick: Served) -> None:
    session.configured = lambda: FAST
    quick.faults.image_price, quick.faults.cost_ticks, quick.faults.delay = 2 * CENT, 2 * CENT, 0.05
    quick.faults.failures = [grpc.StatusCode.INVALID_ARGUMENT] * 3
    batch = session.generate(each=[f"p{i}" for i in range(10)], max_cost=0.10)
    assert Counter(image.status for image in batch) == {"ok": 5, "failed": 3, "unsent": 2}


@pytest.mark.parametrize("reported", [-2 * CENT, (1 << 62)], ids=["negative", "absurd"])
def test_an_invalid_cost_counts_at_list_price(
    session: Session, quick: Served, reported: int
) -> None:
    """It neither raises the limit nor ends it; the ledger shows it as unknown."""
    session.configured = lambda: FAST
    quick.faults.image_price, quick.faults.cost_ticks = 2 * CENT, reported
    session.generate(each=[f"p{i}" for i in range(12)], max_cost=0.10)
    assert len(quick.calls) == 5
    assert (session.history.costs().total_usd, session.history.costs().unknown) == (0, 5)


@pytest.mark.parametrize("price", [-2 * CENT, 1 << 62], ids=["negative", "absurd"])
def test_a_limit_needs_a_valid_list_price(session: Session, quick: Served, price: int) -> None:
    quick.faults.image_price = price
    with pytest.raises(errors.BudgetError, match="names no price"):
        session.generate("a fox", max_cost=0.10)
    assert quick.calls == []


def test_what_may_have_been_billed_uses_up_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy loses every answer: five of twenty prompts are sent, each once."""
    prices = models_pb2.ListImageGenerationModelsResponse(
        models=[models_pb2.ImageGenerationModel(name=DEFAULT_MODEL, image_price=2 * CENT)]
    ).SerializeToString()

    async def script(call: Call) -> None:
        if call.number == 1:
            await call.answer(prices)
        else:
            await call.http(502)

    async def main() -> None:
        async with raw_server(script) as server:
            monkeypatch.setenv("XAI_API_KEY", KEY)
            monkeypatch.setenv("XAI_API_HOST", server.host)
            session = Session()
            session.configured = lambda: FAST
            try:
                batch = await asyncio.to_thread(
                    session.generate, each=[f"p{i}" for i in range(20)], max_cost=0.10
                )
            finally:
                await asyncio.to_thread(session.close)
        assert Counter(image.status for image in batch) == {"failed": 5, "unsent": 15}
        assert all("billed" in (image.error or "") for image in batch if image.status == "failed")
        assert len(server.orders) == 1 + 5

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reported", "spent"),
    [(2 * CENT, "$0.04 spent"), (None, "the cost of 2 unknown"), (0, "")],
    ids=["reported", "unreported", "free"],
)
def test_the_last_line_says_what_was_spent(
    session: Session, quick: Served, reported: int | None, spent: str
) -> None:
    """A cost that was not reported is unknown; stored pictures cost nothing."""
    session.configured = lambda: FAST
    quick.faults.image_price, quick.faults.cost_ticks = 2 * CENT, reported
    made = [session.generate(each=["a", "b"], replay=again) for again in (None, True)]
    assert [batch.summary for batch in made] == [
        f"2 of 2 prompts{', ' * bool(spent)}{spent}.",
        "2 of 2 prompts, 2 from your library, nothing spent.",
    ]


def test_what_a_limit_held_back_is_counted_not_shown(session: Session, quick: Served) -> None:
    """One line instead of many cards; the table still has a row per prompt."""
    session.configured = lambda: FAST
    quick.faults.image_price, quick.faults.cost_ticks = 2 * CENT, 2 * CENT
    batch = session.generate(each=[f"p{i}" for i in range(10)], max_cost=0.10)
    assert batch.summary == (
        "5 of 10 prompts, $0.10 spent, 5 not sent: --max-cost $0.10 allows no more. "
        "Raise the limit and run the cell again to make the rest."
    )
    html = batch._repr_mimebundle_()["text/html"]
    assert html.count("<figure") == html.count("<img") == 5
    assert "5 not sent: --max-cost" in html
    frame = batch.to_frame()
    assert list(frame["prompt"]) == [f"p{i}" for i in range(10)]
    assert sorted(frame["status"].value_counts().items()) == [("ok", 5), ("unsent", 5)]


def test_a_raised_limit_makes_only_the_rest(session: Session, quick: Served) -> None:
    """The cell, run again with a higher limit, sends only what was held back."""
    session.configured = lambda: FAST
    quick.faults.image_price, quick.faults.cost_ticks = 2 * CENT, 2 * CENT
    prompts = [f"p{i}" for i in range(10)]
    session.generate(each=prompts, max_cost=0.10)
    batch = session.generate(each=prompts, max_cost=0.20)
    assert len(batch.ok) == 10
    assert set(Counter(call.message.prompt for call in quick.calls).values()) == {1}


def test_a_limit_ends_the_reading_of_a_generator(session: Session, quick: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    quick.faults.image_price, quick.faults.cost_ticks = 2 * CENT, 2 * CENT
    read = []

    def endless() -> Any:
        while True:
            read.append(len(read))
            yield f"prompt {len(read)}"

    batch = session.generate(each=endless(), max_cost=0.10)
    assert len(batch.ok) == len(quick.calls) == 5
    assert len(read) < 15


def test_requests_at_once_read_the_price_list_once(session: Session, quick: Served) -> None:
    session.configured = lambda: FAST
    session.generate(each=[f"p{i}" for i in range(10)], max_cost=1)
    assert quick.server.counts["/xai_api.Models/ListImageGenerationModels"] == 1


# The ledger


def test_costs_are_summed_by_day_and_model(session: Session, quick: Served) -> None:
    """The newest day first, with a total."""
    quick.faults.cost_ticks = 2 * CENT
    session.generate("a fox", n=3)
    quick.faults.model_name = "grok-imagine-image"
    session.generate("a hare")
    table = session.history.costs()
    found = {row.model: (row.requests, row.images, row.cost_usd, row.unknown) for row in table}
    assert found == {
        "grok-imagine-image": (1, 1, 0.02, 0),
        "local-preview": (1, 3, pytest.approx(0.06), 0),
    }
    assert table.total_usd == pytest.approx(0.08)
    assert table.unknown == 0
    library = session.library()
    with library.database.writing() as connection:
        connection.execute("UPDATE requests SET created = created - 3 * 86400 WHERE id = 1")
    assert [row.model for row in session.history.costs()] == ["grok-imagine-image", "local-preview"]


def test_an_unknown_cost_is_shown_as_unknown(session: Session, quick: Served) -> None:
    """In its row and in the total."""
    quick.faults.cost_ticks = None
    session.generate("a fox")
    quick.faults.cost_ticks = 2 * CENT
    session.generate("a hare")
    table = session.history.costs()
    assert (table.total_usd, table.unknown) == (0.02, 1)
    row, total = repr(table).splitlines()[1:]
    assert row.rstrip().endswith("$0.02 + 1 unknown")
    assert total.rstrip().endswith("$0.02 + 1 unknown")
    assert table._repr_html_().count("1 unknown") == 2


def test_replays_cost_nothing(session: Session, quick: Served) -> None:
    """In the batch and in the ledger."""
    quick.faults.cost_ticks = 2 * CENT
    first = session.generate("a fox")
    again = session.generate("a fox", replay=True)
    assert (first.cost_usd, again.cost_usd) == (0.02, 0)
    assert session.history.costs().total_usd == pytest.approx(0.02)


def test_moderated_images_were_paid_for(session: Session, quick: Served) -> None:
    """Their cost is in the ledger; they are not counted as pictures."""
    quick.faults.cost_ticks = 2 * CENT
    session.generate("a fox [moderated]", n=2)
    (row,) = session.history.costs()
    assert (row.images, row.requests) == (0, 1)


def test_costs_of_an_empty_library(session: Session) -> None:
    assert repr(session.history.costs()) == "Nothing was spent: the library holds no requests yet."
    assert "Nothing was spent" in session.history.costs()._repr_html_()


def test_costs_in_a_notebook(shell: InteractiveShell, keyed: Served) -> None:
    keyed.faults.garbage, keyed.faults.cost_ticks = tiny(), 7 * CENT
    shell.run_cell("import xai_notebook as xai\n%xai_image a fox", store_history=True)
    result: Any = shell.run_cell("xai.costs()").result
    data, _ = shell.display_formatter.format(result)
    assert "<table>" in data["text/html"]
    assert "0.07" in data["text/html"]
    assert "local-preview" in data["text/plain"]
