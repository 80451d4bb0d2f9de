"""Slots: Restart and Run All is free, and a cell run again makes new pictures."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import grpc
import pytest

import xai_notebook as xai
from numbering_server import Notebook, execute, generate_in_panel

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from numbering_server import Notebooks, NumberingServer

ONE = 'shown += xai.generate("a fox")'
MAGIC = "shown += get_ipython().run_line_magic('xai_image', 'a fox')"
EDIT = 'shown += fox[0].edit("a hat")'
GATHER = """
import asyncio
for batch in await asyncio.gather(*(xai.agenerate("a fox") for _ in range(4))):
    shown += batch
"""
EQUAL = {
    "the same cell twice": ([ONE, ONE], 2),
    "the same magic twice": ([MAGIC, MAGIC], 2),
    "a loop": (["for _ in range(3): " + ONE], 3),
    "a function in one cell": ([f"def f():\n    global shown\n    {ONE}\nf(); f()"], 2),
    "a function in two cells": ([f"def f():\n    global shown\n    {ONE}", "f()", "f()"], 2),
    "equal edits": (['fox = xai.generate("a fox")', EDIT, EDIT], 3),
    "many, then a single one": (
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
    notebook: Notebooks, image_server: NumberingServer, cells: list[str], paid: int, *, ids: bool
) -> None:
    """Equal requests are paid for once each; later runs show the same in the same order."""
    book = notebook(*cells, ids=ids)
    first = book.run()
    assert book.errors == [None] * len(cells)
    assert len(image_server.image_counts) == paid
    assert len(set(first)) == len(first) > 0
    for _ in range(5):
        assert book.rerun() == first
    assert len(image_server.image_counts) == paid


def test_run_all_is_free_with_nbclient(image_server: NumberingServer, tmp_path: Path) -> None:
    """In nbclient, cells have no ids. One notebook with all cells runs in three kernels."""
    cells = ["%load_ext xai_notebook\nimport xai_notebook as xai\nshown = []"]
    cells += [cell for equal, _ in EQUAL.values() for cell in equal]
    cells += ["%%xai_image --as one\na fox", "shown += one\nprint([i.sha256 for i in shown])"]

    def run() -> list[str]:
        return list(ast.literal_eval(execute(tmp_path, *cells).nb.cells[-1].outputs[0].text))

    first = run()
    assert len(set(first)) == len(first) == 30
    assert run() == run() == first
    assert len(image_server.image_counts) == 1 + sum(paid for _, paid in EQUAL.values())


# A cell run again


@pytest.mark.parametrize("cell", [ONE, MAGIC, GATHER])
def test_a_cell_run_again_makes_new_pictures(
    notebook: Notebooks, image_server: NumberingServer, cell: str
) -> None:
    """The new pictures take the slots of the old ones; Restart and Run All shows them."""
    book = notebook(cell, ONE)
    first = book.run()
    count = len(first) - 1
    again = book.run(0)
    assert not set(again) & set(first)
    assert len(again) == count
    assert len(image_server.image_counts) == 2 * count + 1
    for _ in range(2):
        assert book.rerun() == again + first[count:]
    assert len(image_server.image_counts) == 2 * count + 1


def test_a_line_run_again_in_a_terminal_makes_new_pictures(
    shell: InteractiveShell, image_server: NumberingServer
) -> None:
    """A terminal sends no cell ids, so a cell is recognized by its text."""
    loop = "for _ in range(2): " + ONE
    shell.user_ns["xai"] = xai
    book = Notebook(shell, loop, ONE, loop, ids=False)
    first = book.run()
    assert len(image_server.image_counts) == len(set(first)) == 5
    assert book.rerun()[:3] == first[3:] + first[2:3]  # in the slots of the first loop


def test_a_cell_below_has_the_next_slot(notebook: Notebooks, image_server: NumberingServer) -> None:
    book = notebook(ONE, ONE)
    book.run(0)
    (again,) = book.run(0)
    (other,) = book.run(1)
    assert again != other
    assert book.rerun() == [again, other]
    assert len(image_server.image_counts) == 3


def test_a_changed_cell_frees_its_slot(notebook: Notebooks, image_server: NumberingServer) -> None:
    book = notebook(ONE, ONE)
    (first,) = book.run(0)
    book.cells[0] = ONE.replace("fox", "hare")
    (hare,) = book.run(0)
    assert book.run(1) == [first]
    assert book.rerun() == [hare, first]
    assert len(image_server.image_counts) == 2


def test_a_raised_n_keeps_the_images(notebook: Notebooks, image_server: NumberingServer) -> None:
    book = notebook('shown += xai.generate("a fox", n=2)')
    two = book.run()
    book.cells[0] = book.cells[0].replace("n=2", "n=4")
    four = book.run()
    assert four[:2] == two
    assert image_server.image_counts == [2, 2]
    assert book.rerun() == four
    assert not set(book.run()) & set(four)  # the cell runs again
    assert image_server.image_counts == [2, 2, 4]


def test_a_shortened_loop_costs_nothing(notebook: Notebooks, image_server: NumberingServer) -> None:
    book = notebook("for _ in range(3): " + ONE, ONE)
    *_, third, last = book.run()
    book.cells[0] = book.cells[0].replace("3", "2")
    again = book.run(0)
    assert book.rerun() == [*again, third]
    assert len(image_server.image_counts) == 6
    assert last not in {*again, third}


def test_fresh_pictures_replace_the_stored_ones(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    book = notebook(ONE)
    first = book.run()
    book.cells[0] = ONE.replace(")", ", fresh=True)")
    fresh = book.rerun()
    assert fresh != first
    book.cells[0] = ONE
    assert book.rerun() == fresh
    assert len(image_server.image_counts) == 2


def test_replay_uses_any_slot(notebook: Notebooks, image_server: NumberingServer) -> None:
    """`replay` prefers its own slot, then the newest picture of any slot."""
    book = notebook(ONE, ONE.replace(")", ", replay=True)"))
    first, again = book.run()
    assert again == first
    assert book.rerun() == [first, first]
    assert len(image_server.image_counts) == 1


def test_cells_run_in_another_order_cost_nothing(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    book = notebook(ONE, ONE)
    both = book.run()
    book.restart()
    assert [*book.run(1), *book.run(0)] == both
    assert len(image_server.image_counts) == 2


def test_a_retried_call_keeps_its_slot(notebook: Notebooks, image_server: NumberingServer) -> None:
    image_server.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    book = notebook(
        f"for _ in range(2):\n    try: {ONE}; break\n    except xai.XaiError: pass", ONE
    )
    first = book.run()
    assert len(first) == 2
    assert book.rerun() == first
    assert len(image_server.image_counts) == 2


# Cells and other callers


def test_hooks_are_registered_once_and_removed(
    shell: InteractiveShell, image_server: NumberingServer
) -> None:
    """A plain import registers them, too, without %load_ext."""
    hooks = shell.events.callbacks
    before = {name: list(registered) for name, registered in hooks.items()}
    shell.extension_manager.unload_extension("xai_notebook")
    shell.user_ns["xai"] = xai
    book = Notebook(shell, f"import xai_notebook\n{ONE}\n1 / 0", ids=False)
    book.run()
    book.run()
    assert len(image_server.image_counts) == 1
    shell.extension_manager.load_extension("xai_notebook")
    shell.run_line_magic("reload_ext", "xai_notebook")
    book.run()
    ours = [hook for hook in hooks["post_run_cell"] if "xai_notebook" in hook.__module__]
    assert len(ours) == 1
    shell.extension_manager.unload_extension("xai_notebook")
    assert hooks == before
    shell.extension_manager.load_extension("xai_notebook")


def test_requests_of_threads_belong_to_the_cell(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    """Run again, the cell makes new pictures; Restart and Run All shows them."""
    book = notebook(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    for batch in pool.map(xai.generate, ['a fox'] * 4): shown += batch"
    )
    first = set(book.run())
    assert len(first) == len(image_server.image_counts) == 4
    again = set(book.run())
    assert not first & again
    assert set(book.rerun()) == again
    assert len(image_server.image_counts) == 8


def test_a_task_belongs_to_the_cell_that_started_it(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    """Another cell runs when the task makes its request."""
    book = notebook(
        ONE.replace("fox", "hare"),  # the first call registers the hooks
        "import asyncio\nwait = asyncio.Event()\n"
        "async def later():\n    await wait.wait()\n    return await xai.agenerate('a fox')\n"
        "task = asyncio.get_running_loop().create_task(later())\nawait asyncio.sleep(0)",
        "wait.set()\nshown += await task",
    )
    book.run()
    again = book.run()
    assert len(image_server.image_counts) == 4
    assert book.rerun() == again
    assert len(image_server.image_counts) == 4


@pytest.mark.parametrize(
    "cell",
    [
        "shown += xai.generate(each=['a fox'] * 4, rewrite='chat', local=True)",
        GATHER.replace('"a fox"', '"a fox", rewrite="chat", local=True'),
    ],
    ids=["each", "gather"],
)
def test_equal_prompts_are_rewritten_once(notebook: Notebooks, cell: str) -> None:
    """Their pictures are replayed in the same order."""
    book = notebook(cell)
    first = book.run()
    assert len(set(first)) == 4
    for _ in range(3):
        assert book.rerun() == first
    assert len({image.rewritten_prompt for image in book.shell.user_ns["shown"]}) == 1


def test_a_panel_takes_no_slot(notebook: Notebooks, image_server: NumberingServer) -> None:
    """Generate makes new pictures each time; the next equal cell shows the last of them."""
    pictures = [generate_in_panel() for _ in range(3)]
    book = notebook(ONE, ONE)
    assert book.run(0) == pictures[-1:]
    assert generate_in_panel() not in pictures
    assert len(image_server.image_counts) == 4
    assert book.rerun()[:1] == pictures[-1:]
    assert len(image_server.image_counts) == 4
