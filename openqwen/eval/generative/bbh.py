"""BIG-Bench Hard: 27 kinds of puzzle, after three examples that think aloud (Suzgun et al. 2022).

    built = bbh(TASKS["bbh"], setting, shots=3)

The definitions are the harness's `bbh_cot_fewshot`. Beside its strict extraction a second one looks
for the last "answer is …" whatever its dress, as chat models put it between stars or in brackets.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openqwen.core.files import read_json
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.generative.stock import stock_definition
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, stem, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

PREFIX = "bbh_cot_fewshot_"
FOLDER = "bbh/cot_fewshot"
KINDS = (
    *("boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa"),
    *("dyck_languages", "formal_fallacies", "geometric_shapes", "hyperbaton"),
    *("logical_deduction_five_objects", "logical_deduction_seven_objects"),
    *("logical_deduction_three_objects", "movie_recommendation", "multistep_arithmetic_two"),
    *("navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects"),
    *("ruin_names", "salient_translation_error_detection", "snarks", "sports_understanding"),
    *("temporal_sequences", "tracking_shuffled_objects_five_objects"),
    *("tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects"),
    *("web_of_lies", "word_sorting"),
)
MAX_NEW_TOKENS = 400  # of the examples' solutions the longest has 700, most have below 200
UNKNOWN_KIND = "not one of its 27 tasks"
_SAID = re.compile(r"answer is:?\s*(.+?)\s*(?:\.?\s*$|\.\s|\n)", re.IGNORECASE | re.MULTILINE)


def bbh(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build the 27 tasks; see `TaskInfo.build`."""
    definitions = {PREFIX + kind: definition(kind, is_chat=setting.is_chat) for kind in KINDS}
    stock = Stock("", {PREFIX + kind: kind for kind in KINDS}, definitions, on_hub=False)
    return build(info, setting, shots, stock, read_bbh)


def definition(kind: str, *, is_chat: bool) -> dict[str, Any]:
    """Return the harness's definition of one kind, with a second extraction beside its own."""
    found = stock_definition(FOLDER, kind)
    asked = dict(found["generation_kwargs"], max_gen_toks=MAX_NEW_TOKENS)
    if is_chat:  # a paragraph is no end of a reply, nor is a word with a Q
        asked["until"] = ["\nQ:"]
    strict = [
        {"function": "regex", "regex_pattern": "(?<=the answer is )(.*)(?=.)"},
        {"function": "take_first"},
    ]
    flexible = [{"function": "custom", "filter_fn": said_answers}, {"function": "take_first"}]
    return found | {
        "generation_kwargs": asked,
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {"name": "get-answer", "filter": strict},
            {"name": "flexible", "filter": flexible},
        ],
    }


def said_answers(
    replies: Sequence[Sequence[str]], rows: Sequence[Mapping[str, Any]]
) -> list[list[str]]:
    """Return what replies name as their answer, in the form that the target has."""
    return [
        [said_answer(reply, str(row["target"])) for reply in some]
        for some, row in zip(replies, rows, strict=True)
    ]


def said_answer(reply: str, target: str) -> str:
    """Return what follows the last "answer is", undressed; the target's own form where it is meant.

    `**(B)**`, `B` and `(B) Friday` all mean `(B)`, but only as the first word of the answer.
    """
    found = _SAID.findall(reply)
    if not found:
        return "[invalid]"
    said = re.sub(r"[*`$\\\"]|\\boxed", "", found[-1]).strip().rstrip(".").strip()
    letter = re.match(r"\(?([A-R])\)(?:\s|$)|([A-R])$", said)
    if re.fullmatch(r"\([A-R]\)", target) and letter:
        return f"({letter.group(1) or letter.group(2)})"
    return target if said.casefold() == target.casefold() else said


def read_bbh(folder: Path) -> Rows | None:
    """Read BBH's own files (`bbh/TASK.json`), or `bbh.jsonl` with task, input, target."""
    set_aside = SetAside()
    paths = find_files(folder, r"bbh\.jsonl")
    if paths:
        found = [(f"{path.name}#{place}", row) for path, place, row in read_files(paths, set_aside)]
    else:
        paths = find_files(
            folder, r"(?:bbh|BIG-Bench-Hard)/(?:.*/)?(?:" + "|".join(KINDS) + r")\.json"
        )
        if not paths:
            return None
        found = [
            (f"{path.name}#{place}", {**row, "task": stem(path)})
            for path in paths
            for place, row in enumerate(_examples(path))
        ]
    tests = []
    for where, row in found:
        try:
            kind, asked = text_of(row, "task"), text_of(row, "input")
            target = text_of(row, "target")
        except KeyError as error:
            set_aside.add(f"no {error.args[0]}", where)
            continue
        if kind not in KINDS:
            set_aside.add(UNKNOWN_KIND, where)
            continue
        tests.append(Row(PREFIX + kind, {"input": asked, "target": target}, group=kind))
    return Rows(tests, source=names_of(paths), set_aside=set_aside)


def _examples(path: Path) -> list[dict[str, Any]]:
    rows = read_json(path).get("examples", [])
    return [row for row in rows if isinstance(row, dict)]
