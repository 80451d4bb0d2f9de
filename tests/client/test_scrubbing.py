"""Masking of the key in the texts of a server: whole, in pieces or encoded."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xai_sdk.proto import chat_pb2, image_pb2, models_pb2

from xai_notebook import errors
from xai_notebook.client.transport.scrubbing import PIECE, SMALL_BYTES, scrub
from xai_notebook.settings import ApiKey

KEY = "xai-AbC/01+23?45~defGHIjkl678mnoPQR90"
FORMS = {
    "plain": KEY,
    "header": f"Bearer {KEY}",
    "capitals": KEY.upper(),
    "reversed": KEY[::-1],
    "hex": KEY.encode().hex(),
    "HEX": KEY.encode().hex().upper(),
    "quoted": quote(KEY, safe=""),
    "each byte quoted": "".join(f"%{byte:02X}" for byte in KEY.encode()),
    "halves": f"{KEY[:18]} and {KEY[18:]}",
    "lines": "\n".join(KEY[at : at + PIECE] for at in range(0, len(KEY), PIECE)),
    **{
        f"base64 {name} {len(before)}{padding}": encode((before + KEY).encode())
        .decode()
        .rstrip("" if padding else "=")
        for name, encode in (("std", base64.b64encode), ("url", base64.urlsafe_b64encode))
        for before in ("", "k", "ke", "Bearer ")
        for padding in ("=", "")
    },
}


def leaks(text: str) -> list[str]:
    """Return the pieces of 16 characters of the key's forms that a text holds."""
    lower = text.lower()
    words = [word.lower() for form in FORMS.values() for word in form.split()]
    pieces = [word[at : at + 16] for word in words for at in range(len(word) - 15)]
    return [piece for piece in pieces if piece in lower]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_key_is_masked(form: str) -> None:
    """The text around the key is unchanged."""
    text = scrub(f"«the key {FORMS[form]} is wrong»", ApiKey(KEY))
    assert leaks(text) == []
    assert text.startswith("«the key ")
    assert "***" in text
    assert text.endswith(" is wrong»")


@given(
    before=st.text(max_size=30),
    after=st.text(max_size=30),
    cut=st.tuples(st.integers(0, len(KEY) - PIECE), st.integers(PIECE, len(KEY))),
)
def test_every_piece_of_at_least_twelve_bytes_is_masked(
    before: str, after: str, cut: tuple[int, int]
) -> None:
    piece = KEY[cut[0] : cut[0] + cut[1]]
    text = scrub(f"{before}{piece}{after}", ApiKey(KEY))
    assert piece not in text
    assert "***" in text


@given(st.text(st.characters(), max_size=300))
def test_other_texts_stay_unchanged(text: str) -> None:
    """Lone surrogates and pieces of eleven bytes of the key are unchanged too."""
    for line in (text, f"{text}«{KEY[: PIECE - 1]}»{text}"):
        assert scrub(line, ApiKey(KEY)) == line


@pytest.mark.parametrize(
    "gap",
    [" ", "\n", "\t ", "\x00", "\u200b", "\xad", "\u202e", "\r\n", "\xa0", "\u3000", "\ufeff",
     "\u2060"],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 5, 11])
@pytest.mark.parametrize("form", ["plain", "reversed", "hex", "base64 std 0="])
def test_a_key_with_gaps_is_masked(gap: str, step: int, form: str) -> None:
    text = FORMS[form]
    key = gap.join(text[at : at + step] for at in range(0, len(text), step))
    assert scrub(f"the key {key} is wrong", ApiKey(KEY)) == "***"


def test_a_short_key_is_masked_as_a_whole() -> None:
    assert scrub("k=abc12", ApiKey("abc12")) == "k=***"
    assert scrub("abc1 bc12", ApiKey("abc12")) == "abc1 bc12"
    assert scrub("xyz", ApiKey("y")) == "x***z"


ECHO = " | ".join(FORMS.values())


def test_an_echo_in_a_reply_is_masked(run_call: Any) -> None:
    """The key is masked in every string and unknown field; the image is unchanged."""
    jpeg = b"\xff\xd8\xff" + KEY.encode() + bytes(SMALL_BYTES)
    image = image_pb2.GeneratedImage(
        base64=base64.b64encode(jpeg).decode(),
        respect_moderation=True,
        storage_error=ECHO,
        file_output={"filename": ECHO, "file_id": KEY, "public_url_error": ECHO},
    )
    image.file_output.public_url = f"https://example.com/{KEY}"
    image.MergeFromString(b"\x12" + bytes([len(KEY)]) + KEY.encode())  # up_sampled_prompt
    sent = image_pb2.ImageResponse(model=ECHO, images=[image])
    sent.MergeFromString(b"\xfa\x7f" + bytes([len(KEY)]) + KEY.encode())

    async def use(client: Any) -> Any:
        response = await client.image.sample("p", "m")
        return response, await response.image

    (response, data), _ = run_call(sent, use, KEY)
    assert data == jpeg
    assert response.prompt == "***"
    assert response.public_url == "https://example.com/***"
    response.proto.images[0].ClearField("base64")
    assert leaks(f"{response.proto!s}{response.proto.SerializeToString().decode('latin-1')}") == []


def test_an_echo_instead_of_an_image_is_masked(run_call: Any) -> None:
    sent = image_pb2.ImageResponse(images=[{"base64": f"data:{KEY}"}])
    response, _ = run_call(sent, lambda client: client.image.sample("p", "m"), KEY)
    assert response.base64 == "data:***"


def test_an_echo_in_models_is_masked(run_call: Any) -> None:
    sent = models_pb2.ListImageGenerationModelsResponse(
        models=[{"name": KEY, "aliases": ["a", ECHO]}]
    )
    models, _ = run_call(sent, lambda client: client.models.list_image_generation_models(), KEY)
    assert models[0].aliases[0] == "a"
    assert leaks(str(models)) == []


def test_an_echo_in_chat_is_masked(run_call: Any) -> None:
    message = {"content": f"a fox, {KEY}"}
    sent = chat_pb2.GetChatCompletionResponse(model=ECHO, outputs=[{"message": message}])
    completion, _ = run_call(sent, lambda client: client.chat.complete("p", "m"), KEY)
    assert completion.content == "a fox, ***"
    assert leaks(str(completion)) == []


@pytest.mark.parametrize("form", ["halves", "base64 url 0", "hex"])
@pytest.mark.parametrize("part", ["details", "metadata"])
def test_an_echo_in_an_error_is_masked(run_call: Any, form: str, part: str) -> None:
    """The key is masked in the error's message, details and cause."""

    async def answer(request: Any, context: Any) -> Any:
        details = FORMS[form] if part == "details" else "no"
        trailers = (("x-echo", FORMS[form]),) if part == "metadata" else ()
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, details, trailers)

    error, _ = run_call(answer, lambda client: client.image.sample("p", "m"), KEY)
    assert isinstance(error, errors.InvalidRequestError)
    cause: Any = error.__cause__
    assert leaks(f"{error}{vars(error)}{cause!r}{cause.trailing_metadata()}") == []
