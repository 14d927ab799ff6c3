"""The benchmark's tasks, and how they are read from `openqwen/eval/interpreter/tasks/`.

    tasks = load_tasks()                     # all, in a fixed order
    drawn = draw(tasks, limit=8, seed=0)     # at most 8 a category

A file holds a list of objects, one a task. `solution` is a program that the check accepts, `wrong`
one that it rejects: a test runs all of them.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from openqwen.core.errors import UserError

FOLDER = Path(__file__).parent / "tasks"
CATEGORIES = ("math", "visualisation", "general")


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        id: its name, stable.
        category: `math`, `visualisation` or `general`.
        level: `easy` or `hard` for visualisation, else "".
        language: of the prompt, `en` or `zh`.
        prompt: the question.
        check: what must hold; see `openqwen/eval/interpreter/checks.py`.
        solution: a program that solves it.
        wrong: a program that runs and does not.
        files: name -> text of files that lie in the session's folder.
        setup: code that runs before, such as a small web server on the sandbox's own loopback.
        answer: what the reference's final response says; None for the text of its result.
    """

    id: str
    category: Literal["math", "visualisation", "general"]
    language: Literal["en", "zh"]
    prompt: str
    check: Mapping[str, Any]
    solution: str
    wrong: str
    level: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    answer: str | None = None

    def query(self) -> str:
        """Return what the model is asked; files are named first, as in the published one."""
        names = "、".join(f"`{n}`" for n in self.files)
        if not names:
            return self.prompt
        if self.language == "zh":
            return f"文件{names}。{self.prompt}"
        plural = "Files" if len(self.files) > 1 else "File"
        return f"{plural} {names.replace('、', ', ')}. {self.prompt}"


def load_tasks(folder: Path = FOLDER) -> list[Task]:
    """Return all tasks, by category and id.

    Raises:
        UserError: if a file is broken, a field is missing or unknown, or an id stands twice.
    """
    found: dict[str, Task] = {}
    for path in sorted(folder.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            task = _read(row, path)
            if task.id in found:
                raise UserError(f"{path}: two tasks are called {task.id}")
            found[task.id] = task
    return sorted(found.values(), key=lambda task: (CATEGORIES.index(task.category), task.id))


def draw(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """Return at most `limit` tasks of each category, in their order; None for all."""
    chosen = []
    for category in CATEGORIES:
        of_it = [task for task in tasks if task.category == category]
        if limit is not None and limit < len(of_it):
            places = random.Random(f"{seed} {category}").sample(range(len(of_it)), limit)
            of_it = [of_it[place] for place in sorted(places)]
        chosen += of_it
    return chosen


def _read(row: Mapping[str, Any], path: Path) -> Task:
    """Return a task from its JSON form, where programs are lists of lines."""
    plain: dict[str, Any] = {
        name: "\n".join(value) if name in ("solution", "wrong", "setup") else value
        for name, value in row.items()
    }
    try:
        return Task(**plain)
    except TypeError as error:
        raise UserError(f"{path}: task {row.get('id')!r}: {error}") from None
