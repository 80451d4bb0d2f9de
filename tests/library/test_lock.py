"""Cross-process file locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import unprivileged, until
from xai_notebook.errors import LibraryError
from xai_notebook.library.storage import lock
from xai_notebook.library.storage.lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Victims

HOLDER = """
from xai_notebook.library.storage.lock import FileLock
held = FileLock(Path({file!r}))
acquired = held.acquire()
report(str(acquired))
time.sleep(60)
"""


def test_a_killed_process_releases_the_lock(tmp_path: Path, victims: Victims) -> None:
    file = tmp_path / "jobs" / "1.turn"
    lock_ = FileLock(file)
    victim = victims.start(HOLDER.format(file=str(file)))
    assert victim.reports.read(4) == b"True"
    assert not lock_.acquire()
    victim.kill()
    assert lock_.acquire()
    assert lock_.inherited


def test_a_lock_can_be_taken_and_removed_again_after_its_removal(tmp_path: Path) -> None:
    file = tmp_path / "1.turn"
    first, second = FileLock(file), FileLock(file)
    assert first.acquire()
    assert not second.acquire()
    first.release(remove=True)
    assert second.acquire()
    second.release(remove=True)
    assert not file.exists()


def test_a_removed_file_is_not_locked(tmp_path: Path) -> None:
    """Another process could hold the lock of a new file with the same name."""
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


def test_an_unwritable_folder_is_a_library_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with unprivileged(), pytest.raises(LibraryError, match="XAI_NOTEBOOK_HOME"):
            FileLock(tmp_path / "jobs" / "1.turn").acquire()
    finally:
        tmp_path.chmod(0o755)


def test_locks_still_exclude_threads_if_the_file_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "lock", lambda _: None)
    first, second = FileLock(tmp_path / "1.turn"), FileLock(tmp_path / "1.turn")
    assert first.acquire()
    assert not second.acquire()
    first.release(remove=False)
    assert second.acquire()
    second.release(remove=True)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path, victims: Victims) -> None:
    """The child is alive when another process acquires the lock."""
    file = tmp_path / "1.lock"
    forking = "if not os.fork():\n    time.sleep(30)\n    os._exit(0)\nreport"
    victim = victims.start(HOLDER.format(file=str(file)).replace("report", forking))
    assert victim.reports.read(4) == b"True"
    victim.kill()
    until(lambda: FileLock(file).acquire(), 20)
