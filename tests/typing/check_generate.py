"""What type checkers make of `generate`: read by mypy, never run."""

from __future__ import annotations

from typing_extensions import assert_type

import xai_notebook as xai
from xai_notebook.pictures.render.tables import Plan
from xai_notebook.pictures.results import GeneratedImage, ImageBatch


def one() -> None:
    """Options have names and types, `dry_run` another result."""
    assert_type(xai.generate("a fox", n=2, aspect_ratio="16:9", model=["a", "b"]), ImageBatch)
    assert_type(xai.generate(each=["a", "b"], dry_run=False, export=True), ImageBatch)
    assert_type(xai.generate("a fox", dry_run=True), Plan)
    assert_type(xai.generate("a fox")[0], GeneratedImage)
    xai.generate("a fox", aspect="16:9")  # type: ignore[call-overload]
    xai.generate("a fox", n="many")  # type: ignore[call-overload]
    xai.generate(["a fox"])  # type: ignore[call-overload]


async def other() -> None:
    """The same without blocking."""
    assert_type(await xai.agenerate("a fox", image=b"bytes"), ImageBatch)
    assert_type(await xai.agenerate("a fox", dry_run=True), Plan)
