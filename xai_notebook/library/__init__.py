"""The library: every image ever received, for replay, history and the cost ledger.

This package has the name of the public function `xai_notebook.library()`, so it can be called, and
then calls that function.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from xai_notebook.library.records import Reply, ShownImage, SlotQuery, StoredImages
from xai_notebook.library.store import Library

__all__ = ["Library", "Reply", "ShownImage", "SlotQuery", "StoredImages"]


class _Callable(ModuleType):
    """A package that can be called like the public function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        root = import_module(__name__.rpartition(".")[0])
        return root.public("library")(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
