"""`xai_notebook.testing`, as users import it and as a plugin of pytest; the page about it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import pytest
from PIL import Image

import xai_notebook as xai
from harness import KEY, tiny, without_xai
from xai_notebook import frontend
from xai_notebook.errors import (
    BudgetError,
    ConfigurationError,
    InvalidRequestError,
    OptionError,
    UnavailableError,
)
from xai_notebook.generation.session import close_session, current_session
from xai_notebook.testing import XaiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Served

PAGE = Path(__file__).resolve().parents[1] / "docs/howto/testing.md"


@pytest.fixture
def xai_server(tmp_path: Path) -> Iterator[XaiServer]:
    with XaiServer(home=tmp_path / "test-home") as server:
        yield server


@pytest.fixture(autouse=True)
def new_session() -> Iterator[None]:
    """Leave no session behind."""
    yield
    close_session()


# Requests


def test_requests_are_recorded_as_data(xai_server: XaiServer) -> None:
    """Options that were not given are None."""
    model = "grok-imagine-image-2.0"
    options: Any = {"aspect_ratio": "19.5:9", "resolution": "2k", "quality": "low", "user": "me"}
    xai.generate("a fox", n=2, model=model, **options)
    xai.generate("an owl", format="url")
    first, second = xai_server.requests
    assert (first.prompt, first.n, first.model) == ("a fox", 2, model)
    assert (first.aspect_ratio, first.resolution, first.quality) == ("19.5:9", "2k", "low")
    assert (first.user, first.image_format, first.inputs) == ("me", "base64", ())
    assert (second.n, second.model, second.image_format) == (1, "grok-imagine-image", "url")
    assert (second.aspect_ratio, second.resolution, second.quality, second.user) == (None,) * 4
    assert xai_server.prompts == ["a fox", "an owl"]
    assert xai_server.images == 3


def test_inputs_are_recorded_by_their_digest(xai_server: XaiServer) -> None:
    """Images of one request are sent with it, those that requests share are uploaded before."""
    xai_server.reply(tiny())
    (small,) = xai.generate("a pixel")
    (large,) = xai.generate("a fox")
    small.edit("a hat")
    xai.generate(each=["both", "both again"], image=[small, large])
    (first,) = xai_server.requests[2].inputs
    assert (first.sha256, first.file_id) == (hashlib.sha256(tiny()).hexdigest(), None)
    digests = [image.sha256 for image in xai_server.requests[3].inputs]
    assert digests == [small.sha256, large.sha256]
    assert xai_server.requests[3].inputs[1].file_id


def test_requests_of_a_job_are_recorded_one_by_one(xai_server: XaiServer) -> None:
    xai_server.faults.batches.pace = 1000
    job = xai.generate(each=["a fox", "an owl"], batch=True)
    assert len(job.wait(60).ok) == 2
    assert xai_server.prompts == ["a fox", "an owl"]


def test_requests_can_be_read_after_the_block() -> None:
    with XaiServer() as server:
        xai.generate("a fox")[0].edit("a hat")
    assert server.prompts == ["a fox", "a hat"]
    assert len(server.requests[1].inputs[0].sha256) == 64


def test_failed_attempts_count(xai_server: XaiServer) -> None:
    xai_server.fail("UNAVAILABLE", times=2)
    assert xai.generate("a fox")[0].status == "ok"
    assert xai_server.prompts == ["a fox"] * 3
    assert xai_server.images == 1


# Answers


def test_pictures_are_the_next_replies(xai_server: XaiServer, tmp_path: Path) -> None:
    """Bytes, a file, a PIL image, and a withheld picture; then the server paints."""
    png = io.BytesIO()
    Image.new("RGBA", (3, 2), (0, 0, 0, 0)).save(png, "PNG")
    (tmp_path / "a.png").write_bytes(png.getvalue())
    grey = Image.new("L", (5, 5), 77)
    xai_server.reply(tiny(1), tmp_path / "a.png", None, grey)
    first = xai.generate("a fox", n=3)
    assert [image.status for image in first] == ["ok", "ok", "moderated"]
    assert [first[0].data, first[1].data] == [tiny(1), png.getvalue()]
    second = xai.generate("a fox", n=2)
    assert second[0].pil.tobytes() == grey.tobytes()
    assert second[1].pil.size > (500, 500)
    assert xai_server.images == 4


@pytest.mark.parametrize("picture", [b"no picture", "nowhere.png", 7], ids=str)
def test_what_is_no_picture_is_refused(xai_server: XaiServer, picture: Any) -> None:
    """Then none of the pictures is used."""
    with pytest.raises(OptionError, match=r"A picture for reply\(\) cannot be used: .*Give a PIL"):
        xai_server.reply(tiny(), picture)
    assert xai.generate("a fox")[0].data != tiny()


def test_failures_are_the_next_replies(xai_server: XaiServer) -> None:
    xai_server.fail("invalid_argument", "The prompt is rude.", times=2)
    for _ in range(2):
        with pytest.raises(InvalidRequestError, match="The prompt is rude"):
            xai.generate("a fox")
    assert xai.generate("a fox")[0].status == "ok"
    xai_server.fail("UNAVAILABLE", times=100)
    with pytest.raises(UnavailableError, match="a failure of the test"):
        xai.generate("an owl")


def test_failures_follow_those_of_faults(xai_server: XaiServer) -> None:
    xai_server.faults.failures = [None]
    xai_server.fail("INVALID_ARGUMENT")
    assert xai.generate("a fox")[0].status == "ok"
    with pytest.raises(InvalidRequestError):
        xai.generate("an owl")


def test_an_unknown_status_is_refused(xai_server: XaiServer) -> None:
    with pytest.raises(
        OptionError, match=r"'BROKEN' is not a failure of gRPC\..* CANCELLED, UNKNOWN"
    ):
        xai_server.fail("BROKEN")


@pytest.mark.parametrize("price", [-1, "free", None, float("nan"), float("inf")])
def test_an_invalid_price_is_refused(xai_server: XaiServer, price: Any) -> None:
    with pytest.raises(OptionError, match=r"price_usd: .* number of dollars"):
        xai_server.price_usd = price
    assert xai_server.price_usd == 0


def test_prices_are_listed_and_reported(xai_server: XaiServer) -> None:
    xai_server.price_usd = 0.07
    assert xai_server.price_usd == 0.07
    assert xai.generate("a fox", n=2)[0].cost_usd == 0.07
    with pytest.raises(BudgetError):
        xai.generate("an owl", n=2, max_cost=0.10)
    assert xai_server.prompts == ["a fox"]
    assert sum(row.cost_usd for row in xai.costs()) == pytest.approx(0.14)


def test_plain_pictures_all_differ() -> None:
    with XaiServer(paint=False) as server:
        batch = xai.generate(each=[f"fox {number}" for number in range(100)])
        assert len({image.sha256 for image in batch}) == server.images == 100
        assert batch[0].pil.size == (16, 16)


def test_reset_forgets_requests_and_replies(xai_server: XaiServer) -> None:
    """The library stays."""
    xai.generate("a fox")
    xai_server.reply(None)
    xai_server.fail("INVALID_ARGUMENT")
    xai_server.reset()
    assert (xai_server.requests, xai_server.images) == ([], 0)
    assert xai.generate("an owl")[0].status == "ok"
    assert xai_server.prompts == ["an owl"]
    assert len(xai.history()) == 2


async def test_await_and_blocking_calls_work(xai_server: XaiServer) -> None:
    """In a running loop, too: the server has its own."""
    batches = await asyncio.gather(xai.agenerate("a fox"), xai.agenerate("an owl"))
    assert [batch[0].status for batch in batches] == ["ok", "ok"]
    assert xai.generate("a wolf")[0].status == "ok"
    assert len(xai_server.requests) == 3


# The process


@pytest.mark.parametrize("how", ["environment", "configure"])
def test_the_real_key_host_and_library_are_not_used(
    keyed: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """Whether they were set before or by the code under test."""
    real = tmp_path / "real"

    def set_up() -> None:
        if how == "environment":
            monkeypatch.setenv("XAI_API_HOST", keyed.address)
            monkeypatch.setenv("XAI_API_KEY", KEY)
            monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(real))
        else:
            xai.configure(api_host=keyed.address, home=str(real), backend="local")

    set_up()
    with XaiServer() as server:
        assert xai.generate("a fox")[0].status == "ok"
        set_up()
        assert xai.generate("an owl")[0].status == "ok"
        assert server.prompts == ["a fox", "an owl"]
        assert {*server.home.iterdir()}
    xai.configure(api_host=None, home=None, backend=None)
    assert keyed.calls == []
    assert not real.exists()
    assert KEY not in str(server.embedded.requests)


def test_everything_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables, defaults, session; temporary files are removed, and nothing is recorded."""
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "5/day")
    xai.configure(concurrency=3)
    before, session = dict(os.environ), current_session()
    state = Path(platformdirs.user_state_dir("xai-notebook-libraries", appauthor=False))
    marks = {*state.glob("*")}
    with XaiServer() as server:
        assert {n: v for n, v in os.environ.items() if n.startswith("XAI_")} == server.variables
        assert current_session() is not session
        xai.configure(concurrency=9, rate=2, model="grok-imagine-image-2.0")
        xai.generate("a fox")
        assert frontend.configured()["concurrency"] == 9
        home = server.home
        assert home.is_relative_to(tempfile.gettempdir())
    assert dict(os.environ) == before
    assert frontend.configured() == {"concurrency": 3}
    assert current_session() is session
    assert not home.exists()
    assert {*state.glob("*")} == marks
    xai.configure(concurrency=None)


def test_an_exception_restores_everything() -> None:
    before, server = dict(os.environ), XaiServer()

    def fail() -> None:
        with server:
            raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        fail()
    assert dict(os.environ) == before
    with pytest.raises(ConfigurationError, match="not running"):
        server.address  # noqa: B018


def test_code_that_closes_the_session_stays_in_the_test(xai_server: XaiServer) -> None:
    """As unloading the extension does."""
    xai.generate("a fox")
    close_session()
    xai.generate("an owl")
    assert xai_server.prompts == ["a fox", "an owl"]


def test_the_newest_server_is_used() -> None:
    """In any order of their ends."""
    before = dict(os.environ)
    first, second, third = XaiServer().start(), XaiServer().start(), XaiServer().start()
    xai.generate("a fox")
    second.close()
    xai.generate("an owl")
    third.close()
    xai.generate("a wolf")
    first.close()
    first.close()
    assert [s.prompts for s in (first, second, third)] == [["a wolf"], [], ["a fox", "an owl"]]
    assert dict(os.environ) == before


def test_a_server_can_be_started_again_but_not_twice(xai_server: XaiServer) -> None:
    with pytest.raises(ConfigurationError, match="running already"):
        xai_server.start()
    xai_server.close()
    with xai_server:
        assert xai.generate("a fox")[0].status == "ok"


# Without pytest, and as a plugin


def run_pytest(folder: Path, *options: str, **variables: str) -> str:
    """Run the tests in a folder with warnings as errors; return the output."""
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-o", "addopts=", "--rootdir", str(folder), "-W", "error", *options],
        cwd=folder, env={**without_xai(), **variables}, timeout=240, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_the_module_works_without_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import xai_notebook as xai\n"
        "from xai_notebook.testing import XaiServer\n"
        "with XaiServer() as server:\n"
        "    xai.generate('a fox')\n"
        "print(server.prompts)\n"
        "try: from xai_notebook.testing import xai_server\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=without_xai(), timeout=60, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("['a fox']\n")
    assert "pytest" in done.stdout.splitlines()[1]
    assert done.stderr == ""


CONFTEST = """
import os
import pytest
from xai_notebook.testing import XaiServer  # loads the plugin before pytest does

pytest_plugins = ["xai_notebook.testing"]

@pytest.fixture(autouse=True)
def patched(monkeypatch):  # older than the server, so it is undone after it
    monkeypatch.setenv("OTHER", "1")
    yield

@pytest.fixture(scope="session", autouse=True)
def outside():
    before = dict(os.environ)
    yield
    names = {*before, *os.environ} - {"PYTEST_CURRENT_TEST"}
    assert {n: before.get(n) for n in names} == {n: os.environ.get(n) for n in names}
"""
TESTS = """
import os
import pytest
import xai_notebook as xai

@pytest.fixture(scope="module")
def shared(xai_server_factory):
    with xai_server_factory(paint=False) as server:
        yield server

def test_shared(shared):
    xai.generate("a fox")
    assert shared.prompts == ["a fox"]

@pytest.mark.parametrize("number", range(4))
def test_own(xai_server, number, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XAI_API_HOST", "api.x.ai")
    monkeypatch.setenv("XAI_API_KEY", "another key")
    xai.generate("a fox")
    assert xai_server.prompts == ["a fox"]
    assert len(xai.history()) == 1
    assert xai_server.home.is_relative_to(tmp_path_factory.getbasetemp())

def test_shared_again(shared):
    xai.generate("an owl")
    assert shared.prompts[-1] == "an owl"

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_anyio(xai_server, anyio_backend):
    assert (await xai.agenerate("a fox"))[0].status == "ok"
    assert xai.generate("an owl")[0].status == "ok"

def test_left_running(xai_server_factory):
    server = xai_server_factory().start()
    xai.generate("a fox")
    assert server.prompts == ["a fox"]

def test_after_it(xai_server):
    xai.generate("a fox")
    assert xai_server.prompts == ["a fox"]
"""


@pytest.mark.parametrize("options", [(), ("-n", "2"), ("-p", "xai_notebook.testing")], ids=str)
def test_the_plugin_gives_each_test_a_server(tmp_path: Path, options: tuple[str, ...]) -> None:
    """In one process, with pytest-xdist, and loaded from the command line."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    real = tmp_path / "real-home"
    shown = run_pytest(
        tmp_path, *options, XAI_API_KEY=KEY, XAI_NOTEBOOK_HOME=str(real), XAI_API_HOST="no.host"
    )
    assert "9 passed" in shown
    assert not real.exists()


def test_the_page_is_right(tmp_path: Path) -> None:
    """Each block is a file, and all tests in them pass."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```python") > 8
    for name, code in blocks:
        (tmp_path / name).write_text(code, encoding="utf-8")
    tests = sum(code.count("def test_") for _, code in blocks)
    assert f"{tests} passed" in run_pytest(tmp_path, PYTHONPATH=str(tmp_path))
