"""The tasks of the documents stage: what a worker does with one part of the corpus.

A part is what one split of the input gave. Each task reads files, streams documents through steps
and writes files; none holds more than a batch of texts.

    read_part     pages → documents in a language, with sketches for finding duplicates
    filter_part   documents without duplicates → good ones, scored, free of benchmarks
    finish_part   what the mixture takes, with split and epochs
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from openqwen.core.documents import (
    Document,
    DropWriter,
    Page,
    read_documents,
    read_pages,
    write_documents,
)
from openqwen.core.files import write_json
from openqwen.data.config import DocumentsConfig
from openqwen.data.decontaminate import Decontaminate, read_benchmarks
from openqwen.data.dedup.sketches import SketchWriter
from openqwen.data.dedup.verdicts import read_verdicts
from openqwen.data.extract import extract
from openqwen.data.funnel import Funnel
from openqwen.data.language import identify_languages
from openqwen.data.mixture import Plan, apply_plan, drop_non_commercial
from openqwen.data.origin import Origin, SetAside
from openqwen.data.rules import apply_rules
from openqwen.data.splits import Split, read_split
from openqwen.data.steps import Outcome, Rejected, Step
from openqwen.data.weighed import Weighed

DOCUMENTS, DROPS, FUNNEL = "documents.parquet", "drops.parquet", "funnel.json"
SKETCH, WEIGHED, KEPT = "sketch", "weighed.npz", "kept.json"
BATCH = 256  # documents sketched at once

# the funnel's step for each of the reasons that deduplication gives
DUPLICATE_STEPS = {"same url": "url", "no words": "exact", "same text": "exact"}


def read_part(
    folder: Path,
    *,
    config: DocumentsConfig,
    seed: int,
    pages: str = "",
    split: dict[str, Any] | None = None,
    licence: str = "",
    max_pages: int = 0,
    barred: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Turn the pages of one input into documents with a language and their sketches.

    Args:
        folder: where to write.
        config: settings of the stage.
        seed: draws the samples.
        pages: a Parquet file of pages, or "" where there is a split.
        split: the user's own files, as `Split.as_json` says them.
        licence: of pages that name none.
        max_pages: pages taken at most; 0 takes all.
        barred: sources whose licence forbids commercial use.

    Returns:
        Pages, bytes and what was set aside, by source.
    """
    gathered = _Gathered(max_pages)
    steps: list[tuple[str, Step]] = [
        ("licence", partial(drop_non_commercial, config.mixture, barred)),
        ("language", partial(identify_languages, config.language)),
    ]
    with (
        DropWriter(folder / DROPS) as drops,
        SketchWriter(folder / SKETCH, config.minhash) as sketch,
    ):
        funnel = Funnel(config.audit, seed=seed, keep_drop=drops.add)
        found = (
            read_pages(Path(pages)) if split is None else gathered.of_split(split, licence, config)
        )
        extracted = partial(extract, config.extract)
        documents = funnel.through("extract", extracted, gathered.counted(found), unit="pages")
        for name, step in steps:
            documents = funnel.through(name, step, documents)
        count = write_documents(folder / DOCUMENTS, _sketched(documents, sketch))
    write_json(folder / FUNNEL, funnel.as_json())
    return {"documents": count} | gathered.as_json()


class _Gathered:
    """Counts the pages of a part by source, and what could not be read."""

    def __init__(self, max_pages: int) -> None:
        self.max_pages = max_pages
        self.pages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.licences: dict[str, set[str]] = {}
        self.set_aside = SetAside()
        self.source = ""

    def of_split(
        self, split: dict[str, Any], licence: str, config: DocumentsConfig
    ) -> Iterator[Page]:
        chosen = Split.from_json(split)
        self.source = chosen.source
        limit = config.extract.max_page_bytes
        return read_split(chosen, Origin(chosen.source, licence, limit, self.set_aside))

    def counted(self, pages: Iterable[Page]) -> Iterator[Page]:
        for number, page in enumerate(pages, start=1):
            self.pages[page.source] += 1
            self.bytes[page.source] += len(page.content)
            self.licences.setdefault(page.source, set()).add(page.licence)
            yield page
            if number == self.max_pages:
                return

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "pages": dict(self.pages),
            "bytes": dict(self.bytes),
            "licences": {source: sorted(names) for source, names in self.licences.items()},
            "set_aside": self.set_aside.as_json(),
        }


def _sketched(documents: Iterator[Document], sketch: SketchWriter) -> Iterator[Document]:
    """Pass documents on, their sketches written a batch at a time."""
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == BATCH:
            sketch.add(batch)
            yield from batch
            batch = []
    sketch.add(batch)
    yield from batch


def filter_part(
    folder: Path, *, config: DocumentsConfig, seed: int, part: str, verdicts: str, benchmarks: str
) -> dict[str, Any]:
    """Drop a part's duplicates, then what rules, scores and benchmarks speak against.

    Args:
        folder: where to write.
        config: settings of the stage.
        seed: draws the samples.
        part: folder of the part's `read_part`.
        verdicts: file of `dedup.find_duplicates`, "" where duplicates stay.
        benchmarks: folder of the benchmarks' texts.

    Returns:
        Documents left, and overlaps with benchmarks.
    """
    decontaminate = Decontaminate(config.decontaminate, read_benchmarks(Path(benchmarks)))
    steps: list[tuple[str, Step]] = list(_duplicate_steps(config, verdicts))
    steps += [("rules", partial(apply_rules, config.rules)), ("decontaminate", decontaminate)]
    with DropWriter(folder / DROPS) as drops:
        funnel = Funnel(config.audit, seed=seed, keep_drop=drops.add)
        documents: Iterator[Document] = read_documents(Path(part) / DOCUMENTS)
        for name, step in steps:
            if name not in config.skip:
                documents = funnel.through(name, step, documents)
        count = write_documents(folder / DOCUMENTS, documents)
    Weighed.of(read_documents(folder / DOCUMENTS), seed=seed).save(folder / WEIGHED)
    write_json(folder / FUNNEL, funnel.as_json())
    return {"documents": count, "overlaps": decontaminate.report}


def _duplicate_steps(config: DocumentsConfig, verdicts: str) -> Iterator[tuple[str, Step]]:
    """Yield the steps that drop what `dedup.find_duplicates` found, a step a kind of duplicate."""
    found: dict[str, dict[str, tuple[str, float, str]]] = {"url": {}, "exact": {}, "minhash": {}}
    for verdict in read_verdicts(Path(verdicts)) if verdicts else ():
        step = DUPLICATE_STEPS.get(verdict.reason, "minhash")
        found[step][verdict.id] = (verdict.reason, verdict.score, verdict.detail)
    for step, of_id in found.items():
        yield step, partial(_drop_found, of_id)


def _drop_found(
    found: dict[str, tuple[str, float, str]], documents: Iterable[Document]
) -> Iterator[Outcome]:
    for document in documents:
        verdict = found.get(document.id)
        yield document if verdict is None else Rejected(document, *verdict)


def finish_part(
    folder: Path, *, config: DocumentsConfig, seed: int, part: str, plan: str, start: int, stop: int
) -> dict[str, Any]:
    """Give a part's documents their split and epochs; drop what the mixture has no use for.

    Args:
        folder: where to write.
        config: settings of the stage.
        seed: draws the samples.
        part: folder of the part's `filter_part`.
        plan: file of the mixture's plan.
        start: place of the part's first document among all.
        stop: place after its last one.

    Returns:
        Documents and their number by group.
    """
    chosen = Plan.load(Path(plan)).part(start, stop)
    groups: Counter[str] = Counter()
    with DropWriter(folder / DROPS) as drops:
        funnel = Funnel(config.audit, seed=seed, keep_drop=drops.add)
        step = partial(apply_plan, plan=chosen, config=config.mixture)
        documents = funnel.through("mixture", step, read_documents(Path(part) / DOCUMENTS))

        def counted() -> Iterator[Document]:
            for document in documents:
                groups[document.group] += 1
                funnel.samples.offer_kept(document)
                yield document

        count = write_documents(folder / DOCUMENTS, counted())
    write_json(folder / FUNNEL, funnel.as_json())
    return {"documents": count, "groups": dict(groups)}
