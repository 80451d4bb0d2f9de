"""The library as a place, without a browser: filters, what the kernel says, what is refused."""

from __future__ import annotations

import time
from datetime import date, datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher

import xai_notebook
from harness import until
from xai_notebook.errors import OptionError
from xai_notebook.generation.session import current_session
from xai_notebook.notebook.gallery import NO_FRONTEND, LibraryWidget, query_of
from xai_notebook.notebook.picture_widget import check_name

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served


@pytest.fixture
def place(keyed: Served, shell: InteractiveShell) -> LibraryWidget:
    """A place of this process, with no browser, that tells what it sends; three pictures."""
    shell.display_pub = CapturingDisplayPublisher()
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]  # a notebook
    xai_notebook.generate("a fox", n=2)
    xai_notebook.generate("an owl")
    place = LibraryWidget(query_of("", {}), shell)
    place.sent = []

    def send(content: Any, buffers: Any = ()) -> None:
        place.sent.append((content, list(buffers or ())))

    place.send = send
    return place


def ask(
    place: LibraryWidget, number: int = 1, **content: Any
) -> tuple[dict[str, Any], list[bytes]]:
    """Say what a browser would say; return what answers it."""
    place._receive(None, {"request": number, **content}, [])
    until(lambda: [s for s in place.sent if s[0].get("request") == number])
    return next(s for s in place.sent if s[0].get("request") == number)


def query(place: LibraryWidget, number: int = 1, **filters: Any) -> list[int]:
    """Search; return the ids of the rows."""
    words, order = filters.pop("words", ""), filters.pop("order", "newest")
    ask(place, number, kind="query", words=words, order=order, filters=filters)
    content, _ = ask(place, number + 1000, kind="rows", start=0, stop=100)
    return [row["id"] for row in content["rows"]]


def test_a_query_is_answered_with_counts(place: LibraryWidget) -> None:
    """What there is to choose from follows."""
    content, _ = ask(place, kind="query", words="a fox", order="newest", filters={})
    assert (content["kind"], content["count"]) == ("query", 2)
    assert content["bytes"] > 0
    until(lambda: [s for s, _ in place.sent if s["kind"] == "choices"])
    choices = next(s for s, _ in place.sent if s["kind"] == "choices")
    assert choices["models"][0]["count"] == 3
    assert choices["statuses"] == [{"name": "ok", "count": 3}, {"name": "all", "count": 3}]


def test_a_library_of_somebody_else_says_so(
    place: LibraryWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To its user, for whom there is a cure; not to visitors."""
    content, _ = ask(place, kind="query", words="", order="newest")
    assert content["notice"] == ""
    library = current_session().library()
    with library.database.writing() as connection:
        connection.execute("UPDATE identity SET id = 'a stranger'")
    current_session().close()
    content, _ = ask(place, 2, kind="query", words="", order="newest")
    assert "xai_notebook.trust_library()" in content["notice"]
    monkeypatch.setenv("VOILA_PREHEAT", "False")
    content, _ = ask(place, 3, kind="query", words="", order="newest")
    assert content["notice"] == ""


def test_only_the_last_query_counts(place: LibraryWidget) -> None:
    """What was typed over is not looked for."""
    loop = current_session().loop
    held = loop.submit(_hold())
    for number in (1, 2, 3):
        content = {"kind": "query", "request": number, "words": "owl", "order": "newest"}
        place._receive(None, content, [])
    held.result(30)
    until(lambda: len(place.sent) == 2)
    assert [content.get("request") for content, _ in place.sent] == [3, None]  # the last: choices


async def _hold() -> None:
    time.sleep(0.05)  # noqa: ASYNC251  # the loop is busy while somebody types


def test_rows_and_thumbnails(place: LibraryWidget) -> None:
    """Text is as it is; a thumbnail has no more than 256 pixels a side."""
    from xai_notebook.pictures.pixels import inspect

    ids = query(place, words="fox")
    content, buffers = ask(place, 2, kind="thumbnails", ids=[*ids, 999])
    assert (content["ids"], content["missing"]) == (ids, [999])
    assert {max(inspect(buffer)[1]) for buffer in buffers} <= set(range(257))
    home = current_session().library().home
    assert len(list((home / "cache" / "thumbnails").glob("*/*.jpg"))) == 2


def test_what_is_seen_first_comes_first(place: LibraryWidget) -> None:
    """A glance before all are counted, then the result; with thumbnails that were made before."""
    first: dict[str, Any] = {
        "kind": "query",
        "words": "",
        "order": "newest",
        "filters": {},
        "rows": 2,
    }
    content, _ = ask(place, **first, thumbnails=36)
    glance, _ = place.sent[0]
    assert glance["kind"] == "glance"
    assert "request" not in glance
    ids = [row["id"] for row in glance["rows"]]
    assert len(ids) == 2
    assert [row["id"] for row in content["rows"]] == ids
    assert (content["count"], content["ids"]) == (3, [])  # no thumbnail has been made yet
    ask(place, 2, kind="thumbnails", ids=ids[:1])
    content, buffers = ask(place, 3, **first, thumbnails=36)
    assert content["ids"] == ids[:1]
    assert len(buffers) == 1
    content, buffers = ask(place, 4, **first, thumbnails=0)
    assert (content["ids"], buffers) == ([], [])
    assert [told["kind"] for told, _ in place.sent].count("glance") == 1


def test_a_picture_tells_all(place: LibraryWidget) -> None:
    """The original's own bytes, the cell that made it, and its relatives."""
    (fox, _) = xai_notebook.history("fox")
    fox.edit("in snow")
    content, (data,) = ask(place, 2, kind="picture", id=fox.id)
    assert data == fox.data
    assert content["cell"] == fox.cell
    (edit,) = xai_notebook.history("snow")
    assert content["lineage"] == {"ancestors": [], "descendants": [edit.id]}


def test_what_is_chosen_is_a_batch(place: LibraryWidget) -> None:
    """In the order of the choice."""
    ids = query(place)
    place._receive(None, {"kind": "select", "ids": ids[::-1]}, [])
    until(lambda: len(place.selected) == 3)
    assert [image.id for image in place.selected] == ids[::-1]
    place.selected.tag("noir")
    assert query(place, 5, tag="noir") == ids


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("star", {}, "2 pictures starred."),
        ("star", {"value": False}, "2 pictures without a star."),
        ("tag", {"tag": "noir"}, "2 pictures tagged noir."),
        ("delete", {}, "2 pictures in the trash, for 30 days."),
        ("restore", {}, "2 pictures brought back."),
        ("use", {"name": "foxes"}, "foxes is now an ImageBatch of 2 pictures."),
    ],
)
def test_what_was_done_is_said(
    place: LibraryWidget, kind: str, more: dict[str, Any], said: str
) -> None:
    """In a sentence."""
    content, _ = ask(place, 7, kind=kind, ids=query(place, words="fox"), **more)
    assert (content["kind"], content["said"]) == ("done", said)


def test_what_cannot_be_done_is_said(place: LibraryWidget) -> None:
    """An empty tag, a picture that is gone, a filter that is none: no traceback anywhere."""
    assert "A tag is a word" in ask(place, 2, kind="tag", ids=[1], tag="")[0]["said"]
    assert "is gone" in ask(place, 3, kind="picture", id=999)[0]["said"]
    content, _ = ask(place, 4, kind="query", words="", order="newest", filters={"size": 3})
    assert (content["kind"], content["said"][:33]) == ("error", "size: there is no such filter. Th")


def test_changes_from_elsewhere_are_told(place: LibraryWidget) -> None:
    """A star set in a cell, or in a panel, shows."""
    (owl,) = xai_notebook.history("owl")
    owl.star()
    until(lambda: [c for c, _ in place.sent if c["kind"] == "changed"])
    (changed, *_) = [c for c, _ in place.sent if c["kind"] == "changed"]
    assert changed["ids"] == [owl.id]
    assert changed["rows"][0]["starred"] is True


@pytest.mark.parametrize("name", ["", "2x", "a b", "class", "print", "taken", "__import__"])
def test_names_that_are_refused(name: str) -> None:
    """Nothing is overwritten, nothing of Python is hidden."""
    with pytest.raises(OptionError):
        check_name(name, {"taken": 1})


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-24T00:00:00+00:00",
        datetime(2026, 11, 24, tzinfo=timezone.utc),
        datetime(2026, 11, 24, tzinfo=timezone.utc).timestamp(),
    ],
)
def test_times_are_read(value: Any) -> None:
    """However they are written."""
    assert query_of("", {"since": value}).since == 1_795_478_400.0


def test_a_date_is_a_local_day() -> None:
    """From its first second on."""
    expected = datetime(2026, 11, 24).timestamp()  # noqa: DTZ001  # local
    assert query_of("", {"until": date(2026, 11, 24)}).until == expected


@pytest.mark.parametrize("filters", [{"since": "yesterday"}, {"colour": "red"}, {"order": "size"}])
def test_filters_that_mean_nothing_are_refused(filters: dict[str, Any]) -> None:
    """Before anything is shown."""
    with pytest.raises(OptionError):
        xai_notebook.library("fox", **filters)


def test_plain_ipython_gets_one_line(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no front end shows widgets, one line says what to do instead."""
    shell.run_cell("%xai_library a fox")
    assert capsys.readouterr().out == NO_FRONTEND + "\n"


def test_the_magic_refuses_what_it_has_no_use_for(shell: InteractiveShell) -> None:
    """Its options are those that fit."""
    result = shell.run_cell("%xai_library -n 4 fox")
    assert isinstance(result.error_in_exec, OptionError)


def test_many_are_named_by_their_positions(place: LibraryWidget) -> None:
    """In one reply, however many there are between."""
    ids = query(place)
    content, _ = ask(place, 2, kind="ids", start=1, stop=99)
    assert content["ids"] == ids[1:]


def test_a_nameless_input_has_its_id_in_the_cell(place: LibraryWidget) -> None:
    """So that the cell, copied, finds the picture again."""
    (fox, _) = xai_notebook.history("fox")
    (edit,) = fox.edit("in snow")
    content, _ = ask(place, 2, kind="picture", id=edit.id)
    assert f"--image=@{str(fox.sha256)[:8]}" in content["cell"]
    assert xai_notebook.generate("in fog", image=[content["inputs"][0]])
