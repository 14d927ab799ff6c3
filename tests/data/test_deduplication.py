import random
from functools import partial

import numpy as np
import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH, code, conversation, document
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openqwen.core.documents import Document
from openqwen.core.ngrams import ngrams, units
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.bands import choose_bands
from openqwen.data.dedup.clusters import components, pick_survivors
from openqwen.data.dedup.here import drop_duplicates, find_among
from openqwen.data.dedup.pairs import MAX_BUCKET, candidate_pairs, unique_pairs
from openqwen.data.dedup.urls import url_key
from openqwen.data.extraction.normalise import clean_text, same_key
from openqwen.data.shingles import UnitHasher, jaccard, ngram_hashes, shingles
from openqwen.data.steps import Rejected

CONFIG = MinHashConfig()
WORDS = [f"w{i}" for i in range(5000)]

drop_exact = partial(drop_duplicates, CONFIG, kinds=frozenset({"exact"}))
drop_near = partial(drop_duplicates, CONFIG, kinds=frozenset({"minhash"}))


def ids(outcomes):
    return [o.id for o in outcomes if isinstance(o, Document)]


def rejected(outcomes):
    return {o.document.id: o for o in outcomes if isinstance(o, Rejected)}


def exact_similarity(one, other):
    """Return the Jaccard similarity of exact 5-grams, without any hash."""
    sets = [set(ngrams(words, min(5, len(words)))) for words in map(units, (one, other))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


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
        outcomes = list(drop_exact(order))
        assert sorted(ids(outcomes)) == ["s/1", "s/3"]
        found = rejected(outcomes)
        assert (found["s/2"].reason, found["s/2"].score) == ("same text", 1.0)
        assert found["s/2"].detail == "Jaccard 1.000 to s/1"
        assert (found["s/4"].reason, found["s/4"].detail) == ("no words", "")


def test_a_conversation_and_a_page_with_the_same_words_both_stay():
    page = document("Hi\nHello", "s/1")
    assert ids(drop_exact([page, conversation("Hi", "Hello")])) == ["s/1", "i/1"]
    again = conversation("Hi", "Hello!", "i/2")
    assert ids(drop_exact([page, conversation("Hi", "Hello"), again])) == ["s/1", "i/1"]


def test_code_that_differs_in_punctuation_or_case_is_not_the_same():
    files = [
        code("a - b", "c/1"),
        code("a + b", "c/2"),
        code("A - b", "c/3"),
        code("a -  b", "c/4"),
    ]
    assert ids(drop_exact(files)) == ["c/1", "c/2", "c/3"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP://Example.org:80/a/#top", "https://example.org/a"),
        ("https://user@example.org./", "http://EXAMPLE.org"),
        ("https://example.org/a?x=1", " https://example.org/a?x=1#y"),
    ],
)
def test_urls_that_differ_in_form_only_have_one_key(one, other):
    assert url_key(one) == url_key(other)


def test_urls_of_other_pages_have_other_keys_and_broken_ones_name_themselves():
    urls = ["http://e.org/a", "http://e.org/b", "http://e.org/a?x", "http://e.org/A", "http://[a"]
    urls += ["http://e.org:8080/a", "ftp://e.org/a", "a/b"]
    assert len({url_key(url) for url in urls}) == len(urls)
    assert url_key("") == url_key("  ") == b""


def test_of_pages_with_one_url_the_longest_stays_and_of_rows_of_a_data_set_all():
    pages = [
        document("An older page.", "s/1", url="http://e.org/a", media="text/html"),
        document("A newer page, and longer.", "s/2", url="https://e.org/a/", media="text/html"),
        document("A row of words.", "s/3", url="http://e.org/set"),
        document("Another row.", "s/4", url="http://e.org/set"),
    ]
    for order in (pages, pages[::-1]):
        outcomes = list(drop_duplicates(CONFIG, order))
        assert sorted(ids(outcomes)) == ["s/2", "s/3", "s/4"]
        assert rejected(outcomes)["s/1"].reason == "same url"
    every = MinHashConfig(urls="all")
    assert sorted(ids(drop_duplicates(every, pages))) == ["s/2", "s/3"]
    assert len(ids(drop_duplicates(MinHashConfig(urls="off"), pages))) == 4


def test_a_chain_of_reasons_ends_at_the_one_that_stays():
    longer = GOOD_ENGLISH + " And that was all."
    documents = [
        document(GOOD_ENGLISH[:600], "s/1", url="http://e.org/a", media="text/html"),
        document(GOOD_ENGLISH, "s/3", url="http://e.org/a", media="text/html"),
        document(GOOD_ENGLISH, "s/2"),
        document(longer, "s/9"),
    ]
    found = find_among(documents, CONFIG)
    assert [(v.reason, v.survivor, v.cluster) for _, v in sorted(found.items())] == [
        ("same url", "s/3", "s/9"),
        ("same text", "s/2", "s/9"),
        ("near duplicate", "s/9", "s/9"),
    ]


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


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_the_banding_is_the_most_selective_one_that_keeps_the_recall(threshold):
    bands, rows = choose_bands(threshold, num_permutations=128, min_recall=0.98)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.98
    more = rows + 1
    assert 1 - (1 - threshold**more) ** (128 // more) < 0.98


def test_the_banding_for_the_default_threshold():
    assert choose_bands(0.7, num_permutations=128, min_recall=0.98) == (25, 5)


def edited(words, share, generator):
    """Return the words with some replaced; 5-grams suffer five times as much."""
    return [generator.choice(WORDS) if generator.random() < share else w for w in words]


@pytest.mark.parametrize("seed", range(6))
def test_planted_near_duplicates_are_found_and_nothing_below_the_threshold_is_merged(seed):
    generator = random.Random(seed)
    texts = {}
    for number in range(60):
        words = generator.choices(WORDS, k=generator.randrange(40, 400))
        share = generator.choice([0.01, 0.02, 0.05, 0.1, 0.2])
        texts[f"s/{number:03}a"] = " ".join(words)
        texts[f"s/{number:03}b"] = " ".join(edited(words, share, generator))
    dropped = rejected(drop_near([document(t, id) for id, t in texts.items()]))
    merged = 0
    for number in range(60):
        one, other = f"s/{number:03}a", f"s/{number:03}b"
        truth = exact_similarity(texts[one], texts[other])
        was_dropped = [id for id in (one, other) if id in dropped]
        if was_dropped:
            assert truth >= CONFIG.threshold
            assert dropped[was_dropped[0]].score == pytest.approx(truth)
            merged += 1
        else:
            assert truth < 0.75  # bands propose 98 % of pairs at the threshold
    assert len(dropped) == merged > 10


def test_recall_at_a_similarity_of_0_8_is_above_99_per_cent():
    generator = random.Random(0)
    documents, planted = [], 0
    for number in range(1500):
        words = generator.choices(WORDS, k=120)
        twin = edited(words, 0.02, generator)
        one, other = " ".join(words), " ".join(twin)
        if 0.8 <= exact_similarity(one, other) < 0.9:
            planted += 1
            documents += [document(one, f"{number}a"), document(other, f"{number}b")]
    assert planted > 400
    assert len(rejected(drop_near(documents))) >= 0.99 * planted


def test_the_longest_of_a_cluster_survives_then_the_smallest_id_in_any_order():
    longer = GOOD_ENGLISH + " And that was all."
    documents = [
        document(GOOD_ENGLISH, "s/1"),
        document(longer, "s/9"),
        document(longer, "s/8"),
        document("A text of its own about nothing that stands in the other ones.", "s/5"),
    ]
    for order in (documents, documents[::-1], documents[2:] + documents[:2]):
        outcomes = list(drop_near(order))
        assert sorted(ids(outcomes)) == ["s/5", "s/8"]
        detail = rejected(outcomes)["s/1"].detail
        assert detail.startswith("Jaccard 0.9")
        assert detail.endswith("to s/8")


def test_the_ends_of_a_chain_are_one_cluster_and_the_score_says_how_far_apart_they_are():
    words = [f"word{i}" for i in range(200)]
    chain = [" ".join(words[shift : shift + 100]) for shift in range(0, 60, 10)]
    documents = [document(f"{text}{'!' * n}", f"s/{n}") for n, text in enumerate(chain)]
    found = rejected(drop_near(documents))
    assert sorted(found) == [f"s/{n}" for n in range(5)]  # the last is the longest
    assert found["s/4"].score == pytest.approx(86 / 106)
    assert found["s/0"].score == pytest.approx(46 / 146)


def test_chinese_is_compared_by_characters_whatever_its_label():
    other = GOOD_CHINESE.replace("游人", "我们")
    assert exact_similarity(GOOD_CHINESE, other) > 0.8
    for language in ("zh", ""):
        twins = [document(GOOD_CHINESE, "s/1", language=language), document(other, "s/2")]
        assert ids(drop_near(twins)) == ["s/1"]


def test_code_is_deduplicated_too_and_short_texts_are_compared_whole():
    body = "\n".join(f"def function_{i}(value):\n    return value * {i}" for i in range(30))
    documents = [code(body, "c/1"), code(body + "\nx = 1", "c/2"), document("ok", "s/1")]
    assert ids(drop_near([*documents, document("OK", "s/2")])) == ["c/2", "s/1"]


def test_texts_without_words_have_no_near_duplicates():
    assert ids(drop_near([document("--", "s/1"), document("...", "s/2")])) == ["s/1", "s/2"]


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**31))
def test_who_stays_does_not_depend_on_the_order(seed):
    generator = random.Random(seed)
    documents = []
    for number in range(40):
        words = generator.choices(WORDS, k=80)
        for copy in range(generator.randrange(1, 5)):
            text = " ".join(edited(words, 0.01 * copy, generator))
            url = f"http://e.org/{generator.randrange(100)}"
            documents.append(document(text, f"s/{number}-{copy}", url=url, media="text/html"))
    first = {v.id: v[2:] for v in find_among(documents, CONFIG).values()}
    generator.shuffle(documents)
    assert {v.id: v[2:] for v in find_among(documents, CONFIG).values()} == first


def test_a_bucket_of_many_near_copies_leaves_one_and_a_mixed_one_keeps_its_clusters():
    boilerplate = " ".join(WORDS[:300])
    texts = [f"{boilerplate} {WORDS[1000 + i]}" for i in range(200)]
    found = ids(drop_near([document(text, f"s/{i:04}") for i, text in enumerate(texts)]))
    assert found == ["s/0000"]


def test_a_large_bucket_costs_far_fewer_pairs_than_all():
    size = 400
    groups = np.arange(size) % 3

    def near(one, others):
        return groups[others] == groups[one]

    left, right = candidate_pairs(
        np.full(size, 7, dtype=np.uint64), np.arange(size), lambda bucket: bucket, near
    )
    assert size - 3 <= len(left) <= 2 * size
    nodes, roots = components(left, right)
    assert nodes.tolist() == list(range(size))
    assert [len(set(roots[groups == g])) for g in range(3)] == [1, 1, 1]
    assert len(set(roots.tolist())) == 3


def test_small_buckets_propose_every_pair_once_however_many_bands_they_share():
    keys = np.array([1, 1, 1, 2, 2, 3], dtype=np.uint64)
    documents = np.array([5, 9, 2, 9, 5, 7])
    left, right = candidate_pairs(keys, documents, pytest.fail, pytest.fail)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(2, 5), (2, 9), (5, 9)]
    assert MAX_BUCKET >= 3


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=60, unique=True),
    st.integers(1, 20),
)
def test_pairs_are_all_those_of_every_bucket_however_few_are_held_at_once(entries, held):
    keys = np.array([key for key, _ in entries], dtype=np.uint64)
    documents = np.array([document for _, document in entries], dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openqwen.data.dedup.pairs.PENDING_PAIRS", held)
        left, right = candidate_pairs(keys, documents, pytest.fail, pytest.fail)
    buckets = [{d for k, d in entries if k == key} for key in range(10)]
    wanted = {(a, b) for bucket in buckets for a in bucket for b in bucket if a < b}
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == sorted(wanted)


@pytest.mark.parametrize("shift", [0, 1 << 33])
def test_pairs_are_sorted_and_each_stands_once_with_small_and_large_numbers(shift):
    left, right = np.array([3, 1, 1, 2, 1]) + shift, np.array([4, 9, 2, 2, 9]) + shift
    found = [(a - shift).tolist() for a in unique_pairs(left, right)]
    assert found == [[1, 1, 3], [2, 9, 4]]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_components_are_those_of_a_plain_union(pairs):
    parent = list(range(31))
    for one, other in pairs:
        old, new = parent[one], parent[other]
        parent = [new if p == old else p for p in parent]
    left, right = (np.array([p[i] for p in pairs], dtype=np.int64) for i in range(2))
    nodes, roots = components(left, right)
    assert nodes.tolist() == sorted({n for pair in pairs for n in pair})
    for node, root in zip(nodes.tolist(), roots.tolist(), strict=True):
        assert root == min(n for n in range(31) if parent[n] == parent[node])


def test_a_component_of_a_long_chain_takes_few_rounds():
    order = np.random.default_rng(0).permutation(200_000)
    nodes, roots = components(order[:-1], order[1:])
    assert len(nodes) == 200_000
    assert not roots.any()


def test_of_a_group_an_earlier_crawl_stays_then_length_then_id():
    groups = np.array([0, 0, 0, 1, 1, 1, 2])
    is_old = np.array([False, True, True, False, False, False, False])
    chars = np.array([9, 2, 3, 5, 7, 7, 1])
    names = ["a", "b", "c", "d", "z", "y", "x"]
    asked = []

    def ids_of(places):
        asked.extend(places.tolist())
        return [names[place] for place in places]

    assert pick_survivors(groups, is_old, chars, ids_of).tolist() == [2, 2, 2, 5, 5, 5, 6]
    assert asked == [4, 5]


def test_shingles_are_a_sample_of_the_exact_ngrams():
    one, other = GOOD_ENGLISH, GOOD_ENGLISH.replace("harbour", "port")
    hashed = [shingles(UnitHasher()(units(text)), 5) for text in (one, other)]
    assert jaccard(*hashed) == exact_similarity(one, other)
