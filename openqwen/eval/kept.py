"""Finished measures, kept in a file so that a stopped measurement goes on where it was."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import list_files, read_json, write_json
from openqwen.core.log import MetricStream, read_metrics


class Kept:
    """Finished measures by name.

    Attributes:
        known: their values.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier attempt kept in a JSONL file, if it is there."""
        self._stream = MetricStream(path)
        self._stream.keep_until(0)  # cuts off a torn last line
        self.known: dict[str, list[float]] = {r["name"]: r["values"] for r in read_metrics(path)}

    def get(self, name: str, measure: Callable[[], Sequence[float]]) -> list[float]:
        """Return a kept measure, or take and keep it."""
        if name not in self.known:
            self.known[name] = list(measure())
            self._stream.write({"name": name, "values": self.known[name]})
        return self.known[name]


def keep_directory(
    directory: Path, settings: Mapping[str, Any], inputs: Mapping[str, Path]
) -> Path:
    """Return the file that keeps measures in a directory which is for these settings alone.

    Args:
        directory: made if it isn't there.
        settings: JSON-ready.
        inputs: files and directories that the measures rest on; known again by size and time.

    Raises:
        UserError: if the directory holds measures of other settings or inputs.
    """
    now = dict(settings) | {name: stamp(path) for name, path in inputs.items()}
    path = directory / "settings.json"
    if path.is_file():
        before = read_json(path)
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            raise UserError(
                f"{directory} holds measures of another {changed[0]}; give another directory"
            )
    else:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
    return directory / "kept.jsonl"


def stamp(path: Path) -> list[list[Any]]:
    """Return name, size and time of each file."""
    files = list_files(path) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
