"""The functions of `import xai_notebook as xai`.

Separate because it holds what users read: signatures, overloads and help.
"""

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
        prompt: What the images should show, sent as it is. `{{ … }}` is filled in cells only.
        **options: The options of `%%xai_image` by their long names, with `_` for `-`; switches are
            True or False. Where the magic takes names, pass objects: `n` (1 to 10), `image` (one
            or a list), `each` (prompts, one request each), `export` (True or a folder), `rewrite`
            (True or a chat model), `max_cost` (US dollars), `timeout` (seconds).

    Returns:
        One image per request and index, in order, with a card in place of each missing picture.
        With `dry_run=True` the plan; with `batch=True` a `BatchJob`, whose images come later.

    Raises:
        OptionError: An option is wrong; nothing was sent.
        ApiError: The server refused or failed.
        XaiError: Any other error; see `xai_notebook.errors`.
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


# For completion and help; type checkers read the overloads.
generate.__signature__ = agenerate.__signature__ = signature()  # type: ignore[attr-defined]


def configure(**defaults: Unpack[Defaults]) -> None:
    """Set defaults for all calls of this process; in a notebook those of `%config XaiImage`.

    Args:
        **defaults: `budget` (US dollars: `5` for this process; `"5/day"`, `"50/month"` or
            `"100/total"` for all that use the library), `rate` (requests of `each` per second; 0:
            no limit), `concurrency` (requests of `each` at once), `home`, `backend`, `api_host`,
            `engine`, `replay`, `patience`, and the options of `%%xai_image` that can have a
            default, such as `model` and `max_cost`. None restores the value of the environment, or
            the default.

    Raises:
        OptionError: A name does not exist, or a value is invalid. Nothing has changed.
    """
    frontend.configure(resolve_defaults(defaults))


def history(words: str = "", n: int = 24) -> ImageBatch:
    """Return past images from the library, newest first.

    Args:
        words: Only images whose prompts hold all of these words.
        n: Maximum number.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().history.search(words, n)


def costs() -> CostTable:
    """Return the costs by day and model in US dollars; shown as a table.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().history.costs()


def empty_trash() -> int:
    """Remove the images in the trash for good, with their prompts; return their number.

    Their costs stay in `costs`. Images are also removed 30 days after they were deleted.

    Raises:
        LibraryError: The library cannot be opened or written to.
    """
    return current_session().library().annotations.empty_trash()


def trust_library() -> str:
    """Confirm, once per computer, that the library is yours.

    A library that was not made on this computer, such as a backup or somebody else's copy, shows
    its pictures, and they answer cells. Until you trust it, its jobs are not submitted, its panels
    do not fill in their forms, and its rewritten prompts are not sent. In a container, set
    `XAI_NOTEBOOK_TRUSTED_HOME` to the library's folder instead.

    Returns:
        A sentence: whether later kernels trust it, too.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().library().trust()


def jobs(n: int = 24) -> JobList:
    """Return the jobs in the library, of all kernels, newest first; shown as a table.

    The state of running jobs is requested, and their finished images are fetched.

    Args:
        n: Maximum number.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().jobs(n)


def pack(path: str | Path | None = None) -> Path:
    """Write the pictures of this notebook into one file that can be shared with it.

    In the notebook's folder, the file answers cells after the library, for any server and without
    a key: a colleague or a CI job that runs the notebook sees the same pictures and captions, with
    `--replay` exactly those. It holds the originals, prompts, options, models, costs and dates; no
    input image that was not made here, no user id, no path.

    Packing again adds new pictures and keeps the others. Delete the file first to start anew. The
    same pictures make the same file.

    Args:
        path: Ends in `.xai`; default: beside the notebook, under its name.

    Returns:
        The path of the file.

    Raises:
        OptionError: The notebook's name is unknown, or the path does not end in `.xai`.
        LibraryError: There is nothing to pack, or the existing file is not a bundle.
        ExportError: The file cannot be written.
    """
    return current_session().history.pack(path)


def unpack(path: str | Path) -> ImageBatch:
    """Copy the pictures of a bundle into the library, and return those that are new there.

    Pictures in the library stay as they are. The costs that others paid are in the captions, and
    not in `costs`.

    Args:
        path: A file written by `pack`.

    Raises:
        LibraryError: The file is damaged or not a bundle, or the library cannot be written to.
    """
    return current_session().history.unpack(path)
