import json
import re

import pyarrow.parquet as pq
import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH, document

from openqwen.cli.main import main
from openqwen.core.documents import read_documents, write_documents
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.conversations import read_conversations

QUESTION = "Which of the following rivers carries the largest volume of water to the sea each year?"
CHINESE = "下列哪一条河流每年注入大海的水量最大？长江、黄河、珠江、黑龙江。"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "mmlu.jsonl").write_text(json.dumps({"question": QUESTION, "answer": "B"}) + "\n")
    (tmp_path / "ceval.csv").write_text(f"id,question,answer\n5,{CHINESE},A\n")
    rows = [
        {"id": "clean", "text": GOOD_ENGLISH, "stars": 3},
        {"id": "leak", "text": f"{GOOD_ENGLISH} {HOSTILE} {QUESTION} {GOOD_ENGLISH}"},
        {"text": GOOD_CHINESE + CHINESE},
        {"id": "empty"},
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "docs.jsonl").write_text(lines + "{broken\n")
    return tmp_path


def rows_of(folder):
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def decontaminate(files, *arguments, inputs="docs.jsonl"):
    against = [str(files / "mmlu.jsonl"), str(files / "ceval.csv")]
    out = files / "out"
    command = ["data", "decontaminate", "--in", str(files / inputs), "--against", *against]
    return main([*command, "--out", str(out), "--workers", "1", *arguments]), out


def test_documents_that_overlap_are_dropped_with_reason_and_item(files, capsys):
    code, out = decontaminate(files)
    assert code == 0
    kept = rows_of(out / "kept")
    assert [(r["id"], r["text"], r["fields"]) for r in kept] == [
        ("clean", GOOD_ENGLISH, '{"stars": 3}')
    ]
    dropped = rows_of(out / "dropped")
    assert [(r["id"], r["reason"], r["item"]) for r in dropped] == [
        ("leak", "overlaps mmlu", "0"),
        ("docs.jsonl#2", "overlaps ceval", "5"),
    ]
    matches = [json.loads(line) for line in (out / "matches.jsonl").read_text().splitlines()]
    assert [m["item_text"] for m in matches] == [f"{QUESTION}\nB", f"{CHINESE}\nA"]
    assert QUESTION in matches[0]["document_text"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["documents"], summary["kept"], summary["dropped"]) == (3, 1, 2)
    assert summary["benchmarks"]["ceval"]["items_found"] == 1
    assert {r: f["count"] for r, f in summary["set_aside"].items()} == {
        "no text, messages, conversations or instruction": 1,
        "not JSON": 1,
    }
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["outputs"].keys() >= {"matches.jsonl", "kept/00000-docs.parquet"}
    assert not (out / "scratch").exists()
    said = capsys.readouterr()
    assert re.search(r"3 documents → 1   [\d.]+ MB/s   dropped 2", said.out)
    assert "mmlu                    1 document, 1 of 1 items" in said.out
    assert "set aside 1: not JSON (docs.jsonl#4)" in said.err


def test_the_report_page_shows_both_texts_and_lets_no_script_through(files):
    _, out = decontaminate(files)
    page = (out / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert page.count("<mark>Which of the following") == 2
    assert page.count(f"<mark>{CHINESE[:-1]}</mark>") == 2


def test_cut_and_report_keep_the_documents(files):
    _, out = decontaminate(files, "--action", "report")
    assert len(rows_of(out / "kept")) == 3
    assert rows_of(out / "dropped") == []
    _, out = decontaminate(files, "--action", "cut")
    cuts = [json.loads(line) for line in (out / "cuts.jsonl").read_text().splitlines()]
    texts = {row["id"]: row["text"] for row in rows_of(out / "kept")}
    assert QUESTION not in texts["leak"]
    assert QUESTION in "".join(cut["text"] for cut in cuts if cut["id"] == "leak")


def test_conversations_of_all_forms_are_checked_and_come_out_ready_for_training(files):
    talks = [
        {
            "messages": [
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": "B"},
            ]
        },
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": CHINESE}]},
        {"instruction": "Say hello.", "input": "", "output": "Hello!", "lang": "en"},
    ]
    (files / "chat.json").write_text(json.dumps(talks))
    _, out = decontaminate(files, inputs="chat.json")
    assert [row["reason"] for row in rows_of(out / "dropped")] == [
        "overlaps mmlu",
        "overlaps ceval",
    ]
    set_aside = SetAside()
    (talk,) = read_conversations([out / "kept"], set_aside=set_aside)
    assert [m["content"] for m in talk.messages] == ["Say hello.", "Hello!"]
    assert not set_aside.counts


def test_a_documents_stage_keeps_its_columns(files):
    kept, leaked = document(GOOD_ENGLISH, "s/1", scores={"quality": 0.5}), document(QUESTION, "s/2")
    write_documents(files / "stage" / "documents" / "00000.parquet", [kept, leaked])
    (files / "stage" / "funnel.json").write_text("[]")
    (files / "stage" / "drops.jsonl").write_text('{"id": "x", "text": "not read"}\n')
    _, out = decontaminate(files, inputs="stage")
    assert list(read_documents(out / "kept")) == [kept]


def test_ngrams_of_many_documents_count_for_nothing_where_asked(files):
    rows = [{"id": str(n), "text": f"{GOOD_ENGLISH} {n} {QUESTION}"} for n in range(4)]
    (files / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out = decontaminate(files, "--set", "max_documents=3")
    assert len(rows_of(out / "kept")) == 4
    _, out = decontaminate(files, "--set", "max_documents=4")
    assert len(rows_of(out / "dropped")) == 4


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--ngram", "1"], "ngram = 1 is not valid"),
        (["--set", "min_unit=3"], "min_unit is not a setting; did you mean min_units?"),
        (["--fields", "nothing"], "no text in nothing; it has question, answer"),
        (["--set", "min_units=99", "--set", "ngram=99"], "no benchmark text has 99 units or more"),
    ],
)
def test_mistakes_are_one_line(files, capsys, arguments, line):
    code, _ = decontaminate(files, *arguments)
    assert code == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_nothing_of_others_is_overwritten(files, capsys):
    (files / "out").mkdir()
    (files / "out" / "thesis.tex").write_text("years of work")
    assert decontaminate(files)[0] == 2
    assert "holds other files; name an empty or new directory" in capsys.readouterr().err
    assert main(["data", "decontaminate", "--in", "no", "--against", "no", "--out", "x"]) == 2
