"""Limits on spending, with real servers: rewrites, input images, rising prices, processes, jobs."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import xai_notebook as xai
from harness import CENT, tiny, until
from xai_notebook import errors, frontend
from xai_notebook.library.jobs import JobStore
from xai_notebook.library.spending import Spending
from xai_notebook.library.storage.database import FILE
from xai_notebook.settings import BudgetLimit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Kernels, Served, Victims
    from xai_notebook.generation.session import Session

    SetLimit = Callable[[Session, float], dict[str, Any]]

FAST = {"rate": 0, "concurrency": 32}
CHAT = "/xai_api.Chat/GetCompletion"


def configured(session: Session, **values: Any) -> None:
    session.configured = lambda: {**FAST, **values}


def budget_left(session: Session) -> float:
    """Return the rest of the budget, in US dollars."""
    state = session.budget()
    assert state is not None
    return state.left_usd


def chat_calls(server: Served) -> int:
    return server.server.counts[CHAT]


def spent(server: Served) -> float:
    """Return what the server has charged, in US dollars."""
    faults = server.faults
    images = sum(call.message.n * (faults.cost_ticks or 0) for call in server.calls)
    inputs = sum(
        len(call.message.images) or call.message.HasField("image") for call in server.calls
    )
    chats = chat_calls(server) * (faults.chat_ticks or 0)
    return (images + inputs * faults.input_ticks + chats) / 1e10


def limit_of_a_call(session: Session, usd: float) -> dict[str, Any]:
    configured(session)
    return {"max_cost": usd}


def limit_of_the_kernel(session: Session, usd: float) -> dict[str, Any]:
    configured(session, budget=usd)
    return {}


def limit_of_the_day(session: Session, usd: float) -> dict[str, Any]:
    configured(session, budget=f"{usd}/day")
    return {}


EVERY_LIMIT = pytest.mark.parametrize(
    "set_limit",
    [limit_of_a_call, limit_of_the_kernel, limit_of_the_day],
    ids=["of a call", "of the kernel", "of the day"],
)


@EVERY_LIMIT
@pytest.mark.parametrize("chat", [CENT // 10, 3 * CENT, None], ids=["low", "high", "unreported"])
def test_rewrites_are_within_the_limit(
    session: Session, priced: Served, set_limit: SetLimit, chat: int | None
) -> None:
    """A rewrite and its image are reserved together: neither is paid alone."""
    priced.faults.chat_ticks = chat
    options = set_limit(session, 0.10)
    batch = session.generate(each=[f"p{i}" for i in range(40)], rewrite="chat", **options)
    assert chat_calls(priced) == len(priced.calls) == len(batch.ok)
    assert spent(priced) <= 0.10 + max((chat or 0) / 1e10 - 0.001, 0) + 1e-9
    assert len(batch.ok) == {CENT // 10: 4, 3 * CENT: 2, None: 4}[chat]


@EVERY_LIMIT
def test_a_rewrite_is_not_paid_for_an_image_that_would_be_refused(
    session: Session, priced: Served, set_limit: SetLimit
) -> None:
    """The image alone fits, but not together with the rewrite."""
    options = set_limit(session, 0.02)
    with pytest.raises(errors.BudgetError):
        session.generate("a fox", rewrite="chat", **options)
    assert (chat_calls(priced), priced.calls) == (0, [])


def test_a_replay_pays_no_rewrite(session: Session, priced: Served) -> None:
    """`--replay` sends nothing, even if the rewrite is unknown."""
    with pytest.raises(errors.LibraryError):
        session.generate("a fox", rewrite="chat", replay=True)
    assert (chat_calls(priced), priced.calls) == (0, [])


@pytest.mark.parametrize("text", ["", "A fox."])
def test_a_rewrite_with_or_without_text_is_in_the_ledger(
    session: Session, priced: Served, text: str, new_session: Kernels
) -> None:
    """An answer without text was paid for as well; the next call rewrites the prompt again."""
    priced.faults.chat_text = text
    session.generate("a fox", rewrite="chat")
    assert session.history.costs().total_usd == pytest.approx(spent(priced)) == pytest.approx(0.021)
    session.close()
    again = new_session()
    assert again.generate("a fox", rewrite="chat", dry_run=True).new == (0 if text else 1)


def write_pictures(tmp_path: Path, count: int) -> list[str]:
    files = [tmp_path / f"{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(tiny(number))
    return [str(file) for file in files]


@EVERY_LIMIT
def test_input_images_are_within_the_limit(
    session: Session, priced: Served, tmp_path: Path, set_limit: SetLimit
) -> None:
    """Five input images cost more than the picture itself."""
    priced.faults.input_ticks = CENT
    plan: Any = session.generate("a fox", image=write_pictures(tmp_path, 5), dry_run=True)
    assert plan.cost_usd == pytest.approx(0.03)
    options = set_limit(session, 0.02)
    with pytest.raises(errors.BudgetError, match=r"expected to cost \$0.03"):
        session.generate("a fox", image=write_pictures(tmp_path, 5), **options)
    assert priced.calls == []


def test_the_last_reported_cost_is_the_next_expected_cost(
    session: Session, priced: Served, tmp_path: Path, new_session: Kernels
) -> None:
    """Plans and limits use it, in this process and in the next one."""
    priced.faults.input_ticks = CENT
    session.generate("a fox", image=write_pictures(tmp_path, 5))
    for other in (session, new_session()):
        plan = other.generate("an owl", image=write_pictures(tmp_path, 5), dry_run=True)
        assert plan.cost_usd == pytest.approx(0.07)
        with pytest.raises(errors.BudgetError):
            other.generate("an owl", image=write_pictures(tmp_path, 5), max_cost=0.06)
    assert len(priced.calls) == 1


@EVERY_LIMIT
def test_fourfold_prices_exceed_a_limit_by_one_request_at_most(
    session: Session, priced: Served, set_limit: SetLimit
) -> None:
    """The excess is its reported minus its expected cost; 32 requests are sent at once."""
    priced.faults.cost_ticks, priced.faults.delay = 8 * CENT, 0.02
    options = set_limit(session, 1.00)
    session.generate(each=[f"p{i}" for i in range(50)], **options)
    assert 0.9 <= spent(priced) <= 1.00 + 0.06 + 1e-9
    assert session.history.costs().total_usd == pytest.approx(spent(priced))


@EVERY_LIMIT
def test_limits_bound_rising_prices(session: Session, priced: Served, set_limit: SetLimit) -> None:
    """Requests in flight count four times, so the excess of one request is the maximum."""

    def rise(_: Any, number: int) -> None:
        priced.faults.cost_ticks = 8 * CENT if number > 20 else 2 * CENT

    priced.faults.fail_when, priced.faults.delay = rise, 0.02
    options = set_limit(session, 1.00)
    session.generate(each=[f"p{i}" for i in range(80)], **options)
    charged = session.history.costs().total_usd
    assert 0.9 <= charged <= 1.00 + 0.06 + 1e-9


@EVERY_LIMIT
def test_prices_are_read_again_when_a_reported_cost_differs(
    session: Session, priced: Served, set_limit: SetLimit
) -> None:
    """They are read once per change, however many requests report the new cost."""
    options = set_limit(session, 1.00)
    for cost in (2 * CENT, 8 * CENT, 8 * CENT, 8 * CENT):
        priced.faults.cost_ticks = cost
        session.generate("a fox", **options)
    assert priced.server.counts["/xai_api.Models/ListImageGenerationModels"] == 2


def test_a_budget_counts_each_image_of_a_request(session: Session, priced: Served) -> None:
    configured(session, budget="0.10/day")
    batch = session.generate(each=["a", "b", "c"], n=2)
    assert len(batch.ok) == 4
    assert spent(priced) == pytest.approx(0.08)


# Budgets that processes share


def test_kernels_share_a_budget(session: Session, priced: Served, new_session: Kernels) -> None:
    configured(session, budget="0.10/day")
    session.generate("a fox", n=3)
    other = new_session()
    other.configured = session.configured
    with pytest.raises(errors.BudgetError, match=r"\$0.04 of XaiImage.budget \$0.10/day is left"):
        other.generate("an owl", n=3)
    other.generate("an owl", n=2)
    with pytest.raises(errors.BudgetError, match=r"\$0.00 of"):
        session.generate("an elk")
    assert spent(priced) == pytest.approx(0.10)


def make_older(home: Path, seconds: float) -> None:
    """Make all costs in the library older."""
    with contextlib.closing(sqlite3.connect(home / FILE)) as connection, connection:
        for table in ("requests", "rewrites", "charges"):
            connection.execute(f"UPDATE {table} SET created = created - ?", (seconds,))


@pytest.mark.parametrize(
    ("period", "age", "allowed"),
    [
        ("month", timedelta(days=32), True),
        ("month", timedelta(0), False),
        ("total", timedelta(days=4000), False),
    ],
)
def test_a_new_period_starts_from_zero(
    session: Session, priced: Served, *, period: str, age: timedelta, allowed: bool
) -> None:
    configured(session, budget=f"0.02/{period}")
    session.generate("a fox")
    home = session.library().home
    make_older(home, age.total_seconds())
    with contextlib.nullcontext() if allowed else pytest.raises(errors.BudgetError):
        session.generate("an owl")
    assert len(priced.calls) == 1 + allowed


def test_costs_of_yesterday_do_not_count_today(session: Session, priced: Served) -> None:
    """Days end at local midnight."""
    configured(session, budget="0.02/day")
    session.generate("a fox")
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    home = session.library().home
    for moment, refused in ((midnight.timestamp(), True), (midnight.timestamp() - 1, False)):
        with contextlib.closing(sqlite3.connect(home / FILE)) as connection, connection:
            connection.execute("UPDATE requests SET created = ?", (moment,))
        with pytest.raises(errors.BudgetError) if refused else contextlib.nullcontext():
            session.generate("an owl")


@pytest.mark.parametrize("reported", [2 * CENT, None], ids=["reported", "unreported"])
def test_a_cost_counts_once(session: Session, priced: Served, reported: int | None) -> None:
    """It is either in the row of its request or a charge."""
    priced.faults.cost_ticks = reported
    configured(session, budget="1/total")
    session.generate(each=["a", "b", "c"])
    assert str(session.budget()) == "$0.94 of $1/total left"


SPEND = """
import xai_notebook as xai
xai.configure(budget="{budget}", rate=0, concurrency=8)
try:
    xai.generate(each=[f"{name} {{i}}" for i in range(30)]{options})
except xai.errors.BudgetError:
    report("refused")
"""
"""Tries to spend 60 cents."""


@pytest.mark.parametrize(
    ("cost", "options"), [(2, ""), (8, ""), (2, ', rewrite="chat"')], ids=["list", "4x", "rewrite"]
)
def test_four_processes_share_a_budget(
    keyed: Served, priced: Served, victims: Victims, cost: int, options: str
) -> None:
    """Together they exceed the budget by the excess of one request at most."""
    priced.faults.cost_ticks, priced.faults.delay = cost * CENT, 0.02
    processes = [
        victims.start(SPEND.format(name=name, budget="0.50/day", options=options))
        for name in "abcd"
    ]
    assert {process.wait() for process in processes} <= {"", "refused"}
    assert 0.38 <= spent(priced) <= 0.50 + (cost - 2) / 100 + 1e-9


def test_reservations_of_a_killed_process_are_released(
    session: Session, priced: Served, victims: Victims
) -> None:
    priced.faults.delay = 60
    process = victims.start(SPEND.format(name="a", budget="0.02/day", options=""))
    priced.wait_for_call(1)
    configured(session, budget="0.02/day")
    assert budget_left(session) == 0
    process.kill()
    priced.faults.delay = 0.0
    until(lambda: budget_left(session))
    session.generate("an owl")


def test_a_shared_budget_needs_the_library(
    keyed: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_session: Kernels
) -> None:
    keyed.faults.image_price = 2 * CENT
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "5/day")
    session = new_session()
    with pytest.raises(errors.BudgetError, match="counted in the library"):
        session.generate("a fox")
    assert keyed.calls == []


@pytest.mark.parametrize("budget", [0.2, "0.20/day"])
@pytest.mark.parametrize("cancelled", [True, False])
def test_a_job_counts_until_its_results_are_stored(
    session: Session, priced: Served, *, budget: float | str, cancelled: bool
) -> None:
    """A submitted job counts at list price, its results at their cost, a cancelled one nothing."""
    priced.faults.cost_ticks = CENT
    priced.faults.batches.pace = 0.001 if cancelled else 1000
    configured(session, budget=budget)
    job = session.generate(each=[f"p{i}" for i in range(8)], batch=True)
    if cancelled:
        with pytest.raises(errors.BudgetError, match=r"\$0.04 of XaiImage.budget"):
            session.generate(each=["a", "b", "c"], batch=True)
        job.cancel()
    else:
        job.wait()
    assert budget_left(session) == pytest.approx(0.20 if cancelled else 0.12)


@EVERY_LIMIT
def test_prompts_of_a_job_are_rewritten_only_if_the_whole_job_fits(
    session: Session, priced: Served, set_limit: SetLimit, new_session: Kernels
) -> None:
    """Eight prompts and their rewrites cost 16.8 cents; with less, no prompt is rewritten."""
    prompts = [f"p{i}" for i in range(8)]
    options = set_limit(session, 0.165)
    with pytest.raises(errors.BudgetError):
        session.generate(each=prompts, rewrite="chat", batch=True, **options)
    assert chat_calls(priced) == 0
    options = set_limit(session, 0.17)
    job: Any = session.generate(each=prompts, rewrite="chat", batch=True, **options)
    job.wait()
    assert chat_calls(priced) == 8
    assert session.history.costs().total_usd == pytest.approx(8 * 0.021)
    restarted = new_session()
    again: Any = restarted.generate(each=prompts, rewrite="chat", batch=True, max_cost=0.0)
    assert (len(again.images), chat_calls(priced)) == (8, 8)


@EVERY_LIMIT
def test_an_expensive_rewrite_stops_a_job(
    session: Session, priced: Served, set_limit: SetLimit
) -> None:
    """After the first rewrite, the rest does not fit; no other prompt is rewritten."""
    priced.faults.chat_ticks = 3 * CENT
    options = set_limit(session, 0.18)
    with pytest.raises(errors.BudgetError):
        session.generate(each=[f"p{i}" for i in range(8)], rewrite="chat", batch=True, **options)
    assert chat_calls(priced) == 1


# Failures


def test_an_interrupted_call_counts_only_what_was_sent(session: Session, priced: Served) -> None:
    """Requests that still wait to be sent cost nothing."""
    session.configured = lambda: {"rate": 0, "concurrency": 3, "budget": 5}
    priced.faults.delay = lambda request: 60 if request.prompt != "a fox" else 0
    session.generate("a fox")  # so that its price is known, and several go out at once
    call = session.prepare(None, {"each": [f"p{i}" for i in range(20)]})
    running = session.loop.submit(session.run(call))
    priced.wait_for_call(4)
    running.cancel()
    until(lambda: not session._kernel.totals.open)
    assert session._kernel.spent == 4 * 2 * CENT


def test_a_job_that_could_not_be_recorded_does_not_count(
    session: Session, priced: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(session, budget="5/total")

    def fail(*_: Any) -> None:
        raise errors.LibraryError("The disk is gone.")

    monkeypatch.setattr(JobStore, "record", fail)
    with pytest.raises(errors.LibraryError):
        session.generate(each=["a", "b"], batch=True)
    assert budget_left(session) == pytest.approx(5)
    assert session._kernel.spent == 0


@EVERY_LIMIT
def test_a_job_that_is_submitted_later_is_checked_against_the_limit(
    session: Session, priced: Served, set_limit: SetLimit, new_session: Kernels
) -> None:
    """Its first submission failed after it was recorded."""
    configured(session)
    priced.faults.batches.failure = grpc.StatusCode.UNAUTHENTICATED
    prompts = [f"p{i}" for i in range(8)]
    with pytest.raises(errors.AuthenticationError):
        session.generate(each=prompts, batch=True)
    priced.faults.batches.failure = None
    again = new_session()
    options = set_limit(again, 0.10)
    with pytest.raises(errors.BudgetError):
        again.generate(each=prompts, batch=True, **options)
    assert not priced.server.counts["/xai_api.BatchMgmt/AddBatchRequests"]
    job: Any = again.generate(each=prompts, batch=True, **set_limit(again, 0.16))
    assert len(job.wait()) == 8


def test_a_call_that_could_not_be_settled_blocks_no_other(
    session: Session, priced: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reservation is settled with the next call."""
    configured(session, budget="5/total")
    settle, failed = Spending.settle, []

    def fail_once(self: Spending, ended: Any) -> Any:
        if ended and not failed:
            failed.append(ended)
            raise errors.LibraryError("Another program keeps the library locked.")
        return settle(self, ended)

    monkeypatch.setattr(Spending, "settle", fail_once)
    session.generate("a fox")
    session.generate("an owl")
    assert failed
    assert budget_left(session) == pytest.approx(4.96)


def test_free_pictures_set_no_price(session: Session, priced: Served, new_session: Kernels) -> None:
    """An unpacked picture was free, and the next one costs the list price."""
    session.generate("a fox")
    with session.library().database.writing() as connection:
        connection.execute("UPDATE requests SET cost_usd = 0.0")
    session.close()
    other = new_session()
    plan: Any = other.generate("an owl", dry_run=True)
    assert plan.cost_usd == pytest.approx(0.02)


def test_a_charge_is_deleted_when_its_reply_is_stored(session: Session, priced: Served) -> None:
    """Otherwise each call would read all charges of a long period."""
    configured(session, budget="5/total")
    session.generate(each=["a", "b", "c"])
    with session.library().database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM charges").fetchone()[0] == 0
    assert budget_left(session) == pytest.approx(4.94)


# Where limits are set


@pytest.fixture
def plain_python(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the test run as in plain Python, and undo its configuration."""
    monkeypatch.setattr(frontend, "running_shell", lambda: None)
    yield
    frontend.take_configured()


@pytest.mark.usefixtures("plain_python")
def test_a_script_is_configured_by_configure(session: Session, priced: Served) -> None:
    """`configure` works like `%config XaiImage`; None undoes a setting."""
    xai.configure(budget="0.04/day", rate=0, concurrency=2, model="grok-imagine-image-2.0")
    batch = session.generate(each=["a", "b", "c"])
    assert (len(batch.ok), priced.last.model) == (2, "grok-imagine-image-2.0")
    xai.configure(budget=None, model=None)
    session.generate("d")
    assert priced.last.model == "grok-imagine-image"
    assert session.budget() is None


@pytest.mark.usefixtures("plain_python")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": "5/week"}, "budget: '5/week' names no period"),
        ({"budgt": 5}, "Unknown setting 'budgt'. Did you mean budget?"),
        ({"prompt": "x"}, "Give api_host, aspect_ratio"),
        ({"rate": -1}, "rate: -1 is not a valid number of requests"),
        ({"max_cost": "free"}, "max_cost: 'free' is not a number of US dollars"),
        ({"n": 0}, "n: 0 is outside 1 to 10 images"),
    ],
)
def test_an_invalid_setting_changes_nothing(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.OptionError) as caught:
        xai.configure(concurrency=9, **settings)
    assert message in str(caught.value)
    assert frontend.configured() == {}


def test_the_extension_keeps_earlier_settings(
    shell: InteractiveShell, caplog: pytest.LogCaptureFixture
) -> None:
    """After it is loaded, `%config XaiImage` and `configure` set the same values."""
    shell.extension_manager.unload_extension("xai_notebook")
    xai.configure(budget="5/day", concurrency=7)
    shell.extension_manager.load_extension("xai_notebook")
    assert frontend.configured()["budget"] == BudgetLimit(5.0, "day")
    xai.configure(budget=3, concurrency=None, share=3)
    assert frontend.configured()["budget"] == BudgetLimit(3.0)
    assert frontend.configured()["concurrency"] == 4
    shell.run_cell("%config XaiImage.budget = '50/month'")
    assert frontend.configured()["budget"] == BudgetLimit(50.0, "month")
    shell.run_cell("%config XaiImage.budget = None")
    assert frontend.configured()["budget"] is None
    with caplog.at_level("ERROR"):
        shell.run_cell("%config XaiImage.budget = 'x'")
    assert "XaiImage.budget: 'x' is not a budget. Give 5, '5/day'" in caplog.text


def test_the_environment_can_set_a_budget(
    session: Session, priced: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error about an invalid value names the variable."""
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "0.02/day")
    session.generate("a fox")
    with pytest.raises(errors.BudgetError):
        session.generate("an owl")
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "a lot")
    with pytest.raises(errors.ConfigurationError, match="XAI_NOTEBOOK_BUDGET: 'a lot' is not"):
        session.generate("an elk")
    assert len(priced.calls) == 1


def test_a_plan_shows_the_rest_of_the_budget(session: Session, priced: Served) -> None:
    """The shown cost includes the rewrite."""
    configured(session, budget="5/day")
    session.generate("a fox")
    plan = session.generate("an owl", n=2, rewrite="chat", dry_run=True)
    assert plan.cost_usd == pytest.approx(0.041)
    assert plan.sentence == "To make: 2, $0.041; from your library: 0; $4.98 of $5/day left."
    assert dict(plan.rows())["budget"] == "$4.98 of $5/day left"


def test_prices_are_read_again_when_they_are_old(
    session: Session, priced: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session.generate("a fox", dry_run=True).cost_usd == pytest.approx(0.02)
    priced.faults.image_price = 5 * CENT
    assert session.generate("a fox", dry_run=True).cost_usd == pytest.approx(0.02)
    later = time.monotonic() + 601
    monkeypatch.setattr("xai_notebook.generation.budget.time.monotonic", lambda: later)
    assert session.generate("a fox", dry_run=True).cost_usd == pytest.approx(0.05)


# Dry runs


def test_a_dry_run_of_a_job_expects_what_the_job_reserves(
    session: Session, priced: Served, tmp_path: Path
) -> None:
    """Each image of a job is one request, and pays for the input images again."""
    priced.faults.input_ticks = CENT // 10
    priced.faults.batches.pace = 0.001
    request: dict[str, Any] = {"n": 3, "image": write_pictures(tmp_path, 2), "batch": True}
    plan: Any = session.generate("a fox", dry_run=True, **request)
    configured(session, budget="5/day")
    session.generate("a fox", **request)
    assert plan.cost_usd == pytest.approx(5 - budget_left(session))


def test_a_call_in_flight_counts_when_the_session_is_closed(
    session: Session, priced: Served, new_session: Kernels
) -> None:
    """The call may be billed; its caller gets an error."""
    priced.faults.delay = 30.0
    configured(session, budget="5/day")
    with ThreadPoolExecutor() as pool:
        calling = pool.submit(session.generate, "a fox")
        until(lambda: priced.calls)
        session.close()
        with pytest.raises(errors.CallCancelledError, match="session was closed"):
            calling.result(10)
    other = new_session()
    configured(other, budget="5/day")
    assert budget_left(other) == pytest.approx(4.98)


def test_a_dry_run_of_a_replay_reports_missing_images(
    new_session: Kernels, priced: Served, keyed: Served
) -> None:
    new_session().generate("a fox", n=2)
    again: Any = new_session().generate("a fox", n=2, replay=True, dry_run=True)
    assert (again.stored, again.cost_usd, again.notes) == ([2], 0, ())
    request: dict[str, Any] = {"each": ["a fox", "an owl"], "n": 2, "replay": True}
    plan: Any = new_session().generate(**request, dry_run=True)
    assert (plan.stored, plan.cost_usd) == ([2, 0], 0)
    assert "replay=True would fail: 2 of 4 images are not stored" in repr(plan)
    assert len(priced.calls) == 1


def test_a_dry_run_reports_that_a_budget_cannot_be_counted(
    session: Session, priced: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run would be refused."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "file"))
    configured(session, budget="5/day")
    text = repr(session.generate("a fox", dry_run=True))
    assert "Stored images are not looked up" in text
    assert "$5/day cannot be used: nothing would be sent" in text
    with pytest.raises(errors.BudgetError):
        session.generate("a fox")
    assert priced.calls == []


@EVERY_LIMIT
@pytest.mark.parametrize("each", [None, ["a fox", "an owl", "a wolf"]], ids=["one", "many"])
def test_a_dry_run_reports_that_a_limit_would_be_exceeded(
    session: Session, priced: Served, set_limit: SetLimit, each: list[str] | None
) -> None:
    """The plan also says whether the run would stop or send nothing."""
    request: dict[str, Any] = {"each": each} if each else {"prompt": "a fox"}
    request["dry_run"] = True
    assert "exceeds" not in repr(session.generate(**request, **set_limit(session, 0.07)))
    text = repr(session.generate(**request, n=3, **set_limit(session, 0.05)))
    assert "exceeds" in text
    assert ("it would stop" if each else "nothing would be sent") in text
    assert priced.calls == []


def test_a_dry_run_estimates_like_a_run(session: Session, priced: Served) -> None:
    """Three times ten cents fit into thirty, and equal prompts are rewritten once."""
    priced.faults.image_price = priced.faults.cost_ticks = 10 * CENT
    request: dict[str, Any] = {"each": ["a fox", "an owl", "a wolf"], "max_cost": 0.3}
    assert "exceeds" not in repr(session.generate(**request, dry_run=True))
    equal: Any = session.generate(each=["an elk"] * 3, rewrite="chat", dry_run=True)
    assert equal.cost_usd == pytest.approx(0.301)
    session.generate(each=["an elk"] * 3, rewrite="chat")
    assert chat_calls(priced) == 1


def test_a_dry_run_reports_that_a_limit_needs_a_price(session: Session, priced: Served) -> None:
    """The run itself is refused for the same reason."""
    plan = session.generate("a fox", model="other", max_cost=1.0, dry_run=True)
    assert "has no list price" in repr(plan)
    with pytest.raises(errors.BudgetError, match="has no list price"):
        session.generate("a fox", model="other", max_cost=1.0)
    assert "has no list price" not in repr(session.generate("a fox", model="other", dry_run=True))


def test_a_dry_run_of_stored_images_needs_no_prices(
    new_session: Kernels, priced: Served, keyed: Served
) -> None:
    new_session().generate("a fox", n=2)
    priced.faults.models_failure = grpc.StatusCode.INVALID_ARGUMENT
    for options in ({}, {"replay": True}):
        plan: Any = new_session().generate("a fox", n=2, dry_run=True, **options)
        assert (plan.new, plan.cost_usd) == (0, 0)
    with pytest.raises(errors.XaiError):
        new_session().generate("an owl", dry_run=True)
