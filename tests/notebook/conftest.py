"""Widgets without a browser: a shell that seems to run in a notebook, and the page's side."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher

from harness import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell


class Page:
    """The browser's side of a widget: sends messages, and records what the widget sends."""

    def __init__(self, widget: Any) -> None:
        """Record the widget's messages, with their binary parts as `buffers`."""
        self.widget = widget
        self.sent: list[dict[str, Any]] = []
        self.requests = 0
        widget.send = lambda content, buffers=None: self.sent.append(
            {**content, "buffers": list(buffers or ())}
        )

    def tell(self, kind: str, *parts: bytes, **content: Any) -> None:
        """Send a message to the widget."""
        self.widget._receive(None, {"kind": kind, **content}, list(parts))

    def ask(self, kind: str, **content: Any) -> dict[str, Any]:
        """Send a request and return the reply."""
        self.requests += 1
        self.tell(kind, request=self.requests, **content)
        return self.wait(request=self.requests)

    def got(self, **fields: Any) -> list[dict[str, Any]]:
        """Return the messages with these fields."""
        return [message for message in self.sent if fields.items() <= message.items()]

    def wait(self, **fields: Any) -> dict[str, Any]:
        """Wait for a message with these fields, and return the first one."""
        until(lambda: self.got(**fields))
        return self.got(**fields)[0]

    def make(self, start: Callable[[], None] | None = None, **values: Any) -> dict[str, Any]:
        """Press Generate with `values` in the form, or call `start`; return the first new card."""
        panel, before = self.widget, len(self.widget.cards)
        if start is None:
            self.tell("generate", form={**panel.form, **values})
        else:
            start()
        until(lambda: len(panel.cards) > before or panel.trouble)
        assert not panel.trouble
        until(lambda: not panel.jobs)
        return dict(panel.cards[before])


@pytest.fixture
def open_page() -> Callable[[Any], Page]:
    """Open a page that shows a widget."""
    return Page


@pytest.fixture
def notebook_shell(shell: InteractiveShell) -> InteractiveShell:
    """IPython in this process, as if in a notebook; it captures outputs."""
    shell.display_pub = CapturingDisplayPublisher()
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]
    return shell
