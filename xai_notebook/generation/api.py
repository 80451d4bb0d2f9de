"""The functions of `import xai_notebook as xai`.

Separate because these signatures, overloads and docstrings are for users; `session` has the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from xai_notebook import frontend
from xai_notebook.arguments.options import python_names, resolve_defaults, signature
from xai_notebook.generation.session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Unpack

    from xai_notebook.arguments.options import Defaults, Keywords
    from xai_notebook.generation.jobs.job import BatchJob, JobList
    from xai_notebook.generation.progress import ProgressReport
    from xai_notebook.generation.stream import ImageStream
    from xai_notebook.pictures.render.tables import CostTable, Plan
    from xai_notebook.pictures.results import ImageBatch


@overload
def generate(
    prompt: str | None = None,
    *,
    dry_run: Literal[False] | None = None,
    batch: Literal[False] | None = None,
    template: bool = False,
    progress: Callable[[ProgressReport], object] | None = None,
    **options: Unpack[Keywords],
) -> ImageBatch: ...


@overload
def generate(
    prompt: str | None = None,
    *,
    batch: Literal[True],
    dry_run: Literal[False] | None = None,
    template: bool = False,
    progress: Callable[[ProgressReport], object] | None = None,
    **options: Unpack[Keywords],
) -> BatchJob: ...


@overload
def generate(
    prompt: str | None = None,
    *,
    dry_run: Literal[True],
    batch: bool | None = None,
    template: bool = False,
    progress: Callable[[ProgressReport], object] | None = None,
    **options: Unpack[Keywords],
) -> Plan: ...


def generate(prompt: str | None = None, **options: Any) -> ImageBatch | BatchJob | Plan:
    """Generate images and wait for them. An interrupt cancels the call at the server.

    Args:
        prompt: Description of the images, sent unchanged, unless it is a template.
        template: Whether the prompt is a template, such as `"a {{ row.fruit }} on a table"`, which
            is filled in for each row of `each`; options such as `image="{{ row.photo }}"`, too.
        **options: The options of `%%xai_image` by their long names, with `_` for `-`; switches are
            True or False. Where the magic expects the name of a variable, pass the object itself.
            Some values: `n` (1 to 10), `image` (an image or a list), `each` (a table or a list, one
            request per row), `key` (the column that names the rows), `export` (True or a folder),
            `name` (pattern of the exported files; see `ImageBatch.export`), `rewrite` (True or a
            chat model), `max_cost` (US dollars), `timeout` (seconds).
        progress: Function that is called with a `ProgressReport` a few times per second and at the
            end, in this thread. An error that it raises ends the call like an interrupt.

    Returns:
        The images in the order of the requests, with a card in place of each missing image. With
        `dry_run=True` the plan; with `batch=True` a `BatchJob`, whose images arrive later.

    Raises:
        OptionError: An option is invalid; nothing was sent.
        ApiError: The server refused the request or failed.
        XaiError: Any other error; see `xai_notebook.errors`.
        KeyboardInterrupt: The call was interrupted. With many prompts, the message says how many
            are in the library; `history(last=True)` returns the images.
    """
    with python_names():
        result: ImageBatch | BatchJob | Plan = current_session().generate(prompt, **options)
    return result


@overload
async def agenerate(
    prompt: str | None = None,
    *,
    dry_run: Literal[False] | None = None,
    batch: Literal[False] | None = None,
    template: bool = False,
    progress: Callable[[ProgressReport], object] | None = None,
    **options: Unpack[Keywords],
) -> ImageBatch: ...


@overload
async def agenerate(
    prompt: str | None = None,
    *,
    batch: Literal[True],
    dry_run: Literal[False] | None = None,
    template: bool = False,
    progress: Callable[[ProgressReport], object] | None = None,
    **options: Unpack[Keywords],
) -> BatchJob: ...


@overload
async def agenerate(
    prompt: str | None = None,
    *,
    dry_run: Literal[True],
    batch: bool | None = None,
    template: bool = False,
    progress: Callable[[ProgressReport], object] | None = None,
    **options: Unpack[Keywords],
) -> Plan: ...


async def agenerate(prompt: str | None = None, **options: Any) -> ImageBatch | BatchJob | Plan:
    """Generate images without blocking the event loop; otherwise like `generate`.

    Cancelling the task cancels the call at the server. `progress` is called in the task's loop.
    """
    with python_names():
        result: ImageBatch | BatchJob | Plan = await current_session().agenerate(prompt, **options)
    return result


def stream(
    prompt: str | None = None,
    *,
    template: bool = False,
    progress: Callable[[ProgressReport], object] | None = None,
    **options: Unpack[Keywords],
) -> ImageStream:
    """Generate images, and return each as soon as it arrives.

        for picture in xai.stream(each=prompts):
            ...

    In a coroutine, use `async for`, which does not block the event loop.

    A request that failed or was not sent gives its card, as in a batch. Errors that `generate`
    raises are raised after everything that has arrived. Nothing is sent before the first image is
    asked for. At most twice `concurrency` requests are made ahead of the loop, and stored images
    come before new ones are ordered, so leaving the loop early saves money: it cancels the rest at
    the server. What has arrived is in the library and in `stream.batch`. Use `with` or `close()` if
    you keep the stream in a variable.

    Args:
        prompt: See `generate`.
        template: See `generate`.
        progress: See `generate`; called while the loop waits for an image.
        **options: The options of `generate`, except `dry_run`, `batch` and `redo`. `export` writes
            the files at the end.

    Returns:
        An iterator and asynchronous iterator of `GeneratedImage`.

    Raises:
        OptionError: An option is invalid; nothing was sent.
    """
    with python_names():
        return current_session().stream(prompt, template=template, progress=progress, **options)


# For completion and help; type checkers read the overloads.
generate.__signature__ = agenerate.__signature__ = signature("template", "progress")  # type: ignore[attr-defined]
stream.__signature__ = signature(  # type: ignore[attr-defined]
    "template", "progress", without=("dry_run", "batch", "redo")
)


def configure(**defaults: Unpack[Defaults]) -> None:
    """Set defaults for all calls of this process; in a notebook, the same as `%config XaiImage`.

    Args:
        **defaults: `budget` (US dollars: `5` for this process; `"5/day"`, `"50/month"` or
            `"100/total"` for all processes that use the library), `rate` (requests of `each` per
            second; 0: no limit), `concurrency` (concurrent requests of `each`), `home`, `backend`,
            `api_host`, `engine`, `replay`, `patience`, `visitors`, and the options of
            `%%xai_image` that can have a default, such as `model` and `max_cost`. None restores
            the value of the environment variable or the built-in default.

    Raises:
        OptionError: An option does not exist or a value is invalid; no default is changed.
    """
    frontend.configure(resolve_defaults(defaults))


def history(words: str = "", n: int | None = 24, *, last: bool = False) -> ImageBatch:
    """Return past images from the library, newest first.

    Args:
        words: Words that must all occur in an image's prompts, in a model's name or in the
            notebook's name; the last word may be incomplete.
        n: Maximum number of images; None returns all. A line below the grid says how many images
            are left out.
        last: Return the batch of this process' last call instead, in its order and with its cards:
            also if it was interrupted, has failed or is still running.

    Raises:
        OptionError: `n` is not a positive integer; `last` is given with `words`, or there was no
            call yet.
        LibraryError: The library cannot be opened.
    """
    if last:
        return current_session().last_batch(words)
    return current_session().history.search(words, n)


def costs() -> CostTable:
    """Return the costs by day, model and backend in US dollars, as a table.

    `to_frame()` returns them as a pandas DataFrame, `to_frame("polars")` as a polars DataFrame, and
    `to_records()` as a list of dicts.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().history.costs()


def empty_trash() -> int:
    """Permanently delete the images in the trash and their prompts; return their number.

    Their costs stay in `costs`. Images in the trash are also deleted automatically after 30 days.

    Raises:
        LibraryError: The library cannot be opened or written to.
    """
    return current_session().library().annotations.empty_trash()


def trust_library() -> str:
    """Confirm, once per computer, that the library is yours.

    The images of a library that was not created on this computer, such as a backup or a copy from
    somebody else, are shown and replayed. Until you trust the library, its jobs are not submitted,
    its panels do not fill in their forms, and its rewritten prompts are not sent. In a container,
    set `XAI_NOTEBOOK_TRUSTED_HOME` to the library's folder instead.

    Returns:
        A sentence that says whether later kernels trust it too.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().library().trust()


def jobs(n: int = 24) -> JobList:
    """Return the jobs of all kernels from the library, newest first, as a table.

    Updates the state of running jobs and fetches their finished images. `to_frame()` and
    `to_records()` return the table as data.

    Args:
        n: Maximum number of jobs.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().jobs(n)


def pack(path: str | Path | None = None) -> Path:
    """Write the images of this notebook to a bundle: one file, to share with the notebook.

    If the file is in the notebook's folder, cells show its images wherever the notebook has none of
    its own, for any server and without a key. A colleague or a CI job that runs the notebook sees
    the same images and captions; with `--replay`, no others. The file contains the original images,
    prompts, options, models, costs and dates. It contains no user ids, no paths, and no input
    images from other sources.

    Packing again adds new images and keeps the existing images; delete the file to start over. The
    same images always produce the same file.

    If Jupyter does not tell the kernel the notebook's name, as with nbconvert, these are the images
    that this kernel has shown.

    Args:
        path: Path that ends in `.xai`; default: the notebook's path with this suffix. If the
            notebook's name is unknown, the only notebook of the folder names the file.

    Returns:
        The path of the file.

    Raises:
        OptionError: The notebook's name is unknown and the folder has several notebooks or none, or
            the path does not end in `.xai`.
        LibraryError: The notebook has no images, or the existing file is not a bundle.
        ExportError: The file cannot be written.
    """
    return frontend.SavedPath(current_session().history.pack(path).file)


def unpack(path: str | Path) -> ImageBatch:
    """Copy the images of a bundle into the library, and return those that are new.

    Existing images in the library do not change. The captions show what the bundle's author paid;
    `costs` does not include it.

    Args:
        path: A file written by `pack`.

    Raises:
        LibraryError: The file is damaged or not a bundle, or the library cannot be written to.
    """
    return current_session().history.unpack(path)


def merge(home: str | Path) -> ImageBatch:
    """Copy the images of another library into this one, and return those that are new.

    Use it for the folders that workers on other machines used as `XAI_NOTEBOOK_HOME`. Originals are
    copied after their digests have been checked. Requests, places, dates, models, notebooks,
    parents, stars, tags and costs come along; the other library's trash and jobs do not. The other
    library is only read: processes of this computer may be using it, and what they have stored is
    taken.

    Merging the same folder again copies only what is new. After an interrupt, or on a full disk,
    what was copied stays, and merging again completes it. What cells show does not change.

    Rewritten prompts are taken only from your own library on this computer; see `trust_library`.
    `costs` and the budgets of this library count what the other library has paid.

    Args:
        home: Folder of the other library.

    Raises:
        LibraryError: The folder is not a library, is this library, was written by a newer version,
            or one of the two libraries cannot be read or written.
    """
    return current_session().merge(home)
