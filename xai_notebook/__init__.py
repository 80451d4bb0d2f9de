"""Generate images with xAI's models in a notebook.

    %load_ext xai_notebook

    %%xai_image -n 4 --aspect-ratio 16:9
    a red fox in fresh snow

The same in Python: `xai_notebook.generate("a red fox in fresh snow", n=4)`. If XAI_API_KEY is
not set, an embedded server draws local previews, offline.

Importing this module is fast: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_notebook.errors import XaiError as XaiError
    from xai_notebook.generation.api import agenerate as agenerate
    from xai_notebook.generation.api import configure as configure
    from xai_notebook.generation.api import costs as costs
    from xai_notebook.generation.api import empty_trash as empty_trash
    from xai_notebook.generation.api import generate as generate
    from xai_notebook.generation.api import history as history
    from xai_notebook.generation.api import jobs as jobs
    from xai_notebook.generation.api import merge as merge
    from xai_notebook.generation.api import pack as pack
    from xai_notebook.generation.api import stream as stream
    from xai_notebook.generation.api import trust_library as trust_library
    from xai_notebook.generation.api import unpack as unpack
    from xai_notebook.generation.jobs.job import BatchJob as BatchJob
    from xai_notebook.generation.progress import ProgressReport as ProgressReport
    from xai_notebook.generation.stream import ImageStream as ImageStream
    from xai_notebook.notebook.extension import load_ipython_extension as load_ipython_extension
    from xai_notebook.notebook.extension import unload_ipython_extension as unload_ipython_extension
    from xai_notebook.notebook.gallery import library as library
    from xai_notebook.notebook.panel import panel as panel
    from xai_notebook.pictures.results import GeneratedImage as GeneratedImage
    from xai_notebook.pictures.results import ImageBatch as ImageBatch
    from xai_notebook.pictures.xmp import read_metadata as read_metadata


_HOMES = {
    "BatchJob": "generation.jobs.job",
    "GeneratedImage": "pictures.results",
    "ImageBatch": "pictures.results",
    "ImageStream": "generation.stream",
    "ProgressReport": "generation.progress",
    "XaiError": "errors",
    "agenerate": "generation.api",
    "configure": "generation.api",
    "costs": "generation.api",
    "empty_trash": "generation.api",
    "generate": "generation.api",
    "history": "generation.api",
    "jobs": "generation.api",
    "library": "notebook.gallery",
    "load_ipython_extension": "notebook.extension",
    "merge": "generation.api",
    "pack": "generation.api",
    "panel": "notebook.panel",
    "read_metadata": "pictures.xmp",
    "stream": "generation.api",
    "trust_library": "generation.api",
    "unload_ipython_extension": "notebook.extension",
    "unpack": "generation.api",
}
"""Maps each public name to its module; the imports above are only for type checkers."""
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module(f"{__name__}.settings").package_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = public(name)
    # Importing the module may have bound a callable subpackage of the same name. Return that
    # subpackage, so that the result does not depend on the order of access.
    return globals().setdefault(name, value)


def public(name: str) -> Any:
    """Return a public object from its module."""
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
