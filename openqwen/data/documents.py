"""The documents stage (§2.1): raw pages in, a clean, deduplicated, weighted corpus out.

    counts = build_documents(config, run / "sources", run / "documents", seed=0)
    # documents.parquet, drops.parquet, funnel.json, mixture.json, contamination.json, audit.html

The same pages, settings and seed give the same bytes.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import Document, Page, read_pages, write_documents, write_drops
from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_json
from openqwen.core.log import format_bytes, say
from openqwen.data.audit import write_audit
from openqwen.data.config import DocumentsConfig
from openqwen.data.decontaminate import Decontaminate, read_benchmarks
from openqwen.data.exact_dedup import drop_exact_duplicates
from openqwen.data.extract import extract
from openqwen.data.funnel import Funnel, NothingLeftError
from openqwen.data.language import identify_languages
from openqwen.data.minhash import drop_near_duplicates
from openqwen.data.mixture import Mixture, drop_non_commercial, hold_out
from openqwen.data.rules import apply_rules
from openqwen.data.steps import Step


def build_documents(
    config: DocumentsConfig, sources: Path, out: Path, *, seed: int
) -> dict[str, Any]:
    """Run all steps over the pages of a sources stage and write what came of them.

    Args:
        config: the settings of every step.
        sources: the sources stage's directory: `pages/*.parquet`, `benchmarks/*.jsonl`,
            `sources.json`.
        out: the directory to write into.
        seed: decides what is held out, odd copies and audit samples.

    Returns:
        Counts: pages in, documents and bytes out by group, drops by step.

    Raises:
        UserError: if the sources can't be read, or nothing is left at some step; the audit page
            then shows what was dropped.
    """
    paths = sorted((sources / "pages").glob("*.parquet"))
    if not paths:
        raise UserError(f"{sources / 'pages'} holds no *.parquet; run the sources stage first")
    benchmarks = read_benchmarks(sources / "benchmarks")
    barred = _non_commercial(sources / "sources.json")
    decontaminate = Decontaminate(config.decontaminate, benchmarks)
    mixture = Mixture(config.mixture, seed=seed)
    steps: list[tuple[str, Step]] = [
        ("licence", partial(drop_non_commercial, config.mixture, barred)),
        ("language", partial(identify_languages, config.language)),
        ("exact", drop_exact_duplicates),
        ("minhash", partial(drop_near_duplicates, config.minhash)),
        ("rules", partial(apply_rules, config.rules)),
        ("decontaminate", decontaminate),
    ]
    funnel = Funnel(config.audit, seed=seed)
    documents: list[Document] = []
    try:
        extracted = partial(extract, config.extract)
        total = _count_pages(paths)
        documents = funnel.run("extract", extracted, _pages(paths), total=total, unit="pages")
        for name, step in steps:
            if name not in config.skip:
                documents = funnel.run(name, step, documents, total=len(documents))
        documents = hold_out(documents, config, seed=seed)
        documents = funnel.run("mixture", mixture, documents, total=len(documents))
    except NothingLeftError as error:
        _write_account(out, funnel, [], config, seed)
        raise UserError(f"{error}; samples of each reason: {out / 'audit.html'}") from None
    _say_mixture(mixture.report)
    write_documents(out / "documents.parquet", documents)
    write_json(out / "mixture.json", mixture.report)
    write_json(
        out / "contamination.json",
        {"test_items": len(benchmarks), "documents": decontaminate.report},
    )
    _write_account(out, funnel, documents, config, seed)
    return _counts(funnel, documents, mixture.report)


def _pages(paths: list[Path]) -> Iterator[Page]:
    for path in paths:
        yield from read_pages(path)


def _count_pages(paths: list[Path]) -> int:
    try:
        return sum(pq.ParquetFile(path).metadata.num_rows for path in paths)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"pages can't be read as Parquet: {error}") from None


def _non_commercial(path: Path) -> frozenset[str]:
    """Return the names of the sources whose licence forbids commercial use."""
    sources = read_json(path).get("sources", {})
    return frozenset(name for name, facts in sources.items() if facts.get("non_commercial"))


def _write_account(
    out: Path, funnel: Funnel, documents: list[Document], config: DocumentsConfig, seed: int
) -> None:
    """Write what was dropped and why, as files and as a page."""
    write_drops(out / "drops.parquet", funnel.drops)
    write_json(out / "funnel.json", funnel.rows)
    write_audit(out / "audit.html", funnel, documents, config.audit, seed=seed)
    say(f"{'documents audit':<24}{out / 'audit.html'}")


def _say_mixture(report: dict[str, Any]) -> None:
    """Print the mixture, a line a group."""
    for group, row in report["groups"].items():
        line = f"{'documents mixture':<24}{group:<14}"
        if not row["documents"]:
            say(f"{line}no documents; its weight goes to the others")
            continue
        line += f"{format_bytes(row['bytes'])} × {row['epochs']:.2f} = {row['share_got']:.1%}"
        if row["share_asked"] is not None:
            line += f", asked {row['share_asked']:.1%}"
        if row["shortfall_bytes"] > 0.01 * row["wanted_bytes"]:
            line += f", {format_bytes(row['shortfall_bytes'])} short"
        say(line)


def _counts(funnel: Funnel, documents: list[Document], report: dict[str, Any]) -> dict[str, Any]:
    """Return the stage's counts for its manifest."""
    groups = Counter(document.group for document in documents)
    return {
        "pages": funnel.rows[0]["in"],
        "documents": len(documents),
        "documents_by_group": dict(sorted(groups.items())),
        "mixture_bytes": report["mixture_bytes"],
        "mixture_bytes_by_group": {g: r["mixture_bytes"] for g, r in report["groups"].items()},
        "dropped": {row["step"]: row["in"] - row["out"] for row in funnel.rows},
    }
