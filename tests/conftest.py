"""Shared fixtures: a clean environment, servers on loopback, shells and kernels."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import inspect
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

import xai_notebook as xai
from harness import (
    KEY,
    Victims,
    fork_server,
    serve,
    small_disk_at,
    start_kernel,
    tiny,
    without_xai,
)
from numbering_server import Notebook, start_numbering_server
from openai_stub import run_stub
from xai_notebook import frontend
from xai_notebook.client import http
from xai_notebook.client.transport import retry
from xai_notebook.generation.session import Session, close_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import Popen

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Kernel, Served
    from numbering_server import NumberingServer
    from openai_stub import Stub

# Without bytecode, each kernel and server would compile the whole package. `stand_ins` replaces a
# module that takes long to import.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
paths = [str(Path(__file__).parent / "stand_ins"), os.environ.get("PYTHONPATH")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
# The folder in which trusted libraries are recorded.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="xai-notebook-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

SECOND_BROWSER = ("test_extension.py", "test_lab.py", "test_opening.py", "test_progress.py")
"""Test files that run in the second browser, about half of the work."""

hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("busy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give every test a new library, and no key."""
    for name in set(os.environ) - set(without_xai()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "home"))
    # gRPC reads these variables once, when imported. Its log would fail tests of output.
    for name, value in (("GRPC_VERBOSITY", "NONE"), ("GRPC_ENABLE_FORK_SUPPORT", "0")):
        monkeypatch.setenv(name, os.environ.get(name, value))


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the backoff of retries; tests of the backoff override this fixture."""
    soon = {code: retry.Backoff(0.02, 0.1) for code in retry._BACKOFF}
    monkeypatch.setattr(retry, "_BACKOFF", soon)
    monkeypatch.setattr(http, "_BACKOFF", retry.Backoff(0.02, 0.1))


@pytest.fixture
def server() -> Iterator[Served]:
    """A server for this test; `server.faults` makes it fail."""
    with serve() as served:
        yield served


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server of the OpenAI images API, used as an engine."""
    with run_stub() as running:
        yield running


@pytest.fixture
def quick(server: Served) -> Served:
    """The server, with a prepared picture instead of painted ones."""
    server.faults.garbage = tiny()
    return server


@pytest.fixture
def keyed(server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The server, set in the environment together with a key."""
    monkeypatch.setenv("XAI_API_KEY", KEY)
    monkeypatch.setenv("XAI_API_HOST", server.address)
    return server


@pytest.fixture
def new_session() -> Iterator[Callable[[], Session]]:
    """Make sessions, each like a fresh kernel with the same library; close them at the end."""
    with contextlib.ExitStack() as stack:

        def make() -> Session:
            session = Session()
            stack.callback(session.close)
            return session

        yield make


@pytest.fixture
def session(keyed: Served, new_session: Callable[[], Session]) -> Session:
    """A session that talks to `server` with a key."""
    return new_session()


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InteractiveShell]:
    """IPython in this process with the extension loaded, in an empty folder."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(frontend, "_loaded_in", None)
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config, ipython_dir=str(tmp_path / "ipython"))
    shell.extension_manager.load_extension("xai_notebook")
    yield shell
    shell.extension_manager.unload_extension("xai_notebook")
    close_session()
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()


@pytest.fixture
def image_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NumberingServer]:
    """Start a server that counts requested images; set its host and a key in the environment."""
    with start_numbering_server() as server:
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", server.host)
        yield server


@pytest.fixture
def notebook(shell: InteractiveShell, image_server: NumberingServer) -> Callable[..., Notebook]:
    """Make notebooks whose cells have ids, as JupyterLab and VS Code send them."""
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]  # a kernel, not a terminal
    shell.user_ns["xai"] = xai
    shell.autoawait = True
    return lambda *cells, **options: Notebook(shell, *cells, **options)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "disk", "1m") as disk:
        yield disk


@pytest.fixture(scope="session")
def _fork_server() -> Iterator[Popen[str]]:
    with fork_server() as process:
        yield process


@pytest.fixture
def victims(
    _fork_server: Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victims]:
    """Start processes to be killed; they end with the test."""
    victims = Victims(_fork_server, tmp_path_factory.mktemp("victims"))
    yield victims
    victims.close()


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder that users other than root can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel for this module, without a key and with the extension loaded."""
    with start_kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        loaded = kernel.run("%load_ext xai_notebook\nimport xai_notebook as xai")
        assert loaded.error is None
        yield kernel


@pytest.fixture(autouse=True, scope="module")
def _frozen() -> None:
    """Exclude existing objects from garbage collection.

    IPython collects garbage whenever a shell ends, which would visit 500,000 objects in each test.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest folders and files first, so that no worker ends with one of them."""
    order = (
        "browser",
        "test_notebooks.py",
        "test_testing.py",
        "test_papermill.py",
        "test_unattended.py",
        "test_panel_restore.py",
        "test_neighbours.py",
        "client",
        "generation",
    )

    def rank(item: pytest.Item) -> int:
        parts = item.path.relative_to(Path(__file__).parent).parts
        return next((i for i, name in enumerate(order) if name in parts), len(order))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run the browser tests in two workers, which have one browser each."""
    from xdist.scheduler import LoadFileScheduling

    class TwoBrowsers(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = super()._split_scope(nodeid)
            if "/browser/" not in scope:
                return str(scope)
            return f"browser {scope.endswith(SECOND_BROWSER)}"

    return TwoBrowsers(config, log) if config.getoption("dist") == "loadfile" else None
