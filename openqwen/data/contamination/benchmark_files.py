"""Benchmark files of any form as items to look for.

items = read_benchmark_files([Path("mmlu.jsonl.gz"), Path("ceval/val")], fields=())
items[0].benchmark, items[0].id                 # "mmlu", "mmlu/0"
"""

from collections.abc import Sequence
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.data.contamination.benchmark_forms import row_id, texts_of_row
from openqwen.data.contamination.benchmark_index import BenchmarkItem
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import find_row_files, read_raw_rows, row_kind


def read_benchmarks(folder: Path) -> list[BenchmarkItem]:
    """Read the items of every `*.jsonl` in a folder, as the sources stage writes them.

    Raises:
        UserError: if a row is not a JSON object with text.
    """
    files = sorted(folder.glob("*.jsonl"))
    return read_benchmark_files(files) if files else []


def read_benchmark_files(
    paths: Sequence[Path], *, fields: Sequence[str] = ()
) -> list[BenchmarkItem]:
    """Read the items of benchmark files in order; folders stand for the files in them.

    Args:
        paths: JSON Lines, JSON, CSV, TSV or Parquet, also gzipped; each names its benchmark.
        fields: the fields of a row to take; empty goes by their names, see `benchmark_forms`.

    Raises:
        UserError: if a file or one of its rows can't be read: a benchmark with holes protects less
            than its name says.
    """
    items: list[BenchmarkItem] = []
    names: dict[str, Path] = {}
    for path in find_row_files(list(paths)):
        name = path.name[: -len("".join(Path(path.name).suffixes[-2:]))] if _packed(path) else ""
        name = name or path.stem
        if name in names:
            name = f"{path.parent.name}/{name}"
        names[name] = path
        read = _read_items(path, name, fields)
        if not read:
            raise UserError(f"{path} has no rows; name a benchmark file with some")
        items += read
    return items


def _packed(path: Path) -> bool:
    return path.name.lower().endswith(row_kind(path) + ".gz")


def _read_items(path: Path, name: str, fields: Sequence[str]) -> list[BenchmarkItem]:
    set_aside = SetAside()
    items = []
    seen: set[str] = set()
    for row in read_raw_rows(path, set_aside):
        try:
            texts = texts_of_row(row.values, fields)
        except UserError as error:
            raise UserError(f"{path}, row {row.place + 1}: {error}") from None
        id = row_id(row.values) or str(row.place)
        if id in seen:  # some number their items anew for each task
            id = f"{id}#{row.place}"
        seen.add(id)
        items.append(BenchmarkItem(name, id, texts.text, texts.views))
    if set_aside.counts:
        where = next(iter(set_aside.examples.values()))[0]
        raise UserError(f"{path}: {set_aside.summary()} ({where}); mend or remove the rows")
    return items
