"""A lock that one process holds at a time, and that a killed process releases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness import fork, reading_child, unprivileged, until
from xai_notebook.errors import LibraryError
from xai_notebook.library.storage import lock
from xai_notebook.library.storage.lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from xai_notebook.library.storage.lock import FileLock
held = FileLock(Path(sys.argv[1]))
print(held.take(), flush=True)
sys.stdin.readline()
"""


def test_a_killed_process_releases_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "jobs" / "1.turn"
    turn = FileLock(file)
    with reading_child(HOLDER, str(file)) as process:
        assert not turn.take()
        process.kill()
        process.wait()
    assert turn.take()
    assert turn.inherited


def test_it_is_handed_on(tmp_path: Path) -> None:
    """Within a process, too; the file is gone when it is over, whoever still waits for it."""
    file = tmp_path / "1.turn"
    first, second = FileLock(file), FileLock(file)
    assert first.take()
    assert not second.take()
    first.leave(over=True)
    assert second.take()
    second.leave(over=True)
    assert not file.exists()


def test_two_never_have_it(tmp_path: Path) -> None:
    """Who waited for a file that is removed does not lock that one while others lock a new one."""
    file = tmp_path / "1.turn"
    first, second, third = (FileLock(file) for _ in range(3))
    assert first.take()
    assert not second.take()
    first.leave(over=True)
    assert third.take()
    assert not second.take()
    third.leave(over=True)
    assert second.take()
    assert not second.inherited


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """It is an error that says what to do: without the right nothing is begun."""
    tmp_path.chmod(0o555)
    try:
        with unprivileged(), pytest.raises(LibraryError, match="XAI_NOTEBOOK_HOME"):
            FileLock(tmp_path / "jobs" / "1.turn").take()
    finally:
        tmp_path.chmod(0o755)


def test_without_locks_threads_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system has none, the one process that has the library has one holder."""
    monkeypatch.setattr(lock, "lock", lambda _: None)
    first, second = FileLock(tmp_path / "1.turn"), FileLock(tmp_path / "1.turn")
    assert first.take()
    assert not second.take()
    first.leave(over=False)
    assert second.take()
    second.leave(over=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """The parent releases it, although the child lives on."""
    file = tmp_path / "1.lock"
    first = FileLock(file)
    assert first.take()
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # until the parent closes its end
        os._exit(0)
    os.close(reading)
    os.close(first._descriptor or 0)  # as a kill does: nothing is unlocked
    first._descriptor = None
    lock._HELD.clear()
    try:
        until(lambda: FileLock(file).take())  # the child has begun
    finally:
        os.close(writing)
        os.waitpid(child, 0)
