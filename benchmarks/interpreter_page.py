"""The interpreter benchmark's table, a transcript and a plot of one run, beside Tables 7 and 8.

    openqwen eval MODEL --tasks interpreter --chat --out RESULTS
    python benchmarks/interpreter_page.py RESULTS --show vis-easy-01 --write-docs

Writes into docs/interpreter.md, and docs/plots/interpreter-plot.png.
"""

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

from openqwen.core.files import read_json
from openqwen.eval.results import Item, TaskResult, read_items, read_result

PAGE = ROOT / "docs" / "interpreter.md"
PLOT = ROOT / "docs" / "plots" / "interpreter-plot.png"
# Qwen Technical Report, Tables 7 (executable) and 8 (correct), Qwen-Chat-14B; their tasks, not ours
PUBLISHED = {
    ("executable", "math"): 89.2,
    ("executable", "visualisation"): 84.1,
    ("executable", "general"): 65.5,
    ("executable", "all"): 81.7,
    ("correct", "math"): 58.4,
    ("correct", "visualisation hard"): 53.6,
    ("correct", "visualisation easy"): 59.5,
}
ROWS = [
    *PUBLISHED,
    *(("executable_code", name) for name in ("math", "visualisation", "general", "all")),
    ("correct", "visualisation"),
    ("correct", "general"),
    ("correct", "all"),
    ("executable", "en"),
    ("executable", "zh"),
    ("correct", "en"),
    ("correct", "zh"),
]
LONGEST = 40  # lines of the transcript


def table_lines(result: TaskResult) -> list[str]:
    """Return a row a metric and group: n, share, interval, and the report's number."""
    lines = [
        "| | tasks | n | this model, % | 95 % | Qwen-Chat-14B on its own tasks, % |",
        "|---|---|---|---|---|---|",
    ]
    for metric, group in ROWS:
        scores = result.metrics if group == "all" else result.groups[group]
        score = scores[metric]
        low, high = (100 * end for end in score.interval)
        theirs = PUBLISHED.get((metric, group))
        lines.append(
            f"| {metric} | {group} | {score.n} | {100 * score.value:.1f} | "
            f"{low:.1f} – {high:.1f} | {theirs if theirs is not None else '–'} |"
        )
    return [*lines, ""]


def ending_lines(items: list[Item]) -> list[str]:
    """Return how the tasks ended and how the programs did."""
    ended = Counter(item.output["ended"] for item in items)
    calls = [call for item in items for call in item.output["calls"]]
    statuses = Counter(call["status"] for call in calls)
    without = sum(not item.output["calls"] for item in items)
    return [
        f"Tasks ended by {_counts(ended)}; {without} of {len(items)} wrote no program. "
        f"{len(calls)} programs ran: {_counts(statuses)}; "
        f"{sum(len(item.output['images']) for item in items)} images.",
        "",
    ]


def transcript_lines(item: Item) -> list[str]:
    """Return one task as it went, cut where it is long."""
    query = item.prompt.rpartition("\nQuestion: ")[2]
    lines = f"Question: {query}\n{item.output['text']}".splitlines()
    if len(lines) > LONGEST:
        lines = [*lines[:LONGEST], f"[... {len(lines) - LONGEST} lines more ...]"]
    verdict = "correct" if item.scores["correct"] else f"not correct: {item.output['why_not']}"
    shown = [f"`{item.id}`, {verdict}:", "", "````text", *lines, "````", ""]
    if item.output["images"]:
        shown += [f"![What the model drew in {item.id}](plots/{PLOT.name})", ""]
    return shown


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counter.most_common())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="directory that openqwen eval wrote")
    parser.add_argument("--show", nargs="*", default=[], metavar="ID", help="tasks to print whole")
    parser.add_argument("--about", default="", help="what ran beside it")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    result, items = (
        read_result(args.results, "interpreter"),
        read_items(args.results, "interpreter"),
    )
    run = read_json(args.results / "results.json")
    settings = result.settings
    body = [
        f"{Path(run['model']).name} ({run['loaded_as']}), greedy, "
        f"{'chat' if settings['conversation'] else 'plain'} prompts, at most "
        f"{settings['max_steps']} replies of {settings['max_new_tokens']} tokens a task, seed "
        f"{settings['seed']}, isolation "
        f"{', '.join(settings['isolation'])}, {len(items)} tasks. {args.about}",
        "",
        *table_lines(result),
        "The last column is no comparison: its tasks are not to be had, and it is another model. "
        "It says what the report printed in the same place.",
        "",
        *ending_lines(items),
    ]
    for name in args.show:
        [item] = [item for item in items if item.id == name]
        body += transcript_lines(item)
        if args.write_docs and item.output["images"]:
            PLOT.parent.mkdir(exist_ok=True)
            shutil.copyfile(args.results / item.output["images"][0], PLOT)
    body.append(provenance(f"openqwen eval {Path(run['model']).name} --tasks interpreter --chat"))
    text = "\n".join(body)
    print(text)
    if args.write_docs:
        write_section(PAGE, "interpreter", "A model measured", text)


if __name__ == "__main__":
    main()
