"""The Python face of the session: the functions behind `import xai_notebook as xai`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from xai_notebook.arguments.options import signature
from xai_notebook.generation.session import current_session

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from xai_notebook.arguments.options import Keywords
    from xai_notebook.generation.joblist import JobList
    from xai_notebook.generation.jobs import BatchJob
    from xai_notebook.pictures.results import ImageBatch
    from xai_notebook.pictures.tables import CostTable, Plan

__all__ = ["agenerate", "costs", "empty_trash", "generate", "history", "jobs"]


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
    made: ImageBatch | Plan = current_session().generate(prompt, **options)
    return made


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
    made: ImageBatch | Plan = await current_session().agenerate(prompt, **options)
    return made


# Read by completion and help; type checkers read the overloads.
generate.__signature__ = agenerate.__signature__ = signature()  # type: ignore[attr-defined]


def history(words: str = "", n: int = 24) -> ImageBatch:
    """Return past images from the library, newest first.

    Args:
        words: Only images whose prompts hold all of these words.
        n: At most so many.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().history(words, n)


def costs() -> CostTable:
    """Return what was spent, by day and model, in US dollars; a table in a notebook.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().costs()


def empty_trash() -> int:
    """Remove deleted images for good: their words, and their originals; return how many.

    They cannot be brought back. What they cost stays in `costs`. What is not removed so is gone
    30 days after it was deleted.

    Raises:
        LibraryError: The library cannot be opened or written to.
    """
    return current_session().empty_trash()


def jobs(n: int = 24) -> JobList:
    """Return the jobs that the library knows, of any kernel, newest first; a table in a notebook.

    Those that run are asked how far they are, and what is done of them is fetched.

    Args:
        n: At most so many.

    Raises:
        LibraryError: The library cannot be opened.
    """
    return current_session().jobs(n)
