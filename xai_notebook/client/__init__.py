"""An async gRPC client for xAI's image models, usable without a notebook.

    async with AsyncClient() as client:
        response = await client.image.sample("a red fox", "grok-imagine-image")
        data = await response.image

It uses the names and semantics of xAI's SDK. Each name is loaded when it is first used, because the
embedded server imports only `wire`.
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
