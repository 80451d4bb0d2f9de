"""The one chat call that rewrites a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_notebook.client import bounds, wire
from xai_notebook.client.response import cost_usd
from xai_notebook.errors import OptionError, ReplyError

if TYPE_CHECKING:
    from xai_notebook.client.connection import Connection
    from xai_notebook.client.retry import OnAttempt

__all__ = ["ChatClient", "ChatResponse"]


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """What the chat model answered.

    Attributes:
        content: Its text.
        model: The model that answered, aliases resolved.
        usage: Tokens.
        cost_usd: US dollars, or None if the server did not say.
    """

    content: str
    model: str
    usage: wire.SamplingUsage
    cost_usd: float | None


class ChatClient:
    """Asks a chat model for one answer."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def complete(  # the options of the wire
        self,
        prompt: str,
        model: str,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        user: str | None = None,
        timeout: float | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> ChatResponse:
        """Return the answer to one message.

        Args:
            prompt: What the user says.
            model: Name of a chat model.
            system: What the model is told before.
            max_tokens: Length limit of the answer, in tokens.
            temperature: 0 to 2; the server's default when not given.
            user: Opaque id of the end user.
            timeout: Deadline in seconds over all attempts; default: the client's.
            on_attempt: Hears of each failed attempt that is made again.

        Raises:
            OptionError: A value cannot be sent. Nothing was.
            ApiError: The server answered with a status other than OK.
            ReplyError: The answer holds no text.
        """
        options = {"model": model, "user": user or "", "max_tokens": max_tokens}
        request = _request(prompt, system, **options, temperature=temperature)
        reply = await self._connection.unary(
            wire.GET_COMPLETION,
            request,
            wire.GetChatCompletionResponse,
            model=model,
            timeout=timeout,
            on_attempt=on_attempt,
        )
        return _answer(reply, model)


def _request(prompt: str, system: str | None, **options: Any) -> wire.GetCompletionsRequest:
    """Return the request; options that are None stay absent."""
    try:
        request = wire.GetCompletionsRequest(**options)
        if system is not None:
            request.messages.add(role=wire.MessageRole.ROLE_SYSTEM).content.add(text=system)
        request.messages.add(role=wire.MessageRole.ROLE_USER).content.add(text=prompt)
    except (TypeError, ValueError) as error:
        raise OptionError(f"An option of the chat request cannot be sent: {error}") from error
    return request


def _answer(reply: wire.GetChatCompletionResponse, model: str) -> ChatResponse:
    content = next((one.message.content for one in reply.outputs if one.message.content), "")
    if not content.strip():
        error = ReplyError(f"The chat model {model!r} gave no text. Try again, or another model.")
        error.cost_usd = cost_usd(reply.usage)
        raise error
    model = bounds.line(reply.model)
    return ChatResponse(bounds.text(content), model, reply.usage, cost_usd(reply.usage))
