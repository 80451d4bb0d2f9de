"""Batch jobs in the library."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import LibraryError
from xai_notebook.library import Library, Reply
from xai_notebook.library.jobs import JobRecord, JobRequest, SubmissionState, request_key
from xai_notebook.library.storage import schema
from xai_notebook.pictures.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import NewJpeg, Raw


FOXES, WOLVES = (
    JobRecord(name=name, backend="xai", host="api.x.ai") for name in ("foxes", "wolves")
)


def request(fingerprint: str = "fox", *, after: int | None = 0) -> JobRequest:
    """Return a request of a job."""
    return JobRequest(
        key=request_key(fingerprint, 0, 0),
        fingerprint=fingerprint,
        place=0,
        position=0,
        request=ImageRequest("a fox", "x"),
        after=after,
    )


def record(library: Library, job: JobRecord, *requests: JobRequest) -> JobRecord:
    """Record a job without conflicts."""
    recorded = library.jobs.record(job, requests)
    assert recorded is not None
    return recorded


def answer(
    library: Library, job: JobRecord, *pictures: bytes, **values: Any
) -> list[list[Picture] | LibraryError]:
    """Save the result of the first request of a job."""
    first = library.jobs.first(job)
    assert first is not None
    images = [Picture(request=first.request, model="x") for _ in pictures]
    reply = Reply(
        first.request, images, pictures, fingerprint=first.fingerprint, backend="xai",
        host="api.x.ai", notebook=None, cost_usd=0.02, model="x", item=first.id, **values,
    )  # fmt: skip
    return library.add_replies([reply])


def test_the_first_end_of_a_job_is_kept(library: Library) -> None:
    job = record(library, FOXES, request("one"), request("two"))
    library.jobs.fail(job, "No.", [request_key("one", 0, 0)])
    ended = library.jobs.close(job, "cancelled", "It was cancelled.")
    assert (ended.state, ended.open) == ("cancelled", False)
    assert library.jobs.close(job, "done") == ended
    errors = [stored.error for stored in library.jobs.requests(job)]
    assert errors == ["No.", "It was cancelled."]


def test_a_request_in_an_open_job_is_not_recorded_again(library: Library) -> None:
    """A request that has failed is recorded again."""
    job = record(library, FOXES, request())
    assert library.jobs.record(WOLVES, [request()]) is None
    library.jobs.fail(job, "No.")
    assert record(library, WOLVES, request())


def test_an_answered_request_is_not_recorded_again(library: Library, picture: NewJpeg) -> None:
    """If only an image newer than `after` would answer, the request is recorded."""
    job = record(library, FOXES, request())
    answer(library, job, picture())
    assert library.jobs.find_open([request()]) == {}
    assert library.jobs.record(WOLVES, [request(), request("other")]) is None
    library.jobs.close(job, "done")
    assert library.jobs.record(WOLVES, [request()]) is None
    assert record(library, WOLVES, request(after=library.newest()))


def test_a_request_for_a_new_image_finds_an_open_job(library: Library, picture: NewJpeg) -> None:
    """The job may have answered the request, as long as other requests are open."""
    job = record(library, FOXES, request(), request("other"))
    answer(library, job, picture())
    assert library.jobs.find_open([request(after=None)]) == {request().key: job}
    assert library.jobs.record(WOLVES, [request(after=None)]) is None
    library.jobs.close(job, "cancelled", "It was cancelled.")
    assert record(library, WOLVES, request(after=None))


def test_a_result_without_an_image_has_a_cost(library: Library) -> None:
    """The result counts once, even if two kernels save it."""
    job = record(library, FOXES, request())
    for _ in range(2):
        assert answer(library, job, error="No image.") == [[]]
    tally = library.jobs.tally(job)
    assert (tally.answered, tally.failed, tally.cost_usd, tally.unpriced) == (0, 1, 0.02, 0)
    (row,) = library.spending.costs()
    assert (row.requests, row.images, row.cost_usd) == (1, 0, 0.02)
    assert library.jobs.pictures(job) == {}
    assert library.find("fox") == []
    assert library.history("fox") == []
    assert record(library, WOLVES, request())


def test_submission_states_are_stored(library: Library, home: Path) -> None:
    job = record(library, FOXES, request("one"), request("two"))
    keys = [request_key(name, 0, 0) for name in ("one", "two")]
    library.jobs.mark(job, keys, SubmissionState.UNKNOWN)
    library.jobs.mark(job, keys[:1], SubmissionState.CONFIRMED)
    library.jobs.change(job, create_sent=True)
    with closing(Library.open(home)) as other:
        assert other.jobs.submission_states(job) == {
            keys[0]: SubmissionState.CONFIRMED,
            keys[1]: SubmissionState.UNKNOWN,
        }
        assert other.jobs.get(job).create_sent
        assert not other.jobs.forget_batch(job).create_sent
    assert library.jobs.submission_states(job) == {}


def test_a_job_of_another_library_is_recognised(library: Library) -> None:
    """Both jobs may have the same id."""
    ours = replace(record(library, FOXES, request()), name="ours", batch_id="batch_1")
    jobs = library.jobs
    uses: list[Callable[[], Any]] = [
        lambda: jobs.get(ours),
        lambda: jobs.change(ours, state="done"),
        lambda: jobs.close(ours, "done"),
        lambda: jobs.bind(ours, "batch_2"),
        lambda: jobs.mark(ours, [request().key], SubmissionState.UNKNOWN),
        lambda: jobs.submission_states(ours),
        lambda: jobs.tally(ours),
        lambda: jobs.forget_batch(ours),
    ]
    for use in uses:
        with pytest.raises(LibraryError, match=r"job ours \(at api\.x\.ai: batch_1\).*--fresh"):
            use()
    assert jobs.first(ours) is None
    (other,) = jobs.newest(9)
    assert (other.name, other.state, other.batch_id) == ("foxes", "new", None)


def test_jobs_of_earlier_versions_may_have_been_submitted(home: Path, raw: Raw) -> None:
    home.mkdir()
    earlier = schema.MIGRATIONS.index(schema._JOB_CALLS)
    with raw(home) as connection:
        for step in schema.MIGRATIONS[:earlier]:
            for statement in step:
                connection.execute(statement)
        for row, state in enumerate(("new", "running"), 1):
            connection.execute(
                "INSERT INTO jobs (id, name, backend, host, state, inputs, created)"
                " VALUES (?, ?, 'xai', 'h', ?, '{}', 0)",
                (row, state, state),
            )
            connection.execute(
                "INSERT INTO job_requests (job_id, key, fingerprint, place, position, request)"
                " VALUES (?, 'key', 'f', 0, 0, '{}')",
                (row,),
            )
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {earlier}")
    with closing(Library.open(home)) as library:
        running, new = library.jobs.newest(2)
        assert (new.create_sent, running.create_sent) == (True, False)
        assert library.jobs.submission_states(new) == {"key": SubmissionState.UNKNOWN}
        assert library.jobs.submission_states(running) == {}
