"""Byte-level BPE with control tokens: text to ids and back (§2.2).

tokenizer = Tokenizer.from_file("runs/tiny/tokenizer")
ids = tokenizer.encode("Hello, 世界")           # look-alikes of control tokens stay plain text
tokenizer.decode(ids)                          # "Hello, 世界"
tokenizer.encode("<|im_end|>", allowed_special={"<|im_end|>"})   # [tokenizer.im_end_id]
tokenizer.encode_segments([("<|im_start|>", True), (typed_by_somebody, False)])
"""

import codecs
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from openqwen.core.errors import UserError
from openqwen.tokenizer.control import END_OF_TEXT, IM_END, IM_START, control_tokens
from openqwen.tokenizer.engine import Engine, open_engine
from openqwen.tokenizer.files import read_vocabulary, write_vocabulary
from openqwen.tokenizer.text import MAX_SPACE_RUN, cut_long_spaces, to_nfc
from openqwen.tokenizer.vocabulary import QWEN_PATTERN, Vocabulary

AllowedSpecial = Literal["all"] | Collection[str]


class Tokenizer:
    """A vocabulary in use: ordinary tokens (`ranks`), control tokens, split pattern, NFC or not.

    Encoding is lossless unless `nfc` is on (as in the published Qwen), and safe by default: text
    never becomes a control token unless the caller allows that token by name.
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        controls: Mapping[str, int] | None = None,
        pattern: str = QWEN_PATTERN,
        nfc: bool = False,
    ) -> None:
        """Build the encoder.

        Args:
            ranks: bytes of each ordinary token -> id; the order of ids is the order of merges.
            controls: control token -> id; None for Qwen's own, right after the ranks.
            pattern: the regex that splits text before BPE.
            nfc: whether `encode` composes text (NFC) first.
        """
        self.ranks = dict(ranks)
        self.pattern = pattern
        self.nfc = nfc
        names = control_tokens(len(self.ranks)) if controls is None else controls
        self.control_tokens: dict[str, int] = dict(names)
        self._control_names = {i: name for name, i in self.control_tokens.items()}
        self._vocab_size = 1 + max([*self.ranks.values(), *self._control_names])
        self._finders: dict[frozenset[str], re.Pattern[str]] = {}

    @classmethod
    def from_file(cls, path: str | Path) -> "Tokenizer":
        """Load a rank file, a tokenizer.json, a GGUF file, or a directory that holds one of them.

        A directory's rank file is taken before its tokenizer.json, that before a GGUF file. NFC is
        on for the published Qwen rank file, for a tokenizer.json that says so and for GGUF files of
        Qwen; `tokenizer_config.json` beside a rank file may set it with "nfc".

        Raises:
            UserError: one line naming the file and what is wrong with it.
        """
        vocabulary = read_vocabulary(Path(path))
        return cls(
            vocabulary.ranks,
            controls=vocabulary.controls,
            pattern=vocabulary.pattern,
            nfc=vocabulary.nfc,
        )

    def save(self, directory: str | Path) -> None:
        """Write the rank file, `tokenizer.json` and `tokenizer_config.json` into `directory`.

        Hugging Face's `tokenizers` and `transformers` give the same ids from them.
        """
        vocabulary = Vocabulary(self.ranks, self.control_tokens, self.pattern, self.nfc)
        write_vocabulary(Path(directory), vocabulary)

    @property
    def num_ranks(self) -> int:
        """Return the number of ordinary tokens."""
        return len(self.ranks)

    @property
    def vocab_size(self) -> int:
        """Return the number of ids, control tokens included; the embedding may have more rows."""
        return self._vocab_size

    @property
    def engine(self) -> str:
        """Return what encodes: our compiled encoder, or tiktoken and why."""
        return self._engine.name

    @property
    def eos_id(self) -> int:
        """Return the id of `<|endoftext|>`, which ends every document."""
        return self._control_id(END_OF_TEXT)

    @property
    def im_start_id(self) -> int:
        """Return the id of `<|im_start|>`."""
        return self._control_id(IM_START)

    @property
    def im_end_id(self) -> int:
        """Return the id of `<|im_end|>`."""
        return self._control_id(IM_END)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Return the ids that end a reply: `<|im_end|>`, `<|im_start|>` and `<|endoftext|>`."""
        names = (IM_END, IM_START, END_OF_TEXT)
        return tuple(self.control_tokens[name] for name in names if name in self.control_tokens)

    def encode(
        self, text: str, *, allowed_special: AllowedSpecial = (), nfc: bool | None = None
    ) -> list[int]:
        """Return the ids of a text.

        Args:
            text: any text; a lone surrogate counts as U+FFFD, as it has no UTF-8 form.
            allowed_special: names of control tokens to recognise in the text, or "all"; everything
                else that looks like one is ordinary text.
            nfc: compose the text first; None for the vocabulary's own habit.

        Raises:
            ValueError: if an allowed name is not a control token.
        """
        allowed = self._allowed(allowed_special)
        whole = self._composed(text, nfc)
        if not allowed and len(whole) <= MAX_SPACE_RUN:
            return self._engine.encode(whole)
        ids: list[int] = []
        for part in self._parts(whole, allowed):
            ids += self._engine.encode(part) if isinstance(part, str) else (part,)
        return ids

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: AllowedSpecial = (),
        nfc: bool | None = None,
    ) -> list[list[int]]:
        """Return the ids of many texts, each as `encode` gives them, encoded in parallel."""
        allowed = self._allowed(allowed_special)
        wholes = [self._composed(text, nfc) for text in texts]
        if not allowed and all(len(whole) <= MAX_SPACE_RUN for whole in wholes):
            return self._engine.encode_batch(wholes)
        split = [list(self._parts(whole, allowed)) for whole in wholes]
        plain = [part for parts in split for part in parts if isinstance(part, str)]
        encoded = iter(self._engine.encode_batch(plain))
        return [
            [i for part in parts for i in (next(encoded) if isinstance(part, str) else (part,))]
            for parts in split
        ]

    def encode_segments(
        self, segments: Iterable[tuple[str, bool]], *, nfc: bool | None = None
    ) -> list[int]:
        """Return the ids of a text put together from segments, each encoded by itself.

        Args:
            segments: text and whether it is trusted. Only in trusted ones are control tokens
                recognised, so no text of a user's can become one, nor can two halves of one meet.
            nfc: as in `encode`.
        """
        ids: list[int] = []
        for text, trusted in segments:
            ids += self.encode(text, allowed_special="all" if trusted else (), nfc=nfc)
        return ids

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the exact bytes of the tokens.

        Raises:
            ValueError: if an id has no token (embeddings have rows that no token uses).
        """
        try:
            return self._engine.decode(ids)
        except (KeyError, OverflowError):
            bad = next(i for i in ids if not self.has_id(i))
            raise ValueError(
                f"id {bad} has no token (the vocabulary has {self.vocab_size:,})"
            ) from None

    def decode(
        self, ids: Sequence[int], *, errors: str = "replace", skip_control: bool = False
    ) -> str:
        """Return the text of the tokens.

        Args:
            ids: token ids.
            errors: what becomes of bytes that are not UTF-8, as in `bytes.decode`.
            skip_control: leave control tokens out.
        """
        kept = [i for i in ids if i not in self._control_names] if skip_control else ids
        return self.decode_bytes(kept).decode("utf-8", errors=errors)

    def stream_decoder(self) -> "StreamDecoder":
        """Return a decoder that takes one id at a time and never gives half a character."""
        return StreamDecoder(self)

    def has_id(self, token_id: int) -> bool:
        """Return whether a token has this id."""
        try:
            self._engine.decode([token_id])
        except (KeyError, OverflowError):
            return False
        return True

    def name_of(self, token_id: int) -> str:
        """Return a token for people to read: bytes that are no whole character stand as `\\xe4`."""
        return self.decode([token_id], errors="backslashreplace")

    def _control_id(self, name: str) -> int:
        if name not in self.control_tokens:
            raise UserError(f"this vocabulary has no {name}; ChatML and documents need it")
        return self.control_tokens[name]

    def _allowed(self, allowed_special: AllowedSpecial) -> frozenset[str]:
        if allowed_special == "all":
            return frozenset(self.control_tokens)
        if isinstance(allowed_special, str):
            raise ValueError(f'allowed_special is "all" or names, got {allowed_special!r}')
        unknown = sorted(name for name in allowed_special if name not in self.control_tokens)
        if unknown:
            raise ValueError(f"allowed_special names {unknown[0]!r}, which is no control token")
        return frozenset(allowed_special)

    def _composed(self, text: str, nfc: bool | None) -> str:
        return to_nfc(text) if (self.nfc if nfc is None else nfc) else text

    def _parts(self, text: str, allowed: frozenset[str]) -> Iterator[str | int]:
        """Yield ordinary text and the ids of allowed control tokens, in order."""
        for i, part in enumerate(self._finder(allowed).split(text) if allowed else [text]):
            if i % 2:
                yield self.control_tokens[part]
            elif part:
                yield from cut_long_spaces(part)

    def _finder(self, names: frozenset[str]) -> re.Pattern[str]:
        finder = self._finders.get(names)
        if finder is None:
            longest_first = sorted(names, key=len, reverse=True)
            finder = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
            self._finders[names] = finder
        return finder

    @functools.cached_property
    def _engine(self) -> Engine:
        return open_engine(self.ranks, self.control_tokens, self.pattern)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the engine; another process opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_engine"}


class StreamDecoder:
    """Text from tokens one by one; a character split over several tokens waits for the rest.

    All that `push` and `flush` return, joined, is `Tokenizer.decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start with nothing held back."""
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """Take one id; return the text that is certain now, often the token's own."""
        return self._utf8.decode(self._tokenizer.decode_bytes([token_id]))

    def flush(self) -> str:
        """Return what is still held back (an unfinished character as U+FFFD) and start anew."""
        return self._utf8.decode(b"", final=True)
