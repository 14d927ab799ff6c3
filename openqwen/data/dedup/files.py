"""Files of rows without their duplicates: `openqwen data dedup`.

    report = dedup_files(["crawl/"], out, config, engine, index=Path("index"))
    # kept/*.parquet, dropped/*.parquet, manifest.json

The same files and settings give the same bytes on any engine. A run that was stopped takes up
where it was, as long as files and settings are the same.
"""

import json
import platform
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import openqwen
from openqwen.core.config import to_plain
from openqwen.core.errors import UserError
from openqwen.core.files import empty_directory, sha256_text, write_json
from openqwen.core.manifest import MANIFEST_NAME, SCRATCH_NAME, describe_outputs
from openqwen.core.runtime import host_description, peak_memory_bytes
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.columns import merged_schema
from openqwen.data.dedup.file_tasks import DROPPED, KEPT, ROWS, SKETCH
from openqwen.data.dedup.find import find_duplicates
from openqwen.data.dedup.index import extend_index, index_parts
from openqwen.data.dedup.row_tables import KINDS
from openqwen.data.dedup.verdicts import Reason
from openqwen.data.engines.engine import Done, Engine, Task, read_done, run_phase
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.splits import Split, list_splits
from openqwen.data.inputs.stores import InputFile, Store, is_uri

STAGE = "dedup"
TASKS = "openqwen.data.dedup.file_tasks"
LABEL = "dedup"


def dedup_files(
    paths: Sequence[str],
    out: Path,
    config: MinHashConfig,
    engine: Engine,
    *,
    split_bytes: int,
    index: Path | None = None,
) -> dict[str, Any]:
    """Write the rows that stay, and why the others don't.

    Args:
        paths: files, folders and URIs of .jsonl, .jsonl.gz and .parquet with `id` and `text`.
        out: the directory to write.
        config: what a duplicate is.
        engine: where the tasks run.
        split_bytes: of input that one task takes.
        index: of earlier crawls; read, and extended by what stays.

    Returns:
        Counts: documents, bytes, kept, dropped by reason, set aside; seconds.

    Raises:
        UserError: if there is nothing to read, or the index is of other settings.
    """
    started = time.monotonic()
    splits = _splits(paths, split_bytes)
    identity = {"inputs": [_described(split) for split in splits], "settings": to_plain(config)}
    crawl = sha256_text(json.dumps([identity, openqwen.__version__], sort_keys=True))[:16]
    if index:
        index_parts(index)  # a wrong folder is told before the work
    work = out / SCRATCH_NAME / crawl
    if not work.exists():  # of another attempt
        shutil.rmtree(out / SCRATCH_NAME, ignore_errors=True)
    parts = _read(engine, work, splits, config)
    sketches = [part.folder / SKETCH for part in parts]
    verdicts = find_duplicates(
        engine, work, sketches, config, index=index, index_without=crawl, label=LABEL, prefix=""
    )
    counts = _counts(parts, verdicts)
    written = _write(engine, work, parts, verdicts)
    for name, folder in ((KEPT, out / "kept"), (DROPPED, out / "dropped")):
        empty_directory(folder)
        for part in written:
            shutil.copyfile(part.folder / name, folder / f"{part.name}.parquet")
    if index:
        counts["index"] = extend_index(index, crawl, sketches, verdicts, config)
    seconds = round(time.monotonic() - started, 3)
    _write_manifest(out, identity | {"counts": counts, "seconds": seconds})
    shutil.rmtree(out / SCRATCH_NAME)
    return counts | {"seconds": seconds}


def _splits(paths: Sequence[str], split_bytes: int) -> list[Split]:
    """Return the splits of the files of our kinds.

    Raises:
        UserError: if a file named is of another kind, or there is none at all.
    """
    for path in paths:
        kind = InputFile(Store(), path).kind
        if not is_uri(path) and Path(path).is_file() and kind not in KINDS:
            raise UserError(f"{path} is none of .jsonl, .jsonl.gz, .parquet")
    found = list_splits(paths, target_bytes=split_bytes)
    splits = [split for split in found if any(_is_ours(split, p.path) for p in split.parts)]
    if not splits:
        raise UserError(f"{', '.join(paths)}: no .jsonl, .jsonl.gz or .parquet file")
    return splits


def _is_ours(split: Split, path: str) -> bool:
    return InputFile(Store(split.store), path).kind in KINDS


def _described(split: Split) -> dict[str, Any]:
    """Return a split and what tells whether its files have changed."""
    found = split.as_json()
    if not split.store:
        found["changed_at"] = [
            Path(part.path).stat().st_mtime_ns if Path(part.path).is_file() else 0
            for part in split.parts
        ]
    return found


def _read(engine: Engine, work: Path, splits: Sequence[Split], config: MinHashConfig) -> list[Done]:
    tasks = [
        Task(f"{n:05}", f"{TASKS}:read_rows", {"split": split.as_json(), "config": config})
        for n, split in enumerate(splits)
    ]
    parts = run_phase(engine, work, "read", tasks, label=LABEL)
    if not any(part.result["documents"] for part in parts):
        reasons = Counter[str]()
        for part in parts:
            reasons.update({why: row["count"] for why, row in part.result["set_aside"].items()})
        raise UserError(
            f"no row has an id and a text: {', '.join(f'{w} {n:,}' for w, n in reasons.items())}"
        )
    return parts


def _write(engine: Engine, work: Path, parts: list[Done], verdicts: list[Path]) -> list[Done]:
    kinds: dict[str, set[str]] = {}
    schemas = []
    for part in parts:
        for name, found in part.result["kinds"].items():
            kinds.setdefault(name, set()).update(found)
        schemas += [pq.read_schema(path) for path in sorted(part.folder.glob(f"{ROWS}-*.parquet"))]
    schema = merged_schema(schemas, kinds)
    tasks = [
        Task(
            part.name,
            f"{TASKS}:write_rows",
            {"part": str(part.folder), "verdicts": str(found), "schema": schema},
        )
        for part, found in zip(parts, verdicts, strict=True)
    ]
    return run_phase(engine, work, "write", tasks, label=LABEL)


def _counts(parts: list[Done], verdicts: list[Path]) -> dict[str, Any]:
    reasons = Counter[str]()
    for folder in verdicts:
        done = read_done(folder)
        assert done is not None, f"{folder} is not finished"
        for reason, count in zip(Reason, done.result["reasons"], strict=True):
            reasons[reason.words] += count
    set_aside = SetAside()
    for part in parts:
        set_aside.take_in(part.result["set_aside"])
    return {
        "documents": sum(part.result["documents"] for part in parts),
        "bytes": sum(part.result["bytes"] for part in parts),
        "kept": reasons.pop(""),
        "dropped": {why: count for why, count in reasons.items() if count},
        "set_aside": set_aside.as_json(),
    }


def _write_manifest(out: Path, facts: dict[str, Any]) -> None:
    versions = {"openqwen": openqwen.__version__, "python": platform.python_version()}
    about = {
        "outputs": describe_outputs(out),
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": versions,
        "host": host_description(),
    }
    write_json(out / MANIFEST_NAME, {"stage": STAGE} | facts | about)
