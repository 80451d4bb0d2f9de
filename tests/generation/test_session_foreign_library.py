"""A job of a foreign library is submitted only with the user's consent and within the limits."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import xai_notebook as xai
from xai_notebook import errors
from xai_notebook.library.storage.database import FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Kernels, Served
    from xai_notebook.generation.session import Session

    Copy = Callable[[Session], Path]

PROMPTS = [f"p{i}" for i in range(8)]
CHAT = "/xai_api.Chat/GetCompletion"


@pytest.fixture
def copy_library(priced: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """Copy the library of a session to another folder and use it from there."""

    def copy(session: Session) -> Path:
        session.close()
        priced.server.counts.clear()
        home = shutil.copytree(tmp_path / "home", tmp_path / "copied")
        monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
        return home

    return copy


@pytest.fixture
def copied(priced: Served, kernels: Kernels, copy_library: Copy) -> Path:
    """A foreign library with a job of 8 images that claims to cost nothing."""
    foreign = kernels()
    priced.faults.batches.failure = grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(errors.AuthenticationError):
        foreign.generate(each=PROMPTS, batch=True)
    priced.faults.batches.failure = None
    home = copy_library(foreign)
    change(home, "UPDATE jobs SET price_usd = 0, created = created - 200000")
    return home


def change(home: Path, sql: str, *values: object) -> None:
    """Change the database of a library."""
    with closing(sqlite3.connect(home / FILE)) as connection, connection:
        connection.execute(sql, values)


def submissions(priced: Served) -> int:
    counts = priced.server.counts
    return counts["/xai_api.BatchMgmt/CreateBatch"] + counts["/xai_api.BatchMgmt/AddBatchRequests"]


ACTIONS: dict[str, Callable[[Any], object]] = {
    "wait": lambda session: session.jobs()[0].wait(),
    "cancel": lambda session: session.jobs()[0].cancel(),
    "refresh": lambda session: session.jobs()[0].refresh(),
    "cell": lambda session: session.generate(each=PROMPTS, batch=True),
    "new": lambda session: session.generate(each=["another"], batch=True),
    "plan": lambda session: session.generate(each=["another"], batch=True, dry_run=True),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.usefixtures("copied")
def test_no_job_is_submitted_before_the_library_is_trusted(
    priced: Served, kernels: Kernels, action: str
) -> None:
    """The foreign job is listed with the reason."""
    session = kernels()
    with pytest.raises(errors.LibraryError, match=r"trust_library\(\)"):
        ACTIONS[action](session)
    assert submissions(priced) == 0
    (job,) = session.jobs()
    assert job.state == "new"
    assert "trust_library()" in str(job.cause)


@pytest.mark.usefixtures("copied")
def test_a_trusted_job_is_submitted(priced: Served) -> None:
    xai.trust_library()
    assert len(xai.jobs()[0].wait()) == 8
    assert submissions(priced) == 2
    assert sum(row.cost_usd for row in xai.costs()) == pytest.approx(0.16)


@pytest.mark.parametrize("options", [{}, {"replay": True}])
def test_pictures_of_a_foreign_library_answer_a_job(
    priced: Served, kernels: Kernels, copy_library: Copy, options: dict[str, Any]
) -> None:
    """Nothing is submitted."""
    foreign = kernels()
    foreign.generate(each=PROMPTS, batch=True).wait()
    copy_library(foreign)
    assert len(kernels().generate(each=PROMPTS, batch=True, **options).wait()) == 8
    assert submissions(priced) == 0


@pytest.mark.parametrize("budget", ["0.10", "0.10/day", "0.10/total"])
@pytest.mark.usefixtures("copied")
def test_a_listed_job_is_checked_against_the_limits(
    priced: Served, kernels: Kernels, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    """The check does not trust the price and age in its row."""
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", budget)
    session = kernels()
    session.library().trust()
    with pytest.raises(errors.BudgetError, match=r"\$0.16"):
        session.jobs()[0].wait()
    assert submissions(priced) == 0
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", budget.replace("0.10", "0.20"))
    again = kernels()
    assert len(again.jobs()[0].wait()) == 8
    state = again.budget()
    assert state is not None
    assert state.left_usd == pytest.approx(0.04)


@pytest.mark.usefixtures("copied")
def test_an_old_job_counts_in_addition_to_later_costs(
    priced: Served, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger ignores jobs that were recorded over a day ago and never submitted."""
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "0.20/total")
    session = kernels()
    session.library().trust()
    session.generate(each=["a", "b", "c"])
    with pytest.raises(errors.BudgetError):
        session.jobs()[0].wait()
    with pytest.raises(errors.BudgetError):
        session.generate(each=PROMPTS, batch=True)
    assert submissions(priced) == 0


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("jobs", "inputs", "[" * 100_000),
        ("jobs", "inputs", "[1]"),
        ("jobs", "inputs", "{"),
        ("jobs", "created", "yesterday"),
        ("jobs", "host", b"\xff"),
        ("job_requests", "request", "{"),
        ("job_requests", "request", '{"inputs": [{"no": 1}]}'),
        ("job_requests", "request", "[]"),
    ],
)
def test_a_damaged_job_is_a_library_error(
    copied: Path, priced: Served, kernels: Kernels, table: str, column: str, value: object
) -> None:
    change(copied, f"UPDATE {table} SET {column} = ?", value)
    session = kernels()
    session.library().trust()
    assert len(session.jobs()) == (table == "job_requests")
    with pytest.raises(errors.LibraryError, match="damaged"):
        session.generate(each=PROMPTS, batch=True).wait()
    assert submissions(priced) == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("price_usd", -1.0),
        ("price_usd", float("inf")),
        ("price_usd", "free"),
        ("created", 1e300),
        ("expires", b"x"),
    ],
)
def test_invalid_values_of_a_job_lift_no_limit(
    copied: Path,
    priced: Served,
    kernels: Kernels,
    monkeypatch: pytest.MonkeyPatch,
    column: str,
    value: object,
) -> None:
    change(copied, f"UPDATE jobs SET {column} = ?", value)
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "0.10/total")
    session = kernels()
    session.library().trust()
    (job,) = session.jobs()
    assert repr(job)
    with pytest.raises(errors.BudgetError, match=r"\$0.16"):
        job.wait()
    assert submissions(priced) == 0


@pytest.fixture
def rewritten(kernels: Kernels, copy_library: Copy) -> Path:
    """A foreign library with pictures of a rewritten prompt."""
    foreign = kernels()
    image = foreign.generate("a fox", rewrite=True, n=2)[0]
    assert image.request.prompt != "a fox"
    return copy_library(foreign)


@pytest.mark.usefixtures("rewritten")
def test_a_foreign_rewrite_finds_its_pictures(priced: Served, kernels: Kernels) -> None:
    """Nothing is sent."""
    for _ in range(2):
        batch = kernels().generate("a fox", rewrite=True, n=2)
        assert [image.status for image in batch] == ["ok", "ok"]
        assert batch[0].rewritten_prompt
    assert len(priced.calls) == 1
    assert not priced.server.counts[CHAT]


def test_a_foreign_rewrite_is_not_sent(rewritten: Path, priced: Served, kernels: Kernels) -> None:
    """For a missing picture, the prompt is rewritten again."""
    change(rewritten, "UPDATE rewrites SET text = 'an advertisement'")
    kernels().generate("a fox", rewrite=True, n=2)
    assert priced.server.counts[CHAT] == 1
    assert priced.calls[-1].message.prompt not in {"an advertisement", "a fox"}


@pytest.mark.usefixtures("copied")
def test_the_notice_is_shown_once(kernels: Kernels) -> None:
    session = kernels()
    first, second = session.generate("a fox"), session.generate("an owl")
    assert sum("trust_library()" in note for note in first.notes) == 1
    assert not any("trust_library()" in note for note in second.notes)


def test_a_journal_of_a_foreign_library_is_left_unchanged(copied: Path, kernels: Kernels) -> None:
    journal = copied / "spool" / "00000000000000000001-1-00000000.journal"
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(b"unreadable")
    assert kernels().generate("a fox")
    assert journal.read_bytes() == b"unreadable"
