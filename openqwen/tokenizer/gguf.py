"""The vocabulary inside a GGUF file: tokens, their kinds and merges; byte-level BPE only.

    vocabulary = vocabulary_from_gguf(Path("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"))

A file names its split pattern instead of holding it, so only known names are read.
"""

from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from openqwen.core.errors import UserError
from openqwen.core.gguf import GGUFFile, TokenType, open_gguf
from openqwen.core.log import warn
from openqwen.tokenizer.check_merges import check_merges
from openqwen.tokenizer.control import IM_END, IM_START
from openqwen.tokenizer.huggingface import GPT2_PATTERN, ranks_from_letters
from openqwen.tokenizer.text import without_surrogates
from openqwen.tokenizer.vocabulary import LLAMA3_PATTERN, QWEN_PATTERN, Vocabulary

BYTE_LEVEL = "gpt2"  # the name of the kind, not of that model
# names of split patterns, as llama.cpp gives them (src/llama-vocab.cpp)
PATTERNS = {
    "qwen2": QWEN_PATTERN,
    "llama-bpe": LLAMA3_PATTERN,
    "llama-v3": LLAMA3_PATTERN,
    "llama3": LLAMA3_PATTERN,
    "gpt-2": GPT2_PATTERN,
}
WHOLE_TOKENS = LLAMA3_PATTERN  # a piece equal to a token becomes it, whatever the merges
NFC_KEY = "openqwen.nfc"  # ours: files have no place for it


def has_readable_vocabulary(path: Path) -> bool:
    """Return whether a GGUF file has a vocabulary of a kind that is read; one line where not.

    Raises:
        UserError: if it is no GGUF file.
    """
    kind = open_gguf(path).scalar("tokenizer.ggml.model")
    if kind not in (None, BYTE_LEVEL, "no_vocab", "none"):
        warn(
            f"{path}: its vocabulary is of kind {kind!r}; byte-level BPE is read, so this model "
            "takes token ids, not text"
        )
    return bool(kind == BYTE_LEVEL)


def vocabulary_from_gguf(path: Path) -> Vocabulary:
    """Read a GGUF file's vocabulary; unused rows are left out.

    Raises:
        UserError: one line, if it has none, is of another kind, names an unknown pattern, or
            tokens, kinds and merges don't fit each other.
    """
    file = open_gguf(path)
    if (kind := file.scalar("tokenizer.ggml.model")) != BYTE_LEVEL:
        raise UserError(f"{path}: its vocabulary is of kind {kind!r}; byte-level BPE is read")
    pre = _pattern_name(file)
    tokens = _strings(file, "tokens")
    merges = [line.partition(" ")[::2] for line in _strings(file, "merges")]
    kinds = file.values.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, np.ndarray) or len(kinds) != len(tokens):
        raise UserError(f"{path}: tokenizer.ggml.token_type has not one kind for each token")
    normal = {t: i for i, t in compress(enumerate(tokens), kinds == TokenType.NORMAL)}
    is_control = (kinds != TokenType.NORMAL) & (kinds != TokenType.UNUSED)
    controls = {t: i for i, t in compress(enumerate(tokens), is_control)}
    if len(normal) + len(controls) < int((kinds != TokenType.UNUSED).sum()):
        raise UserError(f"{path}: tokenizer.ggml.tokens holds a token twice")
    if broken := next((t for t in controls if without_surrogates(t) != t), None):
        raise UserError(f"{path}: control token {controls[broken]} ({broken!r}) is not UTF-8")
    ranks = ranks_from_letters(normal, path)
    check_merges(normal, ranks, merges, whole=PATTERNS[pre] == WHOLE_TOKENS, path=path)
    _say_other_template(file)
    nfc = file.scalar(NFC_KEY, pre == "qwen2")
    return Vocabulary(ranks, controls, PATTERNS[pre], nfc=bool(nfc))


def _pattern_name(file: GGUFFile) -> str:
    pre = file.scalar("tokenizer.ggml.pre")
    if pre in (None, "default") and str(file.values.get("general.architecture")) in QWEN_FAMILY:
        return "qwen2"  # files of before April 2024 have no name; all these models share one
    if pre not in PATTERNS:
        raise UserError(
            f"{file.path}: tokenizer.ggml.pre = {pre!r} is not known; {', '.join(PATTERNS)} are"
        )
    return str(pre)


QWEN_FAMILY = ("qwen", "qwen2")


def _strings(file: GGUFFile, key: str) -> list[str]:
    value: Any = file.values.get(f"tokenizer.ggml.{key}")
    if not isinstance(value, list):
        raise UserError(f"{file.path}: tokenizer.ggml.{key} is missing or no list of texts")
    return value


def _say_other_template(file: GGUFFile) -> None:
    template = file.values.get("tokenizer.chat_template")
    if isinstance(template, str) and not (IM_START in template and IM_END in template):
        warn(f"{file.path}: its chat template is not ChatML; openqwen writes ChatML all the same")
