"""The key appears in no error, traceback, repr, log or pickle."""

from __future__ import annotations

import copy
import copyreg
import dataclasses
import json
import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import grpc
import pytest
from IPython import version_info
from IPython.core.ultratb import VerboseTB

from xai_notebook import errors
from xai_notebook.client import AsyncClient
from xai_notebook.server import EmbeddedServer
from xai_notebook.settings import ApiKey, Configuration

# Module globals, not locals: the searched tracebacks may include the locals of these tests.
KEY = "xai-test-0123456789abcdef"
UNSENDABLE = "xai-unsendable \u00fc 0123456789"


def render_all(error: BaseException) -> str:
    """Return every text form of an error: traceback with locals, repr, str and rendering."""
    chain = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = ["".join(chain.format()), repr(error), str(error), repr(vars(error))]
    if isinstance(error, errors.XaiError):
        texts += [*error._render_traceback_(), *error._render_traceback_()]
    for other in (error.__cause__, error.__context__):
        if other is not None:
            texts.append(render_all(other))
    return "\n".join(texts)


def client_of(host: str) -> AsyncClient:
    """Return a client with the key, which no frame of a test then holds."""
    return AsyncClient(KEY, api_host=host)


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code.name not in {"OK", "RESOURCE_EXHAUSTED"}]
)
async def test_an_echoed_key_is_removed_from_errors_logs_and_output(
    code: Any, serve: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        header = dict(context.invocation_metadata())["authorization"]
        await context.abort(code, f"you sent {header}", (("x-echo", header),))

    with caplog.at_level(logging.DEBUG):
        async with serve(answer) as server, client_of(server.host) as client:
            with pytest.raises(errors.XaiError) as caught:
                await client.image.sample("p", "m")
    assert "***" in str(caught.value)
    for text in (render_all(caught.value), caplog.text, *capfd.readouterr()):
        assert KEY not in text


def test_reprs_do_not_contain_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of("api.x.ai")
    monkeypatch.setenv("XAI_API_KEY", KEY)
    settings = Configuration.from_environment()
    objects = [client, client.image, client.models, client.chat, client._connection, settings]
    for value in objects:
        assert KEY not in f"{value!r} {value!s} {value:}"
    for value in (client, client.image, client._connection):
        assert KEY not in repr(vars(value))


@pytest.mark.parametrize(
    "serialize",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        vars,
        json.dumps,
        dataclasses.asdict,
        lambda key: key.__getstate__(),
        lambda key: key.__reduce__(),
        lambda key: key.__reduce_ex__(4),
        lambda key: object.__reduce_ex__(key, 2),
        lambda key: copyreg.__reduce_ex__(key, 1),  # type: ignore[call-arg]
        lambda key: dataclasses.asdict(Configuration(key, "", "auto", Path())),
        lambda key: pickle.dumps(AsyncClient(key)),
    ],
)
def test_a_key_cannot_be_copied_or_serialised(serialize: Any) -> None:
    with pytest.raises(TypeError) as caught:
        serialize(ApiKey(KEY))
    assert KEY not in render_all(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AsyncClient(UNSENDABLE),
        lambda: AsyncClient(KEY, api_host="http://example.com"),
        lambda: AsyncClient(KEY, timeout=-1),
        lambda: AsyncClient(api_host="localhost:9", metadata=[("authorization", KEY)]),
        lambda: ApiKey(UNSENDABLE),
        lambda: AsyncClient(KEY.encode()),  # type: ignore[arg-type]
        lambda: AsyncClient([KEY]),  # type: ignore[arg-type]
        lambda: AsyncClient({"key": KEY}),  # type: ignore[arg-type]
        lambda: AsyncClient("", metadata=[("x-key", KEY + "\n")]),
        lambda: AsyncClient("", metadata={"x-key": KEY}),  # type: ignore[dict-item]
        lambda: AsyncClient("", metadata=[KEY]),  # type: ignore[list-item]
        lambda: ApiKey(KEY.encode()),  # type: ignore[arg-type]
        lambda: EmbeddedServer(api_key=UNSENDABLE),
        lambda: EmbeddedServer(api_key=KEY.encode()),  # type: ignore[arg-type]
        lambda: EmbeddedServer(api_key=KEY, host="0.0.0.0"),
    ],
)
def test_constructor_errors_do_not_expose_the_key_in_any_frame(make: Any) -> None:
    with pytest.raises(errors.XaiError) as caught:
        make()
    text = render_all(caught.value)
    assert KEY not in text
    assert UNSENDABLE not in text


def test_tracebacks_do_not_contain_the_key_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XAI_API_KEY", UNSENDABLE)
    for make in (AsyncClient, Configuration.from_environment):
        with pytest.raises(errors.ConfigurationError) as caught:
            make()
        assert UNSENDABLE not in render_all(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("XAI_NOTEBOOK_BACKEND", "moon"),
        ("XAI_NOTEBOOK_HOME", "~nobody-of-that-name/x"),
        ("XAI_API_HOST", "http://example.com"),
        ("SSL_CERT_FILE", "/nowhere/roots.pem"),
        ("SSL_CERT_FILE", json.__file__),
        ("HTTPS_PROXY", "socks5://proxy:1"),
    ],
)
async def test_an_error_for_one_environment_variable_does_not_expose_the_key(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("XAI_API_KEY", KEY)
    monkeypatch.setenv(name, value)

    async def call() -> None:
        Configuration.from_environment()
        async with AsyncClient() as client:
            await client.image.sample("p", "m")

    with pytest.raises(errors.ConfigurationError) as caught:
        await call()
    formatter = VerboseTB(color_scheme="NoColor") if version_info < (9,) else VerboseTB()
    verbose_traceback = formatter.text(
        type(caught.value), caught.value, caught.value.__traceback__, context=9
    )
    assert KEY not in verbose_traceback + render_all(caught.value)


def test_attempts_and_responses_do_not_contain_the_key(
    run_call: Any, reply: Any, fail_then_succeed: Any
) -> None:
    attempts: list[Any] = []
    response, _ = run_call(
        fail_then_succeed(reply(base64="AAAA"), details=KEY),
        lambda client: client.image.sample("p", "m", on_attempt=attempts.append),
    )
    assert response.base64 == "AAAA"
    assert KEY not in f"{attempts!r} {response!r} {vars(response)!r}"
