"""Get the images of calls from the library, from bundles and from the server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from xai_notebook.arguments.options import as_called
from xai_notebook.errors import (
    ApiError,
    AuthenticationError,
    BudgetError,
    InputImageError,
    LibraryError,
    NotKeptError,
    OptionError,
    PermissionDeniedError,
    RateLimitError,
    XaiError,
)
from xai_notebook.generation.budget import FREE, PriceKey, to_ticks, total
from xai_notebook.generation.call import (
    MAX_LOOKED_UP,
    ClaimedRequest,
    Origin,
    Pace,
    check_redo,
)
from xai_notebook.generation.replay import Claim, Slot
from xai_notebook.library import SlotQuery
from xai_notebook.library.replies import drop_excess
from xai_notebook.library.spending import TICKS, Amount
from xai_notebook.pictures.export import describe_export
from xai_notebook.pictures.picture import Picture, blank_card
from xai_notebook.pictures.render.tables import Plan
from xai_notebook.pictures.render.text import counted, dollars

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.client.transport.retry import Attempt
    from xai_notebook.generation.backends import Backend, Flight, PromptRewriter
    from xai_notebook.generation.budget import Estimate, Reservation
    from xai_notebook.generation.call import Call, Item
    from xai_notebook.library import Library, StoredImages
    from xai_notebook.library.records import ImageSlot
    from xai_notebook.library.replies import ReplyWriter
    from xai_notebook.pictures.picture import Status
    from xai_notebook.pictures.render.tables import BudgetState
    from xai_notebook.settings import Configuration

    CountOrdered = Callable[[Sequence["ClaimedRequest | None"]], Awaitable[list[int]]]
    """Function that returns how many images of each request are in an open job."""

_ROUNDS: Final = 8
"""Maximum attempts for a prompt when the server answers "too many requests"."""
_FATAL: Final = (AuthenticationError, PermissionDeniedError)
"""Errors that would also fail every further prompt."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Result of looking up a request before a chat model rewrites its prompt.

    Attributes:
        claimed: The request and its slot; None: its prompt has yet to be rewritten.
        written: The request as the user wrote it, with its slot and the pictures whose prompt was
            rewritten elsewhere; None: there are no such pictures.
    """

    claimed: ClaimedRequest | None
    written: ClaimedRequest | None = None


class _Availability(NamedTuple):
    """Existing images of a request.

    Attributes:
        stored: Number of stored images that answer the request.
        claimed: The request and its slot; None: its prompt has yet to be rewritten.
        ordered: Number of further images of the request in open jobs.
    """

    stored: int
    claimed: ClaimedRequest | None
    ordered: int = 0


class _Redo(NamedTuple):
    """A picture to be regenerated.

    Attributes:
        number: Index in the user's batch.
        picture: The current picture.
        slot: Slot and position of the current and the new picture.
    """

    number: int
    picture: Picture
    slot: ImageSlot


@dataclass(frozen=True, slots=True, eq=False)
class Generator:
    """Gets the images of all calls that use one server and one library.

    It has no state of a single call: every method takes an opened `Call`.

    Attributes:
        backend: The server.
        storage: The library, even if its database cannot be opened; see `Ingest.storage`.
        reopen: Imports the replies which a process received before it died.
    """

    backend: Backend
    storage: Library
    reopen: Callable[[Configuration], Awaitable[object]]

    async def answer(self, call: Call) -> None:
        """Get the images from the library or the server, and put them in `call.progress`.

        The first slot is claimed before anything is awaited, so that calls which run one after the
        other get their slots in this order.

        Raises:
            XaiError: The request failed. With many requests, only errors that would fail all of
                them are raised.
        """
        if call.options.redo:
            await self._check_redo_cell(call)
        try:
            if call.many:
                await self._answer_each(call)
            else:
                item = call.taken[0] = next(call.items)
                claimed = await self._claim(call, item.request)
                item.claimed = replace(claimed, reserved=[], rewrite_usd=0.0)
                item.origin = Origin(call.claims.run)
                call.progress.record_answer(0, await self._answer(call, claimed))
            if call.options.redo:
                await self._redo_answered(call)
        finally:
            if call.ingest.shown:
                await call.ingest.remember_shown()
        call.claims.complete = call.progress.complete

    # Many requests

    async def _answer_each(self, call: Call) -> None:
        """Run the requests of a call, several at a time, as far as possible.

        Raises:
            LibraryError: The call has `replay`, and images of a prompt are not stored.
            XaiError: The key is refused, the limit allows not even one request, or the server's
                rate limit lets nothing through: no further prompt could succeed. Or reading the
                requests failed.
        """
        concurrency = call.configuration.concurrency
        pace = call.pace = Pace.of(call.configuration)
        call.origin = Origin(call.claims.run)
        # Twice as many workers: while one worker saves a reply, another can send a request.
        workers = [asyncio.ensure_future(self._work(call, pace)) for _ in range(2 * concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            call.pace = None
        if (error := pace.read_error) is not None:
            kept = " Earlier prompts keep their pictures." if call.progress.done else ""
            raise XaiError(f"{error}{kept}") from error
        if pace.first_refusal is not None and not call.progress.done:
            raise pace.first_refusal
        if call.options.replay and (count := call.progress.failed):
            results = call.progress.results
            cause = next(
                images[0].error
                for _, images in sorted(results.items())
                if images[0].status == "failed"
            )
            raise LibraryError(f"{counted(count, 'prompt')} cannot be replayed. {cause}")

    async def _work(self, call: Call, pace: Pace) -> None:
        """Run requests one after the other until the last, or until a limit is reached."""
        progress = call.progress
        while not (pace.stopped or (call.lazy and progress.unsent)):
            if call.window is not None:
                await call.window.admit()
            if (numbered := await pace.take(call)) is None:
                if call.window is not None:
                    call.window.release()
                return
            number, item, request = numbered
            if item.blank:
                progress.record_blank(number, [blank_card(item.request, item.reason)])
                continue
            try:
                images, failed = await self._answer_one(call, item, request, pace)
            except (BudgetError, NotKeptError) as error:
                pace.first_refusal = pace.first_refusal or error
                if isinstance(error, NotKeptError):
                    progress.unsent_cure = error.cure
                card = _card(item.request, error, "unsent")
                progress.record_refusal(number, [card], error.reason)
            else:
                progress.record_answer(number, images, failed=failed)

    async def _answer_one(
        self, call: Call, item: Item, request: ImageRequest, pace: Pace
    ) -> tuple[list[Picture], bool]:
        """Return the images of one request, or one card with the cause of its failure."""
        if (failure := item.failure) is not None:
            return [_card(request, failure)], True
        claimed = self._claimed_before(item, request) or self._claim_retried(call, item, request)
        if claimed is None:
            claimed = await self._claim(call, request)
        item.origin = item.origin or call.origin or Origin(call.claims.run)
        item.origin.add(claimed.claim.slot)
        slim = replace(claimed.request, inputs=item.request.inputs)
        item.claimed = replace(claimed, request=slim, reserved=[])
        images, failure = await self._answer_in_rounds(call, claimed, pace)
        if failure is not None:
            return [_card(request, failure, spent_usd=claimed.rewrite_usd)], True
        item.claimed = replace(item.claimed, rewrite_usd=0.0)  # the images hold its cost
        images = item.without_inputs(images)
        if all(image.settled for image in images):
            item.release(request)
        return images, False

    def _claim_retried(
        self, call: Call, item: Item, request: ImageRequest
    ) -> ClaimedRequest | None:
        """Return the slot of a request that its call did not get to; None if this is the call."""
        options = item.options
        if (origin := item.origin) is None or call.rewriter is not None or options.reuse:
            return None
        fingerprint = request.fingerprint(self.backend.kind, self.backend.host)
        place = origin.next_place(bytes.fromhex(fingerprint)[:16])
        fresh = options.fresh or not call.configuration.replay
        claim = call.claims.claim_for(origin.run, fingerprint, request.n, place, fresh=fresh)
        return ClaimedRequest(request, fingerprint, claim)

    def _claimed_before(self, item: Item, request: ImageRequest) -> ClaimedRequest | None:
        """Return the slot of a retried request; None if the server or an input image differs."""
        if (claimed := item.claimed) is None:
            return None
        same = replace(claimed.request, inputs=request.inputs)
        if same.fingerprint(self.backend.kind, self.backend.host) != claimed.fingerprint:
            return None
        return replace(claimed, request=same)

    async def _answer_in_rounds(
        self, call: Call, claimed: ClaimedRequest, pace: Pace
    ) -> tuple[list[Picture], XaiError | None]:
        """Return the images of one of many requests, or its error, after the pace let it through.

        Raises:
            XaiError: No further request could succeed.
        """
        failure: XaiError | None = None
        succeeded = pace.succeeded
        for _ in range(_ROUNDS):
            try:
                images = await self._answer(call, claimed)
            except RateLimitError as error:
                failure = error
                pace.slow_down()
                if error.maybe_billed:  # must not be sent again
                    return [], failure
            except _FATAL as error:
                pace.failure = error
                raise
            except (BudgetError, NotKeptError):
                raise
            except XaiError as error:
                return [], error
            else:
                pace.speed_up()
                return images, None
        if isinstance(failure, RateLimitError) and pace.succeeded == succeeded:
            pace.failure = failure
            raise failure  # no success for minutes: the quota is used up
        return [], failure

    # Slots

    async def _claim(
        self, call: Call, request: ImageRequest, other_costs: Estimate | None = None,
        lookup: _Lookup | None = None,
    ) -> ClaimedRequest:  # fmt: skip
        """Return a request with its slot. Equal requests get slots in the order of the calls.

        With `--rewrite`, the prompt is rewritten first, if the rewrite and the images together are
        within the limits.

        The slot of a rewritten request depends on the rewritten prompt: existing libraries store
        its images there, and a cell in which the user typed the same text shares the fingerprint.
        The slot is therefore claimed after the rewrite, and equal prompts wait for each other.

        Args:
            call: The call of the request.
            request: The request as the user wrote it.
            other_costs: Returns the expected cost of everything but the rewrite; default: of the
                images.
            lookup: The result of an earlier `_look_up`.

        Raises:
            BudgetError: Rewriting the prompt and making the images would exceed a limit.
        """
        if (rewriter := call.rewriter) is None:
            return self._claimed(call, request)
        fingerprint = request.fingerprint(self.backend.kind, self.backend.host)
        images_cost = other_costs or partial(self._images_cost, call, request, request.n)

        async def whole_cost() -> list[Amount | None]:
            if call.limits.name is None:
                return [FREE, FREE]
            return [await self._rewrites_cost(call, rewriter, 1), *await images_cost()]

        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.backend.flights.hold(f"claim-{fingerprint}"))
            if call.options.reuse and await rewriter.recall(request) is None:
                # Only one of the processes that share a home rewrites the prompt.
                await stack.enter_async_context(self._once(call, f"rewrite-{fingerprint}"))
            lookup = await self._look_up(call, request, lookup)
            if lookup.claimed is not None:
                return lookup.claimed
            rewrite, images = await call.limits.reserve(whole_cost)
            try:
                rewritten, rewrite_usd = await rewriter.rewrite(request, rewrite)
                self.backend.prices.note_rewrite(rewriter.model, rewrite_usd)
                call.progress.add_cost(rewrite_usd)
            except BaseException:
                images.waive()
                await images.close()
                raise
            finally:
                await rewrite.close()
            return self._claimed(call, rewritten, rewrite_usd, [images], written=lookup.written)

    def _claimed(
        self,
        call: Call,
        request: ImageRequest,
        rewrite_usd: float | None = 0.0,
        reserved: Sequence[Reservation] = (),
        *,
        key: str | None = None,
        written: ClaimedRequest | None = None,
    ) -> ClaimedRequest:
        """Return a request with its slot; see `ClaimedRequest`.

        `key` replaces the fingerprint. `written` is the same request before its prompt was
        rewritten, if it has a slot.
        """
        fingerprint = key or request.fingerprint(self.backend.kind, self.backend.host)
        options, n = call.options, request.n
        if written is not None:
            claim = written.claim
        elif options.reuse:  # any stored image of an equal request can answer
            slot = Slot(bytes.fromhex(fingerprint)[:16], 0)
            claim = Claim(slot, 0, n, needs_new=False, after=0, former_owner=None)
        else:
            fresh = call.fresh and not options.replay
            claim = call.claims.claim(fingerprint, n, fresh=fresh, keep=bool(options.redo))
        packed = None if written is None else written.packed
        return ClaimedRequest(request, fingerprint, claim, rewrite_usd, [*reserved], packed)

    async def claim_all(self, call: Call, requests: Sequence[ImageRequest]) -> list[ClaimedRequest]:
        """Return the requests of a job with their slots.

        A prompt is rewritten only if the rest of the job is within every limit: all remaining
        rewrites, and all images that are not stored.

        Raises:
            BudgetError: The job would exceed a limit. Prompts already rewritten are stored.
        """
        if (rewriter := call.rewriter) is None or call.options.replay:
            return [await self._claim(call, request) for request in requests]
        claimed: dict[int, ClaimedRequest] = {}
        to_make: list[tuple[ImageRequest, int]] = []
        prompts: dict[str, int] = {}  # prompts to rewrite; equal prompts are rewritten once
        lookups: list[_Lookup] = []
        for number, request in enumerate(requests):
            lookup = await self._look_up(call, request)
            lookups.append(lookup)
            if lookup.claimed is None:
                prompts.setdefault(request.prompt, number)
                to_make.append((request, request.n))
                continue
            known = claimed[number] = lookup.claimed
            stored = [] if known.claim.needs_new and call.fresh else await self.recall(call, known)
            to_make.append((known.request, request.n - len(stored)))

        async def other_costs() -> list[Amount | None]:
            left = sum(first > number for first in prompts.values())
            rewrites = await self._rewrites_cost(call, rewriter, left)
            images = await self.backend.prices.images(to_make, call.ingest.library)
            return [total([rewrites, images])]

        for number, request in enumerate(requests):
            if number not in claimed:
                claimed[number] = await self._claim(call, request, other_costs, lookups[number])
                await self._release(claimed[number])  # the money is reserved again with the job
        return [claimed[number] for number in range(len(requests))]

    # Prompts that are rewritten first

    async def _look_up(
        self, call: Call, request: ImageRequest, former: _Lookup | None = None
    ) -> _Lookup:
        """Look up a request and its rewritten prompt; no chat model is called.

        The rewritten prompt of a bundle or of an untrusted library is never sent, because its
        author is unknown. Its pictures can still answer the request as the user wrote it.
        `former` is the result of an earlier call, which may have claimed the slot.
        """
        if (rewriter := call.rewriter) is None:
            return _Lookup(self._claimed(call, request))
        known = await rewriter.recall(request)
        if former is not None:
            written = former.written
        else:
            written = await self._look_elsewhere(call, rewriter, request, known)
        if known is not None:
            return _Lookup(self._claimed(call, known, written=written))
        replay = call.options.replay
        complete = written is not None and len(written.packed or ()) == request.n
        if written is not None and complete and (replay or not written.claim.needs_new):
            return _Lookup(written)
        if replay:
            return _Lookup(self._claimed(call, request, written=written))
        return _Lookup(None, written)

    async def _look_elsewhere(
        self,
        call: Call,
        rewriter: PromptRewriter,
        request: ImageRequest,
        known: ImageRequest | None,
    ) -> ClaimedRequest | None:
        """Return a request with its slot and the pictures whose prompt was rewritten elsewhere.

        The pictures come from bundles and from an untrusted library; None if there are none.
        `known` is the request with this library's own rewritten prompt.
        """
        options, model, n = call.options, rewriter.model, request.n
        texts = await asyncio.to_thread(call.bundles.rewrites_of, request, model)
        foreign = None if known is not None else await rewriter.look_up(request)
        if not (texts or foreign) or (known is not None and known.prompt in texts):
            return None
        # No sent request has this fingerprint, so the library has no images for it.
        key = f"{request.fingerprint(self.backend.kind, self.backend.host)} rewritten by {model}"
        written = self._claimed(call, request, key=hashlib.sha256(key.encode()).hexdigest())
        packed: list[Picture] = []
        own_place = None if options.reuse else written.claim.slot.place
        for place in (own_place, None) if options.replay else (own_place,):
            stored: list[Picture] = []
            if foreign is not None:
                fingerprint = foreign.fingerprint(self.backend.kind, self.backend.host)
                query = SlotQuery(fingerprint, place, n, notebook=call.ingest.notebook)
                stored = (await call.ingest.find(query, foreign)).pictures
            rewritten = replace(request, rewrite_model=model)
            packed = await call.bundles.fill(
                stored, rewritten, place, call.progress, rewrite_model=model
            )
            if len(packed) == n:
                break
        return replace(written, packed=packed)

    # Expected costs

    async def _rewrites_cost(self, call: Call, rewriter: PromptRewriter, count: int) -> Amount:
        library = call.ingest.library
        ticks, confirmed = await self.backend.prices.rewrite(rewriter.model, library)
        return Amount(ticks * count, confirmed or not count)

    async def _images_cost(
        self, call: Call, request: ImageRequest, count: int
    ) -> list[Amount | None]:
        """Return the expected cost of images; None: no price is known.

        Without a limit, prices are not requested from the server.
        """
        if call.limits.name is None:
            return [FREE]
        return [await self.backend.prices.image(request, count, call.ingest.library)]

    # One request

    async def _answer(self, call: Call, claimed: ClaimedRequest) -> list[Picture]:
        """Return the images of a request, with a card for each missing image.

        Raises:
            XaiError: The request failed without any image. It can be sent again.
        """
        request, claim, options = claimed.request, claimed.claim, call.options
        async with contextlib.AsyncExitStack() as stack:
            if claimed.reserved:
                stack.push_async_callback(self._release, claimed)  # stored images cost nothing
            stored: list[Picture] = []
            window = call.window
            with contextlib.nullcontext() if window is None else window.looking_up():
                if (task := self.backend.saving.get(claim.slot)) is not None:
                    await asyncio.wait({task})
                if claim.needs_new and not options.replay:
                    call.claims.ignore_stored(claim, await call.ingest.newest())
                else:
                    stored = await self.recall(call, claimed)
            if window is not None and len(stored) < request.n and not claimed.reserved:
                await window.before_order()  # holds neither a lock nor money
            flight: Flight | None = None
            if options.reuse and len(stored) < request.n:
                # The task or process that makes these images may wait for this money.
                await self._release(claimed)
                flight = await stack.enter_async_context(self._once(call, claimed.fingerprint))
                stored = await self.recall(call, claimed)
                stored = _with_unsaved(call, stored, flight, request.n)
            missing = sorted({*range(request.n)} - {picture.position for picture in stored})
            if request.share and not options.replay:
                sharing = (call.ingest.share(picture, request.share) for picture in stored)
                stored = [*await asyncio.gather(*sharing)]
            if missing:
                new = await self._make(call, claimed, missing)
                if claimed.rewrite_usd != 0:
                    new = _with_rewrite_cost(new, claimed.rewrite_usd)
                stored = sorted([*stored, *new], key=lambda picture: picture.position)
            if flight is not None:
                flight.unsaved += [image for image in stored if image.id is None and image.settled]
            return stored

    async def _release(self, claimed: ClaimedRequest) -> None:
        """Release the money reserved for images that have not been sent."""
        while claimed.reserved:
            reservation = claimed.reserved.pop()
            reservation.waive()
            await reservation.close()

    @contextlib.asynccontextmanager
    async def _once(self, call: Call, key: str) -> AsyncIterator[Flight]:
        """Hold the lock of a key, which all tasks and processes with the same library share."""
        library = call.ingest.library
        folder = None if library is None or library.database.read_only else library.home / "locks"
        async with self.backend.flights.hold(key, folder) as flight:
            if flight.inherited:  # the former owner died, perhaps with a reply in the spool
                self.storage.overdue = True
                with contextlib.suppress(LibraryError):
                    await self.reopen(call.configuration)
            yield flight

    # From the library and bundles

    async def recall(self, call: Call, claimed: ClaimedRequest) -> list[Picture]:
        """Return the stored images of a request, even if its cell has shown them before.

        Raises:
            LibraryError: The call has `replay`, and images are missing.
        """
        claim, n = claimed.claim, claimed.request.n
        if call.options.replay:
            for place in (claim.slot.place, None):  # any place, if the request's own is incomplete
                pictures = await self._find(call, claimed, place)
                if len(pictures) == n:
                    return pictures
            raise LibraryError(
                f"The library has {len(pictures)} of the {n} images, and --replay generates none. "
                f"{call.bundles.advice()}"
            )
        if call.options.reuse:
            try:
                return await self._find(call, claimed, None)
            except LibraryError as error:
                call.progress.note(f"Stored images are not looked up: {error}")
                return []
        return await self._find(call, claimed, claim.slot.place, claim.after)

    async def _find(
        self, call: Call, claimed: ClaimedRequest, place: int | None, after: int = 0
    ) -> list[Picture]:
        """Return the stored images of a slot, completed from bundles.

        Args:
            call: The call of the request.
            claimed: The request.
            place: Place of the slot; None: any.
            after: Only images with a larger `id` answer; bundles only answer with 0.
        """
        request, ingest = claimed.request, call.ingest
        query = SlotQuery(claimed.fingerprint, place, request.n, after, notebook=ingest.notebook)
        found = await ingest.find(query, request)
        pictures = found.pictures if after else await self._fill(call, claimed, found, place)
        # With `replay`, the images of an incomplete slot are not shown.
        if found.elsewhere and (len(pictures) == request.n or not call.options.replay):
            await ingest.note_shown(query, found, pictures)
        return pictures

    async def _fill(
        self, call: Call, claimed: ClaimedRequest, found: StoredImages, place: int | None
    ) -> list[Picture]:
        """Return stored images, completed from bundles.

        Bundles in the notebook's folder take precedence over images that other notebooks made.
        """
        others = [picture for picture in found.pictures if picture.id in found.elsewhere]
        own = [picture for picture in found.pictures if picture.id not in found.elsewhere]
        if claimed.packed is not None:
            own = _merged(own, claimed.packed)
        else:
            own = await call.bundles.fill(own, claimed.request, place, call.progress)
        return _merged(own, others) if others else own

    # From the server

    async def _make(
        self, call: Call, claimed: ClaimedRequest, missing: Sequence[int], *, redo: bool = False
    ) -> list[Picture]:
        """Generate and save the images at some positions; `redo`: they replace other images."""
        request, slot, count = claimed.request, claimed.claim.slot, len(missing)
        lost = [image.label for image in request.inputs if not (image.url or image.file_id)]
        if lost:
            raise InputImageError(
                f"The input image {lost[0]} is not in memory any more. Make the request again with "
                "generate() or in its cell."
            )
        fields = {"fingerprint": claimed.fingerprint, "place": slot.place, "redo": redo}
        writer = call.ingest.expect(request, missing, fields)
        try:
            sent, cost = await self._buy(call, claimed, count, writer)
        except BaseException:
            writer.abandon()
            raise
        if not self.backend.free:
            self.backend.prices.note_image(request, count, cost)
        call.progress.add_cost(cost)
        responses = sent
        if len(sent) > count:
            responses = drop_excess(sent, count)
            call.progress.note(
                f"The server sent {len(sent):,} images instead of {count}; {len(responses)} are "
                "kept."
            )
        # The reply is saved even if the call is cancelled meanwhile.
        saving = self.backend.saving
        task = saving[slot] = asyncio.ensure_future(call.ingest.keep(responses, writer))
        task.add_done_callback(lambda _: saving.pop(slot, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            if (pace := call.pace) is None or task.cancelled() or task.exception() is not None:
                raise
            # Of many requests, this one is recorded, and its worker takes no other.
            pace.stopped = True
            return task.result()

    async def _buy(
        self, call: Call, claimed: ClaimedRequest, count: int, writer: ReplyWriter
    ) -> tuple[Sequence[ImageResponse], float | None]:
        """Send a request within the limits, and return its images and their cost."""
        request = claimed.request
        if claimed.reserved:
            reservation = claimed.reserved.pop()
        else:
            cost_of = partial(self._images_cost, call, request, count)
            (reservation,) = await call.limits.reserve(cost_of)
        try:
            # Reserve money before disk space in every call; otherwise two calls could deadlock.
            await call.ingest.check_room(writer)
            call.progress.to_make += count
            sent = await self._send(call, request, count, writer)
            cost = sent[0].cost_usd if sent else writer.cost_usd
            reservation.settle(cost, writer.reply_id)
        except BaseException as error:
            refused = isinstance(error, (ApiError, NotKeptError, OptionError))
            if not writer.sent or (refused and not getattr(error, "maybe_billed", False)):
                reservation.waive()
            raise
        finally:
            await reservation.close()
        return sent, cost

    async def _send(
        self, call: Call, request: ImageRequest, n: int, writer: ReplyWriter
    ) -> Sequence[ImageResponse]:
        """Send a request, as soon as the pace of the call allows."""
        pace = call.pace

        def note(attempt: Attempt) -> None:
            call.progress.on_attempt(attempt)
            if pace is not None:
                pace.on_attempt(attempt)

        # Hold the semaphore only while the server works, not while files are saved.
        async with pace.semaphore if pace is not None else contextlib.nullcontext():
            if pace is not None:
                await pace.wait()
                call.ingest.check_kept()
            send = partial(
                self.backend.client.image.send,
                timeout=call.options.timeout,
                on_attempt=note,
                on_reply=writer,
            )
            request = replace(request, n=n)
            writer.sent = True
            if call.many and request.inputs and (library := call.ingest.library) is not None:
                return await self.backend.inputs.send(request, send, library.uploads)
            return await send(request)

    # Redo

    async def _check_redo_cell(self, call: Call) -> None:
        """Check that the images which `--redo` replaces are not those of another cell.

        Otherwise the call would find none of its images, and generate all of them.

        Raises:
            OptionError: Only another cell has the images; nothing was sent.
        """
        # Each item has an image or is blank, so these items include all images to be replaced.
        most = max(*call.options.redo, 0 if call.lazy else MAX_LOOKED_UP) + 1
        items = call.peek(most)
        planned = [item for item in items if not item.blank]
        requests = [item.request for item in planned]
        if any(item.load for item in planned):
            requests = await asyncio.to_thread(lambda: [item.identify() for item in planned])
        sent = requests
        if call.rewriter is not None:
            sent = [await call.rewriter.recall(request) or request for request in requests]
        server = self.backend.kind, self.backend.host
        keys = [request.fingerprint(*server) for request in sent]
        claims, others = call.claims.peek([(k, each.n) for k, each in zip(keys, sent, strict=True)])
        if (library := call.ingest.library) is None or not any(others):
            return
        claimed = [*map(ClaimedRequest, sent, keys, claims)]
        stored = await self._count_stored(call, claimed)
        numbers = itertools.count()
        owners = [  # for each image, the number of its request; None: the row is blank
            number
            for item in items
            for number in ([None] if item.blank else [next(numbers)] * item.request.n)
        ]
        replaced = {owners[index] for index in call.options.redo if index < len(owners)} - {None}
        elsewhere = [
            claimed[number]
            for number in replaced
            if number is not None and not stored[number] and others[number]
        ]
        if not await self._exist_anywhere(call, library, elsewhere):
            return
        found = [_Availability(count, each) for count, each in zip(stored, claimed, strict=True)]
        costs: list[float | None] = [None]
        with contextlib.suppress(XaiError):  # a server may have no price list
            costs = await self._expected_costs(call, sent, found)
        at_least = "at least " if len(items) == most else ""
        images = at_least + counted(sum(each.n for each in sent) - sum(stored), "new image")
        cost = "unknown"
        if None not in costs:
            cost = f"{at_least}{dollars(sum(filter(None, costs)))}"
        raise OptionError(
            "--redo: the images to replace belong to another cell; this one has none. Use --redo "
            f"in that cell, or leave it out to make {images} here (expected cost: {cost})."
        )

    async def _exist_anywhere(
        self, call: Call, library: Library, claimed: Sequence[ClaimedRequest]
    ) -> bool:
        """Tell whether the library or a bundle has an image of these requests, at any place."""
        queries = [SlotQuery(each.fingerprint, None, 1) for each in claimed]
        found = await asyncio.to_thread(library.look_up, queries)
        for each, stored in zip(claimed, found, strict=True):
            if await self._fill(call, each, stored, None):
                return True
        return False

    async def _redo_answered(self, call: Call) -> None:
        """Regenerate the images that `--redo` names, after the call has all images."""
        results = call.progress.results
        images = [(number, i) for number in sorted(results) for i in range(len(results[number]))]
        check_redo(call.options.redo, len(images))
        chosen = {}
        for index in call.options.redo:
            number, i = images[index]
            picture = results[number][i]
            if picture.status == "skipped":
                raise OptionError(f"--redo: the row of image {index} is blank. Give another image.")
            if picture.replayed:  # an image just generated is new already
                chosen[index] = picture
        for index, picture in (await self.redo(call, chosen)).items():
            number, i = images[index]
            if not picture.replayed and all(each.replayed for each in results[number]):
                call.progress.replayed -= 1
            results[number] = [*results[number][:i], picture, *results[number][i + 1 :]]

    async def redo(self, call: Call, pictures: Mapping[int, Picture]) -> dict[int, Picture]:
        """Return regenerated pictures; pictures that an earlier pass regenerated are replayed.

        Args:
            call: The call of the pictures.
            pictures: The current pictures by their indices in the user's batch.

        Raises:
            OptionError: A picture is not in the library, or was made elsewhere.
            XaiError: A request failed. The images of the other requests are in the library.
        """
        library = call.ingest.library
        if library is None:
            raise OptionError("Images can be regenerated only while the library can be opened.")
        missing: dict[tuple[str, int], list[_Redo]] = {}
        done = self._keep_bundled(call, pictures)
        others = {index: each for index, each in pictures.items() if index not in done}
        for each in await asyncio.to_thread(self._find_slots, others, library):
            if await self._claim_redo(call, each, library):
                missing.setdefault((each.slot.fingerprint, each.slot.place), []).append(each)
            else:
                done[each.number] = each.picture
        remaking = (self._remake(call, group) for group in missing.values())
        for result in await asyncio.gather(*remaking, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            done |= result
        return done

    def _keep_bundled(self, call: Call, pictures: Mapping[int, Picture]) -> dict[int, Picture]:
        """Return the pictures from bundles, with a note for each.

        A bundle has what its author saw, so in the first run of a cell such a picture stays as it
        is. In a later run the user wants another one, which cannot be stored in the bundle.

        Raises:
            OptionError: The cell has run before.
        """
        kept = {}
        for index, picture in pictures.items():
            if picture.bundle is None:
                continue
            key = hashlib.sha256(f"redo {picture.sha256}".encode()).hexdigest()
            if call.claims.claim(key, 1, fresh=False).needs_new:
                raise OptionError(
                    f"Image {index} is from {picture.bundle}, which cannot be changed. Run the "
                    "cell of its prompt again, without --redo, to make new images."
                )
            call.progress.note(f"Image [{index}] is from {picture.bundle} and stays as it is.")
            kept[index] = picture
        return kept

    def _find_slots(self, pictures: Mapping[int, Picture], library: Library) -> list[_Redo]:
        """Return the slots of pictures, after checking that they can be regenerated."""
        found = []
        for index, picture in pictures.items():
            slot = None if picture.id is None else library.slot_of(picture.id)
            if slot is None:
                raise OptionError(
                    f"Image {index} is not in the library, so it cannot be regenerated. Run its "
                    "cell again to generate what is missing."
                )
            server = self.backend.kind, self.backend.host
            if picture.request.fingerprint(*server) != slot.fingerprint:
                raise OptionError(
                    f"Image {index} was generated by {slot.host}, or from input images that are "
                    "not available here. Run its cell with --redo instead."
                )
            found.append(_Redo(index, picture, slot))
        return found

    async def _claim_redo(self, call: Call, redo: _Redo, library: Library) -> bool:
        """Claim the slot of a redo; False: an earlier pass has already regenerated the picture."""
        slot = redo.slot
        key = f"redo {slot.fingerprint} {slot.place} {slot.position}"
        fingerprint = hashlib.sha256(key.encode()).hexdigest()
        claim = call.claims.claim(fingerprint, 1, fresh=False)
        if claim.needs_new:
            call.claims.ignore_stored(claim, await asyncio.to_thread(library.newest))
            return True
        earlier = await asyncio.to_thread(
            library.find_redone, slot, notebook=call.ingest.notebook, image_id=redo.picture.id or 0
        )
        return len(earlier) <= claim.slot.place or earlier[-1] <= claim.after

    async def _remake(self, call: Call, group: list[_Redo]) -> dict[int, Picture]:
        """Regenerate images of one slot with one request."""
        group = sorted(group, key=lambda redo: redo.slot.position)
        slot, request = group[0].slot, group[0].picture.request
        key = Slot(bytes.fromhex(slot.fingerprint)[:16], slot.place)
        claim = Claim(key, 0, request.n, needs_new=True, after=0, former_owner=None)
        claimed = ClaimedRequest(request, slot.fingerprint, claim)
        pictures = await self._make(
            call, claimed, [redo.slot.position for redo in group], redo=True
        )
        pictures.sort(key=lambda picture: picture.position)
        return {
            redo.number: replace(picture, replayed=False)
            for redo, picture in zip(group, pictures[: len(group)], strict=True)
        }

    # Plans

    async def plan(
        self,
        call: Call,
        requests: Sequence[ImageRequest],
        *,
        more: bool,
        budget: BudgetState | None,
        count_ordered: CountOrdered | None,
    ) -> Plan:
        """Return the plan of the call. The call can still be run, once its claims are released.

        Args:
            call: The call.
            requests: The first requests of the call, as the user wrote them.
            more: Whether the call has more requests.
            budget: The current budget; None: no budget is set.
            count_ordered: Counts images in open jobs, for a batch call; see `CountOrdered`.

        Raises:
            XaiError: The prices cannot be read from the server.
        """
        options, prices = call.options, self.backend.prices
        if (failure := self.storage.failure) is not None:
            call.progress.note(f"Stored images are not looked up: {failure}")
        found: list[_Availability] | None = None
        if not more and len(requests) <= MAX_LOOKED_UP:
            found = await self._count_available(call, requests, count_ordered)
        costs: list[float | None] = [0.0] * len(requests)
        if not options.replay:
            costs = await self._expected_costs(call, requests, found)
        existing = sum(each.stored + each.ordered for each in found or ())
        images = sum(request.n for request in requests)
        nothing_to_make = options.replay or (existing == images and not more)
        listed: dict[str, float | None] = {}
        for model in dict.fromkeys(request.model for request in requests):
            try:
                listed[model] = await prices.list_usd(model)
            except XaiError:
                if not nothing_to_make:
                    raise
                listed[model] = None
        plan = Plan(
            requests=tuple(requests),
            backend=call.route.backend,
            host=call.route.host,
            prices=listed,
            expected=costs,
            stored=None if found is None else [each.stored for each in found],
            ordered=sum(each.ordered for each in found or ()),
            rewriter=options.rewrite or None,
            budget=budget,
            notes=tuple(call.progress.notes),
            more=more,
            blank_rows=call.blank_rows,
            rate=call.configuration.rate if call.many and not options.batch else 0.0,
            export=describe_export(options.export, options.name),
        )
        notes = (*plan.notes, *_refusals(call, plan))
        return replace(plan, notes=tuple(map(as_called, notes)))

    async def _count_available(
        self, call: Call, requests: Sequence[ImageRequest], count_ordered: CountOrdered | None
    ) -> list[_Availability]:
        """Return how many images of each request exist."""
        options = call.options
        all_claimed = [(await self._look_up(call, request)).claimed for request in requests]
        counts = await self._count_stored(call, all_claimed)
        owners = [number for number, request in enumerate(requests) for _ in range(request.n)]
        for index in options.redo:
            counts[owners[index]] = max(counts[owners[index]] - 1, 0)
        ordered = [0] * len(requests)
        if count_ordered is not None:
            ordered = await count_ordered(all_claimed)
            if any(count < request.n for count, request in zip(counts, requests, strict=True)):
                self.storage.check_own()
        each = zip(requests, all_claimed, counts, ordered, strict=True)
        return [
            _Availability(count, claimed, min(in_jobs, request.n - count))
            for request, claimed, count, in_jobs in each
        ]

    async def _count_stored(
        self, call: Call, all_claimed: Sequence[ClaimedRequest | None]
    ) -> list[int]:
        """Return how many images in the library and in bundles answer each request."""
        options, counts = call.options, [0] * len(all_claimed)
        if (library := call.ingest.library) is None:
            return counts
        queries: dict[int, tuple[ClaimedRequest, SlotQuery]] = {}
        from_earlier: dict[str, int] = {}  # images that earlier requests of the call will store
        # Running the cell of a job again makes new images only with `fresh`.
        stored_answers = options.replay or (options.batch and not call.fresh)
        for number, claimed in enumerate(all_claimed):
            if claimed is None or (claimed.claim.needs_new and not stored_answers):
                continue
            fingerprint, claim, n = claimed.fingerprint, claimed.claim, claimed.request.n
            if options.reuse:
                counts[number] = min(from_earlier.get(fingerprint, 0), n)
                from_earlier[fingerprint] = max(from_earlier.get(fingerprint, 0), n)
            place = None if options.reuse or options.replay else claim.slot.place
            query = SlotQuery(fingerprint, place, n, claim.after, notebook=call.ingest.notebook)
            queries[number] = claimed, query
        found = await asyncio.to_thread(library.look_up, [query for _, query in queries.values()])
        for (number, (claimed, query)), stored in zip(queries.items(), found, strict=True):
            pictures = await self._fill(call, claimed, stored, query.place)
            counts[number] = min(max(counts[number], len(pictures)), claimed.request.n)
        return counts

    async def _expected_costs(
        self, call: Call, requests: Sequence[ImageRequest], found: Sequence[_Availability] | None
    ) -> list[float | None]:
        """Return the expected cost of each request in US dollars; None: the price is unknown."""
        prices, library, rewriter = self.backend.prices, call.ingest.library, call.rewriter
        rewrite = None if rewriter is None else await prices.rewrite(rewriter.model, library)
        known: dict[tuple[PriceKey, int], float | None] = {}
        rewritten: set[str] = set()
        costs: list[float | None] = []
        for number, request in enumerate(requests):
            count, is_rewritten = request.n, rewriter is None
            if found is not None:
                count -= found[number].stored + found[number].ordered
                is_rewritten = found[number].claimed is not None
            if not count:
                costs.append(0.0)
                continue
            # A job sends a separate request for each image, with all input images.
            per_request = 1 if call.options.batch else count
            key = PriceKey.of(request), per_request
            if key not in known:
                known[key] = await prices.image_usd(request, per_request, library)
            cost = known[key]
            if cost is not None:
                cost *= count // per_request
                if rewrite is not None and not is_rewritten and request.prompt not in rewritten:
                    rewritten.add(request.prompt)  # equal prompts are rewritten once
                    cost += rewrite.ticks / TICKS
            costs.append(cost)
        return costs


def _card(
    request: ImageRequest,
    error: XaiError | None,
    status: Status = "failed",
    spent_usd: float | None = 0.0,
) -> Picture:
    """Return the card of a request that failed or was not sent.

    Its cost is `spent_usd`, for rewriting the prompt; unknown if the request may have been billed.
    """
    return Picture(
        request=replace(request, inputs=()),
        status=status,
        error=f"{error}",
        model=request.model,
        cost_usd=None if getattr(error, "maybe_billed", False) else spent_usd,
    )


def _merged(pictures: Sequence[Picture], more: Sequence[Picture]) -> list[Picture]:
    """Return pictures by position; missing positions are filled from `more`."""
    positions = {picture.position for picture in pictures}
    missing = (picture for picture in more if picture.position not in positions)
    return sorted([*pictures, *missing], key=lambda picture: picture.position)


def _with_rewrite_cost(pictures: Sequence[Picture], rewrite_usd: float | None) -> list[Picture]:
    """Add the cost of rewriting the prompt to the costs of its images, in equal parts."""
    if rewrite_usd is None:
        return [replace(picture, cost_usd=None) for picture in pictures]
    priced = sum(picture.cost_usd is not None for picture in pictures)
    part = rewrite_usd / priced if priced else 0.0
    return [
        picture if picture.cost_usd is None else replace(picture, cost_usd=picture.cost_usd + part)
        for picture in pictures
    ]


def _with_unsaved(call: Call, stored: list[Picture], flight: Flight, n: int) -> list[Picture]:
    """Return stored images, completed with images that an equal request could not save."""
    missing = sorted({*range(n)} - {picture.position for picture in stored})
    unsaved = [
        replace(picture, position=position, replayed=True)
        for picture, position in zip(flight.unsaved, missing, strict=False)
    ]
    if unsaved:
        call.progress.note(
            "Not stored in the library: an equal request generated these images at the same time "
            "and could not store them."
        )
    return sorted([*stored, *unsaved], key=lambda picture: picture.position)


def _refusals(call: Call, plan: Plan) -> Iterator[str]:
    """Yield the reasons why the call would be refused or would stop early."""
    if call.options.replay and plan.stored is not None and plan.new:
        yield f"--replay would fail: {plan.new:,} of {plan.images:,} images are not stored."
    limit = call.configuration.budget
    if limit is not None and limit.shared and plan.budget is None and not call.route.painted:
        yield f"The library that counts the budget {limit} cannot be used: nothing would be sent."
    max_cost, budget, cost = call.options.max_cost, plan.budget, plan.cost_usd
    if cost is None:
        if max_cost is not None or budget is not None:
            yield (
                "The server has no list price, so no limit can be enforced: nothing would be sent."
            )
        return
    at_once = call.options.batch or len(plan.requests) == 1
    outcome = "nothing would be sent" if at_once else "it would stop when the limit is reached"
    if max_cost is not None and to_ticks(cost) > to_ticks(max_cost):
        yield f"The expected cost exceeds --max-cost {dollars(max_cost)}: {outcome}."
    if budget is not None and to_ticks(cost) > to_ticks(budget.left_usd):
        yield f"The expected cost exceeds the budget ({budget}): {outcome}."
