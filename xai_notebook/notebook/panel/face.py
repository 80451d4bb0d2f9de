"""What kernel and browser both know of a panel: code, style, synced state, and who answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traitlets import Bool, Dict, Int, List, Unicode

from xai_notebook.notebook.viewing.widget import Viewing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Face"]

_STATIC: Final = Path(__file__).parent.parent / "static"


class Face(Viewing):
    """A panel without its work. All of its state is set on the background loop."""

    _esm = (_STATIC / "panel.js").read_text(encoding="utf-8")
    _css = (_STATIC / "panel.css").read_text(encoding="utf-8")

    form = Dict(help="Values of the fields; the browser's word counts.").tag(sync=True)
    choices = Dict(help="What the fields offer.").tag(sync=True)
    models: List[dict[str, Any]] = List(help="Models with prices and abilities.").tag(sync=True)
    asking = Bool(default_value=True, help="The server is asked for its models.").tag(sync=True)
    models_note = Unicode(help="Why the models are not the server's.").tag(sync=True)
    place = Unicode(help="Where requests go, in words.").tag(sync=True)
    jobs: List[dict[str, Any]] = List(help="Generations that wait, run or failed.").tag(sync=True)
    cards: List[dict[str, Any]] = List(help="What has come, oldest first.").tag(sync=True)
    prompts: List[str] = List(help="Prompts as they were typed, oldest first.").tag(sync=True)
    cell = Unicode(help="The equivalent cell.").tag(sync=True)
    cell_note = Unicode(help="What running it does, or why there is none.").tag(sync=True)
    cell_id = Unicode(help="Of the notebook's cell that shows it, where known.").tag(sync=True)
    earlier = Int(help="Older pictures, which are not shown.").tag(sync=True)
    expected: List[float | None] = List(
        help="What 1, 2, … images as the form stands are expected to cost, in US dollars."
    ).tag(sync=True)
    spent = Unicode(help="Cost so far, in words.").tag(sync=True)
    saved = Unicode(help="What the last save of everything did.").tag(sync=True)
    trouble = Unicode(help="What went wrong outside any generation.").tag(sync=True)
    notice = Unicode(help="What the user should know before the first picture.").tag(sync=True)
    said = Dict(help="What a screen reader should say now.").tag(sync=True)
    local = Bool(help="Requests go to the embedded server.").tag(sync=True)

    # What becomes of a message that is no question: see `trouble` and `said`

    def _say(self, text: str) -> None:
        """Have a screen reader say something."""
        raise NotImplementedError

    def _told(self, content: Mapping[str, Any], said: str) -> None:
        if content.get("request") is None:
            self._say(said)
        else:
            super()._told(content, said)

    def _failed(self, content: Mapping[str, Any], said: str) -> None:
        if content.get("request") is None:
            self.trouble = ""  # the same trouble again is news
            self.trouble = said
        else:
            super()._failed(content, said)
