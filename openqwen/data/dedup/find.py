"""Finding duplicates among all parts: the phases, one after the other, on any engine.

    verdicts = find_duplicates(engine, work, [part / "sketch" for part in parts], config)
    for verdict in read_verdicts(verdicts[0]): ...

Neither the number of workers nor the order of the parts changes who stays.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from openqwen.core.files import sha256_file, sha256_text
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.index import index_parts
from openqwen.data.dedup.key_runs import count_partitions
from openqwen.data.dedup.phases import DROPS, PAIRS, Common
from openqwen.data.dedup.sketches import SketchPart, check_settings
from openqwen.data.engines.engine import Done, Engine, Task, run_phase

ENTRY_BYTES = 60  # of memory that a key needs while keys are sorted
PAIR_BYTES = 100  # of memory that a pair needs while it is verified
MODULE = "openqwen.data.dedup.phases"

Jobs = list[dict[str, object]]
# runs the tasks of a phase: `engine.run_phase`, its engine and its folder given
RunTasks = Callable[[str, list[Task]], list[Done]]


def find_duplicates(
    engine: Engine,
    work: Path,
    parts: Sequence[Path],
    config: MinHashConfig,
    *,
    skip: frozenset[str] = frozenset(),
    index: Path | None = None,
    index_without: str = "",
    label: str = "documents",
    prefix: str = "dedup-",
) -> list[Path]:
    """Return a folder of verdicts for each part (`verdicts.read_verdicts`).

    Args:
        engine: where the work is done.
        work: folder for the phases; a rerun takes up what is done there.
        parts: folders that `SketchWriter` wrote.
        config: settings.
        skip: kinds of duplicates to let stay: "url", "exact", "minhash".
        index: an index of earlier crawls; its documents stay, new ones like them go.
        index_without: a crawl of the index that is left out: this one, added by an earlier attempt.
        label: opens the progress lines.
        prefix: opens the phases' names.

    Raises:
        UserError: if the index was made with other settings.
    """
    old_parts = index_parts(index, without=index_without) if index else []
    # documents go by their numbers: what was found beside another state of the index is of no use
    place = work / f"index-{_state_of(old_parts)}" if old_parts else work

    def run(phase: str, tasks: list[Task]) -> list[Done]:
        return run_phase(engine, place, f"{prefix}{phase}", tasks, label=label)

    return Search(run, old_parts, parts, config).verdicts(skip)


class Search:
    """One search for duplicates; its steps are a phase or two and return the files they wrote."""

    def __init__(
        self,
        run: RunTasks,
        old_parts: Sequence[Path],
        new_parts: Sequence[Path],
        config: MinHashConfig,
    ) -> None:
        """Open the parts.

        Raises:
            UserError: if a part was sketched with other settings.
        """
        self.run, self.config, self.num_parts = run, config, len(new_parts)
        opened = [SketchPart(folder) for folder in (*old_parts, *new_parts)]
        for part in opened:
            check_settings(part, config)
        self.num_documents = sum(part.count for part in opened)
        self.num_keys = {
            name: sum(part.about["entries"][name] for part in opened)
            for name in ("url", "exact", "bands")
        }
        self.common: Common = {
            "old_parts": [str(path) for path in old_parts],
            "new_parts": [str(path) for path in new_parts],
            "config": config,
        }

    def verdicts(self, skip: frozenset[str]) -> list[Path]:
        """Run all phases but the skipped ones; return a folder a part."""
        url = [] if "url" in skip else self._same_keys("url", [])
        exact = [] if "exact" in skip else self._same_keys("exact", url)
        near = [] if "minhash" in skip else self._near([*url, *exact])
        found = {"skip": skip, "url": url, "exact": exact, "near": near}
        done = self._run("judge", "judge", [found | {"place": p} for p in range(self.num_parts)])
        return [one.folder for one in done]

    def _same_keys(self, name: str, dropped: list[str]) -> list[str]:
        jobs = self._partitioned(name, {"name": name, "dropped": dropped})
        return _files(self._run(name, "same_keys", jobs), DROPS)

    def _near(self, dropped: list[str]) -> list[str]:
        jobs = self._partitioned("bands", {"dropped": dropped})
        proposed = self._run("bands", "pair_bands", jobs)
        num_pairs = sum(done.result["pairs"] for done in proposed)
        ranges = max(1, -(-num_pairs * PAIR_BYTES // self.config.partition_bytes))
        edges = np.linspace(0, self.num_documents, ranges + 1).astype(int).tolist()
        pairs = {"pairs": _files(proposed, PAIRS)}
        jobs = [pairs | {"first": first, "last": last} for first, last in pairwise(edges)]
        verified = self._run("verify", "verify", jobs)
        done = self._run("cluster", "cluster", [{"pairs": _files(verified, PAIRS)}])
        return _files(done, DROPS)

    def _partitioned(self, name: str, job: dict[str, object]) -> Jobs:
        limit = self.config.partition_bytes
        count = count_partitions(self.num_keys[name], ENTRY_BYTES, limit)
        return [job | {"partition": place, "partitions": count} for place in range(count)]

    def _run(self, phase: str, function: str, jobs: Jobs) -> list[Done]:
        tasks = [
            Task(f"{place:05}", f"{MODULE}:{function}", {"common": self.common} | job)
            for place, job in enumerate(jobs)
        ]
        return self.run(phase, tasks)


def _state_of(parts: Sequence[Path]) -> str:
    facts = [[str(part), sha256_file(part / "sketch.json")] for part in parts]
    return sha256_text(json.dumps(facts))[:16]


def _files(done: list[Done], name: str) -> list[str]:
    return [str(one.folder / name) for one in done]
