"""Calls for batches and key information: parity with xAI's SDK, results and retries."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from xai_sdk import AsyncClient as SdkClient
from xai_sdk.proto import auth_pb2, batch_pb2, image_pb2

from xai_notebook import errors
from xai_notebook.client import AsyncClient, wire
from xai_notebook.client.batch import MAX_ADD_BYTES

OPTIONS: dict[str, Any] = {
    "image_file_ids": ["f1"],
    "image_urls": ["https://example.com/a.png"],
    "user": "someone",
    "image_format": "base64",
    "aspect_ratio": "9:19.5",
    "resolution": "2k",
    "quality": "low",
    "storage_options": {"filename": "a.png", "public_url": True},
}


def prepare(prompt: str = "p", **options: Any) -> wire.BatchRequest:
    """Return a batch request of the client."""
    options.setdefault("batch_request_id", "r1")
    return AsyncClient("xai-key", api_host="localhost:1").image.prepare(prompt, "m", **options)


@pytest.mark.parametrize(
    "options",
    [{}, OPTIONS, {"image_url": "data:image/png;base64,iVBORw0KGgo="}, {"image_file_id": "f1"},
     {"image_urls": ["https://example.com/a.png"]}],
)  # fmt: skip
async def test_a_prepared_request_matches_the_sdk(options: dict[str, Any]) -> None:
    sdk_image = SdkClient(api_key="xai-key").image
    sdk_request = sdk_image.prepare("p", "m", batch_request_id="r1", **options)
    requests = (prepare(**options), sdk_request)
    assert len({request.SerializeToString(deterministic=True) for request in requests}) == 1


def test_prepare_refuses_an_invalid_id() -> None:
    with pytest.raises(errors.OptionError):
        prepare(batch_request_id=7)


async def _answer(request: Any, context: Any) -> Any:
    """Answer each batch call, and the key-info call, with a fixed reply."""
    replies = {
        "CreateBatchRequest": batch_pb2.Batch(batch_id="b", name=getattr(request, "name", "")),
        "AddBatchRequestsRequest": Empty(),
        "GetBatchRequest": batch_pb2.Batch(batch_id="b", state={"num_requests": 2}),
        "CancelBatchRequest": batch_pb2.Batch(batch_id="b", cancel_time={"seconds": 5}),
        "ListBatchesRequest": batch_pb2.ListBatchesResponse(
            batches=[{"batch_id": "b"}], pagination_token="next"
        ),
        "ListBatchRequestMetadataRequest": batch_pb2.ListBatchRequestMetadataResponse(
            batch_request_metadata=[{"batch_request_id": "r1", "state": "STATE_PENDING"}]
        ),
        "ListBatchResultsRequest": batch_pb2.ListBatchResultsResponse(
            results=[{"batch_request_id": "r1"}], pagination_token="2"
        ),
        "Empty": auth_pb2.ApiKey(name="mine", acls=["api-key:model:*"]),
    }
    return replies[request.DESCRIPTOR.name]


def test_every_batch_method_and_get_api_key_info_match_the_sdk(compare_with_sdk: Any) -> None:
    """Requests and replies are equal; `add` also accepts the SDK's request objects."""
    request = batch_pb2.BatchRequest(batch_request_id="r1", image_request={"prompt": "p"})

    async def use(client: Any) -> list[Any]:
        return [
            await client.batch.create("a name"),
            await client.batch.add("b", [request]),
            await client.batch.get("b"),
            await client.batch.cancel("b"),
            await client.batch.list(),
            await client.batch.list(limit=7, pagination_token="t"),
            await client.batch.list_batch_requests("b", limit=7, pagination_token="t"),
            await client.batch.list_batch_results("b", limit=7, pagination_token="t"),
            await client.auth.get_api_key_info(),
        ]

    sdk_results, results = compare_with_sdk(_answer, use)
    for pair in zip(sdk_results, results, strict=True):
        messages = [getattr(result, "proto", result) for result in pair if result is not None]
        assert len({message.SerializeToString(deterministic=True) for message in messages}) <= 1
    assert results[-2].pagination_token == "2"
    assert results[-1].name == "mine"


def test_only_results_with_an_image_response_are_successes(run_call: Any) -> None:
    """A result with an error, with a video response, or with nothing, is a failure."""
    jpeg = b"\xff\xd8\xff" + b"pixels" * 50
    data = base64.b64encode(jpeg).decode()
    image = image_pb2.ImageResponse(model="m", images=[{"base64": data}])

    async def answer(request: Any, context: Any) -> Any:
        return batch_pb2.ListBatchResultsResponse(
            results=[
                {"batch_request_id": "good", "response": {"image_response": image}},
                {"batch_request_id": "bad", "error": {"code": 3, "message": "no such ratio"}},
                {"batch_request_id": "odd", "error": {"code": 0}},
                {"batch_request_id": "neither"},
                {"batch_request_id": "video", "response": {"video_response": {}}},
                {"batch_request_id": "none", "response": {"image_response": {}}},
            ]
        )

    async def use(client: Any) -> Any:
        page = await client.batch.list_batch_results("b")
        return page, await page.results[0].image_response.image

    (page, image_data), _ = run_call(answer, use)
    assert image_data == jpeg
    assert [result.batch_request_id for result in page.succeeded] == ["good", "none"]
    assert [result.batch_request_id for result in page.failed] == ["bad", "odd", "neither", "video"]
    assert page.failed[0].error_message == "no such ratio"
    assert all(result.error_message and result.has_error for result in page.failed)
    assert page.succeeded[0].error_message is None
    assert page.pagination_token is None
    assert repr(page) == "BatchResults(6 results)"
    for result in page.results[1:]:
        with pytest.raises(errors.MissingImageError, match=result.batch_request_id):
            _ = result.image_response


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([prepare("x" * MAX_ADD_BYTES)], "per call"),
        ([prepare(), prepare(batch_request_id="r2"), prepare()], "'r1' occurs twice"),
        (["a prompt"], "not a batch request"),
    ],
)
def test_invalid_requests_are_not_added(run_call: Any, requests: list[Any], message: str) -> None:
    error, server = run_call(_answer, lambda client: client.batch.add("b", requests))
    assert isinstance(error, errors.OptionError)
    assert message in str(error)
    assert not server.requests


NOT_IDEMPOTENT = {
    "create": (lambda client: client.batch.create("a name"), "batch.list()"),
    "add": (lambda client: client.batch.add("b", [prepare()]), "list_batch_requests()"),
}
IDEMPOTENT = {
    "get": lambda client: client.batch.get("b"),
    "cancel": lambda client: client.batch.cancel("b"),
    "list": lambda client: client.batch.list(),
    "requests": lambda client: client.batch.list_batch_requests("b"),
    "results": lambda client: client.batch.list_batch_results("b"),
    "key": lambda client: client.auth.get_api_key_info(),
}


@pytest.mark.parametrize("name", NOT_IDEMPOTENT)
@pytest.mark.parametrize(
    ("code", "reply_begun"),
    [("UNAVAILABLE", True), ("UNAVAILABLE", False), ("RESOURCE_EXHAUSTED", False),
     ("INTERNAL", False)],
)  # fmt: skip
def test_a_failed_change_is_not_retried(
    run_call: Any, fail_then_succeed: Any, name: str, code: str, *, reply_begun: bool
) -> None:
    """A service may apply a change and still refuse it; the error says how to check."""
    use, method_to_check = NOT_IDEMPOTENT[name]
    answer = fail_then_succeed(_answer, code=grpc.StatusCode[code], reply_begun=reply_begun)
    error, server = run_call(answer, use)
    assert isinstance(error, errors.ApiError)
    assert (error.code, error.maybe_billed, error.unsent) == (code, True, False)
    assert method_to_check in str(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", NOT_IDEMPOTENT)
async def test_a_change_is_retried_if_the_server_is_unreachable(name: str) -> None:
    attempts: list[Any] = []
    async with AsyncClient("", api_host="localhost:1", on_attempt=attempts.append) as client:
        with pytest.raises(errors.UnavailableError) as caught:
            await NOT_IDEMPOTENT[name][0](client)
    assert caught.value.unsent
    assert not caught.value.maybe_billed
    assert caught.value.attempts == len(attempts) + 1 == 5


@pytest.mark.parametrize("name", IDEMPOTENT)
def test_reads_and_cancel_are_retried_even_after_a_reply_has_begun(
    run_call: Any, fail_then_succeed: Any, name: str
) -> None:
    answer = fail_then_succeed(_answer, times=2, reply_begun=True)
    reply, server = run_call(answer, IDEMPOTENT[name])
    assert not isinstance(reply, Exception)
    assert len(server.requests) == 3


def test_a_timeout_of_add_says_how_to_check_for_added_requests(run_call: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await asyncio.sleep(60)

    error, _ = run_call(answer, lambda client: client.batch.add("b", [prepare()], timeout=1))
    assert isinstance(error, errors.DeadlineExceededError)
    assert "the requests may have been added" in str(error)
    assert "list_batch_requests()" in str(error)


def test_an_echoed_key_is_scrubbed_from_results(run_call: Any, key: str) -> None:
    async def answer(request: Any, context: Any) -> Any:
        return batch_pb2.ListBatchResultsResponse(
            results=[{"batch_request_id": "r", "error": {"code": 3, "message": f"bad {key}"}}]
        )

    page, _ = run_call(answer, lambda client: client.batch.list_batch_results("b"))
    assert page.failed[0].error_message == "bad ***"
