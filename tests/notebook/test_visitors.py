"""Visitors of an app: literal prompts, no changes, and only their own pictures."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import xai_notebook as xai
from harness import CENT, tiny, until
from xai_notebook import frontend
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import InputImageError, LibraryError
from xai_notebook.generation.session import current_session
from xai_notebook.notebook.gallery import LibraryWidget, query_of
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.notebook.picture_widget import explain
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.xmp import embed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served
    from notebook.conftest import Page
    from xai_notebook.generation.session import Session

REFUSED = "Visitors of this page can only make and view pictures."


class App:
    """An app that a visitor has opened; each widget has its own page."""

    def __init__(self, shell: InteractiveShell, open_page: Callable[[Any], Page]) -> None:
        self.shell = shell
        self.open_page = open_page

    def panel(self, prompt: str = "", **options: Any) -> Page:
        """Show the author's panel."""
        return self.open_page(Panel(prompt, options, self.shell))

    def library(self) -> Page:
        """Show the library."""
        return self.open_page(LibraryWidget(query_of("", {}), self.shell))


@pytest.fixture
def others(keyed: Served, new_session: Callable[[], Session]) -> list[int]:
    """Ids of two pictures of other people in the library."""
    keyed.faults.garbage = tiny(7)
    session = new_session()
    batch = session.generate("a fox", n=2)
    session.close()
    return [image.id or 0 for image in batch]


@pytest.fixture
def app(
    others: list[int],
    notebook_shell: InteractiveShell,
    monkeypatch: pytest.MonkeyPatch,
    keyed: Served,
    open_page: Callable[[Any], Page],
) -> App:
    """An app served by Voila, with a secret variable."""
    del others
    monkeypatch.setenv("VOILA_PREHEAT", "False")
    keyed.faults.garbage = tiny(8)
    notebook_shell.user_ns["secret"] = "hunter2"
    return App(notebook_shell, open_page)


@pytest.mark.parametrize("prompt", ["{{ secret }}", "{{ 7 * 7 }} and {{", "{{ '{{' }}"])
def test_prompts_of_visitors_are_literal(app: App, keyed: Served, prompt: str) -> None:
    panel = app.panel()
    card = panel.make(prompt=prompt)
    assert keyed.last.prompt == prompt
    assert card["asked"] == prompt
    panel.tell("use", id=card["id"])
    assert panel.wait(kind="fill")["form"]["prompt"] == prompt
    assert panel.widget.cell == ""


def test_templates_of_the_author_are_filled(app: App) -> None:
    app.shell.user_ns["light"] = "dawn"
    assert app.panel("a fox at {{ light }}").widget.form["prompt"] == "a fox at dawn"
    assert xai.panel("a {{ light }}").form["prompt"] == "a {{ light }}"


def test_visitors_export_nothing(app: App, tmp_path: Path) -> None:
    app.shell.run_line_magic("config", f"XaiImage.export = {str(tmp_path / 'author')!r}")
    panel = app.panel(export=str(tmp_path / "author"))
    card = panel.make(prompt="an owl", export=True, folder=str(tmp_path / "visitor"))
    assert card["ok"]
    assert not (tmp_path / "author").exists()
    assert not (tmp_path / "visitor").exists()
    assert str(tmp_path / "author") not in json.dumps(panel.widget.get_state(), default=str)


def test_visitors_change_nothing(app: App, others: list[int], tmp_path: Path) -> None:
    panel, library = app.panel(), app.library()
    card = panel.make(prompt="an owl")
    ids, names = [*others, card["picture"]], set(app.shell.user_ns)
    for kind in ("star", "tag", "delete", "restore", "export", "sheet", "use"):
        assert library.ask(kind, ids=ids, tag="mine", name="mine")["said"] == REFUSED
    for kind in ("star", "tag", "delete", "export", "sheet"):
        assert panel.ask(kind, ids=ids, tag="mine")["said"] == REFUSED
    for kind, more in (("save", {"ids": [card["id"]]}), ("submit", {"form": panel.widget.form})):
        assert panel.ask(kind, **more)["said"] == REFUSED
    marks = current_session().library().annotations.of(ids)
    assert all(mark == (False, (), False) for mark in marks.values())
    assert set(app.shell.user_ns) == names
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert not current_session().library().jobs.newest(10)


def test_the_library_shows_only_the_visitors_pictures(app: App, others: list[int]) -> None:
    panel, library = app.panel(), app.library()
    own = panel.make(prompt="a fox")["picture"]
    assert own not in others
    result = library.ask("query", words="fox", order="newest", rows=10)
    assert (result["count"], result["bytes"]) == (1, 0)
    assert [row["id"] for row in result["rows"]] == [own]
    again = app.library()
    first = again.ask("query", words="", order="newest", rows=10)
    assert [row["id"] for row in first["rows"]] == [own]
    thumbnails = library.ask("thumbnails", ids=[*others, own])
    assert (thumbnails["ids"], thumbnails["missing"]) == ([own], others)
    for page in (panel, library):
        assert "is gone" in page.ask("picture", id=others[0])["said"]
    assert "is gone" in library.ask("edit", id=others[0])["said"]
    assert "is gone" in panel.ask("take", id=others[0])["said"]
    library.tell("select", ids=[*others, own])
    until(lambda: library.widget._chosen)
    assert [image.id for image in library.widget.selected] == [own]
    assert {row["id"] for glance in again.got(kind="glance") for row in glance["rows"]} == {own}
    assert not library.got(kind="choices") + again.got(kind="choices")


def test_code_of_the_app_finds_only_the_visitors_pictures(app: App) -> None:
    session = current_session()
    hidden = session.library().history("fox", 1)[0]
    card = app.panel().make(prompt="an owl")
    assert [image.id for image in xai.history()] == [card["picture"]]
    assert len(xai.history("fox")) == 0
    assert session.history.find_by_digest((hidden.sha256 or "")[:8]) == {}
    with pytest.raises(InputImageError):
        session.prepare("x", {"image": [f"@{(hidden.sha256 or '')[:8]}"]})


def test_pictures_of_other_visitors_are_not_replayed(app: App, keyed: Served) -> None:
    before = len(keyed.calls)
    card = app.panel().make(prompt="a fox", n=2)
    assert len(keyed.calls) == before + 1
    assert not card["replayed"]


def test_uploads_are_not_kept_and_their_metadata_opens_nothing(
    app: App, keyed: Served, tmp_path: Path
) -> None:
    hidden = current_session().library().history("fox", 1)[0].sha256 or ""
    images = tuple(InputImage("", digest, "/etc/passwd") for digest in (hidden, hidden[:1]))
    request = ImageRequest("a bear", "grok-imagine-image", inputs=images)
    data = embed(Picture(request=request, model="grok"), tiny(1))
    panel = app.panel()
    panel.tell("upload", data, id="u1", name="a.jpg", parts=1, restore=True)
    panel.wait(kind="input")
    assert not [message for message in panel.sent if message.get("form", {}).get("inputs")]
    assert not (tmp_path / "home" / "inputs").exists()
    card = panel.make(prompt="as a drawing", inputs=[{"id": "u1", "name": "a.jpg"}])
    panel.make(lambda: panel.tell("more", id=card["id"]))
    assert len(keyed.last.images or [keyed.last.image]) == 1


def test_options_of_the_author_cannot_be_changed(app: App, keyed: Served) -> None:
    keyed.faults.cost_ticks = keyed.faults.image_price = 2 * CENT
    app.shell.run_line_magic("config", "XaiImage.budget = 0.05")
    panel = app.panel(user="app-7", max_cost=0.03)
    assert "app-7" not in json.dumps(panel.widget.get_state(), default=str)
    assert {"user", "timeout"}.isdisjoint(field["name"] for field in panel.widget.choices["fields"])
    hostile: dict[str, Any] = {
        "user": "another",
        "timeout": 9_000,
        "max_cost": 99,
        "budget": 99,
        "visitors": False,
    }
    panel.make(prompt="an owl", **hostile)
    assert keyed.last.user == "app-7"
    panel.make(prompt="an owl", n=1, **hostile)
    calls = len(keyed.calls)
    for n in (2, 1):  # more than --max-cost, then more than the budget
        form = {**panel.widget.form, "prompt": f"{n}", "n": n, **hostile}
        panel.tell("generate", form=form)
        until(lambda: any(job["state"] == "failed" for job in panel.widget.jobs))
    assert len(keyed.calls) == calls


def test_a_kernels_budget_is_per_visitor(
    app: App, keyed: Served, new_session: Callable[[], Session]
) -> None:
    keyed.faults.cost_ticks = keyed.faults.image_price = 2 * CENT
    app.shell.run_line_magic("config", "XaiImage.budget = 0.02")
    app.panel().make(prompt="an owl")
    assert str(current_session().budget()) == "$0.00 of $0.02 left"
    assert str(new_session().budget()) == "$0.02 of $0.02 left"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("The library /home/me/data/x.db is locked.", "The library a file of this app is locked."),
        ("'/home/me/my data' is no folder.", "a file of this app is no folder."),
        (r"No C:\Users\me\x.png here.", "No a file of this app here."),
        ("See https://docs.x.ai/a/b and 16:9, 1/2.", "See https://docs.x.ai/a/b and 16:9, 1/2."),
    ],
)
def test_errors_have_no_paths(app: App, message: str, shown: str) -> None:
    del app
    assert explain(LibraryError(message)) == shown
    assert "/home" not in explain(ValueError("/home/me"))


def test_the_authors_input_images_are_named_by_number(app: App, tmp_path: Path) -> None:
    (tmp_path / "plan.jpg").write_bytes(tiny(3))
    panel = app.panel(image=str(tmp_path / "plan.jpg"))
    assert [image["name"] for image in panel.widget.form["inputs"]] == ["image 1"]
    panel.make(prompt="as a drawing")
    html = str(app.shell.display_pub.outputs)  # type: ignore[attr-defined]
    assert str(tmp_path) not in html + json.dumps(panel.widget.get_state(), default=str)


def test_the_setting_visitors_overrides_the_detection(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    xai.configure(visitors=False)
    assert not app.panel().widget.visitors
    assert len(xai.history()) == 2
    monkeypatch.delenv("VOILA_PREHEAT")
    xai.configure(visitors=None)
    assert not app.panel().widget.visitors
    monkeypatch.setattr(frontend, "_has_served_page", False)
    running = SimpleNamespace(app_meta=lambda: SimpleNamespace(mode="run"))
    monkeypatch.setitem(sys.modules, "marimo", running)
    assert app.panel().widget.visitors
    monkeypatch.delitem(sys.modules, "marimo")
    assert app.panel().widget.visitors  # other threads cannot ask marimo
    monkeypatch.setattr(frontend, "_has_served_page", False)
    app.shell.run_line_magic("config", "XaiImage.visitors = True")
    assert app.panel().widget.visitors
    assert len(xai.history()) == 0
