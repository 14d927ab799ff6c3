"""Rounds of batches, each decided once: a stopped run goes on and ends with the same files.

    counts = generate(job, Path("made"), benchmarks=index, identity={...})
    # raw.jsonl (a line a batch), kept.jsonl, dropped.jsonl, funnel.json

A batch depends on the settings, the seed, its place and what was kept before it, so what an earlier
attempt wrote is taken as it is.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from openqwen.agent.instruct.filters import REASONS, Rules
from openqwen.agent.instruct.general import GeneralMaker
from openqwen.agent.instruct.job import Job
from openqwen.agent.instruct.sample import Verdict, write_rows
from openqwen.agent.instruct.tool_samples import ToolMaker
from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_json, write_text
from openqwen.core.log import Progress
from openqwen.data.contamination.benchmark_index import BenchmarkIndex

SETTINGS, RAW, KEPT, DROPPED, FUNNEL = (
    *("settings.json", "raw.jsonl", "kept.jsonl", "dropped.jsonl", "funnel.json"),
)
Place = tuple[int, str, int]  # round, kind, batch


def generate(
    job: Job, out: Path, *, benchmarks: BenchmarkIndex | None, identity: dict[str, Any]
) -> dict[str, Any]:
    """Make the samples that a job asks for and write what became of each.

    Args:
        job: model, seeds, settings.
        out: directory; what an earlier attempt of the same job did is used.
        benchmarks: that no sample may overlap with; None for no check.
        identity: what, beside settings and seed, makes it the same job: model, files.

    Returns:
        The funnel: kind -> language -> raw, kept, dropped by reason.

    Raises:
        UserError: if `out` holds another job's samples.
    """
    _check_job(job, out, identity)
    journal = _Journal(out / RAW)
    rules = Rules(job.config, benchmarks)
    rules.begin_with(job.seeds)
    makers: dict[str, GeneralMaker | ToolMaker] = {
        "general": GeneralMaker(job, rules, []),
        "tools": ToolMaker(job, rules, []),
    }
    verdicts: list[Verdict] = []
    for round in range(job.seeds.max_round + 1, job.seeds.max_round + 1 + job.config.rounds):
        for kind in job.config.kinds:
            label = f"instruct {kind} round {round}"
            progress = Progress(label, total=job.config.num, unit="samples")
            made = kept = number = 0
            while made < job.config.num:
                place = (round, kind, number)
                found = journal.find(place)
                if found is None:
                    found = makers[kind].make(job.batch(*place))
                    journal.keep(place, found)
                else:
                    makers[kind].absorb(found)
                verdicts += found
                kept += sum(verdict.reason is None for verdict in found)
                made, number = made + len(found), number + 1
                progress.advance(len(found), note=f"kept {kept}")
            progress.close(f"{label:<24} {made:,} samples   kept {kept:,}")
    write_rows(out / KEPT, [v.as_json() for v in verdicts if v.reason is None])
    write_rows(out / DROPPED, [v.as_json() for v in verdicts if v.reason is not None])
    funnel = count(verdicts)
    write_json(out / FUNNEL, funnel | {"rouge_pairs_compared": rules.rouge.num_compared})
    return funnel


def count(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Return raw, kept and dropped by reason, of each kind and language and of all."""
    groups: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        for name in ("all", f"{verdict.sample.kind} {verdict.sample.language}"):
            groups.setdefault(name, Counter())[verdict.reason or "kept"] += 1
    return {
        name: {
            "raw": counts.total(),
            "kept": counts["kept"],
            "dropped": {reason: counts[reason] for reason in REASONS if counts[reason]},
        }
        for name, counts in sorted(groups.items())
    }


def describe(funnel: dict[str, Any]) -> str:
    """Return the funnel as lines for a terminal."""
    lines = []
    for name, group in funnel.items():
        dropped = ", ".join(f"{reason} {n}" for reason, n in group["dropped"].items())
        lines.append(
            f"{name:<14} {group['raw']:>5} raw   {group['kept']:>5} kept   dropped: {dropped or 0}"
        )
    return "\n".join(lines)


def _check_job(job: Job, out: Path, identity: dict[str, Any]) -> None:
    """Write what the job is, or compare it with what is there."""
    plain = json.loads(job.config.model_dump_json(exclude={"rounds"}))  # more may follow
    now = {"settings": plain, "seed": job.seed} | identity
    path = out / SETTINGS
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
        return
    before = read_json(path)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        raise UserError(
            f"{out} holds samples of another {changed[0]}; give another --out, or remove it"
        )


class _Journal:
    """A line a finished batch; a half line that a kill left is cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[Place, list[Verdict]] = {}
        if not path.is_file():
            return
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            write_text(path, whole.decode("utf-8"))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                place = (row["round"], row["kind"], row["batch"])
                self._found[place] = [Verdict.of(each) for each in row["samples"]]
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{path}, line {number} is not a batch; remove the file") from None

    def find(self, place: Place) -> list[Verdict] | None:
        return self._found.get(place)

    def keep(self, place: Place, verdicts: list[Verdict]) -> None:
        round, kind, batch = place
        samples = [verdict.as_json() for verdict in verdicts]
        row = {"round": round, "kind": kind, "batch": batch, "samples": samples}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
