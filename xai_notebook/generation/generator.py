"""One request answered: from the library, from the server, or from both."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from xai_notebook.errors import (
    ApiError,
    LibraryError,
    NotKeptError,
    OptionError,
)
from xai_notebook.generation.budget import Budget, reserve, to_ticks
from xai_notebook.generation.replies import add_costs, kept, share
from xai_notebook.library import Wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.client.retry import Attempt
    from xai_notebook.generation.arrival import Arrival
    from xai_notebook.generation.bundling import Beside
    from xai_notebook.generation.claims import Asking, Claim
    from xai_notebook.generation.keeping import Keeper
    from xai_notebook.generation.peer import Peer
    from xai_notebook.generation.progress import Progress
    from xai_notebook.generation.rewriting import Rewriter
    from xai_notebook.library.uploads import Uploads
    from xai_notebook.pictures.picture import Picture

__all__ = ["Generator", "Placed"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A request at its place.

    Attributes:
        request: As it will be sent.
        fingerprint: Of the request.
        claim: Its place.
        extra_usd: What rewriting its prompt cost now, in US dollars; None: not reported.
    """

    request: ImageRequest
    fingerprint: str
    claim: Claim
    extra_usd: float | None = 0.0

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from every other."""
        return self.fingerprint, self.claim.place


@dataclass(slots=True)
class Generator:
    """Answers requests under the options of one call.

    Attributes:
        peer: Where to send what is missing.
        keeper: What is kept, and how.
        asking: The places of the call's requests.
        budgets: Limits that all must hold.
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
        beside: The bundles in the notebook's folder, which answer after the library.
    """

    peer: Peer
    keeper: Keeper
    asking: Asking
    budgets: Sequence[Budget]
    progress: Progress
    fresh: bool
    only_stored: bool
    timeout: float
    rewriter: Rewriter | None = None
    slots: asyncio.Semaphore | None = None
    before_send: Callable[[], Awaitable[None]] | None = None
    on_attempt: Callable[[Attempt], None] | None = None
    keep: bool = False
    uploads: Uploads | None = None
    beside: Beside | None = None

    async def place(self, request: ImageRequest) -> Placed:
        """Return a request at its place. Equal requests get theirs in the order of the calls."""
        self.asking.leave_turn()  # nothing is awaited before this one's place is sure
        if self.rewriter is None:
            return self.claim(request, 0.0)
        fingerprint = request.fingerprint(self.peer.backend, self.peer.host)
        async with self.peer.rewriting.setdefault(fingerprint, asyncio.Lock()):
            request, extra = await self.rewriter.rewrite(request)
            if extra != 0:
                self._charge(extra)
            return self.claim(request, extra)

    async def answer(self, placed: Placed) -> list[Picture]:
        """Return the images of a request, or cards that say why one is not there.

        Raises:
            XaiError: The request failed as a whole. It can be made again.
        """
        if (task := self.peer.keeping.get(placed.key)) is not None:
            await asyncio.wait({task})
        stored = await self._stored(placed)
        there = {picture.position for picture in stored}
        missing = [index for index in range(placed.request.n) if index not in there]
        if placed.request.share and not self.only_stored:
            stored = await self.keeper.share(stored, placed.request.share)
        if not missing:
            return stored
        made = await self._ask(placed, missing)
        extra = share(placed.extra_usd, len(made))
        made = [replace(picture, cost_usd=add_costs(picture.cost_usd, extra)) for picture in made]
        return sorted([*stored, *made], key=lambda picture: picture.position)

    def claim(self, request: ImageRequest, extra: float | None = 0.0) -> Placed:
        """Return a request at its place, as it will be sent.

        Args:
            request: Rewritten, if that was asked for.
            extra: What that cost, in US dollars; None: not reported.
        """
        fingerprint = request.fingerprint(self.peer.backend, self.peer.host)
        fresh = self.fresh and not self.only_stored
        claim = self.asking.claim(fingerprint, request.n, fresh=fresh, keep=self.keep)
        return Placed(request, fingerprint, claim, extra)

    def _charge(self, cost_usd: float | None) -> None:
        """Count what a rewrite cost; no list price is known for it beforehand."""
        self.progress.charged(cost_usd)
        for budget in self.budgets:
            budget.spent += to_ticks(cost_usd or 0.0)

    async def _stored(self, placed: Placed) -> list[Picture]:
        """Return what the library has of a request that its cell has not shown yet."""
        if placed.claim.anew and not self.only_stored:
            self.asking.begin(placed.claim, await self.keeper.newest())
            return []
        return await self.recall(placed)

    async def recall(self, placed: Placed) -> list[Picture]:
        """Return what the library has of a request, shown or not.

        Raises:
            LibraryError: It does not have all, and nothing else may answer.
        """
        request, claim = placed.request, placed.claim
        if self.only_stored:
            return await self._only_stored(placed)
        wanted = Wanted(placed.fingerprint, claim.place, request.n, claim.after)
        found = await self.keeper.find(wanted, request)
        # Once new images are wanted, what was packed before they were is not.
        return found if claim.after else await self._fill(found, placed, claim.place)

    async def _fill(self, found: list[Picture], placed: Placed, place: int | None) -> list[Picture]:
        """Return what the library has, and bundles beside the notebook where it has nothing."""
        if self.beside is None:
            return found
        return await self.beside.fill(found, placed.request, place, self.progress)

    async def _only_stored(self, placed: Placed) -> list[Picture]:
        """Return what is stored for a place; where that is too little, for any."""
        request = placed.request
        for place in (placed.claim.place, None):
            wanted = Wanted(placed.fingerprint, place, request.n)
            found = await self._fill(await self.keeper.find(wanted, request), placed, place)
            if len(found) == request.n:
                return found
        raise LibraryError(
            f"The library holds {len(found)} of the {request.n} images asked for with "
            "--replay. Leave it out to have the rest made." + "".join(self._refused())
        )

    def _refused(self) -> list[str]:
        """Return why bundles did not answer."""
        return [f" {sentence}" for sentence in self.beside.refusals()] if self.beside else []

    async def make_anew(self, placed: Placed, positions: Sequence[int]) -> list[Picture]:
        """Return new images in place of stored ones, in the order of their positions."""
        made = await self._ask(placed, positions, redo=True)
        return sorted(made, key=lambda picture: picture.position)[: len(positions)]

    async def _ask(
        self, placed: Placed, missing: Sequence[int], *, redo: bool = False
    ) -> list[Picture]:
        """Have the images made that are not stored, and keep them.

        Args:
            placed: The request.
            missing: Their positions.
            redo: They are stored, and others are wanted.
        """
        request, count = placed.request, len(missing)
        place = {"fingerprint": placed.fingerprint, "place": placed.claim.place, "redo": redo}
        arrival = self.keeper.expect(request, missing, place)
        await self.keeper.check_room(arrival)
        self.progress.to_make += count
        price = None
        if any(budget.limit is not None for budget in self.budgets):
            price = await self.peer.price(request.model)
        async with reserve(self.budgets, price, count) as reservation:
            try:
                sent = await self._send(request, count, arrival)
            except (ApiError, NotKeptError, OptionError) as error:
                if not getattr(error, "maybe_billed", False):
                    reservation.waive()
                raise
            except BaseException:
                arrival.abandon()
                raise
            cost = sent[0].cost_usd if sent else arrival.cost_usd
            reservation.settle(cost)
        self.progress.charged(cost)
        responses = kept(sent, count)
        if len(sent) > count:
            self.progress.note(
                f"The server sent {len(sent):,} images where {count} were asked for;"
                f" {len(responses)} are kept."
            )
        return await self._keep(placed.key, self.keeper.keep(responses, missing, arrival))

    async def _keep(
        self, key: tuple[str, int], storing: Coroutine[Any, Any, list[Picture]]
    ) -> list[Picture]:
        """Keep what has arrived, even when the call is cancelled at this very moment."""
        keeping = self.peer.keeping
        task = keeping[key] = asyncio.ensure_future(storing)
        task.add_done_callback(lambda _: keeping.pop(key, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def _send(
        self, request: ImageRequest, n: int, arrival: Arrival
    ) -> Sequence[ImageResponse]:
        # Only while it is at the server: the next request need not wait for this one's files.
        async with self.slots or contextlib.nullcontext():
            if self.before_send is not None:
                await self.before_send()
            send = partial(
                self.peer.client.image.send,
                timeout=self.timeout,
                on_attempt=self._note_attempt,
                on_reply=arrival,
            )
            request = replace(request, n=n)
            if self.uploads is None:
                return await send(request)
            return await self.peer.inputs.send(request, send, self.uploads)

    def _note_attempt(self, attempt: Attempt) -> None:
        self.progress.on_attempt(attempt)
        if self.on_attempt is not None:
            self.on_attempt(attempt)
