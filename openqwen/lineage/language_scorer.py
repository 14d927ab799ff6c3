"""The language model that a scorer of documents gets handed in: bits a byte under an export.

    score = open_language_model(Path("runs/tiny/base"))
    score("Some text.")                              # 3.2

The data room may not know how models are run, so it asks for a function from texts to numbers.
"""

import math
from functools import partial
from pathlib import Path

import torch

from openqwen.data.scores.scorer import TextScorer
from openqwen.infer.load import LanguageModel, load
from openqwen.model.likelihood import PASS_TOKENS, sequence_losses

MAX_TOKENS = 4096  # of a text that are scored, from its start


def open_language_model(path: Path) -> TextScorer:
    """Load a model directory and return what gives a text's bits a byte.

    Each text is scored by itself, in windows of the training length, so that its number doesn't
    depend on its neighbours.

    Raises:
        UserError: if the directory holds no model, or no tokenizer.
    """
    return partial(bits_per_byte, load(path, dtype="float32"))


def bits_per_byte(lm: LanguageModel, text: str) -> float:
    """Return the mean bits a byte of a text's first tokens; 0 for a text of fewer than two."""
    ids = lm.encode(text)[: MAX_TOKENS + 1]
    if len(ids) < 2:
        return 0.0
    assert lm.tokenizer is not None, "encode has asked for it"
    length = min(lm.model.config.train_length, len(ids) - 1)
    ids_N = torch.tensor(ids, device=lm.model.lm_head.weight.device)
    whole = (len(ids) - 1) // length * length
    inputs_BT, targets_BT = ids_N[:whole].view(-1, length), ids_N[1 : whole + 1].view(-1, length)
    rows = max(1, PASS_TOKENS // length)
    passes = list(zip(inputs_BT.split(rows), targets_BT.split(rows), strict=True))
    if whole < len(ids) - 1:  # the last window is shorter
        passes.append((ids_N[None, whole:-1], ids_N[None, whole + 1 :]))
    nats = 0.0
    with torch.inference_mode():
        for inputs, targets in passes:
            nats += float(sequence_losses(lm.model, inputs, targets).double().sum())
    scored = len(lm.tokenizer.decode_bytes(ids[1:]))
    return nats / math.log(2) / max(1, scored)
