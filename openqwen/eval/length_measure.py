"""How well a model reads long texts: log-likelihood by length of the context (Table 3's measure).

    results = measure(setting)           # settings["perplexity"] = {1024: 12.3, 2048: 10.9, …}

Documents of at least the largest length give their first tokens; at each length they are cut into
chunks of it, so every length scores the same tokens (contracts.md). The whole of Table 3, method by
method, is `openqwen longcontext`.
"""

import math
from pathlib import Path

import torch

from openqwen.core.errors import UserError
from openqwen.eval.measure import Setting
from openqwen.eval.perplexity import Method, document_losses
from openqwen.eval.results import Item, Score, TaskResult
from openqwen.eval.texts import read_long_texts
from openqwen.infer.load import LanguageModel

LENGTHS = (1024, 2048, 4096, 8192)
MAX_DOCUMENTS = 8
PATTERN = "*.dev.jsonl*"
NAME = "nats a token"


def measure(setting: Setting) -> list[TaskResult]:
    """Measure the loss of long documents at each length that the model and they reach.

    Raises:
        UserError: if the model is an endpoint, or no long text is there.
    """
    lm = setting.lm
    if lm is None or lm.tokenizer is None:
        raise UserError(f"{setting.model.name} gives no log-likelihoods of texts: load it here")
    files = sorted(setting.data.rglob(PATTERN)) if setting.data else []
    if not files:
        raise UserError(f"no long texts: put files {PATTERN}, a field text a row, below --data DIR")
    count = min(setting.limit or MAX_DOCUMENTS, MAX_DOCUMENTS)
    texts = read_long_texts(files, lm.tokenizer, num_tokens=LENGTHS[-1] + 1, count=count)
    longest = min(lm.context, max(len(ids_N) - 1 for ids_N in texts))
    lengths = [length for length in LENGTHS if length <= longest]
    if not lengths:
        raise UserError(f"neither the texts nor the model reach {LENGTHS[0]:,} tokens")
    chosen = [ids_N[: lengths[-1] + 1] for ids_N in texts if len(ids_N) > lengths[-1]][:count]
    items = [
        Item(
            id=f"{files[0].name}/{place}/{length}",
            prompt=f"the first {lengths[-1]:,} tokens of text {place}, {length:,} at a time",
            target="",
            output=(loss := _loss(setting, lm, ids_N, length)),
            answer=None,
            scores={_name(length): loss / lengths[-1]},
        )
        for place, ids_N in enumerate(chosen)
        for length in lengths
    ]
    metrics = {
        _name(length): Score.of(
            [item.scores[_name(length)] for item in items if _name(length) in item.scores],
            is_share=False,
        )
        for length in lengths
    }
    perplexities = {str(n): round(math.exp(metrics[_name(n)].value), 4) for n in lengths}
    settings = {
        "perplexity": perplexities,
        "lengths": lengths,
        "documents": len(chosen),
        "files": [_shown(path, setting.data) for path in files],
        "train_length": lm.config.train_length,
        "beyond_it": lm.long_context.describe("") or "no method",
    }
    return [TaskResult("perplexity", _name(lengths[-1]), metrics, items, settings)]


def _name(length: int) -> str:
    return f"{NAME} at {length}"


def _loss(setting: Setting, lm: LanguageModel, ids_N: torch.Tensor, length: int) -> float:
    """Return the summed loss of a document in nats; kept, since it is dear."""
    key = setting.responses.key("length", setting.model.name, lm.describe(), ids_N.tolist(), length)
    kept = setting.responses.find(key)
    if kept is None:
        method = Method("as loaded", lm.long_context)
        loss = document_losses(lm.model, ids_N, length, method, stride=length)
        kept = setting.responses.keep(key, loss)
    return float(kept)


def _shown(path: Path, data: Path | None) -> str:
    return str(path.relative_to(data)) if data else path.name
