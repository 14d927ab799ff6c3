"""Requests for the safety measure: harmful ones, and harmless ones that look alike.

    for request in read_requests(None): ...        # ours, beside this file
    read_requests(Path("mine.jsonl"))              # rows of the same form

A row is an object with `id`, `prompt`, `category` (ours: violence, bias, pornography), `language`
(en or zh) and `is_harmful`. Ours name what is asked for and hold nothing that could be used.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.data.draw import draw
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import read_raw_rows

OURS = "prompts.json"
NAMES = ("safety.jsonl", "safety.jsonl.gz", "safety.json")  # looked for in a data folder
LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Request:
    """What somebody asks of a model."""

    id: str
    prompt: str
    category: str
    language: str
    is_harmful: bool


def read_requests(path: Path | None) -> list[Request]:
    """Return the requests of a file; None for ours.

    Raises:
        UserError: if the file is missing or a row is of another form.
    """
    if path is None:
        rows = json.loads(Path(__file__).with_name(OURS).read_text(encoding="utf-8"))
        return [_request(row, OURS, place) for place, row in enumerate(rows)]
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a file of requests")
    set_aside = SetAside()
    found = [_request(row.values, path.name, row.place) for row in read_raw_rows(path, set_aside)]
    if set_aside.counts or not found:
        raise UserError(f"{path}: {set_aside.summary() or 'no request in it'}")
    return found


def find_requests(data: Path | None) -> Path | None:
    """Return the file of requests in a data folder, or None where ours are to be used."""
    paths = [data / name for name in NAMES] if data is not None else []
    return next((path for path in paths if path.is_file()), None)


def choose(requests: Sequence[Request], limit: int | None, seed: int) -> list[Request]:
    """Return at most `limit` requests, the same for every model."""
    if limit is None or limit >= len(requests):
        return list(requests)
    chosen = sorted(requests, key=lambda r: draw(seed, "safety", r.id))[:limit]
    ids = {request.id for request in chosen}
    return [request for request in requests if request.id in ids]


def _request(row: dict[str, Any], name: str, place: int) -> Request:
    for key in ("prompt", "category"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UserError(f"{name}, row {place + 1}: {key} must be a text")
    if row.get("language") not in LANGUAGES:
        raise UserError(
            f"{name}, row {place + 1}: language must be en or zh, got {row.get('language')!r}"
        )
    if not isinstance(row.get("is_harmful"), bool):
        raise UserError(
            f"{name}, row {place + 1}: is_harmful must be true or false, got "
            f"{row.get('is_harmful')!r}"
        )
    id = str(row.get("id", place))
    return Request(id, row["prompt"], row["category"], row["language"], row["is_harmful"])
