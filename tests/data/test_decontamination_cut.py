import numpy as np
import pytest
from documents_for_tests import document
from hypothesis import given
from hypothesis import strategies as st

from openqwen.core.ngrams import unit_spans, units
from openqwen.data.contamination.benchmark_index import SEAM, BenchmarkIndex, BenchmarkItem
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.contamination.decontaminate import Decontaminate, cut_out
from openqwen.data.contamination.gram_table import GramTable
from openqwen.data.shingles import ngram_hashes
from openqwen.data.steps import Rejected

QUESTION = "Which of the following rivers carries the largest volume of water to the sea each year?"
CHINESE = "下列哪一条河流每年注入大海的水量最大？长江、黄河、珠江、黑龙江。"
ITEMS = [BenchmarkItem("mmlu", "7", QUESTION), BenchmarkItem("ceval", "3", CHINESE)]
CUT = DecontaminateConfig(action="cut")
FILLER = "".join(f"Sentence number {n} tells of the harbour and its tide. " for n in range(40))


def cut(text_or_document, config=CUT):
    found = text_or_document
    step = Decontaminate(config, ITEMS)
    (outcome,) = step([document(found) if isinstance(found, str) else found])
    return outcome, step.report


def test_the_overlap_goes_with_200_characters_on_each_side_and_what_went_is_recorded():
    text = FILLER + QUESTION + FILLER
    outcome, report = cut(text)
    (gone,) = report[0]["cut"]
    place = len(FILLER)
    assert 200 <= place - gone["start"] <= 230
    assert 200 <= gone["end"] - (place + len(QUESTION) - 1) <= 230
    assert gone["text"] == text[gone["start"] : gone["end"]]
    before, after = text[: gone["start"]], text[gone["end"] :]
    assert outcome.text == f"{before.strip()}\n\n{after.strip()}"
    assert report[0]["action"] == "cut"
    assert before.endswith(" ") or text[gone["start"]] == " "


def test_short_pieces_go_too_and_a_document_without_a_long_one_is_dropped():
    outcome, report = cut("x " * 150 + QUESTION + FILLER)
    assert len(report[0]["cut"]) == 1
    assert report[0]["cut"][0]["start"] == 0
    assert outcome.text.endswith("its tide.")
    outcome, report = cut("A few words. " + QUESTION)
    assert isinstance(outcome, Rejected)
    assert report[0]["action"] == "drop"
    assert "cut" not in report[0]


def test_a_document_cut_into_many_pieces_is_dropped():
    config = CUT.model_copy(update={"max_pieces": 3})
    assert not isinstance(cut((FILLER + QUESTION) * 2 + FILLER, config)[0], Rejected)
    assert isinstance(cut((FILLER + QUESTION) * 3 + FILLER, config)[0], Rejected)


def test_a_chinese_overlap_is_cut_by_characters():
    filler = "清晨的雾气还没有散去，松树在风里轻轻地摇动。" * 30
    outcome, report = cut(filler + CHINESE + filler)
    assert "河流每年" not in outcome.text
    assert report[0]["cut"][0]["start"] == len(filler) - 200


def talk(*turns):
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
    return document("\n".join(turns), "i/1", messages=messages)


@pytest.mark.parametrize("place", [2, 3])
def test_a_conversation_ends_before_the_exchange_with_the_overlap(place):
    turns = ["Hi.", "Hello!", "And now?", "Well.", "Thanks.", "Welcome."]
    turns[place] = QUESTION
    outcome, report = cut(talk(*turns))
    assert [m["content"] for m in outcome.messages] == ["Hi.", "Hello!"]
    assert outcome.text == "Hi.\nHello!"
    assert report[0]["cut"][0]["text"] == "\n".join(turns[2:])


@pytest.mark.parametrize("place", [0, 1])
def test_a_conversation_whose_first_exchange_overlaps_is_dropped(place):
    turns = ["Hi.", "Hello!", "And now?", "Well."]
    turns[place] = QUESTION
    assert isinstance(cut(talk(*turns))[0], Rejected)


def test_both_texts_of_a_match_are_reported_with_the_place_of_the_overlap():
    _, report = cut(FILLER + QUESTION.upper() + FILLER)
    (match,) = report[0]["overlaps"]
    start, end = match["document_overlap"]
    assert match["document_text"][start:end] == QUESTION.upper()[:-1]
    assert match["item_text"][slice(*match["item_overlap"])] == QUESTION[:-1]
    assert (match["num_units"], match["share_of_item"]) == (16, 1.0)
    assert match["start"] == len(FILLER)


@given(
    st.text("ab .\n", min_size=1, max_size=400),
    st.lists(st.tuples(st.integers(0, 399), st.integers(1, 20)), min_size=1, max_size=4),
)
def test_pieces_and_cuts_together_are_the_text(text, raw):
    config = DecontaminateConfig(action="cut", cut_chars=5, min_piece_chars=3)
    spans = sorted((s, min(s + n, len(text))) for s, n in raw if s < len(text))
    left, gone = cut_out(text, spans, config)
    kept = "".join(
        text[a:b].strip()
        for a, b in zip([0, *(e for _, e in gone)], [*(s for s, _ in gone), len(text)], strict=True)
    )
    assert left.replace("\n\n", "") == kept.replace("\n\n", "")
    assert all(
        any(s <= at < e for s, e in gone) for start, end in spans for at in range(start, end)
    )


def plain(text):
    """Return a lower-case text without İ's dot, and with one form of sigma."""
    return text.replace("\u0307", "").replace("ς", "σ")


@given(st.text("aIİßΣ1 .潮海", max_size=30))
def test_the_places_of_units_are_those_in_the_original_text(text):
    spans = unit_spans(text)
    assert len(spans) == len(units(text))
    for (start, end), unit in zip(spans, units(text), strict=True):
        assert plain(unit) in plain(text[start:end].lower())


def test_a_saved_index_finds_what_the_built_one_finds(tmp_path):
    index = BenchmarkIndex.build(ITEMS, CUT)
    index.save(tmp_path / "index")
    opened = BenchmarkIndex.open(tmp_path / "index")
    for text in (FILLER, FILLER + QUESTION, CHINESE * 2, ""):
        one, other = index.overlaps(text), opened.overlaps(text)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.overlaps == other.overlaps
            assert one.spans == other.spans


def test_ngrams_of_many_items_are_boilerplate():
    template = "Read the text below with care and then choose the one right answer to "
    items = [
        BenchmarkItem("b", str(n), f"{template}question w{n} x{n} y{n} z{n}") for n in range(6)
    ]
    few = BenchmarkIndex.build(items, DecontaminateConfig(max_items=5))
    assert few.overlaps(f"{FILLER}{template}") is None
    assert few.overlaps(f"{FILLER}{items[3].text}").overlaps[0].item.id == "3"
    all_of_them = BenchmarkIndex.build(items, DecontaminateConfig(max_items=0))
    assert len(all_of_them.overlaps(f"{FILLER}{template}").overlaps) == 6


def test_alphabets_and_rows_of_letters_are_no_overlap():
    item = BenchmarkItem("b", "1", " ".join("abcdefghijklmnopqrstuvwxyz"))
    assert BenchmarkIndex.build([item], DecontaminateConfig()).overlaps(item.text) is None


def test_a_short_item_is_found_by_its_beginning_and_compared_to_its_end():
    item = BenchmarkItem("b", "1", "who wrote the oldest book about the tides of this harbour")
    index = BenchmarkIndex.build([item], DecontaminateConfig())
    assert index.overlaps(f"Tell us {item.text}, please.") is not None
    assert index.overlaps("Who wrote the oldest book about the tides of this river?") is None


@given(st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=8), min_size=1, max_size=5))
def test_a_table_holds_each_ngram_of_each_owner_once_and_none_across_segments(segments):
    arrays = [np.array(segment, dtype=np.uint64) for segment in segments]
    owners = np.arange(len(arrays), dtype=np.int32) // 2
    table = GramTable.of(arrays, owners, 3, max_owners=0)
    held = [(int(h), int(owners[s])) for h, s in zip(table.hashes_G, table.segments_G, strict=True)]
    true = {(int(h), int(owners[n])) for n, a in enumerate(arrays) for h in ngram_hashes(a, 3)}
    assert sorted(held) == sorted(true)
    for h, segment, place in zip(table.hashes_G, table.segments_G, table.places_G, strict=True):
        assert ngram_hashes(arrays[segment][place : place + 3], 3)[0] == h
    joined = ngram_hashes(np.concatenate(arrays), 3)
    assert table.find(joined).tolist() == np.flatnonzero(np.isin(joined, table.hashes_G)).tolist()


@given(
    st.lists(
        st.lists(
            st.sampled_from([QUESTION, CHINESE, FILLER[:300], "x", "", SEAM, "the"]), max_size=4
        ),
        max_size=6,
    )
)
def test_many_texts_at_once_are_answered_as_one_after_the_other(parts):
    index = BenchmarkIndex.build(ITEMS, CUT)
    texts = [" ".join(part) for part in parts]
    together = index.overlaps_of(texts)
    for one, other in zip(together, map(index.overlaps, texts), strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.overlaps, one.spans) == (other.overlaps, other.spans)
            assert one.grams.tolist() == other.grams.tolist()
