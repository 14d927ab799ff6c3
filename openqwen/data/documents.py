"""The documents stage (§2.1): raw pages in, a clean, deduplicated, weighted corpus out.

    counts = build_documents(config, run / "sources", run / "documents", seed=0)
    # documents/*.parquet, drops/*.parquet, funnel.json, inputs.json, mixture.json,
    # contamination.json, audit.html

The corpus is cut into parts that workers take through the steps (`data.part_tasks`); what concerns
all documents, duplicates and the mixture, is settled between two rounds. The same pages, settings
and seed give the same bytes, on any engine, with any number of workers, killed in between or not.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openqwen.core.config import to_identity
from openqwen.core.documents import parquet_files
from openqwen.core.errors import UserError
from openqwen.core.files import empty_directory, read_json, sha256_text, write_json
from openqwen.core.log import format_bytes, say
from openqwen.core.manifest import SCRATCH_NAME, TIMINGS_NAME
from openqwen.data.audit.funnel import Funnel, NothingLeftError
from openqwen.data.audit.pages import write_audit
from openqwen.data.config import DocumentsConfig
from openqwen.data.dedup.find import find_duplicates
from openqwen.data.dedup.index import extend_index
from openqwen.data.engines.engine import Done, Engine, Task, open_engine, phase_facts, run_phase
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.splits import list_splits
from openqwen.data.mixture import plan_mixture
from openqwen.data.part_tasks import DOCUMENTS, DROPS, FUNNEL, INDEX, SKETCH, WEIGHED
from openqwen.data.weighed import Weighed

WHOLE = 1 << 62  # bytes of a split where a path must not be cut


def build_documents(
    config: DocumentsConfig,
    sources: Path,
    out: Path,
    *,
    seed: int,
    open_language_model: str = "",
) -> dict[str, Any]:
    """Run all steps over the pages of a sources stage and write what came of them.

    Args:
        config: the settings of every step, and of the engine.
        sources: the sources stage's directory: `pages/*.parquet` or the paths of the user's own
            files in `sources.json`, and `benchmarks/*.jsonl`.
        out: the directory to write into; what an earlier attempt left in it is used.
        seed: decides what is held out, odd copies and audit samples.
        open_language_model: "module:function" that scorers of kind "model" get theirs from.

    Returns:
        Counts: pages in, documents and bytes out by group, drops by step.

    Raises:
        UserError: if the sources can't be read, or nothing is left at some step; the audit page
            then shows what was dropped.
    """
    run = _Run(config, sources, out, seed, open_language_model)
    with open_engine(config.engine) as engine:
        try:
            read = run.read(engine)
            filtered = run.filter(engine, read)
            report = run.finish(engine, filtered)
        except NothingLeftError as error:
            run.write_account()
            raise UserError(f"{error}; samples of each reason: {out / 'audit.html'}") from None
    run.write_account()
    return run.counts(report)


class _Run:
    """One run of the stage: its parts, and the account of what became of them."""

    def __init__(
        self,
        config: DocumentsConfig,
        sources: Path,
        out: Path,
        seed: int,
        open_language_model: str,
    ) -> None:
        self.open_language_model = open_language_model
        self.config, self.sources, self.out, self.seed = config, sources, out, seed
        self.inputs = _inputs(sources, config)
        what = [to_identity(config), seed, repr(self.inputs)]
        self.work = out / SCRATCH_NAME / sha256_text(json.dumps(what))[:12]
        self.funnel = Funnel(config.audit, seed=seed)
        self.common = {"config": config, "seed": seed}
        self.drops: list[Path] = []
        self.groups: Counter[str] = Counter()
        self.peak_worker_bytes = 0

    def read(self, engine: Engine) -> list[Done]:
        """Extract and identify the pages of every input; return the parts."""
        tasks = [
            Task(f"{number:05}", "openqwen.data.part_tasks:read_part", self.common | inputs)
            for number, inputs in enumerate(self.inputs)
        ]
        parts = run_phase(engine, self.work, "read", tasks)
        inputs = _add_up(parts)
        write_json(self.out / "inputs.json", inputs)
        for source, row in inputs.items():
            if row["set_aside"]:
                reasons = ", ".join(f"{why} {x['count']:,}" for why, x in row["set_aside"].items())
                say(f"{'documents set aside':<24}{source}: {reasons}")
        empty = [name for name, row in inputs.items() if not row["pages"] and row["asked"]]
        if empty:
            raise UserError(
                f"sources.paths: no page can be read from {', '.join(empty)} "
                f"({self.out / 'inputs.json'} says why)"
            )
        self._account(parts, ("extract", "licence", "language"))
        return parts

    def filter(self, engine: Engine, parts: list[Done]) -> list[Done]:
        """Find duplicates among all parts, then filter each; return the filtered parts."""
        config = self.config
        sketches = [part.folder / SKETCH for part in parts]
        crawl, index = self.work.name, Path(config.index) if config.index else None
        verdicts = find_duplicates(
            engine,
            self.work,
            sketches,
            config.minhash,
            skip=frozenset({"url", "exact", "minhash"} & set(config.skip)),
            index=index,
            index_without=crawl,
        )
        if index:
            added = extend_index(index, crawl, sketches, verdicts, config.minhash)
            say(f"{'documents index':<24}{added:,} documents added to {index}")
        benchmarks = str(self.sources / "benchmarks")
        name = "openqwen.data.part_tasks:"
        arguments = {"config": config.decontaminate, "benchmarks": benchmarks}
        (indexed,) = run_phase(
            engine, self.work, "benchmarks", [Task("0", f"{name}index_benchmarks", arguments)]
        )
        common = self.common | {"index": str(indexed.folder / INDEX)}
        common |= {"open_language_model": self.open_language_model}
        tasks = [
            Task(
                part.name,
                f"{name}filter_part",
                common | {"part": str(part.folder), "verdicts": str(found)},
            )
            for part, found in zip(parts, verdicts, strict=True)
        ]
        filtered = run_phase(engine, self.work, "filter", tasks)
        overlaps = [row for part in filtered for row in part.result["overlaps"]]
        report = {"test_items": indexed.result["items"], "documents": overlaps}
        write_json(self.out / "contamination.json", report)
        self._account(filtered, filtered[0].result["steps"])
        return filtered

    def finish(self, engine: Engine, parts: list[Done]) -> dict[str, Any]:
        """Plan the mixture, apply it to each part, put the files in place; return its report."""
        weighed = [Weighed.load(part.folder / WEIGHED) for part in parts]
        plan = plan_mixture(Weighed.joined(weighed), self.config)
        path = self.work / "plan.npz"
        plan.save(path)
        tasks, start = [], 0
        for part, weights in zip(parts, weighed, strict=True):
            place = {"start": start, "stop": start + len(weights)}
            arguments = self.common | {"part": str(part.folder), "plan": str(path)} | place
            tasks.append(Task(part.name, "openqwen.data.part_tasks:finish_part", arguments))
            start += len(weights)
        finished = run_phase(engine, self.work, "finish", tasks)
        self._account(finished, ("mixture",))
        for part in finished:
            self.groups.update(part.result["groups"])
        write_json(self.out / "mixture.json", plan.report)
        _say_mixture(plan.report)
        _place([part.folder / DOCUMENTS for part in finished], self.out / "documents")
        return plan.report

    def _account(self, parts: list[Done], steps: Sequence[str]) -> None:
        """Add the account of a phase's parts, and say a line a step."""
        peak = max(part.peak_memory_bytes for part in parts)
        self.peak_worker_bytes = max(self.peak_worker_bytes, peak)
        for part in parts:
            self.funnel.add(read_json(part.folder / FUNNEL))
            self.drops.append(part.folder / DROPS)
        self.funnel.say([name for name in steps if name not in self.config.skip])

    def write_account(self) -> None:
        """Write what was dropped and why, as files and as a page."""
        _place(self.drops, self.out / "drops")
        write_json(self.out / "funnel.json", self.funnel.rows)
        steps = {
            name: {"seconds": round(t.seconds, 3), "bytes_in": t.bytes_in}
            for name, t in self.funnel.tallies.items()
        }
        write_json(self.out / TIMINGS_NAME, {"steps": steps, "phases": phase_facts(self.work)})
        write_audit(
            self.out / "audit.html",
            self.funnel,
            corpus=self.out,
            masks=self.config.personal_data,
        )
        say(f"{'documents audit':<24}{self.out / 'audit.html'}")

    def counts(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return the stage's counts for its manifest."""
        rows = self.funnel.rows
        return {
            "pages": rows[0]["in"],
            "documents": sum(self.groups.values()),
            "documents_by_group": dict(sorted(self.groups.items())),
            "mixture_bytes": report["mixture_bytes"],
            "mixture_bytes_by_group": {g: r["mixture_bytes"] for g, r in report["groups"].items()},
            "dropped": {row["step"]: row["in"] - row["out"] for row in rows},
            "peak_worker_bytes": self.peak_worker_bytes,
        }


def _inputs(sources: Path, config: DocumentsConfig) -> list[dict[str, Any]]:
    """Return what each task of the first phase reads.

    Raises:
        UserError: if the sources stage left neither pages nor paths.
    """
    facts = read_json(sources / "sources.json")
    own = facts.get("paths", [])
    inputs: list[dict[str, Any]] = []
    if own:
        limit = facts["max_pages_per_source"]
        splits = list_splits(own, target_bytes=WHOLE if limit else config.partition_bytes)
        common = {"licence": facts["licence"], "max_pages": limit}
        common["max_page_bytes"] = facts["max_page_bytes"]
        inputs += [{"split": split.as_json()} | common for split in splits]
    else:
        listed = facts["sources"].items()
        barred = frozenset(name for name, row in listed if row.get("non_commercial"))
        pages = parquet_files(sources / "pages")
        inputs += [{"pages": str(path), "barred": barred} for path in pages]
    return inputs


def _add_up(parts: list[Done]) -> dict[str, dict[str, Any]]:
    """Return inputs.json: pages, bytes, licences and what was set aside, by source."""
    rows: dict[str, dict[str, Any]] = {}
    set_aside: dict[str, SetAside] = {}

    def row(source: str) -> dict[str, Any]:
        empty = {"asked": False, "pages": 0, "bytes": 0, "licences": [], "set_aside": {}}
        return rows.setdefault(source, empty)

    for part in parts:
        result = part.result
        if result["source"]:
            row(result["source"])["asked"] = True
            set_aside.setdefault(result["source"], SetAside()).take_in(result["set_aside"])
        for source, pages in result["pages"].items():
            found = row(source)
            found["pages"] += pages
            found["bytes"] += result["bytes"][source]
            found["licences"] = sorted({*found["licences"], *result["licences"][source]})
    for source, of_source in set_aside.items():
        rows[source]["set_aside"] = of_source.as_json()
    return dict(sorted(rows.items()))


def _place(files: list[Path], folder: Path) -> None:
    """Make `folder` hold the files, numbered in order; their other names stay for a resumed run."""
    empty_directory(folder)
    for number, file in enumerate(files):
        (folder / f"{number:05}.parquet").hardlink_to(file)


def _say_mixture(report: dict[str, Any]) -> None:
    """Print the mixture, a line a group and what each source contributes to it."""
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
    for source, row in report["sources"].items():
        line = f"{'documents from':<24}{source:<26}{format_bytes(row['bytes']):>9}"
        say(f"{line} × {row['epochs']:.2f} = {row['share_got']:.1%} of the mixture")
