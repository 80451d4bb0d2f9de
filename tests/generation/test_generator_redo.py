"""`--redo` and `ImageBatch.redo`: single images are made anew, the others stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

import xai_notebook as xai
from xai_notebook.errors import OptionError, XaiError

if TYPE_CHECKING:
    from harness import Served
    from press import Notebooks, Press

EACH = 'shown += (pages := xai.generate(each=["a", "b", "b", "c"], n=2{}))'
REDO = "shown += (pages := pages.redo(3, 6))"


def changed(before: list[str], after: list[str]) -> list[int]:
    """Return the indices of digests that differ."""
    return [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


def test_the_option_makes_only_those_of_the_cell(notebook: Notebooks, orders: Press) -> None:
    """Each run makes them anew; a restart is free; without the option nothing is new."""
    made = notebook(EACH.format(""))
    first = made.run()
    made.cells[0] = EACH.format(", redo='3,6'")
    second = made.run()
    assert changed(first, second) == [3, 6]
    assert orders.orders == [2, 2, 2, 2, 1, 1]
    third = made.run()
    assert changed(second, third) == [3, 6]
    assert len(orders.orders) == 8
    for _ in range(3):
        assert made.rerun() == third
    made.cells[0] = EACH.format("")
    assert made.run() == third
    assert made.rerun() == third
    assert len(orders.orders) == 8
    fourth = made.run()  # and then a cell run again is what it always is
    assert changed(third, fourth) == list(range(8))
    assert made.errors == [None]


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_the_method_makes_only_those_of_the_batch(
    notebook: Notebooks, orders: Press, *, ids: bool
) -> None:
    """The new batch has them in place of the old ones; so does the cell from then on."""
    made = notebook(EACH.format(""), "shown += pages.redo(3, -2)", ids=ids)
    both = made.run()
    first, second = both[:8], both[8:]
    assert changed(first, second) == [3, 6]
    assert orders.orders == [2, 2, 2, 2, 1, 1]
    for _ in range(3):
        assert made.rerun() == second + second
    assert len(orders.orders) == 6
    assert made.errors == [None, None]


def test_two_of_one_request_are_one_request(notebook: Notebooks, orders: Press) -> None:
    made = notebook(EACH.format(""), "shown += pages.redo(1, 0)")
    both = made.run()
    assert changed(both[:8], both[8:]) == [0, 1]
    assert orders.orders[4:] == [2]


def test_the_same_one_twice_in_a_pass_is_made_twice(notebook: Notebooks, orders: Press) -> None:
    """A restart shows the last of them and costs nothing."""
    made = notebook(
        "pages = xai.generate('a fox')", "for _ in range(2): shown += (pages := pages.redo(0))"
    )
    first, second = made.run()
    assert first != second
    assert made.rerun() == [second, second]
    assert orders.orders == [1, 1, 1]


def test_what_was_made_and_not_shown_answers(notebook: Notebooks, orders: Press) -> None:
    """An error further down in the cell does not cost the picture again."""
    made = notebook("pages = xai.generate('a fox')", "shown += pages.redo(0)\nif broken: 1 / 0")
    made.shell.user_ns["broken"] = False
    made.run()
    made.shell.user_ns["broken"] = True
    made.run(1)
    made.shell.user_ns["broken"] = False
    made.run(1)
    assert orders.orders == [1, 1, 1]
    made.run(1)
    assert orders.orders == [1, 1, 1, 1]


def test_a_request_that_fails_leaves_the_picture(notebook: Notebooks, orders: Press) -> None:
    """The cell shows the old picture, and the next try makes a new one."""
    made = notebook("pages = xai.generate('a fox')\nshown += pages", "shown += pages.redo(0)")
    (before,) = made.run(0)
    orders.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    made.run(1)
    assert isinstance(made.errors[0], XaiError)
    made.restart()
    assert made.run(0) == [before]
    assert made.run(1) != [before]
    assert orders.orders == [1, 1]


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({"redo": 8}, "image 8 does not exist. Give 0 to 7"),
        ({"redo": "x"}, "not a whole number"),
        ({"redo": [1], "fresh": True}, "--redo and --fresh contradict"),
        ({"redo": [1], "replay": True}, "--redo and --replay contradict"),
        ({"redo": [1], "batch": True}, "--redo and --batch contradict"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_sent(
    orders: Press, given: dict[str, object], cure: str
) -> None:
    with pytest.raises(OptionError, match=cure):
        xai.generate(each=["a", "b", "c", "d"], n=2, **given)  # type: ignore[call-overload]
    assert orders.orders == []


def test_a_missing_image_cannot_be_made_anew(orders: Press) -> None:
    """Neither an index out of range, nor an image that never came."""
    orders.short = 1
    pages = xai.generate("a fox", n=2)
    with pytest.raises(OptionError, match=r"image 2 does not exist. Give 0 to 1"):
        pages.redo(2)
    with pytest.raises(OptionError, match="Run its cell again"):
        pages.redo(1)
    assert orders.orders == [2]


def test_a_plan_counts_what_will_be_made_anew(
    notebook: Notebooks, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_HOST", quick.address)
    quick.faults.image_price, quick.faults.cost_ticks = 2, 2 * 10**8
    made = notebook("batch = xai.generate(each=['a', 'b'], n=2)")
    made.run()
    made.cells[0] = "plan = xai.generate(each=['a', 'b'], n=2, redo=[1, 2], dry_run=True)"
    made.run()
    assert made.shell.user_ns["plan"].sentence == "To make: 2, $0.04; from your library: 2."
    made.cells[0] = "batch = xai.generate(each=['a', 'b'], n=2, redo=[1])"
    made.run()
    batch = made.shell.user_ns["batch"]
    assert batch.summary == "2 of 2 prompts, 1 from your library, $0.02 spent."
    assert [image.replayed for image in batch] == [True, False, True, True]
