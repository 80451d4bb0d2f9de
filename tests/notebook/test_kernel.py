"""The magics in a real kernel: interrupts, errors, values, output, forks."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import grpc
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from harness import KEY, serve, start_kernel, until, without_xai

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Kernel, Served

SOON = 10.0
"""Maximum seconds from an interrupt to an idle kernel; the reply would take 30."""
SLOW = 0.4
"""Seconds of a call that shows its progress."""


@pytest.fixture(scope="module")
def peer() -> Iterator[Served]:
    with serve() as served:
        yield served


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, peer: Served) -> Iterator[Kernel]:
    with start_kernel(
        tmp_path_factory.mktemp("kernel"), XAI_API_KEY=KEY, XAI_API_HOST=peer.address
    ) as kernel:
        load = "%load_ext xai_notebook\nimport xai_notebook as xai\n%config XaiImage.patience = 0.1"
        assert kernel.run(load).error is None
        yield kernel


@pytest.fixture(autouse=True)
def _no_faults(peer: Served) -> None:
    peer.reset()


def interrupt(kernel: Kernel, peer: Served, code: str, *, short: bool = True) -> Any:
    """Interrupt a cell once its call has arrived; check its end and the next call.

    Returns:
        The error of the interrupted cell.
    """
    peer.faults.delay = 30
    before = len(peer.calls)
    identity = kernel.start(code)
    call = peer.wait_for_call(before + 1)
    kernel.manager.interrupt_kernel()
    outcome = kernel.collect(identity, SOON)
    until(lambda: call.cancelled, SOON)
    assert outcome.error is not None
    if short:
        assert outcome.traceback.endswith("what had arrived is in the library.")
        assert "\n" not in outcome.traceback
    peer.reset()
    after = kernel.run("%xai_image --fresh a red fox")
    assert after.error is None
    assert len(after.html) == 1
    return outcome.error


@pytest.mark.parametrize(
    "code",
    [
        "%xai_image --fresh a red fox",
        "%%xai_image --fresh -n 4\na red fox",
        "xai.generate('a red fox', fresh=True)",
        "for picture in xai.stream('a red fox', fresh=True): pass",
        "import asyncio\n%xai_image --fresh a red fox\nawait asyncio.sleep(0)",
        "import asyncio\nawait asyncio.sleep(0.01)\n%xai_image --fresh a red fox",
    ],
    ids=["line", "cell", "generate", "stream", "before-await", "after-await"],
)
def test_an_interrupt_frees_the_kernel_and_cancels_the_call(
    kernel: Kernel, peer: Served, code: str
) -> None:
    assert interrupt(kernel, peer, code)["ename"] == "KeyboardInterrupt"


@pytest.mark.parametrize(
    "code",
    [
        "await xai.agenerate('a red fox', fresh=True)",
        "async for picture in xai.stream('a red fox', fresh=True): pass",
        "import asyncio\nawait asyncio.gather(xai.agenerate('a red fox', fresh=True))",
    ],
    ids=["await", "stream", "gather"],
)
def test_an_interrupt_cancels_an_awaited_call(kernel: Kernel, peer: Served, code: str) -> None:
    # In Python 3.10 `gather` replaces our short error by a CancelledError of its own.
    interrupt(kernel, peer, code, short=sys.version_info >= (3, 11) or "gather" not in code)


def test_an_interrupted_run_keeps_finished_images(kernel: Kernel, peer: Served) -> None:
    peer.faults.delay = lambda request: 30 if "slow" in request.prompt else 0
    before = len(peer.calls)
    identity = kernel.start("%%xai_image --each --as run\nquick {{ 1 }}\nquick {{ 2 }}\nslow one")
    outcome = kernel.see(identity, "2 of 3 prompts")
    until(lambda: len(peer.calls) == before + 3)
    kernel.manager.interrupt_kernel()
    outcome = kernel.collect(identity, outcome=outcome)
    assert outcome.error is not None
    assert outcome.error["ename"] == "KeyboardInterrupt"
    assert outcome.html[-1].count("<img") == 2
    assert "nterrupted: run the cell again" in outcome.html[-1]
    assert kernel.run("len(run)").text == ["2"]
    peer.reset()
    again = kernel.run("%%xai_image --each\nquick {{ 1 }}\nquick {{ 2 }}\nslow one")
    assert again.html[-1].count("<img") == 3
    assert len(peer.calls) == before + 4


def test_an_interrupted_call_says_what_is_kept(kernel: Kernel, peer: Served) -> None:
    peer.faults.delay = lambda request: 30 if "slow" in request.prompt else 0
    before = len(peer.calls)
    prompts = "['quick 3', 'quick 4', 'slow two']"
    show = "lambda state: display({'text/plain': f'{state.done} done'}, raw=True)"
    identity = kernel.start(f"xai.generate(each={prompts}, progress={show})")
    kernel.see(identity, "2 done")
    peer.wait_for_call(before + 3)
    (slow,) = [call for call in peer.calls[before:] if "slow" in call.message.prompt]
    kernel.manager.interrupt_kernel()
    outcome = kernel.collect(identity, SOON)
    until(lambda: slow.cancelled, SOON)
    assert re.fullmatch(
        r"KeyboardInterrupt: 2 of 3 prompts are in the library, .* spent\. Run it again .*",
        outcome.traceback,
    )
    assert kernel.run("len(xai.history(last=True).ok)").text == ["2"]
    peer.reset()
    again = kernel.run(f"len(xai.generate(each={prompts}).ok)")
    assert again.text == ["3"]
    assert len(peer.calls) == before + 4


def test_an_interrupt_is_not_hidden_by_a_failing_export(kernel: Kernel, peer: Served) -> None:
    peer.faults.delay = lambda request: 30 if "slow" in request.prompt else 0
    before = len(peer.calls)
    identity = kernel.start("%%xai_image --each --fresh --export late\nquick\nslow")
    outcome = kernel.see(identity, "1 of 2 prompts")
    until(lambda: len(peer.calls) == before + 2)
    (kernel.home.parent / kernel.home.name.removesuffix("-home") / "late").write_text("in the way")
    kernel.manager.interrupt_kernel()
    outcome = kernel.collect(identity, outcome=outcome)
    assert outcome.error is not None
    assert outcome.error["ename"] == "KeyboardInterrupt"
    assert outcome.html[-1].count("<img") == 1
    assert re.search("Not exported: .*not a folder", outcome.html[-1])


# Errors


def test_an_error_is_short_and_tb_shows_its_causes(kernel: Kernel) -> None:
    outcome = kernel.run("%xai_image --model nope a red fox")
    assert outcome.error is not None
    assert outcome.error["ename"] == "NotFoundError"
    assert len(outcome.traceback.splitlines()) <= 2
    assert outcome.stderr == ""
    chain = kernel.run("%tb")
    text = chain.stdout + chain.stderr + chain.traceback
    assert "AioRpcError" in text
    assert "direct cause" in text
    assert "xai_notebook" in text


@pytest.mark.parametrize(
    "code",
    ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "DEADLINE_EXCEEDED",
     "UNAVAILABLE"],
)  # fmt: skip
def test_every_failure_has_at_most_three_lines(kernel: Kernel, peer: Served, code: str) -> None:
    peer.faults.fail_when = lambda *_: (grpc.StatusCode[code], "said the server")
    outcome = kernel.run("%xai_image --fresh a red fox")
    assert outcome.error is not None
    assert len(outcome.traceback.splitlines()) <= 3
    assert "said the server" in outcome.traceback
    assert "Traceback" not in outcome.traceback
    assert KEY not in str(outcome)


def test_nbclient_stops_on_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    cells = ["%load_ext xai_notebook", "%xai_image -n 99 a red fox", "ran = True"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    with pytest.raises(CellExecutionError, match="OptionError"):
        client.execute(env=without_xai() | {"XAI_NOTEBOOK_HOME": str(tmp_path / "home")})
    assert notebook.cells[2].execution_count is None
    assert [output.output_type for output in notebook.cells[1].outputs] == ["error"]


# Values


@pytest.mark.parametrize(
    "code",
    [
        "%xai_image --fresh -n 2 a red fox",
        "%xai_image --fresh -n 2 a red fox;",
        "%%xai_image --fresh -n 2\na red fox;",
        "%%xai_image --fresh -n 2 --as foxes\na red fox",
        "%xai_image --fresh -n 2 --as foxes a red fox",
        "xai.generate('a red fox', n=2, fresh=True)",
        "await xai.agenerate('a red fox', n=2, fresh=True)",
        "%%xai_image --fresh -n 2 --format url\na red fox",
    ],
)
def test_pictures_are_shown_once_and_nothing_is_printed(kernel: Kernel, code: str) -> None:
    outcome = kernel.run(code)
    assert (outcome.error, outcome.stdout, outcome.stderr) == (None, "", "")
    assert len(outcome.outputs) == 1
    assert outcome.html[0].count("<img") == 2
    assert kernel.run("type(_).__name__, len(_)").text == ["('ImageBatch', 2)"]


def test_pictures_replace_the_progress_of_a_slow_call(kernel: Kernel, peer: Served) -> None:
    peer.faults.delay = SLOW
    outcome = kernel.run("%xai_image --fresh -n 2 --as foxes a red fox")
    assert [html.count("<img") for html in outcome.html] == [2]
    assert "Making images" not in str(outcome.html)
    assert outcome.stderr == outcome.stdout == ""
    assert kernel.run("type(_).__name__").text == ["'ImageBatch'"]


def test_a_batch_can_be_shown_again(kernel: Kernel, peer: Served) -> None:
    peer.faults.delay = SLOW
    kernel.run("%xai_image --fresh --as foxes a red fox")
    for code in ("foxes", "display(foxes)", "foxes[0]"):
        assert [html.count("<img") for html in kernel.run(code).html] == [1]


@pytest.mark.parametrize("delay", [0.0, SLOW])
def test_an_assignment_shows_nothing(kernel: Kernel, peer: Served, delay: float) -> None:
    peer.faults.delay = delay
    outcome = kernel.run("x = %xai_image --fresh a red fox")
    assert "<img" not in str(outcome.outputs)
    assert kernel.run("x").html[0].count("<img") == 1


def test_a_failed_slow_call_leaves_no_progress(kernel: Kernel, peer: Served) -> None:
    peer.faults.delay = SLOW
    peer.faults.after_work = True
    peer.faults.fail_when = lambda *_: grpc.StatusCode.INTERNAL
    outcome = kernel.run("%xai_image --fresh a red fox")
    assert outcome.error is not None
    assert outcome.html == []


@pytest.mark.parametrize(
    "code",
    [
        "%xai_image --fresh --as a a fox\n%xai_image --fresh --as b an owl",
        "for animal in ('a fox', 'an owl'):\n    %xai_image --fresh {{ animal }}",
        "def draw(animal):\n    %xai_image --fresh {{ animal }}\ndraw('a fox'); draw('an owl')",
        "if True:\n    %xai_image --fresh a fox\n    %xai_image --fresh an owl",
        (
            "def draw(animal):\n"
            "    return get_ipython().run_line_magic('xai_image', f'--fresh {animal}')\n"
            "for animal in ('a fox', 'an owl'):\n    draw(animal)"
        ),
        "%xai_image --fresh a fox\nan_owl = %xai_image --fresh an owl\nan_owl",
        "%time %xai_image --fresh a fox\n%time %xai_image --fresh an owl",
    ],
    ids=["row", "loop", "function", "if", "returned", "assigned", "time"],
)
@pytest.mark.parametrize("delay", [0.0, SLOW])
def test_pictures_are_shown_where_ipython_shows_no_value(
    kernel: Kernel, peer: Served, code: str, delay: float
) -> None:
    peer.faults.delay = delay
    outcome = kernel.run(code)
    assert outcome.error is None
    assert [html.count("<img") for html in outcome.html] == [1, 1]
    assert ["a fox" in html for html in outcome.html] == [True, False]


def test_pictures_of_run_scripts_are_shown(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "a.ipy").write_text("%xai_image --fresh a fox\n")
    (tmp_path / "b.py").write_text("get_ipython().run_line_magic('xai_image', '--fresh an owl')\n")
    for name in ("a.ipy", "b.py"):
        outcome = kernel.run(f"%run {tmp_path / name}")
        assert outcome.error is None
        assert [html.count("<img") for html in outcome.html] == [1]


def test_each_batch_replaces_its_own_progress(kernel: Kernel, peer: Served) -> None:
    """The order does not matter, and the temporary formatter is removed."""
    peer.faults.delay = SLOW
    outcome = kernel.run(
        "a = %xai_image --fresh a fox\nb = %xai_image --fresh an owl\ndisplay(b, a)"
    )
    assert ["a fox" in html for html in outcome.html] == [True, False]
    assert ["an owl" in html for html in outcome.html] == [False, True]
    printers = "get_ipython().display_formatter.ipython_display_formatter.type_printers"
    assert kernel.run(f"[kind.__name__ for kind in {printers}]").text == ["[]"]


# Other code in the kernel


def test_shell_commands_print_only_their_output(kernel: Kernel) -> None:
    kernel.run("%xai_image a red fox")
    outcome = kernel.run("!echo hi")
    assert (outcome.stdout.strip(), outcome.stderr) == ("hi", "")
    outcome = kernel.run(
        "import subprocess, sys\n"
        "print(subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True, text=True))"
    )
    assert "stdout='1\\n', stderr=''" in outcome.stdout


def test_calls_work_under_another_event_loop_policy(kernel: Kernel) -> None:
    outcome = kernel.run(
        "import asyncio\n"
        "class Policy(asyncio.DefaultEventLoopPolicy):\n"
        "    def new_event_loop(self):\n"
        "        loop = super().new_event_loop()\n"
        "        loop.set_debug(True)\n"
        "        return loop\n"
        "before = asyncio.get_event_loop_policy()\n"
        "asyncio.set_event_loop_policy(Policy())\n"
        "%unload_ext xai_notebook\n"
        "%load_ext xai_notebook\n"
        "async def both():\n"
        "    return len(xai.generate('a fox')), len(await xai.agenerate('an owl'))\n"
        "counts = await both()\n"
        "asyncio.set_event_loop_policy(before)\n"
        "counts"
    )
    assert outcome.error is None
    assert outcome.text == ["(1, 1)"]
    kernel.run("%unload_ext xai_notebook\n%load_ext xai_notebook")


def test_a_cell_that_blocks_its_own_server_fails_at_once(kernel: Kernel) -> None:
    """A server that a cell starts with `await` runs on the kernel's loop, which magics block."""
    started = kernel.run(
        "from xai_notebook.server import EmbeddedServer\n"
        "server = EmbeddedServer()\n"
        "await server.start()\n"
        "%config XaiImage.api_host = server.address"
    )
    assert started.error is None
    try:
        for code in ("%xai_image a blocked fox", "xai.generate('a blocked fox')"):
            assert "runs on the event loop that this call blocks" in kernel.run(code).traceback
        assert kernel.run("(await xai.agenerate('a blocked fox'))[0].status").text == ["'ok'"]
    finally:
        kernel.run("await server.stop()\n%config XaiImage.api_host = ''")
    used = "with EmbeddedServer() as server:\n    xai.configure(api_host=server.address)\n"
    made = kernel.run(f"{used}    print(xai.generate('a fox of a block')[0].status)")
    kernel.run("xai.configure(api_host=None)")
    assert made.stdout == "ok\n"
