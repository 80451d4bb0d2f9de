"""Progress under a running cell, which is not saved."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from nbclient import NotebookClient

from harness import start_kernel, tiny
from numbering_server import execute
from xai_notebook.client.request import ImageRequest
from xai_notebook.generation.progress import Progress
from xai_notebook.notebook.progress import CallProgress, LiveOutput
from xai_notebook.pictures.picture import Card, Picture
from xai_notebook.pictures.render.previews import Placeholder, Previews, PreviewSource

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served


class Recorder(NotebookClient):
    """Runs a notebook and records every display."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.shown: list[str] = []

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Record what a display shows."""
        if msg["msg_type"] in {"display_data", "update_display_data"}:
            self.shown.append(msg["content"]["data"].get("text/html", ""))
        return super().process_message(msg, cell, cell_index)


@pytest.fixture
def run(quick: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs a cell, and returns its outputs and displays."""
    monkeypatch.setenv("XAI_API_HOST", quick.address)

    def run(cell: str) -> tuple[Any, list[str]]:
        load = "%load_ext xai_notebook\n%config XaiImage.rate = 0"
        client = execute(tmp_path, load, cell, client=Recorder)
        return client.nb.cells[1].outputs, client.shown

    return run


def test_a_console_shows_lines_and_the_result(quick: Served, tmp_path: Path) -> None:
    """`jupyter console` ignores updates of an output, so the result is a new output."""
    quick.faults.delay = 1.2
    with start_kernel(tmp_path / "console", XAI_API_HOST=quick.address) as kernel:
        kernel.run("%load_ext xai_notebook")
        done = kernel.collect(kernel.start("%xai_image a red fox", console=True))
    (output,) = done.outputs
    assert output["kind"] == "execute_result"
    assert "a red fox" in output["data"]["text/plain"].lower()
    assert "Making an image: 1 s" in done.stderr
    assert done.stderr.rpartition("\r")[2] == ""  # the line is erased


def saved(outputs: Any) -> str:
    """Return the only output of a cell as it is saved."""
    (output,) = outputs
    assert set(output["data"]) == {"text/html", "text/plain", "image/jpeg"}
    return output["data"]["text/html"] + output["data"]["text/plain"]


def test_placeholders_are_replaced_by_pictures(quick: Served, run: Any) -> None:
    """There is one per image, in its shape; seconds and attempts are shown above."""
    busy = (grpc.StatusCode.UNAVAILABLE, "busy", [("retry-after", "1.6")])
    quick.faults.failures = [busy]
    quick.faults.delay = 1.2
    quick.faults.image_price, quick.faults.cost_ticks = 2 * 10**8, 2 * 10**8
    outputs, shown = run("%xai_image -n 3 --aspect-ratio 16:9 a red fox")
    waiting = [html for html in shown if "xai-waiting" in html]
    assert len(waiting) >= 3
    assert all(html.count('<div class="xai-waiting"') == 3 for html in waiting)
    assert all(html.count("aspect-ratio:640/360") == 3 for html in waiting)
    assert any(re.search(r"attempt 2 of 5 in \d\.\d s", html) for html in waiting)
    assert all(len(re.findall(r"Making images: \d s", html)) == 1 for html in waiting)
    assert "To make: 3, <span>$</span>0.06; from your library: 0." in waiting[-1]
    final = saved(outputs)
    assert final.replace("<span>$</span>", "$").count("$0.06 spent.") == 2
    assert final.count("<img") == 3
    assert not re.search(
        r"xai-waiting|attempt|Making|To make|<style(?!>[.]xai-pictures summary)", final
    )


def test_a_bar_is_replaced_by_a_summary(quick: Served, run: Any) -> None:
    """The bar shows finished and all prompts, seconds, time left, cost and retries."""
    quick.faults.delay = 0.4
    quick.faults.image_price, quick.faults.cost_ticks = 2, 2 * 10**8
    quick.faults.failures = [grpc.StatusCode.UNAVAILABLE]
    outputs, shown = run("%%xai_image --each\n" + "\n".join(f"fox {i}" for i in range(20)))
    assert "To make: 20, <span>$</span>0.40; from your library: 0." in shown[0]
    bars = [html for html in shown if 'role="progressbar"' in html]
    assert len(bars) >= 2
    assert any(
        re.search(r"\d+ of 20 prompts, \d s, about \d s left, .*0\.\d\d", re.sub("<.*?>", "", html))
        for html in bars
    )
    assert any("1 tried again" in html for html in bars)
    values = [int(re.findall(r'aria-valuenow="(\d+)"', html)[0]) for html in bars]
    assert values == sorted(values)
    final = saved(outputs)
    summary = final.replace("<span>$</span>", "$")
    assert summary.count("20 of 20 prompts, $0.40 spent.") == 2  # in the HTML and in the text
    assert not re.search(r"progressbar|left|tried again|Making|To make", final)


def test_pictures_appear_while_others_are_made(quick: Served, run: Any) -> None:
    """Each picture is in its position, beside placeholders; the final grid is saved."""
    quick.faults.delay = 0.5
    outputs, shown = run(
        "%%xai_image --each --as many\n" + "\n".join(f"fox {i}" for i in range(30))
    )
    partly = [html for html in shown if "<img" in html and "xai-waiting" in html]
    assert len(partly) >= 2
    for html in partly:
        assert html.count("<img") + html.count('<div class="xai-waiting"') == 24
        assert [int(number) for number in re.findall(r">fox (\d+)<", html)] == list(range(24))
    grown = [html.count("<img") for html in partly]
    assert grown == sorted(grown)
    final = saved(outputs)
    assert final.count("<img") == 24
    more = "… and 6 more: many[24:] shows them. %xai_library shows all pictures."
    assert final.count(more) == 2
    assert "xai-waiting" not in final


def test_no_preview_is_made_twice(tmp_path: Path) -> None:
    request = ImageRequest("a fox", "m")
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(tiny(number))
    pending = Card(Picture(request=request, status="pending"))
    cards = [Card(Picture(request=request, file=file)) for file in files]
    previews = Previews()
    partial = previews.make([*cards[:2], pending], 3, most=1)
    assert [type(shown) for shown in partial] == [PreviewSource, Placeholder, Placeholder]
    files[0].unlink()  # it cannot be read again
    final = previews.make(cards, 3)
    assert [type(shown) for shown in final] == [PreviewSource] * 3
    assert final[0] is partial[0]


def test_a_bar_without_a_total_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a generator yields prompts, the total is a question mark."""
    shown: list[str] = []
    monkeypatch.setattr(
        "IPython.display.display", lambda bundle, **_: shown.append(bundle["text/html"])
    )
    progress = Progress(expected=None, done=3)
    output = LiveOutput(SimpleNamespace(kernel=object()))
    CallProgress(output, progress, patience=0).tick()
    (html,) = shown
    assert "3 of ? prompts" in html
    assert 'aria-valuenow="0"' in html
