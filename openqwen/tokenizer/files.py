"""Vocabulary files: rank files, tokenizer.json and GGUF in; all but the last out again.

    vocabulary = read_vocabulary(Path("qwen.tiktoken"))
    write_vocabulary(Path("runs/tiny/tokenizer"), vocabulary)

A rank file has a line a token: its bytes in base64, a space, its id.
"""

import base64
import binascii
import functools
from collections.abc import Mapping
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, read_json, sha256_file, write_json
from openqwen.core.gguf import MAGIC
from openqwen.tokenizer.control import control_tokens
from openqwen.tokenizer.gguf import has_readable_vocabulary, vocabulary_from_gguf
from openqwen.tokenizer.huggingface import (
    controls_from_config,
    tokenizer_config,
    tokenizer_json,
    vocabulary_from_json,
)
from openqwen.tokenizer.vocabulary import QWEN_PATTERN, Vocabulary

RANK_FILE = "qwen.tiktoken"
JSON_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"

# The published Qwen-1 rank file, whose tokenizer composes text (NFC) first.
QWEN_RANKS_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a rank file, a tokenizer.json, a GGUF file or a directory that holds one of them.

    Raises:
        UserError: one line naming the file and what is wrong with it.
    """
    file = _find_file(path) if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file} does not exist")
    if _is_gguf(file):
        vocabulary = vocabulary_from_gguf(file)
    elif file.suffix == ".json":
        _refuse_pointer(file, file.open("rb").read(64))
        vocabulary = vocabulary_from_json(read_json(file), file)
    else:
        vocabulary = _from_rank_file(file)
    vocabulary.check(str(file))
    return vocabulary


def has_vocabulary(path: Path) -> bool:
    """Return whether a model directory or file has a vocabulary that `read_vocabulary` takes.

    A GGUF file's vocabulary of another kind is said in one line.
    """
    if path.is_dir():
        if (path / JSON_FILE).is_file() or any(path.glob("*.tiktoken")):
            return True
        files = list(path.glob("*.gguf"))
        return len(files) == 1 and has_readable_vocabulary(files[0])
    return _is_gguf(path) and has_readable_vocabulary(path)


def write_vocabulary(directory: Path, vocabulary: Vocabulary) -> None:
    """Write `qwen.tiktoken`, `tokenizer.json` and `tokenizer_config.json` into `directory`.

    The rank file is left out where it could not say all: another split pattern, or ids with holes.
    """
    write_json(directory / JSON_FILE, tokenizer_json(vocabulary))
    write_json(directory / CONFIG_FILE, tokenizer_config(vocabulary))
    contiguous = sorted(vocabulary.ranks.values()) == list(range(len(vocabulary.ranks)))
    if contiguous and vocabulary.pattern == QWEN_PATTERN:
        write_ranks(directory / RANK_FILE, vocabulary.ranks)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a tiktoken rank file: token bytes -> id, ids 0 to n - 1 each once.

    Raises:
        UserError: if it is a Git LFS pointer, a line is broken, or ids have holes or doubles.
    """
    data = path.read_bytes()
    _refuse_pointer(path, data)
    ranks = _plain_ranks(data)
    if ranks is None:
        ranks = _ranks_by_line(data, path)
    if not ranks:
        raise UserError(f"{path} is empty")
    ids = sorted(ranks.values())
    wrong = next((i for i, token_id in enumerate(ids) if token_id != i), None)
    if wrong is not None:
        double = [token for token, token_id in ranks.items() if token_id == ids[wrong]]
        problem = f"is there twice ({double[-1]!r})" if ids[wrong] < wrong else "is missing"
        raise UserError(f"{path}: rank {min(wrong, ids[wrong])} {problem}; the file is damaged")
    return ranks


def _plain_ranks(data: bytes) -> dict[bytes, int] | None:
    """Return the ranks of a file without fault, None where it must be looked at line by line."""
    words = data.split()
    if len(words) != 2 * data.count(b"\n") or data.count(b" ") != len(words) // 2:
        return None
    decode = functools.partial(binascii.a2b_base64, strict_mode=True)
    try:
        ranks = dict(zip(map(decode, words[::2]), map(int, words[1::2]), strict=True))
    except ValueError:
        return None
    return ranks if len(ranks) == len(words) // 2 else None


def _ranks_by_line(data: bytes, path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            spelled, rank = line.split()
            token = base64.b64decode(spelled, validate=True)
            token_id = int(rank)
        except (ValueError, binascii.Error):
            shown = line[:40].decode("utf-8", "backslashreplace")
            raise UserError(
                f"{path}: line {number} is {shown!r}, not a token in base64, a space and its rank"
            ) from None
        if token in ranks:
            raise UserError(f"{path}: line {number} repeats the token of rank {ranks[token]}")
        ranks[token] = token_id
    return ranks


def write_ranks(path: Path, ranks: Mapping[bytes, int]) -> None:
    """Write a tiktoken rank file in the order of ids."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for token in sorted(ranks, key=ranks.__getitem__):
            file.write(base64.b64encode(token) + b" %d\n" % ranks[token])


def _from_rank_file(path: Path) -> Vocabulary:
    """Read a rank file with what the `tokenizer_config.json` beside it adds."""
    ranks = read_ranks(path)
    config_path = path.with_name(CONFIG_FILE)
    config = read_json(config_path) if config_path.is_file() else {}
    controls = controls_from_config(config, config_path)
    nfc = config.get("nfc")
    if nfc is None:
        nfc = sha256_file(path) == QWEN_RANKS_SHA256
    elif not isinstance(nfc, bool):
        raise UserError(f"{config_path}: nfc = {nfc!r} is not true or false")
    return Vocabulary(ranks, controls or control_tokens(len(ranks)), nfc=nfc)


def _find_file(directory: Path) -> Path:
    """Return the vocabulary file of a directory."""
    if (directory / RANK_FILE).is_file():
        return directory / RANK_FILE
    others = sorted(directory.glob("*.tiktoken"))
    if len(others) > 1:
        names = ", ".join(file.name for file in others)
        raise UserError(f"{directory} holds several rank files ({names}); name one of them")
    files = sorted(directory.glob("*.gguf"))
    found = [*others, directory / JSON_FILE, *(files if len(files) == 1 else [])]
    for file in found:
        if file.is_file():
            return file
    raise UserError(f"{directory} holds no vocabulary: neither {RANK_FILE} nor {JSON_FILE}")


def _is_gguf(path: Path) -> bool:
    """Return whether a file is meant as GGUF, by its name or its first bytes."""
    if path.suffix == ".gguf":
        return True
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _refuse_pointer(path: Path, start: bytes) -> None:
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a Git LFS pointer, not the file itself; fetch it with git lfs pull"
        )
