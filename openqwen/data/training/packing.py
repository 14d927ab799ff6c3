"""Conversations packed into sequences without leaks, batch by batch as a function of seed and step.

    encoded = encode_conversations(conversations, tokenizer, max_tokens=256, default_system="…")
    batches = PackedBatches(encoded, context_length=256, sequences_per_step=8, seed=0)
    batch = batches.batch(step)          # inputs, targets, segments: (B, T) each

A conversation never continues in another sequence and never sees its neighbours: each has a segment
number of its own, positions restart, and no target crosses from one to the next.
"""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openqwen.core.documents import Message
from openqwen.data.training.conversations import Conversation
from openqwen.tokenizer.chatml import Rendered, render
from openqwen.tokenizer.tokenizer import Tokenizer

IGNORED = -100  # as in model.likelihood; targets that bear no loss
PADDING = -1  # as in model.backbone; the segment of tokens that belong to no text
SMALLEST_GAP = 8  # tokens; a sequence with less room left is full


@dataclass(frozen=True)
class Encoded:
    """Conversations as tokens, one after the other; number i lies at offsets[i] … offsets[i+1]."""

    ids_N: NDArray[np.int32]
    learnt_N: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    num_cut: int  # lost their last turns
    num_dropped: int  # nothing that could be learnt fits
    names: tuple[str, ...] = ()  # the conversations' ids, where they are known

    def __len__(self) -> int:
        """Return how many conversations there are."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return each conversation's tokens."""
        return np.diff(self.offsets)

    @property
    def learnt_tokens(self) -> int:
        """Return how many tokens bear loss."""
        return int(self.learnt_N.sum())


@dataclass(frozen=True)
class PackedBatch:
    """Inputs, next tokens and the conversation each belongs to, (B, T) int64 each."""

    inputs_BT: Tensor
    targets_BT: Tensor
    segments_BT: Tensor


def encode_conversations(
    conversations: Iterable[Conversation],
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    default_system: str | None,
) -> Encoded:
    """Render conversations as ids and loss mask.

    One longer than `max_tokens` loses its last turns, whole ones; if not even its first answer
    fits, that answer is cut; one whose first answer does not begin within the limit is dropped.
    """
    ids: list[NDArray[np.int32]] = []
    learnt: list[NDArray[np.bool_]] = []
    names: list[str] = []
    num_cut = num_dropped = 0
    for conversation in conversations:
        rendered = render(conversation.messages, tokenizer, default_system=default_system)
        if len(rendered.ids) > max_tokens:
            num_cut += 1
            rendered = _shortened(conversation.messages, tokenizer, max_tokens, default_system)
        if not any(rendered.learnt[1:]):  # the first token is nobody's target
            num_dropped += 1
            continue
        ids.append(np.array(rendered.ids, dtype=np.int32))
        learnt.append(np.array(rendered.learnt, dtype=np.bool_))
        names.append(conversation.id)
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    return Encoded(
        np.concatenate(ids) if ids else np.zeros(0, np.int32),
        np.concatenate(learnt) if learnt else np.zeros(0, np.bool_),
        offsets,
        num_cut - num_dropped,
        num_dropped,
        tuple(names),
    )


def _shortened(
    messages: list[Message], tokenizer: Tokenizer, max_tokens: int, default_system: str | None
) -> Rendered:
    """Return the longest beginning that ends with an answer and fits, else the cut first answer."""
    ends = [i + 1 for i, m in enumerate(messages) if m["role"] == "assistant"]
    for end in reversed(ends):
        rendered = render(messages[:end], tokenizer, default_system=default_system)
        if len(rendered.ids) <= max_tokens:
            return rendered
    return Rendered(rendered.ids[:max_tokens], rendered.learnt[:max_tokens])


class PackedBatches:
    """An endless stream of packed sequences; each epoch shuffles and packs anew."""

    def __init__(
        self,
        encoded: Encoded,
        *,
        context_length: int,
        sequences_per_step: int,
        seed: int,
        pack: bool = True,
    ) -> None:
        """Prepare; every conversation has at most `context_length` tokens.

        Args:
            encoded: the conversations.
            context_length: tokens of a sequence.
            sequences_per_step: sequences of a batch.
            seed: order of each epoch.
            pack: without it, one conversation a sequence.

        Raises:
            ValueError: if there is no conversation, or one is longer than a sequence.
        """
        if not len(encoded):
            raise ValueError("there is no conversation to learn from")
        if int(encoded.lengths.max()) > context_length:
            raise ValueError(f"a conversation has more than {context_length} tokens")
        self.encoded, self.context_length = encoded, context_length
        self.sequences_per_step, self.seed, self.pack = sequences_per_step, seed, pack
        self._rows = lru_cache(maxsize=2)(self._pack_epoch)
        self._starts = [0]  # first sequence of each epoch met so far

    @property
    def rows_per_epoch(self) -> int:
        """Return the sequences of the first epoch; later ones differ by a few at most."""
        return len(self._rows(0))

    @property
    def padding_share(self) -> float:
        """Return the share of the first epoch's tokens that is padding."""
        return 1 - len(self.encoded.ids_N) / (self.rows_per_epoch * self.context_length)

    def batch(self, step: int) -> PackedBatch:
        """Return the batch of one step, counted from 0."""
        first = step * self.sequences_per_step
        return self._tensors([self._row(first + i) for i in range(self.sequences_per_step)])

    def documents(self, step: int) -> list[str]:
        """Return the ids of a step's conversations (their numbers where they have no ids)."""
        first, names = step * self.sequences_per_step, self.encoded.names
        numbers = [n for i in range(self.sequences_per_step) for n in self._row(first + i)]
        return [names[n] if names else f"conversation {n}" for n in numbers]

    def epoch_batches(self) -> list[PackedBatch]:
        """Return one pass over all conversations; the last batch may be smaller."""
        rows, size = self._rows(0), self.sequences_per_step
        return [self._tensors(rows[i : i + size]) for i in range(0, len(rows), size)]

    def _row(self, index: int) -> list[int]:
        """Return the conversations of one sequence of the endless stream."""
        while self._starts[-1] + len(self._rows(len(self._starts) - 1)) <= index:
            self._starts.append(self._starts[-1] + len(self._rows(len(self._starts) - 1)))
        epoch = bisect.bisect_right(self._starts, index) - 1
        return self._rows(epoch)[index - self._starts[epoch]]

    def _pack_epoch(self, epoch: int) -> list[list[int]]:
        """Return an epoch's sequences, each a list of conversations."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.encoded))
        if not self.pack:
            return [[int(i)] for i in order]
        rows = best_fit(self.encoded.lengths, order, self.context_length)
        mixed = np.random.default_rng([self.seed, epoch, 1]).permutation(len(rows))
        return [rows[int(i)] for i in mixed]

    def _tensors(self, rows: list[list[int]]) -> PackedBatch:
        shape = (len(rows), self.context_length)
        inputs = np.zeros(shape, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        segments = np.full(shape, PADDING, np.int64)
        for row, conversations in enumerate(rows):
            at = 0
            for segment, index in enumerate(conversations):
                span = slice(*self.encoded.offsets[index : index + 2])
                ids, learnt = self.encoded.ids_N[span], self.encoded.learnt_N[span]
                end = at + len(ids)
                inputs[row, at:end] = ids
                targets[row, at : end - 1] = np.where(learnt[1:], ids[1:], IGNORED)
                segments[row, at:end] = segment
                at = end
        tensors = (torch.from_numpy(array) for array in (inputs, targets, segments))
        return PackedBatch(*tensors)


def chunks_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Return the places of pieces, the shortest first, in lists of `size`; equals keep their order.

    Pieces of like length together waste little on padding.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[i : i + size] for i in range(0, len(order), size)]


def best_fit(
    lengths: NDArray[np.int64], order: NDArray[np.int64], capacity: int
) -> list[list[int]]:
    """Pack pieces, the longest first, each into the fullest sequence that still has room.

    `order` breaks ties between equal lengths, so that epochs differ. Best-fit decreasing: at most
    11/9 of the fewest possible sequences (Johnson 1974), in practice next to no padding.
    """
    by_length = order[np.argsort(-lengths[order], kind="stable")]
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (room, row), sorted
    for index in by_length.tolist():
        length = int(lengths[index])
        place = bisect.bisect_left(open_rows, (length, -1))
        if place == len(open_rows):
            room, row = capacity, len(rows)
            rows.append([])
        else:
            room, row = open_rows.pop(place)
        rows[row].append(index)
        if room - length >= SMALLEST_GAP:
            bisect.insort(open_rows, (room - length, row))
    return rows
