import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from openqwen.core.errors import UserError
from openqwen.infer.embed import PASS_TOKENS, passes_of
from openqwen.infer.load import load

TEXTS = ["a", "a longer text than that", "", "x" * 20, "汉字", [1, 2, 3, 4]]


def test_a_vector_is_the_mean_of_the_last_hidden_states_over_the_tokens(lm):
    ids = lm.encode("some words")
    with torch.no_grad():
        hidden_1TD = lm.model.hidden(torch.tensor([ids]))
    assert_close(lm.embed(["some words"]), hidden_1TD.mean(1), atol=1e-5, rtol=0)


def test_a_text_gets_the_same_vector_alone_and_among_others(lm):
    together_ND = lm.embed(TEXTS)
    assert together_ND.shape == (len(TEXTS), lm.config.hidden_size)
    assert together_ND.dtype == torch.float32
    for text, vector_D in zip(TEXTS, together_ND, strict=True):
        assert_close(lm.embed([text])[0], vector_D, atol=1e-4, rtol=0)


def test_texts_beyond_the_training_length_keep_their_own_alpha(random_export):
    lm = load(random_export, dtype="float32", context=128)  # trained on 32
    texts = ["a" * n for n in (20, 60, 70, 120)]
    together_ND = lm.embed(texts)
    for text, vector_D in zip(texts, together_ND, strict=True):
        assert_close(lm.embed([text])[0], vector_D, atol=1e-4, rtol=0)
        with torch.no_grad():
            ids_1T = torch.tensor([lm.encode(text)])
            hidden_1TD = lm.model.hidden(ids_1T, long_context=lm.long_context)
        assert_close(vector_D, hidden_1TD[0].mean(0), atol=1e-4, rtol=0)


def test_no_text_gives_no_vector(lm):
    assert lm.embed([]).shape == (0, lm.config.hidden_size)


def test_a_text_longer_than_the_context_is_refused_in_one_line(lm):
    with pytest.raises(UserError, match=r"text 2 of 2 has 33 tokens, the context is 32; cut it"):
        lm.embed(["short", "x" * 33])


@given(st.lists(st.integers(1, 3 * PASS_TOKENS), max_size=60))
@settings(deadline=None)
def test_each_text_goes_once_and_a_pass_is_small_and_little_padded(lengths):
    passes = passes_of(lengths)
    assert sorted(place for places in passes for place in places) == list(range(len(lengths)))
    for places in passes:
        of_pass = [lengths[place] for place in places]
        assert len(places) == 1 or max(of_pass) * len(places) <= PASS_TOKENS
        assert 4 * min(of_pass) >= 3 * max(of_pass)
