"""The library: every image ever received, for replay, history and the cost ledger."""

from xai_notebook.library.records import Reply, Wanted
from xai_notebook.library.store import Library

__all__ = ["Library", "Reply", "Wanted"]
