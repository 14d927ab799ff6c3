"""Prompts drawn so that tags and degrees of complexity come up evenly (§3.2.1).

    queries, account = sample_prompts(prompts, 360, seed=0)

Drawing evenly from a collection repeats what is common in it. Here each draw takes the prompt whose
tags have been drawn least so far, within degrees of complexity that take turns.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from openqwen.core.documents import Message
from openqwen.data.training.prompt_tags import complexity_of, tags_of

MOST_COMPLEX = 5  # this degree and all above share a turn


def sample_prompts(
    prompts: Sequence[list[Message]],
    num: int,
    *,
    seed: int,
    tags: Sequence[tuple[str, ...]] | None = None,
) -> tuple[list[list[Message]], dict[str, Any]]:
    """Return up to `num` different prompts, and how even their tags are.

    Args:
        prompts: conversations that wait for an answer.
        num: how many to draw; all of them, in the sampler's order, where there are no more.
        seed: decides between equals.
        tags: each prompt's tags, where the data brings them; rules give them otherwise.

    Returns:
        The prompts, and an account: tags there are, their entropy in bits as drawn and as a plain
        draw of the same size would have it.
    """
    known = list(tags) if tags is not None else [tags_of(prompt) for prompt in prompts]
    order = [int(i) for i in np.random.default_rng([seed, 59]).permutation(len(prompts))]
    # degree -> prompts by how often their tags were drawn when last looked at
    heaps: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    for rank, i in enumerate(order):
        heaps[min(complexity_of(known[i]), MOST_COMPLEX)].append((0.0, rank, i))
    drawn: Counter[str] = Counter()
    chosen: list[int] = []
    while len(chosen) < num and heaps:
        for degree in sorted(heaps):
            if len(chosen) == num:
                break
            chosen.append(_least_drawn(heaps[degree], known, drawn))
            drawn.update(known[chosen[-1]])
            if not heaps[degree]:
                del heaps[degree]
    plain = Counter(tag for i in order[: len(chosen)] for tag in known[i])
    account = {
        "prompts": len(prompts),
        "drawn": len(chosen),
        "tags": len({tag for row in known for tag in row}),
        "tags_drawn": len(drawn),
        "entropy_bits": round(entropy_bits(drawn), 3),
        "entropy_bits_of_a_plain_draw": round(entropy_bits(plain), 3),
    }
    return [prompts[i] for i in chosen], account


def _least_drawn(
    heap: list[tuple[float, int, int]], tags: Sequence[tuple[str, ...]], drawn: Counter[str]
) -> int:
    """Take the prompt of a heap whose tags were drawn least; counts only grow, so look again."""
    heapq.heapify(heap)
    while True:
        seen, rank, i = heapq.heappop(heap)
        now = sum(drawn[tag] for tag in tags[i]) / max(1, len(tags[i]))
        if now <= seen or not heap or (now, rank) <= heap[0][:2]:
            return i
        heapq.heappush(heap, (now, rank, i))


def entropy_bits(counts: Counter[str]) -> float:
    """Return the entropy of a distribution of tags, in bits: the higher, the more even."""
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0
