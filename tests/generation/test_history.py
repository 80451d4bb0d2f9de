"""`session.history.search()`, behind `%xai_history` and `xai.history()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served
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
    assert "The library is empty. What you make with %xai_image will appear here." in repr(empty)
    assert "The library is empty" in shown(empty)
    session.generate("a fox")
    assert "Nothing in the library has all of these words: purple cow" in shown(
        session.history.search("purple cow")
    )
