"""The session of whichever process uses it: what a pickle holds in a session's place.

Separate because opening a pickle must load neither the session nor gRPC.

Separate because opening a pickle must load neither the session nor gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["CurrentSession"]


class CurrentSession:
    """Stands for the session of its process, which starts with the first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle ask for these; no one else does
            raise AttributeError(name)
        session = import_module("xai_notebook.generation.session")  # which imports this module
        return getattr(session.current_session(), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return CurrentSession, ()
