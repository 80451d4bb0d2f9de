"""The library: every image ever received, for replay, history and the cost ledger.

This package has the same name as the public function `xai_notebook.library()`. Therefore the module
is callable, and a call runs that function.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from xai_notebook.library.records import ImageSlot, Reply, ShownImage, SlotQuery, StoredImages
from xai_notebook.library.store import Library

__all__ = ["ImageSlot", "Library", "Reply", "ShownImage", "SlotQuery", "StoredImages"]


class _Callable(ModuleType):
    """Module type whose call runs the public function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        root = import_module(__name__.rpartition(".")[0])
        return root.public("library")(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
