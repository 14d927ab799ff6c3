"""AGIEval (Zhong et al. 2023): entrance exams, asked without examples in the authors' own words.

    built = agieval(TASKS["agieval"], setting, shots=0)

Choices are scored; the two parts of mathematics without choices are answered in words. Where a
question has several right letters (JEC-QA), each of them counts as right, as the harness has it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openqwen.data.inputs.origin import SetAside
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, stem
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

LETTERS = "ABCDEFG"
ENGLISH = frozenset(
    (
        *("lsat-ar", "lsat-lr", "lsat-rc", "logiqa-en", "sat-math", "sat-en", "aqua-rat"),
        *("sat-en-without-passage", "gaokao-english", "math"),
    )
)
CHINESE = frozenset(
    (
        *("logiqa-zh", "jec-qa-kd", "jec-qa-ca", "gaokao-chinese", "gaokao-geography"),
        *("gaokao-history", "gaokao-biology", "gaokao-chemistry", "gaokao-physics"),
        *("gaokao-mathqa", "gaokao-mathcloze"),
    )
)
WRITTEN = frozenset(("math", "gaokao-mathcloze"))
STOCK = Stock(
    "agieval",
    {
        f"agieval_{name.replace('-', '_')}": group
        for group, names in (("English", ENGLISH), ("Chinese", CHINESE))
        for name in sorted(names)
    },
)


def agieval(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build AGIEval's 21 parts; see `TaskInfo.build`."""
    return build(info, setting, shots, STOCK, read_agieval)


def read_agieval(folder: Path) -> Rows | None:
    """Read the authors' files, one a part, or one file whose rows name their part."""
    names = "|".join(sorted(ENGLISH | CHINESE, key=len, reverse=True))
    paths = find_files(
        folder,
        rf"[^/]*agieval[^/]*/(?:[^/]+/)*(?:{names})\.jsonl",
        rf"data/v1(?:_1)?/(?:{names})\.jsonl",
        r"agieval[^/]*\.jsonl",
    )
    if not paths:
        return None
    set_aside = SetAside()
    tests = []
    for path, place, row in read_files(paths, set_aside):
        part = str(row.get("task") or stem(path))
        task = f"agieval_{part.replace('-', '_')}"
        values = _row(part, row) if task in STOCK.groups else None
        if values is None:
            set_aside.add("not a question of its form", f"{path.name}#{place}")
        else:
            tests.append(Row(task, values, STOCK.groups[task]))
    return Rows(tests, {}, names_of(paths), set_aside)


def _row(part: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a row in the hub's form: query, and choices with the places of the right ones."""
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        return None
    passage = row.get("passage") or ""
    if part in WRITTEN:
        answer = row.get("answer")
        asked = "Q: {}\nA: The answer is" if part in ENGLISH else "问题：{}\n答案："
        if not isinstance(answer, str | int | float) or not str(answer).strip():
            return None
        return {"query": passage + asked.format(question), "answer": str(answer)}
    choices = [str(choice) for choice in row.get("options") or []]
    letters = re.findall("[A-G]", str(row.get("label")))
    gold = [LETTERS.index(letter) for letter in letters]
    if len(choices) < 2 or not gold or max(gold) >= len(choices):
        return None
    shown, last = " ".join(choices), LETTERS[len(choices) - 1]
    if part in ENGLISH:
        query = f"{passage}Q: {question} Answer Choices: {shown}\n"
        query += f"A: Among A through {last}, the answer is"
    else:
        query = f"{passage}问题：{question} 选项：{shown}\n答案：从A到{last}, 我们应选择"
    return {"query": query, "choices": choices, "gold": gold}
