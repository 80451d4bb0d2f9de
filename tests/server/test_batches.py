"""Batches of the embedded server, on a clock of the test; the client is xAI's SDK."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from openai_stub import png
from sdk_client import Clock, refusal, run
from xai_notebook.client import wire
from xai_notebook.server import BatchFaults, EmbeddedServer, Faults
from xai_notebook.server.engine import Engine
from xai_notebook.server.faults import Refusal
from xai_notebook.server.validation import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL = "grok-imagine-image"
PENDING, SUCCEEDED, CANCELLED, FAILED = 1, 2, 3, 4


async def filled(client: Any, count: int, **options: Any) -> str:
    """Return the id of a batch with `count` requests."""
    batch = await client.batch.create("foxes")
    requests = [
        client.image.prepare(
            f"fox {i}", MODEL, batch_request_id=f"r{i}", image_format="base64", **options
        )
        for i in range(count)
    ]
    await client.batch.add(batch.batch_id, requests)
    return batch.batch_id


def numbers(batch: Any) -> tuple[int, ...]:
    """Return pending, succeeded, failed, cancelled."""
    state = batch.state
    return (state.num_pending, state.num_success, state.num_error, state.num_cancelled)


def test_requests_complete_in_order_at_the_pace() -> None:
    """Results can be read while the batch is running; the cost adds up."""

    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 5)
        seen = [await client.batch.get(name)]
        clock.now += 1
        seen.append(await client.batch.get(name))
        results = await client.batch.list_batch_results(name)
        metadata = await client.batch.list_batch_requests(name)
        clock.now += 10
        seen.append(await client.batch.get(name))
        return seen, results, metadata.batch_request_metadata, server.painted

    faults = Faults(cost_ticks=7, batches=BatchFaults(pace=2))
    seen, results, metadata, painted = run(script, faults=faults)
    assert [numbers(one) for one in seen] == [(5, 0, 0, 0), (3, 2, 0, 0), (0, 5, 0, 0)]
    assert [one.batch_request_id for one in results.results] == ["r0", "r1"]
    assert [one.state for one in metadata] == [SUCCEEDED, SUCCEEDED, PENDING, PENDING, PENDING]
    assert [one.HasField("finish_time") for one in metadata] == [True, True, False, False, False]
    assert [one.cost_breakdown.total_cost_usd_ticks for one in seen] == [0, 14, 35]
    assert painted == 2  # unread results are not painted


def test_cancelling_keeps_completed_requests() -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 4)
        clock.now += 1
        await client.batch.cancel(name)
        clock.now += 60
        await client.batch.cancel(name)  # once more: nothing
        results = await client.batch.list_batch_results(name)
        refused = await refusal(client.batch.add(name, [client.image.prepare("p", MODEL)]))
        return await client.batch.get(name), results, refused

    batch, results, refused = run(script, faults=Faults(batches=BatchFaults(pace=2)))
    assert numbers(batch) == (0, 2, 0, 2)
    assert len(results.results) == 2
    assert batch.cancel_time.seconds == batch.create_time.seconds + 1
    assert not batch.HasField("cancel_by_xai_message")
    assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "The batch has ended.")


@pytest.mark.parametrize("count", [0, 4])
def test_the_service_cancels_a_batch(count: int) -> None:
    """Also an empty one; the batch has the reason, and completed requests stay."""

    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, count)
        clock.now += 1
        server.faults.batches.cancelled = "over capacity"
        await client.batch.get(name)
        clock.now += 60
        return await client.batch.get(name)

    batch = run(script, faults=Faults(batches=BatchFaults(pace=2)))
    assert batch.cancel_by_xai_message == "over capacity"
    assert batch.state.num_requests == count
    assert batch.state.num_pending == 0
    assert batch.state.num_success == count // 2


def test_a_batch_expires() -> None:
    """Pending requests are cancelled, and results can no longer be read."""

    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 4)
        clock.now += 100
        batch = await client.batch.get(name)
        return batch, await refusal(client.batch.list_batch_results(name))

    batch, refused = run(script, faults=Faults(batches=BatchFaults(pace=1, lifetime=2)))
    assert numbers(batch) == (0, 2, 0, 2)
    assert batch.expire_time.seconds == batch.create_time.seconds + 2
    assert refused == (grpc.StatusCode.NOT_FOUND, "The batch has expired.")


@pytest.mark.parametrize("lost", ["lost_creates", "lost_adds"])
def test_a_lost_reply_comes_after_the_work(lost: str) -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await filled(client, 3)
        (batch,) = (await client.batch.list()).batches
        await client.batch.create("again")
        return batch, caught.value.code(), tuple(caught.value.initial_metadata() or ())

    batch, status, headers = run(script, faults=Faults(batches=BatchFaults(**{lost: 1})))  # type: ignore[arg-type]
    assert status is grpc.StatusCode.UNAVAILABLE
    assert headers  # a reply had begun
    assert batch.name == "foxes"
    assert batch.state.num_requests == (0 if lost == "lost_creates" else 3)


REFUSED: dict[str, tuple[Any, str]] = {
    "unbatchable": (lambda image: [image.prepare("p", "grok-2-image")], "does not support batch"),
    "the same id": (
        lambda image: [image.prepare("p", MODEL, batch_request_id="r1")],
        "exists already",
    ),
    "twice": (
        lambda image: [image.prepare("p", MODEL, batch_request_id="new") for _ in range(2)],
        "exists already",
    ),
    "large": (
        lambda image: [image.prepare("x" * 7000, MODEL) for _ in range(600)],
        "at most 4,000,000 bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_request_keeps_its_whole_call_out(name: str) -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        batch = await filled(client, 2)
        good = client.image.prepare("p", MODEL, batch_request_id="good")
        wrong, text = REFUSED[name]
        code, details = await refusal(client.batch.add(batch, [good, *wrong(client.image)]))
        assert text in details
        return code, (await client.batch.get(batch)).state.num_requests

    faults = Faults(batches=BatchFaults(unbatchable=frozenset({"grok-2-image"})))
    assert run(script, faults=faults) == (grpc.StatusCode.INVALID_ARGUMENT, 2)


def test_pages_may_repeat_a_token() -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 3)
        clock.now += 60
        tokens, token = [], None
        for _ in range(5):
            page = await client.batch.list_batch_results(name, 1, token)
            token = page.pagination_token
            tokens.append(token)
        return tokens

    assert len(set(run(script, faults=Faults(batches=BatchFaults(repeat_token=True))))) == 1


def test_optional_members_can_be_missing() -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 2)
        clock.now += 60
        results = await client.batch.list_batch_results(name)
        return await client.batch.get(name), results.proto

    faults = Faults(batches=BatchFaults(neither=frozenset({"r1"}), stateless=True))
    batch, results = run(script, faults=faults)
    assert not batch.HasField("state")
    assert [one.WhichOneof("result") for one in results.results] == ["response", None]


def test_a_result_is_the_same_each_time_and_stored_once() -> None:
    """Also after it was dropped from the cache and painted again."""

    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 40, storage_options={"filename": "a.jpg"}, aspect_ratio="2:1")
        clock.now += 60
        first = await client.batch.list_batch_results(name, 1)
        await client.batch.list_batch_results(name)
        again = await client.batch.list_batch_results(name, 1)
        return first.proto, again.proto, server.painted, await client.files.list()

    first, again, painted, files = run(script)
    assert first == again
    assert first.results[0].response.image_response.images[0].file_output.file_id
    assert painted > 40
    assert len(files.data) == 40


def test_requests_are_listed_by_state_and_results_found_by_id() -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 4)
        clock.now += 1
        states = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            listed = channel.unary_unary(wire.LIST_BATCH_REQUEST_METADATA)
            for state in (PENDING, SUCCEEDED, FAILED):
                request = wire.ListBatchRequestMetadataRequest(batch_id=name)
                request.status.append(state)  # type: ignore[arg-type]
                reply = await listed(request.SerializeToString())
                found = wire.ListBatchRequestMetadataResponse.FromString(reply)
                states.append([one.batch_request_id for one in found.batch_request_metadata])
            one = channel.unary_unary(wire.GET_BATCH_REQUEST_RESULT)
            wanted = wire.GetBatchRequestResultRequest(batch_id=name, batch_request_id="r1")
            result = wire.GetBatchRequestResultResponse.FromString(
                await one(wanted.SerializeToString())
            )
            wanted = wire.GetBatchRequestResultRequest(batch_id=name, batch_request_id="r3")
            with pytest.raises(grpc.aio.AioRpcError, match="no result") as caught:
                await one(wanted.SerializeToString())
        return states, result, caught.value.code()

    states, result, status = run(script, faults=Faults(batches=BatchFaults(pace=2)))
    assert states == [["r2", "r3"], ["r0", "r1"], []]
    assert result.request.image_request.prompt == "fox 1"
    assert result.result.response.image_response.images[0].base64
    assert status is grpc.StatusCode.NOT_FOUND


def test_the_bytes_of_requests_are_bounded() -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        return await refusal(filled(client, 1000))

    code, details = run(script, keep_bytes=10_000)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "holds no more" in details


@pytest.mark.parametrize("call", ["create", "add", "get", "list"])
def test_every_call_can_fail(call: str) -> None:
    async def script(client: Any, clock: Clock, server: EmbeddedServer) -> Any:
        name = await filled(client, 1)
        server.faults.batches.failure = grpc.StatusCode.PERMISSION_DENIED
        calls = {
            "create": lambda: client.batch.create("more"),
            "add": lambda: client.batch.add(name, []),
            "get": lambda: client.batch.get(name),
            "list": client.batch.list,
        }
        return await refusal(calls[call]())

    assert run(script)[0] is grpc.StatusCode.PERMISSION_DENIED


class _MyEngine(Engine):
    """An engine that makes another picture every time."""

    def __init__(self) -> None:
        self.made = 0
        self.down = False

    async def models(self) -> Sequence[Model]:
        """Return one model, unless the engine is down."""
        if self.down:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "loading")
        return (Model("mine-1", (), 0),)

    async def make(self, order: Any, index: int, inputs: Any) -> bytes:
        """Return a picture after a while."""
        self.made += 1
        await asyncio.sleep(0)
        return png(f"rgb({self.made}, 0, 0)")  # different each time


def test_an_engine_makes_the_pictures_of_a_batch_once() -> None:
    """However often they are read; their cost is unknown."""

    async def script(client: Any, clock: Clock, _server: EmbeddedServer) -> Any:
        name = await filled(client, 40)
        clock.now += 60
        read = client.batch.list_batch_results
        first, second = await asyncio.gather(read(name), read(name))
        return first, second, await read(name), await client.batch.get(name)

    engine = _MyEngine()
    first, second, third, batch = run(script, engine=engine)
    assert engine.made == 40
    assert first.proto == second.proto == third.proto
    assert {one.proto.response.image_response.model for one in first.results} == {"mine-1"}
    assert not batch.HasField("cost_breakdown")


def test_equal_requests_get_different_pictures() -> None:
    async def script(client: Any, clock: Clock, _server: EmbeddedServer) -> Any:
        batch = await client.batch.create("foxes")
        requests = [
            client.image.prepare(
                "a fox", MODEL, batch_request_id=f"r{number}", image_format="base64"
            )
            for number in range(4)
        ]
        for each in (requests[:2], requests[2:]):
            await client.batch.add(batch.batch_id, each)
        clock.now += 60
        results = await client.batch.list_batch_results(batch.batch_id)
        takes = await client.image.sample_batch("a fox", MODEL, 4, image_format="base64")
        return [one.image_response.base64 for one in results.results], [t.base64 for t in takes]

    made, takes = run(script)
    assert made == takes
    assert len(set(made)) == 4


def test_an_engine_without_the_model_refuses_the_whole_call() -> None:
    """Likewise if its models are unknown."""

    async def script(client: Any, clock: Clock, _server: EmbeddedServer) -> Any:
        batch = await client.batch.create("foxes")
        requests = [
            client.image.prepare("fox", model, batch_request_id=model)
            for model in ("mine-1", "mine-2")
        ]
        unknown = await refusal(client.batch.add(batch.batch_id, requests))
        engine.down = True
        down = await refusal(client.batch.add(batch.batch_id, requests))
        return await client.batch.get(batch.batch_id), unknown, down

    engine = _MyEngine()
    batch, unknown, down = run(script, engine=engine)
    assert numbers(batch) == (0, 0, 0, 0)
    assert unknown[0] is grpc.StatusCode.NOT_FOUND
    assert "Existing models: mine-1" in unknown[1]
    assert down[0] is grpc.StatusCode.UNAVAILABLE
