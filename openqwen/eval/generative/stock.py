"""Parts of the harness's own definitions, for tasks whose scoring is ours.

    stock_definition("humaneval", "humaneval")["generation_kwargs"]["until"]
    stock_examples("mbpp", "list_fewshot_samples")[0]["code"]

Prompts, stop texts and examples stay the field's. Nothing of a definition's own code is loaded:
some of it fetches a metric from the hub, or needs packages that we do without, on import.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.eval.tasks.definitions import STRUCTURE, require_harness

HUB_TIMEOUT_S = 10.0
CODE_KEYS = ("metric_list", "filter_list", "process_results", "process_docs", "unsafe_code")


def stock_definition(folder: str, name: str) -> dict[str, Any]:
    """Return what a YAML file of the harness says, without the keys that name code of its own.

    Args:
        folder: below the harness's `tasks` folder.
        name: of the file, without `.yaml`.
    """
    require_harness()
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    path = Path(lm_eval.tasks.__file__).parent / folder / f"{name}.yaml"
    found = load_yaml(path, resolve_func=False)
    return {k: v for k, v in found.items() if k not in STRUCTURE and k not in CODE_KEYS}


def stock_examples(folder: str, function: str) -> list[dict[str, Any]]:
    """Return the list that a function in a definition's `utils.py` returns, read and not run."""
    require_harness()
    import lm_eval.tasks

    path = Path(lm_eval.tasks.__file__).parent / folder / "utils.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            returned = next(part for part in node.body if isinstance(part, ast.Return))
            assert returned.value is not None, f"{function} of {path} returns a list"
            found: list[dict[str, Any]] = ast.literal_eval(returned.value)
            return found
    raise AssertionError(f"{path} has no function {function}")


def scored_by(*metrics: str) -> list[dict[str, Any]]:
    """Return a definition's `metric_list` for metrics that our own code computes of each item."""
    return [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in metrics]


def hub_rows(data_set: str, name: str | None, split: str) -> list[Mapping[str, Any]]:
    """Return the rows of a data set on the hub.

    Raises:
        UserError: if the hub can't be asked.
    """
    require_harness()
    import huggingface_hub
    from datasets import load_dataset

    try:
        huggingface_hub.dataset_info(data_set, timeout=HUB_TIMEOUT_S)
        return list(load_dataset(data_set, name, split=split))
    except Exception as error:  # each HTTP library behind the hub's client raises its own
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"the hub can't be asked for {data_set} ({reason})") from None
