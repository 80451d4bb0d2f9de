"""The engine for the OpenAI images API: orders (requests for pictures), and results of replies."""

from __future__ import annotations

import grpc
import pytest

from bare_client import dial, image_request
from openai_stub import (
    DATA_URI,
    EDIT,
    SECRET,
    Reply,
    Request,
    Stub,
    answers,
    ask,
    complaint,
    entry,
    png,
    refusal,
    reply_of,
)
from xai_notebook.client import wire
from xai_notebook.server import EmbeddedServer
from xai_notebook.server.openai_engine import OpenAIEngine

# Orders and replies


def test_one_order_brings_all_pictures(stub: Stub) -> None:
    """The reply has the engine's model and its rewritten prompts."""
    stub.answer = answers(reply_of(3, revised_prompt="a very red fox"))
    reply = ask(stub, image_request(n=3))
    (order,) = stub.orders
    assert order.json == {
        "model": "fox-1", "prompt": "a red fox", "n": 3, "size": "1024x1024",
        "response_format": "b64_json",
    }  # fmt: skip
    assert reply.model == "fox-1"
    assert [image.up_sampled_prompt for image in reply.images] == ["a very red fox"] * 3
    assert all(image.base64.startswith("data:image/png;base64,") for image in reply.images)
    assert reply.usage.cost_in_usd_ticks == 0


def test_prompts_are_not_rewritten_and_moderation_marks_are_ignored(stub: Stub) -> None:
    reply = ask(stub, image_request(prompt="a fox [moderated]"))
    assert (reply.images[0].up_sampled_prompt, reply.images[0].respect_moderation) == ("", True)
    assert stub.orders[0].json["prompt"] == "a fox [moderated]"


def test_missing_pictures_are_ordered_one_by_one(stub: Stub) -> None:
    reply = ask(stub, image_request(n=4))
    assert len(reply.images) == 4
    assert [order.json.get("n") for order in stub.orders] == [4, None, None, None]


def test_pictures_are_kept_when_a_later_order_fails(stub: Stub) -> None:
    stub.answer = answers(reply_of(), Reply(500, complaint("out of memory")))
    assert len(ask(stub, image_request(n=2)).images) == 1
    assert len(stub.orders) == 2


def test_the_url_format_uses_the_embedded_servers_urls(stub: Stub) -> None:
    reply = ask(stub, image_request(format=wire.ImageFormat.IMG_FORMAT_URL))
    assert reply.images[0].url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "url", ["/v1/made/1.png", "{base}/made/1.png", DATA_URI], ids=["relative", "absolute", "data"]
)
def test_a_picture_can_be_a_url(stub: Stub, url: str) -> None:
    stub.answer = answers(Reply(body={"data": [{"url": url.format(base=stub.url)}]}))
    reply = ask(stub, image_request(), key=SECRET)
    assert reply.images[0].base64.startswith("data:image/png;base64,")
    assert len(stub.orders) == 1


def test_a_broken_download_is_retried_without_a_new_order(stub: Stub) -> None:
    stub.answer = answers(Reply(body={"data": [{"url": "/made/1.png"}]}))
    stub.fetched = [Reply(cut=9), Reply(body=png())]
    assert ask(stub, image_request()).images[0].base64
    assert len(stub.orders) == 1


@pytest.mark.parametrize(
    ("url", "download"),
    [("/made/1.png", Reply(cut=9)), ("/made/1.png", Reply(404, {})),
     ("https://169.254.169.254/x", Reply(body=png()))],
    ids=["cut off", "404", "private"],
)  # fmt: skip
def test_a_failed_download_makes_no_new_order(stub: Stub, url: str, download: Reply) -> None:
    stub.answer = answers(Reply(body={"data": [{"url": url}]}))
    stub.fetched = [download]
    code, details, _ = refusal(stub, image_request())
    assert code is grpc.StatusCode.INTERNAL
    assert "without a usable picture" in details
    assert len(stub.orders) == 1


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"aspect_ratio": "IMG_ASPECT_RATIO_16_9"}, "1360x768"),
        ({"resolution": "IMG_RESOLUTION_2K"}, "2048x2048"),
        ({"aspect_ratio": "IMG_ASPECT_RATIO_9_19_5"}, "688x1504"),
    ],
)
def test_ratio_and_resolution_become_a_size(stub: Stub, fields: dict[str, str], size: str) -> None:
    ask(stub, image_request(**fields))
    assert stub.orders[0].json["size"] == size


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("Invalid value: '2736x1536'. Supported: '1024x1024', '1536x1024', '1024x1536'",
         "1536x1024"),
        ("size is over the limit of this model", "1344x768"),
    ],
    ids=["the nearest listed size", "the next smaller size"],
)  # fmt: skip
def test_a_refused_size_is_replaced(stub: Stub, text: str, second: str) -> None:
    stub.answer = answers(Reply(400, complaint(text, param="size")), reply_of())
    fields = {"aspect_ratio": "IMG_ASPECT_RATIO_16_9", "resolution": "IMG_RESOLUTION_2K"}
    assert len(ask(stub, image_request(**fields)).images) == 1
    assert [order.json["size"] for order in stub.orders] == ["2736x1536", second]


def test_a_refused_size_is_replaced_only_once(stub: Stub) -> None:
    stub.answer = answers(Reply(422, {"detail": [{"loc": ["body", "size"], "msg": "bad size"}]}))
    code, details, _ = refusal(stub, image_request())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "It says: bad size" in details
    assert len(stub.orders) == 2


async def test_unsupported_parameters_are_remembered(stub: Stub) -> None:
    def answer(order: Request, _number: int) -> Reply:
        if "response_format" in order.json:
            return Reply(400, complaint("Unknown parameter: 'response_format'."))
        if "n" in order.json:
            return Reply(400, complaint("You must provide n=1 for this model.", param="n"))
        return reply_of()

    stub.answer = answer
    engine = OpenAIEngine(stub.url)
    async with EmbeddedServer(engine=engine) as server, dial(server) as call:
        for orders in (4, 6):
            reply = await call(wire.GENERATE_IMAGE, image_request(n=2))
            assert (len(reply.images), len(stub.orders)) == (2, orders)


@pytest.mark.parametrize("images", [1, 2])
def test_inputs_are_sent_as_files_with_openais_field_names(stub: Stub, images: int) -> None:
    source = {"image_url": DATA_URI}
    fields = {"image": source} if images == 1 else {"images": [source] * images}
    assert len(ask(stub, image_request(**fields)).images) == 1
    (order,) = stub.orders
    assert order.path == "/v1/images/edits"
    assert order.headers["content-type"].startswith("multipart/form-data; boundary=")
    field = b'name="image"; filename=' if images == 1 else b'name="image[]"; filename='
    assert order.body.count(field) == images
    assert order.body.count(png("navy")) == images
    assert b'name="size"' not in order.body  # an edit keeps the shape of its input


def test_an_engine_can_require_the_other_field_name(stub: Stub) -> None:
    """stable-diffusion.cpp requires `image[]` for a single input, too."""
    stub.answer = answers(Reply(400, {"error": "at least one image[] required"}), reply_of())
    ask(stub, image_request(**EDIT))
    assert [b'"image[]"' in order.body for order in stub.orders] == [False, True]


@pytest.mark.parametrize("code", ["moderation_blocked", "content_policy_violation"])
def test_a_moderation_error_is_a_withheld_picture(stub: Stub, code: str) -> None:
    stub.answer = answers(Reply(400, complaint("Your request was rejected.", code=code)))
    reply = ask(stub, image_request())
    assert [image.respect_moderation for image in reply.images] == [False]
    assert len(stub.orders) == 1


def test_the_cost_header_of_litellm_is_reported(stub: Stub) -> None:
    header = {"x-litellm-response-cost": "0.08"}
    stub.answer = answers(Reply(body={"data": [entry(), entry()]}, headers=header))
    usage = ask(stub, image_request(n=2)).usage
    assert usage.cost_in_usd_ticks == 800_000_000


# Models


def test_a_single_model_has_the_names_of_xais_models_as_aliases(stub: Stub) -> None:
    listed = ask(stub, wire.Empty(), wire.LIST_IMAGE_GENERATION_MODELS).models
    assert [model.name for model in listed] == ["fox-1"]
    assert "grok-imagine-image" in listed[0].aliases
    assert "local" not in listed[0].version + listed[0].system_fingerprint


def test_a_request_must_name_one_of_several_models(stub: Stub) -> None:
    stub.models = ["fox-1", "owl-2"]
    code, details, _ = refusal(stub, image_request())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "--model" in details
    assert "fox-1, owl-2" in details
    assert ask(stub, image_request(model="owl-2")).model == "owl-2"
    assert refusal(stub, image_request(model="bear-3"))[0] is grpc.StatusCode.NOT_FOUND
    assert [order.json["model"] for order in stub.orders] == ["owl-2"]


def test_the_model_of_the_url_is_the_default_without_a_list_of_models(stub: Stub) -> None:
    stub.models, stub.url = None, f"{stub.url}#Qwen/Qwen-Image"
    assert ask(stub, image_request()).model == "Qwen/Qwen-Image"


@pytest.mark.parametrize(
    ("url", "free"), [("http://localhost:8000/v1", True), ("https://example.com/v1", False)]
)
def test_only_a_private_engine_is_free(url: str, *, free: bool) -> None:
    assert OpenAIEngine(url).free is free
