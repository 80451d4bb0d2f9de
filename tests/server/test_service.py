"""Image and chat calls of the embedded server, from a bare gRPC client."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import grpc
import pytest
from PIL import Image

from bare_client import ask, dial, image_request, refusal
from xai_notebook.client import wire
from xai_notebook.server import EmbeddedServer, Faults

PREFIX = "data:image/jpeg;base64,"


def data_uri(size: tuple[int, int] = (64, 48), kind: str = "PNG", colour: str = "teal") -> str:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    encoded = base64.b64encode(stream.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{encoded}"


def decoded(image: Any) -> Image.Image:
    assert image.base64.startswith(PREFIX)
    return Image.open(io.BytesIO(base64.b64decode(image.base64[len(PREFIX) :])))


def test_a_reply_names_local_preview_and_costs_nothing() -> None:
    reply = ask(image_request())
    assert reply.model == "local-preview"
    assert reply.usage.HasField("cost_in_usd_ticks")
    assert reply.usage.cost_in_usd_ticks == 0
    assert reply.images[0].respect_moderation
    assert decoded(reply.images[0]).size == (1024, 1024)


def test_a_rewritten_prompt_begins_with_the_prompt() -> None:
    reply = ask(image_request(n=2))
    prompts = [image.up_sampled_prompt for image in reply.images]
    assert all(prompt.startswith("A red fox, in ") for prompt in prompts)
    assert prompts[0] != prompts[1]
    assert len({image.base64 for image in reply.images}) == 2


@pytest.mark.parametrize(("repeat", "different"), [(True, 2), (False, 4)])
async def test_equal_requests_can_get_different_pictures(*, repeat: bool, different: int) -> None:
    async with EmbeddedServer(repeat=repeat) as server, dial(server) as call:
        requests = [image_request(**fields) for fields in ({}, {"n": 2}, {"n": 1})]
        requests.append(image_request(prompt="an owl"))
        replies = [await call(wire.GENERATE_IMAGE, request) for request in requests]
        *images, other = [image for reply in replies for image in reply.images]
    assert len({image.base64 for image in images}) == different
    assert len({image.up_sampled_prompt for image in images}) == different
    assert other.base64 not in {image.base64 for image in images}


@pytest.mark.parametrize("options", [{"rewrite": False}, {"faults": Faults(up_sampled=False)}])
def test_rewriting_can_be_off(options: dict[str, Any]) -> None:
    assert ask(image_request(), **options).images[0].up_sampled_prompt == ""


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "empty prompt": ({"prompt": ""}, "must not be empty"),
    "blank prompt": ({"prompt": " \n"}, "must not be empty"),
    "long prompt": ({"prompt": "x" * 8001}, "at most 8000 characters"),
    "no image": ({"n": 0}, "between 1 and 10"),
    "eleven images": ({"n": 11}, "between 1 and 10"),
    "unknown format": ({"format": 9}, "IMG_FORMAT_URL"),
    "unknown ratio": ({"aspect_ratio": 99}, "16:9"),
    "invalid ratio": ({"aspect_ratio": 0}, "16:9"),
    "invalid resolution": ({"resolution": 0}, "1k or 2k"),
    "quality of another model": ({"quality": 1}, "grok-imagine-image-2.0"),
    "high quality": ({"quality": 3, "model": "grok-imagine-image-2.0"}, "low or medium"),
    "image and images": (
        {"image": {"image_url": data_uri()}, "images": [{"image_url": data_uri()}]},
        "together",
    ),
    "six images": ({"images": [{"image_url": data_uri()}] * 6}, "At most 5"),
    "edit with an old model": (
        {"image": {"image_url": data_uri()}, "model": "grok-2-image"},
        "does not accept input images",
    ),
    "empty input": ({"image": {"image_url": ""}}, "empty"),
    "path as input": ({"image": {"image_url": "fox.png"}}, "data URI"),
    "foreign url": ({"image": {"image_url": "https://example.com/a.png"}}, "nothing from the net"),
    "gif": ({"image": {"image_url": data_uri(kind="GIF")}}, "PNG, JPEG or WebP"),
    "gif called png": (
        {"image": {"image_url": data_uri(kind="GIF").replace("gif", "png")}},
        "not a readable",
    ),
    "damaged base64": ({"image": {"image_url": "data:image/png;base64,@@@"}}, "damaged"),
    "no base64": ({"image": {"image_url": "data:image/png,abc"}}, "base64"),
    "not an image": ({"image": {"image_url": "data:image/png;base64,aGVsbG8="}}, "not a readable"),
    "too large": (
        {"image": {"image_url": "data:image/png;base64," + "A" * (14 << 20)}},
        "at most 10 MiB",
    ),
    "no model": ({"model": ""}, "Model"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_requests_are_refused_with_a_hint(case: str) -> None:
    fields, hint = INVALID[case]
    code, details, _ = refusal(image_request(**fields))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert hint in details


def test_the_error_for_an_unknown_model_lists_the_existing_models() -> None:
    code, details, _ = refusal(image_request(model="grok-imagine"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "grok-imagine-image-2.0" in details


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_edit_of_one_image_keeps_its_ratio(kind: str) -> None:
    picture = {"image_url": data_uri((300, 200), kind)}
    reply = ask(image_request(prompt="make it night", image=picture))
    width, height = decoded(reply.images[0]).size
    assert width / height == pytest.approx(1.5, rel=0.02)


def test_an_input_may_be_bare_base64() -> None:
    """The SDK sends what the user gives, such as base64 without a prefix."""
    uri = data_uri()
    replies = [ask(image_request(image={"image_url": url})) for url in (uri, uri.partition(",")[2])]
    assert replies[0].images == replies[1].images


def test_the_image_format_defaults_to_url() -> None:
    assert ask(image_request(format=0)).images[0].url.startswith("http://127.0.0.1:")


async def test_urls_of_the_server_can_be_inputs() -> None:
    async with EmbeddedServer() as server, dial(server) as call:
        first = await call(wire.GENERATE_IMAGE, image_request(format=2))
        edit = image_request(prompt="in winter", image={"image_url": first.images[0].url})
        second = await call(wire.GENERATE_IMAGE, edit)
    assert decoded(second.images[0]).size == (1024, 1024)


@pytest.mark.parametrize(
    ("mark", "allowed"), [("[moderated]", [False] * 3), ("[moderated:2]", [True, False, True])]
)
def test_a_mark_in_the_prompt_simulates_moderation(mark: str, allowed: list[bool]) -> None:
    reply = ask(image_request(prompt=f"a fox {mark}", n=3))
    assert [image.respect_moderation for image in reply.images] == allowed
    assert [bool(image.base64) for image in reply.images] == allowed


def test_models_are_listed() -> None:
    models = ask(wire.Empty(), wire.LIST_IMAGE_GENERATION_MODELS).models
    assert {"grok-imagine-image", "grok-imagine-image-2.0"} <= {model.name for model in models}


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("grok-imagine-image-latest", "grok-imagine-image"),
        ("grok-imagine-image-pro", "grok-imagine-image-quality"),
    ],
)
def test_a_model_is_found_by_its_alias_or_former_name(alias: str, name: str) -> None:
    model = ask(wire.GetModelRequest(name=alias), wire.GET_IMAGE_GENERATION_MODEL)
    assert model.name == name
    assert model.max_prompt_length == 8000
    assert model.image_price == 0


def test_chat_rewrites_the_last_user_message() -> None:
    role = wire.MessageRole
    messages = [
        {"content": [{"text": "Rewrite prompts."}], "role": role.ROLE_SYSTEM},
        {"content": [{"text": "a cat"}], "role": role.ROLE_USER},
        {"content": [{"text": "a lighthouse at night"}], "role": role.ROLE_USER},
    ]
    request = wire.GetCompletionsRequest(messages=messages, model="grok-4")
    reply = ask(request, wire.GET_COMPLETION)
    message = reply.outputs[0].message
    assert message.content.startswith("A lighthouse at night, in ")
    assert message.role == role.ROLE_ASSISTANT
    assert reply.usage.cost_in_usd_ticks == 0


def test_chat_without_a_user_message_is_invalid() -> None:
    code, _, _ = refusal(wire.GetCompletionsRequest(model="m"), wire.GET_COMPLETION)
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_cancelling_stops_painting() -> None:
    async with EmbeddedServer() as server, dial(server) as call:
        await call(wire.GENERATE_IMAGE, image_request())  # Pillow is imported now
        pending = call(wire.GENERATE_IMAGE, image_request(n=10, resolution=2))
        while server.painted < 2:  # noqa: ASYNC110  # one of the ten is ready
            await asyncio.sleep(0.01)
        pending.cancel()  # type: ignore[attr-defined]
        cancelled = server.requests[-1]
        while cancelled.ended is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # Pictures are painted in turn: after this one, no other of the ten will be painted.
        await call(wire.GENERATE_IMAGE, image_request())
    assert cancelled.cancelled
    assert cancelled.status is None
    assert server.painted < 1 + 10 + 1
