"""What the catalogue says of a benchmark, and what building it gives.

info = TASKS["mmlu"]                     # openqwen.eval.tasks.catalogue
built = build_task(info, setting, info.shots)
built.tasks                              # name -> a task object of the field's harness
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from openqwen.eval.tasks.definitions import ExtraScores
from openqwen.eval.tasks.published import published

if TYPE_CHECKING:
    from openqwen.eval.measure import Setting

# columns that are added to a benchmark's rows; no prompt shows them
ID_COLUMN, GROUP_COLUMN = "openqwen_id", "openqwen_group"


@dataclass(frozen=True)
class TaskInfo:
    """A line of the catalogue.

    Attributes:
        name: what `--tasks` calls it.
        about: one line for people.
        build: `module:function`. Of a harness task the function is called with this line, the
            setting and the shots and returns a `Built`; of a measure with the setting alone and
            returns a list of `TaskResult`.
        suites: those it belongs to.
        kind: who asks the model, the field's harness or a measure of our own.
        main_metric: the one that tables show; of harness tasks, a measure's result names its own.
        shots: examples before each question, as in the report's tables of base models.
        chat_shots: the same for chat models.
        files: the form that is read from `--data`, and under which names.
    """

    name: str
    about: str
    build: str
    suites: tuple[str, ...] = ("report",)
    kind: Literal["harness", "measure"] = "harness"
    main_metric: str = "acc"
    shots: int = 0
    chat_shots: int = 0
    files: str = ""

    @property
    def published(self) -> Mapping[str, Mapping[str, Any]]:
        """Return model -> `value`, `shots` and `source` of the same benchmark."""
        return published(self.name)


@dataclass(frozen=True)
class Built:
    """A benchmark ready to be asked: one task of the harness, or many (a subject each).

    Attributes:
        info: its line in the catalogue.
        tasks: name -> harness task, shots and seed set.
        samples: name -> rows of its evaluation split that are asked; None for all of them. Where
            rows come from files, the tasks hold only the rows that were drawn.
        subset: what the items are a subset of, in words.
        shots: examples before each question.
        groups: name of a harness task -> group of its items, where the rows don't say it.
        notes: what a reader of the numbers must know.
        score_names: metric of the harness -> name under which results show it.
        extra_scores: further scores, which only some items may have.
    """

    info: TaskInfo
    tasks: Mapping[str, Any]
    samples: Mapping[str, list[int]] | None
    subset: str
    shots: int
    groups: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    score_names: Mapping[str, str] = field(default_factory=dict)
    extra_scores: ExtraScores | None = None

    def item_id(self, task: str, place: int, row: Mapping[str, Any]) -> str:
        """Return an item's id: the same for every model that is asked the same rows."""
        return str(row.get(ID_COLUMN) or f"{task}/{place}")

    def group(self, task: str, row: Mapping[str, Any]) -> str:
        """Return the subject, category or language of an item, or ""."""
        return str(row.get(GROUP_COLUMN) or self.groups.get(task, ""))


def build_task(info: TaskInfo, setting: "Setting", shots: int) -> Built:
    """Build a harness task by its line in the catalogue.

    Raises:
        UserError: one line if its rows are not to be had, or too few examples for the shots.
    """
    module, _, function = info.build.partition(":")
    built: Built = getattr(importlib.import_module(module), function)(info, setting, shots)
    return built
