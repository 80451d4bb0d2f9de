"""What users hold: `GeneratedImage` and `ImageBatch`.

Bytes stay on disk when the library has them, so ten thousand images cost a few
megabytes of memory. Nothing is decoded before somebody asks for `.pil`.
"""

from __future__ import annotations

import os.path
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, overload
from weakref import WeakValueDictionary

from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import ReplyError, XaiError
from xai_notebook.pictures.export import export_image
from xai_notebook.pictures.picture import Card, Grid, Picture
from xai_notebook.pictures.render.grid import mimebundle, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    import pandas as pd
    from PIL import Image

    from xai_notebook.pictures.render.previews import Previews

__all__ = [
    "VERSION",
    "GeneratedImage",
    "ImageBatch",
    "card_fields",
    "check_version",
    "known",
    "pack_card",
    "pack_request",
    "unpack_request",
]

VERSION: Final = 1
"""Of the data in a pickle."""
_TIMES: Final = ("created", "public_url_expires")
_FILES: Final = ("file", "exported")
_HELD: Final = ("cached", "held")
"""Where the original is in this process; a pickle has its bytes."""


class _Original:
    """The bytes of an original, which a pickle holds once, however many pictures show them."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (self.data,)


_originals: Final[WeakValueDictionary[str, _Original]] = WeakValueDictionary()
"""By digest; a pickler keeps what it has written until it is done."""


def check_version(version: int) -> None:
    """See that a pickle can be understood.

    Raises:
        XaiError: It is a later version's.
    """
    if version > VERSION:
        raise XaiError(
            f"This pickle was written by a newer version of xai-notebook (format {version}; this "
            f"one reads up to {VERSION}). Update it: pip install --upgrade xai-notebook."
        )


def known(of: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that a dataclass has fields for."""
    names = {field.name for field in fields(of)}
    return {name: value for name, value in values.items() if name in names}


def pack_request(request: ImageRequest) -> dict[str, Any]:
    """Return a request as plain data, with the images that it edits."""
    return asdict(request)


def unpack_request(values: Mapping[str, Any]) -> ImageRequest:
    """Return the request that `pack_request` has packed."""
    inputs = tuple(InputImage(**known(InputImage, one)) for one in values["inputs"])
    return ImageRequest(**known(ImageRequest, values) | {"inputs": inputs})


def pack_card(card: Card) -> dict[str, Any]:
    """Return a picture as plain data, with its original's bytes.

    One whose original is gone is packed without it, and says so when it is opened.
    """
    values = {field.name: getattr(card, field.name) for field in fields(Card)}
    for name in _HELD:
        del values[name]
    for name in _TIMES:
        values[name] = values[name] and values[name].isoformat()
    for name in _FILES:
        values[name] = values[name] and str(values[name])
    values["request"] = pack_request(card.request)
    values["data"] = None
    if card.cached is not None or card.held is not None or card.file is not None:
        try:
            values["data"] = _original_of(card)
        except XaiError as error:
            values |= {"status": "missing", "error": str(error)}
    return values


def _original_of(card: Card) -> _Original:
    digest = card.sha256 or ""
    original = _originals.get(digest) or _Original(card.data)
    return _originals.setdefault(digest, original) if digest else original


def card_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a picture that `pack_card` has packed."""
    opened = known(Card, values) | {"cached": values["data"]}
    for name in _TIMES:
        opened[name] = opened[name] and datetime.fromisoformat(opened[name])
    for name in _FILES:  # on another computer they mean nothing
        there = opened[name] and os.path.isfile(opened[name])  # noqa: PTH113  # raises nothing
        opened[name] = Path(opened[name]) if there else None
    return opened | {"request": unpack_request(values["request"])}


_TOLD: Final = tuple(field.name for field in fields(Picture))


class PictureHistory(Protocol):
    """What a session knows of images in the library."""

    def lineage(self, image: GeneratedImage) -> ImageBatch:
        """Return the images that one was made from."""
        ...

    def mark(self, images: Sequence[GeneratedImage], **marks: Any) -> None:
        """Give images stars and tags, or put them into the trash."""
        ...

    def annotation(self, image: GeneratedImage) -> Any:
        """Return the star and the tags of an image."""
        ...


class Maker(Protocol):
    """What makes images from images: the session."""

    @property
    def history(self) -> PictureHistory:
        """The images of the library."""
        ...

    def generate(self, prompt: str | None = None, **given: Any) -> Any:
        """Make images and wait for them."""
        ...

    def redo(self, batch: ImageBatch, indices: Sequence[int]) -> ImageBatch:
        """Return a batch with some of its images made anew."""
        ...


class Annotatable:
    """What can be said of images in the library, for one and for many."""

    __slots__ = ()

    def _marked(self) -> Sequence[GeneratedImage]:
        raise NotImplementedError

    def _mark(self, **marks: Any) -> None:
        if images := self._marked():
            images[0]._made_by().history.mark(images, **marks)  # noqa: SLF001  # of this module

    def star(self, *, value: bool = True) -> None:
        """Give a star; `value=False` takes it away.

        Raises:
            LibraryError: The image is in no library, or the library cannot be written to.
        """
        self._mark(starred=value)

    def tag(self, tag: str) -> None:
        """Give a tag: a word or a few, by which the library finds it.

        Raises:
            OptionError: It is none.
            LibraryError: As `star`.
        """
        self._mark(tag=tag)

    def untag(self, tag: str) -> None:
        """Take a tag away.

        Raises:
            OptionError: It is none.
            LibraryError: As `star`.
        """
        self._mark(untag=tag)

    def delete(self) -> None:
        """Put into the trash: it answers its request no more, and can be brought back.

        What is in the trash is gone after 30 days, or by `xai_notebook.empty_trash()`.

        Raises:
            LibraryError: As `star`.
        """
        self._mark(deleted=True)

    def restore(self) -> None:
        """Take out of the trash.

        Raises:
            LibraryError: As `star`.
        """
        self._mark(deleted=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class GeneratedImage(Annotatable, Card):
    """One image of a reply, or the reason why there is none. It cannot be changed.

    Attributes:
        maker: The session that made or found it, for `edit` and `lineage`.
    """

    maker: Maker | None = None

    @classmethod
    def of(cls, picture: Picture, **of_batch: Any) -> GeneratedImage:
        """Return a picture as users hold it.

        Args:
            picture: From a reply or the library.
            **of_batch: `index`, `chosen` and `maker`; what else differs from the picture.
        """
        return cls(**{name: getattr(picture, name) for name in _TOLD} | of_batch)

    @property
    def pil(self) -> Image.Image:
        """A new PIL image, its pixels decoded; `size` and `media_type` are known without.

        Raises:
            ReplyError: There is no image, or its bytes are damaged.
        """
        from xai_notebook.pictures.pixels import load_image  # noqa: PLC0415  # PIL costs 24 ms

        return load_image(self.data)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        """Return its pixels as a NumPy array: height × width × 3, uint8, upright, on white.

        Raises:
            ReplyError: As `pil`.
            ValueError: `copy=False` is asked for; the pixels are always decoded anew.
        """
        import numpy as np  # noqa: PLC0415  # optional; whoever calls this has it

        from xai_notebook.pictures.pixels import load_rgb  # noqa: PLC0415  # PIL costs 24 ms

        if copy is False:
            raise ValueError("The pixels of an image cannot be given without a copy of them.")
        return np.array(load_rgb(self.data), dtype=dtype)

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
        return self._made_by().history.lineage(self)

    @property
    def starred(self) -> bool:
        """Whether it has a star in the library now.

        Raises:
            LibraryError: As `star`.
        """
        return bool(self._made_by().history.annotation(self).starred)

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags in the library now, in alphabetical order.

        Raises:
            LibraryError: As `star`.
        """
        return tuple(self._made_by().history.annotation(self).tags)

    def _marked(self) -> Sequence[GeneratedImage]:
        return (self,)

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
        exported = export_image(self, folder, metadata=metadata)
        # The one thing that it remembers, for its card.
        object.__setattr__(self, "exported", exported.path)
        object.__setattr__(self, "notes", exported.notes)
        return exported.path

    def __reduce__(self) -> tuple[Any, ...]:
        return open_image, (VERSION, pack_card(self), self.maker)

    def __copy__(self) -> GeneratedImage:
        return self  # it cannot be changed

    def __deepcopy__(self, memo: object) -> GeneratedImage:
        return self

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        about = (self.request.question, self.index, self.chosen, self.status, self.error)
        return ("xai_notebook.GeneratedImage", self.sha256, self.created.isoformat(), *about)

    def __repr__(self) -> str:
        prompt = textwrap.shorten(self.prompt, 60, placeholder=" …")
        size = f" {self.size[0]}x{self.size[1]}" if self.size else ""
        return f"<GeneratedImage {self.index} {self.status}{size} {prompt!r}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return ImageBatch([self])._repr_mimebundle_(include, exclude)


class ImageBatch(Annotatable, Grid, Sequence[GeneratedImage]):
    """The images of one cell, in order. Shown as a captioned grid; it cannot be changed."""

    images: tuple[GeneratedImage, ...]

    def __init__(
        self,
        images: Iterable[GeneratedImage] = (),
        *,
        notes: Iterable[str] = (),
        undrawn: Callable[[], None] | None = None,
        **shown: Any,
    ) -> None:
        """Hold the images.

        Args:
            images: In the order of their requests and indices.
            notes: What the user should know, a line each.
            undrawn: Called when the grid cannot be drawn.
            **shown: How it is shown; see `Grid`.
        """
        super().__init__(images=tuple(images), notes=tuple(notes), **shown)
        self.undrawn = undrawn

    def __len__(self) -> int:
        return len(self.images)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        """Return a NumPy array of its images, as objects: their sizes may differ.

        Raises:
            TypeError: Another type is asked for, which would decode all of them.
            ValueError: `copy=False` is asked for.
        """
        import numpy as np  # noqa: PLC0415  # optional; whoever calls this has it

        if copy is False:
            raise ValueError("The images of a batch cannot be given without a copy.")
        if dtype is not None and np.dtype(dtype) != object:
            raise TypeError(
                "A batch is an array of images. Use numpy.stack([numpy.asarray(i) for i in batch])."
            )
        images = np.empty(len(self), object)
        for position, image in enumerate(self):
            images[position] = image
        return images

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

    def _marked(self) -> Sequence[GeneratedImage]:
        return self.images

    def redo(self, *indices: int) -> ImageBatch:
        """Return the batch with some of its images made anew; the others are left as they are.

        What is new takes the place of the former image, so that the cell that made it shows it
        from then on; the former one stays in the library. In another kernel, the same call has
        what was made anew before, at no cost.

        Args:
            *indices: Which, as in `batch[3]`.

        Raises:
            OptionError: There is no such image, or it cannot be asked for again.
            XaiError: As `xai_notebook.generate`.
        """
        if not indices:
            return self
        from_start = [index + len(self) if index < 0 else index for index in indices]
        return self[0]._made_by().redo(self, from_start)  # noqa: SLF001  # of this module

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
            ReplyError: The original of a picture is gone. The other pictures have been written.
        """
        paths = []
        gone: ReplyError | None = None
        for image in self.ok:
            try:
                paths.append(image.export(folder, metadata=metadata))
            except ReplyError as error:
                gone = gone or error
        if gone is not None:
            raise gone
        return paths

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
        from xai_notebook.pictures.render.contact_sheet import draw_sheet  # noqa: PLC0415  # PIL

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
        from xai_notebook.pictures.render.contact_sheet import export_sheet  # noqa: PLC0415  # PIL

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
        settings = _settings(self)
        if images is not None:
            settings |= {"images": images, "name": None, "notes": (), "summary": None}
        return ImageBatch(**settings | changes)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_batch, (VERSION, _settings(self))

    def __copy__(self) -> ImageBatch:
        return self  # it cannot be changed

    def __deepcopy__(self, memo: object) -> ImageBatch:
        return self

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xai_notebook.ImageBatch", tuple(_settings(self).items()))

    def __repr__(self) -> str:
        return plain_text(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        del include, exclude
        return self.bundle()

    def bundle(self, previews: Previews | None = None) -> dict[str, Any]:
        """Return what a notebook shows, by MIME type.

        Args:
            previews: Those that have been made.
        """
        try:
            return mimebundle(self, previews)
        except BaseException:
            if self.undrawn is not None:  # IPython shows a traceback, and the cell still succeeds
                self.undrawn()
            raise


def _settings(grid: Grid) -> dict[str, Any]:
    return {field.name: getattr(grid, field.name) for field in fields(Grid)}


def open_image(version: int, values: Mapping[str, Any], maker: Maker | None) -> GeneratedImage:
    """Return the image of a pickle, which names this function.

    Args:
        version: Of the data.
        values: The image as plain data, with its original's bytes.
        maker: The session of this process.

    Raises:
        XaiError: The pickle is a later version's.
    """
    check_version(version)
    return GeneratedImage(**card_fields(values), maker=maker)


def open_batch(version: int, values: Mapping[str, Any]) -> ImageBatch:
    """Return the batch of a pickle, which names this function; see `open_image`."""
    check_version(version)
    return ImageBatch(**known(Grid, values))
