"""The embedded server: xAI's protocol on loopback, with preview pictures and without a network.

It replaces xAI's service if no API key is set, and in tests, where `Faults` makes it fail on
purpose.

    with EmbeddedServer() as server:
        ...  # point a client at server.address

In `async` code, `async with` runs it on the current event loop.

Marks in a prompt simulate moderation: `[moderated]` withholds every image of the request,
`[moderated:2]` withholds the second image.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xai_notebook.settings import prepare_grpc

if TYPE_CHECKING:
    from xai_notebook.server.dispatch import SeenCall as SeenCall
    from xai_notebook.server.faults import BatchFaults as BatchFaults
    from xai_notebook.server.faults import Faults as Faults
    from xai_notebook.server.faults import FileFaults as FileFaults
    from xai_notebook.server.runner import EmbeddedServer as EmbeddedServer
    from xai_notebook.server.runner import choose_engine as choose_engine

_MODULES = {
    "BatchFaults": "faults",
    "EmbeddedServer": "runner",
    "Faults": "faults",
    "FileFaults": "faults",
    "SeenCall": "dispatch",
    "choose_engine": "runner",
}
__all__ = list(_MODULES)

prepare_grpc()


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because most callers need only some of them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
