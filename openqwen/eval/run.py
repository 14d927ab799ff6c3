"""Measure one model on many tasks; a killed run goes on, a finished task is not measured again.

    results = evaluate(Plan(model, tasks, out, data=Path("benchmarks"), limit=200))

Everything lies in `out`: `results.json` and `results.md`, a pair of files a task (numbers and
items), `responses.jsonl` with whatever the model was asked.
"""

import importlib
import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import openqwen
from openqwen.agent.endpoint import EndpointModel
from openqwen.agent.models import LocalModel, TextModel
from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_json, write_text
from openqwen.core.log import format_duration, say, warn
from openqwen.core.runtime import host_description
from openqwen.eval.compare import RESULTS_NAME
from openqwen.eval.contamination import flag_items
from openqwen.eval.measure import Setting
from openqwen.eval.responses import Remembering, Responses
from openqwen.eval.result_table import result_lines
from openqwen.eval.results import TaskResult, items_path, read_result, write_result
from openqwen.eval.tasks.catalogue import TaskInfo

MODEL_NAME = "model.json"


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        model: writes the replies.
        tasks: in order.
        out: directory for everything.
        data: folder with benchmarks; None where there is none.
        limit: items a task, drawn by `seed`; None for all.
        seed: of every draw.
        is_chat: conversations instead of plain texts.
        shots: examples before each question; None is the task's own number.
        must: whether a task that can't be measured ends the run; else it is told and passed over.
        trained_on: texts the model was trained on, to mark items found there.
        identity: what else tells this model from another, as its files' hash.
    """

    model: TextModel
    tasks: Sequence[TaskInfo]
    out: Path
    data: Path | None = None
    limit: int | None = None
    seed: int = 0
    is_chat: bool = False
    shots: int | None = None
    must: bool = True
    trained_on: Sequence[Path] = ()
    identity: str = ""


def evaluate(plan: Plan) -> dict[str, Any]:
    """Measure every task of a plan and write the results.

    Returns:
        What `results.json` holds.

    Raises:
        UserError: if `out` holds another model's results, or a task can't be measured and must be.
    """
    started = time.monotonic()
    _require_same_model(plan)
    store = Responses(plan.out / "responses.jsonl")
    model = plan.model
    setting = Setting(
        model=Remembering(model, store),
        lm=model.lm if isinstance(model, LocalModel) else None,
        out=plan.out,
        responses=store,
        data=plan.data,
        limit=plan.limit,
        seed=plan.seed,
        is_chat=plan.is_chat,
    )
    results: list[TaskResult] = []
    missing: dict[str, str] = {}
    for info in plan.tasks:
        try:
            found = _measure(plan, info, setting)
        except UserError as error:
            if plan.must:
                raise
            missing[info.name] = str(error)
            warn(f"{info.name}: not measured: {error}")
            continue
        results += found
        _write(plan, results, missing, time.monotonic() - started)
    if plan.trained_on and results:
        results = flag_items(results, plan.trained_on, plan.out / "contamination")
        for result in results:
            write_result(plan.out, result)
    return _write(plan, results, missing, time.monotonic() - started)


def _measure(plan: Plan, info: TaskInfo, setting: Setting) -> list[TaskResult]:
    """Return a task's results: those that are there already, or new ones, written."""
    asked = _asked(plan, info)
    kept = plan.out / f"{info.name}.done.json"
    if kept.is_file():
        done = read_json(kept)
        if done["asked"] == asked and all(items_path(plan.out, n).is_file() for n in done["tasks"]):
            say(f"{info.name:<14}measured before")
            return [read_result(plan.out, name) for name in done["tasks"]]
    started = time.monotonic()
    if info.kind == "harness":
        from openqwen.eval.harness.run import run_task

        shots = _shots(plan, info)
        results = [run_task(info, setting, shots)]
    else:
        module, _, function = info.build.partition(":")
        results = getattr(importlib.import_module(module), function)(setting)
    seconds = round(time.monotonic() - started, 1)
    results = [replace(result, seconds=result.seconds or seconds) for result in results]
    for result in results:
        write_result(plan.out, result)
    write_json(kept, {"asked": asked, "tasks": [result.task for result in results]})
    for line in result_lines(results, header=False):
        say(line)
    return results


def _shots(plan: Plan, info: TaskInfo) -> int:
    if plan.shots is not None:
        return plan.shots
    return info.chat_shots if plan.is_chat else info.shots


def _asked(plan: Plan, info: TaskInfo) -> dict[str, Any]:
    """Return all that a task's result depends on beside the model."""
    return {
        "task": info.name,
        "limit": plan.limit,
        "seed": plan.seed,
        "is_chat": plan.is_chat,
        "shots": _shots(plan, info),
        "data": str(plan.data) if plan.data else None,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return what could change a score without anybody having changed a setting."""
    found = {"openqwen": openqwen.__version__, "torch": torch.__version__}
    try:
        found["lm_eval"] = importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        found["lm_eval"] = "not installed"
    return found


def _require_same_model(plan: Plan) -> None:
    """Refuse a directory that holds another model's replies.

    Raises:
        UserError: naming both models.
    """
    mine = {"model": plan.model.name, "loaded_as": describe(plan.model), "identity": plan.identity}
    path = plan.out / MODEL_NAME
    if not path.is_file():
        write_json(path, mine)
        return
    theirs = read_json(path)
    if theirs != mine:
        differing = [name for name in mine if mine[name] != theirs.get(name)]
        raise UserError(
            f"{plan.out} holds results of {theirs['model']} ({theirs['loaded_as']}); "
            f"{', '.join(differing)} differ: name another directory"
        )


def describe(model: TextModel) -> str:
    """Return size, type and device of a model that is loaded here; an endpoint's address."""
    if isinstance(model, LocalModel):
        return model.lm.describe()
    return model.describe() if isinstance(model, EndpointModel) else "not loaded here"


def _write(
    plan: Plan, results: Sequence[TaskResult], missing: dict[str, str], seconds: float
) -> dict[str, Any]:
    """Write the numbers of all tasks so far, those of earlier runs too, as JSON and as a table."""
    path = plan.out / RESULTS_NAME
    before = read_json(path)["tasks"] if path.is_file() else {}
    measured = {result.task: result for result in results}
    others = [read_result(plan.out, name) for name in before if name not in measured]
    every = [*others, *results]
    settings = {"limit": plan.limit, "seed": plan.seed, "is_chat": plan.is_chat}
    found = {
        "model": plan.model.name,
        "loaded_as": describe(plan.model),
        "settings": settings | {"shots": plan.shots, "data": str(plan.data or "")},
        "versions": versions(),
        "host": host_description(),
        "tasks": {result.task: result.as_json() for result in every},
        "not_measured": missing,
        "seconds": round(seconds, 1),
    }
    write_json(path, found)
    about = f"{plan.model.name}: {describe(plan.model)}; seed {plan.seed}"
    lines = [about, "", *result_lines(every), ""]
    lines += [f"Not measured: {name}: {why}" for name, why in missing.items()]
    lines.append(f"{format_duration(seconds)} in this run")
    write_text(plan.out / "results.md", "\n".join(lines) + "\n")
    return found
