"""Jobs: what the service is given, what comes of it, and what a kernel finds again."""

from __future__ import annotations

import asyncio
import contextlib
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
from xai_notebook.generation.jobs import poller, submitter
from xai_notebook.generation.session import Session
from xai_notebook.server import BatchFaults, Faults
from xai_notebook.server.batches import Batches
from xai_notebook.server.faults import Refusal

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served
    from xai_notebook.generation.jobs.job import BatchJob

PROMPTS = [f"fox {number}" for number in range(12)]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, server: Served) -> None:
    """Ask often, and have everything made at once."""
    monkeypatch.setattr(poller, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(poller, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(submitter, "LOOK_PAUSES", (0.01, 0.02, 0.04))
    server.faults.garbage = tiny()
    server.faults.batches.pace = 10_000
    server.faults.cost_ticks = server.faults.image_price = CENT


@pytest.fixture
def kernels(keyed: Served, new_session: Any) -> Any:
    """Start kernels that share a library and a server."""
    return new_session


def hand(session: Session, prompt: str | None = None, **options: Any) -> BatchJob:
    """Hand a call over."""
    job: Any = session.generate(prompt, batch=True, **options)
    return job


def sent(server: Served, method: str) -> list[Any]:
    """Return the messages of one method about batches."""
    return [call.message for call in server.server.requests if call.method.endswith(f"/{method}")]


def held(server: Served) -> Counter[str]:
    """Return how often the service has each prompt, over all batches."""
    batches = server.server._service._batches._batches.values()
    return Counter(one.image_request.prompt for batch in batches for one in batch.requests)


def stop(server: Served) -> None:
    """Have nothing done from now on."""
    server.faults.batches.pace = 1e-6


# What is handed over, and what comes of it


def test_a_job_brings_every_image(session: Session, server: Served) -> None:
    """One request an image, base64, named by us; the images are in the library, in their order."""
    job = hand(session, each=PROMPTS, n=2)
    batch = job.wait()
    assert [image.prompt for image in batch] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert [image.index for image in batch] == [0, 1] * 12
    assert {image.status for image in batch} == {"ok"}
    assert (job.state, job.counts.succeeded) == ("done", 24)
    assert job.cost_usd == pytest.approx(0.24)
    added = [one for call in sent(server, "AddBatchRequests") for one in call.batch_requests]
    assert len({one.batch_request_id for one in added}) == len(added) == 24
    assert {(one.image_request.n, one.image_request.format) for one in added} == {(1, 1)}
    assert len(session.history.search(n=100)) == 24
    assert not server.calls


def test_a_job_can_be_awaited(session: Session, server: Served) -> None:
    """`await job` gives its images, in any event loop."""

    async def cell() -> Any:
        job: Any = await session.agenerate("a fox", n=3, batch=True)
        return await job

    assert len(asyncio.run(cell()).ok) == 3


def test_a_comparison_is_one_job(session: Session, server: Served) -> None:
    """Models and wordings keep their labels."""
    job = hand(session, "a {red|blue} fox", matrix=True)
    assert [image.label for image in job.wait()] == ["red", "blue"]
    assert len(sent(server, "CreateBatch")) == 1


def test_calls_stay_small(session: Session, server: Served) -> None:
    """Requests of 6 MB are added in calls of less than 3.5 MB each."""
    prompts = [f"{number} " + "fox " * 5_000 for number in range(300)]
    job = hand(session, each=prompts)
    calls = sent(server, "AddBatchRequests")
    assert len(calls) == 2
    assert all(call.ByteSize() <= 3_500_000 for call in calls)
    assert sum(len(call.batch_requests) for call in calls) == 300
    job.cancel()


def test_an_input_image_is_stored_once(session: Session, server: Served) -> None:
    """The requests of a job name it; not one carries it."""
    photo = Image.effect_noise((200, 200), 90)
    batch = hand(session, each=PROMPTS, image=[photo]).wait()
    added = [one for call in sent(server, "AddBatchRequests") for one in call.batch_requests]
    assert len(sent(server, "UploadFile")) == 1
    assert len({one.image_request.image.file_id for one in added}) == 1
    assert not any(one.image_request.image.image_url for one in added)
    assert len(batch.ok) == 12


def test_an_input_image_that_is_gone_is_stored_again(session: Session, server: Served) -> None:
    """Whoever deleted it: what failed without it is handed over with another one."""
    photo = Image.effect_noise((200, 200), 90)
    server.faults.batches.pace = 5
    job = hand(session, each=PROMPTS[:2], image=[photo])
    server.server._service._stored._files.clear()
    assert {image.status for image in job.wait()} == {"failed"}
    server.faults.batches.pace = 10_000
    assert len(hand(session, each=PROMPTS[:2], image=[photo]).wait().ok) == 2
    assert len(sent(server, "UploadFile")) == 2


def test_an_interrupted_submission_looks_for_its_input_image(
    kernels: Any, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be gone when the rest is handed over; the cell has it."""
    photo = Image.effect_noise((200, 200), 90)
    with monkeypatch.context() as patch:
        broken = errors.LibraryError("as the test wants it")
        patch.setattr(submitter.JobSubmitter, "_add_missing", _raising(broken))
        with pytest.raises(errors.LibraryError):
            hand(kernels(), each=PROMPTS, image=[photo])
    server.server._service._stored._files.clear()
    assert len(hand(kernels(), each=PROMPTS, image=[photo]).wait().ok) == 12


def _raising(error: Exception) -> Any:
    async def fail(*_: Any) -> None:
        raise error

    return fail


def test_results_are_fetched_while_it_runs(session: Session, server: Served) -> None:
    """What is done is in the library before the rest is."""
    server.faults.batches.pace = 20
    job = hand(session, each=PROMPTS)
    until(lambda: job.counts.succeeded > 2)
    assert job.state == "running"
    assert len(job.images) >= 2
    assert len(job.wait().ok) == 12


def test_a_result_with_nothing_in_it_has_failed(session: Session, server: Served) -> None:
    """A card says so; the others are there, and a later run hands over only that one."""
    job = hand(session, each=PROMPTS)
    job.cancel()
    session.close()
    keys = [
        one.batch_request_id
        for call in sent(server, "AddBatchRequests")
        for one in call.batch_requests
    ]
    server.faults.batches.neither = frozenset(keys[:1])
    other = Session()
    try:
        job = hand(other, each=PROMPTS)
        batch = job.wait()
        missing = [image for image in batch if image.status == "failed"]
        if len(missing) == 1:  # unless the first job was done before it was cancelled
            assert "neither an answer nor a reason" in (missing[0].error or "")
            assert (job.state, job.counts.failed) == ("done", 1)
    finally:
        other.close()


# Money


def test_a_job_over_the_limit_is_not_handed_over(session: Session, server: Served) -> None:
    """All of it counts at list price before a single call."""
    with pytest.raises(errors.BudgetError, match=r"expected to cost \$0\.12"):
        hand(session, each=PROMPTS, max_cost=0.11)
    assert not sent(server, "CreateBatch")
    assert not session.jobs()


def test_results_count_in_place_of_the_list_price(session: Session, server: Served) -> None:
    """What is handed over is spent; what comes back dearer or cheaper corrects it."""
    session.configured = lambda: {"budget": 0.2}
    server.faults.cost_ticks = CENT // 2
    hand(session, each=PROMPTS).wait()
    assert session._kernel.spent_usd == pytest.approx(0.06)
    assert hand(session, each=[f"cat {number}" for number in range(14)]).wait()
    with pytest.raises(errors.BudgetError):
        hand(session, each=[f"dog {number}" for number in range(14)])


def test_what_was_not_made_is_not_spent(session: Session, server: Served) -> None:
    """A cancelled job gives the rest of its price back."""
    stop(server)
    session.configured = lambda: {"budget": 0.2}
    hand(session, each=PROMPTS).cancel()
    assert session._kernel.spent_usd == pytest.approx(0)


# Once


def test_a_job_is_recorded_before_the_first_call(session: Session, server: Served) -> None:
    """The library knows its name and every request when the service hears of it."""
    server.faults.batches.failure = grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(errors.PermissionDeniedError):
        hand(session, each=PROMPTS)
    (job,) = session.jobs()
    assert (job.state, job.counts.total) == ("new", 12)
    assert sent(server, "CreateBatch")[0].name == job.name


@pytest.mark.parametrize(
    "lost", [BatchFaults(lost_creates=1), BatchFaults(lost_adds=1), BatchFaults(lost_adds=3)]
)
def test_a_lost_reply_is_looked_for(
    session: Session, server: Served, lost: BatchFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is there, or the requests are: the service gets each of them once."""
    monkeypatch.setattr(submitter, "_CALL_REQUESTS", 4)
    lost.pace = 10_000
    server.faults.batches = lost
    batch = hand(session, each=PROMPTS).wait()
    assert len(batch.ok) == 12
    assert held(server) == Counter(PROMPTS)
    assert len(sent(server, "CreateBatch")) == 1


@pytest.mark.parametrize("name", ["create", "add"])
@pytest.mark.parametrize("work", ["before", "after"])
def test_a_call_of_unknown_fate_is_looked_into(
    keyed: Served, monkeypatch: pytest.MonkeyPatch, name: str, work: str
) -> None:
    """A reply begins and breaks off: of what was asked for all is there, or nothing."""
    method, broken = getattr(Batches, name), [True] * 3

    async def break_off(self: Any, request: Any, call: Any) -> Any:
        if broken and work == "before":
            broken.pop()
            raise Refusal(grpc.StatusCode.INTERNAL, "cut", begun=True)
        reply = await method(self, request, call)
        if broken:
            broken.pop()
            raise Refusal(grpc.StatusCode.INTERNAL, "cut", begun=True)
        return reply

    monkeypatch.setattr(Batches, name, break_off)
    monkeypatch.setattr(submitter, "_CALL_REQUESTS", 4)
    faults = Faults(garbage=tiny(), batches=BatchFaults(pace=10_000))
    with serve(faults=faults) as served:
        monkeypatch.setenv("XAI_API_HOST", served.address)
        with contextlib.closing(Session()) as session:
            assert len(hand(session, each=PROMPTS).wait().ok) == 12
        assert len(broken) < 3
        assert held(served) == Counter(PROMPTS)


@pytest.mark.parametrize("name", ["create", "add", "get", "list_results"])
def test_a_call_without_an_answer_ends(
    keyed: Served, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The service did the work and says nothing: it is looked at, and nothing is sent twice."""
    method, hanging = getattr(Batches, name), [True]

    async def hang(self: Any, request: Any, call: Any) -> Any:
        reply = await method(self, request, call)
        if hanging:
            hanging.clear()
            await asyncio.Event().wait()
        return reply

    monkeypatch.setattr(Batches, name, hang)
    monkeypatch.setattr(submitter, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(poller, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(poller, "_PAGE_SECONDS", 1.0)
    faults = Faults(garbage=tiny(), batches=BatchFaults(pace=10_000))
    with serve(faults=faults) as served:
        monkeypatch.setenv("XAI_API_HOST", served.address)
        with contextlib.closing(Session()) as session:
            assert len(hand(session, each=PROMPTS).wait().ok) == 12
        assert not hanging
        assert held(served) == Counter(PROMPTS)


def test_another_kernel_finds_the_running_job(kernels: Any, server: Served) -> None:
    """The same call in a new kernel hands nothing over, and has all images in the end."""
    server.faults.batches.pace = 10
    first = hand(kernels(), each=PROMPTS)
    again = hand(kernels(), each=PROMPTS)
    assert (again.id, again.name) == (first.id, first.name)
    assert again.state == "running"
    assert len(again.wait().ok) == 12
    assert again.counts.total == 12
    assert held(server) == Counter(PROMPTS)


def test_a_finished_job_is_replayed(kernels: Any, server: Served) -> None:
    """The same call in a new kernel has its images from the library, for nothing."""
    first = hand(kernels(), each=PROMPTS)
    first.wait()
    again = hand(kernels(), each=PROMPTS)
    assert (again.state, again.id, again.counts.succeeded) == ("done", first.id, 12)
    assert all(image.replayed for image in again.images)
    assert held(server) == Counter(PROMPTS)


def test_images_of_a_job_answer_any_call(kernels: Any, server: Served) -> None:
    """A call without `batch` replays them."""
    hand(kernels(), each=PROMPTS).wait()
    assert all(image.replayed for image in kernels().generate(each=PROMPTS))
    assert not server.calls


def test_what_is_stored_is_not_handed_over(kernels: Any, server: Served) -> None:
    """Only the rest is, and the job has all images."""
    kernels().generate(each=PROMPTS[:5])
    job = hand(kernels(), each=PROMPTS)
    assert len(job.wait().ok) == 12
    assert held(server) == Counter(PROMPTS[5:])


def test_more_prompts_are_a_second_job(kernels: Any, server: Served) -> None:
    """While the first runs, only what is new is handed over; both bring their images."""
    server.faults.batches.pace = 10
    hand(kernels(), each=PROMPTS[:8])
    job = hand(kernels(), each=PROMPTS)
    assert len(job.pollers) == 2
    assert len(job.wait().ok) == 12
    assert held(server) == Counter(PROMPTS)


def test_only_what_is_stored_is_no_job(kernels: Any, server: Served) -> None:
    """`replay` hands nothing over: all is there, or it is an error."""
    kernels().generate(each=PROMPTS)
    job = hand(kernels(), each=PROMPTS, replay=True)
    assert len(job.wait().ok) == 12
    with pytest.raises(errors.LibraryError, match="Leave it out"):
        hand(kernels(), "a wolf", replay=True)
    assert not sent(server, "CreateBatch")
    assert not kernels().jobs()


def test_what_is_stored_is_shared_with_the_rest(kernels: Any, server: Served) -> None:
    """All pictures of a job have a link that asks for one; none is made again."""
    kernels().generate("fox 0")
    images = hand(kernels(), each=PROMPTS[:2], share=1).wait()
    assert [image.is_public for image in images] == [True, True]
    assert held(server) == Counter(PROMPTS[1:2])


def test_fresh_makes_others_but_never_twice_at_once(kernels: Any, server: Served) -> None:
    """While a job of the same cell runs, it is the one; when it is done, another is made."""
    hand(kernels(), each=PROMPTS).wait()
    server.faults.batches.pace = 10
    job = hand(kernels(), each=PROMPTS, fresh=True)
    again = hand(kernels(), each=PROMPTS, fresh=True)
    assert again.name == job.name
    assert len(again.wait().ok) == 12
    assert held(server) == Counter(dict.fromkeys(PROMPTS, 2))


def test_an_interrupted_submission_goes_on(
    kernels: Any, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that ended half way left a part; the next one adds the rest to the same batch."""
    monkeypatch.setattr(submitter, "_CALL_REQUESTS", 4)
    add = submitter.JobSubmitter._add
    calls = 0

    async def once(self: Any, chunk: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise errors.LibraryError("as the test wants it")
        await add(self, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(submitter.JobSubmitter, "_add", once)
        with pytest.raises(errors.LibraryError):
            hand(kernels(), each=PROMPTS)
    assert sum(held(server).values()) == 4
    job = hand(kernels(), each=PROMPTS)
    assert len(job.wait().ok) == 12
    assert held(server) == Counter(PROMPTS)
    assert len(sent(server, "CreateBatch")) == 1


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold the first kernel that adds requests until a second one wants to; return its event."""
    adding, second = threading.Event(), threading.Event()
    run, add = submitter.JobSubmitter.run, submitter.JobSubmitter._add

    async def want(self: Any) -> Any:
        if adding.is_set():
            second.set()
        return await run(self)

    async def hold(self: Any, chunk: Any) -> None:
        adding.set()
        assert await asyncio.to_thread(second.wait, 30)
        await add(self, chunk)

    monkeypatch.setattr(submitter, "_CALL_REQUESTS", 4)
    monkeypatch.setattr(submitter.JobSubmitter, "run", want)
    monkeypatch.setattr(submitter.JobSubmitter, "_add", hold)
    return adding


def test_two_kernels_at_once_hand_over_once(
    kernels: Any, server: Served, together: threading.Event
) -> None:
    """One waits while the other hands the job over, and sends nothing of its own.

    That the service knows an id already is not relied on: it need not refuse it.
    """
    with ThreadPoolExecutor() as pool:
        first = pool.submit(hand, kernels(), each=PROMPTS)
        assert together.wait(30)
        second = pool.submit(hand, kernels(), each=PROMPTS)
        jobs = [first.result(30), second.result(30)]
    assert jobs[0].id == jobs[1].id
    assert [len(job.wait().ok) for job in jobs] == [12, 12]
    assert len(sent(server, "CreateBatch")) == 1
    assert len(sent(server, "AddBatchRequests")) == 3
    assert held(server) == Counter(PROMPTS)


def test_cancelling_waits_for_the_kernel_that_hands_over(
    kernels: Any, server: Served, together: threading.Event
) -> None:
    """Then it cancels all of it: nothing is handed over after that."""
    stop(server)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(hand, kernels(), each=PROMPTS)
        assert together.wait(30)
        (job,) = kernels().jobs()
        cancelled = pool.submit(job.cancel)
        second = pool.submit(hand, kernels(), each=PROMPTS)  # lets the first go on
        first.result(30)
        second.result(30)
        cancelled.result(30)
    assert job.state == "cancelled"
    assert held(server) == Counter(PROMPTS)
    (batch,) = server.server._service._batches._batches.values()
    assert batch.cancelled is not None


def test_two_kernels_collect_each_image_once(kernels: Any, server: Served) -> None:
    """Both follow the same job; the library has each image once."""
    server.faults.batches.pace = 40
    jobs = [hand(kernels(), each=PROMPTS) for _ in range(2)]
    threads = [threading.Thread(target=job.wait) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kernels().history.search(n=100)) == 12


# Ends


def test_a_model_that_cannot_be_batched_is_one_clear_error(
    session: Session, server: Served
) -> None:
    """Nothing is made, the error says what to do, and the same call without `batch` works."""
    server.faults.batches.unbatchable = frozenset({"grok-imagine-image"})
    with pytest.raises(errors.InvalidRequestError, match="Leave --batch out"):
        hand(session, each=PROMPTS)
    assert not held(server)
    assert session.jobs()[0].state == "refused"
    assert len(session.generate(each=PROMPTS)) == 12


def test_a_model_that_is_none_is_one_clear_error(session: Session, server: Served) -> None:
    """It names those that exist; nothing is handed over."""
    with pytest.raises(errors.NotFoundError, match="Those that do: grok-imagine-image"):
        hand(session, each=PROMPTS, model="grok-nothing")
    assert not held(server)
    assert session.jobs()[0].state == "refused"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_job_that_xai_cancels_ends_with_the_reason(
    session: Session, server: Served, when: str
) -> None:
    """Also with no request in it, where some wait for ever."""
    stop(server)
    if when == "before":
        server.faults.batches.cancelled = "no capacity"
        with pytest.raises(errors.JobError, match="xAI cancelled the job: no capacity"):
            hand(session, each=PROMPTS)
    else:
        job = hand(session, each=PROMPTS)
        server.faults.batches.cancelled = "no capacity"
        with pytest.raises(errors.JobError, match="no capacity"):
            job.wait(30)
        assert job.counts.cancelled == 12
    assert session.jobs()[0].state == "cancelled"
    server.faults.batches.cancelled = ""
    server.faults.batches.pace = 10_000
    assert len(hand(session, each=PROMPTS).wait(60).ok) == 12


def test_an_expired_job_ends_with_the_reason(session: Session, server: Served) -> None:
    """What it had not given is lost, and the next run hands it over."""
    stop(server)
    server.faults.batches.lifetime = 1.5
    job = hand(session, each=PROMPTS)
    with pytest.raises(errors.JobError, match="expired"):
        job.wait(30)
    assert job.state == "expired"


def test_a_repeated_page_ends_the_wait(session: Session, server: Served) -> None:
    """What can be read is kept; what cannot is not handed over again, and comes in the end."""
    server.faults.batches.repeat_token = True
    job = hand(session, each=PROMPTS)
    with pytest.raises(errors.JobError, match="cannot be read"):
        job.wait(30)
    assert len(job.images.ok) == 10
    server.faults.batches.repeat_token = False
    assert len(job.wait(30).ok) == 12
    assert held(server) == Counter(PROMPTS)


def test_a_batch_without_its_state_is_collected(session: Session, server: Served) -> None:
    """The counts are not always there."""
    server.faults.batches.stateless = True
    assert len(hand(session, each=PROMPTS).wait(30).ok) == 12


def test_cancelling_keeps_what_is_done(session: Session, server: Served) -> None:
    """The rest is dropped, and says so."""
    server.faults.batches.pace = 10
    job = hand(session, each=PROMPTS)
    until(lambda: job.counts.succeeded)
    counts = job.cancel().counts
    assert job.state == "cancelled"
    assert counts.succeeded + counts.cancelled == 12
    assert counts.cancelled
    assert len(job.wait().ok) == counts.succeeded


def test_an_interrupt_ends_the_wait_and_not_the_job(session: Session, server: Served) -> None:
    """The service hears nothing of it."""
    stop(server)
    job = hand(session, each=PROMPTS)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        job.wait()
    timer.join()
    assert not sent(server, "CancelBatch")
    assert job.refresh().state == "running"


def test_a_wait_has_an_end(session: Session, server: Served) -> None:
    """`timeout` ends it with how far it is."""
    stop(server)
    with pytest.raises(errors.JobTimeoutError, match="0 of 12 images are here"):
        hand(session, each=PROMPTS).wait(0.2)


def test_a_full_disk_costs_nothing(
    session: Session, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library cannot take is still at the service, and comes when it can."""
    with monkeypatch.context() as patch:
        error = errors.LibraryError("The disk is full.")
        patch.setattr(
            type(session.library()), "add_replies", lambda _, replies: [error] * len(replies)
        )
        job = hand(session, each=PROMPTS)
        with pytest.raises(errors.LibraryError, match="full"):
            job.wait(30)
    assert len(job.wait(30).ok) == 12
    assert held(server) == Counter(PROMPTS)


def test_an_unreachable_service_is_asked_again(session: Session, server: Served) -> None:
    """A wait survives it, and says what holds it up."""
    server.faults.batches.pace = 20
    job = hand(session, each=PROMPTS)
    server.faults.batches.failure = grpc.StatusCode.INTERNAL
    until(lambda: job.cause)
    server.faults.batches.failure = None
    assert len(job.wait().ok) == 12
    assert job.cause is None


def test_what_nobody_foresaw_is_raised(
    session: Session, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot be followed is not one that has ended."""
    stop(server)
    job = hand(session, each=PROMPTS)

    async def fail(_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(poller.JobPoller, "look", fail)
    with pytest.raises(ZeroDivisionError):
        job.wait(30)


# Looking back


def test_jobs_lists_those_of_every_kernel(kernels: Any, server: Served) -> None:
    """The newest first, as far as they are now, with what can be done about each."""
    hand(kernels(), "a fox").wait()
    stop(server)
    hand(kernels(), each=PROMPTS)
    other = kernels()
    running, done = other.jobs()
    assert (running.state, running.counts.pending) == ("running", 12)
    assert (done.state, done.images[0].prompt) == ("done", "a fox")
    assert [line.split()[2] for line in repr(other.jobs()).splitlines()[1:]] == ["Running", "Done"]
    running.cancel()
    assert other.jobs()[0].state == "cancelled"


def test_a_job_needs_a_library(session: Session, tmp_path: Path) -> None:
    """Without one it could not be found again."""
    file = tmp_path / "file"
    file.write_text("no folder")
    session.configured = lambda: {"home": str(file)}
    with pytest.raises(errors.LibraryError, match="leave --batch out"):
        hand(session, "a fox")


def test_an_embedded_server_that_is_gone_gets_the_job_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its jobs go with its kernel and cost nothing: the next run makes the previews."""
    first = Session()
    hand(first, each=PROMPTS)
    first.close()
    second = Session()
    try:
        assert len(hand(second, each=PROMPTS).wait(60).ok) == 12
    finally:
        second.close()
