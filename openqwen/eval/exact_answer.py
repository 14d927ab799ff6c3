"""Accuracy by exact answer: the number a greedy reply ends with is the right one (§5, Table 12).

found = exact_answers(lm, problems, max_new_tokens=64)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from openqwen.data.training.math_problems import Problem, read_answer
from openqwen.infer.load import LanguageModel


@dataclass(frozen=True)
class Answered:
    """One problem, the reply and whether its number is right."""

    problem: Problem
    reply: str
    is_right: bool


def exact_answers(
    lm: LanguageModel, problems: Sequence[Problem], *, max_new_tokens: int
) -> list[Answered]:
    """Return the greedy reply to each problem, judged by its last number."""
    prompts = [[{"role": "user", "content": problem.prompt}] for problem in problems]
    results = lm.generate(prompts, max_new_tokens=max_new_tokens)
    return [
        Answered(problem, result.text, read_answer(result.text) == problem.answer)
        for problem, result in zip(problems, results, strict=True)
    ]
