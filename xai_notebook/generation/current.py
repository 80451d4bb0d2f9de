"""A proxy for the session of the current process, used in pickles.

Separate because opening a pickle must not import the session or gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class CurrentSession:
    """Proxy for the session of the current process, which is created on first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # only copy and pickle use such names
            raise AttributeError(name)
        session = import_module("xai_notebook.generation.session")  # which imports this module
        return getattr(session.current_session(), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return CurrentSession, ()
