"""What the models of one run can do, on a few hundred items: the recipes' evaluation stage (ours).

    found = measure_models({"base": base, "chat": chat}, shards, EvaluationConfig(), seed=0)

All models get the same items, so differences are paired. Bits a byte and continuations ask for
likelihoods, which even the smallest model has; arithmetic and tool calls ask for replies.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from openqwen.core.intervals import mean_interval, measured_share
from openqwen.core.log import Progress
from openqwen.core.workers import Workers
from openqwen.data.training.math_problems import make_problems, read_answer
from openqwen.data.training.shards import Span, TokenShard, read_shard
from openqwen.eval.config import EvaluationConfig
from openqwen.eval.small_tools import judge_call, tool_questions
from openqwen.infer.load import LanguageModel, load
from openqwen.model.likelihood import IGNORED, sequence_losses

CHOICES = 4
BATCH = 16
NUM_EXAMPLES = 4
Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Passage:
    """A passage and four continuations of it, the true one first."""

    group: str
    passage_T: Tensor
    choices_T: list[Tensor]


def measure_models(
    models: Mapping[str, Path], shards: Path, config: EvaluationConfig, *, seed: int
) -> dict[str, Any]:
    """Measure every model on the same items.

    Args:
        models: name -> export directory; all of one vocabulary, the first is compared against.
        shards: the shards stage's directory, whose validation split is used.
        config: how many items.
        seed: of every draw.

    Returns:
        JSON-ready: seed, counts, and for each model bits a byte by group with paired differences
        to the first, and the shares of right continuations, answers and tool calls.
    """
    validation = read_shard(shards, "validation")
    token_bytes_V = torch.from_numpy(np.load(shards / "token_bytes.npy", allow_pickle=False))
    documents = pick_texts(validation, config)
    passages = make_passages(validation, config, seed=seed)
    measured: dict[str, dict[str, Any]] = {}
    bits: dict[str, dict[str, list[float]]] = {}
    progress = Progress("evaluation", total=len(models), unit="models")
    for name, directory in models.items():
        lm = load(directory, dtype=config.dtype)
        bits[name] = {
            group: bits_a_byte(lm, texts, token_bytes_V) for group, texts in documents.items()
        }
        first = next(iter(bits.values()))
        measured[name] = {
            "bits": {
                group: _bits_row(values, first[group]) for group, values in bits[name].items()
            },
            "continuations": _continuations(lm, passages),
            "arithmetic": _arithmetic(lm, config, seed),
            "tool_form": _tool_form(lm, config, seed),
        }
        progress.advance(1)
    progress.close()
    return {
        "seed": seed,
        "chance": 1 / CHOICES,
        "documents": {group: len(texts) for group, texts in documents.items()},
        "models": measured,
    }


def pick_texts(shard: TokenShard, config: EvaluationConfig) -> dict[str, list[Tensor]]:
    """Return each group's first documents, cut, as token ids (T,) int64."""
    found: dict[str, list[Tensor]] = {}
    for span in shard.spans:
        texts = found.setdefault(span.group, [])
        if len(texts) < config.documents_a_group and span.tokens > 2:
            texts.append(_ids(shard, span)[: config.document_tokens])
    return {group: texts for group, texts in sorted(found.items()) if len(texts) > 1}


def make_passages(shard: TokenShard, config: EvaluationConfig, *, seed: int) -> list[Passage]:
    """Draw passages and, for each, continuations from other documents of its group."""
    rng = np.random.default_rng([seed, 10])
    whole = config.passage_tokens + config.continuation_tokens
    by_group: dict[str, list[Span]] = {}
    for span in shard.spans:
        if span.tokens >= whole:
            by_group.setdefault(span.group, []).append(span)
    groups = [group for group, spans in sorted(by_group.items()) if len(spans) >= CHOICES]
    found = []
    for number in range(config.num_continuations if groups else 0):
        group = groups[number % len(groups)]
        spans = by_group[group]
        chosen = [spans[i] for i in rng.permutation(len(spans))[:CHOICES]]
        cuts = []
        for span in chosen:
            start = int(rng.integers(0, span.tokens - whole + 1))
            cuts.append(_ids(shard, span)[start : start + whole])
        choices = [cut[config.passage_tokens :] for cut in cuts]
        found.append(Passage(group, cuts[0][: config.passage_tokens], choices))
    return found


@torch.no_grad()
def bits_a_byte(lm: LanguageModel, texts: Sequence[Tensor], token_bytes_V: Tensor) -> list[float]:
    """Return the bits that each text's tokens after the first take, over their bytes."""

    def measure(batch: Sequence[Tensor]) -> list[float]:
        losses_BT = _losses(lm, batch, [1] * len(batch))
        return [
            float(losses_T.double().sum())
            / math.log(2)
            / max(1, int(token_bytes_V[text_T[1:]].sum()))
            for text_T, losses_T in zip(batch, losses_BT, strict=True)
        ]

    return _side_by_side(lm, measure, texts, BATCH)


@torch.no_grad()
def right_continuations(lm: LanguageModel, passages: Sequence[Passage]) -> list[bool]:
    """Return for each passage whether its own continuation is the likeliest of the four."""

    def measure(batch: Sequence[Passage]) -> list[bool]:
        rows = [torch.cat([p.passage_T, choice_T]) for p in batch for choice_T in p.choices_T]
        first = [len(p.passage_T) for p in batch for _ in p.choices_T]
        sums_BC = _losses(lm, rows, first).double().sum(1).view(len(batch), CHOICES)
        hits: list[bool] = (sums_BC[:, 0] < sums_BC[:, 1:].min(1).values).tolist()
        return hits

    return _side_by_side(lm, measure, passages, BATCH // CHOICES)


def _side_by_side(
    lm: LanguageModel,
    measure: Callable[[Sequence[Item]], list[Found]],
    items: Sequence[Item],
    size: int,
) -> list[Found]:
    """Return what a measure says of all items, a processor a batch of `size`."""
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    with Workers(0 if lm.model.device.type == "cpu" else 1) as workers:
        return [one for found in workers.map(measure, batches) for one in found]


def _losses(lm: LanguageModel, texts: Sequence[Tensor], first_scored: Sequence[int]) -> Tensor:
    """Return each token's loss in nats, (B, T); 0 before a text's first scored token and after."""
    width = max(len(text_T) for text_T in texts)
    ids_BT = torch.zeros(len(texts), width, dtype=torch.int64)
    targets_BT = torch.full((len(texts), width - 1), IGNORED)
    for row, (text_T, first) in enumerate(zip(texts, first_scored, strict=True)):
        ids_BT[row, : len(text_T)] = text_T
        targets_BT[row, first - 1 : len(text_T) - 1] = text_T[first:]
    device = lm.model.device
    losses_N = sequence_losses(lm.model, ids_BT[:, :-1].to(device), targets_BT.to(device))
    return losses_N.view(len(texts), width - 1).cpu()


def _ids(shard: TokenShard, span: Span) -> Tensor:
    return torch.from_numpy(shard.document(span).astype(np.int64))


def _bits_row(values: Sequence[float], first: Sequence[float]) -> dict[str, Any]:
    mean, half_width = mean_interval(values)
    gap, gap_half = mean_interval([a - b for a, b in zip(values, first, strict=True)])
    return {
        "n": len(values),
        "bits_per_byte": round(mean, 4),
        "half_width": round(half_width, 4),
        "difference": round(gap, 4),
        "difference_half_width": round(gap_half, 4),
    }


def _continuations(lm: LanguageModel, passages: Sequence[Passage]) -> dict[str, Any]:
    if not passages:
        return {"n": 0}
    hits = right_continuations(lm, passages)
    return {"n": len(hits)} | measured_share("accuracy", sum(hits), len(hits))


def _arithmetic(lm: LanguageModel, config: EvaluationConfig, seed: int) -> dict[str, Any]:
    """Return the share of held-out problems whose reply ends with the right number."""
    made = make_problems(16 * config.num_problems, seed=seed)
    problems = [p for p in made if p.split == "validation"][: config.num_problems]
    prompts = [[{"role": "user", "content": problem.prompt}] for problem in problems]
    replies = lm.generate(prompts, max_new_tokens=config.reply_tokens)
    hits = [read_answer(r.text) == p.answer for r, p in zip(replies, problems, strict=True)]
    return {"n": len(hits)} | measured_share("accuracy", sum(hits), len(hits))


def _tool_form(lm: LanguageModel, config: EvaluationConfig, seed: int) -> dict[str, Any]:
    """Return the shares of replies that are a valid call, and that call the right tool."""
    from openqwen.agent.react import STOPS

    questions = tool_questions(config.num_tool_queries, seed=seed)
    prompts = [[{"role": "user", "content": question.prompt}] for question in questions]
    replies = lm.generate(prompts, max_new_tokens=config.reply_tokens, stop=STOPS)
    calls = [judge_call(q, r.text) for q, r in zip(questions, replies, strict=True)]
    examples = [
        {"question": q.query, "reply": r.text, "judged": c.name}
        for q, r, c in zip(questions, replies, calls, strict=True)
    ]
    longest = max(len(lm.encode(prompt)) for prompt in prompts)
    found: dict[str, Any] = {"n": len(calls), "longest_prompt": longest}
    found["valid"] = measured_share("share", sum(c.value > 0 for c in calls), len(calls))
    found["right"] = measured_share("share", sum(c.value > 1 for c in calls), len(calls))
    return found | {"examples": examples[:NUM_EXAMPLES]}
