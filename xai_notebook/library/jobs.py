"""`JobStore`: what was handed over to a service as one job, and what has come of it.

A job and all its requests are recorded here before anything is sent, and so is each call that
creates the batch or adds requests to it, before it leaves. Whatever happens then, the next kernel
knows what the service may have. A request has a key, which follows from what is asked and where.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from xai_notebook.client import bounds
from xai_notebook.errors import LibraryError
from xai_notebook.library.records import (
    DAMAGE,
    MAX_NOTE,
    MAX_PLACE,
    SlotQuery,
    insert,
    pictures_from_rows,
    request_from,
    rows_in,
    storable_row,
)
from xai_notebook.library.storage.lock import FileLock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.library.storage.blobs import BlobStore
    from xai_notebook.library.storage.database import Database
    from xai_notebook.pictures.picture import Picture

__all__ = [
    "JobRecord",
    "JobRequest",
    "JobState",
    "JobStore",
    "RequestCounts",
    "SubmissionState",
    "key_of",
    "new_name",
]

JobState = Literal["new", "running", "done", "cancelled", "expired", "refused", "gone"]
"""`new` is recorded and not, or not wholly, handed over; `refused` was not taken by the service;
`gone` is no longer known to it."""

OPEN: Final = ("new", "running")
_SOME: Final = 500
"""Keys of one query: SQLite takes a thousand parameters at least."""


class SubmissionState(IntEnum):
    """Whether the service has a request of a job."""

    NO = 0
    """No call with it has left."""
    UNKNOWN = 1
    """A call with it is under way, or failed, or its kernel was killed."""
    CONFIRMED = 2
    """The service said so, or lists it."""


def key_of(fingerprint: str, place: int, position: int) -> str:
    """Return what tells a request for one image from all others of a job.

    Args:
        fingerprint: Of the request.
        place: How many equal requests came before it in a pass through its notebook.
        position: Of the image among those of its request.
    """
    return f"{fingerprint[:32]}-{place}-{position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A request for one image of a job.

    Attributes:
        key: Its id in the batch; see `key_of`.
        fingerprint: Of the request.
        place: How many equal requests came before it.
        position: Of the image among those of its request.
        request: What is asked; of its inputs only the digests are kept.
        after: Only images of the library with a larger `id` answer it; None: none of them does, a
            new one is wanted. Not stored.
        id: The row.
        answer: The row of its answer in the library; None: it has not come.
        error: Why it has no image. With an `answer` too, it was paid for all the same.
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
        """Whether it is known what became of it."""
        return self.answer is not None or self.error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as the library knows it. Times are seconds since 1970.

    Attributes:
        id: The row.
        name: What the service can be asked for, of no other job.
        backend: `"xai"` or `"local"`.
        host: The API host.
        notebook: The notebook that it is for, where known.
        batch_id: The service's name for it; None: not known yet.
        state: How far it is.
        cause: Why it ended, when it did not end well.
        price_usd: List price of an image in US dollars; None: unknown.
        inputs: Where input images are, by their digests: ids of stored files, or URLs.
        create_sent: A call that creates its batch has left; its outcome is known once there is a
            `batch_id`.
        created: When it was recorded.
        expires: When its results can no longer be read.
        ended: When its end was seen.
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
        """Whether something may still come of it."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """What has become of a job's requests.

    Attributes:
        total: All of them.
        answered: With an image in the library.
        failed: Without one, for good.
        cost_usd: Of all results, with or without an image, as reported, in US dollars.
        unpriced: Answered ones whose cost was not reported.
    """

    total: int = 0
    answered: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0

    @property
    def left(self) -> int:
        """Requests of which nothing is known yet."""
        return self.total - self.answered - self.failed


class JobStore:
    """Jobs and their requests. Every method blocks for milliseconds; any thread may call it.

    Raises:
        LibraryError: From every method: the library cannot be read or written.
    """

    def __init__(
        self,
        database: Database,
        originals: BlobStore,
        find_each: Callable[[Sequence[SlotQuery]], list[list[Picture]]],
    ) -> None:
        """Use the library's database, its files and its replay look-up."""
        self._database = database
        self._originals = originals
        self._find_each = find_each

    def record(self, job: JobRecord, requests: Sequence[JobRequest]) -> JobRecord | None:
        """Write a job down with its requests, durably, and return it as it is now.

        Args:
            job: Without an id.
            requests: Without ids.

        Returns:
            None if one of the requests is by now in a job that has not ended, or has been answered
            in the library: look again. Nothing was written then.
        """
        with self._database.writing() as connection:
            if self._open_with(connection, requests) or self._any_stored(requests):
                return None
            values = asdict(job) | {"inputs": json.dumps(job.inputs)}
            del values["id"]
            job_id = insert(connection, "jobs", storable_row(values))
            connection.executemany(
                "INSERT INTO job_requests (job_id, key, fingerprint, place, position, request) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (job_id, one.key, one.fingerprint, one.place, one.position, _dumped(one))
                    for one in requests
                ),
            )
        return replace(job, id=job_id)

    def open_with(self, requests: Sequence[JobRequest]) -> dict[str, JobRecord]:
        """Return the jobs that have not ended and hold some of these requests, by key.

        A job no longer holds a request that was answered, unless new images are wanted: then the
        running job makes them. Jobs of a library that may be somebody else's hold nothing.
        """
        with self._database.reading() as connection:
            if self._database.foreign:
                return {}
            found = self._open_with(connection, requests)
            jobs = {job_id: _by_id(connection, job_id) for job_id in set(found.values())}
            return {key: jobs[job_id] for key, job_id in found.items()}

    def _open_with(
        self, connection: sqlite3.Connection, requests: Sequence[JobRequest]
    ) -> dict[str, int]:
        states = ", ".join(f"'{state}'" for state in OPEN)
        query = f"""SELECT key, max(job_id) FROM job_requests JOIN jobs ON jobs.id = job_id
            WHERE state IN ({states}) AND error IS NULL
            AND (answer IS NULL OR ?) AND key IN ({{}}) GROUP BY key"""  # noqa: S608  # ours
        found: dict[str, int] = {}
        for fresh in (False, True):
            keys = [one.key for one in requests if (one.after is None) is fresh]
            found.update(rows_in(connection, query, keys, fresh))
        return found

    def _any_stored(self, requests: Sequence[JobRequest]) -> bool:
        """Tell whether the library has an image that answers one of these requests."""
        wanted = {
            (one.fingerprint, one.place): SlotQuery(
                one.fingerprint, one.place, one.request.n, one.after
            )
            for one in requests
            if one.after is not None
        }
        keys = {one.key for one in requests}
        return any(
            key_of(*slot, picture.position) in keys
            for slot, pictures in zip(wanted, self._find_each([*wanted.values()]), strict=True)
            for picture in pictures
        )

    def latest_with(self, keys: Sequence[str]) -> JobRecord | None:
        """Return the newest job with one of these keys, whatever became of it."""
        query = "SELECT max(job_id) FROM job_requests WHERE key IN ({})"
        with self._database.reading() as connection:
            found = [job_id for (job_id,) in rows_in(connection, query, keys) if job_id]
            return _by_id(connection, max(found)) if found else None

    def get(self, job: JobRecord) -> JobRecord:
        """Return a job as it is now.

        Raises:
            LibraryError: The library has lost it.
        """
        with self._database.reading() as connection:
            return self._get(connection, job)

    def named(self, name: str) -> JobRecord | None:
        """Return the job of a name; None: the library has no such job.

        Raises:
            LibraryError: Its row is damaged.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE name = ?", (name,)).fetchone()
            return None if row is None else _job(row)

    @staticmethod
    def _get(connection: sqlite3.Connection, job: JobRecord) -> JobRecord:
        # By its name as well: another library in the same place has other jobs of the same ids.
        query = "SELECT * FROM jobs WHERE id = ? AND name = ?"
        row = connection.execute(query, (job.id, job.name)).fetchone()
        if row is None:
            where = f" (at {job.host}: {job.batch_id})" if job.batch_id else ""
            raise LibraryError(
                f"The library was deleted, renamed or replaced, and has lost the job {job.name}"
                f"{where}. Put it back, or run the cell with --fresh to order everything anew."
            )
        return _job(row)

    def newest(self, limit: int) -> list[JobRecord]:
        """Return the jobs that were recorded last, the newest first, without damaged ones."""
        query = "SELECT * FROM jobs ORDER BY id DESC LIMIT ?"
        with self._database.reading() as connection:
            found: list[JobRecord] = []
            for row in connection.execute(query, (limit,)):
                with contextlib.suppress(LibraryError):  # a damaged one hides no other
                    found.append(_job(row))
            return found

    def change(self, job: JobRecord, **values: Any) -> JobRecord:
        """Change what is known of a job and return it.

        Args:
            job: The job.
            **values: Fields of `JobRecord`.
        """
        if "inputs" in values:
            values["inputs"] = json.dumps(values["inputs"])
        columns = ", ".join(f"{name} = :{name}" for name in values)
        statement = f"UPDATE jobs SET {columns} WHERE id = :job_id"  # noqa: S608  # names are ours
        with self._database.writing() as connection:
            self._get(connection, job)
            connection.execute(statement, storable_row(values) | {"job_id": job.id})
            return self._get(connection, job)

    def close(self, job: JobRecord, state: JobState, cause: str | None = None) -> JobRecord:
        """Note how a job ended and return it. What another kernel noted before stays.

        Args:
            job: The job.
            state: The end.
            cause: Why nothing will come of requests without an answer; None: all have one.
        """
        statement = """UPDATE jobs SET state = ?, cause = ?, ended = ?
            WHERE id = ? AND state IN ('new', 'running')"""
        with self._database.writing() as connection:
            self._get(connection, job)
            row = storable_row({"state": state, "cause": cause, "ended": time.time()})
            ended = connection.execute(statement, (*row.values(), job.id)).rowcount
            if ended and cause is not None:
                self._fail(connection, job.id, cause)
            return self._get(connection, job)

    def bind(self, job: JobRecord, batch_id: str) -> JobRecord:
        """Keep what the service calls a job, unless another kernel was faster; return the job."""
        statement = "UPDATE jobs SET batch_id = ? WHERE id = ? AND batch_id IS NULL"
        with self._database.writing() as connection:
            self._get(connection, job)
            connection.execute(statement, (batch_id, job.id))
            return self._get(connection, job)

    def forget_batch(self, job: JobRecord) -> JobRecord:
        """Note that the service has nothing of a job, and return it."""
        with self._database.writing() as connection:
            self._get(connection, job)
            connection.execute(
                "UPDATE jobs SET batch_id = NULL, create_sent = 0 WHERE id = ?", (job.id,)
            )
            connection.execute("UPDATE job_requests SET sent = 0 WHERE job_id = ?", (job.id,))
            return self._get(connection, job)

    def turn(self, job_id: int) -> FileLock:
        """Return the lock that a kernel holds while it hands a job over."""
        return FileLock(self._database.home / "jobs" / f"{job_id}.turn")

    # Its requests

    def first(self, job: JobRecord) -> JobRequest | None:
        """Return the first request of a job; None: the library has lost it."""
        query = """SELECT job_requests.* FROM job_requests JOIN jobs ON jobs.id = job_id
            WHERE job_id = ? AND name = ? ORDER BY job_requests.id LIMIT 1"""
        with self._database.reading() as connection:
            row = connection.execute(query, (job.id, job.name)).fetchone()
        return _request(row) if row else None

    def requests(self, job: JobRecord) -> Iterator[JobRequest]:
        """Yield the requests of a job in their order, a few hundred at a time."""
        query = "SELECT * FROM job_requests WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?"
        last = 0
        while True:
            with self._database.reading() as connection:
                self._get(connection, job)
                rows = connection.execute(query, (job.id, last, _SOME)).fetchall()
            yield from map(_request, rows)
            if len(rows) < _SOME:
                return
            last = rows[-1]["id"]

    def mark(self, job: JobRecord, keys: Iterable[str], sent: SubmissionState) -> None:
        """Note, durably, what is known of requests that are sent to the service."""
        statement = "UPDATE job_requests SET sent = ? WHERE job_id = ? AND key = ?"
        with self._database.writing() as connection:
            self._get(connection, job)
            connection.executemany(statement, ((int(sent), job.id, key) for key in keys))

    def marked(self, job: JobRecord) -> dict[str, SubmissionState]:
        """Return what is known of the requests of a job that may be at the service, by key."""
        query = "SELECT key, sent FROM job_requests WHERE job_id = ? AND sent > 0"
        with self._database.reading() as connection:
            self._get(connection, job)
            rows = connection.execute(query, (job.id,)).fetchall()
        known = {*SubmissionState}
        return {
            key: SubmissionState(sent) if sent in known else SubmissionState.UNKNOWN
            for key, sent in rows
        }

    def find(self, job: JobRecord, keys: Sequence[str]) -> dict[str, JobRequest]:
        """Return requests of a job by their keys; unknown ones are left out."""
        query = "SELECT * FROM job_requests WHERE job_id = ? AND key IN ({})"
        with self._database.reading() as connection:
            self._get(connection, job)
            rows = rows_in(connection, query, keys, job.id)
            return {row["key"]: _request(row) for row in rows}

    def fail(self, job: JobRecord, error: str, keys: Iterable[str] | None = None) -> None:
        """Note why requests of a job will have no answer.

        Args:
            job: The job.
            error: Why, in a line.
            keys: Which; None: all that are not settled.
        """
        with self._database.writing() as connection:
            self._get(connection, job)
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
        """Return what has become of a job's requests."""
        query = """SELECT count(*), count(CASE WHEN error IS NULL THEN answer END), count(error),
                total(cost_usd),
                count(CASE WHEN error IS NULL AND cost_usd IS NULL THEN answer END)
            FROM job_requests LEFT JOIN requests ON requests.id = answer WHERE job_id = ?"""
        with self._database.reading() as connection:
            self._get(connection, job)
            return RequestCounts(*connection.execute(query, (job.id,)).fetchone())

    def pictures(self, job: JobRecord) -> dict[str, Picture]:
        """Return the images that have come of a job, by the keys of their requests."""
        query = """SELECT key, requests.* FROM job_requests JOIN requests ON requests.id = answer
            WHERE job_id = ?"""
        found: dict[str, Picture] = {}
        with self._database.reading() as connection:
            self._get(connection, job)
            for row in connection.execute(query, (job.id,)).fetchall():
                images = connection.execute(
                    "SELECT * FROM images WHERE request_id = ? AND deleted IS NULL LIMIT 1",
                    (row["id"],),
                )
                theirs = self._database.is_strangers(row["id"])
                for picture in pictures_from_rows(row, images, self._originals, strangers=theirs):
                    found[row["key"]] = picture
        return found


def new_name(keys: Sequence[str]) -> str:
    """Return a name for a job of these keys that no other job has."""
    from hashlib import sha256  # noqa: PLC0415  # 3 ms that loading the extension need not pay

    digest = sha256("\n".join(keys).encode()).hexdigest()
    return f"xai-notebook-{digest[:16]}-{os.urandom(4).hex()}"


def _by_id(connection: sqlite3.Connection, job_id: int) -> JobRecord:
    return _job(connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone())


def _job(row: sqlite3.Row) -> JobRecord:
    """Return the job of a row.

    Raises:
        LibraryError: The row is damaged.
    """
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
            created=_seconds(row["created"]) or bounds.moment_near(row["created"]).timestamp(),
            expires=_seconds(row["expires"]),
            ended=_seconds(row["ended"]),
        )
    except DAMAGE as error:
        raise LibraryError(
            f"Job {row['id']} of the library is damaged. The other jobs are not."
        ) from error


def _seconds(value: Any) -> float | None:
    """Return a time in seconds since 1970, all its digits; None: it is out of bounds."""
    return value if bounds.moment(value) is not None else None


def _dumped(one: JobRequest) -> str:
    inputs = tuple(replace(image, url="", file_id=None) for image in one.request.inputs)
    return json.dumps(asdict(replace(one.request, inputs=inputs)))


def _request(row: sqlite3.Row) -> JobRequest:
    """Return the request of a row.

    Raises:
        LibraryError: The row is damaged.
    """
    try:
        error = row["error"]
        return JobRequest(
            key=bounds.text(row["key"]),
            fingerprint=bounds.text(row["fingerprint"]),
            place=bounds.count(row["place"], 0, MAX_PLACE),
            position=bounds.count(row["position"], 0, MAX_PLACE),
            request=request_from(json.loads(row["request"])),
            id=row["id"],
            answer=row["answer"],
            error=None if error is None else bounds.line(str(error), MAX_NOTE),
        )
    except DAMAGE as error:
        raise LibraryError(
            f"Request {row['id']} of the library's jobs is damaged, so that its job cannot be gone "
            "on with. The other jobs are not."
        ) from error
