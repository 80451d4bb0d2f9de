"""Manifests: tables of the files in a folder, as ImageFolder of `datasets` reads them.

Separate because the formats of tables have nothing to do with writing images.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from contextlib import suppress
from datetime import timezone
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import ExportError
from xai_notebook.frontend import short_path
from xai_notebook.pictures.files import fold, name_problem, read_bounded, write_atomically
from xai_notebook.pictures.picture import is_missing, label_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from xai_notebook.pictures.picture import Card

COLUMNS: Final = (
    "file_name", "row", "key", "prompt", "rewritten_prompt", "model", "sha256", "created",
    "cost_usd",
)  # fmt: skip
"""Columns of a manifest. ImageFolder needs `file_name`; `sha256` is the digest of the original."""
_LABELS: Final = ("row", "key")
"""Columns whose values have the types of the user's table."""
_CHECKED: Final = (*_LABELS, "prompt", "rewritten_prompt", "model")
"""Columns with text that a reader could take for something else."""
_MAX_BYTES: Final = 1 << 30
_MAX_INTEGER: Final = 1 << 63
_NOT_TEXT: Final = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
"""Text that pandas, and so `datasets`, reads from a CSV file as a missing value."""
_NUMBER: Final = re.compile(
    r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|true|false)\s*",
    re.IGNORECASE | re.ASCII,
)
"""Text that pandas reads from a CSV file as a number or as a truth value."""
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d.*)?", re.DOTALL)
"""Text that Arrow may read from a JSON file as a time."""
_CHUNK: Final = 200_000
"""Bytes of a CSV file from which pandas finds the types of each part of the file by itself."""
_ROW_BYTES: Final = 250
"""Approximate bytes of a row without its prompts."""
_SHOWN: Final = 40
"""Maximum characters of a value in a message."""

Row = dict[str, Any]


class Manifest:
    """A manifest that will be written, with a valid name and values that its format can hold."""

    def __init__(self, path: Path, rows: list[Row], *, overwrite: bool) -> None:
        """Use `rows` of an existing manifest; see `open`."""
        self._path = path
        self._kept = rows
        self._overwrite = overwrite
        self._listed = {fold(row["file_name"]) for row in rows if row["sha256"]}

    @classmethod
    def open(
        cls, folder: Path, name: str, images: Mapping[str, Card], *, overwrite: bool
    ) -> Manifest:
        """Check a manifest before the first image is written.

        Args:
            folder: The folder of the images.
            name: The name of the manifest.
            images: The images that will be listed, by their paths in the folder, without extension.
            overwrite: Replace an existing manifest. Its rows of other files are kept.

        Raises:
            ExportError: The name is invalid, the manifest exists or cannot be continued, or its
                format would change a value.
        """
        if not isinstance(name, str):
            raise ExportError(
                f"The manifest is a {type(name).__name__}. Give a name, such as 'metadata.csv'."
            )
        kind = Path(name).suffix.lower()
        if kind not in _FORMATS:
            raise ExportError(
                f"The manifest {name!r} has an unknown format. Give a name that ends with .csv, "
                ".jsonl or .parquet, such as metadata.csv."
            )
        if problem := name_problem(name):
            raise ExportError(
                f"The manifest {name!r} is not possible: it {problem}. It is written into the "
                "folder of the images: give a name such as metadata.csv."
            )
        path = folder / name
        if path.is_symlink() or path.is_dir():
            raise ExportError(
                f"{short_path(path)} is a link or a folder. Give the manifest another name."
            )
        kept: list[Row] = []
        if kind == ".parquet":
            _parquet_package()
        other = next((each for each in _rivals(path) if each.exists()), None)
        if other is not None:
            raise ExportError(
                f"{short_path(folder)} has {other.name} already, and `datasets` reads only one "
                f"format. Remove it, or export to {other.name}; nothing was exported."
            )
        if path.exists():
            kept = _read(path)
            if not overwrite and not (kept and _lists_only(kept, images)):
                raise ExportError(
                    f"{short_path(path)} exists already and lists other images. Give "
                    "overwrite=True to update it, or another name; nothing was exported."
                )
        # A notebook that runs again, or a retry that has made missing images, continues it.
        manifest = cls(path, kept, overwrite=overwrite or bool(kept))
        manifest._check([_row(image, "") for image in images.values()])
        return manifest

    def is_at(self, path: Path) -> bool:
        """Tell whether a path is that of the manifest, also on disks that ignore case."""
        return path.parent == self._path.parent and fold(path.name) == fold(self._path.name)

    def lists(self, path: Path) -> bool:
        """Tell whether the existing manifest has a row of a file that an export wrote."""
        return fold(path.relative_to(self._path.parent).as_posix()) in self._listed

    def write(self, files: Iterable[tuple[Card, Path]]) -> None:
        """Write the manifest: rows of other files that still exist, then the new rows.

        Raises:
            ExportError: The manifest has appeared meanwhile.
            OSError: The file cannot be written.
        """
        folder = self._path.parent
        rows = [_row(image, path.relative_to(folder).as_posix()) for image, path in files]
        new = {fold(row["file_name"]) for row in rows}
        if self._overwrite and self._path.exists():
            with suppress(ExportError):  # another process may have added rows meanwhile
                self._kept = _read(self._path)
        kept = [
            row
            for row in self._kept
            if fold(row["file_name"]) not in new and (folder / row["file_name"]).is_file()
        ]
        rows = _unify(kept + rows)
        if not rows:
            return
        _, save = _FORMATS[self._path.suffix.lower()]
        if not write_atomically(self._path, save(rows), overwrite=self._overwrite):
            raise ExportError(
                f"{short_path(self._path)} was created meanwhile. Export again with another "
                "manifest; the images are written."
            )

    def _check(self, rows: list[Row]) -> None:
        """Refuse values that would be read back as something else."""
        kind = self._path.suffix.lower()
        checked = _unify(rows)
        size = sum(
            _ROW_BYTES + len(row["prompt"] or "") + len(row["rewritten_prompt"] or "")
            for row in self._kept + rows
        )
        for column in _CHECKED:
            texts = [row[column] for row in checked if isinstance(row[column], str)]
            if not texts:
                continue
            if any(not _is_encodable(text) for text in texts):
                raise ExportError(
                    f"{self._path.name} cannot hold a {column.replace('_', ' ')} with characters "
                    "that UTF-8 does not have. Remove them from the table; nothing was exported."
                )
            bad = None
            if kind == ".csv":
                others = [row[column] for row in self._kept if row[column] is not None]
                bad = _changed_in_csv(texts, others, large=size > _CHUNK)
            elif kind == ".jsonl" and all(map(_DATE.fullmatch, texts)):
                bad = texts[0]
            if bad is not None:
                value = bad if len(bad) <= _SHOWN else bad[: _SHOWN - 1] + "…"
                cure = "a .parquet" if kind == ".jsonl" else "a .jsonl or .parquet"
                raise ExportError(
                    f"{self._path.name} cannot hold the {column.replace('_', ' ')} {value!r}: "
                    f"readers would take it for a number, a date or a missing value. Give {cure} "
                    "manifest; nothing was exported."
                )


def _rivals(path: Path) -> Iterator[Path]:
    """Yield the paths of manifests in other formats that ImageFolder would read as well."""
    if path.stem == "metadata":
        yield from (path.with_suffix(suffix) for suffix in _FORMATS if suffix != path.suffix)


def _lists_only(rows: list[Row], images: Mapping[str, Card]) -> bool:
    """Tell whether each row of a manifest is that of one of the images, with its name."""
    columns = ("sha256", "key", "row", "prompt", "rewritten_prompt")

    def identify(row: Row) -> tuple[str, ...]:
        stem = fold(row["file_name"].rpartition(".")[0])
        return stem, *("" if row[name] is None else str(row[name]) for name in columns)

    new = (identify(_row(image, f"{stem}.")) for stem, image in images.items())
    return not Counter(map(identify, rows)) - Counter(new)


def _row(image: Card, file_name: str) -> Row:
    # Milliseconds, always: Arrow reads times without a fraction as another type.
    created = image.created.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    cost = image.cost_usd
    return {
        "file_name": file_name,
        "row": _scalar(image.row),
        "key": _scalar(image.key),
        "prompt": image.prompt,
        "rewritten_prompt": image.rewritten_prompt,
        "model": image.model or image.request.model,
        "sha256": image.sha256,
        "created": created,
        "cost_usd": None if cost is None else float(cost),
    }


def _scalar(value: Any) -> Any:
    """Return a label as bool, int, float or text; other values as Python prints them."""
    if is_missing(value):
        return None
    if isinstance(value, (bool, str)):
        return value
    if type(value).__name__ in {"bool", "bool_"}:  # NumPy's
        return bool(value)
    if isinstance(value, Integral):
        return int(value) if abs(int(value)) < _MAX_INTEGER else str(value)
    if isinstance(value, tuple):
        return label_text(value)
    return float(value) if isinstance(value, Real) else str(value)


def _unify(rows: list[Row]) -> list[Row]:
    """Give all labels of a column one type; mixed types become text."""
    for column in _LABELS:
        kinds = {type(row[column]) for row in rows if row[column] is not None}
        if len(kinds) > 1:
            rows = [
                row if row[column] is None else {**row, column: str(row[column])} for row in rows
            ]
    return rows


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _changed_in_csv(texts: list[str], others: list[Any], *, large: bool) -> str | None:
    """Return a text that pandas would read as something else; None if there is none.

    pandas takes a column for numbers if all its values look like numbers, in each part of a large
    file.
    """
    for text in texts:
        if "\0" in text and sys.version_info < (3, 11):
            return text  # the module csv of Python 3.10 cannot write it
        if text in _NOT_TEXT or (large and _NUMBER.fullmatch(text)):
            return text
    if all(_NUMBER.fullmatch(str(text)) for text in (*texts, *others)):
        return texts[0]
    return None


# Formats


def _read(path: Path) -> list[Row]:
    """Return the rows of an existing manifest.

    Raises:
        ExportError: The manifest cannot be read or has other columns.
    """
    load, _ = _FORMATS[path.suffix.lower()]
    try:
        rows = load(read_bounded(path, _MAX_BYTES, links=False))
        columns = {name for row in rows for name in row}
        others = sorted(str(name) for name in columns - set(COLUMNS))
        names = [row.get("file_name") for row in rows]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise ExportError(
            f"{short_path(path)} cannot be read as a manifest. Remove it, or give another name; "
            "nothing was exported."
        ) from error
    if others:
        raise ExportError(
            f"{short_path(path)} has columns that an export does not write ({', '.join(others)}), "
            "and would lose them. Give the manifest another name; nothing was exported."
        )
    texts = (row.get(column) for row in rows for column in ("prompt", "rewritten_prompt"))
    if not all(text is None or isinstance(text, str) for text in texts):
        raise ExportError(
            f"{short_path(path)} has prompts that are not text. Remove it, or give another name; "
            "nothing was exported."
        )
    if not all(isinstance(name, str) and name for name in names):
        raise ExportError(
            f"{short_path(path)} has rows without a file_name. Remove it, or give another name; "
            "nothing was exported."
        )
    return [{name: row.get(name) for name in COLUMNS} for row in rows]


def _load_csv(data: bytes) -> list[Row]:
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    head = next(lines, [])
    rows = []
    for line in lines:
        if len(line) != len(head):
            raise ValueError("a row has another number of cells than the heading")
        row: Row = {name: value or None for name, value in zip(head, line, strict=True)}
        if row.get("cost_usd") is not None:
            row["cost_usd"] = float(row["cost_usd"])
        rows.append(row)
    return rows


def _save_csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    # Quotes around text keep carriage returns, which csv leaves unquoted by default.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in rows)
    return text.getvalue().encode()


def _load_jsonl(data: bytes) -> list[Row]:
    return [json.loads(line) for line in data.decode().split("\n") if line.strip()]


def _save_jsonl(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet_package() -> Any:
    """Return pyarrow's module for Parquet, or polars.

    Raises:
        ExportError: Neither is installed.
    """
    try:
        import pyarrow.parquet  # noqa: PLC0415  # optional
    except ImportError:
        try:
            import polars  # noqa: ICN001, PLC0415  # optional
        except ImportError:
            raise ExportError(
                "A .parquet manifest needs pyarrow: pip install pyarrow. Or give a .csv or .jsonl "
                "manifest."
            ) from None
        return polars
    return pyarrow.parquet


def _load_parquet(data: bytes) -> list[Row]:
    package = _parquet_package()
    if package.__name__ == "polars":
        rows: list[Row] = package.read_parquet(io.BytesIO(data)).to_dicts()
    else:
        rows = package.read_table(io.BytesIO(data)).to_pylist()
    return rows


def _save_parquet(rows: list[Row]) -> bytes:
    package = _parquet_package()
    stream = io.BytesIO()
    kinds = {column: _kind_of(rows, column) for column in COLUMNS}
    if package.__name__ == "polars":
        types = {str: package.String, int: package.Int64, float: package.Float64,
                 bool: package.Boolean}  # fmt: skip
        schema = {column: types[kind] for column, kind in kinds.items()}
        package.DataFrame(rows, schema=schema).write_parquet(stream)
    else:
        import pyarrow  # noqa: ICN001, PLC0415  # loaded by _parquet_package

        arrow = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(),
                 bool: pyarrow.bool_()}  # fmt: skip
        schema = pyarrow.schema([(column, arrow[kind]) for column, kind in kinds.items()])
        package.write_table(pyarrow.Table.from_pylist(rows, schema=schema), stream)
    return stream.getvalue()


def _kind_of(rows: list[Row], column: str) -> type:
    if column == "cost_usd":
        return float
    return next((type(row[column]) for row in rows if row[column] is not None), str)


_FORMATS: Final[dict[str, tuple[Callable[[bytes], list[Row]], Callable[[list[Row]], bytes]]]] = {
    ".csv": (_load_csv, _save_csv),
    ".jsonl": (_load_jsonl, _save_jsonl),
    ".parquet": (_load_parquet, _save_parquet),
}
"""By extension, the functions that read and write a manifest."""
