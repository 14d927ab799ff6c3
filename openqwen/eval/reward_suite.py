"""How often a reward model prefers the better answer, set by set (Table 4).

table = evaluate_pairs(Path("runs/tiny/reward"), pairs, max_tokens=512)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openqwen.core.runtime import pick_device, pick_dtype
from openqwen.core.workers import Workers
from openqwen.data.training.packing import chunks_by_length
from openqwen.data.training.preferences import Pair, measure_scores, pair_ids
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.scorer import Scorer
from openqwen.tokenizer.tokenizer import Tokenizer

BATCH_TEXTS = 16


def evaluate_pairs(
    directory: Path, pairs: Sequence[Pair], *, max_tokens: int, dtype: str = "auto"
) -> dict[str, dict[str, Any]]:
    """Return set -> n, accuracy, 95 % interval, and the control that prefers the longer answer.

    Args:
        directory: a reward model's export directory.
        pairs: of one or several sources, the sets.
        max_tokens: of a conversation; longer ones are cut as in training.
        dtype: compute type.

    Raises:
        UserError: if the directory is no reward model.
    """
    device = pick_device()
    checkpoint = read_checkpoint(directory)
    scorer = checkpoint.load_scorer(dtype=pick_dtype(dtype, device), device=device)
    tokenizer = Tokenizer.from_file(directory)
    encoded = [pair_ids(pair, tokenizer, max_tokens) for pair in pairs]
    with Workers(0 if device.type == "cpu" else 1) as workers:
        scores_N = score_ids(scorer, [ids for both in encoded for ids in both], workers)
    chosen, rejected = scores_N[0::2].tolist(), scores_N[1::2].tolist()
    table = {}
    for source in sorted({pair.source for pair in pairs}):
        rows = [i for i, pair in enumerate(pairs) if pair.source == source]
        table[source] = measure_scores(
            [pairs[i] for i in rows], [chosen[i] for i in rows], [rejected[i] for i in rows]
        )
    return table


@torch.no_grad()
def score_ids(scorer: Scorer, texts: Sequence[Sequence[int]], workers: Workers) -> Tensor:
    """Return the score at each text's last token, (N,) float32; texts of like length together."""
    chunks = chunks_by_length([len(ids) for ids in texts], BATCH_TEXTS)
    device = scorer.score.weight.device

    def score(chunk: list[int]) -> Tensor:
        lengths = [len(texts[i]) for i in chunk]
        ids_BT = torch.zeros(len(chunk), max(lengths), dtype=torch.int64)
        for row, i in enumerate(chunk):
            ids_BT[row, : lengths[row]] = torch.tensor(texts[i])
        return scorer.scores(ids_BT.to(device), lengths_B=lengths).cpu()

    scores_N = torch.zeros(len(texts))
    for chunk, found in zip(chunks, workers.map(score, chunks), strict=True):
        scores_N[chunk] = found
    return scores_N
