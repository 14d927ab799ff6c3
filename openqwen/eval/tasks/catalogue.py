"""Every benchmark and measure by name, and the suites they make (§2.5, §3.3, §4.3, §5.2, A.2).

    TASKS["mmlu"].shots                              # 5
    resolve(["hellaswag"], ["code"])                 # their lines, each once, in a fixed order

Nothing heavy is loaded here: `openqwen eval list` only reads these lines.
"""

import difflib
from collections.abc import Sequence

from openqwen.core.errors import UserError
from openqwen.eval.generative.catalogue import TASKS as WRITTEN
from openqwen.eval.tasks.choice_catalogue import TASKS as CHOICES
from openqwen.eval.tasks.info import Built as Built
from openqwen.eval.tasks.info import TaskInfo as TaskInfo
from openqwen.eval.tasks.own import TASKS as OWN

TASKS: dict[str, TaskInfo] = {**CHOICES, **WRITTEN, **OWN}

SUITES = {
    "base": "Table 2: MMLU, C-Eval, GSM8K, MATH, HumanEval, MBPP, BBH",
    "chat": "Table 5 for chat models, and safety",
    "code": "Tables 10 and 11: HumanEval, MBPP, HumanEvalPack",
    "math": "Table 12: GSM8K, MATH, Math401, Math23K",
    "tools": "Tables 6 to 9: tool use, code interpreter, Hugging Face agent",
    "report": "all that the report's tables show",
}


def resolve(names: Sequence[str], suites: Sequence[str] = ()) -> list[TaskInfo]:
    """Return the lines of tasks and suites, each once: suites' first, in the catalogue's order.

    Raises:
        UserError: if there is no such task or suite; the nearest name is given.
    """
    for suite in suites:
        if suite not in SUITES:
            raise UserError(f"{suite} is no suite; {_nearest(suite, list(SUITES))}")
    for name in names:
        if name not in TASKS:
            if name in SUITES:
                raise UserError(f"{name} is a suite: --suite {name}")
            raise UserError(f"{name} is no task; {_nearest(name, list(TASKS))}")
    found = [i for i in TASKS.values() if any(s in i.suites or s == "report" for s in suites)]
    return found + [TASKS[name] for name in dict.fromkeys(names) if TASKS[name] not in found]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1, 0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}there are {', '.join(known)}"
