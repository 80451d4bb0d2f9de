"""The list of all pictures: filters, sort orders, search; stars, tags and the trash."""

from __future__ import annotations

import contextlib
import gc
import time
from typing import TYPE_CHECKING, Any

import pytest

import many_pictures
from xai_notebook.client.request import InputImage
from xai_notebook.errors import LibraryError, OptionError
from xai_notebook.library import Library
from xai_notebook.library.catalog import Annotation, Query, listen
from xai_notebook.library.storage import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness import MakeOld, NewJpeg, Raw, Save
    from xai_notebook.pictures.picture import Picture


COUNT = 3000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A library that no test changes."""
    home = tmp_path_factory.mktemp("many") / "home"
    many_pictures.fill(home, COUNT)
    library = Library.open(home)
    yield library
    library.close()


def found_ids(library: Library, **query: Any) -> list[int]:
    return library.catalog.find(Query(**query)).ids.tolist()


def test_the_newest_picture_is_first(many: Library) -> None:
    assert found_ids(many) == list(range(COUNT, 0, -1))


@pytest.mark.parametrize("words", ["", "fox", "fo", "amber gla", "study12", "STUDY7", "no such"])
def test_search_agrees_with_history(many: Library, words: str) -> None:
    expected = [picture.id for picture in many.history(words, limit=COUNT)]
    assert found_ids(many, words=words) == expected


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ({"model": "local-preview"}, lambda n: n % 3 == 2),
        ({"backend": "local"}, lambda n: n % 3 == 2),
        ({"backend": "xai", "starred": True}, lambda n: n % 3 != 2 and n % 10 == 0),
        ({"starred": True}, lambda n: n % 10 == 0),
        ({"notebook": "/books/story2.ipynb"}, lambda n: n % 5 == 2),
        ({"since": 1_700_000_000.0 + 300 * 2990}, lambda n: n >= 2990),
        ({"until": 1_700_000_000.0 + 300 * 11}, lambda n: n < 11),
        ({"words": "study29", "starred": True}, lambda n: str(n).startswith("29") and n % 10 == 0),
        ({"status": "trash"}, lambda n: False),
        ({"status": "failed"}, lambda n: False),
        ({"tag": "noir"}, lambda n: False),
    ],
)
def test_filters_and_words_combine(
    many: Library, query: dict[str, Any], holds: Callable[[int], bool]
) -> None:
    expected = [n for n in range(COUNT, 0, -1) if holds(n)]
    assert found_ids(many, **query) == expected
    if "words" not in query:
        assert many.catalog.first(Query(**query), 7) == expected[:7]


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("cost", lambda picture: (-(picture.cost_usd or 0), -picture.id)),
        ("model", lambda picture: (picture.model, -picture.id)),
    ],
)
def test_pictures_are_sorted_by_cost_or_model(
    many: Library, order: str, key: Callable[[Any], Any]
) -> None:
    """Among equal values, the newest picture is first."""
    keys = [key(row.picture) for row in many.catalog.rows(found_ids(many, order=order))]
    assert keys == sorted(keys)


@pytest.mark.parametrize("query", [{"order": "size"}, {"status": "'; DROP TABLE images; --"}])
def test_an_unknown_order_or_status_is_refused(many: Library, query: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="is not one of"):
        found_ids(many, **query)


def test_size_is_the_sum_of_the_originals(many: Library) -> None:
    result = many.catalog.find(Query(words="study1"))
    rows = many.catalog.rows(result.ids)
    assert result.size == sum(row.picture.file.stat().st_size for row in rows if row.picture.file)


@pytest.mark.parametrize("damaged", ["abc", b"\0\xff", 1.5, float("inf"), None])
def test_a_damaged_size_hides_no_picture(tmp_path: Path, damaged: Any, raw: Raw) -> None:
    home = tmp_path / "home"
    many_pictures.fill(home, 20)
    with raw(home) as connection:
        connection.execute("UPDATE images SET size = ? WHERE id = 7", (damaged,))
    with contextlib.closing(Library.open(home)) as library:
        assert found_ids(library) == list(range(20, 0, -1))
        assert found_ids(library, words="a") == list(range(20, 0, -1))
        assert library.catalog.first(Query(), 3) == [20, 19, 18]


def test_annotations_change_the_next_result(library: Library, save: Save, picture: NewJpeg) -> None:
    """The cached list is read again."""
    first, second = (image.id for image in save(payloads=[picture(), picture()]))
    assert found_ids(library) == [first, second]
    library.annotations.tag([first], "noir")
    library.annotations.delete([second])
    assert found_ids(library) == found_ids(library, tag="noir") == [first]
    assert found_ids(library, status="trash") == [second]


def test_changes_of_another_kernel_change_the_next_result(
    library: Library, save: Save, picture: NewJpeg
) -> None:
    (first,) = save(payloads=[picture()])
    assert found_ids(library) == [first.id]
    with contextlib.closing(Library.open(library.home)) as other:
        other.annotations.star([first.id])
        (second,) = save("owl", payloads=[picture()], to=other)
    assert found_ids(library) == [second.id, first.id]
    assert found_ids(library, starred=True) == [first.id]


def test_facets_count_pictures(library: Library, save: Save, picture: NewJpeg) -> None:
    images = save(payloads=[picture(), picture(), None])
    save("owl", payloads=[picture()], answered_by="local-preview", backend="local")
    library.annotations.tag([images[0].id], "noir")
    assert library.catalog.facets() == (
        {"grok-imagine-image": 2, "local-preview": 1},
        {"noir": 1},
        {"ok": 3, "failed": 1, "all": 4},
        {"xai": 2, "local": 1},
    )
    library.annotations.delete([images[0].id])
    assert library.catalog.facets().statuses == {"ok": 2, "failed": 1, "trash": 1, "all": 3}


def test_rows_are_in_the_given_order(library: Library, save: Save, picture: NewJpeg) -> None:
    """Unknown ids are left out."""
    first, second = (
        image.id for image in save(payloads=[picture(), picture()], notebook="a.ipynb")
    )
    library.annotations.star([first])
    rows = library.catalog.rows([second, 99, first])
    assert [(row.picture.id, row.annotation.starred) for row in rows] == [
        (second, False),
        (first, True),
    ]
    assert {(row.backend, row.notebook) for row in rows} == {("xai", "a.ipynb")}


def test_search_works_without_an_index(library: Library, save: Save, picture: NewJpeg) -> None:
    (fox,), _ = save("a red fox", [picture()]), save("an owl", [picture()])
    library.catalog.find(Query())
    library.database.indexed = False
    assert found_ids(library, words="red fo") == [fox.id]


def test_edits_of_a_picture_are_found(library: Library, save: Save, picture: NewJpeg) -> None:
    """An edit is found by any of its input images."""
    (fox,) = save("a red fox", [picture()])
    inputs = (
        InputImage(url="", sha256="0" * 64, label="photo", parent=None),
        InputImage(url="", sha256=fox.sha256, label="fox", parent=fox.sha256),
    )
    (edit,) = save("in snow", [picture()], inputs=inputs)
    assert library.catalog.edits_of(fox.sha256) == [edit.id]
    assert library.catalog.edits_of(edit.sha256) == []


def test_missing_sizes_are_measured(home: Path, picture: NewJpeg, make_old: MakeOld) -> None:
    data = picture()
    make_old(home, data)
    with contextlib.closing(Library.open(home)) as library:
        assert library.catalog.find(Query()).size == 0
        assert not library.catalog.measure()
        assert library.catalog.find(Query()).size == len(data)


def test_a_search_with_the_same_filters_reads_only_the_index(many: Library) -> None:
    def steps_of(words: str) -> int:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        with many.database.reading() as connection:
            connection.set_progress_handler(step, 10)
            try:
                found_ids(many, words=words)
            finally:
                connection.set_progress_handler(None, 0)
        return steps * 10

    found_ids(many, words="")
    assert steps_of("study2999") < COUNT / 10
    assert steps_of("fox") < 5 * COUNT


# Stars, tags and the trash


def ids(pictures: Sequence[Picture]) -> list[int]:
    return [picture.id or 0 for picture in pictures]


def test_stars_are_stored(library: Library, save: Save, picture: NewJpeg) -> None:
    first, second = ids(save(payloads=[picture(), picture()]))
    library.annotations.star([first, second])
    library.annotations.star([second], value=False)
    with contextlib.closing(Library.open(library.home)) as again:
        assert again.annotations.of([first, second]) == {
            first: Annotation(starred=True),
            second: Annotation(),
        }


def test_tags_are_stored(library: Library, save: Save, picture: NewJpeg) -> None:
    """White space in a tag is normalized."""
    (image_id,) = ids(save(payloads=[picture()]))
    for tag in ("noir", " noir\n", "blue  hour", "film"):
        library.annotations.tag([image_id], tag)
    library.annotations.untag([image_id], "film")
    assert library.annotations.of([image_id])[image_id].tags == ("blue hour", "noir")


@pytest.mark.parametrize("tag", ["", " \n", "\x00", "x" * 61])
def test_an_invalid_tag_is_refused(library: Library, tag: str) -> None:
    with pytest.raises(OptionError, match="1 to 60 characters"):
        library.annotations.tag([1], tag)


def test_annotations_of_unknown_rows_are_ignored(library: Library) -> None:
    """Another kernel may have emptied the trash."""
    library.annotations.star([7])
    library.annotations.tag([7], "noir")
    library.annotations.delete([7])
    assert library.annotations.of([7]) == {}


def test_more_pictures_than_sql_parameters_are_starred(
    library: Library, save: Save, picture: NewJpeg
) -> None:
    data = picture()
    many = ids(save(payloads=[data] * 1200))
    library.annotations.star(many)
    assert sum(mark.starred for mark in library.annotations.of(many).values()) == 1200


def test_pictures_in_the_trash_are_hidden(library: Library, save: Save, picture: NewJpeg) -> None:
    (image,) = save("fox", [picture()])
    library.annotations.delete([image.id])
    assert library.find("fingerprint of fox") == []
    assert library.history("fox") == []
    assert library.catalog.lineage(image.sha256) == []
    library.annotations.restore([image.id])
    assert library.find("fingerprint of fox")[0].data == image.data
    assert ids(library.history("fox")) == [image.id]


def test_emptying_the_trash_deletes_files(library: Library, save: Save, picture: NewJpeg) -> None:
    (image,) = save("fox", [picture()])
    library.annotations.delete([image.id])
    assert library.annotations.empty_trash() == 1
    assert not image.file.exists()
    library.annotations.restore([image.id])
    assert library.history() == []
    assert library.annotations.empty_trash() == 0


def test_an_original_of_another_row_is_kept(library: Library, save: Save, picture: NewJpeg) -> None:
    """The other row may be in the trash."""
    data = picture()
    (first,), (second,) = save("fox", [data]), save("owl", [data])
    library.annotations.delete([first.id])
    library.annotations.empty_trash()
    assert library.history("owl")[0].data == data
    library.annotations.delete([second.id])
    assert second.file.exists()


def test_emptying_the_trash_erases_the_prompts(
    library: Library, save: Save, picture: NewJpeg, raw: Raw
) -> None:
    """No table and no index contains them afterwards."""
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
    with raw(library.home) as connection:
        text = "\n".join(connection.iterdump())
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    assert not [word for word in ("unmention", "unspeak", "whisper", "shameful") if word in text]


def test_deleted_images_stay_in_the_ledger(library: Library, save: Save, picture: NewJpeg) -> None:
    (image,) = save(payloads=[picture()], cost_usd=0.07)
    before = library.spending.costs()
    library.annotations.delete([image.id])
    library.annotations.empty_trash()
    assert library.spending.costs() == before


def test_the_trash_is_emptied_after_a_month(
    library: Library, save: Save, picture: NewJpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = save(payloads=[picture(), picture()])
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: now - 31 * 86400)
        library.annotations.delete([old.id])
    library.annotations.delete([new.id])
    with contextlib.closing(Library.open(library.home)) as again:
        again.annotations.restore([old.id, new.id])
        assert ids(again.history()) == [new.id]


def test_an_original_is_written_again_if_it_was_deleted_meanwhile(
    library: Library, save: Save, picture: NewJpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel empties the trash between the writing of the file and of its row."""
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


def test_listeners_are_notified_of_changes(library: Library, save: Save, picture: NewJpeg) -> None:
    """`listen` does not keep a listener alive."""

    class Listener:
        def __init__(self) -> None:
            self.heard: list[Sequence[int]] = []

        def hear(self, changed: Sequence[int]) -> None:
            self.heard.append(changed)

    (image_id,) = ids(save(payloads=[picture()]))
    listener = Listener()
    heard = listener.heard
    listen(listener.hear)
    library.annotations.star([image_id])
    library.annotations.tag([image_id], "noir")
    assert heard == [[image_id], [image_id]]
    del listener
    gc.collect()
    library.annotations.delete([image_id])
    assert len(heard) == 2


def test_a_read_only_library_refuses_annotations(
    library: Library, save: Save, picture: NewJpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image_id,) = ids(save(payloads=[picture()]))
    monkeypatch.setattr(database, "_is_writable", lambda path: False)
    with contextlib.closing(Library.open(library.home)) as again:
        assert again.annotations.of([image_id]) == {image_id: Annotation()}
        with pytest.raises(LibraryError, match="read-only"):
            again.annotations.star([image_id])
