"""Each request of a job is submitted once, whatever the service answers or lists late."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import xai_notebook as xai
from batch_service import DAY, REAL_TIME, SILENCE, Batch, BatchService, Failure, batch_service
from harness import KEY, until
from xai_notebook import errors
from xai_notebook.client.transport import retry
from xai_notebook.generation.jobs import poller, submitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Kernels, Victims
    from xai_notebook.generation.jobs.job import BatchJob
    from xai_notebook.generation.session import Session

PROMPTS = [f"fox {number}" for number in range(12)]
MANY = [f"fox {number}" for number in range(200)]
KERNEL = """
from xai_notebook.generation.jobs import submitter
submitter._CALL_REQUESTS = 4
Session().generate(each={prompts}, batch=True, **{options})
"""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchService]:
    """Run a batch service, and let the environment name it."""
    monkeypatch.setattr(poller, "_BACKOFF", retry.Backoff(0.02, 0.1))
    monkeypatch.setattr(submitter, "LOOK_PAUSES", (0.01, 0.01, 0.02, 0.04))
    with batch_service() as served:
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", served.host)
        yield served


@pytest.fixture
def kernels(service: BatchService, new_session: Kernels) -> Kernels:
    """Make sessions that use `service`, each like a fresh kernel with the same library."""
    return new_session


def run_cell(session: Session, prompts: list[str] = PROMPTS, **options: Any) -> BatchJob:
    return session.generate(each=prompts, batch=True, **options)


def check(session: Session, service: BatchService) -> None:
    """Run the cell; check that each prompt was submitted once, and that the ledger is right."""
    assert len(run_cell(session).wait().ok) == 12
    assert service.submitted == Counter(PROMPTS)
    assert spent(session) == pytest.approx(service.cost_usd)


def spent(session: Session) -> float:
    """Return the total of the ledger, in US dollars."""
    return sum(row.cost_usd for row in session.history.costs())


# Answers of the service


@pytest.mark.parametrize("call", ["creates", "adds"])
@pytest.mark.parametrize("answer", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", SILENCE])
@pytest.mark.parametrize("times", [1, 4])
def test_a_call_that_was_served_is_not_repeated(
    kernels: Any,
    service: BatchService,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    answer: str,
    times: int,
) -> None:
    monkeypatch.setattr(submitter, "ANSWER_SECONDS", 0.5)
    getattr(service, call).extend([Failure(answer)] * times)
    check(kernels(), service)
    assert len(service.batches) == 1


@pytest.mark.parametrize("call", ["creates", "adds"])
def test_a_call_that_was_not_served_is_repeated(
    kernels: Any, service: BatchService, call: str
) -> None:
    """The fifth call succeeds."""
    getattr(service, call).extend([Failure("UNAVAILABLE", served=False)] * 4)
    check(kernels(), service)
    assert len(service.batches) == 1


def test_a_batch_that_is_listed_late_is_found(kernels: Any, service: BatchService) -> None:
    service.late = 3
    service.creates.append(Failure("UNAVAILABLE"))
    check(kernels(), service)
    assert len(service.batches) == 1


@pytest.mark.parametrize("step", [None, 2])
def test_requests_that_are_listed_late_are_not_added_again(
    kernels: Any, service: BatchService, step: int | None
) -> None:
    """With `step`, a few are listed at a time: nothing is added until the list stops growing."""
    service.counts, service.late, service.step = False, 3, step
    service.adds.append(Failure("UNAVAILABLE"))
    check(kernels(), service)
    assert service.arrived["add"] == 1


def test_a_complete_count_proves_that_requests_arrived(kernels: Any, service: BatchService) -> None:
    """The batch need not list them."""
    service.lists = False
    service.adds.append(Failure("UNAVAILABLE"))
    check(kernels(), service)
    assert service.arrived["add"] == 1


def test_a_count_that_the_list_does_not_explain_stops_the_job(
    kernels: Any, service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unknown which requests arrived: none is added until they are listed."""
    monkeypatch.setattr(submitter, "_CALL_REQUESTS", 4)
    service.lists, service.ready = False, 0
    service.adds.append(Failure("UNAVAILABLE"))
    service.adds.append(Failure("UNAVAILABLE", served=False))
    with pytest.raises(errors.JobError, match=r"counts 4 requests .* lists 0"):
        run_cell(kernels())
    assert service.arrived["add"] == 2
    service.lists, service.ready = True, None
    check(kernels(), service)


def test_a_confirmed_request_is_not_added_again(
    kernels: Any, service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next kernel does not add it either, even if the service does not list it yet."""
    service.counts, service.late = False, 100
    service.adds.extend([None, Failure("UNAUTHENTICATED", served=False)])
    with monkeypatch.context() as patch:
        patch.setattr(submitter, "_CALL_REQUESTS", 4)
        with pytest.raises(errors.AuthenticationError):
            run_cell(kernels())
    assert sum(service.submitted.values()) == 4
    check(kernels(), service)


def test_one_of_two_equally_named_batches_is_used(kernels: Any, service: BatchService) -> None:
    """If both are empty and equally old, the one with the lower id."""
    service.creates.append(Failure("UNAUTHENTICATED", served=False))
    with pytest.raises(errors.AuthenticationError):
        run_cell(kernels())
    service.creates.append(Failure("UNAVAILABLE", served=False))
    (job,) = kernels().jobs()
    for name in ("one", "two"):
        service.batches[name] = Batch(name, job.name)
        service._unlisted[name] = 0
    check(kernels(), service)
    assert [len(batch.requests) for batch in service.batches.values()] == [12, 0]


def test_an_interrupt_ends_the_wait_for_late_requests(
    kernels: Any, service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the cell waits, the card names the reason."""
    monkeypatch.setattr(submitter, "LOOK_PAUSES", (600.0,))
    service.adds.append(Failure("UNAVAILABLE", served=False))
    session = kernels()

    def interrupt() -> tuple[str, str]:
        until(lambda: service.arrived["look"] >= 2)
        (job,) = session.jobs()
        card = until(lambda: job.cause), job.card.title
        os.kill(os.getpid(), signal.SIGINT)
        return card

    with ThreadPoolExecutor() as pool:
        interrupted = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_cell(session)
        cause, title = interrupted.result()
    assert "asked which requests it has before anything is sent again" in cause
    assert title == "Submitting"
    (job,) = session.jobs()
    assert job.cause is None
    assert service.arrived["add"] == 1
    monkeypatch.setattr(submitter, "LOOK_PAUSES", (0.01,))
    check(kernels(), service)


# Kills


@pytest.mark.parametrize("call", ["creates", "adds"])
def test_a_call_of_a_killed_kernel_is_not_repeated(
    kernels: Any, service: BatchService, victims: Victims, call: str
) -> None:
    """The service lists added batches and requests only after three looks."""
    service.counts, service.late = False, 3
    getattr(service, call).append(Failure(SILENCE))
    kernel = victims.start(KERNEL.format(prompts=PROMPTS, options={}))
    until(lambda: service.arrived[call.removesuffix("s")])
    kernel.kill()
    check(kernels(), service)
    assert len(service.batches) == 1


# The same cell again while its results come in


def test_a_rerun_in_fresh_kernels_submits_nothing(kernels: Any, service: BatchService) -> None:
    """Twelve kernels find the same job, with n = 2 and a repeated prompt."""
    service.rate = 60
    prompts = [*MANY[:99], MANY[0]]
    assert len({run_cell(kernels(), prompts, n=2).name for _ in range(12)}) == 1
    last = kernels()
    assert len(run_cell(last, prompts, n=2).wait().ok) == 200
    assert sum(service.submitted.values()) == 200
    assert spent(last) == pytest.approx(service.cost_usd)


@pytest.fixture
def cell(shell: InteractiveShell, service: BatchService) -> Callable[..., BatchJob]:
    """Run the cell of one kernel; an error in it is raised."""
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]  # a kernel, not a terminal

    def run(prompts: list[str], **options: Any) -> BatchJob:
        shell.user_ns |= {"xai": xai, "prompts": prompts, "options": options}
        source = "job = xai.generate(each=prompts, batch=True, **options)"
        ran = shell.run_cell(source, store_history=True, cell_id="cell")
        if ran.error_in_exec is not None:
            raise ran.error_in_exec
        job: BatchJob = shell.user_ns["job"]
        return job

    return run


def test_a_rerun_in_one_kernel_submits_nothing(cell: Any, service: BatchService) -> None:
    service.rate = 60
    for _ in range(12):
        job = cell(MANY)
    assert len(job.wait().ok) == 200
    assert sum(service.submitted.values()) == 200


def test_fresh_submits_once_while_its_job_runs(kernels: Any, service: BatchService) -> None:
    run_cell(kernels()).wait()
    service.ready = 0
    run_cell(kernels(), fresh=True)
    service.ready = 5
    for _ in range(3):
        job = run_cell(kernels(), fresh=True)
        while job.counts.succeeded < 5:
            job.refresh()
    service.ready = None
    assert len(job.wait().ok) == 12
    assert service.submitted == Counter(dict.fromkeys(PROMPTS, 2))


def test_five_processes_submit_each_image_once(
    kernels: Any, service: BatchService, victims: Victims
) -> None:
    """The images are submitted once, even if the chat model answers differently each time."""
    service.rate = 60
    prompts, options = MANY[:40], {"rewrite": "chat", "n": 2}
    code = KERNEL.format(prompts=prompts, options=options)
    processes = [victims.start(code) for _ in range(5)]
    assert [process.wait() for process in processes] == [""] * 5
    last = kernels()
    assert len(run_cell(last, prompts, **options).wait().ok) == 80
    assert sum(service.submitted.values()) == 80
    assert spent(last) == pytest.approx(service.cost_usd)


# Clocks


def test_a_fast_clock_ends_no_job(
    kernels: Any, service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.ready = 0
    job = run_cell(kernels())
    monkeypatch.setattr(time, "time", lambda: REAL_TIME() + 25 * 3600)
    job.refresh()
    assert job.state == "running"
    service.ready = None
    assert len(job.wait().ok) == 12
    check(kernels(), service)


@pytest.mark.parametrize("ahead", [0, 2 * DAY])
def test_a_job_with_deleted_results_has_expired(
    kernels: Any, service: BatchService, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """The service reports it, whatever the clock says; the images are submitted again."""
    service.ready = 0
    job = run_cell(kernels())
    monkeypatch.setattr(time, "time", lambda: REAL_TIME() + ahead)
    service.expired = True
    with pytest.raises(errors.JobError, match="expired"):
        job.wait(30)
    assert job.state == "expired"
    service.expired, service.ready = False, None
    assert len(run_cell(kernels()).wait().ok) == 12
    assert service.submitted == Counter(dict.fromkeys(PROMPTS, 2))


def test_an_unknown_batch_has_not_expired(kernels: Any, service: BatchService) -> None:
    """The batch may belong to another key than this kernel's, so nothing is submitted again."""
    service.ready = 0
    job = run_cell(kernels())
    service.forgotten = True
    with pytest.raises(errors.JobError, match="does not know the job"):
        job.wait(30)
    service.forgotten, service.ready = False, None
    check(kernels(), service)


def test_a_dry_run_counts_the_images_of_a_running_job(kernels: Any, service: BatchService) -> None:
    """Running the cell again submits nothing, and a longer cell only what is new."""
    service.ready = 0
    run_cell(kernels())
    plan: Any = run_cell(kernels(), dry_run=True)
    assert (plan.ordered, plan.new, plan.cost_usd) == (12, 0, 0)
    assert "in a running job" in repr(plan)
    longer: Any = run_cell(kernels(), [*PROMPTS, "an owl"], dry_run=True)
    assert (longer.ordered, longer.new) == (12, 1)
    fresh: Any = run_cell(kernels(), dry_run=True, fresh=True)
    assert (fresh.ordered, fresh.new) == (12, 0)
    single: Any = kernels().generate(each=PROMPTS, dry_run=True)
    assert (single.ordered, single.new) == (0, 12)
    assert sum(service.submitted.values()) == 12


def test_a_dry_run_in_the_jobs_kernel_agrees_with_a_run(cell: Any, service: BatchService) -> None:
    """Running the cell again makes no new images, whether the job runs, is done or cancelled."""
    service.ready = 5
    job = cell(PROMPTS)
    until(lambda: job.refresh().counts.succeeded == 5)
    plan = cell(PROMPTS, dry_run=True)
    assert (plan.stored.count(1), plan.ordered, plan.cost_usd) == (5, 7, 0)
    fresh = cell(PROMPTS, dry_run=True, fresh=True)
    assert (fresh.ordered, fresh.new) == (12, 0)
    job.cancel()
    plan = cell(PROMPTS, dry_run=True)
    assert (plan.ordered, plan.new) == (0, 7)
    service.ready = None
    cell(PROMPTS).wait(30)
    done = cell(PROMPTS, dry_run=True)
    assert (done.ordered, done.new, done.cost_usd) == (0, 0, 0)


# A library that disappears


def put_library(folder: Path, home: Path) -> None:
    """Rename a folder to `home`, also if a background task has made a new library there."""

    def rename() -> bool:
        shutil.rmtree(home, ignore_errors=True)
        try:
            folder.rename(home)
        except OSError:  # the new library appeared after the old one was removed
            return False
        return True

    until(rename)


@pytest.mark.parametrize("how", ["delete", "rename", "replace"])
def test_a_library_that_disappears_is_an_error(
    kernels: Any, cell: Any, service: BatchService, tmp_path: Path, how: str
) -> None:
    """The error names the batch; only `fresh` submits the images again."""
    home, aside = tmp_path / "home", tmp_path / "aside"
    if how == "replace":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XAI_NOTEBOOK_HOME", str(aside))
            run_cell(kernels(), ["a wolf"]).wait()
    service.ready = 0
    job = cell(PROMPTS)
    (listed,) = xai.jobs()
    home.rename(tmp_path / "old")
    if how == "replace":
        put_library(aside, home)
    elif how == "delete":
        shutil.rmtree(tmp_path / "old")
    (batch_id,) = [batch.id for batch in service.batches.values() if len(batch.requests) == 12]
    message = f"deleted, renamed or replaced.*{batch_id}.*--fresh"
    uses: list[Callable[[], Any]] = [
        job.wait, job.refresh, job.cancel, listed.refresh, listed.cancel, lambda: job.images,
        lambda: cell(PROMPTS), lambda: cell(PROMPTS, dry_run=True),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(errors.LibraryError, match=message):
            use()
    assert job._repr_mimebundle_()
    assert "12 images" in repr(job)
    assert {service.submitted[prompt] for prompt in PROMPTS} == {1}
    service.ready = None
    if how == "replace":  # the new library was made in another folder, so it is foreign
        xai.trust_library()
    assert len(cell(PROMPTS, fresh=True).wait().ok) == 12
    assert {service.submitted[prompt] for prompt in PROMPTS} == {2}


def test_a_restored_library_still_has_its_job(
    kernels: Any, service: BatchService, tmp_path: Path
) -> None:
    service.ready = 0
    session = kernels()
    job = run_cell(session)
    (tmp_path / "home").rename(tmp_path / "aside")
    with pytest.raises(errors.LibraryError):
        job.wait(30)
    put_library(tmp_path / "aside", tmp_path / "home")
    assert "lost the job" in str(job.cause)
    assert job.refresh().cause is None
    service.ready = None
    assert len(job.wait(30).ok) == 12
    check(kernels(), service)


# Costs


def test_a_result_without_an_image_is_in_the_ledger(kernels: Any, service: BatchService) -> None:
    """Two kernels read the result, which counts once; the next run submits the image again."""
    service.imageless = frozenset(PROMPTS[:2])
    jobs = [run_cell(kernels()) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        batches = [*pool.map(lambda job: job.wait(), jobs)]
    session = kernels()
    assert [len(batch.ok) for batch in batches] == [10, 10]
    assert [image.status for image in batches[0][:3]] == ["failed", "failed", "ok"]
    assert (jobs[0].counts.succeeded, jobs[0].counts.failed) == (10, 2)
    assert jobs[0].cost_usd == pytest.approx(0.12)
    assert spent(session) == pytest.approx(service.cost_usd) == pytest.approx(0.12)
    assert len(session.history.search(n=100)) == 10
    service.imageless = frozenset()
    assert len(run_cell(session).wait().ok) == 12
    assert service.submitted == Counter(PROMPTS) + Counter(PROMPTS[:2])
    assert spent(session) == pytest.approx(0.14)
