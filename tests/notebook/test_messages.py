"""Messages of any shape from a browser do no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xai_notebook
from harness import tiny, until
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import Query
from xai_notebook.notebook import messages
from xai_notebook.notebook.gallery import LibraryWidget, query_of
from xai_notebook.notebook.panel.form import FIELDS
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.notebook.picture_widget import PictureWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served

REFUSED = "The page sent a message that cannot be read."
EXTREMES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308),
    *(float("nan"), float("inf"), "", "1", "x" * 2_000, "\ud83e", "\0", "{{ secret }}"),
    *("../../etc/passwd", "image1", "@0123", [], [[]], [None], [-1], [float("nan")], ["x"] * 2_000),
    *([10**400], {}, {"id": None}, [{"id": "image1"}], {"id": ["image1"]}, {"size": 3}),
]
NESTED = st.recursive(
    st.sampled_from(EXTREMES) | st.text(max_size=5) | st.integers() | st.floats(),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3)
    ),
    max_leaves=6,
)
SPENDING_KINDS = {"generate", "submit", "more", "again"}
"""Kinds of messages that may request images."""
FORM: dict[str, Any] = {
    **dict.fromkeys(FIELDS, ""), "n": 1, "model": "grok-imagine-image", "prompt": "a fox",
    "inputs": [], "rewrite": False, "export": False, "folder": "",
}  # fmt: skip
VALID: dict[str, Any] = {
    "ids": [1], "id": 1, "start": 0, "stop": 10, "words": "fox", "order": "newest", "tag": "a",
    "value": True, "name": "name", "parts": 1, "restore": True, "card": "image1", "request": 7,
    "filters": {}, "rows": 10, "thumbnails": 10,
}  # fmt: skip
"""Valid values of fields."""


@pytest.fixture
def widgets(keyed: Served, notebook_shell: InteractiveShell) -> dict[str, Any]:
    """A panel and a library without a browser, and `sent`, the messages they send."""
    keyed.faults.garbage = tiny()
    notebook_shell.user_ns["secret"] = "hunter2"
    xai_notebook.generate("a fox", n=2)
    widgets: dict[str, Any] = {"sent": []}
    for name, widget in (
        ("panel", Panel("", {}, notebook_shell)),
        ("library", LibraryWidget(query_of("", {}), notebook_shell)),
    ):
        widget.send = lambda content, buffers=None: widgets["sent"].append(content)
        widgets[name] = widget
    panel, sent = widgets["panel"], widgets["sent"]
    panel._receive(None, {"kind": "generate", "form": FORM}, [])
    until(lambda: panel.cards)
    settle()
    sent.clear()
    panel.observe(lambda change: sent.append({"said": change["new"]}), "trouble")
    return widgets


def settle() -> None:
    import asyncio

    async def others() -> None:
        this = asyncio.current_task()
        while running := [task for task in asyncio.all_tasks() if task is not this]:
            await asyncio.wait(running)

    current_session().loop.submit(others()).result(60)


def count() -> int:
    return len(current_session().library().catalog.find(Query()).ids)


def files(folder: Path) -> set[str]:
    """Return the files in a folder, without thumbnails and the database."""
    return {
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts and "library.sqlite3" not in path.name
    }


@st.composite
def unusual(draw: Callable[..., Any], shapes: Mapping[str, messages.Shape]) -> dict[str, Any]:
    """Return a message of a known kind with arbitrary values in one or two fields."""
    kind = draw(st.sampled_from(sorted(shapes)))
    shape = shapes[kind]
    names = sorted({*shape.needed, *shape.other, "request"})
    content: dict[str, Any] = {name: VALID.get(name, FORM) for name in names}
    if "form" in content and draw(st.booleans()):
        odd = {draw(st.sampled_from(sorted(FORM))): draw(NESTED)}
        return {"kind": kind, **content, "form": {**FORM, **odd}}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        content[name] = draw(NESTED)
        if draw(st.integers(0, 9)) == 0:
            del content[name]
    return {"kind": kind, **content}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_messages_with_arbitrary_values_do_no_harm(
    widgets: dict[str, Any], keyed: Served, tmp_path: Path, data: st.DataObject
) -> None:
    """The widget replies with a sentence or not at all, and still works."""
    name, shapes = data.draw(
        st.sampled_from([("panel", messages.PANEL), ("library", messages.LIBRARY)])
    )
    content = data.draw(unusual(shapes))
    parts = [b"bytes"] * data.draw(st.sampled_from([0, 1, 1, 2]))
    before, calls, pictures = files(tmp_path), len(keyed.calls), count()
    widgets["sent"].clear()
    widgets[name]._receive(None, content, parts)
    settle()
    texts = [str(message.get("said") or message.get("error") or "") for message in widgets["sent"]]
    assert not [text for text in texts if "report" in text or "bug" in text], (content, texts)
    if content["kind"] not in SPENDING_KINDS:
        assert len(keyed.calls) == calls
        if content["kind"] not in {"delete", "restore"}:
            assert count() == pictures
        if content["kind"] not in {"export", "sheet", "save", "upload"}:
            assert files(tmp_path) == before
    widgets["sent"].clear()
    widgets[name]._receive(None, {"kind": "hello"}, [])
    settle()
    assert {"kind": "ready"} in widgets["sent"]


@pytest.mark.parametrize("kind", ["", "msg", "told", "answer", "receive", 3, None, ["hello"], {}])
def test_unknown_kinds_do_nothing(widgets: dict[str, Any], kind: Any) -> None:
    """Names of methods are among the kinds."""
    for name in ("panel", "library"):
        widgets[name]._receive(None, {"kind": kind, "ids": [1], "text": "x"}, [])
    settle()
    assert widgets["sent"] == []


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "generate"},
        {"kind": "generate", "form": {"prompt": "a fox"}},
        {"kind": "generate", "form": "a fox"},
        {"kind": "cancel"},
        {"kind": "more", "id": 1},
        {"kind": "take", "id": "1"},
        {"kind": "save", "ids": "image1"},
        {"kind": "upload", "id": "u1", "name": "a", "parts": 1},
        {"kind": "star", "ids": [1.5], "request": 1},
    ],
)
def test_a_wrong_shape_is_refused_in_one_sentence(
    widgets: dict[str, Any], content: dict[str, Any]
) -> None:
    widgets["panel"]._receive(None, content, [])
    until(lambda: any(str(message.get("said")).startswith(REFUSED) for message in widgets["sent"]))


def test_a_page_cannot_set_state(widgets: dict[str, Any]) -> None:
    for name in ("panel", "library"):
        widget = widgets[name]
        before = widget.get_state()
        hostile = dict.fromkeys(before, "x") | {"form": {"prompt": "{{ secret }}"}, "cards": [{}]}
        for state in (hostile, {"visitors": False, "jobs": [{"id": 1}], "cell": "import os"}):
            message = {"content": {"data": {"method": "update", "state": state}}, "buffers": []}
            widget._handle_msg(message)
        assert widget.get_state() == before


def test_every_kind_has_a_handler() -> None:
    from xai_notebook.notebook.picture_widget import ACTIONS

    for widget, shapes in ((Panel, messages.PANEL), (LibraryWidget, messages.LIBRARY)):
        answered = {name[4:] for name in dir(widget) if name.startswith("_on_")} - {"msg"}
        assert {*shapes} <= answered | {*ACTIONS}
        assert answered - {*dir(PictureWidget)} <= {*shapes}
