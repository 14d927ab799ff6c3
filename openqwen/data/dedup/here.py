"""Deduplication of what one process holds, without an engine: for tests, notebooks, small sets.

    verdicts = find_among(documents, MinHashConfig())       # row -> Verdict of the dropped ones
    kept = list(drop_duplicates(config, documents))         # as a step: documents and Rejected

The same phases as for a whole corpus, one after the other in this process, files in a temporary
folder.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from openqwen.core.documents import Document
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup import phases
from openqwen.data.dedup.find import Search
from openqwen.data.dedup.sketches import SketchWriter
from openqwen.data.dedup.verdicts import Verdict, read_verdicts
from openqwen.data.engine import Done, Task
from openqwen.data.steps import Outcome, Rejected

EVERYTHING = frozenset({"url", "exact", "minhash"})


def find_among(
    documents: Sequence[Document], config: MinHashConfig, *, skip: frozenset[str] = frozenset()
) -> dict[int, Verdict]:
    """Return the verdicts of the documents that go, by their place.

    Args:
        documents: any order; who stays does not depend on it.
        config: settings.
        skip: kinds of duplicates to let stay: "url", "exact", "minhash".
    """
    with tempfile.TemporaryDirectory(prefix="openqwen-dedup-") as work:
        folder = Path(work)
        with SketchWriter(folder / "sketch", config) as writer:
            writer.add(documents)

        def run(phase: str, tasks: list[Task]) -> list[Done]:
            return [_perform(task, folder / phase / task.name) for task in tasks]

        found = Search(run, [], [folder / "sketch"], config).verdicts(skip)
        return {verdict.row: verdict for verdict in read_verdicts(found[0])}


def drop_duplicates(
    config: MinHashConfig,
    documents: Iterable[Document],
    *,
    kinds: frozenset[str] = EVERYTHING,
) -> Iterator[Outcome]:
    """Keep one document of each group of duplicates, as a step; holds all documents.

    Args:
        config: settings.
        documents: any order.
        kinds: which duplicates go: "url", "exact", "minhash".
    """
    held = list(documents)
    verdicts = find_among(held, config, skip=EVERYTHING - kinds)
    for place, document in enumerate(held):
        verdict = verdicts.get(place)
        if verdict is None:
            yield document
        else:
            yield Rejected(document, verdict.reason, verdict.score, verdict.detail)


def _perform(task: Task, folder: Path) -> Done:
    """Run a task where we stand; what it wrote is gone after a crash, so nothing is flushed."""
    folder.mkdir(parents=True)
    function = getattr(phases, task.function.partition(":")[2])
    return Done(task.name, folder, function(folder, **task.arguments))
