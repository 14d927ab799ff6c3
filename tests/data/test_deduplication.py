import math
import random

import numpy as np
import pytest
from documents_for_tests import GOOD_ENGLISH, code, conversation, document
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openqwen.core.documents import Document
from openqwen.core.ngrams import ngrams, units
from openqwen.data.config import MinHashConfig
from openqwen.data.exact_dedup import drop_exact_duplicates
from openqwen.data.minhash import (
    MinHasher,
    choose_bands,
    cluster,
    drop_near_duplicates,
)
from openqwen.data.normalise import clean_text, same_key
from openqwen.data.shingles import UnitHasher, jaccard, ngram_hashes, shingle_set
from openqwen.data.steps import Rejected

CONFIG = MinHashConfig()
WORDS = [f"w{i}" for i in range(5000)]


def ids(outcomes):
    return [o.id for o in outcomes if isinstance(o, Document)]


def rejected(outcomes):
    return {o.document.id: o for o in outcomes if isinstance(o, Rejected)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("“Hello”  World…", "HELLO\n\nWORLD"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("cafe\u0301", "CAF\u00c9"),
        ("今天，天气很好。", "今天天气很好"),
    ],
)
def test_texts_that_differ_in_form_only_have_one_key(one, other):
    assert same_key(one) == same_key(other)


def test_texts_that_differ_in_words_have_two_keys_and_no_words_have_none():
    assert same_key("version 1") != same_key("version 2")
    assert same_key("…!? --") == b""


def test_in_code_only_white_space_is_form():
    assert same_key("a = 1\n\n\nb", is_code=True) == same_key("a = 1\nb", is_code=True)
    assert same_key("a - b", is_code=True) != same_key("a + b", is_code=True)
    assert same_key("A = 1", is_code=True) != same_key("a = 1", is_code=True)


@settings(deadline=None)
@given(st.text())
def test_cleaning_a_clean_text_changes_nothing(text):
    once = clean_text(text)
    assert clean_text(once) == once
    assert clean_text(clean_text(text, is_code=True), is_code=True) == clean_text(
        text, is_code=True
    )


def test_joiners_that_scripts_need_are_not_cleaned_away():
    assert clean_text("نمی\u200cخواهم 👩\u200d🔬") == "نمی\u200cخواهم 👩\u200d🔬"


def test_of_equal_texts_the_smallest_id_stays_in_any_order():
    documents = [
        document("Same text.", "s/2"),
        document("same   TEXT", "s/1"),
        document("Other text.", "s/3"),
        document("--", "s/4"),
    ]
    for order in (documents, documents[::-1]):
        outcomes = list(drop_exact_duplicates(order))
        assert sorted(ids(outcomes)) == ["s/1", "s/3"]
        found = rejected(outcomes)
        assert found["s/2"].reason == "same text"
        assert found["s/2"].detail == "same as s/1"
        assert found["s/4"].reason == "no words"


def test_a_conversation_and_a_page_with_the_same_words_both_stay():
    page = document("Hi\nHello", "s/1")
    assert ids(drop_exact_duplicates([page, conversation("Hi", "Hello")])) == ["s/1", "i/1"]


@settings(deadline=None)
@example(list("baaaabbaa"), 6)  # factors in arithmetic progression confuse these
@given(st.lists(st.sampled_from("abcde"), max_size=30), st.integers(1, 6))
def test_hashed_ngrams_are_equal_exactly_where_the_ngrams_are(words, n):
    hashes = ngram_hashes(UnitHasher()(words), n).tolist()
    grams = list(ngrams(words, n))
    assert len(hashes) == len(grams)
    for i, one in enumerate(grams):
        for j, other in enumerate(grams):
            assert (one == other) == (hashes[i] == hashes[j])


def test_hashes_are_the_same_in_every_process():
    assert UnitHasher()(["潮", "tide"]).tolist() == [
        6629374788993575351,
        15514341252395217638,
    ]
    assert ngram_hashes(UnitHasher()(["a", "b", "c"]), 2).tolist() == [
        4221373958757175504,
        11434551195304074538,
    ]


@settings(deadline=None)
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_jaccard_of_sorted_arrays_is_that_of_the_sets(one, other):
    arrays = [np.array(sorted(s), dtype=np.uint64) for s in (one, other)]
    union = len(one | other)
    assert jaccard(*arrays) == (len(one & other) / union if one and other else 0.0)


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_the_banding_is_the_most_selective_one_that_keeps_the_recall(threshold):
    bands, rows = choose_bands(threshold, num_permutations=128, min_recall=0.98)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.98
    more = rows + 1
    assert 1 - (1 - threshold**more) ** (128 // more) < 0.98


def test_the_banding_for_the_default_threshold():
    assert choose_bands(0.7, num_permutations=128, min_recall=0.98) == (25, 5)


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.7, 0.95, 1.0])
def test_the_estimate_of_a_signature_keeps_its_error_bound(similarity):
    generator = np.random.default_rng(3)
    hasher = MinHasher(128)
    errors = []
    for _ in range(60):
        shared = round(1000 * similarity)
        own = 1000 - shared
        numbers = generator.integers(0, 2**63, shared + 2 * own, dtype=np.uint64)
        one, other = numbers[: shared + own], np.delete(numbers, slice(shared, shared + own))
        truth = shared / (shared + 2 * own)
        errors.append(np.mean(hasher(one) == hasher(other)) - truth)
    deviation = math.sqrt(truth * (1 - truth) / 128)
    assert abs(np.mean(errors)) <= 4 * deviation / math.sqrt(60)
    assert np.std(errors) <= 1.4 * deviation
    assert max(map(abs, errors)) <= 4.5 * deviation


def test_signatures_use_all_bits_of_their_numbers():
    lowest = MinHasher(128)(np.array([7], dtype=np.uint64))
    assert lowest.max() > 2**31
    assert len(set(lowest.tolist())) == 128


def edited(words, share, generator):
    """Return the words with some replaced; 5-grams suffer five times as much."""
    return [generator.choice(WORDS) if generator.random() < share else w for w in words]


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31))
def test_planted_near_duplicates_are_found_and_nothing_below_the_threshold_is_merged(seed):
    generator = random.Random(seed)
    texts = {}
    for number in range(60):
        words = generator.choices(WORDS, k=generator.randrange(40, 400))
        texts[f"s/{number:03}a"] = " ".join(words)
        texts[f"s/{number:03}b"] = " ".join(
            edited(words, generator.choice([0.01, 0.03, 0.1]), generator)
        )
    sets = {id: shingle_set(UnitHasher()(units(text)), 5) for id, text in texts.items()}
    outcomes = list(drop_near_duplicates(CONFIG, [document(t, id) for id, t in texts.items()]))
    dropped = rejected(outcomes)
    similar = 0
    for number in range(60):
        one, other = f"s/{number:03}a", f"s/{number:03}b"
        truth = jaccard(sets[one], sets[other])
        was_dropped = [id for id in (one, other) if id in dropped]
        assert len(was_dropped) == (truth >= CONFIG.threshold) or 0.7 <= truth < 0.75
        if was_dropped:
            similar += 1
            assert dropped[was_dropped[0]].score == pytest.approx(truth)
    assert len(dropped) == similar


def test_the_longest_of_a_cluster_survives_then_the_smallest_id_in_any_order():
    longer = GOOD_ENGLISH + " And that was all."
    documents = [
        document(GOOD_ENGLISH, "s/1"),
        document(longer, "s/9"),
        document(longer, "s/8"),
        document("A text of its own about nothing that stands in the other ones.", "s/5"),
    ]
    for order in (documents, documents[::-1], documents[2:] + documents[:2]):
        outcomes = list(drop_near_duplicates(CONFIG, order))
        assert sorted(ids(outcomes)) == ["s/5", "s/8"]
        detail = rejected(outcomes)["s/1"].detail
        assert detail.startswith("Jaccard 0.9")
        assert detail.endswith("to s/8")


def test_chinese_is_compared_by_characters():
    one = (
        "黄山的松树长在石头上，风吹过来的时候，树枝轻轻地摇动，"
        "好像在和游人打招呼，也像在等远方的客人。"
    )
    other = one.replace("游人", "我们")
    outcomes = list(
        drop_near_duplicates(
            CONFIG, [document(one, "s/1", language="zh"), document(other, "s/2", language="zh")]
        )
    )
    assert ids(outcomes) == ["s/1"]


def test_code_is_deduplicated_too_and_short_texts_are_compared_whole():
    body = "\n".join(f"def function_{i}(value):\n    return value * {i}" for i in range(30))
    documents = [code(body, "c/1"), code(body + "\nx = 1", "c/2"), document("ok", "s/1")]
    assert ids(drop_near_duplicates(CONFIG, [*documents, document("OK", "s/2")])) == ["c/2", "s/1"]


def test_a_bucket_of_many_copies_costs_no_quadratic_work_and_leaves_one():
    copies = [document(f"{GOOD_ENGLISH} copy", f"s/{i:04}") for i in range(400)]
    assert ids(drop_near_duplicates(CONFIG, copies)) == ["s/0000"]


def test_empty_sets_stay_alone():
    empty = np.empty(0, dtype=np.uint64)
    clusters = cluster([empty, empty], CONFIG)
    assert clusters.find(0) != clusters.find(1)
