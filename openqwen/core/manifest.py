"""The manifest that ends a stage: what went in, how it was set, what came out, on what machine.

A stage is done when its manifest is there and its outputs' sizes match. It is written last.

    manifest = Manifest.read(run / "tokenizer")     # None where the stage has not finished
    manifest.problems(run / "tokenizer")            # [] or one line per missing or changed file
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from openqwen.core.errors import UserError
from openqwen.core.files import list_files, read_json, sha256_file, sha256_text, write_json
from openqwen.core.lock import LOCK_NAME

MANIFEST_NAME = "manifest.json"
STARTED_NAME = "started.json"  # what an unfinished stage was started with
METRICS_NAME = "metrics.jsonl"
TIMINGS_NAME = "timings.json"
_SPEEDS = (METRICS_NAME, TIMINGS_NAME)  # differ from run to run
SCRATCH_NAME = "scratch"  # folder for what only a resumed attempt needs
EVENTS_NAME, TRACE_NAME = "events", "trace"  # folders for people's eyes; may be deleted
KEPT_NAME = "checkpoints"  # folder of training states that a policy keeps for good
_NO_OUTPUTS = (
    MANIFEST_NAME,
    STARTED_NAME,
    LOCK_NAME,
    SCRATCH_NAME,
    EVENTS_NAME,
    TRACE_NAME,
    KEPT_NAME,
)


@dataclass(frozen=True)
class Manifest:
    """One finished stage; sizes in bytes, times in seconds."""

    stage: str
    recipe: str
    recipe_hash: str
    inputs: dict[str, str]  # name -> sha256 of that input's manifest
    settings: dict[str, Any]
    outputs: dict[str, dict[str, Any]]  # path below the stage -> {"bytes", "sha256"}
    counts: dict[str, Any]
    seconds: float
    peak_memory_bytes: int
    seed: int
    versions: dict[str, str]
    host: dict[str, Any]
    finished_at: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds")
    )

    def write(self, directory: Path) -> None:
        """Write the manifest into its stage directory, atomically; call it last."""
        write_json(directory / MANIFEST_NAME, asdict(self))

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Read a directory's manifest; None where there is none, UserError where it is broken."""
        path = directory / MANIFEST_NAME
        if not path.is_file():
            return None
        try:
            return cls(**read_json(path))
        except TypeError as error:
            raise UserError(f"{path} is not a manifest of openqwen: {error}") from None

    def problems(self, directory: Path, *, hashes: bool = False) -> list[str]:
        """Return a line for each output missing, of another size or (`hashes`) of other bytes."""
        found = []
        for name, facts in self.outputs.items():
            path = directory / name
            if not path.is_file():
                found.append(f"{path} is missing")
            elif path.stat().st_size != facts["bytes"]:
                found.append(f"{path} has {path.stat().st_size:,} bytes, not {facts['bytes']:,}")
            elif hashes and sha256_file(path) != facts["sha256"]:
                found.append(f"{path} has other bytes than when it was written (sha256 differs)")
        return found


def describe_outputs(directory: Path) -> dict[str, dict[str, Any]]:
    """Return path -> bytes and sha256 for every file of a stage directory that it is there for."""
    return {
        path.relative_to(directory).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in list_files(directory)
        if path.relative_to(directory).parts[0] not in _NO_OUTPUTS
    }


def content_hash(directory: Path) -> str:
    """Return the sha256 of what a finished stage is: settings, seed, outputs; no time, no host."""
    manifest = Manifest.read(directory)
    assert manifest is not None, f"{directory} has no manifest"
    outputs = {name: facts for name, facts in manifest.outputs.items() if name not in _SPEEDS}
    parts = [manifest.stage, manifest.settings, manifest.seed, outputs]
    return sha256_text(json.dumps(parts, sort_keys=True, ensure_ascii=False))


def manifest_hash(directory: Path) -> str:
    """Return the sha256 of a directory's manifest, its identity as an input."""
    return sha256_file(directory / MANIFEST_NAME)
