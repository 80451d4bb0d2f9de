"""Kernels that share a library, and a server with prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import CENT

if TYPE_CHECKING:
    from harness import Kernels, Served


@pytest.fixture
def kernels(keyed: Served, new_session: Kernels) -> Kernels:
    """Make sessions that use `server`, each like a fresh kernel with the same library."""
    return new_session


@pytest.fixture
def priced(quick: Served) -> Served:
    """A server that lists and charges two cents an image, and 0.1 cents a rewrite."""
    quick.faults.image_price = quick.faults.cost_ticks = 2 * CENT
    quick.faults.chat_ticks = CENT // 10
    return quick
