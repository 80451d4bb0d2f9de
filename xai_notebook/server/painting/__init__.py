"""The painter: draws pictures from the words of a prompt, and rewrites prompts.

    jpeg = painting.paint("a red fox in fresh snow", aspect_ratio="16:9")

The package is independent of requests. Pillow is imported for the first picture; rewriting does not
need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_notebook.server.painting.painter import paint
    from xai_notebook.server.painting.scene import rewrite

__all__ = ["paint", "rewrite"]

_MODULES = {"paint": "painter", "rewrite": "scene"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
