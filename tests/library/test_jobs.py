"""What the library remembers of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_notebook.client.request import ImageRequest
from xai_notebook.library.jobs import Job, JobRequest

if TYPE_CHECKING:
    from xai_notebook.library import Library


def test_a_job_ends_once(library: Library) -> None:
    """Of two kernels that see an end, the first one notes it, whatever the other makes of that."""
    asked = [
        JobRequest(
            key=key, fingerprint=key, place=0, position=0, request=ImageRequest("a fox", "x")
        )
        for key in ("one", "two")
    ]
    job = library.jobs.record(Job(name="foxes", backend="xai", host="api.x.ai"), asked)
    assert job is not None
    library.jobs.fail(job.id, "No.", ["one"])
    ended = library.jobs.close(job, "cancelled", "It was cancelled.")
    assert (ended.state, ended.open) == ("cancelled", False)
    assert library.jobs.close(job, "done") == ended
    errors = [request.error for request in library.jobs.requests(job.id)]
    assert errors == ["No.", "It was cancelled."]
