"""Results as a table for the terminal and for Markdown pages.

for line in result_lines(results): print(line)
"""

from collections.abc import Sequence
from typing import Any

from openqwen.eval.results import Score, TaskResult

HEADER = ("task", "metric", "value (95 % interval)", "n", "published", "seconds")


def show_score(score: Score) -> str:
    """Return a score and its interval; shares in percent."""
    low, high = score.interval
    if score.is_share:
        return f"{100 * score.value:.1f} % ({100 * low:.1f} – {100 * high:.1f})"
    return f"{score.value:.4g} ({low:.4g} – {high:.4g})"


def result_rows(results: Sequence[TaskResult]) -> list[list[str]]:
    """Return a row a metric, the main one of each task first."""
    rows = []
    for result in results:
        names = sorted(result.metrics, key=lambda name: (name != result.main, name))
        for name in names:
            is_main = name == result.main
            score = result.metrics[name]
            rows.append(
                [
                    result.task if is_main else "",
                    name,
                    show_score(score),
                    f"{score.n:,}",
                    show_published(result.published) if is_main else "",
                    f"{result.seconds:,.0f}" if is_main else "",
                ]
            )
        clean = result.clean_metrics()
        if clean is not None and result.main in clean:
            score = clean[result.main]
            rows.append(["", "on clean items", show_score(score), f"{score.n:,}", "", ""])
    return rows


def show_published(published: Any) -> str:
    """Return published values in a few words: `Qwen-7B 29.9`."""
    shown = []
    for model, value in published.items():
        value = value.get("value") if isinstance(value, dict) else value
        shown.append(f"{model} {value}")
    return "; ".join(shown)


def result_lines(results: Sequence[TaskResult], *, header: bool = True) -> list[str]:
    """Return a Markdown table; without its header, the rows alone."""
    rows = [" | ".join(row) for row in result_rows(results)]
    lines = [f"| {row} |" for row in rows]
    if not header:
        return lines
    return [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|", *lines]
