"""Rouge-L of a tool's input over the model's own tokens, so that Chinese counts (Table 6).

    pieces = token_pieces(tokenizer)
    input_score('{"q": "周杰伦"}', '{"q": "周杰伦的生日"}', pieces)

As the published scorer: both inputs are read as JSON5, written again with sorted keys, cut into
tokens; each token is decoded by itself, and what spaces divide then are Rouge-L's units. The usual
units, words of Latin letters, give 0 even to equal Chinese inputs.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from openqwen.core.ngrams import lcs_length, units
from openqwen.eval.tool_use.json5 import read_json5
from openqwen.tokenizer.tokenizer import Tokenizer

Pieces = Callable[[str], Sequence[str]]


def token_pieces(tokenizer: Tokenizer | None) -> Pieces:
    """Return what cuts a text into units: tokens, or words and characters without a tokenizer."""
    if tokenizer is None:
        return units

    def pieces(text: str) -> list[str]:
        tokens = [tokenizer.decode_bytes([number]) for number in tokenizer.encode(text)]
        return " ".join(token.decode("utf-8", errors="replace") for token in tokens).split()

    return pieces


def rouge_l(target: Sequence[str], prediction: Sequence[str]) -> float:
    """Return Rouge-L's F1, 2pr/(p + r), of two lists of units; 0 where one is empty.

    In the order of operations of Google's `rouge_score`, so that equal inputs give equal bits.
    """
    common = lcs_length(target, prediction) if target and prediction else 0
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(target)
    return 2 * precision * recall / (precision + recall)


def canonical_input(text: str) -> str:
    """Return a tool's input with sorted keys and without ASCII escapes; "" where it is no JSON5."""
    try:
        return json.dumps(read_json5(text), ensure_ascii=False, sort_keys=True)
    except ValueError:
        return ""


def text_score(target: str, prediction: str, pieces: Pieces) -> float:
    """Return Rouge-L of two texts."""
    return rouge_l(pieces(target), pieces(prediction))


def input_score(target: str, prediction: str, pieces: Pieces) -> float:
    """Return Rouge-L of two inputs as written; 0 where one can't be read."""
    return text_score(canonical_input(target), canonical_input(prediction), pieces)


def value_score(target: Any, prediction: Any, pieces: Pieces) -> float:
    """Return Rouge-L of two inputs that are values already."""
    return input_score(json.dumps(target), json.dumps(prediction), pieces)
