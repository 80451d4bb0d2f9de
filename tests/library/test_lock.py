"""Cross-process file locks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness import reading_child, unprivileged, until
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
taken = held.acquire()
print(taken, flush=True)
sys.stdin.readline()
"""
FORKING_HOLDER = HOLDER.replace(
    "print", "import os; os.fork() or sys.exit(sys.stdin.read())\nprint"
)


def test_a_killed_process_releases_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "jobs" / "1.turn"
    turn = FileLock(file)
    with reading_child(HOLDER, str(file)) as process:
        assert not turn.acquire()
        process.kill()
        process.wait()
    assert turn.acquire()
    assert turn.inherited


def test_the_next_holder_removes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "1.turn"
    first, second = FileLock(file), FileLock(file)
    assert first.acquire()
    assert not second.acquire()
    first.release(remove=True)
    assert second.acquire()
    second.release(remove=True)
    assert not file.exists()


def test_a_removed_file_is_not_locked(tmp_path: Path) -> None:
    """Others would lock a new one at the same time."""
    file = tmp_path / "1.turn"
    first, second, third = (FileLock(file) for _ in range(3))
    assert first.acquire()
    assert not second.acquire()
    first.release(remove=True)
    assert third.acquire()
    assert not second.acquire()
    third.release(remove=True)
    assert second.acquire()
    assert not second.inherited


def test_an_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with unprivileged(), pytest.raises(LibraryError, match="XAI_NOTEBOOK_HOME"):
            FileLock(tmp_path / "jobs" / "1.turn").acquire()
    finally:
        tmp_path.chmod(0o755)


def test_locks_exclude_threads_without_file_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "lock", lambda _: None)
    first, second = FileLock(tmp_path / "1.turn"), FileLock(tmp_path / "1.turn")
    assert first.acquire()
    assert not second.acquire()
    first.release(remove=False)
    assert second.acquire()
    second.release(remove=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "1.lock"
    with reading_child(FORKING_HOLDER, str(file)) as process:
        process.kill()
        process.wait()
        until(lambda: FileLock(file).acquire())  # while the child lives on
