"""Weights of one published layout, put together tensor by tensor from those of another.

    weights = Regrouped(checkpoint.open_weights(), checkpoint.parts, qwen2_parts(config))
    weights.read("model.layers.0.self_attn.q_proj.weight")      # rows of Qwen-1's c_attn, say

Both layouts are maps onto rows of the same parameters of ours, so any two of them meet there. Only
what is asked for is read: no model is built, one tensor is in memory at a time.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from openqwen.model.formats.parts import Part
from openqwen.model.formats.weights import TensorSource, check_alias, check_names


class Regrouped:
    """A `TensorSource` in another layout's names; values and types are those of the source."""

    def __init__(
        self, source: TensorSource, source_parts: dict[str, Part], target_parts: dict[str, Part]
    ) -> None:
        """Hold the source's names and shapes against its layout.

        Raises:
            UserError: naming the first tensor that is missing, unknown or of another shape.
        """
        alias = check_names(source, source_parts)
        self.where: Path = source.where
        self.parts = target_parts
        self._source = source
        self._by_parameter: dict[str, list[tuple[Part, str]]] = {}
        for name, part in source_parts.items():
            self._by_parameter.setdefault(part.parameter, []).append((part, name))
        if alias is not None:
            embedding = self._by_parameter["embed_tokens.weight"][0][1]
            check_alias(source, alias, source.read(embedding))

    def names(self) -> list[str]:
        """Return every tensor's name in the target layout."""
        return list(self.parts)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self.parts[name].shape

    def dtype(self, name: str) -> torch.dtype | None:
        """Return the type that holds all its stored values; None where some are quantised."""
        found: torch.dtype | None = None
        for stored, _, _ in self._pieces(name):
            dtype = self._source.dtype(stored)
            if dtype is None:
                return None
            found = dtype if found is None else torch.promote_types(found, dtype)
        return found

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows of a tensor; not to be changed, as they may be the file's own memory."""
        pieces = [self._source.read(*piece) for piece in self._pieces(name, start, stop)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _pieces(
        self, name: str, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[str, int, int]]:
        """Yield source tensors and the rows of each that make up rows of a tensor, in order."""
        wanted = self.parts[name]
        place = wanted.start + start
        end = wanted.start + (wanted.rows if stop is None else stop)
        for part, stored in sorted(
            self._by_parameter[wanted.parameter], key=lambda pair: pair[0].start
        ):
            until = min(part.start + part.rows, end)
            if part.start <= place < until:
                yield stored, place - part.start, until - part.start
                place = until
        assert place == end, f"{name}: rows {place} to {end} are in no tensor of the source"
