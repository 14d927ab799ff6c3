"""The C++ kernels of the data room against Python's own `re`, `str` and `unicodedata`."""

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openqwen.core.compiled import open_library
from openqwen.core.ngrams import units
from openqwen.data.extraction.normalise import same_key
from openqwen.data.kernels import ops
from openqwen.data.kernels.build import SOURCE, open_kernels
from openqwen.data.kernels.ops import SketchPlan, compare_pairs, hash_units, sketch
from openqwen.data.kernels.tables import CODE_POINTS, JOINS, open_tables
from openqwen.data.shingles import UnitHasher, jaccard, shingles, unit_hash, unit_hashes

needs_kernels = pytest.mark.skipif(
    open_kernels()[0] is None, reason=f"no kernels here: {open_kernels()[1]}"
)
PLAN = SketchPlan.of(5, 128, 25, 5)
MIXED = st.text(
    st.one_of(
        st.sampled_from(
            "aZ09 _-.,\n\t潮汐かなไทยΣσςßİıÅ\u030a\u0301가ᄀ\u1161\u11a8नमस्ते①ﬁ½Ａ\ud800🙂"
        ),
        st.characters(codec=None),
    ),
    max_size=120,
)


@pytest.fixture
def without_kernels(monkeypatch):
    monkeypatch.setattr(ops, "_library", lambda: None)


def both_ways(texts, plan=PLAN):
    return sketch(texts, plan), ops._sketch_in_python(texts, plan)


def assert_equal(one, other):
    for name in ("shingles", "ends_D", "signatures_DP", "bands_DB"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.exact_keys == other.exact_keys


@needs_kernels
@settings(deadline=None, max_examples=300)
@example(["Σ", "ΑΣ", "ΑΣ Σ", "A\u0301Σ.", "x" * 300 + "Σ"])
@example(["", " ", "_", "a", "12345678", "123456789", "\ud800"])
@given(st.lists(MIXED, max_size=5))
def test_a_sketch_has_the_same_bits_with_and_without_the_kernels(texts):
    assert_equal(*both_ways(texts))
    for text in texts:
        assert hash_units(text).tolist() == UnitHasher()(units(text)).tolist()


@needs_kernels
@pytest.mark.parametrize("joining", [False, True])
def test_every_code_point_is_seen_as_python_sees_it(joining):
    flags = open_tables().flags
    points = [
        chr(point)
        for point in range(CODE_POINTS)
        if not 0x30000 <= point < 0xE0000 and bool(flags[point] & JOINS) == joining
    ]
    assert len(points) > 1000
    random.Random(0).shuffle(points)
    # letters on both sides: does it part words, does it join what stands before it?
    texts = ["".join(f"e{c}e " for c in points[i : i + 999]) for i in range(0, len(points), 999)]
    found = sketch(texts, SketchPlan.of(1, 16, 2, 2))
    for place, text in enumerate(texts):
        start = found.ends_D[place - 1] if place else 0
        expected = shingles(UnitHasher()(units(text)), 1)
        assert np.array_equal(found.shingles[start : found.ends_D[place]], expected)
        assert found.exact_keys[place] == same_key(text)


@needs_kernels
@pytest.mark.parametrize("ngram", [1, 2, 5, 7, 13])
@pytest.mark.parametrize("permutations", [16, 100, 128, 300])
def test_any_ngram_and_any_number_of_hash_functions(ngram, permutations):
    text = "the tide comes in and the tide goes out again, twice a day, 潮起潮落" * 3
    plan = SketchPlan.of(ngram, permutations, permutations // 4, 4)
    assert_equal(*both_ways([text, "short", text.upper()], plan))


@needs_kernels
def test_one_page_of_ten_megabytes_is_sketched():
    words = [f"word{i}" for i in range(5000)]
    text = " ".join(random.Random(0).choices(words, k=1_200_000))
    assert len(text) > 10_000_000
    found = sketch(["before", text, "after"], PLAN)
    assert found.ends_D.tolist() == [1, 1_199_997, 1_199_998]
    assert found.exact_keys[2] == same_key("after")
    expected = shingles(UnitHasher()(units(text[-5000:])), 5)
    assert np.array_equal(found.shingles[1_199_997 - len(expected) + 1 : 1_199_997], expected[1:])


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=60), min_size=1, max_size=8))
def test_pairs_are_compared_as_sets_with_and_without_the_kernels(lists):
    numbers = np.array([n * 0x9E3779B1 % 2**32 for row in lists for n in row], dtype=np.uint32)
    ends = np.cumsum([len(row) for row in lists])
    starts = ends - [len(row) for row in lists]
    left, right = (a.ravel() for a in np.indices((len(lists), len(lists))))
    shared, united = compare_pairs(numbers, starts, ends, left, right)
    for one, other, s, u in zip(left, right, shared, united, strict=True):
        assert s == len(set(lists[one]) & set(lists[other]))
        assert u == len(set(lists[one]) | set(lists[other]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "_library", lambda: None)
        again = compare_pairs(numbers, starts, ends, left, right)
    assert np.array_equal(again[0], shared)
    assert np.array_equal(again[1], united)


def test_numbers_of_units_are_the_same_in_every_process_and_for_ever():
    assert unit_hash("tide") == 10723085822247027157
    assert unit_hashes("Tide, 潮!").tolist() == UnitHasher()(["tide", "潮"]).tolist()


def test_without_kernels_the_line_says_why(without_kernels, monkeypatch):
    monkeypatch.setenv("OPENQWEN_KERNELS", "off")
    open_library.cache_clear()
    try:
        assert ops.which_kernels() == "numpy: OPENQWEN_KERNELS=off"
        assert unit_hashes("a b").tolist() == UnitHasher()(["a", "b"]).tolist()
    finally:
        open_library.cache_clear()


def test_a_source_that_does_not_compile_says_so_and_raises_nothing(tmp_path, cache):
    (tmp_path / "bad.cpp").write_text("this is no C++")
    bad = type(SOURCE)(name="bad", folder=tmp_path, sources=("bad.cpp",))
    library, why_not = open_library(bad)
    assert library is None
    assert why_not.startswith("they did not compile: ")


def test_a_missing_processor_feature_is_named(tmp_path):
    wants = type(SOURCE)(name="x", folder=tmp_path, sources=(), needed=("no_such_feature",))
    assert open_library(wants) == (None, "the processor lacks no_such_feature")


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.7, 0.95, 1.0])
def test_the_estimate_of_a_signature_keeps_its_error_bound(similarity):
    generator = np.random.default_rng(3)
    errors = []
    for _ in range(60):
        shared = round(1000 * similarity)
        own = 1000 - shared
        numbers = generator.integers(0, 2**32, shared + 2 * own, dtype=np.uint32)
        one, other = numbers[: shared + own], np.delete(numbers, slice(shared, shared + own))
        truth = shared / (shared + 2 * own)
        same = ops.signature(one, PLAN) == ops.signature(other, PLAN)
        errors.append(np.mean(same) - truth)
    deviation = (truth * (1 - truth) / 128) ** 0.5
    assert abs(np.mean(errors)) <= 4 * deviation / 60**0.5
    assert np.std(errors) <= 1.4 * deviation
    assert max(map(abs, errors)) <= 4.5 * deviation


def test_signatures_use_all_bits_of_their_numbers():
    lowest = ops.signature(np.array([7], dtype=np.uint32), PLAN)
    assert lowest.max() > 2**31
    assert len(set(lowest.tolist())) == 128


def test_a_jaccard_of_hashed_shingles_is_that_of_the_sets():
    hashed = [shingles(UnitHasher()(list(words)), 3) for words in ("abcdefgh", "abcdefgi")]
    assert jaccard(*hashed) == 5 / 7
