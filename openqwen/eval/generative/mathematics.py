r"""MATH: problems of competitions, solved in words that end with a formula (Hendrycks et al. 2021).

    built = math(TASKS["math"], setting, shots=4)

The prompt is Minerva's with its four examples (Lewkowycz et al. 2022), as in the field's harness;
chat models are asked to put their answer into a box. Answers are compared by `MathEquality`.
`math500` is the test part that Lightman et al. (2023) drew; `math` is whatever file there is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openqwen.data.inputs.origin import SetAside
from openqwen.eval.generative.math_answers import extract_answer, extract_minerva, last_boxed
from openqwen.eval.generative.math_equality import MathEquality
from openqwen.eval.generative.stock import hub_rows, scored_by, stock_examples
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

NAME = "minerva_math"
MAX_NEW_TOKENS = 512
FIRST = {"function": "take_first"}
CHAT_PROMPT = (
    "{{problem}}\n\nThink step by step and put the final answer, and nothing else, into \\boxed{}."
)
MATH500_FILES = (r"(?:math[-_]?500|prm800k/math_splits/test|math_splits/test)[^/]*\.jsonl",)
MATH_FILES = (r"math[-_]test[^/]*\.jsonl", r"MATH/test/[^/]+/\d+\.json")


def math(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build MATH from any file of its test part; see `TaskInfo.build`."""
    return build(info, setting, shots, _stock(setting), read_math)


def math500(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build the test part of Lightman et al. (500 problems); see `TaskInfo.build`."""
    return build(info, setting, shots, _stock(setting), read_math500, _math500_from_hub)


def _stock(setting: Setting) -> Stock:
    return Stock("", {NAME: ""}, {NAME: definition(is_chat=setting.is_chat)}, on_hub=False)


def definition(*, is_chat: bool) -> dict[str, Any]:
    """Return the definition: Minerva's prompt, both extractions, equality by meaning."""
    equality = MathEquality()

    def score(row: Mapping[str, Any], results: Sequence[str | None]) -> dict[str, float]:
        found = results[0]
        return {"math_equal": float(found is not None and equality.same(found, row["answer"]))}

    return {
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": CHAT_PROMPT if is_chat else "Problem:\n{{problem}}\n\nSolution:",
        "doc_to_target": "{{solution if few_shot is defined else answer}}",
        "fewshot_config": {
            "sampler": "first_n",
            "samples": stock_examples("minerva_math", "list_fewshot_samples"),
        },
        "generation_kwargs": {
            "until": [] if is_chat else ["Problem:"],
            "max_gen_toks": MAX_NEW_TOKENS,
            "do_sample": False,
        },
        "metric_list": scored_by("math_equal"),
        "filter_list": [
            {"name": name, "filter": [{"function": "custom", "filter_fn": function}, FIRST]}
            for name, function in (("strict", sentences_of), ("flexible", answers_of))
        ],
        "process_results": score,
    }


def answers_of(replies: Sequence[Sequence[str]], _: Any) -> list[list[str | None]]:
    """Return the answer each reply names, in whatever way (`extract_answer`)."""
    return [[extract_answer(reply) for reply in some] for some in replies]


def sentences_of(replies: Sequence[Sequence[str]], _: Any) -> list[list[str | None]]:
    """Return the answer that the sentence of Minerva's prompt names (`extract_minerva`)."""
    return [[extract_minerva(reply) for reply in some] for some in replies]


def read_math(folder: Path) -> Rows | None:
    """Read MATH's own folders (`MATH/test/algebra/1.json`), or `math_test*.jsonl`."""
    return _read(folder, MATH_FILES)


def read_math500(folder: Path) -> Rows | None:
    """Read the 500 problems (`math_500.jsonl`, or `math_splits/test.jsonl` of PRM800K)."""
    return _read(folder, MATH500_FILES)


def _read(folder: Path, patterns: tuple[str, ...]) -> Rows | None:
    paths = find_files(folder, *patterns)
    if not paths:
        return None
    set_aside = SetAside()
    rows = [(f"{path.name}#{place}", row) for path, place, row in read_files(paths, set_aside)]
    return rows_of(rows, names_of(paths), set_aside)


def rows_of(
    found: Sequence[tuple[str, Mapping[str, Any]]], source: str, set_aside: SetAside
) -> Rows:
    """Return problems with the answer that stands in the solution's last box."""
    tests = []
    for where, row in found:
        try:
            problem, solution = text_of(dict(row), "problem"), text_of(dict(row), "solution")
        except KeyError as error:
            set_aside.add(f"no {error.args[0]}", where)
            continue
        answer = last_boxed(solution)
        if not answer and isinstance(row.get("answer"), str):
            answer = row["answer"]
        if not answer:
            set_aside.add("no boxed answer", where)
            continue
        values = {"problem": problem, "solution": solution, "answer": answer}
        subject = str(row.get("type") or row.get("subject") or "")
        tests.append(Row(NAME, values, group=subject))
    return Rows(tests, source=source, set_aside=set_aside)


def _math500_from_hub() -> Rows:
    rows = hub_rows("HuggingFaceH4/MATH-500", None, "test")
    return rows_of([(f"hub#{i}", row) for i, row in enumerate(rows)], "MATH-500", SetAside())
