import json

import pytest
from documents_for_tests import document
from hypothesis import given
from hypothesis import strategies as st

from openqwen.cli.main import main
from openqwen.core.documents import Drop, DropWriter, write_documents
from openqwen.core.errors import UserError
from openqwen.core.intervals import share_interval
from openqwen.data.audit.marks import Mark, Marker, read_marks
from openqwen.data.audit.marks_report import as_markdown
from openqwen.data.audit.marks_summary import summarise
from openqwen.data.audit.pages import MARKS_KIND

LING, TOM, MODEL = Marker("person", "Ling"), Marker("person", "Tom"), Marker("model", "M 7B")


def mark(id, good, step="rules", reason="too short", marker=LING, **band):
    return Mark(id, step, reason, good, marker, **band)


def write(path, rows, by=None, **changes):
    marks = [{"id": i, "step": s, "reason": r, "mark": m} for i, s, r, m in rows]
    by = by or {"kind": "person", "name": "Ling"}
    content = {"kind": MARKS_KIND, "judges": "texts", "by": by, "marks": marks} | changes
    path.write_text(json.dumps(content))
    return path


def test_a_drop_is_right_where_its_text_is_bad_and_a_kept_text_where_it_is_good():
    marks = [mark("1", False), mark("2", False), mark("3", True), mark("4", False)]
    marks += [mark("5", True, "kept", "s, en"), mark("6", False, "kept", "s, en")]
    rules, kept = summarise(marks)["decisions"]
    assert (rules["step"], rules["n"], rules["right"], rules["share"]) == ("rules", 4, 3, 0.75)
    assert rules["interval"] == [round(x, 4) for x in share_interval(3, 4)]
    assert (kept["step"], kept["n"], kept["right"]) == ("kept", 2, 1)


def test_people_and_models_are_never_added_up():
    marks = [mark("1", False), mark("1", True, marker=MODEL), mark("2", True, marker=MODEL)]
    summary = summarise(marks)
    assert [(row["by"], row["n"], row["right"]) for row in summary["steps"]] == [
        ("person", 1, 1),
        ("model", 2, 0),
    ]
    text = as_markdown(summary, {})
    assert "- model **M 7B**: 2 marks, 2 good" in text
    assert "| model | rules | 2 | 0 % (0 – 66) |" in text


def test_a_steps_reasons_are_weighted_by_their_documents():
    marks = [mark("1", False, reason="often"), mark("2", True, reason="seldom")]
    counts = {("rules", "often"): 90, ("rules", "seldom"): 10, ("rules", "unseen"): 100}
    (row,) = summarise(marks, counts=counts)["steps"]
    assert row["share"] == 0.5
    assert row["weighted"]["share"] == 0.9
    assert row["weighted"]["covered"] == 0.5
    near = (0.9**2 * (3 / 5) * (2 / 5) / 5 + 0.1**2 * (2 / 5) * (3 / 5) / 5) ** 0.5
    assert row["weighted"]["interval"][0] == pytest.approx(0.9 - 1.959964 * near, abs=1e-4)


def test_two_markers_agreement_and_what_they_differ_on():
    first = [mark(str(n), n < 6) for n in range(10)]
    second = [mark(str(n), n < 5, marker=TOM) for n in range(9)]
    summary = summarise(first + second)
    (row,) = summary["agreement"]
    assert (row["n"], row["same"]) == (9, 8)
    assert row["kappa"] == pytest.approx((8 / 9 - 42 / 81) / (1 - 42 / 81), abs=1e-3)
    assert [(d["id"], d["marks"]) for d in summary["disagreements"]] == [
        ("5", {"person Ling": "good", "person Tom": "bad"})
    ]
    assert summary["tied"] == {"person": 1}
    assert "1 texts are seen differently" in as_markdown(summary, {})


def test_bands_of_a_score_are_in_order():
    rows = [("16 – 32", True), ("2 – 4", False), ("-2 – -1", False), ("own name", True)]
    marks = [mark(b, g, score="perplexity", band=b) for b, g in rows]
    found = summarise(marks)["bands"]
    assert [row["band"] for row in found] == ["-2 – -1", "2 – 4", "16 – 32", "own name"]
    assert [row["good"] for row in found] == [0, 0, 1, 1]


def test_repeated_and_opposed_marks_are_counted_and_left_out(tmp_path):
    one = write(tmp_path / "a.json", [("1", "rules", "r", "good"), ("2", "rules", "r", "bad")])
    two = write(tmp_path / "b.json", [("1", "rules", "r", "good"), ("2", "rules", "r", "good")])
    odd = write(tmp_path / "c.json", [("3", "rules", "r", "perhaps"), ("4", None, "r", "bad")])
    marks, left_out = read_marks([one, two, odd])
    assert [(m.id, m.is_good) for m in marks] == [("1", True)]
    assert left_out == {
        "not a mark": 2,
        "opposed by its own marker": 1,
        "repeated": 1,
        "repeated with the opposite mark": 1,
    }


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"kind": "votes"}, "is not a file of marks"),
        ({"judges": "decisions"}, "mark again on a new page"),
        ({"by": {"kind": "dog"}}, "must say who marked"),
        ({"by": "Ling"}, "must say who marked"),
        ({"marks": {}}, "has no list of marks"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, changes, line):
    with pytest.raises(UserError, match=line) as caught:
        read_marks([write(tmp_path / "a.json", [], **changes)])
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.sampled_from([LING, TOM]))))
def test_every_mark_is_counted_once_or_tied(raw):
    unique = {(id, marker): mark(id, good, marker=marker) for id, good, marker in raw}
    summary = summarise(list(unique.values()))
    counted = sum(row["n"] for row in summary["decisions"])
    assert counted + summary["tied"].get("person", 0) == len({id for id, _ in unique})
    assert sum(row["marks"] for row in summary["markers"]) == len(unique)


@pytest.fixture
def corpus(tmp_path):
    out = tmp_path / "documents"
    write_documents(
        out / "documents" / "00000.parquet", [document("A good text.", "s/1"), document("x", "s/2")]
    )
    with DropWriter(out / "drops" / "00000.parquet") as drops:
        drops.add(Drop("s/3", "s", "en", "rules", "too short", None, "", "Buy now!"))
        drops.add(Drop("s/4", "s", "en", "minhash", "near duplicate", 0.9, "", "A good text"))
    rows = [
        {"step": "rules", "dropped": {"too short": 8}},
        {"step": "minhash", "dropped": {"near duplicate": 3}},
    ]
    (out / "funnel.json").write_text(json.dumps(rows))
    return out


ROWS = [
    ("s/1", "kept", "s, en", "good"),
    ("s/3", "rules", "too short", "bad"),
    ("s/4", "minhash", "near duplicate", "bad"),
    ("s/9", "rules", "too short", "bad"),
]


def test_the_verb_prints_writes_and_exports(tmp_path, corpus, capsys):
    marks = write(tmp_path / "m.json", ROWS)
    command = ["data", "marks", str(marks), "--of", str(corpus)]
    assert main([*command, "--out", str(tmp_path / "o"), "--export", str(tmp_path / "e")]) == 0
    printed = capsys.readouterr().out
    assert "- not counted: 1 of texts that are not in the corpus" in printed
    assert "| person | rules | too short | 8 | 1 | 100 % (21 – 100) |" in printed
    assert (tmp_path / "o" / "marks.md").read_text() in printed
    summary = json.loads((tmp_path / "o" / "marks.json").read_text())
    assert [row["step"] for row in summary["steps"]] == ["minhash", "rules", "kept"]
    exported = {
        name: [json.loads(line) for line in (tmp_path / "e" / f"{name}.jsonl").open()]
        for name in ("good", "bad")
    }
    assert exported == {
        "good": [{"id": "s/1", "text": "A good text.", "marked_by": "person Ling"}],
        "bad": [{"id": "s/3", "text": "Buy now!", "marked_by": "person Ling"}],
    }
    assert "1 good, 1 bad, 1 dropped for another reason" in printed


def test_mistakes_of_the_verb_are_one_line(tmp_path, corpus, capsys):
    marks = write(tmp_path / "m.json", ROWS[3:])
    assert main(["data", "marks", str(marks), "--export", "x"]) == 2
    assert "--export needs --of" in capsys.readouterr().err
    assert main(["data", "marks", str(marks), "--of", str(corpus)]) == 2
    assert "no mark to count (1 of texts that are not in the corpus)" in capsys.readouterr().err


def test_no_text_of_a_mark_is_markup():
    text = as_markdown(summarise([mark("a|b", True, reason="<b>x|y</b>")]), {})
    assert "<b>" not in text
    assert "x\\|y" in text
