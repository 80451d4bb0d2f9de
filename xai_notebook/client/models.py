"""Which image models there are, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_notebook.client import wire

if TYPE_CHECKING:
    from xai_notebook.client.connection import Connection

__all__ = ["ModelsClient"]


class ModelsClient:
    """Asks about models."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def list_image_generation_models(
        self, *, timeout: float | None = None
    ) -> list[wire.ImageGenerationModel]:
        """Return the image models the key may use; `image_price` is in US cents per image.

        Args:
            timeout: Deadline in seconds; default: the client's.

        Raises:
            ApiError: The server answered with a status other than OK.
        """
        reply = await self._connection.unary(
            wire.LIST_IMAGE_GENERATION_MODELS,
            wire.Empty(),
            wire.ListImageGenerationModelsResponse,
            timeout=timeout,
        )
        return list(reply.models)

    async def get_image_generation_model(
        self, name: str, *, timeout: float | None = None
    ) -> wire.ImageGenerationModel:
        """Return one model by its name or an alias.

        Args:
            name: Such as `grok-imagine-image`.
            timeout: Deadline in seconds; default: the client's.

        Raises:
            NotFoundError: There is no such model.
            ApiError: The server answered with another status.
        """
        return await self._connection.unary(
            wire.GET_IMAGE_GENERATION_MODEL,
            wire.GetModelRequest(name=name),
            wire.ImageGenerationModel,
            model=name,
            timeout=timeout,
        )
