"""The model list, list prices and chat completions."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from xai_sdk.proto import chat_pb2, models_pb2

from xai_notebook import errors
from xai_notebook.client import wire
from xai_notebook.client.image import image_price_usd


def test_models_are_listed(run_call: Any) -> None:
    sent = models_pb2.ImageGenerationModel(
        name="grok-imagine-image",
        version="1.0",
        aliases=["grok-imagine"],
        image_price=700_000_000,
        max_prompt_length=1024,
        input_modalities=[models_pb2.TEXT, models_pb2.IMAGE],
        output_modalities=[models_pb2.IMAGE],
    )
    sent.created.seconds = 1_700_000_000

    (model,), _ = run_call(
        models_pb2.ListImageGenerationModelsResponse(models=[sent]),
        lambda client: client.models.list_image_generation_models(),
    )
    assert model.SerializeToString() == sent.SerializeToString()


@pytest.mark.parametrize(
    ("price", "usd"),
    [(200_000_000, 0.02), (7, 0.07), (0, 0.0), (100_000, 0.00001), (9_999, 99.99),
     (99_999, None), (-1, None), (-200_000_000, None), ((1 << 63) - 1, None)],
)  # fmt: skip
def test_list_prices_are_ticks_or_cents(price: int, usd: float | None) -> None:
    """Large values are ticks of 1e-10 USD, small ones cents; implausible prices are None."""
    assert image_price_usd(wire.ImageGenerationModel(image_price=price)) == usd


def test_a_model_is_found_by_name(run_call: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        if request.name != "a":
            await context.abort(grpc.StatusCode.NOT_FOUND, "")
        return models_pb2.ImageGenerationModel(name="a-1")

    async def use(client: Any) -> str:
        with pytest.raises(errors.NotFoundError, match="'b'"):
            await client.models.get_image_generation_model("b")
        model = await client.models.get_image_generation_model("a")
        return str(model.name)

    assert run_call(answer, use)[0] == "a-1"


def completion(content: str) -> chat_pb2.GetChatCompletionResponse:
    reply = chat_pb2.GetChatCompletionResponse(id="1", model="grok-4")
    reply.outputs.add(finish_reason=1).message.content = content
    reply.usage.cost_in_usd_ticks = 12_500_000
    return reply


def test_complete_sends_system_and_user_messages(run_call: Any) -> None:
    response, server = run_call(
        completion("a very red fox"),
        lambda client: client.chat.complete(
            "a fox", "grok-4-fast", system="Be vivid.", max_tokens=99, temperature=0.5, user="me"
        ),
    )
    request = server.requests[0]
    assert [(message.role, message.content[0].text) for message in request.messages] == [
        (chat_pb2.ROLE_SYSTEM, "Be vivid."),
        (chat_pb2.ROLE_USER, "a fox"),
    ]
    assert (request.model, request.user) == ("grok-4-fast", "me")
    assert (request.max_tokens, request.temperature) == (99, 0.5)
    assert (response.content, response.model) == ("a very red fox", "grok-4")
    assert response.cost_usd == pytest.approx(0.00125)


def test_unset_chat_options_are_not_sent(run_call: Any) -> None:
    _, server = run_call(
        completion("x"), lambda client: client.chat.complete("a fox", "grok-4-fast")
    )
    names = [field.name for field, _ in server.requests[0].ListFields()]
    assert names == ["messages", "model"]


@pytest.mark.parametrize("reply", [chat_pb2.GetChatCompletionResponse(), completion(" \n")])
def test_a_chat_answer_without_text_is_an_error(run_call: Any, reply: Any) -> None:
    error, _ = run_call(reply, lambda client: client.chat.complete("a fox", "grok-4-fast"))
    assert isinstance(error, errors.ReplyError)


def test_invalid_chat_options_are_refused(run_call: Any) -> None:
    error, server = run_call(None, lambda client: client.chat.complete("x", "m", max_tokens="many"))
    assert isinstance(error, errors.OptionError)
    assert server.requests == []
