"""A stand-in for the session of the current process, which pickles hold instead of a session.

Separate because opening a pickle must load neither the session nor gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class CurrentSession:
    """The session of the current process, created by its first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by copy and pickle only
            raise AttributeError(name)
        session = import_module("xai_notebook.generation.session")  # which imports this module
        return getattr(session.current_session(), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return CurrentSession, ()
