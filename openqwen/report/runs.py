"""Training runs found under directories: what each is, how far it is, how fast it goes.

for run in find_runs([Path("runs")]):
    print(run.name, run.state, run.steps_done, run.loss)
"""

import statistics
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import read_json
from openqwen.core.log import read_metrics
from openqwen.core.manifest import METRICS_NAME, STARTED_NAME, Manifest
from openqwen.model.config import count_parameters, qwen_config

LAST_ROWS = 10  # rows that "the loss now" is a mean of
QUIET_S = 120.0  # without a row for this long, and five times its usual interval, a run stopped
_INNER_FOLDERS = ("scratch", "checkpoints", "events", "trace")

Row = dict[str, Any]


@dataclass(frozen=True)
class TrainingRun:
    """One stage that trains, finished or not; what is not known is None or empty."""

    directory: Path
    stage: str
    recipe: str
    state: str  # "finished", "running" or "stopped"
    settings: dict[str, Any]
    seed: int
    inputs: dict[str, str]
    processor: str
    parameters: int | None
    started: datetime
    train: list[Row]
    validations: list[Row]

    @property
    def name(self) -> str:
        """Return the directory as it was given."""
        return str(self.directory)

    @property
    def steps_done(self) -> int:
        """Return the last step that a row tells of."""
        return max((int(row["step"]) for row in (*self.train, *self.validations)), default=0)

    @property
    def steps_total(self) -> int | None:
        """Return the steps that the settings ask for; None where epochs decide and it goes on."""
        if self.state == "finished":
            return self.steps_done
        return int(self.settings.get("num_steps") or 0) or None

    @property
    def loss(self) -> float | None:
        """Return the mean training loss of the last rows."""
        return self._recent("loss")

    @property
    def tokens_per_s(self) -> float | None:
        """Return the median rate."""
        return self._median("tokens_per_s")

    @property
    def share_of_peak(self) -> float | None:
        """Return the median share of the measured peak; None where it was not measured."""
        return self._median("share_of_peak") or None

    @property
    def bits_per_byte(self) -> tuple[float | None, bool]:
        """Return bits a byte, and whether of held-out text: else of the last training rows."""
        for row in reversed(self.validations):
            found = held_out(row, "bits_per_byte")
            if found is not None:
                return found, True
        return self._recent("bits_per_byte"), False

    @cached_property
    def seconds(self) -> list[float]:
        """Return the seconds of training, validations left out, up to each training row."""
        found, total, tokens = [], 0.0, 0.0
        for row in self.train:
            total += (row["tokens"] - tokens) / max(row["tokens_per_s"], 1e-9)
            tokens = row["tokens"]
            found.append(total)
        return found

    def _recent(self, metric: str) -> float | None:
        values = [row[metric] for row in self.train[-LAST_ROWS:] if metric in row]
        return statistics.fmean(values) if values else None

    def _median(self, metric: str) -> float | None:
        values = [row[metric] for row in self.train if metric in row]
        return statistics.median(values) if values else None


def find_runs(directories: Iterable[Path]) -> list[TrainingRun]:
    """Return every stage below the directories that has trained, the latest begun last.

    Raises:
        UserError: if a directory does not exist.
    """
    found: dict[Path, TrainingRun] = {}
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory} is not a directory")
        files = [*directory.rglob(METRICS_NAME), *directory.rglob(STARTED_NAME)]
        for folder in sorted({path.parent for path in files}):
            inner = folder.relative_to(directory).parts
            if any(part in _INNER_FOLDERS or part.startswith(".") for part in inner):
                continue
            run = read_training(folder)
            if run is not None:
                found.setdefault(folder.resolve(), run)
    return sorted(found.values(), key=lambda run: (run.started, run.name))


def read_training(directory: Path) -> TrainingRun | None:
    """Return the training that a stage's directory holds; None where it holds none.

    Raises:
        UserError: if its manifest can't be read.
    """
    manifest = Manifest.read(directory)
    started = directory / STARTED_NAME
    if manifest is None and not started.is_file():
        return None
    facts = vars(manifest) if manifest is not None else read_json(started)
    if "num_steps" not in facts.get("settings", {}):
        return None
    rows = [
        row
        for row in read_metrics(directory / METRICS_NAME)
        if isinstance(row, dict) and "step" in row
    ]
    train = [row for row in rows if row.get("kind") == "train" and "tokens_per_s" in row]
    return TrainingRun(
        directory=directory,
        stage=str(facts.get("stage", directory.name)),
        recipe=manifest.recipe if manifest is not None else _recipe_name(directory.parent),
        state="finished" if manifest is not None else _state(directory, train),
        settings=facts.get("settings", {}),
        seed=int(facts.get("seed", 0)),
        inputs=facts.get("inputs", {}),
        processor=str(manifest.host.get("processor", "")) if manifest is not None else "",
        parameters=_parameters(directory, manifest, facts.get("settings", {})),
        started=_started(directory, manifest, train),
        train=train,
        validations=[row for row in rows if row.get("kind") == "validation"],
    )


def held_out(row: Row, metric: str) -> float | None:
    """Return a validation row's value over all its groups; None where it has none.

    Losses are weighted by tokens, bits a byte by bytes.
    """
    if "groups" not in row:
        value = row.get(metric)
        return float(value) if isinstance(value, int | float) else None
    weight = "bytes" if metric == "bits_per_byte" else "tokens"
    groups = [g for g in row["groups"].values() if metric in g and g.get(weight)]
    total = sum(group[weight] for group in groups)
    return sum(group[metric] * group[weight] for group in groups) / total if total else None


def _state(directory: Path, train: list[Row]) -> str:
    """Return whether somebody works on an unfinished stage: a lock, or rows that keep coming."""
    locks = [_is_locked(folder / ".lock") for folder in (directory, directory.parent)]
    if True in locks or False in locks:
        return "running" if True in locks else "stopped"
    times = [row["time"] for row in train if "time" in row]
    usual = (times[-1] - times[0]) / max(1, len(times) - 1) if times else 0.0
    files = [directory / STARTED_NAME, directory / METRICS_NAME]
    age = time.time() - max(path.stat().st_mtime for path in files if path.is_file())
    return "running" if age < max(QUIET_S, 5 * usual) else "stopped"


def _is_locked(path: Path) -> bool | None:
    """Return whether a process holds a lock file; None where there is none, or no /proc/locks."""
    try:
        inode = path.stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return any(" FLOCK " in line and line.split()[5].endswith(f":{inode}") for line in locks)


def _recipe_name(run: Path) -> str:
    try:
        recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ""
    return str(recipe.get("name", ""))


def _parameters(directory: Path, manifest: Manifest | None, settings: dict[str, Any]) -> int | None:
    """Return the model's size: counted at the end, before that from the shape or the base's."""
    if manifest is not None:
        return manifest.counts.get("parameters")
    sizes: tuple[Callable[[], Any], ...] = (
        lambda: _counted(settings["model"], directory.parent / "tokenizer"),
        lambda: read_json(directory.parent / "base" / "manifest.json")["counts"]["parameters"],
    )
    for size in sizes:
        try:
            return int(size())
        except (KeyError, TypeError, UserError):
            continue
    return None


def _counted(shape: dict[str, Any], tokenizer: Path) -> int:
    from openqwen.tokenizer.control import padded_rows

    vocabulary = read_json(tokenizer / "manifest.json")["counts"]["vocab_size"]
    names = ("hidden_size", "num_attention_heads", "num_hidden_layers")
    sizes = {name: shape[name] for name in names}
    return count_parameters(qwen_config(**sizes, vocab_size=padded_rows(vocabulary)))


def _started(directory: Path, manifest: Manifest | None, train: list[Row]) -> datetime:
    """Return when it began: from the first row's time, else from what the files tell."""
    if train and "time" in train[0]:
        first = train[0]["tokens"] / max(train[0]["tokens_per_s"], 1e-9)
        return datetime.fromtimestamp(train[0]["time"] - first, UTC)
    if manifest is not None:
        ended = datetime.fromisoformat(manifest.finished_at)
        return ended - timedelta(seconds=manifest.seconds)
    return datetime.fromtimestamp((directory / STARTED_NAME).stat().st_mtime, UTC)
