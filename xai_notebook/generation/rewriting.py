"""Prompts rewritten by a chat model before they are sent to the image model.

The first version of the image API rewrote prompts itself and said how; today's
servers keep silent. So we ask for a rewrite, once per prompt, and show it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from xai_notebook.client.request import with_prompt
from xai_notebook.errors import LibraryError, ReplyError, XaiError

if TYPE_CHECKING:
    from xai_notebook.client import AsyncClient
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.budget import Reservation
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library import Library

__all__ = ["Rewriter"]

INSTRUCTION: Final = (
    "You turn a short idea into one detailed prompt for an image generation model. Keep every "
    "subject, number, name, colour, text in quotes and style the idea mentions, and its language. "
    "Add what a picture needs and the idea leaves open: composition, light, setting, materials, "
    "mood. Answer with the prompt alone, one paragraph of at most 120 words, without quotes or "
    "a preface."
)
EDIT_INSTRUCTION: Final = (
    "You turn a short wish into one clear instruction for an image editing model, which sees the "
    "input images. Keep the wish exactly as it is meant, and its language; say what changes, "
    "and that everything else stays. Answer with the instruction alone, one paragraph of at most "
    "80 words, without quotes or a preface."
)
_MAX_TOKENS: Final = 400
_NOTHING: Final[float | None] = 0.0
_QUOTED: Final = re.compile(r"^[\"“'](.*)[\"”']$", re.DOTALL)


@dataclass(slots=True)
class Rewriter:
    """Rewrites prompts with one chat model, each prompt once.

    Attributes:
        client: Where the chat model is.
        model: The chat model.
        backend: `"xai"` or `"local"`.
        host: Tells its rewrites from those of other hosts.
        remembered: Rewrites of this kernel, for when there is no library.
        library: Keeps rewrites for later kernels.
        progress: Takes notes.
        timeout: Seconds for a rewrite.
    """

    client: AsyncClient
    model: str
    backend: str
    host: str
    remembered: dict[str, str]
    library: Library | None
    progress: Progress
    timeout: float

    async def recall(self, request: ImageRequest) -> ImageRequest | None:
        """Return the request as it was rewritten before, or None when it never was."""
        for key in self._keys(request):
            if text := await self._recall(key):
                return with_prompt(request, text, self.model)
        return None

    async def look_up(self, request: ImageRequest) -> ImageRequest | None:
        """Return the request as a library that may be somebody else's has it rewritten.

        It is not to be sent. None: the library is the user's own, or has no rewrite.
        """
        if self.library is None or not self.library.foreign:
            return None
        with suppress(LibraryError):
            for key in self._keys(request):
                found = partial(self.library.rewrite_for, key, to_send=False)
                if text := await asyncio.to_thread(found):
                    return with_prompt(request, text, self.model)
        return None

    async def rewrite(
        self, request: ImageRequest, reservation: Reservation
    ) -> tuple[ImageRequest, float | None]:
        """Ask the chat model, and return the request with its new prompt and what that cost.

        A failure leaves the prompt as written and a note for the user: the image is made anyway.

        Args:
            request: As the user wrote it.
            reservation: Money set aside for this; it is settled here.

        Returns:
            The request, and the cost in US dollars; None: not reported.
        """
        instruction = _instruction(request)
        key = self._keys(request)[0]
        text, model, cost = "", self.model, _NOTHING
        try:
            answer = await self.client.chat.complete(
                request.prompt,
                self.model,
                system=instruction,
                max_tokens=_MAX_TOKENS,
                user=request.user,
                timeout=self.timeout,
                on_attempt=self.progress.on_attempt,
            )
            text, model, cost = _tidied(answer.content), answer.model, answer.cost_usd
            if not text:
                self.progress.note(
                    f"Not rewritten, sent as written: {self.model} answered nothing."
                )
        except ReplyError as error:  # an answer without text has been paid for
            cost = error.cost_usd
            self.progress.note(f"Not rewritten, sent as written: {error}")
        except XaiError as error:
            self.progress.note(f"Not rewritten, sent as written: {error}")
            if getattr(error, "maybe_billed", False):
                return request, None
            reservation.waive()
            return request, _NOTHING
        reservation.settle(cost)
        text, kept = await self._keep(key, request.prompt, text, model, cost)
        reservation.in_ledger = kept and cost is not None
        return (with_prompt(request, text, self.model) if text else request), cost

    def _keys(self, request: ImageRequest) -> list[str]:
        r"""Return the keys under which a request's rewrite is looked for; it is kept by the first.

        Earlier versions took a prompt with `\r\n` for another one.
        """
        prompt = request.prompt.replace("\r\n", "\n")
        head = [self.backend, self.host, self.model, _instruction(request)]
        prompts = dict.fromkeys((prompt, prompt.replace("\n", "\r\n")))
        return [hashlib.sha256(json.dumps([*head, each]).encode()).hexdigest() for each in prompts]

    async def _recall(self, key: str) -> str | None:
        if key in self.remembered or self.library is None:
            return self.remembered.get(key)
        try:
            return await asyncio.to_thread(self.library.rewrite_for, key)
        except LibraryError as error:
            self.progress.note(f"Rewrites are not looked up: {error}")
            return None

    async def _keep(
        self, key: str, original: str, text: str, model: str, cost_usd: float | None
    ) -> tuple[str, bool]:
        """Remember a rewrite and what it cost; one without text only for its cost.

        Returns:
            The text that counts, which another kernel may have stored first; and whether the
            library knows the cost.
        """
        kept = False
        if self.library is not None and not self.library.read_only:
            keep = partial(
                self.library.remember_rewrite,
                key, original, text, model, cost_usd, backend=self.backend,
            )  # fmt: skip
            try:
                text, kept = await asyncio.to_thread(keep), True
            except LibraryError as error:
                self.progress.note(f"Rewrites are not kept: {error}")
        if text:
            self.remembered[key] = text
        return text, kept


def _instruction(request: ImageRequest) -> str:
    return EDIT_INSTRUCTION if request.inputs else INSTRUCTION


def _tidied(text: str) -> str:
    """Return the answer without the quotes that chat models like to put around it."""
    text = text.strip()
    if match := _QUOTED.match(text):
        text = match[1].strip()
    return text
