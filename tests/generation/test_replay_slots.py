"""Slots: Restart and Run All is free, and a cell run again makes new pictures."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import grpc
import nbformat
import pytest
from nbclient import NotebookClient

import xai_notebook as xai
from press import Notebook
from xai_notebook.generation.session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from press import Press

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
    """Equal requests are paid for once each; later runs show the same in the same order."""
    made = notebook(*cells, ids=ids)
    first = made.run()
    assert made.errors == [None] * len(cells)
    assert len(orders.orders) == paid
    assert len(set(first)) == len(first) > 0
    for _ in range(5):
        assert made.rerun() == first
    assert len(orders.orders) == paid


def test_restart_and_run_all_is_free_where_machines_run_it(orders: Press, tmp_path: Path) -> None:
    """Nbclient sends no cell ids: all of it in one notebook, in three kernels."""
    cells = ["%load_ext xai_notebook\nimport xai_notebook as xai\nshown = []"]
    cells += [cell for several, _ in EQUAL.values() for cell in several]
    cells += ["%%xai_image --as one\na fox", "shown += one\nprint([i.sha256 for i in shown])"]

    def run() -> list[str]:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        NotebookClient(
            notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
        return list(ast.literal_eval(notebook.cells[-1].outputs[0].text))

    first = run()
    assert len(set(first)) == len(first) == 30
    paid = len(orders.orders)
    assert run() == run() == first
    assert len(orders.orders) == paid == 1 + sum(each for _, each in EQUAL.values())


# A cell run again


@pytest.mark.parametrize("cell", [ONE, MAGIC, GATHER])
def test_a_cell_run_again_makes_new_pictures(
    notebook: Callable[..., Notebook], orders: Press, cell: str
) -> None:
    """They take the slots of the old ones: the next Run All shows them, the others as before."""
    made = notebook(cell, ONE)
    first = made.run()
    count = len(first) - 1
    again = made.run(0)
    assert not set(again) & set(first)
    assert len(again) == count
    assert len(orders.orders) == 2 * count + 1
    for _ in range(2):
        assert made.rerun() == again + first[count:]
    assert len(orders.orders) == 2 * count + 1


def test_the_same_line_again_in_a_terminal(shell: InteractiveShell, orders: Press) -> None:
    """A terminal has no cell ids, so a line that is run again is one by its text."""
    loop = "for _ in range(2): " + ONE
    shell.user_ns["xai"] = xai
    made = Notebook(shell, loop, ONE, loop, ids=False)
    first = made.run()
    assert len(orders.orders) == len(set(first)) == 5
    assert made.rerun()[:3] == first[3:] + first[2:3]  # the second loop took the first one's places


def test_another_cell_gets_pictures_of_its_own(
    notebook: Callable[..., Notebook], orders: Press
) -> None:
    """A cell added below takes the next slot, whatever was run again before."""
    made = notebook(ONE, ONE)
    made.run(0)
    (again,) = made.run(0)
    (other,) = made.run(1)
    assert again != other
    assert made.rerun() == [again, other]
    assert len(orders.orders) == 3


def test_a_cell_that_no_longer_asks_leaves_its_place(
    notebook: Callable[..., Notebook], orders: Press
) -> None:
    """Its slot is free for the next Run All."""
    made = notebook(ONE, ONE)
    (first,) = made.run(0)
    made.cells[0] = ONE.replace("fox", "hare")
    (hare,) = made.run(0)
    assert made.run(1) == [first]
    assert made.rerun() == [hare, first]
    assert len(orders.orders) == 2


def test_two_become_four(notebook: Callable[..., Notebook], orders: Press) -> None:
    """`n` raised from two to four keeps the two, in the same kernel as well."""
    made = notebook('shown += xai.generate("a fox", n=2)')
    two = made.run()
    made.cells[0] = made.cells[0].replace("n=2", "n=4")
    four = made.run()
    assert four[:2] == two
    assert orders.orders == [2, 2]
    assert made.rerun() == four
    assert not set(made.run()) & set(four)  # now it is a cell run again
    assert orders.orders == [2, 2, 4]


def test_fewer_than_before(notebook: Callable[..., Notebook], orders: Press) -> None:
    """A shortened loop costs nothing at the next Run All."""
    made = notebook("for _ in range(3): " + ONE, ONE)
    *_, third, last = made.run()
    made.cells[0] = made.cells[0].replace("3", "2")
    again = made.run(0)
    assert made.rerun() == [*again, third]
    assert len(orders.orders) == 6
    assert last not in {*again, third}


def test_fresh(notebook: Callable[..., Notebook], orders: Press) -> None:
    """`fresh` makes new pictures in any case, and those are shown without it from then on."""
    made = notebook(ONE)
    first = made.run()
    made.cells[0] = ONE.replace(")", ", fresh=True)")
    fresh = made.rerun()
    assert fresh != first
    made.cells[0] = ONE
    assert made.rerun() == fresh
    assert len(orders.orders) == 2


def test_replay_shows_what_any_place_holds(
    notebook: Callable[..., Notebook], orders: Press
) -> None:
    """`replay` prefers its own slot, then the newest picture of any."""
    made = notebook(ONE, ONE.replace(")", ", replay=True)"))
    first, again = made.run()
    assert again == first
    assert made.rerun() == [first, first]
    assert len(orders.orders) == 1


def test_the_order_of_cells_does_not_cost(notebook: Callable[..., Notebook], orders: Press) -> None:
    """Run in another order, equal cells show stored pictures."""
    made = notebook(ONE, ONE)
    both = made.run()
    made.restart()
    assert [*made.run(1), *made.run(0)] == both
    assert len(orders.orders) == 2


def test_a_cell_that_tries_again_itself(notebook: Callable[..., Notebook], orders: Press) -> None:
    """A request that failed and is made again by its cell has one slot."""
    orders.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    made = notebook(
        f"for _ in range(2):\n    try: {ONE}; break\n    except xai.XaiError: pass", ONE
    )
    first = made.run()
    assert len(first) == 2
    assert made.rerun() == first
    assert len(orders.orders) == 2


# Around the cells


def test_plain_imports_watch_the_cells(shell: InteractiveShell, orders: Press) -> None:
    """Without %load_ext, too; hooks are registered once, and removed with the session."""
    hooks = shell.events.callbacks
    before = {name: list(found) for name, found in hooks.items()}
    shell.extension_manager.unload_extension("xai_notebook")
    shell.user_ns["xai"] = xai
    made = Notebook(shell, f"import xai_notebook\n{ONE}\n1 / 0", ids=False)
    made.run()
    made.run()
    assert len(orders.orders) == 1
    shell.extension_manager.load_extension("xai_notebook")
    shell.run_line_magic("reload_ext", "xai_notebook")
    made.run()
    ours = [hook for hook in hooks["post_run_cell"] if "xai_notebook" in hook.__module__]
    assert len(ours) == 1
    shell.extension_manager.unload_extension("xai_notebook")
    assert hooks == before
    shell.extension_manager.load_extension("xai_notebook")


def test_threads_of_a_cell_are_its_own(notebook: Callable[..., Notebook], orders: Press) -> None:
    """Their requests have slots in the pass; run again, they make new pictures."""
    made = notebook(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    for batch in pool.map(xai.generate, ['a fox'] * 4): shown += batch"
    )
    first = set(made.run())
    assert len(first) == len(orders.orders) == 4
    again = set(made.run())
    assert not first & again
    assert set(made.rerun()) == again
    assert len(orders.orders) == 8


def test_a_task_that_outlives_its_cell_is_its_own(
    notebook: Callable[..., Notebook], orders: Press
) -> None:
    """Its request belongs to the cell that started it, not to the one that runs."""
    made = notebook(
        ONE.replace("fox", "hare"),  # cells are watched from the first call on
        "import asyncio\nwait = asyncio.Event()\n"
        "async def later():\n    await wait.wait()\n    return await xai.agenerate('a fox')\n"
        "task = asyncio.get_running_loop().create_task(later())\nawait asyncio.sleep(0)",
        "wait.set()\nshown += await task",
    )
    made.run()
    again = made.run()
    assert len(orders.orders) == 4
    assert made.rerun() == again
    assert len(orders.orders) == 4


@pytest.mark.parametrize(
    "cell",
    [
        "shown += xai.generate(each=['a fox'] * 4, rewrite='chat', local=True)",
        GATHER.replace('"a fox"', '"a fox", rewrite="chat", local=True'),
    ],
    ids=["each", "gather"],
)
def test_equal_prompts_are_rewritten_once(notebook: Callable[..., Notebook], cell: str) -> None:
    """With --rewrite, equal prompts share a rewrite, and have slots in their order."""
    made = notebook(cell)
    first = made.run()
    assert len(set(first)) == 4
    for _ in range(3):
        assert made.rerun() == first
    assert len({image.rewritten_prompt for image in made.shell.user_ns["shown"]}) == 1


def test_a_panel_takes_no_place(notebook: Callable[..., Notebook], orders: Press) -> None:
    """Generate makes new pictures each time; the next equal cell shows the last of them."""
    session = current_session()

    def press_generate() -> str | None:
        call = session.prepare("a fox", {})
        with session.cells.ask("a panel") as claims:
            session.loop.run(session.run(call, claims))
            return session.finish(call)[0].sha256

    pictures = [press_generate() for _ in range(3)]
    made = notebook(ONE, ONE)
    assert made.run(0) == pictures[-1:]
    assert press_generate() not in pictures
    assert len(orders.orders) == 4
    assert made.rerun()[:1] == pictures[-1:]
    assert len(orders.orders) == 4
