"""Each notebook's Run All shows its own pictures, whatever other notebooks make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness import unprivileged
from numbering_server import generate_in_panel
from xai_notebook.generation.session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Kernels, Served
    from numbering_server import Notebooks, NumberingServer
    from xai_notebook.generation.session import Session

    Rerun = Callable[..., list[str]]

CALLS = {
    "generate": "shown += xai.generate('a fox', n=2{})",
    "agenerate": "shown += await xai.agenerate('a fox', n=2{})",
    "each": "shown += xai.generate(each=['a fox', 'an owl', 'a fox']{})",
    "matrix": "shown += xai.generate('a {{fox|owl}}', matrix=True{})",
    "models": "shown += xai.generate('a fox', model=['a', 'b']{})",
}


@pytest.fixture
def rerun(
    notebook: Notebooks, monkeypatch: pytest.MonkeyPatch, image_server: NumberingServer
) -> Rerun:
    """Run all cells of the notebook with this name in a fresh kernel; return the digests shown."""

    def rerun(name: str | None, *cells: str) -> list[str]:
        monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
        if name is not None:
            monkeypatch.setenv("JPY_SESSION_NAME", name)
        book = notebook(*cells)
        book.shell.run_line_magic("config", "XaiImage.rate = 0")
        shown = book.rerun()
        assert book.errors == [None] * len(cells)
        return shown

    return rerun


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_new_pictures_of_a_notebook_change_no_other(
    rerun: Rerun, image_server: NumberingServer, call: str
) -> None:
    """A notebook keeps what it made, and what it showed of another."""
    plain, fresh = call.format(""), call.format(", fresh=True")
    first = rerun("a.ipynb", plain)
    assert rerun("b.ipynb", plain) == first  # a copy
    paid = len(image_server.image_counts)
    assert len(set(first)) == len(first) > 1
    other = rerun("c.ipynb", fresh)
    assert not {*other} & {*first}
    assert len(image_server.image_counts) == 2 * paid
    for _ in range(2):
        assert rerun("a.ipynb", plain) == rerun("b.ipynb", plain) == first
        assert rerun("c.ipynb", plain) == other
    assert rerun("a copy.ipynb", plain) == rerun("renamed.ipynb", plain) == other
    rerun("c.ipynb", fresh)
    assert rerun("a copy.ipynb", plain) == rerun("renamed.ipynb", plain) == other
    assert len(image_server.image_counts) == 3 * paid


def test_a_notebook_without_a_name_shows_what_was_stored_last(
    rerun: Rerun, image_server: NumberingServer
) -> None:
    call = "shown += xai.generate('a fox'{})"
    rerun("a.ipynb", call.format(""))
    last = rerun("b.ipynb", call.format(", fresh=True"))
    assert rerun(None, call.format("")) == last
    last = rerun("b.ipynb", call.format(", fresh=True"))
    assert rerun(None, call.format("")) == last
    assert len(image_server.image_counts) == 3


def test_new_pictures_of_a_copy_leave_the_original_unchanged(
    rerun: Rerun, image_server: NumberingServer
) -> None:
    call = "shown += xai.generate('a fox')"
    first = rerun("a.ipynb", call)
    rerun("copy.ipynb", call)
    own = rerun("copy.ipynb", call.replace(")", ", fresh=True)"))
    assert own != first
    assert rerun("copy.ipynb", call) == own
    assert rerun("a.ipynb", call) == first
    assert len(image_server.image_counts) == 2


def test_a_raised_n_keeps_the_notebooks_images(rerun: Rerun, image_server: NumberingServer) -> None:
    """Only missing positions come from other notebooks, or are made."""
    call = "shown += xai.generate('a fox', n={}{})"
    two = rerun("a.ipynb", call.format(2, ""))
    assert rerun("copy.ipynb", call.format(2, "")) == two
    other = rerun("c.ipynb", call.format(3, ", fresh=True"))
    four = rerun("a.ipynb", call.format(4, ""))
    assert four[:3] == [*two, other[2]]
    assert image_server.image_counts == [2, 3, 1]
    assert rerun("copy.ipynb", call.format(4, "")) == four
    rerun("c.ipynb", call.format(4, ", fresh=True"))
    assert rerun("a.ipynb", call.format(4, "")) == rerun("copy.ipynb", call.format(4, "")) == four
    assert image_server.image_counts == [2, 3, 1, 4]


def test_images_in_the_trash_do_not_answer(rerun: Rerun, image_server: NumberingServer) -> None:
    """Another notebook's image answers instead, even after the deleted one is restored."""
    call = "shown += (batch := xai.generate('a fox'{}))"
    first = rerun("a.ipynb", call.format(""))
    assert rerun("copy.ipynb", call.format("") + "; batch.delete()") == first
    other = rerun("c.ipynb", call.format(""))
    assert other != first
    assert rerun("a.ipynb", call.format("")) == rerun("copy.ipynb", call.format("")) == other
    current_session().library().annotations.restore([1])
    assert rerun("a.ipynb", call.format("")) == rerun("copy.ipynb", call.format("")) == other
    assert rerun("b.ipynb", call.format("")) == other
    assert len(image_server.image_counts) == 2


def test_each_notebook_has_its_own_redo(rerun: Rerun, image_server: NumberingServer) -> None:
    """A copy's Run All is free."""
    call = "shown += (batch := xai.generate('a fox'{}))"
    redo = "shown += batch.redo(0)"
    rerun("a.ipynb", call.format(""))
    rerun("b.ipynb", call.format(", fresh=True"))
    anew = rerun("a.ipynb", call.format(""), redo)
    assert anew[0] != anew[1]
    own = rerun("b.ipynb", call.format(""), redo)
    assert own[0] != own[1] != anew[1]
    assert len(image_server.image_counts) == 4
    assert rerun("a.ipynb", call.format(""), redo) == anew[1:] * 2
    assert rerun("b.ipynb", call.format(""), redo) == own[1:] * 2
    assert rerun("copy.ipynb", call.format(""), redo) == own[1:] * 2
    assert len(image_server.image_counts) == 4


def test_replay_prefers_the_notebooks_pictures(rerun: Rerun, image_server: NumberingServer) -> None:
    """Pictures of other notebooks answer only if this notebook has not shown any."""
    call = "shown += xai.generate('a fox'{})"
    first = rerun("a.ipynb", call.format(""))
    other = rerun("c.ipynb", call.format(", fresh=True"))
    assert rerun("a.ipynb", call.format(", replay=True")) == first
    assert rerun("b.ipynb", call.format(", replay=True")) == other
    rerun("c.ipynb", call.format(", fresh=True"))
    assert rerun("b.ipynb", call.format("")) == other
    assert len(image_server.image_counts) == 3


def test_a_bundle_answers_before_other_notebooks(
    rerun: Rerun, image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call = "shown += xai.generate('a fox'{})"
    first = rerun("a.ipynb", call.format(""), "xai.pack()")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "another"))
    assert rerun("a.ipynb", call.format("")) == first
    rerun("c.ipynb", call.format(", fresh=True"))
    assert rerun("a.ipynb", call.format("")) == first
    own = rerun("a.ipynb", call.format(", fresh=True"))
    assert rerun("a.ipynb", call.format("")) == own
    assert len(image_server.image_counts) == 3


@pytest.mark.parametrize("packs", ["this kernel", "a later one"])
def test_a_bundle_holds_what_its_notebook_shows(
    rerun: Rerun,
    image_server: NumberingServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    packs: str,
) -> None:
    """The notebook shows its own two pictures, and two of another notebook that complete them."""
    call = "shown += xai.generate('a fox', n={}{})"
    rerun("a.ipynb", call.format(2, ""))
    rerun("c.ipynb", call.format(4, ", fresh=True"))
    four = rerun("a.ipynb", call.format(4, ""))
    if packs == "a later one":
        rerun("a.ipynb", "xai.pack()")
    else:
        current_session().history.pack(None)
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "another"))
    assert rerun("a.ipynb", call.format(4, "")) == four
    assert image_server.image_counts == [2, 4]


def test_a_read_only_library_answers_each_notebook(
    rerun: Rerun,
    image_server: NumberingServer,
    monkeypatch: pytest.MonkeyPatch,
    unprivileged_folder: Path,
) -> None:
    """The library cannot record which notebook showed a picture."""
    home = unprivileged_folder / "home"
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    call = "shown += xai.generate('a fox'{})"
    first = rerun("a.ipynb", call.format(""))
    last = rerun("c.ipynb", call.format(", fresh=True"))
    current_session().close()
    for path in (*home.rglob("*"), home):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with unprivileged():
        assert rerun("a.ipynb", call.format("")) == first
        assert rerun("b.ipynb", call.format("")) == last
        current_session().close()
    assert len(image_server.image_counts) == 2


# Jobs and plans, with the embedded server


@pytest.fixture
def kernel_of(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Session]:
    """Make sessions, each like a fresh kernel of the notebook with this name."""

    def make(name: str) -> Session:
        monkeypatch.setenv("JPY_SESSION_NAME", name)
        return kernels()

    return make


def test_a_job_submits_nothing_that_its_notebook_showed(
    kernel_of: Callable[[str], Session], keyed: Served
) -> None:
    prompts = ["a fox", "an owl"]

    def run(name: str, **options: Any) -> list[int | None]:
        batch: Any = kernel_of(name).generate(each=prompts, **options)
        images = batch.wait() if options.get("batch") else batch
        return [image.id for image in images]

    def submissions() -> int:
        return keyed.server.counts["/xai_api.BatchMgmt/AddBatchRequests"]

    first = run("a.ipynb", batch=True)
    submitted = submissions()
    assert run("b.ipynb", batch=True) == first
    other = run("c.ipynb", fresh=True)
    assert other != first
    calls = len(keyed.calls)
    for options in ({}, {"batch": True}):
        assert run("a.ipynb", **options) == run("b.ipynb", **options) == first
        assert run("c.ipynb", **options) == other
    assert (len(keyed.calls), submissions()) == (calls, submitted)


def test_the_panel_prefers_the_pictures_of_its_notebook(
    rerun: Rerun, image_server: NumberingServer
) -> None:
    first = rerun("a.ipynb", "shown += xai.generate('a fox')")
    rerun("c.ipynb", "shown += xai.generate('a fox', fresh=True)")
    rerun("a.ipynb", "import xai_notebook")
    assert [generate_in_panel()] == first
    assert len(image_server.image_counts) == 2


def test_a_plan_counts_what_the_notebook_will_show(
    kernel_of: Callable[[str], Session], keyed: Served
) -> None:
    """A plan shows no picture, so it changes nothing."""
    kernel_of("a.ipynb").generate("a fox", n=2)
    assert kernel_of("b.ipynb").generate("a fox", n=3, dry_run=True).stored == [2]
    last = kernel_of("c.ipynb").generate("a fox", n=2, fresh=True)
    shown = kernel_of("b.ipynb").generate("a fox", n=2)
    assert [image.id for image in shown] == [image.id for image in last]
