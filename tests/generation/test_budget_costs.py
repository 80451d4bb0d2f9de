"""`max_cost` in calls with many prompts, and the cost ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from xai_sdk.proto import models_pb2

from harness import CENT, tiny
from raw_server import Call, raw_server
from xai_notebook import errors
from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Kernels, Served
    from xai_notebook.generation.session import Session


@pytest.fixture
def session(session: Session) -> Session:
    """A session that sends ten requests at once."""
    session.configured = lambda: {"rate": 0, "concurrency": 10}
    return session


# Limits


@pytest.mark.parametrize("reported", [2 * CENT, None], ids=["reported", "unreported"])
def test_max_cost_includes_requests_in_flight(
    session: Session, priced: Served, reported: int | None
) -> None:
    """Ten prompts at once, two cents each, ten cents allowed: exactly five requests."""
    priced.faults.cost_ticks, priced.faults.delay = reported, 0.1
    batch = session.generate(each=[f"p{i}" for i in range(10)], max_cost=0.10)
    assert len(priced.calls) == 5
    assert Counter(image.status for image in batch) == {"ok": 5, "unsent": 5}
    assert [image.prompt for image in batch] == [f"p{i}" for i in range(10)]


def test_free_failures_do_not_use_up_a_limit(session: Session, priced: Served) -> None:
    priced.faults.delay = 0.05
    priced.faults.failures = [grpc.StatusCode.INVALID_ARGUMENT] * 3
    batch = session.generate(each=[f"p{i}" for i in range(10)], max_cost=0.10)
    assert Counter(image.status for image in batch) == {"ok": 5, "failed": 3, "unsent": 2}


@pytest.mark.parametrize("reported", [-2 * CENT, (1 << 62)], ids=["negative", "implausibly large"])
def test_invalid_costs_count_at_list_price(session: Session, priced: Served, reported: int) -> None:
    """The reported cost neither extends nor exhausts the limit; in the ledger it is unknown."""
    priced.faults.cost_ticks = reported
    session.generate(each=[f"p{i}" for i in range(12)], max_cost=0.10)
    assert len(priced.calls) == 5
    assert (session.history.costs().total_usd, session.history.costs().unknown) == (0, 5)


@pytest.mark.parametrize("price", [-2 * CENT, 1 << 62], ids=["negative", "implausibly large"])
def test_a_limit_needs_a_valid_list_price(session: Session, priced: Served, price: int) -> None:
    priced.faults.image_price = price
    with pytest.raises(errors.BudgetError, match="has no list price"):
        session.generate("a fox", max_cost=0.10)
    assert priced.calls == []


def test_possibly_billed_requests_count_against_the_limit(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy drops every reply; only five of twenty prompts are sent, each once."""
    prices = models_pb2.ListImageGenerationModelsResponse(
        models=[models_pb2.ImageGenerationModel(name=DEFAULT_MODEL, image_price=2 * CENT)]
    ).SerializeToString()

    async def handle(call: Call) -> None:
        if call.number == 1:
            await call.answer(prices)
        else:
            await call.http(502)

    async def main() -> None:
        async with raw_server(handle) as server:
            monkeypatch.setenv("XAI_API_HOST", server.host)
            batch = await session.agenerate(each=[f"p{i}" for i in range(20)], max_cost=0.10)
            await asyncio.to_thread(session.close)
        assert Counter(image.status for image in batch) == {"failed": 5, "unsent": 15}
        assert all("billed" in (image.error or "") for image in batch if image.status == "failed")
        assert server.requests == 1 + 5

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reported", "summary"),
    [
        (2 * CENT, "2 of 2 prompts, $0.04 spent."),
        (None, "2 of 2 prompts, the cost of 2 unknown."),
        (0, "2 of 2 prompts."),
    ],
    ids=["reported", "unreported", "free"],
)
def test_the_summary_states_the_cost(
    session: Session, priced: Served, reported: int | None, summary: str
) -> None:
    """A cost that was not reported is unknown; stored pictures cost nothing."""
    priced.faults.cost_ticks = reported
    batches = [session.generate(each=["a", "b"], replay=again) for again in (None, True)]
    assert [batch.summary for batch in batches] == [
        summary,
        "2 of 2 prompts, 2 from your library, nothing spent.",
    ]


def test_unsent_prompts_are_summarized_in_one_line(session: Session, priced: Served) -> None:
    """`to_frame()` still has a row per prompt."""
    batch = session.generate(each=[f"p{i}" for i in range(10)], max_cost=0.10)
    assert batch.summary == (
        "5 of 10 prompts, $0.10 spent, 5 not sent: max_cost=$0.10 would be exceeded. "
        "Raise the limit and run the cell again to generate the rest."
    )
    html = batch._repr_mimebundle_()["text/html"]
    assert html.count("<figure") == html.count("<img") == 5
    assert "5 not sent: max_cost=" in html
    frame = batch.to_frame()
    assert list(frame["prompt"]) == [f"p{i}" for i in range(10)]
    assert sorted(frame["status"].value_counts().items()) == [("ok", 5), ("unsent", 5)]


def test_a_raised_limit_sends_only_the_unsent_prompts(session: Session, priced: Served) -> None:
    prompts = [f"p{i}" for i in range(10)]
    session.generate(each=prompts, max_cost=0.10)
    batch = session.generate(each=prompts, max_cost=0.20)
    assert len(batch.ok) == 10
    assert set(Counter(call.message.prompt for call in priced.calls).values()) == {1}


def test_reading_a_generator_stops_at_the_limit(session: Session, priced: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    read = []

    def endless_prompts() -> Any:
        while True:
            read.append(len(read))
            yield f"prompt {len(read)}"

    batch = session.generate(each=endless_prompts(), max_cost=0.10)
    assert len(batch.ok) == len(priced.calls) == 5
    assert len(read) < 15


def test_concurrent_requests_fetch_the_price_list_once(session: Session, priced: Served) -> None:
    session.generate(each=[f"p{i}" for i in range(10)], max_cost=1)
    assert priced.server.counts["/xai_api.Models/ListImageGenerationModels"] == 1


# The ledger


def test_costs_are_summed_by_day_and_model(session: Session, priced: Served) -> None:
    """The table starts with the newest day and has a total."""
    session.generate("a fox", n=3)
    priced.faults.model_name = "grok-imagine-image"
    session.generate("a hare")
    table = session.history.costs()
    rows = {row.model: (row.requests, row.images, row.cost_usd, row.unknown) for row in table}
    assert rows == {
        "grok-imagine-image": (1, 1, 0.02, 0),
        "local-preview": (1, 3, pytest.approx(0.06), 0),
    }
    assert table.total_usd == pytest.approx(0.08)
    assert table.unknown == 0
    library = session.library()
    with library.database.writing() as connection:  # make request 1 three days older
        connection.execute("UPDATE requests SET created = created - 3 * 86400 WHERE id = 1")
    assert [row.model for row in session.history.costs()] == ["grok-imagine-image", "local-preview"]


def test_an_unknown_cost_is_shown_as_unknown(session: Session, priced: Served) -> None:
    priced.faults.cost_ticks = None
    session.generate("a fox")
    priced.faults.cost_ticks = 2 * CENT
    session.generate("a hare")
    table = session.history.costs()
    assert (table.total_usd, table.unknown) == (0.02, 1)
    row, total = repr(table).splitlines()[1:]
    assert row.rstrip().endswith("$0.02 + 1 unknown")
    assert total.rstrip().endswith("$0.02 + 1 unknown")
    assert table._repr_html_().count("1 unknown") == 2


def test_costs_convert_to_records_and_frames(session: Session, priced: Served) -> None:
    session.generate("a fox", n=3)
    priced.faults.model_name, priced.faults.cost_ticks = "other", None
    session.generate("a hare")
    table = session.history.costs()
    today = datetime.now().astimezone().date()
    assert table.to_records() == [
        {
            "day": today, "model": "local-preview", "backend": "xai", "requests": 1,
            "images": 3, "cost_usd": pytest.approx(0.06), "unknown": 0,
        },
        {
            "day": today, "model": "other", "backend": "xai", "requests": 1,
            "images": 1, "cost_usd": 0.0, "unknown": 1,
        },
    ]  # fmt: skip
    frame = table.to_frame()
    assert frame.groupby("day")["cost_usd"].sum()[today] == pytest.approx(table.total_usd)
    assert {"requests", "images", "unknown"} == set(frame.select_dtypes("int64"))
    polars = table.to_frame("polars")
    assert polars.rows(named=True) == table.to_records()


def test_free_previews_are_told_apart_from_paid_images(
    kernels: Kernels, priced: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server and xAI's service have different backends in the table."""
    kernels().generate("a fox")
    monkeypatch.setenv("XAI_NOTEBOOK_BACKEND", "local")
    session = kernels()
    session.generate("a fox")
    backends = {row["backend"]: row["cost_usd"] for row in session.history.costs().to_records()}
    assert backends == {"xai": pytest.approx(0.02), "local": 0.0}
    head, *rows = [line.split() for line in repr(session.history.costs()).splitlines()[:-1]]
    assert head == ["day", "model", "backend", "requests", "images", "cost"]
    assert {row[2] for row in rows} == {"xai", "local"}


def test_moderated_images_have_a_cost(session: Session, priced: Served) -> None:
    """They do not count as pictures in the ledger."""
    session.generate("a fox [moderated]", n=2)
    (row,) = session.history.costs()
    assert (row.images, row.requests) == (0, 1)
    assert row.cost_usd == pytest.approx(0.04)


def test_an_empty_library_has_no_costs(session: Session) -> None:
    assert repr(session.history.costs()) == "No costs: the library has no requests."
    assert "No costs" in session.history.costs()._repr_html_()
    assert session.history.costs().to_records() == []
    frame = session.history.costs().to_frame()
    assert (len(frame), str(frame["cost_usd"].dtype)) == (0, "float64")


def test_a_notebook_shows_costs_as_a_table(shell: InteractiveShell, keyed: Served) -> None:
    keyed.faults.garbage, keyed.faults.cost_ticks = tiny(), 7 * CENT
    shell.run_cell("import xai_notebook as xai\n%xai_image a fox", store_history=True)
    result: Any = shell.run_cell("xai.costs()").result
    data, _ = shell.display_formatter.format(result)
    assert "<table>" in data["text/html"]
    assert "0.07" in data["text/html"]
    assert "local-preview" in data["text/plain"]
