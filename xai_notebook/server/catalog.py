"""The models the embedded server offers: the names of the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.server.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.server.faults import Faults

__all__ = ["MAX_PROMPT_LENGTH", "Model", "find", "list_all", "names"]

MAX_PROMPT_LENGTH: Final = 8000
"""Characters."""


@dataclass(frozen=True, slots=True)
class Model:
    """One image model.

    Attributes:
        name: As the API spells it.
        aliases: Other names for it.
        created: Unix time in seconds.
        edits: Accepts input images.
        has_quality: Accepts the `quality` option.
        version: What the API says as version and fingerprint.
        price_ticks: List price of an image in ticks of 1e-10 USD; None: as the faults say.
    """

    name: str
    aliases: tuple[str, ...]
    created: int
    edits: bool = True
    has_quality: bool = False
    version: str = ""
    price_ticks: int | None = None

    def to_message(self, faults: Faults) -> wire.ImageGenerationModel:
        """Return the message that describes this model."""
        modality = wire.Modality
        return wire.ImageGenerationModel(
            name=self.name,
            version=self.version,
            input_modalities=[modality.TEXT, *([modality.IMAGE] if self.edits else [])],
            output_modalities=[modality.IMAGE],
            created={"seconds": self.created},
            max_prompt_length=MAX_PROMPT_LENGTH,
            system_fingerprint=self.version,
            aliases=self.aliases,
            image_price=faults.image_price if self.price_ticks is None else self.price_ticks,
        )


_PREVIEW: Final = settings.LOCAL_MODEL
_MODELS: Final = (
    Model("grok-imagine-image", ("grok-imagine-image-latest",), 1_769_000_000, version=_PREVIEW),
    Model(
        "grok-imagine-image-2.0",
        ("grok-imagine-image-2.0-latest",),
        1_785_000_000,
        has_quality=True,
        version=_PREVIEW,
    ),
    Model(
        "grok-imagine-image-quality",
        ("grok-imagine-image-quality-latest", "grok-imagine-image-pro"),
        1_777_000_000,
        version=_PREVIEW,
    ),
    Model(
        "grok-2-image",
        ("grok-2-image-1212", "grok-2-image-latest"),
        1_734_000_000,
        edits=False,
        version=_PREVIEW,
    ),
)


def list_all() -> tuple[Model, ...]:
    """Return every model of the painter, the default first."""
    return _MODELS


def names() -> tuple[str, ...]:
    """Return every name and alias of the real models."""
    return tuple(name for model in _MODELS for name in (model.name, *model.aliases))


def find(name: str, models: Sequence[Model] = _MODELS) -> Model:
    """Return the model of that name or alias among `models`.

    Raises:
        Refusal: INVALID_ARGUMENT without a name, NOT_FOUND for one that does not exist.
    """
    if not name.strip():
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "Model must not be empty.")
    for model in models:
        if name == model.name or name in model.aliases:
            return model
    existing = ", ".join(model.name for model in models)
    raise Refusal(
        grpc.StatusCode.NOT_FOUND, f"The model {name!r} does not exist. Those that do: {existing}."
    )
