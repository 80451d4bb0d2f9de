"""The import order of the package, checked import by import."""

from __future__ import annotations

import ast
from collections import Counter
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
)
"""Lowest level first. A part imports itself and lower levels, never its own level."""
OF_THE_SERVER = (
    "client.wire", "client.messages", "client.media",
    "client.addresses", "client.http", "client.transport.scrubbing",
)  # fmt: skip
"""What the server may import from the client: wire messages, image formats, and the HTTP client for
engines."""
NOTEBOOK = {"IPython", "ipywidgets", "traitlets", "anywidget", "ipykernel", "jupyter_client"}
"""Packages that only `frontend` and `notebook` may import."""
MOST_MODULES = 18
"""In one folder, so that its list is readable at a glance."""


class Import(NamedTuple):
    """One import of one module.

    Attributes:
        name: The imported module; for our own modules, without `xai_notebook.`.
        own: Whether it is one of our own modules.
        line: Line number.
        late: Whether it is inside a function.
        typed: Whether only type checkers see it.
    """

    name: str
    own: bool
    line: int
    late: bool
    typed: bool


Imports = dict[str, list[Import]]


def modules() -> dict[str, Path]:
    """Return the file of every module, by the module's name without `xai_notebook.`."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name or PACKAGE] = path
    return found


NAMES = modules()


def parsed(name: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(NAMES[name].read_text(encoding="utf-8"))


def imports(path: Path) -> list[Import]:
    """Return all imports of a file, including those in functions and for type checkers."""
    found: list[Import] = []

    def note(name: str, node: ast.stmt, *, late: bool, typed: bool) -> None:
        own = name.partition(".")[0] == PACKAGE
        found.append(Import(name.removeprefix(f"{PACKAGE}."), own, node.lineno, late, typed))

    def visit(node: ast.AST, *, late: bool, typed: bool) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(alias.name, node, late=late, typed=typed)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                known = whole.removeprefix(f"{PACKAGE}.") in NAMES
                note(whole if known else node.module or "", node, late=late, typed=typed)
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typed = typed or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, late=late, typed=typed)

    visit(ast.parse(path.read_text(encoding="utf-8")), late=False, typed=False)
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def everything() -> Imports:
    """Return the imports of every module."""
    return {name: imports(path) for name, path in NAMES.items()}


def part(name: str) -> str:
    """Return the top-level part that a module belongs to."""
    return name.partition(".")[0]


def level(name: str) -> int:
    return next((i for i, parts in enumerate(ORDER) if part(name) in parts), len(ORDER))


def where(name: str, one: Import) -> str:
    return f"{NAMES[name].relative_to(ROOT)}:{one.line} imports {one.name}"


def test_every_module_is_in_a_room() -> None:
    assert {part(name) for name in NAMES} - {PACKAGE, "__main__"} <= {
        name for parts in ORDER for name in parts
    }


def test_no_room_knows_one_above_or_beside_it(everything: Imports) -> None:
    """Imports inside functions and for type checkers count, too."""
    offenders = [
        where(name, one)
        for name, found in everything.items()
        if name != PACKAGE
        for one in found
        if one.own
        and part(one.name) != part(name)
        and (level(one.name) > level(name) or (level(one.name) == level(name)))
    ]
    assert offenders == []


def test_the_server_imports_only_the_wire_of_the_client(everything: Imports) -> None:
    offenders = [
        where(name, one)
        for name, found in everything.items()
        if part(name) == "server"
        for one in found
        if one.own and part(one.name) == "client" and not one.name.startswith(OF_THE_SERVER)
    ]
    assert offenders == []


def test_only_one_module_starts_the_server(everything: Imports) -> None:
    """Everything else uses it over gRPC."""
    users = {
        name
        for name, found in everything.items()
        for one in found
        if one.own and part(one.name) == "server" and part(name) != "server"
    }
    assert users == {"generation.backends"}


@pytest.mark.parametrize("parts", [{"client", "server", "library"}])
def test_client_server_and_library_do_not_import_ipython(
    parts: set[str], everything: Imports
) -> None:
    offenders = [
        where(name, one)
        for name, found in everything.items()
        if part(name) in parts
        for one in found
        if one.name.partition(".")[0] in NOTEBOOK
    ]
    assert offenders == []


def test_imports_have_no_cycle(everything: Imports) -> None:
    graph = {
        name: {one.name for one in found if one.own and one.name != name}
        for name, found in everything.items()
        if name != PACKAGE
    }
    try:
        assert list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_module_with_one_importer_says_why(everything: Imports) -> None:
    """Modules that a package exports are exempt: they have users outside of the package."""
    importers: dict[str, set[str]] = {name: set() for name in NAMES}
    for name, found in everything.items():
        for one in found:
            if one.name in importers and one.name != name:
                importers[one.name].add(name)
    packages = {name for name, path in NAMES.items() if path.name == "__init__.py"}
    silent = [
        name
        for name, users in importers.items()
        if len(users - packages) == 1
        and users.isdisjoint(packages)
        and name not in packages
        and "Separate because" not in (ast.get_docstring(parsed(name)) or "")
    ]
    assert silent == []


def test_no_folder_is_crowded() -> None:
    folders = Counter(path.parent for path in NAMES.values())
    crowded = {
        str(folder.relative_to(ROOT)): n for folder, n in folders.items() if n > MOST_MODULES
    }
    assert crowded == {}


def test_late_imports_give_a_reason(everything: Imports) -> None:
    """A comment gives the reason for each import inside a function."""
    silent = []
    for name, found in everything.items():
        lines = NAMES[name].read_text(encoding="utf-8").splitlines()
        for one in found:
            if one.own and one.late and not one.typed:
                line = lines[one.line - 1]
                if line.count("#") < 2 and not lines[one.line - 2].lstrip().startswith("#"):
                    silent.append(where(name, one))
    assert silent == []


def test_no_module_prints_or_patches(everything: Imports) -> None:
    """Output uses displays and errors; only command-line programs and `--help` print."""
    printing = {"__main__", "server.__main__", "notebook.magics"}
    for name, path in NAMES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prints = any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
            for node in ast.walk(tree)
        )
        assert not prints or name in printing, path
        assert not {one.name for one in everything[name]} & {"nest_asyncio", "uvloop"}, path
