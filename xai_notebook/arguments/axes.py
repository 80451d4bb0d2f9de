"""Axes of `--matrix` over options: from `quality=low,medium` to checked values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xai_notebook.arguments.values import did_you_mean, nonempty
from xai_notebook.errors import OptionError

__all__ = ["axes", "axes_of", "check_axes"]


def axes(value: Any) -> tuple[str, ...] | None:
    """Return axes as cells have them, `"quality=low,medium"`; None: no matrix is wanted."""
    if value is None or value is False:
        return None
    if value is True or value == "":
        return ()
    if isinstance(value, Mapping):
        return tuple(_written(name, given) for name, given in value.items())
    if isinstance(value, str):
        name, equals, given = value.partition("=")
        if not equals:
            raise ValueError(
                f"{value!r} is no axis; write an option and values: quality=low,medium"
            )
        return (_written(name, given),)
    return tuple(one for each in value for one in axes(each) or ())


def _written(name: str, given: Any) -> str:
    values = given.split(",") if isinstance(given, str) else given
    if not isinstance(values, Iterable):
        raise ValueError(f"{name}: {given!r} is not a list of values")  # noqa: TRY004  # a converter
    each = [nonempty(value) for value in values]
    return f"{name.strip().lstrip('-').replace('-', '_')}={','.join(each)}"


def axes_of(written: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each axis, by the name of its option."""
    pairs = (axis.partition("=") for axis in written)
    return {name: tuple(dict.fromkeys(values.split(","))) for name, _, values in pairs}


def check_axes(
    written: Iterable[str], converters: Mapping[str, Callable[[Any], Any]]
) -> tuple[str, ...]:
    """Return axes whose options exist, and whose values they take.

    Args:
        written: As from `axes`.
        converters: Of the options that can be compared, by name.

    Raises:
        OptionError: An axis is none; the message names the nearest.
    """
    checked: dict[str, str] = {}
    for name, values in [(axis.partition("=")[0], axis) for axis in written]:
        if name not in converters:
            near = did_you_mean(name, converters) or f" These can: {', '.join(converters)}."
            raise OptionError(f"--matrix: {name!r} cannot be compared.{near}")
        if name in checked:
            raise OptionError(f"--matrix: {name} stands twice. Give its values together.")
        try:
            each = [converters[name](value) for value in axes_of([values])[name]]
        except ValueError as error:
            raise OptionError(f"--matrix {name}: {error}") from None
        words = [one if isinstance(one, str) else ",".join(one) for one in each]
        checked[name] = f"{name}={','.join(words)}"
    return tuple(checked.values())
