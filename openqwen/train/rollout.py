"""Responses sampled from the policy on our own inference engine (§3.2.2).

    rollouts = sample_responses(policy, prompts, seeds=seeds, max_new_tokens=64, top_p=0.9, …)
    rollouts.responses[0]           # ids, the end token among them where it came

The only training code that uses inference. Rows are split into chunks of a fixed size and each row
draws from a seed of its own, so results depend on neither processors nor neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openqwen.core.workers import Workers
from openqwen.data.training.packing import chunks_by_length
from openqwen.infer.batch import decode
from openqwen.infer.sampling import allowed_rows, draw_rows
from openqwen.model.decoder import Decoder
from openqwen.tokenizer.tokenizer import Tokenizer

CHUNK_ROWS = 32


@dataclass(frozen=True)
class Rollouts:
    """Sampled responses.

    Attributes:
        responses: ids of each, its end token included.
        ended: whether an end token came before the length ran out.
        kept_mass: share of probability that top-p kept, a mean over all tokens.
    """

    responses: list[list[int]]
    ended: list[bool]
    kept_mass: float


@dataclass(frozen=True)
class Vocabulary:
    """Which ids may be drawn, (V,) bool, which end a response, and which one a score is read at."""

    allowed_V: Tensor
    stop_ids: tuple[int, ...]
    end_id: int


def vocabulary_of(tokenizer: Tokenizer, vocab_size: int) -> Vocabulary:
    """Return what sampling and scoring need of a tokenizer; `vocab_size` in rows of the model."""
    allowed_V = allowed_rows(vocab_size, tokenizer)
    return Vocabulary(allowed_V, tuple(tokenizer.stop_ids), tokenizer.im_end_id)


def sample_responses(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    seeds: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    vocabulary: Vocabulary,
    workers: Workers,
) -> Rollouts:
    """Sample one response a prompt.

    Args:
        model: the policy, in evaluation mode or not: it has no state but its weights.
        prompts: ids; equal ones may repeat, each draws by its own one of `seeds`.
        max_new_tokens: length that ends a response.
        temperature: above 0; `top_p` is the mass of the likeliest tokens that are drawn from.
        vocabulary: what may be drawn and what ends a response.
        workers: each works on a chunk of rows.
    """
    chunks = chunks_by_length([len(prompt) for prompt in prompts], CHUNK_ROWS)
    bias_V = torch.zeros(len(vocabulary.allowed_V))
    bias_V.masked_fill_(~vocabulary.allowed_V, -torch.inf)
    bias_V = bias_V.to(model.lm_head.weight.device)

    def sample(chunk: list[int]) -> tuple[list[list[int]], int]:
        generators = [torch.Generator().manual_seed(seeds[i]) for i in chunk]
        replies: list[list[int]] = [[] for _ in chunk]
        kept = 0

        def choose(running: list[int], logits_BV: Tensor) -> list[int | None]:
            nonlocal kept
            tokens, first = draw_rows(
                logits_BV,
                temperature=temperature,
                top_p=top_p,
                bias_V=bias_V,
                generators=[generators[row] for row in running],
            )
            kept += sum(first)
            found: list[int | None] = []
            for row, token in zip(running, tokens, strict=True):
                replies[row].append(token)
                ends = token in vocabulary.stop_ids or len(replies[row]) >= max_new_tokens
                found.append(None if ends else token)
            return found

        decode(model, [prompts[i] for i in chunk], choose)
        return replies, kept

    responses: list[list[int]] = [[] for _ in prompts]
    kept = 0
    for chunk, (replies, kept_here) in zip(chunks, workers.map(sample, chunks), strict=True):
        kept += kept_here
        for i, reply in zip(chunk, replies, strict=True):
            responses[i] = reply
    ended = [reply[-1] in vocabulary.stop_ids for reply in responses]
    return Rollouts(responses, ended, kept / sum(map(len, responses)))
