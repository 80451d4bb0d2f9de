"""Who may import whom: every import of every module, those inside functions too."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import xai_notebook

ROOT = Path(str(xai_notebook.__file__)).parent
PACKAGE = "xai_notebook"
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"settings", "media", "files"}),
    frozenset({"client"}),
    frozenset({
        "arguments", "budget", "calls", "convert", "display", "embedding", "export", "folder",
        "inputs", "library", "live", "loop", "pixels", "plain", "progress", "prompts",
        "provenance", "request", "results", "routing", "sheet", "tables", "workers", "templates",
    }),
    frozenset({
        "arrival", "batching", "cells", "claims", "generation", "keeping", "many", "replies",
        "rewriting", "session", "turns",
    }),
    frozenset({"api", "completion", "extension", "magics", "panel"}),
)  # fmt: skip
"""From the bottom up: a module imports from its own layer and from those below."""
OF_THE_SERVER = {"client.wire", "client.messages", "errors", "settings", "media"}
NOTEBOOK = {"IPython", "ipywidgets", "traitlets", "anywidget", "ipykernel", "jupyter_client"}


def modules() -> dict[str, Path]:
    """Return every module of the package by its name without the package's."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name or PACKAGE] = path
    return found


def imports(path: Path, *, eager: bool = False) -> set[tuple[str, int]]:
    """Return the modules that a file imports at run time, with their lines.

    Args:
        path: The file.
        eager: Leave out what functions import.
    """
    tree = ast.parse(path.read_text())
    found: set[tuple[str, int]] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.orelse:
                visit(child)
            return
        if eager and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.Import):
            found.update((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                is_module = whole.removeprefix(f"{PACKAGE}.") in NAMES
                found.add((whole if is_module else module, node.lineno))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


NAMES = modules()


def own(path: Path, *, eager: bool = False) -> list[tuple[str, int]]:
    """Return the modules of the package that a file imports, without the package's name."""
    return [
        (name.removeprefix(f"{PACKAGE}."), line)
        for name, line in sorted(imports(path, eager=eager))
        if name.startswith(f"{PACKAGE}.")
    ]


def layer(name: str) -> int | None:
    top = name.partition(".")[0]
    return next((i for i, names in enumerate(LAYERS) if top in names), None)


def test_every_module_has_its_layer() -> None:
    """A new module is put into a layer on purpose."""
    tops = {name.partition(".")[0] for name in NAMES} - {PACKAGE, "server"}
    assert [name for name in sorted(tops) if layer(name) is None] == []


def test_nobody_imports_from_above() -> None:
    """A module imports from its own layer and from those below."""
    offenders = []
    for name, path in NAMES.items():
        here = layer(name)
        for wanted, line in own(path):
            there = layer(wanted)
            if here is None or there is None:
                continue
            if there > here:
                offenders.append(f"{path.relative_to(ROOT)}:{line} {name} imports {wanted}")
    assert offenders == []


def test_the_server_knows_only_the_wire() -> None:
    """It stands beside the client, never on it."""
    offenders = [
        f"{path.relative_to(ROOT)}:{line} imports {wanted}"
        for name, path in NAMES.items()
        if name.partition(".")[0] == "server"
        for wanted, line in own(path)
        if wanted.partition(".")[0] != "server"
        and not any(wanted == ok or wanted.startswith(f"{ok}.") for ok in OF_THE_SERVER)
    ]
    assert offenders == []


def test_painting_is_entered_by_its_face() -> None:
    """Nobody outside imports a module of `server.painting`."""
    offenders = [
        f"{path.relative_to(ROOT)}:{line} imports {wanted}"
        for name, path in NAMES.items()
        if not name.startswith("server.painting")
        for wanted, line in own(path)
        if wanted.startswith("server.painting.")
    ]
    assert offenders == []


def test_only_the_session_starts_the_server() -> None:
    """Nobody else in the package imports `server`."""
    users = {
        name
        for name, path in NAMES.items()
        if name.partition(".")[0] != "server"
        for wanted, _ in own(path)
        if wanted.partition(".")[0] == "server"
    }
    assert users <= {"session"}


def test_client_and_server_know_nothing_of_notebooks() -> None:
    """They work in any program."""
    offenders = [
        f"{path.relative_to(ROOT)}:{line} imports {wanted}"
        for name, path in NAMES.items()
        if name.partition(".")[0] in {"client", "server"}
        for wanted, line in imports(path)
        if wanted.partition(".")[0] in NOTEBOOK
    ]
    assert offenders == []


def test_the_imports_of_modules_make_no_circle() -> None:
    """At import, that is: functions may import what is loaded later."""
    graph = {
        name: {wanted for wanted, _ in own(path, eager=True) if wanted != name}
        for name, path in NAMES.items()
        if name != PACKAGE
    }
    assert list(TopologicalSorter(graph).static_order())


def test_no_module_uses_print_or_nest_asyncio() -> None:
    """Nothing patches the user's kernel."""
    for path in NAMES.values():
        assert not {name for name, _ in imports(path)} & {"nest_asyncio", "uvloop"}, path
