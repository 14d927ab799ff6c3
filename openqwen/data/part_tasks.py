"""The tasks of the documents stage: what a worker does with one part of the corpus.

A part is what one split of the input gave. Each task reads files, streams documents through steps
and writes files; none holds more than a batch of texts.

    read_part     pages → documents in a language, with sketches for finding duplicates
    filter_part   documents without duplicates → good ones, scored, free of benchmarks
    finish_part   what the mixture takes, with split and epochs
"""

import importlib
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
from openqwen.data.audit.funnel import Funnel
from openqwen.data.config import DocumentsConfig
from openqwen.data.contamination.benchmark_files import read_benchmarks
from openqwen.data.contamination.benchmark_index import BenchmarkIndex
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.contamination.decontaminate import Decontaminate
from openqwen.data.dedup.sketches import SketchWriter
from openqwen.data.dedup.verdicts import Reason, Verdict, read_verdicts
from openqwen.data.extraction.extract import extract
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.splits import Split, read_split
from openqwen.data.language.identify import identify_languages
from openqwen.data.mixture import Plan, apply_plan, drop_non_commercial
from openqwen.data.personal.mask import mask_personal_data
from openqwen.data.rules.apply import apply_rules
from openqwen.data.rules.block_list import block_terms
from openqwen.data.scores.step import ScoreDocuments
from openqwen.data.steps import Outcome, Rejected, Step, batches
from openqwen.data.weighed import Weighed

DOCUMENTS, DROPS, FUNNEL = "documents.parquet", "drops.parquet", "funnel.json"
SKETCH, WEIGHED, INDEX = "sketch", "weighed.npz", "index"
BATCH_DOCUMENTS, BATCH_CHARS = 256, 4_000_000  # sketched at once

# the funnel's steps of deduplication, and the reasons of each
DUPLICATES = {
    "url": (Reason.SAME_URL.words,),
    "exact": (Reason.NO_WORDS.words, Reason.SAME_TEXT.words),
    "minhash": (Reason.NEAR.words,),
}


def read_part(
    folder: Path,
    *,
    config: DocumentsConfig,
    seed: int,
    pages: str = "",
    split: dict[str, Any] | None = None,
    licence: str = "",
    max_pages: int = 0,
    max_page_bytes: int = 0,
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
        max_page_bytes: size above which a page of the split is set aside.
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
            read_pages(Path(pages))
            if split is None
            else gathered.of_split(
                split, licence, min(max_page_bytes, config.extract.max_page_bytes)
            )
        )
        # a worker has one child that parses: there are as many workers as processors
        parsers = max(config.extract.num_workers, 1)
        limits = config.extract.model_copy(update={"num_workers": parsers})
        extracted = partial(extract, limits)
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

    def of_split(self, split: dict[str, Any], licence: str, max_page_bytes: int) -> Iterator[Page]:
        chosen = Split.from_json(split)
        self.source = chosen.source
        return read_split(chosen, Origin(chosen.source, licence, max_page_bytes, self.set_aside))

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
    for batch in batches(documents, BATCH_DOCUMENTS, BATCH_CHARS):
        sketch.add(batch)
        yield from batch


def index_benchmarks(
    folder: Path, *, config: DecontaminateConfig, benchmarks: str
) -> dict[str, Any]:
    """Index the benchmarks' n-grams once, for all workers to map into memory.

    Args:
        folder: where to write.
        config: what an overlap is.
        benchmarks: folder of the benchmarks' texts.
    """
    items = read_benchmarks(Path(benchmarks))
    BenchmarkIndex.build(items, config).save(folder / INDEX)
    return {"items": len(items)}


def filter_part(
    folder: Path,
    *,
    config: DocumentsConfig,
    seed: int,
    part: str,
    verdicts: str,
    index: str,
    open_language_model: str = "",
) -> dict[str, Any]:
    """Drop a part's duplicates, then what rules, scores and benchmarks speak against.

    Args:
        folder: where to write.
        config: settings of the stage.
        seed: draws the samples.
        part: folder of the part's `read_part`.
        verdicts: folder that `dedup.find_duplicates` gave for it.
        index: folder of the benchmarks' index.
        open_language_model: "module:function" that scorers of kind "model" get theirs from.

    Returns:
        Documents left, overlaps with benchmarks, what the scorers judged.
    """
    decontaminate = Decontaminate(config.decontaminate, BenchmarkIndex.open(Path(index)))
    scores = ScoreDocuments(config.scores, _named(open_language_model))
    duplicates = _Duplicates(Path(verdicts))
    steps: list[tuple[str, Step]] = [(kind, duplicates.step(kind)) for kind in DUPLICATES]
    steps += [("rules", partial(apply_rules, config.rules))]
    if config.block_list.files or config.block_list.fetched:
        steps.append(("block-list", partial(block_terms, config.block_list)))
    if config.scores.models:
        steps.append(("scores", scores))
    steps.append(("decontaminate", decontaminate))
    if config.personal_data.enabled:
        steps.append(("personal-data", partial(mask_personal_data, config.personal_data)))
    with DropWriter(folder / DROPS) as drops:
        funnel = Funnel(config.audit, seed=seed, keep_drop=drops.add)
        documents = duplicates.passed(read_documents(Path(part) / DOCUMENTS))
        for name, step in steps:
            if name not in config.skip:
                documents = funnel.through(name, step, documents)
        count = write_documents(folder / DOCUMENTS, documents)
    Weighed.of(read_documents(folder / DOCUMENTS), seed=seed).save(folder / WEIGHED)
    write_json(folder / FUNNEL, funnel.as_json())
    report = {"overlaps": decontaminate.report, "scores": scores.report}
    return {"documents": count, "steps": list(funnel.tallies)} | report


def _named(function: str) -> Any:
    """Return the function "module:name" of a worker's own process; None for ""."""
    if not function:
        return None
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


class _Duplicates:
    """The steps that drop what `dedup.find_duplicates` found in a part, a step a kind."""

    def __init__(self, verdicts: Path) -> None:
        self.by_row = {verdict.row: verdict for verdict in read_verdicts(verdicts)}
        self.by_id: dict[str, Verdict] = {}

    def passed(self, documents: Iterator[Document]) -> Iterator[Document]:
        """Pass on the part's documents, of which the verdicts know the rows only."""
        for row, document in enumerate(documents):
            if row in self.by_row:
                self.by_id[document.id] = self.by_row.pop(row)
            yield document

    def step(self, kind: str) -> Step:
        """Return the step that drops one kind of duplicates."""
        return partial(self._drop, DUPLICATES[kind])

    def _drop(self, reasons: tuple[str, ...], documents: Iterable[Document]) -> Iterator[Outcome]:
        for document in documents:
            found = self.by_id.get(document.id)
            if found is not None and found.reason in reasons:
                yield Rejected(document, found.reason, found.score, found.detail)
            else:
                yield document


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
