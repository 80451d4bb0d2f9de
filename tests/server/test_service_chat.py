"""Chat with the embedded server; the client is xAI's SDK."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from xai_sdk.chat import image, system, tool, user

from sdk_client import connect, refusal
from xai_notebook.server import EmbeddedServer


async def test_fields_that_tune_a_reply_are_ignored() -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        reply = await client.chat.create(
            "grok-4",
            messages=[system("Be vivid."), user("a red fox")],
            temperature=0.3, top_p=0.9, seed=1, frequency_penalty=0.1, presence_penalty=0.1,
            reasoning_effort="low", max_tokens=200, user="me",
        ).sample()  # fmt: skip
    assert reply.content.startswith("A red fox, ")


WEATHER = tool(name="weather", description="?", parameters={"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"tools": [WEATHER]}, "tools"),
        ({"response_format": "json_object"}, "response_format"),
        ({"stop": ["."]}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"store_messages": True}, "store_messages"),
        ({"previous_response_id": "1"}, "previous_response_id"),
        ({"messages": [user("what is this?", image("https://example.com/a.png"))]}, "image_url"),
    ],
)
async def test_the_error_names_the_unsupported_field(options: dict[str, Any], name: str) -> None:
    options = {"messages": [user("a fox")], **options}
    async with EmbeddedServer() as server, connect(server) as client:
        code, details = await refusal(client.chat.create("grok-4", **options).sample())
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert details.endswith(f"it does not support {name}.")


@pytest.mark.filterwarnings("ignore:chat.sample_batch:PendingDeprecationWarning")
async def test_several_replies_are_refused() -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        chat = client.chat.create("grok-4", messages=[user("a fox")])
        code, details = await refusal(chat.sample_batch(2))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert details.endswith("support n.")
