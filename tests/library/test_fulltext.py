"""Search by words, none of which is an operator."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xai_notebook.library import Library
from xai_notebook.library.storage import database, fulltext
from xai_notebook.library.storage.schema import CREATE_INDEX

if TYPE_CHECKING:
    from pathlib import Path

    from harness import NewJpeg, Opens, Save


any_example = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(
    "words",
    [
        "", "fox", "FOX", "fo", "snow fox", "fox sno", "naïve", "naive", "cat's", "狐狸", "红色",
        "🦊", "grok", "local-preview", "story.ipynb", "sketch", "painted", "100%", " \0\t fox ",
        "« fox »",
    ],
)  # fmt: skip
def test_words_that_match(library: Library, save: Save, picture: NewJpeg, words: str) -> None:
    """Words are found in prompts, model and notebook, in any case, accent and script."""
    prompt = "A naïve fox in fresh snow, the cat's red fox红色狐狸🦊 « at 100% »"
    save(
        prompt, [picture()], notebook="/books/story.ipynb", original_prompt="a sketch",
        answered_by="local-preview", image={"rewritten_prompt": "a painted fox"},
    )  # fmt: skip
    save("something else", [picture()], answered_by="x", model="y") if words else None
    (stored,) = library.history(words)
    assert stored.request.prompt == prompt


@pytest.mark.parametrize(
    "words",
    ["wolf", "fox wolf", "ox", "fo snow", "fox OR wolf", "NOT wolf", "prompt:fox", "色红", "***"],
)
def test_words_without_a_match(library: Library, save: Save, picture: NewJpeg, words: str) -> None:
    """All words are required, only the last may be incomplete, and there are no operators."""
    save("a fox in snow 红色狐狸", [picture()])
    assert library.history(words) == []


@pytest.mark.parametrize("words", ["***", "%", "_", "\\", '"', "'", "-", "(", "a_b", "50%"])
def test_punctuation_is_searched_as_text(
    library: Library, save: Save, picture: NewJpeg, words: str
) -> None:
    save("""*** 50% a_b \\ " ' - (""", [picture()])
    save("plain words", [picture()], answered_by="plain")
    assert len(library.history(words)) == 1


@any_example
@given(words=st.text(max_size=40))
def test_any_words_are_safe(library: Library, words: str) -> None:
    assert library.history(words) == []


@any_example
@given(st.text("abcé 狐🦊'\"*-_%\\()^:\n", min_size=1, max_size=30))
def test_a_prompt_finds_itself(library: Library, save: Save, picture: NewJpeg, prompt: str) -> None:
    (image,) = save(prompt, [picture()])
    assert image.id in {stored.id for stored in library.history(prompt, limit=500)}


def test_a_library_written_without_fts5_is_indexed_later(
    home: Path, save: Save, picture: NewJpeg, monkeypatch: pytest.MonkeyPatch, opens: Opens
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "prepare_index", lambda connection: False)
        plain = Library.open(home)
        (image,) = save("a red fox", [picture()], to=plain, image={"rewritten_prompt": "vulpes"})
        for words in ("fox", "FOX red", "vulp", "grok"):
            assert [stored.id for stored in plain.history(words)] == [image.id]
        assert plain.history("wolf") == []
        plain.close()
    indexed = opens(home)
    assert [stored.id for stored in indexed.history("vulpes fo")] == [image.id]


def test_a_missing_fts5_module_is_recognised(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    future = CREATE_INDEX.replace("fts5", "fts_of_the_future")
    monkeypatch.setattr(fulltext, "CREATE_INDEX", future)
    library = Library.open(home)
    assert not library.database.indexed
    assert library.history("fox") == []
    library.close()
    with sqlite3.connect(home / database.FILE) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert "search" not in names
