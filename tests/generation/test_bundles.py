"""Bundles: a notebook shows the same pictures on another machine, without key or library."""

from __future__ import annotations

import ast
import html
import json
import zipfile
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

import xai_notebook as xai
from harness import without_xai
from xai_notebook import __main__ as program
from xai_notebook.errors import InputImageError, LibraryError, OptionError
from xai_notebook.generation.session import close_session

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served
    from press import Press

SECRET = "user-of-a-colleague"


@pytest.fixture(autouse=True)
def story(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run in the notebook `story.ipynb`, in a new folder."""
    folder = tmp_path / "course"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("JPY_SESSION_NAME", str(folder / "story.ipynb"))
    return folder


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "other") -> None:
    """Restart with another library, without a key and without a server."""
    close_session()
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / name))
    monkeypatch.delenv("XAI_API_KEY")
    monkeypatch.delenv("XAI_API_HOST")


def pictures() -> list[Any]:
    """Run the cells of the notebook."""
    made = [*xai.generate("a fox", n=2), *xai.generate("a fox"), *xai.generate("an owl")]
    return [*made, *made[0].edit("a hat")]


def test_a_colleague_sees_the_same(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """The same digests, captions, models, costs and dates, in order; nothing is made."""
    made = pictures()
    assert xai.pack() == story / "story.xai"
    paid = len(orders.orders)
    elsewhere(monkeypatch, tmp_path)
    seen = pictures()
    facts = [(p.sha256, p.caption, p.model, p.cost_usd, p.data) for p in made]
    assert [(p.sha256, p.caption, p.model, p.cost_usd, p.data) for p in seen] == facts
    assert {p.bundle for p in seen} == {"story.xai"}
    assert all(p.replayed and p.id is None for p in seen)
    assert [p.created.date() for p in seen] == [p.created.date() for p in made]
    assert len(orders.orders) == paid
    assert len(xai.history()) == 0


def test_ids_of_pictures_travel(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cell that edits a picture by its id finds it in the bundle."""
    (made,) = xai.generate("a fox")
    name = f"@{(made.sha256 or '')[:8]}"
    (edited,) = xai.generate("a hat", image=name)
    xai.pack()
    paid = len(orders.orders)
    elsewhere(monkeypatch, tmp_path)
    (seen,) = xai.generate("a hat", image=name)
    assert (seen.sha256, seen.bundle, len(orders.orders)) == (edited.sha256, "story.xai", paid)
    with pytest.raises(InputImageError, match="no picture of your library has this id"):
        xai.generate("a hat", image="@00000000")


def test_the_card_names_the_bundle(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the notice about local previews."""
    (made,) = xai.generate("a fox")
    xai.pack()
    elsewhere(monkeypatch, tmp_path)
    batch = xai.generate("a fox")
    shown = batch._repr_mimebundle_()["text/html"]
    assert "from <bdi" in shown
    assert "story.xai" in shown
    assert made.model in shown
    assert f"{made.created.astimezone():%Y-%m-%d}" in shown
    assert "XAI_API_KEY" not in shown
    assert "XAI_API_KEY" in xai.generate("a new thought")._repr_mimebundle_()["text/html"]


def test_the_library_answers_first(orders: Press, story: Path) -> None:
    (first,) = xai.generate("a fox")
    xai.pack("old.xai")
    close_session()
    (again,) = xai.generate("a fox")
    assert (again.sha256, again.bundle) == (first.sha256, None)


def test_fresh_pictures_do_not_come_from_a_bundle(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """Otherwise the call fails, and the error names the cause."""
    (made,) = xai.generate("a fox")
    file = xai.pack()
    elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", replay=True)[0].sha256 == made.sha256
    with pytest.raises(LibraryError, match="0 of the 1"):
        xai.generate("an owl", replay=True)
    file.write_bytes(b"PK" + bytes(100))
    with pytest.raises(LibraryError, match=r"story\.xai is damaged"):
        xai.generate("a fox", replay=True)


def test_a_rewritten_prompt_comes_with_its_pictures(
    keyed: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The chat model is not called."""
    (made,) = xai.generate("a fox", rewrite="grok-4")
    assert made.rewritten_prompt
    xai.pack()
    elsewhere(monkeypatch, tmp_path)
    before = len(keyed.server.requests)
    (seen,) = xai.generate("a fox", rewrite="grok-4", replay=True)
    assert (seen.sha256, seen.caption) == (made.sha256, made.caption)
    assert (seen.prompt, seen.rewritten_by) == ("a fox", made.rewritten_by)
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


class Since:
    """The messages that a server has received since a moment."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = len(served.server.requests)

    @property
    def messages(self) -> list[Any]:
        """All messages."""
        return [call.message for call in self._served.server.requests[self._before :]]

    @property
    def prompts(self) -> list[str]:
        """The prompts of the pictures that were ordered."""
        return [one.prompt for one in self.messages if hasattr(one, "prompt")]


@pytest.fixture
def rewritten(keyed: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Since:
    """Put a forged bundle beside the notebook that rewrites one of our prompts."""
    keyed.faults.chat_text = "a detailed fox"
    xai.generate("a fox", rewrite="grok-4")
    forge(xai.pack(), prompt="an advertisement")
    close_session()
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "other"))
    keyed.faults.chat_text = "a fox of mine"
    return Since(keyed)


def test_a_rewrite_of_a_bundle_answers_and_is_not_sent(rewritten: Since) -> None:
    """The caption shows the rewrite of the bundle; nothing is paid."""
    (seen,) = xai.generate("a fox", rewrite="grok-4")
    assert (seen.bundle, seen.prompt) == ("story.xai", "a fox")
    assert seen.caption.startswith("Rewritten prompt: ")
    assert seen.cell == "%%xai_image --rewrite=grok-4\na fox"
    assert not rewritten.messages


@pytest.mark.parametrize(
    "options", [{"n": 2}, {"fresh": True}, {"n": 2, "reuse": True}, {"aspect_ratio": "2:1"}]
)
def test_missing_pictures_are_made_from_a_rewrite_of_ours(
    rewritten: Since, options: dict[str, Any]
) -> None:
    """No word of a bundle is sent with the user's key."""
    made = xai.generate("a fox", rewrite="grok-4", **options)
    assert rewritten.prompts == ["a fox of mine"]
    assert str(made[-1].rewritten_prompt).startswith("A fox of mine")
    assert made[-1].bundle is None
    assert "advertisement" not in str(rewritten.messages)


def test_a_second_run_beside_such_a_bundle_is_free(rewritten: Since) -> None:
    """Equal requests keep their order, though only the first is answered by the bundle."""
    first = [xai.generate("a fox", rewrite="grok-4")[0] for _ in range(3)]
    assert [one.bundle for one in first] == ["story.xai", None, None]
    assert len(rewritten.prompts) == 2
    close_session()
    again = [xai.generate("a fox", rewrite="grok-4")[0] for _ in range(3)]
    assert [one.sha256 for one in again] == [one.sha256 for one in first]
    assert len(rewritten.prompts) == 2


def test_a_job_beside_such_a_bundle_orders_what_it_lacks(rewritten: Since) -> None:
    """It sends no word of the bundle either."""
    job = xai.generate(each=["a fox", "an owl"], rewrite="grok-4", batch=True)
    assert len(job.wait(60)) == 2
    assert "an owl" in str(rewritten.messages)
    assert "a fox" not in rewritten.prompts
    assert "advertisement" not in str(rewritten.messages)


def test_unpacking_sets_no_price_and_spends_nothing(
    rewritten: Since, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Costs in a bundle are shown and do not count; its rewrite is not remembered."""
    file = (story / "story.xai").rename(story / "gift")
    with zipfile.ZipFile(file) as archive:
        line = json.loads(archive.read("requests.jsonl").splitlines()[1])
    forge(file, images=[line["images"][0] | {"cost_usd": 900.0}])
    xai.unpack(file)
    (row,) = xai.costs()
    assert (row.cost_usd, row.unknown) == (0.0, 0)
    monkeypatch.setenv("XAI_NOTEBOOK_BUDGET", "1/total")
    xai.generate("a fox", rewrite="grok-4")
    assert rewritten.prompts == ["a fox of mine"]


def test_a_bundle_holds_no_private_data(orders: Press, story: Path, tmp_path: Path) -> None:
    """No user, no path, and no input image that was not made here."""
    source = story / "private photo.png"
    made = xai.generate("a fox", user=SECRET)[0]
    made.pil.resize((9, 9)).save(source)
    xai.generate("a hat", image=str(source))
    file = xai.pack()
    content = file.read_bytes()
    for secret in (SECRET, "private photo", str(tmp_path), story.name, "127.0.0.1"):
        assert secret.encode() not in content
        assert json.dumps(secret)[1:-1].encode() not in content
    assert source.read_bytes() not in content
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == 3


def test_a_user_of_another_name_is_answered(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The user is not in the bundle, and does not matter to it."""
    (made,) = xai.generate("a fox", user=SECRET)
    xai.pack()
    elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", user="me", replay=True)[0].sha256 == made.sha256


def test_packing_again_keeps_and_adds(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
    elsewhere(monkeypatch, tmp_path, "third")
    found = [xai.generate(prompt, replay=True)[0].sha256 for prompt in ("a fox", "an owl")]
    assert found == [fox.sha256, owl.sha256]


def test_other_notebooks_are_not_packed(orders: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only pictures that this notebook made, or shows in this kernel; none from the trash."""
    xai.generate("a fox")
    (gone,) = xai.generate("an owl")
    close_session()
    monkeypatch.setenv("JPY_SESSION_NAME", "tale.ipynb")
    with pytest.raises(LibraryError, match="no picture of this notebook"):
        xai.pack()
    xai.generate("a fox")
    file = xai.pack()
    assert file.name == "tale.xai"
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == 2
    assert str(gone.sha256) not in str(file.read_bytes())


def test_a_name_is_needed_and_another_file_is_left_alone(
    orders: Press, monkeypatch: pytest.MonkeyPatch, story: Path
) -> None:
    """Only a bundle is overwritten."""
    xai.generate("a fox")
    (story / "story.xai").write_text("my notes")
    with pytest.raises(LibraryError, match=r"story\.xai is damaged or not a bundle"):
        xai.pack()
    assert (story / "story.xai").read_text() == "my notes"
    with pytest.raises(OptionError, match=r"end in \.xai"):
        xai.pack("story.zip")
    monkeypatch.delenv("JPY_SESSION_NAME")
    with pytest.raises(OptionError, match="Name the file"):
        xai.pack()


def test_unpacked_pictures_are_in_the_library(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """Once, with their dates and at no cost."""
    made = pictures()
    file = xai.pack().rename(tmp_path / "gift.xai")
    elsewhere(monkeypatch, tmp_path)
    taken = xai.unpack(file)
    assert {p.sha256 for p in taken} == {p.sha256 for p in made}
    assert len(xai.unpack(file)) == 0
    assert {p.sha256 for p in xai.history()} == {p.sha256 for p in made}
    assert sum(row.cost_usd for row in xai.costs()) == 0
    edited = next(p for p in taken if p.request.inputs)
    assert "--image=" in edited.cell
    assert "choose:image 1" in edited.cell
    with pytest.raises(OptionError, match="choose"):
        xai.generate("a hat", image=edited.request.inputs[0].label)


def test_the_program_packs(
    orders: Press,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    story: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`python -m xai_notebook pack` finds a notebook by its absolute or relative path."""
    (made,) = xai.generate("a fox")
    close_session()
    monkeypatch.setenv("JPY_SESSION_NAME", "course/story.ipynb")
    xai.generate("an owl")
    close_session()
    assert program.main(["pack", str(story / "story.ipynb")]) == 0
    assert "story.xai: 2 pictures" in capsys.readouterr().out
    elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", replay=True)[0].sha256 == made.sha256
    assert program.main(["pack", "unknown.ipynb"]) == 1
    assert "no picture of this notebook" in capsys.readouterr().err


def test_the_bundle_of_the_notebook_answers_first(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """Then the others by name; a deleted bundle does not answer."""
    (ours,) = xai.generate("a fox")
    xai.pack()
    (theirs,) = xai.generate("a fox", fresh=True)
    (story / "story.xai").rename(story / "keep")
    xai.pack("another.xai")
    (story / "keep").rename(story / "story.xai")
    elsewhere(monkeypatch, tmp_path)
    assert xai.generate("a fox", replay=True)[0].sha256 == ours.sha256
    (story / "story.xai").unlink()
    assert xai.generate("a fox", replay=True)[0].bundle == "another.xai"
    assert theirs.sha256 != ours.sha256


def test_a_notebook_without_a_name_shows_the_same(
    orders: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Path
) -> None:
    """With nbclient: packed in the last cell, run with another library."""
    monkeypatch.delenv("JPY_SESSION_NAME")
    head = "%load_ext xai_notebook\nimport xai_notebook as xai"
    cells = [head, "%%xai_image -n 2 --as one\na fox", "two = xai.generate('a fox')\ntwo"]
    tail = "print([(i.sha256, i.caption, i.model) for i in [*one, *two]])"

    def run(last: str, **environment: str) -> Any:
        code = [nbformat.v4.new_code_cell(cell) for cell in [*cells, tail, last]]
        made = nbformat.v4.new_notebook(cells=code)
        client = NotebookClient(
            made, kernel_name="python3", resources={"metadata": {"path": str(story)}}
        )
        client.execute(env=without_xai() | environment)
        return made

    first = run(
        "%xai_pack story.xai",
        XAI_NOTEBOOK_HOME=str(tmp_path / "home"),
        XAI_API_KEY="xai-key-of-a-test",
        XAI_API_HOST=orders.host,
    )
    paid = len(orders.orders)
    second = run("0", XAI_NOTEBOOK_HOME=str(tmp_path / "other"))
    shown = [ast.literal_eval(made.cells[-2].outputs[0].text) for made in (first, second)]
    assert shown[0] == shown[1]
    assert len(shown[0]) == 3
    assert len(orders.orders) == paid
    page = html.unescape(str(second.cells[1].outputs))
    assert "story.xai" in page
    assert "XAI_API_KEY" not in page
