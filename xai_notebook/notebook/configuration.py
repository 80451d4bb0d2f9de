"""`%config XaiImage`: a trait for every row of the tables that can have a default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import Bool, CaselessStrEnum, Float, Int, Unicode

from xai_notebook.arguments.options import OPTIONS, SETTINGS
from xai_notebook.arguments.values import Amount, Choice, WholeNumber

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traitlets import HasTraits, TraitType

    from xai_notebook.arguments.options import Option

__all__ = ["read", "traits"]

_ALL = (*OPTIONS, *SETTINGS)
_LEAST = 0.001
"""The smallest amount that is not nothing."""


def traits(rows: tuple[Option, ...] = _ALL) -> dict[str, TraitType[Any, Any]]:
    """Return the traits by the names that `%config XaiImage` has for them."""
    return {row.setting or row.name: _trait(row) for row in rows if row.configurable}


def read(traits: HasTraits) -> Mapping[str, Any]:
    """Return the defaults by the names of the tables."""
    return {row.name: getattr(traits, row.setting or row.name) for row in _ALL if row.configurable}


def _trait(row: Option) -> TraitType[Any, Any]:
    default = row.default[0] if row.repeatable else row.default
    common = {"default_value": default, "allow_none": default is None, "help": row.help}
    found: TraitType[Any, Any]
    if isinstance(row.convert, Choice):
        found = CaselessStrEnum(row.convert.values, **common)
    elif isinstance(row.convert, WholeNumber):
        found = Int(min=row.convert.low, max=row.convert.high, **common)
    elif isinstance(row.convert, Amount):
        found = Float(min=0.0 if row.convert.zero else _LEAST, **common)
    else:
        found = Bool(**common) if row.convert is bool else Unicode(**common)
    return found.tag(config=True)
