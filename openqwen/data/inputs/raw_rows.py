"""Rows as they stand in files: JSON Lines, JSON, CSV, TSV and Parquet, each also gzipped.

    for row in read_raw_rows(Path("part.jsonl.gz"), set_aside): ...
    row.place, row.values["text"]                    # 0, "…"

What is no row is set aside with its place; the rest of the file goes on.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.errors import UserError
from openqwen.core.files import list_files
from openqwen.data.inputs.origin import GZIP_ERRORS, SetAside, open_unpacked

KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
MAX_ROW_BYTES = 64_000_000  # of a line; a .json file that is no lines may have MAX_LIST_BYTES
MAX_LIST_BYTES = 1_000_000_000
PARQUET_ROWS = 256  # in memory at a time
SKIP_BYTES = 1 << 20
UTF8_MARK = b"\xef\xbb\xbf"
ANSWERS = frozenset("ABCDEFGH")


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a file: its place, counted from 0 with what was set aside, and its values."""

    place: int
    values: dict[str, Any]


def row_kind(path: Path) -> str:
    """Return the ending of a file's name in lower case, without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def find_row_files(paths: list[Path], *, kinds: tuple[str, ...] = KINDS) -> list[Path]:
    """Return the files named, and those of the known kinds in the folders named.

    Raises:
        UserError: if a path does not exist, a file is of no known kind, or a folder holds none.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = [file for file in list_files(path) if row_kind(file) in kinds]
            if not inside:
                raise UserError(f"{path} holds no {', '.join(kinds)} file")
            found += inside
        elif not path.exists():
            raise UserError(f"{path} does not exist")
        elif row_kind(path) not in kinds:
            raise UserError(f"{path} is none of {', '.join(kinds)} (each also with .gz)")
        else:
            found.append(path)
    return found


def read_raw_rows(path: Path, set_aside: SetAside) -> Iterator[RawRow]:
    """Yield the rows of a file of one of the kinds; values are what the file's form gives.

    A JSON file may be a list of objects, one object that holds such a list, or lines. A CSV file
    without a heading (MMLU's own) gets the names question, A, B …, answer.
    """
    reader = {".csv": _read_csv, ".tsv": _read_csv, ".json": _read_json, ".parquet": _read_parquet}
    try:
        yield from reader.get(row_kind(path), _read_jsonl)(path, set_aside)
    except GZIP_ERRORS as error:
        set_aside.add("truncated or corrupt gzip", f"{path.name}: {error}")
    except UnicodeDecodeError:
        set_aside.add("not UTF-8", path.name)
    except OSError as error:
        set_aside.add("can't be opened", f"{path.name}: {error.strerror or error}")


def _read_jsonl(path: Path, set_aside: SetAside) -> Iterator[RawRow]:
    with open_unpacked(path) as file:
        place = -1
        while line := file.readline(MAX_ROW_BYTES + 1):
            place += 1
            where = f"{path.name}#{place}"
            if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(SKIP_BYTES)) and not rest.endswith(b"\n"):
                    pass
                set_aside.add(f"larger than {MAX_ROW_BYTES:,} bytes", where)
                continue
            if not line.strip():
                continue
            try:
                values = json.loads(line.removeprefix(UTF8_MARK).decode())
            except UnicodeDecodeError:
                set_aside.add("not UTF-8", where)
            except (ValueError, RecursionError):
                set_aside.add("not JSON", where)
            else:
                yield from _row(values, place, path, set_aside)


def _read_json(path: Path, set_aside: SetAside) -> Iterator[RawRow]:
    with open_unpacked(path) as file:
        data = file.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        set_aside.add("list too large for .json; use .jsonl", path.name)
        return
    try:
        value = json.loads(data.removeprefix(UTF8_MARK).decode())
    except RecursionError:
        set_aside.add("not JSON", path.name)
        return
    except UnicodeDecodeError:
        raise
    except ValueError:  # lines under the name of a list
        yield from _read_jsonl(path, set_aside)
        return
    for place, values in enumerate(_list_in(value)):
        yield from _row(values, place, path, set_aside)


def _list_in(value: Any) -> list[Any]:
    """Return the rows of a JSON value: itself, the one list of objects in it, or it alone."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        if len(lists) == 1:
            return list(lists[0])
    return [value]


def _read_csv(path: Path, set_aside: SetAside) -> Iterator[RawRow]:
    delimiter = "\t" if row_kind(path) == ".tsv" else ","
    limit = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        with io.TextIOWrapper(open_unpacked(path), "utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter)
            first = next(rows, [])
            names = _names(first)
            data = rows if names is first else itertools.chain([first], rows)
            for place, cells in enumerate(filter(None, data)):
                if len(cells) != len(names):
                    set_aside.add("row of another length", f"{path.name}#{place}")
                    continue
                yield RawRow(place, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        set_aside.add("not CSV", f"{path.name}: {error}")
    finally:
        csv.field_size_limit(limit)


def _names(cells: list[str]) -> list[str]:
    """Return the first row if it is a heading, else the names that MMLU's columns have."""
    if len(cells) >= 4 and cells[-1].strip() in ANSWERS and cells[0].strip() not in ("", "id"):
        letters = [chr(ord("A") + place) for place in range(len(cells) - 2)]
        return ["question", *letters, "answer"]
    return cells


def _read_parquet(path: Path, set_aside: SetAside) -> Iterator[RawRow]:
    try:
        with pq.ParquetFile(path) as file:
            place = 0
            for batch in file.iter_batches(PARQUET_ROWS):
                for values in batch.to_pylist():
                    yield RawRow(place, values)
                    place += 1
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        set_aside.add("truncated or corrupt Parquet", f"{path.name}: {error}")


def _row(values: Any, place: int, path: Path, set_aside: SetAside) -> Iterator[RawRow]:
    if isinstance(values, dict):
        yield RawRow(place, values)
    else:
        set_aside.add("row is no object", f"{path.name}#{place}")
