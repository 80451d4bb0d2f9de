"""The error tree, and how errors are rendered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from xai_notebook import errors

if TYPE_CHECKING:
    from pathlib import Path


def documented_parents() -> dict[str, str]:
    """Return the parent of each error in the tree of the module's docstring."""
    parents: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ([\s│├└─]*)(\w+Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        while stack and stack[-1][0] >= depth:
            stack.pop()
        parents[name] = stack[-1][1] if stack else ""
        stack.append((depth, name))
    return parents


def classes() -> dict[str, type[BaseException]]:
    """Return the exceptions of the module by name."""
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }


def test_all_is_sorted_and_complete() -> None:
    assert errors.__all__ == sorted(classes())


def test_the_docstring_shows_the_tree() -> None:
    bases = {
        name: kind.__bases__[0].__name__ if kind is not errors.XaiError else ""
        for name, kind in classes().items()
    }
    tree = documented_parents()
    assert set(tree) == set(bases)
    for name, parent in tree.items():
        assert issubclass(classes()[name], classes().get(parent, errors.XaiError))
        # The base of InputImageError is OptionError; users look for it at the top level.
        assert bases[name] == parent or name == "InputImageError"


@pytest.mark.parametrize("kind", [kind for _, kind in sorted(classes().items())])
def test_a_message_is_shown_unchanged(kind: type[errors.XaiError]) -> None:
    error = kind("cause.\ncure.")
    assert str(error) == "cause.\ncure."
    assert error._render_traceback_() == [f"{kind.__name__}: cause.\ncure."]


@pytest.mark.parametrize("kind", [errors.LibraryError, errors.ExportError, errors.DownloadError])
def test_a_message_hides_the_home_folder(
    kind: type[errors.XaiError], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where the home folder is a link; other folders with such a name stay."""
    (tmp_path / "disk").mkdir()
    home = tmp_path / "ann"
    home.symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    error = kind(f"{home}/a.png, {home}, '{tmp_path / 'disk'}' and file://{home}/b. {home}. {home}")
    assert str(error) == "~/a.png, ~, '~' and file://~/b. ~. ~"
    assert error._render_traceback_() == [f"{kind.__name__}: {error}"]
    assert str(home) not in "".join(error._render_traceback_())
    assert str(kind(f"/{home}/a.png")) == "~/a.png"
    others = f"{home}a/x {home}-2 {home}.old /mnt{home}/x https://a.example{home}/x"
    assert str(kind(others)) == others
    monkeypatch.setenv("HOME", f"{home} lee")
    monkeypatch.setenv("USERPROFILE", f"{home} lee")
    assert str(kind((tmp_path / "ann lee" / "a.png").as_uri())) == "file://~/a.png"
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("USERPROFILE", "/")
    assert str(kind("/a.png")) == "/a.png"


def test_tb_shows_the_causes_of_an_error() -> None:
    """IPython renders the error a second time for `%tb`."""

    def fail() -> None:
        try:
            _ = {"outer": 1}["inner"]
        except KeyError as cause:
            raise errors.LibraryError("outer") from cause

    with pytest.raises(errors.LibraryError) as caught:
        fail()
    error = caught.value
    assert error._render_traceback_() == ["LibraryError: outer"]
    full = "".join(error._render_traceback_())
    assert "KeyError: 'inner'" in full
    assert "Traceback" in full


def test_errors_have_builtin_bases() -> None:
    assert issubclass(errors.OptionError, ValueError)
    assert issubclass(errors.DeadlineExceededError, TimeoutError)
    assert issubclass(errors.UnavailableError, ConnectionError)
    assert issubclass(errors.MissingImageError, LookupError)
    assert issubclass(errors.DownloadError, OSError)
