"""Gaokao-Bench, objective part: exam questions of 2010–2022 in Chinese (Zhang et al. 2023).

    built = gaokao_bench(TASKS["gaokao_bench"], setting, shots=0)

Four kinds of sheet, told and scored as the benchmark's own programs do: one choice, several
questions after one text, physics questions with several right letters (half of the points for some
of them and no wrong one), five sentences out of seven. The instructions are our own words around
the benchmark's marks 【答案】 and <eoa>. `scoring_rate` is the share of all points, as published;
`acc` the share of a row's questions answered in full.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openqwen.data.inputs.origin import SetAside
from openqwen.eval.generative.stock import scored_by
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, stem, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows, draw, item_ids

ONE_SHEET, MANY = "gaokao_bench", "gaokao_bench_several"  # two tasks, as their replies end
AGAIN = "题目如下"
MAX_NEW_TOKENS = 400
ONE, SEVERAL, LETTERS, FIVE = "single", "several", "letters", "five of seven"
SUBJECTS = {  # word in a task's name -> subject
    "Political": "politics",
    "History": "history",
    "Math": "mathematics",
    "Biology": "biology",
    "Chemistry": "chemistry",
    "Physics": "physics",
    "Geography": "geography",
    "English": "English",
    "Chinese": "Chinese",
}
KIND_OF = {  # word in a task's name -> kind of sheet; the rest has one choice
    "Physics": LETTERS,
    "Cloze_Test": FIVE,
    "Reading_Comp": SEVERAL,
    "Fill_in_Blanks": SEVERAL,
    "Modern_Lit": SEVERAL,
    "Lang_and_Usage": SEVERAL,
    "Geography": SEVERAL,
}
INSTRUCTIONS = {
    ONE: "请回答下面的选择题。先在【解析】和<eoe>之间写出思考过程，再从A、B、C、D中选出正确答案，"
    "写在【答案】和<eoa>之间，例如：【答案】A<eoa>。",
    SEVERAL: "请阅读下面的材料并回答其中的 {count} 个小题。每个小题从A、B、C、D中选出正确答案，"
    "依次写在【答案】和<eoa>之间，例如：（1）【答案】A<eoa>（2）【答案】B<eoa>。",
    LETTERS: "请回答下面的物理选择题，正确答案可能不止一个。先在【解析】和<eoe>之间写出思考过程，"
    "再把所有正确的选项写在【答案】和<eoa>之间，例如：【答案】AB<eoa>。",
    FIVE: "请阅读下面的短文，从七个选项中为五个空依次选出正确的句子，"
    "把五个字母写在【答案】和<eoa>之间，例如：【答案】A B C D E<eoa>。",
}
NO_ANSWER = "no list of letters as answer"


def gaokao_bench(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build the objective questions; see `TaskInfo.build`."""
    stops = {ONE_SHEET: ["<eoa>", AGAIN], MANY: [AGAIN]}
    own = {name: definition(until) for name, until in stops.items()}
    stock = Stock("", dict.fromkeys(own, ""), own, on_hub=False)

    def read(folder: Path) -> Rows | None:
        rows = read_gaokao(folder)
        return rows and _with_mean_points(rows, setting)

    return build(info, setting, shots, stock, read)


def definition(stops: Sequence[str]) -> dict[str, Any]:
    """Return a definition in the harness's form.

    A reply with one 【答案】 ends behind it, so that what a base model goes on with is not read as
    its answer; one with several answers ends where another exam would begin.
    """
    return {
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "{{instruction}}\n题目如下：\n{{question}}",
        "doc_to_target": "{{answer | join(' ')}}",
        "generation_kwargs": {
            "until": list(stops),
            "max_gen_toks": MAX_NEW_TOKENS,
            "do_sample": False,
        },
        "metric_list": scored_by("scoring_rate", "acc"),
        "filter_list": [
            {"name": "letters", "filter": [{"function": "custom", "filter_fn": _letters_of}]}
        ],
        "process_results": lambda row, results: score(row, results[0][0]),
    }


def _letters_of(
    replies: Sequence[Sequence[str]], rows: Sequence[Mapping[str, Any]]
) -> list[list[list[str]]]:
    return [
        [extract(reply, row["kind"], len(row["answer"])) for reply in some]
        for some, row in zip(replies, rows, strict=True)
    ]


def extract(reply: str, kind: str, count: int) -> list[str]:
    """Return the letters a reply fills into a sheet, as the benchmark's programs find them.

    Args:
        reply: what the model wrote.
        kind: of the sheet.
        count: questions on it.
    """
    if kind == ONE:
        return re.findall("[A-D]", reply)[-1:]
    if kind == FIVE:
        return re.findall("[A-G]", _behind_mark(reply))[:5]
    if kind == LETTERS:
        text = re.sub(r"\s+", "", reply)
        place = text.find("【答案】")
        letters = re.findall(
            "[A-D]", text[place:].partition("<eoa>")[0] if place >= 0 else text[-10:]
        )
        return ["".join(dict.fromkeys(letters))] if letters else []
    marked = re.findall(r"【答案】\s*[:：]*\s*([A-Z])", reply)
    return marked if len(marked) == count else re.findall("[A-Z]", _behind_mark(reply))[:count]


def _behind_mark(reply: str) -> str:
    """Return what stands behind the first 【答案】, all of it without one."""
    return reply[max(0, reply.find("【答案】")) :]


def score(row: Mapping[str, Any], given: Sequence[str]) -> dict[str, float]:
    """Return a sheet's points in units of the mean sheet, and the share of questions it got right.

    A sheet with another number of answers than questions has none right.
    """
    answers = row["answer"]
    if len(given) != len(answers):
        return {"scoring_rate": 0.0, "acc": 0.0}
    right = [a == b for a, b in zip(given, answers, strict=True)]
    shares = [float(hit) for hit in right]
    if row["kind"] == LETTERS:
        shares = [
            1.0 if hit else 0.5 * (set(letters) <= set(answer))
            for hit, letters, answer in zip(right, given, answers, strict=True)
        ]
    points = row["points"] * sum(shares)
    return {"scoring_rate": points / row["mean_points"], "acc": sum(right) / len(right)}


def _with_mean_points(rows: Rows, setting: Setting) -> Rows:
    """Tell each row the mean number of points of those drawn: rates then weigh by points."""
    chosen = draw(item_ids(rows.tests), setting.limit, setting.seed)
    totals = [rows.tests[i].values["points"] * len(rows.tests[i].values["answer"]) for i in chosen]
    mean = sum(totals) / max(1, len(totals))
    ids = item_ids(rows.tests)
    tests = [
        dataclasses.replace(row, values={**row.values, "mean_points": mean}, id=id)
        for row, id in zip(rows.tests, ids, strict=True)
    ]
    return dataclasses.replace(rows, tests=tests)


def read_gaokao(folder: Path) -> Rows | None:
    """Read the benchmark's own files (`Objective_Questions/*.json`), or `gaokao*.jsonl`."""
    set_aside = SetAside()
    paths = find_files(folder, r"gaokao[^/]*\.jsonl", r"Objective_Questions/[^/]+\.json")
    if not paths:
        return None
    tests = []
    for path, place, row in read_files(paths, set_aside):
        where = f"{path.name}#{place}"
        task = str(row.get("task") or row.get("keywords") or stem(path))
        for number, inner in enumerate(row.get("example", [row])):
            try:
                tests.append(_row(task, inner))
            except (KeyError, TypeError):
                set_aside.add(NO_ANSWER, f"{where}/{number}")
    return Rows(tests, source=names_of(paths), set_aside=set_aside)


def _row(task: str, row: dict[str, Any]) -> Row:
    """Return a question's row.

    Raises:
        KeyError: if it lacks text or answer.
    """
    answer = row["answer"]
    if not isinstance(answer, list) or not answer or not all(map(_is_letters, answer)):
        raise KeyError("answer")
    kind = next((kind for word, kind in KIND_OF.items() if word in task), ONE)
    subject = next((name for word, name in SUBJECTS.items() if word in task), "")
    values = {
        "question": text_of(row, "question").strip(),
        "answer": answer,
        "kind": kind,
        "points": float(row.get("score") or 1),
        "instruction": INSTRUCTIONS[kind].format(count=len(answer)),
    }
    name = MANY if kind == SEVERAL else ONE_SHEET
    return Row(name, values, group=subject, id=f"{task}/{row.get('index', '')}")


def _is_letters(answer: Any) -> bool:
    return isinstance(answer, str) and bool(re.fullmatch("[A-G]+", answer))
