"""The tool-use and Hugging Face agent tables of one run, beside Tables 6 and 9 of the report.

    openqwen eval MODEL --tasks tools hf_agent --chat --out RESULTS
    python benchmarks/tool_use_page.py RESULTS --write-docs

Writes into docs/tooluse.md.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

from openqwen.core.files import read_json
from openqwen.eval.hf_agent.measure import PUBLISHED as TABLE_9
from openqwen.eval.results import Score, TaskResult, read_result
from openqwen.eval.tool_use.measure import PUBLISHED as TABLE_6

PAGE = ROOT / "docs" / "tooluse.md"
TOOLS = {
    "tools": "ReAct",
    "tools_tool_call": "`<tool_call>`",
    "tools_published": "published files",
}
TOOL_METRICS = {
    "tool_selection": "selection",
    "tool_input": "input, Rouge-L",
    "false_positives": "false positives",
    "arguments": "arguments exact (ours)",
}
AGENT = {
    "hf_agent_run": "run",
    "hf_agent_run_begun": "run, reply begun",
    "hf_agent_chat": "chat",
}
AGENT_METRICS = {
    "tool_selection": "tool selection",
    "tool_used": "tool used",
    "code": "code",
    "exact": "code exact (ours)",
    "solved": "solved (ours)",
}


def found_in(folder: Path, names: dict[str, str]) -> dict[str, TaskResult]:
    """Return those of the results that the run has."""
    return {
        name: read_result(folder, name) for name in names if (folder / f"{name}.json").is_file()
    }


def cell(score: Score | None) -> str:
    """Return a score in percent with its interval and n."""
    if score is None:
        return "–"
    low, high = (100 * max(0.0, min(1.0, end)) for end in score.interval)
    return f"{100 * score.value:.1f} ({low:.1f} – {high:.1f}), n {score.n}"


def tool_lines(results: dict[str, TaskResult]) -> list[str]:
    """Return a row a form, calls without their tags in a row of their own, then Table 6."""
    lines = [f"| | {' | '.join(TOOL_METRICS.values())} |", "|---" * 5 + "|"]
    for name, result in results.items():
        for prefix, what in (("", TOOLS[name]), ("untagged_", "… tags or none (ours)")):
            scores = [result.metrics.get(prefix + metric) for metric in TOOL_METRICS]
            if any(scores):
                lines.append(f"| {what} | {' | '.join(map(cell, scores))} |")
        for group in ("simple", "multiple"):
            own = result.groups.get(group, {})
            if own:
                scores = [own.get(metric) for metric in TOOL_METRICS]
                lines.append(f"| … {group} | {' | '.join(map(cell, scores))} |")
    for model, facts in TABLE_6.items():
        row = [str(facts.get(metric, "–")) for metric in TOOL_METRICS]
        lines.append(f"| {model}, Table 6, other queries | {' | '.join(row)} |")
    return [*lines, ""]


def agent_lines(results: dict[str, TaskResult]) -> list[str]:
    """Return a row a mode, then Table 9."""
    lines = [f"| | {' | '.join(AGENT_METRICS.values())} |", "|---" * 6 + "|"]
    for name, result in results.items():
        scores = [result.metrics.get(metric) for metric in AGENT_METRICS]
        lines.append(f"| {AGENT[name]} | {' | '.join(map(cell, scores))} |")
    for mode, models in TABLE_9.items():
        for model, values in models.items():
            row = [*map(str, values), "–", "–"]
            lines.append(f"| {model}, Table 9, {mode} | {' | '.join(row)} |")
    return [*lines, ""]


def what_it_called(result: TaskResult) -> list[str]:
    """Return how replies to the queries that need a tool went wrong in ReAct."""
    kinds: Counter[str] = Counter()
    for item in result.items:
        if "tool_selection" in item.scores:
            right = item.scores["tool_selection"] == 1
            kinds["the right tool" if right else _mistake(item.answer, item.prompt)] += 1
    parts = ", ".join(f"{name} {count}" for name, count in kinds.most_common())
    return [f"Replies to the queries that need a tool, in ReAct: {parts}.", ""]


def _mistake(answer: Any, prompt: Any) -> str:
    if answer is None:
        return "no action"
    listed = str(prompt).partition("should be one of [")[2].partition("]")[0].split(",")
    if answer[0] in listed:
        return "another of the tools"
    named = [name for name in listed if name in answer[0]]
    return "a tool's name among other words" if named else "what is no tool"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="directory that openqwen eval wrote")
    parser.add_argument("--about", default="", help="what ran beside it")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    tools, agent = found_in(args.results, TOOLS), found_in(args.results, AGENT)
    run = read_json(args.results / "results.json")
    settings = next(iter([*tools.values(), *agent.values()])).settings
    limit = settings["limit"]
    drawn = f"at most {limit} items a kind, drawn" if limit else "all items"
    body = [
        f"{Path(run['model']).name} ({run['loaded_as']}), greedy, "
        f"{'conversations' if settings['conversations'] else 'plain texts'}, seed "
        f"{settings['seed']}, {drawn}; percent, 95 % intervals. {args.about}".rstrip(),
        "",
    ]
    if tools:
        body += ["### Tool use", "", *tool_lines(tools)]
        body += what_it_called(tools["tools"]) if "tools" in tools else []
    if agent:
        body += ["### Hugging Face agent", "", *agent_lines(agent)]
        facts = next(iter(agent.values())).settings
        body += [f"Prompt: {facts['prompt']}. Sandbox: {facts['sandbox']}.", ""]
    command = f"openqwen eval {Path(run['model']).name} --tasks tools hf_agent --chat"
    body.append(provenance(command + (f" --limit {limit}" if limit else "")))
    text = "\n".join(body)
    print(text)
    if args.write_docs:
        write_section(PAGE, "tooluse", "A model measured", text)


if __name__ == "__main__":
    main()
