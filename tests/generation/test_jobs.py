"""Batch jobs with the embedded server: submit, collect, end, and find again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

from harness import CENT, serve, tiny, until
from xai_notebook import errors
from xai_notebook.client.transport import retry
from xai_notebook.generation import progress
from xai_notebook.generation.jobs import poller, submitter
from xai_notebook.server import BatchFaults, Faults
from xai_notebook.server.batches import Batches

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Kernels, Served
    from xai_notebook.generation.jobs.job import BatchJob
    from xai_notebook.generation.session import Session

PROMPTS = [f"fox {number}" for number in range(12)]


@pytest.fixture(autouse=True)
def fast_jobs(monkeypatch: pytest.MonkeyPatch, server: Served) -> None:
    """Poll often, and make all images at once."""
    monkeypatch.setattr(poller, "_BACKOFF", retry.Backoff(0.02, 0.1))
    monkeypatch.setattr(submitter, "LOOK_PAUSES", (0.01, 0.02, 0.04))
    server.faults.garbage = tiny()
    server.faults.batches.pace = 10_000
    server.faults.cost_ticks = server.faults.image_price = CENT


def submit(session: Session, prompt: str | None = None, **options: Any) -> BatchJob:
    return session.generate(prompt, batch=True, **options)


def sent(server: Served, method: str) -> list[Any]:
    """Return the messages that one method received."""
    return [call.message for call in server.server.requests if call.method.endswith(f"/{method}")]


def requests(server: Served) -> list[Any]:
    """Return the requests that were added to batches."""
    return [item for call in sent(server, "AddBatchRequests") for item in call.batch_requests]


def prompt_counts(server: Served) -> Counter[str]:
    """Count each prompt of all batches."""
    batches = server.server._service._batches._batches.values()
    entries = [entry for batch in batches for entry in batch.entries.values()]
    return Counter(entry.request.image_request.prompt for entry in entries)


def stop(server: Served) -> None:
    """Let the server make no more results."""
    server.faults.batches.pace = 1e-6


# Submit and collect


def test_a_job_makes_and_stores_all_images(session: Session, server: Served) -> None:
    """Each image is a request with its own key; the images are in the order of the prompts."""
    job = submit(session, each=PROMPTS, n=2)
    batch = job.wait()
    assert [image.prompt for image in batch] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert [image.index for image in batch] == [0, 1] * 12
    assert {image.status for image in batch} == {"ok"}
    assert (job.state, job.counts.succeeded) == ("done", 24)
    assert job.cost_usd == pytest.approx(0.24)
    added = requests(server)
    assert len({request.batch_request_id for request in added}) == len(added) == 24
    assert {(item.image_request.n, item.image_request.format) for item in added} == {(1, 1)}
    assert len(session.history.search(n=100)) == 24
    assert not server.calls


def test_a_job_can_be_awaited(session: Session, server: Served) -> None:
    async def cell() -> Any:
        job: Any = await session.agenerate("a fox", n=3, batch=True)
        return await job

    assert len(asyncio.run(cell()).ok) == 3


def test_a_comparison_is_one_job(session: Session, server: Served) -> None:
    job = submit(session, "a {red|blue} fox", matrix=True)
    assert [image.label for image in job.wait()] == ["red", "blue"]
    assert len(sent(server, "CreateBatch")) == 1


def test_calls_stay_small(session: Session, server: Served) -> None:
    """6 MB of requests are added in calls of at most 3.5 MB."""
    prompts = [f"{number} " + "fox " * 5_000 for number in range(300)]
    job = submit(session, each=prompts)
    calls = sent(server, "AddBatchRequests")
    assert len(calls) == 2
    assert all(call.ByteSize() <= 3_500_000 for call in calls)
    assert sum(len(call.batch_requests) for call in calls) == 300
    job.cancel()


def test_an_input_image_is_uploaded_once(session: Session, server: Served) -> None:
    """The requests name the file and do not contain the image."""
    photo = Image.effect_noise((200, 200), 90)
    batch = submit(session, each=PROMPTS, image=[photo]).wait()
    added = requests(server)
    assert len(sent(server, "UploadFile")) == 1
    assert len({item.image_request.image.file_id for item in added}) == 1
    assert not any(item.image_request.image.image_url for item in added)
    assert len(batch.ok) == 12


def test_a_deleted_input_image_is_uploaded_again(session: Session, server: Served) -> None:
    """Requests that failed without the file are submitted with a new one."""
    photo = Image.effect_noise((200, 200), 90)
    server.faults.batches.pace = 5
    job = submit(session, each=PROMPTS[:2], image=[photo])
    server.server._service.files._files.clear()
    assert {image.status for image in job.wait()} == {"failed"}
    server.faults.batches.pace = 10_000
    assert len(submit(session, each=PROMPTS[:2], image=[photo]).wait().ok) == 2
    assert len(sent(server, "UploadFile")) == 2


def test_an_interrupted_submission_uploads_a_deleted_input_image(
    kernels: Kernels, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Image.effect_noise((200, 200), 90)
    with monkeypatch.context() as patch:
        broken = errors.LibraryError("a failure of the test")
        patch.setattr(submitter.JobSubmitter, "_add_missing", _raising(broken))
        with pytest.raises(errors.LibraryError):
            submit(kernels(), each=PROMPTS, image=[photo])
    server.server._service.files._files.clear()
    assert len(submit(kernels(), each=PROMPTS, image=[photo]).wait().ok) == 12


def _raising(error: Exception) -> Any:
    async def fail(*_: Any) -> None:
        raise error

    return fail


def test_results_are_fetched_while_the_job_runs(session: Session, server: Served) -> None:
    server.faults.batches.pace = 20
    job = submit(session, each=PROMPTS)
    until(lambda: job.counts.succeeded > 2)
    assert job.state == "running"
    assert len(job.images) >= 2
    assert len(job.wait().ok) == 12


def test_an_empty_result_has_failed(session: Session, kernels: Kernels, server: Served) -> None:
    """The error says that the result is empty."""
    stop(server)
    job = submit(session, each=PROMPTS)
    job.cancel()
    session.close()
    server.faults.batches.pace = 10_000
    server.faults.batches.neither = frozenset([requests(server)[0].batch_request_id])
    job = submit(kernels(), each=PROMPTS)
    (failed,) = [image for image in job.wait() if image.status == "failed"]
    assert "neither an answer nor a reason" in str(failed.error)
    assert (job.state, job.counts.failed) == ("done", 1)


# Money


def test_a_job_over_the_limit_is_not_submitted(session: Session, server: Served) -> None:
    """The job counts at list price before the first call."""
    with pytest.raises(errors.BudgetError, match=r"expected to cost \$0\.12"):
        submit(session, each=PROMPTS, max_cost=0.11)
    assert not sent(server, "CreateBatch")
    assert not session.jobs()


# The table of jobs


def test_jobs_convert_to_records_and_frames(session: Session, server: Served) -> None:
    jobs = session.jobs()
    assert jobs.to_records() == []
    assert str(jobs.to_frame()["total"].dtype) == "int64"
    job = submit(session, each=PROMPTS[:3], n=2)
    job.wait()
    (record,) = session.jobs().to_records()
    assert record == {
        "name": job.name, "id": job.id, "state": "done", "created": job.created,
        "expires": job.expires, "total": 6, "pending": 0, "succeeded": 6, "failed": 0,
        "cancelled": 0, "price_usd": pytest.approx(0.06), "cost_usd": pytest.approx(0.06),
        "prompt": "fox 0", "cause": None,
    }  # fmt: skip
    for kind in ("pandas", "polars"):
        frame = session.jobs().to_frame(kind)
        assert list(frame.columns) == list(record)
        assert frame["created"][0] == job.created


# One submission


def test_a_job_is_recorded_before_the_first_call(session: Session, server: Served) -> None:
    server.faults.batches.failure = grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(errors.PermissionDeniedError):
        submit(session, each=PROMPTS)
    (job,) = session.jobs()
    assert (job.state, job.counts.total) == ("new", 12)
    assert sent(server, "CreateBatch")[0].name == job.name


@pytest.mark.parametrize("name", ["get", "list_results"])
def test_a_poll_without_an_answer_is_repeated(
    session: Session, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    method, hanging = getattr(Batches, name), [True]

    async def hang(self: Any, *request: Any) -> Any:
        reply = await method(self, *request)
        if hanging:
            hanging.clear()
            await asyncio.Event().wait()
        return reply

    monkeypatch.setattr(Batches, name, hang)
    monkeypatch.setattr(poller, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(poller, "_PAGE_SECONDS", 1.0)
    faults = Faults(garbage=tiny(), batches=BatchFaults(pace=10_000))
    with serve(faults=faults) as served:  # started with the replaced method
        monkeypatch.setenv("XAI_API_HOST", served.address)
        assert len(submit(session, each=PROMPTS).wait().ok) == 12
        assert not hanging
        assert prompt_counts(served) == Counter(PROMPTS)


def test_a_finished_job_is_replayed(kernels: Kernels, server: Served) -> None:
    """The same call in a new kernel is free, with or without `batch`."""
    first = submit(kernels(), each=PROMPTS)
    first.wait()
    again = submit(kernels(), each=PROMPTS)
    assert (again.state, again.id, again.counts.succeeded) == ("done", first.id, 12)
    assert all(image.replayed for image in again.images)
    assert all(image.replayed for image in kernels().generate(each=PROMPTS))
    assert prompt_counts(server) == Counter(PROMPTS)
    assert not server.calls


def test_stored_images_are_not_submitted(kernels: Kernels, server: Served) -> None:
    kernels().generate(each=PROMPTS[:5])
    job = submit(kernels(), each=PROMPTS)
    assert len(job.wait().ok) == 12
    assert prompt_counts(server) == Counter(PROMPTS[5:])


def test_more_prompts_are_a_second_job(kernels: Kernels, server: Served) -> None:
    """While the first job runs, only new prompts are submitted; the second has all images."""
    server.faults.batches.pace = 10
    submit(kernels(), each=PROMPTS[:8])
    job = submit(kernels(), each=PROMPTS)
    assert len(job.pollers) == 2
    assert len(job.wait().ok) == 12
    assert prompt_counts(server) == Counter(PROMPTS)


def test_replay_submits_nothing(kernels: Kernels, server: Served) -> None:
    """An image that is not stored is an error."""
    kernels().generate(each=PROMPTS[:2])
    job = submit(kernels(), each=PROMPTS[:2], replay=True)
    assert len(job.wait().ok) == 2
    with pytest.raises(errors.LibraryError, match="Without --replay"):
        submit(kernels(), "a wolf", replay=True)
    assert not sent(server, "CreateBatch")
    assert not kernels().jobs()


def test_a_job_shares_stored_images(kernels: Kernels, server: Served) -> None:
    """`share` makes a link for each; none is made again."""
    kernels().generate("fox 0")
    images = submit(kernels(), each=PROMPTS[:2], share=1).wait()
    assert [image.is_public for image in images] == [True, True]
    assert prompt_counts(server) == Counter(PROMPTS[1:2])


def test_another_kernel_waits_until_the_job_is_submitted(
    kernels: Kernels, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation waits, too, and then cancels all requests."""
    adding, waiting = threading.Event(), threading.Event()
    run, add = submitter.JobSubmitter.run, submitter.JobSubmitter._add

    async def report_waiting(self: Any) -> None:
        if adding.is_set():
            waiting.set()
        await run(self)

    async def wait_to_add(self: Any, chunk: Any) -> None:
        adding.set()
        assert await asyncio.to_thread(waiting.wait, 30)
        await add(self, chunk)

    monkeypatch.setattr(submitter, "_CALL_REQUESTS", 4)
    monkeypatch.setattr(submitter.JobSubmitter, "run", report_waiting)
    monkeypatch.setattr(submitter.JobSubmitter, "_add", wait_to_add)
    stop(server)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(submit, kernels(), each=PROMPTS)
        assert adding.wait(30)
        (job,) = kernels().jobs()
        cancelled = pool.submit(job.cancel)
        second = pool.submit(submit, kernels(), each=PROMPTS)
        assert first.result(30).id == second.result(30).id
        cancelled.result(30)
    assert job.state == "cancelled"
    assert len(sent(server, "CreateBatch")) == 1
    assert len(sent(server, "AddBatchRequests")) == 3
    assert prompt_counts(server) == Counter(PROMPTS)
    (batch,) = server.server._service._batches._batches.values()
    assert batch.cancelled is not None


# Ends


def test_a_model_that_cannot_be_batched_is_refused(session: Session, server: Served) -> None:
    """The same call without `batch` works."""
    server.faults.batches.unbatchable = frozenset({"grok-imagine-image"})
    with pytest.raises(errors.InvalidRequestError, match="Omit --batch"):
        submit(session, each=PROMPTS)
    assert not prompt_counts(server)
    assert session.jobs()[0].state == "refused"
    session.configured = lambda: {"rate": 0}
    assert len(session.generate(each=PROMPTS)) == 12


def test_an_unknown_model_is_refused(session: Session, server: Served) -> None:
    with pytest.raises(errors.NotFoundError, match="Existing models: grok-imagine-image"):
        submit(session, each=PROMPTS, model="grok-nothing")
    assert not prompt_counts(server)
    assert session.jobs()[0].state == "refused"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_job_that_xai_cancels_has_a_reason(session: Session, server: Served, when: str) -> None:
    stop(server)
    if when == "before":
        server.faults.batches.cancelled = "no capacity"
        with pytest.raises(errors.JobError, match="xAI cancelled the job: no capacity"):
            submit(session, each=PROMPTS)
    else:
        job = submit(session, each=PROMPTS)
        server.faults.batches.cancelled = "no capacity"
        with pytest.raises(errors.JobError, match="no capacity"):
            job.wait(30)
        assert job.counts.cancelled == 12
    assert session.jobs()[0].state == "cancelled"
    server.faults.batches.cancelled = ""
    server.faults.batches.pace = 10_000
    assert len(submit(session, each=PROMPTS).wait(60).ok) == 12


def test_a_page_that_repeats_ends_the_wait(session: Session, server: Served) -> None:
    """Readable results are kept; the others are not submitted again, and are read later."""
    server.faults.batches.repeat_token = True
    job = submit(session, each=PROMPTS)
    with pytest.raises(errors.JobError, match="its list lacks"):
        job.wait(30)
    assert len(job.images.ok) == 10
    server.faults.batches.repeat_token = False
    assert len(job.wait(30).ok) == 12
    assert prompt_counts(server) == Counter(PROMPTS)


def test_a_batch_without_a_state_is_collected(session: Session, server: Served) -> None:
    server.faults.batches.stateless = True
    assert len(submit(session, each=PROMPTS).wait(30).ok) == 12


def test_cancelling_keeps_finished_images(session: Session, server: Served) -> None:
    server.faults.batches.pace = 10
    job = submit(session, each=PROMPTS)
    until(lambda: job.counts.succeeded)
    counts = job.cancel().counts
    assert job.state == "cancelled"
    assert counts.succeeded + counts.cancelled == 12
    assert counts.cancelled
    assert len(job.wait().ok) == counts.succeeded


def test_an_interrupt_ends_the_wait_and_not_the_job(session: Session, server: Served) -> None:
    stop(server)
    job = submit(session, each=PROMPTS)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        job.wait()
    timer.join()
    assert not sent(server, "CancelBatch")
    assert job.refresh().state == "running"


def test_a_timeout_ends_the_wait(session: Session, server: Served) -> None:
    stop(server)
    with pytest.raises(errors.JobTimeoutError, match="0 of 12 images are here"):
        submit(session, each=PROMPTS).wait(0.2)


def test_a_wait_without_a_frontend_writes_lines(
    session: Session,
    server: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop(server)
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.05)
    job = submit(session, each=PROMPTS)
    with pytest.raises(errors.JobTimeoutError):
        job.wait(0.5)
    line = "xai-notebook: Job Running: 12 images, 0 in the library"
    assert capsys.readouterr().err.splitlines()[0].startswith(line)


def test_a_full_disk_loses_no_result(
    session: Session, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results stay on the server, and are fetched later."""
    with monkeypatch.context() as patch:
        error = errors.LibraryError("The disk is full.")
        patch.setattr(
            type(session.library()), "add_replies", lambda _, replies: [error] * len(replies)
        )
        job = submit(session, each=PROMPTS)
        with pytest.raises(errors.LibraryError, match="full"):
            job.wait(30)
    assert len(job.wait(30).ok) == 12
    assert prompt_counts(server) == Counter(PROMPTS)


def test_an_unreachable_service_is_polled_again(session: Session, server: Served) -> None:
    server.faults.batches.pace = 20
    job = submit(session, each=PROMPTS)
    server.faults.batches.failure = grpc.StatusCode.INTERNAL
    until(lambda: job.cause)
    server.faults.batches.failure = None
    assert len(job.wait().ok) == 12
    assert job.cause is None


def test_an_unexpected_error_is_raised(
    session: Session, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(server)
    job = submit(session, each=PROMPTS)

    async def fail(_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(poller.JobPoller, "poll_once", fail)
    with pytest.raises(ZeroDivisionError):
        job.wait(30)


# Jobs of other kernels


def test_jobs_of_all_kernels_are_listed(kernels: Kernels, server: Served) -> None:
    """The newest first, each up to date; they can be cancelled."""
    submit(kernels(), "a fox").wait()
    stop(server)
    submit(kernels(), each=PROMPTS)
    other = kernels()
    running, done = other.jobs()
    assert (running.state, running.counts.pending) == ("running", 12)
    assert (done.state, done.images[0].prompt) == ("done", "a fox")
    assert [line.split()[2] for line in repr(other.jobs()).splitlines()[1:]] == ["Running", "Done"]
    running.cancel()
    assert other.jobs()[0].state == "cancelled"


def test_a_job_needs_a_library(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    session.configured = lambda: {"home": str(file)}
    with pytest.raises(errors.LibraryError, match="omit --batch"):
        submit(session, "a fox")


def test_a_job_of_a_stopped_embedded_server_is_submitted_again(new_session: Kernels) -> None:
    """The server and its jobs end with the kernel; the next run makes the previews, at no cost."""
    first = new_session()
    submit(first, each=PROMPTS)
    first.close()
    assert len(submit(new_session(), each=PROMPTS).wait(60).ok) == 12
