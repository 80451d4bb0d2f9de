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
from linecache import getlines
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_notebook.errors import XaiError as XaiError
    from xai_notebook.generation.api import agenerate as agenerate
    from xai_notebook.generation.api import costs as costs
    from xai_notebook.generation.api import generate as generate
    from xai_notebook.generation.api import history as history
    from xai_notebook.notebook.extension import load_ipython_extension as load_ipython_extension
    from xai_notebook.notebook.extension import unload_ipython_extension as unload_ipython_extension
    from xai_notebook.notebook.panel import panel as panel
    from xai_notebook.pictures.provenance import read_metadata as read_metadata
    from xai_notebook.pictures.results import GeneratedImage as GeneratedImage
    from xai_notebook.pictures.results import ImageBatch as ImageBatch


def _homes() -> dict[str, str]:
    """Return the module of each public name, from the lines that tell them to type checkers."""
    lines = getlines(__file__, globals())
    imports = (line.split() for line in lines if line.startswith("    from "))
    return dict(sorted((name, module) for _, module, _, name, *_ in imports))


def __getattr__(name: str) -> Any:
    if name == "__all__":
        value: Any = list(_homes())
    elif name == "__version__":
        value = import_module("xai_notebook.settings").package_version()
    elif name.startswith("_") or (home := _homes().get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(_homes())
