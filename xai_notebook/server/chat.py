"""Reads a chat request, and refuses what the rewriting of prompts is no answer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet

from xai_notebook.client import wire
from xai_notebook.server.faults import Refusal
from xai_notebook.server.validation import invalid

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["read"]

_FEATURES: Final = {
    "GetCompletionsRequest": {
        5: "logprobs", 6: "top_logprobs", 8: "n", 10: "response_format", 12: "stop", 17: "tools",
        18: "tool_choice", 20: "search_parameters", 22: "previous_response_id",
        23: "store_messages", 24: "use_encrypted_content", 25: "max_turns", 26: "include",
        29: "agent_count",
    },
    "Message": {4: "tool_calls", 5: "reasoning_content", 6: "encrypted_content", 7: "tool_call_id"},
    "Content": {2: "image_url", 3: "file"},
}  # fmt: skip
"""Fields of the wire that ask for something else than a text, by the names xAI's SDK gives them."""

_HINTS: Final = {
    "GetCompletionsRequest": {3, 9, 11, 15, 19, 21, 31, 34},
    "Message": {3},
    "Content": set[int](),
}
"""Fields that only tune an answer: penalties, seed, top_p, effort, tier, ids. Nothing to tune."""

_VARINT: Final = 0
"""The wire type of numbers and switches."""
_N: Final = 8


def read(request: wire.GetCompletionsRequest) -> tuple[str, str]:
    """Return the system text, in one, and the last message of the user.

    Raises:
        Refusal: UNIMPLEMENTED: the request asks for something that this server cannot do.
            INVALID_ARGUMENT: it holds no message of the user.
    """
    _refuse_features(request)
    for message in request.messages:
        _refuse_features(message)
        for content in message.content:
            _refuse_features(content)
    prompts = _texts(request, wire.MessageRole.ROLE_USER)
    if not prompts or not prompts[-1].strip():
        raise invalid("Messages must hold a user message with text.")
    return " ".join(_texts(request, wire.MessageRole.ROLE_SYSTEM)), prompts[-1]


def _refuse_features(message: Message) -> None:
    kind, fields = message.DESCRIPTOR.name, UnknownFieldSet(message)
    for field in (fields[index] for index in range(len(fields))):
        number, off = field.field_number, field.wire_type == _VARINT and field.data == 0
        if off or number in _HINTS[kind]:
            continue
        if number == _N and kind == "GetCompletionsRequest" and field.data == 1:
            continue  # what xAI's SDK says for one answer
        name = _FEATURES[kind].get(number, f"field {number} of {kind}")
        raise Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"The embedded server only rewrites prompts: it does not support {name}.",
        )


def _texts(request: wire.GetCompletionsRequest, role: int) -> list[str]:
    """Return the messages of one role."""
    return [
        "".join(content.text for content in message.content)
        for message in request.messages
        if message.role == role
    ]
