"""A library that cannot be had: one warning, usable images, and the session goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from harness import start_kernel, tiny, unprivileged

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served
    from xai_notebook.generation.session import Session


def test_without_a_home_everything_else_works(quick: Served, tmp_path: Path) -> None:
    """A file where the folder should be: said once, and pictures are shown and exported."""
    home = tmp_path / "home-file"
    home.write_text("I am a file")
    variables = {"XAI_API_HOST": quick.address, "XAI_NOTEBOOK_HOME": str(home)}
    with start_kernel(tmp_path / "k", **variables) as kernel:
        kernel.run("%load_ext xai_notebook")
        first = kernel.run("%xai_image -n 2 --as foxes a red fox")
        second = kernel.run("%xai_image --export . --as hare a hare")
        sizes = kernel.run("[len(i.data) for i in foxes] + [hare[0].pil.size, hare[0].path.suffix]")
    assert (first.error, second.error, sizes.error) == (None, None, None)
    assert first.html[0].count("Images are not kept") == 1
    assert "XAI_NOTEBOOK_HOME" in first.html[0]
    assert "Images are not kept" not in second.html[0]
    assert first.html[0].count("<img") == 2
    assert sizes.text == [str([len(tiny()), len(tiny()), (1, 1), ".jpg"])]
    assert (first.stderr, second.stderr) == ("", "")
    assert home.read_text() == "I am a file"


def test_many_prompts_without_a_home(
    session: Session, quick: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning for the whole run, every picture at hand."""
    home = tmp_path / "file"
    home.write_text("x")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    session.configured = lambda: {"rate": 0}
    batch: Any = session.generate(each=[f"p{i}" for i in range(20)])
    assert [image.data for image in batch] == [tiny()] * 20
    assert len(batch.notes) == 1


@pytest.mark.parametrize("format_", ["base64", "url"])
def test_a_disk_that_fills_up(
    session: Session,
    quick: Served,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
) -> None:
    """What cannot be kept is shown all the same, with a warning; with room, keeping goes on."""
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(small_disk / "home"))
    session.generate("first")
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"0" * 512)
    quick.faults.garbage = tiny(1) + bytes(9000)
    batch: Any = session.generate("second", n=2, format=format_)
    assert [image.data for image in batch.ok] == [tiny(1) + bytes(9000)] * 2
    assert len(batch.notes) == 1
    assert "full. Free some space" in batch.notes[0]
    assert batch._repr_mimebundle_()["text/html"].count("<img") == 2
    filler.unlink()
    third: Any = session.generate("third")
    assert third.notes == ()
    assert {image.prompt for image in session.history()} >= {"first", "third"}


def test_a_damaged_library_is_left_alone(session: Session, quick: Served) -> None:
    """It is named with a cure, not a byte of it changes, and pictures are still made."""
    file = session.library().home / "library.sqlite3"
    session.close()
    content = b"not a database at all" * 100
    file.write_bytes(content)
    for name in ("-wal", "-shm"):
        file.with_name(file.name + name).unlink(missing_ok=True)
    batch: Any = session.generate("a fox")
    assert batch[0].data == tiny()
    assert len(batch.notes) == 1
    assert "is damaged, and was left as it is" in batch.notes[0]
    assert file.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_library_of_others(
    session: Session, quick: Served, folder_of_nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A course's folder answers without a call; what is new is shown, with one note."""
    home = folder_of_nobody / "course"
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    session.generate("a fox", n=2)
    session.close()
    subprocess.run(["chmod", "-R", "a-w,a+rX", home], check=True)
    calls = len(quick.calls)
    with unprivileged():
        known: Any = session.generate("a fox", n=2)
        new: Any = session.generate("a hare", format="url", rewrite="chat")
        assert [image.data for image in known] == [tiny()] * 2
        assert (known.notes, len(quick.calls)) == ((), calls + 1)
        assert [image.data for image in new] == [tiny()]
        assert len(new.notes) == 1
        assert "is read-only: it answers, and keeps nothing new" in new.notes[0]
        assert [image.prompt for image in session.history()] == ["a fox"] * 2
        session.close()
