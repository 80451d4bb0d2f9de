"""What the client leaves undone until somebody asks: how fast it is, the benchmarks say."""

from __future__ import annotations

from typing import Any


def test_nothing_is_decoded_before_it_is_asked_for(call: Any, reply: Any) -> None:
    """sample_batch returns with the reply parsed and no image decoded."""

    async def answer(request: Any, context: Any) -> Any:
        return reply(3, base64="!" * 300_000)  # no base64 at all: decoding would fail

    responses, _ = call(answer, lambda c: c.image.sample_batch("p", "m", 3))
    assert len(responses) == 3
