"""Knowledge and reading: BoolQ, CommonsenseQA, Natural Questions, LAMBADA (Table 16).

built = boolq(TASKS["boolq"], setting, shots=0)
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openqwen.data.inputs.origin import SetAside
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, stem, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

ASKED = re.compile(
    r"Please answer the following question with true or false, question: (.*?)\??\s*\n.*", re.DOTALL
)
NO_PASSAGE = (
    "the file holds no passages: the questions are asked without them, and the score compares only "
    "with others on this file"
)
NOT_OF_FORM = "not a question of its form"


def boolq(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build BoolQ's validation part; see `TaskInfo.build`."""
    return build(info, setting, shots, Stock("super_glue/boolq", {"boolq": ""}), read_boolq)


def commonsense_qa(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build CommonsenseQA's validation part; examples are drawn from its training part."""
    stock = Stock("commonsense_qa", {"commonsense_qa": ""})
    return build(info, setting, shots, stock, read_commonsense_qa)


def nq_open(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build Natural Questions in its open form: a short answer, compared as the harness does."""
    return build(info, setting, shots, Stock("nq_open", {"nq_open": ""}), read_nq_open)


def lambada(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build LAMBADA: whether the last word is the model's likeliest continuation."""
    return build(info, setting, shots, Stock("lambada", {"lambada_openai": ""}), read_lambada)


def read_boolq(folder: Path) -> Rows | None:
    """Read BoolQ's own or SuperGLUE's JSON Lines, or its instruction form (without passages)."""
    paths = find_files(
        folder,
        r"[^/]*boolq[^/]*/(?:[^/]+/)*(?:dev|val)\.jsonl",
        r"boolq(?![^/]*(?:train|test))[^/]*\.(?:jsonl|json|parquet)",
    )
    if not paths:
        return None
    set_aside = SetAside()
    tests = []
    num_bare = 0
    for path, place, row in read_files(paths, set_aside):
        found = ASKED.fullmatch(str(row.get("instruction", "")))
        question = found.group(1) if found else row.get("question")
        passage = "" if found else row.get("passage")
        label = _truth(row.get("label", row.get("answer")))
        if label is None or not isinstance(question, str) or not isinstance(passage, str):
            set_aside.add(NOT_OF_FORM, f"{path.name}#{place}")
            continue
        num_bare += not passage
        values = {"question": question.strip().removesuffix("?"), "passage": passage}
        tests.append(Row("boolq", {**values, "label": label}))
    if not num_bare:
        return Rows(tests, {}, names_of(paths), set_aside)
    bare = {"doc_to_text": "Question: {{question}}?\nAnswer:"}
    return Rows(tests, {}, names_of(paths), set_aside, changes=bare, notes=[NO_PASSAGE])


def read_commonsense_qa(folder: Path) -> Rows | None:
    """Read CommonsenseQA's own JSON Lines: validation rows, and training rows as examples."""
    paths = find_files(
        folder, r"(?:dev|train)_rand_split\.jsonl", r"commonsense_?qa[^/]*\.(?:jsonl|parquet)"
    )
    if not paths:
        return None
    set_aside = SetAside()
    tests, examples = [], []
    for path, place, row in read_files(paths, set_aside):
        values = _five_choices(row)
        if values is None:
            set_aside.add(NOT_OF_FORM, f"{path.name}#{place}")
        elif "train" in stem(path).lower() or row.get("split") == "train":
            examples.append(values)
        else:
            tests.append(Row("commonsense_qa", values))
    return Rows(tests, {"commonsense_qa": examples}, names_of(paths), set_aside)


def read_nq_open(folder: Path) -> Rows | None:
    """Read NQ-open's own JSON Lines (question and a list of answers)."""
    paths = find_files(
        folder, r"nq[_-]open[^/]*(?:dev|val)[^/]*\.jsonl", r"nq[_-]open(?![^/]*train)[^/]*\.jsonl"
    )
    if not paths:
        return None
    set_aside = SetAside()
    tests = []
    for path, place, row in read_files(paths, set_aside):
        answers = row.get("answer")
        answers = [answers] if isinstance(answers, str) else answers
        question = row.get("question")
        is_list = isinstance(answers, list) and answers and all(isinstance(a, str) for a in answers)
        if not is_list or not isinstance(question, str):
            set_aside.add(NOT_OF_FORM, f"{path.name}#{place}")
            continue
        values = {"question": question.strip().removesuffix("?"), "answer": answers}
        tests.append(Row("nq_open", values))
    return Rows(tests, {}, names_of(paths), set_aside)


def read_lambada(folder: Path) -> Rows | None:
    """Read LAMBADA's test passages, a line each or as JSON Lines."""
    plain = find_files(folder, r"lambada_test[^/]*\.txt")
    paths = plain or find_files(folder, r"lambada(?![^/]*(?:train|dev))[^/]*\.(?:jsonl|parquet)")
    if not paths:
        return None
    set_aside = SetAside()
    tests = []
    if plain:
        lines = plain[0].read_text(encoding="utf-8").splitlines()
        found = [(plain[0], place, {"text": line}) for place, line in enumerate(lines) if line]
    else:
        found = list(read_files(paths, set_aside))
    for path, place, row in found:
        text = row.get("text")
        if isinstance(text, str) and " " in text.strip():
            tests.append(Row("lambada_openai", {"text": text.strip()}))
        else:
            set_aside.add(NOT_OF_FORM, f"{path.name}#{place}")
    return Rows(tests, {}, names_of(paths), set_aside)


def _truth(value: Any) -> int | None:
    """Return 1 for true and yes, 0 for false and no, however they are written."""
    said = str(value).strip().lower()
    if said in ("true", "yes", "1"):
        return 1
    return 0 if said in ("false", "no", "0") else None


def _five_choices(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a row of CommonsenseQA in the hub's form; None where it has no answer."""
    inner = row.get("question")
    try:
        if isinstance(inner, dict):
            question = text_of(inner, "stem")
            texts = [str(choice["text"]) for choice in inner["choices"]]
        else:
            question, texts = text_of(dict(row), "question"), list(row["choices"]["text"])
    except (KeyError, TypeError):
        return None
    answer = str(row.get("answerKey", "")).strip()
    if len(texts) != 5 or answer not in tuple("ABCDE"):
        return None
    choices = {"text": texts, "label": list("ABCDE")}
    return {"question": question, "choices": choices, "answerKey": answer}
