"""Replies of an engine with unexpected values in every field."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import grpc
import pytest

from bare_client import dial, image_request
from openai_stub import SECRET, Reply, Stub, answers, ask, entry, png, refusal, reply_of
from xai_notebook.client import wire
from xai_notebook.server import EmbeddedServer
from xai_notebook.server.openai_engine import OpenAIEngine
from xai_notebook.settings import ApiKey

if TYPE_CHECKING:
    from collections.abc import Iterable

VALUES = {
    "null": b"null",
    "true": b"true",
    "zero": b"0",
    "negative": b"-1",
    "beyond 64 bits": b"18446744073709551616",
    "digits": b"9" * 5000,
    "huge": b"1e999",
    "tiny": b"-1e-999",
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "empty": b'""',
    "half an emoji": b'"a fox \\ud83d"',
    "the other half": b'"\\ude00"',
    "halves in the wrong order": b'"\\ude00\\ud83d"',
    "half an emoji in bytes": b'"a fox \xf0\x9f"',
    "a surrogate in bytes": b'"\xed\xa0\xbd"',
    "no UTF-8": b'"\xff\xfe\xc3"',
    "NUL": b'"a\\u0000b"',
    "a raw control": b'"a\x00\x07\tb"',
    "bidi": b'"\\u202egnp.exe"',
    "long": b'"' + b"x" * 300_000 + b'"',
    "long and wide": b'"' + "\U0001f98a".encode() * 50_000 + b'"',
    "the key": f'"{SECRET}"'.encode(),
    "list": b"[]",
    "lists": b"[" * 400 + b"]" * 400,
    "object": b'{"a": {"b": [null]}}',
    "itself": b'{"data": [{"b64_json": "", "url": "http://127.0.0.1:9/x"}]}',
}
FIELDS = ["created", "size", "usage", "model", "error", "id", "output_format"]
ENTRY_FIELDS = ["revised_prompt", "url", "id", "seed"]
COSTS = [
    "1e9", "1e300", "1e999", "-5", "-0.0", "nan", "inf", "-inf", "", " ", "abc", "0x10", "1_0",
    "9" * 400, "9" * 60_000, "0." + "0" * 5000 + "1", "1,5", "$1", "\xb2", "1e-320", "10000.01",
]  # fmt: skip


def reply(fields: Iterable[tuple[str, bytes]] = (), entries: Iterable[bytes] = ()) -> bytes:
    """Return a reply with these fields and entries, and with a valid picture at the end."""
    good = json.dumps(entry()).encode()
    parts = [b'"%s": %s' % (name.encode(), value) for name, value in fields]
    return b"{%s}" % b", ".join([*parts, b'"data": [%s]' % b", ".join([*entries, good])])


def with_entry(entry: bytes) -> Reply:
    """Return a reply with this entry and a valid picture."""
    return Reply(body=reply(entries=[entry]))


def picture(**fields: bytes) -> bytes:
    """Return an entry with these fields."""
    parts = (b'"%s": %s' % (name.encode(), value) for name, value in fields.items())
    return b"{%s}" % b", ".join(parts)


GOOD = json.dumps(entry()["b64_json"]).encode()
REPLIES: dict[str, tuple[Reply, int]] = {
    **{
        f"{name}: {kind}": (Reply(body=reply([(name, value)])), 1)
        for name, (kind, value) in itertools.product(FIELDS, VALUES.items())
    },
    **{
        f"entry's {name}: {kind}": (with_entry(picture(b64_json=GOOD, **{name: value})), 2)
        for name, (kind, value) in itertools.product(ENTRY_FIELDS, VALUES.items())
    },
    **{f"entry: {kind}": (with_entry(value), 1) for kind, value in VALUES.items()},
    **{
        f"{name}: {kind}": (with_entry(picture(**{name: value})), 1)
        for name, (kind, value) in itertools.product(["b64_json", "url"], VALUES.items())
    },
    **{
        f"cost: {cost[:20]}": (Reply(body=reply(), headers={"x-litellm-response-cost": cost}), 1)
        for cost in COSTS
    },
    "two data": (Reply(body=b'{"data": 7, ' + reply()[1:]), 1),
    "UTF-16": (Reply(body=reply().decode().encode("utf-16")), 1),
    "a BOM": (Reply(body=b"\xef\xbb\xbf" + reply()), 1),
    "base64 without padding": (with_entry(picture(b64_json=GOOD.replace(b"=", b""))), 2),
    "base64 of URLs, with lines": (
        with_entry(picture(b64_json=GOOD[:50].replace(b"+", b"-") + b"\\r\\n" + GOOD[50:])),
        2,
    ),
    "DATA:": (with_entry(picture(url=b'"DATA:image/png;base64,' + GOOD[1:])), 2),
}
"""Replies of the engine, each with its number of valid pictures."""


async def test_valid_pictures_survive_invalid_fields(stub: Stub) -> None:
    """Costs and rewritten prompts stay in bounds, and the key is removed."""
    wrong = {}
    engine = OpenAIEngine(stub.url, key=ApiKey(SECRET))
    async with EmbeddedServer(engine=engine) as server, dial(server) as call:
        for name, (answer, count) in REPLIES.items():
            stub.answer = answers(answer)
            stub.fetched = [Reply(404, {})]
            try:
                result = await call(wire.GENERATE_IMAGE, image_request(n=count))
            except grpc.aio.AioRpcError as error:
                wrong[name] = error.details()
                continue
            ticks = result.usage.cost_in_usd_ticks
            if not (
                len([image for image in result.images if image.base64]) == count
                and 0 <= ticks <= 10**14
                and max(len(image.up_sampled_prompt) for image in result.images) <= 1 << 15
                and SECRET not in str(result)
            ):
                wrong[name] = f"{len(result.images)} {ticks}"
    assert len(REPLIES) > 400
    assert wrong == {}


ERRORS = {
    **{
        f"{name}: {kind}": b'{"error": {"message": "no", "%s": %s}}' % (name.encode(), value)
        for name, (kind, value) in itertools.product(
            ["message", "param", "code", "type", "detail"], VALUES.items()
        )
    },
    **{
        f"detail's {name}: {kind}": b'{"detail": [{"msg": "no", "%s": %s}]}'
        % (name.encode(), value)
        for name, (kind, value) in itertools.product(["loc", "msg"], VALUES.items())
    },
    **{f"body: {kind}": value for kind, value in VALUES.items()},
    "deep": b"[" * 200_000,
    "large": b"x" * 5_000_000,
    "sizes": b'{"error": {"param": "size", "message": "use 9999x64, 0000x0000, 0064x9999"}}',
}


@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_every_error_is_a_bounded_sentence_without_the_key(stub: Stub, status: int) -> None:
    wrong = {}
    pauses = itertools.cycle(["9" * 5000, "-1", "1e9", "\xb2", "soon", "99999", ""])
    engine = OpenAIEngine(stub.url, key=ApiKey(SECRET))
    async with EmbeddedServer(engine=engine) as server, dial(server) as call:
        for name, body in ERRORS.items():
            answer = Reply(status, body, {"Retry-After": next(pauses)})
            stub.answer = answers(answer)
            try:
                result = await call(wire.GENERATE_IMAGE, image_request())
                if any(image.respect_moderation for image in result.images):
                    wrong[name] = "a picture"
            except grpc.aio.AioRpcError as error:
                text = error.details() or ""
                ours = text.startswith("The engine at 127.0.0.1:")
                if not ours or len(text) > 1200 or SECRET in text:
                    wrong[name] = text[:200]
    assert wrong == {}


def test_long_and_invalid_model_names_are_bounded(stub: Stub) -> None:
    kinds = ("half an emoji", "long and wide", "NUL", "bidi")
    names = [json.loads(VALUES[kind], strict=False) for kind in kinds]
    wide = ["\U0001f98a" * 1000 + str(number) for number in range(12)]
    stub.models = [*names, *wide, 7, None, {}, "fox-1"]  # type: ignore[list-item]

    models = ask(stub, wire.Empty(), wire.LIST_IMAGE_GENERATION_MODELS).models
    _, text, _ = refusal(stub, image_request())
    assert models[-1].name == "fox-1"
    assert "has several models" in text
    assert len(text.encode()) < 4096


def test_pictures_over_the_limit_are_left_out(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_notebook.server.openai_engine._MAX_PICTURES_BYTES", 2 * len(png()) + 1)
    stub.answer = answers(reply_of(5))
    assert len(ask(stub, image_request(n=2)).images) == 2
