"""`--redo` and `ImageBatch.redo`: single images are regenerated, the others stay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

import xai_notebook as xai
from xai_notebook.errors import OptionError, XaiError
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served
    from numbering_server import Notebooks, NumberingServer

EACH = 'shown += (pages := xai.generate(each=["a", "b", "b", "c"], n=2{}))'


def changed(before: list[str], after: list[str]) -> list[int]:
    """Return the indices of digests that differ."""
    return [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


def test_the_option_regenerates_images_of_the_cell(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    """Each run regenerates them; a restart is free; without the option the images stay."""
    book = notebook(EACH.format(""))
    first = book.run()
    book.cells[0] = EACH.format(", redo='3,6'")
    second = book.run()
    assert changed(first, second) == [3, 6]
    assert image_server.image_counts == [2, 2, 2, 2, 1, 1]
    third = book.run()
    assert changed(second, third) == [3, 6]
    assert len(image_server.image_counts) == 8
    for _ in range(3):
        assert book.rerun() == third
    book.cells[0] = EACH.format("")
    assert book.run() == third
    assert book.rerun() == third
    assert len(image_server.image_counts) == 8
    fourth = book.run()
    assert changed(third, fourth) == list(range(8))
    assert book.errors == [None]


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_the_method_regenerates_images_of_the_batch(
    notebook: Notebooks, image_server: NumberingServer, *, ids: bool
) -> None:
    """The new batch and later runs of the cell contain the new images instead of the old ones."""
    book = notebook(EACH.format(""), "shown += pages.redo(3, -2)", ids=ids)
    both = book.run()
    first, second = both[:8], both[8:]
    assert changed(first, second) == [3, 6]
    assert image_server.image_counts == [2, 2, 2, 2, 1, 1]
    for _ in range(3):
        assert book.rerun() == second + second
    assert len(image_server.image_counts) == 6
    assert book.errors == [None, None]


def test_two_images_of_a_request_are_regenerated_together(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    book = notebook(EACH.format(""), "shown += pages.redo(1, 0)")
    both = book.run()
    assert changed(both[:8], both[8:]) == [0, 1]
    assert image_server.image_counts[4:] == [2]


def test_a_regenerated_image_keeps_its_row(
    notebook: Notebooks, image_server: NumberingServer, tmp_path: Path
) -> None:
    """Its export replaces the file of its row."""
    book = notebook("pages = xai.generate(each=['a', 'b'], n=2)")
    book.run()
    pages = book.shell.user_ns["pages"]
    pages = ImageBatch(
        replace(image, row=position // 2, key="ab"[position // 2])
        for position, image in enumerate(pages)
    )
    paths = pages.export(tmp_path / "out", name="{key}", metadata=False)
    assert [path.name for path in paths] == ["a-1.jpg", "a-2.jpg", "b-1.jpg", "b-2.jpg"]
    again = pages.redo(2)
    assert (again[2].row, again[2].key, again[2].index, again[2].exported) == (1, "b", 0, None)
    assert again.export(tmp_path / "out", name="{key}", metadata=False, overwrite=True) == paths
    assert [path.read_bytes() for path in paths] == [image.data for image in again]
    assert again[2].data != pages[2].data


def test_an_image_can_be_regenerated_twice_in_a_pass(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    """A restart shows the last image and costs nothing."""
    book = notebook(
        "pages = xai.generate('a fox')", "for _ in range(2): shown += (pages := pages.redo(0))"
    )
    first, second = book.run()
    assert first != second
    assert book.rerun() == [second, second]
    assert image_server.image_counts == [1, 1, 1]


def test_a_regenerated_image_that_was_not_shown_answers_the_next_run(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    book = notebook("pages = xai.generate('a fox')", "shown += pages.redo(0)\nif broken: 1 / 0")
    book.shell.user_ns["broken"] = False
    book.run()
    book.shell.user_ns["broken"] = True
    book.run(1)
    book.shell.user_ns["broken"] = False
    book.run(1)
    assert image_server.image_counts == [1, 1, 1]
    book.run(1)
    assert image_server.image_counts == [1, 1, 1, 1]


def test_a_failed_redo_leaves_the_image(notebook: Notebooks, image_server: NumberingServer) -> None:
    book = notebook("pages = xai.generate('a fox')\nshown += pages", "shown += pages.redo(0)")
    (before,) = book.run(0)
    image_server.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    book.run(1)
    assert isinstance(book.errors[0], XaiError)
    book.restart()
    assert book.run(0) == [before]
    assert book.run(1) != [before]
    assert image_server.image_counts == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redo": 8}, "image 8 does not exist. Give 0 to 7"),
        ({"redo": "x"}, "not a whole number"),
        ({"redo": [1], "fresh": True}, "redo= and fresh=True contradict"),
        ({"redo": [1], "replay": True}, "redo= and replay=True contradict"),
        ({"redo": [1], "batch": True}, "redo= and batch=True contradict"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_sent(
    image_server: NumberingServer, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        xai.generate(each=["a", "b", "c", "d"], n=2, **options)  # type: ignore[call-overload]
    assert image_server.image_counts == []


def test_a_missing_image_cannot_be_regenerated(image_server: NumberingServer) -> None:
    """This holds for an index out of range and for an image that the server did not send."""
    image_server.missing_images = 1
    pages = xai.generate("a fox", n=2)
    with pytest.raises(OptionError, match=r"image 2 does not exist. Give 0 to 1"):
        pages.redo(2)
    with pytest.raises(OptionError, match="Run its cell again"):
        pages.redo(1)
    assert image_server.image_counts == [2]


def test_a_plan_counts_images_to_regenerate(
    notebook: Notebooks, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_HOST", quick.address)
    quick.faults.image_price, quick.faults.cost_ticks = 2, 2 * 10**8
    book = notebook("batch = xai.generate(each=['a', 'b'], n=2)")
    book.run()
    book.cells[0] = "plan = xai.generate(each=['a', 'b'], n=2, redo=[1, 2], dry_run=True)"
    book.run()
    assert book.shell.user_ns["plan"].sentence == "To make: 2, $0.04; from your library: 2."
    book.cells[0] = "batch = xai.generate(each=['a', 'b'], n=2, redo=[1])"
    book.run()
    batch = book.shell.user_ns["batch"]
    assert batch.summary == "2 of 2 prompts, 1 from your library, $0.02 spent."
    assert [image.replayed for image in batch] == [True, False, True, True]


def ordered(server: Served) -> int:
    """Return the number of images that were requested."""
    return sum(call.message.n or 1 for call in server.calls)


@pytest.mark.parametrize("call", ["'a fox', n=3", "each=['a fox', 'an owl', 'a cat']"])
def test_images_of_another_cell_are_not_ordered_again(
    notebook: Notebooks, quick: Served, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A copied cell has no images of its own; the error says what they would cost."""
    monkeypatch.setenv("XAI_API_HOST", quick.address)
    quick.faults.image_price, quick.faults.cost_ticks = 2, 2 * 10**8
    book = notebook(f"a = xai.generate({call})", f"b = xai.generate({call}, redo=1)")
    book.run()
    assert isinstance(book.errors[1], OptionError)
    assert str(book.errors[1]) == (
        "--redo: the images to replace belong to another cell; this one has none. Use --redo in "
        "that cell, or leave it out to make 3 new images here (expected cost: $0.06)."
    )
    assert ordered(quick) == 3
    book.cells[1] = f"b = xai.generate({call})"
    book.run(1)
    book.cells[1] = f"b = xai.generate({call}, redo=1)"
    book.run(1)
    assert ordered(quick) == 7
    book.rerun()
    assert ordered(quick) == 7


def test_a_generator_is_read_up_to_the_image_to_be_replaced(
    notebook: Notebooks, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_HOST", quick.address)
    quick.faults.image_price, quick.faults.cost_ticks = 2, 2 * 10**8
    call = "xai.generate(each=iter(['a fox', 'an owl', 'a cat']){})"
    book = notebook(call.format(""), call.format(", redo=1"))
    book.run()
    message = "make at least 2 new images here (expected cost: at least $0.04)"
    assert message in str(book.errors[1])
    assert ordered(quick) == 3


def test_the_first_run_with_the_option_makes_all_images(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    """A colleague without the images can run a notebook whose cell has the option."""
    book = notebook("b = xai.generate('a fox', n=3, redo=1)", "xai.generate('a fox', n=3)")
    book.run()
    assert image_server.image_counts == [3, 3]


def test_a_server_without_prices_refuses_them_too(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    book = notebook("xai.generate('a fox')", "xai.generate('a fox', redo=0)")
    book.run()
    assert "1 new image here (expected cost: unknown)" in str(book.errors[1])
    assert image_server.image_counts == [1]
