"""Bounded reads and atomic writes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xai_notebook.pictures import files
from xai_notebook.pictures.files import open_atomically, read_bounded, write_atomically

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
    """Whether files are written with O_TMPFILE or under a temporary name."""
    if request.param == "named":
        monkeypatch.setattr(files, "_O_TMPFILE", 0)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_file_appears_with_its_content(tmp_path: Path) -> None:
    """The file's permissions follow the user's umask."""
    assert write_atomically(tmp_path / "fox.jpg", b"fox" * 1000)
    assert (tmp_path / "fox.jpg").read_bytes() == b"fox" * 1000
    assert listing(tmp_path) == ["fox.jpg"]
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "fox.jpg").stat().st_mode == plain.stat().st_mode


@pytest.mark.usefixtures("way")
def test_existing_files_folders_and_links_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = listing(tmp_path)
    assert not any(write_atomically(tmp_path / name, b"fox") for name in before)
    assert listing(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_an_existing_file_is_replaced_on_request(tmp_path: Path) -> None:
    path = tmp_path / "fox"
    path.write_text("old")
    assert write_atomically(path, b"new", overwrite=True, private=True, durable=False)
    assert path.read_bytes() == b"new"
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600
    assert listing(tmp_path) == ["fox"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "fox"
    path.write_text("old")
    with pytest.raises(TypeError), open_atomically(path, overwrite=True) as stream:
        stream.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["fox"]


@pytest.mark.skipif(not files._O_TMPFILE, reason="this system has no files without names")
def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.kill()
    assert listing(tmp_path) == []


def test_old_unfinished_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(OSError, match="No space left"):
        write_atomically(small_disk / f"{way}.jpg", b"0" * 2_000_000)
    assert listing(small_disk) == []
    assert write_atomically(small_disk / f"{way}.jpg", b"0" * 500_000)


def test_a_file_of_maximum_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "fox").write_bytes(b"fox")
    assert read_bounded(tmp_path / "fox", 3) == b"fox"


def test_a_growing_file_is_read_up_to_its_initial_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_endless_and_large_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with Path("sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(OSError, match=message):
        read_bounded(Path(name), 1 << 20)
