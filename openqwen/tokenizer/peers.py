"""Any tokenizer as a counter of tokens, to compare vocabularies by.

    counter = open_counter("xlm-r")                  # a name of `peers_catalogue`, or a path
    [tokens] = counter.count(["Es war einmal."])     # tokens.all, tokens.with_digits

Files: tiktoken ranks and directories of ours, `tokenizer.json` of any kind, GGUF, SentencePiece's
`.model`. No control token is added, and none is looked for in the text.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openqwen.core.errors import UserError
from openqwen.core.gguf import MAGIC
from openqwen.tokenizer.files import JSON_FILE, read_ranks
from openqwen.tokenizer.peers_catalogue import PEERS, Peer, fetch_peer
from openqwen.tokenizer.peers_gguf import encoder_from_gguf
from openqwen.tokenizer.text import without_surrogates
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import LLAMA3_PATTERN

# cl100k's own pattern is the one that Llama 3 took over: digits in threes
CL100K_PATTERN = LLAMA3_PATTERN

_DIGIT = re.compile("[0-9]")
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")  # how SentencePiece spells a byte
NEEDS = "pip install tokenizers (it comes with openqwen[compare])"


class Tokens(NamedTuple):
    """Tokens of one text."""

    all: int
    with_digits: int  # those that hold an ASCII digit


@dataclass(frozen=True)
class TokenCounter:
    """One tokenizer.

    Attributes:
        name: short, for tables.
        about: what it is and where it came from.
        num_tokens: of its vocabulary, as the file has them.
        encode: texts -> ids of each.
        digits: ids of tokens that hold a digit.
    """

    name: str
    about: str
    num_tokens: int
    encode: Callable[[Sequence[str]], list[list[int]]]
    digits: frozenset[int]

    def count(self, texts: Sequence[str]) -> list[Tokens]:
        """Return how many tokens each text has."""
        clean = [without_surrogates(text) for text in texts]
        return [Tokens(len(ids), sum(i in self.digits for i in ids)) for ids in self.encode(clean)]


def open_counter(name: str) -> TokenCounter:
    """Return the tokenizer of that name in the catalogue, else that of the file or directory.

    Raises:
        UserError: one line, if there is no such name or file, or it can't be read.
    """
    if name in PEERS:
        return _from_catalogue(PEERS[name])
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(
            f"--tokenizers {name}: no such file, and no name of the catalogue ({', '.join(PEERS)})"
        )
    return _from_path(path, path.name, str(path))


def _from_catalogue(peer: Peer) -> TokenCounter:
    file = fetch_peer(peer)
    if not peer.single_digits:
        ranks = read_ranks(file)
        return _of_ours(Tokenizer(ranks, pattern=CL100K_PATTERN), peer.name, peer.about)
    return _from_path(file, peer.name, peer.about)


def _from_path(path: Path, name: str, about: str) -> TokenCounter:
    if path.is_dir():
        ours = any(path.glob("*.tiktoken")) or not (path / JSON_FILE).is_file()
        path = path if ours else path / JSON_FILE
    if path.is_file() and path.suffix == ".model":
        return _of_sentencepiece(path, name, about)
    if path.is_file() and _starts_with(path, MAGIC):
        return _of_library(_library(lambda: encoder_from_gguf(path)), name, about)
    if path.suffix == ".json":
        return _of_library(_library(lambda: _from_json(path)), name, about)
    return _of_ours(Tokenizer.from_file(path), name, about)


def _from_json(path: Path) -> Any:
    from tokenizers import Tokenizer as LibraryTokenizer

    try:
        return LibraryTokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{path} is not a tokenizer.json: {error}") from None


def _library(build: Callable[[], Any]) -> Any:
    try:
        return build()
    except ImportError:
        raise UserError(f"comparing this tokenizer needs a library: {NEEDS}") from None


def _of_library(tokenizer: Any, name: str, about: str) -> TokenCounter:
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(texts: Sequence[str]) -> list[list[int]]:
        found = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    vocab: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
    digits = frozenset(i for token, i in vocab.items() if _holds_digit(token))
    return TokenCounter(name, about, len(vocab), encode, digits)


def _of_ours(tokenizer: Tokenizer, name: str, about: str) -> TokenCounter:
    digits = frozenset(
        i for token, i in tokenizer.ranks.items() if any(48 <= value <= 57 for value in token)
    )
    return TokenCounter(name, about, tokenizer.num_ranks, tokenizer.encode_batch, digits)


def _of_sentencepiece(path: Path, name: str, about: str) -> TokenCounter:
    try:
        processor = importlib.import_module("sentencepiece").SentencePieceProcessor()
    except ImportError:
        raise UserError(
            f"{path}: .model files need a library: pip install sentencepiece; or give the "
            "tokenizer.json of the same vocabulary"
        ) from None
    try:
        processor.Load(str(path))
    except (RuntimeError, OSError) as error:
        raise UserError(f"{path} is not a SentencePiece model: {error}") from None
    pieces = [processor.IdToPiece(i) for i in range(processor.GetPieceSize())]
    digits = frozenset(i for i, piece in enumerate(pieces) if _holds_digit(piece))

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in processor.EncodeAsIds(list(texts))]

    return TokenCounter(name, about, len(pieces), encode, digits)


def _holds_digit(token: str) -> bool:
    return bool(_DIGIT.search(token)) and not _BYTE_TOKEN.fullmatch(token)


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
