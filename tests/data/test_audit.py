import json

import pytest
from documents_for_tests import document
from hypothesis import given
from hypothesis import strategies as st

from openqwen.core.documents import Drop, DropWriter, write_documents
from openqwen.core.files import write_json
from openqwen.data.audit.bands import GAP, band_heading, band_of, band_place
from openqwen.data.audit.config import AuditConfig
from openqwen.data.audit.funnel import Funnel
from openqwen.data.audit.pages import write_audit
from openqwen.data.steps import Rejected

EVIL = '"><script>alert(3)</script>'


@pytest.mark.parametrize(
    ("value", "band"),
    [
        *((0.0, "0 – 0.1"), (0.34, "0.3 – 0.4"), (0.3, "0.3 – 0.4"), (1.0, "0.9 – 1")),
        *((1.5, "1 – 2"), (16, "16 – 32"), (31.9, "16 – 32"), (-0.5, "-1 – 0"), (-3, "-4 – -2")),
        *((float("nan"), "none"), (float("inf"), "none")),
    ],
)
def test_bands_are_tenths_and_then_twice_as_wide_each(value, band):
    assert band_of(value) == band


@given(st.floats(-1e6, 1e6))
def test_a_value_lies_in_its_band(value):
    low, _, high = band_of(value).partition(GAP)
    assert float(low) <= value + 1e-9
    assert value - 1e-9 <= float(high)
    assert band_place(band_of(value)) == float(low)


def funnel_of(documents, reject, **settings):
    funnel = Funnel(AuditConfig(**settings), seed=0)
    for name, step in reject.items():

        def run(found, step=step):
            for one in found:
                verdict = step(one)
                yield Rejected(one, *verdict) if verdict else one

        documents = list(funnel.through(name, run, documents))
    for kept in documents:
        funnel.samples.offer_kept(kept)
    return funnel


def page_of(tmp_path, funnel, **options):
    write_audit(tmp_path / "audit.html", funnel, **options)
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    return (tmp_path / "audit.html").read_text(), [json.loads(line) for line in lines]


def test_kept_and_dropped_of_each_band_stand_side_by_side(tmp_path):
    documents = [document(f"text {n}", f"s/{n:02}", scores={"quality": n / 20}) for n in range(20)]
    low = {"scores": lambda d: ("poor", d.scores["quality"]) if int(d.id[2:]) % 3 == 0 else None}
    page, rows = page_of(tmp_path, funnel_of(documents, low, band_samples=1))
    assert "<h2>Score quality</h2>" in page
    assert page.index("0 – 0.1: 1 kept, 1 dropped") < page.index("0.9 – 1: 1 kept, 1 dropped")
    banded = [row for row in rows if row["band"]]
    assert {row["band"]["band"] for row in banded} == {band_of(n / 20) for n in range(20)}
    first = [(r["id"], r["step"]) for r in banded if r["band"]["band"] == "0 – 0.1"]
    assert first == [("s/01", "kept"), ("s/00", "scores")]
    assert all(abs(r["band"]["value"] - int(r["id"][2:]) / 20) < 1e-9 for r in banded)


def test_a_band_joined_from_two_tasks_is_that_of_one(tmp_path):
    documents = [document(f"text {n}", f"s/{n}", scores={"quality": 0.5}) for n in range(12)]
    whole = funnel_of(documents, {})
    joined = funnel_of([], {})
    for part in (documents[7:], documents[:7]):
        joined.add(json.loads(json.dumps(funnel_of(part, {}).as_json())))
    heading = band_heading("quality", 0.5, ("kept", "s", "en"))
    assert joined.samples.of(heading) == whole.samples.of(heading)
    assert joined.samples.counts[heading] == 12
    assert len(whole.samples.of(heading)) == 3


def stage(tmp_path, overlaps=()):
    write_documents(tmp_path / "documents" / "0.parquet", [document(f"the twin {EVIL}", "s/twin")])
    with DropWriter(tmp_path / "drops" / "0.parquet") as drops:
        drops.add(Drop("s/gone", "s", "en", "rules", "x", None, "", "a twin dropped later"))
    entry = {"id": "s/leak", "overlaps": list(overlaps)}
    write_json(tmp_path / "contamination.json", {"test_items": 1, "documents": [entry]})
    return tmp_path


def test_a_near_duplicate_stands_beside_its_twin_even_one_dropped_later(tmp_path):
    documents = [document("a copy", "s/1"), document("another", "s/2"), document("lost", "s/3")]
    twins = {"s/1": "s/twin", "s/2": "s/gone", "s/3": "s/nowhere"}
    near = {"minhash": lambda d: ("near duplicate", 0.9, f"Jaccard 0.900 to {twins[d.id]}")}
    page, rows = page_of(tmp_path, funnel_of(documents, near), corpus=stage(tmp_path))
    texts = {row["id"]: [text["title"] for text in row["texts"]] for row in rows}
    assert texts == {
        "s/1": ["this text", "stays: s/twin"],
        "s/2": ["this text", "stays: s/gone"],
        "s/3": ["this text"],
    }
    assert "the twin &#34;&gt;&lt;script&gt;" in page
    assert "a twin dropped later" in page


def test_a_contaminated_document_shows_both_texts_with_the_overlap_highlighted(tmp_path):
    overlap = {"benchmark": "mmlu", "item": "7", "document_text": f"so: what is it {EVIL}"}
    overlap |= {"document_overlap": [4, 14], "item_text": "what is it?", "item_overlap": [0, 10]}
    drop = {"decontaminate": lambda d: ("overlaps mmlu", 1, "mmlu 7")}
    funnel = funnel_of([document("the text", "s/leak")], drop)
    page, (row,) = page_of(tmp_path, funnel, corpus=stage(tmp_path, [overlap]))
    assert page.count("<mark>what is it</mark>") == 2
    assert [text["title"] for text in row["texts"][1:]] == ["the overlap in this text", "mmlu 7"]
    assert "<script>alert" not in page


def test_replaced_personal_data_is_highlighted_from_the_first_place_on(tmp_path):
    text = "x" * 2000 + " write to <email> or call <phone> now"
    masked = document(text, "s/1", scores={"masked_email": 1.0, "masked_phone": 1.0})
    page, rows = page_of(tmp_path, funnel_of([masked, document("plain <email>", "s/2")], {}))
    assert "<h2>Personal data replaced</h2>" in page
    assert page.count("<mark>&lt;email&gt;</mark>") == 2
    assert "plain &lt;email&gt;" in page
    assert {row["reason"] for row in rows if row["step"] == "masked"} == {"email", "phone"}
    assert not any(row["band"] for row in rows)


def test_many_samples_are_split_into_a_page_a_step_that_one_index_links(tmp_path):
    documents = [document(f"text {n}", f"s/{n}") for n in range(30)]
    drop = {"rules": lambda d: ("odd",) if int(d.id[2:]) % 2 else None}
    funnel = funnel_of(documents, drop, page_samples=10)
    index, rows = page_of(tmp_path, funnel)
    links = sorted(path.name for path in (tmp_path / "audit").iterdir())
    assert links == ["00-dropped-by-rules.html", "01-kept.html"]
    assert all(f'href="audit/{name}"' in index for name in links)
    assert "<article" not in index
    assert "<h2>Funnel</h2>" in index
    pages = [(tmp_path / "audit" / name).read_text() for name in links]
    assert [page.count("<article") for page in pages] == [15, 15]
    assert len(rows) == 30
    write_audit(tmp_path / "audit.html", funnel_of(documents, drop))
    assert not (tmp_path / "audit").exists()


def test_samples_for_a_model_hold_the_question_and_the_decision(tmp_path):
    drop = {"rules": lambda d: ("too short", 3.0, "3 words, at least 50")}
    _, (row,) = page_of(tmp_path, funnel_of([document("three short words", "s/1")], drop))
    assert (row["id"], row["step"], row["reason"]) == ("s/1", "rules", "too short")
    assert row["question"].startswith("Good: a text to learn from")
    assert row["texts"][0]["pieces"] == [["three short words", False]]
