"""Batch jobs: the objects that users get, submission and polling."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Return `open_job`; pickles of earlier versions refer to it in this package."""
    if name != "open_job":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.job").open_job
