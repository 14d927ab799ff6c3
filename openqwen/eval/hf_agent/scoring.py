"""Scores of the Hugging Face agent benchmark, as transformers 4.37 gives them.

    scores = score_reply(explanation, program, value, answer, tool_names)
    scores["tool_selection"], scores["tool_used"], scores["code"], scores["exact"]

Selection asks which tools the explanation names in backticks, use which ones stand in the program,
each 1 less a quarter for a missing or a needless tool. Code is 1 where the program's value is a
right one, 0.75 where a right one is in the dict it returns, else 0.3, whatever happened: the
floor is the original's. `exact`, ours, is 1 or 0.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openqwen.agent.hf.evaluator import evaluate
from openqwen.core.errors import UserError
from openqwen.eval.hf_agent.problems import Problem

MISS = 0.25  # for each tool missing or needless
IN_STATE, FLOOR = 0.75, 0.3
METRICS = ("tool_selection", "tool_used", "code", "exact")


@dataclass(frozen=True)
class Right:
    """What would be right.

    Attributes:
        programs: that solve the problem.
        values: of those programs, in the same order.
        has_alternatives: as in the problem.
    """

    programs: tuple[str, ...]
    values: tuple[Any, ...]
    has_alternatives: bool

    def tools(self, value: Any, names: Collection[str]) -> set[str]:
        """Return the tools of the program whose value was reached, else of the first."""
        chosen = self.programs[0]
        if self.has_alternatives:
            reached = list(value.values()) if isinstance(value, dict) else []
            pairs = list(zip(self.values, self.programs, strict=True))
            found = [p for v, p in pairs if v in reached] or [p for v, p in pairs if v == value]
            chosen = found[0] if found else chosen
        return {name for name in names if name in chosen}


def run_as_original(
    program: str, tools: Mapping[str, Any], state: dict[str, Any], inputs: Mapping[str, str]
) -> Any:
    """Return a program's value and leave its variables in `state`, as `evaluate_code` does.

    Unknown variables are taken for the most similar ones; a program that is no Python or whose
    tools raise has no value; one that asks for more than the evaluator does keeps the value of the
    statements before.
    """
    state.update(inputs)
    outcome = evaluate(program, tools, state, as_original=True)
    state.update(outcome.state)
    return outcome.value


def find_right(
    problem: Problem, tools: Mapping[str, Any], states: Sequence[dict[str, Any]]
) -> Right:
    """Return what would be right, running each answer in the state of the answers before it.

    Raises:
        UserError: if an answer of the file does not run.
    """
    values = tuple(
        run_as_original(program, tools, state, problem.inputs)
        for program, state in zip(problem.answers, states, strict=True)
    )
    for program, value in zip(problem.answers, values, strict=True):
        if value is None:
            raise UserError(f"the problem file's own answer gives nothing: {program[:80]}")
    return Right(problem.answers, values, problem.has_alternatives)


def score_reply(
    explanation: str, program: str | None, value: Any, right: Right, names: Collection[str]
) -> dict[str, float]:
    """Return a reply's scores.

    A reply without a program has no use of tools and no code to score: both are 0. The original
    raises there.
    """
    wanted = right.tools(value, names)
    named = {name for name in names if f"`{name}`" in explanation}
    used = {name for name in names if program is not None and name in program}
    return {
        "tool_selection": score_tools(named, wanted),
        "tool_used": 0.0 if program is None else score_tools(used, wanted),
        "code": 0.0 if program is None else score_value(value, right.values),
        "exact": float(program is not None and value in right.values),
    }


def score_tools(found: set[str], wanted: set[str]) -> float:
    """Return 1 less a quarter for each tool missing or needless, at least 0."""
    return max(0.0, 1.0 - MISS * len(found ^ wanted))


def score_value(value: Any, right: Sequence[Any]) -> float:
    """Return 1, 0.75 or 0.3."""
    if value in right:
        return 1.0
    if isinstance(value, dict) and any(each in right for each in value.values()):
        return IN_STATE
    return FLOOR
