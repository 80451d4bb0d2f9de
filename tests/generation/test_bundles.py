"""Bundles: a notebook shows the same pictures on another machine, without key or library."""

from __future__ import annotations

import ast
import html
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

import xai_notebook as xai
from numbering_server import execute
from xai_notebook import __main__ as program
from xai_notebook.errors import ExportError, InputImageError, LibraryError, OptionError
from xai_notebook.generation.session import close_session, current_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Served
    from numbering_server import Notebooks, NumberingServer

    Messages = Callable[[], list[Any]]

SECRET = "user-of-a-colleague"


@pytest.fixture(autouse=True)
def story(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run in the notebook `story.ipynb`, in a new folder."""
    folder = tmp_path / "course"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("JPY_SESSION_NAME", str(folder / "story.ipynb"))
    return folder


def restart_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "other") -> None:
    """Restart with another library, without a key and without a server."""
    close_session()
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / name))
    monkeypatch.delenv("XAI_API_KEY")
    monkeypatch.delenv("XAI_API_HOST")


OF_BATCH = "again = xai.generate('an owl', n=2, replay=True).redo(1)"


def pictures() -> list[Any]:
    """Request the pictures of the notebook."""
    first = [*xai.generate("a fox", n=2), *xai.generate("a fox"), *xai.generate("an owl")]
    return [*first, *first[0].edit("a hat")]


def test_a_bundle_shows_the_same_elsewhere(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """The same digests, captions, models, costs and dates, in order; nothing is made."""
    first = pictures()
    assert xai.pack() == story / "story.xai"
    paid = len(image_server.image_counts)
    restart_elsewhere(monkeypatch, tmp_path)
    again = pictures()
    facts = [(p.sha256, p.caption, p.model, p.cost_usd, p.data) for p in first]
    assert [(p.sha256, p.caption, p.model, p.cost_usd, p.data) for p in again] == facts
    assert {p.bundle for p in again} == {"story.xai"}
    assert all(p.replayed and p.id is None for p in again)
    assert [p.created.date() for p in again] == [p.created.date() for p in first]
    assert len(image_server.image_counts) == paid
    assert len(xai.history()) == 0


def test_a_bundle_finds_pictures_by_id(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cell edits a picture by its id."""
    (first,) = xai.generate("a fox")
    name = f"@{(first.sha256 or '')[:8]}"
    (edited,) = xai.generate("a hat", image=name)
    xai.pack()
    paid = len(image_server.image_counts)
    restart_elsewhere(monkeypatch, tmp_path)
    (again,) = xai.generate("a hat", image=name)
    assert (again.sha256, again.bundle) == (edited.sha256, "story.xai")
    assert len(image_server.image_counts) == paid
    with pytest.raises(InputImageError, match="no picture of your library has this id"):
        xai.generate("a hat", image="@00000000")


def test_the_card_names_the_bundle(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The notice about local previews is left out."""
    (first,) = xai.generate("a fox")
    xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)
    batch = xai.generate("a fox")
    shown = batch._repr_mimebundle_()["text/html"]
    assert "from <bdi" in shown
    assert "story.xai" in shown
    assert first.model in shown
    assert f"{first.created.astimezone():%Y-%m-%d}" in shown
    assert "XAI_API_KEY" not in shown
    assert "XAI_API_KEY" in xai.generate("a new thought")._repr_mimebundle_()["text/html"]


def test_the_library_answers_before_a_bundle(image_server: NumberingServer, story: Path) -> None:
    (first,) = xai.generate("a fox")
    xai.pack("old.xai")
    close_session()
    (again,) = xai.generate("a fox")
    assert (again.sha256, again.bundle) == (first.sha256, None)


def test_fresh_pictures_do_not_come_from_a_bundle(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (first,) = xai.generate("a fox")
    xai.pack()
    close_session()
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "other"))
    (same,) = xai.generate("a fox")
    (fresh,) = xai.generate("a fox", fresh=True)
    assert same.sha256 == first.sha256 != fresh.sha256
    assert fresh.bundle is None


def test_replay_needs_a_picture_of_the_bundle(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """Without such a picture, the call fails, and the error names the cause."""
    (first,) = xai.generate("a fox")
    file = xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", replay=True)[0].sha256 == first.sha256
    with pytest.raises(LibraryError, match="0 of the 1"):
        xai.generate("an owl", replay=True)
    file.write_bytes(b"PK" + bytes(100))
    with pytest.raises(LibraryError, match=r"story\.xai is damaged"):
        xai.generate("a fox", replay=True)


def test_a_failed_replay_names_the_bundles(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """And the folder; only without any bundle, the message says how to make new pictures."""
    xai.generate("a fox")
    file = xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)

    def fail() -> str:
        with pytest.raises(LibraryError) as caught:
            xai.generate("an owl", replay=True)
        assert str(tmp_path) not in str(caught.value)
        return str(caught.value).partition("generates none. ")[2]

    assert fail() == (
        "The rest is not in story.xai (searched: the working directory). "
        "Pack the notebook again where it shows its pictures: xai.pack()."
    )
    file.write_bytes(b"PK" + bytes(100))
    assert fail() == (
        "No usable bundle was found in the working directory. story.xai is damaged or not a "
        "bundle, and was not used. Delete or rename it, and pack again with xai.pack()."
    )
    file.unlink()
    monkeypatch.chdir(tmp_path)
    assert fail() == (
        "No bundle was found in the folder course. Put story.xai into the folder course. "
        "Without replay=True, or with reuse=True instead, the rest is generated."
    )


def test_a_rewritten_prompt_comes_with_its_pictures(
    keyed: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The chat model is not called."""
    (first,) = xai.generate("a fox", rewrite="grok-4")
    assert first.rewritten_prompt
    xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)
    before = len(keyed.server.requests)
    (again,) = xai.generate("a fox", rewrite="grok-4", replay=True)
    assert (again.sha256, again.caption) == (first.sha256, first.caption)
    assert (again.prompt, again.rewritten_by) == ("a fox", first.rewritten_by)
    assert len(keyed.server.requests) == before


def forge(file: Path, **changes: Any) -> None:
    """Change fields of a bundle's first request."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    head, first, *others = members["requests.jsonl"].decode().splitlines()
    line = json.dumps(json.loads(first) | changes)
    members["requests.jsonl"] = "\n".join([head, line, *others]).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)


@pytest.fixture
def messages(keyed: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Messages:
    """Forge a rewrite in the notebook's bundle; return a function that lists later messages."""
    keyed.faults.chat_text = "a detailed fox"
    xai.generate("a fox", rewrite="grok-4")
    forge(xai.pack(), prompt="an advertisement")
    close_session()
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "other"))
    keyed.faults.chat_text = "a fox of mine"
    before = len(keyed.server.requests)
    return lambda: [call.message for call in keyed.server.requests[before:]]


def prompts(messages: Messages) -> list[str]:
    """Return the prompts of the requested pictures."""
    return [message.prompt for message in messages() if hasattr(message, "prompt")]


def test_a_rewrite_in_a_bundle_answers_and_is_not_sent(messages: Messages) -> None:
    """The caption shows the rewrite of the bundle; nothing is paid."""
    (again,) = xai.generate("a fox", rewrite="grok-4")
    assert (again.bundle, again.prompt) == ("story.xai", "a fox")
    assert again.caption.startswith("Rewritten prompt: ")
    assert again.cell == "%%xai_image --rewrite=grok-4\na fox"
    assert not messages()


@pytest.mark.parametrize(
    "options", [{"n": 2}, {"fresh": True}, {"n": 2, "reuse": True}, {"aspect_ratio": "2:1"}]
)
def test_missing_pictures_are_made_from_the_users_own_rewrite(
    messages: Messages, options: dict[str, Any]
) -> None:
    """No text of a bundle is sent with the user's key."""
    batch = xai.generate("a fox", rewrite="grok-4", **options)
    assert prompts(messages) == ["a fox of mine"]
    assert str(batch[-1].rewritten_prompt).startswith("A fox of mine")
    assert batch[-1].bundle is None
    assert "advertisement" not in str(messages())


def test_a_second_run_with_a_rewrite_in_a_bundle_is_free(messages: Messages) -> None:
    """Equal requests keep their order, though only the first is answered by the bundle."""
    first = [xai.generate("a fox", rewrite="grok-4")[0] for _ in range(3)]
    assert [image.bundle for image in first] == ["story.xai", None, None]
    assert len(prompts(messages)) == 2
    close_session()
    again = [xai.generate("a fox", rewrite="grok-4")[0] for _ in range(3)]
    assert [image.sha256 for image in again] == [image.sha256 for image in first]
    assert len(prompts(messages)) == 2


def test_a_job_submits_what_a_bundle_lacks(messages: Messages) -> None:
    """No text of the bundle is sent."""
    job = xai.generate(each=["a fox", "an owl"], rewrite="grok-4", batch=True)
    assert len(job.wait(60)) == 2
    assert "an owl" in str(messages())
    assert "a fox" not in prompts(messages)
    assert "advertisement" not in str(messages())


def test_unpacked_costs_do_not_count(
    messages: Messages, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count neither in the ledger nor in the budget; the bundle's rewrite is not stored."""
    file = (story / "story.xai").rename(story / "gift")
    with zipfile.ZipFile(file) as archive:
        line = json.loads(archive.read("requests.jsonl").splitlines()[1])
    forge(file, images=[line["images"][0] | {"cost_usd": 900.0}])
    xai.unpack(file)
    (row,) = xai.costs()
    assert (row.cost_usd, row.unknown) == (0.0, 0)
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "1/total")
    xai.generate("a fox", rewrite="grok-4")
    assert prompts(messages) == ["a fox of mine"]


def test_a_bundle_holds_no_private_data(
    image_server: NumberingServer, story: Path, tmp_path: Path
) -> None:
    """No user, no path, and no input image that was not made here."""
    source = story / "private photo.png"
    first = xai.generate("a fox", user=SECRET)[0]
    first.pil.resize((9, 9)).save(source)
    xai.generate("a hat", image=str(source))
    file = xai.pack()
    content = file.read_bytes()
    for secret in (SECRET, "private photo", str(tmp_path), story.name, "127.0.0.1"):
        assert secret.encode() not in content
        assert json.dumps(secret)[1:-1].encode() not in content
    assert source.read_bytes() not in content
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == 3


def test_a_bundle_answers_another_user(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (first,) = xai.generate("a fox", user=SECRET)
    xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", user="me", replay=True)[0].sha256 == first.sha256


def test_packing_again_adds_pictures(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Equal pictures make an equal file; new pictures are added to an existing bundle."""
    (fox,) = xai.generate("a fox")
    file = xai.pack()
    content = file.read_bytes()
    assert xai.pack().read_bytes() == content
    close_session()
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "other"))
    xai.generate("a fox")
    (owl,) = xai.generate("an owl")
    xai.pack()
    restart_elsewhere(monkeypatch, tmp_path, "third")
    packed = [xai.generate(prompt, replay=True)[0].sha256 for prompt in ("a fox", "an owl")]
    assert packed == [fox.sha256, owl.sha256]


def test_other_notebooks_are_not_packed(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle holds only pictures that its notebook made or showed."""
    xai.generate("a fox")
    (other,) = xai.generate("an owl")
    close_session()
    monkeypatch.setenv("JPY_SESSION_NAME", "tale.ipynb")
    with pytest.raises(LibraryError, match="no picture of this notebook"):
        xai.pack()
    xai.generate("a fox")
    file = xai.pack()
    assert file.name == "tale.xai"
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == 2
    assert str(other.sha256) not in str(file.read_bytes())


def test_only_a_bundle_is_overwritten(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, story: Path
) -> None:
    """A given file name ends in .xai; without a notebook's name, a file name is required."""
    xai.generate("a fox")
    (story / "story.xai").write_text("my notes")
    with pytest.raises(LibraryError, match=r"story\.xai is damaged or not a bundle"):
        xai.pack()
    assert (story / "story.xai").read_text() == "my notes"
    with pytest.raises(OptionError, match=r"end in \.xai"):
        xai.pack("story.zip")
    for path, problem in ((5, "type int is not a path"), ("~nobody-of-that-name/a.xai", "unknown")):
        for call in (xai.pack, xai.unpack):
            with pytest.raises(ExportError, match=problem):
                call(path)  # type: ignore[arg-type]
    monkeypatch.delenv("JPY_SESSION_NAME")
    with pytest.raises(OptionError, match="Name the file"):
        xai.pack()


def test_unpacked_pictures_are_in_the_library(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """Each once, with its date and at no cost."""
    first = pictures()
    with current_session().library().database.writing() as connection:
        connection.execute("UPDATE images SET created = created - 8640000")
        connection.execute("UPDATE requests SET created = created - 8640000")
    file = xai.pack().rename(tmp_path / "gift.xai")
    restart_elsewhere(monkeypatch, tmp_path)
    unpacked = xai.unpack(file)
    assert {p.sha256 for p in unpacked} == {p.sha256 for p in first}
    assert len(xai.unpack(file)) == 0
    assert {p.sha256 for p in xai.history()} == {p.sha256 for p in first}
    assert all((first[0].created - p.created).days in (99, 100) for p in xai.history())
    assert sum(row.cost_usd for row in xai.costs()) == 0
    edited = next(p for p in unpacked if p.request.inputs)
    assert "--image=" in edited.cell
    assert "choose:image 1" in edited.cell
    with pytest.raises(OptionError, match="choose"):
        xai.generate("a hat", image=edited.request.inputs[0].label)


def test_the_command_line_packs(
    image_server: NumberingServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    story: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pictures are found if their notebook's path was stored as absolute or as relative."""
    (first,) = xai.generate("a fox")
    close_session()
    monkeypatch.setenv("JPY_SESSION_NAME", "course/story.ipynb")
    xai.generate("an owl")
    close_session()
    assert program.main(["pack", str(story / "story.ipynb")]) == 0
    assert "story.xai: 2 pictures" in capsys.readouterr().out
    restart_elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", replay=True)[0].sha256 == first.sha256
    assert program.main(["pack", "unknown.ipynb"]) == 1
    missing = "unknown.ipynb is not a file. Give the path of a notebook.\n"
    assert capsys.readouterr().err == missing
    (story / "tale.ipynb").touch()
    assert program.main(["pack", str(story / "tale.ipynb")]) == 1
    assert "no picture of this notebook" in capsys.readouterr().err


def test_the_bundle_of_the_notebook_answers_first(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """Another bundle of the folder answers after this one was deleted."""
    (ours,) = xai.generate("a fox")
    xai.pack()
    (other,) = xai.generate("a fox", fresh=True)
    (story / "story.xai").rename(story / "keep")
    xai.pack("another.xai")
    (story / "keep").rename(story / "story.xai")
    restart_elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", replay=True)[0].sha256 == ours.sha256
    (story / "story.xai").unlink()
    assert xai.generate("a fox", replay=True)[0].bundle == "another.xai"
    assert other.sha256 != ours.sha256


def test_a_notebook_without_a_name_shows_the_same(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """The notebook runs twice in nbclient: the last cell packs, then another library is used."""
    monkeypatch.delenv("JPY_SESSION_NAME")
    head = "%load_ext xai_notebook\nimport xai_notebook as xai"
    cells = [head, "%%xai_image -n 2 --as one\na fox", "two = xai.generate('a fox')\ntwo"]
    tail = "print([(i.sha256, i.caption, i.model) for i in [*one, *two]])"

    first = execute(story, *cells, tail, "%xai_pack story.xai").nb
    paid = len(image_server.image_counts)
    restart_elsewhere(monkeypatch, tmp_path)
    second = execute(story, *cells, tail, "0").nb
    shown = [ast.literal_eval(book.cells[-2].outputs[0].text) for book in (first, second)]
    assert shown[0] == shown[1]
    assert len(shown[0]) == 3
    assert len(image_server.image_counts) == paid
    page = html.unescape(str(second.cells[1].outputs))
    assert "story.xai" in page
    assert "XAI_API_KEY" not in page


def test_the_magic_says_what_it_packed(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, story: Path
) -> None:
    """Without a known name, the only notebook of the folder names the bundle."""
    monkeypatch.delenv("JPY_SESSION_NAME")
    (story / "tale.ipynb").touch()
    cells = ["%load_ext xai_notebook", "%xai_image a fox", "%xai_pack", "%xai_image -n 2 an owl"]
    book = execute(
        story, *cells, "%xai_pack", "%xai_pack", "import xai_notebook\nxai_notebook.pack()"
    ).nb
    size = (story / "tale.xai").stat().st_size / 1000
    first, second, third, path = (book.cells[at].outputs[0] for at in (2, 4, 5, 6))
    assert first.text.startswith("Packed 1 picture (")
    assert first.text.endswith(" kB) into tale.xai.\n")
    assert second.text == f"Packed 3 pictures ({size:.0f} kB) into tale.xai, 2 of them new.\n"
    assert third.text == f"Packed 3 pictures ({size:.0f} kB) into tale.xai.\n"
    assert path.data["text/plain"] == "Path('tale.xai')"


def test_the_magic_says_which_bundle_to_name(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, story: Path
) -> None:
    """A run that shows pictures goes on; one without pictures, and a Python call, fail."""
    monkeypatch.delenv("JPY_SESSION_NAME")
    for name in ("b.ipynb", "a.ipynb", ".hidden.ipynb"):
        (story / name).touch()
    attempt = "try:\n    {}\nexcept xai.XaiError as error:\n    print('fails:', error)"
    book = execute(
        story,
        "%load_ext xai_notebook\nimport xai_notebook as xai",
        attempt.format("%xai_pack"),
        "%xai_image a fox",
        "%xai_pack",
        attempt.format("xai.pack()"),
    ).nb
    advice = "This folder has 2 notebooks: a.ipynb, b.ipynb. Name the bundle: %xai_pack a.xai\n"
    said = [book.cells[at].outputs[0].text for at in (1, 3, 4)]
    assert said == [f"fails: {advice}", advice, f"fails: {advice}"]
    assert not [*story.glob("*.xai")]


def test_pictures_of_another_bundle_are_packed(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """A copy of the notebook packs what it shows from the original's bundle, and no more."""
    first = pictures()
    xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(story / "copy.ipynb"))
    with pytest.raises(LibraryError, match="no picture of this notebook"):
        xai.pack()
    assert xai.generate("a fox", n=2)[0].bundle == "story.xai"
    assert xai.pack() == story / "copy.xai"
    (story / "story.xai").unlink()
    again = xai.generate("a fox", n=2, replay=True)
    assert [(p.sha256, p.bundle) for p in again] == [(p.sha256, "copy.xai") for p in first[:2]]
    assert str(first[3].sha256) not in str((story / "copy.xai").read_bytes())


@pytest.mark.parametrize("redo", ["again = xai.generate('an owl', n=2, redo=1)", OF_BATCH])
def test_redo_shows_what_the_author_saw(
    notebook: Notebooks,
    image_server: NumberingServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    story: Path,
    redo: str,
) -> None:
    """Running the cell again cannot change the bundle, and says so."""
    first = xai.generate("an owl", n=2).redo(1)
    xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)
    made = len(image_server.image_counts)
    book = notebook(redo)
    book.run()
    again = book.shell.user_ns["again"]
    assert [image.sha256 for image in again] == [image.sha256 for image in first]
    assert "Image [1] is from story.xai and stays as it is." in again.notes
    book.run()
    assert "is from story.xai, which cannot be changed" in str(book.errors[0])
    assert len(image_server.image_counts) == made


def test_a_redone_picture_is_packed_by_a_nameless_notebook(
    image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME")
    first = xai.generate("an owl", n=2).redo(1)
    xai.pack("tale.xai")
    restart_elsewhere(monkeypatch, tmp_path)
    again = xai.generate("an owl", n=2, replay=True)
    assert [image.sha256 for image in again] == [image.sha256 for image in first]


def test_redo_in_a_copied_cell_is_refused_with_a_bundle_too(
    notebook: Notebooks,
    image_server: NumberingServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    story: Path,
) -> None:
    xai.generate("an owl", n=2)
    xai.pack()
    restart_elsewhere(monkeypatch, tmp_path)
    made = len(image_server.image_counts)
    book = notebook("xai.generate('an owl', n=2)", "xai.generate('an owl', n=2, redo=1)")
    book.run()
    assert book.errors[0] is None
    assert "the images to replace belong to another cell" in str(book.errors[1])
    assert len(image_server.image_counts) == made
