"""Images that were not shown answer the next run; pending ones are downloaded."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from harness import KEY, until
from xai_notebook import errors
from xai_notebook.generation.session import current_session
from xai_notebook.library import Library, store
from xai_notebook.pictures import results

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Kernel, Kernels
    from numbering_server import Notebooks, NumberingServer


FAILURES = {
    "an error below": ("1 / 0", ""),
    "an interrupt below": ("raise KeyboardInterrupt", ""),
    "a failed export": ("", ", export='file'"),
    "a failed display": ("drawing.fail = RuntimeError; shown[-1]", ""),
    "an interrupt while drawing": ("drawing.fail = KeyboardInterrupt; shown[-1]", ""),
}
CALLS = {
    "generate": "shown += (batch := xai.generate('a fox', n=2{}))",
    "agenerate": "shown += (batch := await xai.agenerate('a fox', n=2{}))",
}


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch, notebook: Notebooks) -> Any:
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


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("ending", "option"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_images_that_were_not_shown_answer_the_next_run(
    notebook: Notebooks,
    drawing: Any,
    image_server: NumberingServer,
    call: str,
    ending: str,
    option: str,
    *,
    ids: bool,
) -> None:
    """They are paid for once; once they are shown, the next run of the cell makes new ones."""
    Path("file").write_text("no folder")
    ending = ending.replace("shown[-1]", "batch")
    book = notebook(call.format(option) + "\n" + ending, ids=ids)
    book.run()
    book.run()
    assert drawing.fail is None
    assert image_server.image_counts == [2]
    book.cells[0] = call.format("") + "\nbatch"
    first = book.run()
    assert image_server.image_counts == [2]
    if ids:
        again = book.run()
        assert image_server.image_counts == [2, 2]
        assert not set(first) & set(again)
        first = again
    assert book.rerun() == first


def test_new_images_of_a_repeated_cell_answer_until_they_are_shown(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    book = notebook("shown += xai.generate('a fox')\nif broken: 1 / 0")
    book.shell.user_ns["broken"] = False
    first = book.run()
    book.shell.user_ns["broken"] = True
    again = book.run()
    assert book.run() == again != first
    book.shell.user_ns["broken"] = False
    assert book.run() == again
    assert len(image_server.image_counts) == 2
    assert book.run() != again
    assert len(image_server.image_counts) == 3


def test_a_magic_whose_export_failed_exports_the_same_pictures(
    notebook: Notebooks, image_server: NumberingServer
) -> None:
    blocked = Path("pictures")
    blocked.write_text("no folder")
    book = notebook("%%xai_image -n 4 --fresh --export pictures --as foxes\na fox")
    book.run()
    assert isinstance(book.errors[0], errors.ExportError)
    blocked.unlink()
    book.run()
    assert book.errors == [None]
    assert len(list(blocked.iterdir())) == 4
    assert image_server.image_counts == [4]


def interrupt_when(condition: Callable[[], Any]) -> threading.Thread:
    """Press Ctrl-C as soon as a condition is true."""

    def watch() -> None:
        until(condition, 60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_prompts_of_interrupted_runs_are_paid_for_once(
    notebook: Notebooks, image_server: NumberingServer, *, ids: bool
) -> None:
    """Each is paid for once, however often the run is interrupted."""
    book = notebook("%xai_image --each prompts --as made", ids=ids)
    book.shell.user_ns["prompts"] = [f"fox {number % 10}" for number in range(30)]
    book.shell.run_line_magic("config", "XaiImage.rate = 0")
    library = current_session().library()
    for stored in (7, 14, 21, 28):
        image_server.replies_left = 7
        under_way = min(4, 30 - stored)
        stop = interrupt_when(
            lambda stored=stored, under_way=under_way: (  # type: ignore[misc]
                len(library.history(limit=99)) == stored and image_server.waiting_calls == under_way
            )
        )
        book.run()
        stop.join()
        assert isinstance(book.errors[0], KeyboardInterrupt)
        until(lambda: image_server.waiting_calls == 0)
    image_server.replies_left = None
    book.run()
    assert book.errors == [None]
    assert image_server.image_counts == [1] * 30
    shown = [image.sha256 for image in book.shell.user_ns["made"]]
    assert len(set(shown)) == 30
    book.rerun()
    assert [image.sha256 for image in book.shell.user_ns["made"]] == shown
    assert len(image_server.image_counts) == 30


def test_a_run_waits_until_the_interrupted_one_has_stored(
    notebook: Notebooks, image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that is run again while the library is slow requests nothing twice."""
    saving, go = threading.Event(), threading.Event()
    real = store.Library.add_replies

    def slow(library: Library, replies: Any) -> Any:
        saving.set()
        assert go.wait(30)
        return real(library, replies)

    monkeypatch.setattr(store.Library, "add_replies", slow)
    book = notebook("shown += get_ipython().run_line_magic('xai_image', 'a fox')")
    interrupt_when(saving.is_set)
    book.run()
    assert isinstance(book.errors[0], KeyboardInterrupt)
    timer = threading.Timer(0.3, go.set)
    timer.start()
    assert len(book.run()) == 1
    assert len(image_server.image_counts) == 1


@pytest.mark.parametrize("in_cell", [True, False], ids=["a cell", "a program"])
def test_only_missing_images_are_requested(
    notebook: Notebooks,
    new_session: Kernels,
    image_server: NumberingServer,
    *,
    in_cell: bool,
) -> None:
    """The server sends two of four images; the next run requests two."""
    image_server.missing_images = 2
    book = notebook('shown += xai.generate("a fox", n=4)')
    session = new_session()

    def run() -> list[str | None]:
        if in_cell:
            return list(book.run())
        return [image.sha256 for image in session.generate("a fox", n=4)]

    first = run()
    assert first[2:] == [None, None]
    image_server.missing_images = 0
    again = run()
    assert again[:2] == first[:2]
    assert image_server.image_counts == [4, 2]
    assert book.rerun() == again
    assert image_server.image_counts == [4, 2]


@pytest.mark.parametrize("where", ["cells with ids", "cells without ids", "a program"])
def test_only_missing_prompts_are_requested(
    notebook: Notebooks,
    new_session: Kernels,
    image_server: NumberingServer,
    where: str,
) -> None:
    """17 of 20 succeed: the next run requests three, and the run after that twenty others."""
    cell = "shown += xai.generate(each=[f'fox {i}' for i in range(20)])"
    book = notebook(cell, ids=where == "cells with ids")
    book.shell.run_line_magic("config", "XaiImage.rate = 0")
    session = new_session()

    def run() -> list[Any]:
        if where == "a program":
            session.configured = lambda: {"rate": 0}
            batch: Any = session.generate(each=[f"fox {i}" for i in range(20)])
            return [image.sha256 for image in batch]
        shown = book.run()
        assert book.errors == [None]
        return shown

    image_server.failures = [grpc.StatusCode.INVALID_ARGUMENT] * 3
    first = run()
    assert len(image_server.image_counts) == 17
    again = run()
    assert len(image_server.image_counts) == 20
    assert {*first} - {None} < {*again}
    assert None not in again
    others = run()
    assert len(image_server.image_counts) == 40
    assert not {*again} & {*others}
    if where != "cells without ids":
        assert run() != others
        return
    book.restart()
    book.shell.run_line_magic("config", "XaiImage.rate = 0")
    assert [run(), run()] == [again, others]
    assert len(image_server.image_counts) == 40


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_an_equal_cell_completes_two_incomplete_calls(
    notebook: Notebooks, image_server: NumberingServer, *, ids: bool
) -> None:
    book = notebook(
        "xai.generate('a fox', n=4); image_server.missing_images = 2\nxai.generate('a fox', n=4)",
        "shown += xai.generate('a fox', n=4)",
        ids=ids,
    )
    book.shell.user_ns["image_server"] = image_server
    image_server.missing_images = 3
    book.run(0)
    assert image_server.image_counts == [4, 3]
    image_server.missing_images = 0
    if ids:
        book.cells[0] = book.cells[1]
    shown = book.run(0 if ids else 1)
    assert image_server.image_counts == [4, 3, 2]
    assert len({*shown}) == 4


@pytest.mark.parametrize("ids", [True, False], ids=["with cell ids", "without"])
def test_a_repeated_call_completes_an_incomplete_one(
    notebook: Notebooks, image_server: NumberingServer, *, ids: bool
) -> None:
    """An incomplete call is completed in its slot, in the same run only."""
    book = notebook(
        "while True:\n    batch = xai.generate('a fox', n=4)\n    image_server.missing_images = 0\n"
        "    if len(batch.ok) == 4: break\nshown += batch",
        "shown += xai.generate('a fox', n=4)",
        ids=ids,
    )
    book.shell.user_ns["image_server"] = image_server
    image_server.missing_images = 3
    first = book.run()
    assert image_server.image_counts == [4, 3, 4]
    assert book.rerun() == first
    assert image_server.image_counts == [4, 3, 4]
    book.run(0)
    assert image_server.image_counts == [4, 3, 4, 4]


@pytest.mark.parametrize(
    "call", ["xai.generate('a fox')", "await xai.agenerate('a fox')"], ids=["generate", "agenerate"]
)
def test_a_real_kernel_reports_how_a_cell_ended(
    kernel: Kernel, image_server: NumberingServer, call: str
) -> None:
    """After an interrupt the stored image answers; after a success a new one is made."""
    call = call.replace("a fox", f"a fox, {call[:5]}")
    wait = "while True: " + ("await asyncio" if "await" in call else "time") + ".sleep(0.1)"
    connect = (
        f"import os\nos.environ.update(XAI_API_HOST={image_server.host!r}, XAI_API_KEY={KEY!r})"
    )
    kernel.run(f"import asyncio, time\n{connect}")
    code = f"image = ({call})[0]\ndisplay(image.sha256)"
    stopped = kernel.start(f"{code}\n{wait}", cell="one")
    begun = kernel.see(stopped, "'")
    kernel.manager.interrupt_kernel()
    assert kernel.collect(stopped).error is not None
    shown = [kernel.run(code, cell=cell).text[0] for cell in ("one", "one", "two")]
    assert shown[0] == begun.text[0]
    assert len(set(shown)) == len(image_server.image_counts) == 3


# Images that wait at a URL


def test_images_of_a_failing_host_wait(new_session: Kernels, image_server: NumberingServer) -> None:
    """The image stays pending, in every kernel and with --replay, until its host is back."""
    image_server.url_status = 503
    session = new_session()
    for kernel in (session, session, new_session()):
        for options in ({}, {"replay": True}):
            batch: Any = kernel.generate("a fox", n=2, format="url", **options)
            assert [image.status for image in batch] == ["pending"] * 2
            assert "<strong>Waiting.</strong>" in batch._repr_mimebundle_()["text/html"]
            assert "503" in batch[0].error
            assert "run the cell again to download it" in batch[0].error
    image_server.url_status = 200
    complete: Any = session.generate("a fox", n=2, format="url")
    assert [image.status for image in complete] == ["ok"] * 2
    assert image_server.image_counts == [2]


@pytest.mark.parametrize(("status", "age"), [(404, 0), (410, 0), (503, 3601)])
def test_an_image_that_cannot_be_downloaded_is_requested_again(
    new_session: Kernels, image_server: NumberingServer, status: int, age: int
) -> None:
    """After 404, 410 or an hour, the image has failed."""
    image_server.url_status = 503
    session = new_session()
    session.generate("a fox", format="url")
    with session.library().database.writing() as connection:
        connection.execute("UPDATE images SET created = created - ?", (age,))
    image_server.url_status = status
    with pytest.raises(
        errors.LibraryError, match=r"has 0 of the 1 .* Without --replay, or with --reuse"
    ):
        session.generate("a fox", format="url", replay=True)
    image_server.url_status = 200
    image = new_session().generate("a fox", format="url")[0]
    assert (image.status, image.replayed) == ("ok", False)
    assert image_server.image_counts == [1, 1]
