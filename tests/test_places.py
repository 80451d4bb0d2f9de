"""Restart and Run All is free; a cell run again makes new pictures; what was not shown answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY
from press import press
from xai_notebook.session import Session, close_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from press import Press


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Press]:
    """A server that counts orders, named by the environment together with a key."""
    with press() as made:
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", made.host)
        yield made


@pytest.fixture
def kernels(orders: Press) -> Iterator[Callable[[], Session]]:
    """Make sessions, each like a fresh kernel without cells."""
    made: list[Session] = []

    def make() -> Session:
        made.append(Session())
        return made[-1]

    yield make
    for session in made:
        session.close()


class Notebook:
    """Cells in a shell of this process. What they add to `shown` is what a run has shown."""

    def __init__(self, shell: InteractiveShell, *cells: str, ids: bool = True) -> None:
        self.shell = shell
        self.cells = list(cells)
        self.ids = ids
        self.errors: list[BaseException | None] = []

    def run(self, *numbers: int) -> list[str]:
        """Run cells, by default all; return the digests of what they have shown."""
        shown: list[Any] = []
        self.shell.user_ns["shown"] = shown
        self.errors = []
        for number in numbers or range(len(self.cells)):
            cell_id = {"cell_id": f"cell-{number}"} if self.ids else {}
            result = self.shell.run_cell(self.cells[number], store_history=True, **cell_id)
            self.errors.append(result.error_in_exec or result.error_before_exec)
        return [image.sha256 for image in shown]

    def restart(self) -> None:
        """What a kernel remembers is gone."""
        close_session()

    def rerun(self) -> list[str]:
        """Restart and run all."""
        self.restart()
        return self.run()


@pytest.fixture
def notebook(shell: InteractiveShell, orders: Press) -> Callable[..., Notebook]:
    """Make notebooks whose cells have ids, as JupyterLab and VS Code send them."""
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]  # it is no terminal
    shell.user_ns["xai"] = __import__("xai_notebook")
    shell.autoawait = True
    return lambda *cells, **options: Notebook(shell, *cells, **options)


ONE = 'shown += xai.generate("a fox")'
MAGIC = "shown += get_ipython().run_line_magic('xai_image', 'a fox')"
EDIT = 'shown += fox[0].edit("a hat")'
GATHER = """
import asyncio
for four in await asyncio.gather(*(xai.agenerate("a fox") for _ in range(4))):
    shown += four
"""
EQUAL = {
    "the same cell twice": ([ONE, ONE], 2),
    "the same magic twice": ([MAGIC, MAGIC], 2),
    "a loop": (["for _ in range(3): " + ONE], 3),
    "a function in one cell": ([f"def f():\n    global shown\n    {ONE}\nf(); f()"], 2),
    "a function in two cells": ([f"def f():\n    global shown\n    {ONE}", "f()", "f()"], 2),
    "equal edits": (
        ['fox = xai.generate("a fox")', EDIT, EDIT],
        3,
    ),
    "many, then one of them": (
        ['shown += xai.generate(each=["a fox", "an owl", "a fox"])', ONE],
        4,
    ),
    "two, then four": (
        ['shown += xai.generate("a fox", n=2)', 'shown += xai.generate("a fox", n=4)'],
        2,
    ),
    "base64, then url": ([ONE, 'shown += xai.generate("a fox", format="url")'], 2),
    "gather": ([GATHER], 4),
}


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
@pytest.mark.parametrize(("cells", "paid"), EQUAL.values(), ids=EQUAL)
def test_restart_and_run_all_is_free(
    notebook: Callable[..., Notebook], orders: Press, cells: list[str], paid: int, *, ids: bool
) -> None:
    """Equal requests are paid for once each; every later run shows the same in the same order."""
    made = notebook(*cells, ids=ids)
    first = made.run()
    assert made.errors == [None] * len(cells)
    assert len(orders.orders) == paid
    assert len(set(first)) == len(first) > 0
    for _ in range(5):
        assert made.rerun() == first
    assert len(orders.orders) == paid
