"""The columns of the rows that are carried over: one schema for all files.

    schema = merged_schema([pq.read_schema(path) for path in paths], kinds)
    table = as_schema(table, schema)

What two files disagree on becomes JSON text.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from openqwen.data.dedup.row_tables import FIELDS, KNOWN

OWN = ("reason", "cluster")  # columns that we write; an input's of that name are replaced
_TYPES = {"bool": pa.bool_, "int": pa.int64, "float": pa.float64, "str": pa.string}
INT64 = 1 << 63


def kinds_of(table: pa.Table, kinds: dict[str, set[str]]) -> None:
    """Add the kinds of values that the fields of JSON rows have; null is of every kind."""
    if FIELDS not in table.schema.names:
        return
    for text in table.column(FIELDS).to_pylist():
        for name, value in json.loads(text).items() if text else ():
            found = kinds.setdefault(name, set())
            if value is not None:
                kind = type(value).__name__
                is_large = kind == "int" and not -INT64 <= value < INT64
                found.add(kind if kind in _TYPES and not is_large else "json")


def merged_schema(schemas: Sequence[pa.Schema], kinds: dict[str, set[str]]) -> pa.Schema:
    """Return id, text, what else the files have in order of name, reason and cluster.

    Args:
        schemas: of tables of `row_tables`.
        kinds: what `kinds_of` found in those of JSON rows.
    """
    types: dict[str, list[pa.DataType]] = {}
    for name, found in kinds.items():
        types.setdefault(name, []).append(_json_type(found))
    for schema in schemas:
        for field in schema:
            types.setdefault(field.name, []).append(field.type)
    names = sorted(set(types) - {*KNOWN, *OWN, FIELDS})
    fields = [(name, _common_type(types[name])) for name in names]
    own = [(name, pa.string()) for name in (*KNOWN, *OWN)]
    return pa.schema(own[:2] + fields + own[2:])


def as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with exactly the schema's columns; what it lacks is null."""
    columns: dict[str, Any] = {name: table.column(name) for name in table.schema.names}
    if FIELDS in columns:
        rows = [json.loads(text) if text else {} for text in columns.pop(FIELDS).to_pylist()]
        for field in schema:
            if field.name not in columns:
                columns[field.name] = _json_column((r.get(field.name) for r in rows), field.type)
    made = []
    for field in schema:
        column = columns.get(field.name)
        if column is None:
            column = pa.nulls(len(table), field.type)
        elif column.type != field.type:
            column = _cast(column, field.type)
        made.append(column)
    return pa.table(made, schema=schema)


def _json_type(kinds: set[str]) -> pa.DataType:
    if not kinds:
        return pa.null()
    if kinds == {"int", "float"}:
        return pa.float64()
    return _TYPES[kinds.pop()]() if len(kinds) == 1 and kinds <= set(_TYPES) else pa.string()


def _common_type(types: list[pa.DataType]) -> pa.DataType:
    known = {kind for kind in types if kind != pa.null()}
    if not known:
        return pa.string()
    if len(known) == 1:
        return known.pop()
    numbers = all(pa.types.is_integer(k) or pa.types.is_floating(k) for k in known)
    if numbers:
        return pa.int64() if all(map(pa.types.is_signed_integer, known)) else pa.float64()
    return pa.string()


def _json_column(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    listed = list(values)
    if kind == pa.string():
        listed = [v if v is None or isinstance(v, str) else _as_json(v) for v in listed]
    return pa.array(listed, kind)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _json_column(column.to_pylist(), kind)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
