"""The interpreter benchmark measured: share of executable code and correctness by category.

    [result] = measure(setting)
    result.groups["math"]["executable"], result.groups["visualisation hard"]["correct"]

- `executable`: the first program that the model wrote ran to its end without an error or a stop; a
  task without any program counts as not executable. The published measure, whose tasks are not to
  be had, counts so, too: QwenLM/Qwen-Agent, `benchmark/metrics/code_execution.py`.
- `executable_code`: the same, but a program that is nothing but literals, such as a quoted text,
  doesn't count: Python runs it without an error, but there is nothing in it to run.
- `correct`: the task's check holds (`openqwen/eval/interpreter/checks.py`); in math the true number
  stands in both the result and the final response.
- `calls_ok`: share of a task's programs that ran without an error; only of tasks that have any.

Items keep the whole trace; images lie in `interpreter/` of the run's directory.
"""

import ast
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from openqwen.core.config import to_plain
from openqwen.core.log import format_duration, say
from openqwen.eval.interpreter.checks import Judgement, judge
from openqwen.eval.interpreter.rounds import RoundsConfig, Run, solve
from openqwen.eval.interpreter.task import Task, draw, load_tasks
from openqwen.eval.measure import Setting
from openqwen.eval.results import Item, Score, TaskResult, gather

NAME = FOLDER = "interpreter"
PUBLISHED = {
    model: {"value": value, "source": "Qwen Technical Report, Table 7; other tasks"}
    for model, value in (("Qwen-Chat-7B", 70.2), ("Qwen-Chat-14B", 81.7))
}
Judge = Callable[[Task, Sequence[bytes]], bool]
"""A vision model's verdict on a task's images; hooked in by whoever has one."""


def measure(setting: Setting) -> list[TaskResult]:
    """Return one result: all tasks, with groups by category, level and language.

    Raises:
        UserError: if the machine can't isolate, or a package is missing.
    """
    return [measure_with(setting, RoundsConfig())]


def measure_with(
    setting: Setting, config: RoundsConfig, *, judge_images: Judge | None = None
) -> TaskResult:
    """Return the result with other settings than the usual ones.

    `judge_images` adds the metric `judged` to visualisation tasks; recorded properties stay what
    decides `correct`. `limit` is of each category.
    """
    tasks = draw(load_tasks(), setting.limit, setting.seed)
    folder = setting.out / FOLDER
    begin = time.monotonic()
    items: list[Item] = []
    levels: set[str] = set()
    for run in solve(setting.model, tasks, config, is_chat=setting.is_chat):
        items.append(_item(run, folder, judge_images))
        levels |= {run.level} - {""}
        if len(items) == len(tasks) or len(items) % config.wave == 0:
            seconds = time.monotonic() - begin
            say(f"interpreter   {len(items)} of {len(tasks)} tasks, {format_duration(seconds)}")
    return TaskResult(
        task=NAME,
        main="executable",
        metrics=gather(items),
        items=items,
        settings=_settings(setting, config, levels),
        groups=_groups(tasks, items),
        published=PUBLISHED,
        seconds=round(time.monotonic() - begin, 1),
    )


def _item(run: Run, folder: Path, judge_images: Judge | None) -> Item:
    """Judge a finished task and keep its images."""
    task, evidence = run.task, run.evidence()
    verdict = judge(task, evidence)
    scores: dict[str, float] = {
        "correct": float(verdict.correct),
        "executable": float(bool(run.results) and run.results[0].is_ok),
    }
    is_code = bool(run.codes) and does_something(run.codes[0])
    scores["executable_code"] = scores["executable"] if is_code else 0.0
    if run.results:
        scores["calls_ok"] = sum(r.is_ok for r in run.results) / len(run.results)
    if judge_images is not None and task.category == "visualisation":
        scores["judged"] = float(bool(evidence.images) and judge_images(task, evidence.images))
    names = []
    for i, image in enumerate(evidence.images):
        folder.mkdir(parents=True, exist_ok=True)
        names.append(f"{task.id}-{i + 1}.png")
        (folder / names[-1]).write_bytes(image)
    return Item(
        id=task.id,
        prompt=run.prompt,
        target=dict(task.check),
        output=_trace(run, verdict, names),
        answer=run.final or None,
        scores=scores,
        group=task.category,
    )


def does_something(code: str) -> bool:
    """Return whether a program is more than literals, such as a text in quotes."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True  # IPython's own syntax, or an error that the kernel tells
    return any(not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in body)


def _trace(run: Run, verdict: Judgement, images: Sequence[str]) -> dict[str, Any]:
    """Return all that happened in a task, as JSON types."""
    kept = ("status", "stdout", "value", "error", "seconds", "restarted")
    calls = [
        {"code": code} | {name: getattr(result, name) for name in kept}
        for code, result in zip(run.codes, run.results, strict=True)
    ]
    return {
        "text": run.text,
        "ended": run.ended,
        "why_not": verdict.why,
        "calls": calls,
        "figures": run.evidence().figures,
        "images": [f"{FOLDER}/{name}" for name in images],
    }


def _groups(tasks: Sequence[Task], items: Sequence[Item]) -> dict[str, dict[str, Score]]:
    """Return the scores by category, by level of visualisation and by language."""
    marks = [(task.category, f"{task.category} {task.level}", task.language) for task in tasks]
    names = list(
        dict.fromkeys(n for each in zip(*marks, strict=True) for n in each if n[-1] != " ")
    )
    return {
        name: gather([item for of_it, item in zip(marks, items, strict=True) if name in of_it])
        for name in names
    }


def _settings(setting: Setting, config: RoundsConfig, levels: set[str]) -> dict[str, Any]:
    return {
        "form": "react",
        "conversation": setting.is_chat,
        "seed": setting.seed,
        "limit": setting.limit,
        "isolation": sorted(levels),
    } | to_plain(config)
