"""OpenTelemetry spans."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from xai_sdk import image as sdk_image
from xai_sdk.proto import files_pb2, image_pb2

from xai_notebook import errors


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Return an in-memory span exporter; the global tracer provider is not changed."""
    span_exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(span_exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return span_exporter


def make_reply(reply: Any) -> Any:
    """Return a reply with images in base64, as URL and as data URI."""
    sent = reply(1, base64="data:image/jpeg;base64," + base64.b64encode(b"PIXELS" * 9).decode())
    sent.images.extend(reply(1, url="https://imgen.example/a.jpg").images)
    sent.images.extend(reply(1, url="data:image/png;base64,PIXELS").images)
    sent.usage.prompt_tokens = 5
    sent.usage.cost_in_usd_ticks = 42
    return sent


def generate(client: Any) -> Any:
    """Request three images with every option that has an attribute."""
    return client.image.sample_batch(
        "a secret fox", "grok-x", 3,
        aspect_ratio="9:19.5", resolution="2k", quality="low", user="someone",
    )  # fmt: skip


def test_a_call_creates_a_span_without_image_data(
    run_call: Any, reply: Any, exporter: InMemorySpanExporter
) -> None:
    run_call(make_reply(reply), generate)
    (span,) = exporter.get_finished_spans()
    assert span.name == "image.sample_batch grok-x"
    assert span.kind is trace.SpanKind.CLIENT
    expected = {
        "gen_ai.operation.name": "generate_image",
        "gen_ai.provider.name": "xai",
        "gen_ai.output.type": "image",
        "gen_ai.request.model": "grok-x",
        "gen_ai.prompt": "a secret fox",
        "gen_ai.request.image.format": "url",
        "gen_ai.request.image.count": 3,
        "gen_ai.request.image.aspect_ratio": "9:19.5",
        "gen_ai.request.image.resolution": "2k",
        "gen_ai.request.image.quality": "low",
        "user_id": "someone",
        "gen_ai.response.model": "grok-test",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.cost_in_usd_ticks": 42,
        "gen_ai.response.image.format": "url",
        "gen_ai.response.0.image.respect_moderation": True,
        "gen_ai.response.1.image.url": "https://imgen.example/a.jpg",
    }
    attributes = dict(span.attributes or {})
    assert {name: attributes.get(name) for name in expected} == expected
    assert "gen_ai.response.2.image.url" not in attributes
    assert "PIXELS" not in str(attributes)
    assert "UElYRUxT" not in str(attributes)  # base64 of PIXELS


def test_storage_attributes_match_the_sdk(run_call: Any, exporter: InMemorySpanExporter) -> None:
    options = {"filename": "a.png", "expires_after": 7200, "public_url": True}
    stored = {"file_id": "f", "public_url": "https://x.example/f", "public_url_error": "late"}
    image = {"url": "https://x.example/a", "file_output": stored, "storage_error": "full"}
    reply = image_pb2.ImageResponse(images=[image])
    _, server = run_call(reply, lambda c: c.image.sample("p", "m", storage_options=options))
    (request,) = server.requests
    sdk_attributes = {
        **sdk_image._make_span_request_attributes(request),
        **sdk_image._make_span_response_attributes(
            request, [sdk_image.BaseImageResponse(reply, 0)]
        ),
    }
    (span,) = exporter.get_finished_spans()
    assert sdk_attributes["gen_ai.response.0.image.storage_error"] == "full"
    assert dict(span.attributes or {}) == sdk_attributes


def test_sensitive_attributes_can_be_disabled(
    run_call: Any, reply: Any, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_SDK_DISABLE_SENSITIVE_TELEMETRY_ATTRIBUTES", "1")
    run_call(make_reply(reply), generate)
    (span,) = exporter.get_finished_spans()
    assert set(span.attributes or {}) == {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.output.type",
        "gen_ai.request.model",
        "gen_ai.response.model",
    }


def test_tracing_can_be_disabled(
    run_call: Any, reply: Any, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_SDK_DISABLE_TRACING", "true")
    run_call(make_reply(reply), generate)
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("sensitive", [True, False])
def test_a_failed_call_sets_the_span_status_without_key_and_traceback(
    run_call: Any, exporter: InMemorySpanExporter, key: str, monkeypatch: Any, *, sensitive: bool
) -> None:
    if not sensitive:
        monkeypatch.setenv("XAI_SDK_DISABLE_SENSITIVE_TELEMETRY_ATTRIBUTES", "1")

    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"unknown key {key}")

    error, _ = run_call(answer, generate)
    assert isinstance(error, errors.AuthenticationError)
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert ("XAI_API_KEY" in str(span.status.description)) == sensitive
    assert (span.attributes or {})["error.type"] == "UNAUTHENTICATED"
    assert span.events == ()
    assert key not in span.to_json()


def test_upload_and_delete_create_spans_named_like_the_sdk(
    run_call: Any, exporter: InMemorySpanExporter
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        assert [chunk async for chunk in request]
        return files_pb2.File(id="f1", filename="a")

    run_call(answer, lambda client: client.files.upload(b"bytes", filename="a"))
    run_call(files_pb2.DeleteFileResponse(), lambda client: client.files.delete("f1"))
    uploaded, deleted = exporter.get_finished_spans()
    assert (uploaded.name, deleted.name) == ("file.upload", "file.delete")
    assert dict(uploaded.attributes or {}) == {
        "operation.name": "upload_file",
        "provider.name": "xai",
        "file.id": "f1",
        "file.filename": "a",
    }
    assert dict(deleted.attributes or {})["file.id"] == "f1"


SCRIPT = """
import asyncio, sys
from xai_notebook import errors
from xai_notebook.client import AsyncClient
async def main():
    async with AsyncClient(api_host="localhost:9", timeout=0.1) as client:
        try:
            await client.image.sample("p", "m")
        except errors.UnavailableError:
            pass
asyncio.run(main())
heavy = {"opentelemetry", "requests", "urllib3", "IPython", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_call_imports_no_unneeded_packages() -> None:
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=30, env=environment)
