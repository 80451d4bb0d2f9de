"""The progress of calls: its line, and when it is shown."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace
from typing import Any

import pytest

from xai_notebook.client.request import ImageRequest
from xai_notebook.client.transport.retry import Attempt
from xai_notebook.generation.progress import Progress, describe
from xai_notebook.notebook.progress import CallProgress, LiveOutput
from xai_notebook.pictures.picture import Picture


def card(*, replayed: bool = False) -> list[Picture]:
    request = ImageRequest(prompt="a fox", model="m")
    return [Picture(request=request, replayed=replayed)]


def progress(**values: Any) -> Progress:
    """Return the progress of a call that began 75 seconds ago."""
    return Progress(started=time.monotonic() - 75, **values)


def test_the_line_of_one_image() -> None:
    assert describe(progress()) == "Making an image: 1 min 15 s"


def test_the_line_of_many_prompts() -> None:
    state = progress(expected=1000, images=1000, cost_usd=1.5)
    for number in range(100):
        state.record_answer(number, card(), failed=number < 3)
    assert describe(state) == (
        "Making images: 100 of 1,000 prompts, 1 min 15 s, about 11 min 15 s left, $1.50, 3 failed"
    )


def test_replayed_prompts_do_not_shorten_the_time_left() -> None:
    state = progress(expected=200)
    for number in range(100):
        state.record_answer(number, card(replayed=number < 90))
    assert state.replayed == 90
    assert state.eta == pytest.approx(750, rel=0.01)


def test_the_line_of_a_generator_has_no_total() -> None:
    state = progress(expected=None)
    state.record_answer(0, card())
    assert describe(state) == "Making an image: 1 of ? prompts, 1 min 15 s"


def test_the_line_mentions_failed_attempts() -> None:
    state = progress()
    state.on_attempt(_attempt())
    assert "unavailable, attempt 2 of 5 in " in describe(state)
    state.record_answer(0, card())
    assert describe(state).endswith("1 tried again")


def _attempt() -> Attempt:
    values = dict.fromkeys((field.name for field in dataclasses.fields(Attempt)), "")
    named = {"number": 1, "of": 5, "wait": 10.0, "error_code": "UNAVAILABLE"}
    return Attempt(**{**values, **named})  # type: ignore[arg-type]


class Shell(SimpleNamespace):
    """The part of IPython that `CallProgress` uses."""


def test_a_quick_answer_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append(a))
    live = CallProgress(LiveOutput(Shell(kernel=object())), Progress(), patience=5)
    live.tick()
    live.end()
    assert shown == []


def test_updates_are_limited_to_a_few_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Handle:
        def update(self, bundle: dict[str, str], *, raw: bool) -> None:
            events.append(bundle["text/plain"])

    def display(bundle: dict[str, str], **_: Any) -> Handle:
        events.append(bundle["text/plain"])
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    now = time.monotonic()
    monkeypatch.setattr(
        "xai_notebook.notebook.progress.time", SimpleNamespace(monotonic=lambda: now)
    )
    live = CallProgress(LiveOutput(Shell(kernel=object())), progress(), patience=0.6)
    for _ in range(50):  # a second, in steps of 20 ms
        live.tick()
        now += 0.02
    assert len(events) == 3
    live.end()
    assert events[-1] == ""


def test_errors_of_the_frontend_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def display(*_: Any, **__: Any) -> None:
        calls.append(True)
        raise OSError("the frontend is gone")

    monkeypatch.setattr("IPython.display.display", display)
    CallProgress(LiveOutput(Shell(kernel=object())), progress(), patience=0).tick()
    assert calls


def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    live = CallProgress(LiveOutput(Shell()), progress(), patience=0)
    live.tick()
    live.end()
    assert capsys.readouterr() == ("", "")
