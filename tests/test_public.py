"""The public names, and the modules that imports load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xai_notebook
import xai_notebook.client
import xai_notebook.server
from harness import without_xai

if TYPE_CHECKING:
    from types import ModuleType

HEAVY = ("grpc", "google.protobuf", "requests", "PIL", "ipywidgets", "anywidget", "jinja2",
         "psutil", "numpy", "sqlite3", "xai_notebook.client.client", "xai_notebook.server",
         "xai_notebook.pictures.export", "xai_notebook.pictures.files")  # fmt: skip

NO_NOTEBOOK = (
    "import sys; sys.modules.update(dict.fromkeys(('IPython', 'ipywidgets', 'traitlets', "
    "'anywidget')))"
)


def run(code: str) -> str:
    """Run code in a new process with warnings as errors; return its output."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=without_xai(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def loaded_after(code: str) -> list[str]:
    """Return the heavy modules that `code` loads."""
    # IPython may load heavy modules, such as sqlite3: only the difference counts.
    return json.loads(
        run(
            "import sys, json\n"
            "from IPython.core.interactiveshell import InteractiveShell\n"
            "from traitlets.config import Config\n"
            "config = Config(); config.HistoryManager.enabled = False\n"
            "shell = InteractiveShell.instance(config=config)\n"
            "before = set(sys.modules)\n"
            f"{code}\n"
            f"print(json.dumps([n for n in {HEAVY!r} if n in set(sys.modules) - before]))\n"
        )
    )


def test_public_names_are_pinned() -> None:
    assert xai_notebook.__all__ == [
        "BatchJob", "GeneratedImage", "ImageBatch", "ImageStream", "ProgressReport", "XaiError",
        "agenerate", "configure", "costs", "empty_trash", "generate", "history", "jobs", "library",
        "load_ipython_extension", "merge", "pack", "panel", "read_metadata", "stream",
        "trust_library", "unload_ipython_extension", "unpack",
    ]  # fmt: skip
    assert xai_notebook.__all__ == sorted(xai_notebook.__all__)
    assert dir(xai_notebook) == xai_notebook.__all__
    assert xai_notebook.__version__
    assert not hasattr(xai_notebook, "generat")


def test_importing_loads_neither_ipython_nor_heavy_modules() -> None:
    code = (
        "import sys, json, xai_notebook\n"
        f"print(json.dumps([n for n in {(*HEAVY, 'IPython', 'traitlets')!r} if n in sys.modules]))"
    )
    assert json.loads(run(code)) == []


@pytest.mark.parametrize(
    "code",
    [
        "shell.run_line_magic('load_ext', 'xai_notebook')",
        (
            "shell.run_line_magic('load_ext', 'xai_notebook')\n"
            "shell.run_line_magic('config', 'XaiImage.model = \"x\"')\n"
            "shell.run_line_magic('unload_ext', 'xai_notebook')"
        ),
        "import xai_notebook.arguments.options, xai_notebook.errors, xai_notebook.settings",
    ],
    ids=["load", "configure-unload", "table"],
)
def test_loading_the_extension_loads_no_heavy_modules(code: str) -> None:
    """grpc, PIL, ipywidgets and others are loaded on first use."""
    assert loaded_after(code) == []


def test_a_list_of_prompts_loads_no_library_of_tables() -> None:
    """pandas, polars and pyarrow are loaded only for the files that need them."""
    code = (
        "import sys, xai_notebook as xai\n"
        "assert xai.generate(each=['a fox', {'prompt': 'an owl'}], dry_run=True).images == 2\n"
        "print(*{'pandas', 'polars', 'pyarrow', 'openpyxl', 'numpy'} & set(sys.modules))"
    )
    assert run(code) == "\n"


def test_the_package_works_without_ipython() -> None:
    code = (
        f"{NO_NOTEBOOK}\nimport os, tempfile\n"
        "from xai_notebook.client import AsyncClient\n"
        "from xai_notebook.server import EmbeddedServer\n"
        "os.environ['XAI_NOTEBOOK_HOME'] = tempfile.mkdtemp()\n"
        "import xai_notebook as xai\n"
        "print(xai.generate('a red fox')[0].status)"
    )
    assert run(code) == "ok\n"


@pytest.mark.parametrize("face", [xai_notebook, xai_notebook.client, xai_notebook.server])
def test_type_checkers_see_the_lazy_names(face: ModuleType) -> None:
    tree = ast.parse(Path(str(face.__file__)).read_text(encoding="utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    lines = [line for line in typed.body if isinstance(line, ast.ImportFrom)]
    names = {str(name.asname) for line in lines for name in line.names}
    assert set(face.__all__) == names
    assert all(getattr(face, name).__name__.rpartition(".")[2] == name for name in names)


@pytest.mark.parametrize(
    "imports",
    [
        "import xai_notebook.library as module\nimport xai_notebook as xai",
        "import xai_notebook as xai\nxai.library\nimport xai_notebook.library as module",
        "import xai_notebook as xai\nxai.library\nfrom xai_notebook import library as module",
        (
            "import xai_notebook as xai\nfrom xai_notebook.library.store import Library\n"
            "import xai_notebook.library as module"
        ),
    ],
)
def test_the_library_package_is_callable_after_any_import(imports: str) -> None:
    code = (
        f"{imports}\nfrom xai_notebook.library import Library\n"
        "assert module is xai.library and module.Library is Library\n"
        "print(type(xai.library('fox')).__name__)"
    )
    assert run(code).splitlines()[-1] == "LibraryWidget"


def test_the_server_loads_only_messages_and_formats_of_the_client() -> None:
    code = (
        "import sys, xai_notebook.server as server; server.EmbeddedServer\n"
        "print(*sorted(n for n in sys.modules if n.startswith('xai_notebook.client')))"
    )
    assert {name.split(".")[2] for name in run(code).split() if name.count(".") == 2} <= {
        "media",
        "messages",
        "wire",
    }
