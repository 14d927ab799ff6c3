import random

import numpy as np
import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.data.scores.classifier import train_classifier
from openqwen.data.scores.config import ScorerTraining
from openqwen.data.scores.features import FeatureSpace
from openqwen.data.scores.logistic import SparseRows, fit_logistic, fit_platt, minimise, sigmoid
from openqwen.data.scores.measures import area_interval, area_under_curve
from openqwen.data.scores.reading import FORM_NAMES, MAX_CHARS, Reader

CONFIG = ScorerTraining(num_bits=12)
SPACE = FeatureSpace(12)


def form(text):
    (row,) = Reader()([text], "en").form_DM
    return dict(zip(FORM_NAMES, row, strict=True))


def sentences(text):
    return [part.strip() for part in text.replace("。", ".").split(".") if len(part.strip()) > 8]


def samples(text, language, seed=0, count=12):
    """Prose of a few sentences, and the same words in lines of links."""
    draw = random.Random(seed)
    end = "。" if language == "zh" else ". "
    parts = sentences(text)
    good = [end.join(draw.choices(parts, k=3)) + end.strip() for _ in range(count)]
    bad = [
        "\n".join(draw.choices(parts[0].split() if language == "en" else parts[0], k=40))
        for _ in good
    ]
    return good, bad


def rows(texts, language="en"):
    return [SPACE.row(Reader()([text], language)) for text in texts]


def trained(language="en", text=GOOD_ENGLISH, **facts):
    good, bad = samples(text, language, **facts)
    return train_classifier(rows(good, language), rows(bad, language), CONFIG)


def test_the_measures_of_form_are_what_their_names_say():
    found = form("Ab cd.\n\n3!x ")
    assert found["mean line length"] == pytest.approx(np.log2(10 / 1))
    assert found["ended lines"] == 1.0  # the last ends in a space, and counts as no line of prose
    assert found["digits"] == pytest.approx(1 / 10)
    assert found["upper case"] == pytest.approx(1 / 10)
    assert found["ends"] == pytest.approx(2 / 10)
    assert found["spaces"] == pytest.approx(2 / 10)
    assert form("a b a b a b a b")["different pairs"] == pytest.approx(2 / 7)
    assert form("你好。再见\n#")["ended lines"] == 0.0


def test_of_a_huge_text_four_slices_are_read():
    text = "".join(f"<{i}>" for i in range(200_000))
    (read,) = Reader()([text], "en").texts
    assert len(read) == MAX_CHARS + 3
    assert read.startswith("<0><1>")
    assert read.endswith(text[-30:])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("ab猫狗 .\n1", max_size=30), min_size=1, max_size=5), st.data())
def test_a_text_scores_the_same_alone_beside_others_and_by_its_row(texts, data):
    language = data.draw(st.sampled_from(["en", "zh"]))
    weights = np.random.default_rng(0).normal(size=SPACE.size).astype(np.float32)
    together = SPACE.products(Reader()(texts, language), weights)
    for text, product in zip(texts, together, strict=True):
        alone = Reader()([text], language)
        assert SPACE.products(alone, weights)[0] == product
        places, values = SPACE.row(alone)
        assert values @ weights[places] == pytest.approx(product, rel=1e-5, abs=1e-5)


def test_lbfgs_finds_the_bottom_of_a_bowl():
    scales = np.array([1.0, 5.0, 20.0])
    target = np.array([1.0, -2.0, 3.0])

    def bowl(point):
        return 0.5 * float(scales @ (point - target) ** 2), scales * (point - target)

    assert minimise(bowl, np.zeros(3), max_steps=60) == pytest.approx(target, abs=0.05)


def test_the_fit_weighs_both_classes_alike():
    row = (np.array([0]), np.array([1.0]))
    data = SparseRows.of([row] * 10, 1)
    _, bias = fit_logistic(data, np.arange(10) < 9, l2=1.0)
    assert bias == pytest.approx(0.0, abs=1e-3)


def test_calibration_gives_the_share_of_good_among_equal_margins():
    margins = np.repeat([1.0, -1.0], 100)
    is_good = np.concatenate([np.arange(100) < 80, np.arange(100) < 20])
    slope, offset = fit_platt(margins, is_good)
    assert sigmoid(np.array([slope + offset, offset - slope])) == pytest.approx(
        [0.8, 0.2], abs=0.02
    )


def test_a_clean_separation_is_no_certainty():
    slope, offset = fit_platt(np.array([1.0, 1.0, -1.0, -1.0]), np.arange(4) < 2)
    assert sigmoid(np.array([slope + offset]))[0] == pytest.approx(3 / 4, abs=0.01)


def test_margins_that_tell_nothing_or_lie_give_one_probability():
    is_good = np.arange(20) % 2 == 0
    for margins in (np.zeros(20), np.where(is_good, -1.0, 1.0)):
        slope, offset = fit_platt(margins, is_good)
        assert slope * 1.0 == pytest.approx(0.0, abs=1e-6)
        assert offset == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("text", "language"), [(GOOD_ENGLISH, "en"), (GOOD_CHINESE, "zh")])
def test_prose_is_told_from_lists_in_both_languages(text, language):
    result = trained(language, text)
    assert result.measures["auc"] > 0.99
    good, bad = samples(text, language, seed=1)
    found = result.classifier.probabilities(Reader()([*good, *bad], language))
    assert min(found[: len(good)]) > 0.5 > max(found[len(good) :])


@pytest.mark.parametrize("count", [2, 3])
def test_tiny_training_sets_give_numbers(count):
    result = trained(count=count)
    assert np.isfinite(result.classifier.weights_F).all()
    assert all(0 < p < 1 for p in result.held_out_good)
    low, high = result.measures["auc_interval"]
    assert low < 0.8
    assert high <= 1.0


def test_samples_that_are_alike_in_both_classes_are_a_coin_toss():
    texts = [f"The number {i} of the harbour." for i in range(40)]
    result = train_classifier(rows(texts[::2]), rows(texts[1::2]), CONFIG)
    low, high = result.measures["auc_interval"]
    assert low < 0.5 < high
    assert (
        result.classifier.slope == pytest.approx(0.0, abs=1e-3)
        or 0.2 < np.mean(result.held_out_good) < 0.8
    )


def test_held_out_means_not_trained_on():
    """Random words are learnt by heart, and tell nothing of others."""
    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefgh", k=6)) + "." for _ in range(40)]
    result = train_classifier(rows(texts[:20]), rows(texts[20:]), CONFIG)
    seen = SPACE.products(Reader()(texts, "en"), result.classifier.weights_F)
    assert area_under_curve(seen[:20], seen[20:]) > 0.95
    assert result.measures["auc"] < 0.8


scores = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(scores, scores)
def test_the_area_is_the_share_of_pairs_in_order(good, bad):
    pairs = [1.0 if g > b else 0.5 if g == b else 0.0 for g in good for b in bad]
    assert area_under_curve(good, bad) == pytest.approx(sum(pairs) / len(pairs))


def test_the_interval_of_an_area():
    assert area_interval(0.5, 100, 100) == pytest.approx((0.4204, 0.5796), abs=1e-3)
    low, high = area_interval(
        1.0, 10, 10
    )  # by the standard error at 1, which is 0, it would be a point
    assert (high, 0.6 < low < 0.95) == (1.0, True)
    wide = area_interval(0.9, 10, 10)
    narrow = area_interval(0.9, 1000, 1000)
    assert wide[0] < narrow[0] < 0.9 < narrow[1] < wide[1]
    with pytest.raises(ValueError, match="both classes"):
        area_under_curve([], [1.0])
