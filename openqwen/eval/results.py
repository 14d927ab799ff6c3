"""What a measurement leaves behind, whatever it measured: scores with intervals, and every item.

result = TaskResult("gsm8k", metrics={"exact_match": Score.of(hits)}, items=items)
write_result(out, result)            # out/gsm8k.json and out/gsm8k.items.jsonl
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openqwen.core.files import read_json, write_json, write_text
from openqwen.core.intervals import mean_interval, share_interval


@dataclass(frozen=True)
class Score:
    """One number, from `n` items.

    Attributes:
        value: shares lie between 0 and 1.
        n: items it is the mean of.
        stderr: its standard error; NaN for a single item.
        interval: 95 %.
        is_share: between 0 and 1, and shown in per cent.
    """

    value: float
    n: int
    stderr: float
    interval: tuple[float, float]
    is_share: bool = True

    @staticmethod
    def of(values: Sequence[float], *, is_share: bool | None = None) -> "Score":
        """Return the mean of items' scores: Wilson's interval where all are 0 or 1, else Student's.

        They are shares where all lie between 0 and 1, unless the caller knows better.

        Raises:
            ValueError: if there is no item.
        """
        mean, half = mean_interval(values)
        n = len(values)
        spread = sum((value - mean) ** 2 for value in values)
        stderr = math.sqrt(spread / (n - 1) / n) if n > 1 else math.nan
        if all(value in (0, 1) for value in values):
            return Score(mean, n, stderr, share_interval(sum(values), n))
        if is_share is None:
            is_share = all(0 <= value <= 1 for value in values)
        return Score(mean, n, stderr, (mean - half, mean + half), is_share)


@dataclass(frozen=True)
class Item:
    """One question, what came of it and how it was judged.

    Attributes:
        id: stable between runs and models, so that two models can be compared item by item.
        prompt: the exact text or messages the model got.
        target: what would be right, as text.
        output: what the model wrote; for a choice, the log-likelihoods.
        answer: what was taken out of the output; None where nothing could be.
        scores: metric -> this item's score.
        group: subject, category or language; "" where there is none.
        is_contaminated: found in training data; None where nobody looked.
        question: the item's own text without shots or template, which is what is looked for.
    """

    id: str
    prompt: Any
    target: Any
    output: Any
    answer: Any
    scores: Mapping[str, float]
    group: str = ""
    is_contaminated: bool | None = None
    question: str = ""


@dataclass(frozen=True)
class TaskResult:
    """A task measured.

    Attributes:
        task: its name.
        main: name of the metric that tables show.
        metrics: name -> score over all items.
        groups: group -> metric -> score.
        items: every item.
        settings: prompt style, shots, stop texts, extraction, seed, limit, subset: all that it
            takes to get the same prompts again.
        published: model -> value under which its authors published the same measure, and source.
        seconds: spent.
    """

    task: str
    main: str
    metrics: Mapping[str, Score]
    items: Sequence[Item]
    settings: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return everything but the items."""
        plain = asdict(self) | {"items": len(self.items)}
        clean = self.clean_metrics()
        if clean is not None:
            plain["clean_metrics"] = {name: asdict(score) for name, score in clean.items()}
        return plain

    def clean_metrics(self) -> dict[str, Score] | None:
        """Return the scores over items not found in training data; None where nobody looked."""
        if not any(item.is_contaminated is not None for item in self.items):
            return None
        clean = [item for item in self.items if not item.is_contaminated]
        return gather(clean, list(self.metrics)) if clean else {}


def gather(items: Sequence[Item], metrics: Sequence[str] | None = None) -> dict[str, Score]:
    """Return each metric's score over the items that have it."""
    names = metrics or sorted({name for item in items for name in item.scores})
    values = {name: [i.scores[name] for i in items if name in i.scores] for name in names}
    return {name: Score.of(found) for name, found in values.items() if found}


def gather_groups(items: Sequence[Item]) -> dict[str, dict[str, Score]]:
    """Return the scores of each group that items name."""
    names = sorted({item.group for item in items if item.group})
    return {name: gather([item for item in items if item.group == name]) for name in names}


def items_path(out: Path, task: str) -> Path:
    """Return where a task's items lie."""
    return out / f"{task}.items.jsonl"


def write_result(out: Path, result: TaskResult) -> None:
    """Write a task's items, a line each, then its numbers."""
    lines = [json.dumps(asdict(item), ensure_ascii=False, default=str) for item in result.items]
    write_text(items_path(out, result.task), "".join(line + "\n" for line in lines))
    write_json(out / f"{result.task}.json", result.as_json())


def read_items(out: Path, task: str) -> list[Item]:
    """Return a task's items as they were written."""
    text = items_path(out, task).read_text(encoding="utf-8")
    return [Item(**json.loads(line)) for line in text.splitlines()]


def read_result(out: Path, task: str) -> TaskResult:
    """Return a task's numbers and items as they were written."""
    facts = read_json(out / f"{task}.json")

    def scores(found: dict[str, Any]) -> dict[str, Score]:
        return {name: Score(**value) for name, value in found.items()}

    return TaskResult(
        task=facts["task"],
        main=facts["main"],
        metrics=scores(facts["metrics"]),
        items=read_items(out, task),
        settings=facts["settings"],
        groups={group: scores(found) for group, found in facts["groups"].items()},
        published=facts["published"],
        seconds=facts["seconds"],
    )
