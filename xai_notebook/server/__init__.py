"""The embedded server: the real protocol, preview pictures, no network.

It stands in for xAI's service when there is no API key, and doubles as the
server of the tests: `Faults` makes it fail on purpose.

    async with EmbeddedServer() as server:
        ...  # point a client at server.address

Two things can be rehearsed from the prompt alone: `[moderated]` withholds every
image of the request, `[moderated:2]` withholds the second one only.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_notebook.server.calls import SeenCall
    from xai_notebook.server.faults import Faults
    from xai_notebook.server.runner import EmbeddedServer

__all__ = ["EmbeddedServer", "Faults", "SeenCall"]

_HOMES = {"SeenCall": "calls", "EmbeddedServer": "runner", "Faults": "faults"}

# gRPC reads these once, at its first import: `xai_notebook.client` says what they are good for.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: `python -m` and tests need only some."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
