"""Records as DataFrames: the column types for every kind of value, also without rows."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from xai_notebook.errors import OptionError, XaiError
from xai_notebook.pictures.frames import to_frame

SCHEMA = {
    "text": str, "whole": int, "usd": float, "ok": bool, "at": datetime, "day": date, "key": object,
}  # fmt: skip
AT = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2)))
LOCAL = datetime(2026, 7, 1, 12)  # noqa: DTZ001  # the case: without a time zone
ROW = {
    "text": "añ", "whole": 3, "usd": 0.02, "ok": True, "at": AT, "day": AT.date(), "key": "SKU-1",
}  # fmt: skip
TEXT = pd.Series(["text"]).dtype


def pandas_types(frame: Any) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


@pytest.mark.parametrize("rows", [1, 0])
def test_pandas_column_types(rows: int) -> None:
    frame = to_frame([ROW] * rows, SCHEMA)
    assert isinstance(frame, pd.DataFrame)
    assert pandas_types(frame) == {
        "text": str(TEXT), "whole": "int64", "usd": "float64", "ok": "bool",
        "at": "datetime64[us, UTC]", "day": "object", "key": str(TEXT) if rows else "object",
    }  # fmt: skip
    assert len(frame) == rows
    if rows:
        assert frame.iloc[0].to_dict() == ROW


def test_pandas_column_types_with_missing_values() -> None:
    frame = to_frame([ROW, {}, dict.fromkeys(SCHEMA)], SCHEMA)
    assert pandas_types(frame) == {
        "text": str(TEXT), "whole": "Int64", "usd": "float64", "ok": "boolean",
        "at": "datetime64[us, UTC]", "day": "object", "key": str(frame.key.dtype),
    }  # fmt: skip
    assert frame.isna().to_numpy().tolist() == [[False] * 7, [True] * 7, [True] * 7]
    assert frame.whole.sum() == 3
    assert frame.usd.sum() == 0.02


@pytest.mark.parametrize("rows", [[ROW, {}], []])
def test_polars_column_types(rows: list[dict[str, Any]]) -> None:
    frame = to_frame(rows, SCHEMA, "polars")
    assert isinstance(frame, pl.DataFrame)
    assert frame.schema == {
        "text": pl.String, "whole": pl.Int64, "usd": pl.Float64, "ok": pl.Boolean,
        "at": pl.Datetime("us", "UTC"), "day": pl.Date, "key": pl.String,
    }  # fmt: skip
    assert frame.rows(named=True) == [dict.fromkeys(SCHEMA) | row for row in rows]


def test_times_are_in_utc() -> None:
    records = [{"at": AT}, {"at": LOCAL}]
    expected = [AT.astimezone(timezone.utc), LOCAL.astimezone(timezone.utc)]
    assert to_frame(records, {"at": datetime})["at"].tolist() == expected
    assert to_frame(records, {"at": datetime}, "polars")["at"].to_list() == expected


@pytest.mark.parametrize(
    ("values", "of_pandas", "of_polars", "in_polars"),
    [
        (["a", "b"], TEXT, pl.String, ["a", "b"]),
        ([1, 2], np.dtype("int64"), pl.Int64, [1, 2]),
        ([np.int64(1), np.int64(2)], np.dtype("int64"), pl.Int64, [1, 2]),
        ([1, 2.5], np.dtype("float64"), pl.Float64, [1.0, 2.5]),
        ([True, False], np.dtype("bool"), pl.Boolean, [True, False]),
        ([1, None], pd.Int64Dtype(), pl.Int64, [1, None]),
        ([None], np.dtype("object"), pl.String, [None]),
        ([1, "a"], np.dtype("object"), pl.String, ["1", "a"]),
        ([True, 1], np.dtype("object"), pl.String, ["True", "1"]),
        ([("a", 1), ("b", 2)], np.dtype("object"), pl.String, ["('a', 1)", "('b', 2)"]),
        ([[1, 2], [3, 4]], np.dtype("object"), pl.String, ["[1, 2]", "[3, 4]"]),
        ([2**70, 1], np.dtype("object"), pl.String, [str(2**70), "1"]),
        ([date(2026, 1, 2)] * 2, np.dtype("object"), pl.Date, [date(2026, 1, 2)] * 2),
        ([LOCAL, LOCAL], pd.Series([LOCAL]).dtype, pl.String, [str(LOCAL)] * 2),
        ([AT, AT], pd.DatetimeTZDtype("us", "UTC"), pl.Datetime("us", "UTC"), [AT, AT]),
    ],
)
def test_object_columns_get_the_type_of_their_values(
    values: list[Any], of_pandas: Any, of_polars: Any, in_polars: list[Any]
) -> None:
    records = [{"key": value} for value in values]
    column = to_frame(records, {"key": object})["key"]
    assert column.dtype == of_pandas
    assert [None if value is pd.NA else value for value in column] == values
    polars = to_frame(records, {"key": object}, "polars")["key"]
    assert (polars.dtype, polars.to_list()) == (of_polars, in_polars)


class Pixels:
    """An object that NumPy would take apart."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise AssertionError("the pixels were decoded")


def test_objects_with_arrays_stay_objects() -> None:
    pixels = [Pixels(), Pixels()]
    frame = to_frame([{"image": each} for each in pixels], {"image": object})
    assert frame["image"].tolist() == pixels


def test_the_index_joins_with_another_frame() -> None:
    table = pd.DataFrame({"name": ["fox", "owl"]}, index=["b", "a"])
    frame = to_frame([{"usd": 1.0}, {"usd": 2.0}], {"usd": float}, index=["a", "b"])
    assert table.join(frame)["usd"].to_dict() == {"b": 2.0, "a": 1.0}
    levels = to_frame([{"usd": 1.0}], {"usd": float}, index=[("a", 1)])
    assert isinstance(levels.index, pd.MultiIndex)
    named = pd.Index([7, 8], name="id")
    assert to_frame([{}, {}], {"usd": float}, index=named).index.equals(named)
    assert to_frame([{"usd": 1.0}], {"usd": float}, "polars", index=["a"]).columns == ["usd"]


def test_text_that_is_not_unicode_is_replaced() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    for kind in ("pandas", "polars"):
        assert list(to_frame([{"path": name}], {"path": str}, kind)["path"]) == ["caf?.png"]


def test_an_unknown_kind_names_the_known_kinds() -> None:
    with pytest.raises(OptionError, match='Use "pandas" or "polars"'):
        to_frame([], SCHEMA, "arrow")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_missing_library_names_the_cure(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    cure = rf"needs {kind}: pip install {kind}, or use to_records\(\)\."
    with pytest.raises(XaiError, match=cure):
        to_frame([ROW], SCHEMA, kind)


def test_importing_the_module_loads_no_library() -> None:
    script = """import sys, xai_notebook.pictures.frames
print({"pandas", "polars", "numpy"} & set(sys.modules))"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert shown.stdout.strip() == b"set()"
