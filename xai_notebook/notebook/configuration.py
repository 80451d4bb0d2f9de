"""`%config XaiImage`: a trait for every row of the tables that can have a default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import Bool, CaselessStrEnum, Float, Int, TraitError, TraitType, Unicode

from xai_notebook.arguments.options import OPTIONS, SETTINGS
from xai_notebook.arguments.values import Amount, Choice, WholeNumber, budget
from xai_notebook.settings import REFUSED_BUDGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traitlets import HasTraits

    from xai_notebook.arguments.options import Option
    from xai_notebook.settings import BudgetLimit

__all__ = ["read", "traits", "write"]

_ALL = (*OPTIONS, *SETTINGS)
_LEAST = 0.001
"""The smallest amount that is not nothing."""
_REFUSED = "_refused"
"""The attribute that holds a budget that was set and means nothing."""


def traits(rows: tuple[Option, ...] = _ALL) -> dict[str, TraitType[Any, Any]]:
    """Return the traits by the names that `%config XaiImage` has for them."""
    return {row.setting or row.name: _trait(row) for row in rows if row.configurable}


def read(traits: HasTraits) -> Mapping[str, Any]:
    """Return the defaults by the names of the tables, and a budget that was refused."""
    found = {row.name: getattr(traits, row.setting or row.name) for row in _ALL if row.configurable}
    return found | getattr(traits, _REFUSED, {})


def write(traits: HasTraits, values: Mapping[str, Any]) -> None:
    """Set traits to values by the names of the tables; None: to their defaults."""
    for row in _ALL:
        if row.configurable and row.name in values:
            value = values[row.name]
            if row.repeatable and isinstance(value, tuple):
                value = value[0]
            name = row.setting or row.name
            trait = traits.traits()[name]
            if value is None:
                value = trait.default()
            elif isinstance(trait, Unicode):
                value = str(value)
            setattr(traits, name, value)


class Budget(TraitType[Any, Any]):
    """A trait that takes `5`, `"5/day"` and the like, and holds a `BudgetLimit`."""

    info_text = "US dollars, such as 5, '5/day', '50/month' or '100/total'"

    def set(self, obj: Any, value: Any) -> None:
        """Set the limit. After one that is wrong, nothing is spent until it is set right.

        `%config` only prints what a trait raises, and the cells below would spend without a limit.
        """
        vars(obj)[_REFUSED] = {REFUSED_BUDGET: value}
        super().set(obj, value)
        del vars(obj)[_REFUSED]

    def validate(self, obj: Any, value: Any) -> BudgetLimit:
        """Return the limit that a value means."""
        del obj
        try:
            return budget(value)
        except ValueError as error:
            raise TraitError(f"XaiImage.budget: {error}.") from None

    def from_string(self, s: str) -> BudgetLimit | None:
        """Return the limit that a command line or a configuration file means."""
        return None if s == "None" else self.validate(None, s)


def _trait(row: Option) -> TraitType[Any, Any]:
    default = row.default[0] if row.repeatable else row.default
    help_ = f"False: {row.help}" if row.bare is False else row.help  # what its flag, --no-…, does
    common = {"default_value": default, "allow_none": default is None, "help": help_}
    found: TraitType[Any, Any]
    if isinstance(row.convert, Choice):
        found = CaselessStrEnum(row.convert.values, **common)
    elif row.convert is budget:
        found = Budget(**common)
    elif isinstance(row.convert, WholeNumber):
        found = Int(min=row.convert.low, max=row.convert.high, **common)
    elif isinstance(row.convert, Amount):
        found = Float(min=0.0 if row.convert.zero else _LEAST, **common)
    else:
        found = Bool(**common) if row.convert is bool else Unicode(**common)
    return found.tag(config=True)
