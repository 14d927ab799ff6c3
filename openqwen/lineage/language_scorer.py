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
from openqwen.model.likelihood import sequence_losses

MAX_TOKENS = 4096  # of a text that are scored, from its start
BATCH_ROWS = 8


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
    nats = 0.0
    for start in range(0, len(ids) - 1, length):
        row = torch.tensor(ids[start : start + length + 1])[None]
        with torch.inference_mode():
            nats += float(sequence_losses(lm.model, row[:, :-1], row[:, 1:]).double().sum())
    scored = len(lm.tokenizer.decode_bytes(ids[1:]))
    return nats / math.log(2) / max(1, scored)
