"""A stranger's library orders nothing: its jobs wait for the user's consent, and for the limits."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import xai_notebook as xai
from harness import CENT
from xai_notebook import errors
from xai_notebook.library.storage.database import FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Served
    from xai_notebook.generation.session import Session

PROMPTS = [f"p{i}" for i in range(8)]
ADDED = "/xai_api.BatchMgmt/AddBatchRequests"
CHAT = "/xai_api.Chat/GetCompletion"
CREATED = "/xai_api.BatchMgmt/CreateBatch"


@pytest.fixture
def priced(keyed: Served) -> Served:
    """A server that lists two cents an image and charges them."""
    keyed.faults.image_price = keyed.faults.cost_ticks = 2 * CENT
    return keyed


@pytest.fixture
def copied(
    priced: Served,
    new_session: Callable[[], Session],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A home from somewhere else with a job of 8 images that says it costs nothing."""
    theirs = new_session()
    priced.faults.batches.failure = grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(errors.AuthenticationError):
        theirs.generate(each=PROMPTS, batch=True)
    theirs.close()
    priced.faults.batches.failure = None
    priced.server.counts.clear()
    home = Path(shutil.copytree(tmp_path / "home", tmp_path / "copied"))
    with closing(sqlite3.connect(home / FILE)) as connection, connection:
        connection.execute("UPDATE jobs SET price_usd = 0, created = created - 200000")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    return home


def sent(priced: Served) -> int:
    return priced.server.counts[CREATED] + priced.server.counts[ADDED]


ACTS: dict[str, Callable[[Any], object]] = {
    "wait": lambda session: session.jobs()[0].wait(),
    "cancel": lambda session: session.jobs()[0].cancel(),
    "refresh": lambda session: session.jobs()[0].refresh(),
    "cell": lambda session: session.generate(each=PROMPTS, batch=True),
    "new": lambda session: session.generate(each=["another"], batch=True),
    "plan": lambda session: session.generate(each=["another"], batch=True, dry_run=True),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.usefixtures("copied")
def test_a_strangers_job_is_left_alone(
    priced: Served, new_session: Callable[[], Session], act: str
) -> None:
    """It is listed with the reason."""
    session = new_session()
    with pytest.raises(errors.LibraryError, match=r"trust_library\(\)"):
        ACTS[act](session)
    assert sent(priced) == 0
    (job,) = session.jobs()
    assert job.state == "new"
    assert "trust_library()" in str(job.cause)


@pytest.mark.usefixtures("copied")
def test_consent_of_the_user_submits_it(priced: Served) -> None:
    xai.trust_library()
    assert len(xai.jobs()[0].wait()) == 8
    assert sent(priced) == 2
    assert sum(row.cost_usd for row in xai.costs()) == pytest.approx(0.16)


@pytest.mark.parametrize("options", [{}, {"replay": True}])
def test_a_strangers_pictures_answer_a_job(
    priced: Served,
    new_session: Callable[[], Session],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    """Then nothing is submitted."""
    theirs = new_session()
    theirs.generate(each=PROMPTS, batch=True).wait()
    theirs.close()
    home = shutil.copytree(tmp_path / "home", tmp_path / "copied")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    before = sent(priced)
    assert len(new_session().generate(each=PROMPTS, batch=True, **options).wait()) == 8
    assert sent(priced) == before


@pytest.mark.parametrize("budget", ["0.10", "0.10/day", "0.10/total"])
def test_no_job_of_the_list_passes_a_limit(
    copied: Path,
    priced: Served,
    new_session: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    budget: str,
) -> None:
    """Whatever its row says of its price, and however old it is."""
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", budget)
    session = new_session()
    session.library().trust()
    with pytest.raises(errors.BudgetError, match=r"\$0.16"):
        session.jobs()[0].wait()
    assert sent(priced) == 0
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", budget.replace("0.10", "0.20"))
    again = new_session()
    assert len(again.jobs()[0].wait()) == 8
    state = again.budget()
    assert state is not None
    assert state.left_usd == pytest.approx(0.04)
    assert copied.is_dir()


def test_an_old_job_counts_beside_what_was_spent_since(
    priced: Served, new_session: Callable[[], Session], copied: Path, monkeypatch: Any
) -> None:
    """It is too old for the ledger, so its own costs are not in there."""
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "0.20/total")
    session = new_session()
    session.library().trust()
    session.generate(each=["a", "b", "c"])
    with pytest.raises(errors.BudgetError):
        session.jobs()[0].wait()
    with pytest.raises(errors.BudgetError):
        session.generate(each=PROMPTS, batch=True)
    assert sent(priced) == 0
    assert copied.is_dir()


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
def test_a_damaged_job_is_no_raw_error(
    copied: Path,
    priced: Served,
    new_session: Callable[[], Session],
    table: str,
    column: str,
    value: object,
) -> None:
    with closing(sqlite3.connect(copied / FILE)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    session = new_session()
    session.library().trust()
    assert len(session.jobs()) == (table == "job_requests")
    with pytest.raises(errors.LibraryError, match="damaged"):
        session.generate(each=PROMPTS, batch=True).wait()
    assert sent(priced) == 0


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
def test_what_a_job_says_of_itself_passes_no_limit(
    copied: Path,
    priced: Served,
    new_session: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    column: str,
    value: object,
) -> None:
    """Values out of bounds are ignored."""
    with closing(sqlite3.connect(copied / FILE)) as connection, connection:
        connection.execute(f"UPDATE jobs SET {column} = ?", (value,))
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "0.10/total")
    session = new_session()
    session.library().trust()
    (job,) = session.jobs()
    assert repr(job)
    with pytest.raises(errors.BudgetError, match=r"\$0.16"):
        job.wait()
    assert sent(priced) == 0


@pytest.fixture
def rewritten(
    priced: Served, new_session: Callable[[], Session], tmp_path: Path, monkeypatch: Any
) -> Path:
    """A home from somewhere else with pictures of a rewritten prompt."""
    theirs = new_session()
    theirs.generate("a fox", rewrite=True, n=2)
    theirs.close()
    priced.server.counts.clear()
    home = Path(shutil.copytree(tmp_path / "home", tmp_path / "copied"))
    with closing(sqlite3.connect(home / FILE)) as connection, connection:
        (theirs_text,) = connection.execute("SELECT text FROM rewrites").fetchone()
    assert theirs_text != "a fox"
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    return home


@pytest.mark.usefixtures("rewritten")
def test_a_strangers_rewrite_finds_its_pictures(
    priced: Served, new_session: Callable[[], Session]
) -> None:
    """Restart and Run All is free: nothing is sent."""
    for _ in range(2):
        batch = new_session().generate("a fox", rewrite=True, n=2)
        assert [image.status for image in batch] == ["ok", "ok"]
        assert batch[0].rewritten_prompt
    assert not priced.calls[1:]
    assert not priced.server.counts[CHAT]


def test_a_strangers_rewrite_is_not_sent(
    rewritten: Path, priced: Served, new_session: Callable[[], Session]
) -> None:
    """For a missing picture, the prompt is rewritten anew."""
    with closing(sqlite3.connect(rewritten / FILE)) as connection, connection:
        connection.execute("UPDATE rewrites SET text = 'an advertisement'")
    new_session().generate("a fox", rewrite=True, n=2)
    assert priced.server.counts[CHAT] == 1
    assert priced.calls[-1].message.prompt not in {"an advertisement", "a fox"}


def test_the_notice_is_given_once(copied: Path, new_session: Callable[[], Session]) -> None:
    session = new_session()
    first, second = session.generate("a fox"), session.generate("an owl")
    assert sum("trust_library()" in note for note in first.notes) == 1
    assert not any("trust_library()" in note for note in second.notes)
    assert copied.is_dir()


def test_a_strangers_journal_is_left_alone(
    copied: Path, new_session: Callable[[], Session]
) -> None:
    journal = copied / "spool" / "00000000000000000001-1-00000000.journal"
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(b"unreadable")
    assert new_session().generate("a fox")
    assert journal.read_bytes() == b"unreadable"
