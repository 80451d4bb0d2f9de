"""The key appears in no error, traceback, repr, log or pickle."""

from __future__ import annotations

import asyncio
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

# Globals: the frames of these tests may be part of the tracebacks they search.
KEY = "xai-test-0123456789abcdef"
UNSENDABLE = "xai-unsendable \u00fc 0123456789"


def shown(error: BaseException) -> str:
    """Return everything that can be shown of an error, with the locals of every frame."""
    chain = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = ["".join(chain.format()), repr(error), str(error), repr(vars(error))]
    if isinstance(error, errors.XaiError):
        texts += [*error._render_traceback_(), *error._render_traceback_()]
    for other in (error.__cause__, error.__context__):
        if other is not None:
            texts.append(shown(other))
    return "\n".join(texts)


async def fail(code: Any, serve: Any, times: int = 9) -> BaseException:
    """Call a server that echoes the key in details and metadata of its status."""
    heard: list[Any] = []

    async def answer(request: Any, context: Any) -> Any:
        header = dict(context.invocation_metadata())["authorization"]
        heard.append(None)
        await context.abort(code, f"you sent {header}", (("x-echo", header),))

    async with serve(answer) as peer, client_of(peer.host) as client:
        try:
            await client.image.sample("p", "m")
        except errors.XaiError as error:
            return error
    raise AssertionError


def client_of(host: str) -> AsyncClient:
    """Return a client with the key, outside of the traceback's frames."""
    return AsyncClient(KEY, api_host=host)


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code.name not in {"OK", "RESOURCE_EXHAUSTED"}]
)
def test_an_echoed_key_is_in_no_error(
    code: Any, serve: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor in its traceback, the log or the output."""
    with caplog.at_level(logging.DEBUG):
        error = asyncio.run(fail(code, serve))
    assert "***" in str(error)
    for text in (shown(error), caplog.text, *capfd.readouterr()):
        assert KEY not in text


def test_reprs_hold_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of("api.x.ai")
    monkeypatch.setenv("XAI_API_KEY", KEY)
    settings = Configuration.from_environment()
    things = [client, client.image, client.models, client.chat, client._connection, settings]
    for thing in things:
        assert KEY not in f"{thing!r} {thing!s} {thing:}"
    for thing in (client, client.image, client._connection):
        assert KEY not in repr(vars(thing))


@pytest.mark.parametrize(
    "take",
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
def test_a_key_cannot_be_copied_or_serialised(take: Any) -> None:
    with pytest.raises(TypeError) as caught:
        take(ApiKey(KEY))
    assert KEY not in shown(caught.value)


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
def test_a_failing_constructor_shows_no_key(make: Any) -> None:
    """In the locals of any frame."""
    with pytest.raises(errors.XaiError) as caught:
        make()
    text = shown(caught.value)
    assert KEY not in text
    assert UNSENDABLE not in text


def test_the_environments_key_is_in_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_API_KEY", UNSENDABLE)
    for make in (AsyncClient, Configuration.from_environment):
        with pytest.raises(errors.ConfigurationError) as caught:
            make()
        assert UNSENDABLE not in shown(caught.value)


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
def test_a_wrong_variable_shows_no_other_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("XAI_API_KEY", KEY)
    monkeypatch.setenv(name, value)

    async def call() -> None:
        Configuration.from_environment()
        async with AsyncClient() as client:
            await client.image.sample("p", "m")

    with pytest.raises(errors.ConfigurationError) as caught:
        asyncio.run(call())
    verbose = VerboseTB(color_scheme="NoColor") if version_info < (9,) else VerboseTB()
    whole = verbose.text(type(caught.value), caught.value, caught.value.__traceback__, context=9)
    assert KEY not in whole + shown(caught.value)


def test_an_attempt_and_a_response_hold_no_key(serve: Any, reply: Any) -> None:
    heard: list[Any] = []

    async def answer(request: Any, context: Any) -> Any:
        if not heard:
            await context.abort(grpc.StatusCode.UNAVAILABLE, KEY)
        return reply(base64="AAAA")

    async def main() -> Any:
        async with serve(answer) as peer, client_of(peer.host) as client:
            return await client.image.sample("p", "m", on_attempt=heard.append)

    response = asyncio.run(main())
    assert KEY not in f"{heard!r} {response!r} {vars(response)!r}"
