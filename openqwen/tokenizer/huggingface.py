"""`tokenizer.json` and `tokenizer_config.json` of the Hugging Face libraries, both ways.

`tokenizer.json` writes bytes as letters (GPT-2's table) and lists each merge. Only byte-level BPE
whose merges follow the order of ids can be read as ranks.
"""

import itertools
import json
import re
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.tokenizer.check_merges import check_merges
from openqwen.tokenizer.control import END_OF_TEXT, IM_END, IM_START
from openqwen.tokenizer.engine import fault_of_pattern
from openqwen.tokenizer.template import chat_template
from openqwen.tokenizer.vocabulary import (
    LLAMA3_PATTERN,
    QWEN_PATTERN,
    Vocabulary,
    list_merges,
)

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_letters() -> list[str]:
    """Return the printable letter that stands for each byte value."""
    own = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, others = [], 0
    for value in range(256):
        letters.append(chr(value) if value in own else chr(256 + others))
        others += value not in own
    return letters


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the `tokenizer.json` that gives the same ids as the vocabulary."""
    letters = byte_letters()
    ranks = sorted(vocabulary.ranks, key=vocabulary.ranks.__getitem__)
    spelled = {token: "".join(letters[value] for value in token) for token in ranks}
    merges = list_merges(vocabulary.ranks)
    vocab = {spelled[token]: vocabulary.ranks[token] for token in ranks}
    after = range(len(ranks), len(ranks) + len(vocabulary.controls))
    if sorted(vocabulary.controls.values()) != list(after):
        vocab.update(vocabulary.controls)  # the library would number them by itself
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    split = {
        "type": "Split",
        "pattern": {"Regex": vocabulary.pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": name, **_CONTROL_FLAGS}
            for name, i in sorted(vocabulary.controls.items(), key=itemgetter(1))
        ],
        "normalizer": {"type": "NFC"} if vocabulary.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            # tiktoken takes a piece that is a token whole; it shows where no merge makes a token
            "ignore_merges": len(merges) < len(ranks) - 256,
            "vocab": vocab,
            "merges": [f"{spelled[left]} {spelled[right]}" for left, right in merges],
        },
    }


# Oniguruma, which the library splits by: lines for ^ and $, and no possessive counts
_READ_OTHERWISE = ("^", "$", "}+")
_ESCAPES_AND_SETS = re.compile(r"\\p\{\^?\w+\}|\\.|\[(?:\\.|[^\]])*\]")

_CONTROL_FLAGS = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}


def tokenizer_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the `tokenizer_config.json` beside it: control tokens, chat template, NFC or not.

    "nfc" is ours; it tells `Tokenizer.from_file` how to read the rank file. Beside a `config.json`
    of model type qwen2, transformers' AutoTokenizer takes its own Qwen2 class whatever stands here,
    which always composes; `PreTrainedTokenizerFast.from_pretrained` keeps to `tokenizer.json`.
    """
    names = vocabulary.controls
    end = END_OF_TEXT if END_OF_TEXT in names else None
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "nfc": vocabulary.nfc,
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": end,
        "pad_token": end,
        "unk_token": None,
        "additional_special_tokens": [name for name in (IM_START, IM_END) if name in names],
        "added_tokens_decoder": {
            str(i): {"content": name, **_CONTROL_FLAGS} for name, i in names.items()
        },
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "split_special_tokens": False,
    }
    if IM_START in names and IM_END in names:
        config["chat_template"] = chat_template()
    return config


def vocabulary_from_json(data: Any, path: Path) -> Vocabulary:
    """Read a parsed `tokenizer.json`.

    Raises:
        UserError: if it is not byte-level BPE, its pre-tokenizer is of another kind, or its merges
            don't follow the order of its ids.
    """
    try:
        model = data["model"]
        added = {str(t["content"]): int(t["id"]) for t in data.get("added_tokens") or []}
        if model.get("type", "BPE") != "BPE" or model.get("byte_fallback"):
            raise UserError(f"{path}: its model is {model.get('type')}, not byte-level BPE")
        for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
            if model.get(key):
                raise UserError(
                    f"{path}: its {key} is {model[key]!r}; openqwen reads files without"
                )
        vocab = {str(name): int(token_id) for name, token_id in model["vocab"].items()}
        lines = (line.split(" ") if isinstance(line, str) else line for line in model["merges"])
        merges = [(left, right) for left, right in lines]
        "".join(itertools.chain.from_iterable(merges))  # all of them text, or a TypeError
        pattern = _pattern(data.get("pre_tokenizer"), path)
        nfc = _nfc(data.get("normalizer"), path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a tokenizer.json of byte-level BPE: {error!r}") from None
    ordinary = {name: i for name, i in vocab.items() if name not in added}
    ranks = ranks_from_letters(ordinary, path)
    if len(set(ranks.values())) < len(ranks):
        raise UserError(f"{path}: two tokens share one id")
    check_merges(ordinary, ranks, merges, whole=bool(model.get("ignore_merges")), path=path)
    return Vocabulary(ranks, added, pattern, nfc)


def ranks_from_letters(ordinary: Mapping[str, int], path: Path) -> dict[bytes, int]:
    """Return token bytes -> id from tokens in letters, each of which stands for a byte.

    Raises:
        UserError: naming the first token with another letter, or empty.
    """
    table = {ord(letter): value for value, letter in enumerate(byte_letters())}
    unknown = dict.fromkeys(range(256)) | table  # letters below 256 that stand for no byte: gone

    def spell(letters: str) -> bytes:
        try:
            data = letters.translate(unknown).encode("latin-1")
        except UnicodeEncodeError:
            return b""
        return data if len(data) == len(letters) else b""

    data = spell("".join(ordinary))
    if not data or "" in ordinary:
        bad = next((name for name in ordinary if not spell(name)), "")
        raise UserError(f"{path}: token {ordinary.get(bad)} ({bad[:40]!r}) is not byte-level")
    ends = list(itertools.accumulate(map(len, ordinary)))
    spelled = [data[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    return dict(zip(spelled, ordinary.values(), strict=True))


def controls_from_config(config: Any, path: Path) -> dict[str, int] | None:
    """Return control token -> id from a parsed `tokenizer_config.json`; None where it has none."""
    try:
        table = config.get("added_tokens_decoder")
        return {str(t["content"]): int(i) for i, t in table.items()} if table else None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: added_tokens_decoder is not a table of id -> token") from None


def _pattern(node: Any, path: Path) -> str:
    """Return the split regex of a pre-tokenizer: Split with ByteLevel, or ByteLevel alone."""
    nodes = node["pretokenizers"] if node and node.get("type") == "Sequence" else [node]
    kinds = [n.get("type") if n else None for n in nodes]
    if kinds[-1:] == ["ByteLevel"] and not nodes[-1].get("add_prefix_space"):
        alone = nodes[-1].get("use_regex", True)
        if kinds == ["ByteLevel"] and alone:
            return GPT2_PATTERN
        plain = nodes[0].get("behavior") == "Isolated" and not nodes[0].get("invert")
        if kinds == ["Split", "ByteLevel"] and plain and not alone:
            return _covering(str(nodes[0]["pattern"]["Regex"]), path)
    raise UserError(
        f"{path}: its pre-tokenizer is {json.dumps(node)[:80]}; openqwen reads one Split by regex "
        "with ByteLevel, or ByteLevel alone"
    )


def _covering(regex: str, path: Path) -> str:
    """Return the pattern with what it leaves out as pieces too, as the file's library has it."""
    if regex in (QWEN_PATTERN, LLAMA3_PATTERN, GPT2_PATTERN):
        return regex
    pattern = rf"(?:{regex})|(?:(?!(?:{regex}))[\s\S])+"
    bare = _ESCAPES_AND_SETS.sub("", regex)
    other = next((sign for sign in _READ_OTHERWISE if sign in bare), None)
    fault = f"{other} means something else to its library" if other else fault_of_pattern(pattern)
    if fault:
        raise UserError(f"{path}: its split pattern {regex[:40]!r} can't be used: {fault}")
    return pattern


def _nfc(node: Any, path: Path) -> bool:
    if node is not None and node.get("type") == "Sequence" and len(node["normalizers"]) < 2:
        node = next(iter(node["normalizers"]), None)
    if node is None:
        return False
    if node.get("type") != "NFC":
        raise UserError(f"{path}: its normalizer is {node.get('type')}; openqwen reads NFC or none")
    return True
