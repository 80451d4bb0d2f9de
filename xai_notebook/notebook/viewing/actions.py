"""What is done with chosen pictures; each returns a sentence that says what was done."""

from __future__ import annotations

import builtins
import keyword
from typing import TYPE_CHECKING, Any

from xai_notebook.errors import MissingImageError, OptionError
from xai_notebook.generation.session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence

    from xai_notebook.library.catalog import Shelved
    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

__all__ = ["ACTIONS", "batch_of", "check_name", "gone", "image_of", "rows_of"]


def rows_of(ids: Sequence[int]) -> list[Shelved]:
    """Return pictures of the library that may be seen here, in a worker thread.

    Raises:
        LibraryError: The library cannot be opened.
    """
    session = current_session()
    return session.library().shelf.rows(session.visible(ids))


def batch_of(ids: Sequence[int]) -> ImageBatch:
    """Return pictures as users hold them.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().as_batch([row.picture for row in rows_of(ids)])


def image_of(image_id: int) -> GeneratedImage:
    """Return one picture as users hold it.

    Raises:
        LibraryError: The library cannot be opened.
        MissingImageError: The picture is gone.
    """
    for image in batch_of([image_id]):
        return image
    raise gone()


def gone() -> MissingImageError:
    """Return what says that a picture is not in the library, or not to be seen here."""
    return MissingImageError("This picture is gone: its original has been deleted.")


def star(ids: Sequence[int], content: Mapping[str, Any], _: Any) -> str:
    """Give stars, or take them away."""
    value = content["value"]
    current_session().library().marks.star(ids, value=value)
    return f"{_count(ids)} {'starred' if value else 'without a star'}."


def tag(ids: Sequence[int], content: Mapping[str, Any], _: Any) -> str:
    """Give a tag, or take it away."""
    marks, word = current_session().library().marks, content["tag"]
    value = content["value"]
    (marks.tag if value else marks.untag)(ids, word)
    return f"{_count(ids)} {'tagged' if value else 'no longer tagged'} {word.strip()}."


def delete(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Put into the trash."""
    current_session().library().marks.delete(ids)
    return f"{_count(ids)} in the trash, for 30 days."


def restore(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Take out of the trash."""
    current_session().library().marks.restore(ids)
    return f"{_count(ids)} brought back."


def export(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Write the originals into the notebook's folder."""
    paths = batch_of(ids).export()
    if not paths:
        raise OptionError("None of them is a picture: nothing was saved.")
    where = paths[0].name if len(paths) == 1 else f"{len(paths)} pictures"
    return f"Saved {where} in {paths[0].parent}."


def sheet(ids: Sequence[int], _: Mapping[str, Any], __: Any) -> str:
    """Write a contact sheet into the notebook's folder."""
    path = batch_of(ids).export_sheet()
    return f"Saved the contact sheet {path.name} in {path.parent}."


def use(ids: Sequence[int], content: Mapping[str, Any], namespace: Any) -> str:
    """Put the pictures into the user's namespace, under a name that is free."""
    name = check_name(content["name"], namespace)
    namespace[name] = batch_of(ids)
    return f"{name} is now an ImageBatch of {_count(ids)}."


def check_name(name: str, namespace: Mapping[str, Any]) -> str:
    """Return a name for a variable.

    Raises:
        OptionError: It is none, or something else has it.
    """
    name = name.strip()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise OptionError(f"{name!r} is no name for a variable. Write letters, digits and _.")
    if name in namespace or hasattr(builtins, name):
        raise OptionError(f"{name} is taken: it would be overwritten. Choose another name.")
    return name


def _count(ids: Sequence[int]) -> str:
    return "1 picture" if len(ids) == 1 else f"{len(ids):,} pictures"


ACTIONS: Mapping[
    str, Callable[[Sequence[int], Mapping[str, Any], MutableMapping[str, Any]], str]
] = {
    "star": star,
    "tag": tag,
    "delete": delete,
    "restore": restore,
    "export": export,
    "sheet": sheet,
    "use": use,
}
"""By the messages that ask for them."""
