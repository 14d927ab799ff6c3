import json

import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH, conversation, document
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.core.ngrams import ngrams, units
from openqwen.data.config import DecontaminateConfig
from openqwen.data.contamination.decontaminate import BenchmarkItem, Decontaminate, read_benchmarks

ENGLISH = BenchmarkItem(
    "mmlu",
    "7",
    "Which of the following rivers carries the largest volume of water to the sea each year?",
)
CHINESE = BenchmarkItem(
    "ceval", "3", "下列哪一条河流每年注入大海的水量最大？长江、黄河、珠江、黑龙江。"
)
SHORT = BenchmarkItem("mmlu", "9", "Name the capital city of the old kingdom.")
TOO_SHORT = BenchmarkItem("mmlu", "11", "What is two plus two?")
ITEMS = [ENGLISH, CHINESE, SHORT, TOO_SHORT]
CONFIG = DecontaminateConfig()


def run(text_or_document, config=CONFIG, items=ITEMS):
    found = text_or_document
    found = document(found) if isinstance(found, str) else found
    step = Decontaminate(config, items)
    (outcome,) = step([found])
    return outcome, step.report


def test_a_planted_english_13gram_is_found_whatever_its_form():
    planted = GOOD_ENGLISH + " WHICH of the following rivers; carries the largest volume of water –"
    planted += " TO the"
    outcome, report = run(planted)
    assert outcome.reason == "overlaps mmlu"
    assert outcome.detail == (
        "mmlu 7: “which of the following rivers carries the largest volume of water to the”"
    )
    assert report[0]["overlaps"][0]["item_text"] == ENGLISH.text
    assert "rivers; carries" in report[0]["overlaps"][0]["document_text"]


def test_twelve_words_are_not_enough():
    planted = f"{GOOD_ENGLISH} Which of the following rivers carries the largest volume of water to"
    outcome, report = run(planted)
    assert isinstance(outcome, Document)
    assert report == []


@pytest.mark.parametrize("language", ["zh", "en", "und"])
def test_a_planted_chinese_13gram_is_found_whatever_the_document_is_taken_for(language):
    planted = GOOD_CHINESE + "河流每年注入大海的水量最大"
    outcome, _ = run(document(planted, language=language))
    assert outcome.reason == "overlaps ceval"
    assert outcome.detail.endswith("“河 流 每 年 注 入 大 海 的 水 量 最 大”")
    assert isinstance(
        run(document(GOOD_CHINESE + "河流每年注入大海的水量", language=language))[0], Document
    )


def test_a_short_item_counts_only_as_a_whole():
    assert run("Please name the capital city of the old kingdom now.")[0].reason == "overlaps mmlu"
    assert isinstance(run("Please name the capital city of the new kingdom.")[0], Document)
    assert isinstance(run("What is two plus two? Four.")[0], Document)


def test_rows_of_numbers_are_no_overlap():
    digits = BenchmarkItem("gsm8k", "1", " ".join(map(str, range(30))))
    assert isinstance(run(digits.text, items=[digits])[0], Document)
    counted = DecontaminateConfig(min_words=0)
    assert run(digits.text, counted, [digits])[0].reason == "overlaps gsm8k"


def test_conversations_are_checked_too():
    outcome, _ = run(conversation(ENGLISH.text, "The Amazon."))
    assert outcome.reason == "overlaps mmlu"


def test_overlaps_can_be_reported_only():
    outcome, report = run(ENGLISH.text, DecontaminateConfig(action="report"))
    assert isinstance(outcome, Document)
    assert report[0]["num_items"] == 1


def test_without_benchmarks_everything_stays():
    assert isinstance(run(GOOD_ENGLISH, items=[])[0], Document)


WORDS = st.lists(st.sampled_from(["tide", "moon", "sea", "潮", "海"]), max_size=24)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_an_overlap_is_found_exactly_where_an_ngram_is_shared(test_words, text_words):
    config = DecontaminateConfig(ngram=4, min_units=3)
    item, text = BenchmarkItem("b", "1", " ".join(test_words)), " ".join(text_words)
    n = min(4, len(test_words))
    shared = set(ngrams(units(item.text), n)) & set(ngrams(units(text), n)) if n >= 3 else set()
    config = config.model_copy(update={"min_words": 0})
    assert bool(run(document(text), config, [item])[1]) == bool(shared)


def test_benchmarks_are_read_in_order_and_a_bad_row_is_named(tmp_path):
    rows = [{"id": 1, "text": "one"}, {"id": "2", "text": "two"}]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.jsonl").write_text('{"id": "x", "text": "three"}\n')
    assert [(i.benchmark, i.id, i.text) for i in read_benchmarks(tmp_path)] == [
        ("a", "x", "three"),
        ("b", "1", "one"),
        ("b", "2", "two"),
    ]
    (tmp_path / "a.jsonl").write_text('{"id": "x", "text": "three"}\n{"id": 5, "of": 7}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, row 2: no text in it"):
        read_benchmarks(tmp_path)
