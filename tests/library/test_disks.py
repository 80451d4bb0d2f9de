"""File systems without shared memory maps or without locks.

A preloaded C library makes system calls fail as they do on NFS, 9p or FUSE.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, tiny

if TYPE_CHECKING:
    from harness import Served

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_shm(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    return n > 4 && !memcmp(path + n - 4, "-shm", 4);
}

#define MMAP(NAME, OFFSET) \
void *NAME(void *at, size_t size, int prot, int flags, int fd, OFFSET offset) { \
    void *(*real)(void *, size_t, int, int, int, OFFSET) = dlsym(RTLD_NEXT, #NAME); \
    if ((flags & MAP_SHARED) && fd >= 0 && getenv("NO_SHM") && is_shm(fd)) { \
        errno = ENODEV; return MAP_FAILED; \
    } \
    return real(at, size, prot, flags, fd, offset); \
}
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

#define FCNTL(NAME) \
int NAME(int fd, int command, ...) { \
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #NAME); \
    va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); \
    if (getenv("NO_LOCKS") && (command == F_SETLK || command == F_SETLKW || command == F_GETLK)) { \
        errno = ENOLCK; return -1; \
    } \
    return real(fd, command, argument); \
}
FCNTL(fcntl)
FCNTL(fcntl64)

int flock(int fd, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    if (getenv("NO_LOCKS")) { errno = ENOLCK; return -1; }
    return real(fd, operation);
}
"""
CODE = """
import json, sys, time
from pathlib import Path
from xai_notebook.generation.session import Session
from xai_notebook.library import Library
from xai_notebook.errors import LibraryError

def generate(session, prompt):
    batch = session.generate(prompt)
    return [len(batch.ok), *batch.notes]

def report(function, *arguments):
    begun = time.monotonic()
    try:
        value = function(*arguments)
    except LibraryError as error:
        value = f"LibraryError: {error}"
    assert time.monotonic() - begun < 5, time.monotonic() - begun
    print(json.dumps(value), flush=True)

session = Session()
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD of Linux")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the shim."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler here")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    file = folder / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", file, folder / "shim.c", "-ldl"], check=True)
    return file


class Disk:
    """Runs processes on a file system without the `missing` features."""

    def __init__(self, home: Path, shim: Path, served: Served, **missing: str) -> None:
        self.home = home
        self.environment = {
            **os.environ, **missing, "LD_PRELOAD": str(shim), "XAI_NOTEBOOK_HOME": str(home),
            "XAI_API_KEY": KEY, "XAI_API_HOST": served.address,
        }  # fmt: skip

    def start(self, code: str, **changes: str) -> subprocess.Popen[str]:
        """Start a process."""
        command = [sys.executable, "-W", "error::ResourceWarning", "-c", CODE + code]
        return subprocess.Popen(
            command,
            env={**self.environment, **changes},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, **changes: str) -> list[Any]:
        """Return the values that a process passes to `report`."""
        with self.start(code, **changes) as process:
            output, _ = process.communicate()
        assert process.returncode == 0
        return [json.loads(line) for line in output.splitlines()]


USE = """
report(generate, session, "a fox")
report(generate, session, "a hare")
report(lambda: [image.prompt for image in session.history.search()])
report(lambda: [image.data == image.file.read_bytes() for image in session.history.search()])
session.close()
"""


@pytest.fixture(params=["NO_SHM", "NO_LOCKS"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, shim: Path, quick: Served) -> Disk:
    """A disk without shared memory maps, and one without locks."""
    return Disk(tmp_path / "home", shim, quick, **{request.param: "1"})


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_images_are_stored_and_replayed(disk: Disk, quick: Served, *, existing: bool) -> None:
    if existing:
        disk.run('report(generate, session, "an owl")\nimport os; os._exit(0)', LD_PRELOAD="")
    before = ["an owl"] if existing else []
    first, second, prompts, complete = disk.run(USE)
    assert (first[0], second) == (1, [1])
    assert [("no locks" in note) for note in first[1:]] == [True] * ("NO_LOCKS" in disk.environment)
    assert prompts == ["a hare", "a fox", *before]
    assert all(complete)
    calls = len(quick.calls)
    assert disk.run(USE)[2] == prompts
    assert len(quick.calls) == calls
    assert not list(disk.home.glob(".probe*"))
    assert not (disk.home / "owner.json").exists()


def test_processes_write_concurrently_without_memory_maps(
    tmp_path: Path, shim: Path, quick: Served
) -> None:
    disk = Disk(tmp_path / "home", shim, quick, NO_SHM="1")
    code = "for i in range(5): report(generate, session, f'{sys.argv} {i} {id(session)}')"
    processes = [disk.start(code) for _ in range(3)]
    for process in processes:
        output, _ = process.communicate()
        assert output == "[1]\n" * 5
    assert (
        len(disk.run("report(lambda: [i.prompt for i in session.history.search(n=100)])")[0]) == 15
    )


def test_one_process_at_a_time_without_locks(tmp_path: Path, shim: Path, quick: Served) -> None:
    """A second process keeps its replies in the spool until the first has died."""
    disk = Disk(tmp_path / "home", shim, quick, NO_LOCKS="1")
    with disk.start('report(generate, session, "a fox")\nsys.stdin.readline()') as first:
        assert first.stdout
        assert json.loads(first.stdout.readline())[0] == 1
        (batch, history) = disk.run(
            'report(generate, session, "a hare")\nreport(lambda: len(session.history.search()))'
        )
        assert batch[0] == 1
        assert "only in its spool" in batch[1]
        assert f"process {first.pid}" in batch[1]
        assert "LibraryError" in history
        first.kill()
    reported = disk.run("report(lambda: [image.prompt for image in session.history.search()])")
    assert reported == [["a hare", "a fox"]]


def test_an_owner_elsewhere_blocks_the_library(tmp_path: Path, shim: Path, quick: Served) -> None:
    disk = Disk(tmp_path / "home", shim, quick, NO_LOCKS="1")
    disk.home.mkdir()
    (disk.home / "owner.json").write_text('{"host": "elsewhere", "pid": 1, "token": "x"}')
    (error,) = disk.run("report(lambda: len(session.history.search()))")
    assert "on elsewhere" in error
    assert "owner.json" in error


def test_a_journal_of_another_machine_is_read_and_kept(
    tmp_path: Path, shim: Path, quick: Served
) -> None:
    """The other machine's process may be alive."""
    disk = Disk(tmp_path / "home", shim, quick, NO_LOCKS="1")
    code = """
import os, platform
platform.node = lambda: "elsewhere"
Library.add_replies = lambda self, replies: [[*reply.pictures] for reply in replies]
Library.settle = lambda self: None
report(generate, session, "a fox")
os._exit(0)
"""
    disk.run(code)
    (disk.home / "owner.json").unlink()
    for _ in range(2):
        assert disk.run("report(lambda: len(session.history.search()))\nsession.close()") == [1]
    (journal,) = (disk.home / "spool").glob("*.journal")
    assert journal.stat().st_size > len(tiny())


def test_an_ordinary_disk_has_a_write_ahead_log(tmp_path: Path, quick: Served) -> None:
    disk = Disk(tmp_path / "home", Path("/nowhere"), quick)
    code = """
report(generate, session, "a fox")
with session.library().database.reading() as connection:
    report(lambda: connection.execute("PRAGMA journal_mode").fetchone()[0])
"""
    assert disk.run(code, LD_PRELOAD="") == [[1], "wal"]
