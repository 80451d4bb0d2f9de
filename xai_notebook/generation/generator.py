"""One request answered: from the library, from the server, or from both."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from xai_notebook.errors import (
    ApiError,
    LibraryError,
    NotKeptError,
    OptionError,
)
from xai_notebook.generation.budget import FREE, total
from xai_notebook.generation.replay import Claim
from xai_notebook.library import SlotQuery
from xai_notebook.library.replies import add_costs, kept, share
from xai_notebook.library.spending import Amount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.client.transport.retry import Attempt
    from xai_notebook.generation.backends import Backend, Flight, PromptRewriter
    from xai_notebook.generation.budget import Estimate, Limits, Reservation
    from xai_notebook.generation.bundles import BundleLookup
    from xai_notebook.generation.ingest import Ingest
    from xai_notebook.generation.progress import Progress
    from xai_notebook.generation.replay import SlotClaims
    from xai_notebook.library import StoredImages
    from xai_notebook.library.inputs import UploadCache
    from xai_notebook.library.replies import ReplyWriter
    from xai_notebook.pictures.picture import Picture

__all__ = ["ClaimedRequest", "Generator", "Lookup"]


@dataclass(frozen=True, slots=True)
class ClaimedRequest:
    """A request at its place.

    Attributes:
        request: As it will be sent.
        fingerprint: Of the request.
        claim: Its place.
        extra_usd: What rewriting its prompt cost now, in US dollars; None: not reported.
        reserved: Money set aside for its images before its prompt was rewritten.
        packed: What bundles, and a library that may be somebody else's, have of it where its
            prompt was rewritten elsewhere; None: bundles are asked for what the library lacks.
    """

    request: ImageRequest
    fingerprint: str
    claim: Claim
    extra_usd: float | None = 0.0
    reserved: list[Reservation] = field(default_factory=list)
    packed: list[Picture] | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from every other."""
        return self.fingerprint, self.claim.place


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known of a request before a chat model is asked to rewrite its prompt.

    Attributes:
        claimed: The request at its place; None: its prompt has yet to be rewritten.
        claim: Its place, where there are pictures of it whose prompt was rewritten elsewhere.
            It is counted by the prompt as written, however often that is rewritten.
        packed: Those pictures.
    """

    claimed: ClaimedRequest | None
    claim: Claim | None = None
    packed: list[Picture] | None = None


@dataclass(slots=True)
class Generator:
    """Answers requests under the options of one call.

    Attributes:
        backend: Where to send what is missing.
        ingest: What is kept, and how.
        claims: The places of the call's requests.
        limits: What may be spent.
        progress: Where what happens is counted.
        fresh: What is stored and has been seen never answers.
        only_stored: The server is never asked.
        timeout: Seconds for a whole call.
        rewriter: Rewrites prompts first, if that was asked for.
        slots: Limits how many requests are under way at the server at once.
        before_send: Awaited before each request that the library cannot answer.
        on_attempt: Hears of failed attempts that are made again, after `progress`.
        keep: What is stored answers, also where the cell has shown it: single ones are made anew.
        uploads: What the library knows of input images at the server: they are sent once, and named
            from then on. None: each request carries its own.
        bundle_lookup: The bundles in the notebook's folder, which answer after the library.
        reuse: Any stored picture of a request answers; what is missing is made once, however many
            equal requests there are at the same moment.
        recover: Puts into the library what another process received before it died. It blocks.
    """

    backend: Backend
    ingest: Ingest
    claims: SlotClaims
    limits: Limits
    progress: Progress
    fresh: bool
    only_stored: bool
    timeout: float
    rewriter: PromptRewriter | None = None
    slots: asyncio.Semaphore | None = None
    before_send: Callable[[], Awaitable[None]] | None = None
    on_attempt: Callable[[Attempt], None] | None = None
    keep: bool = False
    uploads: UploadCache | None = None
    bundle_lookup: BundleLookup | None = None
    reuse: bool = False
    recover: Callable[[], object] | None = None

    async def look(self, request: ImageRequest, former: Lookup | None = None) -> Lookup:
        """Return what is known of a request without asking a chat model.

        A prompt that was rewritten elsewhere, as a bundle or somebody else's library says, is never
        sent: it could be anybody's. All that they do is answer the request as it was written.

        Args:
            request: As the user wrote it.
            former: What was known when its place was claimed.
        """
        if self.rewriter is None:
            return Lookup(self.claim(request))
        known = await self.rewriter.recall(request)
        lookup = former or await self._packed(request, known)
        claim, packed = lookup.claim, lookup.packed
        if known is not None:
            return Lookup(self.claim(known, claim=claim, packed=packed))
        answers = claim is not None and (self.only_stored or not claim.anew)
        if claim is not None and packed is not None and answers and len(packed) == request.n:
            # Of no prompt that was ever sent from here: the library has nothing under it.
            key = self._written(request, self.rewriter.model)
            return Lookup(ClaimedRequest(request, key, claim, packed=packed))
        if self.only_stored:
            return Lookup(self.claim(request, claim=claim, packed=packed))
        return Lookup(None, claim, packed)

    async def _packed(self, request: ImageRequest, known: ImageRequest | None) -> Lookup:
        """Return a request's place and pictures where it was rewritten otherwise elsewhere."""
        if self.rewriter is None:
            return Lookup(None)
        model, texts = self.rewriter.model, set[str]()
        if self.bundle_lookup is not None:
            texts = await asyncio.to_thread(self.bundle_lookup.rewrites_of, request, model)
        foreign = None if known is not None else await self.rewriter.look_up(request)
        if not (texts or foreign) or (known is not None and known.prompt in texts):
            return Lookup(None)
        claim = self._claim(self._written(request, model), request.n)
        place = None if self.reuse else claim.place
        packed = await self._rewritten(request, foreign, place)
        if self.only_stored and len(packed) < request.n:
            packed = await self._rewritten(request, foreign, None)
        return Lookup(None, claim, packed)

    async def _rewritten(
        self, request: ImageRequest, foreign: ImageRequest | None, place: int | None
    ) -> list[Picture]:
        """Return the pictures that were made of a request, its prompt rewritten elsewhere.

        Args:
            request: As the user wrote it.
            foreign: As a library that may be somebody else's has it.
            place: Of the request; None: wherever there is something.
        """
        found: dict[int, Picture] = {}
        if foreign is not None:
            fingerprint = foreign.fingerprint(self.backend.kind, self.backend.host)
            wanted = SlotQuery(fingerprint, place, request.n, notebook=self.ingest.notebook)
            stored = (await self.ingest.find(wanted, foreign)).pictures
            found = {picture.position: picture for picture in stored}
        if self.bundle_lookup is not None and self.rewriter is not None and len(found) < request.n:
            model = self.rewriter.model
            packed = await self.bundle_lookup.rewritten(request, model, place, self.progress)
            found = {picture.position: picture for picture in packed} | found
        return [found[position] for position in sorted(found)]

    def _written(self, request: ImageRequest, model: str) -> str:
        """Return what tells a request that is to be rewritten from all that are sent."""
        fingerprint = request.fingerprint(self.backend.kind, self.backend.host)
        return sha256(f"{fingerprint} rewritten by {model}".encode()).hexdigest()

    async def place(
        self, request: ImageRequest, rest: Estimate | None = None, lookup: Lookup | None = None
    ) -> ClaimedRequest:
        """Return a request at its place. Equal requests get theirs in the order of the calls.

        A prompt is rewritten first, if that was asked for; but only if its images are within every
        limit as well, and only if the server may be asked at all.

        Args:
            request: As the user wrote it.
            rest: Returns what everything but the rewrite is expected to cost, in one amount;
                default: its images.
            lookup: What `look` said of it.

        Raises:
            BudgetError: Rewriting the prompt and making its images would pass a limit.
        """
        self.claims.leave_turn()  # nothing is awaited before this one's place is sure
        if self.rewriter is None:
            return self.claim(request)
        fingerprint = request.fingerprint(self.backend.kind, self.backend.host)
        async with (
            self.backend.rewriting.setdefault(fingerprint, asyncio.Lock()),
            self._rewriting_once(request, fingerprint),
        ):
            lookup = await self.look(request, lookup)
            if lookup.claimed is not None:
                return lookup.claimed
            whole = partial(self._whole, rest or partial(self._images, request, request.n))
            rewrite, images = await self.limits.reserve(whole)
            try:
                rewritten, extra = await self.rewriter.rewrite(request, rewrite)
                self.backend.prices.note_rewrite(self.rewriter.model, extra)
                self.progress.charged(extra)
            except BaseException:
                images.waive()
                await images.close()
                raise
            finally:
                await rewrite.close()
            return self.claim(rewritten, extra, [images], claim=lookup.claim, packed=lookup.packed)

    async def place_all(self, requests: Sequence[ImageRequest]) -> list[ClaimedRequest]:
        """Return the requests of a job at their places.

        Each prompt is rewritten only while all that is left of the job is within every limit: the
        other rewrites, and every image that is not stored.

        Raises:
            BudgetError: The job would pass a limit. What was rewritten before is remembered.
        """
        if self.rewriter is None or self.only_stored:
            return [await self.place(request) for request in requests]
        self.claims.leave_turn()
        claimed: dict[int, ClaimedRequest] = {}
        to_make: list[tuple[ImageRequest, int]] = []
        prompts: dict[str, int] = {}  # to be rewritten; equal ones are rewritten once
        lookups: list[Lookup] = []
        for number, request in enumerate(requests):
            lookup = await self.look(request)
            lookups.append(lookup)
            if lookup.claimed is None:
                prompts.setdefault(request.prompt, number)
                to_make.append((request, request.n))
                continue
            one = claimed[number] = lookup.claimed
            stored = [] if one.claim.anew and self.fresh else await self.recall(one)
            to_make.append((one.request, request.n - len(stored)))

        async def rest() -> list[Amount | None]:
            rewrites = await self._rewrites(sum(first > number for first in prompts.values()))
            return [
                total([rewrites, await self.backend.prices.images(to_make, self.ingest.library)])
            ]

        for number, request in enumerate(requests):
            if number not in claimed:
                claimed[number] = await self.place(request, rest, lookups[number])
                await self._free(claimed[number])  # it is set aside again as part of the job
        return [claimed[number] for number in range(len(requests))]

    async def _whole(self, rest: Estimate) -> list[Amount | None]:
        """Return what rewriting a prompt and all that follows are expected to cost."""
        if self.limits.name is None:
            return [FREE, FREE]
        return [await self._rewrites(1), *await rest()]

    async def _rewrites(self, count: int) -> Amount:
        """Return what so many rewrites are expected to cost."""
        model = self.rewriter.model if self.rewriter is not None else ""
        ticks, confirmed = await self.backend.prices.rewrite(model, self.ingest.library)
        return Amount(ticks * count, confirmed or not count)

    async def _images(self, request: ImageRequest, count: int) -> list[Amount | None]:
        """Return what images of a request are expected to cost; None: no price is known.

        Without a limit the server is not asked for prices.
        """
        if self.limits.name is None:
            return [FREE]
        return [await self.backend.prices.image(request, count, self.ingest.library)]

    async def answer(self, claimed: ClaimedRequest) -> list[Picture]:
        """Return the images of a request, or cards that say why one is not there.

        Raises:
            XaiError: The request failed as a whole. It can be made again.
        """
        try:
            return await self._answer(claimed)
        finally:
            await self._free(claimed)  # what is stored costs nothing

    async def _free(self, claimed: ClaimedRequest) -> None:
        """Free what was set aside for images that have not been sent."""
        while claimed.reserved:
            left = claimed.reserved.pop()
            left.waive()
            await left.close()

    async def _answer(self, claimed: ClaimedRequest) -> list[Picture]:
        if (task := self.backend.keeping.get(claimed.key)) is not None:
            await asyncio.wait({task})
        stored = await self._stored(claimed)
        if self.reuse and len(stored) < claimed.request.n:
            # Whoever makes these images may wait for this very money.
            await self._free(claimed)
            async with self._once(claimed.fingerprint) as flight:
                stored = self._with_unkept(await self._stored(claimed), flight, claimed.request.n)
                found = await self._complete(claimed, stored)
                flight.unkept += [one for one in found if one.id is None and one.settled]
                return found
        return await self._complete(claimed, stored)

    async def _complete(self, claimed: ClaimedRequest, stored: list[Picture]) -> list[Picture]:
        """Return the images of a request, those made that are not stored."""
        there = {picture.position for picture in stored}
        missing = [index for index in range(claimed.request.n) if index not in there]
        if claimed.request.share and not self.only_stored:
            stored = await self.ingest.share(stored, claimed.request.share)
        if not missing:
            return stored
        made = await self._ask(claimed, missing)
        extra = share(claimed.extra_usd, len(made))
        made = [replace(picture, cost_usd=add_costs(picture.cost_usd, extra)) for picture in made]
        return sorted([*stored, *made], key=lambda picture: picture.position)

    def claim(
        self,
        request: ImageRequest,
        extra: float | None = 0.0,
        reserved: Sequence[Reservation] = (),
        *,
        claim: Claim | None = None,
        packed: list[Picture] | None = None,
    ) -> ClaimedRequest:
        """Return a request at its place, as it will be sent.

        Args:
            request: Rewritten, if that was asked for.
            extra: What that cost, in US dollars; None: not reported.
            reserved: Money set aside for its images.
            claim: Its place, if it has one.
            packed: As in `ClaimedRequest`.
        """
        fingerprint = request.fingerprint(self.backend.kind, self.backend.host)
        claim = claim or self._claim(fingerprint, request.n)
        return ClaimedRequest(request, fingerprint, claim, extra, [*reserved], packed)

    def _claim(self, fingerprint: str, n: int) -> Claim:
        """Return the place of a request with this fingerprint."""
        if self.reuse:  # which time it is that the notebook asks does not matter
            slot = (bytes.fromhex(fingerprint)[:16], 0)
            return Claim(slot, 0, n, anew=False, after=0, before=None)
        fresh = self.fresh and not self.only_stored
        return self.claims.claim(fingerprint, n, fresh=fresh, keep=self.keep)

    async def _stored(self, claimed: ClaimedRequest) -> list[Picture]:
        """Return what the library has of a request that its cell has not shown yet."""
        if claimed.claim.anew and not self.only_stored:
            self.claims.begin(claimed.claim, await self.ingest.newest())
            return []
        return await self.recall(claimed)

    async def recall(self, claimed: ClaimedRequest) -> list[Picture]:
        """Return what the library has of a request, shown or not.

        Raises:
            LibraryError: It does not have all, and nothing else may answer.
        """
        request, claim = claimed.request, claimed.claim
        if self.only_stored:
            return await self._only_stored(claimed)
        if self.reuse:
            return await self._anywhere(claimed)
        wanted = self._wanted(claimed, claim.place, claim.after)
        found = await self.ingest.find(wanted, request)
        # Once new images are wanted, what was packed before they were is not.
        pictures = found.pictures if claim.after else await self._fill(found, claimed, claim.place)
        await self._show(wanted, found, pictures)
        return pictures

    def _wanted(self, claimed: ClaimedRequest, place: int | None, after: int = 0) -> SlotQuery:
        return SlotQuery(
            claimed.fingerprint, place, claimed.request.n, after, notebook=self.ingest.notebook
        )

    async def _show(
        self, wanted: SlotQuery, found: StoredImages, pictures: Sequence[Picture]
    ) -> None:
        """Note which of the pictures were made elsewhere: they answer here from now on."""
        if found.elsewhere:
            await self.ingest.showed(
                wanted, (picture for picture in pictures if picture.id in found.elsewhere)
            )

    async def fill(
        self, pictures: list[Picture], claimed: ClaimedRequest, place: int | None
    ) -> list[Picture]:
        """Return pictures of a request, those that are missing taken from bundles."""
        if claimed.packed is not None:
            there = {picture.position for picture in pictures}
            more = [picture for picture in claimed.packed if picture.position not in there]
            return sorted([*pictures, *more], key=lambda picture: picture.position)
        if self.bundle_lookup is None:
            return pictures
        return await self.bundle_lookup.fill(pictures, claimed.request, place, self.progress)

    async def _fill(
        self, found: StoredImages, claimed: ClaimedRequest, place: int | None
    ) -> list[Picture]:
        """Return what the library has, and bundles beside the notebook where it has nothing.

        A bundle beside the notebook answers before what other notebooks have made.
        """
        others = [picture for picture in found.pictures if picture.id in found.elsewhere]
        own = [picture for picture in found.pictures if picture.id not in found.elsewhere]
        filled = await self.fill(own, claimed, place)
        there = {picture.position for picture in filled}
        filled += [picture for picture in others if picture.position not in there]
        return sorted(filled, key=lambda picture: picture.position)

    async def _anywhere(self, claimed: ClaimedRequest) -> list[Picture]:
        """Return what is stored for a request, whichever notebook asked for it and wherever."""
        try:
            found = await self.ingest.find(self._wanted(claimed, None), claimed.request)
        except LibraryError as error:
            self.progress.note(f"Stored images are not looked up: {error}")
            return []
        return await self._fill(found, claimed, None)

    def _with_unkept(self, stored: list[Picture], flight: Flight, n: int) -> list[Picture]:
        """Return what is stored, filled up with images that an equal request could not store."""
        there = {picture.position for picture in stored}
        missing = [position for position in range(n) if position not in there]
        unkept = [
            replace(picture, position=position, replayed=True)
            for picture, position in zip(flight.unkept, missing, strict=False)
        ]
        if unkept:
            self.progress.note(
                "Not kept in the library: an equal request made these images at the same moment, "
                "and could not store them."
            )
        return sorted([*stored, *unkept], key=lambda picture: picture.position)

    @contextlib.asynccontextmanager
    async def _once(self, key: str) -> AsyncIterator[Flight]:
        """Wait until no equal request is being answered by this process or by one of the same home.

        Args:
            key: What makes requests equal.
        """
        library = self.ingest.library
        shared = library is not None and not library.read_only
        folder = library.home / "locks" if library is not None and shared else None
        async with self.backend.flights.hold(key, folder) as flight:
            if flight.inherited and self.recover is not None:
                with contextlib.suppress(LibraryError):
                    await asyncio.to_thread(self.recover)
            yield flight

    @contextlib.asynccontextmanager
    async def _rewriting_once(self, request: ImageRequest, fingerprint: str) -> AsyncIterator[None]:
        """With `reuse`, rewrite a prompt once in all processes that share a home."""
        known = not self.reuse or self.rewriter is None or await self.rewriter.recall(request)
        async with contextlib.nullcontext() if known else self._once(f"rewrite-{fingerprint}"):
            yield

    async def _only_stored(self, claimed: ClaimedRequest) -> list[Picture]:
        """Return what is stored for a place; where that is too little, for any."""
        request = claimed.request
        for place in (claimed.claim.place, None):
            wanted = self._wanted(claimed, place)
            found = await self.ingest.find(wanted, request)
            pictures = await self._fill(found, claimed, place)
            if len(pictures) == request.n:
                await self._show(wanted, found, pictures)
                return pictures
        raise LibraryError(
            f"The library holds {len(pictures)} of the {request.n} images asked for with "
            "--replay. Leave it out, or give --reuse instead, to have the rest made."
            + "".join(self._refused())
        )

    def _refused(self) -> list[str]:
        """Return why bundles did not answer."""
        return (
            [f" {sentence}" for sentence in self.bundle_lookup.refusals()]
            if self.bundle_lookup
            else []
        )

    async def make_anew(self, claimed: ClaimedRequest, positions: Sequence[int]) -> list[Picture]:
        """Return new images in place of stored ones, in the order of their positions."""
        made = await self._ask(claimed, positions, redo=True)
        return sorted(made, key=lambda picture: picture.position)[: len(positions)]

    async def _ask(
        self, claimed: ClaimedRequest, missing: Sequence[int], *, redo: bool = False
    ) -> list[Picture]:
        """Have the images made that are not stored, and keep them.

        Args:
            claimed: The request.
            missing: Their positions.
            redo: They are stored, and others are wanted.
        """
        request, count = claimed.request, len(missing)
        place = {"fingerprint": claimed.fingerprint, "place": claimed.claim.place, "redo": redo}
        arrival = self.ingest.expect(request, missing, place)
        try:
            sent, cost = await self._buy(claimed, count, arrival)
        except BaseException:
            arrival.abandon()
            raise
        self.backend.prices.note_image(request, count, cost)
        self.progress.charged(cost)
        responses = kept(sent, count)
        if len(sent) > count:
            self.progress.note(
                f"The server sent {len(sent):,} images where {count} were asked for;"
                f" {len(responses)} are kept."
            )
        return await self._keep(claimed.key, self.ingest.keep(responses, missing, arrival))

    async def _buy(
        self, claimed: ClaimedRequest, count: int, arrival: ReplyWriter
    ) -> tuple[Sequence[ImageResponse], float | None]:
        """Send a request within the limits, and return its images and what they cost."""
        request = claimed.request
        if claimed.reserved:
            reservation = claimed.reserved.pop()
        else:
            (reservation,) = await self.limits.reserve(partial(self._images, request, count))
        try:
            # Money first, then room: else two calls could each wait for what the other holds.
            await self.ingest.check_room(arrival)
            self.progress.to_make += count
            sent = await self._send(request, count, arrival)
            cost = sent[0].cost_usd if sent else arrival.cost_usd
            reservation.settle(cost, arrival.reply_id)
        except BaseException as error:
            refused = isinstance(error, (ApiError, NotKeptError, OptionError))
            if not arrival.sent or (refused and not getattr(error, "maybe_billed", False)):
                reservation.waive()
            raise
        finally:
            await reservation.close()
        return sent, cost

    async def _keep(
        self, key: tuple[str, int], storing: Coroutine[Any, Any, list[Picture]]
    ) -> list[Picture]:
        """Keep what has arrived, even when the call is cancelled at this very moment."""
        keeping = self.backend.keeping
        task = keeping[key] = asyncio.ensure_future(storing)
        task.add_done_callback(lambda _: keeping.pop(key, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def _send(
        self, request: ImageRequest, n: int, arrival: ReplyWriter
    ) -> Sequence[ImageResponse]:
        # Only while it is at the server: the next request need not wait for this one's files.
        async with self.slots or contextlib.nullcontext():
            if self.before_send is not None:
                await self.before_send()
            send = partial(
                self.backend.client.image.send,
                timeout=self.timeout,
                on_attempt=self._note_attempt,
                on_reply=arrival,
            )
            request = replace(request, n=n)
            arrival.sent = True
            if self.uploads is None or not request.inputs:
                return await send(request)
            return await self.backend.inputs.send(request, send, self.uploads)

    def _note_attempt(self, attempt: Attempt) -> None:
        self.progress.on_attempt(attempt)
        if self.on_attempt is not None:
            self.on_attempt(attempt)
