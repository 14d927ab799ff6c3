"""The longcontext stage: the base model beyond its training length (§2.3.2, Table 3)."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openqwen.core.files import read_json, write_json
from openqwen.core.log import say
from openqwen.core.manifest import SCRATCH_NAME
from openqwen.data.training.shards import read_shard
from openqwen.eval.config import LongContextConfig
from openqwen.eval.long_context_table import TooShortError, format_table, measure_long_context
from openqwen.infer.load import load
from openqwen.lineage.stage import StageWork

RESULTS_NAME = "results.json"


def run(work: StageWork) -> dict[str, Any]:
    """Measure Table 3's rows and controls on held-out documents of the shards."""
    config = work.config
    assert isinstance(config, LongContextConfig)
    lm = load(work.inputs["base"], dtype=config.dtype)
    assert lm.tokenizer is not None, "an export of ours has a tokenizer"
    documents, groups_N = held_out_documents(work.inputs["shards"], config, lm.config.train_length)
    try:
        results = measure_long_context(
            lm.model,
            lm.tokenizer,
            documents,
            config,
            seed=work.seed,
            kept=work.out / SCRATCH_NAME / "kept.jsonl",
        )
    except TooShortError as error:  # a small corpus is no reason to end the run here
        say(f"longcontext   nothing is measured: {error}")
        write_json(work.out / RESULTS_NAME, {"nothing_measured": str(error)})
        return {"documents": 0, "lengths": []}
    base = read_json(work.inputs["base"] / "manifest.json")
    groups = dict(Counter(groups_N[place] for place in results.pop("documents")))
    results |= {"groups": groups, "trained_tokens": base["counts"]["tokens"]}
    write_json(work.out / RESULTS_NAME, results)
    for line in format_table(results):
        say(f"longcontext   {line}")
    return {"documents": results["num_documents"], "lengths": results["lengths"]}


def held_out_documents(
    shards: Path, config: LongContextConfig, train_length: int
) -> tuple[list[Tensor], list[str]]:
    """Return the documents to measure on and the group of each.

    The prose of the validation split that reaches the largest length, in the shard's shuffled
    order; where none does, all of it, longest first.
    """
    shard = read_shard(shards, "validation")
    wanted = round(max(config.length_multiples) * train_length)
    prose = [s for s in shard.spans if s.group not in ("code", "instructions")]
    spans = [s for s in prose if s.tokens > wanted][: config.num_documents]
    spans = spans or sorted(prose, key=lambda s: -s.tokens)[: config.num_documents]
    documents = [torch.from_numpy(shard.document(s).astype(np.int64)) for s in spans]
    return documents, [span.group for span in spans]
