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
from openqwen.data.dedup.find import RunTasks, Search
from openqwen.data.dedup.sketches import SketchWriter
from openqwen.data.dedup.verdicts import Verdict, read_verdicts
from openqwen.data.engines.engine import Done, Task
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

        found = Search(perform_here(folder), [], [folder / "sketch"], config).verdicts(skip)
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


def perform_here(work: Path) -> RunTasks:
    """Return what runs the tasks of a phase in this process, in folders below `work`.

    What they wrote is of no use after a crash, so nothing is flushed and no task is skipped.
    """

    def run(phase: str, tasks: list[Task]) -> list[Done]:
        done = []
        for task in tasks:
            folder = work / phase / task.name
            folder.mkdir(parents=True)
            function = getattr(phases, task.function.partition(":")[2])
            done.append(Done(task.name, folder, function(folder, **task.arguments)))
        return done

    return run
