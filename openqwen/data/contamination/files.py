"""Files of documents or conversations against benchmark files: `openqwen data decontaminate`.

    counts = decontaminate_files(inputs, benchmarks, out, config, engine, fields=())
    # kept/*.parquet, dropped/*.parquet, matches.jsonl, cuts.jsonl, report.html, summary.json

One task an input file. The same files and settings give the same bytes on any engine.
"""

import json
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import openqwen
from openqwen.core.config import to_plain
from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, empty_directory, sha256_file, sha256_text, write_json
from openqwen.core.manifest import MANIFEST_NAME, SCRATCH_NAME, describe_outputs
from openqwen.core.runtime import host_description
from openqwen.data.contamination.benchmark_files import read_benchmark_files
from openqwen.data.contamination.benchmark_index import BenchmarkIndex
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.contamination.report import Account, write_page
from openqwen.data.contamination.tasks import CUTS, DROPPED, GRAMS, KEPT, MATCHES
from openqwen.data.engines.engine import Done, Engine, Task, run_phase
from openqwen.data.inputs.raw_rows import find_row_files

INDEX, IGNORED = "index", "ignored.npy"
SUMMARY, REPORT = "summary.json", "report.html"
TASKS = "openqwen.data.contamination.tasks"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is checked against what.

    Attributes:
        files: of documents or conversations.
        against: benchmark files, or folders of them.
        fields: of a benchmark's row; empty goes by their names.
    """

    files: Sequence[Path]
    against: Sequence[Path]
    fields: Sequence[str] = ()


def decontaminate_files(
    inputs: Inputs, out: Path, config: DecontaminateConfig, engine: Engine
) -> dict[str, Any]:
    """Check files against benchmarks and write what is kept, what is dropped, and why.

    Args:
        inputs: the files.
        out: the directory to write; what an earlier attempt with the same inputs did is used.
        config: what an overlap is and what is done about it.
        engine: where the tasks run.

    Returns:
        Counts: documents, kept, dropped, cut, bytes, by benchmark, set aside.

    Raises:
        UserError: if a benchmark can't be read, or the settings leave nothing to look for.
    """
    started = time.monotonic()
    items = read_benchmark_files(inputs.against, fields=inputs.fields)
    identity = _identity(inputs, config)
    work = out / SCRATCH_NAME / sha256_text(json.dumps(identity))[:16]
    if not work.exists():  # of another attempt
        shutil.rmtree(out / SCRATCH_NAME, ignore_errors=True)
    index = BenchmarkIndex.build(items, config)
    if not index.tables:
        raise UserError(
            f"no benchmark text has {config.min_units} units or more, so nothing could be found; "
            "--fields may name other fields, --set min_units=N a lower limit"
        )
    index.save(work / INDEX)
    arguments = {"index": str(work / INDEX), "config": config}
    of_file = {f"{n:05}": {"file": str(f)} | arguments for n, f in enumerate(inputs.files)}
    ignored = _ignored(engine, work, of_file, config)
    checks = [
        Task(name, f"{TASKS}:check_file", given | {"ignored": ignored})
        for name, given in of_file.items()
    ]
    done = run_phase(engine, work, "check", checks, label="decontaminate")
    account = Account.over(index)
    for part in done:
        account.add(part.result)
    _collect(out, inputs.files, done)
    counts = account.as_json()
    write_page(out / REPORT, out / MATCHES, counts, config)
    write_json(out / SUMMARY, counts)
    seconds = round(time.monotonic() - started, 3)
    _write_manifest(out, {"inputs": identity, "counts": counts, "seconds": seconds})
    shutil.rmtree(out / SCRATCH_NAME)
    return counts | {"seconds": seconds}


def _identity(inputs: Inputs, config: DecontaminateConfig) -> dict[str, Any]:
    hashes = {str(path): sha256_file(path) for path in inputs.files}
    against = {str(file): sha256_file(file) for file in find_row_files(list(inputs.against))}
    plain = {"files": hashes, "against": against, "fields": list(inputs.fields)}
    return plain | {"settings": to_plain(config)}


def _ignored(
    engine: Engine, work: Path, of_file: dict[str, dict[str, Any]], config: DecontaminateConfig
) -> str:
    """Count in how many documents each shared n-gram stands; return the file of frequent ones."""
    if not config.max_documents:
        return ""
    counts = [Task(name, f"{TASKS}:count_file", given) for name, given in of_file.items()]
    done = run_phase(engine, work, "count", counts, label="decontaminate")
    grams, totals = np.unique(
        np.concatenate([np.load(part.folder / GRAMS) for part in done]), return_counts=True
    )
    np.save(work / IGNORED, grams[totals > config.max_documents])
    return str(work / IGNORED)


def _collect(out: Path, files: Sequence[Path], done: Sequence[Done]) -> None:
    """Move what the tasks wrote to where the user looks for it."""
    for folder in ("kept", "dropped"):
        empty_directory(out / folder)
    for file, part in zip(files, done, strict=True):
        name = f"{part.name}-{file.name.split('.')[0]}.parquet"
        (part.folder / KEPT).replace(out / "kept" / name)
        (part.folder / DROPPED).replace(out / "dropped" / name)
    for name in (MATCHES, CUTS):
        with atomic_path(out / name) as path, path.open("wb") as joined:
            for part in done:
                with (part.folder / name).open("rb") as file_of_part:
                    shutil.copyfileobj(file_of_part, joined)


def _write_manifest(out: Path, facts: dict[str, Any]) -> None:
    outputs = describe_outputs(out)
    versions = {"openqwen": openqwen.__version__, "python": platform.python_version()}
    host = {"versions": versions, "host": host_description()}
    write_json(
        out / MANIFEST_NAME, {"stage": "decontaminate"} | facts | {"outputs": outputs} | host
    )
