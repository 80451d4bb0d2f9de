"""The async gRPC client for xAI's image models; it needs no notebook.

    async with AsyncClient() as client:
        response = await client.image.sample("a red fox", "grok-imagine-image")
        data = await response.image

Names and meanings follow xAI's own SDK. They are loaded at their first use: the embedded server
needs only `wire`, and loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xai_notebook.settings import prepare_grpc

if TYPE_CHECKING:
    from xai_notebook.client.batch import BatchResult as BatchResult
    from xai_notebook.client.batch import BatchResults as BatchResults
    from xai_notebook.client.client import AsyncClient as AsyncClient
    from xai_notebook.client.client import ChatResponse as ChatResponse
    from xai_notebook.client.response import ImageResponse as ImageResponse
    from xai_notebook.client.transport.retry import Attempt as Attempt

_MODULES = {
    "AsyncClient": "client",
    "Attempt": "transport.retry",
    "BatchResult": "batch",
    "BatchResults": "batch",
    "ChatResponse": "client",
    "ImageResponse": "response",
}
__all__ = list(_MODULES)

prepare_grpc()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
