"""Perplexity by length (Table 3): the same text at every length, method by method.

    methods = table3_methods(model.config, LongContextConfig())
    loss = document_losses(model, ids_N, 1024, methods[0], stride=128)

Documents of at least the largest length give their first tokens; at each length L they are cut into
chunks of L and every position of a chunk is scored, so each length scores the same tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openqwen.eval.config import METHODS, LongContextConfig
from openqwen.eval.work import pass_flops
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import Decoder
from openqwen.model.likelihood import IGNORED, PASS_TOKENS, sequence_losses
from openqwen.model.long_context import NO_EXTENSION, LongContext, window_schedule


@dataclass(frozen=True)
class Method:
    """One row of the table; `truncated` shows each position only the last tokens before it."""

    name: str
    long_context: LongContext = NO_EXTENSION
    truncated: bool = False
    is_control: bool = False


def table3_methods(shape: ModelConfig, config: LongContextConfig) -> list[Method]:
    """Return the rows asked for: Table 3's, each method alone, two controls (ours)."""
    low_share, high_share = config.window_shares
    windows = window_schedule(
        shape.num_hidden_layers, shape.train_length, low_share=low_share, high_share=high_share
    )
    uniform = (shape.train_length,) * shape.num_hidden_layers
    rows = {
        "ntk": Method("+ dynamic NTK", LongContext(ntk=True)),
        "ntk+logn": Method("+ dynamic NTK + LogN", LongContext(ntk=True, logn=True)),
        "ntk+logn+windows": Method(
            "+ dynamic NTK + LogN + windows", LongContext(True, True, windows)
        ),
        "logn": Method("LogN alone", LongContext(logn=True)),
        "windows": Method("windows alone", LongContext(windows=windows)),
        "uniform": Method("control: uniform window", LongContext(windows=uniform), is_control=True),
        "truncated": Method("control: truncated context", truncated=True, is_control=True),
    }
    assert tuple(rows) == METHODS, "settings name the rows"
    return [Method("no method"), *(rows[name] for name in METHODS if name in config.methods)]


def document_losses(
    model: Decoder, ids_N: Tensor, length: int, method: Method, *, stride: int
) -> float:
    """Return the summed loss of one document's tokens, cut to chunks of `length`, in nats.

    Args:
        model: in evaluation mode.
        ids_N: a whole number of chunks and one token more; each token but the first is scored.
        length: tokens a chunk.
        method: in force only where the chunk exceeds the training length; below it every method
            is the model itself.
        stride: step of the truncated control, in tokens.
    """
    train_length = model.config.train_length
    count = (len(ids_N) - 1) // length
    assert count * length == len(ids_N) - 1, "the text is a whole number of chunks and one token"
    inputs_BT = ids_N[:-1].reshape(count, length)
    targets_BT = ids_N[1:].reshape(count, length)
    extended = length > train_length
    if method.truncated and extended:
        return sum(
            _truncated_loss(model, inputs_T, targets_T, stride)
            for inputs_T, targets_T in zip(inputs_BT, targets_BT, strict=True)
        )
    long_context = method.long_context if extended else NO_EXTENSION
    return _summed_loss(model, inputs_BT, targets_BT, long_context)


def _summed_loss(
    model: Decoder, inputs_BT: Tensor, targets_BT: Tensor, long_context: LongContext
) -> float:
    rows = max(1, PASS_TOKENS // inputs_BT.shape[1])
    total = 0.0
    for start in range(0, len(inputs_BT), rows):
        part = slice(start, start + rows)
        losses_N = sequence_losses(
            model, inputs_BT[part], targets_BT[part], long_context=long_context
        )
        total += float(losses_N.double().sum())
    return total


def _truncated_loss(model: Decoder, inputs_T: Tensor, targets_T: Tensor, stride: int) -> float:
    """Score a chunk with contexts of at most the training length, moved on by `stride`."""
    size, total = model.config.train_length, len(inputs_T)
    first = _summed_loss(model, inputs_T[None, :size], targets_T[None, :size], NO_EXTENSION)
    starts = range(stride, total - size + 1, stride)
    windows_BT = torch.stack([inputs_T[s : s + size] for s in starts])
    targets_BT = torch.stack([targets_T[s : s + size] for s in starts]).clone()
    targets_BT[:, :-stride] = IGNORED  # scored by an earlier window
    return first + _summed_loss(model, windows_BT, targets_BT, NO_EXTENSION)


def loss_flops(shape: ModelConfig, length: int, method: Method, *, stride: int) -> float:
    """Return the floating-point operations of one chunk of `length` in `document_losses`."""
    extended = length > shape.train_length
    if method.truncated and extended:
        size = shape.train_length
        passes = 1 + len(range(stride, length - size + 1, stride))
        return passes * pass_flops(shape, tokens=size, windows=None, scored=size)
    windows = method.long_context.windows if extended else None
    return pass_flops(shape, tokens=length, windows=windows, scored=length)


def perplexity(total_loss: float, num_tokens: int) -> float:
    """Return the perplexity of a summed loss in nats; infinite where it overflows."""
    mean = total_loss / num_tokens
    return math.exp(mean) if mean < 700 else math.inf


def pick_documents(lengths_N: Sequence[int], wanted: int, count: int) -> list[int]:
    """Return the places of the first `count` documents that hold `wanted` tokens and one more."""
    return [i for i, n in enumerate(lengths_N) if n > wanted][:count]
