"""Visitors of an app: their words are literal, they write nothing, they see their own pictures."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher

import xai_notebook as xai
from harness import CENT, tiny, until
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import InputImageError, LibraryError
from xai_notebook.generation.session import current_session
from xai_notebook.notebook.gallery import LibraryWidget, query_of
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.notebook.picture_widget import explain
from xai_notebook.pictures.results import GeneratedImage
from xai_notebook.pictures.xmp import embed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served
    from xai_notebook.generation.session import Session

REFUSED = "Visitors of this page make pictures and look at them, no more."


class App:
    """An app with one visitor: what the page says, and what it is told."""

    def __init__(self, shell: InteractiveShell) -> None:
        """Open it."""
        self.shell = shell
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []

    def panel(self, prompt: str = "", **options: Any) -> Panel:
        """Show a panel of the author's."""
        return self._heard(Panel(prompt, options, self.shell))

    def library(self) -> LibraryWidget:
        """Show the library."""
        return self._heard(LibraryWidget(query_of("", {}), self.shell))

    def _heard(self, widget: Any) -> Any:
        widget.send = lambda said, parts=None: self.sent.append((said, list(parts or ())))
        return widget

    def ask(self, widget: Any, **content: Any) -> dict[str, Any]:
        """Say what the page would say, and return the answer."""
        number = len(self.sent) + 1
        widget._receive(None, {"request": number, **content}, [])
        found = until(lambda: [s for s, _ in self.sent if s.get("request") == number])
        return dict(found[0])

    @staticmethod
    def make(panel: Panel, **values: Any) -> dict[str, Any]:
        """Generate, and return the card."""
        before = len(panel.cards)
        content = {"kind": "generate", "form": {**panel.form, **values}}
        panel._receive(None, content, [])
        until(lambda: len(panel.cards) > before or panel.trouble or _failed(panel))
        assert not panel.trouble
        until(lambda: not panel.jobs)
        return dict(panel.cards[-1])


def _failed(panel: Panel) -> bool:
    return any(job["state"] == "failed" for job in panel.jobs)


@pytest.fixture
def others(keyed: Served, new_session: Callable[[], Session]) -> list[int]:
    """Two pictures that the library has of others, by their ids."""
    keyed.faults.garbage = tiny(7)
    session = new_session()
    batch = session.generate("a fox", n=2)
    session.close()
    return [image.id or 0 for image in batch]


@pytest.fixture
def app(
    others: list[int], shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, keyed: Served
) -> App:
    """An app that Voila serves, with a secret among its variables."""
    del others
    monkeypatch.setenv("VOILA_PREHEAT", "False")
    keyed.faults.garbage = tiny(8)
    shell.display_pub = CapturingDisplayPublisher()
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]  # a notebook
    shell.user_ns["secret"] = "hunter2"
    return App(shell)


@pytest.mark.parametrize("prompt", ["{{ secret }}", "{{ 7 * 7 }} and {{", "{{ '{{' }}"])
def test_what_a_visitor_types_is_sent_as_it_is(app: App, keyed: Served, prompt: str) -> None:
    """Also when it is asked for again."""
    panel = app.panel()
    card = app.make(panel, prompt=prompt)
    assert keyed.last.prompt == prompt
    assert card["asked"] == prompt
    panel._receive(None, {"kind": "use", "id": card["id"]}, [])
    (fill,) = until(lambda: [said for said, _ in app.sent if said["kind"] == "fill"])
    assert fill["form"]["prompt"] == prompt
    assert panel.cell == ""


def test_what_the_author_types_is_filled_for_the_visitor(app: App) -> None:
    """`%xai_panel` takes a template, `xai.panel()` takes text."""
    app.shell.user_ns["light"] = "dawn"
    assert app.panel("a fox at {{ light }}").form["prompt"] == "a fox at dawn"
    assert xai.panel("a {{ light }}").form["prompt"] == "a {{ light }}"


def test_nothing_is_exported(app: App, tmp_path: Path) -> None:
    """Neither where the visitor says, nor where the author's settings do."""
    app.shell.run_line_magic("config", f"XaiImage.export = {str(tmp_path / 'author')!r}")
    panel = app.panel(export=str(tmp_path / "author"))
    card = app.make(panel, prompt="an owl", export=True, folder=str(tmp_path / "visitor"))
    assert card["ok"]
    assert not (tmp_path / "author").exists()
    assert not (tmp_path / "visitor").exists()
    assert str(tmp_path / "author") not in json.dumps(panel.get_state(), default=str)


def test_nothing_is_changed(app: App, others: list[int], tmp_path: Path) -> None:
    """No picture, not even their own, no file and no variable; no job stays behind."""
    panel, library = app.panel(), app.library()
    card = app.make(panel, prompt="an owl")
    ids, names = [*others, card["picture"]], set(app.shell.user_ns)
    for kind in ("star", "tag", "delete", "restore", "export", "sheet", "use"):
        said = app.ask(library, kind=kind, ids=ids, tag="mine", name="mine")["said"]
        assert said == REFUSED
    for kind in ("star", "tag", "delete", "export", "sheet"):
        assert app.ask(panel, kind=kind, ids=ids, tag="mine")["said"] == REFUSED
    for kind, more in (("save", {"ids": [card["id"]]}), ("hand_over", {"form": panel.form})):
        assert app.ask(panel, kind=kind, **more)["said"] == REFUSED
    marks = current_session().library().annotations.of(ids)
    assert all(mark == (False, (), False) for mark in marks.values())
    assert set(app.shell.user_ns) == names
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert not current_session().library().jobs.newest(10)


def test_the_library_shows_the_visitors_own_pictures(app: App, others: list[int]) -> None:
    """Others' are in no list, count, choice, thumbnail, original or panel."""
    panel, library = app.panel(), app.library()
    mine = app.make(panel, prompt="a fox")["picture"]
    assert mine not in others
    found = app.ask(library, kind="query", words="fox", order="newest", rows=10)
    assert (found["count"], found["bytes"]) == (1, 0)
    assert [row["id"] for row in found["rows"]] == [mine]
    first = app.ask(app.library(), kind="query", words="", order="newest", rows=10)
    assert [row["id"] for row in first["rows"]] == [mine]
    thumbnails = app.ask(library, kind="thumbnails", ids=[*others, mine])
    assert (thumbnails["ids"], thumbnails["missing"]) == ([mine], others)
    for widget in (panel, library):
        assert "is gone" in app.ask(widget, kind="picture", id=others[0])["said"]
    assert "is gone" in app.ask(library, kind="edit", id=others[0])["said"]
    assert "is gone" in app.ask(panel, kind="take", id=others[0])["said"]
    library._receive(None, {"kind": "select", "ids": [*others, mine]}, [])
    until(lambda: library._chosen)
    assert [image.id for image in library.selected] == [mine]
    told = [said for said, _ in app.sent if said["kind"] in {"glance", "choices"}]
    assert {row["id"] for said in told for row in said["rows"]} <= {mine}


def test_code_of_the_app_finds_the_visitors_own_pictures(app: App) -> None:
    """By words, by id, by descent; of jobs, those that were handed over here."""
    session = current_session()
    theirs = session.library().history("fox", 1)[0]
    card = app.make(app.panel(), prompt="an owl")
    assert [image.id for image in xai.history()] == [card["picture"]]
    assert len(xai.history("fox")) == 0
    assert session.history.named((theirs.sha256 or "")[:8]) == {}
    with pytest.raises(InputImageError):
        session.prepare("x", {"image": [f"@{(theirs.sha256 or '')[:8]}"]})


def test_equal_prompts_of_two_visitors_are_two_pictures(app: App, keyed: Served) -> None:
    """What another one made is no answer."""
    before = len(keyed.calls)
    card = app.make(app.panel(), prompt="a fox", n=2)
    assert len(keyed.calls) == before + 1
    assert not card["replayed"]


def test_an_upload_is_kept_nowhere_and_brings_nothing(
    app: App, keyed: Served, tmp_path: Path
) -> None:
    """A file that names pictures of others does not get them; it can be used itself, and again."""
    theirs = current_session().library().history("fox", 1)[0].sha256 or ""
    images = tuple(
        InputImage(url="", sha256=one, label="/etc/passwd") for one in (theirs, theirs[:1])
    )
    request = ImageRequest("a bear", "grok-imagine-image", inputs=images)
    data = embed(GeneratedImage(request=request, model="grok"), tiny(1))
    panel = app.panel()
    content = {"kind": "upload", "id": "u1", "name": "a.jpg", "parts": 1, "restore": True}
    panel._receive(None, content, [data])
    until(lambda: [said for said, _ in app.sent if said["kind"] == "input"])
    assert not [said for said, _ in app.sent if said.get("form", {}).get("inputs")]
    assert not (tmp_path / "home" / "inputs").exists()
    card = app.make(panel, prompt="as a drawing", inputs=[{"id": "u1", "name": "a.jpg"}])
    panel._receive(None, {"kind": "more", "id": card["id"]}, [])
    until(lambda: len(panel.cards) == 2 or panel.trouble)
    assert not panel.trouble
    assert len(keyed.last.images or [keyed.last.image]) == 1


def test_what_the_author_set_stays(app: App, keyed: Served) -> None:
    """A message changes neither the user that is named to xAI, nor a limit."""
    keyed.faults.cost_ticks = keyed.faults.image_price = 2 * CENT
    app.shell.run_line_magic("config", "XaiImage.budget = 0.05")
    panel = app.panel(user="app-7", max_cost=0.03)
    assert "app-7" not in json.dumps(panel.get_state(), default=str)
    assert {"user", "timeout"}.isdisjoint(one["name"] for one in panel.choices["fields"])
    hostile = {"user": "another", "timeout": 9_000, "max_cost": 99, "budget": 99, "visitors": False}
    app.make(panel, prompt="an owl", **hostile)
    assert keyed.last.user == "app-7"
    app.make(panel, prompt="an owl", n=1, **hostile)
    calls = len(keyed.calls)
    for n in (2, 1):  # more than --max-cost, then more than the budget
        content = {"kind": "generate", "form": {**panel.form, "prompt": f"{n}", "n": n, **hostile}}
        panel._receive(None, content, [])
        until(lambda: _failed(panel))
    assert len(keyed.calls) == calls


def test_the_budget_is_each_visitors_own(
    app: App, keyed: Served, new_session: Callable[[], Session]
) -> None:
    """One has spent theirs; the kernel of the next one counts from the start."""
    keyed.faults.cost_ticks = keyed.faults.image_price = 2 * CENT
    app.shell.run_line_magic("config", "XaiImage.budget = 0.02")
    app.make(app.panel(), prompt="an owl")
    assert str(current_session().budget()) == "$0.00 of $0.02 left"
    assert str(new_session().budget()) == "$0.02 of $0.02 left"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The library /home/me/data/x.db is locked.", "The library a file of this app is locked."),
        ("'/home/me/my data' is no folder.", "a file of this app is no folder."),
        (r"No C:\Users\me\x.png here.", "No a file of this app here."),
        ("See https://docs.x.ai/a/b and 16:9, 1/2.", "See https://docs.x.ai/a/b and 16:9, 1/2."),
    ],
)
def test_errors_tell_no_path(app: App, said: str, told: str) -> None:
    """Of the machine that the app runs on."""
    del app
    assert explain(LibraryError(said)) == told
    assert "/home" not in explain(ValueError("/home/me"))


def test_pictures_given_by_the_author_are_named_by_number(app: App, tmp_path: Path) -> None:
    """Not by their path; and they can be edited."""
    (tmp_path / "plan.jpg").write_bytes(tiny(3))
    panel = app.panel(image=str(tmp_path / "plan.jpg"))
    assert [one["name"] for one in panel.form["inputs"]] == ["image 1"]
    app.make(panel, prompt="as a drawing")
    html = "".join(str(one) for one in app.shell.display_pub.outputs)  # type: ignore[attr-defined]
    assert str(tmp_path) not in html + json.dumps(panel.get_state(), default=str)


def test_the_author_can_say_who_is_there(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a page of Voila that is the author's own; and of another tool's page, which is not."""
    xai.configure(visitors=False)
    assert not app.panel().visitors
    assert len(xai.history()) == 2
    monkeypatch.delenv("VOILA_PREHEAT")
    xai.configure(visitors=None)
    assert not app.panel().visitors
    app.shell.run_line_magic("config", "XaiImage.visitors = True")
    assert app.panel().visitors
    assert len(xai.history()) == 0
