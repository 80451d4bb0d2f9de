"""Batch jobs and their requests, as stored in the library.

A job and all its requests are stored before anything is sent. Before a call that creates the batch
or adds requests to it, the library records that the call is about to be sent. If the kernel is
killed, another one therefore knows which requests the service may have received. The key of a
request is derived from its content and slot.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from xai_notebook.client import bounds
from xai_notebook.errors import LibraryError
from xai_notebook.library.records import (
    DAMAGE,
    MAX_NOTE,
    MAX_PLACE,
    SlotQuery,
    parse_request,
)
from xai_notebook.library.storage.lock import FileLock
from xai_notebook.library.storage.schema import insert, rows_in, storable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.library.records import PictureReader, StoredImages
    from xai_notebook.library.storage.database import Database
    from xai_notebook.pictures.picture import Picture

JobState = Literal["new", "running", "done", "cancelled", "expired", "refused", "gone"]
"""`new`: not completely submitted yet; `refused`: rejected by the service; `gone`: no longer known
to the service."""

OPEN: Final = ("new", "running")
_PAGE: Final = 500
"""Number of requests to read at a time."""


class SubmissionState(IntEnum):
    """Whether the service has received a request."""

    NO = 0
    """No call with the request has been sent."""
    UNKNOWN = 1
    """A call with the request is in progress or has failed, or its kernel was killed."""
    CONFIRMED = 2
    """The service has confirmed or listed the request."""


def request_key(fingerprint: str, place: int, position: int) -> str:
    """Return the key of a request for one image, unique in its job.

    Args:
        fingerprint: Fingerprint of the request.
        place: How often the notebook made this request before in the same pass; 0 the first time.
        position: Position of the image among those of its request.
    """
    return f"{fingerprint[:32]}-{place}-{position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A request for one image of a job.

    Attributes:
        key: Id of the request in the batch; see `request_key`.
        fingerprint: Fingerprint of the request.
        place: As in `request_key`.
        position: Position of the image among those of its request.
        request: The request; the data of its input images is not stored.
        after: Only stored images with a larger `id` answer the request. None: no stored image does,
            because the user wants a new one. This field is not stored.
        id: Row id.
        answer: Row id of the reply in `requests`; None if no reply has arrived.
        error: Why the image is missing. With an `answer` as well, the request was still paid for.
    """

    key: str
    fingerprint: str
    place: int
    position: int
    request: ImageRequest
    after: int | None = 0
    id: int = 0
    answer: int | None = None
    error: str | None = None

    @property
    def settled(self) -> bool:
        """Whether the request has been answered or has failed."""
        return self.answer is not None or self.error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as stored. Times are seconds since 1970.

    Attributes:
        id: Row id.
        name: Unique name; also the name of the batch, to find it in the service.
        backend: `"xai"` or `"local"`.
        host: The API host.
        notebook: The notebook that submitted the job, if known.
        batch_id: The service's id of the batch; None if not known yet.
        state: See `JobState`.
        cause: Why the job failed, if it did.
        price_usd: List price of an image in US dollars; None if unknown.
        inputs: File id or URL of each input image, keyed by digest.
        create_sent: Whether a call that creates the batch has been sent. The call has succeeded if
            there is a `batch_id`; otherwise its outcome is unknown.
        created: Time of storing the job.
        expires: Time from which the results can no longer be read.
        ended: Time when the end of the job was noticed.
    """

    id: int = 0
    name: str
    backend: str
    host: str
    notebook: str | None = None
    batch_id: str | None = None
    state: JobState = "new"
    cause: str | None = None
    price_usd: float | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    create_sent: bool = False
    created: float = field(default_factory=time.time)
    expires: float | None = None
    ended: float | None = None

    @property
    def open(self) -> bool:
        """Whether the job may still produce results."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Numbers of a job's requests.

    Attributes:
        total: Number of all requests.
        answered: Number of requests with an image in the library.
        failed: Number of requests that will have no image.
        cost_usd: Reported cost of all results, with or without an image, in US dollars.
        unpriced: Number of answered requests without a reported cost.
    """

    total: int = 0
    answered: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0

    @property
    def left(self) -> int:
        """Number of requests without a result."""
        return self.total - self.answered - self.failed


class JobStore:
    """Jobs and their requests. Thread-safe; every method blocks for milliseconds.

    Raises:
        LibraryError: From every method: the library cannot be read or written, has lost the job,
            or the row of the job is damaged.
    """

    def __init__(
        self,
        database: Database,
        reader: PictureReader,
        look_up: Callable[[Sequence[SlotQuery]], list[StoredImages]],
    ) -> None:
        """Use the library's database and reader, and `Library.look_up`."""
        self._database = database
        self._reader = reader
        self._look_up = look_up

    def record(self, job: JobRecord, requests: Sequence[JobRequest]) -> JobRecord | None:
        """Store a job and its requests durably.

        Args:
            job: The job, without an id.
            requests: Its requests, without ids.

        Returns:
            The job with its id. None, and nothing is stored, if another open job contains one of
            the requests or the library has an answer to one: then look up the requests again.
        """
        with self._database.writing() as connection:
            if self._find_open(connection, requests) or self._any_stored(requests):
                return None
            values = asdict(job) | {"inputs": json.dumps(job.inputs)}
            del values["id"]
            job_id = insert(connection, "jobs", values)
            names = ("key", "fingerprint", "place", "position")
            rows = (
                {
                    "job_id": job_id,
                    "request": _dump_request(request),
                    **{name: getattr(request, name) for name in names},
                }
                for request in requests
            )
            insert(connection, "job_requests", *rows)
        return replace(job, id=job_id)

    def find_open(self, requests: Sequence[JobRequest]) -> dict[str, JobRecord]:
        """Return the open jobs that contain some of these requests, keyed by request key.

        A request that the job has already answered is included only if its `after` is None: the
        answer is then the new image that the user wants. A foreign library returns no jobs.
        """
        with self._database.reading() as connection:
            if self._database.foreign:
                return {}
            ids = self._find_open(connection, requests)
            jobs = {job_id: _by_id(connection, job_id) for job_id in set(ids.values())}
            return {key: jobs[job_id] for key, job_id in ids.items()}

    def _find_open(
        self, connection: sqlite3.Connection, requests: Sequence[JobRequest]
    ) -> dict[str, int]:
        """Return the row ids of the newest such jobs; see `find_open`."""
        states = ", ".join(f"'{state}'" for state in OPEN)
        query = f"""SELECT key, max(job_id) FROM job_requests JOIN jobs ON jobs.id = job_id
            WHERE state IN ({states}) AND error IS NULL
            AND (answer IS NULL OR ?) AND key IN ({{}}) GROUP BY key"""  # noqa: S608  # no user's text
        ids: dict[str, int] = {}
        for answered_too in (False, True):
            keys = [each.key for each in requests if (each.after is None) is answered_too]
            ids.update(rows_in(connection, query, keys, answered_too))
        return ids

    def _any_stored(self, requests: Sequence[JobRequest]) -> bool:
        """Tell whether a stored image answers one of these requests."""
        slots = {
            (request.fingerprint, request.place): SlotQuery(
                request.fingerprint, request.place, request.request.n, request.after
            )
            for request in requests
            if request.after is not None
        }
        keys = {request.key for request in requests}
        return any(
            request_key(*slot, picture.position) in keys
            for slot, stored in zip(slots, self._look_up([*slots.values()]), strict=True)
            for picture in stored.pictures
        )

    def find_latest(self, keys: Sequence[str]) -> JobRecord | None:
        """Return the newest job with one of these keys, in any state."""
        query = "SELECT max(job_id) FROM job_requests WHERE key IN ({})"
        with self._database.reading() as connection:
            ids = [job_id for (job_id,) in rows_in(connection, query, keys) if job_id]
            return _by_id(connection, max(ids)) if ids else None

    def get(self, job: JobRecord) -> JobRecord:
        """Return the current state of a job."""
        with self._database.reading() as connection:
            return self._get(connection, job)

    def find_by_name(self, name: str) -> JobRecord | None:
        """Return the job with this name, or None."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE name = ?", (name,)).fetchone()
            return None if row is None else _job(row)

    @contextlib.contextmanager
    def _reading(self, job: JobRecord) -> Iterator[sqlite3.Connection]:
        """Start a read transaction and check that the library still has the job."""
        with self._database.reading() as connection:
            self._get(connection, job)
            yield connection

    @contextlib.contextmanager
    def _writing(self, job: JobRecord) -> Iterator[sqlite3.Connection]:
        """Start a write transaction and check that the library still has the job."""
        with self._database.writing() as connection:
            self._get(connection, job)
            yield connection

    @staticmethod
    def _get(connection: sqlite3.Connection, job: JobRecord) -> JobRecord:
        # Check the name, too: after the library was replaced, the id may be another job's.
        query = "SELECT * FROM jobs WHERE id = ? AND name = ?"
        row = connection.execute(query, (job.id, job.name)).fetchone()
        if row is None:
            where = f" (at {job.host}: {job.batch_id})" if job.batch_id else ""
            raise LibraryError(
                f"The library was deleted, renamed or replaced, and has lost the job {job.name}"
                f"{where}. Put it back, or run the cell with --fresh to request everything again."
            )
        return _job(row)

    def newest(self, limit: int) -> list[JobRecord]:
        """Return the jobs that were stored last, newest first; damaged jobs are left out."""
        query = "SELECT * FROM jobs ORDER BY id DESC LIMIT ?"
        with self._database.reading() as connection:
            jobs: list[JobRecord] = []
            for row in connection.execute(query, (limit,)):
                with contextlib.suppress(LibraryError):  # a damaged job must not hide the others
                    jobs.append(_job(row))
            return jobs

    def change(self, job: JobRecord, **values: Any) -> JobRecord:
        """Update fields of a job and return it.

        Args:
            job: The job.
            **values: Fields of `JobRecord`.
        """
        if "inputs" in values:
            values["inputs"] = json.dumps(values["inputs"])
        columns = ", ".join(f"{name} = ?" for name in values)
        statement = f"UPDATE jobs SET {columns} WHERE id = ?"  # noqa: S608  # no user's text
        with self._writing(job) as connection:
            connection.execute(statement, (*map(storable, values.values()), job.id))
            return self._get(connection, job)

    def close(self, job: JobRecord, state: JobState, cause: str | None = None) -> JobRecord:
        """Store the end of a job, unless another kernel has stored it before; return the job.

        Args:
            job: The job.
            state: Its final state.
            cause: Why its unanswered requests have failed; None if all are answered.
        """
        statement = """UPDATE jobs SET state = ?, cause = ?, ended = ?
            WHERE id = ? AND state IN ('new', 'running')"""
        with self._writing(job) as connection:
            row = (state, storable(cause), time.time(), job.id)
            ended = connection.execute(statement, row).rowcount
            if ended and cause is not None:
                self._fail(connection, job.id, cause)
            return self._get(connection, job)

    def bind(self, job: JobRecord, batch_id: str) -> JobRecord:
        """Store a job's batch id, unless another kernel has stored one before; return the job."""
        statement = "UPDATE jobs SET batch_id = ? WHERE id = ? AND batch_id IS NULL"
        with self._writing(job) as connection:
            connection.execute(statement, (batch_id, job.id))
            return self._get(connection, job)

    def forget_batch(self, job: JobRecord) -> JobRecord:
        """Store that the service has no batch of a job, and return the job."""
        with self._writing(job) as connection:
            connection.execute(
                "UPDATE jobs SET batch_id = NULL, create_sent = 0 WHERE id = ?", (job.id,)
            )
            connection.execute("UPDATE job_requests SET sent = 0 WHERE job_id = ?", (job.id,))
            return self._get(connection, job)

    def submission_lock(self, job_id: int) -> FileLock:
        """Return the lock that a kernel holds while it submits a job."""
        return FileLock(self._database.home / "jobs" / f"{job_id}.turn")

    # Requests of a job

    def first(self, job: JobRecord) -> JobRequest | None:
        """Return the first request of a job; None if the library has lost the job."""
        query = """SELECT job_requests.* FROM job_requests JOIN jobs ON jobs.id = job_id
            WHERE job_id = ? AND name = ? ORDER BY job_requests.id LIMIT 1"""
        with self._database.reading() as connection:
            row = connection.execute(query, (job.id, job.name)).fetchone()
        return _request(row) if row else None

    def requests(self, job: JobRecord) -> Iterator[JobRequest]:
        """Yield the requests of a job in order, reading a few hundred at a time."""
        query = "SELECT * FROM job_requests WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?"
        last = 0
        while True:
            with self._reading(job) as connection:
                rows = connection.execute(query, (job.id, last, _PAGE)).fetchall()
            yield from map(_request, rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1]["id"]

    def mark(self, job: JobRecord, keys: Iterable[str], sent: SubmissionState) -> None:
        """Store durably whether the service has received requests of a job."""
        statement = "UPDATE job_requests SET sent = ? WHERE job_id = ? AND key = ?"
        with self._writing(job) as connection:
            connection.executemany(statement, ((int(sent), job.id, key) for key in keys))

    def submission_states(self, job: JobRecord) -> dict[str, SubmissionState]:
        """Return the submission states of requests that the service may have received, by key."""
        query = "SELECT key, sent FROM job_requests WHERE job_id = ? AND sent > 0"
        with self._reading(job) as connection:
            rows = connection.execute(query, (job.id,)).fetchall()
        known = {*SubmissionState}
        return {
            key: SubmissionState(sent) if sent in known else SubmissionState.UNKNOWN
            for key, sent in rows
        }

    def find(self, job: JobRecord, keys: Sequence[str]) -> dict[str, JobRequest]:
        """Return requests of a job by their keys; unknown keys are left out."""
        query = "SELECT * FROM job_requests WHERE job_id = ? AND key IN ({})"
        with self._reading(job) as connection:
            rows = rows_in(connection, query, keys, job.id)
            return {row["key"]: _request(row) for row in rows}

    def fail(self, job: JobRecord, error: str, keys: Iterable[str] | None = None) -> None:
        """Store why requests of a job have failed.

        Args:
            job: The job.
            error: The reason, in one line.
            keys: Keys of the requests; None for all. Requests with a result are left out.
        """
        with self._writing(job) as connection:
            self._fail(connection, job.id, error, keys)

    @staticmethod
    def _fail(
        connection: sqlite3.Connection, job_id: int, error: str, keys: Iterable[str] | None = None
    ) -> None:
        statement = """UPDATE job_requests SET error = ?
            WHERE job_id = ? AND answer IS NULL AND error IS NULL"""
        if keys is None:
            connection.execute(statement, (error, job_id))
        else:
            rows = ((error, job_id, key) for key in keys)
            connection.executemany(f"{statement} AND key = ?", rows)

    def tally(self, job: JobRecord) -> RequestCounts:
        """Count a job's requests and results, and add up their costs."""
        query = """SELECT count(*), count(CASE WHEN error IS NULL THEN answer END), count(error),
                total(cost_usd),
                count(CASE WHEN error IS NULL AND cost_usd IS NULL THEN answer END)
            FROM job_requests LEFT JOIN requests ON requests.id = answer WHERE job_id = ?"""
        with self._reading(job) as connection:
            return RequestCounts(*connection.execute(query, (job.id,)).fetchone())

    def pictures(self, job: JobRecord) -> dict[str, Picture]:
        """Return the images of a job, by the keys of their requests."""
        query = """SELECT key, requests.* FROM job_requests JOIN requests ON requests.id = answer
            WHERE job_id = ?"""
        with self._reading(job) as connection:
            return {
                row["key"]: picture
                for row in connection.execute(query, (job.id,)).fetchall()
                for picture in islice(self._reader.of_request(connection, row), 1)
            }


def new_job_name(keys: Sequence[str]) -> str:
    """Return a unique name for a job with these keys."""
    from hashlib import sha256  # noqa: PLC0415  # saves 3 ms when the extension is loaded

    digest = sha256("\n".join(keys).encode()).hexdigest()
    return f"xai-notebook-{digest[:16]}-{os.urandom(4).hex()}"


def _by_id(connection: sqlite3.Connection, job_id: int) -> JobRecord:
    return _job(connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone())


def _job(row: sqlite3.Row) -> JobRecord:
    """Return the job in a row; raise `LibraryError` if the row is damaged."""
    try:
        texts = {name: bounds.text(row[name]) for name in ("name", "backend", "host", "state")}
        optional: dict[str, Any] = {
            name: None if row[name] is None else bounds.text(row[name])
            for name in ("notebook", "batch_id", "cause")
        }
        if texts["state"] not in get_args(JobState):
            raise ValueError(texts["state"])
        return JobRecord(
            id=row["id"],
            **cast("Any", texts),
            **optional,
            price_usd=bounds.cost(row["price_usd"]),
            inputs={bounds.text(k): bounds.text(v) for k, v in json.loads(row["inputs"]).items()},
            create_sent=bool(row["create_sent"]),
            created=_check_time(row["created"]) or bounds.moment_near(row["created"]).timestamp(),
            expires=_check_time(row["expires"]),
            ended=_check_time(row["ended"]),
        )
    except DAMAGE as error:
        raise LibraryError(
            f"Job {row['id']} of the library is damaged. Other jobs are not affected."
        ) from error


def _check_time(value: Any) -> float | None:
    """Return a time in seconds since 1970 unchanged; None if it is out of bounds."""
    return value if bounds.moment(value) is not None else None


def _dump_request(request: JobRequest) -> str:
    inputs = tuple(replace(image, url="", file_id=None) for image in request.request.inputs)
    return json.dumps(asdict(replace(request.request, inputs=inputs)))


def _request(row: sqlite3.Row) -> JobRequest:
    """Return the request in a row; raise `LibraryError` if the row is damaged."""
    try:
        error = row["error"]
        return JobRequest(
            key=bounds.text(row["key"]),
            fingerprint=bounds.text(row["fingerprint"]),
            place=bounds.count(row["place"], 0, MAX_PLACE),
            position=bounds.count(row["position"], 0, MAX_PLACE),
            request=parse_request(json.loads(row["request"])),
            id=row["id"],
            answer=row["answer"],
            error=None if error is None else bounds.line(str(error), MAX_NOTE),
        )
    except DAMAGE as error:
        raise LibraryError(
            f"Request {row['id']} of the library's jobs is damaged, so its job cannot be "
            "continued. Other jobs are not affected."
        ) from error
