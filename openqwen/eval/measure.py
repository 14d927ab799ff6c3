"""What every measurement of ours is handed, and what it returns.

    def measure(setting: Setting) -> list[TaskResult]: ...

A line in `openqwen/eval/tasks/own.py` names it. Benchmarks that are questions with choices or with
one reply are harness tasks instead (`openqwen/eval/tasks/`).
"""

from dataclasses import dataclass
from pathlib import Path

from openqwen.agent.models import TextModel
from openqwen.eval.responses import Responses
from openqwen.infer.load import LanguageModel


@dataclass(frozen=True)
class Setting:
    """One model and how it is to be measured.

    Attributes:
        model: writes replies and remembers them.
        lm: the same model where it is loaded here; None for an endpoint.
        out: the run's directory; a measure may keep files in a folder of its own name there.
        responses: where anything else that is dear may be kept.
        data: folder with benchmarks in their original forms; None where none was given.
        limit: items a task, drawn by `seed`; None for all.
        seed: of every draw.
        is_chat: conversations instead of plain texts.
    """

    model: TextModel
    lm: LanguageModel | None
    out: Path
    responses: Responses
    data: Path | None = None
    limit: int | None = None
    seed: int = 0
    is_chat: bool = False
