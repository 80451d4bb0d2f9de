"""Writes the page of error messages: every message in the source code that can be raised.

A message is the first argument of an error that is made. Where that is a name or a call, the
sentences are those that the function assigns to the name, or that the called function returns.
What a value fills in is shown as "…".
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2] / "xai_notebook"
FILLED = "…"
DEEPEST = 4
"""Names and calls that are resolved to their text."""
STATUS = (
    "client/transport/status.py",
    ("_broken_message", "_unavailable_message", "_status_message", "_deadline_message"),
    "ApiError",
)
"""The module that translates gRPC statuses; the error class depends on the status."""


@dataclass
class Found:
    """The messages of the package.

    Attributes:
        classes: Each error's docstring, by name, in the order of the tree.
        messages: By class; each once, in the order of the files.
        unresolved: Places where an error is made whose message cannot be read from the code.
    """

    classes: dict[str, str] = field(default_factory=dict)
    messages: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unresolved: list[str] = field(default_factory=list)

    def add(self, kind: str, message: str) -> None:
        """Add a message, with whitespace normalised."""
        text = " ".join(message.split())
        text = re.sub(rf"(?:{FILLED} ?)+{FILLED}", FILLED, text)
        if any(map(str.isalpha, text)) and text not in self.messages[kind]:
            self.messages[kind].append(text)


class Module:
    """One source file, its functions, and the texts that they return."""

    def __init__(self, path: Path) -> None:
        """Parse a file."""
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.functions = {
            node.name: node
            for node in ast.walk(self.tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }

    def texts(  # noqa: PLR0911  # one for each kind of expression
        self, node: ast.AST | None, inside: ast.AST | None, depth: int = 0
    ) -> list[str]:
        """Return the texts that an expression can have; empty if unknown or passed in."""
        if depth > DEEPEST or node is None:
            return []
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [node.value]
        if isinstance(node, ast.JoinedStr):
            return self._filled(node, inside, depth)
        if isinstance(node, ast.BinOp):
            left = self.texts(node.left, inside, depth + 1) or [FILLED]
            right = self.texts(node.right, inside, depth + 1) or [FILLED]
            return [one + other for one in left for other in right]
        if isinstance(node, (ast.IfExp, ast.BoolOp)):
            branches = (node.body, node.orelse) if isinstance(node, ast.IfExp) else node.values
            return [text for each in branches for text in self.texts(each, inside, depth + 1)]
        if isinstance(node, ast.Attribute) and node.attr in self.functions:  # a property
            return self.returned(self.functions[node.attr], depth)
        if isinstance(node, ast.Name):
            return self._assigned(node.id, inside, depth)
        if isinstance(node, ast.Call):
            return self._called(node, inside, depth)
        return []

    def _filled(self, node: ast.JoinedStr, inside: ast.AST | None, depth: int) -> list[str]:
        """Return the variants of an f-string, one for each known value of its names."""
        found = [""]
        for value in node.values:
            parts = [str(value.value)] if isinstance(value, ast.Constant) else [FILLED]
            if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
                parts = self._assigned(value.value.id, inside, depth + 1) or parts
            found = [one + part for one in found for part in parts]
        return found

    def _assigned(self, name: str, inside: ast.AST | None, depth: int) -> list[str]:
        found = []
        for node in ast.walk(inside or self.tree):
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value:
                targets = [node.target]
            for target in targets:
                value = node.value  # type: ignore[attr-defined]
                pairs = [(target, value)]
                if isinstance(target, ast.Tuple):
                    values = value.elts if isinstance(value, ast.Tuple) else []
                    pairs = list(zip(target.elts, values, strict=False))
                for one, said in pairs:
                    if isinstance(one, ast.Name) and one.id == name:
                        found += self.texts(said, inside, depth + 1)
        return found

    def _called(self, node: ast.Call, inside: ast.AST | None, depth: int) -> list[str]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name == "get":  # of a dict of sentences that is made here
            values = [each for each in ast.walk(inside or self.tree) if isinstance(each, ast.Dict)]
            named = [t for each in values for v in each.values for t in self.texts(v, inside, 4)]
            return named + [
                t for each in node.args[1:] for t in self.texts(each, inside, depth + 1)
            ]
        called = self.functions.get(name)
        if called is not None:
            return self.returned(called, depth)
        # A method of the sentence itself, such as strip().
        return self.texts(getattr(node.func, "value", None), inside, depth + 1)

    def returned(self, function: ast.AST, depth: int = 0) -> list[str]:
        """Return the texts that a function of this file can return."""
        return [
            text
            for node in ast.walk(function)
            if isinstance(node, ast.Return)
            for text in self.texts(node.value, function, depth + 1)
        ]


def collect() -> Found:
    """Read every message from the package."""
    found = Found()
    tree = ast.parse((PACKAGE / "errors.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found.classes[node.name] = (ast.get_docstring(node) or "").partition("\n\n")[0]
    for path in sorted(PACKAGE.rglob("*.py")):
        module = Module(path)
        for call, inside in _made(module.tree, found.classes):
            kind = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id  # type: ignore[attr-defined]
            texts = module.texts(call.args[0], inside) if call.args else []
            for text in texts:
                found.add(kind, text)
            if not texts and not _passes_on(call, inside):
                found.unresolved.append(f"{path.relative_to(PACKAGE)}:{call.lineno}")
    name, functions, kind = STATUS
    module = Module(PACKAGE / name)
    for function in functions:
        for text in module.returned(module.functions[function]):
            found.add(kind, text)
    return found


def _made(tree: ast.AST, classes: dict[str, str]) -> Iterator[tuple[ast.Call, ast.AST | None]]:
    """Yield each call that creates an error, and its enclosing function."""

    def visit(node: ast.AST, inside: ast.AST | None) -> Iterator[tuple[ast.Call, ast.AST | None]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = node
        if isinstance(node, ast.Call):
            func = node.func
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if name in classes:
                yield node, inside
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(tree, None)


def _passes_on(call: ast.Call, inside: ast.AST | None) -> bool:
    """Tell whether an error repeats the message of another error or an argument."""
    if not call.args:
        return False
    message = call.args[0]
    if isinstance(message, ast.Call) and ast.unparse(message.func) == "str":
        return True
    arguments = getattr(inside, "args", None)
    given = {each.arg for each in (*arguments.args, *arguments.kwonlyargs)} if arguments else set()
    for node in ast.walk(inside) if inside else ():  # what another function has worded
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Await, ast.Attribute)):
            given |= {each.id for each in ast.walk(node.targets[0]) if isinstance(each, ast.Name)}
    names = {node.id for node in ast.walk(message) if isinstance(node, ast.Name)}
    return bool(names & given) or isinstance(message, ast.Attribute)


def anchor(message: str) -> str:
    """Return the anchor of a message: its words, joined."""
    return "-".join(re.findall(r"[a-z0-9]+", message.lower()))[:80]


def write(path: Path) -> None:
    """Write the page."""
    found = collect()
    lines = [
        "# Every error message",
        "",
        "What the package can say, read from its code; `…` stands for what is filled in. A message",
        "says the cause, then the cure. `%tb` shows the whole chain of the last error. The classes",
        "are described in the [reference](errors.md).",
        "",
    ]
    taken: set[str] = set()
    for kind, told in found.classes.items():
        messages = sorted(found.messages.get(kind, ()))
        if not messages:
            continue
        lines += [f"(messages-{kind.lower()})=", f"## {kind}", "", " ".join(told.split()), ""]
        for message in messages:
            name = anchor(message)
            while name in taken:
                name += "-again"
            taken.add(name)
            lines += [f"(error-{name})=", f"`{message}`", ": " + _pointer(message), ""]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pointer(message: str) -> str:
    """Return a link to the related page."""
    for word, page in POINTERS.items():
        if word in message:
            return f"See {page}."
    return "The message says what to do."


POINTERS = {
    "--batch": "[jobs](../howto/jobs.md)",
    "job": "[jobs](../howto/jobs.md)",
    "--each": "[prompts from a table](../howto/table.md)",
    "bundle": "[sharing a notebook](../howto/share_notebook.md)",
    "budget": "[budgets](../howto/budgets.md)",
    "max-cost": "[budgets](../howto/budgets.md)",
    "price": "[budgets](../howto/budgets.md)",
    "certificate": "[proxies and certificates](../howto/network.md)",
    "proxy": "[proxies and certificates](../howto/network.md)",
    "HTTPS_PROXY": "[proxies and certificates](../howto/network.md)",
    "ngine": "[engines](../howto/engines.md)",
    "XAI_NOTEBOOK_HOME": "[several libraries](../howto/libraries.md)",
    "library": "[your library](../howto/library.md)",
    "input image": "[editing](../howto/editing.md)",
    "image": "[editing](../howto/editing.md)",
    "export": "[your library](../howto/library.md)",
    "key": "[the settings](settings.md)",
    "{{": "[prompts from a table](../howto/table.md)",
}
