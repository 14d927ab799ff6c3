"""Vocabularies of other models from GGUF files, run by the `tokenizers` library.

    encoder = encoder_from_gguf(Path("ggml-vocab-llama-spm.gguf"))
    encoder.encode("Hello").ids

For counting tokens only: control tokens are not looked for in the text and none are added. Kinds:
byte-level BPE ("gpt2"), SentencePiece's BPE ("llama", "gemma4") and Unigram ("t5"). What the files
leave to the reader (split patterns by name, spaces, bytes of unknown characters) is as llama.cpp
has it; its recorded cases hold the two together.
"""

from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from openqwen.core.errors import UserError
from openqwen.core.gguf import GGUFFile, TokenType, open_gguf
from openqwen.tokenizer.huggingface import GPT2_PATTERN
from openqwen.tokenizer.vocabulary import LLAMA3_PATTERN, QWEN_PATTERN

SPACE_MARK = "▁"
_NO_TEXT = "\U0010fffe"  # opens names that no text has: no character
WHOLE_TOKENS = ("llama-bpe", "llama-v3", "llama3")  # a piece that is a token is taken whole

# letters with two cases; Georgian's became such after those patterns were written
_CASED_LETTERS = r"[[\p{Lu}\p{Ll}\p{Lt}]&&[^ა-ჿ]]"
_WIDE_LETTERS = "[一-龥\u0800-一가-\ud7ff]+"
_WORDS = GPT2_PATTERN.removesuffix(r"|\s+")  # what is left over stands alone all the same
# name in tokenizer.ggml.pre -> patterns, each splitting what the one before left together
PATTERNS: dict[str, tuple[str, ...]] = {
    "qwen2": (QWEN_PATTERN,),
    "llama-bpe": (LLAMA3_PATTERN,),
    "llama-v3": (LLAMA3_PATTERN,),
    "llama3": (LLAMA3_PATTERN,),
    "gpt-2": (_WORDS,),
    "starcoder": (r"\p{N}", _WORDS),
    "refact": (r"\p{N}", _WORDS),
    "command-r": (r"\p{N}", _WORDS),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _WORDS, "[0-9][0-9][0-9]"),
    "deepseek-coder": ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _WIDE_LETTERS, r"\p{N}"),
    "deepseek-llm": (
        "[\r\n]",
        rf"\s?{_CASED_LETTERS}+",
        "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
        r"\s+$",
        _WIDE_LETTERS,
        r"\p{N}+",
    ),
}


def encoder_from_gguf(path: Path) -> Any:
    """Return a `tokenizers.Tokenizer` for the vocabulary of a GGUF file.

    Raises:
        UserError: one line, if it has none, or its kind or its split pattern is not known.
    """
    file = open_gguf(path)
    kind = file.scalar("tokenizer.ggml.model")
    build = {"gpt2": _byte_level, "llama": _sentencepiece, "gemma4": _gemma, "t5": _unigram}.get(
        str(kind)
    )
    if build is None:
        raise UserError(
            f"{path}: its vocabulary is of kind {kind!r}; gpt2, llama, gemma4 and t5 are read"
        )
    if not isinstance(file.values.get("tokenizer.ggml.tokens"), list):
        raise UserError(f"{path}: tokenizer.ggml.tokens is missing or no list of texts")
    return build(file)


def _byte_level(file: GGUFFile) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    pre = str(file.scalar("tokenizer.ggml.pre", "default"))
    if pre not in PATTERNS:
        raise UserError(
            f"{file.path}: tokenizer.ggml.pre = {pre!r} is not known; {', '.join(PATTERNS)} are"
        )
    model = models.BPE(_vocab(file), _merges(file), ignore_merges=pre in WHOLE_TOKENS)
    tokenizer = Tokenizer(model)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PATTERNS[pre]]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, byte_level])
    return tokenizer


def _sentencepiece(file: GGUFFile) -> Any:
    """Build SentencePiece's BPE: of all neighbours the pair whose token has the best score."""
    from tokenizers import Tokenizer, models, normalizers

    vocab = _vocab(file)
    scores = _scores(file)
    merges = [
        (-scores[token_id], vocab[token[:cut]], vocab[token[cut:]], token[:cut], token[cut:])
        for token, token_id in vocab.items()
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]
    pairs = [(left, right) for _, _, _, left, right in sorted(merges)]
    unknown = _unknown(file)
    tokenizer = Tokenizer(
        models.BPE(vocab, pairs, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    steps: list[Any] = [normalizers.Replace(" ", SPACE_MARK)]
    if file.scalar("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend(SPACE_MARK))
    tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _gemma(file: GGUFFile) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    model = models.BPE(_vocab(file), _merges(file), unk_token=_unknown(file), byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", SPACE_MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[^\n]+|\n+"), "isolated")
    return tokenizer


def _unigram(file: GGUFFile) -> Any:
    """Build SentencePiece's Unigram model with the normaliser that the file carries."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    scores = _scores(file)
    unknown = int(file.values.get("tokenizer.ggml.unknown_token_id", 0))
    usable = set(_vocab(file).values()) - {unknown}
    tokens = [  # the model would find a control token in text that looks like it
        token if i in usable else f"{_NO_TEXT}{i}"
        for i, token in enumerate(file.values["tokenizer.ggml.tokens"])
    ]
    tokenizer = Tokenizer(
        models.Unigram(list(zip(tokens, scores, strict=True)), unknown, byte_fallback=False)
    )
    steps: list[Any] = []
    if (charsmap := file.values.get("tokenizer.ggml.precompiled_charsmap")) is not None:
        steps.append(normalizers.Precompiled(np.asarray(charsmap).astype(np.uint8).tobytes()))
    if file.scalar("tokenizer.ggml.remove_extra_whitespaces", False):
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    always = file.scalar("tokenizer.ggml.add_space_prefix", True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        SPACE_MARK, prepend_scheme="always" if always else "never"
    )
    return tokenizer


def _vocab(file: GGUFFile) -> dict[str, int]:
    """Return token -> id without control tokens, which no text becomes, and without padding."""
    tokens = file.values["tokenizer.ggml.tokens"]
    kinds = file.values.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, np.ndarray) or len(kinds) != len(tokens):
        raise UserError(f"{file.path}: tokenizer.ggml.token_type has not one kind for each token")
    wanted = (TokenType.NORMAL, TokenType.BYTE, TokenType.UNKNOWN, TokenType.USER_DEFINED)
    return {t: i for i, t in compress(enumerate(tokens), np.isin(kinds, wanted))}


def _merges(file: GGUFFile) -> list[tuple[str, str]]:
    lines = file.values.get("tokenizer.ggml.merges")
    if not isinstance(lines, list):
        raise UserError(f"{file.path}: tokenizer.ggml.merges is missing or no list of texts")
    return [(line[: (cut := line.index(" ", 1))], line[cut + 1 :]) for line in lines]


def _scores(file: GGUFFile) -> list[float]:
    scores = file.values.get("tokenizer.ggml.scores")
    if not isinstance(scores, np.ndarray):
        raise UserError(f"{file.path}: tokenizer.ggml.scores is missing")
    return [float(score) for score in scores]


def _unknown(file: GGUFFile) -> str:
    tokens = file.values["tokenizer.ggml.tokens"]
    return str(tokens[int(file.values.get("tokenizer.ggml.unknown_token_id", 0))])
