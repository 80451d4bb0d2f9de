"""Images from xAI's models in a notebook.

    %load_ext xai_notebook

    %%xai_image -n 4 --aspect-ratio 16:9
    a red fox in fresh snow

The same in Python: `xai_notebook.generate("a red fox in fresh snow", n=4)`. Without a key
in XAI_API_KEY an embedded server draws local previews, offline.

Importing this module costs nothing: names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_notebook.errors import XaiError
    from xai_notebook.generation.api import agenerate, costs, generate, history, panel
    from xai_notebook.notebook.extension import load_ipython_extension, unload_ipython_extension
    from xai_notebook.pictures.provenance import read_metadata
    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

__all__ = [
    "GeneratedImage",
    "ImageBatch",
    "XaiError",
    "agenerate",
    "costs",
    "generate",
    "history",
    "load_ipython_extension",
    "panel",
    "read_metadata",
    "unload_ipython_extension",
]

_HOMES = {
    "GeneratedImage": "pictures.results",
    "ImageBatch": "pictures.results",
    "XaiError": "errors",
    "agenerate": "generation.api",
    "costs": "generation.api",
    "generate": "generation.api",
    "history": "generation.api",
    "load_ipython_extension": "notebook.extension",
    "panel": "generation.api",
    "read_metadata": "pictures.provenance",
    "unload_ipython_extension": "notebook.extension",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  # 10 ms for one word

        return version("xai-notebook")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
