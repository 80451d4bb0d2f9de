"""`session.history.search()`, behind `%xai_history` and `xai.history()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from many_pictures import fill
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Kernels, Served
    from xai_notebook.generation.session import Session


def shown(batch: Any) -> str:
    """Return the HTML of a batch."""
    html: str = batch._repr_mimebundle_()["text/html"]
    return html


def test_each_image_has_the_cell_that_makes_it(session: Session, quick: Served) -> None:
    """The newest image is first; special characters of the prompt are escaped."""
    session.generate("a fox, 16:9 & <b>", n=2, aspect_ratio="16:9", model="grok-imagine-image-2.0")
    session.generate("a hare")
    batch = session.history.search()
    assert [image.prompt for image in batch] == ["a hare", *["a fox, 16:9 & <b>"] * 2]
    assert batch[1].cell == (
        "%%xai_image -n 2 --model=grok-imagine-image-2.0 --aspect-ratio=16:9\na fox, 16:9 & <b>"
    )
    html = shown(batch)
    assert "Magic that made it" not in shown(session.generate("an owl"))
    assert html.index("a hare") < html.index("a fox")
    assert html.count("<summary>Magic that made it</summary>") == 3
    assert "%%xai_image -n 2 --model=grok-imagine-image-2.0 --aspect-ratio=16:9<br>a fox" in html
    assert "<b>" not in html
    assert f"{batch[0].created.astimezone():%Y-%m-%d %H:%M}" in html
    assert "%%xai_image\n  a hare" in repr(batch)


def test_the_cell_sends_the_same_request(shell: InteractiveShell, keyed: Served) -> None:
    shell.run_cell("%xai_image --aspect-ratio 3:4 -n 2 a fox, {{ 1 + 1 }} tails")
    first = keyed.last
    result: Any = shell.run_cell("%xai_history").result
    shell.run_cell(result[0].cell.replace("%%xai_image", "%%xai_image --fresh"))
    assert len(keyed.calls) == 2
    assert keyed.last == first


def test_n_limits_the_images(session: Session, quick: Served) -> None:
    """`-n 30` shows 30; the default is 24."""
    for number in range(4):
        session.generate(f"fox {number}", n=8)
    assert shown(session.history.search(n=30)).count("<img") == 30
    assert shown(session.history.search()).count("<img") == 24


def test_an_empty_result_is_explained(session: Session, quick: Served) -> None:
    """An empty library and words without a match have different messages."""
    empty = session.history.search()
    assert "The library is empty. What you make with xai.generate() will appear here." in repr(
        empty
    )
    assert "The library is empty" in shown(empty)
    session.generate("a fox")
    assert "Nothing in the library has all of these words: purple cow" in shown(
        session.history.search("purple cow")
    )


def test_a_history_that_was_cut_says_so(session: Session, quick: Served) -> None:
    session.generate(each=[f"a plum {number}" for number in range(5)])
    session.generate("a fox")
    cut = session.history.search("plum", n=2)
    line = "The newest 2 of 5 matching pictures; xai.history('plum', n=None) returns all."
    assert len(cut) == 2
    assert line in repr(cut)
    assert line.replace("'", "&#x27;") in shown(cut)
    cut = session.history.search(n=1)
    assert "The newest 1 of 6 pictures; xai.history(n=None) returns all." in repr(cut)
    for whole in (session.history.search("plum", n=5), session.history.search("plum")):
        assert len(whole) == 5
        assert "The newest" not in repr(whole)


def test_pictures_in_the_trash_are_not_counted(session: Session, quick: Served) -> None:
    batch = session.generate(each=[f"a plum {number}" for number in range(4)])
    batch[0].delete()
    assert "The newest 1 of 3 matching" in repr(session.history.search("plum", n=1))


def test_a_visitor_s_history_counts_only_the_visitor_s_pictures(
    session: Session, kernels: Kernels, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.generate(each=["a plum 1", "a plum 2"])
    visitor = kernels()
    monkeypatch.setenv("VOILA_PREHEAT", "")
    visitor.generate(each=["a plum 3", "a plum 4", "a plum 5"])
    cut = visitor.history.search("plum", n=2)
    assert {image.prompt for image in cut} < {"a plum 3", "a plum 4", "a plum 5"}
    assert "The newest 2 of 3 matching pictures" in repr(cut)
    assert len(visitor.history.search("plum", n=None)) == 3


def test_none_returns_all_and_shows_the_first_cards(session: Session, quick: Served) -> None:
    for number in range(4):
        session.generate(f"fox {number}", n=8)
    everything = session.history.search(n=None)
    assert len(everything) == 32
    assert shown(everything).count("<img") == 24
    assert "… and 8 more: the slice [24:] shows them." in repr(everything)
    assert len(session.history.search("fox 1", n=None)) == 8


@pytest.mark.parametrize("n", [0, -1, "all", "2", 2.0, True])
def test_an_invalid_number_is_refused(session: Session, n: Any) -> None:
    with pytest.raises(OptionError, match=r"^n: .* is not a number of images\. Use a whole number"):
        session.history.search(n=n)


def test_a_number_can_come_from_numpy(session: Session, quick: Served) -> None:
    session.generate("a fox", n=3)
    assert len(session.history.search(n=np.int64(2))) == 2


def test_a_history_of_thousands_can_be_shown(session: Session) -> None:
    """A grid has at most 100 cards; thousands would not fit into a notebook or a JPEG."""
    fill(session.library().home, 5_000)
    batch = session.history.search(n=5_000)
    assert len(batch) == 5_000
    bundle: Any = batch._repr_mimebundle_()
    assert bundle["text/html"].count("<img") == 100
    assert "… and 4,900 more: the slice [100:] shows them." in bundle["text/plain"]
    assert batch.shown(limit=5_000)._repr_mimebundle_()["image/jpeg"]
