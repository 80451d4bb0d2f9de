"""The Python face of the session: the functions behind `import xai_notebook as xai`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from xai_notebook import frontend
from xai_notebook.arguments.options import resolve_defaults, signature
from xai_notebook.generation.session import current_session

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Unpack

    from xai_notebook.arguments.options import Defaults, Keywords
    from xai_notebook.generation.jobs.job import BatchJob, JobList
    from xai_notebook.pictures.render.tables import CostTable, Plan
    from xai_notebook.pictures.results import ImageBatch

__all__ = [
    "agenerate",
    "configure",
    "costs",
    "empty_trash",
    "generate",
    "history",
    "jobs",
    "pack",
    "trust_library",
    "unpack",
]


@overload
def generate(
    prompt: str | None = None,
    *,
    dry_run: Literal[False] | None = None,
    batch: Literal[False] | None = None,
    **options: Unpack[Keywords],
) -> ImageBatch: ...


@overload
def generate(
    prompt: str | None = None,
    *,
    batch: Literal[True],
    dry_run: Literal[False] | None = None,
    **options: Unpack[Keywords],
) -> BatchJob: ...


@overload
def generate(
    prompt: str | None = None,
    *,
    dry_run: Literal[True],
    batch: bool | None = None,
    **options: Unpack[Keywords],
) -> Plan: ...


def generate(prompt: str | None = None, **options: Any) -> ImageBatch | BatchJob | Plan:
    """Make images and wait for them. An interrupt cancels the call at the server.

    Args:
        prompt: What the images should show, sent as it is: `{{ … }}` is for what is typed in a
            cell; here, format the text yourself.
        **options: The options of `%%xai_image` by their long names, `_` for `-`; switches are True
            or False. Objects do where the magic takes names: `n` (1 to 10), `image` (one or a
            list), `each` (prompts, one request each), `export` (True or a folder), `rewrite`
            (True or a chat model), `max_cost` (US dollars), `timeout` (seconds).

    Returns:
        One image per request and index, in order; cards where there is no picture. With
        `dry_run=True` the plan instead; with `batch=True` a `BatchJob`, whose images come later.

    Raises:
        OptionError: An option is wrong; nothing was sent.
        ApiError: The server refused or failed.
        XaiError: Anything else that is not your program's fault; see `xai_notebook.errors`.
    """
    result: ImageBatch | BatchJob | Plan = current_session().generate(prompt, **options)
    return result


@overload
async def agenerate(
    prompt: str | None = None,
    *,
    dry_run: Literal[False] | None = None,
    batch: Literal[False] | None = None,
    **options: Unpack[Keywords],
) -> ImageBatch: ...


@overload
async def agenerate(
    prompt: str | None = None,
    *,
    batch: Literal[True],
    dry_run: Literal[False] | None = None,
    **options: Unpack[Keywords],
) -> BatchJob: ...


@overload
async def agenerate(
    prompt: str | None = None,
    *,
    dry_run: Literal[True],
    batch: bool | None = None,
    **options: Unpack[Keywords],
) -> Plan: ...


async def agenerate(prompt: str | None = None, **options: Any) -> ImageBatch | BatchJob | Plan:
    """Make images without blocking the event loop; otherwise as `generate`.

    Cancelling the task cancels the call at the server.
    """
    result: ImageBatch | BatchJob | Plan = await current_session().agenerate(prompt, **options)
    return result


# Read by completion and help; type checkers read the overloads.
generate.__signature__ = agenerate.__signature__ = signature()  # type: ignore[attr-defined]


def configure(**defaults: Unpack[Defaults]) -> None:
    """Set defaults for all calls of this process; in a notebook those of `%config XaiImage`.

    Args:
        **defaults: `budget` (US dollars: `5` for this process; `"5/day"`, `"50/month"` or
            `"100/total"` for all that use the library), `rate` (requests of `each` per second; 0:
            no limit), `concurrency` (requests of `each` at once), `home`, `backend`, `api_host`,
            `engine`, `replay`, `patience`, and the options of `%%xai_image` that can have a
            default, such as `model` and `max_cost`. None: back to the environment's, or ours.

    Raises:
        OptionError: A name does not exist, or a value is not possible. Nothing has changed.
    """
    frontend.configure(resolve_defaults(defaults))


def history(words: str = "", n: int = 24) -> ImageBatch:
    """Return past images from the library, newest first.

    Args:
        words: Only images whose prompts hold all of these words.
        n: At most so many.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().history.search(words, n)


def costs() -> CostTable:
    """Return what was spent, by day and model, in US dollars; a table in a notebook.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().history.costs()


def empty_trash() -> int:
    """Remove deleted images for good: their words, and their originals; return how many.

    They cannot be brought back. What they cost stays in `costs`. What is not removed so is gone
    30 days after it was deleted.

    Raises:
        LibraryError: The library cannot be opened or written to.
    """
    return current_session().library().annotations.empty_trash()


def trust_library() -> str:
    """Say once, on this computer, that the library is yours.

    A library that was not made on this computer, such as a copy from somebody else or a backup,
    shows its pictures, and they answer cells. Its jobs are not handed over, its panels do not fill
    in their forms, and its rewritten prompts are not sent, before you have said so. In a
    container, set `XAI_NOTEBOOK_TRUSTED_HOME` to the library's folder instead.

    Returns:
        Whether later kernels will know it, too, in a sentence.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().library().trust()


def jobs(n: int = 24) -> JobList:
    """Return the jobs that the library knows, of any kernel, newest first; a table in a notebook.

    Those that run are asked how far they are, and what is done of them is fetched.

    Args:
        n: At most so many.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().jobs(n)


def pack(path: str | Path | None = None) -> Path:
    """Write the pictures that this notebook made into one file, to travel with it.

    In the notebook's folder the file answers like the library, after it and read-only, whichever
    server is asked and without a key: a colleague or a CI job that runs the notebook sees the same
    pictures and captions, with `--replay` exactly those. It holds the originals, the prompts and
    options, models, costs and dates; no input image that was not made here, no user id, no path.

    Packing again brings the file up to date: what it holds already stays in it. Delete it first to
    start anew. The same pictures make the same file.

    Args:
        path: Ends in `.xai`; default: beside the notebook, under its name.

    Returns:
        Where it is.

    Raises:
        OptionError: Nobody knows the notebook's name, or the path's ending is another one.
        LibraryError: There is nothing to pack; the file of that name is no bundle.
        ExportError: The file cannot be written.
    """
    return current_session().history.pack(path)


def unpack(path: str | Path) -> ImageBatch:
    """Take the pictures of a bundle into the library, and return those that are new there.

    What the library has stays as it is and answers as before. The costs of others are on the
    captions, and not in `costs`.

    Args:
        path: Of a file that `pack` has written.

    Raises:
        LibraryError: The file is damaged or no bundle; the library cannot be written to.
    """
    return current_session().history.unpack(path)
