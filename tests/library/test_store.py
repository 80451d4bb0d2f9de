"""Saving replies, replay, history and costs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import LibraryError, MissingImageError, ModeratedError
from xai_notebook.library import Library
from xai_notebook.library.storage.fulltext import index_requests
from xai_notebook.library.storage.schema import insert
from xai_notebook.pictures.render.tables import CostRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import NewJpeg, Opens, Save
    from xai_notebook.library import Reply


FOX = "fingerprint of a red fox"


def digests(images: list[Any]) -> list[str]:
    return [image.sha256 for image in images]


def test_a_saved_image_reads_its_file(save: Save, picture: NewJpeg, home: Path) -> None:
    data = picture()
    (image,) = save(payloads=[data])
    assert image.cached is None
    assert image.data == data
    assert image.file == home / "images" / image.sha256[:2] / f"{image.sha256}.jpg"
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert (image.media_type, image.size, image.status) == ("image/jpeg", (64, 48), "ok")
    assert image.id is not None


def test_another_kernel_reads_the_whole_request(
    library: Library, save: Save, picture: NewJpeg, home: Path
) -> None:
    """The bytes of input images are left out."""
    inputs = (InputImage("data:image/png;base64,SECRET", "ab" * 32, "photo.png", "cd" * 32),)
    options: dict[str, Any] = {
        "aspect_ratio": "16:9", "resolution": "2k", "quality": "low", "user": "user-7",
        "image_format": "url", "original_prompt": "fox", "rewrite_model": "chat",
    }  # fmt: skip
    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    of_image = {
        "rewritten_prompt": "a fox, red", "rewritten_by": "chat", "cost_usd": 0.02,
        "created": created, "notes": ("scaled",),
    }  # fmt: skip
    (image,) = save(payloads=[picture()], inputs=inputs, image=of_image, **options)
    other = Library.open(home)
    (stored,) = other.find(FOX)
    other.close()
    without_url = InputImage("", "ab" * 32, "photo.png", "cd" * 32)
    assert stored.request == ImageRequest(
        prompt="a red fox", model="grok", n=1, inputs=(without_url,), **options
    )
    for name, value in of_image.items():
        assert getattr(stored, name) == value
    assert (stored.id, stored.file, stored.size) == (image.id, image.file, image.size)
    assert stored.data == image.data
    assert not stored.replayed


def test_urls_of_inputs_are_not_stored(
    library: Library, save: Save, picture: NewJpeg, home: Path
) -> None:
    uri = "data:image/png;base64,c2VjcmV0"
    save(payloads=[picture()], inputs=(InputImage(uri, "ab" * 32, uri),))
    library.close()
    assert all(b"c2VjcmV0" not in file.read_bytes() for file in home.glob("library*"))


def test_equal_content_is_one_file(save: Save, picture: NewJpeg, home: Path) -> None:
    data = picture()
    first, second = save(payloads=[data])[0], save(payloads=[data])[0]
    assert first.id != second.id
    assert first.file == second.file
    assert len([file for file in (home / "images").rglob("*") if file.is_file()]) == 1


def test_bytes_of_an_unknown_format_are_kept(save: Save) -> None:
    (image,) = save(payloads=[b"a format of the future"])
    assert image.data == b"a format of the future"
    assert (image.file.suffix, image.media_type, image.size) == (".bin", None, None)


def test_a_closed_library_saves_nothing(
    library: Library, save: Save, picture: NewJpeg, home: Path, opens: Opens
) -> None:
    library.close()
    with pytest.raises(LibraryError, match="closed"):
        save(payloads=[picture()])
    assert opens(home).newest() == 0


def test_a_reply_that_cannot_be_saved_affects_no_other(
    library: Library, reply: Callable[..., Reply], picture: NewJpeg
) -> None:
    good, bad = picture(), picture()
    blocked = library.blobs.path(hashlib.sha256(bad).hexdigest(), "image/jpeg")
    blocked.mkdir(parents=True)
    first, second = library.add_replies([reply("good", [good]), reply("bad", [bad])])
    assert not isinstance(first, LibraryError)
    assert isinstance(second, LibraryError)
    assert [image.data for image in library.find("fingerprint of good")] == [good]
    assert library.find("fingerprint of bad") == []


COMPLETED = ["a", "bc", ("de", 2)]


@pytest.mark.parametrize(
    ("replies", "count", "expected"),
    [
        (["abcd", "ef"], None, "efcd"),
        (["abcd", "ef"], 1, "e"),
        (["abcd", "ef"], 3, "efc"),
        (["abcd", "ef"], 5, "efcd"),
        (COMPLETED, 4, "bcde"),
        (COMPLETED, 2, "bc"),
        (["-ab"], 2, "a"),
        (["a-c", ("b", 1)], None, "abc"),
        ([("ab", 2)], None, "ab"),
    ],
)
def test_replies_to_a_request_answer_together(
    library: Library, save: Save, replies: list[Any], count: int | None, expected: str
) -> None:
    """The newest reply comes first, then longer earlier ones; a missing image stays missing.

    Each letter is an image, a dash a missing one; a number is the position of the first.
    """
    save("another prompt", [b"x"])
    for reply in replies:
        letters, start = reply if isinstance(reply, tuple) else (reply, 0)
        payloads = [None if letter == "-" else letter.encode() for letter in letters]
        save(payloads=payloads, start=start)
    assert [image.data.decode() for image in library.find(FOX, count=count)] == [*expected]


def test_each_place_has_its_own_answer(library: Library, save: Save, picture: NewJpeg) -> None:
    first, second = save(payloads=[picture()]), save(payloads=[picture()], place=1)
    assert digests(library.find(FOX)) == digests(first)
    assert digests(library.find(FOX, place=1)) == digests(second)
    assert library.find(FOX, place=2) == []


def test_an_answer_from_any_place(library: Library, save: Save, picture: NewJpeg) -> None:
    """Images of the newest place are first, replaced images last."""
    first = save(payloads=[picture(), picture()])
    second = save(payloads=[picture()], place=1)
    assert digests(library.find(FOX, place=None)) == digests(second + first)
    assert digests(library.find(FOX, place=None, count=2)) == digests(second + first)[:2]
    again = save(payloads=[picture()])
    expected = digests([*again, first[1], *second, first[0]])
    assert digests(library.find(FOX, place=None)) == expected


def test_after_excludes_earlier_images(library: Library, save: Save, picture: NewJpeg) -> None:
    assert library.newest() == 0
    save(payloads=[picture(), picture()])
    before = library.newest()
    assert library.find(FOX, after=before) == []
    (again,) = save(payloads=[picture()])
    assert digests(library.find(FOX, after=before)) == [again.sha256]


def test_moderated_images_answer_and_missing_ones_do_not(
    library: Library, save: Save, picture: NewJpeg
) -> None:
    save(payloads=[None], image={"status": "moderated", "error": "withheld"})
    save(payloads=[None], image={"status": "missing"})
    save(payloads=[None], image={"status": "failed"})
    save(payloads=[None])  # status "ok", but no bytes
    (stored,) = library.find(FOX)
    assert (stored.status, stored.error) == ("moderated", "withheld")
    with pytest.raises(ModeratedError, match="withheld"):
        _ = stored.data


def test_an_image_without_a_file_is_skipped(library: Library, save: Save, picture: NewJpeg) -> None:
    """It answers again when the file is back."""
    first, second = save(payloads=[picture(), picture()])
    data = first.data
    first.file.unlink()
    assert digests(library.find(FOX)) == digests(library.history()) == [second.sha256]
    with pytest.raises(MissingImageError, match="--fresh"):
        _ = first.data
    first.file.write_bytes(data)
    assert digests(library.find(FOX)) == [first.sha256, second.sha256]


def test_another_kernel_completes_a_pending_image(
    library: Library, save: Save, picture: NewJpeg, home: Path, opens: Opens
) -> None:
    (image,) = save(payloads=["https://imgen.example/1"])
    assert (image.status, image.id is None) == ("pending", False)
    assert library.history() == []
    library.close()
    other = opens(home)
    (stored,) = other.find(FOX)
    assert (stored.status, other.url_of(stored)) == ("pending", "https://imgen.example/1")
    data = picture()
    done = other.complete(stored, data)
    assert (done.status, done.data, done.size) == ("ok", data, (64, 48))
    assert stored.status == "pending"  # a returned picture does not change
    assert other.url_of(stored) is None
    assert [(again.status, again.data) for again in other.find(FOX)] == [("ok", data)]


def test_a_failed_image_does_not_answer(library: Library, save: Save) -> None:
    (image,) = save(payloads=["https://imgen.example/1"])
    failed = library.fail(image, "The address has expired.")
    assert (failed.status, failed.error) == ("failed", "The address has expired.")
    assert library.find(FOX) == []
    assert library.url_of(image) is None


@pytest.mark.parametrize("indexed", [True, False])
def test_matching_pictures_are_counted(
    library: Library, save: Save, picture: NewJpeg, *, indexed: bool
) -> None:
    """With the full-text index and without it; pictures in the trash do not count."""
    save("fresh snow", [picture(), picture()])
    (owl,) = save("an owl ***", [picture()])
    (fox,) = save("a fox in snow", [picture()])
    library.database.indexed = indexed
    counts = {words: library.count(words) for words in ("", " ", "snow", "sno", "***", "cow")}
    assert counts == {"": 4, " ": 4, "snow": 3, "sno": 3, "***": 1, "cow": 0}
    library.annotations.delete([owl.id or 0, fox.id or 0])
    assert (library.count(), library.count("snow"), library.count("owl")) == (2, 2, 0)


def test_history_is_newest_first(library: Library, save: Save, picture: NewJpeg) -> None:
    requests = [save(f"prompt {number}", [picture(), picture()]) for number in range(4)]
    save("no picture", [None])
    expected = [digest for images in reversed(requests) for digest in digests(images)]
    assert digests(library.history()) == expected
    pages = [library.history(limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [digest for page in pages for digest in digests(page)] == expected


def test_costs_are_summed_by_day_and_model(library: Library, save: Save, picture: NewJpeg) -> None:
    save(payloads=[picture(), picture()], cost_usd=0.04)
    save(payloads=[picture()], cost_usd=None)
    save(payloads=[picture()], backend="local", answered_by="local-preview", cost_usd=0.0)
    library.remember_rewrite("key", "fox", "a red fox", "grok-4", 0.001)
    library.remember_rewrite("key", "fox", "a redder fox", "grok-4", None)
    today = datetime.now().astimezone().date()
    assert library.spending.costs() == [
        CostRow(today, "grok-4", "xai", 2, 0, 0.001, 1),
        CostRow(today, "grok-imagine-image", "xai", 2, 3, 0.04, 1),
        CostRow(today, "local-preview", "local", 1, 1, 0.0, 0),
    ]


def test_the_first_rewrite_is_used(library: Library) -> None:
    assert library.rewrite_for("key") is None
    stored = [
        library.remember_rewrite("key", "fox", text, "grok-4", 0.001)
        for text in ("a red fox", "a redder fox")
    ]
    assert stored == ["a red fox", "a red fox"]
    assert library.rewrite_for("key") == "a red fox"
    assert library.rewrite_for("another") is None


def test_lineage_has_all_of_ten_steps(library: Library, save: Save, picture: NewJpeg) -> None:
    chain: list[Any] = []
    for step in range(10):
        parent = chain[-1].sha256 if chain else None
        inputs = (InputImage("", parent, "batch[0]", parent),) if parent else ()
        chain += save(f"step {step}", [picture()], inputs=inputs)
    assert digests(library.catalog.lineage(chain[-1].sha256)) == digests(chain)
    assert library.catalog.lineage("0" * 64) == []


def test_lineage_ends_at_a_cycle(library: Library, save: Save, picture: NewJpeg) -> None:
    data = [picture(), picture()]
    shas = [hashlib.sha256(content).hexdigest() for content in data]
    for content, parent in zip(data, reversed(shas), strict=True):
        save(payloads=[content], inputs=(InputImage("", parent, "x", parent),))
    assert sorted(digests(library.catalog.lineage(shas[0]))) == sorted(shas)


def test_a_notebook_name_may_be_invalid_utf8(
    library: Library, save: Save, picture: NewJpeg
) -> None:
    save(payloads=[picture()], notebook="caf\udce9.ipynb")
    assert len(library.find(FOX)) == 1


def test_threads_share_a_library(library: Library, save: Save, picture: NewJpeg) -> None:
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(15):
                save(f"thread{name} {number}", [picture()])
                library.history(f"thread{name}")
        except BaseException as error:  # noqa: BLE001  # handed to the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(library.history(limit=1000)) == 120


def test_the_library_imports_no_heavy_module() -> None:
    heavy = "{'PIL', 'grpc', 'google.protobuf', 'requests', 'IPython', 'xml.dom'}"
    modules = "sys, xai_notebook.library, xai_notebook.pictures.export"
    code = f"import {modules}; print({heavy} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_saving_and_searching_do_not_scan_the_library(
    library: Library, save: Save, picture: NewJpeg
) -> None:
    (image,) = save(payloads=[picture()])
    fill(library, 10_000)

    def steps(function: Callable[[], object]) -> int:
        """Return the number of SQLite's instructions that a function needs, in hundreds."""
        taken: list[None] = []
        with library.database.reading() as connection:
            connection.set_progress_handler(lambda: taken.append(None), 100)
        function()
        connection.set_progress_handler(None, 0)
        return len(taken)

    data = picture()
    a_scan = 10_000 * 4 // 100  # a row takes four instructions at least
    assert steps(lambda: library.find(FOX, count=4)) < a_scan / 4
    assert steps(lambda: library.history("fresh snow 77")) < a_scan / 4
    assert steps(library.history) < a_scan / 4
    assert steps(lambda: save("one more", [data])) < a_scan / 4
    assert digests(library.find(FOX)) == [image.sha256]


def fill(library: Library, count: int) -> None:
    """Copy the first request and its image `count` times, in one transaction."""
    with library.database.writing() as connection:
        request = dict(connection.execute("SELECT * FROM requests LIMIT 1").fetchone())
        image = dict(connection.execute("SELECT * FROM images LIMIT 1").fetchone())
        del request["id"], image["id"]
        for number in range(count):
            prompt = f"a red fox in fresh snow {number}"
            row = {**request, "prompt": prompt, "fingerprint": f"copy {number}"}
            image["request_id"] = insert(connection, "requests", row)
            insert(connection, "images", image)
            query = "SELECT * FROM requests WHERE id = ?"
            copy = connection.execute(query, (image["request_id"],)).fetchone()
            index_requests(connection, [(copy, ())])
