"""The tasks of `openqwen data decontaminate`: what a worker does with one file.

count_file    in how many documents each shared n-gram stands
check_file    documents kept and dropped, every overlap with both texts
"""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from openqwen.core.documents import Document, RowWriter
from openqwen.data.contamination.benchmark_index import BenchmarkIndex
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.contamination.decontaminate import BATCH_CHARS, BATCH_DOCUMENTS, Decontaminate
from openqwen.data.contamination.report import Account
from openqwen.data.inputs.document_rows import (
    KEPT_SCHEMA,
    DocumentRow,
    document_schema,
    kept_row,
    read_document_rows,
)
from openqwen.data.inputs.origin import SetAside
from openqwen.data.steps import Outcome, Rejected, batches

KEPT, DROPPED, MATCHES, CUTS = "kept.parquet", "dropped.parquet", "matches.jsonl", "cuts.jsonl"
GRAMS = "grams.npy"
DROPPED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "reason", "benchmark", "item")]
    + [("num_items", pa.int32()), ("num_units", pa.int32())]
    + [("file", pa.string()), ("row", pa.int64())]
    + [("text", pa.string()), ("messages", KEPT_SCHEMA.field("messages").type)]
)


def count_file(
    folder: Path, *, file: str, index: str, config: DecontaminateConfig
) -> dict[str, Any]:
    """Write the n-grams that each document of a file shares, each once a document."""
    opened = BenchmarkIndex.open(Path(index))
    grams = [np.empty(0, dtype=np.uint64)]
    rows = read_document_rows(Path(file), SetAside())
    documents = (row.document for row in rows)
    for batch in batches(documents, BATCH_DOCUMENTS, BATCH_CHARS):
        found = opened.overlaps_of([document.text for document in batch])
        grams += (one.grams for one in found if one is not None)
    np.save(folder / GRAMS, np.concatenate(grams))
    return {}


def check_file(
    folder: Path, *, file: str, index: str, config: DecontaminateConfig, ignored: str
) -> dict[str, Any]:
    """Sort a file's documents into kept and dropped, and write every overlap.

    Args:
        folder: where to write.
        file: of documents or conversations.
        index: folder of the benchmarks' index.
        config: what an overlap is and what is done about it.
        ignored: file of n-grams that count for nothing, or "".

    Returns:
        Counts, as `Account.add` takes them.
    """
    path, set_aside = Path(file), SetAside()
    frequent = np.load(ignored) if ignored else None
    step = Decontaminate(config, BenchmarkIndex.open(Path(index)), ignored=frequent)
    counts = {"documents": 0, "bytes": 0, "kept": 0, "cut": 0, "dropped": 0}
    found = Account()
    schema = document_schema(path)
    with (
        RowWriter[dict[str, Any]](folder / KEPT, schema or KEPT_SCHEMA, dict) as kept,
        RowWriter[dict[str, Any]](folder / DROPPED, DROPPED_SCHEMA, dict) as dropped,
        (folder / MATCHES).open("w", encoding="utf-8") as matches,
        (folder / CUTS).open("w", encoding="utf-8") as cuts,
    ):
        for row, outcome, entry in _answered(step, path, set_aside):
            counts["documents"] += 1
            counts["bytes"] += len(row.document.text.encode())
            place = {"file": path.name, "row": row.place}
            if entry is not None:
                found.note(entry)
                facts = {k: v for k, v in entry.items() if k not in ("overlaps", "cut")} | place
                matches.writelines(_line(facts | match) for match in entry["overlaps"])
                cuts.writelines(
                    _line({"id": entry["id"]} | place | c) for c in entry.get("cut", ())
                )
            if isinstance(outcome, Rejected):
                assert entry is not None, "only overlaps are dropped"
                counts["dropped"] += 1
                dropped.add(_dropped_row(row.document, outcome, entry["overlaps"][0]) | place)
                continue
            counts["kept"] += 1
            counts["cut"] += outcome is not row.document
            kept.add(kept_row(row, outcome, as_stage=schema is not None))
    return counts | {"set_aside": set_aside.as_json(), "benchmarks": found.found_json()}


def _answered(
    step: Decontaminate, path: Path, set_aside: SetAside
) -> Iterator[tuple[DocumentRow, Outcome, dict[str, Any] | None]]:
    """Yield each row of a file with the step's answer, and the overlaps it reported."""
    waiting: deque[DocumentRow] = deque()

    def documents() -> Iterator[Document]:
        for row in read_document_rows(path, set_aside):
            waiting.append(row)
            yield row.document

    for outcome in step(documents()):  # in order; the report grows before its document's answer
        yield waiting.popleft(), outcome, step.report.pop() if step.report else None


def _dropped_row(document: Document, rejected: Rejected, first: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": document.id,
        "reason": rejected.reason,
        "benchmark": first["benchmark"],
        "item": first["item"],
        "num_items": int(rejected.score or 0),
        "num_units": first["num_units"],
        "text": document.text,
        "messages": document.messages or None,
    }


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
