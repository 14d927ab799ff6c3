"""What the harness's evaluator logged as a result of ours: an item a question, with intervals.

found = lm_eval.evaluator.evaluate(lm=…, task_dict=built.tasks, samples=built.samples, …)
result = as_result(built, found["samples"], setting)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from openqwen.core.errors import UserError
from openqwen.data.contamination.benchmark_forms import texts_of_row
from openqwen.eval.measure import Setting
from openqwen.eval.results import Item, TaskResult, gather, gather_groups
from openqwen.eval.tasks.info import GROUP_COLUMN, ID_COLUMN, Built

PLAIN_FILTER = "none"
SHOWN = (  # of a definition, in the results
    *("output_type", "description", "doc_to_text", "doc_to_choice", "doc_to_target"),
    *("target_delimiter", "fewshot_delimiter", "gen_prefix", "generation_kwargs", "filter_list"),
)
RENAMED = {"perplexity": "log_likelihood"}  # of an item it is that; only the mean is a perplexity


def as_result(
    built: Built, samples: Mapping[str, Sequence[Mapping[str, Any]]], setting: Setting
) -> TaskResult:
    """Return a benchmark's result from the samples of its harness tasks.

    Args:
        built: what was asked.
        samples: name of a harness task -> what the evaluator logged (`log_samples=True`).
        setting: as it was built with.

    Raises:
        UserError: if nothing was logged.
    """
    items = [item for name, logged in samples.items() for item in _items(built, name, logged)]
    if not items:
        raise UserError(f"{built.info.name}: the harness logged no answer")
    metrics = gather(items)
    main = built.info.main_metric
    assert main in metrics, f"{built.info.name} has {', '.join(metrics)}, not {main}"
    return TaskResult(
        task=built.info.name,
        main=main,
        metrics=metrics,
        items=items,
        settings=_settings(built, setting),
        groups=gather_groups(items),
        published=built.info.published,
    )


def _items(built: Built, task: str, logged: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Return the items of one harness task; what several filters found is one item."""
    by_place: dict[int, list[Mapping[str, Any]]] = {}
    for sample in logged:
        by_place.setdefault(int(sample["doc_id"]), []).append(sample)
    return [_item(built, task, place, found) for place, found in sorted(by_place.items())]


def _item(built: Built, task: str, place: int, found: Sequence[Mapping[str, Any]]) -> Item:
    row = found[0]["doc"]
    scores: dict[str, float] = {}
    for sample in found:
        for metric in sample["metrics"]:
            value = sample[metric]
            if isinstance(value, int | float) and not math.isnan(float(value)):
                scores[_score_name(built, metric, str(sample["filter"]), len(found))] = float(value)
    if built.extra_scores is not None:
        scores |= built.extra_scores(task, row, scores)
    main = next((s for s in found if built.info.main_metric.endswith(f",{s['filter']}")), found[0])
    choices = _choices(main["arguments"])
    if choices is None:
        output, answer = _written(main)
    else:
        likelihoods = [float(reply[0]) for reply in main["filtered_resps"]]
        output = dict(zip(choices, likelihoods, strict=False))
        answer = choices[likelihoods.index(max(likelihoods))] if len(choices) > 1 else None
    return Item(
        id=built.item_id(task, place, row),
        prompt=_prompt(main["arguments"]),
        target=_target(built, task, main),
        output=output,
        answer=answer,
        scores=scores,
        group=built.group(task, row),
        question=_question(row),
    )


def _question(row: Mapping[str, Any]) -> str:
    """Return an item's own text, which contamination is looked for by; "" where it has none."""
    own = {key: value for key, value in row.items() if key not in (ID_COLUMN, GROUP_COLUMN)}
    try:
        return texts_of_row(own).text
    except UserError:
        return ""


def _score_name(built: Built, metric: str, filter: str, num_filters: int) -> str:
    """Return a metric's name in the results; several filters of one answer are told apart."""
    name = built.score_names.get(metric, RENAMED.get(metric, metric))
    return name if filter == PLAIN_FILTER or num_filters == 1 else f"{name},{filter}"


def _choices(arguments: Sequence[Any]) -> list[str] | None:
    """Return the continuations that were scored; None for an answer that was written."""
    if isinstance(arguments[0][1], str):
        return [str(argument[1]) for argument in arguments]
    return None


def _prompt(arguments: Sequence[Any]) -> Any:
    """Return the prompt, or the prompts where each choice had its own."""
    prompts = [argument[0] for argument in arguments]
    return prompts[0] if all(prompt == prompts[0] for prompt in prompts) else prompts


def _written(sample: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what the model wrote and what the filter took out of it."""
    reply: Any = sample["resps"]
    while isinstance(reply, list | tuple) and len(reply) == 1:
        reply = reply[0]
    taken: Any = sample["filtered_resps"]
    while isinstance(taken, list | tuple) and len(taken) == 1:
        taken = taken[0]
    return reply, taken


def _target(built: Built, task: str, sample: Mapping[str, Any]) -> Any:
    """Return what is right, as text where it is one of several choices."""
    target = sample["target"]
    choices = _choices(sample["arguments"])
    if choices and len(choices) > 1:
        places = target if isinstance(target, list) else [target]
        if all(isinstance(at, int) and 0 <= at < len(choices) for at in places):
            texts = [choices[at] for at in places]
            return texts if isinstance(target, list) else texts[0]
    return target


def _named(value: Any) -> Any:
    """Return a part of a definition with the names of functions in their place."""
    if isinstance(value, dict):
        return {key: _named(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    return f"{value.__module__}:{value.__qualname__}" if callable(value) else value


def _settings(built: Built, setting: Setting) -> dict[str, Any]:
    """Return all that it takes to ask the same again."""
    import lm_eval

    first = next(iter(built.tasks.values()))
    config = first.dump_config()
    shown = {
        key: _named(value)
        for key, value in config.items()
        if key in SHOWN and isinstance(value, str | int | float | list | dict)
    }
    return {
        "harness": f"lm-evaluation-harness {lm_eval.__version__}",
        "harness_tasks": sorted(built.tasks),
        "prompt": "conversation" if setting.is_chat else "text",
        "shots": built.shots,
        "seed": setting.seed,
        "limit": setting.limit,
        "subset": built.subset,
        "notes": list(built.notes),
        "definition": shown,
    }
