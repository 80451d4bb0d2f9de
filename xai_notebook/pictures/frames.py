"""What results, costs and jobs share: HTML for front ends, and the conversion to a DataFrame.

A DataFrame is made from records (one dict per row) with pandas or polars; neither is required.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, overload

from xai_notebook.errors import OptionError, XaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    import polars as pl

_MAX_INT: Final = 2**63


class HtmlShown(ABC):
    """A result that front ends without IPython show as HTML: marimo, Streamlit, holoviz Panel."""

    __slots__ = ()

    @abstractmethod
    def _repr_html_(self) -> str:
        """Return HTML. IPython does not call this if there is a `_repr_mimebundle_`."""

    def _mime_(self) -> tuple[str, str]:
        """Return a MIME type and the content; marimo's protocol."""
        return "text/html", self._repr_html_()


class Tabular(ABC):
    """A result that converts to records and DataFrames, one row per item."""

    _schema: ClassVar[Mapping[str, type]]
    """The columns in order, and the type of their values; see `to_frame`."""

    @abstractmethod
    def to_records(self) -> list[dict[str, Any]]:
        """Return one dict per row, without pandas or polars."""

    @overload
    def to_frame(self, kind: Literal["pandas"] = "pandas") -> pd.DataFrame: ...
    @overload
    def to_frame(self, kind: Literal["polars"]) -> pl.DataFrame: ...
    def to_frame(self, kind: Literal["pandas", "polars"] = "pandas") -> Any:
        """Return a DataFrame with the columns of `to_records`.

        Args:
            kind: `"pandas"` or `"polars"`.

        Raises:
            OptionError: The kind is unknown.
            XaiError: The library is not installed.
        """
        labels = self._labels() if kind == "pandas" else None
        return to_frame(self.to_records(), self._schema, kind, labels)

    def _labels(self) -> Any:
        """Return the index of the pandas DataFrame; None: the positions."""
        return None


def to_frame(
    records: Sequence[Mapping[str, Any]],
    schema: Mapping[str, type],
    kind: str = "pandas",
    index: Sequence[Any] | None = None,
) -> Any:
    """Return records as a DataFrame, whose column types do not depend on the records.

    Args:
        records: One mapping per row; a key that is missing is a missing value.
        schema: The columns in order, and the type of their values: str, int, float, bool, datetime
            (stored in UTC; without a time zone it is local time), date, or object. An object column
            gets the type that its values have in common. Without one, it holds the values unchanged
            in pandas, and as text in polars.
        kind: `"pandas"` or `"polars"`.
        index: The labels of the rows in pandas; polars has no index.

    Raises:
        OptionError: The kind is unknown.
        XaiError: The library is not installed.
    """
    if kind not in ("pandas", "polars"):
        raise OptionError(f'to_frame() knows no {kind!r}. Use "pandas" or "polars".')
    columns = {
        name: [_CONVERTED[of](record.get(name)) for record in records]
        for name, of in schema.items()
    }
    if kind == "polars":
        return _polars_frame(columns, schema)
    return _pandas_frame(columns, schema, index)


def _pandas_frame(
    columns: Mapping[str, list[Any]], schema: Mapping[str, type], index: Sequence[Any] | None
) -> Any:
    try:
        import numpy as np  # noqa: PLC0415  # optional
        import pandas as pd  # noqa: PLC0415  # optional
    except ImportError as error:
        raise XaiError(
            "to_frame() needs pandas: pip install pandas, or use to_records()."
        ) from error
    labels = pd.RangeIndex(len(next(iter(columns.values()), ()))) if index is None else index
    rows = labels if isinstance(labels, pd.Index) else pd.Index(labels)
    data = {}
    text = pd.Series(["text"]).dtype  # object before pandas 3
    for name, values in columns.items():
        of, values = _common_type(schema[name], values)  # noqa: PLW2901
        if of in (object, date):
            array = np.empty(len(values), object)
            for position, value in enumerate(values):  # `array[:] = ` would decode images
                array[position] = value
            series = pd.Series(array, dtype=object)
            series = series.infer_objects() if of is object else series
        else:
            missing = None in values
            dtypes: dict[type, Any] = {
                str: text,
                int: "Int64" if missing else "int64",
                float: "float64",
                bool: "boolean" if missing else "bool",
                datetime: "datetime64[us, UTC]",
            }
            series = pd.Series(values, dtype=dtypes[of])
        data[name] = series.set_axis(rows)
    return pd.DataFrame(data, index=rows, columns=list(columns))


def _polars_frame(columns: Mapping[str, list[Any]], schema: Mapping[str, type]) -> Any:
    try:
        import polars as pl  # noqa: PLC0415  # optional
    except ImportError as error:
        raise XaiError(
            'to_frame("polars") needs polars: pip install polars, or use to_records().'
        ) from error
    dtypes: dict[type, Any] = {
        str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean, date: pl.Date,
        datetime: pl.Datetime("us", "UTC"),
    }  # fmt: skip
    series = []
    for name, values in columns.items():
        of, values = _common_type(schema[name], values)  # noqa: PLW2901
        if of is object:
            of, values = str, [_CONVERTED[str](value) for value in values]  # noqa: PLW2901
        series.append(pl.Series(name, values, dtype=dtypes[of]))
    return pl.DataFrame(series)


def _common_type(of: type, values: list[Any]) -> tuple[type, list[Any]]:
    """Return the type that the values of an object column have in common, and the values in it.

    The type is `object` if there is none. Columns of other types are returned unchanged.
    """
    if of is not object:
        return of, values
    plain = [_plain(value) for value in values]
    types = {_type_of(value) for value in plain if value is not None}
    common = float if types == {int, float} else types.pop() if len(types) == 1 else object
    if common is object:
        return object, values
    return common, [_CONVERTED[common](value) for value in plain]


def _type_of(value: Any) -> type:
    if isinstance(value, bool):
        return bool
    if isinstance(value, int):
        return int if -_MAX_INT <= value < _MAX_INT else object
    if isinstance(value, datetime):  # a key without a time zone must stay as it is
        return object if value.tzinfo is None else datetime
    return next((of for of in (str, float, date) if isinstance(value, of)), object)


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as a value of Python."""
    return value.item() if type(value).__module__ == "numpy" and value.ndim == 0 else value


def _text(value: Any) -> str:
    text = value if type(value) is str else str(value)
    # Arrow, and so polars and pandas 3, refuse surrogates, which file names can contain.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _utc(value: datetime) -> datetime:
    return value.astimezone(timezone.utc)


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


_CONVERTED: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: _optional(_text),
    int: _optional(int),
    float: _optional(float),
    bool: _optional(bool),
    datetime: _optional(_utc),
    date: lambda value: value,
    object: lambda value: value,
}
"""Conversions of the values of a column, by the column's type."""
