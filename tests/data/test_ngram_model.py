import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.errors import UserError
from openqwen.core.ngrams import units
from openqwen.data.scores import ngram_counts
from openqwen.data.scores.arrays import open_arrays, write_arrays
from openqwen.data.scores.kneser_ney import FALLBACK_DISCOUNTS, estimate
from openqwen.data.scores.ngram_counts import NgramCounter
from openqwen.data.scores.ngram_model import NgramModel
from openqwen.data.scores.unit_batch import BEGINNING, UnitBatch
from openqwen.data.shingles import UnitHasher, ngram_hashes

HASHER = UnitHasher()
TEXTS = [
    "the cat sat on the mat and the dog sat on the cat",
    "a dog and a cat sat on a mat",
    "the dog ate the mat the cat ate the dog and a dog ate a mat",
]


def hashes(text):
    return HASHER(text.split())


def counted(texts, order):
    counter = NgramCounter(order)
    for text in texts:
        counter.add(hashes(text))
    return counter.finish()


def model_of(texts, order, min_counts=None):
    return NgramModel.of(*estimate(counted(texts, order), min_counts or [1] * order))


class Reference:
    """Modified Kneser-Ney by its definition, with dictionaries of words."""

    def __init__(self, texts, order, min_counts):
        self.order = order
        self.raw = [Counter() for _ in range(order)]
        for text in texts:
            words = ["<s>", *text.split()]
            for n in range(1, order + 1):
                self.raw[n - 1].update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        self.kept = [
            {g for g, c in raw.items() if c >= least}
            for raw, least in zip(self.raw, min_counts, strict=True)
        ]
        self.adjusted = [self._adjust(n) for n in range(1, order + 1)]
        self.size = len(self.raw[0])  # the beginning makes room for the unseen one

    def _adjust(self, n):
        counts = dict(self.raw[n - 1])
        if n < self.order:
            before = defaultdict(set)
            for gram in self.raw[n]:
                before[gram[1:]].add(gram[0])
            counts |= {gram: len(found) for gram, found in before.items()}
        if n == 1:
            counts[("<s>",)] = 0
        return counts

    def discount(self, n, count):
        if count == 0:
            return 0.0
        seen = Counter(self.adjusted[n - 1].values())
        n1, n2, n3, n4 = (seen[i] for i in (1, 2, 3, 4))
        discounts = FALLBACK_DISCOUNTS
        if min(n1, n2, n3, n4):
            y = n1 / (n1 + 2 * n2)
            found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
            if all(0 < d < i for i, d in enumerate(found, start=1)):
                discounts = found
        return discounts[min(count, 3) - 1]

    def probability(self, context, word):
        n = len(context) + 1
        if n == 0:
            return 1 / self.size
        grams = {g: c for g, c in self.adjusted[n - 1].items() if g[:-1] == context}
        lower = self.probability(context[1:], word) if context else 1 / self.size
        total = sum(grams.values())
        if not total:
            return lower
        own = {g: c - self.discount(n, c) for g, c in grams.items() if g in self.kept[n - 1]}
        gap = 1 - sum(own.values()) / total
        return own.get((*context, word), 0.0) / total + gap * lower

    def bits(self, text):
        words = ["<s>", *text.split()]
        return [
            -math.log2(self.probability(tuple(words[max(0, i - self.order + 1) : i]), words[i]))
            for i in range(1, len(words))
        ]


@pytest.mark.parametrize(
    ("order", "min_counts"), [(1, (1,)), (2, (1, 1)), (3, (1, 1, 1)), (3, (1, 1, 2))]
)
def test_probabilities_are_kneser_neys_by_definition(order, min_counts):
    reference = Reference(TEXTS, order, min_counts)
    model = model_of(TEXTS, order, list(min_counts))
    for text in [*TEXTS, "the mat sat", "a bird sat on the cat", "dog dog dog the"]:
        (mine,), _ = model.bits(UnitBatch.of([hashes(text)]))
        bits = reference.bits(text)
        assert mine == pytest.approx(sum(bits) / len(bits), rel=2e-3)


words = st.sampled_from(["a", "b", "c", "d"])
corpora = st.lists(st.lists(words, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(corpora, st.integers(1, 4), st.integers(1, 2), st.lists(words, max_size=4))
def test_what_may_follow_any_context_sums_to_one(texts, order, least, context):
    min_counts = [1, 1, least, least][:order]
    model = model_of(texts, order, min_counts)
    known = {word for text in texts for word in text.split()}

    def total_bits(text):
        (bits,), _ = model.bits(UnitBatch.of([HASHER(text)]))
        return bits * len(text)

    before = total_bits(context)
    mass = sum(2.0 ** (before - total_bits([*context, word])) for word in (*known, "unseen"))
    assert mass == pytest.approx(1.0, rel=0.02)


def test_counts_are_those_of_a_plain_count_whatever_the_buffer(monkeypatch):
    monkeypatch.setattr(ngram_counts, "BUFFER_UNITS", 5)
    counts = counted(TEXTS * 3, 3)
    for n, level in enumerate(counts, start=1):
        plain = Counter()
        for text in TEXTS * 3:
            row = np.concatenate(([BEGINNING], hashes(text)))
            plain.update(ngram_hashes(row, n).tolist())
        assert dict(zip(level.keys_G.tolist(), level.counts_G.tolist(), strict=True)) == plain


def test_a_long_gram_keeps_its_parts():
    for n, level in enumerate(counted(TEXTS, 3)[1:], start=2):
        shorter = set(counted(TEXTS, 3)[n - 2].keys_G.tolist())
        assert set(level.prefixes_G.tolist()) <= shorter
        assert set(level.suffixes_G.tolist()) <= shorter


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(words, max_size=8), min_size=1, max_size=6), st.data())
def test_a_text_scores_the_same_whatever_stands_beside_it(texts, data):
    model = model_of([*TEXTS, "a b c d a b c a b a"], 3)
    place = data.draw(st.integers(0, len(texts) - 1))
    together = model.bits(UnitBatch.of([HASHER(text) for text in texts]))
    alone = model.bits(UnitBatch.of([HASHER(texts[place])]))
    assert (together[0][place], together[1][place]) == (alone[0][0], alone[1][0])


@pytest.mark.parametrize(("text", "language"), [(GOOD_ENGLISH, "en"), (GOOD_CHINESE, "zh")])
def test_words_in_disorder_cost_more_and_gain_less_from_their_context(text, language):
    row = HASHER(units(text, language))
    counter = NgramCounter(3)
    counter.add(row)
    model = NgramModel.of(*estimate(counter.finish(), [1, 1, 1]))
    mixed = np.random.default_rng(0).permutation(row)
    bits, gains = model.bits(UnitBatch.of([row, mixed]))
    assert bits[1] > bits[0] + 1
    assert gains[1] < gains[0] - 1


def test_an_unseen_word_costs_the_leftover_of_the_uniform_share():
    levels, log_unseen = estimate(counted(TEXTS, 2), [1, 1])
    model = NgramModel.of(levels, log_unseen)
    assert log_unseen < levels[0].log_probs_G[1:].max()
    (bits,), (gain,) = model.bits(UnitBatch.of([hashes("xyzzy")]))
    assert bits > -log_unseen  # and what it costs to leave the beginning's own followers
    assert gain == pytest.approx(-bits - log_unseen)


def test_a_model_on_disk_gives_the_same_numbers(tmp_path):
    model = model_of(TEXTS, 3)
    write_arrays(tmp_path / "a.safetensors", model.arrays())
    arrays = open_arrays(tmp_path / "a.safetensors")
    again = NgramModel.from_arrays(arrays, model.log_unseen)
    batch = UnitBatch.of([hashes(text) for text in TEXTS])
    assert again.bits(batch) == model.bits(batch)
    assert not arrays["marks.1"].flags.writeable
    assert model.num_ngrams == again.num_ngrams > 50


@pytest.mark.parametrize("content", [b"", b"\x10", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]"])
def test_a_broken_file_of_arrays_is_told_in_one_line(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="can't be read as safetensors"):
        open_arrays(tmp_path / "a")


def test_a_file_of_arrays_cut_short_is_told(tmp_path):
    write_arrays(tmp_path / "a", model_of(TEXTS, 2).arrays())
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[:-4])
    with pytest.raises(UserError, match="ends outside the file"):
        open_arrays(tmp_path / "a")
