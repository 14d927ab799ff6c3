"""A measured model as a page: scores with intervals beside what its authors published.

    python benchmarks/evaluation_page.py eval/text eval/chat --model Qwen2.5-Coder-0.5B-Instruct \\
        --command "openqwen eval …" --write-docs

Reads what `openqwen eval` wrote; the page's section in docs/evaluation.md is written by this alone.
"""

import argparse
import datetime
from collections import Counter
from pathlib import Path

from results import ROOT, write_section

from openqwen.core.files import read_json
from openqwen.core.log import format_duration
from openqwen.eval.result_table import show_score
from openqwen.eval.results import TaskResult, read_result

PAGE = ROOT / "docs" / "evaluation.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="directories of openqwen eval")
    parser.add_argument("--models", nargs="+", default=[], help="whose published values are shown")
    parser.add_argument("--command", nargs="+", default=[], help="what was typed, a run each")
    parser.add_argument("--about", default="", help="a sentence above the table")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    body = page(args.runs, args.models, args.command, args.about)
    print(body)
    if args.write_docs:
        write_section(PAGE, "evaluation-results", "A real model measured", body)


def page(runs: list[Path], models: list[str], commands: list[str], about: str) -> str:
    lines = [about, ""] if about else []
    lines += [
        f"| task | prompt | shots | metric | value (95 %) | n | {' | '.join(models)} | time |",
        "|---" * (7 + len(models)) + "|",
    ]
    seconds, letters = 0.0, []
    for run in runs:
        facts = read_json(run / "results.json")
        for name in facts["tasks"]:
            result = read_result(run, name)
            seconds += result.seconds
            lines.append(row(result, models, is_chat=facts["settings"]["is_chat"]))
            letters += letters_chosen(result)
    missing = {
        n: w for run in runs for n, w in read_json(run / "results.json")["not_measured"].items()
    }
    lines += ["", f"{format_duration(seconds)} in all. {where(runs[0])}"]
    lines += letters
    if missing:
        lines.append(
            "Not measured, as their data was not at hand: " + ", ".join(sorted(missing)) + "."
        )
    lines += [f"`{command}`" for command in commands]
    return "\n".join(lines)


def row(result: TaskResult, models: list[str], *, is_chat: bool) -> str:
    main = result.main
    cells = [
        result.task,
        "chat" if is_chat else "text",
        str(result.settings.get("shots", "–")),
        main,
        show_score(result.metrics[main]),
        f"{result.metrics[main].n:,}",
        *(published(result, model) for model in models),
        format_duration(result.seconds),
    ]
    return "| " + " | ".join(cells) + " |"


def letters_chosen(result: TaskResult) -> list[str]:
    """Return which letters a model chose and which were right, where answers are letters."""
    chosen = Counter(str(item.answer).strip() for item in result.items)
    right = Counter(str(item.target).strip() for item in result.items)
    if len(right) > 6 or any(len(letter) != 1 or not letter.isupper() for letter in right):
        return []

    def counts(found: Counter[str]) -> str:
        return ", ".join(f"{letter} {found[letter]}" for letter in sorted(right))

    return [f"Letters chosen in {result.task}: {counts(chosen)}; right: {counts(right)}."]


def published(result: TaskResult, model: str) -> str:
    found = result.published.get(model)
    if not found:
        return "–"
    shots = found.get("shots")
    return f"{found['value']}" + (f" ({shots} shots)" if shots is not None else "")


def where(run: Path) -> str:
    facts = read_json(run / "results.json")
    host, settings = facts["host"], facts["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Seed {settings['seed']}; {facts['loaded_as']}; {host['threads']} × {host['processor']}; "
        f"{versions}; {datetime.date.today().isoformat()}."
    )


if __name__ == "__main__":
    main()
