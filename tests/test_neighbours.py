"""One kernel, several packages: xAI's own SDK beside ours, in both orders."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness import KEY, serve, without_xai

OURS = (
    "import xai_notebook as xai\nmade = xai.generate('a red fox')\nassert made[0].status == 'ok'\n"
)
THEIRS = """
import os, xai_sdk
client = xai_sdk.Client(
    api_key=os.environ["XAI_API_KEY"],
    api_host=os.environ["XAI_API_HOST"],
    channel_options=[("grpc.enable_http_proxy", 0)],
)
response = client.image.sample(
    prompt="an owl", model="grok-imagine-image", image_format="base64"
)
assert response.image[:3] == b"\\xff\\xd8\\xff"
"""
ASYNC = """
import asyncio, os, xai_sdk, xai_notebook as xai
async def main():
    client = xai_sdk.AsyncClient(
        api_key=os.environ["XAI_API_KEY"], api_host=os.environ["XAI_API_HOST"]
    )
    theirs, ours = await asyncio.gather(
        client.image.sample("an owl", "grok-imagine-image", image_format="base64"),
        xai.agenerate("a red fox"),
    )
    assert (await theirs.image)[:3] == ours[0].data[:3]
    await client.close()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "code",
    [
        OURS + THEIRS,
        THEIRS + OURS,
        "import xai_sdk\n" + OURS + THEIRS,
        "import xai_notebook.client, xai_notebook.server\n" + THEIRS + OURS,
        ASYNC,
    ],
    ids=["ours-first", "theirs-first", "imported-first", "ours-imported-first", "at-once"],
)
def test_both_work_in_one_process(code: str, tmp_path: object) -> None:
    """Imported in either order, and at the same time on two loops, without a word on stderr."""
    with serve() as server:
        environment = without_xai() | {
            "XAI_API_KEY": KEY,
            "XAI_API_HOST": server.address,
            "XAI_NOTEBOOK_HOME": f"{tmp_path}/home",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, timeout=60, env=environment, check=False,
        )  # fmt: skip
        prompts = sorted(call.message.prompt for call in server.calls)
    assert (done.returncode, done.stderr) == (0, "")
    assert prompts == ["a red fox", "an owl"]


@pytest.mark.parametrize("module", ["client", "server", "generation.session"])
@pytest.mark.parametrize("given", [None, "1"])
def test_forks_of_the_kernel_are_left_alone(module: str, given: str | None) -> None:
    """Before gRPC is imported its fork handlers are off, unless the user wants them.

    They would print into the output of one `!cmd` in some hundred.
    """
    name = "GRPC_ENABLE_FORK_SUPPORT"
    environment = {key: value for key, value in without_xai().items() if key != name}
    code = (
        f"import os, sys, importlib.abc\n"
        f"class Look(importlib.abc.MetaPathFinder):\n"
        f"    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'grpc': print(os.environ.get({name!r}))\n"
        f"sys.meta_path.insert(0, Look())\n"
        f"import xai_notebook.{module}, xai_notebook.server.runner, grpc"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=True,
        env=environment | ({name: given} if given else {}),
    )  # fmt: skip
    assert done.stdout.strip() == (given or "0")
