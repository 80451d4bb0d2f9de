"""What users hold: `GeneratedImage` and `ImageBatch`, and the request that made them.

Bytes stay on disk when the library has them, so ten thousand images cost a few
megabytes of memory. Nothing is decoded before somebody asks for `.pil`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, overload

from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import MissingImageError, ModeratedError, ReplyError, XaiError
from xai_notebook.pictures.cell import magic_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pandas as pd
    from PIL import Image

__all__ = ["GeneratedImage", "ImageBatch", "ImageRequest", "InputImage", "Status"]

Status = Literal["ok", "moderated", "missing", "failed", "pending", "unsent", "damaged"]
"""What became of an image: `pending` is known to the library, but not downloaded yet; `unsent` was
never asked for, because a budget did not allow it; the library's row of a `damaged` one is."""


class Maker(Protocol):
    """What makes images from images: the session."""

    def generate(self, prompt: str | None = None, **given: Any) -> Any:
        """Make images and wait for them."""
        ...

    def lineage(self, image: GeneratedImage) -> ImageBatch:
        """Return the images that one was made from."""
        ...


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class GeneratedImage:
    """One image of a reply, or the reason why there is none.

    Attributes:
        request: What was asked.
        index: Place among the images of its request, from 0.
        status: `"ok"`, or why there is no picture.
        model: The model as the server named it.
        rewritten_prompt: The prompt as rewritten by the server, or by a chat model for us.
        rewritten_by: The chat model, or None when the image server rewrote the prompt itself.
        cost_usd: This image's share of what the request cost in US dollars; None: not reported.
        media_type: Such as `"image/jpeg"`, by the bytes.
        size: Width and height in pixels.
        created: When the reply came, in UTC.
        replayed: It came from the library, not from the server.
        error: Why there is no picture, in a line.
        sha256: Hex digest of the original bytes.
        file: The original in the library.
        exported: The file written by the last export.
        id: The row in the library.
        notes: What the user should know about it.
        label: What tells it from the others of a comparison: the model, the alternatives.
        maker: The session that made or found it, for `edit` and `lineage`.
    """

    request: ImageRequest
    index: int = 0
    status: Status = "ok"
    model: str = ""
    rewritten_prompt: str | None = None
    rewritten_by: str | None = None
    cost_usd: float | None = None
    media_type: str | None = None
    size: tuple[int, int] | None = None
    created: datetime = field(default_factory=_now)
    replayed: bool = False
    error: str | None = None
    sha256: str | None = None
    file: Path | None = field(default=None, repr=False)
    exported: Path | None = None
    id: int | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    label: str | None = None
    maker: Maker | None = field(default=None, repr=False)
    cached: bytes | None = field(default=None, repr=False)

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it: it is here, or was withheld, and was paid for."""
        return self.status in {"ok", "moderated"} or bool(self.sha256 or self.cached)

    @property
    def prompt(self) -> str:
        """The prompt as the user wrote it, templates filled."""
        return self.request.original_prompt or self.request.prompt

    @property
    def caption(self) -> str:
        """The prompt that made the image, labelled honestly, as one plain text."""
        if self.rewritten_prompt:
            return f"Rewritten prompt: {self.rewritten_prompt}"
        return f"Prompt: {self.prompt}"

    @property
    def path(self) -> Path | None:
        """Where the original is on disk: the exported file, else the library's; None: nowhere."""
        return self.exported or self.file

    @property
    def data(self) -> bytes:
        """The original bytes, as the server sent them.

        Raises:
            ModeratedError: The image was withheld by moderation.
            MissingImageError: The reply held no such image, or its file has been deleted.
            ReplyError: The request failed; the message says why.
        """
        if self.cached is not None:
            return self.cached
        if self.file is not None:
            try:
                return self.file.read_bytes()
            except OSError as error:
                raise MissingImageError(
                    f"The original of image {self.index + 1} is gone from {self.file.parent}. "
                    "Ask again with --fresh."
                ) from error
        reason = self.error or "There is no image."
        if self.status == "moderated":
            raise ModeratedError(reason)
        if self.status == "missing":
            raise MissingImageError(reason)
        raise ReplyError(reason)

    @property
    def pil(self) -> Image.Image:
        """A new PIL image, its pixels decoded; `size` and `media_type` are known without.

        Raises:
            ReplyError: There is no image, or its bytes are damaged.
        """
        from xai_notebook.pictures.pixels import load_image  # noqa: PLC0415  # PIL costs 24 ms

        return load_image(self.data)

    @property
    def cell(self) -> str:
        """The `%%xai_image` cell that asks for the image again."""
        return magic_cell(self.request)

    def edit(self, prompt: str, **options: Any) -> ImageBatch:
        """Make images from this one, and wait for them.

        Args:
            prompt: What to change.
            **options: As for `xai_notebook.generate`.

        Raises:
            XaiError: As `xai_notebook.generate`.
        """
        batch: ImageBatch = self._made_by().generate(prompt, image=[self], **options)
        return batch

    @property
    def lineage(self) -> ImageBatch:
        """The images this one was made from, oldest first, and itself at the end.

        Raises:
            LibraryError: The library, which knows, cannot be opened.
        """
        return self._made_by().lineage(self)

    def _made_by(self) -> Maker:
        if self.maker is None:
            raise XaiError("This image was not made by a session; use xai_notebook.generate().")
        return self.maker

    def export(self, folder: str | Path | None = None, *, metadata: bool = True) -> Path:
        """Write the original into a folder and return the new file's path.

        Args:
            folder: Default: the notebook's folder; a relative one is inside it.
            metadata: Add the prompt, the model and the kind of source as XMP.

        Raises:
            ExportError: The file cannot be written. The image is still at hand.
        """
        from xai_notebook.pictures.export import export_image  # noqa: PLC0415  # loads PIL

        return export_image(self, folder, metadata=metadata)

    def __repr__(self) -> str:
        prompt = textwrap.shorten(self.prompt, 60, placeholder=" …")
        size = f" {self.size[0]}x{self.size[1]}" if self.size else ""
        return f"<GeneratedImage {self.index} {self.status}{size} {prompt!r}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return ImageBatch([self])._repr_mimebundle_(include, exclude)


SHOWN: Final = 24
"""Cards of a grid, unless more are asked for."""
_DISPLAY: Final = ("columns", "full", "compare", "cells", "limit", "notes", "summary")


class ImageBatch(Sequence[GeneratedImage]):
    """The images of one cell, in order. Shown as a captioned grid."""

    __slots__ = (
        "cells", "columns", "compare", "full", "images", "limit", "notes", "summary",
        "undrawn",
    )  # fmt: skip

    def __init__(  # how it is shown, keyword-only
        self,
        images: Iterable[GeneratedImage] = (),
        *,
        columns: int | None = None,
        full: bool = False,
        compare: bool = False,
        cells: bool = False,
        limit: int = SHOWN,
        notes: Iterable[str] = (),
        summary: str | None = None,
    ) -> None:
        """Hold the images.

        Args:
            images: In the order of their requests and indices.
            columns: Width of the grid; None: by count.
            full: Show originals instead of previews.
            compare: Show each edit beside the image it was made from.
            cells: Show with each image when it was made and the magic that asks for it again.
            limit: Cards of the grid; the rest is counted.
            notes: What the user should know, a line each.
            summary: A line that ends the grid of many prompts.
        """
        self.images = tuple(images)
        self.columns = columns
        self.full = full
        self.compare = compare
        self.cells = cells
        self.limit = limit
        self.notes = tuple(notes)
        self.summary = summary
        self.undrawn: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> GeneratedImage: ...
    @overload
    def __getitem__(self, index: slice) -> ImageBatch: ...
    def __getitem__(self, index: int | slice) -> GeneratedImage | ImageBatch:
        if isinstance(index, slice):
            return self.shown(images=self.images[index])
        try:
            return self.images[index]
        except IndexError:
            raise IndexError(f"image {index} of a batch of {len(self)}") from None

    def __add__(self, other: ImageBatch) -> ImageBatch:
        if not isinstance(other, ImageBatch):
            return NotImplemented
        return ImageBatch(self.images + other.images, full=self.full or other.full)

    @property
    def cost_usd(self) -> float | None:
        """What these images cost now, in US dollars; None when any of it is unknown.

        Replayed images cost nothing.
        """
        costs = [0.0 if image.replayed else image.cost_usd for image in self.images]
        if any(cost is None for cost in costs):
            return None
        return sum(cost for cost in costs if cost is not None)

    def filter(self, keep: Callable[[GeneratedImage], bool]) -> ImageBatch:
        """Return the images for which `keep` is true, as a batch."""
        return self.shown(images=filter(keep, self.images))

    @property
    def ok(self) -> ImageBatch:
        """The images that are pictures."""
        return self.filter(lambda image: image.status == "ok")

    def export(self, folder: str | Path | None = None, *, metadata: bool = True) -> list[Path]:
        """Write every picture into a folder and return the paths, in order.

        Args:
            folder: Default: the notebook's folder; a relative one is inside it.
            metadata: Add the prompt, the model and the kind of source as XMP.

        Raises:
            ExportError: A file cannot be written. The images are still at hand.
        """
        return [image.export(folder, metadata=metadata) for image in self.ok]

    def contact_sheet(
        self, *, columns: int | None = None, max_pixels: int = 24_000_000
    ) -> Image.Image:
        """Return all pictures on one labelled sheet, as a PIL image.

        Args:
            columns: Width of the grid; None: by count.
            max_pixels: The sheet is scaled to have no more.

        Raises:
            MissingImageError: There is no picture to show.
        """
        from xai_notebook.pictures.sheet import draw_sheet  # noqa: PLC0415  # PIL

        return draw_sheet(self, columns=columns, max_pixels=max_pixels)

    def export_sheet(
        self, folder: str | Path | None = None, *, max_pixels: int = 24_000_000
    ) -> Path:
        """Write the contact sheet as a JPEG into a folder and return its path.

        Args:
            folder: Default: the notebook's folder; a relative one is inside it.
            max_pixels: The sheet is scaled to have no more.

        Raises:
            ExportError: The file cannot be written.
            MissingImageError: There is no picture to show.
        """
        from xai_notebook.pictures.sheet import export_sheet  # noqa: PLC0415  # PIL

        return export_sheet(self, folder, max_pixels=max_pixels)

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas DataFrame, one row per image.

        Columns: path, prompt, rewritten_prompt, model, status, cost_usd, error.

        Raises:
            XaiError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415  # optional
        except ImportError as error:
            raise XaiError("to_frame() needs pandas: pip install pandas") from error
        columns = ["path", "prompt", "rewritten_prompt", "model", "status", "cost_usd", "error"]
        rows = [[getattr(image, name) for name in columns] for image in self.images]
        return pd.DataFrame(rows, columns=columns)

    def shown(self, images: Iterable[GeneratedImage] | None = None, **changes: Any) -> ImageBatch:
        """Return the batch shown otherwise: `columns`, `full`, `compare`, `cells`, `limit`.

        Args:
            images: Other images; the lines under the pictures are left out then.
            **changes: The settings to change.
        """
        kept = _DISPLAY if images is None else _DISPLAY[:-2]
        settings = {name: getattr(self, name) for name in kept}
        return ImageBatch(self.images if images is None else images, **{**settings, **changes})

    def __repr__(self) -> str:
        from xai_notebook.pictures.display import plain_text  # noqa: PLC0415  # display knows results

        return plain_text(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        del include, exclude
        from xai_notebook.pictures.display import mimebundle  # noqa: PLC0415  # display knows results

        try:
            return mimebundle(self)
        except BaseException:
            if self.undrawn is not None:  # IPython shows a traceback, and the cell still succeeds
                self.undrawn()
            raise
