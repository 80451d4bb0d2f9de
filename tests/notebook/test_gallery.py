"""The library's widget without a browser: filters, messages and actions."""

from __future__ import annotations

import time
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

import xai_notebook
from harness import until
from xai_notebook.errors import OptionError
from xai_notebook.generation.session import current_session
from xai_notebook.notebook.gallery import LibraryWidget, query_of
from xai_notebook.notebook.picture_widget import check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served
    from notebook.conftest import Page


@pytest.fixture
def page(keyed: Served, notebook_shell: InteractiveShell, open_page: Callable[[Any], Page]) -> Page:
    """A page with the library's widget; the library has three pictures."""
    xai_notebook.generate("a fox", n=2)
    xai_notebook.generate("an owl")
    return open_page(LibraryWidget(query_of("", {}), notebook_shell))


def query(page: Page, **filters: Any) -> list[int]:
    words, order = filters.pop("words", ""), filters.pop("order", "newest")
    page.ask("query", words=words, order=order, filters=filters)
    return [row["id"] for row in page.ask("rows", start=0, stop=100)["rows"]]


def test_a_query_is_answered_with_counts(page: Page) -> None:
    content = page.ask("query", words="a fox", order="newest", filters={})
    assert (content["kind"], content["count"]) == ("query", 2)
    assert content["bytes"] > 0
    choices = page.wait(kind="choices")
    assert choices["models"][0]["count"] == 3
    assert choices["statuses"] == [{"name": "ok", "count": 3}, {"name": "all", "count": 3}]


def test_a_library_from_another_computer_has_a_notice(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Visitors do not see the notice."""
    content = page.ask("query", words="", order="newest")
    assert content["notice"] == ""
    library = current_session().library()
    with library.database.writing() as connection:
        connection.execute("UPDATE identity SET id = 'a stranger'")
    current_session().close()
    content = page.ask("query", words="", order="newest")
    assert "xai_notebook.trust_library()" in content["notice"]
    monkeypatch.setenv("VOILA_PREHEAT", "False")
    content = page.ask("query", words="", order="newest")
    assert content["notice"] == ""


def test_only_the_latest_query_is_answered(page: Page) -> None:
    loop = current_session().loop
    busy = loop.submit(block_loop())
    for number in (1, 2, 3):
        page.tell("query", request=number, words="owl", order="newest")
    busy.result(30)
    until(lambda: len(page.sent) == 2)
    assert [message.get("request") for message in page.sent] == [3, None]  # result, choices


async def block_loop() -> None:
    time.sleep(0.05)  # noqa: ASYNC251  # queries arrive while the loop is busy


def test_thumbnails_have_at_most_256_pixels_a_side(page: Page) -> None:
    from xai_notebook.pictures.pixels import inspect

    ids = query(page, words="fox")
    content = page.ask("thumbnails", ids=[*ids, 999])
    assert (content["ids"], content["missing"]) == (ids, [999])
    assert {max(inspect(buffer)[1]) for buffer in content["buffers"]} <= set(range(257))
    home = current_session().library().home
    assert len(list((home / "cache" / "thumbnails").glob("*/*.jpg"))) == 2


def test_the_first_rows_come_before_the_result(page: Page) -> None:
    first: dict[str, Any] = {"words": "", "order": "newest", "filters": {}, "rows": 2}
    content = page.ask("query", **first, thumbnails=36)
    glance = page.sent[0]
    assert glance["kind"] == "glance"
    assert "request" not in glance
    ids = [row["id"] for row in glance["rows"]]
    assert len(ids) == 2
    assert [row["id"] for row in content["rows"]] == ids
    assert (content["count"], content["ids"]) == (3, [])  # no thumbnail has been made yet
    page.ask("thumbnails", ids=ids[:1])
    content = page.ask("query", **first, thumbnails=36)
    assert content["ids"] == ids[:1]
    assert len(content["buffers"]) == 1
    content = page.ask("query", **first, thumbnails=0)
    assert (content["ids"], content["buffers"]) == ([], [])
    assert len(page.got(kind="glance")) == 1


def test_the_viewer_gets_original_cell_and_relatives(page: Page) -> None:
    (fox, _) = xai_notebook.history("fox")
    fox.edit("in snow")
    content = page.ask("picture", id=fox.id)
    assert content["buffers"] == [fox.data]
    assert content["cell"] == fox.cell
    (edit,) = xai_notebook.history("snow")
    assert content["lineage"] == {"ancestors": [], "descendants": [edit.id]}


def test_selected_is_a_batch_in_order_of_selection(page: Page) -> None:
    ids = query(page)
    page.tell("select", ids=ids[::-1])
    until(lambda: len(page.widget.selected) == 3)
    assert [image.id for image in page.widget.selected] == ids[::-1]
    page.widget.selected.tag("noir")
    assert query(page, tag="noir") == ids


@pytest.mark.parametrize(
    ("kind", "more", "sentence"),
    [
        ("star", {}, "2 pictures starred."),
        ("star", {"value": False}, "2 pictures without a star."),
        ("tag", {"tag": "noir"}, "2 pictures tagged noir."),
        ("delete", {}, "Moved 2 pictures to the trash, which keeps pictures for 30 days."),
        ("restore", {}, "2 pictures brought back."),
        ("use", {"name": "foxes"}, "foxes is now an ImageBatch of 2 pictures."),
    ],
)
def test_actions_reply_with_a_sentence(
    page: Page, kind: str, more: dict[str, Any], sentence: str
) -> None:
    content = page.ask(kind, ids=query(page, words="fox"), **more)
    assert (content["kind"], content["said"]) == ("done", sentence)


def test_errors_reply_with_a_sentence(page: Page) -> None:
    assert "A tag is a word" in page.ask("tag", ids=[1], tag="")["said"]
    assert "is gone" in page.ask("picture", id=999)["said"]
    content = page.ask("query", words="", order="newest", filters={"size": 3})
    assert content["kind"] == "error"
    assert content["said"].startswith("size is not a filter. The filters are ")


def test_changes_from_other_cells_are_sent(page: Page) -> None:
    (owl,) = xai_notebook.history("owl")
    owl.star()
    changed = page.wait(kind="changed")
    assert changed["ids"] == [owl.id]
    assert changed["rows"][0]["starred"] is True


@pytest.mark.parametrize("name", ["", "2x", "a b", "class", "print", "taken", "__import__"])
def test_invalid_and_used_names_are_refused(name: str) -> None:
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
def test_since_takes_text_datetime_and_seconds(value: Any) -> None:
    assert query_of("", {"since": value}).since == 1_795_478_400.0


def test_a_date_is_the_start_of_the_local_day() -> None:
    expected = datetime(2026, 11, 24).timestamp()  # noqa: DTZ001  # local
    assert query_of("", {"until": date(2026, 11, 24)}).until == expected


@pytest.mark.parametrize("filters", [{"since": "yesterday"}, {"colour": "red"}, {"order": "size"}])
def test_invalid_filters_are_refused(filters: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        xai_notebook.library("fox", **filters)


def test_plain_ipython_gets_a_hint(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("%xai_library a fox")
    assert capsys.readouterr().out == (
        "The library needs a notebook or an app (JupyterLab, Notebook 7, VS Code, Colab, marimo, "
        "Voila or Solara). Here, use %xai_history WORDS, or xai_notebook.history(WORDS).\n"
    )


def test_outside_jupyter_the_library_sets_no_variable_and_makes_no_panel(
    keyed: Served, open_page: Callable[[Any], Page], capsys: pytest.CaptureFixture[str]
) -> None:
    (fox,) = xai_notebook.generate("a 'fox'")
    page = open_page(xai_notebook.library())
    assert "Here, use xai_notebook.history(WORDS).\n" in capsys.readouterr().out
    assert page.ask("picture", id=fox.id)["cell"] == "xai.generate(\"a 'fox'\")"
    assert "attribute `selected`" in page.ask("use", ids=[fox.id], name="foxes")["said"]
    assert "Show xai.panel() first" in page.ask("edit", id=fox.id)["said"]
    page.tell("select", ids=[fox.id])
    until(lambda: page.widget.revision == 1)
    assert [image.id for image in page.widget.selected] == [fox.id]
    assert len(keyed.calls) == 1


def test_xai_library_refuses_options_of_requests(shell: InteractiveShell) -> None:
    result = shell.run_cell("%xai_library -n 4 fox")
    assert isinstance(result.error_in_exec, OptionError)


def test_ids_are_sent_by_position(page: Page) -> None:
    ids = query(page)
    content = page.ask("ids", start=1, stop=99)
    assert content["ids"] == ids[1:]


def test_an_input_without_a_name_is_named_by_id_in_the_cell(page: Page) -> None:
    (fox, _) = xai_notebook.history("fox")
    (edit,) = fox.edit("in snow")
    content = page.ask("picture", id=edit.id)
    assert f"--image=@{str(fox.sha256)[:8]}" in content["cell"]
    assert xai_notebook.generate("in fog", image=[content["inputs"][0]])
