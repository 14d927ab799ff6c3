"""Two measured models side by side: differences on the same items, with intervals.

for line in compare_runs(Path("eval/base"), Path("eval/chat")): print(line)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import read_json
from openqwen.core.intervals import mean_interval
from openqwen.core.log import warn
from openqwen.eval.results import Item, TaskResult, read_result

RESULTS_NAME = "results.json"
# what has to be the same for two scores to be of the same measure
SAME = ("shots", "is_chat", "seed", "prompt", "extraction", "stop")


@dataclass(frozen=True)
class Difference:
    """The second model's score minus the first's on the items both have.

    Attributes:
        task: its name.
        metric: what is compared.
        n: items that both have.
        first: mean of the first model.
        second: mean of the second.
        mean: of the differences, item by item.
        half_width: of its 95 % interval (paired, Student's t).
        better: items where the second scores higher.
        worse: items where it scores lower.
    """

    task: str
    metric: str
    n: int
    first: float
    second: float
    mean: float
    half_width: float
    better: int
    worse: int

    @property
    def is_measurable(self) -> bool:
        """Return whether the interval leaves out 0."""
        return abs(self.mean) > self.half_width

    def row(self) -> list[str]:
        """Return the cells of a table's row."""
        low, high = self.mean - self.half_width, self.mean + self.half_width
        finding = "measurable" if self.is_measurable else "no measurable difference"
        return [
            self.task,
            self.metric,
            f"{self.n:,}",
            f"{self.first:.4g}",
            f"{self.second:.4g}",
            f"{self.mean:+.4f} ({low:+.4f} … {high:+.4f})",
            f"{self.better} / {self.worse}",
            finding,
        ]


def difference(
    task: str, metric: str, first: Sequence[Item], second: Sequence[Item]
) -> Difference | None:
    """Return the paired difference over items that both have; None where there is none."""
    of_first = {item.id: item.scores[metric] for item in first if metric in item.scores}
    of_second = {item.id: item.scores[metric] for item in second if metric in item.scores}
    common = [name for name in of_first if name in of_second]
    if not common:
        return None
    gaps = [of_second[name] - of_first[name] for name in common]
    mean, half_width = mean_interval(gaps)
    return Difference(
        task,
        metric,
        len(common),
        sum(of_first[name] for name in common) / len(common),
        sum(of_second[name] for name in common) / len(common),
        mean,
        half_width,
        sum(gap > 0 for gap in gaps),
        sum(gap < 0 for gap in gaps),
    )


def compare_runs(first: Path, second: Path) -> list[Difference]:
    """Return the differences of every task that both runs measured, main metric each.

    Says where two runs put a task differently, since the scores then measure different things.

    Raises:
        UserError: if a directory holds no results, or they have no task in common.
    """
    runs = [_read(path) for path in (first, second)]
    common = [name for name in runs[0]["tasks"] if name in runs[1]["tasks"]]
    if not common:
        names = [", ".join(run["tasks"]) or "none" for run in runs]
        raise UserError(f"no task in common: {first} has {names[0]}; {second} has {names[1]}")
    found = []
    for task in common:
        pair: list[TaskResult] = [read_result(path, task) for path in (first, second)]
        for name in _differing(pair[0].settings, pair[1].settings):
            ours, theirs = (result.settings.get(name) for result in pair)
            warn(f"{task}: {name} differs, {str(ours)[:80]!r} against {str(theirs)[:80]!r}")
        found_one = difference(task, pair[0].main, pair[0].items, pair[1].items)
        if found_one is None:
            warn(f"{task}: the two runs have no item in common")
            continue
        lost = max(len(result.items) for result in pair) - found_one.n
        if lost:
            warn(f"{task}: {lost:,} items are only in one of the runs and left out")
        found.append(found_one)
    return found


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return [name for name in SAME if first.get(name) != second.get(name)]


def _read(path: Path) -> dict[str, Any]:
    results = path / RESULTS_NAME
    if not results.is_file():
        raise UserError(f"{path} has no {RESULTS_NAME}: it is not what openqwen eval wrote")
    found: dict[str, Any] = read_json(results)
    return found
