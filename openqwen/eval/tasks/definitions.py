"""Definitions of harness tasks: the harness's own YAML, or a dictionary of ours of the same form.

stock = Stock("mmlu/default", {"mmlu_anatomy": "STEM"})
definition(stock, "mmlu_anatomy")["doc_to_text"]
tasks = make_tasks({"mmlu_anatomy": definition(stock, "mmlu_anatomy")}, shots=5)
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError

EXAMPLE_SEED = 1234  # of the draw of examples: the harness's own default
STRUCTURE = ("tag", "group", "task_list")  # keys that say where a task stands, not what it is
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")

# from the harness task's name, a row and its scores to further scores of that item
ExtraScores = Callable[[str, Mapping[str, Any], Mapping[str, float]], Mapping[str, float]]


@dataclass(frozen=True)
class Stock:
    """How a benchmark is defined.

    Attributes:
        folder: with the harness's definitions, below its `tasks` folder; "" for none.
        groups: name of each harness task -> group of its items; "" for none.
        own: name -> definition that is ours, where the harness has none.
        changes: what is replaced in every definition.
        on_hub: whether the hub has the data sets that the definitions name.
        score_names: metric of the harness -> name in the results.
        extra_scores: further scores, which only some items may have.
    """

    folder: str
    groups: Mapping[str, str]
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    on_hub: bool = True
    score_names: Mapping[str, str] = field(default_factory=dict)
    extra_scores: ExtraScores | None = None


def require_harness() -> None:
    """Tell in one line what to install where the harness is missing.

    Raises:
        UserError: if it is.
    """
    try:
        import lm_eval.api.task  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("the field's harness is missing: pip install 'openqwen[eval]'") from None


def definition(stock: Stock, name: str) -> dict[str, Any]:
    """Return the definition of one harness task, our changes in it."""
    if name in stock.own:
        found = dict(stock.own[name])
    else:
        import lm_eval.tasks
        from lm_eval.tasks._yaml_loader import load_yaml

        folder = Path(lm_eval.tasks.__file__).parent / stock.folder
        manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(folder))
        path = manager.task_index[name].yaml_path
        assert path is not None, f"{name} has no YAML file in {folder}"
        found = {k: v for k, v in load_yaml(path).items() if k not in STRUCTURE}
    return found | dict(stock.changes) | {"task": name}


def test_split(config: Mapping[str, Any]) -> str:
    """Return the split that a definition asks: its test split, else its validation split."""
    return str(config.get("test_split") or config.get("validation_split"))


def example_split(config: Mapping[str, Any]) -> str | None:
    """Return the split that a definition takes examples from; None where it names no other."""
    named = [config.get("fewshot_split"), config.get("training_split")]
    if config.get("test_split"):
        named.append(config.get("validation_split"))
    found = next((str(split) for split in named if split), None)
    return None if found == test_split(config) else found


def make_tasks(configs: Mapping[str, Mapping[str, Any]], shots: int) -> dict[str, Any]:
    """Return name -> task of the harness, with its shots set and the draw of examples seeded."""
    from datasets import disable_progress_bars
    from lm_eval.api.task import ConfigurableTask

    disable_progress_bars()  # a bar for each of many small data sets
    tasks = {}
    with quiet_harness():
        for name, config in configs.items():
            task = ConfigurableTask(config={**config, "num_fewshot": shots})
            task.set_fewshot_seed(EXAMPLE_SEED)
            tasks[name] = task
    return tasks


@contextlib.contextmanager
def quiet_harness() -> Iterator[None]:
    """Keep the harness's remarks on every task it builds, and its bars, out of the output."""
    import lm_eval.api.task as harness_task

    logger = logging.getLogger("lm_eval")
    before, bar = logger.level, harness_task.tqdm
    logger.setLevel(logging.ERROR)
    harness_task.tqdm = lambda rows, **_: rows
    try:
        yield
    finally:
        logger.setLevel(before)
        harness_task.tqdm = bar
