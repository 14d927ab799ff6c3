import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import random_ids, roughen, small_config

from openqwen.model import attention
from openqwen.model.decoder import empty_decoder, initialise, new_decoder
from openqwen.model.kv_cache import GROWTH_TOKENS, KVCache
from openqwen.model.layers import RMSNorm
from openqwen.model.long_context import LongContext

ALL = LongContext(ntk=True, logn=True, windows=(7, 15, 40))
METHODS = [
    LongContext(),
    LongContext(ntk=True),
    LongContext(logn=True),
    LongContext(windows=(3, 9, 100)),
    ALL,
]


@pytest.fixture(scope="module")
def model():
    return roughen(new_decoder(small_config(), seed=0)).eval()


def feed(model, ids_BT, sizes, *, methods, prompt_lengths, lengths=None):
    """Logits of the last chunk's positions after feeding `ids_BT` in chunks of these sizes."""
    cache = KVCache(model.config, prompt_lengths=prompt_lengths, long_context=methods)
    out, begin = [], 0
    with torch.no_grad():
        for size in sizes:
            out.append(model(ids_BT[:, begin : begin + size], cache=cache, lengths_B=lengths))
            begin += size
    return torch.cat(out, dim=1)


@pytest.mark.parametrize("methods", METHODS)
@torch.no_grad()
def test_a_cached_sequence_gives_the_logits_of_the_whole(model, methods):
    ids_BT = random_ids(1, 70)
    whole = model(ids_BT, long_context=methods)
    stepped = feed(model, ids_BT, [50] + [1] * 20, methods=methods, prompt_lengths=[70])
    torch.testing.assert_close(stepped, whole, atol=1e-4, rtol=0)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6), methods=st.sampled_from(METHODS))
@torch.no_grad()
def test_chunked_prefill_is_one_prefill(model, sizes, methods):
    ids_BT = random_ids(2, sum(sizes))
    whole = model(ids_BT, long_context=methods)
    chunked = feed(model, ids_BT, sizes, methods=methods, prompt_lengths=[sum(sizes)] * 2)
    torch.testing.assert_close(chunked, whole, atol=1e-4, rtol=0)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=4), methods=st.sampled_from(METHODS)
)
@torch.no_grad()
def test_every_row_of_a_batch_is_as_if_alone(model, lengths, methods):
    ids_BT = random_ids(len(lengths), max(lengths) + 3)
    rows = [ids_BT[i : i + 1, : n + 3] for i, n in enumerate(lengths)]
    padded = torch.full((len(lengths), max(lengths)), 5)
    for i, n in enumerate(lengths):
        padded[i, :n] = ids_BT[i, :n]
    cache = KVCache(model.config, prompt_lengths=lengths, long_context=methods)
    batched = model(padded, cache=cache, lengths_B=lengths)
    uncached = model(padded, long_context=methods, lengths_B=lengths)
    following = torch.stack([ids_BT[i, n : n + 3] for i, n in enumerate(lengths)])
    steps = torch.cat([model(following[:, t : t + 1], cache=cache) for t in range(3)], dim=1)
    for i, n in enumerate(lengths):
        alone = feed(model, rows[i], [n, 1, 1, 1], methods=methods, prompt_lengths=[n])[0]
        torch.testing.assert_close(batched[i, :n], alone[:n], atol=1e-4, rtol=0)
        torch.testing.assert_close(uncached[i, :n], alone[:n], atol=1e-4, rtol=0)
        torch.testing.assert_close(steps[i], alone[n:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_rows_that_leave_a_batch_do_not_disturb_the_others(model):
    lengths = [40, 9, 20]
    ids_BT = random_ids(3, 41)
    cache = KVCache(model.config, prompt_lengths=lengths, long_context=ALL)
    model(ids_BT[:, :40], cache=cache, lengths_B=lengths)
    cache.keep_rows([2, 0])
    got = model(random_ids(2, 1, seed=4), cache=cache)
    for row, (i, n) in enumerate(((2, 20), (0, 40))):
        alone = KVCache(model.config, prompt_lengths=[n], long_context=ALL)
        model(ids_BT[i : i + 1, :n], cache=alone)
        expected = model(random_ids(2, 1, seed=4)[row : row + 1], cache=alone)
        torch.testing.assert_close(got[row : row + 1], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_alpha_is_the_prompts_even_where_the_sequence_grows_past_a_step(model):
    methods = LongContext(ntk=True)
    cache = KVCache(model.config, prompt_lengths=[10], long_context=methods)
    model(random_ids(1, 10), cache=cache)
    model(random_ids(1, 30, seed=1), cache=cache)
    assert (cache.alphas, cache.lengths) == ([1], [40])
    keys, values = cache.layer(0)
    assert keys.shape == values.shape == (1, 2, 40, 8)


@torch.no_grad()
def test_the_cache_of_windowed_layers_is_bounded_whatever_the_length(model):
    windows, chunk = (8, 40, 100), 8
    config = model.config
    one_token = 2 * config.num_key_value_heads * config.head_dim * 4  # float32 key and value
    bound = sum(2 * (window + GROWTH_TOKENS) + chunk for window in windows) * one_token
    ids_BT = random_ids(1, 1600)
    sizes = {}
    for kind in (windows, None):
        cache = KVCache(
            config, prompt_lengths=[1600], long_context=LongContext(logn=True, windows=kind)
        )
        sizes[kind] = []
        for begin in range(0, 1600, chunk):
            model.hidden(ids_BT[:, begin : begin + chunk], cache=cache)
            sizes[kind].append(cache.num_bytes)
    assert max(sizes[windows]) <= bound
    assert max(sizes[windows][100:]) == max(sizes[windows][150:])  # no growth late
    assert sizes[None][-1] >= 1600 * one_token * config.num_hidden_layers > 4 * bound


@torch.no_grad()
def test_attention_work_of_each_layer_follows_its_window(model, monkeypatch):
    touched = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def counted(q, k, v, **kwargs):
        touched.append(q.shape[2] * k.shape[2])
        return fused(q, k, v, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    ids_BT, block = random_ids(1, 2048), attention.QUERY_BLOCK
    model.hidden(ids_BT, long_context=LongContext(windows=(16, 128, 512)))
    calls = 2048 // block
    layers = [sum(touched[i * calls : (i + 1) * calls]) for i in range(3)]
    for work, window in zip(layers, (16, 128, 512), strict=True):
        assert work <= 2048 * (window + block)
    assert len(touched) == 3 * calls
    touched.clear()
    cache = KVCache(
        model.config, prompt_lengths=[2049], long_context=LongContext(windows=(16, 128, 512))
    )
    model.hidden(ids_BT, cache=cache)
    touched.clear()
    model.hidden(random_ids(1, 1), cache=cache)
    assert touched == [16, 128, 512]


@torch.no_grad()
def test_methods_do_nothing_within_the_training_length(model):
    ids_BT = random_ids(2, 16)
    plain = model(ids_BT)
    assert torch.equal(model(ids_BT, long_context=LongContext(ntk=True, logn=True)), plain)


@torch.no_grad()
def test_training_mode_ignores_the_methods(model):
    ids_BT = random_ids(1, 60)
    plain, extended = model(ids_BT), model(ids_BT, long_context=ALL)
    model.train()
    try:
        assert torch.equal(model(ids_BT, long_context=ALL), plain)
    finally:
        model.eval()
    assert not torch.allclose(extended, plain, atol=1e-2)


def test_methods_beside_a_cache_are_refused(model):
    cache = KVCache(model.config, prompt_lengths=[3])
    with pytest.raises(ValueError, match="give one of the two"):
        model(random_ids(1, 3), cache=cache, long_context=ALL)


@torch.no_grad()
def test_logits_are_the_head_on_the_hidden_states(model):
    ids_BT = random_ids(2, 9)
    hidden = model.hidden(ids_BT)
    assert hidden.shape == (2, 9, 48)
    assert torch.equal(hidden @ model.lm_head.weight.T, model(ids_BT))


def test_a_tied_head_is_the_embedding_and_learns_with_it():
    model = new_decoder(small_config(tie_word_embeddings=True), seed=0)
    assert model.lm_head.weight is model.embed_tokens.weight
    model(random_ids(1, 5)).sum().backward()
    assert "lm_head.weight" not in dict(model.named_parameters())
    assert model.embed_tokens.weight.grad is not None


def test_initial_weights_depend_on_the_seed_alone_and_have_the_stated_sizes():
    config = small_config(hidden_size=240, head_dim=40, vocab_size=2000, num_hidden_layers=8)
    torch.manual_seed(1)
    first = new_decoder(config, seed=3).state_dict()
    torch.manual_seed(2)
    again = new_decoder(config, seed=3).state_dict()
    other = new_decoder(config, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
    assert first["embed_tokens.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert first["layers.3.attention.qkv.weight"].std() == pytest.approx(0.02, rel=0.02)
    residual = 0.02 / math.sqrt(16)
    for name in ("layers.3.attention.out.weight", "layers.3.mlp.down.weight"):
        assert first[name].std() == pytest.approx(residual, rel=0.02)
    assert first["layers.3.attention.qkv.bias"].abs().max() == 0
    assert first["norm.weight"].unique().tolist() == [1.0]


def test_a_bfloat16_model_is_the_float32_one_rounded():
    config = small_config()
    wide, narrow = new_decoder(config, seed=1), new_decoder(config, seed=1, dtype=torch.bfloat16)
    for a, b in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert b.dtype == torch.bfloat16
        assert torch.equal(a.to(torch.bfloat16), b)


@torch.no_grad()
def test_a_bfloat16_pass_stays_in_bfloat16_and_near_float32(model):
    narrow = empty_decoder(model.config, dtype=torch.bfloat16)
    narrow.load_state_dict(model.state_dict())
    types = set()
    for module in narrow.modules():
        module.register_forward_hook(lambda _m, _i, out: types.add(out.dtype))
    ids_BT = random_ids(1, 60)
    got = narrow.eval()(ids_BT, long_context=ALL).float()
    assert types == {torch.bfloat16}
    wide = model(ids_BT, long_context=ALL)
    assert (got - wide).abs().mean() < 0.05 * wide.abs().mean()


def test_norm_divides_by_the_root_mean_square_before_the_weight():
    norm = RMSNorm(4, eps=1e-6)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    got = norm(torch.tensor([[2.0, -2.0, 2.0, -2.0]]))
    torch.testing.assert_close(got, torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
    assert norm(torch.zeros(1, 4)).abs().max() == 0


def test_initialise_overwrites_whatever_was_there():
    model = roughen(new_decoder(small_config(), seed=0))
    initialise(model, seed=9)
    fresh = new_decoder(small_config(), seed=9)
    for a, b in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)
