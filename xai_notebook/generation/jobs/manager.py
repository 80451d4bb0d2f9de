"""All batch jobs of a kernel: find the job of a call or record a new one; one poller per job.

Life cycle of a job: `prepare` assigns slots to the call's requests, polls for open jobs and stored
images that answer them, and records the remaining requests as a new job. The job's poller then
submits it (see `submitter`), polls it and stores its results (see `poller`) until it has ended or
expired.

Separate because the manager owns all jobs of a kernel, whereas a poller owns one job.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import LibraryError, OptionError, XaiError
from xai_notebook.frontend import notebook_name
from xai_notebook.generation.jobs.job import BatchJob, JobList, JobSlot, JobView
from xai_notebook.generation.jobs.poller import JobPoller
from xai_notebook.library.jobs import (
    JobRecord,
    JobRequest,
    RequestCounts,
    new_job_name,
    request_key,
)
from xai_notebook.library.spending import TICKS, Amount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.generation.backends import Backend
    from xai_notebook.generation.budget import Limits
    from xai_notebook.generation.call import Call, ClaimedRequest, Item
    from xai_notebook.generation.generator import Generator
    from xai_notebook.library import Library
    from xai_notebook.pictures.picture import Picture

_MAX_REQUESTS: Final = 100_000
"""Maximum requests of one job."""
_LIST_SECONDS: Final = 10.0
"""Maximum seconds for polling the listed jobs."""
_AT_ONCE: Final = 256
"""Number of requests that are looked up in the library together."""


@dataclass(slots=True, eq=False)
class JobManager:
    """All batch jobs of this kernel; one poller per job.

    Attributes:
        connect: Returns the server for `"xai"` or `"local"`.
        maker: The session, for methods of the images such as `edit`.
        limits: Returns the limits, counted in this library, for a job resumed outside of a call.
    """

    connect: Callable[[str], Awaitable[Backend]]
    maker: Any
    limits: Callable[[Library], Limits]
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _pollers: dict[tuple[Library, str], JobPoller] = field(default_factory=dict)

    async def newest(self, library: Library, n: int) -> JobList:
        """Return the `n` newest jobs, after polling the running jobs."""
        jobs = await asyncio.to_thread(self._newest, library, n)
        pollers = chain.from_iterable(job.pollers for job in jobs)
        polls = (poller.poll_once() for poller in pollers if poller.job.state == "running")
        with suppress(asyncio.TimeoutError):  # jobs that cannot be polled keep their state
            await asyncio.wait_for(asyncio.gather(*polls, return_exceptions=True), _LIST_SECONDS)
        return jobs

    def _newest(self, library: Library, n: int) -> JobList:
        jobs = []
        for job in library.jobs.newest(n):
            view = JobView(free=job.backend == "local" and not job.price_usd)
            jobs.append(BatchJob([self._updated(library, job)], None, self.maker, view))
        return JobList(jobs)

    def find(self, library: Library, names: Sequence[str]) -> list[JobPoller]:
        """Return the pollers of jobs by name; empty if the library lacks one of them."""
        jobs = [library.jobs.find_by_name(name) for name in names]
        return [] if None in jobs else [self._updated(library, job) for job in jobs if job]

    async def close(self) -> None:
        """Stop polling. The jobs continue at the service and can be found again."""
        await asyncio.gather(*(poller.stop() for poller in self._pollers.values()))

    # The job of a call

    async def prepare(self, call: Call, generator: Generator) -> BatchJob:
        """Return the job of a call; record its new requests without sending them.

        Raises:
            BudgetError: The job would cost more than a limit allows.
            LibraryError: The library cannot be opened or written to; or the call has `replay`, and
                images are missing.
            OptionError: The call has more requests than a job can have.
        """
        library = call.ingest.library
        if library is None:
            failure = generator.storage.failure
            raise LibraryError(f"Jobs are recorded in the library. {failure} Or omit --batch.")
        if library.database.read_only:
            raise LibraryError(
                "Jobs are recorded in the library, and this library is read-only. Set "
                "XAI_NOTEBOOK_HOME to a folder you can write to, or omit --batch."
            )
        items = await self._read_all(call)
        sent = [item.request for item in items if not item.blank]
        if not sent:
            raise OptionError("The call has no prompt. Give at least one.")
        claimed = await generator.claim_all(call, sent)
        slots: list[JobSlot] = []
        each_claimed = iter(claimed)
        for number, item in enumerate(items):
            if item.blank:
                slots.append(JobSlot("", item.request, 0, row=item.row, row_key=item.key))
                continue
            chosen = call.chosen[number] if call.chosen else ()
            slots += [
                JobSlot(each.key, each.request, each.position, chosen, item.row, item.key)
                for each in _job_requests(call, next(each_claimed))
            ]
        keys = [slot.key for slot in slots if slot.key]
        await self._check_kept(library, keys, fresh=call.options.fresh)
        pollers, stored = await self._find_or_record(call, generator, library, claimed)
        for poller in pollers:
            poller.inputs = claimed[0].request.inputs
            of_job = await asyncio.to_thread(library.jobs.find, poller.job, keys)
            poller.keys.update(of_job)
            for key in of_job:
                stored.pop(key, None)  # the job counts this image
        past = None
        if not pollers:
            past = await asyncio.to_thread(library.jobs.find_latest, keys)
        options = ("columns", "captions", "full", "compare")
        settings = {name: getattr(call.options, name) for name in options}
        settings["notes"] = (*call.announced, *call.progress.notes)
        settings["index_names"] = call.index_names
        view = JobView(settings, stored, generator.backend.free, past, call.export)
        call.claims.complete = True
        return BatchJob(pollers, slots, self.maker, view)

    async def _read_all(self, call: Call) -> list[Item]:
        """Read all items of a call."""
        # The lock keeps the order of the calls. A user's generator may itself make calls: no lock.
        async with nullcontext() if call.lazy else self._reading:
            items = await asyncio.to_thread(lambda: list(islice(call.items, _MAX_REQUESTS + 1)))
        if len(items) > _MAX_REQUESTS:
            raise OptionError(
                f"A job takes at most {_MAX_REQUESTS:,} requests. Submit fewer at a time."
            )
        return items

    async def count_ordered(
        self, call: Call, claimed: Sequence[ClaimedRequest | None]
    ) -> list[int]:
        """Return the number of images of each request that are in an open job.

        Args:
            call: A call with `batch`.
            claimed: The requests with their slots; None: the prompt has yet to be rewritten.

        Raises:
            LibraryError: The library has lost a job of this kernel with some of the requests.
        """
        library = call.ingest.library
        if library is None or call.options.replay:
            return [0] * len(claimed)
        wanted = [_job_requests(call, each) if each else [] for each in claimed]
        requests = list(chain.from_iterable(wanted))
        if not call.fresh:
            await self._check_kept(library, [request.key for request in requests], fresh=False)
        open_jobs = await asyncio.to_thread(library.jobs.find_open, requests)
        return [sum(request.key in open_jobs for request in images) for images in wanted]

    async def _check_kept(self, library: Library, keys: Sequence[str], *, fresh: bool) -> None:
        """Check that the library still has this kernel's open jobs with some of the requests.

        Otherwise the requests would be submitted twice. With `fresh`, such a job is forgotten.
        """
        for (owner, name), poller in list(self._pollers.items()):
            if owner is not library or not poller.job.open or poller.keys.isdisjoint(keys):
                continue
            try:
                await asyncio.to_thread(library.jobs.get, poller.job)
            except LibraryError:
                if not fresh:
                    raise
                await poller.stop()
                del self._pollers[owner, name]

    async def _find_or_record(
        self, call: Call, generator: Generator, library: Library, claimed: Sequence[ClaimedRequest]
    ) -> tuple[list[JobPoller], dict[str, Picture]]:
        """Return the pollers of all images that are not stored, and the stored images by key.

        Open jobs are read before stored images: a result that arrives in between is found twice
        rather than not at all. `JobStore.record` checks both once more.
        """
        # With --reuse, equal requests have the same keys.
        by_request = (_job_requests(call, request) for request in claimed)
        requests = {each.key: each for each in chain.from_iterable(by_request)}
        wanted = [] if call.options.replay else [*requests.values()]
        while True:
            open_jobs = await asyncio.to_thread(library.jobs.find_open, wanted)
            stored = await _recall_all(call, generator, claimed)
            jobs = {job.id: job for key, job in open_jobs.items() if key not in stored}
            pollers = [self._poller(library, jobs[job_id]) for job_id in sorted(jobs)]
            if [each for each in pollers if await each.is_gone(fresh=call.options.fresh)]:
                continue  # the requests of these jobs must be submitted again
            for poller in pollers:
                if poller.job.state == "new" and not poller.active and poller.budget is None:
                    await poller.check_limits(generator.backend, call.limits)
            known = stored.keys() | open_jobs.keys()
            new = [request for key, request in requests.items() if key not in known]
            if not new:
                return pollers, stored
            library.check_own()
            if (recorded := await self._record(call, generator, library, claimed, new)) is not None:
                return [*pollers, recorded], stored

    async def _record(
        self,
        call: Call,
        generator: Generator,
        library: Library,
        claimed: Sequence[ClaimedRequest],
        new: Sequence[JobRequest],
    ) -> JobPoller | None:
        """Record a job and reserve its price; None: new images have arrived, so look again."""
        backend, price = generator.backend, None
        newest = await call.ingest.newest()

        async def estimate() -> list[Amount | None]:
            nonlocal price
            amount = None
            with suppress(XaiError):  # a price is only needed for a limit
                images = ((each.request, 1) for each in new)
                amount = await backend.prices.images(images, library)
            price = None if amount is None else amount.ticks / TICKS / len(new)
            return [amount and Amount(amount.ticks)]

        async with call.limits.reserved(estimate) as (reservation,):
            try:
                job = JobRecord(
                    name=new_job_name([request.key for request in new]),
                    backend=backend.kind,
                    host=backend.host,
                    notebook=notebook_name(),
                    price_usd=price,
                )
                recorded = await asyncio.to_thread(library.jobs.record, job, new)
            except BaseException:  # nothing was sent, and the row of a recorded job counts already
                reservation.waive()
                raise
            if recorded is None:
                reservation.waive()
                return None
            reservation.in_ledger = True
        ordered = {(request.fingerprint, request.place) for request in new}
        for each in claimed:
            is_ordered = (each.fingerprint, each.claim.slot.place) in ordered
            if each.claim.needs_new and call.fresh and is_ordered:
                call.claims.ignore_stored(each.claim, newest)
        poller = self._poller(library, recorded)
        poller.resumed, poller.budget = False, call.limits.kernel
        poller.tally = RequestCounts(total=len(new))
        return poller

    # Pollers

    def _poller(self, library: Library, job: JobRecord) -> JobPoller:
        """Return the one poller of a job."""
        poller = self._pollers.get((library, job.name))
        if poller is None:
            tally = library.jobs.tally(job)
            poller = JobPoller(library, job, self._backend_of, self.limits, tally)
            self._pollers[library, job.name] = poller
        return poller

    def _updated(self, library: Library, job: JobRecord) -> JobPoller:
        """Return the poller of a job, up to date with the library."""
        poller = self._poller(library, job)
        if not poller.polling:
            poller.job, poller.tally = job, library.jobs.tally(job)
            poller.failure = library.distrust if job.open else None
        return poller

    async def _backend_of(self, job: JobRecord) -> Backend:
        """Return the server of a job, unless the current configuration names another one."""
        backend = await self.connect(job.backend)
        if (job.backend, job.host) != (backend.kind, backend.host):
            raise XaiError(
                f"The job {job.name} is at {job.host}. Set XAI_API_HOST and XAI_NOTEBOOK_BACKEND "
                "to the values with which it was submitted."
            )
        return backend


def _job_requests(call: Call, claimed: ClaimedRequest) -> list[JobRequest]:
    """Return the requests of a job for the images of one request."""
    fingerprint, place, request = claimed.fingerprint, claimed.claim.slot.place, claimed.request
    after = None if _wants_new(call, claimed) else claimed.claim.after
    return [
        JobRequest(
            key=request_key(fingerprint, place, position),
            fingerprint=fingerprint,
            place=place,
            position=position,
            request=request,
            after=after,
        )
        for position in range(request.n)
    ]


def _wants_new(call: Call, claimed: ClaimedRequest) -> bool:
    """Tell whether a request needs new images, so that stored ones do not answer."""
    return claimed.claim.needs_new and call.fresh and not call.options.replay


async def _recall_all(
    call: Call, generator: Generator, claimed: Sequence[ClaimedRequest]
) -> dict[str, Picture]:
    """Return the stored images of requests, by key."""
    stored: dict[str, Picture] = {}

    async def recall(request: ClaimedRequest) -> None:
        if not _wants_new(call, request):
            for picture in await generator.recall(call, request):
                slot = request.fingerprint, request.claim.slot.place
                stored[request_key(*slot, picture.position)] = picture

    for start in range(0, len(claimed), _AT_ONCE):
        await asyncio.gather(*map(recall, claimed[start : start + _AT_ONCE]))
    if call.ingest.shown:
        await call.ingest.remember_shown()
    if claimed and not call.options.replay and (days := claimed[0].request.share):
        for key, picture in stored.items():
            stored[key] = await call.ingest.share(picture, days)
    return stored
