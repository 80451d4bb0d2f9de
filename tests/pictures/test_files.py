"""Files of the user's: read within bounds, written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xai_notebook.pictures import files
from xai_notebook.pictures.files import read_bounded, write_atomically

WRITER = """
import os, sys, time
from pathlib import Path
from xai_notebook.pictures.files import write_atomically

def hang(descriptor):
    print("written", flush=True)
    time.sleep(600)

os.fsync = hang
write_atomically(Path(sys.argv[1]) / "fox.jpg", b"fox" * 1000)
"""


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["nameless", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write: without a name where the system can, else under a hidden one."""
    if request.param == "named":
        monkeypatch.setattr(files, "_O_TMPFILE", 0)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_file_appears_with_its_content(tmp_path: Path) -> None:
    """Nothing else is left in the folder, and the user's umask decides who may read it."""
    assert write_atomically(tmp_path / "fox.jpg", b"fox" * 1000)
    assert (tmp_path / "fox.jpg").read_bytes() == b"fox" * 1000
    assert listing(tmp_path) == ["fox.jpg"]
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "fox.jpg").stat().st_mode == plain.stat().st_mode


@pytest.mark.usefixtures("way")
def test_a_name_that_is_taken_stays_what_it_is(tmp_path: Path) -> None:
    """A file, a folder and a link that leads nowhere are not replaced."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = listing(tmp_path)
    assert not any(write_atomically(tmp_path / name, b"fox") for name in before)
    assert listing(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not files._O_TMPFILE, reason="this system has no files without names")
def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    """A file without a name goes with the process that wrote it."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.kill()
    assert listing(tmp_path) == []


def test_what_killed_writers_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where unfinished files need names, an old one goes with the next write; others stay."""
    monkeypatch.setattr(files, "_O_TMPFILE", 0)
    names = (".xai-notebook-dead.tmp", ".xai-notebook-alive.tmp", ".of-others.tmp")
    dead, alive, others = (tmp_path / name for name in names)
    for path in (dead, alive, others):
        path.write_text("half")
    for path in (dead, others):
        os.utime(path, (time.time() - 7200,) * 2)
    write_atomically(tmp_path / "fox.jpg", b"fox")
    assert listing(tmp_path) == sorted([alive.name, others.name, "fox.jpg"])


def test_a_full_disk_leaves_nothing(small_disk: Path, way: str) -> None:
    """What does not fit is an error, and the space is free again."""
    with pytest.raises(OSError, match="No space left"):
        write_atomically(small_disk / f"{way}.jpg", b"0" * 2_000_000)
    assert listing(small_disk) == []
    assert write_atomically(small_disk / f"{way}.jpg", b"0" * 500_000)


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """All of it, up to the limit itself."""
    (tmp_path / "fox").write_bytes(b"fox")
    assert read_bounded(tmp_path / "fox", 3) == b"fox"


def test_a_file_that_grows_is_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that never ends does not keep the reader."""
    path = tmp_path / "fox"
    path.write_bytes(b"fox")
    measure = os.fstat

    def measure_and_grow(descriptor: int) -> os.stat_result:
        measured = measure(descriptor)
        with path.open("ab") as stream:
            stream.write(b"es" * 1000)
        return measured

    monkeypatch.setattr(os, "fstat", measure_and_grow)
    assert read_bounded(path, 1000) == b"fox"


@pytest.mark.skipif(os.name == "nt", reason="POSIX devices and pipes")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/dev/zero", "Not a regular file"),
        ("pipe", "Not a regular file"),
        ("sparse", "More than 1 MiB"),
        (".", "Is a directory"),
        ("nothing", "No such file"),
    ],
)
def test_what_has_no_end_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    """Devices, pipes, folders and files over the limit are refused before a byte is read."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with Path("sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(OSError, match=message):
        read_bounded(Path(name), 1 << 20)
