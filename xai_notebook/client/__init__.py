"""The embedded async gRPC client: xAI's image models without a notebook.

    async with AsyncClient() as client:
        response = await client.image.sample("a red fox", "grok-imagine-image")
        data = await response.image

Names and meanings follow xAI's own SDK. They are loaded when they are first used, so that whoever
needs only the wire, like the embedded server, loads nothing else.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_notebook.client.chat import ChatResponse
    from xai_notebook.client.client import AsyncClient
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.client.retry import Attempt

__all__ = ["AsyncClient", "Attempt", "ChatResponse", "ImageResponse"]

_HOMES = {
    "AsyncClient": "client",
    "Attempt": "retry",
    "ChatResponse": "chat",
    "ImageResponse": "response",
}

# gRPC's core reads these once, when it is first imported; a value that the user has set stays.
# Without the first every `!cmd` of a notebook prints "fork_posix.cc … skipping fork() handlers"
# into the user's cell. Without the second, the handlers that were not skipped start a poller in the
# child, which complains that its descriptors are closed: after 13 of 3,000 `!cmd`.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
