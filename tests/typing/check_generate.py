"""Static type tests for `generate`: checked by mypy, never executed."""

from __future__ import annotations

from typing_extensions import assert_type

import xai_notebook as xai
from xai_notebook.pictures.render.tables import Plan
from xai_notebook.pictures.results import GeneratedImage, ImageBatch


def check_generate() -> None:
    """Options are typed keywords; `dry_run=True` changes the result type."""
    assert_type(xai.generate("a fox", n=2, aspect_ratio="16:9", model=["a", "b"]), ImageBatch)
    assert_type(xai.generate(each=["a", "b"], dry_run=False, export=True), ImageBatch)
    assert_type(xai.generate("a fox", dry_run=True), Plan)
    assert_type(xai.generate("a fox")[0], GeneratedImage)
    for picture in xai.stream(each=["a"], reuse=True, progress=print):
        assert_type(picture, GeneratedImage)
    assert_type(xai.stream("a fox").batch, ImageBatch)
    xai.generate("a fox", progress=lambda report: report.done)
    xai.stream("a fox", batch=True)  # type: ignore[call-arg]
    xai.generate("a fox", aspect="16:9")  # type: ignore[call-overload]
    xai.generate("a fox", n="many")  # type: ignore[call-overload]
    xai.generate(["a fox"])  # type: ignore[call-overload]


async def check_agenerate() -> None:
    """The asynchronous function has the same types."""
    assert_type(await xai.agenerate("a fox", image=b"bytes"), ImageBatch)
    assert_type(await xai.agenerate("a fox", dry_run=True), Plan)
    async with xai.stream("a fox") as stream:
        async for picture in stream:
            assert_type(picture, GeneratedImage)
