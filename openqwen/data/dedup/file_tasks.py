"""The first and the last task of `openqwen data dedup`: rows to sketches, verdicts to files."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import Document
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.columns import as_schema, kinds_of
from openqwen.data.dedup.row_tables import BATCH_ROWS, FIELDS, KINDS, read_tables
from openqwen.data.dedup.sketches import SketchWriter
from openqwen.data.dedup.verdicts import read_reasons, read_verdicts
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.rows import HTML, row_text
from openqwen.data.inputs.splits import Split
from openqwen.data.inputs.stores import InputFile, Store

SKETCH, ROWS, KEPT, DROPPED = "sketch", "rows", "kept.parquet", "dropped.parquet"
DROPPED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "reason", "cluster", "survivor")]
    + [("score", pa.float64())]
)
FACTS = ("url", "media", "language", "source")


def read_rows(folder: Path, *, split: dict[str, Any], config: MinHashConfig) -> dict[str, Any]:
    """Write the good rows of a split as Parquet, a file for each of its parts, and their sketches.

    Returns:
        Documents, bytes of text, kinds of the JSON fields, what was set aside.
    """
    chosen = Split.from_json(split)
    set_aside = SetAside()
    kinds: dict[str, set[str]] = {}
    size = 0
    with SketchWriter(folder / SKETCH, config) as writer:
        for number, part in enumerate(chosen.parts):
            file = InputFile(Store(chosen.store), part.path)
            if part.trouble:
                set_aside.add("can't be opened", f"{part.where}: {part.trouble}")
            if part.trouble or file.kind not in KINDS:
                continue
            tables = read_tables(file, part.where, part.start, part.end, set_aside)
            path = folder / f"{ROWS}-{number:05}.parquet"
            for table in _written(tables, path):
                kinds_of(table, kinds)
                documents = _documents(table)
                writer.add(documents)
                size += table.column("text").nbytes
        count = writer.count
    return {
        "documents": count,
        "bytes": size,
        "kinds": {name: sorted(found) for name, found in sorted(kinds.items())},
        "set_aside": set_aside.as_json(),
    }


def _written(tables: Iterator[pa.Table], path: Path) -> Iterator[pa.Table]:
    """Pass tables on, written to a file; no table, no file."""
    first = next(tables, None)
    if first is None:
        return
    # read again by us alone, and soon: fast to write rather than small
    with pq.ParquetWriter(path, first.schema, compression="lz4", use_dictionary=False) as file:
        for table in chain([first], tables):
            file.write_table(table)
            yield table


def _documents(table: pa.Table) -> list[Document]:
    """Return rows as documents, as far as deduplication looks at them."""
    ids, texts = table.column("id").to_pylist(), table.column("text").to_pylist()
    names = [name for name in FACTS if name in table.schema.names]
    facts: list[dict[str, Any]]
    if FIELDS in table.schema.names:
        facts = [_facts(text) for text in table.column(FIELDS).to_pylist()]
    else:
        facts = table.select(names).to_pylist() if names else [{}] * len(ids)
    return [
        Document(
            id=id,
            source=row_text(row, "source"),
            url=row_text(row, "url"),
            licence="",
            media=row_text(row, "media") or HTML,
            text=text,
            language=row_text(row, "language"),
        )
        for id, text, row in zip(ids, texts, facts, strict=True)
    ]


def _facts(fields: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fields) if fields else {}
    return found


def write_rows(folder: Path, *, part: str, verdicts: str, schema: pa.Schema) -> dict[str, Any]:
    """Write the kept rows of a part with all their columns, the dropped ones with the reason.

    Args:
        folder: where to write.
        part: folder of the part's `read_rows`.
        verdicts: folder of its verdicts.
        schema: columns of the kept rows.
    """
    is_kept = read_reasons(Path(verdicts)) == 0
    start = 0
    with pq.ParquetWriter(folder / KEPT, schema, compression="zstd") as kept:
        for path in sorted(Path(part).glob(f"{ROWS}-*.parquet")):
            with pq.ParquetFile(path) as stored:
                for batch in stored.iter_batches(16 * BATCH_ROWS):
                    stays = is_kept[start : start + len(batch)]
                    start += len(batch)
                    table = pa.Table.from_batches([batch]).filter(pa.array(stays))
                    kept.write_table(as_schema(_with_verdict(table), schema))
    assert start == len(is_kept), f"{part} has {start} rows, its verdicts {len(is_kept)}"
    with pq.ParquetWriter(folder / DROPPED, DROPPED_SCHEMA, compression="zstd") as dropped:
        rows: list[dict[str, Any]] = []
        for verdict in read_verdicts(Path(verdicts)):
            rows.append({name: getattr(verdict, name) for name in DROPPED_SCHEMA.names})
            if len(rows) == 16 * BATCH_ROWS:
                dropped.write_table(pa.Table.from_pylist(rows, DROPPED_SCHEMA))
                rows = []
        dropped.write_table(pa.Table.from_pylist(rows, DROPPED_SCHEMA))
    return {"kept": int(np.count_nonzero(is_kept))}


def _with_verdict(table: pa.Table) -> pa.Table:
    """Return kept rows with an empty reason, each the head of its own cluster."""
    table = table.drop_columns([n for n in ("reason", "cluster") if n in table.schema.names])
    empty = pa.array([""] * len(table), pa.string())
    return table.append_column("reason", empty).append_column("cluster", table.column("id"))
