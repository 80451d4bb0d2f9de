"""The import order of the package, checked import by import."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import xai_notebook

ROOT = Path(str(xai_notebook.__file__)).parent
PACKAGE = "xai_notebook"
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("settings", "frontend"),
    ("client",),
    ("server", "pictures"),
    ("arguments", "library"),
    ("generation",),
    ("notebook",),
    ("testing",),
)
"""Lowest layer first. A part imports itself and lower layers, not other parts of its layer."""
SERVER_IMPORTS = (
    "client.wire", "client.messages", "client.media",
    "client.addresses", "client.http", "client.transport.scrubbing",
)  # fmt: skip
"""What the server may import from the client: wire messages, image formats, and the HTTP client for
engines."""
NOTEBOOK = {"IPython", "ipywidgets", "traitlets", "anywidget", "ipykernel", "jupyter_client"}
"""Packages that only `frontend` and `notebook` may import."""
MAX_MODULES = 18
"""Maximum number of modules in a folder."""


class Import(NamedTuple):
    """An import statement.

    Attributes:
        module: The module with the statement, without `xai_notebook.`.
        name: The imported module; for our own modules, without `xai_notebook.`.
        own: Whether the imported module is one of our own.
        line: Line number.
        late: Whether the statement is inside a function.
        typed: Whether only type checkers see it.
    """

    module: str
    name: str
    own: bool
    line: int
    late: bool
    typed: bool

    def __str__(self) -> str:
        return f"{MODULES[self.module].relative_to(ROOT)}:{self.line} imports {self.name}"


def find_modules() -> dict[str, Path]:
    """Return the file of every module, by the module's name without `xai_notebook.`."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name or PACKAGE] = path
    return found


MODULES = find_modules()


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of every module."""
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def find_imports(module: str) -> list[Import]:
    """Return all imports of a module, including those in functions and for type checkers."""
    found: list[Import] = []

    def note(name: str, node: ast.stmt, *, late: bool, typed: bool) -> None:
        own = name.partition(".")[0] == PACKAGE
        name = name.removeprefix(f"{PACKAGE}.")
        found.append(Import(module, name, own, node.lineno, late, typed))

    def visit(node: ast.AST, *, late: bool, typed: bool) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(alias.name, node, late=late, typed=typed)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = name.removeprefix(f"{PACKAGE}.") in MODULES
                note(name if is_module else node.module or "", node, late=late, typed=typed)
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typed = typed or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, late=late, typed=typed)

    visit(trees()[module], late=False, typed=False)
    return list(dict.fromkeys(found))


@cache
def imports() -> list[Import]:
    """Return the imports of all modules."""
    return [found for module in MODULES for found in find_imports(module)]


def own_imports() -> list[Import]:
    """Return the imports of our own modules, except those of the package itself."""
    return [found for found in imports() if found.own and found.module != PACKAGE]


def part(name: str) -> str:
    """Return the top-level part that a module belongs to."""
    return name.partition(".")[0]


def layer(name: str) -> int:
    """Return the number of a module's layer, from the lowest."""
    return next((i for i, parts in enumerate(ORDER) if part(name) in parts), len(ORDER))


def test_every_module_is_in_a_layer() -> None:
    parts = {name for parts in ORDER for name in parts}
    assert {part(name) for name in MODULES} - {PACKAGE, "__main__"} <= parts


def test_modules_import_only_lower_layers() -> None:
    """Imports inside functions and for type checkers count, too."""
    outside = [found for found in own_imports() if part(found.name) != part(found.module)]
    assert [str(f) for f in outside if layer(f.name) >= layer(f.module)] == []


def test_the_server_imports_only_listed_modules_of_the_client() -> None:
    of_client = [
        f for f in own_imports() if part(f.module) == "server" and part(f.name) == "client"
    ]
    assert [str(f) for f in of_client if not f.name.startswith(SERVER_IMPORTS)] == []


def test_only_one_module_starts_the_server() -> None:
    """All other modules use the server over gRPC, except the one for users' tests."""
    importers = {f.module for f in imports() if f.own and part(f.name) == "server"}
    assert {name for name in importers if part(name) != "server"} == {
        "generation.backends",
        "testing",
    }


def test_client_server_and_library_do_not_import_ipython() -> None:
    of_notebook = [found for found in imports() if part(found.name) in NOTEBOOK]
    parts = {"client", "server", "library"}
    assert [str(found) for found in of_notebook if part(found.module) in parts] == []


def test_imports_have_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for found in own_imports():
        if found.name != found.module:
            graph.setdefault(found.module, set()).add(found.name)
    try:
        assert list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_module_with_one_importer_says_why_it_is_separate() -> None:
    """Modules that a package exports are exempt: they have users outside of the package."""
    importers: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in imports():
        if found.name in importers and found.name != found.module:
            importers[found.name].add(found.module)
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert [
        name
        for name, users in importers.items()
        if len(users) == 1
        and users.isdisjoint(packages)
        and name not in packages
        and "Separate because" not in (ast.get_docstring(trees()[name]) or "")
    ] == []


def test_no_folder_is_crowded() -> None:
    counts = Counter(path.parent for path in MODULES.values())
    assert {str(folder) for folder, count in counts.items() if count > MAX_MODULES} == set()


def test_late_imports_give_a_reason() -> None:
    """The reason is a comment after the import or above it."""
    silent = []
    for found in imports():
        if found.own and found.late and not found.typed:
            lines = MODULES[found.module].read_text(encoding="utf-8").splitlines()
            above, line = lines[found.line - 2 : found.line]
            if line.count("#") < 2 and not above.lstrip().startswith("#"):
                silent.append(str(found))
    assert silent == []


def test_no_module_prints_or_patches() -> None:
    """Output uses displays and errors; only command-line programs and `--help` print."""
    printing = {
        name
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert printing <= {"__main__", "server.__main__", "notebook.magics"}
    assert not {found.name for found in imports()} & {"nest_asyncio", "uvloop"}
