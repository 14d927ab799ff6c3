import numpy as np
import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.ngrams import units as unit_strings
from openqwen.data.rules import unit_measures
from openqwen.data.rules.phrases import Hit, Phrases
from openqwen.data.rules.repetition import duplicate_ngram_share, top_ngram_share
from openqwen.data.rules.unit_measures import GAPLESS, NUMERIC, measure_units, ngram_counts

MIXED = st.text(st.sampled_from("ab 1²½,.猫坐๑กีİßﬁ\n_-’\ud800"), max_size=60)


@pytest.fixture(params=["compiled", "plain"])
def way(request, monkeypatch):
    """Each way of measuring; the compiled one where this machine has a compiler."""
    if request.param == "plain":
        monkeypatch.setattr(unit_measures, "_library", lambda: None)
    elif unit_measures._library() is None:
        pytest.skip("no compiler here")
    unit_measures._numbers_of.cache_clear()
    yield request.param
    unit_measures._numbers_of.cache_clear()


def test_units_are_those_of_all_other_steps(way):
    for text in (GOOD_CHINESE, GOOD_ENGLISH, "ÉCOLE Straße 3½ x_y don't 猫x猫 ภาษาไทย", ""):
        measured = measure_units(text.lower())
        assert measured.strings(0, len(measured)) == unit_strings(text)


def test_numbers_gapless_characters_and_mean_length_are_counted(way):
    units = measure_units("the cat 12 ½ x2 猫坐")
    assert len(units) == 7
    assert units.num_numbers == 2
    assert units.num_gapless == 2
    assert units.mean_length == (3 + 3 + 2 + 1 + 2) / 5
    assert units.count_present(frozenset({"the", "cat", "dog", "x"})) == 2


@given(MIXED)
def test_the_compiled_way_finds_what_the_plain_one_finds(text):
    text = text.lower()
    measured = measure_units(text)
    strings = unit_strings(text)
    assert measured.strings(0, len(measured)) == strings
    assert measured.lengths_N.tolist() == [len(s) for s in strings]
    assert [bool(k & NUMERIC) for k in measured.kinds_N] == [s.isnumeric() for s in strings]
    plain = unit_measures._measure_slowly(text)
    assert plain.kinds_N.tolist() == measured.kinds_N.tolist()
    assert bool(measured.num_gapless) == any(k & GAPLESS for k in plain.kinds_N)
    hashes = measured.hashes_N.tolist()
    assert len(set(hashes)) == len(set(strings)) == len(set(zip(hashes, strings, strict=True)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(1, 9), max_size=3))
def test_compiled_repetition_is_that_of_numpy(values, lengths):
    hashes_N = np.array(values, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    lengths_N = np.array([1 + value for value in values], dtype=np.int32)
    counts = ngram_counts(hashes_N, lengths_N, top=lengths, duplicate=lengths)
    if counts is None:
        pytest.skip("no compiler here")
    total = int(lengths_N.sum()) or 1
    for n, (place, count), covered in zip(lengths, *counts, strict=True):
        share, first = top_ngram_share(hashes_N, lengths_N, n)
        assert (covered / total) == duplicate_ngram_share(hashes_N, lengths_N, n)
        assert place == first
        assert share == (count * int(lengths_N[place : place + n].sum()) / total) * (count > 1)


def test_repetition_of_long_texts_looks_back_one_window():
    generator = np.random.default_rng(0)
    hashes_N = generator.integers(0, 40, 10_000).astype(np.uint64)
    lengths_N = np.ones(len(hashes_N), dtype=np.int32)
    counts = ngram_counts(hashes_N, lengths_N, top=[2], duplicate=[2, 3, 5])
    if counts is None:
        pytest.skip("no compiler here")
    for n, covered in zip((2, 3, 5), counts[1], strict=True):
        assert covered / len(hashes_N) == duplicate_ngram_share(hashes_N, lengths_N, n)


def test_phrases_are_found_by_whole_words_and_by_characters(way):
    phrases = Phrases(["terms of use", "use", "版权所有", "…", "版权"])
    text = "See our TERMS of use; a house. 本站版权所有"
    found = phrases.find(measure_units(text.lower()))
    assert found == [Hit(2, 3, 0), Hit(4, 1, 1), Hit(9, 2, 4), Hit(9, 4, 2)] or found == [
        *(Hit(2, 3, 0), Hit(4, 1, 1), Hit(9, 4, 2), Hit(9, 2, 4))
    ]


def test_every_place_of_a_frequent_phrase_is_found(way):
    found = Phrases(["a a"]).find(measure_units("a " * 1000))
    assert found == [Hit(place, 2, 0) for place in range(999)]
    assert Phrases(["x"]).find(measure_units("")) == []
    assert Phrases([]).find(measure_units("a")) == []
