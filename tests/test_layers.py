"""The house: which room may know which, walked import by import."""

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
"""From the ground up. A room knows itself and the rooms below, never its neighbours on a floor."""
OF_THE_SERVER = (
    "client.wire", "client.messages", "client.media",
    "client.addresses", "client.http", "client.transport.scrubbing",
)  # fmt: skip
"""All that the server knows of the client: the wire, what an image is in bytes, and the rules that
keep an engine's addresses and its key safe."""
NOTEBOOK = {"IPython", "ipywidgets", "traitlets", "anywidget", "ipykernel", "jupyter_client"}
"""What only `frontend` and `notebook` may know of."""
MOST_LATE_IMPORTS = 25
MOST_MODULES = 18
"""In one folder."""


class Import(NamedTuple):
    """One import of one module.

    Attributes:
        name: The module imported; of the package's own without the package's name.
        own: Whether it is one of the package's.
        line: Where.
        late: Whether a function does it.
        typed: Whether only a type checker sees it.
    """

    name: str
    own: bool
    line: int
    late: bool
    typed: bool


Imports = dict[str, list[Import]]


def modules() -> dict[str, Path]:
    """Return every module of the package by its name without the package's."""
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
    """Return what a file imports: at its top, inside functions, for type checkers."""
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
    """What every module imports."""
    return {name: imports(path) for name, path in NAMES.items()}


def room(name: str) -> str:
    """Return the room a module is in; the package itself is above all of them."""
    return name.partition(".")[0]


def floor(name: str) -> int:
    return next((i for i, rooms in enumerate(ORDER) if room(name) in rooms), len(ORDER))


def where(name: str, one: Import) -> str:
    return f"{NAMES[name].relative_to(ROOT)}:{one.line} imports {one.name}"


def test_every_module_is_in_a_room() -> None:
    """Nothing lies about at the root."""
    assert {room(name) for name in NAMES} - {PACKAGE, "__main__"} <= {
        name for rooms in ORDER for name in rooms
    }


def test_no_room_knows_one_above_or_beside_it(everything: Imports) -> None:
    """Imports inside functions and for type checkers count like any other."""
    offenders = [
        where(name, one)
        for name, found in everything.items()
        if name != PACKAGE
        for one in found
        if one.own
        and room(one.name) != room(name)
        and (floor(one.name) > floor(name) or (floor(one.name) == floor(name)))
    ]
    assert offenders == []


def test_the_server_knows_only_the_wire(everything: Imports) -> None:
    """It stands beside the client, never on it."""
    offenders = [
        where(name, one)
        for name, found in everything.items()
        if room(name) == "server"
        for one in found
        if one.own and room(one.name) == "client" and not one.name.startswith(OF_THE_SERVER)
    ]
    assert offenders == []


def test_only_one_module_starts_the_server(everything: Imports) -> None:
    """What speaks to it goes through the wire."""
    users = {
        name
        for name, found in everything.items()
        for one in found
        if one.own and room(one.name) == "server" and room(name) != "server"
    }
    assert users == {"generation.backends"}


@pytest.mark.parametrize("rooms", [{"client", "server", "library"}])
def test_what_works_in_any_program_knows_nothing_of_notebooks(
    rooms: set[str], everything: Imports
) -> None:
    """Client, server and library are of use to those who have never seen a kernel."""
    offenders = [
        where(name, one)
        for name, found in everything.items()
        if room(name) in rooms
        for one in found
        if one.name.partition(".")[0] in NOTEBOOK
    ]
    assert offenders == []


def test_there_is_no_circle(everything: Imports) -> None:
    """Not at import, not in functions, not among types."""
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
    """Otherwise it belongs into the other; what a package offers to everybody has users outside."""
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
    """A stranger reads the list of a folder's modules in one look."""
    folders = Counter(path.parent for path in NAMES.values())
    crowded = {
        str(folder.relative_to(ROOT)): n for folder, n in folders.items() if n > MOST_MODULES
    }
    assert crowded == {}


def test_late_imports_of_our_own_are_few_and_reasoned(everything: Imports) -> None:
    """An import inside a function says why it cannot stand at the top."""
    late, silent = [], []
    for name, found in everything.items():
        lines = NAMES[name].read_text(encoding="utf-8").splitlines()
        for one in found:
            if one.own and one.late and not one.typed:
                late.append(where(name, one))
                line = lines[one.line - 1]
                if line.count("#") < 2 and not lines[one.line - 2].lstrip().startswith("#"):
                    silent.append(where(name, one))
    assert silent == []
    assert len(late) <= MOST_LATE_IMPORTS, late


def test_nobody_prints_or_patches(everything: Imports) -> None:
    """Output goes through displays and errors; only programs and `--help` print."""
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
