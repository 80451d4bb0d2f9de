"""Batch jobs: what users hold, how they are submitted, and how they are polled."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Return `open_job`, which pickles of earlier versions name here."""
    if name != "open_job":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.job").open_job
