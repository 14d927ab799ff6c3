"""Rows of a benchmark in the form its harness task reads, and the draw of some of them.

    rows = Rows([Row("mmlu_anatomy", {...}, group="STEM")], {"mmlu_anatomy": shown})
    chosen = draw(item_ids(rows.tests), limit=200, seed=0)

An item's id is made of what it says, and the draw of the id: the same items are asked of every
model, whatever else the file holds, and 100 items are among the 200 of the same seed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openqwen.data.inputs.origin import SetAside


@dataclass(frozen=True)
class Row:
    """One question.

    Attributes:
        task: name of the harness task that asks it.
        values: its columns, named as the task's template names them.
        group: subject group, category or language; "" where there is none.
        id: under which it is known; made of the values where none is given.
    """

    task: str
    values: Mapping[str, Any]
    group: str = ""
    id: str = ""


@dataclass(frozen=True)
class Rows:
    """What was read of a benchmark.

    Attributes:
        tests: questions to ask.
        examples: name of the harness task -> solved questions to show before, in order.
        source: the files, for people: what the items are drawn from.
        set_aside: rows that could not be used, counted by reason.
        changes: what the rows' form replaces in the definitions.
        notes: what a reader of the numbers must know of the rows.
    """

    tests: Sequence[Row]
    examples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    source: str = ""
    set_aside: SetAside = field(default_factory=SetAside)
    changes: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def item_id(row: Row) -> str:
    """Return the id a row was given, or one made of its task and values."""
    if row.id:
        return row.id
    text = json.dumps(row.values, ensure_ascii=False, sort_keys=True, default=str)
    return f"{row.task}/{_hash(text)[:10]}"


def item_ids(rows: Sequence[Row]) -> list[str]:
    """Return an id a row, all different: a row that says the same as another gets a number."""
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        id = item_id(row)
        seen[id] = seen.get(id, 0) + 1
        found.append(id if seen[id] == 1 else f"{id}#{seen[id]}")
    return found


def draw(ids: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Return the places of `limit` ids drawn by the seed, in their order; of all for None.

    A draw of fewer with the same seed is part of a draw of more.
    """
    if limit is None or limit >= len(ids):
        return list(range(len(ids)))
    ranked = sorted(range(len(ids)), key=lambda place: _hash(f"{seed}/{ids[place]}"))
    return sorted(ranked[:limit])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
