"""`session.history.search()`, behind `%xai_history` and `xai.history()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook import errors
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served
    from xai_notebook.generation.session import Session


def shown(batch: Any) -> str:
    """Return the HTML of a batch."""
    html: str = batch._repr_mimebundle_()["text/html"]
    return html


def test_each_image_stands_with_its_magic(session: Session, quick: Served) -> None:
    """Newest first, with the cell that makes it again, whatever its prompt holds."""
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


def test_the_magic_makes_the_image_again(shell: InteractiveShell, keyed: Served) -> None:
    """The cell shown sends the same request."""
    shell.run_cell("%xai_image --aspect-ratio 3:4 -n 2 a fox, {{ 1 + 1 }} tails")
    first = keyed.last
    result: Any = shell.run_cell("%xai_history").result
    shell.run_cell(result[0].cell.replace("%%xai_image", "%%xai_image --fresh"))
    assert len(keyed.calls) == 2
    assert keyed.last == first


def test_n_shows_as_many(session: Session, quick: Served) -> None:
    """`-n 30` shows 30; the default is 24."""
    for number in range(4):
        session.generate(f"fox {number}", n=8)
    assert shown(session.history.search(n=30)).count("<img") == 30
    assert shown(session.history.search()).count("<img") == 24


def test_nothing_to_show_is_a_friendly_line(session: Session, quick: Served) -> None:
    """For an empty library, and for words without a match."""
    empty = session.history.search()
    assert isinstance(empty, ImageBatch)
    assert "The library is empty. What you make with %xai_image will appear here." in repr(empty)
    assert "The library is empty" in shown(empty)
    session.generate("a fox")
    assert "Nothing in the library has all of these words: purple cow" in shown(
        session.history.search("purple cow")
    )


def test_a_home_that_is_a_file_is_an_error(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the folder and the variable to change."""
    home = tmp_path / "file"
    home.write_text("not a folder")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    with pytest.raises(errors.LibraryError, match=r"is not a folder.*XAI_NOTEBOOK_HOME"):
        session.history.search()
