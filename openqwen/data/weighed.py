"""What the mixture needs to know of documents without holding their texts: some 40 bytes each.

weighed = Weighed.joined([Weighed.of(part, seed=0) for part in parts])
weighed.size_N[weighed.source_N == weighed.sources.index("books")].sum()
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from openqwen.core.documents import Document
from openqwen.core.files import atomic_path
from openqwen.data.draw import draw

VALIDATION = "validation"
DRAWS = (VALIDATION, "order", "copy")

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weighed:
    """N documents in order.

    Attributes:
        groups: names of the groups; `group_N` counts in them.
        sources: names of the sources; `source_N` counts in them.
        group_N: (N,) int64, the place of each document's group in `groups`.
        source_N: (N,) int64, the place of its source in `sources`.
        size_N: (N,) int64, its text in UTF-8 bytes.
        is_chat_N: (N,) whether it is a conversation.
        draws_3N: (3, N) float64 in [0, 1), by seed and id: for validation, order and the odd copy.
    """

    groups: tuple[str, ...]
    sources: tuple[str, ...]
    group_N: Integers
    source_N: Integers
    size_N: Integers
    is_chat_N: NDArray[np.bool_]
    draws_3N: Reals

    def __len__(self) -> int:
        """Return N."""
        return len(self.size_N)

    @classmethod
    def of(cls, documents: Iterable[Document], *, seed: int) -> Self:
        """Weigh documents; texts are looked at one at a time."""
        groups: dict[str, int] = {}
        sources: dict[str, int] = {}
        numbers, draws = array("q"), array("d")
        for document in documents:
            numbers.append(groups.setdefault(document.group, len(groups)))
            numbers.append(sources.setdefault(document.source, len(sources)))
            numbers.append(size_of(document))
            numbers.append(bool(document.messages))
            draws.extend(draw(seed, purpose, document.id) for purpose in DRAWS)
        numbers_4N = np.array(numbers, dtype=np.int64).reshape(-1, 4).T
        draws_3N = np.array(draws, dtype=np.float64).reshape(-1, 3).T
        return cls(
            tuple(groups),
            tuple(sources),
            group_N=numbers_4N[0],
            source_N=numbers_4N[1],
            size_N=numbers_4N[2],
            is_chat_N=numbers_4N[3].astype(np.bool_),
            draws_3N=draws_3N,
        )

    @classmethod
    def joined(cls, parts: Sequence["Weighed"]) -> Self:
        """Return the documents of all parts, in order."""
        groups = tuple(sorted({name for part in parts for name in part.groups}))
        sources = tuple(sorted({name for part in parts for name in part.sources}))

        def renamed(names: tuple[str, ...], own: tuple[str, ...], place_N: Integers) -> Integers:
            table = np.array([names.index(name) for name in own], dtype=np.int64)
            return table[place_N] if len(place_N) else place_N

        empty = np.empty(0, dtype=np.int64)
        return cls(
            groups,
            sources,
            np.concatenate([empty, *(renamed(groups, p.groups, p.group_N) for p in parts)]),
            np.concatenate([empty, *(renamed(sources, p.sources, p.source_N) for p in parts)]),
            np.concatenate([empty, *(p.size_N for p in parts)]),
            np.concatenate([empty.astype(np.bool_), *(p.is_chat_N for p in parts)]),
            np.concatenate([np.empty((3, 0)), *(p.draws_3N for p in parts)], axis=1),
        )

    def save(self, path: Path) -> None:
        """Write a file that `load` reads."""
        arrays = {name: getattr(self, name) for name in self.__slots__ if name.endswith("N")}
        names = {
            name: np.array(getattr(self, name), dtype=np.str_) for name in ("groups", "sources")
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays, **names)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
        for name in ("groups", "sources"):
            fields[name] = tuple(fields[name].tolist())
        return cls(**fields)


def size_of(document: Document) -> int:
    """Return a document's text in UTF-8 bytes."""
    return len(document.text.encode("utf-8", "replace"))
