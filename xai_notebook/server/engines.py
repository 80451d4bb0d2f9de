"""Which engine a setting names: the painter, an images API by its URL, or a package's.

A package offers its engine under the entry-point group `xai_notebook.engines`, as something that
is called without arguments and returns an `Engine`; `XAI_NOTEBOOK_ENGINE=NAME` chooses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.errors import ConfigurationError
from xai_notebook.server.engine import Engine, PaintingEngine

if TYPE_CHECKING:
    from xai_notebook.settings import ApiKey

__all__ = ["choose_engine"]

GROUP: Final = "xai_notebook.engines"
PAINTING: Final = "painting"


def choose_engine(wanted: str, key: ApiKey | None = None) -> Engine:
    """Return the engine that a setting names, not started.

    Args:
        wanted: `""` or `"painting"`, the URL of an OpenAI-compatible images API, or the name of an
            entry point.
        key: What the API of such a URL asks for.

    Raises:
        ConfigurationError: It names none, or one that cannot be used.
    """
    if wanted in {"", PAINTING}:
        return PaintingEngine()
    if "://" in wanted:
        from xai_notebook.server.openai_engine import OpenAIEngine  # noqa: PLC0415  # requests

        return OpenAIEngine(wanted, key=key)
    return _installed(wanted)


def _installed(name: str) -> Engine:
    """Return the engine that an installed package offers under `name`."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # reads every package's files

    offered = {point.name: point for point in entry_points(group=GROUP)}
    if name not in offered:
        names = ", ".join([PAINTING, *sorted(offered)])
        raise ConfigurationError(
            f"There is no engine {name!r}. Set XAI_NOTEBOOK_ENGINE to the URL of an images API, "
            f"such as http://localhost:8000/v1, or to one of: {names}."
        )
    try:
        engine = offered[name].load()()
    except Exception as error:
        raise ConfigurationError(
            f"The engine {name!r} of {offered[name].value} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(engine, Engine):
        raise ConfigurationError(
            f"{offered[name].value} returned no engine. It must return a subclass of "
            "xai_notebook.server.engine.Engine."
        )
    engine.place = engine.place or name
    return engine
