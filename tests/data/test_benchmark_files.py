import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents_for_tests import GOOD_ENGLISH

from openqwen.core.errors import UserError
from openqwen.data.contamination.benchmark_files import read_benchmark_files
from openqwen.data.contamination.benchmark_forms import texts_of_row
from openqwen.data.contamination.benchmark_index import BenchmarkIndex
from openqwen.data.contamination.config import DecontaminateConfig

QUESTION = "Which of the following rivers carries the largest volume of water to the sea each year"
SECOND = (
    "Name the mountain range that separates the two oldest kingdoms of the northern lands today"
)
CHOICES = ["Nile", "Amazon", "Congo", "Yangtze"]
LETTERED = f"{QUESTION}? (A) Nile (B) Amazon (C) Congo (D) Yangtze"
LONG = " ".join(f"step{n} follows from step{n + 1}" for n in range(12))
FORMS = {
    "mmlu": ({"question": QUESTION, "choices": CHOICES, "answer": "B"}, LETTERED),
    "c-eval": (
        {"id": "0", "question": QUESTION, **dict(zip("ABCD", CHOICES, strict=True)), "answer": "B"},
        LETTERED,
    ),
    "arc": (
        {
            "id": "x",
            "question": {
                "stem": QUESTION,
                "choices": [{"text": c, "label": "1234"[n]} for n, c in enumerate(CHOICES)],
            },
            "answerKey": "2",
        },
        f"{QUESTION}\nNile\nAmazon",
    ),
    "gsm8k": (
        {"question": "How many?", "answer": f"{SECOND} so 2*3=<<2*3=6>>6 of them. #### 6"},
        "oldest kingdoms of the northern lands today so 2*3=6 of them",
    ),
    "math": ({"problem": "Find x.", "solution": SECOND, "level": "Level 3"}, SECOND),
    "humaneval": (
        {"task_id": "HumanEval/0", "prompt": "def f(a, b, c):\n", "canonical_solution": SECOND},
        SECOND,
    ),
    "mbpp": ({"text": "Write it.", "code": "x = 1", "test_list": [SECOND], "task_id": 3}, SECOND),
    "piqa": ({"goal": QUESTION, "sol1": "go", "sol2": "stay", "label": 0}, f"{QUESTION}: go, stay"),
    "hellaswag": (
        {"ctx": "A few words before the ending", "endings": ["no", f"then {SECOND}"], "label": 1},
        f"words before the ending then {SECOND}",
    ),
    "bbh": ({"task": "t", "input": QUESTION, "target": "Amazon"}, QUESTION),
    "instruction": ({"instruction": QUESTION, "input": "", "output": "it"}, f"{QUESTION}? It"),
    "agieval": (
        {"passage": SECOND, "question": "Why?", "options": ["(A)no"], "other": {"solution": LONG}},
        LONG[:100],
    ),
    "unknown": ({"frage": QUESTION, "deep": [{"antwort": SECOND}]}, SECOND),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_copy_of_the_question_or_its_solution_is_found_whatever_the_form(name, tmp_path):
    row, copy = FORMS[name]
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    items = read_benchmark_files([tmp_path / f"{name}.jsonl"])
    index = BenchmarkIndex.build(items, DecontaminateConfig())
    found = index.overlaps(f"{GOOD_ENGLISH[:150]} {copy} and no more.")
    assert found is not None
    assert found.overlaps[0].num_units >= 13
    assert index.overlaps(GOOD_ENGLISH[250:]) is None


def test_lettered_choices_do_not_break_an_overlap_of_question_and_choices():
    texts = texts_of_row(FORMS["c-eval"][0])
    assert texts.text == f"{QUESTION}\nNile\nAmazon\nCongo\nYangtze\nB"
    assert f"{QUESTION}\nA. Nile\nB. Amazon\nC. Congo\nD. Yangtze" in texts.views
    agieval = texts_of_row({"question": "Q?", "options": ["(A)first", "(B)second"]})
    assert "Q?\nfirst\nsecond" in agieval.views


def test_named_fields_are_taken_and_nothing_else():
    row = {"question": "not this", "meta": {"text": "this one", "note": "nor this"}}
    assert texts_of_row(row, ["meta.text"]).text == "this one"
    with pytest.raises(UserError, match="no text in solution; it has question, meta"):
        texts_of_row(row, ["solution"])


def test_all_kinds_of_files_give_the_same_items(tmp_path):
    rows = [{"question": f"{QUESTION} {n}", "A": "one", "B": "two", "answer": "A"} for n in (1, 2)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.json").write_text(json.dumps(rows))
    (tmp_path / "d.json").write_text(json.dumps({"canary": "x", "examples": rows}))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    with (tmp_path / "f.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with (tmp_path / "g.csv").open("w", newline="") as file:  # as MMLU's own, without a heading
        csv.writer(file).writerows([row["question"], "one", "two", "A"] for row in rows)
    items = read_benchmark_files([tmp_path])
    by_name = {}
    for item in items:
        by_name.setdefault(item.benchmark, []).append((item.id, item.text))
    assert list(by_name) == list("abcdefg")
    assert len({json.dumps(texts) for texts in by_name.values()}) == 1


def test_a_benchmark_with_a_broken_row_is_refused_in_one_line(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text('{"question": "fine"}\n{"question": broken}\n')
    with pytest.raises(UserError, match=r"b\.jsonl: set aside 1: not JSON 1 \(b\.jsonl#1\)"):
        read_benchmark_files([path])
    path.write_text("")
    with pytest.raises(UserError, match="has no rows"):
        read_benchmark_files([path])
    with pytest.raises(UserError, match=r"c\.txt does not exist"):
        read_benchmark_files([tmp_path / "c.txt"])
