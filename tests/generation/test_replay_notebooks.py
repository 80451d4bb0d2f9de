"""Each notebook's Run All shows its own pictures, whatever other notebooks make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness import unprivileged
from xai_notebook.generation.session import Session, current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Served
    from press import Notebooks, Press

    Rerun = Callable[..., list[str]]

CALLS = {
    "generate": "shown += xai.generate('a fox', n=2{})",
    "agenerate": "shown += await xai.agenerate('a fox', n=2{})",
    "each": "shown += xai.generate(each=['a fox', 'an owl', 'a fox']{})",
    "matrix": "shown += xai.generate('a {{fox|owl}}', matrix=True{})",
    "models": "shown += xai.generate('a fox', model=['a', 'b']{})",
}


@pytest.fixture
def rerun(notebook: Notebooks, monkeypatch: pytest.MonkeyPatch, orders: Press) -> Rerun:
    """Run all cells of the notebook with this name in a fresh kernel; return the digests shown."""

    def rerun(name: str | None, *cells: str) -> list[str]:
        monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
        if name is not None:
            monkeypatch.setenv("JPY_SESSION_NAME", name)
        made = notebook(*cells)
        made.shell.run_line_magic("config", "XaiImage.rate = 0")
        shown = made.rerun()
        assert made.errors == [None] * len(cells)
        return shown

    return rerun


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_third_notebook_changes_nothing(rerun: Rerun, orders: Press, call: str) -> None:
    """Neither the pictures that a notebook made nor those it showed of another change."""
    plain, fresh = call.format(""), call.format(", fresh=True")
    first = rerun("a.ipynb", plain)
    assert rerun("b.ipynb", plain) == first  # a copy: it shows what there is
    paid = len(orders.orders)
    assert len(set(first)) == len(first) > 1
    other = rerun("c.ipynb", fresh)
    assert not {*other} & {*first}
    assert len(orders.orders) == 2 * paid
    for _ in range(2):
        assert rerun("a.ipynb", plain) == rerun("b.ipynb", plain) == first
        assert rerun("c.ipynb", plain) == other
    assert rerun("a copy.ipynb", plain) == rerun("renamed.ipynb", plain) == other
    rerun("c.ipynb", fresh)
    assert rerun("a copy.ipynb", plain) == rerun("renamed.ipynb", plain) == other
    assert len(orders.orders) == 3 * paid


def test_a_notebook_without_a_name_shows_what_was_stored_last(rerun: Rerun, orders: Press) -> None:
    call = "shown += xai.generate('a fox'{})"
    rerun("a.ipynb", call.format(""))
    last = rerun("b.ipynb", call.format(", fresh=True"))
    assert rerun(None, call.format("")) == last
    last = rerun("b.ipynb", call.format(", fresh=True"))
    assert rerun(None, call.format("")) == last
    assert len(orders.orders) == 3


def test_a_cell_run_again_counts_for_its_notebook(rerun: Rerun, orders: Press) -> None:
    """A copy's new pictures are the copy's; the original keeps its own."""
    call = "shown += xai.generate('a fox')"
    first = rerun("a.ipynb", call)
    rerun("copy.ipynb", call)
    own = rerun("copy.ipynb", call.replace(")", ", fresh=True)"))
    assert own != first
    assert rerun("copy.ipynb", call) == own
    assert rerun("a.ipynb", call) == first
    assert len(orders.orders) == 2


def test_two_grown_to_four_keeps_the_two(rerun: Rerun, orders: Press) -> None:
    """Only missing positions come from other notebooks, or are made."""
    call = "shown += xai.generate('a fox', n={}{})"
    two = rerun("a.ipynb", call.format(2, ""))
    assert rerun("copy.ipynb", call.format(2, "")) == two
    other = rerun("c.ipynb", call.format(3, ", fresh=True"))
    four = rerun("a.ipynb", call.format(4, ""))
    assert four[:3] == [*two, other[2]]
    assert orders.orders == [2, 3, 1]
    assert rerun("copy.ipynb", call.format(4, "")) == four
    rerun("c.ipynb", call.format(4, ", fresh=True"))
    assert rerun("a.ipynb", call.format(4, "")) == rerun("copy.ipynb", call.format(4, "")) == four
    assert orders.orders == [2, 3, 1, 4]


def test_what_is_in_the_trash_answers_no_notebook(rerun: Rerun, orders: Press) -> None:
    """Then others' pictures answer, also after the picture is restored."""
    call = "shown += (batch := xai.generate('a fox'{}))"
    first = rerun("a.ipynb", call.format(""))
    assert rerun("copy.ipynb", call.format("") + "; batch.delete()") == first
    other = rerun("c.ipynb", call.format(""))
    assert other != first
    assert rerun("a.ipynb", call.format("")) == rerun("copy.ipynb", call.format("")) == other
    current_session().library().annotations.restore([1])
    assert rerun("a.ipynb", call.format("")) == rerun("copy.ipynb", call.format("")) == other
    assert rerun("b.ipynb", call.format("")) == other
    assert len(orders.orders) == 2


def test_a_picture_made_anew_is_its_notebooks(rerun: Rerun, orders: Press) -> None:
    """Each notebook has its own `redo`; a copy's Run All is free."""
    call = "shown += (batch := xai.generate('a fox'{}))"
    redo = "shown += batch.redo(0)"
    rerun("a.ipynb", call.format(""))
    rerun("b.ipynb", call.format(", fresh=True"))
    anew = rerun("a.ipynb", call.format(""), redo)
    assert anew[0] != anew[1]
    own = rerun("b.ipynb", call.format(""), redo)
    assert own[0] != own[1] != anew[1]
    assert len(orders.orders) == 4
    assert rerun("a.ipynb", call.format(""), redo) == anew[1:] * 2
    assert rerun("b.ipynb", call.format(""), redo) == own[1:] * 2
    assert rerun("copy.ipynb", call.format(""), redo) == own[1:] * 2
    assert len(orders.orders) == 4


def test_replay_shows_the_notebooks_own(rerun: Rerun, orders: Press) -> None:
    """With `--replay`, others' pictures answer where this notebook has not shown any."""
    call = "shown += xai.generate('a fox'{})"
    first = rerun("a.ipynb", call.format(""))
    other = rerun("c.ipynb", call.format(", fresh=True"))
    assert rerun("a.ipynb", call.format(", replay=True")) == first
    assert rerun("b.ipynb", call.format(", replay=True")) == other
    rerun("c.ipynb", call.format(", fresh=True"))
    assert rerun("b.ipynb", call.format("")) == other
    assert len(orders.orders) == 3


def test_a_bundle_answers_before_other_notebooks(
    rerun: Rerun, orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A bundle holds what its notebook showed."""
    call = "shown += xai.generate('a fox'{})"
    first = rerun("a.ipynb", call.format(""), "xai.pack()")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "another"))
    assert rerun("a.ipynb", call.format("")) == first
    rerun("c.ipynb", call.format(", fresh=True"))
    assert rerun("a.ipynb", call.format("")) == first
    own = rerun("a.ipynb", call.format(", fresh=True"))
    assert rerun("a.ipynb", call.format("")) == own
    assert len(orders.orders) == 3


@pytest.mark.parametrize("packs", ["this kernel", "a later one"])
def test_a_bundle_holds_what_the_notebook_shows(
    rerun: Rerun, orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packs: str
) -> None:
    """Of another notebook's four pictures, only those that complete its own two."""
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
    assert orders.orders == [2, 4]


def test_a_library_opened_for_reading_answers_alike(
    rerun: Rerun, orders: Press, monkeypatch: pytest.MonkeyPatch, unprivileged_folder: Path
) -> None:
    """A course's, say: it shows each notebook its own, and notes nothing."""
    home = unprivileged_folder / "home"
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    call = "shown += xai.generate('a fox'{})"
    first = rerun("a.ipynb", call.format(""))
    last = rerun("c.ipynb", call.format(", fresh=True"))
    current_session().close()
    for each in (*home.rglob("*"), home):
        each.chmod(0o755 if each.is_dir() else 0o644)
    with unprivileged():
        assert rerun("a.ipynb", call.format("")) == first
        assert rerun("b.ipynb", call.format("")) == last
        current_session().close()
    assert len(orders.orders) == 2


# Jobs, which the embedded server has


@pytest.fixture
def kernel_of(keyed: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Session]]:
    """Make sessions, each like a fresh kernel of the notebook with this name."""
    made: list[Session] = []

    def make(name: str) -> Session:
        monkeypatch.setenv("JPY_SESSION_NAME", name)
        made.append(Session())
        return made[-1]

    yield make
    for session in made:
        session.close()


def test_a_job_is_not_handed_over_for_what_its_notebook_showed(
    kernel_of: Callable[[str], Session], keyed: Served
) -> None:
    """`--batch` shows the pictures that the notebook showed, as without it."""
    prompts = ["a fox", "an owl"]

    def run(name: str, **options: Any) -> list[int | None]:
        found: Any = kernel_of(name).generate(each=prompts, **options)
        images = found.wait() if options.get("batch") else found
        return [image.id for image in images]

    first = run("a.ipynb", batch=True)
    handed = sum(call.method.endswith("AddBatchRequests") for call in keyed.server.requests)
    assert run("b.ipynb", batch=True) == first
    other = run("c.ipynb", fresh=True)
    assert other != first
    calls = len(keyed.calls)
    for options in ({}, {"batch": True}):
        assert run("a.ipynb", **options) == run("b.ipynb", **options) == first
        assert run("c.ipynb", **options) == other
    again = sum(call.method.endswith("AddBatchRequests") for call in keyed.server.requests)
    assert (len(keyed.calls), again) == (calls, handed)


def test_the_panel_shows_its_notebooks_own(rerun: Rerun, orders: Press) -> None:

    def generate() -> str | None:
        session = current_session()
        call = session.prepare("a fox", {})
        with session.cells.ask("a panel") as claims:
            session.loop.run(session.run(call, claims))
            return session.finish(call)[0].sha256

    first = rerun("a.ipynb", "shown += xai.generate('a fox')")
    rerun("c.ipynb", "shown += xai.generate('a fox', fresh=True)")
    rerun("a.ipynb", "import xai_notebook")
    assert [generate()] == first
    assert len(orders.orders) == 2


def test_a_plan_counts_what_the_notebook_will_show(
    kernel_of: Callable[[str], Session], keyed: Served
) -> None:
    """A plan shows no picture, so it changes nothing."""
    kernel_of("a.ipynb").generate("a fox", n=2)
    assert kernel_of("b.ipynb").generate("a fox", n=3, dry_run=True).stored == [2]
    last = kernel_of("c.ipynb").generate("a fox", n=2, fresh=True)
    shown = kernel_of("b.ipynb").generate("a fox", n=2)
    assert [image.id for image in shown] == [image.id for image in last]
