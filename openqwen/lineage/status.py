"""What a run directory holds: each stage's state, time, size, and whether its files are whole."""

from dataclasses import dataclass
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.manifest import STARTED_NAME, Manifest
from openqwen.lineage.registry import STAGES


@dataclass(frozen=True)
class StageStatus:
    """One row of `openqwen status`."""

    name: str
    state: str  # "done", "damaged", "unfinished" or "not started"
    seconds: float
    bytes: int
    peak_memory_bytes: int
    finished_at: str
    problems: list[str]


def run_status(directory: Path, *, verify: bool = False) -> list[StageStatus]:
    """Return a row a stage; `verify` reads every output and compares its sha256.

    Raises:
        UserError: if the directory is missing or holds no stage.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory")
    rows = [_stage_status(name, directory / name, verify) for name in STAGES]
    if all(row.state == "not started" for row in rows):
        raise UserError(f"{directory} holds no stage of a run (openqwen run RECIPE --out DIR)")
    return rows


def _stage_status(name: str, directory: Path, verify: bool) -> StageStatus:
    manifest = Manifest.read(directory)
    if manifest is None:
        state = "unfinished" if (directory / STARTED_NAME).is_file() else "not started"
        return StageStatus(name, state, 0.0, 0, 0, "", [])
    problems = manifest.problems(directory, hashes=verify)
    return StageStatus(
        name,
        "damaged" if problems else "done",
        manifest.seconds,
        sum(facts["bytes"] for facts in manifest.outputs.values()),
        manifest.peak_memory_bytes,
        manifest.finished_at,
        problems,
    )
