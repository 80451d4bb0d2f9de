"""Google Colab: its kernel, its requests and its completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import CENT, KEY, Kernel, Served, hold_until, serve, tiny
from xai_notebook.server import BatchFaults

if TYPE_CHECKING:
    from collections.abc import Iterator

LOAD = "%load_ext xai_notebook\nimport xai_notebook as xai\n%config XaiImage.patience = 0.1"
FOX = "%xai_image --as fox a red fox\nfox[0].id"
WIDGET = "application/vnd.jupyter.widget-view+json"


class ColabKernel(Kernel):
    """A kernel of Colab, with the requests that Colab's page sends."""

    program = Path(__file__).parents[1] / "colab_kernel.py"

    def start(self, code: str, cell: str | None = None, *, console: bool = False) -> str:
        """Start a cell. Colab names it in its own way, and allows input."""
        del console
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
        return self._send("execute_request", content, {"colab": {"cell_id": cell or "other"}})

    def complete(self, code: str) -> list[str]:
        """Return the cells that Tab at the end of `code` offers."""
        content = {"code": code, "cursor_pos": len(code)}
        options = {"colab_options": {"include_colab_metadata": True}}
        found = self.reply_to(self._send("complete_request", content, options))["content"]
        assert len(found["metadata"]["colab_types_experimental"]) == len(found["matches"])
        return [code[: found["cursor_start"]] + match for match in found["matches"]]

    def restart(self) -> None:
        """Restart the process, and load the extension."""
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=60)
        assert self.run(LOAD).error is None

    def _send(self, kind: str, content: dict[str, Any], metadata: dict[str, Any]) -> str:
        message = self.client.session.msg(kind, content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serve() as served:
        yield served


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, server: Served) -> Iterator[ColabKernel]:
    folder = tmp_path_factory.mktemp("content")
    kernel = ColabKernel(folder, XAI_API_KEY=KEY, XAI_API_HOST=server.address)
    try:
        assert kernel.run(LOAD).error is None
        yield kernel
    finally:
        kernel.stop()


@pytest.fixture(autouse=True)
def _prices(server: Served) -> None:
    server.reset()
    server.faults.garbage = tiny()
    server.faults.image_price = server.faults.cost_ticks = 2 * CENT


def test_a_replaced_picture_stays_replaced_after_a_restart(
    kernel: ColabKernel, server: Served
) -> None:
    before = len(server.calls)
    first, second, other = (kernel.run(FOX, cell=cell).text[-1] for cell in ("one", "one", "two"))
    assert len({first, second, other}) == 3
    panel = kernel.run("panel = xai.panel('a barn')\npanel.cell_id", cell="form")
    assert panel.text[-1] == "'form'"
    kernel.restart()
    assert [kernel.run(FOX, cell=cell).text[-1] for cell in ("one", "two")] == [second, other]
    assert len(server.calls) == before + 3


@pytest.mark.parametrize(
    ("code", "price"),
    [
        ("%xai_image --fresh a red fox", "To make: 1, $0.02"),
        ("%%xai_image --fresh --each\nfox {{ 1 }}\nfox {{ 2 }}\nfox {{ 3 }}", "To make: 3, $0.06"),
    ],
    ids=["one", "each"],
)
def test_the_price_is_shown_before_it_is_paid_for(
    kernel: ColabKernel, server: Served, code: str, price: str
) -> None:
    released: list[bool] = []
    server.faults.delay = hold_until(lambda _: bool(released))
    identity = kernel.start(code, "priced")
    outcome = kernel.see(identity, price)
    outcome = kernel.collect(identity, outcome=outcome, shows="Making")
    (shown,) = outcome.outputs
    assert price in shown["data"]["text/plain"]
    released.append(True)
    outcome = kernel.collect(identity, outcome=outcome)
    assert outcome.error is None
    assert outcome.stderr == ""
    (shown,) = outcome.outputs  # the pictures have replaced the progress
    assert "<img" in shown["data"]["text/html"]
    assert "To make" not in shown["data"]["text/html"]


def test_the_price_of_a_job_is_shown_before_it_is_submitted(
    kernel: ColabKernel, server: Served
) -> None:
    server.faults.batches = BatchFaults(pace=1e-6)
    identity = kernel.start("%%xai_image --batch --each --as job\na fox\nan owl\na cat", "job")
    outcome = kernel.see(identity, "Job Submitting: 3 images")
    (card,) = outcome.outputs
    assert "$0.06" in card["data"]["text/plain"]
    outcome = kernel.collect(identity, outcome=outcome)
    assert outcome.error is None
    assert outcome.stderr == ""
    assert len(outcome.outputs) == 1


def test_an_error_gives_advice_for_a_person(kernel: ColabKernel) -> None:
    """Colab does not name the notebook, as papermill does not."""
    outcome = kernel.run("%xai_image --replay an unknown owl")
    assert outcome.traceback.endswith(
        "Put the notebook's bundle there. "
        "Without --replay, or with --reuse instead, the rest is generated."
    )


def test_tab_completes_the_magics(kernel: ColabKernel) -> None:
    kernel.run("prompts, foxglove = ['a fox'], 1")
    assert kernel.complete("%xai_image --as") == ["%xai_image --as", "%xai_image --aspect-ratio"]
    assert kernel.complete("%%xai_image -a 16") == ["%%xai_image -a 16:9"]
    assert kernel.complete("%xai_image --each p") == ["%xai_image --each prompts"]
    assert kernel.complete("%%xai_image -n 2\na red fox") == []
    assert kernel.complete("foxg") == ["foxglove"]


def test_widgets_load_their_code_in_colab(kernel: ColabKernel) -> None:
    """Colab loads the code of other packages' widgets only if the output names a manager."""
    installed = kernel.run("import importlib.util\nimportlib.util.find_spec('google.colab')")
    if not installed.text:
        pytest.skip("Google's package google.colab is not installed")
    for code in ("import google.colab.output\n%xai_panel a fox", "%xai_library"):
        outcome = kernel.run(code, cell="widget")
        assert outcome.error is None
        (shown,) = (out for out in outcome.outputs if WIDGET in out["data"])
        assert "custom_widget_manager" in json.dumps(shown["metadata"][WIDGET]["colab"])
