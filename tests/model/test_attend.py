import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.model import attention
from openqwen.model.attention import attend


def attend_one_by_one(q_BHTE, k_BKSE, v_BKSE, *, starts, window):
    """Each query against the keys it may see, in float64."""
    q, k, v = (x.double() for x in (q_BHTE, k_BKSE, v_BKSE))
    batch, heads, length, size = q.shape
    out = torch.empty_like(q)
    for b in range(batch):
        for t in range(length):
            place = starts[b % len(starts)] + t
            first = 0 if window is None else max(0, place + 1 - window)
            for h in range(heads):
                group = h * k.shape[1] // heads
                seen_k, seen_v = k[b, group, first : place + 1], v[b, group, first : place + 1]
                scores = seen_k @ q[b, h, t] / math.sqrt(size)
                out[b, h, t] = scores.softmax(0) @ seen_v
    return out.float()


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    groups=st.sampled_from([(1, 1), (4, 2), (3, 1)]),
    length=st.integers(1, 40),
    offsets=st.lists(st.integers(0, 30), min_size=3, max_size=3),
    window=st.one_of(st.none(), st.integers(1, 80)),
    block=st.sampled_from([4, 16, 256]),
)
def test_attention_is_what_each_query_alone_would_see(
    batch, groups, length, offsets, window, block
):
    starts = offsets[:batch]
    generator = torch.Generator().manual_seed(length)
    heads, kv_heads = groups
    q = torch.randn(batch, heads, length, 8, generator=generator)
    k, v = torch.randn(2, batch, kv_heads, max(starts) + length, 8, generator=generator)
    before, attention.QUERY_BLOCK = attention.QUERY_BLOCK, block
    try:
        got = attend(q, k, v, starts=starts, window=window)
        same = attend(q[:1], k[:1], v[:1], starts=starts[:1], window=window)
    finally:
        attention.QUERY_BLOCK = before
    expected = attend_one_by_one(q, k, v, starts=starts, window=window)
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-5)
    if starts[0] + length == k.shape[2]:
        torch.testing.assert_close(same, expected[:1], atol=2e-6, rtol=1e-5)


def test_a_window_shrinks_the_work_not_only_the_mask(monkeypatch):
    scores = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def counted(q, k, v, **kwargs):
        scores.append(q.shape[2] * k.shape[2])
        return fused(q, k, v, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    q = torch.randn(1, 1, 4096, 8)
    attend(q, q, q, starts=[0], window=128)
    assert sum(scores) < 4096 * (128 + 2 * attention.QUERY_BLOCK)


def test_plain_causal_attention_is_one_fused_call(monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    q = torch.randn(2, 4, 64, 8)
    attend(q, q, q, starts=[0], window=None)
    attend(q, q, q, starts=[0], window=64)
    assert [call.get("is_causal") for call in calls] == [True, True]
    assert all(call.get("attn_mask") is None for call in calls)


@pytest.mark.parametrize("window", [None, 5])
def test_a_gradient_flows_through_blocks(window):
    q = torch.randn(1, 2, 20, 8, requires_grad=True)
    attend(q, q, q, starts=[0], window=window).square().sum().backward()
    assert q.grad is not None
    assert bool(q.grad.abs().sum(-1).gt(0).all())
