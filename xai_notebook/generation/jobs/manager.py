"""Turn a prepared call into a job: the one that already has its requests, or a new one.

Separate because it owns all jobs of a kernel, and a poller owns one.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.errors import JobError, LibraryError, OptionError, XaiError
from xai_notebook.frontend import notebook_name
from xai_notebook.generation.budget import to_ticks
from xai_notebook.generation.jobs.job import BatchJob, JobList, JobSlot, JobView
from xai_notebook.generation.jobs.poller import JobPoller
from xai_notebook.library.jobs import JobRecord, JobRequest, RequestCounts, key_of, new_name
from xai_notebook.library.spending import TICKS, Amount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.generation.backends import Backend
    from xai_notebook.generation.budget import Counter, Limits
    from xai_notebook.generation.call import Call
    from xai_notebook.generation.generator import ClaimedRequest, Generator
    from xai_notebook.generation.replay import Claim
    from xai_notebook.library import Library
    from xai_notebook.pictures.picture import Picture

    Connect = Callable[[str], Awaitable[Backend]]

__all__ = ["JobManager"]

_MOST: Final = 100_000
"""Requests of one job."""
_LOOK: Final = 10.0
"""Seconds for asking how far jobs are that are listed."""
_AT_ONCE: Final = 256
"""Requests looked up in the library together."""


class JobManager:
    """All batch jobs of this kernel; one follower per job."""

    def __init__(
        self,
        connect: Connect,
        maker: Any,
        limits: Callable[[Library], Limits],
    ) -> None:
        """Follow nothing yet.

        Args:
            connect: Returns the server that calls of a backend go to now.
            maker: Of their images: the session.
            limits: Returns those of a job that no call hands over, by its library.
        """
        self._limits = limits
        self._connect = connect
        self._maker = maker
        self._reading = asyncio.Lock()
        self._pollers: dict[tuple[Library, str], JobPoller] = {}

    async def newest(self, library: Library, n: int) -> JobList:
        """Return the jobs that were recorded last, those that run as far as they are now."""
        jobs = await asyncio.to_thread(self._newest, library, n)
        pollers = [one for job in jobs for one in job.pollers if one.job.state == "running"]
        looks = (one.look() for one in pollers)
        with suppress(asyncio.TimeoutError):  # what cannot be asked stays as it is known
            await asyncio.wait_for(asyncio.gather(*looks, return_exceptions=True), _LOOK)
        return jobs

    def _newest(self, library: Library, n: int) -> JobList:
        jobs = []
        for job in library.jobs.newest(n):
            poller = self._as_it_is(library, job)
            free = job.backend == "local" and not job.price_usd
            jobs.append(BatchJob([poller], None, self._maker, JobView(free=free)))
        return JobList(jobs)

    def find(self, library: Library, names: Sequence[str]) -> list[JobPoller]:
        """Return what is known of jobs by their names; empty: the library lacks one of them."""
        jobs = [library.jobs.named(name) for name in names]
        return [] if None in jobs else [self._as_it_is(library, job) for job in jobs if job]

    def _as_it_is(self, library: Library, job: JobRecord) -> JobPoller:
        """Return the one follower of a job, which knows what the library knows now."""
        poller = self._follow(library, job)
        if not poller.under_way:
            poller.job, poller.tally = job, library.jobs.tally(job)
            poller.failure = library.distrust if job.open else None
        return poller

    async def close(self) -> None:
        """Follow no job any longer; what goes on at the service is found again."""
        await asyncio.gather(*(poller.stop() for poller in self._pollers.values()))

    async def prepare(self, call: Call, generator: Generator) -> BatchJob:
        """Return the job of a call. What has to be handed over is recorded, and nothing is sent.

        Args:
            call: Whose requests they are.
            generator: Of the call.

        Raises:
            BudgetError: It would cost more than a limit allows.
            LibraryError: There is no library, or it cannot be written to; or it may be somebody
                else's, and lacks pictures.
            OptionError: There are more requests than a job can have.
        """
        library = call.ingest.library
        if library is None:
            failure = generator.home.failure
            raise LibraryError(f"A job is recorded in the library. {failure} Or leave --batch out.")
        if library.read_only:
            raise LibraryError(
                "A job is recorded in the library, and this one is read-only: set "
                "XAI_NOTEBOOK_HOME to a folder you can write to, or leave --batch out."
            )
        claimed = await self._claim(call, generator)
        slots, wanted = _slots(call, claimed)
        keys = [slot.key for slot in slots]
        await self._check_followed(library, keys, fresh=call.options.fresh)
        pollers, stored = await self._find_or_record(call, generator, library, claimed, wanted)
        for poller in pollers:
            poller.inputs = claimed[0].request.inputs
            of_job = await asyncio.to_thread(library.jobs.find, poller.job, keys)
            poller.keys.update(of_job)
            for key in of_job:
                stored.pop(key, None)  # it is counted with its job
        past = None
        if not pollers:
            past = await asyncio.to_thread(library.jobs.latest_with, keys)
        view = JobView(_settings(call), stored, generator.backend.free, past, call.export)
        call.claims.complete = True
        return BatchJob(pollers, slots, self._maker, view)

    async def _claim(self, call: Call, generator: Generator) -> list[ClaimedRequest]:
        """Return the requests of a call with their slots, in the order of the calls.

        Raises:
            OptionError: There are more than a job can have, or reading them failed.
        """
        # A generator of the user's may make calls itself, which must not wait for it.
        async with nullcontext() if call.lazy else self._reading:
            requests = await asyncio.to_thread(lambda: list(islice(call.requests, _MOST + 1)))
        if len(requests) > _MOST:
            raise OptionError(f"A job takes at most {_MOST:,} requests. Hand over fewer at a time.")
        return await generator.claim_all(call, requests)

    async def count_ordered(
        self, call: Call, claimed: Sequence[ClaimedRequest | None]
    ) -> list[int]:
        """Return how many images of each request are in a job that has not ended.

        Args:
            call: Whose requests they are.
            claimed: The requests at their places; None: one whose prompt has yet to be rewritten.

        Raises:
            LibraryError: The library has lost a job of this kernel that holds some of them.
        """
        library = call.ingest.library
        if library is None or call.options.replay:
            return [0] * len(claimed)
        asked = [
            [_asked(call, one, position) for position in range(one.request.n)] if one else []
            for one in claimed
        ]
        everything = list(chain.from_iterable(asked))
        if not call.fresh:
            await self._check_followed(library, [one.key for one in everything], fresh=False)
        open_jobs = await asyncio.to_thread(library.jobs.open_with, everything)
        return [sum(each.key in open_jobs for each in images) for images in asked]

    async def _check_followed(self, library: Library, keys: Sequence[str], *, fresh: bool) -> None:
        """See that the library still has the open jobs of this kernel that hold some of these keys.

        Args:
            library: Where they were recorded.
            keys: Of requests.
            fresh: Forget a job that the library has lost, instead of raising.

        Raises:
            LibraryError: It has lost one: the same requests would be ordered a second time.
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
        self,
        call: Call,
        generator: Generator,
        library: Library,
        claimed: Sequence[ClaimedRequest],
        wanted: Sequence[_Wanted],
    ) -> tuple[list[JobPoller], dict[str, Picture]]:
        """Return the jobs that hold what is not stored, the last of which may be new; and the rest.

        Open jobs are read before stored images: a result that comes in between is found twice, and
        never neither. `Jobs.record` looks at both once more.
        """
        requests = [] if call.options.replay else [one.asked for one in wanted]
        while True:
            found = await asyncio.to_thread(library.jobs.open_with, requests)
            stored = await _stored(call, claimed, generator)
            missing = [one for one in wanted if one.asked.key not in stored]
            jobs = {job.id: job for key, job in found.items() if key not in stored}
            held = [self._follow(library, jobs[job_id]) for job_id in sorted(jobs)]
            gone = [one for one in held if await _is_gone(one, fresh=call.options.fresh)]
            if gone:  # what they held is to be handed over again
                continue
            for one in held:
                if one.job.state == "new" and not one.handing and one.budget is None:
                    one.budget = await _allow(one, generator.backend, call.limits)
            new = [one for one in missing if one.asked.key not in found]
            if not new:
                return held, stored
            library.check_own()
            if (poller := await self._record(call, generator, library, new)) is not None:
                return [*held, poller], stored

    async def _allow(self, poller: JobPoller, backend: Backend) -> Counter:
        """See that a job which no call hands over is within the limits; see `_allow`."""
        return await _allow(poller, backend, self._limits(poller.library))

    async def _record(
        self, call: Call, generator: Generator, library: Library, new: Sequence[_Wanted]
    ) -> JobPoller | None:
        """Record a job and reserve its price; None: look again, something has come meanwhile."""
        backend = generator.backend
        price = await _price(generator.backend, library, new)
        newest = await call.ingest.newest()
        job = JobRecord(
            name=new_name([one.asked.key for one in new]),
            backend=backend.kind,
            host=backend.host,
            notebook=notebook_name(),
            price_usd=price,
        )

        async def estimate() -> list[Amount | None]:
            price = await _price(generator.backend, library, new)
            return [None if price is None else Amount(to_ticks(price * len(new)))]

        async with call.limits.reserved(estimate) as (reservation,):
            try:
                asked = [one.asked for one in new]
                recorded = await asyncio.to_thread(library.jobs.record, job, asked)
            except BaseException:  # nothing is sent here, and a job that was recorded counts itself
                reservation.waive()
                raise
            if recorded is None:
                reservation.waive()
                return None
            reservation.in_ledger = True
        for one in new:
            if one.claim.anew and call.fresh:
                call.claims.begin(one.claim, newest)
        poller = self._follow(library, recorded)
        poller.resumed, poller.budget = False, call.limits.kernel
        poller.tally = RequestCounts(total=len(new))
        return poller

    def _follow(self, library: Library, job: JobRecord) -> JobPoller:
        """Return the one follower of a job."""
        poller = self._pollers.get((library, job.name))
        if poller is None:
            tally = library.jobs.tally(job)
            poller = JobPoller(library, job, self._peer, self._allow, tally)
            self._pollers[library, job.name] = poller
        return poller

    async def _peer(self, job: JobRecord) -> Backend:
        """Return the server that has a job.

        Raises:
            XaiError: Calls go to another one now.
        """
        backend = await self._connect(job.backend)
        if (job.backend, job.host) != (backend.kind, backend.host):
            raise XaiError(
                f"The job {job.name} is at {job.host}. Set XAI_API_HOST, or XAI_NOTEBOOK_BACKEND, "
                "to what they were when it was handed over."
            )
        return backend


def _settings(call: Call) -> dict[str, Any]:
    """Return how the images of a call are shown."""
    settings = {
        name: getattr(call.options, name) for name in ("columns", "captions", "full", "compare")
    }
    return settings | {"notes": (*call.announced, *call.progress.notes)}


class _Wanted(NamedTuple):
    """One image of a call.

    Attributes:
        asked: The request for it.
        claim: The place of its request.
    """

    asked: JobRequest
    claim: Claim


async def _stored(
    call: Call, claimed: Sequence[ClaimedRequest], generator: Generator
) -> dict[str, Picture]:
    """Return what the library has of requests, by key.

    Raises:
        LibraryError: It does not have all, and nothing else may answer.
    """
    found: dict[str, Picture] = {}

    async def look(one: ClaimedRequest) -> None:
        if _wants_new(call, one):
            return
        for picture in await generator.recall(call, one):
            found[key_of(one.fingerprint, one.claim.place, picture.position)] = picture

    for start in range(0, len(claimed), _AT_ONCE):
        await asyncio.gather(*map(look, claimed[start : start + _AT_ONCE]))
    await call.ingest.remember_shown()
    share = claimed[0].request.share if claimed and not call.options.replay else None
    for key, picture in found.items() if share else ():
        (found[key],) = await call.ingest.share([picture], share or 0.0)
    return found


def _slots(call: Call, claimed: Sequence[ClaimedRequest]) -> tuple[list[JobSlot], list[_Wanted]]:
    """Return where each image of a call belongs, and the request for each."""
    slots: list[JobSlot] = []
    wanted: dict[str, _Wanted] = {}  # under --reuse, equal requests have the same images
    for number, one in enumerate(claimed):
        chosen = call.chosen[number] if call.chosen else ()
        for position in range(one.request.n):
            asked = _asked(call, one, position)
            slots.append(JobSlot(asked.key, one.request, position, chosen))
            wanted[asked.key] = _Wanted(asked, one.claim)
    if not slots:
        raise OptionError("There is no prompt to hand over.")
    return slots, [*wanted.values()]


def _asked(call: Call, claimed: ClaimedRequest, position: int) -> JobRequest:
    """Return the job's request for one image of a request."""
    return JobRequest(
        key=key_of(claimed.fingerprint, claimed.claim.place, position),
        fingerprint=claimed.fingerprint,
        place=claimed.claim.place,
        position=position,
        request=claimed.request,
        after=None if _wants_new(call, claimed) else claimed.claim.after,
    )


def _wants_new(call: Call, claimed: ClaimedRequest) -> bool:
    """Tell whether stored images do not answer a request."""
    return claimed.claim.anew and call.fresh and not call.options.replay


async def _is_gone(poller: JobPoller, *, fresh: bool) -> bool:
    """Tell whether the service of a job no longer has it, and it may be handed over again."""
    if poller.under_way or (poller.job.backend != "local" and not fresh):
        return False
    try:
        await poller.look()
    except JobError:
        if fresh:
            await poller.give_up()
    except XaiError:
        return False
    return poller.job.state == "gone"


async def _allow(poller: JobPoller, backend: Backend, limits: Limits) -> Counter:
    """See that a job which was recorded earlier, and not handed over, is within the limits.

    What it costs is found out anew: a row can say any price, and prices change.

    Returns:
        What its images count against.

    Raises:
        BudgetError: It would pass a limit, or there is one and a price is unknown. Nothing of it
            is sent now.
        XaiError: The server cannot be asked for its prices.
    """
    library, job = poller.library, poller.job
    everything = await asyncio.to_thread(lambda: list(library.jobs.requests(job)))
    left = [(one.request, 1) for one in everything if not one.settled]
    recorded = Amount(to_ticks((job.price_usd or 0.0) * len(left)))
    amount: Amount | None = recorded
    if limits.name is not None and left:
        now = await backend.prices.images(left, library)
        amount = None if now is None else max(now, recorded)
    await limits.allow_recorded(amount, job.id)
    if amount is not None and left:
        price = max(amount.ticks / TICKS / len(left), job.price_usd or 0.0)
        poller.job = await asyncio.to_thread(library.jobs.change, job, price_usd=price)
    return limits.kernel


async def _price(backend: Backend, library: Library, new: Sequence[_Wanted]) -> float | None:
    """Return what a request of a job is expected to cost on average; None: no price is known."""
    try:
        together = await backend.prices.images(((one.asked.request, 1) for one in new), library)
    except XaiError:
        return None
    return None if together is None else together.ticks / TICKS / len(new)
