"""Batches of the embedded server, with a clock that the tests set; the client is xAI's SDK."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from openai_stub import png
from sdk_client import connect, refusal
from xai_notebook.client import wire
from xai_notebook.server import BatchFaults, EmbeddedServer, Faults
from xai_notebook.server.engine import Engine
from xai_notebook.server.faults import Refusal
from xai_notebook.server.validation import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdk_client import Clock

MODEL = "grok-imagine-image"
PENDING, SUCCEEDED, CANCELLED, FAILED = 1, 2, 3, 4


async def create(client: Any, count: int, **options: Any) -> str:
    """Create a batch of `count` requests, named r0, r1, …; return its id."""
    batch = await client.batch.create("foxes")
    options = {"image_format": "base64", **options}
    requests = [
        client.image.prepare(f"fox {i}", MODEL, batch_request_id=f"r{i}", **options)
        for i in range(count)
    ]
    await client.batch.add(batch.batch_id, requests)
    return batch.batch_id


def count_states(batch: Any) -> tuple[int, ...]:
    """Return the number of pending, succeeded, failed and cancelled requests."""
    state = batch.state
    return (state.num_pending, state.num_success, state.num_error, state.num_cancelled)


async def test_requests_complete_in_order_at_the_set_pace(clock: Clock) -> None:
    """Results can be read while the batch is running; the cost adds up."""
    faults = Faults(cost_ticks=7, batches=BatchFaults(pace=2))
    async with EmbeddedServer(clock=clock, faults=faults) as server, connect(server) as client:
        batch_id = await create(client, 5)
        batches = [await client.batch.get(batch_id)]
        clock.now += 1
        batches.append(await client.batch.get(batch_id))
        results = await client.batch.list_batch_results(batch_id)
        metadata = await client.batch.list_batch_requests(batch_id)
        clock.now += 10
        batches.append(await client.batch.get(batch_id))
    assert list(map(count_states, batches)) == [(5, 0, 0, 0), (3, 2, 0, 0), (0, 5, 0, 0)]
    assert [batch.cost_breakdown.total_cost_usd_ticks for batch in batches] == [0, 14, 35]
    assert [result.batch_request_id for result in results.results] == ["r0", "r1"]
    requests = metadata.batch_request_metadata
    states = [(request.state, request.HasField("finish_time")) for request in requests]
    assert states == [(SUCCEEDED, True)] * 2 + [(PENDING, False)] * 3
    assert server.painted == 2  # unread results are not painted


async def test_cancelling_keeps_completed_requests(clock: Clock) -> None:
    faults = Faults(batches=BatchFaults(pace=2))
    async with EmbeddedServer(clock=clock, faults=faults) as server, connect(server) as client:
        batch_id = await create(client, 4)
        clock.now += 1
        await client.batch.cancel(batch_id)
        clock.now += 60
        await client.batch.cancel(batch_id)  # a second time, which changes nothing
        results = await client.batch.list_batch_results(batch_id)
        refused = await refusal(client.batch.add(batch_id, [client.image.prepare("p", MODEL)]))
        batch = await client.batch.get(batch_id)
    assert count_states(batch) == (0, 2, 0, 2)
    assert len(results.results) == 2
    assert batch.cancel_time.seconds == batch.create_time.seconds + 1
    assert not batch.HasField("cancel_by_xai_message")
    assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "The batch has ended.")


@pytest.mark.parametrize("count", [0, 4])
async def test_the_service_can_cancel_a_batch_and_gives_the_reason(
    clock: Clock, count: int
) -> None:
    """Completed requests stay."""
    faults = Faults(batches=BatchFaults(pace=2))
    async with EmbeddedServer(clock=clock, faults=faults) as server, connect(server) as client:
        batch_id = await create(client, count)
        clock.now += 1
        server.faults.batches.cancelled = "over capacity"
        await client.batch.get(batch_id)
        clock.now += 60
        batch = await client.batch.get(batch_id)
    assert batch.cancel_by_xai_message == "over capacity"
    assert batch.state.num_requests == count
    assert count_states(batch)[:2] == (0, count // 2)


async def test_an_expired_batch_has_no_pending_requests_and_no_results(clock: Clock) -> None:
    faults = Faults(batches=BatchFaults(pace=1, lifetime=2))
    async with EmbeddedServer(clock=clock, faults=faults) as server, connect(server) as client:
        batch_id = await create(client, 4)
        clock.now += 100
        batch = await client.batch.get(batch_id)
        refused = await refusal(client.batch.list_batch_results(batch_id))
    assert count_states(batch) == (0, 2, 0, 2)
    assert batch.expire_time.seconds == batch.create_time.seconds + 2
    assert refused == (grpc.StatusCode.NOT_FOUND, "The batch has expired.")


@pytest.mark.parametrize("lost", ["lost_creates", "lost_adds"])
async def test_a_reply_is_lost_after_the_work_was_done(lost: str) -> None:
    faults = Faults(batches=BatchFaults(**{lost: 1}))  # type: ignore[arg-type]
    async with EmbeddedServer(faults=faults) as server, connect(server) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(client, 3)
        (batch,) = (await client.batch.list()).batches
        await client.batch.create("again")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert tuple(caught.value.initial_metadata() or ())  # a reply had begun
    assert batch.name == "foxes"
    assert batch.state.num_requests == (0 if lost == "lost_creates" else 3)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([{"model": "grok-2-image"}], "does not support batch"),
        ([{"batch_request_id": "r1"}], "exists already"),
        ([{"batch_request_id": "new"}] * 2, "exists already"),
        ([{"prompt": "x" * 7000}] * 600, "at most 4,000,000 bytes"),
    ],
    ids=["model without batches", "existing id", "repeated id", "too many bytes"],
)
async def test_a_call_with_an_invalid_request_adds_nothing(
    requests: list[dict[str, Any]], message: str
) -> None:
    faults = Faults(batches=BatchFaults(unbatchable=frozenset({"grok-2-image"})))
    async with EmbeddedServer(faults=faults) as server, connect(server) as client:
        batch_id = await create(client, 2)
        prepared = [
            client.image.prepare(**{"prompt": "p", "model": MODEL, **request})
            for request in [{"batch_request_id": "valid"}, *requests]
        ]
        code, details = await refusal(client.batch.add(batch_id, prepared))
        batch = await client.batch.get(batch_id)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details
    assert batch.state.num_requests == 2


async def test_pages_may_repeat_a_token(clock: Clock) -> None:
    faults = Faults(batches=BatchFaults(repeat_token=True))
    async with EmbeddedServer(clock=clock, faults=faults) as server, connect(server) as client:
        batch_id = await create(client, 3)
        clock.now += 60
        tokens, token = [], None
        for _ in range(5):
            page = await client.batch.list_batch_results(batch_id, 1, token)
            token = page.pagination_token
            tokens.append(token)
    assert len(set(tokens)) == 1


async def test_optional_fields_can_be_missing(clock: Clock) -> None:
    faults = Faults(batches=BatchFaults(neither=frozenset({"r1"}), stateless=True))
    async with EmbeddedServer(clock=clock, faults=faults) as server, connect(server) as client:
        batch_id = await create(client, 2)
        clock.now += 60
        results = await client.batch.list_batch_results(batch_id)
        batch = await client.batch.get(batch_id)
    assert not batch.HasField("state")
    kinds = [result.WhichOneof("result") for result in results.proto.results]
    assert kinds == ["response", None]


async def test_a_result_is_stored_once_and_stays_the_same_when_it_is_painted_again(
    clock: Clock,
) -> None:
    async with EmbeddedServer(clock=clock) as server, connect(server) as client:
        batch_id = await create(client, 34, storage_options={"filename": "a"}, aspect_ratio="2:1")
        clock.now += 60
        first = await client.batch.list_batch_results(batch_id, 1)
        await client.batch.list_batch_results(batch_id)
        again = await client.batch.list_batch_results(batch_id, 1)
        files = await client.files.list()
    assert first.proto == again.proto
    assert first.proto.results[0].response.image_response.images[0].file_output.file_id
    assert server.painted > 34
    assert len(files.data) == 34


async def test_requests_are_listed_by_state_and_results_found_by_id(clock: Clock) -> None:
    faults = Faults(batches=BatchFaults(pace=2))
    async with EmbeddedServer(clock=clock, faults=faults) as server, connect(server) as client:
        batch_id = await create(client, 4)
        clock.now += 1
        states = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            list_requests = channel.unary_unary(wire.LIST_BATCH_REQUEST_METADATA)
            for state in (PENDING, SUCCEEDED, FAILED):
                request = wire.ListBatchRequestMetadataRequest(batch_id=batch_id)
                request.status.append(state)  # type: ignore[arg-type]
                reply = await list_requests(request.SerializeToString())
                page = wire.ListBatchRequestMetadataResponse.FromString(reply)
                states.append([item.batch_request_id for item in page.batch_request_metadata])
            get = channel.unary_unary(wire.GET_BATCH_REQUEST_RESULT)
            done, pending = (
                wire.GetBatchRequestResultRequest(batch_id=batch_id, batch_request_id=request_id)
                for request_id in ("r1", "r3")
            )
            reply = await get(done.SerializeToString())
            result = wire.GetBatchRequestResultResponse.FromString(reply)
            with pytest.raises(grpc.aio.AioRpcError, match="no result") as caught:
                await get(pending.SerializeToString())
    assert states == [["r2", "r3"], ["r0", "r1"], []]
    assert result.request.image_request.prompt == "fox 1"
    assert result.result.response.image_response.images[0].base64
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_bytes_of_requests_are_bounded() -> None:
    async with EmbeddedServer(keep_bytes=10_000) as server, connect(server) as client:
        code, details = await refusal(create(client, 1000))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "holds no more" in details


@pytest.mark.parametrize("call", ["create", "add", "get", "list"])
async def test_a_fault_fails_every_batch_call(call: str) -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        batch_id = await create(client, 1)
        server.faults.batches.failure = grpc.StatusCode.PERMISSION_DENIED
        calls = {
            "create": lambda: client.batch.create("more"),
            "add": lambda: client.batch.add(batch_id, []),
            "get": lambda: client.batch.get(batch_id),
            "list": client.batch.list,
        }
        code, _ = await refusal(calls[call]())
    assert code is grpc.StatusCode.PERMISSION_DENIED


class _CountingEngine(Engine):
    """An engine that makes another picture every time."""

    def __init__(self) -> None:
        self.made = 0
        self.down = False

    async def models(self) -> Sequence[Model]:
        if self.down:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "loading")
        return (Model("mine-1", (), 0),)

    async def make(self, order: Any, index: int, inputs: Any) -> bytes:
        self.made += 1
        await asyncio.sleep(0)
        return png(f"rgb({self.made}, 0, 0)")


async def test_an_engine_makes_the_pictures_of_a_batch_once(clock: Clock) -> None:
    """The results can be read several times, also at once; their cost is unknown."""
    engine = _CountingEngine()
    async with EmbeddedServer(clock=clock, engine=engine) as server, connect(server) as client:
        batch_id = await create(client, 40)
        clock.now += 60
        read = client.batch.list_batch_results
        first, second = await asyncio.gather(read(batch_id), read(batch_id))
        third = await read(batch_id)
        batch = await client.batch.get(batch_id)
    assert engine.made == 40
    assert first.proto == second.proto == third.proto
    models = {result.proto.response.image_response.model for result in first.results}
    assert models == {"mine-1"}
    assert not batch.HasField("cost_breakdown")


async def test_four_equal_requests_get_the_pictures_of_a_call_for_four(clock: Clock) -> None:
    async with EmbeddedServer(clock=clock) as server, connect(server) as client:
        batch = await client.batch.create("foxes")
        requests = [
            client.image.prepare("a fox", MODEL, batch_request_id=f"r{i}", image_format="base64")
            for i in range(4)
        ]
        await client.batch.add(batch.batch_id, requests[:2])
        await client.batch.add(batch.batch_id, requests[2:])
        clock.now += 60
        results = (await client.batch.list_batch_results(batch.batch_id)).results
        responses = await client.image.sample_batch("a fox", MODEL, 4, image_format="base64")
    images = [response.base64 for response in responses]
    assert [result.image_response.base64 for result in results] == images
    assert len(set(images)) == 4


async def test_a_call_with_a_model_unknown_to_the_engine_adds_nothing() -> None:
    engine = _CountingEngine()
    async with EmbeddedServer(engine=engine) as server, connect(server) as client:
        batch = await client.batch.create("foxes")
        requests = [
            client.image.prepare("fox", model, batch_request_id=model)
            for model in ("mine-1", "mine-2")
        ]
        unknown = await refusal(client.batch.add(batch.batch_id, requests))
        engine.down = True
        down = await refusal(client.batch.add(batch.batch_id, requests))
        batch = await client.batch.get(batch.batch_id)
    assert count_states(batch) == (0, 0, 0, 0)
    assert unknown[0] is grpc.StatusCode.NOT_FOUND
    assert "Existing models: mine-1" in unknown[1]
    assert down[0] is grpc.StatusCode.UNAVAILABLE
