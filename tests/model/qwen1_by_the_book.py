"""Qwen-1 once more, written from its description and sharing nothing with openqwen: float64, loops.

It reads published tensor names and gave the logits of all recorded cases of the original to 2e-5,
so here it stands for the original at any shape, and for layer-wise windows, which have no original.
"""

import math

import torch


def alpha_of(length, train_length):
    return max(2 ** math.ceil(math.log2(length / train_length) + 1) - 1, 1)


def logits_of(tensors, config, ids, *, alpha=1, logn=False, windows=None, eps=1e-6):
    """Logits (T, V) in float64 of one sequence, at a given α, for published Qwen-1 tensors."""
    w = {name: tensor.double() for name, tensor in tensors.items()}
    heads, size = config["num_attention_heads"], config["kv_channels"]
    x = w["transformer.wte.weight"][ids]
    angles = _angles(len(ids), size, config["rotary_emb_base"] * alpha ** (size / (size - 2)))
    for layer in range(config["num_hidden_layers"]):
        name = f"transformer.h.{layer}"
        seen = len(ids) if windows is None else windows[layer]
        a = _norm(x, w[f"{name}.ln_1.weight"], eps)
        qkv = a @ w[f"{name}.attn.c_attn.weight"].T + w[f"{name}.attn.c_attn.bias"]
        q, k, v = qkv.split(heads * size, dim=1)
        parts = []
        for head in range(heads):
            mine = slice(head * size, (head + 1) * size)
            parts.append(
                _attend(q[:, mine], k[:, mine], v[:, mine], angles, config, logn=logn, seen=seen)
            )
        x = x + torch.cat(parts, dim=1) @ w[f"{name}.attn.c_proj.weight"].T
        a = _norm(x, w[f"{name}.ln_2.weight"], eps)
        gate, up = a @ w[f"{name}.mlp.w2.weight"].T, a @ w[f"{name}.mlp.w1.weight"].T
        x = x + (up * gate / (1 + torch.exp(-gate))) @ w[f"{name}.mlp.c_proj.weight"].T
    return _norm(x, w["transformer.ln_f.weight"], eps) @ w["lm_head.weight"].T


def _angles(length, size, base):
    inverse = 1.0 / base ** (torch.arange(0, size, 2).float() / size)  # float32, as the original
    return (torch.arange(length).float()[:, None] * inverse).double()


def _attend(q, k, v, angles, config, *, logn, seen):
    q, k = _turn(q, angles), _turn(k, angles)
    train_length = config["seq_length"]
    rows = []
    for place in range(len(q)):
        query = q[place]
        if logn and place + 1 > train_length:
            query = query * math.log(place + 1) / math.log(train_length)
        first = max(0, place + 1 - seen)
        scores = k[first : place + 1] @ query / math.sqrt(q.shape[1])
        rows.append(torch.softmax(scores, 0) @ v[first : place + 1])
    return torch.stack(rows)


def _turn(x, angles):
    half = x.shape[1] // 2
    left, right = x[:, :half], x[:, half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=1)


def _norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(1, keepdim=True) + eps) * weight
