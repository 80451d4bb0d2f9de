"""Images that were not shown answer the next run; pending ones are downloaded."""

from __future__ import annotations

import ast
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import nbformat
import pytest
from nbclient import NotebookClient

from harness import KEY, until
from xai_notebook import errors
from xai_notebook.generation.session import Session, current_session
from xai_notebook.library import Library, store
from xai_notebook.pictures import results

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Kernel
    from press import Notebook, Press


@pytest.fixture
def kernels(orders: Press, new_session: Callable[[], Session]) -> Callable[[], Session]:
    """Make sessions, each like a fresh kernel without cells."""
    return new_session


BREAK = {
    "an error below": ("1 / 0", ""),
    "an interrupt below": ("raise KeyboardInterrupt", ""),
    "a failed export": ("", ", export='file'"),
    "a failed display": ("drawing.fail = RuntimeError; shown[-1]", ""),
    "an interrupt while drawing": ("drawing.fail = KeyboardInterrupt; shown[-1]", ""),
}
ASKS = {
    "generate": "shown += (batch := xai.generate('a fox', n=2{}))",
    "agenerate": "shown += (batch := await xai.agenerate('a fox', n=2{}))",
}


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch, notebook: Callable[..., Notebook]) -> Any:
    """`drawing.fail` is raised the next time that pictures are drawn."""
    state = SimpleNamespace(fail=None)
    real = results.mimebundle  # type: ignore[attr-defined]

    def mimebundle(batch: Any, previews: Any = None) -> Any:
        failure, state.fail = state.fail, None
        if failure is not None:
            raise failure
        return real(batch, previews)

    monkeypatch.setattr(results, "mimebundle", mimebundle)
    notebook().shell.user_ns["drawing"] = state
    return state


@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize(("ending", "option"), BREAK.values(), ids=BREAK)
@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_what_was_not_shown_answers_the_next_run(
    notebook: Callable[..., Notebook],
    drawing: Any,
    orders: Press,
    asks: str,
    ending: str,
    option: str,
    *,
    ids: bool,
) -> None:
    """It is paid for once, whatever kept it from being shown; then the cell makes new ones."""
    Path("file").write_text("no folder")
    ending = ending.replace("shown[-1]", "batch")
    made = notebook(asks.format(option) + "\n" + ending, ids=ids)
    made.run()
    made.run()
    assert drawing.fail is None
    assert orders.orders == [2]
    made.cells[0] = asks.format("") + "\nbatch"
    first = made.run()
    assert orders.orders == [2]
    if ids:
        again = made.run()
        assert orders.orders == [2, 2]
        assert not set(first) & set(again)
        first = again
    assert made.rerun() == first


def test_a_new_picture_that_was_not_shown_answers(
    notebook: Callable[..., Notebook], orders: Press
) -> None:
    """Also in a cell run again: neither the picture seen before nor another new one."""
    made = notebook("shown += xai.generate('a fox')" + "\nif broken: 1 / 0")
    made.shell.user_ns["broken"] = False
    first = made.run()
    made.shell.user_ns["broken"] = True
    again = made.run()
    assert made.run() == again != first
    made.shell.user_ns["broken"] = False
    assert made.run() == again
    assert len(orders.orders) == 2
    assert made.run() != again
    assert len(orders.orders) == 3


def test_a_magic_whose_export_failed(notebook: Callable[..., Notebook], orders: Press) -> None:
    """The next run exports the same pictures."""
    blocked = Path("pictures")
    blocked.write_text("no folder")
    made = notebook("%%xai_image -n 4 --fresh --export pictures --as foxes\na fox")
    made.run()
    assert isinstance(made.errors[0], errors.ExportError)
    blocked.unlink()
    made.run()
    assert made.errors == [None]
    assert len(list(blocked.iterdir())) == 4
    assert orders.orders == [4]


def interrupt_when(condition: Callable[[], Any]) -> threading.Thread:
    """Press Ctrl-C as soon as a condition is true."""

    def watch() -> None:
        until(condition, 60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_thirty_prompts_interrupted_until_they_are_complete(
    notebook: Callable[..., Notebook], orders: Press, *, ids: bool
) -> None:
    """Each is paid for once, however often the run is interrupted."""
    made = notebook("%xai_image --each prompts --as made", ids=ids)
    made.shell.user_ns["prompts"] = [f"fox {number % 10}" for number in range(30)]
    made.shell.run_line_magic("config", "XaiImage.rate = 0")
    library = current_session().library()
    for came in (7, 14, 21, 28):
        orders.left = 7
        under_way = min(4, 30 - came)
        stop = interrupt_when(
            lambda came=came, under_way=under_way: (  # type: ignore[misc]
                len(library.history(limit=99)) == came and orders.waiting == under_way
            )
        )
        made.run()
        stop.join()
        assert isinstance(made.errors[0], KeyboardInterrupt)
        until(lambda: orders.waiting == 0)
    orders.left = None
    made.run()
    assert made.errors == [None]
    assert orders.orders == [1] * 30
    shown = [image.sha256 for image in made.shell.user_ns["made"]]
    assert len(set(shown)) == 30
    made.rerun()
    assert [image.sha256 for image in made.shell.user_ns["made"]] == shown
    assert len(orders.orders) == 30


def test_a_run_waits_for_what_the_one_before_still_stores(
    notebook: Callable[..., Notebook], orders: Press, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the library is slow, and run again at once: nothing is requested twice."""
    saving, go = threading.Event(), threading.Event()
    real = store.Library.add_replies

    def slow(library: Library, replies: Any) -> Any:
        saving.set()
        assert go.wait(30)
        return real(library, replies)

    monkeypatch.setattr(store.Library, "add_replies", slow)
    made = notebook("shown += get_ipython().run_line_magic('xai_image', 'a fox')")
    interrupt_when(saving.is_set)
    made.run()
    assert isinstance(made.errors[0], KeyboardInterrupt)
    timer = threading.Timer(0.3, go.set)
    timer.start()
    assert len(made.run()) == 1
    assert len(orders.orders) == 1


@pytest.mark.parametrize("ids", [True, False], ids=["a cell", "a program"])
def test_only_what_is_missing_is_asked_for(
    notebook: Callable[..., Notebook],
    kernels: Callable[[], Session],
    orders: Press,
    *,
    ids: bool,
) -> None:
    """Two of four images came: the next run requests two."""
    orders.short = 2
    made = notebook('shown += xai.generate("a fox", n=4)')
    session = kernels()

    def ask() -> list[str | None]:
        if ids:
            return list(made.run())
        return [image.sha256 for image in session.generate("a fox", n=4)]

    first = ask()
    assert first[2:] == [None, None]
    orders.short = 0
    again = ask()
    assert again[:2] == first[:2]
    assert orders.orders == [4, 2]
    assert made.rerun() == again
    assert orders.orders == [4, 2]


EACH = "shown += (batch := xai.generate(each=[f'fox {i}' for i in range(20)]))"


@pytest.mark.parametrize("where", ["cells with ids", "cells without ids", "a program"])
def test_the_same_call_again_orders_only_what_is_missing(
    notebook: Callable[..., Notebook],
    kernels: Callable[[], Session],
    orders: Press,
    where: str,
) -> None:
    """17 of 20 came: the next run requests three, and the run after that twenty others."""
    made = notebook(EACH, ids=where == "cells with ids")
    made.shell.run_line_magic("config", "XaiImage.rate = 0")
    session = kernels()

    def ask() -> list[Any]:
        if where == "a program":
            session.configured = lambda: {"rate": 0}
            batch: Any = session.generate(each=[f"fox {i}" for i in range(20)])
            return [image.sha256 for image in batch]
        shown = made.run()
        assert made.errors == [None]
        return shown

    orders.failures = [grpc.StatusCode.INVALID_ARGUMENT] * 3
    first = ask()
    assert len(orders.orders) == 17
    again = ask()
    assert len(orders.orders) == 20
    assert {*first} - {None} < {*again}
    assert None not in again
    others = ask()
    assert len(orders.orders) == 40
    assert not {*again} & {*others}
    assert ask() != others


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_a_cell_that_asks_twice_for_what_is_incomplete(
    notebook: Callable[..., Notebook], orders: Press, *, ids: bool
) -> None:
    """The next equal cell completes both calls, in their slot."""
    made = notebook(
        "xai.generate('a fox', n=4); orders.short = 2\nxai.generate('a fox', n=4)",
        "shown += xai.generate('a fox', n=4)",
        ids=ids,
    )
    made.shell.user_ns["orders"] = orders
    orders.short = 3
    made.run(0)
    assert orders.orders == [4, 3]
    orders.short = 0
    if ids:
        made.cells[0] = made.cells[1]
    shown = made.run(0 if ids else 1)
    assert orders.orders == [4, 3, 2]
    assert len({*shown}) == 4


def test_machines_complete_what_a_cell_before_could_not(orders: Press, tmp_path: Path) -> None:
    """Without cell ids (nbclient, papermill), the next equal call completes an incomplete one."""
    cells = [
        "%load_ext xai_notebook\nimport xai_notebook as xai\n%config XaiImage.rate = 0",
        *["print([i.sha256 for i in xai.generate(each=[f'fox {i}' for i in range(12)])])"] * 3,
    ]

    def run() -> list[list[Any]]:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        folder = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(book, kernel_name="python3", resources=folder).execute()
        return [ast.literal_eval(cell.outputs[0].text) for cell in book.cells[1:]]

    orders.failures = [grpc.StatusCode.INVALID_ARGUMENT] * 5
    first, second, third = run()
    assert (first.count(None), second.count(None), third.count(None)) == (5, 0, 0)
    assert {*first} - {None} < {*second}
    assert not {*second} & {*third}
    assert len(orders.orders) == 24
    cells.pop()
    assert run() == [second, third]
    assert len(orders.orders) == 24


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_a_cell_that_asks_until_it_has_all(
    notebook: Callable[..., Notebook], orders: Press, *, ids: bool
) -> None:
    """An incomplete call is completed in its slot, in the same run only."""
    made = notebook(
        "while True:\n    batch = xai.generate('a fox', n=4)\n    orders.short = 0\n"
        "    if len(batch.ok) == 4: break\nshown += batch",
        "shown += xai.generate('a fox', n=4)",
        ids=ids,
    )
    made.shell.user_ns["orders"] = orders
    orders.short = 3
    first = made.run()
    assert orders.orders == [4, 3, 4]
    assert made.rerun() == first
    assert orders.orders == [4, 3, 4]
    made.run(0)
    assert orders.orders == [4, 3, 4, 4]


@pytest.mark.parametrize(
    "asks", ["xai.generate('a fox')", "await xai.agenerate('a fox')"], ids=["generate", "agenerate"]
)
def test_a_real_kernel_says_how_a_cell_ended(kernel: Kernel, orders: Press, asks: str) -> None:
    """After an interrupt the stored image answers; after a success a new one is made."""
    prompt = repr(f"a fox, {asks[:5]}")
    asks = asks.replace("'a fox'", prompt)
    wait = "while True: " + ("await asyncio" if "await" in asks else "time") + ".sleep(0.1)"
    connect = f"import os\nos.environ.update(XAI_API_HOST={orders.host!r}, XAI_API_KEY={KEY!r})"
    kernel.run(f"import asyncio, time\n{connect}")
    code = f"image = ({asks})[0]\ndisplay(image.sha256)"
    stopped = kernel.start(f"{code}\n{wait}", cell="one")
    begun = kernel.see(stopped, "'")
    kernel.manager.interrupt_kernel()
    assert kernel.collect(stopped).error is not None
    shown = [kernel.run(code, cell=cell).text[0] for cell in ("one", "one", "two")]
    assert shown[0] == begun.text[0]
    assert len(set(shown)) == len(orders.orders) == 3


# Images that wait at a URL


def test_a_host_that_is_down_costs_nothing(kernels: Callable[[], Session], orders: Press) -> None:
    """The image stays pending, in every kernel and with --replay, until its host is back."""
    orders.status = 503
    session = kernels()
    for kernel in (session, session, kernels()):
        for options in ({}, {"replay": True}):
            batch: Any = kernel.generate("a fox", n=2, format="url", **options)
            assert [image.status for image in batch] == ["pending"] * 2
            assert "<strong>Waiting.</strong>" in batch._repr_mimebundle_()["text/html"]
            assert "503" in batch[0].error
            assert "run the cell again to download it" in batch[0].error
    orders.status = 200
    found: Any = session.generate("a fox", n=2, format="url")
    assert [image.status for image in found] == ["ok"] * 2
    assert orders.orders == [2]


@pytest.mark.parametrize(("status", "age"), [(404, 0), (410, 0), (503, 3601)])
def test_what_can_no_longer_be_fetched_is_asked_for_again(
    kernels: Callable[[], Session], orders: Press, status: int, age: int
) -> None:
    """After 404, 410 or an hour, the image has failed."""
    orders.status = 503
    session = kernels()
    session.generate("a fox", format="url")
    with session.library().database.writing() as connection:
        connection.execute("UPDATE images SET created = created - ?", (age,))
    orders.status = status
    with pytest.raises(errors.LibraryError, match="has 0 of the 1"):
        session.generate("a fox", format="url", replay=True)
    orders.status = 200
    image = kernels().generate("a fox", format="url")[0]
    assert (image.status, image.replayed) == ("ok", False)
    assert orders.orders == [1, 1]
