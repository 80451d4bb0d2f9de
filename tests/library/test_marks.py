"""Stars, tags and the trash."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook.errors import LibraryError, OptionError
from xai_notebook.library import Library, catalog
from xai_notebook.library.storage import database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xai_notebook.pictures.picture import Picture

    Save = Callable[..., list[Any]]
    Make = Callable[[], bytes]


def ids(pictures: Sequence[Picture]) -> list[int]:
    return [picture.id or 0 for picture in pictures]


def test_a_star_is_given_and_taken(library: Library, save: Save, picture: Make) -> None:
    """And stays when the library is opened again."""
    first, second = ids(save(payloads=[picture(), picture()]))
    library.annotations.star([first, second])
    library.annotations.star([second], value=False)
    with contextlib.closing(Library.open(library.home)) as again:
        assert again.annotations.of([first, second]) == {
            first: catalog.Annotation(starred=True),
            second: catalog.Annotation(),
        }


def test_tags_are_given_once_and_taken(library: Library, save: Save, picture: Make) -> None:
    """However often a tag is given, and however it is spaced."""
    (one,) = ids(save(payloads=[picture()]))
    for tag in ("noir", " noir\n", "blue  hour", "film"):
        library.annotations.tag([one], tag)
    library.annotations.untag([one], "film")
    assert library.annotations.of([one])[one].tags == ("blue hour", "noir")


@pytest.mark.parametrize("tag", ["", " \n", "\x00", "x" * 61])
def test_a_tag_is_a_word_or_a_few(library: Library, tag: str) -> None:
    """Nothing else can be typed again."""
    with pytest.raises(OptionError, match="1 to 60 characters"):
        library.annotations.tag([1], tag)


def test_rows_that_are_not_there_are_passed_over(library: Library) -> None:
    """Another kernel may have emptied the trash meanwhile."""
    library.annotations.star([7])
    library.annotations.tag([7], "noir")
    library.annotations.delete([7])
    assert library.annotations.of([7]) == {}


def test_more_pictures_than_a_statement_takes(library: Library, save: Save, picture: Make) -> None:
    """Any number can be marked and asked for."""
    data = picture()
    many = ids(save(payloads=[data] * 1200))
    library.annotations.star(many)
    assert sum(mark.starred for mark in library.annotations.of(many).values()) == 1200


def test_what_is_in_the_trash_answers_nothing(library: Library, save: Save, picture: Make) -> None:
    """Neither a replay, nor history, nor a lineage; and all of it again when it is brought back."""
    (image,) = save("fox", [picture()])
    library.annotations.delete([image.id])
    assert library.find("fingerprint of fox") == []
    assert library.history("fox") == []
    assert library.catalog.lineage(image.sha256) == []
    library.annotations.restore([image.id])
    assert library.find("fingerprint of fox")[0].data == image.data
    assert ids(library.history("fox")) == [image.id]


def test_emptying_removes_the_original(library: Library, save: Save, picture: Make) -> None:
    """It cannot be brought back then; nor does it come back in the next kernel."""
    (image,) = save("fox", [picture()])
    library.annotations.delete([image.id])
    assert library.annotations.empty_trash() == 1
    assert not image.file.exists()
    library.annotations.restore([image.id])
    assert library.history() == []
    assert library.annotations.empty_trash() == 0


def test_an_original_that_others_use_is_kept(library: Library, save: Save, picture: Make) -> None:
    """Rows with the same bytes share one file; one that is only in the trash is used, too."""
    data = picture()
    (first,), (second,) = save("fox", [data]), save("owl", [data])
    library.annotations.delete([first.id])
    library.annotations.empty_trash()
    assert library.history("owl")[0].data == data
    library.annotations.delete([second.id])
    assert second.file.exists()


def test_emptying_wipes_the_words(library: Library, save: Save, picture: Make) -> None:
    """Of a request none of whose pictures is left, no word stays in any table."""
    image = {"rewritten_prompt": "an unspeakable painting"}
    first, second = ids(
        save(
            "unmentionable",
            [picture(), picture()],
            image=image,
            original_prompt="a whisper",
            fingerprint="f",
        )
    )
    library.annotations.tag([first, second], "shameful")
    save("a red fox", [picture()])
    library.annotations.delete([first])
    library.annotations.empty_trash()
    assert ids(library.history("unspeakable")) == [second]
    library.annotations.delete([second])
    library.annotations.empty_trash()
    for word in ("unmentionable", "unspeakable", "whisper"):
        assert library.history(word) == []
    assert len(library.history("fox")) == 1
    with contextlib.closing(sqlite3.connect(library.home / database.FILE)) as connection:
        text = "\n".join(connection.iterdump())
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    assert not [word for word in ("unmention", "unspeak", "whisper", "shameful") if word in text]


def test_what_was_deleted_has_been_paid_for(library: Library, save: Save, picture: Make) -> None:
    """The ledger is what it was."""
    (image,) = save(payloads=[picture()], cost_usd=0.07)
    before = library.spending.costs()
    library.annotations.delete([image.id])
    library.annotations.empty_trash()
    assert library.spending.costs() == before


def test_the_trash_is_emptied_after_a_month(
    library: Library, save: Save, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever opens the library then."""
    old, new = save(payloads=[picture(), picture()])
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: now - 31 * 86400)
        library.annotations.delete([old.id])
    library.annotations.delete([new.id])
    with contextlib.closing(Library.open(library.home)) as again:
        again.annotations.restore([old.id, new.id])
        assert ids(again.history()) == [new.id]


def test_the_same_bytes_are_written_again_after_emptying(
    library: Library, save: Save, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when another kernel empties the trash between the file's writing and its row's."""
    data = picture()
    (image,) = save("fox", [data])
    library.annotations.delete([image.id])
    write = type(library.blobs).write

    def write_then_lose(self: Any, contents: Any, **options: Any) -> Any:
        written = write(self, contents, **options)
        library.annotations.empty_trash()
        return written

    monkeypatch.setattr(type(library.blobs), "write", write_then_lose)
    (again,) = save("fox", [data])
    assert again.data == data


def test_who_listens_hears_of_changes(library: Library, save: Save, picture: Make) -> None:
    """As long as it lives."""

    class Listener:
        def __init__(self) -> None:
            self.heard: list[Sequence[int]] = []

        def hear(self, changed: Sequence[int]) -> None:
            self.heard.append(changed)

    (one,) = ids(save(payloads=[picture()]))
    listener = Listener()
    heard = listener.heard
    catalog.listen(listener.hear)
    library.annotations.star([one])
    library.annotations.tag([one], "noir")
    assert heard == [[one], [one]]
    del listener
    gc.collect()
    library.annotations.delete([one])
    assert len(heard) == 2


def test_a_library_that_is_read_only_says_so(
    library: Library, save: Save, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures can be looked at, not marked."""
    (one,) = ids(save(payloads=[picture()]))
    monkeypatch.setattr(database, "_is_writable", lambda path: False)
    with contextlib.closing(Library.open(library.home)) as again:
        assert again.annotations.of([one]) == {one: catalog.Annotation()}
        with pytest.raises(LibraryError, match="read-only"):
            again.annotations.star([one])
