"""Which image models there are, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.client import wire

if TYPE_CHECKING:
    from xai_notebook.client.connection import Connection

__all__ = ["ModelsClient", "image_price_usd"]

_LEAST_TICKS: Final = 100_000
"""From here on `image_price` is ticks; in US cents it would be $1,000 an image."""
_CENTS_PER_USD: Final = 100
_MOST_USD: Final = 100
"""A list price above this is no price."""


def image_price_usd(model: wire.ImageGenerationModel) -> float | None:
    """Return the list price of an image in US dollars; None: none that makes sense.

    The comment in xAI's public protos says that `image_price` is in US cents; wherever a real one
    was seen, it was in ticks of 1e-10 USD, 200000000 for $0.02. What one can mean the other cannot.
    """
    price = model.image_price
    usd = price / (wire.TICKS_PER_USD if price >= _LEAST_TICKS else _CENTS_PER_USD)
    return usd if 0 <= usd <= _MOST_USD else None


class ModelsClient:
    """Asks about models."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def list_image_generation_models(
        self, *, timeout: float | None = None
    ) -> list[wire.ImageGenerationModel]:
        """Return the image models the key may use; see `image_price_usd` for their prices.

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
            idempotent=True,
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
            idempotent=True,
        )
